//! Where a message ends: each framing restores the messages from a stream, whatever the cuts.

mod json;
mod length_prefix;
mod lines;
mod raw;

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::error::ProtocolError;
pub use json::Json;
pub use length_prefix::{LengthPrefix, LengthPrefixLe};
pub use lines::Lines;
pub use raw::Raw;

/// What lies at the front of the bytes that were looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A whole message.
    Message {
        /// Where its payload lies in the bytes looked at.
        payload: Range<usize>,
        /// How many bytes of the wire it took, from the front, framing included.
        wire: usize,
    },
    /// A whole header of an unfinished message. Its length is within the limit.
    Header {
        /// The header's length in bytes.
        header: usize,
        /// The payload's length in bytes, as the header claims.
        payload: usize,
    },
    /// Bytes between two messages that mean nothing.
    Blank {
        /// How many there are at the front.
        wire: usize,
    },
    /// Nothing can be said yet, or there are no bytes.
    Incomplete,
}

/// A rule for where a message ends.
///
/// A framing may remember how far it has looked into the front message, so that bytes which come
/// one at a time are each looked at once; it forgets when it returns [`Decoded::Message`].
pub trait Framing {
    /// Looks at the front of `bytes`, which begin where the last message ended and, from one call
    /// to the next, only grow at their end until a message or a blank is returned. `eof` says that
    /// nothing will follow; `max` is the limit of a payload in bytes.
    ///
    /// # Errors
    /// A length that is negative or over `max`, judged at the header, before it is waited for; and
    /// what cannot be a message of this framing.
    fn decode(&mut self, bytes: &[u8], eof: bool, max: usize) -> Result<Decoded, ProtocolError>;

    /// The longest payload that can be framed, in bytes.
    fn payload_bytes_max(&self) -> usize {
        usize::MAX
    }

    /// Appends what precedes a payload of `len` bytes, at most [`Framing::payload_bytes_max`].
    /// The default: nothing.
    #[inline]
    fn encode_header(&self, _len: usize, _out: &mut Vec<u8>) {}

    /// What follows a payload. The default: nothing.
    #[inline]
    fn trailer(&self) -> &'static [u8] {
        b""
    }

    /// Frames what `write` appends to `out`, whose length is not known before. The default is for
    /// framings without a header.
    #[inline]
    fn encode_with(&self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        write(out);
        out.extend_from_slice(self.trailer());
    }
}

/// The framings by name, as `--framing` takes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FramingKind {
    /// A signed 32-bit big-endian length before each message; Python's `multiprocessing`.
    #[default]
    I32Be,
    /// The same in little-endian order: C's `int`, Python's `struct.pack('i', n)` on x86 and Arm.
    I32Le,
    /// JSON values one after another.
    Json,
    /// A message a line.
    Lines,
    /// Whatever a read returned is a message.
    Raw,
}

impl FramingKind {
    /// Every framing.
    pub const ALL: [Self; 5] = [Self::I32Be, Self::I32Le, Self::Json, Self::Lines, Self::Raw];

    /// The name that [`FromStr`] reads.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::I32Be => "i32be",
            Self::I32Le => "i32le",
            Self::Json => "json",
            Self::Lines => "lines",
            Self::Raw => "raw",
        }
    }
}

impl fmt::Display for FramingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FramingKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|kind| kind.name() == name);
        let all = || Self::ALL.map(Self::name).join(", ");
        known.ok_or_else(|| format!("unknown framing `{name}` (known: {})", all()))
    }
}

/// One connection's framing: its kind, and what that kind remembers.
#[derive(Clone, Debug)]
pub enum AnyFraming {
    /// See [`LengthPrefix`].
    LengthPrefix(LengthPrefix),
    /// See [`LengthPrefixLe`].
    LengthPrefixLe(LengthPrefixLe),
    /// See [`Json`].
    Json(Json),
    /// See [`Lines`].
    Lines(Lines),
    /// See [`Raw`].
    Raw(Raw),
}

impl AnyFraming {
    /// A framing that has seen nothing yet.
    #[must_use]
    pub fn new(kind: FramingKind) -> Self {
        match kind {
            FramingKind::I32Be => Self::LengthPrefix(LengthPrefix),
            FramingKind::I32Le => Self::LengthPrefixLe(LengthPrefixLe),
            FramingKind::Json => Self::Json(Json::default()),
            FramingKind::Lines => Self::Lines(Lines::default()),
            FramingKind::Raw => Self::Raw(Raw),
        }
    }

    /// Whether a message may be taken in parts: only where messages have no border on the wire.
    #[must_use]
    pub fn is_borderless(&self) -> bool {
        matches!(self, Self::Raw(_))
    }
}

impl Framing for AnyFraming {
    #[inline]
    fn decode(&mut self, bytes: &[u8], eof: bool, max: usize) -> Result<Decoded, ProtocolError> {
        match self {
            Self::LengthPrefix(framing) => framing.decode(bytes, eof, max),
            Self::LengthPrefixLe(framing) => framing.decode(bytes, eof, max),
            Self::Json(framing) => framing.decode(bytes, eof, max),
            Self::Lines(framing) => framing.decode(bytes, eof, max),
            Self::Raw(framing) => framing.decode(bytes, eof, max),
        }
    }

    #[inline]
    fn payload_bytes_max(&self) -> usize {
        match self {
            Self::LengthPrefix(framing) => framing.payload_bytes_max(),
            Self::LengthPrefixLe(framing) => framing.payload_bytes_max(),
            Self::Json(framing) => framing.payload_bytes_max(),
            Self::Lines(framing) => framing.payload_bytes_max(),
            Self::Raw(framing) => framing.payload_bytes_max(),
        }
    }

    #[inline]
    fn encode_header(&self, len: usize, out: &mut Vec<u8>) {
        match self {
            Self::LengthPrefix(framing) => framing.encode_header(len, out),
            Self::LengthPrefixLe(framing) => framing.encode_header(len, out),
            Self::Json(framing) => framing.encode_header(len, out),
            Self::Lines(framing) => framing.encode_header(len, out),
            Self::Raw(framing) => framing.encode_header(len, out),
        }
    }

    #[inline]
    fn trailer(&self) -> &'static [u8] {
        match self {
            Self::LengthPrefix(framing) => framing.trailer(),
            Self::LengthPrefixLe(framing) => framing.trailer(),
            Self::Json(framing) => framing.trailer(),
            Self::Lines(framing) => framing.trailer(),
            Self::Raw(framing) => framing.trailer(),
        }
    }

    fn encode_with(&self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        match self {
            Self::LengthPrefix(framing) => framing.encode_with(out, write),
            Self::LengthPrefixLe(framing) => framing.encode_with(out, write),
            Self::Json(framing) => framing.encode_with(out, write),
            Self::Lines(framing) => framing.encode_with(out, write),
            Self::Raw(framing) => framing.encode_with(out, write),
        }
    }
}
