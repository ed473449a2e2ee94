//! One client's conversation: a [`Connection`] and the service's state for it. The one place where
//! a message meets a service.
//!
//! A session holds no socket and knows no clock. Whoever drives it (the reactor, another model, a
//! test) lends it what it needs for one call, and then looks at what it wants.
//!
//! | the driver | calls |
//! |---|---|
//! | has accepted a socket | [`Session::open`], then writes |
//! | has read bytes | [`Session::received`] |
//! | may read a long message's bytes straight to their place | [`Session::long_space`], then [`Session::long_received`] |
//! | has read an end of file | [`Session::eof`] |
//! | has time for a session, before it reads | [`Session::serve`] |
//! | has a deferred answer | [`Session::completed`] |
//! | has written | [`Connection::wrote`], then [`Session::settle`] |
//! | sees [`Session::deadline`] pass | [`Session::on_deadline`] |

mod deadlines;
mod lent;

use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};

use tracing::trace;

use crate::error::{CloseReason, ProtocolError};
use crate::limits::{DEFERRED_PER_CONNECTION_MAX, LONG_MESSAGE_BYTES};
use crate::protocol::Message;
use crate::protocol::connection::{Connection, Event, Input, Output, Phase};
use crate::protocol::handshake::Step;
use crate::service::{Flow, Jobs, Peer, Replies, Service};
pub use lent::{Budget, Lent, Rules};

/// Bytes of a read that are added to an unfinished message at a time until its length is known.
const HEAD_BYTES: usize = 64;

/// See the module.
pub struct Session<S: Service> {
    connection: Connection,
    peer: Peer,
    state: S::State,
    opened_ms: u64,
    /// When the last message came, or, while a wrong key is paid for, when it is refused.
    mark_ms: u64,
    deferred_bytes: u32,
    deferred: u16,
    /// Bytes wait that have not been looked at, because of a pause or the budget.
    left_over: bool,
    bulk: bool,
    /// The peer's key was found wrong, and it is not told yet.
    refusing: bool,
}

impl<S: Service> Session<S> {
    /// A conversation with a peer that was just accepted; our first words go to `lent.out`.
    pub fn open(id: u64, address: Option<SocketAddr>, lent: &mut Lent<'_, S>) -> Self {
        let rules = lent.rules;
        let connection =
            Connection::accept(&rules.handshake, rules.framing, lent.entropy, lent.out);
        Self {
            connection,
            peer: Peer { id, address },
            state: S::State::default(),
            opened_ms: rules.ms(lent.now),
            mark_ms: 0,
            deferred_bytes: 0,
            deferred: 0,
            left_over: false,
            bulk: false,
            refusing: false,
        }
    }

    /// Who it is.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The conversation beneath.
    #[must_use]
    #[inline]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The conversation beneath, for writing.
    #[inline]
    pub fn connection_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Whether the peer never passed the handshake, also while it is shown out.
    #[must_use]
    #[inline]
    pub fn is_stranger(&self) -> bool {
        self.connection.is_stranger()
    }

    /// Memory held for this client, in bytes.
    #[must_use]
    #[inline]
    pub fn held(&self) -> usize {
        self.buffers().saturating_add(self.deferred_bytes as usize)
    }

    /// What of it goes with the session; what jobs keep alive goes with them.
    #[must_use]
    #[inline]
    pub fn buffers(&self) -> usize {
        let state = S::held_bytes(&self.state);
        self.connection.capacity().saturating_add(state)
    }

    /// Whether served messages would be: the phase serves, and nothing pauses it. This is the one
    /// place that decides over reading and serving.
    #[must_use]
    #[inline]
    pub fn may_serve(&self, jobs: &Jobs) -> bool {
        match self.connection.phase {
            Phase::Commands => {
                !self.connection.is_throttled()
                    && self.deferred < deferred_max::<S>()
                    && jobs.room > 0
            }
            Phase::Handshake(_) => !self.refusing,
            Phase::Draining(_) | Phase::Lingering(_) | Phase::Closed(_) => false,
        }
    }

