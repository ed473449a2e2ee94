//! The binary as its operator meets it: settings, errors, exit codes, the key, `call`.

#![cfg(feature = "cli")]

mod util;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use util::{Ended, Folder, PATIENCE, Process, Serving, eventually, gateloop, run};

const KEY: &str = "a key of sixteen bytes or more";
const FREE_PORT: &str = "127.0.0.1:0";

/// Runs `gateloop` with these arguments, and the key in its environment.
fn gateloop_with_key(args: &[&str]) -> Ended {
    run(gateloop().args(args).env("GATELOOP_AUTHKEY", KEY))
}

fn serving_with_key(args: &[&str]) -> Serving {
    let mut command = gateloop();
    command
        .args(["serve", "--listen", FREE_PORT])
        .args(args)
        .env("GATELOOP_AUTHKEY", KEY);
    Serving::from_command(&mut command)
}

/// That it ended with this code, wrote nothing to standard output, and said why in one line.
#[track_caller]
fn assert_error(ended: &Ended, code: i32, why: &str) {
    let lines: Vec<_> = ended
        .stderr
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    assert_eq!(lines.len(), 1, "not one line: {ended:?}");
    assert!(lines[0].contains(why), "`{why}` is missing: {ended:?}");
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert_eq!(ended.stdout, "");
}

// Wrong usage: exit code 2.

#[test]
fn a_wrong_argument_is_wrong_usage() {
    for (args, why) in [
        (
            &["serve", "--framing", "xml"][..],
            "invalid value 'xml' for '--framing",
        ),
        (
            &["serve", "--service", "x"],
            "invalid value 'x' for '--service",
        ),
        (
            &["serve", "--handshake", "x"],
            "invalid value 'x' for '--handshake",
        ),
        (&["serve", "--digests", "sha1"], "sha1"),
        (
            &["serve", "--listen", "127.0.0.1"],
            "an address is HOST:PORT",
        ),
        (
            &["serve", "--listen", "127.0.0.1:70000"],
            "a number from 0 to 65535",
        ),
        (
            &["serve", "--listen", "unix:"],
            "the path of the socket is missing",
        ),
        (
            &["serve", "--max-message", "64 stones"],
            "a size is a number with a unit",
        ),
        (
            &["serve", "--idle-timeout", "soon"],
            "a time is a number with a unit",
        ),
        (&["serve", "--reactors", "0"], "--reactors"),
        (
            &["serve", "--reactors", "65"],
            "reactors must be from 1 to 64",
        ),
        (
            &["serve", "--max-mesage", "1MiB"],
            "unexpected argument '--max-mesage'",
        ),
        (
            &["serve", "--authkey", KEY],
            "unexpected argument '--authkey'",
        ),
        (
            &["call", "127.0.0.1:1"],
            "required arguments were not provided",
        ),
        (
            &["call", "127.0.0.1:1", "ping", "--framing", "raw"],
            "invalid value 'raw'",
        ),
        (
            &["call", "127.0.0.1:1", "ping", "[1"],
            "the parameters are not JSON",
        ),
        (
            &["call", "127.0.0.1:1", "ping", "7"],
            "neither a JSON array nor an object",
        ),
    ] {
        assert_error(&gateloop_with_key(args), 2, why);
    }
}

#[test]
fn limits_that_contradict_each_other_are_wrong_usage() {
    for (args, why) in [
        (
            &["--send-low", "2MiB"][..],
            "send-low (2097152) must lie below send-high (1048576)",
        ),
        (&["--send-high", "65MiB"], "must not exceed send-hard"),
        (&["--max-message", "2GiB"], "must not exceed buffer-memory"),
        (
            &["--handshake-timeout", "0s"],
            "give handshake-timeout a time above 0",
        ),
        (
            &["--max-connections", "0"],
            "max-connections must be at least 1",
        ),
    ] {
        assert_error(&gateloop_with_key(&[&["serve"], args].concat()), 2, why);
    }
}

