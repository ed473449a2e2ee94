//! What was read and not yet served. Empty, it holds no memory.
//!
//! ```text
//!   nothing        a client that is idle, or whose every byte is served
//!
//!   bytes          | whole messages left by a budget or a pause … | unfinished tail |
//!                  ^ served from here                                read appends here ^
//!
//!   long           | payload that has come | initialised, to come |        (to grow)  |
//!                  0                filled ^       buffer.len() ^              total ^
//! ```
//! A *long* message is read straight into the buffer that becomes its `Vec`: its header is gone
//! already, and never a byte of the next message gets in.

use std::mem;
use std::time::{Duration, Instant};

use super::Pool;
use crate::limits::{LONG_MESSAGE_START_BYTES, Limits, PEEK_BYTES, TRANSFER_BYTES_PER_S_MIN};

/// A whole message on its way to a service.
#[derive(Debug)]
pub enum Message<'a> {
    /// It lies in the driver's read buffer.
    InPlace(&'a [u8]),
    /// It has a buffer of its own, which whoever wants may take.
    Owned(Vec<u8>),
}

impl Message<'_> {
    /// The payload.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::InPlace(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }

    /// The payload to keep: moved if it is owned, copied otherwise.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        match self {
            Self::InPlace(bytes) => bytes.to_vec(),
            Self::Owned(bytes) => mem::take(bytes),
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct RecvBuffer(Option<Box<Held>>);

#[derive(Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    long: Option<Long>,
    arrival: Option<Arrival>,
}

#[derive(Debug)]
struct Long {
    filled: usize,
    total: usize,
}

/// Since when the front message has been arriving. It stands still while we do not read.
#[derive(Debug)]
struct Arrival {
    since: Instant,
    paused_at: Option<Instant>,
}

impl RecvBuffer {
    /// Whether nothing waits here.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many bytes of the wire wait here.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |held| held.bytes.len())
    }

    /// Memory held, in bytes.
    #[must_use]
    #[inline]
    pub fn capacity(&self) -> usize {
        self.0.as_ref().map_or(0, |held| held.bytes.capacity())
    }

    /// Appends bytes of the wire.
    pub fn append(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.0
                .get_or_insert_default()
                .bytes
                .extend_from_slice(bytes);
        }
    }

    /// Takes all bytes of the wire out, so that no message borrows this buffer.
    #[must_use]
    pub fn take_bytes(&mut self) -> Vec<u8> {
        self.0
            .as_mut()
            .map_or_else(Vec::new, |held| mem::take(&mut held.bytes))
    }

    /// The bytes of the wire.
    #[cfg(test)]
    fn bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |held| &held.bytes)
    }

    /// Puts back what [`RecvBuffer::take_bytes`] took, without the first `served` of them.
    pub fn put_back(&mut self, mut bytes: Vec<u8>, served: usize) {
        if served >= bytes.len() {
            self.0 = None;
            return;
        }
        if served > 0 {
            bytes.drain(..served);
            bytes.shrink_to(bytes.len().saturating_mul(2));
        }
        self.0.get_or_insert_default().bytes = bytes;
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// Begins a long message of `total` bytes of which `first` are there; nothing else may wait.
    /// A claim with next to nothing behind it gets no buffer before more comes.
    pub fn begin_long(&mut self, first: &[u8], total: usize, pool: &mut Pool) {
        let bytes = if first.len() < PEEK_BYTES {
            first.to_vec()
        } else {
            with_room(first, total, pool)
        };
        let held = self.0.get_or_insert_default();
        held.bytes = bytes;
        held.long = Some(Long {
            filled: first.len(),
            total,
        });
    }

    /// Whether a long message is arriving.
    #[must_use]
    #[inline]
    pub fn is_long(&self) -> bool {
        self.0.as_ref().is_some_and(|held| held.long.is_some())
    }

    /// Where the next bytes of a long message are to be read to: at most `max`, and never past its
    /// end. Grows the buffer if it is full: by what has come, not by what the header claims.
    pub fn long_space(&mut self, max: usize, pool: &mut Pool) -> Option<&mut [u8]> {
        let held = self.0.as_deref_mut()?;
        let long = held.long.as_ref()?;
        if long.filled < PEEK_BYTES && held.bytes.len() == long.filled {
            held.bytes = with_room(&held.bytes, long.total, pool);
        }
        if held.bytes.len() <= long.filled {
            let doubled = long.filled.saturating_mul(2).max(LONG_MESSAGE_START_BYTES);
            let grown = doubled.min(long.total);
            held.bytes
                .reserve_exact(grown.saturating_sub(held.bytes.len()));
            held.bytes.resize(grown, 0);
        }
        let end = held
            .bytes
            .len()
            .min(long.total)
            .min(long.filled.saturating_add(max));
        held.bytes.get_mut(long.filled..end)
    }

    /// Takes note of `n` bytes read into [`RecvBuffer::long_space`]; gives the message when whole.
    pub fn long_filled(&mut self, n: usize) -> Option<Vec<u8>> {
        let held = self.0.as_deref_mut()?;
        let long = held.long.as_mut()?;
        long.filled = long.filled.saturating_add(n);
        if long.filled < long.total {
            return None;
        }
        let total = long.total;
        let mut message = self.0.take()?.bytes;
        message.truncate(total);
        Some(message)
    }

    /// The front message began to arrive, if nothing was known of it.
    pub fn arriving(&mut self, now: Instant) {
        if let Some(held) = &mut self.0 {
            held.arrival.get_or_insert(Arrival {
                since: now,
                paused_at: None,
            });
        }
    }

    /// The front message is whole: the next one has its own time.
    pub fn arrived(&mut self) {
        if let Some(held) = &mut self.0 {
            held.arrival = None;
        }
    }

    /// We stop (`true`) or go on (`false`) reading: meanwhile the arrival's time stands still.
    pub fn pause(&mut self, paused: bool, now: Instant) {
        let Some(arrival) = self.0.as_mut().and_then(|held| held.arrival.as_mut()) else {
            return;
        };
        match (paused, arrival.paused_at) {
            (true, None) => arrival.paused_at = Some(now),
            (false, Some(at)) => {
                let pause = now.saturating_duration_since(at);
                arrival.since = arrival.since.checked_add(pause).unwrap_or(now);
                arrival.paused_at = None;
            }
            _ => {}
        }
    }

    /// When the front message must have arrived: the fixed time after its first byte, and a second
    /// more for each 256 KiB claimed by its header, or come so far where there is none.
    #[must_use]
    pub fn arrival_deadline(&self, limits: &Limits) -> Option<Instant> {
        let held = self.0.as_ref()?;
        let arrival = held
            .arrival
            .as_ref()
            .filter(|arrival| arrival.paused_at.is_none())?;
        let expected = held
            .long
            .as_ref()
            .map_or(held.bytes.len(), |long| long.total);
        let extra = Duration::from_secs((expected / TRANSFER_BYTES_PER_S_MIN) as u64);
        arrival
            .since
            .checked_add(limits.arrival_timeout.saturating_add(extra))
    }
}

