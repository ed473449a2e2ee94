//! Step 9 of a turn: how a reactor comes to its end.

use super::{Reactor, enqueue};
use crate::drive::Stop;
use crate::error::CloseReason;
use crate::service::Service;

impl<S: Service> Reactor<S> {
    /// Follows the order to stop; whether there is another turn.
    pub(super) fn goes_on(&mut self) -> bool {
        match self.common.stop.order() {
            Stop::No => return true,
            Stop::Drain if self.drain_deadline.is_none() => self.begin_drain(),
            Stop::Drain => {}
            Stop::Abort => self.abort(),
        }
        self.reap();
        !self.drivers.is_empty() || self.children.are_left(self.kit.now)
    }

    /// Lets in who waits already (a closed listener would reset them), closes the listeners,
    /// answers the datagrams, and has everybody read up to what has arrived by now.
    fn begin_drain(&mut self) {
        let timeout = self.kit.rules.limits.drain_timeout;
        self.drain_deadline = Some(self.kit.now + timeout);
        self.children.drain(self.kit.now, timeout);
        self.door.last_call();
        for n in 0..self.door.len() {
            while self.accept_one(n) {
                // A stranger who made room must not count as there.
                self.reap();
            }
        }
        self.door.close();
        self.end_datagrams();
        for (slot, driver) in &mut self.drivers {
            driver.begin_last_read(self.kit.now);
            enqueue(&mut self.ready, driver, slot);
        }
    }

    /// Cuts everybody off, and kills all programs; counts those with whom something was under way.
    pub(super) fn abort(&mut self) {
        let slots: Vec<usize> = self.drivers.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            if self.drivers[slot].is_busy(&self.kit.out) {
                self.common.stop.count_cut(1);
            }
            self.drive(slot, |session, _| session.end(CloseReason::Aborted));
        }
        self.children.launching -= self.workers.forget_launches();
        self.children.abort();
        self.reap();
    }
}
