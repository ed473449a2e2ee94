//! The way out of a connection: every append ends in `appended`, which sees the marks.

use std::io::IoSlice;
use std::mem;
use std::time::Instant;

use super::Connection;
use crate::error::CloseReason;
use crate::limits::{Limits, SEND_COPY_BYTES_MAX};
use crate::protocol::framing::Framing;
use crate::protocol::{Message, Pool};

/// What a caller lends for output: its scratch, which follows whatever the queue holds.
#[derive(Debug)]
pub struct Output<'a> {
    /// The caller's scratch.
    pub out: &'a mut Vec<u8>,
    /// The marks.
    pub limits: &'a Limits,
    /// This turn's time.
    pub now: Instant,
}

/// What an append ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Hard,
    Stream,
}

/// Cuts a scratch back to its whole messages, if whoever writes one does not come to its end.
struct Unfinished<'a> {
    out: &'a mut Vec<u8>,
    whole: usize,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.out.truncate(self.whole);
    }
}

impl Connection {
    /// Takes a whole message, or a part of one that was begun.
    #[inline]
    pub fn send_all(&mut self, message: &[u8], io: &mut Output<'_>) {
        if self.is_streaming() {
            self.part(message.len(), io.now);
            io.out.extend_from_slice(message);
            self.end_of_part(io.out);
        } else if self.can_announce(message.len()) {
            self.framing.encode_header(message.len(), io.out);
            io.out.extend_from_slice(message);
            io.out.extend_from_slice(self.framing.trailer());
        }
        self.appended(io);
    }

    /// As [`Connection::send_all`], but moves a long owned message instead of copying it.
    #[inline]
    pub fn forward(&mut self, message: &mut Message<'_>, io: &mut Output<'_>) {
        match message {
            Message::Owned(bytes)
                if bytes.len() > SEND_COPY_BYTES_MAX
                    && !self.is_streaming()
                    && self.can_announce(bytes.len()) =>
            {
                self.framing.encode_header(bytes.len(), io.out);
                self.send.push_copy(io.out, io.limits, io.now);
                io.out.clear();
                self.send.push_owned(mem::take(bytes), 0, io.limits, io.now);
                io.out.extend_from_slice(self.framing.trailer());
                self.appended(io);
            }
            _ => self.send_all(message.bytes(), io),
        }
    }

    /// Takes the whole message that `write` appends. If it panics, nothing is taken.
    pub fn send_with(&mut self, write: impl FnOnce(&mut Vec<u8>), io: &mut Output<'_>) {
        let before = io.out.len();
        let mut unfinished = Unfinished {
            out: io.out,
            whole: before,
        };
        if self.is_streaming() {
            write(unfinished.out);
            let written = unfinished.out.len().saturating_sub(before);
            self.part(written, io.now);
            self.end_of_part(unfinished.out);
        } else {
            let mut written = 0;
            self.framing.encode_with(unfinished.out, |out| {
                let start = out.len();
                write(out);
                written = out.len().saturating_sub(start);
            });
            self.can_announce(written);
        }
        unfinished.whole = unfinished.out.len();
        drop(unfinished);
        self.appended(io);
    }

    /// Takes a whole message, or a part of one that was begun, if there is room.
    ///
    /// # Errors
    /// How many bytes were taken: 0, or, where messages have no borders, as many as fitted.
    pub fn send(&mut self, message: &[u8], io: &mut Output<'_>) -> Result<(), usize> {
        if self.has_room(message.len(), io) {
            self.send_all(message, io);
            return Ok(());
        }
        self.starved = true;
        let room = io
            .limits
            .send_high_bytes
            .saturating_sub(self.pending(io.out));
        match message.get(..room) {
            Some(part) if self.framing.is_borderless() && !part.is_empty() => {
                self.send_all(part, io);
                Err(part.len())
            }
            _ => Err(0),
        }
    }

