//! Step 5 of a turn: programs that were started come in, and what they print finds its reader.

use std::mem;

use tracing::{debug, info, warn};

use super::child::Spawned;
use super::children::{PIPES, Place};
use super::token::Key;
use super::{Reactor, tenant};
use crate::limits::{CHILD_READ_BYTES, TURN_CHILDREN};
use crate::service::{ChildEnd, Pipe, Service};
use crate::session::{Lent, Session};

impl<S: Service> Reactor<S> {
    /// Takes in what the workers have started.
    pub(super) fn adopt_children(&mut self) {
        if self.children.launching == 0 {
            return;
        }
        for spawned in self.inbox.take_spawned() {
            self.children.launching -= 1;
            let Spawned {
                owner,
                launch,
                program,
            } = spawned;
            let (until, registry) = (self.kit.now + launch.timeout, self.poll.registry());
            let path = launch.program.display();
            let adopted = program.and_then(|program| {
                let pid = program.id();
                info!(id = owner.generation, pid, program = %path, "started");
                self.children
                    .adopt(owner, launch.tag, program, until, registry)
            });
            match adopted {
                Ok(slot) if !self.has_caller(owner) => {
                    self.children.abandon_one(slot, self.kit.now);
                }
                Ok(_) => {}
                Err(error) => {
                    warn!(id = owner.generation, program = %path, %error, "cannot be started");
                    let end = ChildEnd::NotStarted(error.kind());
                    self.tell(owner, |session, lent| {
                        session.child_ended(launch.tag, end, lent);
                    });
                }
            }
        }
    }

    fn has_caller(&mut self, owner: Key) -> bool {
        tenant(&mut self.drivers, owner).is_some_and(|driver| driver.session.has_caller())
    }

    fn tell(&mut self, owner: Key, first: impl FnOnce(&mut Session<S>, &mut Lent<'_, S>)) {
        if tenant(&mut self.drivers, owner).is_some() {
            self.drive(owner.slot, first);
        }
    }

    /// Programs with something to say run: each pipe is read once, then it is another's turn.
    pub(super) fn run_children(&mut self) {
        for _ in 0..self.children.ready.len().min(TURN_CHILDREN) {
            let Some(slot) = self.children.ready.pop_front() else {
                break;
            };
            match self.children.running.get_mut(slot) {
                Some(child) if child.place == Place::Ready => child.place = Place::Poll,
                _ => continue,
            }
            self.run_child(slot);
        }
    }

    fn run_child(&mut self, slot: usize) {
        for pipe in PIPES {
            let child = &self.children.running[slot];
            if !child.readable[pipe as usize] {
                continue;
            }
            let caller = child.owner.and_then(|key| tenant(&mut self.drivers, key));
            if caller.is_some_and(|driver| !driver.session.takes_output()) {
                return self.children.pause(slot);
            }
            self.read_pipe(slot, pipe);
        }
        let child = &mut self.children.running[slot];
        let Some(status) = child.is_over() else {
            if child.readable.contains(&true) {
                self.children.enqueue(slot);
            }
            return;
        };
        let child = self.children.remove(slot);
        let (pid, timed_out) = (child.program.id(), child.timed_out);
        debug!(pid, %status, timed_out, "ended");
        let (owner, tag) = (child.owner, child.tag);
        // Its place is free before its caller is told so.
        drop(child);
        if let Some(owner) = owner {
            let end = ChildEnd::Ended { status, timed_out };
            self.tell(owner, |session, lent| session.child_ended(tag, end, lent));
        }
    }

    fn read_pipe(&mut self, slot: usize, pipe: Pipe) {
        let mut buffer = mem::take(&mut self.children.buffer);
        buffer.resize(CHILD_READ_BYTES, 0);
        let child = &mut self.children.running[slot];
        let read = child.program.take_output(pipe, &mut buffer);
        child.readable[pipe as usize] = read.is_some();
        if let (Some(len), Some(owner)) = (read, child.owner) {
            let (tag, bytes) = (child.tag, &buffer[..len]);
            self.tell(owner, |session, lent| {
                session.child_output(tag, pipe, bytes, lent);
            });
        }
        self.children.buffer = buffer;
    }

    pub(super) fn fire_children(&mut self) {
        if !self.children.running.is_empty() {
            self.children.fire(self.kit.now);
        }
    }
}
