//! Every message comes back whole and in its place, whatever the cuts on its way in and out.

#![cfg(feature = "cli")]

mod util;

use std::io::Write;
use std::net::TcpStream;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Instant;

use gateloop::client::{self, Client};
use gateloop::error::{CloseReason, ProtocolError};
use gateloop::limits::{LONG_MESSAGE_BYTES, Limits, TURN_BYTES, TURN_MESSAGES};
use gateloop::protocol::{FramingKind, HandshakeRules};
use gateloop::server::Config;
use gateloop::service::Echo;
use util::random::Random;
use util::seed::seed;
use util::server::{Raw, TestServer, open_config};
use util::{PATIENCE, eventually};

const MIB: usize = 1024 * 1024;

/// Around every size at which the server does something else.
const SIZES: [usize; 11] = [
    0,
    1,
    1023,
    1024,
    LONG_MESSAGE_BYTES - 1,
    LONG_MESSAGE_BYTES,
    LONG_MESSAGE_BYTES + 1,
    TURN_BYTES - 1,
    TURN_BYTES,
    TURN_BYTES + 1,
    16 * MIB,
];

/// How a stream is cut on its way to the server.
#[derive(Clone, Copy, Debug)]
enum Delivery {
    Whole,
    /// Around the beginning and the end of each message; what lies between comes in one piece.
    ByteByByte,
    Random(u64),
}

/// How far around the beginning and the end of a message bytes come one by one.
const BYTEWISE: usize = 520;

/// How the client reads what comes back.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reader {
    Eager,
    /// Through a small window and not before it must, so that the server's writes are short.
    Reluctant,
}

fn start(framing: FramingKind, limits: Limits) -> TestServer {
    let config = Config {
        framing,
        limits,
        ..open_config()
    };
    TestServer::start(config, Echo)
}

/// A payload that the framing can carry. `raw` and `lines` have no header that says its length.
fn payload(framing: FramingKind, len: usize, random: &mut Random) -> Vec<u8> {
    // Repeated at a length that no buffer has.
    let mut block = vec![0; len.min(65_521)];
    random.fill(&mut block);
    if matches!(framing, FramingKind::Lines | FramingKind::Json) {
        block.iter_mut().for_each(|byte| *byte = b' ' + *byte % 64);
    }
    let mut payload = Vec::with_capacity(len + block.len());
    while payload.len() < len {
        payload.extend_from_slice(&block);
    }
    payload.truncate(len);
    if framing == FramingKind::Json {
        quote(&mut payload);
    }
    payload
}

/// Makes a JSON string of text: backslashes stay, the one at the end excepted.
fn quote(text: &mut Vec<u8>) {
    for byte in text.iter_mut().filter(|byte| **byte == b'"') {
        *byte = b'/';
    }
    text.resize(text.len().max(2), b' ');
    if let [first, .., before, last] = &mut text[..] {
        (*before, *last, *first) = (b'.', b'"', b'"');
    } else {
        text.fill(b'"');
    }
}

/// The stream of these messages, and where in it each begins. Its echo is the same stream.
fn stream(framing: FramingKind, sizes: &[usize], random: &mut Random) -> (Vec<u8>, Vec<usize>) {
    let (mut stream, mut begins) = (Vec::new(), Vec::new());
    for &size in sizes {
        begins.push(stream.len());
        let len = i32::try_from(size).expect("a short payload");
        match framing {
            FramingKind::I32Be => stream.extend(len.to_be_bytes()),
            FramingKind::I32Le => stream.extend(len.to_le_bytes()),
            FramingKind::Json | FramingKind::Lines | FramingKind::Raw => {}
        }
        stream.extend(payload(framing, size, random));
        if framing == FramingKind::Lines {
            stream.push(b'\n');
        }
    }
    (stream, begins)
}

fn pieces(delivery: Delivery, len: usize, begins: &[usize]) -> Vec<Range<usize>> {
    let mut ends: Vec<usize> = match delivery {
        Delivery::Whole => Vec::new(),
        Delivery::ByteByByte => {
            let around = |&begin: &usize| begin.saturating_sub(BYTEWISE)..=begin + BYTEWISE;
            begins.iter().chain(&[len]).flat_map(around).collect()
        }
        Delivery::Random(seed) => {
            let (mut random, mut at) = (Random(seed), 0);
            let next = || {
                at += random.magnitude(18);
                Some(at)
            };
            std::iter::from_fn(next)
                .take_while(|&at| at < len)
                .collect()
        }
    };
    ends.retain(|&end| 0 < end && end < len);
    ends.push(len);
    ends.sort_unstable();
    ends.dedup();
    let begins = std::iter::once(0).chain(ends.iter().copied());
    begins
        .zip(ends.iter().copied())
        .map(|(a, b)| a..b)
        .collect()
}