    /// Whether bytes from the socket are of use now.
    #[must_use]
    #[inline]
    pub fn wants_read(&self, jobs: &Jobs) -> bool {
        self.connection.input == Input::Open && !self.left_over && self.may_serve(jobs)
    }

    /// Whether bytes wait that have not been looked at and could be now.
    #[must_use]
    #[inline]
    pub fn is_left_over(&self, jobs: &Jobs) -> bool {
        self.left_over && self.may_serve(jobs)
    }

    /// Whether only a free place among the workers is missing.
    #[must_use]
    pub fn waits_for_workers(&self, jobs: &Jobs) -> bool {
        jobs.room == 0 && matches!(self.connection.phase, Phase::Commands)
    }

    /// Whether a long message is arriving, which is read straight into its own buffer.
    #[must_use]
    #[inline]
    pub fn is_long(&self) -> bool {
        self.connection.recv.is_long()
    }

    /// Whether the last message was a long one: then the next probably is, and a small read that
    /// finds its header spares a copy of what a large one would bring with it.
    #[must_use]
    #[inline]
    pub fn is_bulk(&self) -> bool {
        self.bulk
    }

    /// Bytes that were read into the driver's buffer.
    pub fn received(&mut self, mut bytes: &[u8], lent: &mut Lent<'_, S>) {
        // First what completes the message in the buffer, and not a byte more.
        while !bytes.is_empty() && !self.connection.recv.is_empty() {
            let (front, rest) = bytes.split_at(self.missing(lent).min(bytes.len()));
            self.connection.recv.append(front);
            bytes = rest;
            self.serve_buffer(lent);
            if self.left_over || !self.may_serve(lent.jobs) {
                break;
            }
        }
        if self.connection.recv.is_empty() && !bytes.is_empty() {
            let served = self.serve_bytes(bytes, lent);
            bytes = bytes.get(served..).unwrap_or_default();
        }
        if !matches!(self.connection.phase, Phase::Handshake(_) | Phase::Commands) {
            return;
        }
        self.connection.recv.append(bytes);
        self.begin_long(lent);
        self.settle(lent);
    }

    /// How many bytes the message at the buffer's front lacks, as far as can be said.
    fn missing(&mut self, lent: &mut Lent<'_, S>) -> usize {
        let recv = std::mem::take(&mut self.connection.recv);
        let event = self.advance(recv.bytes(), lent);
        let missing = match event {
            Ok(Event::Header { header, payload }) => {
                header.saturating_add(payload).saturating_sub(recv.len())
            }
            _ => HEAD_BYTES,
        };
        self.connection.recv = recv;
        missing
    }

    fn advance(&mut self, bytes: &[u8], lent: &mut Lent<'_, S>) -> Result<Event, ProtocolError> {
        self.connection
            .advance(bytes, &lent.rules.limits, lent.entropy, lent.out)
    }

    /// Where bytes of a long message can be read to directly: at most `max` of them.
    #[inline]
    pub fn long_space(&mut self, max: usize) -> Option<&mut [u8]> {
        self.connection.recv.long_space(max)
    }

    /// `n` bytes were read into [`Session::long_space`].
    pub fn long_received(&mut self, n: usize, lent: &mut Lent<'_, S>) {
        if let Some(message) = self.connection.recv.long_filled(n) {
            self.bulk = true;
            self.deliver(&mut Message::Owned(message), lent);
            self.settle(lent);
        }
    }

    /// The peer shut down its sending half.
    pub fn eof(&mut self, lent: &mut Lent<'_, S>) {
        self.connection.input = Input::Eof;
        if let Phase::Lingering(_) = self.connection.phase {
            self.connection.end(CloseReason::PeerClosed);
        }
        self.serve(lent);
    }

    /// The server stops: what is whole now is answered, and nothing later.
    pub fn stop_input(&mut self, lent: &mut Lent<'_, S>) {
        if self.connection.input == Input::Open {
            self.connection.input = Input::Stopped;
        }
        self.serve(lent);
    }

