//! Chance from a seed: the same crash image every time.

/// A SplitMix64 generator (Steele, Lea and Flood, 2014).
#[derive(Debug, Clone)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Says yes `eighths` times out of eight.
    pub(super) fn eighths(&mut self, eighths: u64) -> bool {
        self.next() % 8 < eighths
    }

    /// Returns one of three densities in eighths: rare, even, frequent. Even odds alone would hardly ever keep, or
    /// lose, nearly everything.
    pub(super) fn density(&mut self) -> u64 {
        [1, 4, 7][self.below(3)]
    }
}
