//! gateloop: an authenticated, framed service on a hand-written non-blocking event loop.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod address;
pub mod client;
mod drive;
pub mod error;
pub mod limits;
mod models;
pub mod penalties;
pub mod protocol;
mod reactor;
pub mod server;
pub mod service;
pub mod session;
pub mod stats;

/// The examples of README.md, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
