//! Which datagrams are served, and what an answer must be to be sent: the serving side's rules.
//!
//! | with a key | dropped as |
//! |---|---|
//! | longer than a datagram, or its payload than a message may be | `too_long` |
//! | shorter than an envelope | `malformed` |
//! | not made with the key. Nothing below is looked at before | `forged` |
//! | of another version | `malformed` |
//! | of another kind | `not_a_request` |
//! | dated more than 30 s before or after the server's time | `late`, `early` |
//! | dated before the server's start | `before_start` |
//! | of an id that was seen | `replayed` |
//! | seen while as many ids are remembered as may be | `replay_cache_full` |
//!
//! An id is remembered until its datagram would be late, and nobody can date it anew without the
//! key. What a server before this one has served is told by its date alone.

use super::seen::Seen;
use super::{ENVELOPE_BYTES, Id, Kind, MAC_BYTES, begin, end, open};
use crate::error::DropReason;
use crate::limits::{DATAGRAM_BYTES_MAX, DATAGRAM_SKEW_MAX};
use crate::protocol::handshake::Key;

const SKEW_MS: u64 = DATAGRAM_SKEW_MAX.as_millis() as u64;

/// See the module. One gate stands before all of a server's sockets: what came to one of them must
/// not be replayed to another.
#[derive(Debug)]
pub struct Gate {
    keyed: Option<Keyed>,
    payload_bytes_max: usize,
}

#[derive(Debug)]
struct Keyed {
    key: Key,
    started_ms: u64,
    now_ms: u64,
    seen: Seen,
}

/// A request that may be served.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What is asked.
    pub payload: &'a [u8],
    id: Option<Id>,
}

impl Gate {
    /// For those who hold the key. `started_ms` is the time when the sockets were bound, and `seed`
    /// is random.
    #[must_use]
    pub fn keyed(
        key: Key,
        payload_bytes_max: usize,
        ids_max: usize,
        started_ms: u64,
        seed: u128,
    ) -> Self {
        let keyed = Keyed {
            key,
            started_ms,
            now_ms: started_ms,
            seen: Seen::new(ids_max, seed),
        };
        Self {
            keyed: Some(keyed),
            payload_bytes_max,
        }
    }

    /// For everybody.
    #[must_use]
    pub fn open(payload_bytes_max: usize) -> Self {
        Self {
            keyed: None,
            payload_bytes_max,
        }
    }

    /// How long an answer's payload may be, in bytes.
    #[must_use]
    pub fn answer_bytes_max(&self) -> usize {
        match self.keyed {
            Some(_) => DATAGRAM_BYTES_MAX.saturating_sub(ENVELOPE_BYTES),
            None => DATAGRAM_BYTES_MAX,
        }
    }

    /// Looks at a datagram that came at this time, in milliseconds since 1970. A time before one
    /// that was given already counts as that one: what was late stays late, and what is forgotten
    /// cannot become new, when the clock is set back.
    ///
    /// # Errors
    /// Why it is dropped.
    pub fn admit<'a>(
        &mut self,
        datagram: &'a [u8],
        now_ms: u64,
    ) -> Result<Request<'a>, DropReason> {
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Err(DropReason::TooLong);
        }
        match &mut self.keyed {
            Some(keyed) => keyed.admit(datagram, self.payload_bytes_max, now_ms),
            None if datagram.len() > self.payload_bytes_max => Err(DropReason::TooLong),
            None => Ok(Request {
                payload: datagram,
                id: None,
            }),
        }
    }

    /// Makes the reply to a request in `out`, which must be empty: `answer` appends its payload and
    /// says whether there is one at all. Whether there is a reply to send.
    ///
    /// # Errors
    /// Why it must not be sent.
    pub fn reply(
        &self,
        request: &Request<'_>,
        now_ms: u64,
        out: &mut Vec<u8>,
        answer: impl FnOnce(&mut Vec<u8>) -> bool,
    ) -> Result<bool, DropReason> {
        let sealed = self.keyed.as_ref().zip(request.id.as_ref());
        if let Some((_, id)) = sealed {
            begin(Kind::Reply, now_ms, id, out);
        }
        if !answer(out) {
            return Ok(false);
        }
        match sealed {
            Some((keyed, _)) if out.len() <= DATAGRAM_BYTES_MAX.saturating_sub(MAC_BYTES) => {
                end(&keyed.key, 0, out);
                Ok(true)
            }
            Some(_) => Err(DropReason::AnswerTooLong),
            // The sender's address is as unproved as all the rest: who is answered may not have
            // asked, and must not get more than was spent on asking.
            None if out.len() > request.payload.len() => Err(DropReason::Amplified),
            None => Ok(true),
        }
    }
}

impl Keyed {
    fn admit<'a>(
        &mut self,
        datagram: &'a [u8],
        payload_bytes_max: usize,
        now_ms: u64,
    ) -> Result<Request<'a>, DropReason> {
        self.now_ms = self.now_ms.max(now_ms);
        let (header, payload) = open(&self.key, datagram)?;
        if header.kind != Some(Kind::Request) {
            return Err(DropReason::NotARequest);
        }
        if payload.len() > payload_bytes_max {
            return Err(DropReason::TooLong);
        }
        let until_ms = header.sent_at_ms.saturating_add(SKEW_MS);
        if until_ms < self.now_ms {
            return Err(DropReason::Late);
        }
        if header.sent_at_ms > self.now_ms.saturating_add(SKEW_MS) {
            return Err(DropReason::Early);
        }
        if header.sent_at_ms < self.started_ms {
            return Err(DropReason::BeforeStart);
        }
        self.seen.insert(&header.id, until_ms, self.now_ms)?;
        let id = Some(header.id);
        Ok(Request { payload, id })
    }
}
