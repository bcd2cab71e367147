//! Random numbers for what all requests share.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Draws from the thread's generator, or, with a seed, the same numbers in each run.
pub(crate) struct Dice(Option<AtomicU64>);

impl Dice {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self(seed.map(AtomicU64::new))
    }

    /// A number from 0 to below 1.
    pub(crate) fn draw(&self) -> f64 {
        match &self.0 {
            None => fastrand::f64(),
            // SplitMix64 in effect: each draw starts a generator at the next number of a sequence.
            Some(state) => {
                let seed = state.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
                fastrand::Rng::with_seed(seed).f64()
            }
        }
    }
}

impl fmt::Debug for Dice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seeded = self.0.is_some();
        f.debug_struct("Dice").field("seeded", &seeded).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeded_dice_draw_the_same_numbers_evenly() {
        let (a, b) = (Dice::new(Some(7)), Dice::new(Some(7)));
        let drawn: Vec<f64> = (0..1000).map(|_| a.draw()).collect();
        assert!(drawn.iter().all(|unit| *unit == b.draw()));
        assert_ne!(drawn[0], Dice::new(Some(8)).draw());
        let tenth = |n: usize| {
            drawn
                .iter()
                .filter(|unit| (**unit * 10.0) as usize == n)
                .count()
        };
        assert!((0..10).all(|n| (60..140).contains(&tenth(n))));
    }
}
