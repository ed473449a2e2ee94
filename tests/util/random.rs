//! Random numbers for tests.

#![allow(dead_code, reason = "each test file uses another part of this one")]

/// Random numbers of a seed (SplitMix64): small, and the same on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 1 to `max`.
    pub(crate) fn up_to(&mut self, max: usize) -> usize {
        (self.next() % max as u64) as usize + 1
    }

    /// A number from 1 to 2^`bits`, a small one as likely as a large one.
    pub(crate) fn magnitude(&mut self, bits: usize) -> usize {
        let max = 1 << self.up_to(bits);
        self.up_to(max)
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.next() as u8);
    }
}