/// Sends the pieces, none before the server has read the one before.
fn deliver(server: &TestServer, mut socket: &TcpStream, stream: &[u8], pieces: &[Range<usize>]) {
    let deadline = Instant::now() + PATIENCE;
    let mut read = server.stats.bytes_in.load(Relaxed);
    for piece in pieces {
        socket
            .write_all(&stream[piece.clone()])
            .expect("it is taken");
        read += piece.len() as u64;
        while pieces.len() > 1 && server.stats.bytes_in.load(Relaxed) < read {
            assert!(Instant::now() < deadline, "the server does not read");
            thread::yield_now();
        }
    }
}

/// Sends messages to an echo and expects them back, and then the end, with nothing between.
fn exchange(server: &TestServer, stream: &[u8], pieces: &[Range<usize>], reader: Reader) {
    let mut client = match reader {
        Reader::Eager => server.connect(),
        Reader::Reluctant => Raw::connect_narrow(server.address),
    };
    let socket = client.0.try_clone().expect("a descriptor");
    let answer = thread::scope(|scope| {
        let sender = scope.spawn(|| deliver(server, &socket, stream, pieces));
        if reader == Reader::Reluctant {
            eventually("the server has something back or all", || {
                let held = server.stats.buffer_bytes.load(Relaxed) > 0;
                (held || sender.is_finished()).then_some(())
            });
        }
        client.recv(stream.len())
    });
    assert!(answer == stream, "the echo differs from what was sent");
    client.shutdown_write();
    assert_eq!(client.recv_to_end(), b"");
    server.wait_until_empty();
}

/// The same stream in every delivery, and to every reader.
fn exchange_each_way(server: &TestServer, stream: &[u8], begins: &[usize], random: &mut Random) {
    for (delivery, reader) in [
        (Delivery::Whole, Reader::Eager),
        (Delivery::ByteByByte, Reader::Eager),
        (Delivery::Random(random.next()), Reader::Eager),
        (Delivery::Random(random.next()), Reader::Reluctant),
    ] {
        let pieces = pieces(delivery, stream.len(), begins);
        exchange(server, stream, &pieces, reader);
    }
}

fn exchange_every_size(framing: FramingKind) {
    let mut random = Random(seed());
    let server = start(framing, Limits::default());
    for size in SIZES {
        let (stream, begins) = stream(framing, &[size], &mut random);
        exchange_each_way(&server, &stream, &begins, &mut random);
    }
    let exchanges = 4 * SIZES.len() as u64;
    assert_eq!(server.closes(CloseReason::PeerClosed), exchanges);
}

#[test]
fn i32be_brings_back_every_size() {
    exchange_every_size(FramingKind::I32Be);
}

#[test]
fn i32le_brings_back_every_size() {
    exchange_every_size(FramingKind::I32Le);
}

#[test]
fn json_brings_back_every_size() {
    exchange_every_size(FramingKind::Json);
}

#[test]
fn lines_bring_back_every_size() {
    exchange_every_size(FramingKind::Lines);
}

#[test]
fn raw_brings_back_every_size() {
    exchange_every_size(FramingKind::Raw);
}

#[test]
fn long_and_short_messages_keep_their_order() {
    let mut random = Random(seed());
    for framing in FramingKind::ALL {
        if framing == FramingKind::Raw {
            continue;
        }
        let server = start(framing, Limits::default());
        let mut sizes = vec![3, 0, MIB, 1, 0, LONG_MESSAGE_BYTES, 10, 3 * MIB + 1, 2];
        sizes.extend((0..20).map(|_| random.magnitude(17)));
        let (stream, begins) = stream(framing, &sizes, &mut random);
        exchange_each_way(&server, &stream, &begins, &mut random);
        assert_eq!(server.stats.messages.load(Relaxed), 4 * sizes.len() as u64);
    }
}

