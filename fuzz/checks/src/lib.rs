//! What must hold for any input, once for the fuzz targets and for the test that replays their
//! corpus.
//!
//! Each check takes the fuzzer's bytes, panics if something does not hold, and returns the branch
//! that the input took: a corpus whose branches are no longer reached is seen.

#[cfg(feature = "serde")]
pub mod config;
pub mod decisions;
mod exchange;
#[cfg(feature = "serde")]
pub mod importers;
mod model;
pub mod rate_limit;
#[cfg(feature = "serde")]
pub mod reports;
pub mod retry_after;

/// How much of a check is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Without what costs many times as much as the rest.
    Quick,
    /// All of it.
    Full,
}

impl Depth {
    /// All of it for one input in sixty-four, so that a fuzzer gets far. Depends on nothing but the
    /// input, so that what is found can be found again.
    pub fn of(data: &[u8]) -> Self {
        let sum = data
            .iter()
            .fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte));
        if sum % 64 == 0 {
            Self::Full
        } else {
            Self::Quick
        }
    }
}
