//! Whatever the cuts, each framing restores the messages that were put on the wire.

#[path = "util/restore.rs"]
mod restore;
#[path = "util/seed.rs"]
mod seed;

use gateloop::error::ProtocolError;
use gateloop::protocol::framing::{AnyFraming, Decoded, Framing, FramingKind};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use restore::{Restored, restore, restore_each_way};

const MAX: usize = 300;

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 128,
        rng_seed: RngSeed::Fixed(seed::seed()),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Whole, byte by byte, and in the given pieces.
fn restores(kind: FramingKind, wire: &[u8], pieces: &[usize], messages: &[Vec<u8>]) {
    let expected = Restored {
        messages: messages.to_vec(),
        end: Ok(0),
    };
    assert_eq!(restore_each_way(kind, wire, pieces, MAX), expected);
}

/// Both ways to encode, which must agree.
fn encode(kind: FramingKind, payload: &[u8], out: &mut Vec<u8>) {
    let framing = AnyFraming::new(kind);
    let start = out.len();
    framing.encode_header(payload.len(), out);
    out.extend_from_slice(payload);
    out.extend_from_slice(framing.trailer());
    let mut with = Vec::new();
    framing.encode_with(&mut with, |out| out.extend_from_slice(payload));
    assert_eq!(with, out[start..]);
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..8), vec(any::<u8>(), 0..=MAX)]
}

/// A payload that `lines` can carry: no line feed, and no carriage return at its end.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![9 => any::<u8>(), 1 => Just(b'\r')];
    vec(byte, 0..=MAX).prop_map(|mut line| {
        line.retain(|byte| *byte != b'\n');
        while line.last() == Some(&b'\r') {
            line.pop();
        }
        line
    })
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    vec(1..2 * MAX, 1..20)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn i32be_restores_the_messages(
        messages in vec((payload(), any::<bool>()), 0..20),
        pieces in pieces(),
    ) {
        let mut wire = Vec::new();
        for (message, long) in &messages {
            if *long {
                wire.extend_from_slice(&[0xff; 4]);
                wire.extend_from_slice(&(message.len() as u64).to_be_bytes());
                wire.extend_from_slice(message);
            } else {
                encode(FramingKind::I32Be, message, &mut wire);
            }
        }
        let messages: Vec<_> = messages.into_iter().map(|(message, _)| message).collect();
        restores(FramingKind::I32Be, &wire, &pieces, &messages);
    }

    #[test]
    fn i32le_restores_the_messages(messages in vec(payload(), 0..20), pieces in pieces()) {
        let mut wire = Vec::new();
        for message in &messages {
            encode(FramingKind::I32Le, message, &mut wire);
        }
        restores(FramingKind::I32Le, &wire, &pieces, &messages);
    }

    #[test]
    fn lines_restores_the_messages(
        messages in vec((line(), any::<bool>()), 0..20),
        unfinished in line(),
        pieces in pieces(),
    ) {
        let mut wire = Vec::new();
        for (message, crlf) in &messages {
            encode(FramingKind::Lines, message, &mut wire);
            if *crlf {
                wire.insert(wire.len() - 1, b'\r');
            }
        }
        wire.extend_from_slice(&unfinished);
        let mut messages: Vec<_> = messages.into_iter().map(|(message, _)| message).collect();
        if !unfinished.is_empty() {
            messages.push(unfinished);
        }
        restores(FramingKind::Lines, &wire, &pieces, &messages);
    }

    #[test]
    fn raw_restores_the_bytes(messages in vec(payload(), 0..20), pieces in pieces()) {
        let mut wire = Vec::new();
        for message in &messages {
            encode(FramingKind::Raw, message, &mut wire);
        }
        let repeated = pieces.iter().copied().cycle();
        let Restored { messages: parts, end } = restore(FramingKind::Raw, &wire, repeated, MAX);
        prop_assert!(parts.iter().all(|part| (1..=MAX).contains(&part.len())));
        prop_assert_eq!((parts.concat(), end), (wire, Ok(0)));
    }

    /// Whatever comes, decoding says what it is or refuses it, and never takes what is not there.
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in vec(any::<u8>(), 0..64), eof in any::<bool>()) {
        for kind in FramingKind::ALL {
            match AnyFraming::new(kind).decode(&bytes, eof, 16) {
                Ok(Decoded::Message { payload, wire }) => {
                    prop_assert!(payload.len() <= 16 && payload.end <= wire);
                    prop_assert!(0 < wire && wire <= bytes.len());
                }
                Ok(Decoded::Header { header, payload }) => {
                    prop_assert!(payload <= 16 && bytes.len() < header + payload);
                }
                Ok(Decoded::Blank { wire }) => prop_assert!(0 < wire && wire <= bytes.len()),
                Ok(Decoded::Incomplete) => (),
                Err(error) => prop_assert_ne!(error, ProtocolError::TruncatedMessage),
            }
        }
    }
}

