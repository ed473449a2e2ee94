//! The challenges that this process has issued and still waits on.
//!
//! Somebody without the key, between our two halves, could hand a challenge of ours to a client of
//! ours and pass its answer off as his own. So a client looks here before it answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Each challenge with the number of times it stands open: random ones once, fixed ones of tests
/// perhaps more often. Ordered, as a hash map would bring a source of randomness into the core.
static OPEN: Mutex<BTreeMap<Arc<[u8]>, usize>> = Mutex::new(BTreeMap::new());

/// A challenge that stands open for as long as this value lives.
#[derive(Debug)]
pub(super) struct Issued(Arc<[u8]>);

impl Issued {
    pub(super) fn new(challenge: &[u8]) -> Self {
        let challenge = Arc::<[u8]>::from(challenge);
        let mut open = open();
        let times = open.entry(Arc::clone(&challenge)).or_default();
        *times = times.saturating_add(1);
        Self(challenge)
    }

    pub(super) fn challenge(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Issued {
    fn drop(&mut self) {
        let mut open = open();
        if let Some(times) = open.get_mut(&self.0) {
            *times = times.saturating_sub(1);
            if *times == 0 {
                open.remove(&self.0);
            }
        }
    }
}

/// Whether this process issued the challenge and still waits for its answer.
pub(super) fn is_open(challenge: &[u8]) -> bool {
    open().contains_key(challenge)
}

/// The map is whole after every statement, so a panic elsewhere does not spoil it.
fn open() -> MutexGuard<'static, BTreeMap<Arc<[u8]>, usize>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_stands_open_until_its_last_guard_is_dropped() {
        let challenge = b"issued.rs: a challenge of its own";
        assert!(!is_open(challenge));
        let first = Issued::new(challenge);
        let second = Issued::new(challenge);
        drop(first);
        assert!(is_open(challenge));
        assert!(!is_open(&challenge[1..]));
        drop(second);
        assert!(!is_open(challenge));
    }
}
