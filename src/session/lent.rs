//! What a session is given for one call, and has not itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::limits::Limits;
use crate::penalties::Penalties;
use crate::protocol::connection::Output;
use crate::protocol::handshake::{Entropy, HandshakeRules};
use crate::protocol::{FramingKind, Pool};
use crate::service::Jobs;
use crate::stats::Stats;

/// What all conversations of a server have in common.
#[derive(Debug)]
pub struct Rules {
    /// Who may speak.
    pub handshake: HandshakeRules,
    /// Where a message ends.
    pub framing: FramingKind,
    /// Every bound.
    pub limits: Limits,
    /// What wrong keys have cost.
    pub penalties: Penalties,
    /// What is counted.
    pub stats: Arc<Stats>,
    /// What a session counts its milliseconds from: half the size of an [`Instant`], and there are
    /// ten thousand of them.
    pub epoch: Instant,
}

impl Rules {
    pub(super) fn ms(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.epoch).as_millis() as u64
    }

    pub(super) fn at(&self, ms: u64) -> Instant {
        self.epoch + Duration::from_millis(ms)
    }
}

/// What may still be done for one connection in this turn.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Bytes to read.
    pub bytes: usize,
    /// Messages to serve.
    pub messages: usize,
}

impl Budget {
    /// A turn's whole budget.
    #[must_use]
    pub fn of(limits: &Limits) -> Self {
        Self {
            bytes: limits.turn_bytes,
            messages: limits.turn_messages,
        }
    }

    /// Whether the turn is over for this connection.
    #[must_use]
    #[inline]
    pub fn is_spent(self) -> bool {
        self.bytes == 0 || self.messages == 0
    }
}

/// What a driver lends for one call.
pub struct Lent<'a, S> {
    /// The service.
    pub service: &'a mut S,
    /// What all conversations have in common.
    pub rules: &'a Rules,
    /// Answers are encoded into this; it must be empty when another session is driven.
    pub out: &'a mut Vec<u8>,
    /// Buffers for long messages.
    pub pool: &'a mut Pool,
    /// Takes what is deferred.
    pub jobs: &'a mut Jobs,
    /// Random bytes for the handshake.
    pub entropy: Entropy<'a>,
    /// This turn's time.
    pub now: Instant,
    /// What is left of this connection's turn.
    pub budget: Budget,
}

impl<S> Lent<'_, S> {
    pub(super) fn output(&mut self) -> (Output<'_>, &mut Pool) {
        let output = Output {
            out: self.out,
            limits: &self.rules.limits,
            now: self.now,
        };
        (output, self.pool)
    }
}
