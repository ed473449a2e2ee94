//! One client's socket and session: moves bytes between them. The only read and write calls.

use std::borrow::Borrow;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use tracing::{debug, trace};

use super::kit::Rest;
use super::readiness::Readiness;
use super::transport::Transport;
use crate::error::CloseReason;
use crate::limits::{PEEK_BYTES, SEND_SLICES_MAX};
use crate::protocol::connection::Phase;
use crate::service::Service;
use crate::session::{Lent, Session};

/// How a run left its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// There is more to do that nobody will say again: it is to run again without a wait.
    LeftOver,
    /// It waits for its socket, a deadline, a completion.
    Waits,
    /// Its socket can be closed.
    Closed(CloseReason),
}

/// One client. `T` is how its socket is held: by itself, or shared with a thread that may shut it
/// down.
pub struct Driver<S: Service, T = Transport> {
    /// The conversation.
    pub session: Session<S>,
    /// The socket. It is closed with the driver.
    transport: T,
    /// Bytes read over the connection's life.
    pub bytes_in: u64,
    /// Bytes written over the connection's life.
    pub bytes_out: u64,
    readiness: Readiness,
    /// The poller's: registered for writability, which most sockets never need.
    pub watches_writes: bool,
    /// The poller's: in the ready queue.
    pub queued: bool,
    /// The server is stopping: one more than the bytes that had arrived by then and are not read.
    last_read: Option<NonZeroU32>,
}

impl<S: Service, T: Borrow<Transport>> Driver<S, T> {
    /// A driver of a socket that was just accepted. Such a socket takes a first write.
    pub fn new(transport: T, session: Session<S>) -> Self {
        Self {
            session,
            transport,
            bytes_in: 0,
            bytes_out: 0,
            readiness: Readiness::WRITABLE,
            watches_writes: false,
            queued: false,
            last_read: None,
        }
    }

    /// The socket.
    #[must_use]
    #[inline]
    pub fn transport(&self) -> &Transport {
        self.transport.borrow()
    }

    /// Remembers edges.
    #[inline]
    pub fn note(&mut self, readiness: Readiness) {
        self.readiness.insert(readiness);
    }

    /// Whether something is under way with the client, be it a request that nobody has read.
    #[must_use]
    pub fn is_busy(&self, out: &[u8]) -> bool {
        let unread = || rustix::io::ioctl_fionread(self.transport()).unwrap_or(0) > 0;
        let serves = matches!(self.session.connection().phase(), Phase::Commands);
        self.session.is_busy(out) || serves && unread()
    }

    /// The server is stopping: from now on only what has arrived already is of use.
    pub fn begin_last_read(&mut self, now: Instant) {
        self.session.hasten(now);
        // A socket that fails this fails its next read, which reports it.
        let arrived = rustix::io::ioctl_fionread(self.transport()).unwrap_or(0);
        let arrived = u32::try_from(arrived).unwrap_or(u32::MAX);
        self.last_read = Some(NonZeroU32::MIN.saturating_add(arrived));
        self.note(Readiness::READABLE);
    }

    /// Whether the socket did not take a write, so that somebody must say when it takes one again.
    #[must_use]
    #[inline]
    pub fn is_blocked(&self) -> bool {
        !self.readiness.contains(Readiness::WRITABLE)
    }

    /// Whether a read would be of use now.
    #[must_use]
    pub fn wants_read(&self, lent: &Lent<'_, S>) -> bool {
        match self.session.connection().phase() {
            Phase::Lingering(_) => true,
            _ => self.session.wants_read(lent.jobs),
        }
    }

