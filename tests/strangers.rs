//! Who has not passed the handshake is served nothing, costs next to nothing, has little time, and
//! cannot keep out who holds the key.

#![cfg(feature = "cli")]

mod util;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use gateloop::error::{CloseReason, ProtocolError};
use gateloop::limits::{HANDSHAKE_MESSAGE_BYTES_MAX, PENALTY_FIRST, PENALTY_MAX, STRANGERS_MAX};
use gateloop::protocol::{Digest, Digests, HandshakeRules, Key};
use gateloop::service::Echo;
use util::eventually;
use util::measure::need_descriptors;
use util::server::{Raw, TestServer, frame, keyed_config, rules};

const KEY: &str = "a key that both sides hold";
const FAILURE: &[u8] = b"#FAILURE#";
const BROKEN: CloseReason = CloseReason::Protocol(ProtocolError::UnexpectedHandshakeMessage);

fn start() -> TestServer {
    TestServer::start(keyed_config(KEY), Echo)
}

/// Connects and takes the challenge; what follows `#CHALLENGE#`.
fn challenged(server: &TestServer) -> (Raw, Vec<u8>) {
    let mut client = server.connect();
    let message = client.recv_frame();
    let challenge = message.strip_prefix(b"#CHALLENGE#");
    let challenge = challenge.expect("a challenge").to_vec();
    (client, challenge)
}

// What a wrong key costs. Addresses of this machine's own stand for other machines.

fn address(n: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, n).into()
}

/// Sends a wrong key from the n-th address.
fn send_wrong_key(server: &TestServer, n: u8) -> Raw {
    let mut client = Raw::connect_from(address(n), server.address);
    client.recv_frame();
    client.send_frame(b"certainly not");
    client
}

/// How long a wrong key from the n-th address waits for its refusal.
fn wait_for_refusal(server: &TestServer, n: u8) -> Duration {
    let mut client = send_wrong_key(server, n);
    let sent = Instant::now();
    assert_eq!(client.recv_to_end(), frame(FAILURE));
    // Both ends count in whole milliseconds.
    sent.elapsed() + Duration::from_millis(1)
}

#[test]
fn a_wrong_key_waits_twice_as_long_each_time_and_only_its_sender() {
    let server = start();
    for doubled in [1, 2, 4] {
        let waited = wait_for_refusal(&server, 2);
        assert!(waited >= PENALTY_FIRST * doubled, "{waited:?}, {doubled}");
    }
    let other = wait_for_refusal(&server, 3);
    assert!(
        PENALTY_FIRST <= other && other < PENALTY_FIRST * 4,
        "{other:?}"
    );
    Raw::connect_from(address(2), server.address).greet(KEY);
    let again = wait_for_refusal(&server, 2);
    assert!(
        PENALTY_FIRST <= again && again < PENALTY_FIRST * 4,
        "{again:?}"
    );
    server.wait_for_closes(CloseReason::WrongKey, 5);
}

#[test]
fn a_right_key_passes_while_wrong_ones_of_its_address_wait() {
    let server = start();
    let mut wrong: Vec<_> = (0..6).map(|_| send_wrong_key(&server, 4)).collect();
    eventually("the first refusal", || {
        (wrong[0].recv_now() == frame(FAILURE)).then_some(())
    });
    let mut right = Raw::connect_from(address(4), server.address);
    right.greet(KEY);
    right.echo(b"at once");
    assert!(wrong[5].is_silent(), "the last one waits for 3.2 s");
}

#[test]
fn no_wrong_key_waits_for_longer_than_the_longest_wait() {
    let server = start();
    let sent = Instant::now();
    // The eighth and ninth would wait for 12.8 and 25.6 s.
    let mut wrong: Vec<_> = (0..9).map(|_| send_wrong_key(&server, 5)).collect();
    for client in &mut wrong {
        assert_eq!(client.recv_to_end(), frame(FAILURE));
    }
    let waited = sent.elapsed() + Duration::from_millis(1);
    assert!(
        PENALTY_MAX <= waited && waited < PENALTY_MAX + PENALTY_FIRST * 28,
        "{waited:?}"
    );
}

