//! Who asks for more than it takes, or sends more than there is room for, harms only itself.

#![cfg(feature = "cli")]

mod util;

use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use gateloop::error::CloseReason;
use gateloop::limits::Limits;
use gateloop::protocol::{FramingKind, Message};
use gateloop::server::Config;
use gateloop::service::{Echo, Flow, Replies};
use util::measure::{peak_resident_bytes, resident_bytes};
use util::server::{Raw, TestServer, frame, keyed_config, open_config, start};
use util::services::{Gate, Source, fountain, ordered, pattern, slow};
use util::{PATIENCE, Serving, dawdle, eventually};

const MIB: usize = 1024 * 1024;

// Who does not read.

/// Takes up to so many bytes every 10 ms, until the end; how many they were.
fn take_slowly(client: &mut Raw, bytes: usize, mut each: impl FnMut()) -> usize {
    let mut piece = vec![0; bytes];
    let mut taken = 0;
    while let Ok(len @ 1..) = client.0.read(&mut piece) {
        taken += len;
        each();
        dawdle(Duration::from_millis(10));
    }
    taken
}

#[test]
fn who_takes_too_little_a_second_is_ended_all_the_same() {
    const STALL: Duration = Duration::from_secs(1);
    let limits = Limits {
        write_stall_timeout: STALL,
        ..Limits::default()
    };
    let server = start(limits, fountain(false));
    let mut client = Raw::connect_narrow(server.address);
    client.send_frame(b"33000000");
    let began = Instant::now();
    let (mut moved, mut moved_at, mut longest) = (0, began, Duration::ZERO);
    // 150 KiB a second, where 256 are the least.
    take_slowly(&mut client, 1536, || {
        assert!(began.elapsed() < PATIENCE, "it may go on as it likes");
        let now = server.stats.bytes_out.load(Relaxed);
        if now > moved {
            longest = longest.max(moved_at.elapsed());
            (moved, moved_at) = (now, Instant::now());
        }
    });
    server.wait_for_closes(CloseReason::WriteTimeout, 1);
    assert!(longest < STALL, "this was a stall, which is another rule");
}

#[test]
fn who_takes_enough_a_second_gets_everything() {
    const STALL: Duration = Duration::from_secs(2);
    let limits = Limits {
        write_stall_timeout: STALL,
        ..Limits::default()
    };
    let server = start(limits, fountain(false));
    let mut client = Raw::connect_narrow(server.address);
    client.send_frame(b"3000000");
    let began = Instant::now();
    client.shutdown_write();
    assert_eq!(take_slowly(&mut client, 20_000, || {}), 4 + 3_000_000);
    assert!(began.elapsed() > 2 * STALL, "too fast to tell anything");
    server.wait_for_closes(CloseReason::PeerClosed, 1);
}

/// A peer that the server does not read, or has nothing to read from, must cost no time.
fn assert_rests(server: &TestServer, peer: &mut Raw, what: &str) {
    const TIME: Duration = Duration::from_millis(500);
    let before = server.cpu_time();
    assert!(peer.stays_silent(TIME), "{what}");
    let used = server.cpu_time() - before;
    assert!(used < TIME / 10, "{what}: {used:?} of {TIME:?}");
}

