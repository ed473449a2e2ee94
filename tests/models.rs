//! Every way to drive sessions answers alike, under the same limits, and comes to the same end;
//! and each has the property that it is known for.
//!
//! How a server stops is tested in `drain.rs`, for all models as well.

#![cfg(feature = "cli")]

mod util;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use gateloop::client::{self, Client};
use gateloop::error::{CloseReason, ProtocolError};
use gateloop::limits::{Limits, PENALTY_FIRST};
use gateloop::protocol::handshake::challenge::{self, Proof};
use gateloop::protocol::{FramingKind, HandshakeRules, Key};
use gateloop::server::{BindError, Config, Model, Server};
use gateloop::service::{Echo, Flow, Service};
use util::measure::{cpu_time, wait_until_arrived};
use util::random::Random;
use util::seed::seed;
use util::server::{Raw, TestServer, frame, keyed_config, open_config, rules};
use util::services::{Gate, defer, fountain, ordered, slow, unordered};
use util::{PATIENCE, Serving, eventually};

const KEY: &str = "a key that both sides hold";
const MIB: usize = 1024 * 1024;
/// The clients that a pool serves at once.
const POOL: usize = 4;
/// The models that serve several clients at once.
const SEVERAL: [Model; 4] = [Model::Threads, Model::Pool, Model::Spin, Model::Reactor];

fn limits() -> Limits {
    Limits {
        workers: POOL,
        ..Limits::default()
    }
}

fn start_with(model: Model, limits: Limits, config: Config, service: impl Service) -> TestServer {
    let config = Config {
        model,
        limits,
        ..config
    };
    TestServer::start(config, service)
}

fn start(model: Model, service: impl Service) -> TestServer {
    start_with(model, limits(), open_config(), service)
}

// The same answers.

/// Every handshake. One that is new does not compile until it is listed.
fn handshakes() -> Vec<HandshakeRules> {
    match HandshakeRules::None {
        HandshakeRules::None | HandshakeRules::Mutual(_) | HandshakeRules::Challenge(_) => {}
    }
    let challenge = |proof| {
        HandshakeRules::Challenge(challenge::Rules {
            allow_own_challenges: true,
            ..challenge::Rules::new(Key::new(KEY).expect("a key"), proof)
        })
    };
    vec![
        HandshakeRules::None,
        HandshakeRules::Mutual(rules(KEY)),
        challenge(Proof::Hmac),
        challenge(Proof::Md5),
    ]
}

/// How what a client sends is cut on its way.
#[derive(Clone, Copy, Debug)]
enum Cuts {
    Whole,
    EachByte,
    Random(u64),
}

/// Takes one client and hands on what it sends to the server, cut; and what comes back.
fn relay(server: SocketAddr, cuts: Cuts) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a listener");
    thread::spawn(move || {
        let (client, _) = listener.accept().expect("a client");
        let server = Raw::connect(server).0;
        let back = (server.try_clone(), client.try_clone());
        let (from_server, to_client) = (back.0.expect("a socket"), back.1.expect("a socket"));
        thread::spawn(move || hand_on(from_server, to_client, Cuts::Whole));
        hand_on(client, server, cuts);
    });
    address
}

/// Until either side is gone.
fn hand_on(mut from: TcpStream, mut to: TcpStream, cuts: Cuts) {
    let mut random = Random(if let Cuts::Random(seed) = cuts {
        seed
    } else {
        0
    });
    let mut bytes = vec![0; 65536];
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        let mut rest = &bytes[..len];
        while !rest.is_empty() {
            let piece = match cuts {
                Cuts::Whole => rest.len(),
                Cuts::EachByte => 1,
                Cuts::Random(_) => random.magnitude(16).min(rest.len()),
            };
            if to.write_all(&rest[..piece]).is_err() {
                return;
            }
            rest = &rest[piece..];
        }
    }
    // Who is gone already needs no end of input.
    let _ = to.shutdown(Shutdown::Write);
}

/// A message that every framing can carry: a JSON text without a line break.
fn text(len: usize) -> Vec<u8> {
    [b"\"", vec![b'x'; len].as_slice(), b"\""].concat()
}

/// Sends these, and takes their echoes. With `raw` they have lost their borders.
fn assert_echoes(client: &mut Client, messages: &[Vec<u8>], what: &str) {
    for message in messages {
        client.send(message).expect("the server takes it");
    }
    let sent = messages.concat();
    let mut echoed = Vec::new();
    while echoed.len() < sent.len() {
        let answer = client.recv().expect("an answer").expect("not the end");
        echoed.extend_from_slice(&answer);
    }
    assert!(echoed == sent, "{what}: {} bytes are no echo", echoed.len());
}

