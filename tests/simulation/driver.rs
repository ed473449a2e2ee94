//! The server's end: plays the part of `src/reactor/driver.rs` for one session, by the contract at
//! the top of `src/session/mod.rs`.

use std::io::{ErrorKind, IoSlice};
use std::time::{Duration, Instant};

use gateloop::error::CloseReason;
use gateloop::limits::{Limits, PEEK_BYTES, SEND_SLICES_MAX};
use gateloop::protocol::connection::Phase;
use gateloop::service::Service;
use gateloop::session::{Lent, Session};

use crate::coverage::Coverage;
use crate::link::{Edges, Link, Side};

/// How a run left the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// There is more to do that nobody will say again.
    LeftOver,
    /// It waits for an edge, a deadline, a completion.
    Waits,
    /// It is over.
    Closed(CloseReason),
}

pub struct Driver<S: Service> {
    pub session: Session<S>,
    pub readiness: Edges,
    pub watches_writes: bool,
    /// The server is stopping: so many bytes had arrived by then that are not read yet.
    last_read: Option<usize>,
    /// What had arrived by then in all.
    pub stop_at: Option<usize>,
    pub bytes_in: usize,
    pub bytes_out: usize,
    /// When the kernel last took something or nothing waited, and when no more than the low-water
    /// mark last did.
    pub moved_at: Duration,
    pub low_at: Duration,
    pub flushed_at: Option<Duration>,
}

impl<S: Service> Driver<S> {
    pub fn new(session: Session<S>) -> Self {
        Self {
            session,
            readiness: Edges {
                writable: true,
                ..Edges::default()
            },
            watches_writes: false,
            last_read: None,
            stop_at: None,
            bytes_in: 0,
            bytes_out: 0,
            moved_at: Duration::ZERO,
            low_at: Duration::ZERO,
            flushed_at: None,
        }
    }

    pub fn note(&mut self, mut edges: Edges) {
        edges.writable &= self.watches_writes;
        self.readiness.insert(edges);
    }

    /// The server is stopping: from now on only what has arrived already is of use.
    pub fn begin_last_read(&mut self, link: &Link, now: Instant) {
        self.session.hasten(now);
        let unread = link.unread(Side::Server);
        self.last_read = Some(unread);
        self.stop_at = Some(self.bytes_in + unread);
        self.readiness.readable = true;
    }

    /// Serves, reads, writes, within one turn's budget.
    pub fn run(
        &mut self,
        link: &mut Link,
        read_buffer: &mut [u8],
        lent: &mut Lent<'_, S>,
        now: Duration,
        coverage: &mut Coverage,
    ) -> Ran {
        loop {
            self.session.serve(lent);
            self.read(link, read_buffer, lent, now);
            let all_read = !self.readiness.readable;
            if self.last_read.is_some() && (all_read || self.session.is_refusing()) {
                self.session.stop_input(lent);
            }
            let paused = !self.session.may_serve(lent.jobs);
            coverage.see(&self.session, lent);
            self.write(link, lent, now, coverage);
            let connection = self.session.connection();
            let starved = connection.is_starved(lent.out, &lent.rules.limits);
            coverage.hit_if(starved, "starved");
            let more = self.session.is_left_over(lent.jobs)
                || self.readiness.readable && self.session.wants_read(lent.jobs);
            if !(paused && more) || lent.budget.is_spent() {
                break;
            }
            coverage.hit("freed by its own write");
        }
        coverage.hit_if(lent.budget.bytes == 0, "budget of bytes spent");
        coverage.hit_if(lent.budget.messages == 0, "budget of messages spent");
        self.finish(link, lent, now)
    }