    /// Serves, reads, writes, within one turn's budget.
    pub fn run(&mut self, lent: &mut Lent<'_, S>, rest: &mut Rest<'_>) -> Ran {
        let messages = lent.budget.messages;
        let (bytes_in, bytes_out) = (self.bytes_in, self.bytes_out);
        let mid_message = self.session.is_long();
        loop {
            self.session.serve(lent);
            self.read(lent, rest);
            let all_read = !self.readiness.contains(Readiness::READABLE);
            if self.last_read.is_some() && (all_read || self.session.is_refusing()) {
                self.session.stop_input(lent);
            }
            let paused = !self.session.may_serve(lent.jobs);
            self.write(lent, rest);
            // What costs no budget, a service that has room again, waits for the next turn.
            let readable = self.readiness.contains(Readiness::READABLE);
            let more = self.session.is_left_over(lent.jobs)
                || readable && self.session.wants_read(lent.jobs);
            if !(paused && more) || lent.budget.is_spent() {
                break;
            }
        }
        self.notice_reset(lent);
        rest.moved.messages += (messages - lent.budget.messages) as u64;
        let unanswered = self.bytes_in > bytes_in && self.bytes_out == bytes_out;
        if unanswered && !(mid_message && self.session.is_long()) {
            self.acknowledge_now();
        }
        self.finish(lent)
    }

