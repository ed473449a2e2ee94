//! Full is not broken: where there is no slot or descriptor left, who comes waits in the backlog,
//! and nothing is mixed up where slots change hands.

#![cfg(feature = "cli")]

mod util;

use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use gateloop::error::CloseReason;
use gateloop::limits::Limits;
use gateloop::protocol::Message;
use gateloop::service::{Echo, Flow, Replies, Service};
use util::measure::{cpu_time, leave_descriptors};
use util::random::Random;
use util::seed::seed;
use util::server::{Raw, TestServer, start};
use util::services::{Gate, defer, ordered, unordered};
use util::{Serving, eventually};

const PING: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
const PONG: &[u8] = br#"{"jsonrpc":"2.0","result":"pong","id":1}"#;

fn limited(connections_max: usize, service: impl Service) -> TestServer {
    let limits = Limits {
        connections_max,
        ..Limits::default()
    };
    start(limits, service)
}

#[test]
fn one_more_than_may_connect_waits_until_another_leaves() {
    const MAX: usize = 3;
    let server = limited(MAX, Echo);
    let mut clients: Vec<_> = (0..MAX).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.echo(b"served"));

    let mut waiting = server.connect();
    waiting.send_frame(b"waits");
    eventually("the listener rests", || {
        (server.stats.rests_full.load(Relaxed) > 0).then_some(())
    });
    clients.iter_mut().for_each(|client| client.echo(b"served"));
    assert!(waiting.is_silent());
    assert_eq!(server.stats.accepted.load(Relaxed), MAX as u64);

    clients.pop();
    assert_eq!(waiting.recv_frame(), b"waits");
    server.wait_until_open(MAX);
    clients.iter_mut().for_each(|client| client.echo(b"served"));
}

/// While this client waits in the backlog, its server may use a tenth of the time at most.
fn assert_rests(server: &Serving, waiting: &mut Raw) {
    const TIME: Duration = Duration::from_secs(1);
    let before = cpu_time(server.process.id());
    assert!(waiting.stays_silent(TIME));
    let used = cpu_time(server.process.id()) - before;
    assert!(used < TIME / 10, "{used:?} of {TIME:?}");
}

#[test]
fn a_full_server_does_not_spin() {
    let server = Serving::start_open(&["--max-connections", "2"]);
    let mut clients = [server.connect(), server.connect()];
    clients
        .iter_mut()
        .for_each(|client| assert_eq!(client.call("ping"), "pong"));
    let mut waiting = server.connect();
    waiting.send_frame(PING);
    assert_rests(&server, &mut waiting);
    assert!(clients[0].call("stats")["rests_full"].as_u64() > Some(0));
    drop(clients);
    assert_eq!(waiting.recv_frame(), PONG);
}

#[test]
fn without_a_descriptor_the_server_rests_and_goes_on_when_it_has_one() {
    let server = Serving::start_open(&[]);
    let mut observer = server.connect();
    assert_eq!(observer.call("ping"), "pong");
    leave_descriptors(server.process.id(), 2);
    let mut clients: Vec<_> = (0..5).map(|_| server.connect()).collect();
    clients
        .iter_mut()
        .for_each(|client| client.send_frame(PING));
    assert_eq!(clients[0].recv_frame(), PONG);
    assert_eq!(clients[1].recv_frame(), PONG);
    eventually("the listener rests", || {
        (observer.call("stats")["rests_exhausted"].as_u64() > Some(0)).then_some(())
    });
    assert_rests(&server, &mut clients[2]);
    assert!(clients[2..].iter().all(Raw::is_silent));
    assert_eq!(observer.call("stats")["open"], 3);

    drop(clients.remove(0));
    assert_eq!(clients[1].recv_frame(), PONG);
    assert!(clients[2..].iter().all(Raw::is_silent));
    leave_descriptors(server.process.id(), 100);
    assert_eq!(clients[2].recv_frame(), PONG);
    assert_eq!(clients[3].recv_frame(), PONG);
    assert_eq!(observer.call("stats")["closes"]["peer_closed"], 1);
    let warnings = server.process.stderr();
    assert_eq!(
        warnings.matches("nobody can be let in").count(),
        1,
        "{warnings}"
    );
}

// Slots that change hands.

/// Many clients that come, ask, and leave in every way, with few slots between them. Whoever waits
/// for an answer gets its own.
fn rush(service: impl Service) {
    const THREADS: u64 = 4;
    const VISITS: u64 = 300;
    let server = limited(8, service);
    let seed = seed();
    let visit = |thread: u64| {
        let mut random = Random(seed + thread);
        for n in 0..VISITS {
            let mut client = server.connect();
            let message = format!("visit {n} of thread {thread}");
            let times = random.up_to(3);
            (0..times).for_each(|_| client.send_frame(message.as_bytes()));
            match random.up_to(4) {
                1 => client.reset(),
                2 => drop(client),
                3 => client.shutdown_write(),
                _ => (0..times).for_each(|_| {
                    let answer = client.recv_frame();
                    assert_eq!(String::from_utf8_lossy(&answer), message);
                }),
            }
        }
    };
    thread::scope(|scope| {
        (0..THREADS).for_each(|thread| {
            scope.spawn(move || visit(thread));
        });
    });
    server.wait_until_empty();
    // Who was reset before it was accepted may never have been seen.
    let accepted = server.stats.accepted.load(Relaxed);
    assert!(accepted > THREADS * VISITS / 2, "{accepted}");
}

#[test]
fn nobody_gets_the_answer_of_its_slot_s_last_tenant() {
    rush(Echo);
}

#[test]
fn nobody_gets_the_deferred_answer_of_its_slot_s_last_tenant() {
    rush(ordered(
        |message: &mut Message<'_>, replies: &mut Replies<'_>| {
            let message = message.take();
            defer(replies, move || message)
        },
    ));
}

#[test]
fn an_answer_that_comes_when_its_slot_has_changed_hands_is_dropped() {
    let gate = Gate::default();
    let held_back = gate.clone();
    let service = unordered(
        move |message: &mut Message<'_>, replies: &mut Replies<'_>| {
            if message.bytes() == b"late" {
                let gate = held_back.clone();
                return defer(replies, move || {
                    gate.pass();
                    b"late".to_vec()
                });
            }
            replies.forward(message);
            Flow::Continue
        },
    );
    let server = limited(1, service);
    let mut first = server.connect();
    first.send_frame(b"late");
    eventually("the answer is deferred", || {
        (server.stats.messages.load(Relaxed) == 1).then_some(())
    });
    first.reset();
    server.wait_for_closes(CloseReason::Reset, 1);
    // There is one slot only.
    let mut second = server.connect();
    second.echo(b"second");
    gate.open();
    eventually("the answer is there", || {
        (server.stats.jobs.load(Relaxed) == 1).then_some(())
    });
    for _ in 0..10 {
        second.echo(b"second");
    }
    drop(second);
    server.wait_until_empty();
}
