//! `x-ratelimit-reset` and its relatives, on whose meaning no two vendors agree.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, StatusCode};

use super::{HeaderReading, HintHeader, longest, only, text};
use crate::policy::InvalidPolicy;

/// How the time in a [`ResetHeader`] is written. Every number may have a fraction, and the longest
/// counts of several.
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
    /// The time that is left, as Go writes durations: `6m0s`, `1.5s` (OpenAI's
    /// `x-ratelimit-reset-requests` and `-tokens`).
    GoDuration,
    /// The time by RFC 3339: `2026-11-28T12:00:00Z` (Anthropic's
    /// `anthropic-ratelimit-requests-reset` and its siblings).
    Rfc3339,
    /// For a number above 10⁹, which as seconds that are left would be more than 31 years,
    /// [`Epoch`](Self::Epoch), for another one [`Seconds`](Self::Seconds); and what is no number
    /// as [`GoDuration`](Self::GoDuration) or [`Rfc3339`](Self::Rfc3339).
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
/// | not said, or unreadable | obeyed with 429; noted in the report with another status |
///
/// GitHub, for one, sends its headers with every response. Without this rule, a 500 with thousands
/// of requests left would be held for the rest of the hour. A header for which no such sibling is
/// named is obeyed with every status that is retried.
///
/// `Retry-After` itself can be one of them, to say that a server writes something else into it
/// than seconds and dates: Docker Hub's is an epoch. It keeps its place among the
/// [hints](super#hints), and what cannot be read in that format is read as usual.
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
            HintHeader::RetryAfter if self.remaining.is_none() => Ok(()),
            HintHeader::RetryAfter => Err(InvalidPolicy::new(
                "reset_headers",
                "retry-after with what remains",
                "`retry-after` by itself: it is obeyed with every status that is retried",
            )),
            taken => Err(InvalidPolicy::new(
                "reset_headers",
                taken,
                "a header that is not read as something else",
            )),
        }
    }

    /// How `Retry-After` is written, if this says so.
    pub(super) fn of_retry_after(&self) -> Option<ResetFormat> {
        (self.name == http::header::RETRY_AFTER).then_some(match self.format {
            // A small number is no time long past, but seconds: never earlier than could be meant.
            ResetFormat::Epoch => ResetFormat::Auto,
            format => format,
        })
    }

    /// Looks for the header in a response with this status, sent when the server's clock showed
    /// `now()`.
    pub(super) fn find(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        now: &dyn Fn() -> SystemTime,
    ) -> HeaderReading {
        let found = longest(headers.get_all(&self.name), |value| {
            self.format.read(value, now)
        });
        let (Some(remaining), true) = (&self.remaining, found != HeaderReading::Nothing) else {
            return found;
        };
        match only(headers.get_all(remaining)).and_then(text::decimal) {
            Some((0, _)) => found,
            Some(_) => HeaderReading::Nothing,
            None if status == StatusCode::TOO_MANY_REQUESTS => found,
            None => HeaderReading::Unreadable,
        }
    }
}

impl ResetFormat {
    /// The time that is left, which is zero when the time has come.
    pub(super) fn read(self, value: &[u8], now: &dyn Fn() -> SystemTime) -> Option<Duration> {
        match self {
            Self::Seconds => text::seconds(value),
            Self::Milliseconds => text::milliseconds(value),
            Self::Epoch => Some(left(epoch(value)?, now())),
            Self::GoDuration => text::go_duration(value),
            Self::Rfc3339 => Some(left(text::rfc3339(value)?, now())),
            Self::Auto => match text::decimal(value) {
                Some((1_000_000_001.., _)) => Self::Epoch.read(value, now),
                Some(_) => Self::Seconds.read(value, now),
                None => text::go_duration(value).or_else(|| Self::Rfc3339.read(value, now)),
            },
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
