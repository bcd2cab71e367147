//! Builds a [`RetryPolicy`] and says what is wrong with its settings.

use std::time::Duration;

use http::HeaderName;

use crate::budget::RetryBudget;

use super::{
    Backoff, CountKind, InvalidPolicy, Limit, Methods, Preset, ResetHeader, RetryAfterMode,
    RetryPolicy, Seconds, limit::StatusSet, retry_policy::Settings,
};

/// Builds a [`RetryPolicy`]; the setters have urllib3's names.
///
/// Every value is checked by [`build`](Self::build), not before.
#[derive(Clone, Debug)]
#[must_use = "does nothing until `build()`"]
pub struct RetryPolicyBuilder {
    settings: Settings,
    /// The first wrong value, for `build()`.
    wrong: Option<InvalidPolicy>,
}

impl RetryPolicyBuilder {
    pub(super) fn from_settings(settings: Settings) -> Self {
        Self {
            settings,
            wrong: None,
        }
    }

    fn limit(mut self, kind: CountKind, limit: Limit) -> Self {
        *self.settings.limits.get_mut(kind) = limit;
        self
    }

    /// The most retries of all kinds together, on top of the first attempt.
    pub fn total(self, limit: impl Into<Limit>) -> Self {
        self.limit(CountKind::Total, limit.into())
    }

    /// The most retries after connect failures: nothing was sent.
    pub fn connect(self, limit: impl Into<Limit>) -> Self {
        self.limit(CountKind::Connect, limit.into())
    }

    /// The most retries after read failures: the request may have been applied.
    pub fn read(self, limit: impl Into<Limit>) -> Self {
        self.limit(CountKind::Read, limit.into())
    }

    /// The most retries of redirects that were listed in `status_forcelist` and not followed.
    ///
    /// Redirects themselves are followed by tower-http's `FollowRedirect`, which has its own limit.
    pub fn redirect(self, limit: impl Into<Limit>) -> Self {
        self.limit(CountKind::Redirect, limit.into())
    }

    /// The most retries because of a status.
    pub fn status(self, limit: impl Into<Limit>) -> Self {
        self.limit(CountKind::Status, limit.into())
    }

    /// The most retries after failures that are none of the other kinds.
    pub fn other(self, limit: impl Into<Limit>) -> Self {
        self.limit(CountKind::Other, limit.into())
    }

    /// How often a request that was never processed (cancelled in the pool, REFUSED_STREAM,
    /// GOAWAY) is sent again at once and for any method, outside of the counts and the budget.
    ///
    /// RFC 9113, section 8.7, is the reason why that is safe. Has no effect on the urllib3 preset,
    /// which counts these as connect failures, and none when `total` allows no retry at all.
    pub fn unprocessed(mut self, retries: u32) -> Self {
        self.settings.unprocessed = retries;
        self
    }

    /// The methods that may be repeated although the request may have been applied:
    /// [`Methods::any`], or a set. The empty set means none.
    pub fn allowed_methods(mut self, methods: impl Into<Methods>) -> Self {
        self.settings.methods = methods.into();
        self
    }

    /// The statuses that are retried, in 100..=999.
    pub fn status_forcelist(mut self, statuses: impl IntoIterator<Item = u16>) -> Self {
        let mut set = StatusSet::new();
        for status in statuses {
            if !set.insert(status) {
                self.wrong.get_or_insert_with(|| {
                    InvalidPolicy::new("status_forcelist", status, "a status in 100..=999")
                });
            }
        }
        self.settings.statuses = set;
        self
    }

