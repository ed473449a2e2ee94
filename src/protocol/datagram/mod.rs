//! Datagrams: each is a message by itself, and proves by itself who sent it, as there is no
//! conversation that a handshake could precede.
//!
//! ```text
//!   | version | kind | sent at, unix ms BE | id | payload | HMAC-SHA256 of all before it |
//!   |    1    |  1   |          8          | 16 |  0 ..   |              32              |  bytes
//! ```
//!
//! That is with a key. Without one a datagram is its payload. [`Gate`] holds the serving side's
//! rules.

mod gate;
mod seen;

use super::handshake::{Digest, Key};
use crate::error::DropReason;
pub use gate::{Gate, Request};

/// The first byte. It also keeps these MACs apart from those of the handshake under the same key,
/// which are made of what begins with `{`.
pub const VERSION: u8 = 1;
/// What the MAC is made with.
pub const DIGEST: Digest = Digest::Sha256;
/// What is put around a payload, in bytes.
pub const ENVELOPE_BYTES: usize = 1 + 1 + size_of::<u64>() + size_of::<Id>() + MAC_BYTES;

const MAC_BYTES: usize = 32;

/// Tells a request from all others; a reply repeats it.
pub type Id = [u8; 16];

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// From a client.
    Request,
    /// From a server.
    Reply,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Request => 0,
            Self::Reply => 1,
        }
    }
}

/// What an envelope says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the datagram is; `None`: of a kind that is not known here.
    pub kind: Option<Kind>,
    /// When it was sent, in milliseconds since 1970 by the sender's clock.
    pub sent_at_ms: u64,
    /// The request's id.
    pub id: Id,
}

/// Takes a datagram out of its envelope, once that is proved to be made with the key.
///
/// # Errors
/// [`DropReason::Malformed`] or [`DropReason::Forged`].
pub fn open<'a>(key: &Key, datagram: &'a [u8]) -> Result<(Header, &'a [u8]), DropReason> {
    let (signed, mac) = datagram
        .split_last_chunk::<MAC_BYTES>()
        .ok_or(DropReason::Malformed)?;
    let (version, kind, sent_at, id, payload) = fields(signed).ok_or(DropReason::Malformed)?;
    // Whoever does not hold the key learns nothing about the rest, and does not choose what is
    // done about it.
    if !DIGEST.verify(key, signed, mac) {
        return Err(DropReason::Forged);
    }
    if version != VERSION {
        return Err(DropReason::Malformed);
    }
    let header = Header {
        kind: [Kind::Request, Kind::Reply]
            .into_iter()
            .find(|known| known.byte() == kind),
        sent_at_ms: u64::from_be_bytes(*sent_at),
        id: *id,
    };
    Ok((header, payload))
}

type Fields<'a> = (u8, u8, &'a [u8; 8], &'a Id, &'a [u8]);

fn fields(signed: &[u8]) -> Option<Fields<'_>> {
    let (&[version, kind], rest) = signed.split_first_chunk()?;
    let (sent_at, rest) = rest.split_first_chunk()?;
    let (id, payload) = rest.split_first_chunk()?;
    Some((version, kind, sent_at, id, payload))
}

/// Appends a datagram.
pub fn seal(key: &Key, kind: Kind, sent_at_ms: u64, id: &Id, payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    begin(kind, sent_at_ms, id, out);
    out.extend_from_slice(payload);
    end(key, start, out);
}

/// Appends what precedes a payload.
fn begin(kind: Kind, sent_at_ms: u64, id: &Id, out: &mut Vec<u8>) {
    out.extend_from_slice(&[VERSION, kind.byte()]);
    out.extend_from_slice(&sent_at_ms.to_be_bytes());
    out.extend_from_slice(id);
}

/// Appends what follows the payload of the datagram that begins at `start`.
fn end(key: &Key, start: usize, out: &mut Vec<u8>) {
    let mac = DIGEST.mac(key, out.get(start..).unwrap_or_default());
    out.extend_from_slice(&mac);
}
