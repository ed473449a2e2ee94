//! The event loop: one thread, one poll, a state machine per client in a slab.
//!
//! # One turn
//! 1. Time-out: none if anything was left over, else until the next deadline.
//! 2. Poll. The clock is read once: this is the turn's `now`.
//! 3. Note the events as readiness bits. An event for a slot's last tenant is a no-op.
//! 4. Run each ready connection within its budget; what is left over joins the ready queue again.
//!    So do the sockets for datagrams, which stay ready.
//! 5. Take what the workers have finished; each connection runs once for all its answers. Read
//!    what programs have printed, each within its budget.
//! 6. Fire timers. Wake as many of those who wait for the workers as there are free places.
//! 7. Reap the closed: slots are freed from here on, when no event of this turn can mean them.
//! 8. Accept, within the budget; reap the strangers who made room.
//! 9. Leave, if draining and nobody is left.

mod admission;
mod child;
mod children;
mod datagram;
mod deferred;
mod inbox;
mod lists;
mod memory;
mod output;
mod stopping;
mod timers;
mod token;
mod workers;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use crate::drive::{Door, Driver, Kit, Ran, Readiness, Socket, StopFlag};
use crate::error::CloseReason;
use crate::limits::{CONNECTION_BYTES_MAX, TURN_EVENTS};
use crate::service::Service;
use crate::service::rpc::Rpc;
use crate::session::{Lent, Rules, Session};
use children::Children;
use datagram::DatagramSockets;
pub use inbox::Inbox;
use lists::Lists;
use timers::Wheel;
use token::{Key, Source};
use workers::Workers;

/// The slab keeps its free list in what the entry leaves unused, as an `Option` would.
const _: () = assert!(size_of::<Option<Driver<Rpc>>>() <= CONNECTION_BYTES_MAX);

/// What the reactors of one server share, beside the rules.
#[derive(Clone, Debug, Default)]
pub struct Common {
    /// The order to stop.
    pub stop: Arc<StopFlag>,
    /// The next connection's number.
    pub ids: Arc<AtomicU64>,
}

/// See the module.
pub struct Reactor<S: Service> {
    poll: Poll,
    drivers: Slab<Driver<S>>,
    kit: Kit<S>,
    common: Common,
    door: Door,
    datagrams: DatagramSockets,
    /// Slots of connections with something left over, each once.
    ready: VecDeque<usize>,
    wheel: Wheel,
    /// Those that have not passed the handshake, the oldest first.
    strangers: Lists,
    inbox: Arc<Inbox>,
    /// The inbox was filled since it was last emptied.
    woken: bool,
    workers: Workers,
    /// Those that wait for a place among the workers, the longest first.
    crowd: Lists,
    children: Children,
    closed: Vec<(usize, CloseReason)>,
    drain_deadline: Option<Instant>,
}

impl<S: Service> Reactor<S> {
    /// A reactor that accepts from `sockets`.
    ///
    /// # Errors
    /// If the kernel has no epoll instance or descriptor left.
    pub fn new(
        sockets: Vec<Socket>,
        service: S,
        rules: Arc<Rules>,
        common: Common,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        let waker = Waker::new(registry, Source::Waker.into())?;
        let inbox = Arc::new(Inbox::new(waker, Arc::clone(&rules.stats)));
        let door = Door::new(sockets);
        for (n, socket) in door.sockets().enumerate() {
            let token = Token::from(Source::Listener(n));
            let socket = socket.as_fd().as_raw_fd();
            registry.register(&mut SourceFd(&socket), token, Interest::READABLE)?;
        }
        let workers = Workers::new(rules.limits.workers, Arc::clone(&inbox));
        let turn_bytes = rules.limits.turn_bytes;
        let mut kit = Kit::new(service, rules, turn_bytes);
        kit.jobs.launches = Some(Vec::new());
        let kit_now = kit.now;
        Ok(Self {
            poll,
            drivers: Slab::new(),
            kit,
            common,
            door,
            datagrams: DatagramSockets::none(),
            ready: VecDeque::new(),
            wheel: Wheel::new(kit_now),
            strangers: Lists::new(1),
            children: Children::new(kit_now, Arc::clone(&inbox)),
            inbox,
            woken: false,
            workers,
            crowd: Lists::new(1),
            closed: Vec::new(),
            drain_deadline: None,
        })
    }

