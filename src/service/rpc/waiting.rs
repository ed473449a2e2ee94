//! Batches whose last member has not answered yet: what one connection remembers between messages.
//!
//! Both bounds are a connection's: as many batches wait as it may have deferred calls
//! ([`DEFERRED_PER_CONNECTION_MAX`]), and what they have gathered together is no more than one
//! message of the largest size; a batch that crosses this answers with an error instead. What is
//! gathered also counts towards the limit of all buffers.
//!
//! [`DEFERRED_PER_CONNECTION_MAX`]: crate::limits::DEFERRED_PER_CONNECTION_MAX

use super::dispatch::FIRST_BATCH;
use super::response::{Refused, RpcError};

/// One connection's waiting batches.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// The tag of the one that came last.
    last_tag: u64,
    /// A few dozen at most, so that a search is short.
    batches: Vec<Batch>,
}

#[derive(Debug)]
struct Batch {
    tag: u64,
    gathered: Gathered,
    /// Members that have not answered; never 0.
    missing: usize,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// The tag of the next batch. Tags start anew only when nothing is waiting.
    pub(super) fn next_tag(&self) -> u64 {
        if self.is_empty() {
            FIRST_BATCH
        } else {
            self.last_tag + 1
        }
    }

    /// Keeps a batch until its `missing` members have answered. `bytes_max` bounds what all
    /// batches here have gathered.
    pub(super) fn add(&mut self, tag: u64, gathered: Gathered, missing: usize, bytes_max: usize) {
        let room = bytes_max.saturating_sub(self.bytes());
        let mut batch = Batch {
            tag,
            gathered,
            missing,
        };
        batch.gathered.limit(room);
        self.last_tag = tag;
        self.batches.push(batch);
    }

    /// Takes the answer of one member. If it was the last, the whole answer is returned.
    pub(super) fn completed(
        &mut self,
        tag: u64,
        answer: &[u8],
        bytes_max: usize,
    ) -> Option<Vec<u8>> {
        let others = self.bytes();
        let place = self.batches.iter().position(|batch| batch.tag == tag)?;
        let batch = self.batches.get_mut(place)?;
        let room = (bytes_max + batch.gathered.bytes()).saturating_sub(others);
        batch.gathered.push(|out| out.extend_from_slice(answer));
        batch.gathered.limit(room);
        batch.missing -= 1;
        if batch.missing > 0 {
            return None;
        }
        self.batches.swap_remove(place).gathered.finish()
    }

    /// Bytes that have been gathered.
    pub(super) fn bytes(&self) -> usize {
        self.batches
            .iter()
            .map(|batch| batch.gathered.bytes())
            .sum()
    }
}

/// A batch's answers so far: an array that is not closed yet.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    json: Vec<u8>,
    too_long: bool,
}

impl Gathered {
    /// Appends the response that `write` appends.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.too_long {
            self.json
                .push(if self.json.is_empty() { b'[' } else { b',' });
            write(&mut self.json);
        }
    }

    /// Gives up what was gathered if the whole answer will be longer than `bytes_max`; returns
    /// whether that is so.
    pub(super) fn limit(&mut self, bytes_max: usize) -> bool {
        // The closing bracket is still to come.
        if self.json.len() >= bytes_max {
            *self = Self {
                json: Vec::new(),
                too_long: true,
            };
        }
        self.too_long
    }

    /// The whole answer; `None` if nobody had anything to say.
    pub(super) fn finish(mut self) -> Option<Vec<u8>> {
        if self.too_long {
            Refused::anonymous(RpcError::ANSWER_TOO_LONG).write(&mut self.json);
        } else if self.json.is_empty() {
            return None;
        } else {
            self.json.push(b']');
        }
        Some(self.json)
    }

    fn bytes(&self) -> usize {
        self.json.capacity()
    }
}