/// Sends messages until the server does not read them any more.
fn fill(server: &TestServer, peer: &mut Raw) {
    let message = frame(&[0; 65536]);
    let (mut at, mut stalled) = (0, 0);
    peer.0.set_nonblocking(true).expect("an option");
    eventually("the server stops reading", || {
        let read = server.stats.bytes_in.load(Relaxed);
        match peer.0.write(&message[at..]) {
            Ok(len) => at = (at + len) % message.len(),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        stalled = if read == server.stats.bytes_in.load(Relaxed) {
            stalled + 1
        } else {
            0
        };
        (stalled == 20).then_some(())
    });
    peer.0.set_nonblocking(false).expect("an option");
}

#[test]
fn no_time_is_spent_beside_a_peer_that_does_not_read() {
    let server = start(Limits::default(), Echo);
    for half_closed in [false, true] {
        let mut peer = server.connect();
        fill(&server, &mut peer);
        if half_closed {
            peer.shutdown_write();
        }
        // An observer stays silent, as this peer has something to read.
        assert_rests(&server, &mut server.connect(), "a peer above high water");
    }
}

#[test]
fn no_time_is_spent_beside_a_peer_whose_answer_is_deferred() {
    let gate = Gate::default();
    let server = start(Limits::default(), ordered(slow(&gate)));
    for half_closed in [false, true] {
        let mut peer = server.connect();
        peer.send(&frame(b"slow").repeat(100));
        if half_closed {
            peer.shutdown_write();
        }
        assert_rests(&server, &mut peer, "a peer whose answer is deferred");
    }
    gate.open();
}

/// A peer that is not spoken to any more, once it has taken its challenge.
fn observer(server: &TestServer) -> Raw {
    let mut observer = server.connect();
    observer.recv_frame();
    observer
}

#[test]
fn no_time_is_spent_beside_a_peer_that_is_shown_out() {
    let mut config = keyed_config("key");
    config.limits.linger_timeout = Duration::from_secs(600);
    let server = TestServer::start(config, Echo);
    let mut peers: Vec<_> = (0..5).map(|_| server.connect()).collect();
    for peer in &mut peers {
        peer.recv_frame();
        peer.send(&[&frame(b"a wrong key")[..], &[0; 100_000]].concat());
    }
    // The last one is refused after 1.6 s.
    assert_rests(&server, &mut peers[4], "a peer in its penalty");
    let mut peer = server.connect();
    peer.recv_frame();
    peer.send(&(-2_i32).to_be_bytes());
    assert_eq!(peer.recv_to_end(), b"");
    peer.send(b"discarded");
    assert_rests(&server, &mut observer(&server), "a peer that lingers");
}

// What is held.

#[test]
fn a_source_is_slowed_by_its_reader_and_memory_stays_flat() {
    const TOTAL: usize = 256 * MIB;
    const PART: usize = 200_000;
    let server = start(Limits::default(), Source::new(true));
    let mut client = server.connect();
    client.send_frame(format!("{TOTAL} {PART}").as_bytes());
    assert_eq!(
        client.recv(4),
        i32::try_from(TOTAL).expect("a length").to_be_bytes()
    );
    let mut most = 0;
    for at in (0..TOTAL).step_by(64 * 1024) {
        assert!(client.recv(64 * 1024) == pattern(at as u64, 64 * 1024));
        most = most.max(server.stats.buffer_bytes.load(Relaxed));
    }
    // A buffer that grew may have room for as much again.
    let bound = 2 * (Limits::default().send_high_bytes + PART);
    assert!(most <= bound, "{most} bytes were held");
    assert!(most > PART, "the reader was never behind");
}

#[test]
fn the_send_queue_has_its_bound() {
    let limits = || Limits {
        message_bytes_max: 64 * 1024,
        send_low_bytes: 16 * 1024,
        send_high_bytes: 64 * 1024,
        send_hard_bytes: 256 * 1024,
        ..Limits::default()
    };
    let max = limits().send_queue_bytes_max();
    for (len, served) in [(max, true), (max + 1, false)] {
        let service = ordered(move |_: &mut Message<'_>, replies: &mut Replies<'_>| {
            replies.send_all(&vec![b'q'; len - 1000]);
            replies.send_all(&[b'q'; 1000]);
            Flow::Continue
        });
        let config = Config {
            framing: FramingKind::Raw,
            limits: limits(),
            ..open_config()
        };
        let server = TestServer::start(config, service);
        let mut client = server.connect();
        client.send(b"?");
        if served {
            assert!(client.recv(len) == vec![b'q'; len]);
            assert_eq!(server.closes(CloseReason::SendQueueFull), 0);
        } else {
            client.wait_for_end();
            server.wait_for_closes(CloseReason::SendQueueFull, 1);
        }
    }
}

#[test]
fn who_only_claims_to_send_much_holds_next_to_nothing() {
    const PEERS: usize = 500;
    let server = start(Limits::default(), Echo);
    // A buffer that was used before must not be given for a claim either.
    server.connect().echo(&vec![0; MIB]);
    let mut peers: Vec<_> = (0..PEERS).map(|_| server.connect()).collect();
    for peer in &mut peers {
        peer.send(&(64 * MIB as i32).to_be_bytes());
    }
    eventually("all headers are read", || {
        (server.stats.bytes_in.load(Relaxed) >= (MIB + 4 + 4 * PEERS) as u64).then_some(())
    });
    let held = server.stats.buffer_bytes.load(Relaxed);
    assert!(held < 1024 * PEERS, "{held} bytes are held");
}

#[test]
fn the_buffers_have_a_bound_and_modest_clients_do_not_suffer_for_it() {
    const BOUND: usize = 64 * MIB;
    const PEERS: usize = 200;
    let bound = BOUND.to_string();
    let server = Serving::start_open(&["--buffer-memory", &bound, "--max-message", "8MiB"]);
    let process = server.process.id();
    let mut modest: Vec<_> = (0..5).map(|_| server.connect()).collect();
    modest
        .iter_mut()
        .for_each(|client| assert_eq!(client.call("ping"), "pong"));
    let before = resident_bytes(process);
    let half_a_message = frame(&vec![b'x'; 4 * MIB])[..2 * MIB].to_vec();
    let mut peers = Vec::new();
    for n in 0..PEERS {
        let mut peer = server.connect();
        peer.send(&half_a_message);
        peers.push(peer);
        let stats = modest[n % 5].call("stats");
        let held = stats["buffer_bytes"].as_u64().expect("a number") as usize;
        // At most one buffer is over the bound, and not for longer than it takes to free another.
        assert!(held <= BOUND + 4 * MIB, "{held} bytes are held");
    }
    let stats = modest[0].call("stats");
    let ended = stats["closes"]["buffer_memory"].as_u64().expect("a number") as usize;
    assert!(ended > PEERS / 2, "{ended}");
    assert_eq!(
        stats["open"].as_u64().expect("a number") as usize,
        5 + PEERS - ended
    );
    let grown = peak_resident_bytes(process).saturating_sub(before);
    assert!(grown < 2 * BOUND, "the server has grown by {grown} bytes");
    modest
        .iter_mut()
        .for_each(|client| assert_eq!(client.call("ping"), "pong"));
}
