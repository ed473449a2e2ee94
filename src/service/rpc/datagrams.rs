//! `rpc` in datagrams: the built-in methods that take no parameters, answered on the spot.

use std::time::{Duration, Instant};

use super::Rpc;
use super::dispatch::{self, Outlet};
use super::method::Method;
use super::state::State;
use crate::service::{Asked, Caller, Datagrams, Deferred, Launch, NotLaunched, TooManyDeferred};
use crate::stats::Stats;

impl Datagrams for Rpc {
    fn datagram(&mut self, payload: &[u8], asked: Asked<'_>, out: &mut Vec<u8>) -> bool {
        let mut answer = Answer {
            asked,
            out,
            is_there: false,
        };
        // Nothing is deferred and nobody logs in, so there is nothing to remember.
        dispatch::serve(&self.table, &mut State::default(), payload, &mut answer);
        answer.is_there
    }
}

/// An [`Outlet`] into one datagram.
struct Answer<'a, 'o> {
    asked: Asked<'a>,
    out: &'o mut Vec<u8>,
    is_there: bool,
}

impl<'a> Outlet<'a> for Answer<'a, '_> {
    fn caller(&self) -> Caller<'a> {
        self.asked.caller
    }

    fn stats(&self) -> &'a Stats {
        self.asked.stats
    }

    fn allows(&self, method: &Method) -> bool {
        method.in_datagrams
    }

    fn answer_bytes_max(&self) -> usize {
        self.asked.answer_bytes_max
    }

    fn send_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(self.out);
        self.is_there = true;
    }

    fn send(&mut self, message: Vec<u8>) {
        self.send_with(|out| out.extend_from_slice(&message));
    }

    fn now(&self) -> Instant {
        self.asked.now
    }

    fn defer(&mut self, job: Deferred) -> Result<(), TooManyDeferred> {
        Err(TooManyDeferred(job))
    }

    fn postpone(
        &mut self,
        _wait: Duration,
        _tag: u64,
        answer: Vec<u8>,
    ) -> Result<(), TooManyDeferred<Vec<u8>>> {
        Err(TooManyDeferred(answer))
    }

    fn launch(&mut self, _launch: Launch) -> Result<(), NotLaunched> {
        Err(NotLaunched::Unsupported)
    }
}
