//! The random numbers behind jitter.

/// A small, fast generator that a test can seed.
///
/// It is not for cryptography: jitter only has to keep clients out of step.
///
/// ```
/// use tower_http_retry::policy::Rng;
///
/// let (mut a, mut b) = (Rng::with_seed(7), Rng::with_seed(7));
/// assert_eq!(a.unit(), b.unit());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Rng(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    // Seeded at the first draw: a request that never waits pays nothing for it.
    #[default]
    Unseeded,
    Seeded(fastrand::Rng),
    Constant(f64),
}

impl Rng {
    /// A generator that seeds itself, differently each time, when it is first drawn from.
    pub const fn new() -> Self {
        Self(Source::Unseeded)
    }

    /// A generator whose sequence depends on `seed` alone.
    pub fn with_seed(seed: u64) -> Self {
        Self(Source::Seeded(fastrand::Rng::with_seed(seed)))
    }

    /// No generator at all: every number is `unit`. 0 makes each wait the shortest that is
    /// possible, 0.5 the one in the middle and 1 the longest, which is how a
    /// [dry run](crate::dry_run) finds them.
    ///
    /// A number outside of `[0, 1]` is taken for the nearer end, and one that is none for 0.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_http_retry::policy::{Backoff, Jitter, Rng};
    ///
    /// let backoff = Backoff::constant(Duration::from_secs(4)).jitter(Jitter::Equal);
    /// let wait = |unit| backoff.wait(1, Duration::ZERO, &mut Rng::constant(unit)).as_secs();
    /// assert_eq!([0.0, 0.5, 1.0].map(wait), [2, 3, 4]);
    /// ```
    #[doc(hidden)]
    pub const fn constant(unit: f64) -> Self {
        Self(Source::Constant(if unit > 1.0 {
            1.0
        } else if unit > 0.0 {
            unit
        } else {
            0.0
        }))
    }

    /// The next number, uniform in `[0, 1)` unless it is [`constant`](Self::constant).
    pub fn unit(&mut self) -> f64 {
        match &mut self.0 {
            Source::Seeded(rng) => rng.f64(),
            Source::Constant(unit) => *unit,
            Source::Unseeded => {
                let mut rng = fastrand::Rng::new();
                let unit = rng.f64();
                self.0 = Source::Seeded(rng);
                unit
            }
        }
    }
}
