//! A listening socket and when to accept from it.
//!
//! ```text
//!   Waiting ──edge──► Ready ──accepted all──► Waiting
//!      ▲                │ ▲
//!      │     no slot,   ▼ │  a slot was freed, or the rest is over
//!      │     descriptor Resting
//! ```
//! Full is not broken: a listener that cannot accept rests and leaves the backlog to the kernel.

use std::mem;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, acceptfrom_with};

use super::transport::Transport;
use crate::limits::ACCEPT_REST;

/// A bound and listening socket that does not block.
#[derive(Debug)]
pub enum Socket {
    /// For IPv4 or IPv6.
    Tcp(TcpListener),
    /// For a Unix socket.
    Unix(UnixListener),
}

impl Socket {
    /// The new socket does not block either, without a system call of its own for that.
    fn accept(&self) -> rustix::io::Result<(Transport, Option<SocketAddr>)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match self {
            Self::Tcp(listener) => {
                let (socket, peer) = acceptfrom_with(listener, flags)?;
                let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                Ok((Transport::Tcp(socket.into()), peer))
            }
            Self::Unix(listener) => {
                let socket = accept_with(listener, flags)?;
                Ok((Transport::Unix(socket.into()), None))
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
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
    /// The system has no descriptor or memory for one, or the socket is of no use any more.
    Refused(Errno),
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
    /// Whether a warning that nobody can be let in is out.
    warned: bool,
}

impl Listener {
    /// There may be connections from before.
    #[must_use]
    pub fn new(socket: Socket) -> Self {
        Self {
            socket,
            state: State::Ready,
            warned: false,
        }
    }

    /// The socket it accepts from.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Somebody may wait.
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

    /// Whether nobody was warned since all who waited were last let in. Now somebody is.
    pub fn is_news(&mut self) -> bool {
        !mem::replace(&mut self.warned, true)
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
            match error {
                Errno::AGAIN => {
                    self.state = State::Waiting;
                    self.warned = false;
                    return Accepted::NoneWaits;
                }
                // accept(2): errors of the new connection's network are passed on by Linux.
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
                | Errno::TIMEDOUT => {}
                _ => return Accepted::Refused(error),
            }
        }
    }
}
