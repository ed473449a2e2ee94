//! What other threads have for a reactor: finished jobs, and the order to stop.

use std::mem;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
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

/// The order to stop, shared by all reactors of a server, and what following it has cost.
#[derive(Debug, Default)]
pub struct StopFlag {
    order: AtomicU8,
    cut: AtomicUsize,
}

/// How a server is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// It serves.
    No,
    /// It answers what has arrived and then leaves.
    Drain,
    /// It leaves at once.
    Abort,
}

impl StopFlag {
    /// The order in force.
    #[must_use]
    #[inline]
    pub fn order(&self) -> Stop {
        match self.order.load(Ordering::Acquire) {
            0 => Stop::No,
            1 => Stop::Drain,
            _ => Stop::Abort,
        }
    }

    /// Gives an order; a weaker one than that in force changes nothing.
    pub fn give(&self, order: Stop) {
        self.order.fetch_max(order as u8, Ordering::Release);
    }

    /// Counts a connection that was cut off while something was under way.
    pub fn count_cut(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were.
    #[must_use]
    pub fn cut(&self) -> usize {
        self.cut.load(Ordering::Relaxed)
    }
}
