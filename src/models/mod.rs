//! The other ways to drive sessions: without an event loop, as they are taught.
//!
//! | model | threads | waits for a client by | good at | bad at |
//! |---|---|---|---|---|
//! | `blocking` | one | sleeping until this one client has something | the least code, one client | everybody else waits until the first leaves |
//! | `threads` | one a client | sleeping, each for its own | few busy clients; work that blocks | many clients: a stack, buffers and a switch each |
//! | `pool` | as many as `workers` | sleeping, each for its own | short connections, a bounded cost | whoever comes when all are taken waits until one leaves |
//! | `spin` | one | asking every socket again and again | the shortest way to see what a poller is for | a whole core, even when nothing happens; each client slows all |
//! | `reactor` | one, or `reactors` | asking the kernel once for all | thousands of clients, most of them idle | work that blocks, which it gives to workers |
//!
//! All five drive the same [`Driver`](crate::drive::Driver): a socket that does not block, and a
//! session. So they answer alike, and differ only in how they wait. A thread that sleeps for one
//! client does so in poll(2), not in read(2): it has to wake for a deadline, for an order to stop,
//! and for the moment when its peer, which sends much before it reads, has taken some answers. A
//! blocking write would wait for a reader who himself waits to be read.
//!
//! There are no workers here: a deferred job runs at once, in the thread that serves its client.

mod house;
mod pool;
mod spin;
mod thread;
mod threads;
mod visit;

use std::sync::Arc;
use std::{fmt, io};

use crate::drive::Socket;
use crate::service::Service;
pub use house::House;

/// How a server waits for its clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Model {
    /// One client at a time.
    Blocking,
    /// A thread for each client.
    Threads,
    /// A fixed number of threads, each for one client at a time.
    Pool,
    /// One thread that tries every client in turn, without a poller.
    Spin,
    /// An event loop: one thread, one poller, every client.
    #[default]
    Reactor,
}

impl Model {
    /// Every model.
    pub const ALL: [Self; 5] = [
        Self::Blocking,
        Self::Threads,
        Self::Pool,
        Self::Spin,
        Self::Reactor,
    ];

    /// The model's name in settings and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Blocking => "blocking",
            Self::Threads => "threads",
            Self::Pool => "pool",
            Self::Spin => "spin",
            Self::Reactor => "reactor",
        }
    }

    /// What it is good and bad at, in a line.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Blocking => {
                "One client at a time: fast for that one, while all others wait until it leaves"
            }
            Self::Threads => {
                "A thread each: work that blocks holds up nobody else; each client costs a \
                 thread's memory and switches"
            }
            Self::Pool => {
                "As many clients at a time as there are --workers: bounded cost; all others wait \
                 until one leaves"
            }
            Self::Spin => {
                "One thread that tries every client in turn without asking the kernel who is \
                 ready: it takes a whole core, always, and each client slows all others"
            }
            Self::Reactor => {
                "An event loop: thousands of clients in one thread, and idle ones cost nothing"
            }
        }
    }

    /// How its threads are started; `None` for the reactor, which needs other things.
    pub(crate) fn start<S: Service>(self) -> Option<Start<S>> {
        match self {
            Self::Blocking => Some(pool::start_one),
            Self::Threads => Some(threads::start),
            Self::Pool => Some(pool::start),
            Self::Spin => Some(spin::start),
            Self::Reactor => None,
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Starts the threads that a model begins with.
pub(crate) type Start<S> = fn(&Arc<House>, Vec<Socket>, S) -> io::Result<()>;

/// Serves until the order to stop has been followed.
///
/// # Errors
/// If the system refuses a thread that the model begins with.
///
/// # Panics
/// If one of the threads did.
pub(crate) fn run<S: Service>(
    start: Start<S>,
    house: &Arc<House>,
    sockets: Vec<Socket>,
    service: S,
) -> io::Result<()> {
    let started = start(house, sockets, service);
    if started.is_err() {
        house.give(crate::drive::Stop::Abort);
    }
    house.keep();
    started
}
