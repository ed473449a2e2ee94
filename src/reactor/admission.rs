//! Step 8 of a turn: who is let in.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use mio::unix::SourceFd;
use mio::{Interest, Token};
use tracing::debug;

use super::Reactor;
use super::token::{Key, Source};
use crate::drive::{Driver, Transport};
use crate::error::CloseReason;
use crate::protocol::HandshakeRules;
use crate::service::Service;
use crate::session::Session;

impl<S: Service> Reactor<S> {
    pub(super) fn accept(&mut self) {
        for n in 0..self.door.len() {
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
        let rules = Arc::clone(&self.kit.rules);
        let now = self.kit.now;
        let Some((transport, peer)) = self.door.let_in(n, &rules, now) else {
            return false;
        };
        let admitted = self.admit(transport, peer);
        if let Err(error) = &admitted {
            let peer = peer.map(tracing::field::display);
            debug!(peer, %error, reason = %CloseReason::Reset, "closed");
            rules.stats.closed(CloseReason::Reset);
            rules.stats.open.fetch_sub(1, Relaxed);
            self.door
                .rest_for("sockets that can be watched", n, &rules, now);
        }
        admitted.is_ok()
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
        let generation = id as u32;
        let token = Token::from(Source::Connection(Key { slot, generation }));
        let socket = transport.as_fd().as_raw_fd();
        let registry = self.poll.registry();
        registry.register(&mut SourceFd(&socket), token, Interest::READABLE)?;
        let session = Session::open(id, address, &mut self.kit.lend().0);
        let held = session.held();
        self.drivers.insert(Driver::new(transport, session));
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