#[test]
fn a_wrong_file_is_named_with_what_is_wrong_in_it() {
    let folder = Folder::new("wrong-toml");
    for (name, text, why) in [
        (
            "near.toml",
            "max-mesage = '1MiB'",
            "unknown key `max-mesage`, did you mean `max-message`",
        ),
        ("far.toml", "colour = 'blue'", "unknown key `colour`"),
        ("self.toml", "config = 'other.toml'", "unknown key `config`"),
        (
            "key.toml",
            "authkey = 'secret'",
            "a key does not belong into a configuration file",
        ),
        (
            "value.toml",
            "max-message = '1 stone'",
            "invalid value '1 stone' for '--max-message",
        ),
        (
            "choice.toml",
            "framing = 'xml'",
            "invalid value 'xml' for '--framing",
        ),
        (
            "list.toml",
            "framing = ['raw', 'lines']",
            "cannot be used multiple times",
        ),
        (
            "table.toml",
            "[framing]\nname = 'raw'",
            "`framing` cannot be a table",
        ),
        ("bool.toml", "insecure = 'perhaps'", "insecure"),
        ("syntax.toml", "backlog = 1\nframing 'raw'", "line 2: "),
        (
            "limits.toml",
            "send-low = '2MiB'",
            "send-low (2097152) must lie below send-high",
        ),
    ] {
        let path = folder.write(name, text);
        let ended = gateloop_with_key(&["serve", "--config", &path]);
        assert_error(&ended, 2, why);
        assert!(
            name == "limits.toml" || ended.stderr.contains(&path),
            "{ended:?}"
        );
        assert!(!ended.stderr.contains("secret"), "{ended:?}");
    }
}

#[test]
fn a_wrong_variable_is_wrong_usage() {
    let ended = run(gateloop()
        .arg("serve")
        .env("GATELOOP_MAX_MESSAGE", "1 stone"));
    assert_error(&ended, 2, "invalid value '1 stone' for '--max-message");
    let ended = run(gateloop().arg("serve").env("RUST_LOG", "gateloop=loudly"));
    assert_error(&ended, 2, "RUST_LOG: ");
}

#[test]
fn a_call_without_a_key_is_told_where_keys_come_from() {
    let ended = run(gateloop().args(["call", "127.0.0.1:1", "ping"]));
    assert_error(&ended, 2, "no key: give --authkey-file or GATELOOP_AUTHKEY");
}

// What cannot be done: exit code 1.

#[test]
fn a_second_instance_on_the_same_port_is_told_so() {
    let first = serving_with_key(&[]);
    for reactors in ["1", "2"] {
        let args = ["serve", "--listen", first.address(), "--reactors", reactors];
        let ended = gateloop_with_key(&args);
        assert_error(&ended, 1, first.address());
        assert!(ended.stderr.contains("in use"), "{ended:?}");
    }
    assert_eq!(first.stop().code, Some(0));
}

#[test]
fn an_address_of_another_machine_cannot_be_listened_on() {
    // Of TEST-NET-1, which no machine has.
    let ended = gateloop_with_key(&["serve", "--listen", "192.0.2.1:0"]);
    assert_error(&ended, 1, "192.0.2.1:0");
}

#[test]
fn without_a_handshake_only_this_machine_is_served() {
    let open = ["serve", "--handshake", "none", "--listen", "0.0.0.0:0"];
    let ended = run(gateloop().args(open));
    assert_error(&ended, 2, "handshake none on 0.0.0.0:0");
    assert!(ended.stderr.contains("--insecure"), "{ended:?}");
    let serving = Serving::from_command(gateloop().args(open).arg("--insecure"));
    assert_eq!(serving.stop().code, Some(0));
    let serving = Serving::from_command(gateloop().args(open).env("GATELOOP_INSECURE", "yes"));
    assert_eq!(serving.stop().code, Some(0));
}

#[test]
fn a_file_that_is_missing_is_named() {
    let ended = gateloop_with_key(&["serve", "--config", "no-such.toml"]);
    assert_error(&ended, 1, "no-such.toml: No such file");
    for args in [&["serve"][..], &["call", "127.0.0.1:1", "ping"]] {
        let ended = gateloop_with_key(&[args, &["--authkey-file", "no-such-key"]].concat());
        assert_error(&ended, 1, "no-such-key: No such file");
    }
}

