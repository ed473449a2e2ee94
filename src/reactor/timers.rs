//! A wheel of deadlines, one a connection, kept lazily.
//!
//! ```text
//!         now
//!          ▼
//!   | · | · | 4 | · | 7 9 | · | … |     1 024 slots of 8 ms; a slot is a list of connections
//!           └── the next to fire
//! ```
//! An entry fires at its deadline or earlier, never more than a slot later: one that lies beyond
//! the wheel is put into the last slot, and one that moved on since is left where it is. So whoever
//! is handed a fired connection looks what is really due, and schedules it again. Moving a deadline
//! on, which each message does to an idle time-out, thus costs nothing.

use std::time::{Duration, Instant};

use super::lists::Lists;

const SLOT: Duration = Duration::from_millis(8);
const SLOTS: usize = 1024;
const WORDS: usize = SLOTS / 64;

/// See the module.
#[derive(Debug)]
pub struct Wheel {
    lists: Lists,
    /// A bit for each slot that holds somebody.
    occupied: [u64; WORDS],
    start: Instant,
    /// The tick (slots since the start) up to which everything has fired.
    fired: u64,
}

impl Wheel {
    /// An empty wheel.
    #[must_use]
    pub fn new(start: Instant) -> Self {
        Self {
            lists: Lists::new(SLOTS),
            occupied: [0; WORDS],
            start,
            fired: 0,
        }
    }

    /// Has `slot` fire at `deadline` at the latest, or leaves it where it fires before.
    pub fn schedule(&mut self, slot: usize, deadline: Instant) {
        let since = deadline.saturating_duration_since(self.start);
        let tick = since.as_nanos().div_ceil(SLOT.as_nanos());
        let last = self.fired + SLOTS as u64 - 1;
        let tick = u64::try_from(tick)
            .unwrap_or(u64::MAX)
            .clamp(self.fired + 1, last);
        let place = place(tick);
        if let Some(present) = self.lists.list_of(slot) {
            if self.distance(present) <= self.distance(place) {
                return;
            }
            self.cancel(slot);
        }
        self.lists.push(place, slot);
        self.occupied[place / 64] |= 1 << (place % 64);
    }

    /// Takes `slot` out.
    pub fn cancel(&mut self, slot: usize) {
        if let Some(place) = self.lists.list_of(slot) {
            self.lists.remove(slot);
            self.tidy(place);
        }
    }

    /// When somebody fires next.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        let from = place(self.fired + 1);
        // The word that `from` lies in is looked at twice: its upper part first, its lower last.
        let words = (0..=WORDS).map(|i| (from / 64 + i) % WORDS);
        let place = words.enumerate().find_map(|(i, word)| {
            let bits = match i {
                0 => self.occupied[word] & (u64::MAX << (from % 64)),
                _ => self.occupied[word],
            };
            (bits != 0).then(|| word * 64 + bits.trailing_zeros() as usize)
        })?;
        let tick = self.fired + self.distance(place);
        Some(self.start + Duration::from_millis(tick * SLOT.as_millis() as u64))
    }

    /// Takes out one of those that fire by `now`.
    pub fn pop(&mut self, now: Instant) -> Option<usize> {
        let next = self.next().filter(|&next| next <= now);
        let Some(next) = next else {
            let since = now.saturating_duration_since(self.start);
            self.fired = (since.as_millis() / SLOT.as_millis()) as u64;
            return None;
        };
        let tick = (next - self.start).as_millis() / SLOT.as_millis();
        let place = place(tick as u64);
        let slot = self.lists.first(place)?;
        self.lists.remove(slot);
        self.tidy(place);
        Some(slot)
    }

    fn tidy(&mut self, place: usize) {
        if self.lists.first(place).is_none() {
            self.occupied[place / 64] &= !(1 << (place % 64));
        }
    }

    /// How many ticks after `fired` the slots at `place` fire.
    fn distance(&self, at: usize) -> u64 {
        let offset = (at + SLOTS - place(self.fired + 1)) % SLOTS;
        offset as u64 + 1
    }
}

fn place(tick: u64) -> usize {
    tick as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn fire(wheel: &mut Wheel, now: Instant) -> Vec<usize> {
        std::iter::from_fn(|| wheel.pop(now)).collect()
    }

    #[test]
    fn fires_in_order_and_within_a_slot() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        for (slot, at) in [(1, 100), (2, 20), (3, 5000), (4, 0)] {
            wheel.schedule(slot, start + ms(at));
        }
        assert_eq!(wheel.next(), Some(start + ms(8)));
        assert!(fire(&mut wheel, start).is_empty());
        assert_eq!(fire(&mut wheel, start + ms(8)), [4]);
        assert!(fire(&mut wheel, start + ms(23)).is_empty());
        assert_eq!(fire(&mut wheel, start + ms(104)), [2, 1]);
        assert_eq!(wheel.next(), Some(start + ms(5000)));
        assert_eq!(fire(&mut wheel, start + ms(9000)), [3]);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn what_lies_beyond_the_wheel_comes_up_before_its_time() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        let deadline = start + ms(60_000);
        wheel.schedule(7, deadline);
        let mut times = 0;
        let now = loop {
            let now = wheel.next().expect("is scheduled");
            assert_eq!(fire(&mut wheel, now), [7]);
            if now >= deadline {
                break now;
            }
            times += 1;
            wheel.schedule(7, deadline);
        };
        assert_eq!(now, deadline);
        assert!(times < 10);
    }

    #[test]
    fn only_an_earlier_deadline_moves_an_entry() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        wheel.schedule(1, start + ms(80));
        wheel.schedule(1, start + ms(800));
        assert_eq!(wheel.next(), Some(start + ms(80)));
        wheel.schedule(1, start + ms(40));
        assert_eq!(fire(&mut wheel, start + ms(40)), [1]);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn cancels_and_wraps_around() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        let mut now = start;
        for round in 0..5_u64 {
            wheel.schedule(1, now + ms(3000));
            wheel.schedule(2, now + ms(3001));
            wheel.cancel(1);
            let next = wheel.next().expect("is scheduled");
            assert!(
                next >= now + ms(3001) && next <= now + ms(3016),
                "round {round}"
            );
            assert_eq!(fire(&mut wheel, next), [2]);
            now = next + ms(100 + round);
            assert_eq!(wheel.pop(now), None);
        }
    }

    #[test]
    fn a_deadline_in_the_past_fires_next() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        assert_eq!(wheel.pop(start + ms(800)), None);
        wheel.schedule(1, start);
        assert_eq!(wheel.next(), Some(start + ms(808)));
    }
}
