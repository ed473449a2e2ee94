//! What every way to drive sessions has in common: who is let in through a listening socket, the
//! driver that moves bytes between one client's socket and session, and the order to stop.
//!
//! Nothing here waits. That is what the ways differ in: see [`crate::reactor`] and
//! [`crate::models`].

mod door;
mod driver;
mod kit;
mod listener;
mod readiness;
mod stop;
mod transport;

pub use door::Door;
pub use driver::{Driver, Ran};
pub use kit::Kit;
pub use listener::Socket;
pub use readiness::Readiness;
pub use stop::{Stop, StopFlag};
pub use transport::Transport;
