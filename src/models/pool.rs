//! `pool`: a fixed number of threads, each of which lets a client in and serves it to its end.
//! With one thread, that is `blocking`.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::house::House;
use super::thread::Thread;
use super::visit::Visit;
use crate::drive::{Door, Ran, Socket, Stop};
use crate::service::Service;

/// Where the next client comes from. Only one thread at a time waits here; the others wait for it,
/// so that a client wakes one of them and not all.
struct Entrance<S: Service> {
    door: Door,
    /// The listener that is asked first: each in turn.
    first: usize,
    /// Those that waited at the door when the order to stop came.
    last: VecDeque<Visit<S>>,
}

pub fn start<S: Service>(house: &Arc<House>, sockets: Vec<Socket>, service: S) -> io::Result<()> {
    let names = (0..house.rules.limits.workers).map(|n| format!("pool-{n}"));
    start_named(names, house, sockets, &service)
}

pub fn start_one<S: Service>(
    house: &Arc<House>,
    sockets: Vec<Socket>,
    service: S,
) -> io::Result<()> {
    start_named(["blocking".into()], house, sockets, &service)
}

fn start_named<S: Service>(
    names: impl IntoIterator<Item = String>,
    house: &Arc<House>,
    sockets: Vec<Socket>,
    service: &S,
) -> io::Result<()> {
    let entrance = Arc::new(Mutex::new(Entrance {
        door: Door::new(sockets),
        first: 0,
        last: VecDeque::new(),
    }));
    for name in names {
        let entrance = Arc::clone(&entrance);
        Thread::new(house, service.clone()).spawn(name, move |mut thread| {
            while let Some(visit) = next(&entrance, &mut thread) {
                thread.serve(visit);
            }
        })?;
    }
    Ok(())
}

/// The next client; `None` once the order to stop has been followed.
fn next<S: Service>(entrance: &Mutex<Entrance<S>>, thread: &mut Thread<S>) -> Option<Visit<S>> {
    let mut entrance = entrance.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        match thread.house.stop.order() {
            Stop::No => {}
            Stop::Drain => {
                entrance.last_call(thread);
                return entrance.last.pop_front();
            }
            Stop::Abort => return entrance.last.pop_front(),
        }
        let departures = thread.house.departures();
        if let Some(visit) = entrance.let_in(thread) {
            return Some(visit);
        }
        thread.house.wait_at(&mut entrance.door, departures);
    }
}

impl<S: Service> Entrance<S> {
    fn let_in(&mut self, thread: &mut Thread<S>) -> Option<Visit<S>> {
        let listeners = self.door.len();
        let mut turns = (self.first..).take(listeners).map(|turn| turn % listeners);
        turns.find_map(|n| {
            let visit = thread.let_in(&mut self.door, n)?;
            self.first = n + 1;
            Some(visit)
        })
    }

    /// Lets in who waits already, as closing the door resets them, and takes a first step with
    /// each, so that what they have asked is not held up by those before them who linger.
    fn last_call(&mut self, thread: &mut Thread<S>) {
        self.door.last_call();
        while let Some(mut visit) = self.let_in(thread) {
            if !matches!(visit.step(&mut thread.kit), Ran::Closed(_)) {
                self.last.push_back(visit);
            }
        }
        thread.kit.count();
        self.door.close();
    }
}
