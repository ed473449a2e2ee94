//! The framing `json` over real sockets, with what clients really send: values with nothing around
//! them, long, deep, cut, broken; and the service `rpc` behind it.

#![cfg(feature = "cli")]

mod util;

use std::io::Read;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use gateloop::error::{CloseReason, ProtocolError};
use gateloop::limits::{JSON_DEPTH_MAX, Limits, MESSAGE_BYTES_MAX};
use gateloop::protocol::FramingKind;
use gateloop::server::Config;
use gateloop::service::rpc::Rpc;
use gateloop::service::{Echo, Service};
use serde_json::Value;
use util::cli::assert_error;
use util::random::Random;
use util::seed::seed;
use util::server::{Raw, TestServer, open_config};
use util::{Serving, dawdle, eventually, gateloop, run};

const BROKEN: CloseReason = CloseReason::Protocol(ProtocolError::NotJson);

fn start(limits: Limits, service: impl Service) -> TestServer {
    let config = Config {
        framing: FramingKind::Json,
        limits,
        ..open_config()
    };
    TestServer::start(config, service)
}

/// Sends a value and expects the same back, bare.
fn echo(client: &mut Raw, value: &[u8]) {
    client.send(value);
    assert!(client.recv(value.len()) == value, "another answer");
}

#[test]
fn values_come_back_bare_and_one_by_one() {
    let server = start(Limits::default(), Echo);
    let mut client = server.connect();
    echo(
        &mut client,
        br#"{"username": "\u65ed\u54e5", "passwd": "123"}"#,
    );
    client.send(b" [1]\n\n{}\"x\"true ");
    assert_eq!(client.recv(10), b"[1]{}\"x\"tr");
    client.send(b"12");
    assert_eq!(client.recv(2), b"ue");
    assert!(client.is_silent(), "a number may go on");
    client.send(b"3");
    client.shutdown_write();
    assert_eq!(client.recv_to_end(), b"123");
    eventually("each is counted", || {
        (server.stats.messages.load(Relaxed) == 6).then_some(())
    });
}

#[test]
fn a_value_arrives_in_ten_thousand_segments() {
    let mut random = Random(seed());
    let server = start(Limits::default(), Echo);
    let mut client = server.connect();
    let members: Vec<_> = (0..2_000)
        .map(|n| format!("\"\\\"{n}\\\\\": [{{\"天王盖地虎\": -{n}.5e3}}]"))
        .collect();
    let value = format!("{{{}}}", members.join(", "));
    let mut rest = value.as_bytes();
    for left in (1..=10_000).rev() {
        let piece = random.up_to((2 * rest.len() / left).clamp(1, rest.len() - (left - 1)));
        let piece = if left == 1 { rest.len() } else { piece };
        client.send(&rest[..piece]);
        rest = &rest[piece..];
    }
    assert!(client.recv(value.len()) == value.as_bytes());
    echo(&mut client, b"[\"the next\"]");
}

#[test]
fn one_string_takes_the_whole_limit_and_not_a_byte_more() {
    let server = start(Limits::default(), Echo);
    let value = |len: usize| [&b"\""[..], &vec![b'x'; len - 2], b"\""].concat();
    let at_limit = value(MESSAGE_BYTES_MAX);
    let mut client = server.connect();
    let mut writer = client.0.try_clone().expect("a descriptor");
    std::thread::scope(|scope| {
        scope.spawn(|| std::io::Write::write_all(&mut writer, &at_limit).expect("a reader"));
        assert!(client.recv(at_limit.len()) == at_limit);
    });
    echo(&mut client, b"[]");
    // What is no end is not waited for: the connection ends at the first byte too many.
    let limits = Limits {
        message_bytes_max: 1_000,
        ..Limits::default()
    };
    let server = start(limits, Echo);
    let mut client = server.connect();
    echo(&mut client, &value(1_000));
    client.send(&value(1_001)[..1_000]);
    eventually("all of it is read", || {
        (server.stats.bytes_in.load(Relaxed) == 2_000).then_some(())
    });
    assert!(client.is_silent());
    client.send(b"x");
    assert_eq!(client.recv_to_end(), b"");
    drop(client);
    server.wait_for_closes(BROKEN, 1);
}

