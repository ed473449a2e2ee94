//! Threads for work that would block. Answers come back through the reactor's inbox.

use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::inbox::Inbox;
use super::token::Key;
use crate::service::Deferred;

/// A deferred job that is done.
#[derive(Debug)]
pub struct Completion {
    /// Whose it is. The connection may be gone by now.
    pub key: Key,
    /// The service's name for it.
    pub tag: u64,
    /// What the job kept alive while it waited, in bytes.
    pub input_bytes: usize,
    /// The answer.
    pub answer: Vec<u8>,
}

/// A small pool; its threads start with the first job and end with the pool.
#[derive(Debug)]
pub struct Workers {
    shared: Arc<Shared>,
    threads: usize,
    threads_max: usize,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
    inbox: Arc<Inbox>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<(Key, Deferred)>,
    idle: usize,
    stopped: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("jobs", &self.jobs.len())
            .finish_non_exhaustive()
    }
}

impl Workers {
    /// A pool of up to `threads_max` threads that answers into `inbox`.
    #[must_use]
    pub fn new(threads_max: usize, inbox: Arc<Inbox>) -> Self {
        let queue = Mutex::default();
        let shared = Arc::new(Shared {
            queue,
            ready: Condvar::new(),
            inbox,
        });
        Self {
            shared,
            threads: 0,
            threads_max,
        }
    }

    /// Drops a connection's jobs that have not begun. Returns how many they were, and the bytes
    /// that they kept alive.
    pub fn forget(&self, key: Key) -> (usize, usize) {
        let mut queue = self.shared.lock();
        let jobs = std::mem::take(&mut queue.jobs);
        let (forgotten, kept): (VecDeque<_>, VecDeque<_>) =
            jobs.into_iter().partition(|(of, _)| *of == key);
        queue.jobs = kept;
        drop(queue);
        let bytes = forgotten.iter().map(|(_, job)| job.input_bytes).sum();
        (forgotten.len(), bytes)
    }

    /// Hands a job over. How many may wait is the reactor's to bound.
    ///
    /// # Errors
    /// The job, if there is no thread yet and the system refuses the first.
    pub fn submit(&mut self, key: Key, job: Deferred) -> Result<(), Deferred> {
        let short = self.shared.lock().is_short_of_threads();
        if short && self.threads < self.threads_max {
            let shared = Arc::clone(&self.shared);
            let name = format!("worker-{}", self.threads);
            match thread::Builder::new()
                .name(name)
                .spawn(move || shared.work())
            {
                Ok(_) => self.threads += 1,
                Err(_) if self.threads == 0 => return Err(job),
                Err(_) => {}
            }
        }
        self.shared.lock().jobs.push_back((key, job));
        self.shared.ready.notify_one();
        Ok(())
    }
}

impl Drop for Workers {
    /// A job that is running ends on its own time; nobody waits for it.
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.ready.notify_all();
    }
}

impl Queue {
    fn is_short_of_threads(&self) -> bool {
        self.idle <= self.jobs.len()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some((key, job)) = self.next() {
            let Deferred {
                tag,
                input_bytes,
                run,
                if_panicked,
            } = job;
            let answer = panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or(if_panicked);
            self.inbox.push(Completion {
                key,
                tag,
                input_bytes,
                answer,
            });
        }
    }

    fn next(&self) -> Option<(Key, Deferred)> {
        let mut queue = self.lock();
        loop {
            if queue.stopped {
                return None;
            }
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            queue.idle += 1;
            queue = self
                .ready
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }
}
