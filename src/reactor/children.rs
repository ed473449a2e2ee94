//! Programs in the loop: how they come in, how their output finds its reader, how they go.
//!
//! ```text
//!   launching ──worker──► runs ──────► terminated ──grace──► killed
//!                          │   time,        │                  │
//!                          │   caller gone  │                  │
//!                          └──────────── ended, reaped ────────┘──► pipes read ──► answered
//! ```
//! A pipe is an edge-triggered source like a socket: readable until a read says `WouldBlock`. While
//! the caller does not take what it has been sent, its programs' pipes are not read; they are in no
//! queue then, and come back into it when the caller's queue is low again.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::process::Signal;
use slab::Slab;
use tracing::warn;

use super::child::{Program, Stage};
use super::inbox::Inbox;
use super::timers::Wheel;
use super::token::{Key, Sign, Source};
use crate::limits::{CHILD_GRACE, CHILD_REAP_TIMEOUT};
use crate::service::Pipe;

/// Both.
pub const PIPES: [Pipe; 2] = [Pipe::Stdout, Pipe::Stderr];

/// A reactor's programs.
pub struct Children {
    pub running: Slab<Child>,
    /// How many are with the workers.
    pub launching: usize,
    /// The next program's number: the generation in its token.
    next: u32,
    /// Slots of those with something to say, each once.
    pub ready: VecDeque<usize>,
    /// Slots of those that have something to say to a caller who does not listen.
    paused: Vec<usize>,
    wheel: Wheel,
    /// What is printed is read into this. Without programs it holds no memory.
    pub buffer: Vec<u8>,
    /// While draining: when the time of all is over.
    last: Option<Instant>,
    /// When the reactor leaves whoever has not ended then.
    left_at: Option<Instant>,
    inbox: Arc<Inbox>,
}

/// One of them.
pub struct Child {
    /// What runs.
    pub program: Program,
    generation: u32,
    /// Whose it is. `None`: the caller has gone.
    pub owner: Option<Key>,
    /// The service's name for it.
    pub tag: u64,
    stage: Stage,
    /// It was killed for its time.
    pub timed_out: bool,
    ended: Option<ExitStatus>,
    /// The pipes that may hold something.
    pub readable: [bool; 2],
    /// Where it waits.
    pub place: Place,
}

/// Where it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// For an edge.
    Poll,
    /// For its turn.
    Ready,
    /// For its caller.
    Paused,
}

impl Children {
    /// None yet.
    #[must_use]
    pub fn new(now: Instant, inbox: Arc<Inbox>) -> Self {
        Self {
            running: Slab::new(),
            launching: 0,
            next: 0,
            ready: VecDeque::new(),
            paused: Vec::new(),
            wheel: Wheel::new(now),
            buffer: Vec::new(),
            last: None,
            left_at: None,
            inbox,
        }
    }