#[test]
fn what_cannot_be_served_ends_with_what_could_be_answered() {
    let server = start(Limits::default(), Echo);
    let deep = "[".repeat(10_000);
    let most = usize::from(JSON_DEPTH_MAX);
    let nested = ["[".repeat(most), "]".repeat(most)].concat();
    let mut ends = 0;
    for (sent, answered) in [
        (&*deep, ""),
        (&*format!("{nested}[{nested}"), &*nested),
        ("[1]]", "[1]"),
        ("{}\0", "{}"),
        ("hello", ""),
        ("{]", ""),
    ] {
        let mut client = server.connect();
        client.send(sent.as_bytes());
        assert_eq!(client.recv_to_end(), answered.as_bytes(), "{sent}");
        drop(client);
        ends += 1;
        server.wait_for_closes(BROKEN, ends);
    }
    for truncated in ["{\"a\": ", "\"a\\", "nul", "-"] {
        let mut client = server.connect();
        client.send(format!("[]{truncated}").as_bytes());
        client.shutdown_write();
        assert_eq!(client.recv_to_end(), b"[]", "{truncated}");
        ends += 1;
        server.wait_for_closes(CloseReason::Protocol(ProtocolError::TruncatedMessage), ends);
    }
}

#[test]
fn blanks_behind_a_value_are_no_message_that_arrives() {
    let limits = Limits {
        arrival_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let server = start(limits, Echo);
    let mut client = server.connect();
    for blank in [&b"\n"[..], b" ", b"\r\n\t  "] {
        client.send(&[b"[]", blank].concat());
        assert_eq!(client.recv(2), b"[]");
        client.send(blank);
    }
    // Longer than a message may take to arrive.
    dawdle(Duration::from_millis(150));
    assert!(client.is_silent());
    assert_eq!(server.stats.buffer_bytes.load(Relaxed), 0);
    echo(&mut client, b"{}");
    // One that has begun must arrive.
    client.send(b" {");
    assert_eq!(client.recv_to_end(), b"");
    drop(client);
    server.wait_for_closes(CloseReason::ArrivalTimeout, 1);
}

#[test]
fn bytes_that_are_no_text_are_for_the_service_to_judge() {
    for (service, answer) in [("echo", None), ("rpc", Some(-32700))] {
        let framing = ["--framing", "json", "--service", service];
        let serving = Serving::start_open(&framing);
        let mut client = serving.connect();
        for value in [
            &b"\"\xff\xfe\""[..],
            b"[\"\0\"]",
            b"[{]]",
            b"{\"a\" 1}",
            b"[,]",
        ] {
            client.send(value);
            match answer {
                None => assert_eq!(client.recv(value.len()), value),
                Some(code) => assert_eq!(answered(&mut client)["error"]["code"], code),
            }
        }
    }
}

/// The next answer, which must be one JSON value.
fn answered(client: &mut Raw) -> Value {
    let mut bytes = Vec::new();
    loop {
        let mut byte = [0];
        client.0.read_exact(&mut byte).expect("an answer");
        bytes.push(byte[0]);
        if let Ok(value) = serde_json::from_slice(&bytes) {
            return value;
        }
    }
}

#[test]
fn rpc_is_spoken_bare() {
    let server = start(Limits::default(), Rpc::new());
    let mut client = server.connect();
    let call = |id: u32, method: &str| {
        format!("{{\"jsonrpc\": \"2.0\", \"id\": {id}, \"method\": \"{method}\"}}")
    };
    client.send([call(1, "ping"), call(2, "ping")].concat().as_bytes());
    assert_eq!(answered(&mut client)["id"], 1);
    assert_eq!(answered(&mut client)["id"], 2);
    client.send(format!("[{}]", call(3, "ping")).as_bytes());
    assert_eq!(answered(&mut client)[0]["result"], "pong");
    client.send(b"7 ");
    assert_eq!(answered(&mut client)["error"]["code"], -32600);
}

#[test]
fn call_speaks_every_framing_that_has_messages() {
    for framing in ["i32be", "i32le", "json", "lines"] {
        let serving = Serving::start_open(&["--framing", framing]);
        let call = |framing: &str| {
            let call = ["call", serving.address(), "echo", "[\"天王盖地虎\", 1]"];
            let settings = ["--handshake", "none", "--framing", framing];
            run(gateloop()
                .args(call)
                .args(settings)
                .args(["--timeout", "1s"]))
        };
        let ended = call(framing);
        assert_eq!(ended.stdout, "[\"天王盖地虎\", 1]\n", "{ended:?}");
        if framing == "i32be" {
            assert_error(&call("i32le"), 1, "closed");
        }
    }
}