    /// Serves what waits in the buffer, as far as budget and marks allow.
    #[inline]
    pub fn serve(&mut self, lent: &mut Lent<'_, S>) {
        if self.connection.take_starved(lent.out, &lent.rules.limits) {
            self.call(lent, |service, state, replies| {
                service.writable(state, replies)
            });
        }
        if !self.connection.recv.is_empty() && !self.connection.recv.is_long() {
            self.serve_buffer(lent);
            self.begin_long(lent);
        }
        self.settle(lent);
    }

    fn serve_buffer(&mut self, lent: &mut Lent<'_, S>) {
        let bytes = self.connection.recv.take_bytes();
        let served = self.serve_bytes(&bytes, lent);
        if matches!(self.connection.phase, Phase::Handshake(_) | Phase::Commands) {
            self.connection.recv.put_back(bytes, served);
        } else {
            self.connection.recv.clear();
        }
    }

    /// Serves the whole messages at the front of `bytes`; returns how many bytes they took.
    fn serve_bytes(&mut self, bytes: &[u8], lent: &mut Lent<'_, S>) -> usize {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let stops = lent.budget.messages == 0 || !self.may_serve(lent.jobs);
            self.left_over = stops && !rest.is_empty();
            if stops || rest.is_empty() {
                break;
            }
            match self.advance(rest, lent) {
                Ok(Event::Message { payload, wire }) => {
                    self.bulk = false;
                    let payload = rest.get(payload).unwrap_or_default();
                    self.deliver(&mut Message::InPlace(payload), lent);
                    at += wire;
                }
                Ok(Event::Handshake { step, wire }) => {
                    self.greeted(step, lent);
                    at += wire;
                }
                Ok(Event::Header { .. } | Event::Incomplete) => break,
                Err(error) => {
                    self.end(error.into());
                    return bytes.len();
                }
            }
        }
        at
    }

    /// Where the front of the buffer is a long message's beginning, gives it its own buffer.
    fn begin_long(&mut self, lent: &mut Lent<'_, S>) {
        if !matches!(self.connection.phase, Phase::Commands)
            || self.connection.recv.is_empty()
            || self.connection.recv.is_long()
            || self.left_over
        {
            return;
        }
        let bytes = self.connection.recv.take_bytes();
        if let Ok(Event::Header { header, payload }) = self.advance(&bytes, lent)
            && payload >= LONG_MESSAGE_BYTES
        {
            let first = bytes.get(header..).unwrap_or_default();
            self.connection.recv.begin_long(first, payload, lent.pool);
        } else {
            self.connection.recv.put_back(bytes, 0);
        }
    }

    fn greeted(&mut self, step: Step, lent: &mut Lent<'_, S>) {
        let address = self.peer.address.map(|address| address.ip());
        trace!(
            id = self.peer.id,
            peer = self.peer.address.map(tracing::field::display),
            ?step,
            "handshake"
        );
        match step {
            Step::Continue => {}
            Step::PeerProved => lent.rules.penalties.right_key(address),
            Step::Passed(_) => self.mark_ms = lent.rules.ms(lent.now),
            Step::WrongKey => {
                let wait = lent.rules.penalties.wrong_key(address, lent.now);
                self.mark_ms = lent.rules.ms(lent.now + wait);
                self.refusing = true;
            }
        }
    }

    #[inline]
    fn deliver(&mut self, message: &mut Message<'_>, lent: &mut Lent<'_, S>) {
        lent.budget.messages = lent.budget.messages.saturating_sub(1);
        if lent.rules.limits.idle_timeout.is_some() {
            self.mark_ms = lent.rules.ms(lent.now);
        }
        self.connection.recv.arrived();
        self.call(lent, |service, state, replies| {
            service.message(state, message, replies)
        });
        if let Message::Owned(bytes) = message {
            lent.pool.give(std::mem::take(bytes));
        }
    }

    /// A deferred answer is there.
    pub fn completed(
        &mut self,
        tag: u64,
        input_bytes: usize,
        answer: Vec<u8>,
        lent: &mut Lent<'_, S>,
    ) {
        self.deferred = self.deferred.saturating_sub(1);
        let input_bytes = u32::try_from(input_bytes).unwrap_or(u32::MAX);
        self.deferred_bytes = self.deferred_bytes.saturating_sub(input_bytes);
        if matches!(self.connection.phase, Phase::Commands) {
            self.call(lent, |service, state, replies| {
                service.completed(state, tag, answer, replies)
            });
        }
        self.serve(lent);
    }

    /// Calls the service; what it panics with, or asks for, or runs into, ends the conversation.
    #[inline]
    fn call(
        &mut self,
        lent: &mut Lent<'_, S>,
        call: impl FnOnce(&mut S, &mut S::State, &mut Replies<'_>) -> Flow,
    ) {
        let before = lent.jobs.taken.len();
        let written = lent.out.len();
        let service = &mut *lent.service;
        let state = &mut self.state;
        let mut replies = Replies {
            connection: &mut self.connection,
            io: Output {
                out: lent.out,
                limits: &lent.rules.limits,
                now: lent.now,
            },
            peer: &self.peer,
            opened: lent.rules.at(self.opened_ms),
            handshake: lent.rules.handshake.name(),
            stats: &lent.rules.stats,
            jobs: lent.jobs,
            deferred: &mut self.deferred,
        };
        let flow = panic::catch_unwind(AssertUnwindSafe(|| call(service, state, &mut replies)));
        for job in lent.jobs.taken.get(before..).unwrap_or_default() {
            let bytes = u32::try_from(job.input_bytes).unwrap_or(u32::MAX);
            self.deferred_bytes = self.deferred_bytes.saturating_add(bytes);
        }
        match flow {
            Ok(Flow::Continue) => {}
            Ok(Flow::Close) => self.end(CloseReason::ServiceClosed),
            Err(_panic) => {
                lent.out.truncate(written);
                self.end(CloseReason::ServicePanic);
            }
        }
        if let Some(reason) = self.connection.take_fault() {
            lent.out.clear();
            self.end(reason);
        }
    }

    /// After anything has happened: notes a pause, and ends what is over. The driver calls it
    /// after it has written.
    #[inline]
    pub fn settle(&mut self, lent: &mut Lent<'_, S>) {
        let idle = self.connection.recv.is_empty();
        if idle && self.connection.input == Input::Open {
            return;
        }
        let paused = !self.may_serve(lent.jobs);
        if !idle {
            if !paused && !self.left_over {
                self.connection.recv.arriving(lent.now);
            }
            self.connection.recv.pause(paused, lent.now);
        }
        if self.connection.input != Input::Open && !self.left_over {
            self.end_of_input(paused);
        }
    }

    /// No more input comes: once all that was read is served and answered, that is the end.
    fn end_of_input(&mut self, paused: bool) {
        let stopped = self.connection.input == Input::Stopped;
        let reason = match self.connection.phase {
            Phase::Handshake(_) if self.refusing => return,
            Phase::Handshake(_) if stopped => CloseReason::Draining,
            Phase::Handshake(_) => CloseReason::PeerLeftHandshake,
            Phase::Commands if self.deferred > 0 || paused => return,
            Phase::Commands if stopped => CloseReason::Draining,
            Phase::Commands if self.connection.recv.is_empty() => CloseReason::PeerClosed,
            Phase::Commands => ProtocolError::TruncatedMessage.into(),
            Phase::Draining(_) | Phase::Lingering(_) | Phase::Closed(_) => return,
        };
        self.end(reason);
    }

    /// Ends the conversation for a reason of the driver's.
    pub fn end(&mut self, reason: CloseReason) {
        let before = self.connection.phase.name();
        self.connection.end(reason);
        trace!(id = self.peer.id, peer = self.peer.address.map(tracing::field::display),
            from = before, to = self.connection.phase.name(), %reason, "phase");
    }
}

fn deferred_max<S: Service>() -> u16 {
    if S::ORDERED {
        1
    } else {
        DEFERRED_PER_CONNECTION_MAX as u16
    }
}
