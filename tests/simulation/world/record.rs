//! What really happened to the server's end of a simulation, against which its own word is judged.

use std::time::Duration;

use gateloop::error::CloseReason;
use gateloop::protocol::Connection;
use gateloop::protocol::connection::Phase;

/// What changes when anything is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub bytes_in: usize,
    pub bytes_out: usize,
    pub pending: usize,
    pub served: usize,
    pub phase: &'static str,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Record {
    /// When the handshake was passed, and when a message was last served.
    pub passed_at: Option<Duration>,
    pub served_at: Duration,
    /// For how long the server has been ready to read since then.
    pub heard: Duration,
    noted_at: Duration,
    hears: bool,
    /// How the end began, and whether answers were queued or deferred then.
    pub first_end: Option<(CloseReason, Duration)>,
    pub owed_at_end: bool,
    pub closed: Option<(CloseReason, Duration)>,
    /// Turns in a row that did nothing.
    pub idle_turns: usize,
    /// Calls of the service.
    calls: usize,
}

/// How a turn has left the server's end.
pub struct Now<'a> {
    pub time: Duration,
    pub connection: &'a Connection,
    /// Calls of the service so far.
    pub calls: usize,
    /// Whether it would serve what it read.
    pub serves: bool,
    /// Whether answers are deferred or postponed.
    pub owes: bool,
}

impl Record {
    /// Takes note of a turn.
    pub fn note(&mut self, before: Progress, after: Progress, now: &Now<'_>) {
        let over = matches!(before.phase, "draining" | "lingering" | "closed");
        let called = std::mem::replace(&mut self.calls, now.calls) < now.calls;
        assert!(!(called && over), "the service is called after the end");
        self.idle_turns = if before == after {
            self.idle_turns + 1
        } else {
            0
        };
        if self.hears {
            self.heard += now.time - self.noted_at;
        }
        if before.served < after.served {
            self.served_at = now.time;
            self.heard = Duration::ZERO;
        }
        (self.noted_at, self.hears) = (now.time, now.serves);
        if !now.connection.is_stranger() {
            self.passed_at.get_or_insert(now.time);
        }
        let reason = match now.connection.phase() {
            Phase::Handshake(_) | Phase::Commands => return,
            Phase::Draining(reason) | Phase::Closed(reason) => **reason,
            Phase::Lingering(ending) => ending.0,
        };
        if self.first_end.is_none() {
            self.first_end = Some((reason, now.time));
            self.owed_at_end = now.owes || !now.connection.is_flushed();
        }
    }
}
