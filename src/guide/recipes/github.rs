use std::time::Duration;
use tower_http_retry::classify::{Exchange, Opinion, Outcome};

/// 403 says "over a limit" and "forbidden"; only the first comes with one of these headers. GitHub
/// turns such a request down before it does anything.
pub fn github(exchange: &Exchange<'_>) -> Opinion {
    let Outcome::Response { status, headers, .. } = exchange.outcome() else {
        return Opinion::NoOpinion;
    };
    let left = headers.get("x-ratelimit-remaining");
    let timed = headers.contains_key("retry-after") || left.is_some_and(|left| left == "0");
    match status.as_u16() {
        403 | 429 if timed => Opinion::Unprocessed("over a limit".into()),
        // Without a time, GitHub asks for a minute.
        429 => Opinion::RetryIn("over a limit".into(), Duration::from_secs(60)),
        _ => Opinion::NoOpinion,
    }
}
