//! What all clients' buffers hold together, and who goes when that is too much.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Reactor, name_of};
use crate::error::CloseReason;
use crate::service::Service;

impl<S: Service> Reactor<S> {
    /// Keeps the sum of all clients' buffers. Who makes it too large ends its own largest, until
    /// that has freed what was added.
    pub(super) fn charge(&mut self, before: usize, after: usize) {
        let stats = Arc::clone(&self.kit.rules.stats);
        let max = self.kit.rules.limits.buffer_memory_bytes_max;
        if after <= before {
            stats.buffer_bytes.fetch_sub(before - after, Relaxed);
            return;
        }
        stats.buffer_bytes.fetch_add(after - before, Relaxed);
        // What others have charged is theirs to free.
        let mut excess = after - before;
        while excess > 0
            && stats.buffer_bytes.load(Relaxed) > max
            && let Some((bytes, slot)) = self.largest()
        {
            self.free(slot);
            excess = excess.saturating_sub(bytes);
        }
    }

    /// The connection that holds the most, and how much that is.
    fn largest(&self) -> Option<(usize, usize)> {
        let open = self.drivers.iter();
        let open = open.filter(|(_, driver)| !driver.session.is_closed());
        let sizes = open.map(|(slot, driver)| (driver.session.held(), slot));
        sizes.max().filter(|&(bytes, _)| bytes > 0)
    }

    /// Ends a connection for all that it holds, its jobs that have not begun included.
    fn free(&mut self, slot: usize) {
        self.drive(slot, |session, _| session.end(CloseReason::BufferMemory));
        let (jobs, bytes) = self.workers.forget(name_of(&self.drivers[slot], slot));
        self.kit.jobs.room += jobs;
        let stats = &self.kit.rules.stats;
        stats.buffer_bytes.fetch_sub(bytes, Relaxed);
    }
}
