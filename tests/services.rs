//! What a service does, and does wrong, stays with the connection whose message it was; what it
//! defers comes back to the one who asked.

#![cfg(feature = "cli")]

mod util;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use gateloop::error::CloseReason;
use gateloop::limits::{DEFERRED_PER_CONNECTION_MAX, JOBS_QUEUED_MAX, Limits, MESSAGE_BYTES_MAX};
use gateloop::protocol::Message;
use gateloop::server::Config;
use gateloop::service::rpc::{Rpc, RpcError};
use gateloop::service::{Flow, Replies};
use serde_json::{Value, json};
use util::eventually;
use util::measure::wait_until_arrived;
use util::server::{Raw, TestServer, frame, open_config};
use util::services::{Gate, defer, job, ordered, slow, unordered};

const MIB: usize = 1024 * 1024;

const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const TOO_LONG_A_BATCH: i64 = -32000;

// Panics and closing.

/// Splits a stream into its messages, all of which must be whole.
fn whole_frames(mut stream: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = stream.split_first_chunk() {
        let len = usize::try_from(i32::from_be_bytes(*header)).expect("a length");
        let (frame, rest) = rest.split_at_checked(len).expect("a whole message");
        frames.push(frame.to_vec());
        stream = rest;
    }
    assert_eq!(stream, b"", "a whole header");
    frames
}

/// Echoes; what begins with `panic` is answered so far, and then the service panics.
fn panicking(message: &mut Message<'_>, replies: &mut Replies<'_>) -> Flow {
    match message.bytes() {
        b"panic" => panic!("a service that fails"),
        b"panic after a short answer" => {
            replies.send_all(b"short");
            panic!("a service that fails")
        }
        b"panic after a long answer" => {
            replies.send_all(b"short");
            replies.forward(&mut Message::Owned(vec![b'l'; MIB]));
            replies.send_all(b"a short answer behind the long one");
            panic!("a service that fails")
        }
        b"panic in an answer" => replies.send_with(|out| {
            out.extend_from_slice(b"the beginning of an answer");
            panic!("a service that fails")
        }),
        b"panic in an answer after a long one" => {
            replies.forward(&mut Message::Owned(vec![b'l'; MIB]));
            replies.send_with(|out| {
                out.extend_from_slice(b"the beginning of an answer");
                panic!("a service that fails")
            });
        }
        _ => replies.forward(message),
    }
    Flow::Continue
}

#[test]
fn a_panic_in_a_service_ends_the_connection_whose_message_it_was() {
    let server = TestServer::start(open_config(), ordered(panicking));
    let mut bystander = server.connect();
    let panics: [&[u8]; 5] = [
        b"panic",
        b"panic after a short answer",
        b"panic after a long answer",
        b"panic in an answer",
        b"panic in an answer after a long one",
    ];
    for (n, panic) in panics.into_iter().enumerate() {
        let mut client = server.connect();
        let [before, panic, behind] = [&b"before"[..], panic, b"behind"].map(frame);
        client.send(&[before, panic, behind].concat());
        let answers = whole_frames(&client.recv_to_end());
        assert_eq!(answers.first().map(Vec::as_slice), Some(&b"before"[..]));
        assert!(answers.iter().all(|answer| answer != b"behind"));
        drop(client);
        server.wait_for_closes(CloseReason::ServicePanic, n as u64 + 1);
        bystander.echo(b"still here");
    }
    drop(bystander);
    server.wait_until_empty();
}

#[test]
fn a_service_that_closes_has_what_was_queued_delivered() {
    let answer = Arc::new(vec![b'x'; 8 * MIB]);
    let queued = Arc::clone(&answer);
    let service = ordered(move |_: &mut Message<'_>, replies: &mut Replies<'_>| {
        replies.send_all(&queued);
        Flow::Close
    });
    let server = TestServer::start(open_config(), service);
    let mut client = Raw::connect_narrow(server.address);
    client.send(&[frame(b"first"), frame(b"not served any more")].concat());
    let answers = whole_frames(&client.recv_to_end());
    assert!(answers == [(*answer).clone()]);
    drop(client);
    server.wait_until_empty();
    assert_eq!(server.closes(CloseReason::ServiceClosed), 1);
    assert_eq!(server.stats.messages.load(Relaxed), 1);
}

