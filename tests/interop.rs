//! The clients and listeners of Python, of every version at hand, against the binary: those of
//! the standard library, those of the package `multiprocess`, and those that people write by hand.

#![cfg(feature = "cli")]

mod util;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use gateloop::address::Address;
use gateloop::client::{Client, Config, Error};
use gateloop::error::ProtocolError;
use gateloop::protocol::handshake::mutual;
use gateloop::protocol::{HandshakeRules, Key};
use serde::Deserialize;
use serde_json::{Value, json};
use util::python;
use util::random::Random;
use util::seed::seed;
use util::{Folder, Process, Serving, eventually, gateloop, run};

/// Python sends header and payload together up to 16 384 bytes, and apart above.
const SIZES: [usize; 9] = [0, 1, 1023, 16384, 16385, 20_000, 65_500, 65_536, 1 << 20];
/// Up to the longest that goes into one.
const DATAGRAM_SIZES: [usize; 5] = [0, 1, 1_400, 9_000, 65_449];
const KEY: &str = "a key that both sides hold";
const CHINESE_KEY: &str = "天王盖地虎";
/// A round trip takes less, also on a busy machine; an acknowledgement that the kernel holds back
/// costs 40 ms.
const UNDELAYED: Duration = Duration::from_millis(5);
/// What a server may be set to take as proof.
const DIGESTS: [&str; 4] = ["md5", "sha256", "md5,sha3_384", "sha384,sha3_256"];
const REFUSED: &str = "AuthenticationError";

/// A Python 3 and the package in it that speaks the protocol.
struct Python {
    program: PathBuf,
    /// Such as `(3, 12, 1)`.
    version: (u32, u32, u32),
    package: &'static str,
    /// A folder with the package of Python 3.12, where this one is older.
    newer: Option<PathBuf>,
}

impl Python {
    fn new(program: PathBuf, package: &'static str) -> Self {
        let ended = run(Command::new(&program).args(["-ISc", "import sys; print(sys.version)"]));
        let version = ended.stdout.split(' ').next().unwrap_or_default();
        let mut numbers = version.split('.').map(str::parse);
        let (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            panic!("{} is no Python: {ended:?}", program.display());
        };
        Self {
            program,
            version: (major, minor, patch),
            package,
            newer: None,
        }
    }

    /// Every Python 3 that is installed.
    fn all_installed() -> Vec<Self> {
        Self::each_version_once(python::installed(), "multiprocessing")
    }

    /// Every environment with the package `multiprocess`.
    fn all_environments() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python");
        let pythons = Self::each_version_once(python::programs_in(&folder), "multiprocess");
        assert!(
            !pythons.is_empty(),
            "no environment with the package multiprocess: run tests/run, which makes them"
        );
        pythons
    }

    /// Those of them that run the package of Python 3.12, and with it the newer handshake, though
    /// they are older.
    fn all_made_newer() -> Vec<Self> {
        let newer = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/newer");
        let there = newer.join("multiprocess").exists();
        assert!(there, "{} is missing: run tests/run", newer.display());
        let mut pythons = Self::all_environments();
        pythons.retain(|python| ((3, 8, 0)..(3, 12, 0)).contains(&python.version));
        if pythons.is_empty() {
            // On the package's own Python nothing is newer than that.
            pythons = Self::all_environments();
        }
        for python in &mut pythons {
            python.newer = Some(newer.clone());
        }
        pythons
    }

    fn each_version_once(programs: Vec<PathBuf>, package: &'static str) -> Vec<Self> {
        let pythons = programs
            .into_iter()
            .map(|program| Self::new(program, package));
        let by_version: BTreeMap<_, _> = pythons.map(|python| (python.version, python)).collect();
        by_version.into_values().collect()
    }

    /// Up to 3.11 it speaks HMAC-MD5 and nothing else.
    fn knows_digests(&self) -> bool {
        self.version >= (3, 12, 0) || self.newer.is_some()
    }

    /// Starts one of the scripts in tests/interop.
    fn start(&self, script: &str, mut task: Value) -> Process {
        task["package"] = json!(self.package);
        task["path"] = json!(self.newer.iter().collect::<Vec<_>>());
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
        let mut command = Command::new(&self.program);
        command
            .arg("-I")
            .arg(folder.join(script))
            .stdin(Stdio::piped());
        let mut process = Process::start(command.env("GATELOOP_AUTHKEY", KEY));
        process.write(task.to_string().as_bytes());
        process
    }

    /// Such as `multiprocessing-3.12.1`.
    fn name(&self) -> String {
        let (major, minor, patch) = self.version;
        let newer = if self.newer.is_some() {
            "-made-newer"
        } else {
            ""
        };
        format!("{}-{major}.{minor}.{patch}{newer}", self.package)
    }
}

