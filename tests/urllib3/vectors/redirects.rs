//! `redirects.json` and `redirect_edges.json`: `RedirectLayer` above `RetryLayer`, against urllib3's
//! `PoolManager` and pool.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Full};
use serde_json::Value;
use tokio::time::Instant;
use tower::{ServiceBuilder, ServiceExt as _, service_fn};
use tower_http_retry::{
    RetryError, RetryErrorKind, RetryLayer, policy::StopReason, redirect::RedirectLayer,
};

use super::layer::{answer, on_paused_clock};
use crate::{
    harness::{Rule, Verdict, headers, list, new_year, text},
    session::{Happened, method, policy, script},
};

/// A request as the server saw it, or would have.
#[derive(Debug)]
struct Sent {
    at: Instant,
    uri: Uri,
    method: String,
    headers: Vec<(String, String)>,
    body: String,
}

struct Observed {
    sent: Vec<Sent>,
    /// The status of the response, or the error.
    end: Result<u16, RetryError>,
}

pub(crate) fn case(case: &Value) -> Verdict {
    let expected = &case["expect"];
    if case["redirect_flag"] == Value::Bool(false) || leaves_its_pool(case) {
        return Verdict::OutOfScope;
    }
    // A pool follows what is listed; a `PoolManager` repeats it, as retries below redirects do.
    let lists_redirects = || {
        let listed = case["policy"]["status_forcelist"].as_array();
        let mut listed = listed.into_iter().flatten().filter_map(Value::as_u64);
        listed.any(|status| (301..=308).contains(&status))
    };
    if case["api"] == "pool" && lists_redirects() {
        return Verdict::OutOfScope;
    }
    let mut observed = run(case);
    let steps = list(&case["script"]);
    let forgets = case["api"] == "poolmanager";
    let requests = list(&expected["requests"]).len();
    if expected["result"]["raised"] == "InvalidHeader" {
        // Here the call goes on, and is answered with what is not in the script.
        let went_on = observed.sent.len() == requests + 1;
        observed.sent.truncate(requests);
        let result = compare(&observed, expected, requests);
        return match result.and(if went_on { Ok(()) } else { Err("ended".into()) }) {
            Ok(()) => Verdict::Excused(Rule::UnreadableRetryAfter),
            Err(why) => Verdict::Failed(why),
        };
    }
    let shorter = observed.sent.len() < requests;
    // What makes ours end sooner, if it does.
    let rule = if shorter && forgets && fails_before_a_redirect(expected) {
        Some(Rule::RememberedFailures)
    } else if shorter && leads_to_no_host(&steps[observed.sent.len() - 1]) {
        Some(Rule::UnreadableLocation)
    } else {
        None
    };
    let count = if rule.is_some() {
        observed.sent.len()
    } else {
        requests
    };
    if let Err(why) = compare(&observed, expected, count) {
        return Verdict::Failed(why);
    }
    let waits = waits(&observed, steps, case);
    Verdict::from(match (rule, ends_alike(&observed, &expected["result"])) {
        (Some(rule), _) => waits.map(|_| Some(rule)),
        (None, Ok(())) => waits,
        (None, Err(_)) if is_about_the_location(expected, &observed) => {
            Ok(Some(Rule::UnreadableLocation))
        }
        (None, Err(why)) => Err(why),
    })
}

/// Python takes `http://` for the URL that it is seen from.
fn leads_to_no_host(step: &Value) -> bool {
    let headers = headers(&step["headers"]);
    headers.get("location").is_some_and(|to| to == "http://")
}

/// A pool is one server's; another server's it refuses.
fn leaves_its_pool(case: &Value) -> bool {
    let leaves = |location: &str| {
        let host = location
            .split_once("//")
            .map(|(_, rest)| rest.rsplit('@').next().unwrap_or(rest));
        host.is_some_and(|host| {
            let host = host.to_ascii_lowercase();
            !(host.starts_with("a.test/") || host.starts_with("a.test:80/"))
                || location.starts_with("https")
        })
    };
    let mut steps = list(&case["script"]).iter();
    case["api"] == "pool"
        && steps.any(|step| {
            let headers = headers(&step["headers"]);
            let location = headers.get("location").and_then(|to| to.to_str().ok());
            location.is_some_and(leaves)
        })
}

