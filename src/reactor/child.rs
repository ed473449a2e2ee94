//! A program that runs for a connection: how it starts, how it is killed, how it is read.
//!
//! It leads a process group. The group is only ever signalled while its leader has not been reaped:
//! until then the kernel gives its number to nobody else.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{self, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mio::unix::pipe::Receiver;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getrlimit, kill_process_group, pidfd_open, prlimit,
};

use super::token::Key;
use crate::limits::{CHILD_GRACE, CHILD_REAP_TIMEOUT};
use crate::service::{Launch, Pipe};
use crate::stats::Stats;

/// The folders of the system, as where nobody has said otherwise.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Programs then speak UTF-8, and in the language that those who parse their output expect.
const LANG: &str = "C.UTF-8";
/// The soft limit on descriptors that programs are made for: `select` holds no more. Ours was
/// raised to the hard one.
const DESCRIPTORS: u64 = 1024;

/// A place among [`CHILDREN_MAX`](crate::limits::CHILDREN_MAX), given back when it is dropped.
#[derive(Debug)]
struct Place(Arc<Stats>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.children.fetch_sub(1, Relaxed);
    }
}

/// A program that is to be started.
#[derive(Debug)]
pub struct Launching {
    launch: Launch,
    place: Place,
}

impl Launching {
    /// A launch that `stats` has counted already.
    #[must_use]
    pub fn new(launch: Launch, stats: Arc<Stats>) -> Self {
        Self {
            launch,
            place: Place(stats),
        }
    }
}

/// A program that was started, or could not be.
#[derive(Debug)]
pub struct Spawned {
    /// Whose it is. The connection may be gone by now.
    pub owner: Key,
    /// What was asked for.
    pub launch: Launch,
    /// The program.
    pub program: io::Result<Program>,
}

impl Spawned {
    /// Starts a program. This takes as long as loading it: half a millisecond from a warm cache,
    /// and for ever from a file system that hangs.
    #[must_use]
    pub fn start(owner: Key, launching: Launching) -> Self {
        let Launching { launch, place } = launching;
        Self {
            owner,
            program: Program::start(&launch, place),
            launch,
        }
    }

