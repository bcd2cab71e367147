//! `retry_after.json`: the reading of one header.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use serde_json::Value;
use tower_http_retry::policy::{
    Hint, HintHeader, InvalidRetryAfter, parse_retry_after, standard_retry_after,
};

use super::dates::{
    is_date_only_to_python, is_in_another_century_to_python, is_more_than_python_converts,
};
use crate::harness::{Rule, Verdict, clock, header_value, number, seconds, text};

pub(crate) fn case(case: &Value) -> Verdict {
    let value = text(&case["value"]);
    let Some(line) = header_value(value) else {
        return Verdict::OutOfScope;
    };
    let now = clock(number(&case["now"]));
    let cap = seconds(number(&case["retry_after_max"]));
    let parsed = parse_retry_after(line.as_bytes(), now);
    let headers = HeaderMap::from_iter([(RETRY_AFTER, line)]);
    let hint = standard_retry_after(StatusCode::SERVICE_UNAVAILABLE, &headers, now, cap);
    if !agree(&parsed, &hint, cap, value) {
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
        Some(wait) if wait.abs_diff(seconds(expected)) <= Duration::from_nanos(100) => {
            Verdict::Passed
        }
        Some(wait) if wait == cap && is_in_another_century_to_python(value) => {
            Verdict::Excused(Rule::TwoDigitYear)
        }
        None if is_date_only_to_python(value) => Verdict::Excused(Rule::LenientDate),
        _ => Verdict::Failed(format!("{expected} s there, {hint:?} here")),
    }
}

/// Whether the two ways to read a header say the same; an empty one is absent to the second.
fn agree(
    parsed: &Result<Duration, InvalidRetryAfter>,
    hint: &Hint,
    cap: Duration,
    value: &str,
) -> bool {
    match (parsed, hint) {
        (Ok(wait), Hint::Wait { asked, .. }) => wait == asked && *asked <= cap,
        (
            Ok(wait),
            Hint::OverCap {
                asked, cap: limit, ..
            },
        ) => wait == asked && *asked > cap && *limit == cap,
        (Err(_), Hint::Invalid { header }) => *header == HintHeader::RetryAfter,
        (Err(_), Hint::Absent) => value.trim().is_empty(),
        _ => false,
    }
}