fn fails_before_a_redirect(expected: &Value) -> bool {
    let charged = list(&expected["charged"]);
    let last = charged.iter().rposition(|kind| kind == "redirect");
    let before = &charged[..last.unwrap_or(0)];
    before
        .iter()
        .any(|kind| !kind.is_null() && kind != "redirect")
}

fn run(case: &Value) -> Observed {
    let settings = &case["policy"];
    let policy = policy(settings, None, 0).expect("a policy");
    let mut redirects = RedirectLayer::new(&policy);
    if let Some(raise) = settings["raise_on_redirect"].as_bool() {
        redirects = redirects.raise_on_redirect(raise);
    }
    if let Some(removed) = settings["remove_headers_on_redirect"].as_array() {
        let removed = removed
            .iter()
            .map(|name| -> HeaderName { text(name).to_ascii_lowercase().parse().expect("a name") });
        redirects = redirects.remove_headers_on_redirect(removed);
    }
    let outcomes: VecDeque<Happened> = script(&case["script"], &Value::Null).into();
    let state = Arc::new(Mutex::new((outcomes, Vec::<Sent>::new())));
    let seen = Arc::clone(&state);
    let inner = service_fn(move |request: Request<Full<Bytes>>| {
        let state = Arc::clone(&state);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.expect("a whole body").to_bytes();
            let headers = parts.headers.iter().map(|(name, value)| {
                let value = value.to_str().expect("a text");
                (name.to_string(), value.to_owned())
            });
            let (outcomes, sent) = &mut *state.lock().unwrap();
            sent.push(Sent {
                at: Instant::now(),
                uri: parts.uri,
                method: parts.method.to_string(),
                headers: headers.collect(),
                body: String::from_utf8(body.to_vec()).expect("a text"),
            });
            let over = || Happened::Response(StatusCode::from_u16(299).unwrap(), HeaderMap::new());
            answer(outcomes.pop_front().unwrap_or_else(over))
        }
    });
    let service = ServiceBuilder::new()
        .layer(redirects)
        .layer(RetryLayer::new(policy).wall_clock(new_year))
        .service(inner);
    let url = match text(&case["url"]) {
        path if path.starts_with('/') => format!("http://a.test{path}"),
        url => url.to_owned(),
    };
    let mut request = Request::builder()
        .method(method(&case["method"]))
        .uri(url)
        .body(Full::from(
            case["body"].as_str().unwrap_or_default().to_owned(),
        ))
        .expect("a request");
    *request.headers_mut() = headers(&case["headers"]);
    let end: Result<http::Response<Empty<Bytes>>, RetryError> =
        on_paused_clock(service.oneshot(request));
    let sent = std::mem::take(&mut seen.lock().unwrap().1);
    Observed {
        sent,
        end: end.map(|response| response.status().as_u16()),
    }
}