/// What tests/interop/client.py met.
#[derive(Debug, Deserialize)]
struct Met {
    wrong_key: String,
    right_key: String,
    digests: Vec<String>,
    echoed: Vec<usize>,
    echoed_on_unix: Vec<usize>,
    objects: bool,
    echo_seconds: Vec<f64>,
    first_seconds: Vec<f64>,
    readme: String,
    pickle_to_rpc: i64,
}

fn serve(key: &str, args: &[&str]) -> Serving {
    let mut command = gateloop();
    command
        .args(["serve", "--listen", "127.0.0.1:0"])
        .args(args);
    Serving::from_command(command.env("GATELOOP_AUTHKEY", key))
}

/// What tests/interop/datagrams.py met.
#[derive(Debug, Deserialize)]
struct MetDatagrams {
    echoed: Vec<Vec<usize>>,
    answered: usize,
    document: String,
}

/// An address as Python's: host and port.
fn pair(address: &str) -> Value {
    let (host, port) = address.rsplit_once(':').expect("host and port");
    let host = host.trim_start_matches("udp:").trim_matches(['[', ']']);
    json!([host, port.parse::<u16>().expect("a port")])
}

/// The client in README.md, sent to another address, and what it says that it prints.
fn readme_client(address: &str, package: &str) -> (String, &'static str) {
    let (code, printed) = python_in(include_str!("../README.md"), "from multiprocessing");
    let moved = moved(code, address);
    (
        replaced(&moved, "multiprocessing.", &format!("{package}.")),
        printed,
    )
}

/// The code in a document that has this in it, and what it says that it prints.
fn python_in(document: &'static str, what: &str) -> (&'static str, &'static str) {
    let codes = document.split("```python\n").skip(1);
    let mut codes = codes.map(|code| code.split("```").next().unwrap_or_default());
    let code = codes.find(|code| code.contains(what)).expect("a client");
    let mut comments = code
        .lines()
        .filter_map(|line| Some(line.split_once("  # ")?.1));
    (code, comments.next_back().expect("it says what is printed"))
}

/// The code with another address in it.
fn moved(code: &str, address: &str) -> String {
    let (host, port) = address
        .trim_start_matches("udp:")
        .rsplit_once(':')
        .expect("host and port");
    replaced(
        code,
        r#"("127.0.0.1", 9090)"#,
        &format!("({host:?}, {port})"),
    )
}

fn replaced(code: &str, old: &str, new: &str) -> String {
    assert!(code.contains(old), "no `{old}` in a document's client");
    code.replace(old, new)
}

fn median(seconds: &[f64]) -> Duration {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    Duration::from_secs_f64(sorted[sorted.len() / 2])
}

fn its_client_is_understood(python: &Python) {
    let folder = Folder::new(&python.name());
    let unix = folder.path("echo.sock");
    let unix = unix.to_str().expect("a path in UTF-8");
    let also_unix = format!("unix:{unix}");
    // Servers of its own: what wrong keys cost is counted by address.
    let echo = serve(CHINESE_KEY, &["--service", "echo", "--listen", &also_unix]);
    let strict =
        DIGESTS.map(|digests| serve(CHINESE_KEY, &["--service", "echo", "--digests", digests]));
    let rpc = serve(KEY, &[]);
    let (code, printed) = readme_client(rpc.address(), python.package);
    let task = json!({
        "key": CHINESE_KEY,
        "sizes": SIZES,
        "echo": pair(echo.address()),
        "unix": unix,
        "digests": strict.iter().map(|server| pair(server.address())).collect::<Vec<_>>(),
        "rpc": pair(rpc.address()),
        "readme": code,
    });
    let ended = python.start("client.py", task).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let met: Met = serde_json::from_str(&ended.stdout).expect("what the client met");

    assert_eq!(met.right_key, "let in");
    assert_eq!(met.wrong_key, REFUSED);
    let verdicts = DIGESTS.map(|digests| {
        let let_in = python.knows_digests() || digests.contains("md5");
        if let_in { "let in" } else { REFUSED }
    });
    assert_eq!(met.digests, verdicts, "{DIGESTS:?}");
    assert_eq!(met.echoed, SIZES);
    assert_eq!(met.echoed_on_unix, SIZES);
    assert!(met.objects, "what was sent came back another");
    assert_eq!(met.readme, printed);
    assert_eq!(met.pickle_to_rpc, -32700, "a pickle is no JSON");
    let (echo, first) = (median(&met.echo_seconds), median(&met.first_seconds));
    assert!(echo < UNDELAYED, "an echo of 20 000 bytes takes {echo:?}");
    assert!(first < UNDELAYED, "the first request takes {first:?}");
}