    /// Begins a message of `len` bytes that comes in parts.
    ///
    /// # Errors
    /// 0, if there is no room.
    pub fn begin(&mut self, len: u64, io: &mut Output<'_>) -> Result<(), usize> {
        if self.is_streaming() {
            self.fault = Some(Fault::Stream);
        }
        if !self.has_room(0, io) {
            self.starved = true;
            return Err(0);
        }
        let bytes = usize::try_from(len).unwrap_or(usize::MAX);
        self.can_announce(bytes);
        self.framing.encode_header(bytes, io.out);
        self.send.set_stream_left(len, io.now);
        self.end_of_part(io.out);
        Ok(())
    }

    #[inline]
    pub(crate) fn is_streaming(&self) -> bool {
        self.send.stream_left() > 0
    }

    /// Whether the framing has a header for so long a message; if not, that is a fault.
    #[inline]
    fn can_announce(&mut self, len: usize) -> bool {
        let can = len <= self.framing.payload_bytes_max();
        if !can {
            self.fault = Some(Fault::Stream);
        }
        can
    }

    fn part(&mut self, len: usize, now: Instant) {
        match self.send.stream_left().checked_sub(len as u64) {
            Some(left) => self.send.set_stream_left(left, now),
            None => self.fault = Some(Fault::Stream),
        }
    }

    fn end_of_part(&self, out: &mut Vec<u8>) {
        if !self.is_streaming() {
            out.extend_from_slice(self.framing.trailer());
        }
    }

    fn has_room(&self, len: usize, io: &Output<'_>) -> bool {
        let pending = self.pending(io.out);
        pending <= io.limits.send_low_bytes
            || pending.saturating_add(len) <= io.limits.send_high_bytes
    }

    #[inline]
    fn appended(&mut self, io: &Output<'_>) {
        let pending = self.pending(io.out);
        if pending >= io.limits.send_high_bytes {
            self.throttled = true;
            if pending > io.limits.send_queue_bytes_max() {
                self.fault.get_or_insert(Fault::Hard);
            }
        }
    }

    /// Whether a service waits for room, or has not ended a message that it sends in parts.
    #[must_use]
    #[inline]
    pub fn is_unfinished(&self) -> bool {
        self.starved || self.is_streaming()
    }

    /// Bytes that the kernel has not taken, those in the caller's scratch included.
    #[must_use]
    #[inline]
    pub fn pending(&self, out: &[u8]) -> usize {
        self.send.len().saturating_add(out.len())
    }