#[test]
fn more_messages_at_once_than_a_turn_serves() {
    for count in [1000, TURN_MESSAGES, TURN_MESSAGES + 1, 3 * TURN_MESSAGES] {
        for size in [0, 1] {
            let server = start(FramingKind::I32Be, Limits::default());
            let (stream, _) = stream(FramingKind::I32Be, &vec![size; count], &mut Random(1));
            exchange(
                &server,
                &stream,
                &pieces(Delivery::Whole, stream.len(), &[]),
                Reader::Eager,
            );
            assert_eq!(server.stats.messages.load(Relaxed), count as u64);
        }
    }
}

// Headers.

fn long_header(len: u64) -> Vec<u8> {
    [&(-1_i32).to_be_bytes()[..], &len.to_be_bytes()].concat()
}

/// Sends these bytes and nothing more; expects the server to close without an answer.
fn is_refused(server: &TestServer, bytes: &[u8]) {
    let reason = CloseReason::from(ProtocolError::TruncatedMessage);
    let refused = server.closes(reason);
    let mut client = server.connect();
    client.send(bytes);
    assert_eq!(client.recv_to_end(), b"", "{bytes:?}");
    assert_eq!(server.stats.buffer_bytes.load(Relaxed), 0);
    drop(client);
    server.wait_for_closes(reason, refused + 1);
}

#[test]
fn a_bad_length_ends_the_connection_at_the_header() {
    const MAX: i32 = 100_000;
    let limits = Limits {
        message_bytes_max: MAX as usize,
        ..Limits::default()
    };
    let server = start(FramingKind::I32Be, limits);
    for len in [-2, i32::MIN, MAX + 1, i32::MAX] {
        is_refused(&server, &len.to_be_bytes());
    }
    for len in [MAX as u64 + 1, 1 << 31, 1 << 63, u64::MAX] {
        is_refused(&server, &long_header(len));
    }
    assert_eq!(server.stats.messages.load(Relaxed), 0);
    server.wait_until_empty();
}

#[test]
fn a_message_of_exactly_the_limit_is_served() {
    for max in [1, 1000, 100_000] {
        let limits = || Limits {
            message_bytes_max: max,
            ..Limits::default()
        };
        let server = start(FramingKind::I32Be, limits());
        let mut client = server.connect();
        client.echo(&vec![b'x'; max]);
        client.send(&[long_header(max as u64), vec![b'y'; max]].concat());
        assert!(client.recv_frame() == vec![b'y'; max]);

        let server = start(FramingKind::Lines, limits());
        let line = vec![b'x'; max];
        let mut client = server.connect();
        for end in [&b"\n"[..], b"\r\n"] {
            client.send(&[&line, end].concat());
            assert!(client.recv(max + 1) == [&line, &b"\n"[..]].concat());
        }
        is_refused(&server, &vec![b'x'; max + 1]);
    }
}

#[test]
fn the_long_header_is_taken_with_any_length() {
    let server = start(FramingKind::I32Be, Limits::default());
    let mut client = server.connect();
    for len in [0, 1, 5, LONG_MESSAGE_BYTES] {
        let payload = vec![b'p'; len];
        client.send(&[&long_header(len as u64)[..], &payload].concat());
        assert!(client.recv_frame() == payload, "{len}");
        client.echo(b"the next message is whole, too");
    }
}

#[test]
fn a_client_does_not_announce_what_its_framing_cannot() {
    let framing = FramingKind::I32Le;
    let server = start(framing, Limits::default());
    let config = client::Config {
        framing,
        ..client::Config::new(HandshakeRules::None)
    };
    let mut client = Client::connect(&server.address.into(), config).expect("a server");
    // Memory that nobody touches is not there.
    let long = vec![0; i32::MAX as usize + 1];
    let sent = client.send(&long);
    assert!(matches!(sent, Err(client::Error::TooLong)), "{sent:?}");
    client.send(b"one").expect("nothing was sent before");
    assert_eq!(client.recv().expect("an answer"), Some(b"one".to_vec()));
}

#[test]
fn a_client_does_not_send_one_line_as_two() {
    let config = Config {
        framing: FramingKind::Lines,
        ..open_config()
    };
    let server = TestServer::start(config, Echo);
    let mut client = Client::connect(
        &server.address.into(),
        client::Config {
            framing: FramingKind::Lines,
            ..client::Config::new(HandshakeRules::None)
        },
    )
    .expect("a server");
    assert!(matches!(
        client.send(b"one\ntwo"),
        Err(client::Error::LineBreak)
    ));
    client.send(b"one").expect("nothing was sent before");
    assert_eq!(
        client.recv().expect("an answer").as_deref(),
        Some(&b"one"[..])
    );
}