    /// Whether one has something to say that no edge will tell again.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// When something is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let next = match self.running.is_empty() {
            true => None,
            false => self.wheel.next(),
        };
        next.into_iter().chain(self.left_at).min()
    }

    /// Notes what the kernel says of a program. An event for a slot's last tenant is a no-op.
    pub fn note(&mut self, key: Key, sign: Sign) {
        let Some(child) = self.running.get_mut(key.slot) else {
            return;
        };
        if child.generation != key.generation {
            return;
        }
        match sign {
            Sign::Output(pipe) => child.readable[pipe as usize] = true,
            Sign::End => child.end(),
        }
        self.enqueue(key.slot);
    }

    /// Goes on with those whose caller listens again.
    #[inline]
    pub fn resume(&mut self, owner: Key) {
        if !self.paused.is_empty() {
            self.resume_paused(owner);
        }
    }

    fn resume_paused(&mut self, owner: Key) {
        let paused = mem::take(&mut self.paused);
        for slot in paused {
            match self.running.get_mut(slot) {
                Some(child) if child.owner == Some(owner) => {
                    child.place = Place::Poll;
                    self.enqueue(slot);
                }
                Some(_) => self.paused.push(slot),
                None => {}
            }
        }
    }

    /// The caller has gone: its programs are to end, and what they print is of no interest.
    pub fn abandon(&mut self, owner: Key, now: Instant) {
        let owned = self.running.iter();
        let owned = owned.filter(|(_, child)| child.owner == Some(owner));
        for slot in owned.map(|(slot, _)| slot).collect::<Vec<_>>() {
            self.abandon_one(slot, now);
        }
    }

    /// As [`Children::abandon`].
    pub fn abandon_one(&mut self, slot: usize, now: Instant) {
        let child = &mut self.running[slot];
        child.abandon(now);
        if child.place == Place::Paused {
            child.place = Place::Poll;
            self.paused.retain(|&paused| paused != slot);
        }
        self.enqueue(slot);
        self.schedule(slot);
    }

    /// The server is stopping: their time is over so early that their answers still go out, with
    /// a grace for the program and another for the answer.
    pub fn drain(&mut self, now: Instant, timeout: Duration) {
        let last = now + timeout.saturating_sub(CHILD_GRACE * 2).max(timeout / 2);
        self.last = Some(last);
        for (slot, child) in &mut self.running {
            if let Stage::Runs(until) = child.stage {
                child.stage = Stage::Runs(until.min(last));
                self.wheel.schedule(slot, last);
            }
        }
    }

    /// Kills them all.
    pub fn abort(&mut self) {
        for (_, child) in &mut self.running {
            child.kill();
        }
    }

    /// Whether a reactor without connections must still wait for one, which it does not for ever.
    pub fn are_left(&mut self, now: Instant) -> bool {
        if self.running.is_empty() && self.launching == 0 {
            return false;
        }
        let until = *self
            .left_at
            .get_or_insert(now + CHILD_GRACE + CHILD_REAP_TIMEOUT);
        if until <= now {
            let left = self.running.len() + self.launching;
            warn!(left, "programs cannot be killed, and are left behind");
        }
        now < until
    }

    /// Signals those whose time has passed, or whose grace.
    pub fn fire(&mut self, now: Instant) {
        let mut due = Vec::new();
        while let Some(slot) = self.wheel.pop(now) {
            due.push(slot);
        }
        for slot in due {
            self.running[slot].on_deadline(now);
            self.schedule(slot);
        }
    }

    /// It waits for the caller.
    pub fn pause(&mut self, slot: usize) {
        self.running[slot].place = Place::Paused;
        self.paused.push(slot);
    }

    /// It has something to say.
    pub fn enqueue(&mut self, slot: usize) {
        let child = &mut self.running[slot];
        if child.place == Place::Poll {
            child.place = Place::Ready;
            self.ready.push_back(slot);
        }
    }

    fn schedule(&mut self, slot: usize) {
        if let Some(deadline) = self.running[slot].stage.deadline() {
            self.wheel.schedule(slot, deadline);
        }
    }

    /// It is over.
    pub fn remove(&mut self, slot: usize) -> Child {
        self.wheel.cancel(slot);
        let child = self.running.remove(slot);
        if self.running.is_empty() {
            self.buffer = Vec::new();
        }
        child
    }

    /// Takes a program in.
    ///
    /// # Errors
    /// If the kernel cannot watch it; it is killed then.
    pub fn adopt(
        &mut self,
        owner: Key,
        tag: u64,
        mut program: Program,
        until: Instant,
        registry: &Registry,
    ) -> io::Result<usize> {
        let entry = self.running.vacant_entry();
        let (slot, generation) = (entry.key(), self.next);
        self.next = self.next.wrapping_add(1);
        let token = |sign| Token::from(Source::Child(Key { slot, generation }, sign));
        for pipe in PIPES {
            if let Some(receiver) = program.pipe(pipe) {
                registry.register(receiver, token(Sign::Output(pipe)), Interest::READABLE)?;
            }
        }
        let end = program.end().as_raw_fd();
        registry.register(&mut SourceFd(&end), token(Sign::End), Interest::READABLE)?;
        entry.insert(Child {
            program,
            generation,
            owner: Some(owner),
            tag,
            stage: Stage::Runs(self.last.map_or(until, |last| last.min(until))),
            timed_out: false,
            ended: None,
            readable: [false; 2],
            place: Place::Poll,
        });
        self.schedule(slot);
        Ok(slot)
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.inbox.refuse_spawned();
        // First all, then each is waited for.
        self.abort();
    }
}

impl Child {
    /// The program itself has ended, whatever still holds its pipes.
    fn end(&mut self) {
        if let Some(status) = self.program.reap() {
            self.ended = Some(status);
            self.stage = Stage::Killed;
            // Whether a pipe holds something is only known when a read says that it does not.
            self.readable = [true; 2];
        }
    }

    fn terminate(&mut self, now: Instant) {
        self.program.signal(Signal::TERM);
        self.stage = Stage::terminated(now);
    }

    fn kill(&mut self) {
        self.program.signal(Signal::KILL);
        self.stage = Stage::Killed;
    }

    fn abandon(&mut self, now: Instant) {
        // Its pipes are read on, for nobody: it must not die of a last word in its grace.
        self.owner = None;
        if matches!(self.stage, Stage::Runs(_)) {
            self.terminate(now);
        }
    }

    /// Its time has passed, or its grace.
    fn on_deadline(&mut self, now: Instant) {
        match self.stage {
            Stage::Runs(until) if until <= now => {
                self.timed_out = true;
                self.terminate(now);
            }
            Stage::Terminated(until) if until <= now => self.kill(),
            Stage::Runs(_) | Stage::Terminated(_) | Stage::Killed => {}
        }
    }

    /// How it ended, when all that it printed has been read.
    pub fn is_over(&mut self) -> Option<ExitStatus> {
        let closed = PIPES.iter().all(|&pipe| self.program.pipe(pipe).is_none());
        self.ended.filter(|_| closed)
    }
}
