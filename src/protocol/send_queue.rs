//! What the kernel has not taken yet. Empty, it holds no memory.
//!
//! ```text
//!   front                                            back
//!   | sent | still to go |   | segment |   | segment |  <- push
//!          ^ start           whole Vecs: a long message is moved here, not copied
//! ```
//! `len` is kept, not counted; the marks are judged against it by whoever pushes.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use super::Pool;
use crate::limits::{Limits, SEND_COPY_BYTES_MAX, TRANSFER_BYTES_PER_S_MIN};

/// See the module.
#[derive(Debug, Default)]
pub struct SendQueue(Option<Box<Queued>>);

#[derive(Debug)]
struct Queued {
    segments: VecDeque<Segment>,
    len: usize,
    capacity: usize,
    /// When the kernel last took something.
    moved_at: Instant,
    /// When the queue last rose above, or fell to, its low-water mark, and what has gone since.
    low_at: Instant,
    moved_since_low: u64,
    /// What is missing of a message that is sent in parts.
    stream_left: u64,
}

#[derive(Debug)]
struct Segment {
    bytes: Vec<u8>,
    start: usize,
}

impl SendQueue {
    /// Bytes to go.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |queued| queued.len)
    }

    /// Whether all has gone.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is missing of a message that is sent in parts; 0: none is.
    #[must_use]
    #[inline]
    pub fn stream_left(&self) -> u64 {
        self.0.as_ref().map_or(0, |queued| queued.stream_left)
    }

    /// Notes what is missing.
    pub fn set_stream_left(&mut self, left: u64, now: Instant) {
        if left != self.stream_left() {
            self.queued(now).stream_left = left;
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        if self
            .0
            .as_ref()
            .is_some_and(|queued| queued.len == 0 && queued.stream_left == 0)
        {
            self.0 = None;
        }
    }

    /// Memory held, in bytes.
    #[must_use]
    #[inline]
    pub fn capacity(&self) -> usize {
        self.0.as_ref().map_or(0, |queued| queued.capacity)
    }

    /// Appends a copy of `bytes`, to the last segment while that is small.
    pub fn push_copy(&mut self, bytes: &[u8], limits: &Limits, now: Instant) {
        if bytes.is_empty() {
            return;
        }
        let queued = self.queued(now);
        queued.about_to_grow(limits, now);
        match queued.segments.back_mut() {
            Some(last) if last.bytes.len().saturating_add(bytes.len()) <= SEND_COPY_BYTES_MAX => {
                let before = last.bytes.capacity();
                last.bytes.extend_from_slice(bytes);
                let grown = last.bytes.capacity().saturating_sub(before);
                queued.capacity = queued.capacity.saturating_add(grown);
                queued.len = queued.len.saturating_add(bytes.len());
            }
            _ => queued.push(bytes.to_vec(), 0),
        }
    }

    /// Appends `bytes` itself, without the first `start` of them.
    pub fn push_owned(&mut self, bytes: Vec<u8>, start: usize, limits: &Limits, now: Instant) {
        if start < bytes.len() {
            let queued = self.queued(now);
            queued.about_to_grow(limits, now);
            queued.push(bytes, start);
        }
    }

    fn queued(&mut self, now: Instant) -> &mut Queued {
        self.0.get_or_insert_with(|| {
            Box::new(Queued {
                segments: VecDeque::new(),
                len: 0,
                capacity: 0,
                moved_at: now,
                low_at: now,
                moved_since_low: 0,
                stream_left: 0,
            })
        })
    }

    /// The first pieces to go, for a vectored write: as many as `slices` holds. Returns how many.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let segments = self.0.iter().flat_map(|queued| &queued.segments);
        let mut used: usize = 0;
        for (slice, segment) in slices.iter_mut().zip(segments) {
            *slice = IoSlice::new(segment.rest());
            used = used.saturating_add(1);
        }
        used
    }

    /// Takes note that `n` bytes have gone; returns those of them that were not this queue's.
    pub fn advance(&mut self, n: usize, limits: &Limits, now: Instant, pool: &mut Pool) -> usize {
        let Some(queued) = &mut self.0 else { return n };
        let beyond = n.saturating_sub(queued.len);
        let mut left = n.min(queued.len);
        if left == 0 {
            return beyond;
        }
        queued.len = queued.len.saturating_sub(left);
        queued.moved_at = now;
        queued.moved_since_low = queued.moved_since_low.saturating_add(left as u64);
        while left > 0 {
            let Some(front) = queued.segments.front_mut() else {
                break;
            };
            let rest = front.rest().len();
            if left < rest {
                front.start = front.start.saturating_add(left);
                break;
            }
            left = left.saturating_sub(rest);
            if let Some(done) = queued.segments.pop_front() {
                queued.capacity = queued.capacity.saturating_sub(done.bytes.capacity());
                pool.give(done.bytes);
            }
        }
        if queued.len <= limits.send_low_bytes {
            queued.low_at = now;
            queued.moved_since_low = 0;
        }
        self.give_back();
        beyond
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// When a peer that takes nothing, or less than 256 KiB a second of what was queued since the
    /// last low water, has had its time.
    #[must_use]
    pub fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let queued = self.0.as_ref().filter(|queued| queued.len > 0)?;
        let stalled = queued.moved_at.checked_add(limits.write_stall_timeout)?;
        let bytes_per_s = TRANSFER_BYTES_PER_S_MIN as u64;
        let earned = queued
            .moved_since_low
            .saturating_mul(1000)
            .div_euclid(bytes_per_s);
        let allowed = limits
            .write_stall_timeout
            .saturating_add(Duration::from_millis(earned));
        let slow = queued.low_at.checked_add(allowed)?;
        Some(stalled.min(slow))
    }
}

