//! Step 8 of a turn: who is let in.

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
        // Who made room for another is not to wait for the next turn, which may be far.
        self.reap();
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
            stats.accepted.fetch_add(1, Relaxed);
            let admitted = self.admit(transport, peer);
            if let Err(error) = &admitted {
                stats.open.fetch_sub(1, Relaxed);
                stats.closed(CloseReason::Reset);
                warn!(%error, "a new connection could not be watched");
                self.listeners[n].rest(self.kit.now);
            }
            return admitted.is_ok();
        }
        stats.open.fetch_sub(1, Relaxed);
        match accepted {
            Accepted::NoneWaits | Accepted::One(..) => self.warned = false,
            Accepted::Broken(error) => {
                warn!(%error, "a listener failed and is retried");
                listener.rest(self.kit.now);
            }
            Accepted::Exhausted => {
                let (rests, limit) = if full {
                    (&stats.rests_full, "max-connections")
                } else {
                    (&stats.rests_exhausted, "descriptors or memory")
                };
                if listener.rest(self.kit.now) {
                    rests.fetch_add(1, Relaxed);
                }
                if !std::mem::replace(&mut self.warned, true) {
                    warn!(limit, "nobody can be let in for now");
                }
            }
        }
        false
    }

    /// Gives a new connection its slot and our first words.
    fn admit(&mut self, transport: Transport, address: Option<SocketAddr>) -> io::Result<()> {
        let rules = Arc::clone(&self.kit.rules);
        let strange = !matches!(rules.handshake, HandshakeRules::None);
        if strange {
            self.make_room_for_a_stranger();
        }
        let slot = self.drivers.vacant_key();
        let id = self.common.ids.fetch_add(1, Relaxed);
        let (mut lent, rest) = self.kit.lend();
        let session = Session::open(id, address, &mut lent);
        let held = session.held();
        let key = Key {
            slot,
            generation: id as u32,
        };
        match Driver::new(transport, key, rest.registry, session) {
            Ok(driver) => self.drivers.insert(driver),
            Err(error) => {
                self.kit.out.clear();
                return Err(error);
            }
        };
        debug!(id, peer = address.map(tracing::field::display), "accepted");
        if strange {
            rules.stats.strangers.fetch_add(1, Relaxed);
            self.strangers.push(0, slot);
        }
        self.drive(slot, |_, _| {});
        if held > 0 {
            self.charge(0, held);
        }
        Ok(())
    }

    /// Where there are as many strangers as may be, the oldest goes. Where all of them are other
    /// reactors', one more is let in.
    fn make_room_for_a_stranger(&mut self) {
        let strangers = self.kit.rules.stats.strangers.load(Relaxed);
        if strangers >= self.kit.rules.limits.strangers_max
            && let Some(oldest) = self.strangers.first(0)
        {
            self.drive(oldest, |session, _| {
                session.end(CloseReason::StrangerEvicted)
            });
        }
    }
}
