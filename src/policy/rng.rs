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
pub struct Rng(
    // Seeded at the first draw: a request that never waits pays nothing for it.
    Option<fastrand::Rng>,
);

impl Rng {
    /// A generator that seeds itself, differently each time, when it is first drawn from.
    pub const fn new() -> Self {
        Self(None)
    }

    /// A generator whose sequence depends on `seed` alone.
    pub fn with_seed(seed: u64) -> Self {
        Self(Some(fastrand::Rng::with_seed(seed)))
    }

    /// The next number, uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        self.0.get_or_insert_with(fastrand::Rng::new).f64()
    }
}
