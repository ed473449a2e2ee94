//! What a datagram means, for the services that serve them.

use std::time::Instant;

use super::Caller;
use crate::stats::Stats;

/// Answers datagrams: each on the spot and by itself, as there is no connection for which anything
/// could be remembered, deferred or paused. A panic drops the datagram, and nothing else.
pub trait Datagrams {
    /// Answers a payload: appends the answer to `out`, and says whether there is one. It is dropped
    /// if it turns out longer than a datagram may be, or, without a key, than the payload.
    fn datagram(&mut self, payload: &[u8], asked: Asked<'_>, out: &mut Vec<u8>) -> bool;
}

/// What is known where a datagram is answered.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Who asks, as far as a datagram tells: `peer.id` is the datagram's own.
    pub caller: Caller<'a>,
    /// The server's counters.
    pub stats: &'a Stats,
    /// The time.
    pub now: Instant,
    /// How long an answer may be, in bytes.
    pub answer_bytes_max: usize,
}