// Deferred work.

#[test]
fn answers_without_ids_keep_their_order() {
    let gate = Gate::default();
    let server = TestServer::start(open_config(), ordered(slow(&gate)));
    let (mut client, mut bystander) = (server.connect(), server.connect());
    client.send(&[frame(b"slow 1"), frame(b"quick"), frame(b"slow 2")].concat());
    eventually("the first message is served", || {
        (server.stats.messages.load(Relaxed) == 1).then_some(())
    });
    for _ in 0..10 {
        bystander.echo(b"is served meanwhile");
    }
    assert!(client.is_silent(), "an answer overtook another");
    gate.open();
    let answers = [(); 3].map(|()| client.recv_frame());
    assert_eq!(answers, [&b"slow 1"[..], b"quick", b"slow 2"]);
}

#[test]
fn answers_with_ids_overtake() {
    let gate = Gate::default();
    let server = TestServer::start(open_config(), unordered(slow(&gate)));
    let mut client = server.connect();
    client.send(&[frame(b"slow"), frame(b"quick")].concat());
    assert_eq!(client.recv_frame(), b"quick");
    for _ in 0..10 {
        client.echo(b"a blocking job delays nobody");
    }
    gate.open();
    assert_eq!(client.recv_frame(), b"slow");
}

#[test]
fn each_deferred_answer_goes_to_who_asked() {
    const CLIENTS: usize = 16;
    const MESSAGES: usize = 200;
    let service = ordered(|message: &mut Message<'_>, replies: &mut Replies<'_>| {
        let message = message.take();
        defer(replies, move || message)
    });
    let server = TestServer::start(open_config(), service);
    let ask = |n: usize| {
        let mut client = server.connect();
        let messages = (0..MESSAGES).map(|m| format!("message {m} of client {n}"));
        let messages: Vec<_> = messages.map(String::into_bytes).collect();
        let stream: Vec<u8> = messages.iter().flat_map(|message| frame(message)).collect();
        client.send(&stream);
        for message in messages {
            let answer = client.recv_frame();
            assert_eq!(
                String::from_utf8_lossy(&answer),
                String::from_utf8_lossy(&message)
            );
        }
    };
    thread::scope(|scope| {
        (0..CLIENTS).for_each(|n| {
            scope.spawn(move || ask(n));
        });
    });
    server.wait_until_empty();
    assert_eq!(
        server.stats.messages.load(Relaxed),
        (CLIENTS * MESSAGES) as u64
    );
    assert_eq!(server.stats.jobs.load(Relaxed), (CLIENTS * MESSAGES) as u64);
}

#[test]
fn a_deferred_answer_over_the_hard_limit_ends_the_connection() {
    let limits = Limits {
        message_bytes_max: 64 * 1024,
        send_low_bytes: 16 * 1024,
        send_high_bytes: 64 * 1024,
        send_hard_bytes: 256 * 1024,
        ..Limits::default()
    };
    let config = Config {
        limits,
        ..open_config()
    };
    let service = unordered(|message: &mut Message<'_>, replies: &mut Replies<'_>| {
        let message = message.take();
        defer(replies, move || message.repeat(MIB))
    });
    let server = TestServer::start(config, service);
    server.connect().wait_for_end_after(&frame(b"x"));
    server.wait_for_closes(CloseReason::SendQueueFull, 1);
    server.wait_until_empty();
}

#[test]
fn a_job_that_panics_is_that_request_s_error() {
    let rpc = Rpc::new().deferred("fail", "none", "panics", |_| {
        Ok(|| -> Result<Value, RpcError> { panic!("a job that fails") })
    });
    let server = TestServer::start(open_config(), rpc);
    let mut client = server.connect();
    // More often than there are workers: each of them lives on.
    for id in 0..10 {
        client.send_frame(
            json!({"jsonrpc": "2.0", "id": id, "method": "fail"})
                .to_string()
                .as_bytes(),
        );
        let answer: Value = serde_json::from_slice(&client.recv_frame()).expect("JSON");
        assert_eq!(answer["id"], id);
        assert_eq!(answer["error"]["code"], -32603);
    }
    assert_eq!(client.call("ping"), "pong");
}

