//! The binary as it is used: its key, `call`, the examples of its help, its end.

#![cfg(feature = "cli")]

mod util;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use util::cli::{FREE_PORT, KEY, assert_error, gateloop_with_key, serving_with_key};
use util::{Folder, PATIENCE, Process, Serving, eventually, gateloop, run};

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
fn no_line_for_python_where_python_cannot_follow() {
    for (listen, framing, address) in [
        ("[::1]:0", "i32be", None),
        (FREE_PORT, "lines", None),
        ("0.0.0.0:0", "i32be", Some("(\"127.0.0.1\", ")),
    ] {
        let serve = ["serve", "--listen", listen, "--framing", framing];
        let serving = Serving::from_command(gateloop().args(serve));
        let stdout = serving.process.stdout();
        let line = stdout
            .lines()
            .find(|line| line.starts_with("from multiprocessing"));
        assert_eq!(line.is_some(), address.is_some(), "{stdout}");
        assert!(line.is_none_or(|line| line.contains(address.expect("one"))));
    }
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
    let call_within = |timeout, address| {
        let args = [
            "call",
            address,
            "ping",
            "--handshake",
            "none",
            "--timeout",
            timeout,
        ];
        run(gateloop().args(args))
    };
    let call = |address| call_within("60s", address);
    let listener = TcpListener::bind(FREE_PORT).expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    // The kernel accepts, and nobody answers.
    let ended = call_within("200ms", &address);
    assert_error(&ended, 1, &address);
    assert!(ended.stderr.contains("time"), "{ended:?}");

    let closing = std::thread::spawn(move || {
        let error = "{\"error\":{\"code\":1,\"message\":\"\u{9b}2J\",\"data\":[\"\u{9b}\",\n2]}}";
        let error = [
            &[0, 0, 0, u8::try_from(error.len()).expect("short")],
            error.as_bytes(),
        ];
        let error = error.concat();
        let answers: [&[u8]; 5] = [
            b"",
            b"\0\0\0\x02{}",
            b"\0\0\0\x09no answer",
            b"\0\0\0\x13{\"result\":0,\"id\":2}",
            &error,
        ];
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
    assert_error(&call(&address), 1, "it answers another request");
    // What a terminal would obey is not passed on.
    assert_error(&call(&address), 1, "error:  2J (1): [\" \", 2]");
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