fn conforms(model: Model, framing: FramingKind, handshake: &HandshakeRules, cuts: Cuts) {
    let what = format!("{model}, {framing}, {handshake}, {cuts:?}");
    let config = Config {
        framing,
        handshake: handshake.clone(),
        ..open_config()
    };
    let server = start_with(model, limits(), config, Echo);
    let sizes: &[usize] = match cuts {
        Cuts::EachByte => &[0, 1, 200, 1000],
        _ => &[0, 1, 200, 5_000, 70_000, 7, 300_000, 64],
    };
    let messages: Vec<_> = sizes.iter().map(|len| text(*len)).collect();
    let client = client::Config {
        framing,
        timeout: Some(PATIENCE),
        ..client::Config::new(handshake.clone())
    };
    let address = relay(server.address, cuts).into();
    let mut client = Client::connect(&address, client)
        .unwrap_or_else(|error| panic!("{what}: no connection: {error}"));
    assert_echoes(&mut client, &messages, &what);
    drop(client);
    server.wait_for_closes(CloseReason::PeerClosed, 1);
    server.wait_until_empty();
    let bytes = messages.concat().len() as u64;
    assert!(server.stats.bytes_in.load(Relaxed) >= bytes, "{what}");
    assert!(server.stats.bytes_out.load(Relaxed) >= bytes, "{what}");
    if framing != FramingKind::Raw {
        let served = server.stats.messages.load(Relaxed);
        assert_eq!(served, messages.len() as u64, "{what}");
    }
}

fn all_conform(cuts: impl Fn() -> Cuts) {
    for model in Model::ALL {
        for framing in FramingKind::ALL {
            for handshake in handshakes() {
                conforms(model, framing, &handshake, cuts());
            }
        }
    }
}

#[test]
fn messages_that_come_whole_are_answered_by_each() {
    all_conform(|| Cuts::Whole);
}

#[test]
fn messages_that_come_byte_by_byte_are_answered_by_each() {
    all_conform(|| Cuts::EachByte);
}

#[test]
fn messages_that_are_cut_at_random_are_answered_by_each() {
    let seed = seed();
    all_conform(|| Cuts::Random(seed));
}

#[test]
fn who_has_said_its_last_word_gets_every_answer() {
    for model in Model::ALL {
        let server = start(model, Echo);
        let mut client = server.connect();
        let messages: Vec<_> = (0..100).flat_map(|n| frame(&text(n * 100))).collect();
        client.send(&messages);
        client.shutdown_write();
        assert!(client.recv_to_end() == messages, "{model}");
        server.wait_for_closes(CloseReason::PeerClosed, 1);
        server.wait_until_empty();
    }
}

#[test]
fn a_long_message_comes_back_while_it_is_still_being_asked_for_more() {
    for model in Model::ALL {
        let server = start(model, Echo);
        let mut client = server.connect();
        let mut sender = client.0.try_clone().expect("a socket");
        let long = frame(&vec![b'x'; 16 * MIB]);
        let sent = long.clone();
        let sender = thread::spawn(move || {
            for _ in 0..2 {
                sender.write_all(&sent).expect("the server takes it");
            }
        });
        for _ in 0..2 {
            assert!(client.recv(long.len()) == long, "{model}");
        }
        sender.join().expect("no panic");
    }
}

/// A server that wrote an answer before it went on reading would wait for this client for ever, as
/// this client waits for it.
#[test]
fn who_sends_much_before_it_reads_is_read() {
    for model in Model::ALL {
        let limits = Limits {
            send_high_bytes: 48 * MIB,
            ..limits()
        };
        let server = start_with(model, limits, open_config(), Echo);
        let mut client = Raw::connect_narrow(server.address);
        let messages = frame(&[b'x'; 1020]).repeat(32 * 1024);
        client.send(&messages);
        assert!(client.recv(messages.len()) == messages, "{model}");
    }
}

#[test]
fn deferred_answers_come_from_each() {
    for model in Model::ALL {
        let in_order = ordered(|message, replies| {
            let message = message.take();
            defer(replies, move || message)
        });
        deferred_answers_come(&start(model, in_order));
        let in_any = unordered(|message, replies| {
            let message = message.take();
            defer(replies, move || message)
        });
        deferred_answers_come(&start(model, in_any));
    }
}

