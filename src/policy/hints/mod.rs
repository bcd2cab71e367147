//! What a server says about when to come back, and what becomes of it.
//!
//! [`RetryPolicy::default`](super::RetryPolicy::default) reads these headers of a failed response,
//! and obeys the first of this table that can be read:
//!
//! | | header | says | of |
//! | --- | --- | --- | --- |
//! | 1 | `grpc-retry-pushback-ms` | wait this many milliseconds, exactly; negative or unreadable: never | gRPC ([gRFC A6]) |
//! | 2 | `retry-after-ms`, then `x-ms-retry-after-ms` | wait this many milliseconds | OpenAI, Azure |
//! | 3 | `Retry-After` | wait this many seconds, or until this date | RFC 9110, section 10.2.3 |
//! | 4 | `RateLimit` | `r=0;t=7`: wait 7 seconds | [draft-ietf-httpapi-ratelimit-headers], feature `ratelimit` |
//! | 5 | `RateLimit-Policy` | `w=60` for a quota of which 4 says `r=0` and no `t`: wait at most 60 seconds | as 4 |
//! | 6 | each of [`reset_headers`] in order | wait this many seconds, or until this time | GitHub, X, Reddit and others; see [`ResetHeader`] |
//!
//! Before all of them, `x-should-retry: false` ([`should_retry_header`]) forbids the retry, as
//! OpenAI's, Anthropic's and Cloudflare's clients take it. `true` is no hint: it would overrule the
//! policy's own list of statuses, counts and methods.
//!
//! [`RetryPolicy::urllib3`](super::RetryPolicy::urllib3) reads `Retry-After` alone, as urllib3 does.
//!
//! # When a hint counts
//!
//! The response must be one that the policy would retry: its status is listed, or a classifier
//! says that it is transient. `Retry-After`, in all its spellings, asks for a retry by itself with
//! 413, 429 and 503; the other headers never make a status retryable. A gRPC call has failed if its
//! code says so, whatever the status; under [`RetryPolicy::grpc`](super::RetryPolicy::grpc) its
//! pushback is the only hint that is read, in the head and in the trailers.
//!
//! A hint of zero leaves the wait to the backoff, which is what keeps clients apart; only gRPC's
//! pushback is taken by its word. A header that cannot be read gives way to the next one and is
//! noted in the report ([`Note::HintIgnored`](super::Note::HintIgnored)). An empty one is absent.
//!
//! A number that can be read is obeyed, whatever the header's specification allows: fractions are
//! rounded up (`Retry-After: 1.5` is 2 seconds), and of a list (`5, 10`) or several lines the
//! longest time counts. So nobody comes back earlier than one of the numbers asks for.
//!
//! `RateLimit` is not looked at in a response from a cache (one with an `Age`), as the draft asks.
//! `r` above 0 is no hint, whatever `t`: the quota was not what the request failed for. When
//! several quotas are used up, the longest time counts. `RateLimit-Policy` is, by the draft, for
//! information; it is read only where `RateLimit` leaves the time open, since a quota is never
//! renewed later than after its whole window. A window longer than `retry_after_max` is no hint.
//!
//! Hints in bodies (`google.rpc.RetryInfo`, problem details) are read by `peek::PeekLayer::hints`
//! (feature `peek`), and those of any other layer below by
//! [`LayerOutcome::asked`](crate::stack::LayerOutcome::asked). They count where no header has one,
//! and are taken in the same ways.
//!
//! # Three ways to take it
//!
//! | way | setting | a hint within [`retry_after_max`] | a longer one |
//! | --- | --- | --- | --- |
//! | obey or give up (the default) | [`RetryAfterMode::GiveUp`] | is waited for | ends the request with [`RetryAfterTooLong`] |
//! | obey, but not for ever | [`RetryAfterMode::Clamp`] | is waited for | is cut to `retry_after_max` |
//! | ignore | [`respect_retry_after_header(false)`] | is not read | is not read |
//!
//! Ignoring means all of the headers above, the vetoes included. A deadline that the wait would
//! pass ends the request at once in each of them.
//!
//! # Jitter
//!
//! A crowd of clients that was told the same second would come back in it. So up to a tenth of
//! what was asked is added to it ([`retry_after_jitter`]), never taken away. What is compared with
//! `retry_after_max` is what was asked. gRPC's pushback is exact.
//!
//! # Dates
//!
//! A time of day is compared with the server's own clock: the response's `Date`, plus the `Age`
//! that caches give it. A client whose clock is wrong by an hour waits as long as any other. `Date`
//! has whole seconds, so the wait can be up to a second longer than meant, never shorter.
//!
//! Without a `Date` that can be read, the client's clock counts. A wrong `Date` does little harm:
//! usually the same wrong clock made the hint, and the difference is right all the same. If not,
//! then a `Date` that is too late makes the hint zero, which leaves the wait to the backoff, and
//! one that is too early makes it long, which [`retry_after_max`] is for.
//!
//! [gRFC A6]: https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback
//! [draft-ietf-httpapi-ratelimit-headers]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
//! [`reset_headers`]: super::RetryPolicyBuilder::reset_headers
//! [`should_retry_header`]: super::RetryPolicyBuilder::should_retry_header
//! [`retry_after_max`]: super::RetryPolicyBuilder::retry_after_max
//! [`retry_after_jitter`]: super::RetryPolicyBuilder::retry_after_jitter
//! [`RetryAfterMode::GiveUp`]: super::RetryAfterMode::GiveUp
//! [`RetryAfterMode::Clamp`]: super::RetryAfterMode::Clamp
//! [`RetryAfterTooLong`]: super::StopReason::RetryAfterTooLong
//! [`respect_retry_after_header(false)`]: super::RetryPolicyBuilder::respect_retry_after_header

