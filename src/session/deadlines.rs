//! When something is due for a session, and what happens then.

use std::time::Instant;

use super::{Lent, Rules, Session};
use crate::error::CloseReason;
use crate::protocol::connection::Phase;
use crate::service::Service;

impl<S: Service> Session<S> {
    /// When something is due if nothing happens before.
    #[must_use]
    #[inline]
    pub fn deadline(&self, rules: &Rules) -> Option<Instant> {
        let limits = &rules.limits;
        match &self.connection.phase {
            Phase::Commands => {
                let idle = limits
                    .idle_timeout
                    .map(|timeout| rules.at(self.mark_ms) + timeout);
                let arrival = self.connection.recv.arrival_deadline(limits);
                let write = self.connection.write_deadline(limits);
                earliest(
                    earliest(idle, arrival),
                    earliest(write, self.owed.first_due()),
                )
            }
            Phase::Handshake(_) if self.refusing => Some(rules.at(self.mark_ms)),
            Phase::Handshake(_) => Some(rules.at(self.opened_ms) + limits.handshake_timeout),
            Phase::Draining(_) => self.connection.write_deadline(limits),
            Phase::Lingering(ending) => Some(ending.1),
            Phase::Closed(_) => None,
        }
    }

    /// The server stops: what is postponed is due now, and so is what will be.
    pub fn hasten(&mut self, now: Instant) {
        self.hastens = true;
        self.owed.hasten(now);
    }

    /// What is due at `lent.now` happens.
    pub fn on_deadline(&mut self, lent: &mut Lent<'_, S>) {
        let (limits, now) = (&lent.rules.limits, lent.now);
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if !due(self.deadline(lent.rules)) {
            return;
        }
        match &self.connection.phase {
            Phase::Handshake(_) if self.refusing => self.refuse(lent),
            Phase::Handshake(_) => self.end(CloseReason::HandshakeTimeout),
            Phase::Commands | Phase::Draining(_) if due(self.connection.write_deadline(limits)) => {
                self.end(CloseReason::WriteTimeout);
            }
            Phase::Commands if due(self.connection.recv.arrival_deadline(limits)) => {
                self.end(CloseReason::ArrivalTimeout);
            }
            Phase::Commands if due(self.owed.first_due()) => {
                for answer in self.owed.take_due(now) {
                    self.answered(answer.tag, answer.answer, lent);
                }
            }
            // It is not silent. A message on its way has a deadline of its own.
            Phase::Commands if self.is_busy(lent.out) => {
                self.mark_ms = lent.rules.ms(now);
            }
            Phase::Commands => self.end(CloseReason::IdleTimeout),
            Phase::Lingering(_) => self.end(CloseReason::PeerClosed),
            Phase::Draining(_) | Phase::Closed(_) => {}
        }
    }
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