#[test]
fn a_key_file_that_cannot_be_read_is_named() {
    // Nobody can read a folder; a file without permissions stays readable to root.
    let folder = env!("CARGO_TARGET_TMPDIR");
    for args in [&["serve"][..], &["call", "127.0.0.1:1", "ping"]] {
        let ended = gateloop_with_key(&[args, &["--authkey-file", folder]].concat());
        assert_error(&ended, 1, &format!("{folder}: Is a directory"));
    }
}

#[test]
fn an_empty_key_is_refused() {
    let folder = Folder::new("empty-key");
    for content in ["", "\n", "\r\n"] {
        let path = folder.write("key", content);
        let ended = gateloop_with_key(&["serve", "--authkey-file", &path]);
        assert_error(&ended, 1, "key: the key is empty");
    }
    let ended = run(gateloop().arg("serve").env("GATELOOP_AUTHKEY", ""));
    assert_error(&ended, 1, "GATELOOP_AUTHKEY: the key is empty");
}

// Which setting counts.

/// The largest message that the server says it serves.
fn message_limit(serving: &Serving) -> usize {
    let line = eventually("it logs that it is ready", || {
        serving
            .process
            .stderr()
            .lines()
            .find(|line| line.contains("ready"))
            .map(String::from)
    });
    let (_, limit) = line.split_once("message_bytes_max: ").expect("the limits");
    let digits = limit
        .split(|c: char| !c.is_ascii_digit())
        .next()
        .expect("a number");
    digits.parse().expect("a number")
}

#[test]
fn a_flag_goes_before_a_variable_and_a_variable_before_the_file() {
    let folder = Folder::new("precedence");
    let file = folder.write(
        "1.toml",
        format!("max-message = '1KiB'\nlisten = ['{FREE_PORT}']"),
    );
    let limit = |flag: Option<&str>, variable: Option<&str>| {
        let mut command = gateloop();
        command
            .args(["serve", "--config", &file])
            .env("GATELOOP_AUTHKEY", KEY);
        command.args(flag.iter().flat_map(|value| ["--max-message", value]));
        command.envs(variable.map(|value| ("GATELOOP_MAX_MESSAGE", value)));
        message_limit(&Serving::from_command(&mut command))
    };
    assert_eq!(limit(None, None), 1 << 10);
    assert_eq!(limit(None, Some("2KiB")), 2 << 10);
    assert_eq!(limit(Some("3KiB"), None), 3 << 10);
    assert_eq!(limit(Some("3KiB"), Some("2KiB")), 3 << 10);
}

#[test]
fn a_file_can_set_every_kind_of_value() {
    let folder = Folder::new("kinds");
    let socket = folder.path("socket");
    let file = folder.write(
        "all.toml",
        format!(
            "listen = ['{FREE_PORT}', 'unix:{}']\nframing = 'lines'\nhandshake = 'none'\n\
             backlog = 16\ninsecure = true\nidle-timeout = '1m 30s'\nmax-message = 4096\n",
            socket.display()
        ),
    );
    let serving = Serving::from_command(gateloop().args(["serve", "--config", &file]));
    assert_eq!(message_limit(&serving), 4096);
    assert_eq!(serving.addresses.len(), 2);
    assert_eq!(serving.addresses[1], format!("unix:{}", socket.display()));
    let log = serving.process.stderr();
    assert!(
        log.contains("framing=lines") && log.contains("idle_timeout: Some(90s)"),
        "{log}"
    );
    assert_eq!(serving.stop().code, Some(0));
    assert!(!socket.exists(), "the socket is left behind");
}

#[test]
fn several_addresses_may_be_given_by_flags_or_a_variable() {
    let serving = Serving::start(&["--listen", "[::1]:0", "--handshake", "none"]);
    assert_eq!(serving.addresses.len(), 2);
    for address in &serving.addresses {
        TcpStream::connect(address).expect("each of them listens");
    }
    let mut command = gateloop();
    command.args(["serve", "--handshake", "none"]);
    command.env("GATELOOP_LISTEN", "127.0.0.1:0,[::1]:0");
    assert_eq!(Serving::from_command(&mut command).addresses.len(), 2);
}

