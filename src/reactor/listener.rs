//! A listening socket and when to accept from it.
//!
//! ```text
//!   Waiting ──edge──► Ready ──accepted all──► Waiting
//!      ▲                │ ▲
//!      │     no slot,   ▼ │  a slot was freed, or the rest is over
//!      │     descriptor Resting
//! ```
//! Full is not broken: a listener that cannot accept rests and leaves the backlog to the kernel.

use std::net::SocketAddr;
use std::time::Instant;
use std::{io, mem};

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use rustix::io::Errno;

use super::transport::Transport;
use crate::limits::ACCEPT_REST;

/// A bound and listening socket.
#[derive(Debug)]
pub enum Socket {
    /// For IPv4 or IPv6.
    Tcp(TcpListener),
    /// For a Unix socket.
    Unix(UnixListener),
}

/// Of a socket that does not block.
impl From<std::net::TcpListener> for Socket {
    fn from(listener: std::net::TcpListener) -> Self {
        Self::Tcp(TcpListener::from_std(listener))
    }
}

/// Of a socket that does not block.
impl From<std::os::unix::net::UnixListener> for Socket {
    fn from(listener: std::os::unix::net::UnixListener) -> Self {
        Self::Unix(UnixListener::from_std(listener))
    }
}

impl Socket {
    /// As mio registers it.
    pub fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(listener) => listener,
            Self::Unix(listener) => listener,
        }
    }

    fn accept(&self) -> io::Result<(Transport, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => listener
                .accept()
                .map(|(stream, peer)| (Transport::Tcp(stream), Some(peer))),
            Self::Unix(listener) => listener
                .accept()
                .map(|(stream, _)| (Transport::Unix(stream), None)),
        }
    }
}

/// What an attempt to accept came to.
#[derive(Debug)]
pub enum Accepted {
    /// A connection.
    One(Transport, Option<SocketAddr>),
    /// None waits.
    NoneWaits,
    /// The system has no descriptor or memory for one.
    Exhausted,
    /// The socket is of no use any more.
    Broken(io::Error),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Ready,
    Resting(Instant),
}

/// See the module.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    state: State,
}

impl Listener {
    /// Of a registered socket. There may be connections from before.
    #[must_use]
    pub fn new(socket: Socket) -> Self {
        Self {
            socket,
            state: State::Ready,
        }
    }

    /// An edge: somebody waits.
    pub fn note(&mut self) {
        if self.state == State::Waiting {
            self.state = State::Ready;
        }
    }

    /// Whether somebody may wait that can be let in now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// Rests; true if it did not already.
    pub fn rest(&mut self, now: Instant) -> bool {
        let resting = State::Resting(now + ACCEPT_REST);
        !matches!(mem::replace(&mut self.state, resting), State::Resting(_))
    }

    /// Goes on after a rest.
    pub fn resume(&mut self) {
        if let State::Resting(_) = self.state {
            self.state = State::Ready;
        }
    }

    /// When a rest ends.
    #[must_use]
    pub fn rests_until(&self) -> Option<Instant> {
        match self.state {
            State::Resting(until) => Some(until),
            State::Waiting | State::Ready => None,
        }
    }

    /// Accepts one connection. One that was gone before it was accepted is passed over.
    pub fn accept(&mut self) -> Accepted {
        loop {
            let error = match self.socket.accept() {
                Ok((transport, peer)) => return Accepted::One(transport, peer),
                Err(error) => error,
            };
            match Errno::from_io_error(&error) {
                Some(Errno::AGAIN) => {
                    self.state = State::Waiting;
                    return Accepted::NoneWaits;
                }
                Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    return Accepted::Exhausted;
                }
                // accept(2): errors of the new connection's network are passed on by Linux.
                Some(
                    Errno::INTR
                    | Errno::CONNABORTED
                    | Errno::CONNRESET
                    | Errno::PERM
                    | Errno::PROTO
                    | Errno::NETDOWN
                    | Errno::NETUNREACH
                    | Errno::HOSTDOWN
                    | Errno::HOSTUNREACH
                    | Errno::NOPROTOOPT
                    | Errno::OPNOTSUPP
                    | Errno::TIMEDOUT,
                ) => {}
                _ => return Accepted::Broken(error),
            }
        }
    }
}
