//! Chance that a seed decides.

/// A stream of numbers that is the same for the same seed.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number; SplitMix64, for which every seed is as good as any other.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `sides`; 0 where that is 0.
    pub(crate) fn below(&mut self, sides: u64) -> u64 {
        self.next() % sides.max(1)
    }

    /// A length from 1 to `max`; 0 where that is 0.
    pub(crate) fn length(&mut self, max: usize) -> usize {
        if max == 0 { 0 } else { usize::try_from(self.below(max as u64)).unwrap_or(0) + 1 }
    }

    /// True in `of` of 1,000 cases.
    pub(crate) fn strikes(&mut self, of: u64) -> bool {
        self.below(1_000) < of
    }

    /// One of a list; `None` where it is empty.
    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        let index = usize::try_from(self.below(list.len() as u64)).unwrap_or(0);
        list.get(index)
    }
}
