//! `requests_adapter.json`: what becomes of requests sent by requests, whose adapters have a
//! policy each, and which follows redirects itself.
//!
//! Here that is three layers: tower-http's `FollowRedirect`, the retries with one policy for each
//! mount, and a service that answers by the script.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Empty;
use serde_json::Value;
use tokio::time::Instant;
use tower::{ServiceBuilder, ServiceExt as _, service_fn};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_http_retry::{
    RetryError, RetryLayer, RetryReport,
    mounts::Mounts,
    policy::{HintHeader, LimitKind, Note, RetryPolicy, WaitReason},
};

use super::layer::{answer, end, on_paused_clock};
use crate::{
    harness::{Rule, Verdict, list, new_year, number, seconds, text},
    session::{End, Happened, limit, method, policy, script},
};

pub(crate) fn case(case: &Value) -> Verdict {
    let transport = case["transport"].as_str().unwrap_or("http");
    if transport.ends_with("+proxy") {
        return Verdict::OutOfScope;
    }
    let (mounts, url) = match &case["mounts"] {
        Value::Null => {
            let policy = of_max_retries(&case["max_retries"], &case["effective"]);
            if let Err(why) = is_effective(&policy, &case["effective"]) {
                return Verdict::Failed(why);
            }
            (
                Mounts::new().mount_all(policy),
                format!("{transport}://a.test/"),
            )
        }
        mounted => {
            let mounts = list(mounted).iter().fold(Mounts::new(), |mounts, pair| {
                let policy = of_int(pair[1].as_u64().unwrap());
                mounts.mount(text(&pair[0]), policy).unwrap()
            });
            (mounts, text(&case["url"]).to_owned())
        }
    };
    let observed = run(mounts, url.parse().unwrap(), case);
    compare(case, &observed).into()
}

/// What an adapter makes of `max_retries`.
fn of_max_retries(max_retries: &Value, effective: &Value) -> RetryPolicy {
    let value = &max_retries["value"];
    match text(&max_retries["kind"]) {
        "retry" => policy(value, None, 0).unwrap(),
        "int" => of_int(value.as_u64().unwrap()),
        // The default of requests is 0, and `False == 0`.
        "omitted" => of_int(0),
        "bool" if value == false => of_int(0),
        "bool" => RetryPolicy::urllib3_builder().total(true).build().unwrap(),
        "none" => of_int(effective["total"].as_u64().unwrap()),
        unknown => panic!("unknown kind {unknown}"),
    }
}

/// requests' own rule: with 0 retries, read errors come as they are.
fn of_int(total: u64) -> RetryPolicy {
    let builder = RetryPolicy::urllib3_builder().total(i64::try_from(total).unwrap());
    let builder = if total == 0 {
        builder.read(false)
    } else {
        builder
    };
    builder.build().unwrap()
}

fn is_effective(policy: &RetryPolicy, effective: &Value) -> Result<(), String> {
    for kind in LimitKind::ALL {
        let there = limit(&effective[kind.as_str()]);
        if policy.limit(kind) != there {
            return Err(format!(
                "{kind}: {there} there, {} here",
                policy.limit(kind)
            ));
        }
    }
    Ok(())
}

#[derive(Debug)]
struct Observed {
    sent: Vec<Sent>,
    /// Requests to the retry layer, less one.
    redirects: usize,
    end: End,
    report: Option<RetryReport>,
}

#[derive(Debug)]
struct Sent {
    host: String,
    method: String,
    at: Instant,
}

