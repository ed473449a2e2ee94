//! One simulation: both ends, the link between them, the workers and the clock.
//!
//! The server's loop is the reactor's: what is ready runs at once, and otherwise time moves on to
//! whatever happens next. Nothing sleeps, and all chance comes from the seed.

mod check;
mod record;
mod verdict;
mod workers;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gateloop::error::CloseReason;
use gateloop::protocol::Pool;
use gateloop::service::{Jobs, Service};
use gateloop::session::{Budget, Lent, Rules, Session};

use crate::client::Client;
use crate::coverage::Coverage;
use crate::driver::{Driver, Ran};
use crate::link::{Link, Side};
use crate::random::Random;
use crate::script::{Draw, Event, Plan, Script};
use crate::services::{Expected, Seen, Watched};
use record::{Now, Progress, Record};
use workers::Workers;

/// Steps after which a simulation goes round in circles.
const STEPS_MAX: usize = 2_000_000;

/// What does not change while a session is driven, and what it is lent.
struct Kit<S> {
    service: S,
    rules: Rules,
    read_buffer: Vec<u8>,
    out: Vec<u8>,
    pool: Pool,
    jobs: Jobs,
    random: Random,
}

impl<S> Kit<S> {
    fn new(script: &Script, service: S, random: Random) -> Self {
        Self {
            service,
            rules: Rules {
                handshake: script.server_rules.clone(),
                framing: script.framing,
                limits: script.limits.clone(),
                penalties: Default::default(),
                stats: Arc::default(),
                epoch: Instant::now(),
            },
            read_buffer: vec![0; script.limits.turn_bytes],
            out: Vec::new(),
            pool: Pool::default(),
            jobs: Jobs {
                taken: Vec::new(),
                room: script.room,
                launches: None,
            },
            random,
        }
    }

    fn lend<T>(&mut self, now: Duration, call: impl FnOnce(&mut Lent<'_, S>, &mut [u8]) -> T) -> T {
        let random = &mut self.random;
        let mut lent = Lent {
            service: &mut self.service,
            rules: &self.rules,
            out: &mut self.out,
            pool: &mut self.pool,
            jobs: &mut self.jobs,
            entropy: &mut |bytes| random.fill(bytes),
            now: self.rules.epoch + now,
            budget: Budget::of(&self.rules.limits),
        };
        call(&mut lent, &mut self.read_buffer)
    }
}

pub struct World<S: Service> {
    script: Arc<Script>,
    kit: Kit<Watched<S>>,
    now: Duration,
    link: Link,
    driver: Driver<Watched<S>>,
    client: Client,
    workers: Workers,
    random: Random,
    /// The driver is in the ready queue, or in the crowd that waits for a place among the workers.
    queued: bool,
    crowded: bool,
    timer: Option<Duration>,
    event: Option<(usize, Event)>,
    seen: Arc<Mutex<Seen>>,
    record: Record,
    pub coverage: Coverage,
}

impl<S: Service> World<S> {
    pub fn new(script: Arc<Script>, service: S, mut random: Random) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let service = Watched {
            service,
            expected: Arc::new(Expected::of(&script)),
            seen: Arc::clone(&seen),
        };
        let mut kit = Kit::new(&script, service, Random(random.next()));
        let link = Link::new(script.carriage.clone(), Random(random.next()));
        let address = random.chance(50).then_some(([127, 0, 0, 1], 1).into());
        let session = kit.lend(Duration::ZERO, |lent, _| Session::open(1, address, lent));
        let mut coverage = Coverage::default();
        coverage.hit(&format!("handshake: {}", script.server_rules.name()));
        Self {
            client: Client::new(Arc::clone(&script)),
            workers: Workers::new(&script.crowds),
            event: match script.plan {
                Plan::Event { bytes, event } => Some((bytes, event)),
                _ => None,
            },
            script,
            kit,
            now: Duration::ZERO,
            link,
            driver: Driver::new(session),
            random,
            queued: true,
            crowded: false,
            timer: None,
            seen,
            record: Record::default(),
            coverage,
        }
    }

    /// Runs until nothing happens any more.
    pub fn run(&mut self) {
        self.act();
        for _ in 0..STEPS_MAX {
            self.fire_event();
            if self.queued {
                self.now += Duration::from_micros(self.random.below(100) as u64);
                self.deliver();
                self.queued = false;
                self.drive(|_, _| {});
            } else if let Some(moment) = self.next_moment() {
                self.now = self.now.max(moment);
                self.deliver();
            } else {
                return;
            }
        }
        panic!("{STEPS_MAX} steps and no end: {}", self.describe());
    }

    fn next_moment(&self) -> Option<Duration> {
        let moments = [
            self.link.next(),
            self.client.next_moment(self.now),
            self.workers.next(),
            self.timer,
        ];
        moments.into_iter().flatten().min()
    }

