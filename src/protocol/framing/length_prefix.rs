//! `i32be` and `i32le`: a length before each message. The first is as Python's
//! `multiprocessing.connection` writes it:
//!
//! ```text
//!   0         4                        0          4               12
//!   ┌─────────┬───────────────┐        ┌──────────┬───────────────┬───────────────┐
//!   │ i32, BE │ payload …     │   or   │ -1 (i32) │ u64, BE       │ payload …     │
//!   └─────────┴───────────────┘        └──────────┴───────────────┴───────────────┘
//! ```
//!
//! Senders use the second form past 0x7fffffff bytes (`Connection._send_bytes` in CPython's
//! `Lib/multiprocessing/connection.py`); its reader takes it with any length, and so does this.
//!
//! `i32le` is the order of most machines, what `struct.pack('i', n)` makes there. It has the first
//! form alone; every negative length is an error.

use super::{Decoded, Framing};
use crate::error::ProtocolError;

const SHORT_HEADER_BYTES: usize = 4;
const LONG_HEADER_BYTES: usize = 12;
/// The longest payload that the short header can announce.
const SHORT_PAYLOAD_BYTES_MAX: usize = i32::MAX as usize;
/// In place of a length: the real one follows, in 64 bits.
const LONG_FOLLOWS: i32 = -1;

/// A signed 32-bit big-endian length before each payload; it needs no memory of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LengthPrefix;

impl Framing for LengthPrefix {
    #[inline]
    fn decode(&mut self, bytes: &[u8], _eof: bool, max: usize) -> Result<Decoded, ProtocolError> {
        let Some((header, len)) = read_header(bytes)? else {
            return Ok(Decoded::Incomplete);
        };
        behind(header, len, bytes, max)
    }

    #[inline]
    fn encode_header(&self, len: usize, out: &mut Vec<u8>) {
        match i32::try_from(len) {
            Ok(len) => out.extend_from_slice(&len.to_be_bytes()),
            Err(_) => out.extend_from_slice(&long_header(len)),
        }
    }

    #[inline]
    fn encode_with(&self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let start = out.len();
        out.extend_from_slice(&[0; SHORT_HEADER_BYTES]);
        write(out);
        seal(out, start, SHORT_PAYLOAD_BYTES_MAX);
    }
}

/// A signed 32-bit little-endian length before each payload; it needs no memory of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LengthPrefixLe;

impl Framing for LengthPrefixLe {
    #[inline]
    fn decode(&mut self, bytes: &[u8], _eof: bool, max: usize) -> Result<Decoded, ProtocolError> {
        let Some(header) = bytes.first_chunk::<SHORT_HEADER_BYTES>() else {
            return Ok(Decoded::Incomplete);
        };
        let len = i32::from_le_bytes(*header);
        match u64::try_from(len) {
            Ok(len) => behind(SHORT_HEADER_BYTES, len, bytes, max),
            Err(_) => Err(ProtocolError::NegativeLength(len)),
        }
    }

    #[inline]
    fn payload_bytes_max(&self) -> usize {
        SHORT_PAYLOAD_BYTES_MAX
    }

    #[inline]
    fn encode_header(&self, len: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&little_header(len));
    }

    #[inline]
    fn encode_with(&self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let start = out.len();
        out.extend_from_slice(&[0; SHORT_HEADER_BYTES]);
        write(out);
        let payload = start.saturating_add(SHORT_HEADER_BYTES);
        let header = little_header(out.len().saturating_sub(payload));
        if let Some(place) = out.get_mut(start..payload) {
            place.copy_from_slice(&header);
        }
    }
}

/// No length over [`SHORT_PAYLOAD_BYTES_MAX`] comes here.
fn little_header(len: usize) -> [u8; SHORT_HEADER_BYTES] {
    i32::try_from(len).unwrap_or(i32::MAX).to_le_bytes()
}

/// What lies behind a whole header that claims `len` bytes.
#[inline]
fn behind(header: usize, len: u64, bytes: &[u8], max: usize) -> Result<Decoded, ProtocolError> {
    let payload = match usize::try_from(len) {
        Ok(payload) if payload <= max => payload,
        _ => return Err(ProtocolError::MessageTooLong { len, max }),
    };
    let wire = header.saturating_add(payload);
    if bytes.len() < wire {
        return Ok(Decoded::Header { header, payload });
    }
    Ok(Decoded::Message {
        payload: header..wire,
        wire,
    })
}

/// The header's length and the payload's, or `None` where the header is not whole.
#[inline]
fn read_header(bytes: &[u8]) -> Result<Option<(usize, u64)>, ProtocolError> {
    let Some((short, rest)) = bytes.split_first_chunk::<SHORT_HEADER_BYTES>() else {
        return Ok(None);
    };
    match i32::from_be_bytes(*short) {
        LONG_FOLLOWS => Ok(rest
            .first_chunk()
            .map(|long| (LONG_HEADER_BYTES, u64::from_be_bytes(*long)))),
        len => match u64::try_from(len) {
            Ok(len) => Ok(Some((SHORT_HEADER_BYTES, len))),
            Err(_) => Err(ProtocolError::NegativeLength(len)),
        },
    }
}

