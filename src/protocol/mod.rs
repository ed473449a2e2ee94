//! The conversation without sockets, clocks, threads or randomness: bytes in, bytes out.

pub mod framing;
pub mod handshake;
