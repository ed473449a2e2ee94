//! Recycled buffers for long messages: fresh memory costs more than the bytes that go into it.

use crate::limits::{
    LONG_MESSAGE_BYTES, LONG_MESSAGE_START_BYTES, POOL_BUFFER_BYTES_MAX, POOL_BUFFERS_MAX,
    POOL_BYTES_MAX,
};

/// A bounded stock of buffers, one to a reactor.
///
/// A buffer keeps its length while it lies here: what is initialised once is never zeroed again.
#[derive(Debug, Default)]
pub struct Pool {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Pool {
    /// A buffer to read a message of `wanted` bytes into: the smallest that holds it whole, else
    /// the largest there is, else a small new one. Of several the one that came last, which the
    /// processor's caches may still hold. None that is more than twice what the message can use.
    #[must_use]
    pub fn take(&mut self, wanted: usize) -> Vec<u8> {
        let sizes = self.buffers.iter().map(Vec::capacity).enumerate().rev();
        let usable = sizes.filter(|&(_, size)| size <= wanted.saturating_mul(2));
        let best = usable.min_by_key(|&(_, size)| match size.checked_sub(wanted) {
            Some(beyond) => (false, beyond),
            None => (true, wanted.saturating_sub(size)),
        });
        match best {
            Some((at, size)) => {
                self.bytes = self.bytes.saturating_sub(size);
                self.buffers.swap_remove(at)
            }
            None => vec![0; wanted.min(LONG_MESSAGE_START_BYTES)],
        }
    }

    /// Takes a buffer back, or frees it where it is too small or too large to be worth keeping, or
    /// where there is no room for it.
    pub fn give(&mut self, buffer: Vec<u8>) {
        let size = buffer.capacity();
        if (LONG_MESSAGE_BYTES..=POOL_BUFFER_BYTES_MAX).contains(&size)
            && self.buffers.len() < POOL_BUFFERS_MAX
            && self.bytes.saturating_add(size) <= POOL_BYTES_MAX
        {
            self.bytes = self.bytes.saturating_add(size);
            self.buffers.push(buffer);
        }
    }

    /// The capacity of all buffers that lie here.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_smallest_that_fits() {
        let mut pool = Pool::default();
        for size in [4, 1, 2] {
            pool.give(vec![0; size * LONG_MESSAGE_BYTES]);
        }
        assert_eq!(
            pool.take(2 * LONG_MESSAGE_BYTES).capacity(),
            2 * LONG_MESSAGE_BYTES
        );
        assert_eq!(
            pool.take(2 * LONG_MESSAGE_BYTES).capacity(),
            4 * LONG_MESSAGE_BYTES
        );
        assert_eq!(
            pool.take(2 * LONG_MESSAGE_BYTES).capacity(),
            LONG_MESSAGE_BYTES
        );
        assert_eq!(pool.bytes(), 0);
    }

    #[test]
    fn does_not_waste_a_large_buffer_on_a_small_message() {
        let mut pool = Pool::default();
        pool.give(vec![0; 3 * LONG_MESSAGE_BYTES]);
        assert_eq!(pool.take(LONG_MESSAGE_BYTES).capacity(), LONG_MESSAGE_BYTES);
        assert_eq!(pool.bytes(), 3 * LONG_MESSAGE_BYTES);
    }

    #[test]
    fn is_bounded_in_number_size_and_bytes() {
        let mut pool = Pool::default();
        pool.give(vec![0; LONG_MESSAGE_BYTES - 1]);
        pool.give(vec![0; POOL_BUFFER_BYTES_MAX + 1]);
        assert_eq!(pool.bytes(), 0);
        for _ in 0..=POOL_BUFFERS_MAX {
            pool.give(vec![0; LONG_MESSAGE_BYTES]);
        }
        assert_eq!(pool.bytes(), POOL_BUFFERS_MAX * LONG_MESSAGE_BYTES);

        let mut pool = Pool::default();
        for _ in 0..=POOL_BYTES_MAX / POOL_BUFFER_BYTES_MAX {
            pool.give(vec![0; POOL_BUFFER_BYTES_MAX]);
        }
        assert_eq!(pool.bytes(), POOL_BYTES_MAX);
    }

    #[test]
    fn a_claim_alone_gets_little() {
        assert_eq!(
            Pool::default().take(usize::MAX).capacity(),
            LONG_MESSAGE_START_BYTES
        );
    }
}