fn decode(kind: FramingKind, bytes: &[u8], max: usize) -> Result<Decoded, ProtocolError> {
    AnyFraming::new(kind).decode(bytes, false, max)
}

fn too_long(len: u64) -> Result<Decoded, ProtocolError> {
    Err(ProtocolError::MessageTooLong { len, max: MAX })
}

#[test]
fn i32be_judges_a_length_at_its_header() {
    let header = |len: i32| decode(FramingKind::I32Be, &len.to_be_bytes(), MAX);
    let at_limit = Ok(Decoded::Header {
        header: 4,
        payload: MAX,
    });
    assert_eq!(header(MAX as i32), at_limit);
    assert_eq!(header(MAX as i32 + 1), too_long(MAX as u64 + 1));
    assert_eq!(header(-2), Err(ProtocolError::NegativeLength(-2)));
    assert_eq!(
        header(i32::MIN),
        Err(ProtocolError::NegativeLength(i32::MIN))
    );
    assert_eq!(header(-1), Ok(Decoded::Incomplete));

    let long_header = |len: u64| {
        let bytes = [&[0xff; 4], &len.to_be_bytes()[..]].concat();
        decode(FramingKind::I32Be, &bytes, MAX)
    };
    let at_limit = Ok(Decoded::Header {
        header: 12,
        payload: MAX,
    });
    assert_eq!(long_header(MAX as u64), at_limit);
    for len in [MAX as u64 + 1, 1 << 63, u64::MAX] {
        assert_eq!(long_header(len), too_long(len));
    }
}

#[test]
fn i32le_judges_a_length_at_its_header() {
    let header = |len: i32| decode(FramingKind::I32Le, &len.to_le_bytes(), MAX);
    let at_limit = Ok(Decoded::Header {
        header: 4,
        payload: MAX,
    });
    assert_eq!(header(MAX as i32), at_limit);
    assert_eq!(header(MAX as i32 + 1), too_long(MAX as u64 + 1));
    for negative in [-1, -2, i32::MIN] {
        assert_eq!(
            header(negative),
            Err(ProtocolError::NegativeLength(negative))
        );
    }
    // It has no other form, so this is all that it can announce.
    let most = AnyFraming::new(FramingKind::I32Le).payload_bytes_max();
    assert_eq!(most, 0x7fff_ffff);
}

/// A limit of the whole address space must not make the end of a message wrap around.
#[test]
fn i32be_claims_of_the_largest_length_do_not_overflow() {
    let bytes = [0xff; 12];
    let header = Ok(Decoded::Header {
        header: 12,
        payload: usize::MAX,
    });
    assert_eq!(decode(FramingKind::I32Be, &bytes, usize::MAX), header);
}

#[test]
fn lines_and_raw_hold_the_limit() {
    let line = |len, end: &str| [&vec![b'x'; len][..], end.as_bytes()].concat();
    for end in ["\n", "\r\n"] {
        let at_limit = Ok(Decoded::Message {
            payload: 0..MAX,
            wire: MAX + end.len(),
        });
        assert_eq!(decode(FramingKind::Lines, &line(MAX, end), MAX), at_limit);
        let over = decode(FramingKind::Lines, &line(MAX + 1, end), MAX);
        assert_eq!(over, too_long(MAX as u64 + 1));
    }
    assert_eq!(
        decode(FramingKind::Lines, &line(MAX, ""), MAX),
        Ok(Decoded::Incomplete)
    );
    let endless = decode(FramingKind::Lines, &line(MAX + 1, ""), MAX);
    assert_eq!(endless, too_long(MAX as u64 + 1));

    for len in [MAX, MAX + 1] {
        let part = Ok(Decoded::Message {
            payload: 0..MAX,
            wire: MAX,
        });
        assert_eq!(decode(FramingKind::Raw, &line(len, ""), MAX), part);
    }
}

/// Every byte that was seen is turned into a line feed afterwards: whoever looked at one of them
/// again would find an end there. So a line that comes byte by byte is looked at once.
#[test]
fn lines_looks_at_each_byte_once() {
    let mut lines = AnyFraming::new(FramingKind::Lines);
    let mut bytes = Vec::new();
    for _ in 0..MAX {
        bytes.push(b'x');
        let decoded = lines.decode(&bytes, false, MAX);
        assert_eq!(
            decoded,
            Ok(Decoded::Incomplete),
            "after {} bytes",
            bytes.len()
        );
        bytes.fill(b'\n');
    }
    bytes.push(b'\n');
    let line = Ok(Decoded::Message {
        payload: 0..MAX,
        wire: MAX + 1,
    });
    assert_eq!(lines.decode(&bytes, false, MAX), line);
}

#[test]
fn framings_are_named_as_they_are_read() {
    for kind in FramingKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    assert!("i32".parse::<FramingKind>().is_err());
}
