//! How long to wait before the next attempt when the server does not say.

use std::{fmt, sync::Arc, time::Duration};

use super::{InvalidPolicy, Rng};

#[cfg(test)]
mod tests;

/// The waits between attempts: how they grow, where they end, and how they are spread.
///
/// The wait depends on `n`, the number of failures in a row: `n` = 1 is the wait before the first
/// retry.
///
/// | constructor | wait before retry `n`, before cap and jitter | cap unless set |
/// | --- | --- | --- |
/// | [`urllib3(factor)`](Self::urllib3) | 0, then `factor * 2^(n-1)` | 120 s |
/// | [`exponential(base)`](Self::exponential) | `base * multiplier^(n-1)`, multiplier 2 unless set | 120 s |
/// | [`linear(base)`](Self::linear) | `base * n` | 120 s |
/// | [`fibonacci(base)`](Self::fibonacci) | `base` times 1, 1, 2, 3, 5, 8, … | 120 s |
/// | [`constant(wait)`](Self::constant) | `wait` | none |
/// | [`list(waits)`](Self::list) | the `n`-th of them, then the last one for ever | none |
/// | [`none()`](Self::none) | 0 | none |
///
/// Every computation saturates: no `n` and no duration overflows or panics.
///
/// ```
/// use std::time::Duration;
/// use tower_http_retry::policy::{Backoff, Jitter, Rng};
///
/// let backoff = Backoff::exponential(Duration::from_millis(100))
///     .max(Duration::from_secs(20))
///     .jitter(Jitter::Full);
/// let wait = backoff.wait(3, Duration::ZERO, &mut Rng::new());
/// assert!(wait <= Duration::from_millis(400));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Backoff {
    kind: BackoffKind,
    base: Duration,
    // The base in seconds: as it was set, so that powers of it are urllib3's to the last digit.
    factor: f64,
    // `Err` keeps a number of seconds that is not a duration, for `validate` to name.
    max: Result<Duration, f64>,
    jitter: Result<Jitter, f64>,
    multiplier: Option<f64>,
}

/// How the waits of a [`Backoff`] grow.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackoffKind {
    /// Nothing before the first retry, then doubling from twice the base.
    Urllib3,
    /// Multiplied each time.
    Exponential,
    /// Longer by the base each time.
    Linear,
    /// Always the base.
    Constant,
    /// Written out; the last one repeats.
    List(Arc<[Duration]>),
    /// The base times the Fibonacci numbers.
    Fibonacci,
}

impl fmt::Display for BackoffKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Urllib3 => "urllib3",
            Self::Exponential => "exponential",
            Self::Linear => "linear",
            Self::Constant => "constant",
            Self::List(_) => "list",
            Self::Fibonacci => "fibonacci",
        })
    }
}

/// How waits are spread, so that clients that failed together do not come back together.
///
/// `Full`, `Equal` and `Decorrelated` are those of the AWS Architecture Blog, "Exponential Backoff
/// And Jitter"; `Additive` is urllib3's `backoff_jitter`. Below, `c` is the wait after the cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Jitter {
    /// Exactly `c`.
    #[default]
    None,
    /// Uniform between 0 and `c`: the least work for the server.
    Full,
    /// `c / 2` plus a uniform part of the other half: never less than half.
    Equal,
    /// Uniform between the base and three times the previous wait, then capped.
    ///
    /// The kind's growth plays no part. The first wait is drawn as if the previous one had been
    /// the base; for a list the base is its first wait.
    Decorrelated,
    /// A uniform part of this duration on top of the wait, before the cap.
    Additive(Duration),
}

/// A base as a duration, or as urllib3's factor, which can be finer than a duration.
#[cfg(feature = "serde")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Base {
    Exact(Duration),
    Factor(f64),
}

impl Backoff {
    /// urllib3's `backoff_max`, and the cap of every growing backoff: 120 s.
    pub const DEFAULT_MAX: Duration = Duration::from_secs(120);

