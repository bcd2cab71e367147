//! All hints together, with `RateLimit` first: what a response says, and what is decided.

use std::time::Duration;

use tower_http_retry::policy::{Decision, StopReason};

use super::{
    Depth,
    exchange::Exchange,
    model::{self, Said},
};

/// Takes the bytes for a response; see `exchange`.
pub fn check(data: &[u8], _: Depth) -> &'static str {
    let exchange = Exchange::read(data);
    let decision = exchange.decide();
    if exchange.status.is_informational() || !exchange.reads_all_hints() {
        return "not read";
    }

    let pushback = model::pushback(&exchange);
    if model::is_forbidden(&exchange) || pushback == Said::Never {
        assert!(!matches!(decision, Decision::Retry(_)), "it was forbidden");
        return match decision {
            Decision::Stop(stop) => match stop.reason {
                StopReason::ForbiddenByServer { .. } => "forbidden",
                _ => "forbidden and more",
            },
            _ => "accepted",
        };
    }
    if let Decision::Stop(stop) = &decision {
        let by_server = matches!(stop.reason, StopReason::ForbiddenByServer { .. });
        assert!(!by_server, "it was not forbidden");
    }
    let Some((wait, branch)) = wait(&exchange, pushback) else {
        return "not simple";
    };
    check_decision(&exchange, &decision, wait, branch == "pushback");
    branch
}

/// The wait that the headers ask for, and what said so. `None` if this model cannot tell.
fn wait(exchange: &Exchange, pushback: Said) -> Option<(Option<Duration>, &'static str)> {
    if let Said::Wait(wait) = pushback {
        return Some((Some(wait), "pushback"));
    }
    let now = model::server_now(exchange);
    for header in model::SPELLINGS {
        if let Said::Wait(wait) = model::retry_after(exchange, &header, now) {
            return Some((Some(wait), "retry-after"));
        }
    }
    #[cfg(feature = "ratelimit")]
    if let Said::Wait(wait) = model::rate_limit(exchange)? {
        return Some((Some(wait), "rate limit"));
    }
    for prefix in ["x-ratelimit-", "ratelimit-", "x-rate-limit-"] {
        if let Said::Wait(wait) = model::reset(exchange, prefix, now)? {
            return Some((Some(wait), "reset"));
        }
    }
    Some((None, "no hint"))
}

fn check_decision(
    exchange: &Exchange,
    decision: &Decision,
    wait: Option<Duration>,
    is_pushback: bool,
) {
    let cap = exchange.policy.retry_after_max();
    match decision {
        Decision::Retry(retry) => {
            // A zero leaves the wait to the backoff, but for a pushback, which is taken by its
            // word.
            let expected = wait.filter(|wait| is_pushback || !wait.is_zero());
            let expected = expected.filter(|wait| *wait <= cap || !cap.is_zero());
            assert_eq!(retry.asked, expected.map(|wait| wait.min(cap)));
        }
        Decision::Stop(stop) => {
            if let StopReason::RetryAfterTooLong { asked, .. } = stop.reason {
                assert_eq!(Some(asked), wait);
            }
        }
        _ => {}
    }
}
