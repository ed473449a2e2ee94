//! gateloop: an authenticated, framed service on a hand-written non-blocking event loop.

pub mod error;
pub mod limits;
pub mod protocol;
pub mod service;
pub mod stats;
