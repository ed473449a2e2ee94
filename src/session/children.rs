//! What programs that run for a session have to say.

use super::{Lent, Session};
use crate::protocol::connection::{Input, Phase};
use crate::service::{ChildEnd, Pipe, Service};

impl<S: Service> Session<S> {
    /// Whether programs run for it whose caller has gone: nobody wants their answers any more.
    #[must_use]
    #[inline]
    pub fn leaves_children(&self) -> bool {
        self.owed.programs() > 0 && !self.has_caller()
    }

    /// Whether what programs print may be read. Like the requests that it answers, output waits
    /// while the client does not take what it has been sent.
    #[must_use]
    pub fn takes_output(&self) -> bool {
        !self.connection.is_throttled()
    }

    /// Whether all that the peer has sent is served, nothing more comes, and only deferred answers
    /// are missing.
    #[must_use]
    pub fn only_answers_are_left(&self) -> bool {
        let all_served = self.connection.recv.is_empty() && !self.left_over;
        self.has_caller() && self.connection.input == Input::Eof && all_served && self.owes()
    }

    /// A program has printed something.
    pub fn child_output(&mut self, tag: u64, pipe: Pipe, bytes: &[u8], lent: &mut Lent<'_, S>) {
        if self.has_caller() {
            self.call(lent, |service, state, replies| {
                service.child_output(state, tag, pipe, bytes, replies)
            });
        }
    }

    /// A program has ended, or was not started. The session is to be served afterwards.
    pub fn child_ended(&mut self, tag: u64, end: ChildEnd, lent: &mut Lent<'_, S>) {
        self.owed.programs_done(1);
        if self.has_caller() {
            self.call(lent, |service, state, replies| {
                service.child_ended(state, tag, end, replies)
            });
        }
    }

    /// Their programs are none of its business any more.
    pub fn forget_children(&mut self) {
        self.owed.programs_done(self.owed.programs());
    }

    /// Whether somebody waits for answers.
    #[must_use]
    pub fn has_caller(&self) -> bool {
        matches!(self.connection.phase, Phase::Commands)
    }
}