/// A service that counts what it is given and defers it all, and its counter.
fn counting(
    gate: &Gate,
) -> (
    Arc<AtomicUsize>,
    impl FnMut(&mut Message<'_>, &mut Replies<'_>) -> Flow + Clone + use<>,
) {
    let served = Arc::new(AtomicUsize::new(0));
    let (count, mut slow) = (Arc::clone(&served), slow(gate));
    let service = move |message: &mut Message<'_>, replies: &mut Replies<'_>| {
        count.fetch_add(1, Relaxed);
        slow(message, replies)
    };
    (served, service)
}

#[test]
fn a_connection_defers_so_many_answers_and_then_pauses() {
    const MAX: usize = DEFERRED_PER_CONNECTION_MAX;
    let gate = Gate::default();
    let (served, service) = counting(&gate);
    let server = TestServer::start(open_config(), unordered(service));
    let (mut client, mut bystander) = (server.connect(), server.connect());
    client.send(&frame(b"slow").repeat(MAX));
    eventually("all are deferred", || {
        (served.load(Relaxed) == MAX).then_some(())
    });
    client.send(&frame(b"slow").repeat(MAX + 1));
    for turn in 1..20 {
        bystander.echo(b"a turn");
        assert_eq!(served.load(Relaxed), MAX + turn);
    }
    let bystanders = served.load(Relaxed) - MAX;
    gate.open();
    for _ in 0..2 * MAX + 1 {
        assert_eq!(client.recv_frame(), b"slow");
    }
    assert_eq!(served.load(Relaxed), 2 * MAX + 1 + bystanders);
}

#[test]
fn so_many_jobs_wait_in_all_and_then_everybody_pauses() {
    const CLIENTS: usize = JOBS_QUEUED_MAX / DEFERRED_PER_CONNECTION_MAX;
    let gate = Gate::default();
    let (served, service) = counting(&gate);
    let server = TestServer::start(open_config(), unordered(service));
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(&frame(b"slow").repeat(DEFERRED_PER_CONNECTION_MAX));
    }
    eventually("all are deferred", || {
        (served.load(Relaxed) == JOBS_QUEUED_MAX).then_some(())
    });
    let mut others: Vec<_> = (0..10).map(|_| server.connect()).collect();
    let before = server.stats.bytes_in.load(Relaxed);
    for other in &mut others {
        other.send_frame(b"slow");
    }
    wait_until_arrived(&others);
    // Whoever is let in behind them is let in when they had their turn.
    let _witness = server.connect();
    server.wait_until_open(CLIENTS + others.len() + 1);
    assert_eq!(
        served.load(Relaxed),
        JOBS_QUEUED_MAX,
        "one more than there is room for"
    );
    assert_eq!(
        server.stats.bytes_in.load(Relaxed),
        before,
        "a paused client was read"
    );
    gate.open();
    for client in &mut clients {
        for _ in 0..DEFERRED_PER_CONNECTION_MAX {
            assert_eq!(client.recv_frame(), b"slow");
        }
    }
    for other in &mut others {
        assert_eq!(other.recv_frame(), b"slow");
    }
    assert_eq!(served.load(Relaxed), JOBS_QUEUED_MAX + others.len());
}

#[test]
fn answers_for_clients_that_are_gone_are_dropped() {
    let gate = Gate::default();
    let service = slow(&gate);
    let server = TestServer::start(open_config(), unordered(service));
    let mut client = server.connect();
    client.send(&frame(b"slow").repeat(10));
    eventually("all are deferred", || {
        (server.stats.messages.load(Relaxed) == 10).then_some(())
    });
    client.reset();
    server.wait_for_closes(CloseReason::Reset, 1);
    gate.open();
    eventually("all jobs are done", || {
        (server.stats.jobs.load(Relaxed) == 10).then_some(())
    });
    server.wait_until_empty();
    server.connect().echo(b"quick");
}

