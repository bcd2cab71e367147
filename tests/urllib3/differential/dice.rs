//! Random choices that follow from a seed.

use std::ops::RangeInclusive;

use tower_http_retry::policy::Rng;

#[derive(Debug)]
pub(crate) struct Dice(Rng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Rng::with_seed(seed))
    }

    /// True in this share of all cases.
    pub(crate) fn chance(&mut self, share: f64) -> bool {
        self.0.unit() < share
    }

    /// A whole number of a range; every one is as likely.
    pub(crate) fn within(&mut self, range: RangeInclusive<i64>) -> i64 {
        let width = (range.end() - range.start() + 1) as f64;
        range.start() + (self.0.unit() * width) as i64
    }

    /// Up to `most` things.
    pub(crate) fn up_to<T>(&mut self, most: i64, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.within(0..=most)).map(|_| one(self)).collect()
    }

    /// One of these.
    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.index(all.len())]
    }

    /// A position in a list of this length.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        (self.0.unit() * length as f64) as usize
    }
}
