//! Every way in which a connection can end: what was owed is delivered, the end is counted once
//! under its reason, and nothing stays behind.

#![cfg(feature = "cli")]

mod util;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use gateloop::error::{CloseReason, ProtocolError};
use gateloop::limits::Limits;
use gateloop::protocol::Message;
use gateloop::service::{Echo, Flow, Replies, Service};
use util::eventually;
use util::server::{Raw, TestServer, frame, keyed_config, start};
use util::services::{Gate, Source, fountain, ordered, pattern, slow, unordered};

const MIB: usize = 1024 * 1024;
const TRUNCATED: CloseReason = CloseReason::Protocol(ProtocolError::TruncatedMessage);

// Half-close.

#[test]
fn who_asks_and_shuts_down_gets_every_answer_and_then_the_end() {
    let server = start(Limits::default(), fountain(false));
    let mut client = Raw::connect_narrow(server.address);
    let request = frame((8 * MIB).to_string().as_bytes());
    client.send(&request.repeat(2));
    client.shutdown_write();
    let answer = frame(&vec![b'f'; 8 * MIB]);
    assert!(client.recv_to_end() == answer.repeat(2));
    server.wait_for_closes(CloseReason::PeerClosed, 1);
    server.wait_until_empty();
}

#[test]
fn an_echo_of_16_mib_comes_back_to_who_has_shut_down() {
    let server = start(Limits::default(), Echo);
    let mut client = server.connect();
    let message = frame(&pattern(0, 16 * MIB));
    client.send(&message);
    client.shutdown_write();
    assert!(client.recv_to_end() == message);
    server.wait_for_closes(CloseReason::PeerClosed, 1);
    server.wait_until_empty();
}

#[test]
fn a_source_goes_on_for_who_has_shut_down() {
    for one_message in [true, false] {
        let server = start(Limits::default(), Source::new(one_message));
        let mut client = Raw::connect_narrow(server.address);
        // No two parts fit below the high-water mark.
        let (total, part) = (12 * MIB, 600 * 1024);
        client.send_frame(format!("{total} {part}").as_bytes());
        client.shutdown_write();
        let stream = pattern(0, total);
        let expected = match one_message {
            true => frame(&stream),
            false => stream.chunks(part).flat_map(frame).collect(),
        };
        assert!(client.recv_to_end() == expected, "{one_message}");
        server.wait_for_closes(CloseReason::PeerClosed, 1);
        server.wait_until_empty();
    }
}

#[test]
fn an_end_inside_a_message_is_the_peer_s_fault() {
    let server = start(Limits::default(), Echo);
    let long = frame(&vec![b'l'; MIB]);
    let beginnings = [
        &frame(b"short")[..1],
        &frame(b"short")[..8],
        &long[..4],
        &long[..MIB],
    ];
    for (n, beginning) in beginnings.into_iter().enumerate() {
        let mut client = server.connect();
        client.send(&[&frame(b"whole"), beginning].concat());
        client.shutdown_write();
        assert_eq!(client.recv_to_end(), frame(b"whole"));
        server.wait_for_closes(TRUNCATED, n as u64 + 1);
    }
    server.wait_until_empty();
}

// Reset.

/// Waits until the server has moved what it holds for a client to that client's own buffers.
fn wait_until_held(server: &TestServer, bytes: usize) {
    eventually("so much is held", || {
        (server.stats.buffer_bytes.load(Relaxed) >= bytes).then_some(())
    });
}

fn wait_until_served(server: &TestServer, messages: u64) {
    eventually("so many messages are served", || {
        (server.stats.messages.load(Relaxed) == messages).then_some(())
    });
}

/// Resets a connection, which must be this end of it, and the only one.
fn reset(server: &TestServer, client: Raw, reason: CloseReason) {
    client.reset();
    server.wait_for_closes(reason, 1);
    server.wait_until_empty();
    assert_eq!(server.stats.accepted.load(Relaxed), 1);
    drop(server.connect());
    eventually("the server goes on", || {
        (server.stats.accepted.load(Relaxed) == 2).then_some(())
    });
    server.wait_until_empty();
}

