//! Who is let in: a server's listening sockets, and the cap on connections.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use tracing::warn;

use super::listener::{Accepted, Listener, Socket};
use super::transport::Transport;
use crate::session::Rules;

/// The listening sockets of one thread.
#[derive(Debug)]
pub struct Door {
    listeners: Vec<Listener>,
}

impl Door {
    /// An open door.
    #[must_use]
    pub fn new(sockets: Vec<Socket>) -> Self {
        Self {
            listeners: sockets.into_iter().map(Listener::new).collect(),
        }
    }

    /// How many listeners there are: none once it is closed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.listeners.len()
    }

    /// The listening sockets, in their order.
    pub fn sockets(&self) -> impl Iterator<Item = &Socket> {
        self.listeners.iter().map(Listener::socket)
    }

    /// Somebody may wait at the n-th listener.
    pub fn note(&mut self, n: usize) {
        if let Some(listener) = self.listeners.get_mut(n) {
            listener.note();
        }
    }

    /// Whether somebody may wait who can be let in now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.listeners.iter().any(Listener::is_ready)
    }

    /// When the first rest of a listener ends.
    #[must_use]
    pub fn rests_until(&self) -> Option<Instant> {
        self.listeners
            .iter()
            .filter_map(Listener::rests_until)
            .min()
    }

    /// Ends all rests: something was freed.
    pub fn resume(&mut self) {
        self.listeners.iter_mut().for_each(Listener::resume);
    }

    /// Ends the rests that are over.
    pub fn resume_due(&mut self, now: Instant) {
        for listener in &mut self.listeners {
            if listener.rests_until().is_some_and(|until| until <= now) {
                listener.resume();
            }
        }
    }

    /// Nobody has said that somebody waits: every listener is tried, unless it rests.
    pub fn try_all(&mut self, now: Instant) {
        self.resume_due(now);
        self.listeners.iter_mut().for_each(Listener::note);
    }

    /// Nobody rests, and every listener is tried: the last chance of those that wait.
    pub fn last_call(&mut self) {
        self.resume();
        self.listeners.iter_mut().for_each(Listener::note);
    }

    /// Closes the listening sockets, which resets whoever still waits.
    pub fn close(&mut self) {
        self.listeners.clear();
    }

    /// Lets one connection in by the n-th listener, if one waits and there is room. It has its
    /// place among the connections then, and whoever closes it is to give that back.
    pub fn let_in(
        &mut self,
        n: usize,
        rules: &Rules,
        now: Instant,
    ) -> Option<(Transport, Option<SocketAddr>)> {
        let listener = self.listeners.get_mut(n)?;
        if !listener.is_ready() {
            return None;
        }
        let (stats, max) = (&rules.stats, rules.limits.connections_max);
        let one_more = |open: usize| (open < max).then_some(open + 1);
        if stats.open.fetch_update(Relaxed, Relaxed, one_more).is_err() {
            self.rest(n, &stats.rests_full, "max-connections", now);
            return None;
        }
        let accepted = listener.accept();
        if let Accepted::One(transport, peer) = accepted {
            stats.accepted.fetch_add(1, Relaxed);
            return Some((transport, peer));
        }
        stats.open.fetch_sub(1, Relaxed);
        if let Accepted::Refused(error) = accepted {
            self.rest(n, &stats.rests_exhausted, &error.to_string(), now);
        }
        None
    }

    /// The n-th listener rests, as the system had not what a connection needs that was just let in
    /// by it.
    pub fn rest_for(&mut self, limit: &str, n: usize, rules: &Rules, now: Instant) {
        self.rest(n, &rules.stats.rests_exhausted, limit, now);
    }

    /// Has a listener rest for want of something; counted each time, and logged once.
    fn rest(&mut self, n: usize, rests: &AtomicU64, limit: &str, now: Instant) {
        let Some(listener) = self.listeners.get_mut(n) else {
            return;
        };
        if listener.rest(now) {
            rests.fetch_add(1, Relaxed);
        }
        if listener.is_news() {
            warn!(limit, "nobody can be let in for now");
        }
    }
}
