//! What a thread that drives sessions has once, and lends to each of its drivers for a run.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crate::limits::{JOBS_QUEUED_MAX, SCRATCH_BYTES_KEPT};
use crate::protocol::Pool;
use crate::service::{Jobs, Service};
use crate::session::{Budget, Lent, Rules};

/// What a thread has once and lends to each of its drivers for a run.
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
    /// What was moved and is not counted yet.
    pub moved: Moved,
    /// This turn's time.
    pub now: Instant,
}

/// What was moved since it was last counted.
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
    /// A kit whose reads take up to so many bytes at once.
    #[must_use]
    pub fn new(service: S, rules: Arc<Rules>, read_bytes: usize) -> Self {
        Self {
            service,
            read_buffer: vec![0; read_bytes],
            rules,
            out: Vec::new(),
            pool: Pool::default(),
            jobs: Jobs {
                taken: Vec::new(),
                room: JOBS_QUEUED_MAX,
                launches: None,
            },
            entropy: random_bytes,
            moved: Moved::default(),
            now: Instant::now(),
        }
    }

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
            moved: &mut self.moved,
        };
        (lent, rest)
    }

    /// Adds what was moved since the last call to the server's counters; whether anything was.
    pub fn count(&mut self) -> bool {
        let moved = std::mem::take(&mut self.moved);
        let stats = &self.rules.stats;
        if moved.bytes_in > 0 {
            stats.bytes_in.fetch_add(moved.bytes_in, Relaxed);
        }
        if moved.messages > 0 {
            stats.messages.fetch_add(moved.messages, Relaxed);
        }
        if moved.bytes_out > 0 {
            stats.bytes_out.fetch_add(moved.bytes_out, Relaxed);
        }
        moved.bytes_in + moved.messages + moved.bytes_out > 0
    }

    /// Gives the scratch's memory back where an answer has made it large.
    #[inline]
    pub fn trim(&mut self) {
        if self.out.capacity() > SCRATCH_BYTES_KEPT {
            self.out = Vec::new();
        }
    }
}

/// Random bytes from the kernel.
///
/// # Panics
/// If it gives none, which a started system always does.
fn random_bytes(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the kernel gives random bytes");
}

/// The part of a [`Kit`] that only a driver needs.
#[derive(Debug)]
pub struct Rest<'a> {
    /// Reads go into this.
    pub read_buffer: &'a mut Vec<u8>,
    /// What was moved and is not counted yet.
    pub moved: &'a mut Moved,
}
