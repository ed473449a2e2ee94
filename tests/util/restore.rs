//! Messages out of a stream that arrives in pieces, by the framing alone.

#![allow(dead_code, reason = "each test file uses another part of this one")]

use std::iter;

use gateloop::error::ProtocolError;
use gateloop::protocol::framing::{AnyFraming, Decoded, Framing, FramingKind};

/// What a stream came to.
#[derive(Debug, PartialEq)]
pub(crate) struct Restored {
    pub(crate) messages: Vec<Vec<u8>>,
    /// How many bytes were left without making a message, or why the stream was refused.
    pub(crate) end: Result<usize, ProtocolError>,
}

/// Delivers `wire` in pieces of the given sizes and then, where these are used up, in one. The end
/// of the stream comes on its own, after the last byte.
pub(crate) fn restore(
    kind: FramingKind,
    wire: &[u8],
    pieces: impl IntoIterator<Item = usize>,
    max: usize,
) -> Restored {
    let mut framing = AnyFraming::new(kind);
    let mut pieces = pieces.into_iter();
    let (mut front, mut arrived, mut messages) = (0, 0, Vec::new());
    loop {
        let eof = arrived == wire.len();
        let piece = pieces.next().unwrap_or(wire.len());
        arrived = wire.len().min(arrived + piece);
        loop {
            let bytes = &wire[front..arrived];
            match framing.decode(bytes, eof, max) {
                Ok(Decoded::Message { payload, wire }) => {
                    assert!(payload.end <= wire && wire <= bytes.len() && wire > 0);
                    assert!(payload.len() <= max);
                    messages.push(bytes[payload].to_vec());
                    front += wire;
                }
                Ok(Decoded::Header { header, payload }) => {
                    assert!(header <= bytes.len() && bytes.len() < header + payload);
                    assert!(payload <= max);
                    break;
                }
                Ok(Decoded::Blank { wire }) => {
                    assert!(0 < wire && wire <= bytes.len());
                    front += wire;
                }
                Ok(Decoded::Incomplete) => break,
                Err(error) => {
                    let end = Err(error);
                    return Restored { messages, end };
                }
            }
        }
        if eof {
            let end = Ok(wire.len() - front);
            return Restored { messages, end };
        }
    }
}

/// What a stream comes to whole, byte by byte, and in the given pieces, which must be the same.
pub(crate) fn restore_each_way(
    kind: FramingKind,
    wire: &[u8],
    pieces: &[usize],
    max: usize,
) -> Restored {
    let whole = restore(kind, wire, [], max);
    assert_eq!(restore(kind, wire, iter::repeat(1), max), whole);
    let cut = restore(kind, wire, pieces.iter().copied().cycle(), max);
    assert_eq!(cut, whole, "in pieces of {pieces:?}");
    whole
}
