//! The conversation without sockets, clocks, threads or randomness: bytes in, bytes out. Time and
//! random bytes are arguments.

// A peer's bytes must not be able to make this panic.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

pub mod connection;
pub mod datagram;
pub mod framing;
pub mod handshake;
pub mod pool;
pub mod recv_buffer;
pub mod send_queue;

pub use connection::Connection;
pub use framing::FramingKind;
pub use handshake::{Digest, Digests, HandshakeRules, Key};
pub use pool::Pool;
pub use recv_buffer::Message;