    /// Reads until `WouldBlock`, a short read, the budget, a pause, EOF or an error.
    fn read(&mut self, lent: &mut Lent<'_, S>, rest: &mut Rest<'_>) {
        while self.readiness.contains(Readiness::READABLE) && !lent.budget.is_spent() {
            if !self.wants_read(lent) {
                return;
            }
            let lingers = matches!(self.session.connection().phase(), Phase::Lingering(_));
            // Behind the last byte that is of use there may be an EOF, which is, too.
            let max = match self.last_read {
                Some(left) if !lingers => lent.budget.bytes.min((left.get() as usize - 1).max(1)),
                _ => lent.budget.bytes,
            };
            let bulk = self.session.is_bulk();
            let (result, asked, direct) = match self.session.long_space(max, lent.pool) {
                Some(space) => (self.transport.borrow().read(space), space.len(), true),
                None => {
                    let size = if bulk {
                        PEEK_BYTES
                    } else {
                        rest.read_buffer.len()
                    };
                    let space = &mut rest.read_buffer[..size.min(max)];
                    (self.transport.borrow().read(space), space.len(), false)
                }
            };
            let n = match result {
                Ok(0) => {
                    self.readiness.remove(Readiness::READABLE);
                    self.trace_io("read EOF", 0);
                    self.session.eof(lent);
                    return;
                }
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readiness.remove(Readiness::READABLE);
                    break;
                }
                Err(error) => return self.broken(&error),
            };
            self.trace_io("read", n);
            self.bytes_in += n as u64;
            rest.moved.bytes_in += n as u64;
            lent.budget.bytes -= n;
            if n < asked && !self.readiness.contains(Readiness::READ_CLOSED) {
                self.readiness.remove(Readiness::READABLE);
            }
            match self.last_read {
                Some(NonZeroU32::MIN) if !lingers => return self.session.stop_input(lent),
                Some(left) => {
                    let left = left.get().saturating_sub(n as u32);
                    self.last_read = NonZeroU32::new(left).or(Some(NonZeroU32::MIN));
                }
                None => {}
            }
            if direct {
                self.session.long_received(n, lent);
            } else if !lingers {
                self.session.received(&rest.read_buffer[..n], lent);
            }
        }
    }

    /// Beside a client that waits for its answer nothing is read or written that would tell.
    fn notice_reset(&mut self, lent: &Lent<'_, S>) {
        let session = &self.session;
        if self.readiness.contains(Readiness::BROKEN)
            && matches!(session.connection().phase(), Phase::Commands)
            && !session.wants_read(lent.jobs)
            && !session.is_left_over(lent.jobs)
            && let Ok(Some(error)) = socket2::SockRef::from(self.transport()).take_error()
        {
            self.broken(&error);
        }
        if self.readiness.contains(Readiness::HUNG_UP) && self.session.only_answers_are_left() {
            self.broken(&io::ErrorKind::BrokenPipe.into());
        }
    }

    /// What no answer carries the acknowledgement of, the kernel likes to acknowledge 40 ms later.
    /// A sender without TCP_NODELAY, as Python's `Client` is, holds back whatever comes next until
    /// then (Nagle): a payload after its header, the first request after the handshake's last
    /// message, a request after a notification. The option does not stick. Only the middle of a
    /// long message needs none: there, full segments keep coming.
    fn acknowledge_now(&self) {
        if let Transport::Tcp(stream) = self.transport() {
            // A socket that fails this fails its next read, which reports it.
            let _ = rustix::net::sockopt::set_tcp_quickack(stream, true);
        }
    }

    /// Writes what is pending until `WouldBlock`, a short write or an error; what is left moves
    /// from the scratch to the queue.
    fn write(&mut self, lent: &mut Lent<'_, S>, rest: &mut Rest<'_>) {
        while self.readiness.contains(Readiness::WRITABLE)
            && self.session.connection().pending(lent.out) > 0
        {
            let mut slices = [IoSlice::new(&[]); SEND_SLICES_MAX];
            let used = self.session.connection().slices(lent.out, &mut slices);
            let slices = &slices[..used];
            let offered: usize = slices.iter().map(|slice| slice.len()).sum();
            match self.transport().write(slices) {
                Ok(n) => {
                    self.trace_io("write", n);
                    self.bytes_out += n as u64;
                    rest.moved.bytes_out += n as u64;
                    if n < offered {
                        self.readiness.remove(Readiness::WRITABLE);
                    }
                    self.session.wrote(n, lent);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readiness.remove(Readiness::WRITABLE);
                }
                Err(error) => {
                    lent.out.clear();
                    return self.broken(&error);
                }
            }
        }
        self.session.keep(lent);
        self.session.settle(lent);
    }

    /// Ends the conversation as the kernel refuses something that its socket needs.
    pub fn fail(&mut self, error: &io::Error) -> Ran {
        self.broken(error);
        self.close(CloseReason::Reset)
    }

    fn broken(&mut self, error: &io::Error) {
        let peer = self.session.peer();
        trace!(id = peer.id, peer = peer.address.map(tracing::field::display), %error, "socket");
        self.session.end(CloseReason::Reset);
    }

    /// Where all is delivered, sends our FIN; says what is left to do.
    fn finish(&mut self, lent: &mut Lent<'_, S>) -> Ran {
        let connection = self.session.connection();
        if matches!(connection.phase(), Phase::Draining(_)) && connection.is_flushed() {
            let until = lent.now + lent.rules.limits.linger_timeout;
            match self.transport().shutdown(Shutdown::Write) {
                Ok(()) => self.session.flushed(until),
                Err(error) => self.broken(&error),
            }
        }
        let connection = self.session.connection();
        let readable = self.readiness.contains(Readiness::READABLE);
        let more = match connection.phase() {
            Phase::Closed(reason) => return self.close(**reason),
            Phase::Lingering(_) => readable,
            _ => {
                readable && self.session.wants_read(lent.jobs)
                    || self.session.is_left_over(lent.jobs)
                    || connection.is_starved(lent.out, &lent.rules.limits)
            }
        };
        if more { Ran::LeftOver } else { Ran::Waits }
    }

    /// The socket closes with the entry. One that is dropped with something undelivered is reset,
    /// so that the kernel does not keep it.
    fn close(&self, reason: CloseReason) -> Ran {
        if !reason.flushes() {
            // A socket that fails this is reset already.
            let _ = socket2::SockRef::from(self.transport()).set_linger(Some(Duration::ZERO));
        }
        Ran::Closed(reason)
    }

    /// Logs the connection's end.
    pub fn log_close(&self, reason: CloseReason) {
        let peer = self.session.peer();
        debug!(
            id = peer.id,
            peer = peer.address.map(tracing::field::display),
            %reason,
            bytes_in = self.bytes_in,
            bytes_out = self.bytes_out,
            "closed"
        );
    }

    fn trace_io(&self, what: &'static str, bytes: usize) {
        let peer = self.session.peer();
        trace!(
            id = peer.id,
            peer = peer.address.map(tracing::field::display),
            bytes,
            "{what}"
        );
    }
}