#[test]
fn a_reset_in_the_handshake() {
    for beginning in [&b""[..], &frame(&[0; 16])[..7]] {
        let server = TestServer::start(keyed_config("key"), Echo);
        let mut client = server.connect();
        client.recv_frame();
        client.send(beginning);
        reset(&server, client, CloseReason::Reset);
    }
}

#[test]
fn a_reset_while_a_wrong_key_waits_for_its_refusal() {
    let server = TestServer::start(keyed_config("key"), Echo);
    let mut client = server.connect();
    client.recv_frame();
    client.send_frame(&[0; 16]);
    eventually("the key was looked at", || {
        (server.stats.bytes_in.load(Relaxed) > 0).then_some(())
    });
    client.reset();
    server.wait_until_empty();
}

#[test]
fn a_reset_between_messages() {
    let server = start(Limits::default(), Echo);
    let mut client = server.connect();
    client.echo(b"message");
    reset(&server, client, CloseReason::Reset);
}

#[test]
fn a_reset_inside_a_message() {
    for (len, sent) in [(100, 3), (100, 50), (MIB, 4), (MIB, MIB / 2)] {
        let server = start(Limits::default(), Echo);
        let mut client = server.connect();
        client.send(&frame(&vec![b'm'; len])[..sent]);
        eventually("so much is read", || {
            (server.stats.bytes_in.load(Relaxed) == sent as u64).then_some(())
        });
        reset(&server, client, CloseReason::Reset);
    }
}

#[test]
fn a_reset_with_answers_queued() {
    let server = start(Limits::default(), fountain(false));
    let mut client = server.connect();
    client.send_frame(b"33000000");
    wait_until_held(&server, MIB);
    reset(&server, client, CloseReason::Reset);
}

fn reset_with_an_answer_deferred(half_closed: bool, service: impl Fn(&Gate) -> TestServer) {
    let gate = Gate::default();
    let server = service(&gate);
    let mut client = server.connect();
    client.send_frame(&[&b"slow"[..], &[0; MIB]].concat());
    wait_until_served(&server, 1);
    if half_closed {
        client.shutdown_write();
    }
    reset(&server, client, CloseReason::Reset);
    gate.open();
    eventually("the job is done", || {
        (server.stats.jobs.load(Relaxed) == 1).then_some(())
    });
    server.wait_until_empty();
}

#[test]
fn a_reset_with_an_answer_deferred() {
    for half_closed in [false, true] {
        reset_with_an_answer_deferred(half_closed, |gate| {
            start(Limits::default(), ordered(slow(gate)))
        });
        reset_with_an_answer_deferred(half_closed, |gate| {
            start(Limits::default(), unordered(slow(gate)))
        });
    }
}

#[test]
fn a_reset_while_what_was_queued_is_delivered() {
    let server = start(Limits::default(), fountain(true));
    let mut client = server.connect();
    client.send_frame(b"33000000");
    wait_until_held(&server, MIB);
    reset(&server, client, CloseReason::Reset);
}

#[test]
fn a_reset_after_our_fin() {
    let server = start(Limits::default(), Echo);
    let mut client = server.connect();
    client.send(&(-2_i32).to_be_bytes());
    assert_eq!(client.recv_to_end(), b"");
    // The end had its reason before.
    reset(&server, client, TRUNCATED);
}

#[test]
fn a_reset_while_the_server_stops() {
    let server = start(Limits::default(), fountain(false));
    let mut client = server.connect();
    client.send_frame(b"33000000");
    wait_until_held(&server, MIB);
    server.stop.drain();
    client.reset();
    let stats = Arc::clone(&server.stats);
    assert_eq!(server.wait().cut, 0);
    assert_eq!(stats.closes(CloseReason::Reset), 1);
    assert_eq!(stats.buffer_bytes.load(Relaxed), 0);
}

// Lingering.

