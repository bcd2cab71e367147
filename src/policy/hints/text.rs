//! The numbers and dates that hints are made of.

use std::time::{Duration, SystemTime};

/// A number of at least one ASCII digit and nothing else, saturating.
pub(super) fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        Some(number.saturating_mul(10).saturating_add(digit.into()))
    })
}

/// Digits with an optional fraction: the whole part, and the fraction in billionths. What is
/// finer is dropped.
pub(super) fn decimal(value: &[u8]) -> Option<(u64, u32)> {
    let mut parts = value.splitn(2, |&byte| byte == b'.');
    let whole = digits(parts.next()?)?;
    let billionths = match parts.next() {
        None => 0,
        Some(fraction) => {
            digits(fraction)?;
            (0..9).fold(0, |billionths, at| {
                billionths * 10 + fraction.get(at).map_or(0, |digit| u32::from(digit - b'0'))
            })
        }
    };
    Some((whole, billionths))
}

/// Seconds with an optional fraction.
pub(super) fn seconds(value: &[u8]) -> Option<Duration> {
    decimal(value).map(|(whole, billionths)| Duration::new(whole, billionths))
}

/// Milliseconds with an optional fraction: the vendors' own clients read a float.
pub(super) fn milliseconds(value: &[u8]) -> Option<Duration> {
    let (whole, billionths) = decimal(value)?;
    let fraction = Duration::from_nanos(u64::from(billionths) / 1_000);
    Some(Duration::from_millis(whole).saturating_add(fraction))
}

/// An HTTP date (RFC 9110, section 5.6.7) in any of its three formats.
pub(super) fn date(value: &[u8]) -> Option<SystemTime> {
    let value = std::str::from_utf8(value).ok()?;
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

/// Without the whitespace around it, which is what urllib3 strips: ASCII's and that of Latin-1,
/// NEL and the no-break space.
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
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