fn its_datagrams_are_understood(python: &Python) {
    let udp = ["--udp", "127.0.0.1:0,[::1]:0"];
    let echo = serve(CHINESE_KEY, &[&["--service", "echo"], &udp[..]].concat());
    let rpc = serve(CHINESE_KEY, &udp);
    let document = include_str!("../docs/PROTOCOL.md");
    let (code, printed) = python_in(document, "socket.SOCK_DGRAM");
    let task = json!({
        "key": CHINESE_KEY,
        "sizes": DATAGRAM_SIZES,
        "echo": echo.addresses[1..].iter().map(|udp| pair(udp)).collect::<Vec<_>>(),
        "document": moved(code, &rpc.addresses[1]),
    });
    let ended = python.start("datagrams.py", task).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let met: MetDatagrams = serde_json::from_str(&ended.stdout).expect("what the client met");
    assert_eq!(met.echoed, [DATAGRAM_SIZES; 2]);
    assert_eq!(met.answered, 1, "of a datagram that came twice");
    assert_eq!(met.document, printed);
}

/// A client under these digests that is a process of its own as far as challenges go.
fn client(address: &str, key: &str, digests: &str) -> Result<Client, Error> {
    let rules = mutual::Rules {
        digests: digests.parse().expect("digests"),
        ..mutual::Rules::new(Key::new(key).expect("a key"))
    };
    let address: Address = address.parse().expect("an address");
    Client::connect(&address, Config::new(HandshakeRules::Mutual(rules)))
}

fn its_listener_is_understood(python: &Python) {
    let task = json!({"key": CHINESE_KEY});
    let listener = python.start("listener.py", task);
    let line = |n: usize| {
        eventually("the listener says so", || {
            let stdout = listener.stdout();
            let whole = stdout.split_inclusive('\n').nth(n)?;
            whole.strip_suffix('\n').map(String::from)
        })
    };
    let address = format!("127.0.0.1:{}", line(0));
    let call = |key: &str| run(call_command(&address).env("GATELOOP_AUTHKEY", key));

    let called = call(CHINESE_KEY);
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    let result: Value = serde_json::from_str(&called.stdout).expect("the request");
    assert_eq!(result["params"], json!(["to", "Python"]));
    let refused = call(KEY);
    assert_eq!(refused.code, Some(1));
    let why = "the server refused the key\n";
    assert!(refused.stderr.ends_with(why), "{}", refused.stderr);

    let mut random = Random(seed());
    let mut echo = client(&address, CHINESE_KEY, "md5,sha256").expect("the right key");
    for size in SIZES {
        let mut message = vec![0; size];
        random.fill(&mut message);
        echo.send(&message).expect("a listener that reads");
        let answer = echo.recv().expect("a listener that answers");
        assert!(
            answer.is_some_and(|answer| answer == message),
            "{size} bytes"
        );
    }
    drop(echo);
    let wrong = client(&address, KEY, "md5,sha256");
    assert!(matches!(wrong, Err(Error::KeyRefused)), "{wrong:?}");
    match client(&address, CHINESE_KEY, "sha256") {
        Ok(_) => assert!(python.knows_digests(), "its challenge asks for md5"),
        Err(error) => {
            assert!(!python.knows_digests(), "{error}");
            let expected = Error::Protocol(ProtocolError::DigestNotAccepted);
            assert_eq!(error.to_string(), expected.to_string());
        }
    }
    let ends = (1..=6).map(line).collect::<Vec<_>>();
    let (passed, refused) = ("let in", REFUSED);
    assert_eq!(
        ends,
        [passed, "EOFError", refused, passed, "EOFError", refused]
    );
}

/// What tests/interop/classic.py met.
#[derive(Debug, Deserialize)]
struct Classic {
    framed: BTreeMap<String, Vec<String>>,
    refused: BTreeMap<String, String>,
    bare: BTreeMap<String, Vec<Value>>,
    readme: String,
}