    /// The backoff as a whole: its kind, base, cap and jitter.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = backoff;
        self
    }

    /// The backoff's base in seconds: under the urllib3 preset the n-th retry waits
    /// `backoff_factor * 2^(n-1)`, the first one nothing; under the default preset the first
    /// retry waits `backoff_factor` and each later one twice as long.
    pub fn backoff_factor(mut self, factor: impl Into<Seconds>) -> Self {
        self.settings.backoff.set_factor(factor.into().0);
        self
    }

    /// The longest wait of the backoff.
    pub fn backoff_max(mut self, max: impl Into<Seconds>) -> Self {
        let max = max.into().0;
        if let Some(max) = self.seconds("backoff_max", max) {
            self.settings.backoff = self.settings.backoff.max(max);
        }
        self
    }

    /// Adds up to this many seconds, evenly distributed, to each wait of the backoff, in place of
    /// the jitter it has.
    pub fn backoff_jitter(mut self, jitter: impl Into<Seconds>) -> Self {
        let jitter = jitter.into().0;
        if let Some(jitter) = self.seconds("backoff_jitter", jitter) {
            self.settings.backoff = self
                .settings
                .backoff
                .jitter(super::Jitter::Additive(jitter));
        }
        self
    }

    /// Whether the server's `Retry-After` is obeyed, and under the default preset every other hint
    /// of [`hints`](super::hints). None of them is read when this is `false`.
    pub fn respect_retry_after_header(mut self, respect: bool) -> Self {
        self.settings.respect_retry_after = respect;
        self
    }

    /// The longest wait that a server can ask for.
    pub fn retry_after_max(mut self, max: impl Into<Seconds>) -> Self {
        let max = max.into().0;
        if let Some(max) = self.seconds("retry_after_max", max) {
            self.settings.retry_after_max = max;
        }
        self
    }

    /// What happens when a server asks for more than [`retry_after_max`](Self::retry_after_max).
    pub fn retry_after_mode(mut self, mode: RetryAfterMode) -> Self {
        self.settings.retry_after_mode = mode;
        self
    }

    /// Adds up to this part of what the server asks for to the wait, evenly distributed, so that
    /// clients that were told the same time do not come back together: 0.1 is a tenth. In 0..=1.
    ///
    /// Nothing is ever taken away, and what is compared with
    /// [`retry_after_max`](Self::retry_after_max) is what the server asks for. gRPC's pushback is
    /// exact and has no jitter.
    pub fn retry_after_jitter(mut self, part: f64) -> Self {
        if (0.0..=1.0).contains(&part) {
            self.settings.retry_after_jitter = part;
        } else {
            self.wrong.get_or_insert_with(|| {
                InvalidPolicy::new("retry_after_jitter", part, "a number in 0..=1")
            });
        }
        self
    }

    /// The headers that say when a rate limit starts anew, in the order in which they are to be
    /// read, in place of [`ResetHeader::defaults`]. Has no effect on the urllib3 preset.
    pub fn reset_headers(mut self, headers: impl IntoIterator<Item = ResetHeader>) -> Self {
        self.settings.hints.resets = headers.into_iter().collect();
        self
    }

    /// The header in which the server forbids retries with `false`, `x-should-retry` by default;
    /// `None` if no such header counts. Has no effect on the urllib3 preset.
    pub fn should_retry_header(mut self, header: impl Into<Option<HeaderName>>) -> Self {
        self.settings.hints.should_retry = header.into();
        self
    }

    /// Whether a failure status becomes an error once its retries are used up. By default, and
    /// when this is `false`, the last response is returned with its body untouched.
    pub fn raise_on_status(mut self, raise: bool) -> Self {
        self.settings.raise_on_status = raise;
        self
    }

    /// The budget that all requests under this policy share, or `None` for no such protection.
    pub fn budget(mut self, budget: impl Into<Option<RetryBudget>>) -> Self {
        self.settings.budget = budget.into();
        self
    }

    /// Makes all jitter repeatable: the n-th request of the policy always draws the same numbers.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = Some(seed);
        self
    }

    /// A number of seconds as a duration; remembers `field` as wrong if it is none.
    fn seconds(&mut self, field: &'static str, seconds: f64) -> Option<Duration> {
        match super::backoff::seconds(seconds) {
            Ok(duration) => Some(duration),
            Err(wrong) => {
                self.wrong.get_or_insert_with(|| {
                    InvalidPolicy::new(field, wrong, "a number of seconds that is not negative")
                });
                None
            }
        }
    }

    /// Checks every value and builds the policy.
    ///
    /// # Errors
    ///
    /// The first setting that makes no sense, with its value and what is allowed: a negative or
    /// undefined number of seconds, a status outside of 100..=999, a method that is not a token, a
    /// jitter outside of 0..=1, a reset header that is read as something else, and, unless the builder started from the urllib3 preset, a negative limit.
    pub fn build(self) -> Result<RetryPolicy, InvalidPolicy> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let mut settings = self.settings;
        let never = |kind| settings.limits.get(kind) == Limit::Never;
        if settings.preset == Preset::Urllib3
            && (never(CountKind::Total) || never(CountKind::Redirect))
        {
            // urllib3's constructor does this, so that redirects are returned as they come.
            *settings.limits.get_mut(CountKind::Redirect) = Limit::AtMost(0);
        }
        if settings.preset != Preset::Urllib3 {
            for kind in CountKind::ALL {
                if let Limit::AtMost(n @ ..=-1) = settings.limits.get(kind) {
                    return Err(InvalidPolicy::new(
                        kind.as_str(),
                        n,
                        "a number of retries that is not negative, unlimited or never",
                    ));
                }
            }
        }
        for header in &*settings.hints.resets {
            header.validate()?;
        }
        settings.methods.validate()?;
        settings.backoff.validate()?;
        Ok(RetryPolicy::from_settings(settings))
    }
}
