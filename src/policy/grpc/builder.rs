//! The settings of gRFC A6, in its words.

use std::time::Duration;

#[cfg(feature = "grpc")]
use crate::policy::{Limit, Preset, RetryPolicy, RetryPolicyBuilder, Seconds, settings::Settings};
use crate::{
    budget::{RetryBudget, RetryBudgetBuilder},
    policy::{Backoff, Jitter},
};

/// The backoff of A6's own example, 100 ms doubling to 1 s, within a fifth of it.
pub(in crate::policy) fn backoff() -> Backoff {
    Backoff::exponential(Duration::from_millis(100))
        .max(Duration::from_secs(1))
        .jitter(Jitter::Around(0.2))
}

/// The throttling of A6's own example.
pub(in crate::policy) fn throttling() -> RetryBudget {
    RetryBudgetBuilder::grpc(10, 0.1).build_unchecked()
}

#[cfg(feature = "grpc")]
impl RetryPolicy {
    /// gRPC's own rules, those of gRFC A6; see [the table](Self#the-grpc-preset).
    ///
    /// ```
    /// use tower_http_retry::{policy::RetryPolicy, reason::GrpcCode};
    ///
    /// let policy = RetryPolicy::grpc();
    /// assert!(policy.retryable_status_codes().eq([GrpcCode::Unavailable]));
    /// ```
    pub fn grpc() -> Self {
        Self::from_settings(Settings::of(Preset::Grpc))
    }

    /// A builder that starts from [`RetryPolicy::grpc`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_http_retry::{policy::{Limit, RetryPolicy}, reason::GrpcCode};
    ///
    /// let policy = RetryPolicy::grpc_builder()
    ///     .max_attempts(5)
    ///     .initial_backoff(Duration::from_millis(50))
    ///     .max_backoff(Duration::from_secs(2))
    ///     .backoff_multiplier(3.0)
    ///     .retryable_status_codes([GrpcCode::Unavailable, GrpcCode::Aborted])
    ///     .retry_throttling(100, 0.1)
    ///     .build()?;
    /// assert_eq!(policy.total(), Limit::AtMost(4));
    /// # Ok::<(), tower_http_retry::policy::InvalidPolicy>(())
    /// ```
    pub fn grpc_builder() -> RetryPolicyBuilder {
        RetryPolicyBuilder::from_settings(Settings::of(Preset::Grpc))
    }
}

#[cfg(feature = "grpc")]
impl RetryPolicyBuilder {
    /// The most attempts, of which the first is one: `max_attempts(4)` is
    /// [`total(3)`](Self::total). At least 1.
    pub fn max_attempts(self, attempts: u32) -> Self {
        match attempts.checked_sub(1) {
            Some(retries) => self.total(Limit::from(retries)),
            None => self.refuse("max_attempts", attempts, "at least 1, the first attempt"),
        }
    }

    /// The wait before the first retry; [jitter](Jitter::Around) aside. More than 0.
    ///
    /// The backoff as a whole is [`backoff`](Self::backoff).
    pub fn initial_backoff(self, wait: impl Into<Seconds>) -> Self {
        let wait = wait.into().0;
        if wait > 0.0 {
            return self.backoff_factor(wait);
        }
        self.refuse("initial_backoff", wait, "a number of seconds above 0")
    }

    /// The longest wait of the backoff, jitter aside; another name of
    /// [`backoff_max`](Self::backoff_max). More than 0.
    pub fn max_backoff(self, max: impl Into<Seconds>) -> Self {
        let max = max.into().0;
        if max > 0.0 {
            return self.backoff_max(max);
        }
        self.refuse("max_backoff", max, "a number of seconds above 0")
    }

    /// What the wait grows by with each retry, at least 1.
    pub fn backoff_multiplier(mut self, multiplier: f64) -> Self {
        self.settings.backoff = self.settings.backoff.multiplier(multiplier);
        self
    }

    /// Throttles the retries of all calls together by [`RetryBudget::grpc`], in place of another
    /// [`budget`](Self::budget): `max_tokens` from 1 to 1000, `token_ratio` from 0.001 to 1000.
    pub fn retry_throttling(mut self, max_tokens: u32, token_ratio: f64) -> Self {
        match RetryBudget::grpc(max_tokens, token_ratio) {
            Ok(budget) => self.budget(budget),
            Err(wrong) => {
                self.wrong.get_or_insert(wrong);
                self
            }
        }
    }
}