#[test]
fn connections_beyond_the_descriptors_are_lowered_or_refused() {
    let limited = |args: &str| {
        let mut shell = Command::new("sh");
        let gateloop = gateloop();
        let script = format!("ulimit -n 256 && exec \"$0\" serve --listen {FREE_PORT} {args}");
        shell
            .arg("-c")
            .arg(script)
            .arg(gateloop.get_program())
            .env("GATELOOP_AUTHKEY", KEY);
        shell
    };
    let ended = run(&mut limited("--max-connections 256"));
    assert_error(&ended, 1, "may open 256 descriptors");
    let lowered = Serving::from_command(&mut limited(""));
    let log = eventually("it warns", || {
        Some(lowered.process.stderr()).filter(|log| log.contains("max-connections lowered"))
    });
    assert!(
        log.contains("WARN") && log.contains("wanted=10000"),
        "{log}"
    );
    Serving::from_command(&mut limited("--max-connections 100"));
}

#[test]
fn the_log_is_text_or_json() {
    let serving = serving_with_key(&["--log-format", "json"]);
    let ended = serving.stop();
    for line in ended.stderr.lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert!(event["level"].is_string(), "{line}");
    }
    assert!(
        ended.stderr.contains(r#""message":"ready""#),
        "{}",
        ended.stderr
    );
}

// The key.

