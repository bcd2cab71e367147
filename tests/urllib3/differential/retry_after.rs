//! Values of `Retry-After`: right ones in every form, those that only Python reads, those that
//! nobody reads, and all of them a little damaged.

use std::time::Duration;

use super::dice::Dice;
use crate::harness::new_year;

pub(crate) fn value(dice: &mut Dice) -> String {
    let mut value = match dice.within(0..=9) {
        0..=3 => seconds(dice),
        4..=6 => date(dice),
        7 | 8 => dice.one_of(DATES_OF_PYTHON).to_string(),
        _ => dice.one_of(NEITHER).to_string(),
    };
    if dice.chance(0.1) {
        let spaces = [" ", "\t", "  ", "\u{a0}", "\u{85}"];
        value.insert_str(0, dice.one_of(&spaces));
        value.push_str(dice.one_of(&spaces));
    }
    if dice.chance(0.15) {
        for _ in 0..dice.within(1..=2) {
            value = damaged(dice, value);
        }
    }
    value
}

fn seconds(dice: &mut Dice) -> String {
    match dice.within(0..=9) {
        0..=5 => dice.within(0..=10).to_string(),
        6 => dice.within(0..=30_000).to_string(),
        7 => dice.within(0..=i64::from(u32::MAX)).to_string(),
        8 => format!("{:04}", dice.within(0..=120)),
        _ => {
            // Python converts no more than 4300 digits.
            let lengths = [19, 20, 21, 40, 309, 4299, 4300, 4301, 5000];
            dice.one_of(&["9", "1", "0"]).repeat(dice.one_of(&lengths))
        }
    }
}

/// A date in one of the three forms of RFC 9110.
fn date(dice: &mut Dice) -> String {
    let away = match dice.within(0..=4) {
        0..=2 => dice.within(-5..=10),
        3 => dice.within(-100_000..=100_000),
        _ => dice.within(-1_500_000_000..=3_000_000_000),
    };
    let distance = Duration::from_secs(away.unsigned_abs());
    let time = if away < 0 {
        new_year() - distance
    } else {
        new_year() + distance
    };
    let date = httpdate::fmt_http_date(time);
    let [day_name, day, month, year, clock, _] = date.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{date}");
    };
    let short = &day_name[..3];
    match dice.within(0..=5) {
        0 => {
            let long = [
                "Monday",
                "Tuesday",
                "Wednesday",
                "Thursday",
                "Friday",
                "Saturday",
                "Sunday",
            ]
            .into_iter()
            .find(|name| name.starts_with(short))
            .unwrap();
            format!("{long}, {day}-{month}-{} {clock} GMT", &year[2..])
        }
        1 => {
            let day: u8 = day.parse().unwrap();
            format!("{short} {month} {day:2} {clock} {year}")
        }
        // With another zone: a date of mails.
        2 => date.replace(
            "GMT",
            dice.one_of(&["+0100", "-0800", "EST", "UTC", "Z", "XYZ"]),
        ),
        _ => date,
    }
}

/// Mail-like dates that RFC 9110 does not know.
const DATES_OF_PYTHON: &[&str] = &[
    "Thu, 01 Jan 2026 00:00:07",
    "Fri, 01 Jan 2026 00:00:07 GMT",
    "01 Jan 2026 00:00:07 GMT",
    "1 Jan 2026 00:00:07 GMT",
    "Thu, 1 Jan 26 00:00:07 GMT",
    "Thu, 01 Jan 69 00:00:07 GMT",
    "Thu, 01 Jan 0026 00:00:07 GMT",
    "Thu, 01 Jan 2026 00:00 GMT",
    "Thu, 01 Jan 2026 00.00.10 GMT",
    "Thu, 01 Jan 2026 24:00:00 GMT",
    "Thu, 01 Jan 2026 00:00:70 GMT",
    "Wed, 31 Dec 2025 23:59:60 GMT",
    "Thu, 00 Jan 2026 00:00:07 GMT",
    "Thu, 99 Jan 2026 00:00:07 GMT",
    "Thu, 01 jan 2026 00:00:07 gmt",
    "Thu, 01 January 2026 00:00:07 GMT",
    "Thu, Jan 01 2026 00:00:07 GMT",
    "Thu,01 Jan 2026 00:00:07 GMT",
    "Thu 01 Jan 2026 00:00:07 GMT",
    "Thursday, 01-Jan-2026 00:00:07 GMT",
    "Thu, 01-Jan-26 00:00:07 GMT",
    "Thu, 01 Jan 2026 00:00:07 GMT; a",
    "Thu, 01 Jan 2026 00:00:07 GMT (a)",
    "Thu, 01 Jan 2026 00:00:07 +0000",
    "Thu, 01 Jan 2026 00:00:07 -9999",
    "Thu, 01 Jan 2026 00:00:07 +99999999",
    "Thu Jan 1 00:00:07 2026",
    "Thu Jan  1 00:00:07 2026 GMT",
    "Thu, 01 Jan 9999 23:59:59 GMT",
    "Thu, 01 Jan 9999 23:59:59 -0001",
    "Thu, 01 Jan 10000 00:00:00 GMT",
    "Thu, 01 Jan 99999999999999999999 00:00:00 GMT",
    "Thu, 01 Jan 1600 00:00:00 GMT",
    "Thu, 01 Jan 0000 00:00:00 GMT",
    "Thu, 01 Jan 2026 99999999999999999999:00:00 GMT",
];

const NEITHER: &[&str] = &[
    "",
    " ",
    "\u{a0}",
    ",",
    "soon",
    "10s",
    "+5",
    "-5",
    "-0",
    "1.5",
    "1e3",
    "0x10",
    "1_000",
    "1 000",
    "1,000",
    "1, 2",
    "5;",
    "\"5\"",
    "inf",
    "NaN",
    "\u{b2}",
    "\u{bd}",
    "2026-01-01T00:00:10Z",
    "2026-01-01 00:00:10",
    "20260101000010",
    "Thu, 01 Jan 2026",
    "Thu, 32 Foo 2026 00:00:07 GMT",
    "Thu, 01 Jan 2026 00:00:07+0100",
    "Thu, 01 Jan 2026 xx:00:07 GMT",
    "GMT",
    "Thu",
    "Thu,",
    "Thu, ,",
];

/// A value with a character too many, too few or in the wrong place.
fn damaged(dice: &mut Dice, value: String) -> String {
    let mut all: Vec<char> = value.chars().collect();
    let at = dice.index(all.len() + 1);
    let strange = [
        ' ', '\t', ',', ':', '-', '+', '.', ';', '(', ')', '"', '\\', '0', '1', '9', 'a', 'G', 'T',
        'J', '\u{a0}', '\u{e9}', '\u{ff}',
    ];
    match dice.within(0..=3) {
        0 => all.insert(at, dice.one_of(&strange)),
        1 if at < all.len() => all[at] = dice.one_of(&strange),
        2 if at < all.len() => drop(all.remove(at)),
        3 if at < all.len() => all.swap(at, 0),
        _ => all.truncate(at),
    }
    all.into_iter().collect()
}
