//! What the threads of one server share: who is there, and the order to stop.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use std::{io, mem};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use crate::drive::{Door, Stop, StopFlag, Transport};
use crate::error::CloseReason;
use crate::session::Rules;

/// See the module.
#[derive(Debug)]
pub struct House {
    pub(super) rules: Arc<Rules>,
    pub(super) stop: Arc<StopFlag>,
    /// Capacity of all threads' recycled buffers.
    pub(super) pooled: AtomicUsize,
    ids: AtomicU64,
    /// Readable from the order to drain on. Nobody reads it: it wakes all who poll it. (Shutting a
    /// listening socket down would wake who accepts, too, but resets whoever is in its backlog;
    /// shutting a client's down, and what it still sends resets what it is owed.)
    drains: OwnedFd,
    /// Readable from the order to abort on.
    aborts: OwnedFd,
    state: Mutex<State>,
    /// For who keeps the house: an order, or, while one is followed, the end of a thread or job.
    changed: Condvar,
    /// For who cannot let anybody in: somebody has left, or there is an order.
    left: Condvar,
}

#[derive(Debug, Default)]
struct State {
    threads: usize,
    panicked: bool,
    /// Nobody waits any more for the threads that are left.
    abandoned: bool,
    /// By their numbers, so the oldest is the first.
    guests: BTreeMap<u64, Arc<Guest>>,
    strangers: BTreeSet<u64>,
    departures: u64,
    resting: bool,
}

/// What others than the thread that serves it can know of a connection, and do to it.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) id: u64,
    pub(super) socket: Arc<Transport>,
    held: AtomicUsize,
    at_job: AtomicBool,
    fate: Mutex<Fate>,
}

#[derive(Debug, Default)]
struct Fate {
    /// Its thread sleeps until its socket has something to tell.
    sleeps: bool,
    /// Why it is to end.
    verdict: Option<CloseReason>,
}

impl Guest {
    /// Has the connection end. If its thread sleeps, shutting the socket down wakes it. While the
    /// thread reads that must not be: the end of input that it finds would be taken for the peer's.
    fn end(&self, reason: CloseReason) {
        let mut fate = lock(&self.fate);
        fate.verdict.get_or_insert(reason);
        if fate.sleeps {
            // One that is not connected any more tells its thread so by itself.
            let _ = self.socket.shutdown(Shutdown::Both);
        }
    }

    /// Its thread is about to sleep; false if it is to end instead.
    pub(super) fn may_sleep(&self) -> bool {
        let mut fate = lock(&self.fate);
        fate.sleeps = fate.verdict.is_none();
        fate.sleeps
    }

    /// Its thread is awake. Why it is to end, if it is.
    pub(super) fn awake(&self, stranger: bool) -> Option<CloseReason> {
        let mut fate = lock(&self.fate);
        fate.sleeps = false;
        if !stranger && fate.verdict == Some(CloseReason::StrangerEvicted) {
            // It passed the handshake just when it was to make room.
            fate.verdict = None;
        }
        fate.verdict
    }

    /// Whether something is under way with it, as far as can be seen from here.
    fn is_owed(&self) -> bool {
        let unread = || rustix::io::ioctl_fionread(&*self.socket).unwrap_or(0) > 0;
        self.at_job.load(Relaxed) || self.held.load(Relaxed) > 0 || unread()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl House {
    /// An empty house.
    ///
    /// # Errors
    /// If the kernel has no descriptor left.
    pub fn new(rules: Arc<Rules>) -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self {
            rules,
            stop: Arc::default(),
            pooled: AtomicUsize::new(0),
            ids: AtomicU64::new(0),
            drains: eventfd(0, flags)?,
            aborts: eventfd(0, flags)?,
            state: Mutex::default(),
            changed: Condvar::new(),
            left: Condvar::new(),
        })
    }

    /// The order to stop, and what following it has cost.
    #[must_use]
    pub fn stop(&self) -> &StopFlag {
        &self.stop
    }

