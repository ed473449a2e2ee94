//! One client's visit: its driver, in the hands of a thread that is not a reactor.

use std::mem;
use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tracing::debug;

use super::house::{Guest, House};
use crate::drive::{Driver, Kit, Ran, Readiness, Stop, Transport};
use crate::error::CloseReason;
use crate::limits::JOBS_QUEUED_MAX;
use crate::protocol::HandshakeRules;
use crate::service::{Deferred, Service};
use crate::session::Session;

/// See the module. Its end is counted and logged when it is dropped.
pub struct Visit<S: Service> {
    driver: Driver<S, Arc<Transport>>,
    guest: Arc<Guest>,
    house: Arc<House>,
    /// What was deferred, to be done at the next step.
    jobs: Vec<Deferred>,
    stranger: bool,
    /// The order that is followed already.
    order: Stop,
    /// The kernel has said that nothing more can come from this socket.
    hung_up: bool,
    ended: CloseReason,
}

impl<S: Service> Visit<S> {
    /// The visit of a client that was just let in. Our first words wait for the first step.
    pub fn begin(
        house: &Arc<House>,
        kit: &mut Kit<S>,
        socket: Transport,
        address: Option<SocketAddr>,
    ) -> Self {
        let strange = !matches!(house.rules.handshake, HandshakeRules::None);
        let guest = house.enter(socket, strange);
        let (mut lent, _) = kit.lend();
        let mut session = Session::open(guest.id, address, &mut lent);
        session.keep(&mut lent);
        debug!(
            id = guest.id,
            peer = address.map(tracing::field::display),
            "accepted"
        );
        Self {
            driver: Driver::new(Arc::clone(&guest.socket), session),
            guest,
            house: Arc::clone(house),
            jobs: Vec::new(),
            stranger: strange,
            order: Stop::No,
            hung_up: false,
            ended: CloseReason::Reset,
        }
    }

    /// Does all that can be done now without a wait, but for the jobs of the client's own.
    pub fn step(&mut self, kit: &mut Kit<S>) -> Ran {
        let verdict = self.guest.awake(self.stranger);
        let order = self.house.stop.order();
        let jobs = mem::take(&mut self.jobs);
        let cut_off = verdict.is_some() || order == Stop::Abort;
        let done = if cut_off { Vec::new() } else { self.work(jobs) };
        kit.now = Instant::now();
        let (mut lent, mut rest) = kit.lend();
        for (tag, input_bytes, answer) in done {
            let session = &mut self.driver.session;
            session.completed(tag, input_bytes, answer, &mut lent);
        }
        if let Some(reason) = verdict {
            self.driver.session.end(reason);
        } else if order == Stop::Abort {
            if self.driver.is_busy(lent.out) {
                self.house.count_cut();
            }
            self.driver.session.end(CloseReason::Aborted);
        } else if order > self.order {
            self.driver.begin_last_read(lent.now);
        }
        self.order = order;
        self.driver.session.on_deadline(&mut lent);
        let mut ran = self.driver.run(&mut lent, &mut rest);
        self.jobs = mem::take(&mut lent.jobs.taken);
        lent.jobs.room = JOBS_QUEUED_MAX;
        match ran {
            Ran::Closed(reason) => self.ended = verdict.unwrap_or(reason),
            Ran::Waits if !self.jobs.is_empty() => ran = Ran::LeftOver,
            Ran::Waits | Ran::LeftOver => {}
        }
        if self.stranger && !self.driver.session.is_stranger() {
            self.stranger = false;
            self.house.known(&self.guest);
        }
        self.house.charge(&self.guest, self.driver.session.held());
        kit.trim();
        ran
    }

    /// Does what was deferred: the answers, with the service's names for them and the bytes that
    /// they kept alive.
    fn work(&self, jobs: Vec<Deferred>) -> Vec<(u64, usize, Vec<u8>)> {
        let stats = &self.house.rules.stats;
        let done = jobs.into_iter().map(|job| {
            let run = || panic::catch_unwind(AssertUnwindSafe(job.run));
            let answer = self.house.at_job(&self.guest, run);
            stats.jobs.fetch_add(1, Relaxed);
            (job.tag, job.input_bytes, answer.unwrap_or(job.if_panicked))
        });
        done.collect()
    }

    /// Nobody has asked the kernel: the next step tries to read and to write.
    pub fn try_everything(&mut self) {
        self.driver.note(Readiness::READABLE);
        self.driver.note(Readiness::WRITABLE);
    }

    /// Waits until the socket has something to tell that is of use, a deadline, or an order.
    pub fn wait(&mut self, kit: &mut Kit<S>) {
        let (lent, _) = kit.lend();
        let mut wanted = PollFlags::empty();
        if self.driver.wants_read(&lent) {
            wanted |= PollFlags::IN | PollFlags::RDHUP;
        }
        if self.driver.is_blocked() {
            wanted |= PollFlags::OUT;
        }
        let deadline = self.driver.session.deadline(lent.rules);
        let timeout = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            // Limits are years at most.
            Timespec::try_from(left).unwrap_or_default()
        });
        if !self.guest.may_sleep() {
            return;
        }
        let order = PollFd::from_borrowed_fd(self.house.next_order(self.order), PollFlags::IN);
        let mut fds = [order, PollFd::new(self.driver.transport(), wanted)];
        // The kernel tells of a broken socket whether or not it is asked to, again and again.
        let asked = if self.hung_up && wanted.is_empty() {
            1
        } else {
            2
        };
        let told = match poll(&mut fds[..asked], timeout.as_ref()) {
            Ok(_) => fds[1].revents(),
            Err(Errno::INTR) => PollFlags::empty(),
            Err(error) => {
                self.driver.fail(&error.into());
                PollFlags::empty()
            }
        };
        self.hung_up |= told.intersects(PollFlags::HUP | PollFlags::ERR);
        self.driver.note(readiness(told));
    }
}

impl<S: Service> Drop for Visit<S> {
    fn drop(&mut self) {
        self.driver.log_close(self.ended);
        self.house.leave(&self.guest, self.ended);
    }
}

/// What poll(2) has told. An error shows in the next read or write, so it counts as both.
fn readiness(told: PollFlags) -> Readiness {
    let broken = PollFlags::HUP | PollFlags::ERR;
    let bits = [
        (
            PollFlags::IN | PollFlags::RDHUP | broken,
            Readiness::READABLE,
        ),
        (PollFlags::OUT | broken, Readiness::WRITABLE),
        (PollFlags::RDHUP | broken, Readiness::READ_CLOSED),
        (PollFlags::ERR, Readiness::BROKEN),
    ];
    let mut readiness = Readiness::default();
    for (_, bit) in bits
        .into_iter()
        .filter(|(flags, _)| told.intersects(*flags))
    {
        readiness.insert(bit);
    }
    readiness
}
