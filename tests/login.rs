//! Logging in to a real server: what is right, what is wrong, and what it costs to be wrong.

#![cfg(feature = "cli")]

mod util;

use std::fs;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateloop::address::Address;
use gateloop::client::{self, Client};
use gateloop::error::CloseReason;
use gateloop::limits::{LOGIN_FAILURES_MAX, PENALTY_FIRST};
use gateloop::protocol::HandshakeRules;
use gateloop::server::Config;
use gateloop::service::rpc::Rpc;
use gateloop::service::users::UserFile;
use gateloop::service::{Login, Logins};
use rustix::process::Signal;
use serde_json::{Value, json};
use util::cli::{FREE_PORT, assert_error};
use util::python::installed;
use util::server::{Raw, TestServer, open_config};
use util::users::{argon2_line, cheap_line, md5_line};
use util::{Folder, PATIENCE, Process, Serving, eventually, gateloop, run};

const SUCCESS: &[u8] = b"success!";
const FAILED: &[u8] = b"failed!";

/// A server of the service `login`, with a user file of its own.
struct Hall {
    server: TestServer,
    file: Arc<UserFile>,
    folder: Folder,
}

impl Hall {
    fn new(name: &str, users: &str) -> Self {
        Self::start(name, users, |logins, config| {
            TestServer::start(config, Login::new(logins))
        })
    }

    fn rpc(name: &str, users: &str) -> Self {
        Self::start(name, users, |logins, config| {
            let greet = |call: &gateloop::service::rpc::Call<'_>| Ok(call.user().map(String::from));
            let rpc = Rpc::new()
                .with_logins(logins)
                .method("greet", "none", "who calls", greet);
            TestServer::start(config, rpc)
        })
    }

    fn start(name: &str, users: &str, start: impl FnOnce(Logins, Config) -> TestServer) -> Self {
        let folder = Folder::new(name);
        let path = folder.write("users", users);
        let file = Arc::new(UserFile::open(path).expect("a user file"));
        let logins = Logins::new(Arc::clone(&file), true);
        Self {
            server: start(logins, open_config()),
            file,
            folder,
        }
    }

    fn path(&self) -> &Path {
        self.file.path()
    }
}

fn attempt(name: &str, password: &str) -> Vec<u8> {
    json!({"username": name, "passwd": password})
        .to_string()
        .into_bytes()
}

/// Sends an attempt; the answer, and how long it took.
fn try_in(client: &mut Raw, message: &[u8]) -> (Vec<u8>, Duration) {
    let begun = Instant::now();
    client.send_frame(message);
    (client.recv_frame(), begun.elapsed())
}

#[track_caller]
fn assert_in(client: &mut Raw, name: &str, password: &str) {
    assert_eq!(try_in(client, &attempt(name, password)).0, SUCCESS);
}

/// That it fails, and not before this many waits.
#[track_caller]
fn assert_out(client: &mut Raw, message: &[u8], waits: u32) {
    let (answer, time) = try_in(client, message);
    assert_eq!(answer, FAILED);
    assert!(time >= waits * PENALTY_FIRST, "{time:?}");
}

fn wrong() -> Vec<u8> {
    attempt("alice", "wrong")
}

/// Another address of the loopback interface for each.
fn from(n: u8) -> IpAddr {
    [127, 0, 3, n].into()
}

// The service.