/// Compares the first `count` requests.
fn compare(observed: &Observed, expected: &Value, count: usize) -> Result<(), String> {
    let requests = list(&expected["requests"]);
    if observed.sent.len() != count || requests.len() < count {
        return Err(format!(
            "{} requests, expected {}",
            observed.sent.len(),
            requests.len()
        ));
    }
    for (at, (sent, expected)) in observed.sent.iter().zip(requests).enumerate() {
        let port = match (sent.uri.port_u16(), sent.uri.scheme_str()) {
            (Some(port), _) => port,
            (None, Some("https")) => 443,
            (None, _) => 80,
        };
        let host = sent.uri.host().unwrap_or_default().to_ascii_lowercase();
        let to = format!("{host}:{port}");
        let whole = format!("{}://{to}", sent.uri.scheme_str().unwrap_or_default());
        if text(&expected["to"]) != to && text(&expected["to"]) != whole {
            return Err(format!("#{at} was sent to {whole}: {expected}"));
        }
        if expected["method"].is_null() {
            continue;
        }
        let target = text(&expected["target"]);
        // A pool sends what it was given.
        let target = match target.split_once("://") {
            Some((_, rest)) => &rest[rest.find('/').unwrap_or(rest.len())..],
            None => target,
        };
        let ours = sent.uri.path_and_query().map_or("/", |path| path.as_str());
        let expected_headers = expected["headers"].as_object().expect("headers");
        let shown = |name: &str| {
            name.starts_with("content-") || name.starts_with("x-") || {
                ["authorization", "cookie", "proxy-authorization"].contains(&name)
            }
        };
        // The client frames the body; here there is none.
        let framing = |name: &str| name == "content-length";
        let mut theirs: Vec<_> = expected_headers
            .iter()
            .filter(|(name, _)| !framing(name))
            .map(|(name, value)| (name.clone(), text(value).to_owned()))
            .collect();
        let mut headers = sent.headers.clone();
        headers.retain(|(name, _)| shown(name) && !framing(name));
        theirs.sort();
        headers.sort();
        let method = text(&expected["method"]);
        let body = expected["body"].as_str().unwrap_or_default();
        if target != ours || theirs != headers || method != sent.method || body != sent.body {
            return Err(format!("#{at} was {sent:?}: {expected}"));
        }
    }
    Ok(())
}

fn ends_alike(observed: &Observed, expected: &Value) -> Result<(), String> {
    let alike = match &observed.end {
        Ok(status) => expected["returned_status"] == u64::from(*status),
        Err(error) => {
            let raised = expected["raised"].as_str().unwrap_or_default();
            let reason = error.stop_reason();
            let exhausted = matches!(reason, StopReason::CountExhausted { .. });
            match error.kind() {
                RetryErrorKind::Redirect if exhausted => {
                    expected["reason_text"] == "too many redirects"
                }
                RetryErrorKind::Redirect => false,
                RetryErrorKind::Status => expected["reason"] == "ResponseError",
                RetryErrorKind::Failed if exhausted => raised == "MaxRetryError",
                RetryErrorKind::Failed => raised != "MaxRetryError",
                _ => false,
            }
        }
    };
    if alike {
        Ok(())
    } else {
        Err(format!("{:?}: {expected}", observed.end))
    }
}

/// urllib3 raises what its parser says of a `Location`; here the redirect is not followed.
fn is_about_the_location(expected: &Value, observed: &Observed) -> bool {
    let raised = expected["result"]["raised"].as_str().unwrap_or_default();
    let parsers = [
        "LocationParseError",
        "LocationValueError",
        "URLSchemeUnknown",
        "ValueError",
    ];
    parsers.contains(&raised)
        && match &observed.end {
            Ok(status) => (301..=308).contains(status),
            Err(error) => matches!(error.stop_reason(), StopReason::RedirectRefused { .. }),
        }
}

/// The times between the attempts.
fn waits(observed: &Observed, steps: &[Value], case: &Value) -> Result<Option<Rule>, String> {
    let mut excused = None;
    let sleeps = list(&case["expect"]["sleeps_ms"]);
    for (at, pair) in observed.sent.windows(2).enumerate() {
        let gap = pair[1].at - pair[0].at;
        let theirs = Duration::from_millis(sleeps[at].as_u64().expect("milliseconds"));
        if gap == theirs {
            continue;
        }
        let status = steps[at]["status"].as_u64().unwrap_or(0);
        let asked = headers(&steps[at]["headers"]).contains_key("retry-after");
        if !(301..=308).contains(&status) || !asked {
            return Err(format!(
                "waited for {gap:?} after #{at}, expected {theirs:?}"
            ));
        }
        excused = Some(Rule::RetryAfterOfRedirects);
    }
    Ok(excused)
}
