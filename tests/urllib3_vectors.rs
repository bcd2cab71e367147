//! Replays what urllib3 2.8 really did, recorded in `tests/data/urllib3/`, against this crate.
//!
//! The folder can be replaced by the environment variable `URLLIB3_VECTORS`; a file that is not
//! there is reported as absent. Cases that need a proxy, the body read inside the client
//! (`preload`), redirects followed or bytes that no HTTP parser lets through are out of scope.
//! What differs on purpose is excused by a [`Rule`], which checks that the difference is the one
//! that is documented.

use std::{
    collections::BTreeMap,
    env, fmt, fs,
    io::{ErrorKind, Write as _, stdout},
    path::PathBuf,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderValue, StatusCode, header::RETRY_AFTER};
use serde_json::Value;
use tower_http_retry::policy::{
    Backoff, Hint, HintHeader, Rng, parse_retry_after, standard_retry_after,
};

/// A deliberate deviation from urllib3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    UnreadableRetryAfter,
    LenientDate,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnreadableRetryAfter => {
                "unreadable Retry-After: urllib3 fails the whole call, with InvalidHeader or, for \
                 more digits than Python converts, ValueError; here the call goes on"
            }
            Self::LenientDate => {
                "lenient dates: Python reads any mail-like date; here only the three forms of \
                 RFC 9110 count, so that a mistaken date is reported instead of guessed"
            }
        })
    }
}

/// What became of one case.
enum Verdict {
    Passed,
    Excused(Rule),
    OutOfScope,
    Failed(String),
}

impl Verdict {
    fn check(passed: bool, why: impl FnOnce() -> String) -> Self {
        if passed {
            Self::Passed
        } else {
            Self::Failed(why())
        }
    }

    /// Excused, if what was checked is so.
    fn excused_by(self, rule: Rule) -> Self {
        match self {
            Self::Passed => Self::Excused(rule),
            other => other,
        }
    }
}

/// Runs every case of a file, prints the counts and panics if one failed.
fn replay(name: &str, run: impl Fn(&Value) -> Verdict) {
    let folder = env::var_os("URLLIB3_VECTORS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/urllib3")),
        PathBuf::from,
    );
    let path = folder.join(name).with_extension("json");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Not through `println!`: the counts are to be seen without `--nocapture`, too.
            writeln!(stdout(), "{name}: absent from {}", folder.display()).unwrap();
            return;
        }
        Err(error) => panic!("{}: {error}", path.display()),
    };
    let file: Value = serde_json::from_str(&text).unwrap();
    let cases = file["cases"].as_array().expect("a list of cases");

    let (mut passed, mut out_of_scope) = (0, 0);
    let mut excused = BTreeMap::<Rule, usize>::new();
    let mut failed = Vec::new();
    for case in cases {
        match run(case) {
            Verdict::Passed => passed += 1,
            Verdict::Excused(rule) => *excused.entry(rule).or_default() += 1,
            Verdict::OutOfScope => out_of_scope += 1,
            Verdict::Failed(why) => failed.push(format!("{}: {why}", case["id"])),
        }
    }

    let mut report = format!(
        "{name}: {passed} passed, {} excused, {} failed ({out_of_scope} out of scope)\n",
        excused.values().sum::<usize>(),
        failed.len(),
    );
    for (rule, count) in &excused {
        report += &format!("{name}:   {count} excused by {rule}\n");
    }
    for failure in &failed {
        report += &format!("{name}:   FAILED {failure}\n");
    }
    stdout().write_all(report.as_bytes()).unwrap();
    assert!(failed.is_empty(), "{report}");
    assert!(
        cases.is_empty() || out_of_scope < cases.len(),
        "no case is in scope"
    );
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
}

/// Seconds as a duration, exactly where a float can.
fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// The wall clock of a case.
fn clock(seconds: f64) -> SystemTime {
    SystemTime::UNIX_EPOCH + duration(seconds)
}

/// A header value as Python's HTTP parser hands it out: one character for each byte.
fn latin1(value: &str) -> Option<Vec<u8>> {
    value.chars().map(|c| u8::try_from(c).ok()).collect()
}

/// Equal but for the rounding of floats.
fn close(a: Duration, b: Duration) -> bool {
    a.abs_diff(b) <= Duration::from_nanos(100)
}

// --- backoff.json ---

#[test]
fn backoff() {
    replay("backoff", |case| {
        let mut backoff = Backoff::urllib3(number(&case["factor"]));
        backoff.set_max(number(&case["max"]));
        backoff.set_jitter(number(&case["jitter"]));
        if let Err(error) = backoff.validate() {
            return Verdict::Failed(error.to_string());
        }
        // Failures in a row since the last redirect.
        let history = text(&case["history"]);
        let n = history.chars().rev().take_while(|&c| c != 'r').count();
        let n = u32::try_from(n).unwrap();

        let (low, high) = match &case["expect_bounds"] {
            Value::Array(ends) => (number(&ends[0]), number(&ends[1])),
            _ => (
                number(&case["expect_seconds"]),
                number(&case["expect_seconds"]),
            ),
        };
        let nothing = (Duration::ZERO, Duration::ZERO);
        let ours = backoff.bounds(n, nothing);
        let mut rng = Rng::with_seed(n.into());
        let inside = (0..20).all(|_| {
            let wait = backoff.wait(n, Duration::ZERO, &mut rng);
            ours.0 <= wait && wait <= ours.1
        });
        Verdict::check(
            inside && close(ours.0, duration(low)) && close(ours.1, duration(high)),
            || format!("expected {low} to {high} s, got {ours:?}"),
        )
    });
}

// --- retry_after.json ---

