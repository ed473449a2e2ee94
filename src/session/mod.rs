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
//! | runs programs, and one of them has printed something or ended | [`Session::child_output`], [`Session::child_ended`] |
//! | has written | [`Session::wrote`] |
//! | has written what it can | [`Session::keep`], then [`Session::settle`] |
//! | sees [`Session::deadline`] pass | [`Session::on_deadline`] |
//! | is told to stop, and reads what has arrived | [`Session::hasten`], then, at its end, [`Session::stop_input`] |

mod children;
mod deadlines;
mod input;
mod lent;

use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};
use std::time::Instant;

use tracing::trace;

use crate::error::{CloseReason, ProtocolError};
use crate::limits::DEFERRED_PER_CONNECTION_MAX;
use crate::protocol::Message;
use crate::protocol::connection::{Connection, Input, Output, Phase};
use crate::protocol::handshake::Step;
use crate::service::{Flow, Jobs, Owed, Peer, Replies, Service};
pub use lent::{Budget, Lent, Rules};

/// See the module.
pub struct Session<S: Service> {
    connection: Connection,
    peer: Peer,
    state: S::State,
    opened_ms: u64,
    /// When the last message came, or, while a wrong key is paid for, when it is refused.
    mark_ms: u64,
    owed: Owed,
    /// Bytes wait that have not been looked at, because of a pause or the budget.
    left_over: bool,
    bulk: bool,
    /// The peer's key was found wrong, and it is not told yet.
    refusing: bool,
    /// The server is stopping: no answer is postponed any more.
    hastens: bool,
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
            mark_ms: rules.ms(lent.now),
            owed: Owed::default(),
            left_over: false,
            bulk: false,
            refusing: false,
            hastens: false,
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

    /// The socket took `n` bytes of what is pending.
    pub fn wrote(&mut self, n: usize, lent: &mut Lent<'_, S>) {
        let (mut output, pool) = lent.output();
        self.connection.wrote(n, &mut output, pool);
    }

    /// The socket takes no more now: what is left in the scratch moves to the connection's own
    /// queue. To be called before another session is driven.
    #[inline]
    pub fn keep(&mut self, lent: &mut Lent<'_, S>) {
        if !lent.out.is_empty() {
            self.connection.keep(&mut lent.output().0);
        }
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
        self.buffers().saturating_add(self.owed.job_bytes())
    }

    /// What of it goes with the session; what jobs keep alive goes with them.
    #[must_use]
    #[inline]
    pub fn buffers(&self) -> usize {
        let state = S::held_bytes(&self.state);
        let others = state.saturating_add(self.owed.postponed_bytes());
        self.connection.capacity().saturating_add(others)
    }