mod clock;
#[cfg(feature = "ratelimit")]
mod rate_limit;
#[cfg(all(feature = "ratelimit", feature = "shared-hints"))]
pub(crate) use self::rate_limit::{Left, left};
mod reset;
mod retry_after;
mod text;
mod veto;

#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::GetAll};

pub use self::reset::{ResetFormat, ResetHeader};
pub(crate) use self::retry_after::as_urllib3_reads_it;
// Compared with other libraries by tests, and no API.
#[doc(hidden)]
pub use self::retry_after::{
    InvalidRetryAfter, RETRY_AFTER_STATUSES, parse_retry_after, retry_after, standard_retry_after,
};
pub use super::HintHeader;
use crate::header_names;

/// What a response says about when to come back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[doc(hidden)]
pub enum Hint {
    /// Nothing: no such header, or an empty one.
    #[default]
    Absent,
    /// A wait that the cap allows. Zero when the time has come already.
    Wait {
        /// The wait the server asks for.
        asked: Duration,
        /// Where it says so.
        header: HintHeader,
    },
    /// A wait longer than the cap.
    OverCap {
        /// The wait the server asks for.
        asked: Duration,
        /// The cap.
        cap: Duration,
        /// Where it says so.
        header: HintHeader,
    },
    /// A header that cannot be read.
    Invalid {
        /// Which one; the first, when there are several.
        header: HintHeader,
    },
}

impl Hint {
    fn new(asked: Duration, cap: Duration, header: HintHeader) -> Self {
        if asked > cap {
            Self::OverCap { asked, cap, header }
        } else {
            Self::Wait { asked, header }
        }
    }

    /// Whether the response has such a header, readable or not.
    ///
    /// This, with one of [`RETRY_AFTER_STATUSES`], is what urllib3 takes for a request to retry.
    pub const fn is_present(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    /// The wait the server asks for, whatever the cap.
    pub const fn asked(&self) -> Option<Duration> {
        match self {
            Self::Wait { asked, .. } | Self::OverCap { asked, .. } => Some(*asked),
            Self::Absent | Self::Invalid { .. } => None,
        }
    }

    /// The wait the server asks for, shortened to the cap, as urllib3's `retry_after_max` does.
    pub const fn clamped(&self) -> Option<Duration> {
        match self {
            Self::Wait { asked, .. } => Some(*asked),
            Self::OverCap { cap, .. } => Some(*cap),
            Self::Absent | Self::Invalid { .. } => None,
        }
    }

    /// The header it was found in.
    pub const fn header(&self) -> Option<&HintHeader> {
        match self {
            Self::Wait { header, .. } | Self::OverCap { header, .. } | Self::Invalid { header } => {
                Some(header)
            }
            Self::Absent => None,
        }
    }
}

/// Which hints a policy reads, besides those that it always reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hints<'a> {
    pub(crate) should_retry: Option<&'a HeaderName>,
    pub(crate) resets: &'a [ResetHeader],
}

impl Hints<'_> {
    /// Whether [`header_names::is_hint`] knows the names of all of them.
    pub(crate) fn are_usual(&self) -> bool {
        let resets = self.resets.iter().map(ResetHeader::name);
        let mut names = self.should_retry.into_iter().chain(resets);
        names.all(|name| header_names::is_hint(name.as_str()))
    }

    /// All that a response with this status says, when the client's clock shows
    /// `now()`.
    pub(crate) fn read(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        now: impl Fn() -> SystemTime,
        cap: Duration,
    ) -> HintReading {
        let mut said = HintReading::default();
        // An interim response promises another one.
        if status.is_informational() || headers.is_empty() {
            return said;
        }
        let now = || clock::server_now(headers, &now);
        if let Some(name) = self.should_retry {
            let header = || name.clone().into();
            said.take(veto::should_retry(headers, name), header, cap);
        }
        let pushback = || HintHeader::GrpcRetryPushbackMs;
        said.take(veto::pushback(headers), pushback, cap);
        let format = self.resets.iter().find_map(ResetHeader::of_retry_after);
        for header in retry_after::ORDER {
            let found = retry_after::find(&header, format, headers, &now);
            said.asks_for_retry |= !matches!(found, HeaderReading::Nothing);
            said.take(found, || header.clone(), cap);
        }
        // The first that can be read has been found: no need to look at the rest.
        if said.hint.is_present() {
            return said;
        }
        #[cfg(feature = "ratelimit")]
        {
            let (found, header) = rate_limit::find(headers, cap);
            said.take(found, || header.clone(), cap);
        }
        for reset in self.resets {
            if reset.of_retry_after().is_some() {
                continue;
            }
            let header = || reset.name().clone().into();
            said.take(reset.find(status, headers, &now), header, cap);
        }
        said
    }
}