fn deferred_answers_come(server: &TestServer) {
    const COUNT: usize = 200;
    let mut client = server.connect();
    let messages: Vec<_> = (0..COUNT).map(|n| frame(&n.to_be_bytes())).collect();
    client.send(&messages.concat());
    let mut answers: Vec<_> = (0..COUNT).map(|_| frame(&client.recv_frame())).collect();
    // The workers of a reactor may overtake each other where there are ids.
    answers.sort();
    assert_eq!(answers, messages);
    drop(client);
    server.wait_until_empty();
    assert_eq!(server.stats.jobs.load(Relaxed), COUNT as u64);
}

#[test]
fn a_job_that_panics_is_that_requests_failure() {
    for model in Model::ALL {
        let service = ordered(|message, replies| match message.bytes() {
            b"panic" => defer(replies, || panic!("a job that fails, as it is to")),
            _ => {
                replies.forward(message);
                Flow::Continue
            }
        });
        let server = start(model, service);
        let mut client = server.connect();
        client.send_frame(b"panic");
        assert_eq!(client.recv_frame(), b"panicked", "{model}");
        client.echo(b"and goes on");
    }
}

// The same limits and ends.

#[test]
fn one_byte_over_the_limit_is_refused_at_the_header() {
    const MAX: usize = 1000;
    for model in Model::ALL {
        let limits = Limits {
            message_bytes_max: MAX,
            ..limits()
        };
        let server = start_with(model, limits, open_config(), Echo);
        let mut client = server.connect();
        client.echo(&[b'x'; MAX]);
        client.send(&(MAX as i32 + 1).to_be_bytes());
        assert_eq!(client.recv_to_end(), b"", "{model}");
        let len = MAX as u64 + 1;
        let reason = ProtocolError::MessageTooLong { len, max: MAX };
        server.wait_for_closes(reason.into(), 1);
        drop(client);
        server.wait_until_empty();
    }
}

#[test]
fn a_panic_ends_the_connection_whose_message_it_was() {
    for model in Model::ALL {
        let service = ordered(|message, replies| {
            assert_ne!(message.bytes(), b"panic", "as it is to");
            replies.forward(message);
            Flow::Continue
        });
        let server = start(model, service);
        let mut client = server.connect();
        client.echo(b"before");
        client.send_frame(b"panic");
        assert_eq!(client.recv_to_end(), b"", "{model}");
        drop(client);
        server.wait_for_closes(CloseReason::ServicePanic, 1);
        server.connect().echo(b"another client");
    }
}

#[test]
fn a_wrong_key_waits_for_its_refusal_and_the_right_one_does_not() {
    for model in Model::ALL {
        let server = start_with(model, limits(), keyed_config(KEY), Echo);
        let mut client = server.connect();
        client.recv_frame();
        let sent = Instant::now();
        client.send_frame(b"certainly not");
        assert_eq!(client.recv_to_end(), frame(b"#FAILURE#"), "{model}");
        // Both ends count in whole milliseconds.
        assert!(sent.elapsed() + Duration::from_millis(1) >= PENALTY_FIRST);
        drop(client);
        let mut client = server.connect();
        client.greet(KEY);
        client.echo(b"who holds the key");
        drop(client);
        server.wait_for_closes(CloseReason::WrongKey, 1);
        server.wait_for_closes(CloseReason::PeerClosed, 1);
        server.wait_until_empty();
    }
}

#[test]
fn who_lets_its_time_pass_is_cut_off_by_each() {
    const TIME: Duration = Duration::from_millis(300);
    for model in Model::ALL {
        let limits = Limits {
            handshake_timeout: TIME,
            arrival_timeout: TIME,
            idle_timeout: Some(2 * TIME),
            write_stall_timeout: TIME,
            ..limits()
        };
        let server = start_with(model, limits.clone(), keyed_config(KEY), Echo);
        let begin = Instant::now();
        let mut silent = server.connect();
        silent.wait_for_end();
        // Both ends count in whole milliseconds.
        let waited = begin.elapsed() + Duration::from_millis(1);
        assert!(waited >= TIME, "{model}: {waited:?}");
        drop(silent);
        let mut client = server.connect();
        client.greet(KEY);
        client.send(&frame(b"half of it")[..9]);
        client.wait_for_end();
        drop(client);
        let mut client = server.connect();
        client.greet(KEY);
        client.wait_for_end();
        drop(client);
        for reason in [
            CloseReason::HandshakeTimeout,
            CloseReason::ArrivalTimeout,
            CloseReason::IdleTimeout,
        ] {
            server.wait_for_closes(reason, 1);
        }
        let server = start_with(model, limits, open_config(), fountain(false));
        let mut deaf = Raw::connect_narrow(server.address);
        deaf.send_frame(b"33000000");
        server.wait_for_closes(CloseReason::WriteTimeout, 1);
        server.wait_until_empty();
    }
}

