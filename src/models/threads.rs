//! `threads`: one lets in, and each client has a thread of its own.

use std::io;
use std::sync::Arc;

use tracing::debug;

use super::house::House;
use super::thread::Thread;
use super::visit::Visit;
use crate::drive::{Door, Socket, Stop};
use crate::service::Service;

pub fn start<S: Service>(house: &Arc<House>, sockets: Vec<Socket>, service: S) -> io::Result<()> {
    let thread = Thread::new(house, service);
    thread.spawn("accept".into(), move |thread| {
        accept(thread, Door::new(sockets))
    })
}

/// Lets in until there is an order; then those that wait already, as closing the door resets them.
fn accept<S: Service>(mut thread: Thread<S>, mut door: Door) {
    loop {
        let order = thread.house.stop.order();
        let mut accepts = thread.house.rules.limits.turn_accepts;
        match order {
            Stop::No => {}
            Stop::Drain => {
                door.last_call();
                accepts = usize::MAX;
            }
            Stop::Abort => return,
        }
        let departures = thread.house.departures();
        for n in 0..door.len() {
            for _ in 0..accepts {
                let Some(visit) = thread.let_in(&mut door, n) else {
                    break;
                };
                if let Err(error) = serve(&thread, visit) {
                    debug!(%error, "a connection gets no thread");
                    door.rest_for("threads", n, &thread.house.rules, thread.kit.now);
                }
            }
        }
        if order == Stop::Drain {
            return;
        }
        thread.house.wait_at(&mut door, departures);
    }
}

/// Where the system refuses a thread, the visit is over as it is dropped.
fn serve<S: Service>(acceptor: &Thread<S>, visit: Visit<S>) -> io::Result<()> {
    let thread = Thread::new(&acceptor.house, acceptor.kit.service.clone());
    thread.spawn("client".into(), move |mut thread| thread.serve(visit))
}