    /// The system has no thread to start it.
    #[must_use]
    pub fn refused(owner: Key, launching: Launching) -> Self {
        Self {
            owner,
            launch: launching.launch,
            program: Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// A running program, and its ends of the pipes. Dropped before it was reaped, its group is killed.
#[derive(Debug)]
pub struct Program {
    leader: Leader,
    stdout: Option<Receiver>,
    stderr: Option<Receiver>,
    _place: Place,
}

#[derive(Debug)]
struct Leader {
    child: process::Child,
    /// Readable when it has ended.
    pidfd: OwnedFd,
    reaped: bool,
}

impl Program {
    fn start(launch: &Launch, place: Place) -> io::Result<Self> {
        let mut child = Command::new(&launch.program)
            .args(&launch.args)
            .current_dir(&launch.folder)
            .env_clear()
            .env("PATH", PATH)
            .env("LANG", LANG)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let leader = Leader::new(child)?;
        leader.lower_descriptors();
        let program = Self {
            leader,
            stdout: stdout.map(Receiver::from),
            stderr: stderr.map(Receiver::from),
            _place: place,
        };
        for pipe in [&program.stdout, &program.stderr].into_iter().flatten() {
            pipe.set_nonblocking(true)?;
        }
        Ok(program)
    }

    /// Its process number, for the log.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.leader.child.id()
    }

    /// What is readable when it has ended.
    #[must_use]
    pub fn end(&self) -> &OwnedFd {
        &self.leader.pidfd
    }

    /// The pipe, unless its end was read or nobody wants to.
    pub fn pipe(&mut self, pipe: Pipe) -> &mut Option<Receiver> {
        match pipe {
            Pipe::Stdout => &mut self.stdout,
            Pipe::Stderr => &mut self.stderr,
        }
    }

    /// Takes what lies in a pipe. `None`: nothing now, and an edge will tell when there is.
    ///
    /// The pipe is closed at its end, and also where nothing lies in it and the program was reaped:
    /// who still holds the other end has left the group, and is nobody's answer.
    pub fn take_output(&mut self, pipe: Pipe, buffer: &mut [u8]) -> Option<usize> {
        let reaped = self.leader.reaped;
        let place = self.pipe(pipe);
        let result = loop {
            match place.as_mut()?.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        match result {
            Ok(n @ 1..) => return Some(n),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !reaped => {}
            Ok(0) | Err(_) => *place = None,
        }
        None
    }

    /// Sends a signal to the whole group.
    pub fn signal(&self, signal: Signal) {
        self.leader.signal(signal);
    }

    /// If it has ended, kills what it has left behind in its group, and says how it ended.
    pub fn reap(&mut self) -> Option<ExitStatus> {
        self.leader.reap()
    }
}

impl Leader {
    fn new(mut child: process::Child) -> io::Result<Self> {
        match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Self {
                child,
                pidfd,
                reaped: false,
            }),
            Err(error) => {
                // Not much can have come of it.
                let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
                child.wait()?;
                Err(error.into())
            }
        }
    }

    /// Without `unsafe` nothing can be done between fork and exec, so this comes a moment later.
    fn lower_descriptors(&self) {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        if current.is_none_or(|current| current > DESCRIPTORS) {
            let current = Some(DESCRIPTORS);
            let limit = Rlimit { current, maximum };
            // It fails for one that has ended.
            let _ = prlimit(Some(self.pid()), Resource::Nofile, limit);
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn signal(&self, signal: Signal) {
        if !self.reaped {
            // It fails where nobody of the group may be signalled: a program that has become
            // another user. That one ends by itself.
            let _ = kill_process_group(self.pid(), signal);
        }
    }

    fn has_ended(&self, wait: Duration) -> bool {
        let mut ends = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let timeout = Timespec::try_from(wait).ok();
        rustix::event::poll(&mut ends, timeout.as_ref()).is_ok_and(|ended| ended > 0)
    }

    fn reap(&mut self) -> Option<ExitStatus> {
        if self.reaped || !self.has_ended(Duration::ZERO) {
            return None;
        }
        // It is reaped afterwards: until then nobody else has its number.
        self.signal(Signal::KILL);
        let status = self.child.try_wait().ok().flatten();
        self.reaped = status.is_some();
        status
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if !self.reaped {
            self.signal(Signal::KILL);
            self.has_ended(CHILD_REAP_TIMEOUT);
            self.reap();
        }
    }
}

/// When a program is signalled next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its time passes then, and it is sent SIGTERM.
    Runs(Instant),
    /// It has been sent SIGTERM. Then it is sent SIGKILL.
    Terminated(Instant),
    /// It has been sent SIGKILL, or has ended.
    Killed,
}

impl Stage {
    /// When it is over.
    #[must_use]
    pub fn deadline(self) -> Option<Instant> {
        match self {
            Self::Runs(until) | Self::Terminated(until) => Some(until),
            Self::Killed => None,
        }
    }

    /// After SIGTERM.
    #[must_use]
    pub fn terminated(now: Instant) -> Self {
        Self::Terminated(now + CHILD_GRACE)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::limits::TIMEOUT_MAX;

    fn start(script: &str, stats: &Arc<Stats>) -> Spawned {
        stats.children.fetch_add(1, Relaxed);
        let launch = Launch {
            tag: 0,
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            folder: "/".into(),
            timeout: TIMEOUT_MAX,
        };
        let owner = Key {
            slot: 0,
            generation: 0,
        };
        Spawned::start(owner, Launching::new(launch, Arc::clone(stats)))
    }

    #[test]
    fn who_is_dropped_is_killed_and_reaped() {
        let stats = Arc::default();
        let spawned = start("trap '' TERM; sleep 3600 & wait", &stats);
        let program = spawned.program.expect("a shell");
        let process = format!("/proc/{}", program.id());
        assert!(Path::new(&process).exists());
        drop(program);
        assert_eq!(stats.children.load(Relaxed), 0);
        assert!(!Path::new(&process).exists());
    }

    #[test]
    fn what_is_started_for_a_reactor_that_has_ended_is_killed() {
        let stats = Arc::default();
        let spawned = start("sleep 3600", &stats);
        let id = spawned.program.as_ref().expect("a shell").id();
        let poll = mio::Poll::new().expect("a poll");
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).expect("a waker");
        let inbox = super::super::Inbox::new(waker, Arc::clone(&stats));
        inbox.refuse_spawned();
        inbox.push_spawned(spawned);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
        assert_eq!(stats.children.load(Relaxed), 0);
    }
}
