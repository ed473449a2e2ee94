//! What the tests are written in: a server that runs for as long as its handle lives, commands
//! that are run to their end, and waiting for a condition, always with a deadline.
//!
//! It runs the binary, which is not built without the feature `cli`: a test file that uses this
//! begins with `#![cfg(feature = "cli")]`.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file is a crate of its own and uses another part of this one"
)]

pub mod cli;
pub mod datagrams;
pub mod measure;
pub mod python;
pub mod random;
pub mod seed;
pub mod server;
pub mod services;
pub mod users;

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use server::Raw;

/// How long a test waits for what should happen at once: long, for a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at a condition that nothing announces.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Waits until `condition` gives a value. Panics with `what` if it does not in time.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} in vain: {what}"
        );
        thread::park_timeout(LOOK_AGAIN);
    }
}

/// The binary, free of settings that the tests' own environment may hold.
pub fn gateloop() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateloop"));
    for (variable, _) in std::env::vars_os() {
        if variable.as_encoded_bytes().starts_with(b"GATELOOP_") {
            command.env_remove(variable);
        }
    }
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ended {
    Process::start(command).wait()
}

/// Lets time pass between two steps of a client that is slow on purpose.
pub fn dawdle(time: Duration) {
    let over = Instant::now() + time;
    // A thread that has waited for another one may find itself woken once more.
    while Instant::now() < over {
        thread::park_timeout(over.saturating_duration_since(Instant::now()));
    }
}

/// Says that something is over, also where a test fails.
pub struct Ends<'a>(pub &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` if a signal killed it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A process whose output is collected. It is killed when this is dropped.
pub struct Process {
    child: Child,
    stdout: Collected,
    stderr: Collected,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = Collected::from(child.stdout.take().expect("a pipe"));
        let stderr = Collected::from(child.stderr.take().expect("a pipe"));
        Self {
            child,
            stdout,
            stderr,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process id");
        kill_process(id, signal).expect("a process that can be signalled");
    }

    /// Stops all of its threads until [`Process::resume`]: what comes for it waits in the kernel.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        eventually("its threads stand still", || {
            let mut tasks = fs::read_dir(format!("/proc/{}/task", self.id())).expect("a process");
            let stands_still = tasks.all(|task| {
                let stat = fs::read_to_string(task.expect("a thread").path().join("stat"));
                let stat = stat.expect("a thread that is alive");
                stat.rsplit_once(") ")
                    .is_some_and(|(_, state)| state.starts_with('T'))
            });
            stands_still.then_some(())
        });
    }

    /// Lets its threads go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Gives it this on standard input, for which there must be a pipe, and then its end.
    pub fn write(&mut self, input: &[u8]) {
        let mut stdin = self.child.stdin.take().expect("a pipe");
        stdin.write_all(input).expect("a process that reads");
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ended {
        let status = eventually("the process ends", || {
            self.child.try_wait().expect("a child")
        });
        let (stdout, stderr) = (self.stdout.finish(), self.stderr.finish());
        Ended {
            code: status.code(),
            stdout,
            stderr,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail for one that has ended, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What comes out of a pipe, collected by a thread so that the pipe never fills.
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Collected {
    fn from(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(len @ 1..) = pipe.read(&mut chunk) {
                collected
                    .lock()
                    .expect("no panic")
                    .extend_from_slice(&chunk[..len]);
            }
        });
        Self {
            bytes,
            reader: Some(reader),
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("no panic")).into_owned()
    }

    /// All of it, when the other end is closed.
    fn finish(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("no panic");
        }
        self.text()
    }
}

/// A running `gateloop serve`.
pub struct Serving {
    pub process: Process,
    /// The addresses that it says it listens on, such as `127.0.0.1:40123`.
    pub addresses: Vec<String>,
}

impl Serving {
    /// Starts it on a free port of the loopback address, with these arguments besides, and
    /// waits until it listens.
    pub fn start(args: &[&str]) -> Self {
        Self::from_command(
            gateloop()
                .args(["serve", "--listen", "127.0.0.1:0"])
                .args(args),
        )
    }

    /// The same without a handshake.
    pub fn start_open(args: &[&str]) -> Self {
        Self::start(&[&["--handshake", "none"], args].concat())
    }

    /// Starts this command, and waits until it listens.
    pub fn from_command(command: &mut Command) -> Self {
        let mut process = Process::start(command);
        let addresses = eventually("the server listens", || {
            if let Ok(Some(status)) = process.child.try_wait() {
                panic!("it ended with {status}: {}", process.stderr.finish());
            }
            let stdout = process.stdout();
            let addresses = stdout
                .lines()
                .filter_map(|line| line.strip_prefix("listening on "));
            let addresses: Vec<_> = addresses.map(String::from).collect();
            (stdout.ends_with('\n') && !addresses.is_empty()).then_some(addresses)
        });
        Self { process, addresses }
    }

    /// The first of its addresses.
    pub fn address(&self) -> &str {
        &self.addresses[0]
    }

    /// Connects to the first of its addresses, which must be of TCP.
    pub fn connect(&self) -> Raw {
        Raw::connect(self.socket_address())
    }

    /// The first of its addresses, which must be of TCP.
    pub fn socket_address(&self) -> SocketAddr {
        self.address().parse().expect("an address of TCP")
    }

    /// The key that it made up.
    pub fn made_up_key(&self) -> Option<String> {
        let stdout = self.process.stdout();
        stdout
            .lines()
            .find_map(|line| line.strip_prefix("authkey: "))
            .map(String::from)
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(self) -> Ended {
        self.process.signal(Signal::TERM);
        self.process.wait()
    }
}

/// A folder of its own for one test, removed when this is dropped.
pub struct Folder(PathBuf);

impl Folder {
    /// `name` must be the test's own.
    pub fn new(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    /// Writes a file and gives back its path as text, for a command line.
    pub fn write(&self, file: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(file);
        fs::write(&path, content).expect("a file that can be written");
        path.into_os_string()
            .into_string()
            .expect("a path in UTF-8")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed lies below target/.
        let _ = fs::remove_dir_all(&self.0);
    }
}