    fn read(
        &mut self,
        link: &mut Link,
        read_buffer: &mut [u8],
        lent: &mut Lent<'_, S>,
        now: Duration,
    ) {
        while self.readiness.readable && !lent.budget.is_spent() {
            let lingers = matches!(self.session.connection().phase(), Phase::Lingering(_));
            if !lingers && !self.session.wants_read(lent.jobs) {
                return;
            }
            // Behind the last byte that is of use there may be an EOF, which is, too.
            let max = match self.last_read {
                Some(left) if !lingers => lent.budget.bytes.min(left.max(1)),
                _ => lent.budget.bytes,
            };
            let size = if self.session.is_bulk() {
                PEEK_BYTES
            } else {
                read_buffer.len()
            };
            let (result, asked, direct) = match self.session.long_space(max, lent.pool) {
                Some(space) => (link.read(Side::Server, space, now), space.len(), true),
                None => {
                    let space = &mut read_buffer[..size.min(max)];
                    (link.read(Side::Server, space, now), space.len(), false)
                }
            };
            let n = match result {
                Ok(0) => {
                    self.readiness.readable = false;
                    return self.session.eof(lent);
                }
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readiness.readable = false;
                    return;
                }
                Err(_) => return self.session.end(CloseReason::Reset),
            };
            self.bytes_in += n;
            lent.budget.bytes -= n;
            if n < asked && !self.readiness.read_closed {
                self.readiness.readable = false;
            }
            match &mut self.last_read {
                Some(0) if !lingers => return self.session.stop_input(lent),
                Some(left) => *left = left.saturating_sub(n),
                None => {}
            }
            if direct {
                self.session.long_received(n, lent);
            } else if !lingers {
                self.session.received(&read_buffer[..n], lent);
            }
        }
    }

    fn write(
        &mut self,
        link: &mut Link,
        lent: &mut Lent<'_, S>,
        now: Duration,
        coverage: &mut Coverage,
    ) {
        while self.readiness.writable && self.session.connection().pending(lent.out) > 0 {
            let mut slices = [IoSlice::new(&[]); SEND_SLICES_MAX];
            let used = self.session.connection().slices(lent.out, &mut slices);
            let offered: usize = slices[..used].iter().map(|slice| slice.len()).sum();
            match link.write(Side::Server, &slices[..used], now) {
                Ok(n) => {
                    self.bytes_out += n;
                    self.moved_at = now;
                    self.readiness.writable = n == offered;
                    coverage.hit_if(n < offered, "the kernel took a part");
                    self.session.wrote(n, lent);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readiness.writable = false;
                }
                Err(_) => {
                    lent.out.clear();
                    return self.session.end(CloseReason::Reset);
                }
            }
        }
        self.session.keep(lent);
        if !self.watches_writes && !self.readiness.writable {
            self.watches_writes = true;
        }
        self.session.settle(lent);
        self.note_queue(&lent.rules.limits, now);
    }

    fn note_queue(&mut self, limits: &Limits, now: Duration) {
        let connection = self.session.connection();
        if let Phase::Closed(_) = connection.phase() {
            return;
        }
        let pending = connection.pending(&[]);
        if pending == 0 {
            self.moved_at = now;
        }
        if pending <= limits.send_low_bytes {
            self.low_at = now;
        }
    }

    fn finish(&mut self, link: &mut Link, lent: &mut Lent<'_, S>, now: Duration) -> Ran {
        let connection = self.session.connection();
        if matches!(connection.phase(), Phase::Draining(_)) && connection.is_flushed() {
            match link.shutdown_write(Side::Server, now) {
                Ok(()) => {
                    self.session
                        .flushed(lent.now + lent.rules.limits.linger_timeout);
                    self.flushed_at = Some(now);
                }
                Err(_) => self.session.end(CloseReason::Reset),
            }
        }
        let connection = self.session.connection();
        let more = match connection.phase() {
            Phase::Closed(reason) => {
                link.close(Side::Server, !reason.flushes(), now);
                return Ran::Closed(**reason);
            }
            Phase::Lingering(_) => self.readiness.readable,
            _ => {
                self.readiness.readable && self.session.wants_read(lent.jobs)
                    || self.session.is_left_over(lent.jobs)
                    || connection.is_starved(lent.out, &lent.rules.limits)
            }
        };
        if more { Ran::LeftOver } else { Ran::Waits }
    }
}