/// A buffer for a long message of `total` bytes that begins with `first`.
fn with_room(first: &[u8], total: usize, pool: &mut Pool) -> Vec<u8> {
    let mut bytes = pool.take(total);
    if bytes.len() < first.len() {
        bytes.resize(first.len(), 0);
    }
    if let Some(front) = bytes.get_mut(..first.len()) {
        front.copy_from_slice(first);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_nothing_when_all_is_served() {
        let mut buffer = RecvBuffer::default();
        buffer.append(b"abcdef");
        let bytes = buffer.take_bytes();
        buffer.put_back(bytes, 4);
        assert_eq!(buffer.bytes(), b"ef");
        let bytes = buffer.take_bytes();
        buffer.put_back(bytes, 2);
        assert!(buffer.is_empty());
        assert_eq!(buffer.capacity(), 0);
    }

    #[test]
    fn a_long_message_grows_by_what_comes() {
        let (mut buffer, mut pool) = (RecvBuffer::default(), Pool::default());
        let total = 64 * LONG_MESSAGE_START_BYTES;
        buffer.begin_long(b"first", total, &mut pool);
        let mut filled = 5;
        while filled < total {
            let space = buffer.long_space(100_000, &mut pool).unwrap().len();
            assert!(0 < space && space <= 100_000);
            assert!(buffer.capacity() <= (2 * filled).max(LONG_MESSAGE_START_BYTES));
            let message = buffer.long_filled(space);
            filled += space;
            assert_eq!(message.is_some(), filled == total);
            assert!(message.is_none_or(|message| message.len() == total));
        }
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_long_message_ends_at_its_end_in_a_larger_buffer() {
        let (mut buffer, mut pool) = (RecvBuffer::default(), Pool::default());
        pool.give(vec![9; 100_000]);
        buffer.begin_long(b"ab", 70_000, &mut pool);
        assert_eq!(
            buffer.long_space(usize::MAX, &mut pool).unwrap().len(),
            69_998
        );
        assert_eq!(buffer.long_filled(69_998).unwrap().len(), 70_000);
    }

    #[test]
    fn the_arrival_deadline_stands_still_in_a_pause() {
        let (limits, start) = (Limits::default(), Instant::now());
        let after = |s| start + Duration::from_secs(s);
        let mut buffer = RecvBuffer::default();
        buffer.append(b"x");
        assert_eq!(buffer.arrival_deadline(&limits), None);
        buffer.arriving(start);
        assert_eq!(buffer.arrival_deadline(&limits), Some(after(30)));
        buffer.pause(true, after(10));
        assert_eq!(buffer.arrival_deadline(&limits), None);
        buffer.pause(false, after(100));
        assert_eq!(buffer.arrival_deadline(&limits), Some(after(120)));
        buffer.append(&vec![0; 2 * TRANSFER_BYTES_PER_S_MIN]);
        assert_eq!(buffer.arrival_deadline(&limits), Some(after(122)));
    }
}
