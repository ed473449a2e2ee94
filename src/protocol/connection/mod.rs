//! One conversation without its socket: framing, handshake and both buffers.
//!
//! ```text
//!   Handshake ──passed──► Commands ──end──► Draining ──flushed──► Lingering ──EOF, time──► Closed
//!       └───────────────────end────────────────▲                                             ▲
//!       └──────────────────────── an end that is not worth a flush ──────────────────────────┘
//! ```
//!
//! The calling contract stands in `docs/ARCHITECTURE.md`. In short: bytes go in through
//! [`Connection::advance`], one event at a time; messages go out through the `send` family, into
//! the caller's scratch; what the kernel takes of queue and scratch is told to
//! [`Connection::wrote`], and what it refuses moves to the queue with [`Connection::keep`].

mod output;

use std::mem;
use std::ops::Range;
use std::time::Instant;

use super::framing::{AnyFraming, Decoded, Framing, FramingKind};
use super::handshake::{AnyHandshake, Digest, Entropy, HandshakeRules, Step};
use super::recv_buffer::RecvBuffer;
use super::send_queue::SendQueue;
use crate::error::{CloseReason, ProtocolError};
use crate::limits::Limits;
use output::Fault;
pub use output::Output;

/// Where a conversation stands.
#[derive(Debug)]
pub enum Phase {
    /// Nobody has proved anything yet.
    Handshake(Box<AnyHandshake>),
    /// Messages are served.
    Commands,
    /// Nothing is served any more; what is queued is delivered.
    Draining(Box<CloseReason>),
    /// Our FIN is out; what still comes is discarded, until the peer's or the deadline.
    Lingering(Box<(CloseReason, Instant)>),
    /// The socket may be closed.
    Closed(Box<CloseReason>),
}

impl Phase {
    /// The phase's name, for the log.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Handshake(_) => "handshake",
            Self::Commands => "commands",
            Self::Draining(_) => "draining",
            Self::Lingering(_) => "lingering",
            Self::Closed(_) => "closed",
        }
    }
}

/// Whether more input can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// It can.
    Open,
    /// The peer shut down its sending half.
    Eof,
    /// We stop reading, as the server is stopping.
    Stopped,
}

/// What lies at the front of the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A whole message for the service.
    Message {
        /// Where its payload lies in the bytes given.
        payload: Range<usize>,
        /// How many of the bytes given it took.
        wire: usize,
    },
    /// A handshake message, already dealt with.
    Handshake {
        /// What it led to.
        step: Step,
        /// How many of the bytes given it took.
        wire: usize,
    },
    /// Bytes between two messages that mean nothing.
    Blank {
        /// How many of the bytes given they are.
        wire: usize,
    },
    /// Nothing whole.
    Incomplete,
}

/// See the module.
#[derive(Debug)]
pub struct Connection {
    pub(crate) phase: Phase,
    pub(crate) recv: RecvBuffer,
    pub(crate) input: Input,
    framing: AnyFraming,
    send: SendQueue,
    digest: Option<Digest>,
    stranger: bool,
    throttled: bool,
    starved: bool,
    fault: Option<Fault>,
}

impl Connection {
    /// The serving side; its first words go into `out`.
    pub fn accept(
        rules: &HandshakeRules,
        framing: FramingKind,
        entropy: Entropy<'_>,
        out: &mut Vec<u8>,
    ) -> Self {
        Self::new(AnyHandshake::accept(rules, entropy, out), framing)
    }

    /// The connecting side.
    #[must_use]
    pub fn connect(rules: &HandshakeRules, framing: FramingKind) -> Self {
        Self::new(AnyHandshake::connect(rules), framing)
    }

    fn new(handshake: Option<AnyHandshake>, framing: FramingKind) -> Self {
        Self {
            stranger: handshake.is_some(),
            phase: handshake.map_or(Phase::Commands, |h| Phase::Handshake(Box::new(h))),
            recv: RecvBuffer::default(),
            input: Input::Open,
            framing: AnyFraming::new(framing),
            send: SendQueue::default(),
            digest: None,
            throttled: false,
            starved: false,
            fault: None,
        }
    }

    /// Where the conversation stands.
    #[must_use]
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Whether there is a handshake that the peer has not passed.
    #[must_use]
    #[inline]
    pub fn is_stranger(&self) -> bool {
        self.stranger
    }