#[test]
fn a_key_that_was_given_is_never_shown() {
    let folder = Folder::new("given-key");
    let file = folder.write("key", format!("{KEY}\n"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("our own file");
    let by_file = ["serve", "--listen", FREE_PORT, "--authkey-file", &file];
    for serving in [
        Serving::from_command(gateloop().args(by_file).env("RUST_LOG", "trace")),
        serving_with_key(&["--log-format", "json"]),
    ] {
        let call = ["call", serving.address(), "ping"];
        assert_eq!(gateloop_with_key(&call).code, Some(0));
        let ended = serving.stop();
        assert_eq!(ended.stdout.lines().count(), 1, "{ended:?}");
        for output in [&ended.stdout, &ended.stderr] {
            assert!(!output.contains(KEY), "{output}");
            assert!(
                !output.contains("may be guessed") && !output.contains("chmod"),
                "{output}"
            );
        }
    }
}

#[test]
fn a_key_is_made_up_where_none_was_given() {
    let serving = Serving::start(&[]);
    let key = serving.made_up_key().expect("a key");
    let call = |key: &str| {
        run(gateloop()
            .args(["call", serving.address(), "ping"])
            .env("GATELOOP_AUTHKEY", key))
    };
    assert_eq!(call(&key).code, Some(0));
    assert_error(&call(KEY), 1, "key");
    let another = Serving::start(&[]).made_up_key();
    assert_ne!(
        another.as_deref(),
        Some(&*key),
        "it is said to change with every start"
    );
    assert!(
        !serving.stop().stderr.contains(&key),
        "the key is in the log"
    );
}

#[test]
fn what_is_said_about_a_made_up_key_can_be_pasted_into_python() {
    let serving = Serving::start(&[]);
    let stdout = serving.process.stdout();
    let line = stdout
        .lines()
        .find(|line| line.starts_with("from multiprocessing"));
    let ended = run(Command::new("python3")
        .arg("-c")
        .arg(line.expect("a line for Python")));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stdout.contains("pong") && ended.stdout.contains("\"id\":1"),
        "{ended:?}"
    );
}

#[test]
fn one_newline_at_the_end_of_a_key_file_is_dropped() {
    let folder = Folder::new("newline");
    for (content, key) in [
        ("k\n", "k"),
        ("k\r\n", "k"),
        ("k", "k"),
        ("k\n\n", "k\n"),
        ("k ", "k "),
    ] {
        let file = folder.write("key", content);
        let serving = Serving::start(&["--authkey-file", &file]);
        let mut call = gateloop();
        call.args(["call", serving.address(), "ping"])
            .env("GATELOOP_AUTHKEY", key);
        let ended = run(&mut call);
        assert_eq!(ended.code, Some(0), "{content:?}: {ended:?}");
    }
}

#[test]
fn a_weak_or_open_key_is_warned_of() {
    let folder = Folder::new("weak-key");
    let file = folder.write("key", "fifteen bytes !");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("our own file");
    let log = Serving::start(&["--authkey-file", &file]).stop().stderr;
    assert!(log.contains("less than 16 bytes"), "{log}");
    assert!(
        log.contains("others than its owner can read the key"),
        "{log}"
    );

    let serving = serving_with_key(&["--handshake", "none"]);
    let log = serving.stop().stderr;
    assert!(log.contains("the key is not used"), "{log}");
}

// `call`.

#[test]
fn a_call_prints_the_result_or_says_what_is_wrong() {
    let serving = serving_with_key(&[]);
    let call = |rest: &[&str]| gateloop_with_key(&[&["call", serving.address()], rest].concat());
    let ended = call(&["ping"]);
    assert_eq!(
        (ended.code, &*ended.stdout, &*ended.stderr),
        (Some(0), "\"pong\"\n", "")
    );
    assert_error(&call(&["no-such-method"]), 1, "(-32601)");
    let alien = call(&["ping", "--handshake", "none"]);
    assert_error(
        &alien,
        1,
        "are handshake, framing and service the server's?",
    );
    assert_eq!(call(&["ping", "--digests", "sha256"]).code, Some(0));
}

#[test]
fn parameters_may_come_from_standard_input_over_several_lines() {
    let serving = Serving::start(&["--handshake", "none", "--framing", "lines"]);
    let mut command = gateloop();
    command.args([
        "call",
        serving.address(),
        "echo",
        "-",
        "--handshake",
        "none",
    ]);
    command.args(["--framing", "lines"]).stdin(Stdio::piped());
    let mut process = Process::start(&mut command);
    process.write(b"[\n  \"a line\",\r\n  2\n]\n");
    let ended = process.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let result: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert!(
        ended.stdout.ends_with('\n') && result.to_string().contains("a line"),
        "{ended:?}"
    );
}

#[test]
fn a_call_says_why_there_is_no_answer() {
    let call = |address: &str| {
        let args = [
            "call",
            address,
            "ping",
            "--handshake",
            "none",
            "--timeout",
            "200ms",
        ];
        run(gateloop().args(args))
    };
    let listener = TcpListener::bind(FREE_PORT).expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    // The kernel accepts, and nobody answers.
    let ended = call(&address);
    assert_error(&ended, 1, &address);
    assert!(ended.stderr.contains("time"), "{ended:?}");

    let closing = std::thread::spawn(move || {
        let answers: [&[u8]; 3] = [b"", b"\0\0\0\x02{}", b"\0\0\0\x09no answer"];
        // The first in line is the client that gave up above.
        for answer in [&[b"" as &[u8]], &answers[..]].concat() {
            let (mut client, _) = listener.accept().expect("a client");
            client.write_all(answer).expect("room for it");
            client.shutdown(Shutdown::Write).expect("a connection");
            client
                .read_to_end(&mut Vec::new())
                .expect("the request, to its end");
        }
    });
    assert_error(&call(&address), 1, "closed without an answer");
    assert_error(&call(&address), 1, "the answer is not JSON-RPC");
    assert_error(&call(&address), 1, "the answer is not JSON-RPC");
    closing.join().expect("no panic");
    // Now nobody listens there.
    assert_error(&call(&address), 1, "refused");
}

// Help.

/// The commands of the example at the end of a subcommand's help.
fn example(subcommand: &str) -> Vec<String> {
    let help = run(gateloop().args([subcommand, "--help"]));
    assert_eq!((help.code, &*help.stderr), (Some(0), ""));
    let (_, example) = help.stdout.split_once("\nExample:\n").expect("an example");
    example
        .lines()
        .map(|line| line.trim().to_string())
        .collect()
}

#[test]
fn the_examples_of_the_help_can_be_typed() {
    let folder = Folder::new("examples");
    symlink(env!("CARGO_BIN_EXE_gateloop"), folder.path("gateloop")).expect("a free name");
    let path = format!(
        "{}:{}",
        folder.path("").display(),
        std::env::var("PATH").expect("a path")
    );
    let typed = |line: &str, address: &str| {
        let mut shell = Command::new("sh");
        let line = line.replace("127.0.0.1:9090", address);
        let line = if line.starts_with("gateloop") {
            format!("exec {line}")
        } else {
            line
        };
        shell
            .arg("-ec")
            .arg(line)
            .env("PATH", &path)
            .current_dir(folder.path(""));
        shell
    };
    let [make_key, serve, call] = &example("serve")[..] else {
        panic!("another example")
    };
    assert_eq!(run(&mut typed(make_key, "")).code, Some(0));
    let serving = Serving::from_command(&mut typed(serve, FREE_PORT));
    for call in [call, &example("call")[0]] {
        let ended = run(&mut typed(call, serving.address()));
        assert_eq!(
            (ended.code, &*ended.stdout),
            (Some(0), "\"pong\"\n"),
            "{ended:?}"
        );
    }
    assert_eq!(serving.stop().code, Some(0));
}

#[test]
fn the_python_of_the_readme_can_be_typed() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));
    let readme = readme.expect("the file");
    let (_, python) = readme.split_once("```python\n").expect("an example");
    let (python, _) = python.split_once("```").expect("its end");
    let (_, answer) = python.split_once("  # ").expect("what it prints");
    let serving = serving_with_key(&[]);
    let (_, port) = serving.address().split_once(':').expect("a port");
    let mut command = Command::new("python3");
    command.arg("-c").arg(python.replace("9090", port));
    let ended = run(command.env("GATELOOP_AUTHKEY", KEY));
    assert_eq!((ended.code, &*ended.stdout), (Some(0), answer), "{ended:?}");
}

