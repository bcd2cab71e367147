//! What the server says about when to come back.
//!
//! Pure functions of the response's status and headers, the wall clock and a cap.

use std::{
    error::Error,
    fmt,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderValue, StatusCode, header::RETRY_AFTER};

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

/// A header that can carry a [`Hint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum HintHeader {
    /// `retry-after`: seconds or a date (RFC 9110, section 10.2.3).
    RetryAfter,
    /// `retry-after-ms`: milliseconds, sent by OpenAI's and Azure's services.
    RetryAfterMs,
    /// `x-ms-retry-after-ms`: milliseconds, sent by Azure's services, for instance Cosmos DB.
    XMsRetryAfterMs,
}

impl HintHeader {
    /// The header's name, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RetryAfter => "retry-after",
            Self::RetryAfterMs => "retry-after-ms",
            Self::XMsRetryAfterMs => "x-ms-retry-after-ms",
        }
    }
}

impl fmt::Display for HintHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a response says about when to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// Nothing: no such header, or an empty one.
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
    pub const fn header(&self) -> Option<HintHeader> {
        match self {
            Self::Wait { header, .. } | Self::OverCap { header, .. } | Self::Invalid { header } => {
                Some(*header)
            }
            Self::Absent => None,
        }
    }
}

/// What a response says about when to come back, in any of the headers in use.
///
/// Looks at `retry-after-ms`, then `x-ms-retry-after-ms`, then `Retry-After`, and takes the first
/// that can be read. A server that sends a header in milliseconds beside `Retry-After` rounded the
/// latter, so the finer one comes first; Azure's JavaScript SDK (`AllRetryAfterHeaders`) and
/// OpenAI's Python client (`_parse_retry_after_header`) read them in this order, too.
///
/// A header without a value counts as absent. One that is there more than once is unreadable:
/// `Retry-After` is no list (RFC 9110, section 10.2.3), and none of the values is better than
/// another.
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
    let order = [
        HintHeader::RetryAfterMs,
        HintHeader::XMsRetryAfterMs,
        HintHeader::RetryAfter,
    ];
    first_readable(&order, status, headers, now, cap)
}

/// What a response says about when to come back in `Retry-After` alone, as urllib3 reads it.
///
/// Otherwise as [`retry_after`].
pub fn standard_retry_after(
    status: StatusCode,
    headers: &HeaderMap,
    now: SystemTime,
    cap: Duration,
) -> Hint {
    first_readable(&[HintHeader::RetryAfter], status, headers, now, cap)
}

fn first_readable(
    order: &[HintHeader],
    status: StatusCode,
    headers: &HeaderMap,
    now: SystemTime,
    cap: Duration,
) -> Hint {
    let mut unreadable = Hint::Absent;
    if status.is_informational() {
        return unreadable;
    }
    for &header in order {
        match find(header, headers, now) {
            Found::Nothing => {}
            Found::Wait(asked) if asked > cap => return Hint::OverCap { asked, cap, header },
            Found::Wait(asked) => return Hint::Wait { asked, header },
            Found::Unreadable if unreadable.is_present() => {}
            Found::Unreadable => unreadable = Hint::Invalid { header },
        }
    }
    unreadable
}

enum Found {
    Nothing,
    Wait(Duration),
    Unreadable,
}

fn find(header: HintHeader, headers: &HeaderMap, now: SystemTime) -> Found {
    let mut values = match header {
        HintHeader::RetryAfter => headers.get_all(RETRY_AFTER),
        HintHeader::RetryAfterMs | HintHeader::XMsRetryAfterMs => headers.get_all(header.as_str()),
    }
    .iter()
    .map(HeaderValue::as_bytes);

    let Some(value) = values.next() else {
        return Found::Nothing;
    };
    if values.next().is_some() {
        return Found::Unreadable;
    }
    // Only the whitespace of RFC 9110, section 5.6.3, is not part of a value. To urllib3, the other
    // kinds make a header that is there, and that it cannot read.
    if value.iter().all(|byte| matches!(byte, b' ' | b'\t')) {
        return Found::Nothing;
    }
    let value = trim(value);
    let wait = match header {
        HintHeader::RetryAfter => seconds_or_date(value, now),
        HintHeader::RetryAfterMs | HintHeader::XMsRetryAfterMs => milliseconds(value),
    };
    wait.map_or(Found::Unreadable, Found::Wait)
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
///     "`retry-after` is \"soon\": allowed is a number of seconds or an HTTP date",
/// );
/// ```
///
/// # Errors
///
/// The value is neither.
pub fn parse_retry_after(value: &[u8], now: SystemTime) -> Result<Duration, InvalidRetryAfter> {
    seconds_or_date(trim(value), now).ok_or_else(|| InvalidRetryAfter::new(value))
}

fn seconds_or_date(value: &[u8], now: SystemTime) -> Option<Duration> {
    if let Some(seconds) = digits(value) {
        return Some(Duration::from_secs(seconds));
    }
    let date = date(std::str::from_utf8(value).ok()?)?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

fn date(value: &str) -> Option<SystemTime> {
    // `httpdate` takes any byte for the space between the day and the time of RFC 850's form.
    if value.ends_with("GMT") && value.as_bytes().iter().nth_back(12) != Some(&b' ') {
        return None;
    }
    // The grammar knows leap seconds, `httpdate` does not.
    const LEAP: &str = "23:59:60";
    if value.contains(LEAP) {
        let before = httpdate::parse_http_date(&value.replace(LEAP, "23:59:59")).ok()?;
        return before.checked_add(Duration::from_secs(1));
    }
    httpdate::parse_http_date(value).ok()
}

/// Milliseconds, with an optional fraction: the vendors' own clients read a float.
fn milliseconds(value: &[u8]) -> Option<Duration> {
    let mut parts = value.splitn(2, |&byte| byte == b'.');
    let whole = digits(parts.next()?)?;
    let nanos = match parts.next() {
        None => 0,
        Some(fraction) => {
            digits(fraction)?;
            // Six digits make nanoseconds; what is finer is dropped.
            (0..6).fold(0, |nanos, at| {
                nanos * 10 + fraction.get(at).map_or(0, |digit| u64::from(digit - b'0'))
            })
        }
    };
    Some(Duration::from_millis(whole).saturating_add(Duration::from_nanos(nanos)))
}

/// A number of at least one ASCII digit and nothing else, saturating.
fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        Some(number.saturating_mul(10).saturating_add(digit.into()))
    })
}

/// Without the whitespace around it, which is what urllib3 strips: ASCII's and that of Latin-1,
/// NEL and the no-break space.
fn trim(mut value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b'\t'..=b'\r' | b' ' | 0x85 | 0xa0);
    while let [first, rest @ ..] = value {
        if !is_space(first) {
            break;
        }
        value = rest;
    }
    while let [rest @ .., last] = value {
        if !is_space(last) {
            break;
        }
        value = rest;
    }
    value
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
            "`retry-after` is {:?}: allowed is a number of seconds or an HTTP date",
            self.value
        )
    }
}

impl Error for InvalidRetryAfter {}
