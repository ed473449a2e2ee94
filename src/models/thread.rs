//! What one serving thread has, and how it serves a client to its end.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;
use std::{io, thread};

use super::house::House;
use super::visit::Visit;
use crate::drive::{Door, Kit, Ran};
use crate::limits::{POOL_BYTES_MAX, THREAD_READ_BYTES};
use crate::protocol::Pool;
use crate::service::Service;

/// See the module. It is made before the thread, so that the house is never empty in between.
pub struct Thread<S: Service> {
    pub house: Arc<House>,
    pub kit: Kit<S>,
    pooled: usize,
}

impl<S: Service> Thread<S> {
    pub fn new(house: &Arc<House>, service: S) -> Self {
        house.thread_begins();
        let rules = Arc::clone(&house.rules);
        Self {
            house: Arc::clone(house),
            kit: Kit::new(service, rules, THREAD_READ_BYTES),
            pooled: 0,
        }
    }

    /// Runs this in a thread of its own.
    pub fn spawn(self, name: String, run: impl FnOnce(Self) + Send + 'static) -> io::Result<()> {
        let thread = thread::Builder::new().name(name);
        thread.spawn(move || run(self)).map(drop)
    }

    /// Lets one client in by the n-th listener, if one waits and there is room.
    pub fn let_in(&mut self, door: &mut Door, n: usize) -> Option<Visit<S>> {
        self.kit.now = Instant::now();
        let (socket, address) = door.let_in(n, &self.house.rules, self.kit.now)?;
        Some(Visit::begin(&self.house, &mut self.kit, socket, address))
    }

    /// Serves a client to its end. Sleeps while there is nothing to do.
    pub fn serve(&mut self, mut visit: Visit<S>) {
        loop {
            let ran = visit.step(&mut self.kit);
            self.kit.count();
            self.share_pool();
            match ran {
                Ran::LeftOver => {}
                Ran::Waits => visit.wait(&mut self.kit),
                Ran::Closed(_) => return,
            }
        }
    }

    /// All threads together keep as much of given-back buffers as one reactor does: who is beyond
    /// that frees its own.
    fn share_pool(&mut self) {
        let own = self.kit.pool.bytes();
        if own == self.pooled {
            return;
        }
        let all = &self.house.pooled;
        all.fetch_sub(self.pooled, Relaxed);
        self.pooled = own;
        if all.fetch_add(own, Relaxed) + own > POOL_BYTES_MAX {
            all.fetch_sub(own, Relaxed);
            self.pooled = 0;
            self.kit.pool = Pool::default();
        }
    }
}

impl<S: Service> Drop for Thread<S> {
    fn drop(&mut self) {
        self.house.pooled.fetch_sub(self.pooled, Relaxed);
        self.house.thread_ends(thread::panicking());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Limits, POOL_BUFFER_BYTES_MAX};
    use crate::penalties::Penalties;
    use crate::protocol::{FramingKind, HandshakeRules};
    use crate::service::Echo;
    use crate::session::Rules;

    #[test]
    fn all_threads_together_keep_what_one_reactor_does() {
        let rules = Rules {
            handshake: HandshakeRules::None,
            framing: FramingKind::default(),
            limits: Limits::default(),
            penalties: Penalties::default(),
            stats: Arc::default(),
            epoch: Instant::now(),
        };
        let house = Arc::new(House::new(Arc::new(rules)).expect("two descriptors"));
        let one_too_many = POOL_BYTES_MAX / POOL_BUFFER_BYTES_MAX + 1;
        let mut threads: Vec<_> = (0..one_too_many)
            .map(|_| Thread::new(&house, Echo))
            .collect();
        for thread in &mut threads {
            thread.kit.pool.give(vec![0; POOL_BUFFER_BYTES_MAX]);
            thread.share_pool();
        }
        let pooled = || house.pooled.load(Relaxed);
        let kept = threads.iter().map(|thread| thread.kit.pool.bytes());
        assert_eq!(kept.sum::<usize>(), POOL_BYTES_MAX);
        assert_eq!(pooled(), POOL_BYTES_MAX);
        threads.pop();
        assert_eq!(pooled(), POOL_BYTES_MAX);
        drop(threads.pop());
        assert_eq!(pooled(), POOL_BYTES_MAX - POOL_BUFFER_BYTES_MAX);
        drop(threads);
        assert_eq!(pooled(), 0);
    }
}
