//! Step 5 of a turn: what was deferred comes back; and how it got to the workers.

use std::sync::atomic::Ordering::Relaxed;

use tracing::warn;

use super::workers::Completion;
use super::{Reactor, enqueue, tenant};
use crate::service::Service;

impl<S: Service> Reactor<S> {
    pub(super) fn submit_jobs(&mut self, slot: usize) {
        if self.kit.jobs.taken.is_empty() {
            return;
        }
        let Some(key) = self.drivers.get(slot).map(|driver| driver.key(slot)) else {
            return;
        };
        for job in self.kit.jobs.taken.drain(..) {
            if let Err(job) = self.workers.submit(key, job) {
                warn!("no thread for work that would block: such a request fails");
                let (tag, input_bytes, answer) = (job.tag, job.input_bytes, job.if_panicked);
                self.inbox.push(Completion {
                    key,
                    tag,
                    input_bytes,
                    answer,
                });
            }
        }
    }

    pub(super) fn take_completions(&mut self) {
        if !std::mem::take(&mut self.woken) {
            return;
        }
        for completion in self.inbox.take() {
            self.kit.jobs.room += 1;
            self.kit.rules.stats.jobs.fetch_add(1, Relaxed);
            self.complete(completion);
        }
        while self.kit.jobs.room > 0
            && let Some(key) = self.crowd.pop_front()
        {
            if let Some(driver) = tenant(&mut self.drivers, key) {
                driver.crowded = false;
                enqueue(&mut self.ready, driver, key.slot);
            }
        }
    }

    /// Hands a finished job to who asked for it, if that is still there. What its answer sets going
    /// is served at once; it is written when all completions of this turn are.
    fn complete(&mut self, completion: Completion) {
        let Completion {
            key,
            tag,
            input_bytes,
            answer,
        } = completion;
        let Some(driver) = tenant(&mut self.drivers, key) else {
            let stats = &self.kit.rules.stats;
            stats.buffer_bytes.fetch_sub(input_bytes, Relaxed);
            return;
        };
        let held = driver.session.held();
        let (mut lent, rest) = self.kit.lend();
        let messages = lent.budget.messages;
        driver
            .session
            .completed(tag, input_bytes, answer, &mut lent);
        driver.keep(&mut lent);
        rest.moved.messages += (messages - lent.budget.messages) as u64;
        let holds = driver.session.held();
        self.grown.push(key.slot);
        self.submit_jobs(key.slot);
        self.charge(held, holds);
    }
}
