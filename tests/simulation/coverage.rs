//! What the simulations have met, all together: a simulation that meets nothing proves nothing.

use std::collections::BTreeMap;

use gateloop::error::CloseReason;
use gateloop::protocol::FramingKind;
use gateloop::protocol::connection::Phase;
use gateloop::service::Service;
use gateloop::session::{Lent, Session};

use crate::services::Kind;

/// What all seeds together must meet, beside every phase, every end and every service.
const MUST_HAPPEN: [&str; 26] = [
    "handshake: none",
    "handshake: mutual",
    "handshake: hmac",
    "handshake: md5",
    "a wrong response was closed on",
    "a handshake in pieces",
    "the client was told of a wrong key",
    "a message of no bytes",
    "a long message arrives",
    "the last message was a long one",
    "throttled",
    "throttled in the middle of a long message",
    "paused with a whole message unserved",
    "starved",
    "told of room",
    "queue above the high-water mark",
    "the kernel took a part",
    "freed by its own write",
    "left over",
    "budget of bytes spent",
    "budget of messages spent",
    "two answers deferred at once",
    "a job panicked",
    "an answer for a connection that was gone",
    "crowded out",
    "answered after the client's last word",
];
const PHASES: [&str; 5] = ["handshake", "commands", "draining", "lingering", "closed"];

#[derive(Debug, Default)]
pub struct Coverage(BTreeMap<String, u64>);

impl Coverage {
    pub fn hit(&mut self, what: &str) {
        match self.0.get_mut(what) {
            Some(times) => *times += 1,
            None => drop(self.0.insert(what.to_string(), 1)),
        }
    }

    pub fn hit_if(&mut self, happened: bool, what: &str) {
        if happened {
            self.hit(what);
        }
    }

    pub fn add(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            *self.0.entry(what.clone()).or_default() += times;
        }
    }

    /// Looks at a session in the middle of its turn.
    pub fn see<S: Service>(&mut self, session: &Session<S>, lent: &Lent<'_, S>) {
        let connection = session.connection();
        let limits = &lent.rules.limits;
        self.phase(connection.phase().name());
        let greets = matches!(connection.phase(), Phase::Handshake(_));
        let pieces = greets && connection.is_flushed() && connection.capacity() > 0;
        self.hit_if(pieces, "a handshake in pieces");
        self.hit_if(session.is_long(), "a long message arrives");
        self.hit_if(session.is_bulk(), "the last message was a long one");
        self.hit_if(session.is_left_over(lent.jobs), "left over");
        self.hit_if(connection.is_throttled(), "throttled");
        self.hit_if(
            session.is_long() && connection.is_throttled(),
            "throttled in the middle of a long message",
        );
        let above = connection.pending(lent.out) > limits.send_high_bytes;
        self.hit_if(above, "queue above the high-water mark");
    }

    pub fn phase(&mut self, name: &str) {
        self.hit(&format!("phase: {name}"));
    }

    pub fn end(&mut self, reason: CloseReason) {
        self.hit(&format!("end: {}", reason.name()));
    }

    pub fn service(&mut self, kind: Kind) {
        self.hit(&format!("service: {kind:?}"));
    }

    pub fn framing(&mut self, kind: FramingKind) {
        self.hit(&format!("framing: {kind}"));
    }

    /// What should have happened and did not.
    pub fn gaps(&self) -> Vec<String> {
        let phases = PHASES.map(|name| format!("phase: {name}"));
        let ends = CloseReason::NAMES.map(|name| format!("end: {name}"));
        let services = Kind::ALL.map(|kind| format!("service: {kind:?}"));
        let framings = FramingKind::ALL.map(|kind| format!("framing: {kind}"));
        let others = MUST_HAPPEN.map(String::from);
        let all = phases.into_iter().chain(ends).chain(services);
        let all = all.chain(framings).chain(others);
        all.filter(|what| !self.0.contains_key(what)).collect()
    }
}
