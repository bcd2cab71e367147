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
/// | [`from_fn(f)`](Self::from_fn) | `f(n)` | none |
///
/// After throttling (429, a hint that leaves the wait to the backoff, HTTP/2's ENHANCE_YOUR_CALM)
/// the base is [`throttle_base`](Self::throttle_base), if that is set.
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
    max: Duration,
    jitter: Jitter,
    multiplier: Option<f64>,
    throttle_base: Option<Duration>,
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
    /// What a function says.
    Custom(BackoffFn),
}

/// The function of [`Backoff::from_fn`]. Two are equal if they are the same one.
#[derive(Clone)]
pub struct BackoffFn(Arc<dyn Fn(u32) -> Duration + Send + Sync>);

impl fmt::Debug for BackoffFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BackoffFn")
    }
}

impl PartialEq for BackoffFn {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for BackoffFn {}

impl fmt::Display for BackoffKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Urllib3 => "urllib3",
            Self::Exponential => "exponential",
            Self::Linear => "linear",
            Self::Constant => "constant",
            Self::List(_) => "list",
            Self::Fibonacci => "fibonacci",
            Self::Custom(_) => "function",
        })
    }
}

/// How waits are spread, so that clients that failed together do not come back together.
///
/// `Full`, `Equal` and `Decorrelated` are those of the AWS Architecture Blog, "Exponential Backoff
/// And Jitter"; `Additive` is urllib3's `backoff_jitter`, `Around` is gRPC's. Below, `c` is the
/// wait after the cap.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
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
    /// Uniform between `c` minus and `c` plus this part of it, in 0..=1: `Around(0.2)` is 0.8 to
    /// 1.2 times `c`, as in [gRFC A6]. As there, that can be longer than the cap.
    ///
    /// [gRFC A6]: https://github.com/grpc/proposal/blob/master/A6-client-retries.md#exponential-backoff
    Around(f64),
}

/// What a wait depends on besides the number of failures.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Circumstances {
    /// The wait before this one; zero if there was none.
    pub(super) previous: Duration,
    /// Whether the server asked for less load.
    pub(super) throttled: bool,
    /// The longest wait that the deadline has room for.
    pub(super) room: Option<Duration>,
}

