//! What other threads have for a reactor: finished jobs, started programs, and that there is an
//! order to follow.

use std::mem;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use mio::Waker;

use super::child::Spawned;
use super::workers::Completion;
use crate::stats::Stats;

/// One reactor's inbox. Whoever puts something in wakes the reactor; wake-ups coalesce, so the
/// reactor always takes everything out.
#[derive(Debug)]
pub struct Inbox {
    completions: Mutex<Vec<Completion>>,
    /// `None`: nobody will take any out again.
    spawned: Mutex<Option<Vec<Spawned>>>,
    waker: Waker,
    stats: Arc<Stats>,
}

impl Inbox {
    /// An empty inbox behind `waker`.
    #[must_use]
    pub fn new(waker: Waker, stats: Arc<Stats>) -> Self {
        Self {
            completions: Mutex::default(),
            spawned: Mutex::new(Some(Vec::new())),
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

    /// Puts a program in that was started, or could not be. Behind a reactor that has ended, it is
    /// killed.
    pub fn push_spawned(&self, spawned: Spawned) {
        let mut all = self.spawned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(all) = &mut *all {
            all.push(spawned);
        }
        drop(all);
        self.wake();
    }

    /// Takes all programs out.
    pub fn take_spawned(&self) -> Vec<Spawned> {
        let mut all = self.spawned.lock().unwrap_or_else(PoisonError::into_inner);
        all.as_mut().map(mem::take).unwrap_or_default()
    }

    /// The reactor has ended: programs that are here, or come later, are killed.
    pub fn refuse_spawned(&self) {
        *self.spawned.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Takes all finished jobs out.
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
