//! The ids that were served, for as long as a replay would not be told by its date.
//!
//! A set says whether an id is known; a list for each second says which of them can be forgotten
//! when it is over. Both are bounded together, and full means full: nothing is forgotten early.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, DefaultHasher, Hasher};

use super::Id;
use crate::error::DropReason;
use crate::limits::DATAGRAM_IDS_FORGOTTEN;

const MS_A_SECOND: u64 = 1_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Seen {
    ids: HashSet<u128, Seeded>,
    by_second: BTreeMap<u64, Vec<u128>>,
    ids_max: usize,
}

impl Seen {
    /// Takes the memory for the set now, so that it never has to grow. The kernel gives most of
    /// that when it is used.
    pub(super) fn new(ids_max: usize, seed: u128) -> Self {
        Self {
            ids: HashSet::with_capacity_and_hasher(ids_max, Seeded(seed)),
            by_second: BTreeMap::new(),
            ids_max,
        }
    }

    /// Remembers an id until a moment, if it is a new one. `now_ms` never goes backwards.
    ///
    /// # Errors
    /// [`DropReason::Replayed`] or [`DropReason::ReplayCacheFull`].
    pub(super) fn insert(&mut self, id: &Id, until_ms: u64, now_ms: u64) -> Result<(), DropReason> {
        self.forget(now_ms);
        let id = u128::from_be_bytes(*id);
        if self.ids.contains(&id) {
            return Err(DropReason::Replayed);
        }
        if self.ids.len() >= self.ids_max {
            return Err(DropReason::ReplayCacheFull);
        }
        self.ids.insert(id);
        let second = until_ms / MS_A_SECOND;
        self.by_second.entry(second).or_default().push(id);
        Ok(())
    }

    fn forget(&mut self, now_ms: u64) {
        for _ in 0..DATAGRAM_IDS_FORGOTTEN {
            let Some(mut first) = self.by_second.first_entry() else {
                return;
            };
            if *first.key() >= now_ms / MS_A_SECOND {
                return;
            }
            match first.get_mut().pop() {
                Some(id) => _ = self.ids.remove(&id),
                None => _ = first.remove(),
            }
        }
    }
}

/// Hashes under a seed that nobody knows, so that nobody can choose ids that fall together.
#[derive(Clone)]
struct Seeded(u128);

impl std::fmt::Debug for Seeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seeded(..)")
    }
}

impl BuildHasher for Seeded {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u128(self.0);
        hasher
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::DATAGRAM_IDS_MAX;

    fn id(n: u64) -> Id {
        u128::from(n).to_be_bytes()
    }

    #[test]
    fn an_id_is_known_until_its_time_is_over_and_then_forgotten() {
        let mut seen = Seen::new(10, 7);
        assert_eq!(seen.insert(&id(1), 5_999, 3_000), Ok(()));
        for now in [3_000, 5_999] {
            assert_eq!(seen.insert(&id(1), 5_999, now), Err(DropReason::Replayed));
        }
        assert_eq!(seen.insert(&id(1), 9_000, 6_000), Ok(()));
    }

    #[test]
    fn full_is_full_until_a_second_is_over() {
        let mut seen = Seen::new(3, 7);
        for n in 0..3 {
            assert_eq!(seen.insert(&id(n), 1_000 + 1_000 * n, 0), Ok(()));
        }
        let full = Err(DropReason::ReplayCacheFull);
        assert_eq!(seen.insert(&id(3), 60_000, 1_999), full);
        assert_eq!(seen.insert(&id(3), 60_000, 2_000), Ok(()));
        assert_eq!(seen.insert(&id(4), 60_000, 2_000), full);
        assert_eq!(
            seen.insert(&id(1), 60_000, 2_000),
            Err(DropReason::Replayed)
        );
    }

    #[test]
    fn the_server_remembers_as_many_as_it_says() {
        let mut seen = Seen::new(DATAGRAM_IDS_MAX, 7);
        let room = seen.ids.capacity();
        for n in 0..DATAGRAM_IDS_MAX as u64 {
            assert_eq!(seen.insert(&id(n), 60_000, 0), Ok(()));
        }
        let full = Err(DropReason::ReplayCacheFull);
        assert_eq!(seen.insert(&id(u64::MAX), 60_000, 0), full);
        assert_eq!(seen.ids.capacity(), room, "the set has grown");
    }

    /// One second's ids are more than are forgotten at once, and still make room for as many.
    #[test]
    fn forgetting_keeps_up_with_what_comes() {
        let max = 10 * DATAGRAM_IDS_FORGOTTEN as u64;
        let mut seen = Seen::new(max as usize, 7);
        for round in 0..5 {
            for n in 0..max {
                let now = round * 2_000;
                assert_eq!(seen.insert(&id(round * max + n), now, now), Ok(()));
            }
        }
        let listed: usize = seen.by_second.values().map(Vec::len).sum();
        assert_eq!(seen.ids.len(), listed);
        assert!(seen.by_second.len() <= 2);
    }
}