    /// Where other threads leave what they have for this reactor.
    #[must_use]
    pub fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// Turns until it is told to stop and nobody is left.
    ///
    /// # Errors
    /// If the kernel's poll fails for good.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(TURN_EVENTS);
        while self.turn(&mut events)? {}
        Ok(())
    }

    fn turn(&mut self, events: &mut Events) -> io::Result<bool> {
        self.wait(events)?;
        self.note(events);
        self.run_ready();
        self.serve_datagrams();
        self.take_completions();
        self.run_children();
        self.fire_timers();
        self.wake_the_crowd();
        self.reap();
        self.accept();
        self.kit.count();
        Ok(self.goes_on())
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let ready = !self.ready.is_empty() || self.children.is_ready();
        let timeout = if ready || self.datagrams.is_ready() || self.door.is_ready() {
            Some(Duration::ZERO)
        } else {
            let deadlines = [
                self.door.rests_until(),
                self.wheel.next(),
                // With nobody left to cut off, only programs are waited for.
                self.drain_deadline.filter(|_| !self.drivers.is_empty()),
                self.children.deadline(),
            ];
            deadlines
                .into_iter()
                .flatten()
                .min()
                .map(|next| next.saturating_duration_since(Instant::now()))
        };
        match self.poll.poll(events, timeout) {
            Ok(()) => {}
            // No event is lost: those that were there are told by the next poll.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            Err(error) => return Err(error),
        }
        self.kit.now = Instant::now();
        Ok(())
    }

    fn note(&mut self, events: &Events) {
        for event in events {
            match Source::from(event.token()) {
                Source::Waker => self.woken = true,
                Source::Listener(n) => self.door.note(n),
                Source::Datagrams(n) => self.datagrams.note(n),
                Source::Child(key, sign) => self.children.note(key, sign),
                Source::Connection(key) => {
                    if let Some(driver) = tenant(&mut self.drivers, key) {
                        driver.note(readiness(event));
                        enqueue(&mut self.ready, driver, key.slot);
                    }
                }
            }
        }
    }

    fn run_ready(&mut self) {
        for _ in 0..self.ready.len() {
            let Some(slot) = self.ready.pop_front() else {
                break;
            };
            match self.drivers.get_mut(slot) {
                Some(driver) if driver.queued => driver.queued = false,
                _ => continue,
            }
            self.drive(slot, |_, _| {});
        }
    }

    /// The one place where a connection runs: `first` is done to its session, then it serves,
    /// reads and writes, and what that led to is noted.
    #[inline]
    fn drive(&mut self, slot: usize, first: impl FnOnce(&mut Session<S>, &mut Lent<'_, S>)) {
        let Some(driver) = self.drivers.get_mut(slot) else {
            return;
        };
        if driver.session.is_closed() {
            return;
        }
        let held = driver.session.held();
        let stranger = driver.session.is_stranger();
        let (mut lent, mut rest) = self.kit.lend();
        first(&mut driver.session, &mut lent);
        let mut ran = driver.run(&mut lent, &mut rest);
        if driver.is_blocked() && !driver.watches_writes {
            ran = watch_writes(&self.poll, driver, slot).unwrap_or(ran);
        }
        match ran {
            Ran::Waits => {}
            Ran::LeftOver => enqueue(&mut self.ready, driver, slot),
            Ran::Closed(reason) => self.closed.push((slot, reason)),
        }
        if let Some(deadline) = driver.session.deadline(&self.kit.rules) {
            self.wheel.schedule(slot, deadline);
        }
        if stranger && (!driver.session.is_stranger() || matches!(ran, Ran::Closed(_))) {
            self.strangers.remove(slot);
            self.kit.rules.stats.strangers.fetch_sub(1, Relaxed);
        }
        let waits = driver.session.waits_for_workers(&self.kit.jobs);
        let holds = driver.session.held();
        let key = name_of(driver, slot);
        if driver.session.leaves_children() {
            driver.session.forget_children();
            self.children.abandon(key, self.kit.now);
        } else if driver.session.takes_output() {
            self.children.resume(key);
        }
        if waits || self.crowd.list_of(slot).is_some() {
            self.join_or_leave_the_crowd(slot, waits);
        }
        self.kit.trim();
        self.submit_jobs(slot);
        if holds != held {
            self.charge(held, holds);
        }
    }

    fn fire_timers(&mut self) {
        let mut due = Vec::new();
        while let Some(slot) = self.wheel.pop(self.kit.now) {
            due.push(slot);
        }
        for slot in due {
            self.drive(slot, |session, lent| session.on_deadline(lent));
        }
        self.fire_children();
        self.door.resume_due(self.kit.now);
        if self
            .drain_deadline
            .is_some_and(|deadline| deadline <= self.kit.now)
        {
            self.abort();
        }
    }

    fn reap(&mut self) {
        if self.closed.is_empty() {
            return;
        }
        for (slot, reason) in self.closed.drain(..) {
            // Closing a socket takes it out of the kernel's poll as well.
            let driver = self.drivers.remove(slot);
            let stats = &self.kit.rules.stats;
            stats
                .buffer_bytes
                .fetch_sub(driver.session.buffers(), Relaxed);
            stats.open.fetch_sub(1, Relaxed);
            stats.closed(reason);
            self.wheel.cancel(slot);
            self.crowd.remove(slot);
            driver.log_close(reason);
        }
        self.door.resume();
    }
}