/// All that a response says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HintReading {
    /// A header that forbids the retry.
    pub(crate) veto: Option<HintHeader>,
    /// The first hint that could be read; never [`Hint::Invalid`].
    pub(crate) hint: Hint,
    /// The first header that could not be read.
    pub(crate) ignored: Option<HintHeader>,
    /// Whether there is a `Retry-After` in any spelling, readable or not.
    pub(crate) asks_for_retry: bool,
}

impl HintReading {
    fn take(&mut self, found: HeaderReading, header: impl Fn() -> HintHeader, cap: Duration) {
        match found {
            HeaderReading::Nothing => {}
            HeaderReading::Wait(asked) | HeaderReading::Partly(asked) => {
                if found != HeaderReading::Wait(asked) {
                    self.ignored.get_or_insert_with(&header);
                }
                if !self.hint.is_present() {
                    self.hint = Hint::new(asked, cap, header());
                }
            }
            HeaderReading::Never => {
                self.veto.get_or_insert_with(header);
            }
            HeaderReading::Unreadable => {
                self.ignored.get_or_insert_with(header);
            }
        }
    }

    /// gRPC's pushback alone, in the head or the trailers of a response.
    pub(crate) fn pushback(
        headers: &HeaderMap,
        trailers: Option<&HeaderMap>,
        cap: Duration,
    ) -> Self {
        let mut said = Self::default();
        let header = || HintHeader::GrpcRetryPushbackMs;
        said.take(veto::pushback(headers), header, cap);
        said.and_trailers(trailers, cap)
    }

    /// What the trailers say as well. Only gRPC has hints there, and its pushback goes first.
    pub(crate) fn and_trailers(mut self, trailers: Option<&HeaderMap>, cap: Duration) -> Self {
        let header = HintHeader::GrpcRetryPushbackMs;
        match trailers.map_or(HeaderReading::Nothing, veto::pushback) {
            HeaderReading::Wait(asked) => self.hint = Hint::new(asked, cap, header),
            HeaderReading::Never => {
                self.veto.get_or_insert(header);
            }
            HeaderReading::Nothing | HeaderReading::Partly(_) | HeaderReading::Unreadable => {}
        }
        self
    }

    /// In one word: the hint, or the header that could not be read.
    fn into_hint(self) -> Hint {
        match (self.hint, self.ignored) {
            (Hint::Absent, Some(header)) => Hint::Invalid { header },
            (hint, _) => hint,
        }
    }
}

/// What one header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeaderReading {
    Nothing,
    Wait(Duration),
    /// The same, beside something that cannot be read.
    Partly(Duration),
    Never,
    Unreadable,
}

/// The longest time of a header, whose values can be lists.
fn longest(
    values: GetAll<'_, HeaderValue>,
    read: impl Fn(&[u8]) -> Option<Duration>,
) -> HeaderReading {
    let (mut longest, mut unreadable) = (None, false);
    for value in values {
        let is_empty = |byte: &u8| matches!(byte, b' ' | b'\t');
        if value.as_bytes().iter().all(is_empty) {
            continue;
        }
        let elements = text::elements(value.as_bytes());
        let mut elements = elements.filter(|element| !element.is_empty()).peekable();
        unreadable |= elements.peek().is_none();
        for element in elements {
            match read(element) {
                Some(wait) => longest = longest.max(Some(wait)),
                None => unreadable = true,
            }
        }
    }
    match longest {
        Some(wait) if unreadable => HeaderReading::Partly(wait),
        Some(wait) => HeaderReading::Wait(wait),
        None if unreadable => HeaderReading::Unreadable,
        None => HeaderReading::Nothing,
    }
}

/// The value of a header that is no list, trimmed. `Err` if there is none, or no single one.
///
/// Only the whitespace of RFC 9110, section 5.6.3, is not part of a value. To urllib3, the other
/// kinds alone make a header that is there, and that it cannot read.
fn one<'a>(values: GetAll<'a, HeaderValue>) -> Result<&'a [u8], HeaderReading> {
    let mut values = values.iter();
    let Some(value) = values.next() else {
        return Err(HeaderReading::Nothing);
    };
    if values.next().is_some() {
        return Err(HeaderReading::Unreadable);
    }
    match text::trim(value.as_bytes()) {
        [] if value
            .as_bytes()
            .iter()
            .all(|byte| matches!(byte, b' ' | b'\t')) =>
        {
            Err(HeaderReading::Nothing)
        }
        [] => Err(HeaderReading::Unreadable),
        value => Ok(value),
    }
}

/// [`one`], without the difference between none and several.
fn only<'a>(values: GetAll<'a, HeaderValue>) -> Option<&'a [u8]> {
    one(values).ok()
}
