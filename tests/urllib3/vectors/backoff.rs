//! `backoff.json`: the wait after a history of failures and redirects.

use std::time::Duration;

use serde_json::Value;
use tower_http_retry::policy::{RetryPolicy, Rng};

use crate::harness::{Verdict, number, seconds, text};

pub(crate) fn case(case: &Value) -> Verdict {
    let policy = RetryPolicy::urllib3_builder()
        .backoff_factor(number(&case["factor"]))
        .backoff_max(number(&case["max"]))
        .backoff_jitter(number(&case["jitter"]))
        .build();
    let policy = match policy {
        Ok(policy) => policy,
        Err(error) => return Verdict::Failed(error.to_string()),
    };
    let backoff = policy.backoff();
    // Failures in a row since the last redirect.
    let history = text(&case["history"]);
    let n = history.chars().rev().take_while(|&c| c != 'r').count();
    let n = u32::try_from(n).unwrap();

    let (low, high) = match &case["expect_bounds"] {
        Value::Null => (
            number(&case["expect_seconds"]),
            number(&case["expect_seconds"]),
        ),
        ends => (number(&ends[0]), number(&ends[1])),
    };
    let ours = backoff.bounds(n, (Duration::ZERO, Duration::ZERO));
    let mut rng = Rng::with_seed(n.into());
    let inside = (0..20).all(|_| {
        let wait = backoff.wait(n, Duration::ZERO, &mut rng);
        ours.0 <= wait && wait <= ours.1
    });
    // Floats are rounded once more on the way to a duration.
    let close = |a: Duration, b: f64| a.abs_diff(seconds(b)) <= Duration::from_nanos(100);
    Verdict::check(inside && close(ours.0, low) && close(ours.1, high), || {
        format!("{low} to {high} s there, {ours:?} here")
    })
}
