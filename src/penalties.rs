//! What a wrong key or a wrong password costs: only time, and only its sender.
//!
//! The n-th recent failure of an address delays its own refusal by 100 ms · 2^(n-1), at most 10 s.
//! What is right is never delayed, and clears n. An IPv6 address counts by its /64, as its owner
//! has all of that; a Unix socket has no address, so each connection counts for itself.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::{PENALTY_ADDRESSES_MAX, PENALTY_FIRST, PENALTY_MAX, PENALTY_MEMORY};

/// The recent failures by address, shared by all reactors. Bounded: the oldest goes first.
#[derive(Debug, Default)]
pub struct Penalties(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    failures: HashMap<IpAddr, Failures>,
    /// Addresses in the order of their last failure, with that failure's time; an entry whose
    /// time is not the table's any more is stale.
    order: VecDeque<(Instant, IpAddr)>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Penalties {
    /// Counts a failure; returns how long to wait before saying so. `own` is how many this
    /// connection has seen, which counts where there is no address.
    pub fn failed(&self, address: Option<IpAddr>, own: u32, now: Instant) -> Duration {
        let Some(address) = address.map(network) else {
            return penalty(own);
        };
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.make_room(address, now);
        let failures = table.failures.entry(address).or_insert(Failures {
            count: 0,
            last: now,
        });
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        let count = failures.count;
        table.order.push_back((now, address));
        penalty(count)
    }

    /// What is right clears what its address has collected.
    pub fn passed(&self, address: Option<IpAddr>) {
        if let Some(address) = address.map(network) {
            let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if !table.failures.is_empty() {
                table.failures.remove(&address);
            }
        }
    }

    /// How many addresses are remembered.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .failures
            .len()
    }
}

impl Table {
    /// Drops what is old, and the oldest where there is no room for one more address.
    fn make_room(&mut self, newcomer: IpAddr, now: Instant) {
        let known = self.failures.contains_key(&newcomer);
        while let Some(&(at, address)) = self.order.front() {
            let stale = self
                .failures
                .get(&address)
                .is_none_or(|failures| failures.last != at);
            let old = now.saturating_duration_since(at) >= PENALTY_MEMORY;
            let full = !known && self.failures.len() >= PENALTY_ADDRESSES_MAX
                || self.order.len() >= 2 * PENALTY_ADDRESSES_MAX;
            if !(stale || old || full) {
                break;
            }
            self.order.pop_front();
            if !stale {
                self.failures.remove(&address);
            }
        }
    }
}

/// What the n-th failure costs.
fn penalty(n: u32) -> Duration {
    let doublings = n.saturating_sub(1);
    PENALTY_FIRST
        .saturating_mul(2_u32.saturating_pow(doublings))
        .min(PENALTY_MAX)
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(n: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(n.into()))
    }

    #[test]
    fn doubles_up_to_the_maximum_and_only_for_its_sender() {
        let (penalties, now) = (Penalties::default(), Instant::now());
        let waits: Vec<u128> = (0..9)
            .map(|_| penalties.failed(v4(1), 1, now).as_millis())
            .collect();
        assert_eq!(
            waits,
            [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
        );
        assert_eq!(penalties.failed(v4(2), 1, now), PENALTY_FIRST);
        assert_eq!(penalties.failed(None, 1, now), PENALTY_FIRST);
        assert_eq!(penalties.failed(None, 1, now), PENALTY_FIRST);
        assert_eq!(penalties.failed(None, 3, now), PENALTY_FIRST * 4);
    }

    #[test]
    fn is_cleared_by_a_right_key_and_by_time() {
        let (penalties, now) = (Penalties::default(), Instant::now());
        penalties.failed(v4(1), 1, now);
        penalties.passed(v4(1));
        assert_eq!(penalties.failed(v4(1), 1, now), PENALTY_FIRST);
        assert_eq!(
            penalties.failed(v4(1), 1, now + PENALTY_MEMORY / 2),
            PENALTY_FIRST * 2
        );
        let later = now + PENALTY_MEMORY / 2 + PENALTY_MEMORY;
        assert_eq!(penalties.failed(v4(1), 1, later), PENALTY_FIRST);
    }

    #[test]
    fn an_ipv6_network_is_one_sender() {
        let (penalties, now) = (Penalties::default(), Instant::now());
        let wait = |text: &str| penalties.failed(Some(text.parse().unwrap()), 1, now);
        assert_eq!(wait("2001:db8::1"), PENALTY_FIRST);
        assert_eq!(wait("2001:db8::ffff:2"), PENALTY_FIRST * 2);
        assert_eq!(wait("2001:db8:0:1::1"), PENALTY_FIRST);
        assert_eq!(wait("10.0.0.1"), PENALTY_FIRST);
        assert_eq!(wait("::ffff:10.0.0.1"), PENALTY_FIRST * 2);
    }

    #[test]
    fn is_bounded_and_the_oldest_goes_first() {
        let (penalties, now) = (Penalties::default(), Instant::now());
        let max = u32::try_from(PENALTY_ADDRESSES_MAX).unwrap();
        for n in 0..max {
            penalties.failed(v4(n), 1, now + Duration::from_micros(n.into()));
        }
        assert_eq!(penalties.len(), PENALTY_ADDRESSES_MAX);
        let now = now + Duration::from_micros(max.into());
        penalties.failed(v4(max), 1, now);
        assert_eq!(penalties.len(), PENALTY_ADDRESSES_MAX);
        assert_eq!(penalties.failed(v4(1), 1, now), PENALTY_FIRST * 2);
        assert_eq!(penalties.failed(v4(0), 1, now), PENALTY_FIRST);
    }
}