#[test]
fn one_more_than_may_connect_waits_until_another_leaves() {
    const MAX: usize = 3;
    for model in SEVERAL {
        let limits = Limits {
            connections_max: MAX,
            ..limits()
        };
        let server = start_with(model, limits, open_config(), Echo);
        let mut clients: Vec<_> = (0..MAX).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| client.echo(b"served"));
        let mut waiting = server.connect();
        waiting.send_frame(b"waits");
        eventually("it rests", || {
            (server.stats.rests_full.load(Relaxed) > 0).then_some(())
        });
        clients.iter_mut().for_each(|client| client.echo(b"served"));
        assert!(waiting.is_silent(), "{model}");
        assert_eq!(server.stats.accepted.load(Relaxed), MAX as u64);
        clients.pop();
        assert_eq!(waiting.recv_frame(), b"waits");
        drop((clients, waiting));
        server.wait_until_empty();
    }
}

#[test]
fn the_oldest_stranger_makes_room_for_the_next() {
    const MAX: usize = 2;
    for model in SEVERAL {
        let limits = Limits {
            strangers_max: MAX,
            // Nobody is to wake by this.
            handshake_timeout: Duration::from_secs(3600),
            ..limits()
        };
        let server = start_with(model, limits, keyed_config(KEY), Echo);
        let mut known = server.connect();
        known.greet(KEY);
        // Until the server has read our last word, we are a stranger too.
        known.echo(b"known");
        let mut strangers: VecDeque<_> = (0..MAX).map(|_| challenged(&server)).collect();
        for n in 1..=3 {
            strangers.push_back(challenged(&server));
            let mut oldest = strangers.pop_front().expect("a stranger");
            oldest.wait_for_end();
            server.wait_for_closes(CloseReason::StrangerEvicted, n);
            assert_eq!(server.stats.strangers.load(Relaxed), MAX, "{model}");
        }
        let mut last = strangers.pop_back().expect("a stranger");
        assert!(last.is_silent(), "{model}: the last is still there");
        last.shutdown_write();
        last.wait_for_end();
        known.echo(b"who holds the key stays");
        drop((known, last, strangers));
        server.wait_until_empty();
    }
}

/// Who has been let in, and says nothing.
fn challenged(server: &TestServer) -> Raw {
    let mut client = server.connect();
    assert!(client.recv_frame().starts_with(b"#CHALLENGE#"));
    client
}

#[test]
fn the_largest_makes_room_where_all_buffers_hold_too_much() {
    for model in SEVERAL {
        let limits = Limits {
            message_bytes_max: 4 * MIB,
            buffer_memory_bytes_max: 13 * MIB / 2,
            // Nobody is to wake by this.
            arrival_timeout: Duration::from_secs(3600),
            ..limits()
        };
        let server = start_with(model, limits, open_config(), Echo);
        let unfinished = |len: usize| {
            let mut client = server.connect();
            client.send(&(4 * MIB as i32).to_be_bytes());
            client.send(&vec![b'x'; len]);
            wait_until_arrived([&client]);
            client
        };
        let held = |bytes| {
            eventually("it is held", || {
                (server.stats.buffer_bytes.load(Relaxed) >= bytes).then_some(())
            });
        };
        let mut small = unfinished(MIB - 4);
        held(MIB - 4);
        // The largest says nothing while another grows.
        let mut largest = unfinished(4 * MIB - 1);
        held(5 * MIB - 5);
        let growing = unfinished(2 * MIB);
        largest.wait_for_end();
        server.wait_for_closes(CloseReason::BufferMemory, 1);
        small.send(&vec![b'x'; 3 * MIB + 4]);
        assert_eq!(small.recv_frame().len(), 4 * MIB, "{model}");
        drop((small, largest, growing));
        server.wait_until_empty();
    }
}

// The same end, but for `drain.rs`.

#[test]
fn who_waits_for_nobody_is_woken_to_stop() {
    for model in Model::ALL {
        for abort in [false, true] {
            let server = start(model, Echo);
            if abort {
                server.stop.abort();
            } else {
                server.stop.drain();
            }
            assert_eq!(server.wait().cut, 0, "{model}");
        }
    }
}

#[test]
fn a_job_without_an_end_does_not_hold_up_the_end() {
    for model in Model::ALL {
        let gate = Gate::default();
        let held = gate.clone();
        let service = ordered(move |_, replies| {
            let gate = held.clone();
            defer(replies, move || {
                gate.pass();
                Vec::new()
            })
        });
        let limits = Limits {
            drain_timeout: Duration::from_millis(100),
            ..limits()
        };
        let server = start_with(model, limits, open_config(), service);
        let mut client = server.connect();
        client.send_frame(b"never ends");
        eventually("it is served", || {
            (server.stats.messages.load(Relaxed) == 1).then_some(())
        });
        server.stop.drain();
        assert_eq!(server.wait().cut, 1, "{model}");
        gate.open();
    }
}