fn run(mounts: Mounts<RetryPolicy>, uri: Uri, case: &Value) -> Observed {
    // The body's faults come after the head, which is what a retry layer sees.
    let charged = match list(&case["script"]) {
        [only] if only["other_error"] == "decode" => Value::Array(vec![Value::Null]),
        _ => Value::Null,
    };
    let script = VecDeque::from(script(&case["script"], &charged));
    let state = Arc::new(Mutex::new((script, Vec::new(), 0)));
    let (seen, hops) = (Arc::clone(&state), Arc::clone(&state));
    let inner = service_fn(move |request: Request<Empty<Bytes>>| {
        let (script, sent, _) = &mut *state.lock().unwrap();
        sent.push(Sent {
            host: request.uri().host().unwrap().to_owned(),
            method: request.method().to_string(),
            at: Instant::now(),
        });
        let over = || Happened::Response(299.try_into().unwrap(), Default::default());
        let answer = answer(script.pop_front().unwrap_or_else(over));
        async { answer }
    });
    let service = ServiceBuilder::new()
        .layer(FollowRedirectLayer::new())
        .map_request(move |request: Request<Empty<Bytes>>| {
            hops.lock().unwrap().2 += 1;
            request
        })
        .layer(RetryLayer::new(mounts).wall_clock(new_year))
        .service(inner);
    let request = Request::builder()
        .method(method(&case["method"]))
        .uri(uri)
        .body(Empty::new())
        .unwrap();
    let result: Result<Response<_>, RetryError> = on_paused_clock(service.oneshot(request));

    let (_, sent, hops) = &mut *seen.lock().unwrap();
    Observed {
        sent: std::mem::take(sent),
        redirects: *hops - 1,
        end: end(&result),
        report: match &result {
            Ok(response) => response.extensions().get().cloned(),
            Err(error) => Some(error.report().clone()),
        },
    }
}

fn compare(case: &Value, observed: &Observed) -> Result<Option<Rule>, String> {
    let expect = &case["expect"];
    let result = &expect["result"];
    let attempts = usize::try_from(expect["attempts"].as_u64().unwrap()).unwrap();
    let differs = |what: &Value| Err(format!("{what} there, {observed:?} here"));

    if result["raised"] == "InvalidHeader" {
        return if goes_on(case, observed, attempts) {
            Ok(Some(Rule::UnreadableRetryAfter))
        } else {
            differs(result)
        };
    }
    if observed.sent.len() != attempts {
        return differs(&expect["attempts"]);
    }
    for (at, sent) in observed.sent.iter().enumerate() {
        // `-`: nothing of the request was sent.
        let method = expect["methods_sent"].get(at);
        if method.is_some_and(|method| method != "-" && *method != sent.method.as_str()) {
            return differs(&expect["methods_sent"]);
        }
        let host = expect["hosts"].get(at);
        if host.is_some_and(|host| *host != sent.host.as_str()) {
            return differs(&expect["hosts"]);
        }
    }
    if let Value::Array(sleeps) = &expect["sleeps_ms"] {
        let gaps = observed.sent.windows(2).map(|pair| pair[1].at - pair[0].at);
        let in_time = gaps.zip(sleeps).all(|(gap, sleep)| {
            let sleep = seconds(number(sleep) / 1000.0);
            // Timers have a resolution of a millisecond.
            (sleep..=sleep + Duration::from_millis(2)).contains(&gap)
        });
        if !in_time {
            return differs(&expect["sleeps_ms"]);
        }
    }

    let status = |code: u64| u16::try_from(code).unwrap().try_into().unwrap();
    let end = match (
        result["returned_status"].as_u64(),
        text_of(&result["cause"]["raised"]),
    ) {
        (Some(code), _) => End::Returned(status(code)),
        _ if is_after_the_head(case) => End::Returned(status(200)),
        (None, "MaxRetryError") => End::Exhausted {
            by_status: result["cause"]["reason"] == "ResponseError",
        },
        (None, _) => End::Bare,
    };
    if observed.end != end {
        return differs(result);
    }
    let redirects = result["redirects_followed"].as_u64();
    if redirects.is_some_and(|redirects| observed.redirects as u64 != redirects) {
        return differs(&result["redirects_followed"]);
    }
    Ok(None)
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Whether what was raised is a fault in the body of a response that was handed out before.
fn is_after_the_head(case: &Value) -> bool {
    matches!(
        text_of(&case["cause"]),
        "body_timeout" | "body_truncated" | "decode"
    )
}

/// Whether the request went on after the attempt on which requests failed, with the backoff in
/// place of the unreadable header, and the report says so.
fn goes_on(case: &Value, observed: &Observed, attempts: usize) -> bool {
    let Some(record) = observed
        .report
        .as_ref()
        .and_then(|r| r.attempts.get(attempts - 1))
    else {
        return false;
    };
    let noted = record.note.as_deref() == Some(&Note::HintIgnored(HintHeader::RetryAfter));
    let empty = case["script"][attempts - 1]["headers"]["Retry-After"] == "";
    let is_backoff = record
        .wait
        .as_ref()
        .is_some_and(|wait| matches!(wait.why, WaitReason::Immediate | WaitReason::Backoff));
    observed.sent.len() > attempts && is_backoff && noted != empty
}