    /// The digest with which the peer proved its key.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Memory held by both buffers, in bytes.
    #[must_use]
    #[inline]
    pub fn capacity(&self) -> usize {
        self.recv.capacity().saturating_add(self.send.capacity())
    }

    /// Looks at the front of `bytes`, which begin where the last event's `wire` ended. A handshake
    /// message is dealt with, its answer appended to `out`.
    ///
    /// # Errors
    /// What the peer did wrong; the caller ends the connection.
    #[inline]
    pub fn advance(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        entropy: Entropy<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Event, ProtocolError> {
        let (payload, wire) = match self.decode(bytes, limits)? {
            Decoded::Message { payload, wire } => (payload, wire),
            Decoded::Blank { wire } => return Ok(Event::Blank { wire }),
            Decoded::Header { .. } | Decoded::Incomplete => return Ok(Event::Incomplete),
        };
        let Phase::Handshake(handshake) = &mut self.phase else {
            return Ok(Event::Message { payload, wire });
        };
        let message = bytes.get(payload).unwrap_or_default();
        let step = handshake.advance(message, entropy, out)?;
        let digest = match step {
            Step::Passed(digest) => Some(digest),
            Step::Answered => None,
            Step::Continue | Step::PeerProved | Step::WrongKey => {
                return Ok(Event::Handshake { step, wire });
            }
        };
        self.digest = digest;
        self.stranger = false;
        self.phase = Phase::Commands;
        Ok(Event::Handshake { step, wire })
    }

    /// What lies at the front of `bytes`, by the rules of this phase, with nothing done about it.
    ///
    /// # Errors
    /// A length that the peer may not claim.
    #[inline]
    pub fn decode(&mut self, bytes: &[u8], limits: &Limits) -> Result<Decoded, ProtocolError> {
        match &mut self.phase {
            Phase::Commands => {
                let eof = self.input == Input::Eof;
                self.framing.decode(bytes, eof, limits.message_bytes_max)
            }
            Phase::Handshake(handshake) => handshake.decode(bytes),
            Phase::Draining(_) | Phase::Lingering(_) | Phase::Closed(_) => Ok(Decoded::Incomplete),
        }
    }

    /// Tells a peer whose key is wrong.
    pub fn refuse(&mut self, out: &mut Vec<u8>) {
        if let Phase::Handshake(handshake) = &self.phase {
            handshake.refuse(out);
        }
    }
}

/// Ends: the first reason stands, unless what was to be delivered then is cut short.
impl Connection {
    /// Ends the conversation: what is queued is delivered first where that is worth it.
    pub fn end(&mut self, reason: CloseReason) {
        let reason = match reason {
            CloseReason::ServiceClosed if self.is_streaming() => CloseReason::StreamLength,
            reason => reason,
        };
        self.recv.clear();
        self.starved = false;
        self.phase = match mem::replace(&mut self.phase, Phase::Commands) {
            Phase::Handshake(_) | Phase::Commands if reason.flushes() => {
                Phase::Draining(Box::new(reason))
            }
            Phase::Draining(first) if reason.flushes() => Phase::Draining(first),
            Phase::Handshake(_) | Phase::Commands | Phase::Draining(_) => {
                self.send.clear();
                Phase::Closed(Box::new(reason))
            }
            Phase::Lingering(ending) => Phase::Closed(Box::new(ending.0)),
            Phase::Closed(reason) => Phase::Closed(reason),
        };
    }

    /// All is delivered and our FIN is out: lingers until `until`, unless the peer is done as well.
    pub fn flushed(&mut self, until: Instant) {
        self.phase = match mem::replace(&mut self.phase, Phase::Commands) {
            Phase::Draining(reason) if self.input == Input::Eof => Phase::Closed(reason),
            Phase::Draining(reason) => Phase::Lingering(Box::new((*reason, until))),
            other => other,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ends_by_its_first_reason() {
        let until = Instant::now() + Duration::from_secs(1);
        let mut connection = Connection::connect(&HandshakeRules::None, FramingKind::I32Be);
        connection.end(CloseReason::IdleTimeout);
        assert_eq!(connection.phase().name(), "draining");
        connection.flushed(until);
        assert_eq!(connection.phase().name(), "lingering");
        connection.end(CloseReason::Aborted);
        assert!(matches!(&connection.phase, Phase::Closed(r) if **r == CloseReason::IdleTimeout));
    }
}
