//! What the kernel has said about a socket and has not taken back.
//!
//! An edge-triggered poller tells an edge once. So each is remembered as a bit until a read or a
//! write finds out that it does not hold any more. Who asks the kernel anew each time, or does not
//! ask it at all, sets the bits before each run.

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
    /// The peer neither sends nor takes any more: a Unix socket that it has closed. TCP does not
    /// tell before something is sent to it.
    pub const HUNG_UP: Self = Self(1 << 4);

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