/// A base as a duration, or as urllib3's factor, which can be finer than a duration.
#[cfg(feature = "serde")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Base {
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

    /// Waits by a function of the number of failures in a row.
    ///
    /// It is called for each wait, and by [lint](crate::lint) and [dry runs](crate::dry_run), so
    /// it should be quick and always say the same. A cap and jitter apply to what it says.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_http_retry::policy::{Backoff, Rng};
    ///
    /// // Squares, which grow faster than a line and slower than powers.
    /// let backoff = Backoff::from_fn(|n| Duration::from_millis(100) * n.saturating_pow(2))
    ///     .max(Duration::from_secs(1));
    /// let wait = |n| backoff.wait(n, Duration::ZERO, &mut Rng::new()).as_millis();
    /// assert_eq!([1, 2, 3, 4].map(wait), [100, 400, 900, 1000]);
    /// ```
    pub fn from_fn(f: impl Fn(u32) -> Duration + Send + Sync + 'static) -> Self {
        let kind = BackoffKind::Custom(BackoffFn(Arc::new(f)));
        Self::new(kind, Duration::ZERO, Duration::MAX)
    }

    fn new(kind: BackoffKind, base: Duration, max: Duration) -> Self {
        Self {
            kind,
            base,
            factor: base.as_secs_f64(),
            max,
            jitter: Jitter::None,
            multiplier: None,
            throttle_base: None,
        }
    }

    /// What an exponential backoff grows by each time; at least 1, and 2 unless set.
    ///
    /// Only for [`exponential`](Self::exponential); [`build`](super::RetryPolicyBuilder::build) refuses it
    /// elsewhere.
    #[must_use]
    pub fn multiplier(mut self, multiplier: f64) -> Self {
        self.multiplier = Some(multiplier);
        self
    }

    /// The base after throttling, in place of the usual one: a server that asks for less load
    /// needs more time than one that lost a connection. The AWS SDKs (retry specification 2.1)
    /// have 1 s there, and 50 ms otherwise.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_http_retry::policy::{Backoff, Jitter, RetryPolicy};
    ///
    /// let backoff = Backoff::exponential(Duration::from_millis(50))
    ///     .throttle_base(Duration::from_secs(1))
    ///     .max(Duration::from_secs(20))
    ///     .jitter(Jitter::Full);
    /// let policy = RetryPolicy::builder().backoff(backoff).build()?;
    /// # let _ = policy;
    /// # Ok::<(), tower_http_retry::policy::InvalidPolicy>(())
    /// ```
    ///
    /// For kinds that have a base: [`build`](super::RetryPolicyBuilder::build) refuses it for a list, a function
    /// and none.
    #[must_use]
    pub fn throttle_base(mut self, base: Duration) -> Self {
        self.throttle_base = Some(base);
        self
    }

    /// The longest wait.
    #[must_use]
    pub fn max(mut self, max: Duration) -> Self {
        self.max = max;
        self
    }

    /// How waits are spread.
    #[must_use]
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// Sets the base in seconds, as urllib3's `backoff_factor` does.
    ///
    /// A list has no base; `validate` refuses one.
    #[doc(hidden)]
    pub fn set_factor(&mut self, factor: f64) {
        self.base = seconds(factor).unwrap_or_default();
        self.factor = factor;
    }

    /// How the waits grow.
    #[doc(hidden)]
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

    /// The base after throttling, if it has one of its own.
    pub fn get_throttle_base(&self) -> Option<Duration> {
        self.throttle_base
    }

    /// The longest wait; [`Duration::MAX`] when there is no cap.
    pub fn get_max(&self) -> Duration {
        self.max
    }

    /// How waits are spread.
    pub fn get_jitter(&self) -> Jitter {
        self.jitter
    }

    /// The base in the form in which it was set, so that a copy made of it is equal.
    #[cfg(feature = "serde")]
    pub(crate) fn base_as_set(&self) -> Base {
        if self.base.as_secs_f64() == self.factor {
            Base::Exact(self.base)
        } else {
            Base::Factor(self.factor)
        }
    }

    #[cfg(feature = "serde")]
    pub(crate) fn set_base(&mut self, base: Base) {
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
    pub(crate) fn multiplier_as_set(&self) -> Option<f64> {
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
    /// - a factor in seconds that is negative or not a number;
    /// - a jitter around the wait by a part outside of 0..=1;
    /// - a multiplier that is below 1, infinite or not a number, or that is set for another kind
    ///   than an exponential backoff;
    /// - an empty list, or a factor for a list or a function;
    /// - a base after throttling for a kind that has none.
    pub(crate) fn validate(&self) -> Result<(), InvalidPolicy> {
        const SECONDS: &str = "a number of seconds that is not negative";

        seconds(self.factor)
            .map_err(|value| InvalidPolicy::new("backoff_factor", value, SECONDS))?;
        if let Jitter::Around(part) = self.jitter {
            if !(0.0..=1.0).contains(&part) {
                let allowed = "a part of the wait in 0..=1";
                return Err(InvalidPolicy::new("backoff_jitter", part, allowed));
            }
        }
        if let Some(multiplier) = self.multiplier {
            let allowed = match self.kind {
                BackoffKind::Exponential if multiplier >= 1.0 && multiplier.is_finite() => None,
                BackoffKind::Exponential => Some("a finite number >= 1"),
                _ => Some("unset: only an exponential backoff has a multiplier"),
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
        }
        let has_base = !matches!(self.kind, BackoffKind::List(_) | BackoffKind::Custom(_));
        if !has_base && self.factor != 0.0 {
            return Err(InvalidPolicy::new(
                "backoff_factor",
                self.factor,
                "unset: a list of waits and a function have no factor",
            ));
        }
        // `none()` is a constant backoff of zero.
        let has_base = has_base && (self.kind != BackoffKind::Constant || self.factor != 0.0);
        if let Some(base) = self.throttle_base.filter(|_| !has_base) {
            return Err(InvalidPolicy::new(
                "throttle_base",
                crate::human::Human(base),
                "unset: this backoff has no base",
            ));
        }
        Ok(())
    }

    /// The wait after `n` failures in a row.
    ///
    /// `n` = 1 is the wait before the first retry; for `n` = 0 there is none. `previous` is the
    /// wait before this one, zero if there was none; only [`Jitter::Decorrelated`] looks at it.
    /// `rng` is drawn from only when there is something to choose.
    pub fn wait(&self, n: u32, previous: Duration, rng: &mut Rng) -> Duration {
        let circumstances = Circumstances {
            previous,
            ..Circumstances::default()
        };
        self.draw(n, circumstances, rng)
    }

    /// [`wait`](Self::wait) under more circumstances. Where the deadline has room for some of what
    /// could be drawn, that is what it is drawn from: jitter must not end a request that has time.
    pub(super) fn draw(&self, n: u32, under: Circumstances, rng: &mut Rng) -> Duration {
        let (low, mut high) = self.range(n, under.previous, under.throttled);
        let mut max = self.ceiling();
        if let Some(room) = under.room.filter(|room| *room >= low.min(max)) {
            match self.get_jitter() {
                // What is above the end is cut off afterwards.
                Jitter::Additive(_) | Jitter::Decorrelated => max = max.min(room),
                _ => high = high.min(room),
            }
        }
        if low >= high || low >= max {
            return low.min(max);
        }
        let above = saturating((high - low).as_secs_f64() * rng.unit());
        // Rounding may carry the sum past the end.
        low.saturating_add(above).min(high).min(max)
    }

    /// What no wait is longer than.
    fn ceiling(&self) -> Duration {
        match self.get_jitter() {
            // Drawn around what the cap left.
            Jitter::Around(_) => Duration::MAX,
            _ => self.get_max(),
        }
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
    #[doc(hidden)]
    pub fn bounds(&self, n: u32, previous: (Duration, Duration)) -> (Duration, Duration) {
        let max = self.ceiling();
        let low = self.range(n, previous.0, false).0;
        let high = self.range(n, previous.1, false).1;
        (low.min(max), high.min(max))
    }

    /// What the wait is drawn from. `Additive` and `Decorrelated` draw first and cap afterwards,
    /// so their ends may be above the cap.
    fn range(&self, n: u32, previous: Duration, throttled: bool) -> (Duration, Duration) {
        let immediate = match self.kind {
            BackoffKind::Urllib3 => 1,
            _ => 0,
        };
        if n <= immediate {
            return (Duration::ZERO, Duration::ZERO);
        }
        let base = self.base_after(throttled);
        let plain = self.plain(n, base);
        let capped = plain.min(self.get_max());
        match self.get_jitter() {
            Jitter::None => (capped, capped),
            Jitter::Full => (Duration::ZERO, capped),
            Jitter::Equal => (capped / 2, capped),
            Jitter::Additive(most) => (plain, plain.saturating_add(most)),
            Jitter::Decorrelated => (base.duration, previous.max(base.duration).saturating_mul(3)),
            Jitter::Around(part) => {
                let times = |by: f64| saturating(capped.as_secs_f64() * by);
                (times(1.0 - part), times(1.0 + part))
            }
        }
    }

    fn base_after(&self, throttled: bool) -> Step {
        match self.throttle_base.filter(|_| throttled) {
            Some(base) => Step {
                duration: base,
                factor: base.as_secs_f64(),
            },
            None => Step {
                duration: self.get_base(),
                factor: self.factor,
            },
        }
    }

    /// The wait before cap and jitter.
    fn plain(&self, n: u32, base: Step) -> Duration {
        match &self.kind {
            BackoffKind::Urllib3 => base.power(2.0, n),
            BackoffKind::Exponential => base.power(self.get_multiplier(), n),
            BackoffKind::Linear => base.duration.saturating_mul(n),
            BackoffKind::Constant => base.duration,
            BackoffKind::List(waits) => {
                let index = usize::try_from(n).unwrap_or(usize::MAX).saturating_sub(1);
                waits
                    .get(index)
                    .or(waits.last())
                    .copied()
                    .unwrap_or(base.duration)
            }
            BackoffKind::Fibonacci => fibonacci(base.duration, n),
            BackoffKind::Custom(function) => (function.0)(n),
        }
    }
}

/// A base as a duration and in seconds, of which neither holds all that the other can.
#[derive(Clone, Copy)]
struct Step {
    duration: Duration,
    factor: f64,
}

impl Step {
    /// The base times `multiplier^(n-1)`.
    fn power(self, multiplier: f64, n: u32) -> Duration {
        let by = multiplier.powi(i32::try_from(n.saturating_sub(1)).unwrap_or(i32::MAX));
        // A float does not hold every duration, and zero times infinity is not a number.
        if by == 1.0 || self.factor == 0.0 {
            self.duration
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

/// A number of seconds from a user; the number itself if it cannot be a duration. Finite or not,
/// too much is as long as can be.
pub(super) fn seconds(value: f64) -> Result<Duration, f64> {
    if value >= 0.0 {
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