    /// Everything that is due by now happens.
    fn deliver(&mut self) {
        let (server, _) = self.link.step(self.now);
        if self.record.closed.is_none() {
            self.driver.note(server);
            self.queued |= server.any();
        }
        self.act();
        self.complete_jobs();
        if self.timer.is_some_and(|timer| timer <= self.now) {
            self.timer = None;
            let before = self.progress();
            self.drive(|session, lent| session.on_deadline(lent));
            assert!(
                self.timer.is_none_or(|timer| timer > self.now) || self.progress() != before,
                "a deadline is past and stays so: {}",
                self.describe()
            );
        }
    }

    fn act(&mut self) {
        let base = self.kit.rules.epoch;
        self.client
            .act(&mut self.link, base, self.now, &mut self.random);
    }

    /// As the reactor drives a connection: `first` is done to it, then it runs, and what that led
    /// to is noted.
    fn drive(&mut self, first: impl FnOnce(&mut Session<Watched<S>>, &mut Lent<'_, Watched<S>>)) {
        if self.record.closed.is_some() {
            return;
        }
        let before = self.progress();
        let (driver, link, coverage) = (&mut self.driver, &mut self.link, &mut self.coverage);
        let now = self.now;
        let ran = self.kit.lend(now, |lent, read_buffer| {
            first(&mut driver.session, lent);
            driver.run(link, read_buffer, lent, now, coverage)
        });
        let late = link.fin_arrived(Side::Server) && driver.bytes_out > before.bytes_out;
        coverage.hit_if(late, "answered after the client's last word");
        self.submit_jobs();
        let deadline = self.driver.session.deadline(&self.kit.rules);
        if let Some(deadline) = deadline {
            self.timer = Some(deadline - self.kit.rules.epoch);
        }
        if self.driver.session.waits_for_workers(&self.kit.jobs) {
            self.crowded = true;
            self.coverage.hit("crowded out");
        }
        match ran {
            Ran::Waits => {}
            Ran::LeftOver => self.queued = true,
            Ran::Closed(reason) => {
                self.record.closed = Some((reason, self.now));
                self.queued = false;
                self.timer = None;
                self.coverage.phase("closed");
                self.coverage.end(reason);
            }
        }
        self.note(before);
        self.check(ran);
    }

    fn progress(&self) -> Progress {
        let connection = self.driver.session.connection();
        Progress {
            bytes_in: self.driver.bytes_in,
            bytes_out: self.driver.bytes_out,
            pending: connection.pending(&[]),
            served: self.seen.lock().expect("no panic").served,
            phase: connection.phase().name(),
        }
    }

    fn note(&mut self, before: Progress) {
        let after = self.progress();
        let session = &self.driver.session;
        let now = Now {
            time: self.now,
            connection: session.connection(),
            calls: self.seen.lock().expect("no panic").calls,
            serves: session.may_serve(&self.kit.jobs),
            owes: session.owes(),
        };
        self.record.note(before, after, &now);
    }

    fn submit_jobs(&mut self) {
        for job in self.kit.jobs.taken.drain(..) {
            self.workers
                .submit(job, self.now, &mut self.random, &mut self.coverage);
        }
    }

    fn complete_jobs(&mut self) {
        let done = self.workers.completed(self.now, &mut self.kit.jobs);
        if self.record.closed.is_some() {
            let stale = !done.is_empty();
            let what = "an answer for a connection that was gone";
            self.coverage.hit_if(stale, what);
        } else if !done.is_empty() {
            self.drive(|session, lent| {
                for job in done {
                    session.completed(job.tag, job.input_bytes, job.answer, lent);
                }
            });
        }
        self.workers.move_crowds(self.now, &mut self.kit.jobs);
        if self.kit.jobs.room > 0 && std::mem::take(&mut self.crowded) {
            self.queued |= self.record.closed.is_none();
        }
    }

    fn fire_event(&mut self) {
        let moved = self.client.sent + self.driver.bytes_out;
        let Some((_, event)) = self.event.take_if(|(bytes, _)| *bytes <= moved) else {
            return;
        };
        match event {
            Event::Cut => self.link.cut(self.now),
            Event::ClientGone => self.client.leave(&mut self.link, self.now),
            Event::Lost { up, down } => self.link.lose(up, down),
            Event::Stop => {
                let now = self.kit.rules.epoch + self.now;
                self.driver.begin_last_read(&self.link, now);
                self.queued = self.record.closed.is_none();
            }
            Event::Abort => self.drive(|session, _| session.end(CloseReason::Aborted)),
            Event::Memory => self.drive(|session, _| session.end(CloseReason::BufferMemory)),
            Event::Evict => {
                if self.driver.session.is_stranger() {
                    self.drive(|session, _| session.end(CloseReason::StrangerEvicted));
                }
            }
        }
    }
}
