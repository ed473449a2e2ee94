//! How long a call may wait: the three modes of a socket, and the one place where calls wait.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Socket;
use crate::limits::TIMEOUT_MAX;

/// How long each call on a socket may wait, as `setblocking` and `settimeout` set it.
///
/// | mode | `settimeout` of Python | a call that would have to wait |
/// |---|---|---|
/// | `Blocking` | `None` | waits until it is done |
/// | `NonBlocking` | `0` | fails at once with `EAGAIN`, `connect` with `EINPROGRESS` |
/// | `Timeout(d)` | `d` | waits, and fails after `d` with `TimedOut`, which has no errno |
///
/// A time-out is a deadline for the whole call, however often that has to wait:
/// [`Socket::send_all`] and [`Socket::recv_exact`] too have one for everything. Signals do not end
/// a call, and do not renew its deadline.
///
/// It is kept as Python keeps it: the descriptor does not block, and what says `EAGAIN` is tried
/// again when `poll(2)` finds the socket ready. The kernel's own time-outs, `SO_RCVTIMEO` and
/// `SO_SNDTIMEO`, are something else. They begin anew with each system call, so a peer that sends a
/// byte now and then can hold up a loop of them for ever; they end in `EAGAIN`, as if the socket
/// did not block; a signal ends their calls with `EINTR`; and whoever has a duplicate of the
/// descriptor has them as well. (With a duplicate one shares `O_NONBLOCK`, too.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Calls wait for as long as it takes.
    #[default]
    Blocking,
    /// Calls never wait.
    NonBlocking,
    /// Calls wait for so long in all. Zero is `NonBlocking`; more than [`TIMEOUT_MAX`] is that.
    Timeout(Duration),
}

impl Mode {
    /// `None` for blocking, zero for non-blocking: as `gettimeout`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use gateloop::client::socket::Mode;
    ///
    /// assert_eq!(Mode::NonBlocking.timeout(), Some(Duration::ZERO));
    /// assert_eq!(Mode::from(Mode::NonBlocking.timeout()), Mode::NonBlocking);
    /// ```
    #[must_use]
    pub fn timeout(self) -> Option<Duration> {
        match self {
            Self::Blocking => None,
            Self::NonBlocking => Some(Duration::ZERO),
            Self::Timeout(timeout) => Some(timeout),
        }
    }

    /// How long a call that begins now may wait.
    pub(crate) fn wait(self) -> Wait {
        match self {
            Self::Blocking => Wait::Forever,
            Self::NonBlocking => Wait::Never,
            Self::Timeout(timeout) => Wait::Until(Instant::now() + timeout.min(TIMEOUT_MAX)),
        }
    }
}

/// As `settimeout`.
impl From<Option<Duration>> for Mode {
    fn from(timeout: Option<Duration>) -> Self {
        match timeout {
            None => Self::Blocking,
            Some(Duration::ZERO) => Self::NonBlocking,
            Some(timeout) => Self::Timeout(timeout),
        }
    }
}

/// How long one call may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    /// The descriptor blocks: it is the kernel that waits.
    Forever,
    Never,
    Until(Instant),
}

impl Wait {
    /// What is left; `None` where there is no end.
    pub(super) fn left(self) -> io::Result<Option<Duration>> {
        match self {
            Self::Forever => Ok(None),
            Self::Never => Ok(Some(Duration::ZERO)),
            Self::Until(deadline) => match deadline.saturating_duration_since(Instant::now()) {
                Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
                left => Ok(Some(left)),
            },
        }
    }
}

impl Socket {
    /// Sets how long each call may wait.
    ///
    /// It is this socket's own setting; `O_NONBLOCK`, which goes with it, is shared with the
    /// descriptor's duplicates.
    ///
    /// ```
    /// use std::time::Duration;
    /// use gateloop::client::socket::{Mode, Socket};
    ///
    /// let (mut left, _right) = Socket::pair()?;
    /// assert_eq!(left.mode(), Mode::Blocking);
    /// left.set_mode(Mode::Timeout(Duration::from_millis(1)))?;
    /// assert_eq!(left.recv(100).unwrap_err().to_string(), "timed out");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// None that is known of.
    pub fn set_mode(&mut self, mode: Mode) -> io::Result<()> {
        // A time-out of zero is no time-out.
        let mode = match mode {
            Mode::Timeout(timeout) => Mode::from(Some(timeout)),
            mode => mode,
        };
        self.inner.set_nonblocking(mode != Mode::Blocking)?;
        self.mode = mode;
        Ok(())
    }

    /// How long each call may wait.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// `setblocking`: waits as long as it takes, or never.
    ///
    /// ```
    /// use gateloop::client::socket::{Errno, Socket};
    ///
    /// let (mut left, _right) = Socket::pair()?;
    /// left.set_blocking(false)?;
    /// assert_eq!(Errno::of(&left.recv(100).unwrap_err()), Some(Errno::EAGAIN));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// None that is known of.
    pub fn set_blocking(&mut self, blocking: bool) -> io::Result<()> {
        self.set_mode(if blocking {
            Mode::Blocking
        } else {
            Mode::NonBlocking
        })
    }

    /// `settimeout`: `None` waits as long as it takes, zero never.
    ///
    /// ```
    /// use std::time::Duration;
    /// use gateloop::client::socket::{Mode, Socket};
    ///
    /// let mut socket = Socket::tcp()?;
    /// socket.set_timeout(Some(Duration::from_secs(3)))?;
    /// assert_eq!(socket.timeout(), Some(Duration::from_secs(3)));
    /// socket.set_timeout(Some(Duration::ZERO))?;
    /// assert_eq!(socket.mode(), Mode::NonBlocking);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// None that is known of.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.set_mode(timeout.into())
    }

    /// `gettimeout`: `None` for blocking, zero for non-blocking.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.mode.timeout()
    }

    /// Makes a system call for as long as a signal interrupts it, or it is not ready and may wait.
    pub(super) fn call<T>(
        &self,
        ready: PollFlags,
        wait: Wait,
        mut system_call: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            let error = match system_call() {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            match (error.kind(), wait) {
                (io::ErrorKind::Interrupted, _) => {}
                (io::ErrorKind::WouldBlock, Wait::Until(_)) => self.wait_for(ready, wait)?,
                _ => return Err(error),
            }
        }
    }

    /// Waits until the socket is ready, or has an error.
    pub(super) fn wait_for(&self, ready: PollFlags, wait: Wait) -> io::Result<()> {
        loop {
            let left = wait.left()?.map(Timespec::try_from).transpose();
            let left = left.map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&self.inner, ready)], left.as_ref()) {
                // It says why itself at the next look at the clock.
                Ok(0) if matches!(wait, Wait::Until(_)) => {}
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
