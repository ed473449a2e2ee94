//! `spin`: one thread that tries every client in turn, as it asks nobody who is ready.

use std::sync::Arc;
use std::time::Instant;
use std::{io, thread};

use super::house::House;
use super::thread::Thread;
use super::visit::Visit;
use crate::drive::{Door, Ran, Socket, Stop};
use crate::service::Service;

pub fn start<S: Service>(house: &Arc<House>, sockets: Vec<Socket>, service: S) -> io::Result<()> {
    let thread = Thread::new(house, service);
    thread.spawn("spin".into(), move |thread| {
        spin(thread, Door::new(sockets))
    })
}

fn spin<S: Service>(mut thread: Thread<S>, mut door: Door) {
    let mut visits: Vec<Visit<S>> = Vec::new();
    loop {
        let order = thread.house.stop.order();
        thread.kit.now = Instant::now();
        let present = visits.len();
        visits.retain_mut(|visit| {
            visit.try_everything();
            !matches!(visit.step(&mut thread.kit), Ran::Closed(_))
        });
        if visits.len() < present {
            door.resume();
        }
        let mut accepts = thread.house.rules.limits.turn_accepts;
        match order {
            Stop::No => door.try_all(thread.kit.now),
            Stop::Drain => {
                door.last_call();
                accepts = usize::MAX;
            }
            Stop::Abort => door.close(),
        }
        for n in 0..door.len() {
            let comers = (0..accepts).map_while(|_| thread.let_in(&mut door, n));
            visits.extend(comers);
        }
        if order != Stop::No {
            door.close();
            if visits.is_empty() {
                return;
            }
        }
        if !thread.kit.count() {
            // Where nothing was moved, whoever else wants this core may have something for us.
            thread::yield_now();
        }
    }
}