    /// Gives an order, and wakes everybody to follow it.
    pub fn give(&self, order: Stop) {
        self.stop.give(order);
        let wakers = match order {
            Stop::No => [None, None],
            Stop::Drain => [Some(&self.drains), None],
            Stop::Abort => [Some(&self.drains), Some(&self.aborts)],
        };
        for waker in wakers.into_iter().flatten() {
            // It fails only where it has been woken 2^64 times.
            let _ = rustix::io::write(waker, &1_u64.to_ne_bytes());
        }
        let _state = lock(&self.state);
        self.changed.notify_all();
        self.left.notify_all();
    }

    /// What becomes readable with an order that is stronger than this one.
    pub(super) fn next_order(&self, order: Stop) -> BorrowedFd<'_> {
        match order {
            Stop::No => self.drains.as_fd(),
            Stop::Drain | Stop::Abort => self.aborts.as_fd(),
        }
    }

    /// Waits until the order to stop has been followed: until there is no thread left but those
    /// that are at a job, for which nobody waits once all are to be cut off.
    pub(super) fn keep(&self) {
        let mut state = lock(&self.state);
        while self.stop.order() == Stop::No && state.threads > 0 {
            state = wait(&self.changed, state);
        }
        let deadline = Instant::now() + self.rules.limits.drain_timeout;
        while self.stop.order() != Stop::Abort && state.threads > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(state);
                self.give(Stop::Abort);
                state = lock(&self.state);
            } else {
                let waited = self.changed.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        while state.threads > state.at_jobs() {
            state = wait(&self.changed, state);
        }
        if state.threads > 0 {
            state.abandoned = true;
            let owed = state.guests.values().filter(|guest| guest.is_owed());
            self.stop.count_cut(owed.count());
        }
        let panicked = state.panicked;
        drop(state);
        assert!(!panicked, "a thread of the server panicked");
    }

    /// There is one more thread.
    pub(super) fn thread_begins(&self) {
        lock(&self.state).threads += 1;
    }

    /// A server is its threads together: where one panicked, the others stop.
    pub(super) fn thread_ends(&self, panicked: bool) {
        let mut state = lock(&self.state);
        state.threads -= 1;
        state.panicked |= panicked;
        self.tell_keeper();
        drop(state);
        if panicked {
            self.give(Stop::Drain);
        }
    }

    /// Runs a job of a guest's in its thread.
    pub(super) fn at_job<R>(&self, guest: &Guest, job: impl FnOnce() -> R) -> R {
        let set = |at_job| {
            let _state = lock(&self.state);
            guest.at_job.store(at_job, Relaxed);
            self.tell_keeper();
        };
        set(true);
        let result = job();
        set(false);
        result
    }

    /// A guest is cut off while something is under way.
    pub(super) fn count_cut(&self) {
        // Those of an abandoned thread are counted already.
        if !lock(&self.state).abandoned {
            self.stop.count_cut(1);
        }
    }

    /// To be called with the state locked, so that it is not missed.
    fn tell_keeper(&self) {
        if self.stop.order() != Stop::No {
            self.changed.notify_all();
        }
    }
}

/// Who comes, who goes, and what they hold.
impl House {
    /// A connection was accepted. Where there are as many strangers as may be, the oldest goes.
    pub(super) fn enter(&self, socket: Transport, strange: bool) -> Arc<Guest> {
        let guest = Arc::new(Guest {
            id: self.ids.fetch_add(1, Relaxed),
            socket: Arc::new(socket),
            held: AtomicUsize::new(0),
            at_job: AtomicBool::new(false),
            fate: Mutex::default(),
        });
        let mut state = lock(&self.state);
        if strange {
            if state.strangers.len() >= self.rules.limits.strangers_max
                && let Some(oldest) = state.strangers.first().copied()
            {
                self.no_stranger(&mut state, oldest);
                if let Some(oldest) = state.guests.get(&oldest) {
                    oldest.end(CloseReason::StrangerEvicted);
                }
            }
            state.strangers.insert(guest.id);
            self.rules.stats.strangers.fetch_add(1, Relaxed);
        }
        state.guests.insert(guest.id, Arc::clone(&guest));
        guest
    }