#[test]
fn the_defaults_that_the_help_shows_are_those_of_the_limits() {
    let help = run(gateloop().args(["serve", "--help"])).stdout;
    for default in [
        "10000", "64MiB", "256KiB", "1GiB", "10s", "never", "i32be", "mutual", "rpc",
    ] {
        assert!(
            help.contains(&format!("[default: {default}")),
            "{default}: {help}"
        );
    }
}

// Stopping.

#[test]
fn either_signal_stops_it_with_exit_code_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let serving = serving_with_key(&[]);
        serving.process.signal(signal);
        let ended = serving.process.wait();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

/// A client that asks for a large answer and reads only its first byte, by which the server has
/// the whole request.
fn deaf_client(address: &str) -> TcpStream {
    let mut client = TcpStream::connect(address).expect("a listener");
    client
        .set_write_timeout(Some(PATIENCE))
        .expect("a time above 0");
    client
        .set_read_timeout(Some(PATIENCE))
        .expect("a time above 0");
    let message = vec![b'x'; 32 << 20];
    let header = u32::try_from(message.len())
        .expect("a small number")
        .to_be_bytes();
    client.write_all(&header).expect("a connection");
    client.write_all(&message).expect("a connection");
    client.read_exact(&mut [0]).expect("the server answers");
    client
}

#[test]
fn who_is_cut_off_is_counted_and_makes_exit_code_1() {
    let serving = Serving::start(&[
        "--handshake",
        "none",
        "--service",
        "echo",
        "--drain-timeout",
        "100ms",
    ]);
    let _client = deaf_client(serving.address());
    let ended = serving.stop();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("error: 1 connection was cut off"),
        "{ended:?}"
    );
}

#[test]
fn a_second_signal_does_not_wait() {
    let serving = Serving::start(&[
        "--handshake",
        "none",
        "--service",
        "echo",
        "--drain-timeout",
        "1h",
    ]);
    let _client = deaf_client(serving.address());
    serving.process.signal(Signal::TERM);
    eventually("it drains", || {
        serving.process.stderr().contains("draining").then_some(())
    });
    serving.process.signal(Signal::TERM);
    let ended = serving.process.wait();
    assert_eq!(ended.code, Some(1), "{ended:?}");
}
