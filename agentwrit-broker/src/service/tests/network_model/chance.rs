//! Choices of a run.

/// Choices of a run, determined by its seed.
pub(in crate::service::tests) struct Chance(pub(in crate::service::tests) u64);

impl Chance {
    /// `SplitMix64`.
    pub(in crate::service::tests) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(in crate::service::tests) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + i64::try_from(self.next() % u64::try_from(high - low + 1).unwrap()).unwrap()
    }

    pub(in crate::service::tests) fn percent(&mut self, chance: u64) -> bool {
        self.next() % 100 < chance
    }

    pub(in crate::service::tests) fn thousandths(&mut self, chance: u64) -> bool {
        self.next() % 1_000 < chance
    }

    pub(in crate::service::tests) fn pick(&mut self, length: usize) -> usize {
        usize::try_from(self.next() % length as u64).unwrap()
    }
}
