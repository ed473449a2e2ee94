//! Step 8 of a turn: who is let in.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
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
        let (stats, max) = (&rules.stats, rules.limits.connections_max);
        let one_more = |open: usize| (open < max).then_some(open + 1);
        if stats.open.fetch_update(Relaxed, Relaxed, one_more).is_err() {
            self.rest(n, &stats.rests_full, "max-connections");
            return false;
        }
        let refused = match listener.accept() {
            Accepted::One(transport, peer) => {
                stats.accepted.fetch_add(1, Relaxed);
                match self.admit(transport, peer) {
                    Ok(()) => return true,
                    Err(error) => {
                        stats.closed(CloseReason::Reset);
                        debug!(%error, reason = %CloseReason::Reset, "closed");
                        Some("sockets that can be watched")
                    }
                }
            }
            Accepted::NoneWaits => None,
            Accepted::Exhausted => Some("descriptors or memory"),
            Accepted::Broken(error) => {
                debug!(%error, "a listener failed and is retried");
                Some("listeners that accept")
            }
        };
        stats.open.fetch_sub(1, Relaxed);
        match refused {
            Some(limit) => self.rest(n, &stats.rests_exhausted, limit),
            None => self.warned = false,
        }
        false
    }

    /// Has a listener rest for want of something; counted each time, and logged once.
    fn rest(&mut self, n: usize, rests: &AtomicU64, limit: &str) {
        if self.listeners[n].rest(self.kit.now) {
            rests.fetch_add(1, Relaxed);
        }
        if !std::mem::replace(&mut self.warned, true) {
            warn!(limit, "nobody can be let in for now");
        }
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
        // Counted only: nobody else is driven while our first words lie in the scratch.
        rules.stats.buffer_bytes.fetch_add(held, Relaxed);
        debug!(id, peer = address.map(tracing::field::display), "accepted");
        if strange {
            rules.stats.strangers.fetch_add(1, Relaxed);
            self.strangers.push(0, slot);
        }
        self.drive(slot, |_, _| {});
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