    /// Whether served messages would be: the phase serves, and nothing pauses it. This is the one
    /// place that decides over reading and serving.
    #[must_use]
    #[inline]
    pub fn may_serve(&self, jobs: &Jobs) -> bool {
        match self.connection.phase {
            Phase::Commands => {
                !self.connection.is_throttled()
                    && self.owed.count() < deferred_max::<S>()
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

    /// Whether nothing is served for want of a free place among the workers.
    #[must_use]
    pub fn waits_for_workers(&self, jobs: &Jobs) -> bool {
        jobs.room == 0 && matches!(self.connection.phase, Phase::Commands)
    }

    /// Whether the conversation is over, and its socket may be closed.
    #[must_use]
    #[inline]
    pub fn is_closed(&self) -> bool {
        matches!(self.connection.phase, Phase::Closed(_))
    }

    /// Whether the peer's key was found wrong, and it is not told yet.
    #[must_use]
    #[inline]
    pub fn is_refusing(&self) -> bool {
        self.refusing
    }

    /// Whether an answer is deferred or postponed.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.owed.count() > 0
    }

    /// Whether something is under way: a message that arrives or is not served, an answer that is
    /// deferred or not delivered.
    #[must_use]
    pub fn is_busy(&self, out: &[u8]) -> bool {
        let connection = &self.connection;
        let serves = matches!(connection.phase, Phase::Commands | Phase::Draining(_));
        let incoming = !connection.recv.is_empty() || self.owes();
        let outgoing = connection.pending(out) > 0 || connection.is_unfinished();
        serves && (incoming || outgoing)
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

    fn greeted(&mut self, step: Step, lent: &mut Lent<'_, S>) {
        let address = self.peer.address.map(|address| address.ip());
        trace!(
            id = self.peer.id,
            peer = self.peer.address.map(tracing::field::display),
            ?step,
            "handshake"
        );
        match step {
            Step::Continue | Step::Answered => {}
            Step::PeerProved => lent.rules.penalties.passed(address),
            Step::Passed(_) => {
                // Where nothing is proved to the peer, this is the first that is known of its key.
                lent.rules.penalties.passed(address);
                self.mark_ms = lent.rules.ms(lent.now);
                self.trace_phase("handshake", None);
            }
            Step::WrongKey => {
                let wait = lent.rules.penalties.failed(address, 1, lent.now);
                self.mark_ms = lent.rules.ms(lent.now + wait);
                self.refusing = true;
            }
        }
    }

    /// The peer is told that its key is wrong: what it owed for that is paid.
    fn refuse(&mut self, lent: &mut Lent<'_, S>) {
        self.refusing = false;
        self.connection.refuse(lent.out);
        self.end(CloseReason::WrongKey);
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

    /// A deferred answer is there. The session is to be served afterwards.
    pub fn completed(
        &mut self,
        tag: u64,
        input_bytes: usize,
        answer: Vec<u8>,
        lent: &mut Lent<'_, S>,
    ) {
        self.owed.job_done(input_bytes);
        self.answered(tag, answer, lent);
    }

    /// An answer that was owed is there, or is due.
    fn answered(&mut self, tag: u64, answer: Vec<u8>, lent: &mut Lent<'_, S>) {
        if matches!(self.connection.phase, Phase::Commands) {
            self.call(lent, |service, state, replies| {
                service.completed(state, tag, answer, replies)
            });
        }
    }

    /// Calls the service; what it panics with, or asks for, or runs into, ends the conversation.
    #[inline]
    fn call(
        &mut self,
        lent: &mut Lent<'_, S>,
        call: impl FnOnce(&mut S, &mut S::State, &mut Replies<'_>) -> Flow,
    ) {
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
            owed: &mut self.owed,
            hastens: self.hastens,
        };
        let flow = panic::catch_unwind(AssertUnwindSafe(|| call(service, state, &mut replies)));
        match flow {
            Ok(Flow::Continue) => {}
            Ok(Flow::Close) => self.end(CloseReason::ServiceClosed),
            Ok(Flow::CloseFor(reason)) => self.end(reason),
            Err(_panic) => self.end(CloseReason::ServicePanic),
        }
        if let Some(reason) = self.connection.take_fault() {
            self.end(reason);
        }
        if let Phase::Closed(_) = self.connection.phase {
            // It is no use without what went before it in the queue, which is dropped.
            lent.out.clear();
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
            Phase::Commands if self.owes() || paused => return,
            // The service keeps what it was refused room for.
            Phase::Commands if self.connection.is_unfinished() => return,
            Phase::Commands if stopped => CloseReason::Draining,
            Phase::Commands if self.connection.recv.is_empty() => CloseReason::PeerClosed,
            Phase::Commands => ProtocolError::TruncatedMessage.into(),
            Phase::Draining(_) | Phase::Lingering(_) | Phase::Closed(_) => return,
        };
        self.end(reason);
    }

    /// All is delivered and our FIN is out: lingers until `until`, unless the peer is done as well.
    pub fn flushed(&mut self, until: Instant) {
        let from = self.connection.phase.name();
        self.connection.flushed(until);
        self.trace_phase(from, None);
    }

    /// Ends the conversation for a reason of the driver's.
    pub fn end(&mut self, reason: CloseReason) {
        let from = self.connection.phase.name();
        self.connection.end(reason);
        self.trace_phase(from, Some(reason));
    }

    fn trace_phase(&self, from: &'static str, reason: Option<CloseReason>) {
        trace!(
            id = self.peer.id,
            peer = self.peer.address.map(tracing::field::display),
            from,
            to = self.connection.phase.name(),
            reason = reason.map(tracing::field::display),
            "phase"
        );
    }
}

fn deferred_max<S: Service>() -> usize {
    if S::ORDERED {
        1
    } else {
        DEFERRED_PER_CONNECTION_MAX
    }
}