fn tenant<S: Service>(drivers: &mut Slab<Driver<S>>, key: Key) -> Option<&mut Driver<S>> {
    drivers
        .get_mut(key.slot)
        .filter(|driver| name_of(driver, key.slot) == key)
}

fn enqueue<S: Service>(ready: &mut VecDeque<usize>, driver: &mut Driver<S>, slot: usize) {
    if !std::mem::replace(&mut driver.queued, true) {
        ready.push_back(slot);
    }
}

/// The name by which kernel and workers know the connection in `slot`.
#[inline]
fn name_of<S: Service>(driver: &Driver<S>, slot: usize) -> Key {
    Key {
        slot,
        generation: driver.session.peer().id as u32,
    }
}

/// Registers for writability, with the first write that was not taken. What is left of the
/// connection if that fails.
fn watch_writes<S: Service>(poll: &Poll, driver: &mut Driver<S>, slot: usize) -> Option<Ran> {
    let token = Token::from(Source::Connection(name_of(driver, slot)));
    let socket = driver.transport().as_fd().as_raw_fd();
    let interest = Interest::READABLE | Interest::WRITABLE;
    let watched = poll
        .registry()
        .reregister(&mut SourceFd(&socket), token, interest);
    match watched {
        Ok(()) => {
            driver.watches_writes = true;
            None
        }
        Err(error) => Some(driver.fail(&error)),
    }
}

/// The edges of one event. An error shows in the next read or write, so it counts as both.
fn readiness(event: &Event) -> Readiness {
    let mut readiness = Readiness::default();
    if event.is_readable() || event.is_read_closed() || event.is_error() {
        readiness.insert(Readiness::READABLE);
    }
    if event.is_writable() || event.is_write_closed() || event.is_error() {
        readiness.insert(Readiness::WRITABLE);
    }
    if event.is_read_closed() || event.is_error() {
        readiness.insert(Readiness::READ_CLOSED);
    }
    if event.is_error() {
        readiness.insert(Readiness::BROKEN);
    }
    if event.is_read_closed() && event.is_write_closed() {
        readiness.insert(Readiness::HUNG_UP);
    }
    readiness
}
