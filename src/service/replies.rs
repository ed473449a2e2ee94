//! How a service answers: two promises for a message, and a way out for work that would block.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::{Caller, Deferred, Launch, NotLaunched, Owed};
use crate::limits::{
    CHILDREN_MAX, CHILDREN_PER_CONNECTION_MAX, DEFERRED_PER_CONNECTION_MAX, Limits,
};
use crate::protocol::connection::Output;
use crate::protocol::{Connection, Message};
use crate::service::Peer;
use crate::stats::Stats;

/// The message was not taken: the queue is above its mark. The caller keeps it, and
/// [`Service::writable`](super::Service::writable) is called when there is room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Bytes that were taken all the same: 0, except under the framing `raw`, whose messages have
    /// no borders.
    pub taken: usize,
}

/// It was not taken: this connection, or all of them together, have as much deferred as they may.
/// What was to be deferred is given back.
pub struct TooManyDeferred<T = Deferred>(pub T);

/// What was deferred in one call, on its way to whoever runs it.
#[derive(Default)]
pub struct Jobs {
    /// The jobs, to be taken out by the driver after each call.
    pub taken: Vec<Deferred>,
    /// How many more the workers' queue has room for.
    pub room: usize,
    /// Programs to be launched, to be taken out like the jobs; each is counted in
    /// [`Stats::children`] already. `None`: this driver launches none.
    pub launches: Option<Vec<Launch>>,
}

/// One connection's way out, lent to a service for the length of a call.
///
/// | call | promise |
/// |---|---|
/// | [`send_all`](Self::send_all), [`forward`](Self::forward), [`send_with`](Self::send_with) | takes the whole message: it is delivered in order, or the connection ends with a reason |
/// | [`send`](Self::send) | takes the whole message if there is room below the high-water mark, or nothing |
/// | [`begin`](Self::begin), then `send` or `send_all` | one long message in parts |
pub struct Replies<'a> {
    pub(crate) connection: &'a mut Connection,
    pub(crate) io: Output<'a>,
    pub(crate) peer: &'a Peer,
    pub(crate) opened: Instant,
    pub(crate) handshake: &'static str,
    pub(crate) stats: &'a Stats,
    pub(crate) jobs: &'a mut Jobs,
    pub(crate) owed: &'a mut Owed,
    /// The server is stopping: nothing waits.
    pub(crate) hastens: bool,
}

impl<'a> Replies<'a> {
    /// Sends a message, whatever is queued already.
    pub fn send_all(&mut self, message: &[u8]) {
        self.connection.send_all(message, &mut self.io);
    }

    /// Sends a message itself: a long one is moved to the queue, not copied.
    pub fn forward(&mut self, message: &mut Message<'_>) {
        self.connection.forward(message, &mut self.io);
    }

    /// Sends the message that `write` appends, without a buffer in between.
    pub fn send_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.connection.send_with(write, &mut self.io);
    }

    /// Sends a message if there is room: if it ends below the high-water mark, or begins below the
    /// low-water mark.
    ///
    /// # Errors
    /// [`Full`] if there is none.
    pub fn send(&mut self, message: &[u8]) -> Result<(), Full> {
        self.connection
            .send(message, &mut self.io)
            .map_err(|taken| Full { taken })
    }

    /// Begins one long message of `len` bytes: what follows by [`send`](Self::send) or
    /// [`send_all`](Self::send_all), until `len` bytes are reached, are its parts. No other
    /// message is served meanwhile. Ending short of `len` ends the connection.
    ///
    /// # Errors
    /// [`Full`] if there is no room to begin.
    ///
    /// # Panics
    /// If an answer is deferred, which could come in between.
    pub fn begin(&mut self, len: u64) -> Result<(), Full> {
        assert!(
            self.owed.count() == 0,
            "a message is begun while an answer is deferred"
        );
        self.connection
            .begin(len, &mut self.io)
            .map_err(|taken| Full { taken })
    }

    /// Has a job done elsewhere; its answer comes through
    /// [`Service::completed`](super::Service::completed).
    ///
    /// # Errors
    /// [`TooManyDeferred`] at either bound. The first job of a message is never refused: a message
    /// is only served while there is room for one.
    ///
    /// # Panics
    /// In the middle of a message that was begun: the answer could come before its end.
    pub fn defer(&mut self, job: Deferred) -> Result<(), TooManyDeferred> {
        assert!(
            !self.connection.is_streaming(),
            "an answer is deferred in the middle of a message"
        );
        if self.jobs.room == 0 || self.owed.count() >= DEFERRED_PER_CONNECTION_MAX {
            return Err(TooManyDeferred(job));
        }
        self.jobs.room -= 1;
        self.owed.defer(job.input_bytes);
        self.jobs.taken.push(job);
        Ok(())
    }

    /// Has an answer wait: [`Service::completed`](super::Service::completed) is called with it
    /// after `wait`, or at once when the server stops. Meanwhile it counts as a deferred answer,
    /// so that an [`ORDERED`](super::Service::ORDERED) connection pauses, and its bytes count
    /// towards the limit of all buffers. No thread waits for it.
    ///
    /// # Errors
    /// [`TooManyDeferred`] at the bound of a connection. The first of a call is never refused.
    ///
    /// # Panics
    /// In the middle of a message that was begun: the answer could come before its end.
    pub fn postpone(
        &mut self,
        wait: Duration,
        tag: u64,
        answer: Vec<u8>,
    ) -> Result<(), TooManyDeferred<Vec<u8>>> {
        assert!(
            !self.connection.is_streaming(),
            "an answer is postponed in the middle of a message"
        );
        if self.owed.count() >= DEFERRED_PER_CONNECTION_MAX {
            return Err(TooManyDeferred(answer));
        }
        let wait = if self.hastens { Duration::ZERO } else { wait };
        self.owed.postpone(self.io.now + wait, tag, answer);
        Ok(())
    }

    /// Has a program run; it is an answer that is deferred until it has ended. What it prints and
    /// how it ends come through [`Service::child_output`](super::Service::child_output) and
    /// [`Service::child_ended`](super::Service::child_ended).
    ///
    /// # Errors
    /// [`NotLaunched`] at either bound, and where there is no event loop.
    ///
    /// # Panics
    /// In the middle of a message that was begun: the answer could come before its end.
    pub fn launch(&mut self, launch: Launch) -> Result<(), NotLaunched> {
        assert!(
            !self.connection.is_streaming(),
            "a program is launched in the middle of a message"
        );
        let Some(launches) = &mut self.jobs.launches else {
            return Err(NotLaunched::Unsupported);
        };
        let one_more = |running: usize| (running < CHILDREN_MAX).then_some(running + 1);
        let all = &self.stats.children;
        if self.owed.programs() >= CHILDREN_PER_CONNECTION_MAX
            || self.owed.count() >= DEFERRED_PER_CONNECTION_MAX
            || all.fetch_update(Relaxed, Relaxed, one_more).is_err()
        {
            return Err(NotLaunched::TooMany);
        }
        self.owed.launch();
        launches.push(launch);
        Ok(())
    }

    /// This turn's time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.io.now
    }

    /// Who is spoken to.
    #[must_use]
    pub fn caller(&self) -> Caller<'a> {
        Caller {
            peer: self.peer,
            handshake: self.handshake,
            digest: self.connection.digest(),
            connected: self.io.now.saturating_duration_since(self.opened),
        }
    }

    /// The server's counters.
    #[must_use]
    pub fn stats(&self) -> &'a Stats {
        self.stats
    }

    /// The bounds in force.
    #[must_use]
    pub fn limits(&self) -> &'a Limits {
        self.io.limits
    }
}
