//! What the kernel has said about a socket and has not taken back.
//!
//! mio is edge-triggered: an edge is told once. So each is remembered as a bit until a read or a
//! write finds out that it does not hold any more.

use mio::event::Event;

/// The remembered edges of one socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness(u8);

impl Readiness {
    /// A read may find something.
    pub const READABLE: Self = Self(1);
    /// A write may be taken.
    pub const WRITABLE: Self = Self(1 << 1);
    /// The peer's end is known to be there: a short read does not mean that all was read.
    pub const READ_CLOSED: Self = Self(1 << 2);
    /// The socket has failed, which a read or a write would tell as well.
    pub const BROKEN: Self = Self(1 << 3);

    /// The edges of one event. An error shows in the next read or write, so it counts as both.
    #[must_use]
    pub fn of(event: &Event) -> Self {
        let mut readiness = Self::default();
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            readiness.insert(Self::READABLE);
        }
        if event.is_writable() || event.is_write_closed() || event.is_error() {
            readiness.insert(Self::WRITABLE);
        }
        if event.is_read_closed() || event.is_error() {
            readiness.insert(Self::READ_CLOSED);
        }
        if event.is_error() {
            readiness.insert(Self::BROKEN);
        }
        readiness
    }

    /// Remembers.
    #[inline]
    pub fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Forgets.
    #[inline]
    pub fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    /// Whether all of `other` is remembered.
    #[must_use]
    #[inline]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}