/// The client in README.md that knows no `multiprocessing`, sent to another address.
fn readme_classic(address: &str) -> (String, &'static str) {
    let readme = include_str!("../README.md");
    let code = readme.split("```python\n").nth(2).expect("a second client");
    let code = code.split("```").next().unwrap_or_default();
    let (host, port) = address.rsplit_once(':').expect("host and port");
    let moved = code.replace(r#"("127.0.0.1", 9090)"#, &format!("({host:?}, {port})"));
    assert_ne!(moved, code, "README.md: no address in its client");
    let printed = code
        .lines()
        .find_map(|line| Some(line.split_once("  # ")?.1));
    (moved, printed.expect("README.md says what is printed"))
}

fn a_classic_client_is_understood(python: &Python) {
    let start = |handshake: &str, framing: &str, service: &str| {
        let args = [
            "--handshake",
            handshake,
            "--framing",
            framing,
            "--service",
            service,
        ];
        serve(CHINESE_KEY, &args)
    };
    let (mut servers, mut framed) = (Vec::new(), serde_json::Map::new());
    for handshake in ["hmac", "md5"] {
        for (framing, form) in [("i32le", "i"), ("i32be", "!i")] {
            let server = start(handshake, framing, "echo");
            let task = json!([handshake, form, pair(server.address())]);
            framed.insert(format!("{handshake} {framing}"), task);
            servers.push(server);
        }
    }
    let login = json!({"username": "旭哥", "passwd": "\"\\]}"});
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let pong = json!({"jsonrpc": "2.0", "id": 1, "result": "pong"});
    let echo = start("md5", "json", "echo");
    let rpc = start("hmac", "json", "rpc");
    let (code, printed) = readme_classic(rpc.address());
    let task = json!({
        "key": CHINESE_KEY,
        "sizes": SIZES,
        "framed": framed,
        "bare": {
            "echo": ["md5", pair(echo.address()), login],
            "rpc": ["hmac", pair(rpc.address()), ping],
        },
        "readme": code,
    });
    let mut command = Command::new(&python.program);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/classic.py");
    command.arg("-I").arg(script).stdin(Stdio::piped());
    let mut process = Process::start(command.env("GATELOOP_AUTHKEY", CHINESE_KEY));
    process.write(task.to_string().as_bytes());
    let ended = process.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let met: Classic = serde_json::from_str(&ended.stdout).expect("what the client met");

    assert_eq!(met.framed.len(), framed.len());
    for (name, answers) in &met.framed {
        assert_eq!(answers[..], ["the first command"; 3], "{name}");
    }
    assert_eq!(met.refused.len(), framed.len());
    assert!(
        met.refused.values().all(String::is_empty),
        "{:?}",
        met.refused
    );
    assert_eq!(met.bare["echo"], [login.clone(), login.clone(), login]);
    assert_eq!(met.bare["rpc"], [pong.clone(), pong.clone(), pong]);
    assert_eq!(met.readme, printed);
}

fn call_command(address: &str) -> Command {
    let mut command = gateloop();
    command.args(["call", address, "anything", r#"["to", "Python"]"#]);
    command
}

/// Runs a test against each; which they are is said also where it passes.
fn check(what: &str, pythons: &[Python], test: impl Fn(&Python)) {
    let names: Vec<_> = pythons.iter().map(Python::name).collect();
    writeln!(io::stderr(), "{what} of {}", names.join(", ")).expect("standard error");
    for (python, name) in pythons.iter().zip(names) {
        println!("{name}:");
        test(python);
    }
}

#[test]
fn clients_of_the_standard_library_are_understood() {
    check(
        "clients",
        &Python::all_installed(),
        its_client_is_understood,
    );
}

#[test]
fn classic_clients_are_understood() {
    let pythons = Python::all_installed();
    check("classic clients", &pythons, a_classic_client_is_understood);
}

#[test]
fn datagrams_of_the_standard_library_are_understood() {
    let pythons = Python::all_installed();
    check("datagrams", &pythons, its_datagrams_are_understood);
}

#[test]
fn listeners_of_the_standard_library_are_understood() {
    check(
        "listeners",
        &Python::all_installed(),
        its_listener_is_understood,
    );
}

#[test]
fn clients_of_multiprocess_are_understood() {
    check(
        "clients",
        &Python::all_environments(),
        its_client_is_understood,
    );
}

#[test]
fn listeners_of_multiprocess_are_understood() {
    check(
        "listeners",
        &Python::all_environments(),
        its_listener_is_understood,
    );
}

#[test]
fn the_newer_handshake_of_multiprocess_is_understood_on_older_pythons() {
    let pythons = Python::all_made_newer();
    check("clients", &pythons, its_client_is_understood);
    check("listeners", &pythons, its_listener_is_understood);
}