impl Queued {
    /// The times count from when the queue was last empty, or low.
    fn about_to_grow(&mut self, limits: &Limits, now: Instant) {
        if self.len == 0 {
            self.moved_at = now;
        }
        if self.len <= limits.send_low_bytes {
            (self.low_at, self.moved_since_low) = (now, 0);
        }
    }

    fn push(&mut self, bytes: Vec<u8>, start: usize) {
        self.len = self.len.saturating_add(bytes.len().saturating_sub(start));
        self.capacity = self.capacity.saturating_add(bytes.capacity());
        self.segments.push_back(Segment { bytes, start });
    }
}

impl Segment {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &mut SendQueue, step: usize) -> Vec<u8> {
        let (limits, mut pool, now) = (Limits::default(), Pool::default(), Instant::now());
        let mut got = Vec::new();
        while !queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); 3];
            let used = queue.slices(&mut slices);
            let first: Vec<u8> = slices[..used]
                .iter()
                .flat_map(|slice| slice.iter())
                .copied()
                .take(step)
                .collect();
            let n = first.len();
            got.extend(first);
            let before = queue.len();
            assert_eq!(queue.advance(n, &limits, now, &mut pool), 0);
            assert_eq!(queue.len(), before - n);
        }
        got
    }

    #[test]
    fn gives_back_what_was_pushed_whatever_the_steps() {
        for step in [1, 2, 3, 7, 1000] {
            let (mut queue, limits, now) =
                (SendQueue::default(), Limits::default(), Instant::now());
            queue.push_copy(b"abc", &limits, now);
            queue.push_owned(b"..def".to_vec(), 2, &limits, now);
            queue.push_copy(b"", &limits, now);
            queue.push_owned(b"gone".to_vec(), 4, &limits, now);
            queue.push_copy(&[b'g'; SEND_COPY_BYTES_MAX], &limits, now);
            queue.push_copy(b"h", &limits, now);
            assert_eq!(queue.len(), 7 + SEND_COPY_BYTES_MAX);
            let got = drain(&mut queue, step);
            assert!(got.starts_with(b"abcdefg") && got.ends_with(b"gh"));
            assert_eq!(got.len(), 7 + SEND_COPY_BYTES_MAX);
            assert_eq!(queue.capacity(), 0);
        }
    }

    #[test]
    fn says_what_was_not_its_own() {
        let (limits, mut pool, now) = (Limits::default(), Pool::default(), Instant::now());
        let mut queue = SendQueue::default();
        assert_eq!(queue.advance(5, &limits, now, &mut pool), 5);
        queue.push_copy(b"abc", &limits, now);
        assert_eq!(queue.advance(5, &limits, now, &mut pool), 2);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_byte_now_and_then_does_not_hold_a_queue_for_ever() {
        let (limits, mut pool, start) = (Limits::default(), Pool::default(), Instant::now());
        let mut queue = SendQueue::default();
        queue.push_owned(vec![0; 2 * limits.send_high_bytes], 0, &limits, start);
        let mut now = start;
        while queue.deadline(&limits).unwrap() > now {
            queue.advance(1, &limits, now, &mut pool);
            now += Duration::from_secs(1);
            assert!(
                now < start + limits.write_stall_timeout * 2,
                "held for ever"
            );
        }
        assert!(now >= start + limits.write_stall_timeout);
    }

    #[test]
    fn a_steady_reader_keeps_its_queue() {
        let (limits, mut pool, start) = (Limits::default(), Pool::default(), Instant::now());
        let (mut queue, mut now) = (SendQueue::default(), start);
        queue.push_owned(vec![0; limits.send_hard_bytes], 0, &limits, start);
        while !queue.is_empty() {
            assert!(queue.deadline(&limits).unwrap() > now);
            queue.advance(TRANSFER_BYTES_PER_S_MIN, &limits, now, &mut pool);
            now += Duration::from_secs(1);
        }
    }
}
