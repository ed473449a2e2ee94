//! What must hold after every turn, whatever has happened.

use std::sync::Arc;

use gateloop::protocol::FramingKind;
use gateloop::protocol::connection::Phase;
use gateloop::service::Service;

use super::World;
use crate::driver::Ran;
use crate::link::Side;
use crate::services::Seen;

/// Turns in a row that may move nothing.
const IDLE_TURNS_MAX: usize = 3;

impl<S: Service> World<S> {
    pub(super) fn check(&mut self, ran: Ran) {
        let connection = self.driver.session.connection();
        let seen = Arc::clone(&self.seen);
        let seen = seen.lock().expect("no panic");
        assert_eq!(seen.violation, None);
        assert_eq!(self.client.violation, None);
        assert!(self.kit.out.is_empty(), "the scratch is left full");
        let pending = connection.pending(&self.kit.out);
        let most = self.script.limits.send_queue_bytes_max();
        assert!(pending <= most, "{pending} bytes in a queue of {most}");
        let spins = self.queued && self.record.idle_turns >= IDLE_TURNS_MAX;
        assert!(!spins, "turns that do nothing: {}", self.describe());
        if let Phase::Lingering(_) | Phase::Closed(_) = connection.phase() {
            let capacity = connection.capacity();
            assert_eq!(capacity, 0, "held after the end: {}", self.describe());
        }
        self.check_idle(&seen);
        if ran == Ran::Waits {
            self.check_waiting(&seen);
        }
    }

    /// A client that is served and has taken everything costs nothing.
    fn check_idle(&self, seen: &Seen) {
        let connection = self.driver.session.connection();
        if !matches!(connection.phase(), Phase::Commands) || connection.is_unfinished() {
            return;
        }
        let greeting = self.client.greeting_bytes.unwrap_or_default();
        let read = self.driver.bytes_in - greeting;
        let wire = match self.script.framing {
            FramingKind::Raw => seen.served,
            _ => self.script.wire_bytes(seen.served),
        };
        let idle = read == wire && connection.pending(&[]) == 0 && !connection.is_throttled();
        if idle && !self.owes() {
            let held = self.driver.session.held();
            assert_eq!(held, 0, "an idle client holds memory: {}", self.describe());
        }
    }

    /// Somebody will wake it: nothing that it could do is left undone.
    fn check_waiting(&mut self, seen: &Seen) {
        let session = &self.driver.session;
        let connection = session.connection();
        let stuck = |why: &str| panic!("stuck: {why}: {}", self.describe());
        if !matches!(connection.phase(), Phase::Handshake(_) | Phase::Commands) {
            return;
        }
        if connection.pending(&[]) > 0 && self.link.is_writable(Side::Server) {
            stuck("it could write");
        }
        let serves = session.may_serve(&self.kit.jobs);
        let of_use = self
            .driver
            .stop_at
            .is_none_or(|at| self.driver.bytes_in < at);
        if serves && of_use && self.link.has_unread(Side::Server) {
            stuck("there is something to read");
        }
        let Phase::Commands = connection.phase() else {
            return;
        };
        let whole = self.whole_in(self.driver.bytes_in);
        if serves && whole > seen.served {
            stuck("a whole message is not served");
        }
        let waits_for_room = self.kit.jobs.room == 0 && self.crowded;
        let waits_for_kernel = connection.pending(&[]) > 0;
        if !serves && !waits_for_room && !waits_for_kernel && !self.owes() {
            stuck("it is paused for nothing");
        }
        self.coverage
            .hit_if(whole > seen.served, "paused with a whole message unserved");
    }

    /// Whether an answer will come that is not there yet.
    fn owes(&self) -> bool {
        !self.workers.is_idle() || self.driver.session.owes() && self.timer.is_some()
    }

    /// How many messages are whole (without borders: how many bytes there are) in the first
    /// `bytes` that the client sent.
    pub(super) fn whole_in(&self, bytes: usize) -> usize {
        let commands = bytes - self.client.greeting_bytes.unwrap_or_default();
        match self.script.framing {
            FramingKind::Raw => commands,
            _ => self.script.whole_requests(commands),
        }
    }

    pub(super) fn describe(&self) -> String {
        let (script, driver, client) = (&self.script, &self.driver, &self.client);
        let connection = driver.session.connection();
        let of_server = format!(
            "{:?}, {} bytes in, {} out, {} pending, throttled {}, left over {}, {:?}, {:?}",
            connection.phase(),
            driver.bytes_in,
            driver.bytes_out,
            connection.pending(&[]),
            connection.is_throttled(),
            driver.session.is_left_over(&self.kit.jobs),
            driver.readiness,
            self.seen,
        );
        let of_client = format!(
            "end {:?}, {} bytes sent, {} answers came, {} stand out",
            client.end,
            client.sent,
            client.answers.got(),
            client.answers.standing_out(),
        );
        let (jobs, room) = (self.workers.len(), self.kit.jobs.room);
        format!(
            "{:?} {} {:?} at {:?}; server: {of_server}, {jobs} jobs and room for {room}; \
             client: {of_client}",
            script.kind, script.framing, script.plan, self.now,
        )
    }
}
