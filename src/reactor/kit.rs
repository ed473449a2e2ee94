//! What a reactor has once, and lends to each of its drivers for a run.

use std::sync::Arc;
use std::time::Instant;

use mio::Registry;

use crate::limits::SCRATCH_BYTES_KEPT;
use crate::protocol::Pool;
use crate::service::{Jobs, Service};
use crate::session::{Budget, Lent, Rules};

/// What a reactor has once and lends to each of its drivers for a run.
pub struct Kit<S> {
    /// The service.
    pub service: S,
    /// What all conversations have in common.
    pub rules: Arc<Rules>,
    /// Reads go into this and are parsed in place.
    pub read_buffer: Vec<u8>,
    /// Answers are encoded into this, and are gone from it at the end of each run.
    pub out: Vec<u8>,
    /// Buffers for long messages.
    pub pool: Pool,
    /// What was deferred in a run.
    pub jobs: Jobs,
    /// Random bytes.
    pub entropy: fn(&mut [u8]),
    /// For sockets that turn out to need the edge of writability.
    pub registry: Registry,
    /// What this turn has moved; added to the server's counters at its end.
    pub moved: Moved,
    /// This turn's time.
    pub now: Instant,
}

/// What was moved, by a turn or over a connection's life.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moved {
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Messages served.
    pub messages: u64,
}

impl<S: Service> Kit<S> {
    /// What a session is lent, beside what only a driver needs.
    pub fn lend(&mut self) -> (Lent<'_, S>, Rest<'_>) {
        let lent = Lent {
            service: &mut self.service,
            rules: &self.rules,
            out: &mut self.out,
            pool: &mut self.pool,
            jobs: &mut self.jobs,
            entropy: &mut self.entropy,
            now: self.now,
            budget: Budget::of(&self.rules.limits),
        };
        let rest = Rest {
            read_buffer: &mut self.read_buffer,
            registry: &self.registry,
            moved: &mut self.moved,
        };
        (lent, rest)
    }

    /// Gives the scratch's memory back where an answer has made it large.
    #[inline]
    pub fn trim(&mut self) {
        if self.out.capacity() > SCRATCH_BYTES_KEPT {
            self.out = Vec::new();
        }
    }
}

/// The part of a [`Kit`] that only a driver needs.
#[derive(Debug)]
pub struct Rest<'a> {
    /// Reads go into this.
    pub read_buffer: &'a mut Vec<u8>,
    /// For sockets that are new, or turn out to need the edge of writability.
    pub registry: &'a Registry,
    /// What this turn has moved.
    pub moved: &'a mut Moved,
}
