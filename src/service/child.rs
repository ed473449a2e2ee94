//! Programs that a service has run: what it asks for, and what it is told.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// A program to run, given to [`Replies::launch`](super::Replies::launch).
///
/// It runs without a shell, with an empty standard input, with nothing in its environment but a
/// `PATH` of the system's folders and `LANG=C.UTF-8`, and in a process group of its own. The group
/// is sent SIGTERM, and SIGKILL two seconds later, when the time-out has passed or the connection
/// is over; and SIGKILL at once when the program itself has ended. A process that has left the
/// group (a daemon that called `setsid`) is not found.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Given back to [`Service::child_output`](super::Service::child_output) and
    /// [`Service::child_ended`](super::Service::child_ended).
    pub tag: u64,
    /// The program's absolute path.
    pub program: PathBuf,
    /// Its arguments, its own name not among them.
    pub args: Vec<OsString>,
    /// The folder that it runs in.
    pub folder: PathBuf,
    /// How long it may run.
    pub timeout: Duration,
}

/// Where a program has printed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipe {
    /// Its standard output.
    Stdout,
    /// Its standard error.
    Stderr,
}

/// How it went with a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildEnd {
    /// It could not be started.
    NotStarted(io::ErrorKind),
    /// It has ended.
    Ended {
        /// Its exit code, or the signal that killed it.
        status: ExitStatus,
        /// Its time had passed before.
        timed_out: bool,
    },
}

/// The program is not launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLaunched {
    /// This connection, or all of them together, have as many running as they may.
    TooMany,
    /// Whoever drives this connection runs no programs: only the event loop does.
    Unsupported,
}
