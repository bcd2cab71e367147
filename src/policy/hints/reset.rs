//! `x-ratelimit-reset` and its relatives, on whose meaning no two vendors agree.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, StatusCode};

use super::{Found, HintHeader, one, only, text};
use crate::policy::InvalidPolicy;

/// How the time in a [`ResetHeader`] is written. Every number may have a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResetFormat {
    /// Seconds that are left (Reddit, and the drafts of `RateLimit-Reset` until 2022).
    Seconds,
    /// Milliseconds that are left (BigCommerce).
    Milliseconds,
    /// The time as seconds since 1970 in UTC (GitHub, X, Discord, GitLab), or as
    /// milliseconds since then (Gravitee): a number above 10¹¹, which as seconds would be a time
    /// after the year 5000.
    Epoch,
    /// [`Epoch`](Self::Epoch) if the number is above 10⁹, which as seconds that are left would be
    /// more than 31 years; else [`Seconds`](Self::Seconds).
    Auto,
}

/// A header that says when a rate limit starts anew, and how to read it.
///
/// It is a hint for a retry only if the limit is what the request failed for. That is known from
/// the header with [what remains](Self::remaining), where there is one:
///
/// | remaining | the reset is |
/// | --- | --- |
/// | 0 | obeyed with every status that is retried |
/// | more | no hint: the request failed for another reason |
/// | not said, or unreadable | obeyed with 429 only |
///
/// GitHub, for one, sends its headers with every response. Without this rule, a 500 with thousands
/// of requests left would be held for the rest of the hour.
///
/// ```
/// use http::HeaderName;
/// use tower_http_retry::policy::{RetryPolicy, hints::{ResetFormat, ResetHeader}};
///
/// let name = HeaderName::from_static;
/// let policy = RetryPolicy::builder()
///     .reset_headers([
///         ResetHeader::new(name("x-rate-limit-time-reset-ms"), ResetFormat::Milliseconds)
///             .remaining(name("x-rate-limit-requests-left")),
///     ])
///     .build()?;
/// # let _ = policy;
/// # Ok::<(), tower_http_retry::policy::InvalidPolicy>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResetHeader {
    name: HeaderName,
    format: ResetFormat,
    remaining: Option<HeaderName>,
}

impl ResetHeader {
    /// The header `name`, whose times are written in `format`.
    pub const fn new(name: HeaderName, format: ResetFormat) -> Self {
        Self {
            name,
            format,
            remaining: None,
        }
    }

    /// The header that says how many requests remain.
    #[must_use]
    pub fn remaining(mut self, name: HeaderName) -> Self {
        self.remaining = Some(name);
        self
    }

    /// The header's name.
    pub const fn name(&self) -> &HeaderName {
        &self.name
    }

    /// How its times are written.
    pub const fn format(&self) -> ResetFormat {
        self.format
    }

    /// The name of the header that says how many requests remain.
    pub const fn remaining_name(&self) -> Option<&HeaderName> {
        self.remaining.as_ref()
    }

    /// Those of [`RetryPolicy::default`](crate::policy::RetryPolicy::default): with each, its
    /// sibling that ends in `remaining`.
    ///
    /// | header | format | because |
    /// | --- | --- | --- |
    /// | `x-ratelimit-reset` | [`Auto`](ResetFormat::Auto) | GitHub and Discord send an epoch, Reddit sends seconds |
    /// | `ratelimit-reset` | [`Auto`](ResetFormat::Auto) | GitLab sends an epoch, the drafts' followers send seconds |
    /// | `x-rate-limit-reset` | [`Epoch`](ResetFormat::Epoch) | X sends an epoch in seconds, Gravitee in milliseconds; in a small number others mean milliseconds that are left, so it is taken for a time long past |
    pub fn defaults() -> [Self; 3] {
        let name = HeaderName::from_static;
        let header =
            |reset, remaining, format| Self::new(name(reset), format).remaining(name(remaining));
        let auto = ResetFormat::Auto;
        [
            header("x-ratelimit-reset", "x-ratelimit-remaining", auto),
            header("ratelimit-reset", "ratelimit-remaining", auto),
            header(
                "x-rate-limit-reset",
                "x-rate-limit-remaining",
                ResetFormat::Epoch,
            ),
        ]
    }

    pub(crate) fn validate(&self) -> Result<(), InvalidPolicy> {
        match HintHeader::from(self.name.clone()) {
            HintHeader::Named(_) => Ok(()),
            taken => Err(InvalidPolicy::new(
                "reset_headers",
                taken,
                "a header that is not read as something else",
            )),
        }
    }

    /// Looks for the header in a response with this status, sent when the server's clock showed
    /// `now`.
    pub(super) fn find(&self, status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Found {
        let value = one(headers.get_all(&self.name));
        if value == Err(Found::Nothing) {
            return Found::Nothing;
        }
        let remaining = self.remaining.as_ref();
        let remaining = remaining.and_then(|name| only(headers.get_all(name)));
        match remaining.and_then(text::decimal) {
            Some((0, _)) => {}
            None if status == StatusCode::TOO_MANY_REQUESTS => {}
            _ => return Found::Nothing,
        }
        match value.map(|value| self.format.read(value, now)) {
            Ok(Some(wait)) => Found::Wait(wait),
            Ok(None) | Err(_) => Found::Unreadable,
        }
    }
}

impl ResetFormat {
    /// The time that is left, which is zero when the time has come.
    fn read(self, value: &[u8], now: SystemTime) -> Option<Duration> {
        match self {
            Self::Seconds => text::seconds(value),
            Self::Milliseconds => text::milliseconds(value),
            Self::Epoch => Some(left(epoch(value)?, now)),
            Self::Auto if text::decimal(value)?.0 > 1_000_000_000 => Self::Epoch.read(value, now),
            Self::Auto => Self::Seconds.read(value, now),
        }
    }
}

/// The time since the epoch.
fn epoch(value: &[u8]) -> Option<Duration> {
    let seconds = text::seconds(value)?;
    if seconds.as_secs() > 100_000_000_000 {
        return text::milliseconds(value);
    }
    Some(seconds)
}

fn left(since_epoch: Duration, now: SystemTime) -> Duration {
    match SystemTime::UNIX_EPOCH.checked_add(since_epoch) {
        Some(at) => at.duration_since(now).unwrap_or(Duration::ZERO),
        // Beyond what the clock can show.
        None => since_epoch,
    }
}
