//! `Retry-After` and its spellings in milliseconds.

use std::{
    error::Error,
    fmt,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, StatusCode};

use super::{HeaderReading, Hint, HintHeader, HintReading, ResetFormat, longest, one, text};

#[cfg(test)]
mod tests;

/// The statuses with which `Retry-After` alone asks for a retry, listed or not: 413, 429 and 503.
///
/// RFC 9110 gives the field a meaning with 413 (section 15.5.14) and 503 (section 15.6.4),
/// RFC 6585, section 4, with 429. These are urllib3's `RETRY_AFTER_STATUS_CODES`, too. The meaning
/// that RFC 9110, section 10.2.3, gives it with 3xx concerns the redirected request, not this one.
pub const RETRY_AFTER_STATUSES: [StatusCode; 3] = [
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::SERVICE_UNAVAILABLE,
];

/// What a response says about when to come back, in any of the headers in use.
///
/// Looks at `retry-after-ms`, then `x-ms-retry-after-ms`, then `Retry-After`, and takes the first
/// that can be read. A server that sends a header in milliseconds beside `Retry-After` rounded the
/// latter, so the finer one comes first; Azure's JavaScript SDK (`AllRetryAfterHeaders`) and
/// OpenAI's Python client (`_parse_retry_after_header`) read them in this order, too.
///
/// A header without a value counts as absent. One that is there more than once, or is a list,
/// says the longest of its times: `Retry-After` is no list (RFC 9110, section 10.2.3), but coming
/// back earlier than one of them asks for would be no better a guess. A fraction of a second in
/// `Retry-After` is rounded up.
///
/// Any final `status` is answered, because a policy may list any: RFC 9110, section 10.2.3, says
/// of every response that the field tells how long to wait before a follow-up request. Whether the
/// status is retried is the policy's decision; see [`RETRY_AFTER_STATUSES`]. An interim response
/// (1xx) promises another one, so it has no such hint.
///
/// `now` is the wall clock; only a date is compared with it.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use http::{HeaderMap, HeaderValue, StatusCode, header::RETRY_AFTER};
/// use tower_http_retry::policy::{Hint, HintHeader, retry_after};
///
/// let mut headers = HeaderMap::new();
/// headers.insert(RETRY_AFTER, HeaderValue::from_static("3600"));
/// let hint = retry_after(
///     StatusCode::SERVICE_UNAVAILABLE,
///     &headers,
///     SystemTime::UNIX_EPOCH,
///     Duration::from_secs(60),
/// );
/// assert_eq!(hint, Hint::OverCap {
///     asked: Duration::from_secs(3600),
///     cap: Duration::from_secs(60),
///     header: HintHeader::RetryAfter,
/// });
/// ```
pub fn retry_after(
    status: StatusCode,
    headers: &HeaderMap,
    now: SystemTime,
    cap: Duration,
) -> Hint {
    let mut said = HintReading::default();
    if !status.is_informational() {
        for header in ORDER {
            let found = find(&header, None, headers, &|| now);
            said.take(found, || header.clone(), cap);
        }
    }
    said.into_hint()
}

/// What a response says about when to come back in `Retry-After` alone, as urllib3 reads it.
///
/// Only one number of whole seconds or one date can be read. Otherwise as [`retry_after`].
pub fn standard_retry_after(
    status: StatusCode,
    headers: &HeaderMap,
    now: SystemTime,
    cap: Duration,
) -> Hint {
    as_urllib3_reads_it(status, headers, || now, cap)
}

/// [`standard_retry_after`], with a clock that is read only for a date.
pub(crate) fn as_urllib3_reads_it(
    status: StatusCode,
    headers: &HeaderMap,
    now: impl Fn() -> SystemTime,
    cap: Duration,
) -> Hint {
    let mut said = HintReading::default();
    if !status.is_informational() {
        let found = match one(headers.get_all(http::header::RETRY_AFTER)) {
            Ok(value) => {
                seconds_or_date(value, &now).map_or(HeaderReading::Unreadable, HeaderReading::Wait)
            }
            Err(found) => found,
        };
        said.take(found, || HintHeader::RetryAfter, cap);
    }
    said.into_hint()
}

/// The spellings of `Retry-After`, in the order in which they are read.
pub(super) const ORDER: [HintHeader; 3] = [
    HintHeader::RetryAfterMs,
    HintHeader::XMsRetryAfterMs,
    HintHeader::RetryAfter,
];

/// Looks for one spelling, when the clock to compare a date with shows `now()`. `format` is how
/// the user says that `Retry-After` is written.
pub(super) fn find(
    header: &HintHeader,
    format: Option<ResetFormat>,
    headers: &HeaderMap,
    now: &dyn Fn() -> SystemTime,
) -> HeaderReading {
    let values = headers.get_all(header.name());
    match header {
        HintHeader::RetryAfter => longest(values, |value| {
            let other = format.and_then(|format| format.read(value, now));
            other.or_else(|| lenient(value, now))
        }),
        _ => longest(values, text::milliseconds),
    }
}

/// Seconds, of which a fraction is rounded up, or a date.
fn lenient(value: &[u8], now: &dyn Fn() -> SystemTime) -> Option<Duration> {
    text::whole_seconds(value).or_else(|| seconds_or_date(value, now))
}

/// The value of a `Retry-After` header as the time left from `now`.
///
/// Both forms of RFC 9110, section 10.2.3, are read: a number of seconds, however long (it
/// saturates), and a date in any of the three formats of section 5.6.7, from the year 1970 on
/// (which is also where the two-digit years of the second format begin). A date that has passed
/// gives zero. Whitespace around the value is ignored.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tower_http_retry::policy::parse_retry_after;
///
/// let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
/// let wait = parse_retry_after(b"Sun, 06 Nov 1994 08:49:37 GMT", now).unwrap();
/// assert_eq!(wait, Duration::from_secs(7));
/// assert_eq!(parse_retry_after(b"120", now).unwrap(), Duration::from_secs(120));
/// assert_eq!(
///     parse_retry_after(b"soon", now).unwrap_err().to_string(),
///     "`retry-after` is \"soon\": must be a number of seconds or an HTTP date",
/// );
/// ```
///
/// # Errors
///
/// The value is neither.
pub fn parse_retry_after(value: &[u8], now: SystemTime) -> Result<Duration, InvalidRetryAfter> {
    seconds_or_date(text::trim(value), &|| now).ok_or_else(|| InvalidRetryAfter::new(value))
}

fn seconds_or_date(value: &[u8], now: &dyn Fn() -> SystemTime) -> Option<Duration> {
    if let Some(seconds) = text::digits(value) {
        return Some(Duration::from_secs(seconds));
    }
    let date = text::date(value)?;
    Some(date.duration_since(now()).unwrap_or(Duration::ZERO))
}

/// A `Retry-After` value that is neither a number of seconds nor an HTTP date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRetryAfter {
    value: String,
}

impl InvalidRetryAfter {
    /// So much of a value is kept: it comes from the network and ends in logs.
    const KEPT: usize = 64;

    fn new(value: &[u8]) -> Self {
        let kept = &value[..value.len().min(Self::KEPT)];
        let mut text = String::from_utf8_lossy(kept).into_owned();
        if kept.len() < value.len() {
            text.push('…');
        }
        Self { value: text }
    }

    /// The value, or its beginning if it is long.
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Display for InvalidRetryAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`retry-after` is {:?}: must be a number of seconds or an HTTP date",
            self.value
        )
    }
}

impl Error for InvalidRetryAfter {}
