//! A server: from a [`Config`] to bound sockets to running threads, and to its end.

mod config;
mod sockets;

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;
use std::{io, thread};

use tracing::{info, warn};

use crate::address::{Address, UdpAddress};
use crate::drive::{Socket, Stop, StopFlag};
pub use crate::models::Model;
use crate::models::{self, House};
use crate::penalties::Penalties;
use crate::reactor::{Common, Inbox, Reactor};
use crate::service::Service;
use crate::session::Rules;
use crate::stats::Stats;
pub use config::{BindError, Config};
use sockets::Bound;

/// A server whose sockets are bound: clients can connect, and are served once it runs.
pub struct Server<S: Service> {
    engine: Engine<S>,
    rules: Arc<Rules>,
    stop: StopHandle,
    bound: Bound,
}

/// What drives the sessions.
enum Engine<S: Service> {
    Reactors(Vec<Reactor<S>>),
    Threads {
        start: models::Start<S>,
        house: Arc<House>,
        sockets: Vec<Socket>,
        service: S,
    },
}

/// Stops a server from any thread.
#[derive(Clone, Debug)]
pub struct StopHandle(Whom);

/// Whom an order to stop wakes.
#[derive(Clone, Debug)]
enum Whom {
    Reactors(Arc<StopFlag>, Arc<[Arc<Inbox>]>),
    Threads(Arc<House>),
}

impl StopHandle {
    /// Lets the server answer what has arrived, and then leave; at its drain time-out it leaves
    /// whatever is left.
    pub fn drain(&self) {
        self.give(Stop::Drain);
    }

    /// Has the server leave at once, cutting everybody off.
    pub fn abort(&self) {
        self.give(Stop::Abort);
    }

    fn give(&self, order: Stop) {
        match &self.0 {
            Whom::Reactors(flag, inboxes) => {
                flag.give(order);
                inboxes.iter().for_each(|inbox| inbox.wake());
            }
            Whom::Threads(house) => house.give(order),
        }
    }

    fn cut(&self) -> usize {
        match &self.0 {
            Whom::Reactors(flag, _) => flag.cut(),
            Whom::Threads(house) => house.stop().cut(),
        }
    }
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Connections that were cut off while something was under way: a request, or its answer.
    pub cut: usize,
}

impl<S: Service> Server<S> {
    /// Checks the configuration and binds every address.
    ///
    /// # Errors
    /// [`BindError`], with nothing left bound.
    pub fn bind(config: Config, mut service: S) -> Result<Self, BindError> {
        config.check()?;
        if !config.udp.is_empty() && service.datagrams().is_none() {
            let why = format!("the service {} does not serve datagrams", service.name());
            return Err(BindError::Config(why));
        }
        let mut bound = sockets::bind(&config)?;
        let rules = Arc::new(Rules {
            handshake: config.handshake,
            framing: config.framing,
            limits: config.limits,
            penalties: Penalties::default(),
            stats: Arc::default(),
            epoch: Instant::now(),
        });
        let sockets = bound.take_sockets();
        let (engine, stop) = match config.model.start() {
            None => reactors(sockets, bound.take_datagram_sockets(), &service, &rules),
            Some(start) => threads(start, sockets, service, &rules),
        }
        .map_err(BindError::System)?;
        Ok(Self {
            engine,
            rules,
            stop,
            bound,
        })
    }

    /// The bound addresses, with their real ports, in the order of [`Config::listen`].
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        self.bound.addresses()
    }

    /// Where it serves datagrams, with the real ports, in the order of [`Config::udp`].
    #[must_use]
    pub fn udp_addresses(&self) -> &[UdpAddress] {
        self.bound.udp_addresses()
    }

    /// Stops this server.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// What this server counts.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.rules.stats)
    }

    /// Serves until it is stopped.
    ///
    /// # Errors
    /// If a reactor's poll fails for good, or the system refuses a thread.
    ///
    /// # Panics
    /// If one of its threads did.
    pub fn run(self) -> io::Result<Outcome> {
        let Self {
            engine,
            rules,
            stop,
            bound,
        } = self;
        let result = match engine {
            Engine::Reactors(reactors) => run_reactors(reactors, &stop),
            Engine::Threads {
                start,
                house,
                sockets,
                service,
            } => models::run(start, &house, sockets, service),
        };
        drop(bound);
        result?;
        let cut = stop.cut();
        if cut > 0 {
            warn!(
                cut,
                "stopped; connections were cut off with something undelivered"
            );
        } else {
            info!(accepted = rules.stats.accepted.load(Relaxed), "stopped");
        }
        Ok(Outcome { cut })
    }
}

/// A reactor for each set of sockets, and who stops them. The first one has the datagrams.
fn reactors<S: Service>(
    sockets: Vec<Vec<Socket>>,
    datagram_sockets: Vec<UdpSocket>,
    service: &S,
    rules: &Arc<Rules>,
) -> io::Result<(Engine<S>, StopHandle)> {
    let common = Common::default();
    let reactors = sockets.into_iter().map(|sockets| {
        let (rules, common) = (Arc::clone(rules), common.clone());
        Reactor::new(sockets, service.clone(), rules, common)
    });
    let mut reactors = reactors.collect::<io::Result<Vec<_>>>()?;
    if let Some(first) = reactors
        .first_mut()
        .filter(|_| !datagram_sockets.is_empty())
    {
        first.take_datagram_sockets(datagram_sockets)?;
    }
    let inboxes = reactors.iter().map(|reactor| Arc::clone(reactor.inbox()));
    let stop = StopHandle(Whom::Reactors(common.stop, inboxes.collect()));
    Ok((Engine::Reactors(reactors), stop))
}

/// What the threads of another model begin with, and who stops them.
fn threads<S: Service>(
    start: models::Start<S>,
    sockets: Vec<Vec<Socket>>,
    service: S,
    rules: &Arc<Rules>,
) -> io::Result<(Engine<S>, StopHandle)> {
    let house = Arc::new(House::new(Arc::clone(rules))?);
    let stop = StopHandle(Whom::Threads(Arc::clone(&house)));
    let engine = Engine::Threads {
        start,
        house,
        sockets: sockets.into_iter().flatten().collect(),
        service,
    };
    Ok((engine, stop))
}

/// The first runs in this thread, each other in one of its own.
fn run_reactors<S: Service>(reactors: Vec<Reactor<S>>, stop: &StopHandle) -> io::Result<()> {
    thread::scope(|scope| {
        let mut reactors = reactors.into_iter();
        let first = reactors.next();
        let others: Vec<_> = reactors
            .enumerate()
            .map(|(n, reactor)| {
                let stop = stop.clone();
                let name = format!("reactor-{}", n + 1);
                let run = move || run_for_all(stop, reactor);
                thread::Builder::new().name(name).spawn_scoped(scope, run)
            })
            .collect();
        if others.iter().any(Result::is_err) {
            stop.abort();
        }
        let first = first.map(|reactor| run_for_all(stop.clone(), reactor));
        let others = others.into_iter().map(|thread| match thread?.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        // All are waited for before the first error is told.
        let results: Vec<io::Result<()>> = first.into_iter().chain(others).collect();
        results.into_iter().collect()
    })
}

/// A server is its reactors together: when one has ended, for whatever reason, so do the others.
fn run_for_all<S: Service>(stop: StopHandle, reactor: Reactor<S>) -> io::Result<()> {
    struct StopOthers(StopHandle);
    impl Drop for StopOthers {
        fn drop(&mut self) {
            self.0.drain();
        }
    }
    let _stop_others = StopOthers(stop);
    reactor.run()
}
