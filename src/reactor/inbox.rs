//! What other threads have for a reactor: finished jobs, and that there is an order to follow.

use std::mem;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use mio::Waker;

use super::workers::Completion;
use crate::stats::Stats;

/// One reactor's inbox. Whoever puts something in wakes the reactor; wake-ups coalesce, so the
/// reactor always takes everything out.
#[derive(Debug)]
pub struct Inbox {
    completions: Mutex<Vec<Completion>>,
    waker: Waker,
    stats: Arc<Stats>,
}

impl Inbox {
    /// An empty inbox behind `waker`.
    #[must_use]
    pub fn new(waker: Waker, stats: Arc<Stats>) -> Self {
        Self {
            completions: Mutex::default(),
            waker,
            stats,
        }
    }

    /// Puts a finished job in. Its answer counts as a client's buffer until it is taken out.
    pub fn push(&self, completion: Completion) {
        let bytes = completion.answer.capacity();
        self.stats.buffer_bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut completions = self
            .completions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        completions.push(completion);
        drop(completions);
        self.wake();
    }

    /// Takes everything out.
    pub fn take(&self) -> Vec<Completion> {
        let mut completions = self
            .completions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let all = mem::take(&mut *completions);
        let bytes = all
            .iter()
            .map(|completion| completion.answer.capacity())
            .sum();
        self.stats.buffer_bytes.fetch_sub(bytes, Ordering::Relaxed);
        all
    }

    /// Has the reactor take its next turn now.
    pub fn wake(&self) {
        // It fails only where the kernel has no memory for eight bytes, and then nothing is lost:
        // what was put in is taken out at the next wake-up.
        let _ = self.waker.wake();
    }
}
