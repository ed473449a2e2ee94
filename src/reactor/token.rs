//! Who an event is for.
//!
//! ```text
//!   63           32 31            0
//!   | generation   | 0 | slot     |     a connection: its slot in the slab, and the low half of
//!                                       its number, so that an event for the slot's last tenant
//!                                       is told from one for the present
//!   | generation   | 1 |ww| slot  |     a program: the same, and what of it (two bits, never 11)
//!   usize::MAX                          is ready
//!   usize::MAX - 1 - n                  the waker; the n-th listener, and behind all of those
//!                                       that there can be the n-th socket for datagrams
//! ```

use mio::Token;

use crate::limits::{DATAGRAM_SOCKETS_MAX, LISTENERS_MAX};
use crate::service::Pipe;

/// One connection, or one program, as it is named to the kernel and to the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its place in the slab.
    pub slot: usize,
    /// The low half of its number.
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
    /// A program: a pipe of its, or its end.
    Child(Key, Sign),
}

/// What a program has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Something lies in the pipe, or its other end is closed.
    Output(Pipe),
    /// It has ended.
    End,
}

/// Slots of connections stay below, by the number of descriptors that a process can have.
const CHILD: usize = 1 << 31;
const SIGN_SHIFT: u32 = 29;
const CHILD_SLOTS: usize = 1 << SIGN_SHIFT;

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
            Source::Child(key, sign) => {
                let sign = match sign {
                    Sign::Output(Pipe::Stdout) => 0,
                    Sign::Output(Pipe::Stderr) => 1,
                    Sign::End => 2,
                };
                (key.generation as usize) << 32 | CHILD | sign << SIGN_SHIFT | key.slot
            }
        })
    }
}

impl From<Token> for Source {
    fn from(token: Token) -> Self {
        match usize::MAX - token.0 {
            0 => Self::Waker,
            n @ 1..FIRST_DATAGRAMS => Self::Listener(n - 1),
            n @ FIRST_DATAGRAMS..NO_MORE => Self::Datagrams(n - FIRST_DATAGRAMS),
            _ if token.0 & CHILD == 0 => Self::Connection(Key {
                slot: token.0 & u32::MAX as usize,
                generation: (token.0 >> 32) as u32,
            }),
            _ => {
                let key = Key {
                    slot: token.0 & (CHILD_SLOTS - 1),
                    generation: (token.0 >> 32) as u32,
                };
                let sign = match (token.0 >> SIGN_SHIFT) & 3 {
                    0 => Sign::Output(Pipe::Stdout),
                    1 => Sign::Output(Pipe::Stderr),
                    _ => Sign::End,
                };
                Self::Child(key, sign)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CHILDREN_MAX;

    #[test]
    fn survives_the_way_through_the_kernel() {
        let key = |slot, generation| Source::Connection(Key { slot, generation });
        let child = |slot, generation, sign| Source::Child(Key { slot, generation }, sign);
        for source in [
            Source::Waker,
            Source::Listener(0),
            Source::Listener(LISTENERS_MAX - 1),
            Source::Datagrams(0),
            Source::Datagrams(DATAGRAM_SOCKETS_MAX - 1),
            key(0, 0),
            key(7, u32::MAX),
            key(10_000_000, u32::MAX),
            child(0, 0, Sign::Output(Pipe::Stdout)),
            child(7, 1, Sign::Output(Pipe::Stderr)),
            child(CHILDREN_MAX, u32::MAX, Sign::End),
        ] {
            assert_eq!(Source::from(Token::from(source)), source);
        }
    }
}
