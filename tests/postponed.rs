//! A postponed answer comes when its time has come: not before, in no thread, and whatever else
//! happens to its connection.

#![cfg(feature = "cli")]

mod util;

use std::time::{Duration, Instant};

use gateloop::error::CloseReason;
use gateloop::limits::{DEFERRED_PER_CONNECTION_MAX, Limits};
use gateloop::protocol::Message;
use gateloop::server::{Config, Model};
use gateloop::service::{Flow, Replies};
use util::eventually;
use util::server::{TestServer, open_config, start};
use util::services::{ordered, unordered};

/// Long enough to be told from nothing on a busy machine.
const WAIT: Duration = Duration::from_millis(200);
/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(60 * 60);

/// Answers `MILLISECONDS TEXT` with all of that, so much later; anything else at once.
fn later(message: &mut Message<'_>, replies: &mut Replies<'_>) -> Flow {
    let text = String::from_utf8_lossy(message.bytes()).into_owned();
    let wait = text.split_once(' ').and_then(|(wait, _)| wait.parse().ok());
    match wait.map(Duration::from_millis) {
        Some(wait) if replies.postpone(wait, 0, message.take()).is_err() => {
            replies.send_all(b"too many");
        }
        Some(_) => {}
        None => replies.forward(message),
    }
    Flow::Continue
}

fn in_time(wait: Duration, text: &str) -> Vec<u8> {
    format!("{} {text}", wait.as_millis()).into_bytes()
}

#[test]
fn the_next_message_of_an_ordered_service_waits_for_it() {
    let server = start(Limits::default(), ordered(later));
    let (mut client, mut other) = (server.connect(), server.connect());
    let begun = Instant::now();
    let postponed = in_time(WAIT, "first");
    client.send_frame(&postponed);
    client.send_frame(b"second");
    other.echo(b"somebody else's");
    assert!(begun.elapsed() < WAIT, "they waited for each other");
    assert_eq!(client.recv_frame(), postponed);
    assert!(begun.elapsed() >= WAIT, "{:?}", begun.elapsed());
    assert_eq!(client.recv_frame(), b"second");
}

#[test]
fn those_of_an_unordered_service_come_by_their_times() {
    let server = start(Limits::default(), unordered(later));
    let mut client = server.connect();
    let last = in_time(3 * WAIT, "last");
    let middle = in_time(2 * WAIT, "middle");
    let first = in_time(WAIT, "first");
    for message in [&last, &first, &middle] {
        client.send_frame(message);
    }
    client.echo(b"at once");
    for message in [first, middle, last] {
        assert_eq!(client.recv_frame(), message);
    }
}

#[test]
fn waiting_burns_no_processor_time() {
    let server = start(Limits::default(), ordered(later));
    let mut client = server.connect();
    client.echo(b"warm");
    let before = server.cpu_time();
    client.send_frame(&in_time(3 * WAIT, ""));
    client.send_frame(b"what is not read meanwhile");
    client.recv_frame();
    let used = server.cpu_time() - before;
    assert!(used < WAIT / 4, "{used:?}");
}

#[test]
fn a_connection_may_have_so_many() {
    let server = start(Limits::default(), unordered(later));
    let mut client = server.connect();
    let postponed = in_time(FOR_EVER, "");
    for _ in 0..DEFERRED_PER_CONNECTION_MAX {
        client.send_frame(&postponed);
    }
    client.send_frame(b"the connection pauses");
    assert!(client.stays_silent(WAIT));
    drop(client);
    server.stop.abort();
    assert_eq!(server.wait().cut, 1);
}

#[test]
fn a_call_may_postpone_so_many() {
    let service = ordered(|message: &mut Message<'_>, replies: &mut Replies<'_>| {
        let taken = (0..message.bytes().len())
            .take_while(|_| replies.postpone(FOR_EVER, 0, Vec::new()).is_ok())
            .count();
        replies.send_all(taken.to_string().as_bytes());
        Flow::Continue
    });
    let server = start(Limits::default(), service);
    for (asked, taken) in [
        (DEFERRED_PER_CONNECTION_MAX, DEFERRED_PER_CONNECTION_MAX),
        (DEFERRED_PER_CONNECTION_MAX + 1, DEFERRED_PER_CONNECTION_MAX),
    ] {
        let mut client = server.connect();
        client.send_frame(&vec![b'x'; asked]);
        assert_eq!(client.recv_frame(), taken.to_string().as_bytes());
    }
}

#[test]
fn comes_after_the_clients_last_word() {
    let server = start(Limits::default(), ordered(later));
    let mut client = server.connect();
    let postponed = in_time(WAIT, "");
    client.send_frame(&postponed);
    client.shutdown_write();
    assert_eq!(client.recv_frame(), postponed);
    assert_eq!(client.recv_to_end(), b"");
    drop(client);
    server.wait_for_closes(CloseReason::PeerClosed, 1);
    server.wait_until_empty();
}

#[test]
fn who_waits_for_it_is_not_idle() {
    let limits = Limits {
        idle_timeout: Some(WAIT / 4),
        ..Limits::default()
    };
    let server = start(limits, ordered(later));
    let mut client = server.connect();
    let postponed = in_time(WAIT, "");
    client.send_frame(&postponed);
    assert_eq!(client.recv_frame(), postponed);
    server.wait_for_closes(CloseReason::IdleTimeout, 1);
}

#[test]
fn the_order_to_stop_brings_it_at_once() {
    let server = TestServer::start(open_config(), ordered(later));
    let mut client = server.connect();
    let postponed = in_time(FOR_EVER, "first");
    // What has arrived behind it is answered too, and waits no more than that does.
    let next = in_time(FOR_EVER, "second");
    client.send_frame(&postponed);
    client.send_frame(&next);
    assert!(client.stays_silent(WAIT));
    server.stop.drain();
    assert_eq!(client.recv_frame(), postponed);
    assert_eq!(client.recv_frame(), next);
    assert_eq!(client.recv_to_end(), b"");
    drop(client);
    assert_eq!(server.wait().cut, 0);
}

#[test]
fn counts_towards_all_buffers_until_it_is_given_or_its_client_gone() {
    const BYTES: usize = 100_000;
    let server = start(Limits::default(), ordered(later));
    let mut message = in_time(FOR_EVER, "");
    message.resize(BYTES, b'x');
    let mut client = server.connect();
    client.send_frame(&message);
    eventually("it is held", || {
        (server.stats.snapshot().buffer_bytes >= BYTES).then_some(())
    });
    client.reset();
    server.wait_until_empty();
}

#[test]
fn under_every_model() {
    for model in Model::ALL {
        let config = Config {
            model,
            ..open_config()
        };
        let server = TestServer::start(config, unordered(later));
        let mut client = server.connect();
        let (first, last) = (in_time(WAIT, "first"), in_time(2 * WAIT, "last"));
        let begun = Instant::now();
        client.send_frame(&last);
        client.send_frame(&first);
        client.echo(b"at once");
        assert_eq!(client.recv_frame(), first, "{model:?}");
        assert!(begun.elapsed() >= WAIT, "{model:?}");
        assert_eq!(client.recv_frame(), last, "{model:?}");
        let never = in_time(FOR_EVER, "");
        client.send_frame(&never);
        client.echo(b"at once");
        server.stop.drain();
        assert_eq!(client.recv_frame(), never, "{model:?}");
        assert_eq!(client.recv_to_end(), b"", "{model:?}");
        drop(client);
        assert_eq!(server.wait().cut, 0, "{model:?}");
    }
}
