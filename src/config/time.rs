//! Durations as text: `250ms`, `1m 30s`, in the manner of the humantime crate.
//!
//! Unlike there every duration can be written and is read back as it was, and no text panics.

use std::{fmt::Write as _, time::Duration};

const NANOS: u128 = 1_000_000_000;

/// Units, the longest first, with the names that are read; the first one is written.
const UNITS: [(u128, &[&str]); 7] = [
    (86_400 * NANOS, &["d", "day", "days"]),
    (3_600 * NANOS, &["h", "hr", "hour", "hours"]),
    (60 * NANOS, &["m", "min", "mins", "minute", "minutes"]),
    (NANOS, &["s", "sec", "secs", "second", "seconds"]),
    (1_000_000, &["ms", "msec", "millis"]),
    (1_000, &["us", "µs", "usec"]),
    (1, &["ns", "nsec", "nanos"]),
];

/// Reads numbers with units, which add up. `None` if it is something else, or too long.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut nanos = 0_u128;
    while !rest.is_empty() {
        let end = |is: fn(char) -> bool, text: &str| text.find(|c| !is(c)).unwrap_or(text.len());
        let (number, tail) = rest.split_at(end(|c| c.is_ascii_digit() || c == '.', rest));
        let tail = tail.trim_start();
        let (unit, tail) = tail.split_at(end(char::is_alphabetic, tail));
        let (size, _) = UNITS.iter().find(|(_, names)| names.contains(&unit))?;
        nanos = nanos.checked_add(times(number, *size)?)?;
        rest = tail.trim_start();
    }
    let secs = u64::try_from(nanos / NANOS).ok()?;
    let subsec = u32::try_from(nanos % NANOS).ok()?;
    Some(Duration::new(secs, subsec))
}

/// A number with or without decimals times a unit. Less than a nanosecond is cut off.
fn times(number: &str, unit: u128) -> Option<u128> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && decimals.is_empty() {
        return None;
    }
    let digits = |text: &str| {
        if text.is_empty() {
            Some(0)
        } else {
            text.parse::<u128>().ok()
        }
    };
    // More decimals than these are below a nanosecond in every unit.
    let decimals = decimals.get(..decimals.len().min(18))?;
    let scale = 10_u128.checked_pow(u32::try_from(decimals.len()).ok()?)?;
    let part = digits(decimals)?.checked_mul(unit)? / scale;
    digits(whole)?.checked_mul(unit)?.checked_add(part)
}

/// Writes what [`parse`] reads.
pub(crate) fn format(duration: Duration) -> String {
    let mut nanos = duration.as_nanos();
    let mut text = String::new();
    for (size, names) in UNITS {
        let count = nanos / size;
        nanos %= size;
        if count > 0 {
            let space = if text.is_empty() { "" } else { " " };
            // Writing to a string cannot fail.
            let _ = write!(text, "{space}{count}{}", names[0]);
        }
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_add_up() {
        for (text, nanos) in [
            ("0s", 0),
            ("250ms", 250_000_000),
            ("1.5s", 1_500_000_000),
            (".5 s", 500_000_000),
            ("1. s", 1_000_000_000),
            ("1m30s", 90_000_000_000),
            (" 2 min 1 sec ", 121_000_000_000),
            ("1h 1m 1s 1ms 1us 1ns", 3_661_001_001_001),
            ("0.1µs", 100),
            ("1.9ns", 1),
            ("1d", 86_400_000_000_000),
        ] {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_none() {
        for text in [
            "",
            " ",
            "5",
            "s",
            "-1s",
            "1.2.3s",
            "1x",
            "1 s s",
            ".s",
            "1e3s",
            "1,5s",
            "1m30",
            "∞",
            "18446744073709551616s",
            "999999999999999999999999999999999999999s",
            "99999999999999999999999999999999999999999999s",
            "1month",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_longest_one_can_be_written() {
        let text = format(Duration::MAX);
        assert_eq!(text, "213503982334601d 7h 15s 999ms 999us 999ns");
        assert_eq!(parse(&text), Some(Duration::MAX));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_it_was(secs: u64, nanos in 0u32..1_000_000_000, small: u8) {
            for duration in [
                Duration::new(secs, nanos),
                Duration::from_millis(small.into()),
                Duration::from_secs(small.into()),
            ] {
                prop_assert_eq!(parse(&format(duration)), Some(duration));
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,20}", like in "[0-9.]{0,50}[a-zµ]{0,4} ?[0-9]{0,30}(ns|s|d)?") {
            let _ = (parse(&text), parse(&like));
        }
    }
}
