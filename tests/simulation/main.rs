//! The whole of the protocol and the session under a seeded simulation: two ends over a network in
//! memory, a virtual clock, and everything that can go wrong on the way.
//!
//! A seed draws a [`Script`](script::Script): settings, requests, the network's manners and how it
//! is to end. What must hold whatever it draws:
//!
//! - every message arrives once, in order, unchanged, and is answered, or the connection ends with
//!   a reason that the script explains;
//! - after the end nothing is held, and an idle client costs nothing;
//! - the queue never passes its hard bound;
//! - no session is stuck, and none runs without doing anything.
//!
//! `SEED=n` runs one seed alone; `SEEDS=n` runs that many instead of the usual number.

#[path = "../util/random.rs"]
mod random;

mod client;
mod coverage;
mod driver;
mod link;
mod rpc;
mod script;
mod services;
mod world;

use std::num::NonZero;
use std::panic;
use std::sync::Arc;
use std::thread;

use gateloop::service::{Echo, Service};

use coverage::Coverage;
use random::Random;
use script::Script;
use services::{Kind, Later, Much, Stream};
use world::World;

/// Seeds of an ordinary run.
const SEEDS: u64 = 256;

/// Names the seed that was run when a test fails.
struct Seed(u64);

impl Drop for Seed {
    #[allow(clippy::print_stderr, reason = "where a failed test is read")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to run this again: SEED={}", self.0);
        }
    }
}

fn simulate(seed: u64) -> Coverage {
    let _named = Seed(seed);
    let mut random = Random(seed);
    let script = Arc::new(Script::draw(&mut random));
    match script.kind {
        Kind::Echo => run(script, Echo, random),
        Kind::Rpc => run(script, rpc::service(), random),
        Kind::Unordered => run(script, Later::<false>, random),
        Kind::Ordered => run(script, Later::<true>, random),
        Kind::Stream => run(script, Stream, random),
        Kind::Much => run(script, Much, random),
    }
}

fn run(script: Arc<Script>, service: impl Service, random: Random) -> Coverage {
    let mut world = World::new(script, service, random);
    world.run();
    world.judge();
    world.coverage
}

fn number(variable: &str) -> Option<u64> {
    let number = std::env::var(variable).ok()?;
    Some(number.parse().expect("a number"))
}

#[test]
fn whatever_the_seed_all_is_served_and_answered_or_ends_with_a_reason() {
    if let Some(seed) = number("SEED") {
        simulate(seed);
        return;
    }
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let threads = thread::available_parallelism().map_or(1, NonZero::get) as u64;
    let mut coverage = Coverage::default();
    thread::scope(|scope| {
        let share = |first| (first..seeds).step_by(threads as usize).map(simulate);
        let shares: Vec<_> = (0..threads)
            .map(|first| scope.spawn(move || share(first).collect::<Vec<_>>()))
            .collect();
        for share in shares {
            match share.join() {
                Ok(met) => met.iter().for_each(|met| coverage.add(met)),
                Err(panic) => panic::resume_unwind(panic),
            }
        }
    });
    let gaps = coverage.gaps();
    assert!(gaps.is_empty(), "never happened: {gaps:?} in {coverage:#?}");
}