#[test]
fn users_are_told_from_others() {
    let users = md5_line("旭哥", "123") + &cheap_line("alice", "a\"\\\n密") + &md5_line("a|b", "");
    let hall = Hall::new("login-users", &users);
    let mut client = hall.server.connect();
    assert_in(&mut client, "旭哥", "123");
    assert_in(&mut client, "alice", "a\"\\\n密");
    // As Python writes it.
    let escaped = br#" {"username": "\u65ed\u54e5", "passwd": "\u0031\u00323"} "#;
    assert_eq!(try_in(&mut client, escaped).0, SUCCESS);
    let more = br#"{"more": [1, {"x": null}], "passwd": "123", "username": "\u65ed\u54e5"}"#;
    assert_eq!(try_in(&mut client, more).0, SUCCESS);
    for (n, (name, password)) in [
        ("旭哥", "124"),
        ("旭哥", "12"),
        ("", "123"),
        ("旭", "哥123"),
        ("alice", "A\"\\\n密"),
        ("nobody", "x"),
        ("a|b", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = Raw::connect_from(from(n as u8 + 1), hall.server.address);
        assert_out(&mut client, &attempt(name, password), 1);
    }
}

#[test]
fn whatever_is_no_attempt_is_a_failed_one() {
    let hall = Hall::new("login-malformed", &md5_line("alice", "a"));
    for (n, message) in [
        &b""[..],
        b"{",
        b"null",
        b"success!",
        br#"["alice", "a"]"#,
        br#"{"username": "alice"}"#,
        br#"{"username": "alice", "passwd": 1}"#,
        br#"{"username": "alice", "passwd": null}"#,
        br#"{"username": "alice", "passwd": "a"} x"#,
        br#"{"username": "alice", "passwd": "a", "passwd": "b"}"#,
        b"{\"username\": \"alice\", \"passwd\": \"\xff\"}",
        br#"{"username": "\ud800", "passwd": "a"}"#,
        &[b"[".repeat(100_000), b"]".repeat(100_000)].concat(),
        &[&br#"{"x": "#[..], &b"[".repeat(100_000)].concat(),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = Raw::connect_from(from(n as u8 + 1), hall.server.address);
        assert_out(&mut client, message, 1);
        assert_in(&mut client, "alice", "a");
    }
}

#[test]
fn answers_come_in_the_order_of_their_attempts() {
    let hall = Hall::new("login-order", &cheap_line("alice", "a"));
    let mut client = hall.server.connect();
    let right = attempt("alice", "a");
    for message in [&right, &wrong(), &right, &wrong(), &right] {
        client.send_frame(message);
    }
    client.shutdown_write();
    for answer in [SUCCESS, FAILED, SUCCESS, FAILED, SUCCESS] {
        assert_eq!(client.recv_frame(), answer);
    }
    assert_eq!(client.recv_to_end(), b"");
}

// What failures cost.

#[test]
fn failures_cost_their_address_a_growing_wait_and_nobody_else() {
    let hall = Hall::new("login-waits", &cheap_line("alice", "a"));
    let connect = |n| Raw::connect_from(from(n), hall.server.address);
    let (mut one, mut same) = (connect(1), connect(1));
    assert_out(&mut one, &wrong(), 1);
    assert_out(&mut same, &wrong(), 2);
    assert_out(&mut one, b"no attempt", 4);
    // While it waits for the fourth, what is right is not delayed, there and elsewhere.
    one.send_frame(&wrong());
    for client in [&mut connect(2), &mut connect(1)] {
        let (answer, time) = try_in(client, &attempt("alice", "a"));
        assert_eq!(answer, SUCCESS);
        assert!(time < 8 * PENALTY_FIRST, "{time:?}");
    }
    assert!(one.is_silent());
    assert_eq!(one.recv_frame(), FAILED);
    // And it has cleared what there was.
    let (answer, time) = try_in(&mut same, &wrong());
    assert_eq!(answer, FAILED);
    assert!(time < 8 * PENALTY_FIRST, "{time:?}");
}

#[test]
fn so_many_failures_on_one_connection_end_it() {
    let hall = Hall::new("login-end", &cheap_line("alice", "a"));
    let mut client = Raw::connect_from(from(1), hall.server.address);
    let mut other = Raw::connect_from(from(1), hall.server.address);
    for _ in 1..LOGIN_FAILURES_MAX {
        client.send_frame(&wrong());
        assert_eq!(client.recv_frame(), FAILED);
        // That of the address is cleared; that of the connection is not.
        assert_in(&mut other, "alice", "a");
    }
    assert_in(&mut client, "alice", "a");
    for _ in 1..LOGIN_FAILURES_MAX {
        client.send_frame(&wrong());
        assert_eq!(client.recv_frame(), FAILED);
        assert_in(&mut other, "alice", "a");
    }
    assert_eq!(hall.server.closes(CloseReason::LoginFailures), 0);
    client.send_frame(&wrong());
    client.send_frame(&attempt("alice", "a"));
    assert_eq!(client.recv_frame(), FAILED);
    assert_eq!(client.recv_to_end(), b"", "it is answered no more");
    drop(client);
    hall.server.wait_for_closes(CloseReason::LoginFailures, 1);
}

#[test]
fn on_a_unix_socket_each_connection_counts_for_itself() {
    let folder = Folder::new("login-unix");
    let file = UserFile::open(folder.write("users", md5_line("alice", "a"))).expect("a file");
    let path = folder.path("socket");
    let mut config = open_config();
    config.listen.push(Address::Unix(path.clone()));
    let logins = Logins::new(Arc::new(file), false);
    let _server = TestServer::start(config, Login::new(logins));
    let connect = || {
        let config = client::Config::new(HandshakeRules::None);
        Client::connect(&Address::Unix(path.clone()), config).expect("the server listens")
    };
    let fail = |client: &mut Client| {
        let begun = Instant::now();
        client.send(&wrong()).expect("sent");
        assert_eq!(
            client.recv().expect("an answer").expect("an answer"),
            FAILED
        );
        begun.elapsed()
    };
    let (mut one, mut other) = (connect(), connect());
    for waits in [1, 2, 4] {
        assert!(fail(&mut one) >= waits * PENALTY_FIRST);
    }
    assert!(
        fail(&mut other) < 8 * PENALTY_FIRST,
        "it pays for the other one"
    );
    assert!(UnixStream::connect(&path).is_ok());
}

#[test]
fn who_waits_for_a_failure_is_told_when_the_server_stops() {
    let hall = Hall::new("login-stop", &md5_line("alice", "a"));
    let mut clients: Vec<_> = (0..8).map(|_| hall.server.connect()).collect();
    for client in &mut clients {
        client.send_frame(&wrong());
    }
    eventually("all are served", || {
        (hall.server.stats.snapshot().messages == 8).then_some(())
    });
    let begun = Instant::now();
    hall.server.stop.drain();
    for client in &mut clients {
        assert_eq!(client.recv_frame(), FAILED);
        assert_eq!(client.recv_to_end(), b"");
    }
    drop(clients);
    assert_eq!(hall.server.wait().cut, 0);
    // The last of them would have waited for ten seconds.
    assert!(begun.elapsed() < Duration::from_secs(8));
}

// What tells nothing.

#[test]
fn an_attempt_costs_the_same_whoever_it_names() {
    let users =
        md5_line("md5", "x") + &cheap_line("argon2", "x") + &argon2_line("dear", "x", 64, 2);
    let hall = Hall::start("login-cost", &users, |logins, config| {
        TestServer::start(config, Login::new(logins))
    });
    for (n, (name, password)) in [
        ("argon2", "x"),
        ("argon2", "wrong"),
        ("dear", "wrong"),
        ("md5", "wrong"),
        ("nobody", "wrong"),
    ]
    .into_iter()
    .enumerate()
    {
        let before = hall.file.argon2_runs();
        let mut client = Raw::connect_from(from(n as u8 + 1), hall.server.address);
        let _ = try_in(&mut client, &attempt(name, password));
        assert_eq!(hall.file.argon2_runs() - before, 1, "{name} {password}");
    }
}

// The file while it is in use.

#[test]
fn md5_is_upgraded_by_a_good_login_and_no_other() {
    let hall = Hall::new(
        "login-upgrade",
        &format!("# hall\n{}", md5_line("alice", "a")),
    );
    let mut client = hall.server.connect();
    let before = fs::read_to_string(hall.path()).expect("a file");
    assert_out(&mut client, &wrong(), 1);
    assert_eq!(fs::read_to_string(hall.path()).expect("a file"), before);
    assert_in(&mut client, "alice", "a");
    let after = fs::read_to_string(hall.path()).expect("a file");
    assert!(after.starts_with("# hall\nalice | $argon2id$"), "{after}");
    assert_in(&mut client, "alice", "a");
    assert_out(&mut client, &wrong(), 1);
    assert_eq!(fs::read_to_string(hall.path()).expect("a file"), after);
}

#[test]
fn a_file_that_cannot_be_upgraded_lets_its_users_in_all_the_same() {
    let hall = Hall::new("login-no-upgrade", &md5_line("alice", "a"));
    // The new file cannot be made where a folder has its name.
    fs::create_dir(hall.folder.path(".users.new")).expect("a folder");
    let mut client = hall.server.connect();
    assert_in(&mut client, "alice", "a");
    let content = fs::read_to_string(hall.path()).expect("a file");
    assert_eq!(content, md5_line("alice", "a"));
}

#[test]
fn a_changed_file_is_in_force_and_a_broken_one_is_not() {
    let hall = Hall::new("login-changed", &cheap_line("alice", "a"));
    let mut client = hall.server.connect();
    assert_in(&mut client, "alice", "a");
    fs::write(hall.path(), cheap_line("bob", "b")).expect("a file");
    assert_in(&mut client, "bob", "b");
    assert_out(&mut client, &attempt("alice", "a"), 1);
    fs::write(hall.path(), cheap_line("alice", "a") + "broken").expect("a file");
    assert_in(&mut client, "bob", "b");
    fs::remove_file(hall.path()).expect("a file");
    assert_in(&mut client, "bob", "b");
}

// The binary.

#[test]
fn the_binary_serves_the_file_and_reads_it_anew_at_sighup() {
    let folder = Folder::new("login-binary");
    let file = folder.write("users", md5_line("旭哥", "123"));
    let serving = Serving::start_open(&["--service", "login", "--users", &file]);
    let mut client = serving.connect();
    assert_in(&mut client, "旭哥", "123");
    folder.write("users", "旭哥 | 123");
    serving.process.signal(Signal::HUP);
    let why = "line 1: the hash is neither";
    eventually("the log names the broken line", || {
        serving.process.stderr().contains(why).then_some(())
    });
    assert_in(&mut client, "旭哥", "123");
    folder.write("users", md5_line("旭哥", "321"));
    serving.process.signal(Signal::HUP);
    eventually("the log says that it was read", || {
        serving
            .process
            .stderr()
            .contains("user file read")
            .then_some(())
    });
    assert_in(&mut client, "旭哥", "321");
    drop(client);
    let ended = serving.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let hash = md5_line("旭哥", "321");
    let (_, hash) = hash.trim().split_once("| ").expect("a hash");
    assert!(
        !ended.stderr.contains(hash) && !ended.stderr.contains("321"),
        "{ended:?}"
    );
}

#[test]
fn settings_that_do_not_go_together_are_wrong_usage() {
    let folder = Folder::new("login-usage");
    let file = folder.write("users", md5_line("alice", "a"));
    let twice = folder.write("twice", md5_line("alice", "a") + &md5_line("alice", "b"));
    let serve = |args: &[&str]| {
        let open = ["serve", "--listen", FREE_PORT, "--handshake", "none"];
        run(gateloop().args(open).args(args))
    };
    let login = ["--service", "login", "--users", &file];
    for (args, code, why) in [
        (
            &["--service", "login"][..],
            2,
            "--service login needs --users",
        ),
        (
            &["--service", "echo", "--users", &file],
            2,
            "--users is for login and rpc",
        ),
        (
            &["--upgrade-hashes"],
            2,
            "required arguments were not provided",
        ),
        (
            &[&login[..], &["--framing", "raw"]].concat(),
            2,
            "--framing raw",
        ),
        (&["--users", "/nowhere"], 1, "/nowhere: No such file"),
        (
            &["--users", &twice],
            1,
            &format!("{twice}: line 2: the same name as in line 1"),
        ),
    ] {
        assert_error(&serve(args), code, why);
    }
    let settings = format!("service = \"login\"\nusers = {file:?}\nupgrade-hashes = true\n");
    let settings = folder.write("settings.toml", settings);
    let serving = Serving::start_open(&["--config", &settings]);
    assert_in(&mut serving.connect(), "alice", "a");
    let content = fs::read_to_string(&file).expect("a file");
    assert!(content.starts_with("alice | $argon2id$"), "{content}");
}

// As methods of rpc.

fn call(client: &mut Raw, method: &str, params: &Value) -> Value {
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    client.send_frame(request.to_string().as_bytes());
    serde_json::from_slice(&client.recv_frame()).expect("JSON")
}

fn user(client: &mut Raw) -> Value {
    let who = call(client, "whoami", &json!([]))["result"]["user"].take();
    assert_eq!(call(client, "greet", &json!([]))["result"], who);
    who
}

#[test]
fn a_connection_is_its_users_from_login_to_logout() {
    let users = md5_line("旭哥", "123") + &cheap_line("alice", "a");
    let hall = Hall::rpc("login-rpc", &users);
    let (mut client, mut other) = (hall.server.connect(), hall.server.connect());
    assert_eq!(user(&mut client), Value::Null);
    let by_name = json!({"name": "旭哥", "password": "123"});
    assert_eq!(
        call(&mut client, "login", &by_name)["result"],
        json!({"user": "旭哥"})
    );
    assert_eq!(user(&mut client), "旭哥");
    assert_eq!(user(&mut other), Value::Null);
    // One who fails to become somebody else stays who he is.
    let begun = Instant::now();
    let answer = call(&mut client, "login", &json!(["alice", "wrong"]));
    assert!(begun.elapsed() >= PENALTY_FIRST);
    assert_eq!(
        answer["error"],
        json!({"code": -32001, "message": "login failed"})
    );
    assert_eq!(user(&mut client), "旭哥");
    let by_position = json!(["alice", "a"]);
    assert_eq!(
        call(&mut client, "login", &by_position)["result"],
        json!({"user": "alice"})
    );
    assert_eq!(user(&mut client), "alice");
    assert_eq!(
        call(&mut client, "logout", &json!([1]))["error"]["code"],
        -32602
    );
    assert_eq!(user(&mut client), "alice");
    assert_eq!(
        call(&mut client, "logout", &json!([]))["result"],
        json!({"user": null})
    );
    assert_eq!(user(&mut client), Value::Null);
    assert_eq!(
        call(&mut client, "logout", &json!([]))["result"],
        json!({"user": null})
    );
}

#[test]
fn what_is_no_login_is_told_what_one_takes() {
    let hall = Hall::rpc("login-rpc-params", &md5_line("alice", "a"));
    let mut client = hall.server.connect();
    for params in [
        json!([]),
        json!(["alice"]),
        json!({"name": "alice"}),
        json!([1, 2]),
    ] {
        let error = call(&mut client, "login", &params)["error"].take();
        assert_eq!(error["code"], -32602);
        assert_eq!(error["data"], "params: name: string, password: string");
    }
    // No user can have such a name or password: they cost what others do.
    for params in [
        json!(["", "x"]),
        json!(["#alice", "x"]),
        json!(["alice", ""]),
    ] {
        assert_eq!(call(&mut client, "login", &params)["error"]["code"], -32001);
    }
}

#[test]
fn one_login_is_under_way_at_a_time() {
    let hall = Hall::rpc("login-rpc-twice", &cheap_line("alice", "a"));
    let mut client = hall.server.connect();
    let login = |id: u8, password: &str| {
        let params = json!(["alice", password]);
        json!({"jsonrpc": "2.0", "id": id, "method": "login", "params": params})
    };
    let ping = json!({"jsonrpc": "2.0", "id": 3, "method": "ping"});
    let mut received = |batch: &Value| -> Vec<Value> {
        client.send_frame(batch.to_string().as_bytes());
        let answers = serde_json::from_slice(&client.recv_frame()).expect("a batch");
        let mut answers: Vec<Value> = answers;
        answers.sort_by_key(|answer| answer["id"].as_u64());
        answers
    };
    let answers = received(&json!([login(1, "wrong"), login(2, "a"), ping]));
    assert_eq!(answers[0]["error"]["code"], -32001);
    assert_eq!(answers[1]["error"]["message"], "another login is under way");
    assert_eq!(answers[2]["result"], "pong");
    let answers = received(&json!([login(1, "a"), ping]));
    assert_eq!(answers[0]["result"], json!({"user": "alice"}));
    assert_eq!(user(&mut client), "alice");
}

#[test]
fn a_notification_logs_in_silently() {
    let hall = Hall::rpc("login-rpc-notification", &cheap_line("alice", "a"));
    let mut client = hall.server.connect();
    let notify = |client: &mut Raw, method: &str, params: Value| {
        let request = json!({"jsonrpc": "2.0", "method": method, "params": params});
        client.send_frame(request.to_string().as_bytes());
    };
    notify(&mut client, "login", json!(["alice", "a"]));
    eventually("it is logged in", || {
        let who = call(&mut client, "whoami", &json!([]));
        (who["result"]["user"] == "alice").then_some(())
    });
    notify(&mut client, "logout", json!([]));
    assert_eq!(user(&mut client), Value::Null);
}

#[test]
fn failures_end_an_rpc_connection_too() {
    let hall = Hall::rpc("login-rpc-end", &cheap_line("alice", "a"));
    let mut client = Raw::connect_from(from(1), hall.server.address);
    let mut other = Raw::connect_from(from(1), hall.server.address);
    for _ in 0..LOGIN_FAILURES_MAX {
        let answer = call(&mut client, "login", &json!(["alice", "wrong"]));
        assert_eq!(answer["error"]["code"], -32001);
        let answer = call(&mut other, "login", &json!(["alice", "a"]));
        assert_eq!(answer["result"]["user"], "alice");
    }
    assert_eq!(client.recv_to_end(), b"");
    drop(client);
    hall.server.wait_for_closes(CloseReason::LoginFailures, 1);
}

#[test]
fn without_a_user_file_there_is_no_login() {
    let server = TestServer::start(open_config(), Rpc::new());
    let mut client = server.connect();
    for method in ["login", "logout"] {
        assert_eq!(
            call(&mut client, method, &json!(["a", "b"]))["error"]["code"],
            -32601
        );
    }
    assert_eq!(
        call(&mut client, "whoami", &json!([]))["result"]["user"],
        Value::Null
    );
    assert!(
        call(&mut client, "whoami", &json!([]))["result"]
            .get("user")
            .is_some()
    );
}

// Beside others.

#[test]
fn a_ping_is_not_held_up_by_a_hundred_logins() {
    const LOGINS: usize = 100;
    /// A busy machine in a debug build; the loop itself needs a thousandth.
    const SOON: Duration = Duration::from_millis(250);
    let hall = Hall::rpc("login-beside", &argon2_line("alice", "a", 19 * 1024, 2));
    let request = json!({
        "jsonrpc": "2.0", "id": 1, "method": "login", "params": ["alice", "a"]
    });
    let mut clients: Vec<_> = (0..LOGINS).map(|_| hall.server.connect()).collect();
    for client in &mut clients {
        client.send_frame(request.to_string().as_bytes());
    }
    let mut client = hall.server.connect();
    let mut times = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while hall.server.stats.snapshot().jobs < LOGINS as u64 {
        assert!(Instant::now() < deadline, "the logins do not end");
        let begun = Instant::now();
        assert_eq!(client.call("ping"), "pong");
        times.push(begun.elapsed());
    }
    times.sort();
    let p99 = times[times.len() * 99 / 100];
    assert!(p99 < SOON, "{p99:?} of {} pings", times.len());
    for client in &mut clients {
        let answer: Value = serde_json::from_slice(&client.recv_frame()).expect("JSON");
        assert_eq!(answer["result"]["user"], "alice");
    }
}

// The document and the clients that are out there.

#[test]
fn the_examples_of_the_document() {
    let document = include_str!("../docs/PROTOCOL.md");
    let (_, rows) = document
        .split_once("<!-- vectors: login -->")
        .expect("a mark");
    let rows = rows.trim_start().lines().skip(2);
    let rows: Vec<_> = rows.take_while(|row| row.starts_with('|')).collect();
    assert!(rows.len() > 5, "{rows:?}");
    let hall = Hall::new("login-document", &md5_line("旭哥", "123"));
    for (n, row) in rows.into_iter().enumerate() {
        let (message, answer) = row.trim_matches('|').split_once(" | ").expect("two cells");
        let cell = |text: &str| text.trim().trim_matches('`').to_owned();
        let mut client = Raw::connect_from(from(n as u8 + 1), hall.server.address);
        let (got, _) = try_in(&mut client, cell(message).as_bytes());
        assert_eq!(String::from_utf8_lossy(&got), cell(answer), "{row}");
    }
}

#[test]
fn the_classic_clients_of_every_python() {
    let users = md5_line("旭哥", "123") + &cheap_line("alice", "宝塔镇河妖 \"\\");
    let folder = Folder::new("login-python");
    let file = folder.write("users", users);
    let serve = |framing| {
        let login = ["--service", "login", "--users", &file, "--framing", framing];
        Serving::start_open(&login)
    };
    let (bare, framed) = (serve("json"), serve("i32be"));
    let task = json!({
        "bare": bare.socket_address().port(),
        "framed": framed.socket_address().port(),
        "attempts": [["旭哥", "123"], ["alice", "宝塔镇河妖 \"\\"], ["旭哥", "124"]],
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/login.py");
    let (right, wrong) = ("success!", "failed!");
    for python in installed() {
        let mut command = Command::new(&python);
        command.arg("-I").arg(&script).stdin(Stdio::piped());
        let mut process = Process::start(&mut command);
        process.write(task.to_string().as_bytes());
        let ended = process.wait();
        assert_eq!(ended.code, Some(0), "{}: {ended:?}", python.display());
        let answers: Vec<String> = serde_json::from_str(&ended.stdout).expect("JSON");
        let each = [right, right, wrong, right, right, wrong];
        assert_eq!(answers, each, "{}", python.display());
    }
}
