//! Step 5 of a turn: what was deferred comes back; and how it got to the workers.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tracing::warn;

use super::child::{Launching, Spawned};
use super::workers::{Completion, Task};
use super::{Reactor, enqueue, name_of, tenant};
use crate::service::Service;

impl<S: Service> Reactor<S> {
    pub(super) fn submit_jobs(&mut self, slot: usize) {
        let launches = self.kit.jobs.launches.as_mut();
        if self.kit.jobs.taken.is_empty() && launches.is_none_or(|all| all.is_empty()) {
            return;
        }
        let Some(key) = self.drivers.get(slot).map(|driver| name_of(driver, slot)) else {
            return;
        };
        for job in self.kit.jobs.taken.drain(..) {
            if let Err(Task::Job(job)) = self.workers.submit(key, Task::Job(job)) {
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
        for launch in self
            .kit
            .jobs
            .launches
            .iter_mut()
            .flat_map(|all| all.drain(..))
        {
            let launching = Launching::new(launch, Arc::clone(&self.kit.rules.stats));
            self.children.launching += 1;
            if let Err(Task::Launch(launching)) = self.workers.submit(key, Task::Launch(launching))
            {
                self.inbox.push_spawned(Spawned::refused(key, launching));
            }
        }
    }

    /// Hands finished jobs to who asked for them, if that is still there: each connection runs once
    /// for all of its own.
    pub(super) fn take_completions(&mut self) {
        if !std::mem::take(&mut self.woken) {
            return;
        }
        self.adopt_children();
        let mut completions = self.inbox.take();
        let freed = completions.len();
        let stats = Arc::clone(&self.kit.rules.stats);
        stats.jobs.fetch_add(freed as u64, Relaxed);
        completions.sort_by_key(|completion| completion.key.slot);
        while let Some(last) = completions.last() {
            let key = last.key;
            let first = completions.partition_point(|other| other.key.slot < key.slot);
            let (of_tenant, of_others): (Vec<_>, Vec<_>) =
                completions.drain(first..).partition(|other| {
                    // One that was closed in this turn takes nothing any more.
                    tenant(&mut self.drivers, other.key)
                        .is_some_and(|driver| !driver.session.is_closed())
                });
            let stale = of_others.iter().map(|stale| stale.input_bytes).sum();
            stats.buffer_bytes.fetch_sub(stale, Relaxed);
            if !of_tenant.is_empty() {
                self.drive(key.slot, |session, lent| {
                    for done in of_tenant {
                        session.completed(done.tag, done.input_bytes, done.answer, lent);
                    }
                });
            }
        }
        // Those who had these places must not take them again before those who wait for one.
        self.kit.jobs.room += freed;
    }

    /// As many of those that wait for a place among the workers run as there are places. Each turn
    /// asks, as who is woken may leave its place to the next.
    pub(super) fn wake_the_crowd(&mut self) {
        for slot in self.crowd.iter(0).take(self.kit.jobs.room) {
            if let Some(driver) = self.drivers.get_mut(slot) {
                enqueue(&mut self.ready, driver, slot);
            }
        }
    }

    /// Who has nothing more to wait for leaves the crowd; who has just taken places, and wants
    /// more, is behind all others in it. Who was woken in vain keeps its turn.
    pub(super) fn join_or_leave_the_crowd(&mut self, slot: usize, waits: bool) {
        let waited = self.crowd.list_of(slot).is_some();
        let took = !self.kit.jobs.taken.is_empty();
        if waited && (took || !waits) {
            self.crowd.remove(slot);
        }
        if waits && (took || !waited) {
            self.crowd.push(0, slot);
        }
    }
}