/// Sends much behind what makes the server close, and reads the server's last words all the same.
fn last_words(mut client: Raw, request: &[u8]) -> Vec<u8> {
    let mut socket = client.0.try_clone().expect("a descriptor");
    thread::scope(|scope| {
        let sender = scope.spawn(move || {
            socket.write_all(request).expect("it is taken");
            socket
                .write_all(&vec![0; 8 * MIB])
                .expect("it is taken, and discarded");
        });
        let last = client.recv_to_end();
        sender.join().expect("no panic");
        last
    })
}

#[test]
fn a_client_that_is_refused_reads_why_whatever_it_has_sent_behind() {
    let server = TestServer::start(keyed_config("key"), Echo);
    let mut client = server.connect();
    client.recv_frame();
    let last = last_words(client, &frame(b"certainly no MAC"));
    assert_eq!(last, frame(b"#FAILURE#"));
    server.wait_for_closes(CloseReason::WrongKey, 1);
    server.wait_until_empty();
}

#[test]
fn a_client_that_breaks_the_protocol_reads_the_answers_before() {
    let server = start(Limits::default(), Echo);
    let request = [&frame(b"before")[..], &(-2_i32).to_be_bytes()].concat();
    let last = last_words(server.connect(), &request);
    assert_eq!(last, frame(b"before"));
    server.wait_for_closes(TRUNCATED, 1);
    server.wait_until_empty();
}

#[test]
fn a_lingering_connection_ends_with_the_peer_s_or_in_time() {
    let patient = Limits {
        linger_timeout: Duration::from_secs(600),
        ..Limits::default()
    };
    let hasty = Limits {
        linger_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    for (limits, peer_ends) in [(patient, true), (hasty, false)] {
        let server = start(limits, Echo);
        let mut client = server.connect();
        client.send(&(-2_i32).to_be_bytes());
        assert_eq!(client.recv_to_end(), b"");
        if peer_ends {
            assert_eq!(server.stats.open.load(Relaxed), 1);
            client.shutdown_write();
        }
        server.wait_until_empty();
        assert_eq!(server.closes(TRUNCATED), 1);
    }
}

/// Sends until there is no room, closes, and must not be called any more.
#[derive(Clone)]
struct FillAndClose;

impl Service for FillAndClose {
    type State = ();

    fn name(&self) -> &'static str {
        "fill and close"
    }

    fn message(
        &mut self,
        _state: &mut (),
        message: &mut Message<'_>,
        replies: &mut Replies<'_>,
    ) -> Flow {
        assert_eq!(message.bytes(), b"fill");
        while replies.send(&[b'f'; 1000]).is_ok() {}
        Flow::Close
    }

    fn writable(&mut self, _state: &mut (), replies: &mut Replies<'_>) -> Flow {
        replies.send_all(b"written behind the end");
        Flow::Continue
    }
}

#[test]
fn a_service_that_has_closed_is_not_called_again() {
    let server = start(Limits::default(), FillAndClose);
    let mut client = Raw::connect_narrow(server.address);
    client.send(&frame(b"fill").repeat(2));
    let answer = frame(&[b'f'; 1000]);
    let answers = client.recv_to_end();
    assert!(answers == answer.repeat(answers.len() / answer.len()));
    drop(client);
    server.wait_for_closes(CloseReason::ServiceClosed, 1);
    server.wait_until_empty();
}

// Time-outs.

/// Lets the idle time-out of a bystander pass, who has connected after everybody else.
fn let_a_bystander_go_idle(server: &TestServer) {
    let idle = server.closes(CloseReason::IdleTimeout);
    server.connect().wait_for_end();
    server.wait_for_closes(CloseReason::IdleTimeout, idle + 1);
}

const IDLE: Duration = Duration::from_secs(2);

fn idle_limits() -> Limits {
    Limits {
        idle_timeout: Some(IDLE),
        ..Limits::default()
    }
}

#[test]
fn the_idle_time_begins_with_the_connection() {
    let server = start(idle_limits(), Echo);
    for _ in 0..2 {
        let connected = Instant::now();
        let_a_bystander_go_idle(&server);
        // Both ends count in whole milliseconds.
        assert!(connected.elapsed() + Duration::from_millis(1) >= IDLE);
    }
}

