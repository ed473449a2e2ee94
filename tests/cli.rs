//! The binary as its operator sets it up: settings, their order, errors, exit codes.

#![cfg(feature = "cli")]

mod util;

use std::net::TcpStream;
use std::process::Command;

use util::cli::{FREE_PORT, KEY, assert_error, gateloop_with_key, serving_with_key};
use util::{Folder, Serving, eventually, gateloop, run};

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
fn rpc_cannot_be_behind_a_framing_without_messages() {
    let rpc = [
        "serve",
        "--listen",
        FREE_PORT,
        "--handshake",
        "none",
        "--framing",
        "raw",
    ];
    assert_error(&run(gateloop().args(rpc)), 2, "--framing raw");
    Serving::start(&[
        "--handshake",
        "none",
        "--framing",
        "raw",
        "--service",
        "echo",
    ]);
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
