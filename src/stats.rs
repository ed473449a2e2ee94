//! What the server counts: shared by all reactors, read by `stats`, the tests and the log.
//!
//! Counters are atomics that a reactor adds to once a turn, not once a message.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use serde::Serialize;

use crate::error::{CloseReason, DropReason};

/// The counters of one server. All are since its start unless they say "now".
#[derive(Debug)]
pub struct Stats {
    started: Instant,
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections open now. This one also enforces the cap over all reactors.
    pub open: AtomicUsize,
    /// Connections now that have not passed the handshake. Enforces its cap, too.
    pub strangers: AtomicUsize,
    /// Messages served, handshakes not counted.
    pub messages: AtomicU64,
    /// Bytes read from sockets.
    pub bytes_in: AtomicU64,
    /// Bytes written to sockets.
    pub bytes_out: AtomicU64,
    /// Bytes that clients' buffers hold now, over all reactors.
    pub buffer_bytes: AtomicUsize,
    /// Times a listener rested because no slot was free.
    pub rests_full: AtomicU64,
    /// Times a listener rested because the system refused a connection or what it needs, mostly
    /// descriptors.
    pub rests_exhausted: AtomicU64,
    /// Jobs run by workers.
    pub jobs: AtomicU64,
    /// Datagrams received.
    pub datagrams: AtomicU64,
    /// Programs running now, those that are being started included. Enforces their cap, too.
    pub children: AtomicUsize,
    closes: [AtomicU64; CloseReason::COUNT],
    drops: [AtomicU64; DropReason::COUNT],
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            accepted: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            strangers: AtomicUsize::new(0),
            messages: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            buffer_bytes: AtomicUsize::new(0),
            rests_full: AtomicU64::new(0),
            rests_exhausted: AtomicU64::new(0),
            jobs: AtomicU64::new(0),
            datagrams: AtomicU64::new(0),
            children: AtomicUsize::new(0),
            closes: [const { AtomicU64::new(0) }; CloseReason::COUNT],
            drops: [const { AtomicU64::new(0) }; DropReason::COUNT],
        }
    }
}

impl Stats {
    /// Counts one connection's end.
    pub fn closed(&self, reason: CloseReason) {
        if let Some(counter) = self.closes.get(reason.index()) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// How many connections ended for this reason (whatever it carries).
    #[must_use]
    pub fn closes(&self, reason: CloseReason) -> u64 {
        self.closes
            .get(reason.index())
            .map_or(0, |counter| counter.load(Relaxed))
    }

    /// Counts one datagram that was dropped, or whose answer was.
    pub fn dropped(&self, reason: DropReason) {
        if let Some(counter) = self.drops.get(reason.index()) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// How many datagrams were dropped for this reason.
    #[must_use]
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops
            .get(reason.index())
            .map_or(0, |counter| counter.load(Relaxed))
    }

    /// All counters as they are now. They are read one after the other, so that two of them may
    /// be an event apart.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            uptime_s: self.started.elapsed().as_secs_f64(),
            accepted: self.accepted.load(Relaxed),
            open: self.open.load(Relaxed),
            strangers: self.strangers.load(Relaxed),
            messages: self.messages.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            buffer_bytes: self.buffer_bytes.load(Relaxed),
            rests_full: self.rests_full.load(Relaxed),
            rests_exhausted: self.rests_exhausted.load(Relaxed),
            jobs: self.jobs.load(Relaxed),
            datagrams: self.datagrams.load(Relaxed),
            children: self.children.load(Relaxed),
            closes: Closes(self.closes.each_ref().map(|counter| counter.load(Relaxed))),
            datagram_drops: Drops(self.drops.each_ref().map(|counter| counter.load(Relaxed))),
        }
    }
}

/// [`Stats`] at one moment, as the `rpc` method `stats` answers it.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// Seconds since the server was made.
    pub uptime_s: f64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open now.
    pub open: usize,
    /// Of these, those that have not passed the handshake.
    pub strangers: usize,
    /// Messages served.
    pub messages: u64,
    /// Bytes read from sockets.
    pub bytes_in: u64,
    /// Bytes written to sockets.
    pub bytes_out: u64,
    /// Bytes that clients' buffers hold now.
    pub buffer_bytes: usize,
    /// Times a listener rested because no slot was free.
    pub rests_full: u64,
    /// Times a listener rested because the system refused a connection or what it needs, mostly
    /// descriptors.
    pub rests_exhausted: u64,
    /// Jobs run by workers.
    pub jobs: u64,
    /// Datagrams received.
    pub datagrams: u64,
    /// Programs running now.
    pub children: usize,
    /// Ended connections by reason.
    pub closes: Closes,
    /// Dropped datagrams by reason.
    pub datagram_drops: Drops,
}

/// A counter for each [`CloseReason`]; serialised as an object with the reasons' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closes(pub [u64; CloseReason::COUNT]);

impl Serialize for Closes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(CloseReason::NAMES.iter().zip(self.0))
    }
}

/// A counter for each [`DropReason`]; serialised as an object with the reasons' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drops(pub [u64; DropReason::COUNT]);

impl Serialize for Drops {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(DropReason::NAMES.iter().zip(self.0))
    }
}
