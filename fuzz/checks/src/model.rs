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

/// A number with or without a fraction, in billionths, rounded up.
fn billionths(text: &str) -> Option<u128> {
    const BILLION: u128 = 1_000_000_000;
    let Some((whole, fraction)) = text.split_once('.') else {
        return Some(u128::from(digits(text)?) * BILLION);
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = digits(&format!("0{whole}"))?;
    digits(&format!("0{fraction}"))?;
    let nine: String = format!("{fraction}000000000").chars().take(9).collect();
    let part: u128 = nine.parse().expect("nine digits");
    let finer = fraction.chars().skip(9).any(|digit| digit != '0');
    let most = u128::from(u64::MAX) * BILLION + BILLION - 1;
    let all = u128::from(whole) * BILLION + part + u128::from(finer);
    // Beyond the longest time, the carry is lost.
    Some(if all > most {
        u128::from(u64::MAX) * BILLION
    } else {
        all
    })
}

fn of_nanos(nanos: u128) -> Duration {
    let secs = u64::try_from(nanos / 1_000_000_000).expect("at most a u64");
    let rest = u32::try_from(nanos % 1_000_000_000).expect("below a second");
    Duration::new(secs, rest)
}

pub(super) fn seconds(text: &str) -> Option<Duration> {
    billionths(text).map(of_nanos)
}

pub(super) fn milliseconds(text: &str) -> Option<Duration> {
    Some(of_nanos(billionths(text)?.div_ceil(1000)))
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

/// What is between the commas, but for those of dates.
fn elements(value: &[u8]) -> Vec<String> {
    let pieces: Vec<String> = trimmed(value).split(',').map(str::to_owned).collect();
    let mut elements = Vec::new();
    let mut at = 0;
    while at < pieces.len() {
        let day = pieces[at].trim();
        let is_day = (3..=9).contains(&day.len()) && day.chars().all(|c| c.is_ascii_alphabetic());
        let both = pieces[at..pieces.len().min(at + 2)].join(",");
        if is_day && at + 1 < pieces.len() && date(both.trim()).is_some() {
            elements.push(both.trim().to_owned());
            at += 2;
        } else {
            elements.push(day.to_owned());
            at += 1;
        }
    }
    elements.retain(|element| !element.is_empty());
    elements
}

/// The longest time that the values of a header say.
fn longest(values: &[&[u8]], read: impl Fn(&str) -> Option<Duration>) -> Said {
    let is_there = |value: &&&[u8]| !value.iter().all(|byte| b" \t".contains(byte));
    let values: Vec<_> = values.iter().filter(is_there).collect();
    if values.is_empty() {
        return Said::Nothing;
    }
    let elements = values.iter().flat_map(|value| elements(value));
    elements.filter_map(|element| read(&element)).max().into()
}

/// `Retry-After` as urllib3 reads it, when the clock shows `now`.
pub(super) fn standard(exchange: &Exchange, now: Duration) -> Said {
    match single(&exchange.values(RETRY_AFTER.as_str())) {
        Err(said) => said,
        Ok(text) => {
            let seconds = digits(&text).map(Duration::from_secs);
            let left = || date(&text).map(|date| date.saturating_sub(now));
            seconds.or_else(left).into()
        }
    }
}

/// `Retry-After` in one of its spellings, when the clock shows `now`.
pub(super) fn retry_after(exchange: &Exchange, header: &HintHeader, now: Duration) -> Said {
    let values = exchange.values(header.as_str());
    if header.as_str() != RETRY_AFTER {
        return longest(&values, milliseconds);
    }
    longest(&values, |text| {
        let whole = seconds(text).map(|time| {
            let more = u64::from(time.subsec_nanos() > 0);
            Duration::from_secs(time.as_secs().saturating_add(more))
        });
        whole.or_else(|| date(text).map(|date| date.saturating_sub(now)))
    })
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

/// One of the default preset's reset headers. `None` for what is no number where other forms
/// count.
pub(super) fn reset(exchange: &Exchange, prefix: &str, now: Duration) -> Option<Said> {
    let values = exchange.values(&format!("{prefix}reset"));
    let numbers_only = prefix == "x-rate-limit-";
    let mut all = values.iter().flat_map(|value| elements(value));
    if !numbers_only && all.any(|element| seconds(&element).is_none()) {
        return None;
    }
    let said = longest(&values, |text| {
        let number = seconds(text)?;
        let at = if number.as_secs() > 100_000_000_000 {
            milliseconds(text).expect("it is a number")
        } else {
            number
        };
        Some(match prefix {
            "x-rate-limit-" => at.saturating_sub(now),
            _ if number.as_secs() > 1_000_000_000 => at.saturating_sub(now),
            _ => number,
        })
    });
    if said == Said::Nothing {
        return Some(said);
    }
    let remaining = single(&exchange.values(&format!("{prefix}remaining"))).ok();
    let remaining = remaining.as_deref().and_then(seconds);
    Some(match remaining {
        Some(left) if left.as_secs() == 0 => said,
        Some(_) => Said::Nothing,
        None if exchange.status == StatusCode::TOO_MANY_REQUESTS => said,
        None => Said::Unreadable,
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
