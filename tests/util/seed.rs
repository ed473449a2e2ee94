//! Seeds of random tests: printed, so that a failure can be run again with `SEED=n`.

/// The seed in the environment, or a fresh one. It is printed, which shows if the test fails.
#[allow(clippy::print_stderr, reason = "where a failed test is read")]
pub(crate) fn seed() -> u64 {
    let seed = match std::env::var("SEED") {
        Ok(seed) => seed.parse().expect("SEED is a number"),
        Err(_) => getrandom::u64().expect("the system has randomness"),
    };
    eprintln!("to run this again: SEED={seed}");
    seed
}
