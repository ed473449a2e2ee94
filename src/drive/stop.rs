//! The order to stop, and what following it has cost.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// The order to stop, shared by all threads of a server, and what following it has cost.
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

    /// Counts connections that were cut off while something was under way.
    pub fn count_cut(&self, connections: usize) {
        self.cut.fetch_add(connections, Ordering::Relaxed);
    }

    /// How many were.
    #[must_use]
    pub fn cut(&self) -> usize {
        self.cut.load(Ordering::Relaxed)
    }
}
