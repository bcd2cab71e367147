//! What the headers say, read a second time in the plainest way.

use std::time::Duration;

use http::{StatusCode, header::RETRY_AFTER};
use tower_http_retry::policy::HintHeader;

use super::exchange::{Exchange, NOW};

/// What one header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Nothing,
    Wait(Duration),
    Never,
    Unreadable,
}

impl From<Option<Duration>> for Said {
    fn from(wait: Option<Duration>) -> Self {
        wait.map_or(Self::Unreadable, Self::Wait)
    }
}

/// Without the whitespace around it, in Latin-1.
pub(super) fn trimmed(value: &[u8]) -> String {
    let text: String = value.iter().map(|byte| char::from(*byte)).collect();
    text.trim().to_owned()
}

/// A number that is written in digits, at most `u64::MAX`.
pub(super) fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let text = text.trim_start_matches('0');
    if text.len() > 20 {
        return Some(u64::MAX);
    }
    let number: u128 = format!("0{text}").parse().expect("twenty digits");
    Some(u64::try_from(number).unwrap_or(u64::MAX))
}

/// A number with or without a fraction: the whole part, and the first nine digits of the fraction.
fn decimal(text: &str) -> Option<(u64, u32)> {
    let Some((whole, fraction)) = text.split_once('.') else {
        return Some((digits(text)?, 0));
    };
    digits(fraction)?;
    let nine: String = format!("{fraction}000000000").chars().take(9).collect();
    Some((digits(whole)?, nine.parse().expect("nine digits")))
}

pub(super) fn seconds(text: &str) -> Option<Duration> {
    decimal(text).map(|(whole, billionths)| Duration::new(whole, billionths))
}

pub(super) fn milliseconds(text: &str) -> Option<Duration> {
    let (whole, billionths) = decimal(text)?;
    let nanos = u128::from(whole) * 1_000_000 + u128::from(billionths / 1000);
    let secs = u64::try_from(nanos / 1_000_000_000).expect("a thousandth of a u64");
    let rest = u32::try_from(nanos % 1_000_000_000).expect("below a second");
    Some(Duration::new(secs, rest))
}

/// A date, counted from 1970.
pub(super) fn date(text: &str) -> Option<Duration> {
    if digits(text).is_some() {
        return None;
    }
    // The parser is looked at by itself; see `retry_after`.
    let epoch = std::time::SystemTime::UNIX_EPOCH;
    tower_http_retry::policy::parse_retry_after(text.as_bytes(), epoch).ok()
}

/// The value of a header that is no list.
pub(super) fn single(values: &[&[u8]]) -> Result<String, Said> {
    match values {
        [] => Err(Said::Nothing),
        [value] if value.iter().all(|byte| b" \t".contains(byte)) => Err(Said::Nothing),
        [value] if trimmed(value).is_empty() => Err(Said::Unreadable),
        [value] => Ok(trimmed(value)),
        _ => Err(Said::Unreadable),
    }
}

/// The server's clock, counted from 1970.
pub(super) fn server_now(exchange: &Exchange) -> Duration {
    let of = |name| single(&exchange.values(name)).ok();
    match of("date").as_deref().and_then(date) {
        Some(date) => {
            let age = of("age").as_deref().and_then(digits).unwrap_or(0);
            // What no clock can show is not added.
            let most = Duration::from_secs(i64::MAX.unsigned_abs());
            let aged = date.saturating_add(Duration::from_secs(age));
            if aged > most { date } else { aged }
        }
        None => NOW,
    }
}

/// `Retry-After` in one of its spellings, when the clock shows `now`.
pub(super) fn retry_after(exchange: &Exchange, header: &HintHeader, now: Duration) -> Said {
    match single(&exchange.values(header.as_str())) {
        Err(said) => said,
        Ok(text) if header.as_str() == RETRY_AFTER => {
            let seconds = digits(&text).map(Duration::from_secs);
            let left = || date(&text).map(|date| date.saturating_sub(now));
            seconds.or_else(left).into()
        }
        Ok(text) => milliseconds(&text).into(),
    }
}

/// The spellings of `Retry-After`, in the order in which they are read.
pub(super) const SPELLINGS: [HintHeader; 3] = [
    HintHeader::RetryAfterMs,
    HintHeader::XMsRetryAfterMs,
    HintHeader::RetryAfter,
];

/// gRFC A6.
pub(super) fn pushback(exchange: &Exchange) -> Said {
    let values = exchange.values("grpc-retry-pushback-ms");
    let text = match values.as_slice() {
        [] => return Said::Nothing,
        [value] => trimmed(value),
        _ => return Said::Never,
    };
    match digits(&text) {
        Some(ms) if ms < 1 << 31 => Said::Wait(Duration::from_millis(ms)),
        _ => Said::Never,
    }
}

/// `x-should-retry: false`.
pub(super) fn is_forbidden(exchange: &Exchange) -> bool {
    let values = exchange.values("x-should-retry");
    let mut values = values.iter().map(|value| trimmed(value));
    values.any(|value| value.eq_ignore_ascii_case("false"))
}

/// One of the default preset's reset headers.
pub(super) fn reset(exchange: &Exchange, prefix: &str, now: Duration) -> Said {
    let text = single(&exchange.values(&format!("{prefix}reset")));
    if text == Err(Said::Nothing) {
        return Said::Nothing;
    }
    let remaining = single(&exchange.values(&format!("{prefix}remaining"))).ok();
    let remaining = remaining.as_deref().and_then(decimal);
    let is_for_this = match remaining {
        Some((whole, _)) => whole == 0,
        None => exchange.status == StatusCode::TOO_MANY_REQUESTS,
    };
    let text = match text {
        _ if !is_for_this => return Said::Nothing,
        Err(said) => return said,
        Ok(text) => text,
    };
    let Some(number) = seconds(&text) else {
        return Said::Unreadable;
    };
    let at = if number.as_secs() > 100_000_000_000 {
        milliseconds(&text).expect("it is a number")
    } else {
        number
    };
    Said::Wait(match prefix {
        "x-rate-limit-" => at.saturating_sub(now),
        _ if number.as_secs() > 1_000_000_000 => at.saturating_sub(now),
        _ => number,
    })
}

/// What a simple `RateLimit` says: strings or tokens, each with `r` and `t` and nothing else.
/// `None` if it is not that simple.
#[cfg(feature = "ratelimit")]
pub(super) fn rate_limit(exchange: &Exchange) -> Option<Said> {
    let values = exchange.values("ratelimit");
    let age = single(&exchange.values("age")).ok();
    if values.is_empty() || age.as_deref().and_then(digits).unwrap_or(0) > 0 {
        return Some(Said::Nothing);
    }
    let mut longest = None;
    for value in values {
        for quota in std::str::from_utf8(value).ok()?.split(", ") {
            let quota = quota.strip_prefix('"')?;
            let (name, rest) = quota.split_once("\";r=")?;
            let (left, time) = rest.split_once(";t=")?;
            let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase());
            // Fifteen digits are the most (RFC 9651, section 3.3.1).
            if !plain(name) || left.len() > 15 || time.len() > 15 {
                return None;
            }
            if digits(left)? == 0 {
                longest = longest.max(Some(digits(time)?));
            } else {
                digits(time)?;
            }
        }
    }
    Some(longest.map_or(Said::Nothing, |time| Said::Wait(Duration::from_secs(time))))
}