    /// urllib3's backoff: the first retry at once, then `factor * 2^(n-1)` seconds.
    ///
    /// Jitter is never added to the first retry.
    pub fn urllib3(factor: f64) -> Self {
        let mut backoff = Self::new(BackoffKind::Urllib3, Duration::ZERO, Self::DEFAULT_MAX);
        backoff.set_factor(factor);
        backoff
    }

    /// `base`, then multiplied each time by the [multiplier](Self::multiplier).
    pub fn exponential(base: Duration) -> Self {
        Self::new(BackoffKind::Exponential, base, Self::DEFAULT_MAX)
    }

    /// `base`, twice `base`, three times `base`, …
    pub fn linear(base: Duration) -> Self {
        Self::new(BackoffKind::Linear, base, Self::DEFAULT_MAX)
    }

    /// `base` times the Fibonacci numbers 1, 1, 2, 3, 5, 8, …
    pub fn fibonacci(base: Duration) -> Self {
        Self::new(BackoffKind::Fibonacci, base, Self::DEFAULT_MAX)
    }

    /// The same wait each time.
    pub fn constant(wait: Duration) -> Self {
        Self::new(BackoffKind::Constant, wait, Duration::MAX)
    }

    /// These waits in order; the last one repeats. At least one is needed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_http_retry::policy::{Backoff, Rng};
    ///
    /// let backoff = Backoff::list([1, 5, 30].map(Duration::from_secs));
    /// let wait = |n| backoff.wait(n, Duration::ZERO, &mut Rng::new()).as_secs();
    /// assert_eq!([1, 2, 3, 4].map(wait), [1, 5, 30, 30]);
    /// ```
    pub fn list(waits: impl IntoIterator<Item = Duration>) -> Self {
        let waits = waits.into_iter().collect();
        Self::new(BackoffKind::List(waits), Duration::ZERO, Duration::MAX)
    }

    /// No wait at all: a constant backoff of zero.
    pub fn none() -> Self {
        Self::constant(Duration::ZERO)
    }

    fn new(kind: BackoffKind, base: Duration, max: Duration) -> Self {
        Self {
            kind,
            base,
            factor: base.as_secs_f64(),
            max: Ok(max),
            jitter: Ok(Jitter::None),
            multiplier: None,
        }
    }

    /// What an exponential backoff grows by each time; at least 1, and 2 unless set.
    ///
    /// Only for [`exponential`](Self::exponential); [`validate`](Self::validate) refuses it
    /// elsewhere.
    #[must_use]
    pub fn multiplier(mut self, multiplier: f64) -> Self {
        self.multiplier = Some(multiplier);
        self
    }

    /// The longest wait.
    #[must_use]
    pub fn max(mut self, max: Duration) -> Self {
        self.max = Ok(max);
        self
    }