// What each is known for.

#[test]
fn who_comes_second_waits_until_the_first_has_left() {
    let (one, all) = ((Model::Blocking, 1), (Model::Pool, POOL));
    for (model, places) in [one, all] {
        let server = start(model, Echo);
        let mut served: Vec<_> = (0..places).map(|_| server.connect()).collect();
        served.iter_mut().for_each(|client| client.echo(b"first"));
        let mut waiting: VecDeque<_> = (0..3).map(|_| server.connect()).collect();
        for client in &mut waiting {
            client.send_frame(b"second");
        }
        served.iter_mut().for_each(|client| client.echo(b"again"));
        assert!(waiting.iter().all(Raw::is_silent), "{model}");
        assert_eq!(server.stats.accepted.load(Relaxed), places as u64);
        while let Some(mut next) = waiting.pop_front() {
            served.pop();
            assert_eq!(next.recv_frame(), b"second", "{model}");
            assert!(waiting.iter().all(Raw::is_silent), "{model}");
            served.push(next);
        }
    }
}

#[test]
fn work_that_blocks_holds_up_the_others_where_they_share_a_thread() {
    for (model, holds_up) in [
        (Model::Threads, false),
        (Model::Pool, false),
        (Model::Spin, true),
    ] {
        let gate = Gate::default();
        let service = unordered(slow(&gate));
        let server = start(model, service);
        let (mut slow, mut quick) = (server.connect(), server.connect());
        quick.echo(b"there");
        slow.echo(b"there");
        slow.send_frame(b"slow");
        wait_until_arrived([&slow]);
        if holds_up {
            // Each other client is tried in turn, and so at most once before the job begins.
            quick.send_frame(b"first");
            quick.send_frame(b"quick");
            let mut last = server.connect();
            last.send_frame(b"quick");
            assert!(last.stays_silent(Duration::from_millis(200)), "{model}");
        } else {
            quick.echo(b"quick");
            assert!(slow.is_silent(), "{model}");
        }
        gate.open();
        assert_eq!(slow.recv_frame(), b"slow", "{model}");
    }
}

/// Idle ones, one who does not read, and a stranger with a wrong key who is gone: nobody works for
/// any of them, but the one who always does.
#[test]
fn nobody_is_busy_beside_those_who_wait_but_the_one_who_asks_all() {
    const TIME: Duration = Duration::from_secs(1);
    const GONE: u32 = 7;
    const LAST_WAITS: Duration = PENALTY_FIRST.saturating_mul(1 << (GONE - 1));
    for model in Model::ALL {
        let args = ["--model", model.name(), "--workers", "4"];
        let open = Serving::start_open(&[&args[..], &["--service", "echo"]].concat());
        let mut deaf = Raw::connect_narrow(open.socket_address());
        deaf.send_frame(&vec![b'x'; 16 * MIB]);
        let idle = open.connect();
        let keyed = util::cli::serving_with_key(&args);
        for _ in 0..GONE {
            let mut gone = keyed.connect();
            gone.recv_frame();
            gone.send_frame(b"certainly not");
            wait_until_arrived([&gone]);
            gone.reset();
        }
        let used = || cpu_time(open.process.id()) + cpu_time(keyed.process.id());
        let begin = Instant::now();
        if model == Model::Spin {
            let before = used();
            eventually("it never rests", || {
                (used().saturating_sub(before) > TIME).then_some(())
            });
        } else {
            eventually("nobody is busy", || {
                assert!(begin.elapsed() < LAST_WAITS, "{model}: always busy");
                // Whoever works beside many others gets little, but more than this.
                let before = used();
                util::dawdle(TIME);
                // The time of a thread that has ended since is not told any more.
                (used().saturating_sub(before) < TIME / 50).then_some(())
            });
        }
        drop(idle);
    }
}

#[test]
fn what_needs_event_loops_is_refused_by_the_others() {
    for model in Model::ALL {
        let config = Config {
            model,
            reactors: 2,
            ..open_config()
        };
        match Server::bind(config, Echo) {
            Ok(_) => assert_eq!(model, Model::Reactor),
            Err(BindError::Config(why)) => assert!(why.contains(model.name()), "{why}"),
            Err(other) => panic!("{other}"),
        }
    }
}
