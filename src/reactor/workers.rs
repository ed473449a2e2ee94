//! Threads for work that would block. Answers come back through the reactor's inbox.

use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::child::{Launching, Spawned};
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

/// What a worker does for a connection.
pub enum Task {
    /// A job of its service's.
    Job(Deferred),
    /// A program is started, which takes as long as loading it.
    Launch(Launching),
}

#[derive(Default)]
struct Queue {
    tasks: VecDeque<(Key, Task)>,
    idle: usize,
    stopped: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("tasks", &self.tasks.len())
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
        let (mut jobs, mut bytes) = (0, 0);
        queue.tasks.retain(|(of, task)| match task {
            Task::Job(job) if *of == key => {
                jobs += 1;
                bytes += job.input_bytes;
                false
            }
            // What becomes of a program that nobody waits for is seen when it has started.
            Task::Job(_) | Task::Launch(_) => true,
        });
        (jobs, bytes)
    }

    /// Drops the programs that nobody has begun to start. Returns how many they were.
    pub fn forget_launches(&self) -> usize {
        let mut queue = self.shared.lock();
        let before = queue.tasks.len();
        queue.tasks.retain(|(_, task)| matches!(task, Task::Job(_)));
        before - queue.tasks.len()
    }

    /// Hands a task over. How many may wait is the reactor's to bound.
    ///
    /// # Errors
    /// The task, if there is no thread yet and the system refuses the first.
    pub fn submit(&mut self, key: Key, task: Task) -> Result<(), Task> {
        let short = self.shared.lock().is_short_of_threads();
        if short && self.threads < self.threads_max {
            let shared = Arc::clone(&self.shared);
            let name = format!("worker-{}", self.threads);
            match thread::Builder::new()
                .name(name)
                .spawn(move || shared.work())
            {
                Ok(_) => self.threads += 1,
                Err(_) if self.threads == 0 => return Err(task),
                Err(_) => {}
            }
        }
        self.shared.lock().tasks.push_back((key, task));
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
        self.idle <= self.tasks.len()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some((key, task)) = self.next() {
            let Deferred {
                tag,
                input_bytes,
                run,
                if_panicked,
            } = match task {
                Task::Job(job) => job,
                Task::Launch(launching) => {
                    self.inbox.push_spawned(Spawned::start(key, launching));
                    continue;
                }
            };
            let answer = panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or(if_panicked);
            self.inbox.push(Completion {
                key,
                tag,
                input_bytes,
                answer,
            });
        }
    }

    fn next(&self) -> Option<(Key, Task)> {
        let mut queue = self.lock();
        loop {
            if queue.stopped {
                return None;
            }
            if let Some(task) = queue.tasks.pop_front() {
                return Some(task);
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