#[test]
fn what_follows_a_wrong_key_is_not_kept_while_it_waits() {
    let server = start();
    let mut clients = Vec::new();
    for n in 10..30 {
        let mut client = send_wrong_key(&server, n);
        client.send(&[0; 200_000]);
        clients.push(client);
    }
    // The same in one piece, but for the beginning of the header, which was there before.
    let wrong = [frame(b"certainly not"), vec![0; 200_000]].concat();
    let (beginning, rest) = wrong.split_at(3);
    for n in 30..50 {
        let mut client = Raw::connect_from(address(n), server.address);
        client.recv_frame();
        let before = server.stats.bytes_in.load(Relaxed);
        client.send(beginning);
        eventually("the beginning is read", || {
            (server.stats.bytes_in.load(Relaxed) > before + 2).then_some(())
        });
        client.send(rest);
        clients.push(client);
    }
    for client in &mut clients {
        assert!(server.stats.buffer_bytes.load(Relaxed) < 100_000);
        assert_eq!(client.recv_to_end(), frame(FAILURE));
    }
}

// What is no proof.

#[test]
fn only_accepted_digests_prove_a_key() {
    let accepted: Digests = "sha256".parse().expect("a digest");
    let key = Key::new(KEY).expect("a key");
    for (digest, prefix, default, only_sha256) in [
        (Digest::Md5, "", true, false),
        (Digest::Md5, "{md5}", true, false),
        (Digest::Sha256, "{sha256}", true, true),
        (Digest::Sha256, "", false, false),
        (Digest::Sha256, "{sha384}", false, false),
        (Digest::Sha384, "{sha384}", false, false),
        (Digest::Sha3_256, "{sha3_256}", false, false),
        (Digest::Sha256, "{sha512}", false, false),
        (Digest::Sha256, "{SHA256}", false, false),
        (Digest::Sha256, "sha256", false, false),
    ] {
        for (digests, passes) in [(Digests::default(), default), (accepted, only_sha256)] {
            let mut config = keyed_config(KEY);
            let mut rules = rules(KEY);
            rules.digests = digests;
            config.handshake = HandshakeRules::Mutual(rules);
            let server = TestServer::start(config, Echo);
            let (mut client, challenge) = challenged(&server);
            let mac = digest.mac(&key, &challenge);
            client.send_frame(&[prefix.as_bytes(), &mac].concat());
            let expected = if passes { &b"#WELCOME#"[..] } else { FAILURE };
            assert_eq!(client.recv_frame(), expected, "{prefix} {digests}");
        }
    }
}

#[test]
fn a_command_before_the_proof_is_not_served() {
    let server = start();
    let (mut client, _) = challenged(&server);
    client.send(&frame(b"a command").repeat(3));
    assert_eq!(client.recv_to_end(), frame(FAILURE));
    assert_eq!(server.stats.messages.load(Relaxed), 0);
}

#[test]
fn a_command_before_the_end_of_the_handshake_is_not_served() {
    let server = start();
    let key = Key::new(KEY).expect("a key");
    let (mut client, challenge) = challenged(&server);
    client.send_frame(&Digest::Md5.mac(&key, &challenge));
    assert_eq!(client.recv_frame(), b"#WELCOME#");
    client.send(&frame(b"a command").repeat(3));
    assert_eq!(client.recv_to_end(), b"");
    server.wait_for_closes(BROKEN, 1);
    assert_eq!(server.stats.messages.load(Relaxed), 0);
}

#[test]
fn a_handshake_message_has_its_bound() {
    const MAX: usize = HANDSHAKE_MESSAGE_BYTES_MAX;
    let server = start();
    let (mut client, _) = challenged(&server);
    client.send_frame(&[b'x'; MAX]);
    assert_eq!(client.recv_to_end(), frame(FAILURE));
    let too_long = (MAX as i32 + 1).to_be_bytes();
    for (n, header) in [too_long, (-2_i32).to_be_bytes()].into_iter().enumerate() {
        let (mut client, _) = challenged(&server);
        client.send(&header);
        // Nothing of its payload is waited for.
        assert_eq!(client.recv_to_end(), b"");
        server.wait_for_closes(BROKEN, n as u64 + 1);
    }
}

