//! Who an event is for.
//!
//! ```text
//!   63           32 31            0
//!   | generation   | slot         |     a connection: its slot in the slab, and the low half of
//!                                       its number, so that an event for the slot's last tenant
//!   usize::MAX                          is told from one for the present
//!   usize::MAX - 1 - n                  the waker; the n-th listener, and behind all of those
//!                                       that there can be the n-th socket for datagrams
//! ```

use mio::Token;

use crate::limits::{DATAGRAM_SOCKETS_MAX, LISTENERS_MAX};

/// One connection, as it is named to the kernel and to the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its place in the slab.
    pub slot: usize,
    /// The low half of the connection's number.
    pub generation: u32,
}

/// What a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Somebody has put something into the inbox.
    Waker,
    /// A listener, by its place.
    Listener(usize),
    /// A socket for datagrams, by its place.
    Datagrams(usize),
    /// A connection.
    Connection(Key),
}

const _: () = assert!(usize::BITS == 64, "a token holds a slot and a generation");

/// Counted from the top.
const FIRST_DATAGRAMS: usize = 1 + LISTENERS_MAX;
const NO_MORE: usize = FIRST_DATAGRAMS + DATAGRAM_SOCKETS_MAX;

impl From<Source> for Token {
    fn from(source: Source) -> Self {
        Token(match source {
            Source::Waker => usize::MAX,
            Source::Listener(n) => usize::MAX - 1 - n,
            Source::Datagrams(n) => usize::MAX - FIRST_DATAGRAMS - n,
            Source::Connection(key) => (key.generation as usize) << 32 | key.slot,
        })
    }
}

impl From<Token> for Source {
    fn from(token: Token) -> Self {
        match usize::MAX - token.0 {
            0 => Self::Waker,
            n @ 1..FIRST_DATAGRAMS => Self::Listener(n - 1),
            n @ FIRST_DATAGRAMS..NO_MORE => Self::Datagrams(n - FIRST_DATAGRAMS),
            _ => Self::Connection(Key {
                slot: token.0 & u32::MAX as usize,
                generation: (token.0 >> 32) as u32,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_way_through_the_kernel() {
        let key = |slot, generation| Source::Connection(Key { slot, generation });
        for source in [
            Source::Waker,
            Source::Listener(0),
            Source::Listener(LISTENERS_MAX - 1),
            Source::Datagrams(0),
            Source::Datagrams(DATAGRAM_SOCKETS_MAX - 1),
            key(0, 0),
            key(7, u32::MAX),
            key(10_000_000, u32::MAX),
        ] {
            assert_eq!(Source::from(Token::from(source)), source);
        }
    }
}