#[test]
fn what_jobs_hold_counts_and_goes_with_who_holds_too_much() {
    const INPUT: usize = 3 * MIB;
    let limits = Limits {
        message_bytes_max: MIB,
        // Finished answers count, too.
        buffer_memory_bytes_max: 2 * INPUT + 1000,
        workers: 1,
        ..Limits::default()
    };
    let config = Config {
        limits,
        ..open_config()
    };
    let gate = Gate::default();
    let held_back = gate.clone();
    let begun = Arc::new(AtomicUsize::new(0));
    let begins = Arc::clone(&begun);
    let service = unordered(
        move |message: &mut Message<'_>, replies: &mut Replies<'_>| {
            if message.bytes() == b"slow" {
                let (gate, begins) = (held_back.clone(), Arc::clone(&begins));
                let run = move || {
                    begins.fetch_add(1, Relaxed);
                    gate.pass();
                    b"done".to_vec()
                };
                assert!(replies.defer(job(INPUT, run)).is_ok(), "there is room");
            } else {
                replies.forward(message);
            }
            Flow::Continue
        },
    );
    let server = TestServer::start(config, service);
    let (mut greedy, mut modest) = (server.connect(), server.connect());
    greedy.send(&frame(b"slow").repeat(2));
    eventually(
        "two inputs are held, and the worker has begun with one",
        || {
            let held = server.stats.buffer_bytes.load(Relaxed);
            (held == 2 * INPUT && begun.load(Relaxed) == 1).then_some(())
        },
    );
    modest.echo(b"there is room for both");
    greedy.wait_for_end_after(&frame(b"slow"));
    server.wait_for_closes(CloseReason::BufferMemory, 1);
    // What the worker has begun with, nobody can take back.
    assert_eq!(server.stats.buffer_bytes.load(Relaxed), INPUT);
    modest.send_frame(b"slow");
    modest.echo(b"there is room again");
    gate.open();
    assert_eq!(modest.recv_frame(), b"done");
    drop(modest);
    server.wait_until_empty();
}

// What is no request.

/// Sends a message that must be refused; the error's code.
fn refusal(client: &mut Raw, message: &[u8]) -> i64 {
    client.send_frame(message);
    let answer: Value = serde_json::from_slice(&client.recv_frame()).expect("JSON");
    // An array is a batch, and so is its answer.
    let answer = answer.get(0).unwrap_or(&answer);
    assert_eq!(answer["id"], Value::Null);
    answer["error"]["code"].as_i64().expect("an error")
}

#[test]
fn rpc_answers_what_is_no_json_and_goes_on() {
    let server = TestServer::start(open_config(), Rpc::new());
    let mut client = server.connect();
    let messages: [&[u8]; 8] = [
        b"",
        b"\0",
        b"\x80\x04\x95\x15\0\0\0\0\0\0\0}\x94\x8c\x06method\x94\x8c\x04ping\x94s.",
        b"cos\nsystem\n(S'true'\ntR.",
        br#"{"jsonrpc":"2.0","id":1,"method":"ping"#,
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":[\"\xff\"]}",
        b"[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"},\"\xc0\x80\"]",
        b"\xff\xfe{\0}\0",
    ];
    for message in messages {
        assert_eq!(refusal(&mut client, message), PARSE_ERROR, "{message:?}");
        assert_eq!(client.call("ping"), "pong");
    }
}

/// `open` again and again, and then `close` as often, of so many bytes together.
fn nested(open: &str, close: &str, bytes: usize) -> String {
    let times = bytes / (open.len() + close.len());
    open.repeat(times) + &close.repeat(times)
}

#[test]
fn rpc_survives_json_that_is_deep_or_huge() {
    let server = TestServer::start(open_config(), Rpc::new());
    let mut client = server.connect();
    for (message, code) in [
        (nested("[", "]", MESSAGE_BYTES_MAX), INVALID_REQUEST),
        (nested("[", "", MIB), PARSE_ERROR),
        (nested(r#"{"a":"#, "}", MIB), PARSE_ERROR),
        (nested(r#"{"a":["#, "1]}", MIB), PARSE_ERROR),
        (format!("{:?}", "x".repeat(MIB)), INVALID_REQUEST),
        (format!("[{}1]", "1,".repeat(MIB)), TOO_LONG_A_BATCH),
    ] {
        assert_eq!(
            refusal(&mut client, message.as_bytes()),
            code,
            "{:.20}",
            message
        );
        assert_eq!(client.call("ping"), "pong");
    }
    let deep = nested("[", "]", MIB);
    let request = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"echo","params":{deep}}}"#);
    client.send_frame(request.as_bytes());
    let answer = client.recv_frame();
    assert!(answer == format!(r#"{{"jsonrpc":"2.0","result":{deep},"id":1}}"#).as_bytes());
}