    /// How waits are spread.
    #[must_use]
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = Ok(jitter);
        self
    }

    /// Sets the base in seconds, as urllib3's `backoff_factor` does.
    ///
    /// A list has no base; [`validate`](Self::validate) refuses one.
    pub fn set_factor(&mut self, factor: f64) {
        self.base = seconds(factor).unwrap_or_default();
        self.factor = factor;
    }

    /// Sets the cap in seconds, as urllib3's `backoff_max` does.
    pub fn set_max(&mut self, max: f64) {
        self.max = seconds(max);
    }

    /// Sets additive jitter in seconds, as urllib3's `backoff_jitter` does; 0 is none.
    pub fn set_jitter(&mut self, jitter: f64) {
        self.jitter = seconds(jitter).map(|additive| match additive {
            Duration::ZERO => Jitter::None,
            additive => Jitter::Additive(additive),
        });
    }

    /// How the waits grow.
    pub fn kind(&self) -> &BackoffKind {
        &self.kind
    }

    /// The base: urllib3's factor, the first wait of the other kinds.
    ///
    /// Zero when it was set to something that is not a duration.
    pub fn get_base(&self) -> Duration {
        match &self.kind {
            BackoffKind::List(waits) => waits.first().copied().unwrap_or_default(),
            _ => self.base,
        }
    }

    /// The longest wait; [`Duration::MAX`] when there is no cap.
    ///
    /// Zero when it was set to something that is not a duration.
    pub fn get_max(&self) -> Duration {
        self.max.unwrap_or_default()
    }

    /// How waits are spread.
    pub fn get_jitter(&self) -> Jitter {
        self.jitter.unwrap_or_default()
    }

    /// The base in the form in which it was set, so that a copy made of it is equal.
    #[cfg(feature = "serde")]
    pub(super) fn base_as_set(&self) -> Base {
        if self.base.as_secs_f64() == self.factor {
            Base::Exact(self.base)
        } else {
            Base::Factor(self.factor)
        }
    }

    #[cfg(feature = "serde")]
    pub(super) fn set_base(&mut self, base: Base) {
        match base {
            Base::Exact(base) => {
                self.base = base;
                self.factor = base.as_secs_f64();
            }
            Base::Factor(factor) => self.set_factor(factor),
        }
    }

    /// The multiplier, if it was set.
    #[cfg(feature = "serde")]
    pub(super) fn multiplier_as_set(&self) -> Option<f64> {
        self.multiplier
    }

    /// What an exponential backoff grows by each time.
    pub fn get_multiplier(&self) -> f64 {
        self.multiplier.unwrap_or(2.0)
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// - a factor, cap or jitter in seconds that is negative, infinite or not a number;
    /// - a multiplier that is below 1, infinite or not a number, or that is set for another kind
    ///   than an exponential backoff;
    /// - an empty list, or a factor for a list.
    pub fn validate(&self) -> Result<(), InvalidPolicy> {
        const SECONDS: &str = "a finite number of seconds >= 0";

        seconds(self.factor)
            .map_err(|value| InvalidPolicy::new("backoff_factor", value, SECONDS))?;
        self.max
            .map_err(|value| InvalidPolicy::new("backoff_max", value, SECONDS))?;
        self.jitter
            .map_err(|value| InvalidPolicy::new("backoff_jitter", value, SECONDS))?;
        if let Some(multiplier) = self.multiplier {
            let allowed = match self.kind {
                BackoffKind::Exponential if multiplier >= 1.0 && multiplier.is_finite() => None,
                BackoffKind::Exponential => Some("a finite number >= 1"),
                _ => Some("nothing: only an exponential backoff has a multiplier"),
            };
            if let Some(allowed) = allowed {
                return Err(InvalidPolicy::new("multiplier", multiplier, allowed));
            }
        }
        if let BackoffKind::List(waits) = &self.kind {
            if waits.is_empty() {
                return Err(InvalidPolicy::new(
                    "backoff",
                    "an empty list",
                    "a list of at least one wait",
                ));
            }
            if self.factor != 0.0 {
                return Err(InvalidPolicy::new(
                    "backoff_factor",
                    self.factor,
                    "nothing: a list of waits has no factor",
                ));
            }
        }
        Ok(())
    }

    /// The wait after `n` failures in a row.
    ///
    /// `n` = 1 is the wait before the first retry; for `n` = 0 there is none. `previous` is the
    /// wait before this one, zero if there was none; only [`Jitter::Decorrelated`] looks at it.
    /// `rng` is drawn from only when there is something to choose.
    pub fn wait(&self, n: u32, previous: Duration, rng: &mut Rng) -> Duration {
        let max = self.get_max();
        let (low, high) = self.range(n, previous);
        if low >= high || low >= max {
            return low.min(max);
        }
        let above = saturating((high - low).as_secs_f64() * rng.unit());
        // Rounding may carry the sum past the end.
        low.saturating_add(above).min(high).min(max)
    }

    /// The shortest and the longest wait possible after `n` failures in a row, when the previous
    /// wait was between these two.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_http_retry::policy::{Backoff, Jitter};
    ///
    /// let second = Duration::from_secs(1);
    /// let backoff = Backoff::exponential(second).jitter(Jitter::Decorrelated);
    /// let first = backoff.bounds(1, (Duration::ZERO, Duration::ZERO));
    /// assert_eq!(first, (second, second * 3));
    /// assert_eq!(backoff.bounds(2, first), (second, second * 9));
    /// ```
    pub fn bounds(&self, n: u32, previous: (Duration, Duration)) -> (Duration, Duration) {
        let max = self.get_max();
        let low = self.range(n, previous.0).0;
        let high = self.range(n, previous.1).1;
        (low.min(max), high.min(max))
    }

    /// What the wait is drawn from. `Additive` and `Decorrelated` draw first and cap afterwards,
    /// so their ends may be above the cap.
    fn range(&self, n: u32, previous: Duration) -> (Duration, Duration) {
        let immediate = match self.kind {
            BackoffKind::Urllib3 => 1,
            _ => 0,
        };
        if n <= immediate {
            return (Duration::ZERO, Duration::ZERO);
        }
        let plain = self.plain(n);
        let capped = plain.min(self.get_max());
        match self.get_jitter() {
            Jitter::None => (capped, capped),
            Jitter::Full => (Duration::ZERO, capped),
            Jitter::Equal => (capped / 2, capped),
            Jitter::Additive(most) => (plain, plain.saturating_add(most)),
            Jitter::Decorrelated => {
                let base = self.get_base();
                (base, previous.max(base).saturating_mul(3))
            }
        }
    }

    /// The wait before cap and jitter.
    fn plain(&self, n: u32) -> Duration {
        let base = self.get_base();
        match &self.kind {
            BackoffKind::Urllib3 => self.power(2.0, n),
            BackoffKind::Exponential => self.power(self.get_multiplier(), n),
            BackoffKind::Linear => base.saturating_mul(n),
            BackoffKind::Constant => base,
            BackoffKind::List(waits) => {
                let index = usize::try_from(n).unwrap_or(usize::MAX).saturating_sub(1);
                waits.get(index).or(waits.last()).copied().unwrap_or(base)
            }
            BackoffKind::Fibonacci => fibonacci(base, n),
        }
    }

    /// The base times `multiplier^(n-1)`.
    fn power(&self, multiplier: f64, n: u32) -> Duration {
        let by = multiplier.powi(i32::try_from(n.saturating_sub(1)).unwrap_or(i32::MAX));
        // A float does not hold every duration, and zero times infinity is not a number.
        if by == 1.0 || self.factor == 0.0 {
            self.base
        } else {
            saturating(self.factor * by)
        }
    }
}

/// `base` times the `n`-th Fibonacci number.
fn fibonacci(base: Duration, n: u32) -> Duration {
    let (mut number, mut next) = (1_u128, 1_u128);
    for _ in 1..n {
        (number, next) = (next, number.saturating_add(next));
        if number == u128::MAX {
            break;
        }
    }
    let nanos = base.as_nanos().saturating_mul(number);
    match u64::try_from(nanos / 1_000_000_000) {
        Ok(secs) => Duration::new(secs, (nanos % 1_000_000_000) as u32),
        Err(_) => Duration::MAX,
    }
}

/// A number of seconds from a user; the number itself if it cannot be a duration.
fn seconds(value: f64) -> Result<Duration, f64> {
    if value.is_finite() && value >= 0.0 {
        Ok(saturating(value))
    } else {
        Err(value)
    }
}

/// Seconds to a duration: what is no number or negative is zero, what is too much the maximum.
fn saturating(seconds: f64) -> Duration {
    if seconds > 0.0 {
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    } else {
        Duration::ZERO
    }
}