#[test]
fn each_message_renews_the_idle_time() {
    let server = start(idle_limits(), Echo);
    let mut client = server.connect();
    let connected = Instant::now();
    while connected.elapsed() < 2 * IDLE {
        client.echo(b"still here");
    }
    client.wait_for_end();
    server.wait_for_closes(CloseReason::IdleTimeout, 1);
}

#[test]
fn who_waits_for_an_answer_is_not_idle() {
    let gate = Gate::default();
    let server = start(idle_limits(), ordered(slow(&gate)));
    let mut client = server.connect();
    client.send_frame(b"slow");
    wait_until_served(&server, 1);
    let_a_bystander_go_idle(&server);
    gate.open();
    assert_eq!(client.recv_frame(), b"slow");
}

#[test]
fn who_is_sending_or_taking_a_message_is_not_idle() {
    let long = frame(&pattern(0, 16 * MIB));
    for len in [100, MIB] {
        let message = frame(&pattern(0, len));
        let server = start(idle_limits(), Echo);
        let (mut sender, mut taker) = (server.connect(), Raw::connect_narrow(server.address));
        sender.send(&message[..len / 2]);
        taker.send(&long);
        wait_until_served(&server, 1);
        let_a_bystander_go_idle(&server);
        sender.send(&message[len / 2..]);
        assert!(sender.recv(message.len()) == message);
        assert!(taker.recv(long.len()) == long);
    }
}

const ARRIVAL: Duration = Duration::from_secs(2);

fn arrival_limits() -> Limits {
    Limits {
        arrival_timeout: ARRIVAL,
        ..Limits::default()
    }
}

#[test]
fn no_byte_renews_the_time_that_a_message_has_to_arrive() {
    let server = start(arrival_limits(), Echo);
    let mut client = server.connect();
    let tick = Some(Duration::from_millis(10));
    client.0.set_read_timeout(tick).expect("a time-out");
    client.send(&1000_i32.to_be_bytes());
    let began = Instant::now();
    let mut sent = 0;
    // Each failing read is a tick.
    while client.is_open() {
        assert!(sent < 1000, "a message that came in time was not served");
        client.send(b"x");
        sent += 1;
    }
    assert!(sent > 1 && began.elapsed() + Duration::from_millis(1) >= ARRIVAL);
    server.wait_for_closes(CloseReason::ArrivalTimeout, 1);
}

#[test]
fn each_message_has_its_own_time_to_arrive() {
    let server = start(arrival_limits(), Echo);
    let mut client = server.connect();
    let (first, second) = (frame(b"first"), frame(b"second"));
    client.send(&first[..6]);
    let began = Instant::now();
    while began.elapsed() < 2 * ARRIVAL {
        client.send(&[&first[6..], &second[..6]].concat());
        assert_eq!(client.recv(first.len()), first);
        client.send(&[&second[6..], &first[..6]].concat());
        assert_eq!(client.recv(second.len()), second);
    }
    client.wait_for_end();
    server.wait_for_closes(CloseReason::ArrivalTimeout, 1);
}

#[test]
fn the_time_to_arrive_stands_still_while_the_server_does_not_read() {
    let gate = Gate::default();
    let server = start(arrival_limits(), unordered(slow(&gate)));
    let mut client = Raw::connect_narrow(server.address);
    let (much, half) = (
        [&b"slow"[..], &pattern(0, 16 * MIB)].concat(),
        frame(b"the second half comes late"),
    );
    let sent = [&frame(&much), &half[..10]].concat();
    client.send(&sent);
    eventually("all of it is read", || {
        (server.stats.bytes_in.load(Relaxed) == sent.len() as u64).then_some(())
    });
    gate.open();
    // What is queued for the client is above the high-water mark: it is not read any more.
    wait_until_held(&server, 2 * MIB);
    let mut bystander = server.connect();
    bystander.send(b"\0");
    bystander.wait_for_end();
    server.wait_for_closes(CloseReason::ArrivalTimeout, 1);
    assert!(client.recv_frame() == much);
    client.send(&half[10..]);
    assert_eq!(client.recv(half.len()), half);
}
