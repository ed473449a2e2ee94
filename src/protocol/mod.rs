//! The conversation without sockets, clocks, threads or randomness: bytes in, bytes out. Time and
//! random bytes are arguments.

pub mod connection;
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