#[test]
fn who_leaves_inside_the_handshake_is_counted_as_that() {
    let server = start();
    let response = frame(&[0; 16]);
    for sent in 0..response.len() {
        let (mut client, _) = challenged(&server);
        client.send(&response[..sent]);
        client.shutdown_write();
        assert_eq!(client.recv_to_end(), b"");
        server.wait_for_closes(CloseReason::PeerLeftHandshake, sent as u64 + 1);
    }
    server.wait_until_empty();
}

// How many, and for how long.

#[test]
fn the_oldest_stranger_makes_room_for_one_more() {
    const MAX: usize = 5;
    let mut config = keyed_config(KEY);
    config.limits.strangers_max = MAX;
    let server = TestServer::start(config, Echo);
    let mut strangers: Vec<_> = (0..MAX).map(|_| challenged(&server).0).collect();
    assert_eq!(server.closes(CloseReason::StrangerEvicted), 0);
    assert_eq!(server.stats.strangers.load(Relaxed), MAX);
    for oldest in 0..3 {
        let asked = Instant::now();
        strangers.push(challenged(&server).0);
        strangers[oldest].wait_for_end();
        assert!(
            asked.elapsed() < Duration::from_secs(4),
            "he does not go at once"
        );
        server.wait_for_closes(CloseReason::StrangerEvicted, oldest as u64 + 1);
        assert_eq!(server.stats.strangers.load(Relaxed), MAX);
        assert!(
            strangers[oldest + 1..].iter().all(Raw::is_silent),
            "not the oldest went"
        );
    }
}

#[test]
fn silent_strangers_keep_nobody_out() {
    const SILENT: usize = 2 * STRANGERS_MAX;
    need_descriptors(2 * SILENT as u64 + 100);
    let server = start();
    let mut known = server.connect();
    known.greet(KEY);
    let mut strangers = Vec::new();
    for n in 0..SILENT {
        strangers.push(server.connect());
        if n % 50 == 0 {
            known.echo(b"a working client");
            let mut newcomer = server.connect();
            newcomer.greet(KEY);
            newcomer.echo(b"a new client");
        }
    }
    let evicted = (SILENT - STRANGERS_MAX) as u64;
    eventually("the oldest are gone", || {
        (server.closes(CloseReason::StrangerEvicted) >= evicted).then_some(())
    });
    assert!(server.stats.strangers.load(Relaxed) <= STRANGERS_MAX);
    strangers[0].wait_for_end();
    let mut last = strangers.pop().expect("a stranger");
    last.greet(KEY);
    last.echo(b"a stranger no more");
    known.echo(b"a working client");
}

#[test]
fn no_byte_renews_a_stranger_s_time() {
    const TIME: Duration = Duration::from_millis(400);
    let mut config = keyed_config(KEY);
    config.limits.handshake_timeout = TIME;
    let server = TestServer::start(config, Echo);
    let connected = Instant::now();
    let (mut client, _) = challenged(&server);
    // Each failing read is a tick.
    let tick = Some(Duration::from_millis(10));
    client.0.set_read_timeout(tick).expect("a time-out");
    client.send(&(HANDSHAKE_MESSAGE_BYTES_MAX as i32).to_be_bytes());
    let mut sent = 0;
    while client.is_open() {
        assert!(
            sent < HANDSHAKE_MESSAGE_BYTES_MAX,
            "he has all the time he wants"
        );
        client.send(b"x");
        sent += 1;
    }
    assert!(sent > 1 && connected.elapsed() + Duration::from_millis(1) >= TIME);
    server.wait_for_closes(CloseReason::HandshakeTimeout, 1);
}