#[test]
fn retry_after() {
    replay("retry_after", |case| {
        let value = text(&case["value"]);
        let Some(bytes) = latin1(value) else {
            return Verdict::OutOfScope;
        };
        let Ok(line) = HeaderValue::from_bytes(&bytes) else {
            return Verdict::OutOfScope;
        };
        let now = clock(number(&case["now"]));
        let cap = duration(number(&case["retry_after_max"]));
        let headers = HeaderMap::from_iter([(RETRY_AFTER, line)]);
        let hint = standard_retry_after(StatusCode::SERVICE_UNAVAILABLE, &headers, now, cap);
        let parsed = parse_retry_after(&bytes, now);

        // The two ways to read a header must agree; an empty one is absent to the first.
        let header = HintHeader::RetryAfter;
        let consistent = match (&parsed, hint) {
            (Ok(wait), Hint::Wait { asked, .. }) => *wait == asked && asked <= cap,
            (
                Ok(wait),
                Hint::OverCap {
                    asked, cap: limit, ..
                },
            ) => *wait == asked && asked > cap && limit == cap,
            (Err(_), Hint::Invalid { header: named }) => named == header,
            (Err(_), Hint::Absent) => value.trim().is_empty(),
            _ => false,
        };
        if !consistent {
            return Verdict::Failed(format!("{parsed:?}, but {hint:?}"));
        }

        if let Some(error) = case["error"].as_str() {
            return match hint {
                Hint::Invalid { .. } | Hint::Absent => Verdict::Passed,
                _ if error == "ValueError" && is_more_than_python_converts(value) => {
                    Verdict::check(parsed == Ok(Duration::from_secs(u64::MAX)), || {
                        format!("does not saturate: {parsed:?}")
                    })
                    .excused_by(Rule::UnreadableRetryAfter)
                }
                _ => Verdict::Failed(format!("{error} there, {hint:?} here")),
            };
        }
        let expected = match &case["expect_seconds_str"] {
            Value::Null => number(&case["expect_seconds"]),
            written => text(written).parse().unwrap(),
        };
        match hint.clamped() {
            Some(wait) if close(wait, duration(expected)) => Verdict::Passed,
            None if is_date_only_to_python(value) => Verdict::Excused(Rule::LenientDate),
            _ => Verdict::Failed(format!("{expected} s there, {hint:?} here")),
        }
    });
}

/// Whether Python's limit on integers from text (4300 digits) is passed.
fn is_more_than_python_converts(value: &str) -> bool {
    value.len() > 4300 && value.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a value that Python reads is neither seconds nor an HTTP date.
fn is_date_only_to_python(value: &str) -> bool {
    !value.trim().bytes().all(|byte| byte.is_ascii_digit()) && !is_http_date(value)
}

/// Whether a value is one of RFC 9110's three forms of a date that exists, from 1970 on.
///
/// Checked by writing the date down in these forms, so that it shares nothing with the parser.
fn is_http_date(value: &str) -> bool {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    // The epoch was a Thursday.
    const DAYS: [&str; 7] = [
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
        "Monday",
        "Tuesday",
        "Wednesday",
    ];

    let numbers: Vec<u64> = value
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect();
    let &[a, b, c, d, e] = &numbers[..] else {
        return false;
    };
    let Some(month) = MONTHS.iter().position(|name| value.contains(name)) else {
        return false;
    };
    let name = MONTHS[month];
    [
        (b, [c, d, e]),
        (1900 + b, [c, d, e]),
        (2000 + b, [c, d, e]),
        (e, [b, c, d]),
    ]
    .into_iter()
    .any(|(year, [hour, minute, second])| {
        let day = a;
        let leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let length = match month {
            1 => 28 + u64::from(leap(year)),
            3 | 5 | 8 | 10 => 30,
            _ => 31,
        };
        let leap_second = [hour, minute, second] == [23, 59, 60];
        if !(1970..=9999).contains(&year)
            || !(1..=length).contains(&day)
            || hour > 23
            || minute > 59
            || (second > 59 && !leap_second)
        {
            return false;
        }
        let in_months = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][month]
            + u64::from(month > 1 && leap(year));
        let in_years: u64 = (1970..year).map(|year| 365 + u64::from(leap(year))).sum();
        let weekday = DAYS[((in_years + in_months + day - 1) % 7) as usize];
        let (short, decade) = (&weekday[..3], year % 100);
        let time = format!("{hour:02}:{minute:02}:{second:02}");
        [
            format!("{short}, {day:02} {name} {year} {time} GMT"),
            format!("{weekday}, {day:02}-{name}-{decade:02} {time} GMT"),
            format!("{short} {name} {day:2} {time} {year}"),
        ]
        .contains(&value.trim().to_owned())
    })
}

#[test]
fn the_check_for_dates_knows_a_date() {
    for date in [
        "Thu, 01 Jan 2026 00:00:10 GMT",
        "Thursday, 01-Jan-26 00:00:07 GMT",
        "Friday, 01-Jan-99 00:00:07 GMT",
        "Thu Jan  1 00:00:05 2026",
        "Tue, 29 Feb 2028 23:59:60 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ] {
        assert!(is_http_date(date), "{date}");
    }
    for other in [
        "Fri, 01 Jan 2026 00:00:10 GMT",
        "Thu, 01 Jan 2026 00:00:10 UTC",
        "Thu, 1 Jan 2026 00:00:10 GMT",
        "Sun, 29 Feb 2026 00:00:10 GMT",
        "Thu, 01 Jan 2026 24:00:00 GMT",
        "soon",
    ] {
        assert!(!is_http_date(other), "{other}");
    }
}