    fn no_stranger(&self, state: &mut State, id: u64) {
        if state.strangers.remove(&id) {
            self.rules.stats.strangers.fetch_sub(1, Relaxed);
        }
    }

    /// A guest has passed the handshake.
    pub(super) fn known(&self, guest: &Guest) {
        self.no_stranger(&mut lock(&self.state), guest.id);
    }

    /// A guest is gone.
    pub(super) fn leave(&self, guest: &Guest, reason: CloseReason) {
        let mut state = lock(&self.state);
        self.no_stranger(&mut state, guest.id);
        state.guests.remove(&guest.id);
        state.departures += 1;
        let stats = &self.rules.stats;
        let held = guest.held.swap(0, Relaxed);
        stats.buffer_bytes.fetch_sub(held, Relaxed);
        stats.open.fetch_sub(1, Relaxed);
        stats.closed(reason);
        if mem::take(&mut state.resting) {
            self.left.notify_all();
        }
    }

    /// Keeps the sum of all guests' buffers. Who makes it too large has the largest of all end,
    /// until that has freed what was added.
    pub(super) fn charge(&self, guest: &Guest, held: usize) {
        // Only the guest's own thread writes it.
        let before = guest.held.load(Relaxed);
        let total = &self.rules.stats.buffer_bytes;
        if held == before {
            return;
        }
        guest.held.store(held, Relaxed);
        if held < before {
            total.fetch_sub(before - held, Relaxed);
            return;
        }
        let mut excess = held - before;
        let sum = total.fetch_add(excess, Relaxed) + excess;
        if sum <= self.rules.limits.buffer_memory_bytes_max {
            return;
        }
        let state = lock(&self.state);
        let guests = state.guests.values();
        let sizes = guests.map(|guest| (guest.held.load(Relaxed), guest));
        let mut holders: Vec<_> = sizes.filter(|&(held, _)| held > 0).collect();
        holders.sort_by_key(|&(held, _)| held);
        // What others have added is theirs to free.
        while excess > 0
            && let Some((held, guest)) = holders.pop()
        {
            if lock(&guest.fate).verdict.is_none() {
                guest.end(CloseReason::BufferMemory);
                excess = excess.saturating_sub(held);
            }
        }
    }

    /// How many have left so far.
    pub(super) fn departures(&self) -> u64 {
        lock(&self.state).departures
    }

    /// Waits until somebody may be let in, or there is an order. A door that rests for want of room
    /// looks again when more have left than these departures, or its rest is over.
    pub(super) fn wait_at(&self, door: &mut Door, departures: u64) {
        if let Some(until) = door.rests_until() {
            let mut state = lock(&self.state);
            while state.departures == departures && self.stop.order() == Stop::No {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                state.resting = true;
                let waited = self.left.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            return door.resume();
        }
        let order = [PollFd::from_borrowed_fd(
            self.next_order(Stop::No),
            PollFlags::IN,
        )];
        let sockets = door
            .sockets()
            .map(|socket| PollFd::new(socket, PollFlags::IN));
        let mut fds: Vec<_> = sockets.chain(order).collect();
        // Where the kernel cannot wait, which takes memory, accepting tells whether it is worse.
        let failed = poll(&mut fds, None).is_err();
        let told = |fd: &PollFd<'_>| failed || !fd.revents().is_empty();
        let told: Vec<bool> = fds.iter().map(told).collect();
        for (n, _) in told.into_iter().enumerate().filter(|(_, told)| *told) {
            door.note(n);
        }
    }
}

impl State {
    fn at_jobs(&self) -> usize {
        let at_job = |guest: &&Arc<Guest>| guest.at_job.load(Relaxed);
        self.guests.values().filter(at_job).count()
    }
}

fn wait<'a>(changed: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    changed.wait(state).unwrap_or_else(PoisonError::into_inner)
}