    /// The pieces to write: queue, then scratch. Returns how many there are.
    pub fn slices<'a>(&'a self, out: &'a [u8], slices: &mut [IoSlice<'a>]) -> usize {
        let used = self.send.slices(slices);
        match slices.get_mut(used) {
            Some(slice) if !out.is_empty() => {
                *slice = IoSlice::new(out);
                used.saturating_add(1)
            }
            _ => used,
        }
    }

    /// Takes note that the kernel took `n` bytes.
    pub fn wrote(&mut self, n: usize, io: &mut Output<'_>, pool: &mut Pool) {
        let of_scratch = self.send.advance(n, io.limits, io.now, pool);
        if of_scratch >= io.out.len() {
            io.out.clear();
        } else {
            io.out.drain(..of_scratch);
        }
        if self.pending(io.out) <= io.limits.send_low_bytes {
            self.throttled = false;
        }
    }

    /// Moves what is left in the scratch to the queue: little is copied, much is moved.
    pub fn keep(&mut self, io: &mut Output<'_>) {
        if io.out.len() <= SEND_COPY_BYTES_MAX {
            self.send.push_copy(io.out, io.limits, io.now);
            io.out.clear();
        } else {
            self.send
                .push_owned(mem::take(io.out), 0, io.limits, io.now);
        }
    }

    /// Whether the queue is above its marks, or one long message is being sent in parts.
    #[must_use]
    #[inline]
    pub fn is_throttled(&self) -> bool {
        self.throttled || self.is_streaming()
    }

    /// Whether a service that was refused room waits, and there is some.
    #[must_use]
    #[inline]
    pub fn is_starved(&self, out: &[u8], limits: &Limits) -> bool {
        self.starved && self.pending(out) <= limits.send_low_bytes
    }

    /// As [`Connection::is_starved`], for who is about to call the service.
    #[inline]
    pub fn take_starved(&mut self, out: &[u8], limits: &Limits) -> bool {
        self.is_starved(out, limits) && mem::take(&mut self.starved)
    }

    /// What the appends since the last call ran into.
    #[must_use]
    #[inline]
    pub fn take_fault(&mut self) -> Option<CloseReason> {
        match self.fault.take()? {
            Fault::Hard => Some(CloseReason::SendQueueFull),
            Fault::Stream => Some(CloseReason::StreamLength),
        }
    }

    /// When a peer that does not read has had its time.
    #[must_use]
    #[inline]
    pub fn write_deadline(&self, limits: &Limits) -> Option<Instant> {
        self.send.deadline(limits)
    }

    /// Whether the queue holds nothing.
    #[must_use]
    #[inline]
    pub fn is_flushed(&self) -> bool {
        self.send.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::FRAMING_BYTES_MAX;
    use crate::protocol::connection::Phase;
    use crate::protocol::{FramingKind, HandshakeRules};

    fn connection(framing: FramingKind) -> Connection {
        Connection::connect(&HandshakeRules::None, framing)
    }

    fn limits() -> Limits {
        Limits {
            send_high_bytes: 100,
            send_low_bytes: 20,
            ..Limits::default()
        }
    }

    #[test]
    fn send_takes_a_message_up_to_the_mark_and_not_one_byte_more() {
        let (limits, now) = (limits(), Instant::now());
        for (len, taken) in [(96, true), (97, true), (100, true), (101, false)] {
            let (mut connection, mut out) = (connection(FramingKind::Raw), vec![b'.'; 0]);
            let mut io = Output {
                out: &mut out,
                limits: &limits,
                now,
            };
            connection.send_all(&[b'x'; 21], &mut io);
            let room = 100 - 21;
            let message = vec![b'm'; len - 21];
            assert_eq!(message.len() <= room, taken);
            assert_eq!(connection.send(&message, &mut io).is_ok(), taken);
        }
    }

    #[test]
    fn raw_takes_a_part_and_i32be_never_does() {
        let (limits, now) = (limits(), Instant::now());
        for (framing, taken) in [(FramingKind::Raw, 70), (FramingKind::I32Be, 0)] {
            let (mut connection, mut out) = (connection(framing), vec![b'.'; 30]);
            let mut io = Output {
                out: &mut out,
                limits: &limits,
                now,
            };
            assert_eq!(connection.send(&[b'm'; 90], &mut io), Err(taken));
            assert_eq!(io.out.len(), 30 + taken);
        }
    }

    #[test]
    fn a_message_over_the_mark_goes_when_the_queue_is_low() {
        let (limits, now) = (limits(), Instant::now());
        for (queued, ok) in [(20, true), (21, false)] {
            let (mut connection, mut out) = (connection(FramingKind::Lines), vec![b'.'; queued]);
            let mut io = Output {
                out: &mut out,
                limits: &limits,
                now,
            };
            assert_eq!(connection.send(&[b'm'; 101], &mut io).is_ok(), ok);
        }
    }

    #[test]
    fn throttles_at_high_water_and_goes_on_at_low() {
        let (limits, now, mut pool) = (limits(), Instant::now(), Pool::default());
        let (mut connection, mut out) = (connection(FramingKind::Raw), Vec::new());
        let mut io = Output {
            out: &mut out,
            limits: &limits,
            now,
        };
        connection.send_all(&[0; 99], &mut io);
        assert!(!connection.is_throttled());
        connection.send_all(&[0; 1], &mut io);
        assert!(connection.is_throttled());
        connection.keep(&mut io);
        connection.wrote(79, &mut io, &mut pool);
        assert!(connection.is_throttled());
        connection.wrote(1, &mut io, &mut pool);
        assert!(!connection.is_throttled());
    }

    #[test]
    fn the_hard_limit_holds_one_message_more_and_no_byte_beyond() {
        let limits = Limits {
            send_hard_bytes: 200,
            message_bytes_max: 50,
            ..limits()
        };
        let (mut connection, mut out) = (connection(FramingKind::Raw), Vec::new());
        let mut io = Output {
            out: &mut out,
            limits: &limits,
            now: Instant::now(),
        };
        assert_eq!(limits.send_queue_bytes_max(), 200 + 50 + FRAMING_BYTES_MAX);
        connection.send_all(&[0; 250 + FRAMING_BYTES_MAX], &mut io);
        assert_eq!(connection.take_fault(), None);
        connection.send_all(&[0; 1], &mut io);
        assert_eq!(connection.take_fault(), Some(CloseReason::SendQueueFull));
    }

    #[test]
    fn a_stream_is_one_message_and_must_have_its_length() {
        let limits = limits();
        let stream = |parts: &[&[u8]]| {
            let (mut connection, mut out) = (connection(FramingKind::I32Be), Vec::new());
            let mut io = Output {
                out: &mut out,
                limits: &limits,
                now: Instant::now(),
            };
            connection.begin(5, &mut io).unwrap();
            for part in parts {
                connection.send(part, &mut io).unwrap();
            }
            let fault = connection.take_fault();
            connection.end(CloseReason::ServiceClosed);
            let (Phase::Draining(reason) | Phase::Closed(reason)) = connection.phase() else {
                panic!("{:?}", connection.phase)
            };
            (fault, **reason, out)
        };
        let (fault, reason, out) = stream(&[b"ab", b"cde"]);
        assert_eq!((fault, reason), (None, CloseReason::ServiceClosed));
        assert_eq!(out, b"\0\0\0\x05abcde");
        assert_eq!(stream(&[b"abcd"]).1, CloseReason::StreamLength);
        assert_eq!(stream(&[b"ab", b"cdef"]).0, Some(CloseReason::StreamLength));
    }

    #[test]
    fn a_message_that_the_framing_cannot_announce_is_a_fault() {
        let limits = limits();
        let most = i32::MAX as u64;
        for (framing, len, fault) in [
            (FramingKind::I32Le, most, None),
            (
                FramingKind::I32Le,
                most + 1,
                Some(CloseReason::StreamLength),
            ),
            (FramingKind::I32Be, most + 1, None),
        ] {
            let (mut connection, mut out) = (connection(framing), Vec::new());
            let mut io = Output {
                out: &mut out,
                limits: &limits,
                now: Instant::now(),
            };
            connection.begin(len, &mut io).unwrap();
            assert_eq!(connection.take_fault(), fault, "{framing} {len}");
        }
    }

    #[test]
    fn a_long_owned_message_is_moved_in_order() {
        let (limits, now) = (Limits::default(), Instant::now());
        let (mut connection, mut out) = (connection(FramingKind::Lines), Vec::new());
        let mut io = Output {
            out: &mut out,
            limits: &limits,
            now,
        };
        connection.send_all(b"before", &mut io);
        let long = vec![b'L'; SEND_COPY_BYTES_MAX + 1];
        let at = long.as_ptr();
        connection.forward(&mut Message::Owned(long), &mut io);
        connection.send_all(b"after", &mut io);
        let mut slices = [IoSlice::new(&[]); 8];
        let used = connection.slices(io.out, &mut slices);
        assert!(slices[..used].iter().any(|slice| slice.as_ptr() == at));
        let all: Vec<u8> = slices[..used]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect();
        assert!(all.starts_with(b"before\nLLL") && all.ends_with(b"LLL\nafter\n"));
    }
}
