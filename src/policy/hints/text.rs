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

/// Digits with an optional fraction, as a whole number of billionths in two parts. What is finer
/// is rounded up: nobody comes back earlier than asked.
pub(super) fn decimal(value: &[u8]) -> Option<(u64, u32)> {
    let mut parts = value.splitn(2, |&byte| byte == b'.');
    let (whole, fraction) = (parts.next()?, parts.next());
    let Some(fraction) = fraction else {
        return Some((digits(whole)?, 0));
    };
    // `5.` and `.5` are numbers to the vendors' own clients, too.
    let number = |digits_of: &[u8]| match digits_of {
        [] => Some(0),
        some => digits(some),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = number(whole)?;
    number(fraction)?;
    let billionths = (0..9).fold(0, |billionths, at| {
        billionths * 10 + fraction.get(at).map_or(0, |digit| u32::from(digit - b'0'))
    });
    let finer = fraction.iter().skip(9).any(|digit| *digit != b'0');
    match billionths + u32::from(finer) {
        1_000_000_000 => Some((whole.saturating_add(1), 0)),
        billionths => Some((whole, billionths)),
    }
}

/// Seconds with an optional fraction.
pub(super) fn seconds(value: &[u8]) -> Option<Duration> {
    decimal(value).map(|(whole, billionths)| Duration::new(whole, billionths))
}

/// Seconds, of which a part of one counts as a whole one.
pub(super) fn whole_seconds(value: &[u8]) -> Option<Duration> {
    let (whole, billionths) = decimal(value)?;
    Some(Duration::from_secs(
        whole.saturating_add(u64::from(billionths > 0)),
    ))
}

/// Milliseconds with an optional fraction: the vendors' own clients read a float.
pub(super) fn milliseconds(value: &[u8]) -> Option<Duration> {
    let (whole, billionths) = decimal(value)?;
    let fraction = Duration::from_nanos(u64::from(billionths).div_ceil(1_000));
    Some(Duration::from_millis(whole).saturating_add(fraction))
}

/// The units of Go's durations. `µ` has two code points in use.
const GO_UNITS: [(&str, u64); 8] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ns", 1),
];

/// A duration as Go writes it (`time.Duration.String`): `6m0s`, `1.5s`, `250ms`. Negative ones
/// are none.
pub(super) fn go_duration(value: &[u8]) -> Option<Duration> {
    let mut rest = std::str::from_utf8(value).ok()?;
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let (number, tail) = rest.split_at(rest.find(|c| !is_number(c))?);
        let (unit, tail) = tail.split_at(tail.find(is_number).unwrap_or(tail.len()));
        let (_, nanos) = GO_UNITS.iter().find(|(name, _)| *name == unit)?;
        let (whole, billionths) = decimal(number.as_bytes())?;
        sum = sum.saturating_add(times(whole, billionths, *nanos));
        rest = tail;
    }
    (!value.is_empty()).then_some(sum)
}

/// A number of units of so many nanoseconds, rounded up.
fn times(whole: u64, billionths: u32, nanos: u64) -> Duration {
    let part = (u128::from(billionths) * u128::from(nanos)).div_ceil(1_000_000_000);
    let all = (u128::from(whole) * u128::from(nanos)).saturating_add(part);
    let secs = u64::try_from(all / 1_000_000_000).unwrap_or(u64::MAX);
    Duration::new(secs, (all % 1_000_000_000) as u32)
}

/// A time as RFC 3339, section 5.6, has it, since the epoch; zero for one before it.
pub(super) fn rfc3339(value: &[u8]) -> Option<Duration> {
    let mut rest = value;
    let year = number(&mut rest, 4)?;
    let (month, day) = (part(&mut rest, b"-")?, part(&mut rest, b"-")?);
    // The space is the section's own suggestion for readers.
    let (hour, minute) = (part(&mut rest, b"Tt ")?, part(&mut rest, b":")?);
    let second = part(&mut rest, b":")?;
    let mut fraction = 0;
    if let Some((b'.', tail)) = rest.split_first() {
        let end = tail.iter().position(|byte| !byte.is_ascii_digit())?;
        if end == 0 {
            return None;
        }
        let (whole, billionths) = decimal(&rest[..=end])?;
        fraction = whole * 1_000_000_000 + u64::from(billionths);
        rest = &tail[end..];
    }
    let offset = match rest {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), ..] => {
            let hours = part(&mut rest, b"+-")?;
            let minutes = part(&mut rest, b":")?;
            if !rest.is_empty() || hours > 23 || minutes > 59 {
                return None;
            }
            let minutes = hours * 60 + minutes;
            if *sign == b'+' { minutes } else { -minutes }
        }
        _ => return None,
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    // A minute's last second can be a leap second.
    if !(1..=days_in_month).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let minutes = (days_since_epoch(year, month, day) * 24 + hour) * 60 + minute - offset;
    let seconds = u64::try_from(minutes * 60 + second).unwrap_or(0);
    Some(Duration::from_secs(seconds).saturating_add(Duration::from_nanos(fraction)))
}

/// So many digits.
fn number(rest: &mut &[u8], count: usize) -> Option<i64> {
    let (head, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    i64::try_from(digits(head)?).ok()
}

/// One of some separators, and two digits.
fn part(rest: &mut &[u8], separators: &[u8]) -> Option<i64> {
    let (first, tail) = rest.split_first()?;
    *rest = tail;
    separators.contains(first).then_some(())?;
    number(rest, 2)
}

/// The days from 1970-01-01 to a day of the Gregorian calendar, counted in years that begin in
/// March, so that the leap day is the last one.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // Five months in turn have 153 days.
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 719_469
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

/// The elements of a list, trimmed. The comma in a date is none between elements.
pub(super) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let all = rest?;
        let comma = |from: usize| {
            let tail = all.get(from..)?;
            Some(from + tail.iter().position(|byte| *byte == b',')?)
        };
        let mut end = comma(0);
        // `Sun, 06 Nov 1994 08:49:37 GMT`
        if let Some(first) = end.filter(|end| is_day(trim(&all[..*end]))) {
            let second = comma(first + 1);
            if date(trim(&all[..second.unwrap_or(all.len())])).is_some() {
                end = second;
            }
        }
        let element = trim(&all[..end.unwrap_or(all.len())]);
        rest = end.map(|end| &all[end + 1..]);
        Some(element)
    })
}

fn is_day(name: &[u8]) -> bool {
    (3..=9).contains(&name.len()) && name.iter().all(u8::is_ascii_alphabetic)
}
