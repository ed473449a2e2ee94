//! Step 9 of a turn: who is let in.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tracing::{debug, warn};

use super::Reactor;
use super::driver::Driver;
use super::listener::Accepted;
use super::token::Key;
use super::transport::Transport;
use crate::error::CloseReason;
use crate::protocol::HandshakeRules;
use crate::service::Service;
use crate::session::Session;

impl<S: Service> Reactor<S> {
    pub(super) fn accept(&mut self) {
        for n in 0..self.listeners.len() {
            for _ in 0..self.kit.rules.limits.turn_accepts {
                if !self.accept_one(n) {
                    break;
                }
            }
        }
    }

    /// Lets one connection in, if one waits and there is room; whether to try another.
    pub(super) fn accept_one(&mut self, n: usize) -> bool {
        let listener = &mut self.listeners[n];
        if !listener.is_ready() {
            return false;
        }
        let rules = Arc::clone(&self.kit.rules);
        let stats = &rules.stats;
        let full = stats.open.fetch_add(1, Relaxed) >= rules.limits.connections_max;
        let accepted = if full {
            Accepted::Exhausted
        } else {
            listener.accept()
        };
        if let Accepted::One(transport, peer) = accepted {
            self.warned = false;
            stats.accepted.fetch_add(1, Relaxed);
            if let Err(error) = self.admit(transport, peer) {
                stats.open.fetch_sub(1, Relaxed);
                stats.closed(CloseReason::StrangerEvicted);
                debug!(%error, "a new connection was turned away");
            }
            return true;
        }
        stats.open.fetch_sub(1, Relaxed);
        match accepted {
            Accepted::Broken(error) => {
                warn!(%error, "a listener failed and is retried");
                listener.rest(self.kit.now);
            }
            Accepted::Exhausted => {
                if listener.rest(self.kit.now) {
                    let rests = if full {
                        &stats.rests_full
                    } else {
                        &stats.rests_exhausted
                    };
                    rests.fetch_add(1, Relaxed);
                }
                if !std::mem::replace(&mut self.warned, true) {
                    let why = if full {
                        "max-connections"
                    } else {
                        "descriptors or memory"
                    };
                    warn!(
                        open = stats.open.load(Relaxed),
                        limit = why,
                        "nobody can be let in"
                    );
                }
            }
            Accepted::NoneWaits | Accepted::One(..) => {}
        }
        false
    }

    /// Gives a new connection its slot and our first words.
    fn admit(&mut self, transport: Transport, address: Option<SocketAddr>) -> io::Result<()> {
        let rules = Arc::clone(&self.kit.rules);
        let slot = self.drivers.vacant_key();
        let id = self.common.ids.fetch_add(1, Relaxed);
        let strange = !matches!(rules.handshake, HandshakeRules::None);
        if strange && !self.make_room_for_a_stranger() {
            rules.stats.strangers.fetch_sub(1, Relaxed);
            return Err(io::Error::other(
                "other reactors hold all places for strangers",
            ));
        }
        let (mut lent, rest) = self.kit.lend();
        let session = Session::open(id, address, &mut lent);
        let key = Key {
            slot,
            generation: id as u32,
        };
        match Driver::new(transport, key, rest.registry, session) {
            Ok(driver) => self.drivers.insert(driver),
            Err(error) => {
                self.kit.out.clear();
                if strange {
                    rules.stats.strangers.fetch_sub(1, Relaxed);
                }
                return Err(error);
            }
        };
        debug!(id, peer = address.map(tracing::field::display), "accepted");
        if strange {
            self.strangers.push(0, slot);
        }
        self.drive(slot, |_, _| {});
        Ok(())
    }

    /// Counts one more stranger; where there are too many, the oldest of ours goes, if we have any.
    fn make_room_for_a_stranger(&mut self) -> bool {
        let strangers = &self.kit.rules.stats.strangers;
        if strangers.fetch_add(1, Relaxed) < self.kit.rules.limits.strangers_max {
            return true;
        }
        let oldest = self.strangers.first(0);
        if let Some(oldest) = oldest {
            self.drive(oldest, |session, _| {
                session.end(CloseReason::StrangerEvicted)
            });
        }
        oldest.is_some()
    }
}