fn long_header(len: usize) -> [u8; LONG_HEADER_BYTES] {
    let mut header = [0; LONG_HEADER_BYTES];
    let (marker, long) = header.split_at_mut(SHORT_HEADER_BYTES);
    marker.copy_from_slice(&LONG_FOLLOWS.to_be_bytes());
    long.copy_from_slice(&(len as u64).to_be_bytes());
    header
}

/// Writes the length of what follows the four bytes kept free at `start` into them; over
/// `short_max`, which tests set low, the long header is spliced in instead.
#[inline]
fn seal(out: &mut Vec<u8>, start: usize, short_max: usize) {
    let payload = start.saturating_add(SHORT_HEADER_BYTES);
    let len = out.len().saturating_sub(payload);
    match i32::try_from(len) {
        Ok(short) if len <= short_max => {
            if let Some(header) = out.get_mut(start..payload) {
                header.copy_from_slice(&short.to_be_bytes());
            }
        }
        _ => drop(out.splice(start..payload, long_header(len))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8], max: usize) -> Result<Decoded, ProtocolError> {
        LengthPrefix.decode(bytes, false, max)
    }

    fn message(header: usize, payload: usize) -> Result<Decoded, ProtocolError> {
        let wire = header + payload;
        Ok(Decoded::Message {
            payload: header..wire,
            wire,
        })
    }

    #[test]
    fn says_nothing_before_the_header_is_whole() {
        let long = *b"\xff\xff\xff\xff\0\0\0\0\0\0\0\x03abc";
        for cut in 0..12 {
            assert_eq!(decode(&long[..cut], 9), Ok(Decoded::Incomplete), "{cut}");
        }
        for cut in 12..15 {
            let header = Decoded::Header {
                header: 12,
                payload: 3,
            };
            assert_eq!(decode(&long[..cut], 9), Ok(header), "{cut}");
        }
        assert_eq!(decode(&long, 9), message(12, 3));
        assert_eq!(decode(b"\0\0\0", 9), Ok(Decoded::Incomplete));
    }

    #[test]
    fn takes_an_empty_message_and_leaves_what_follows() {
        assert_eq!(decode(b"\0\0\0\0", 9), message(4, 0));
        assert_eq!(decode(b"\0\0\0\x02hi\0\0\0\x01!", 9), message(4, 2));
    }

    #[test]
    fn judges_the_length_at_the_header() {
        let too_long = |len, max| Err(ProtocolError::MessageTooLong { len, max });
        assert_eq!(
            decode(&8i32.to_be_bytes(), 8),
            Ok(Decoded::Header {
                header: 4,
                payload: 8
            })
        );
        assert_eq!(decode(&9i32.to_be_bytes(), 8), too_long(9, 8));
        assert_eq!(decode(&long_header(9), 8), too_long(9, 8));
        for len in [1 << 63, u64::MAX] {
            let header = [&[0xff; 4], &len.to_be_bytes()[..]].concat();
            assert_eq!(decode(&header, 8), too_long(len, 8));
        }
        for len in [-2, i32::MIN] {
            let negative = Err(ProtocolError::NegativeLength(len));
            assert_eq!(decode(&len.to_be_bytes(), 8), negative);
        }
    }

    #[test]
    fn little_endian_lengths_are_judged_at_the_header_too() {
        let decode = |bytes: &[u8]| LengthPrefixLe.decode(bytes, false, 8);
        assert_eq!(decode(b"\x02\0\0"), Ok(Decoded::Incomplete));
        assert_eq!(decode(b"\0\0\0\0"), message(4, 0));
        assert_eq!(decode(b"\x02\0\0\0hi\x01"), message(4, 2));
        let (header, payload) = (4, 8);
        let at_limit = Ok(Decoded::Header { header, payload });
        assert_eq!(decode(&8i32.to_le_bytes()), at_limit);
        let too_long = Err(ProtocolError::MessageTooLong { len: 9, max: 8 });
        assert_eq!(decode(&9i32.to_le_bytes()), too_long);
        for len in [-1, -2, i32::MIN] {
            let negative = Err(ProtocolError::NegativeLength(len));
            assert_eq!(decode(&len.to_le_bytes()), negative);
        }
    }

    #[test]
    fn announces_past_two_gib_with_the_long_header() {
        let header = |len| {
            let mut out = Vec::new();
            LengthPrefix.encode_header(len, &mut out);
            out
        };
        assert_eq!(header(0x7fff_ffff), b"\x7f\xff\xff\xff");
        let long = b"\xff\xff\xff\xff\0\0\0\0\x80\0\0\0";
        assert_eq!(header(0x8000_0000), long);
    }

    #[test]
    fn seals_either_form_over_a_payload_written_before_its_length_was_known() {
        let mut out = b"before".to_vec();
        LengthPrefix.encode_with(&mut out, |out| out.extend_from_slice(b"hello"));
        assert_eq!(out, b"before\0\0\0\x05hello");

        let mut out = b"before\0\0\0\0hello".to_vec();
        seal(&mut out, 6, 4);
        assert_eq!(out, b"before\xff\xff\xff\xff\0\0\0\0\0\0\0\x05hello");
    }
}
