//! A call without a connection: whatever it defers is done at once, by whoever asks.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::dispatch::Outlet;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::service::{Caller, Deferred, Launch, NotLaunched, TooManyDeferred};
use crate::stats::Stats;

/// An [`Outlet`] that keeps the answer.
pub(super) struct OnTheSpot<'a> {
    pub(super) caller: Caller<'a>,
    pub(super) stats: &'a Stats,
    pub(super) answer: Option<Vec<u8>>,
    pub(super) jobs: VecDeque<Deferred>,
}

impl<'a> Outlet<'a> for OnTheSpot<'a> {
    fn caller(&self) -> Caller<'a> {
        self.caller
    }

    fn stats(&self) -> &'a Stats {
        self.stats
    }

    fn answer_bytes_max(&self) -> usize {
        MESSAGE_BYTES_MAX
    }

    fn send_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut message = Vec::new();
        write(&mut message);
        self.send(message);
    }

    fn send(&mut self, message: Vec<u8>) {
        self.answer = Some(message);
    }

    fn defer(&mut self, job: Deferred) -> Result<(), TooManyDeferred> {
        self.jobs.push_back(job);
        Ok(())
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    /// Nobody is kept waiting.
    fn postpone(
        &mut self,
        _wait: Duration,
        tag: u64,
        answer: Vec<u8>,
    ) -> Result<(), TooManyDeferred<Vec<u8>>> {
        self.jobs.push_back(Deferred {
            tag,
            input_bytes: 0,
            run: Box::new(move || answer),
            if_panicked: Vec::new(),
        });
        Ok(())
    }

    fn launch(&mut self, _launch: Launch) -> Result<(), NotLaunched> {
        Err(NotLaunched::Unsupported)
    }
}
