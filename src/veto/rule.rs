//! Which responses get a veto.

use std::sync::Arc;

use http::{Extensions, HeaderName, HeaderValue, Response, StatusCode, header::CONTENT_TYPE};

use crate::{error::RetryError, reason::StopReason, report::RetryReport};

const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Writes the veto into a response that is to have one.
pub(super) fn apply<B>(response: &mut Response<B>) {
    // An empty map costs no look-up.
    if response.extensions().is_empty() || !is_failure(response) {
        return;
    }
    let stop = stop_reason(response.extensions());
    if !stop.is_some_and(is_used_up) {
        return;
    }
    let (name, value) = match is_grpc(response) {
        true => (PUSHBACK, "-1"),
        false => (SHOULD_RETRY, "false"),
    };
    // What the handler says itself counts.
    let entry = response.headers_mut().entry(name);
    entry.or_insert(HeaderValue::from_static(value));
}

/// What the handler left of its own request.
fn stop_reason(extensions: &Extensions) -> Option<&StopReason> {
    match extensions.get::<RetryReport>() {
        Some(report) => Some(&report.stop),
        None => Some(extensions.get::<Arc<RetryError>>()?.stop_reason()),
    }
}

fn is_grpc<B>(response: &Response<B>) -> bool {
    let kind = response.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Whether somebody might repeat the request for this response.
fn is_failure<B>(response: &Response<B>) -> bool {
    let status = response.status();
    if status.as_u16() >= 500 || status == StatusCode::TOO_MANY_REQUESTS {
        return true;
    }
    // A gRPC call that failed before it had an answer says so in the head.
    let grpc = response.headers().get(GRPC_STATUS);
    is_grpc(response) && grpc.is_some_and(|code| code != "0")
}

/// Whether another attempt would be of no use, or is not wanted, whoever makes it.
fn is_used_up(stop: &StopReason) -> bool {
    match stop {
        StopReason::CountExhausted { .. }
        | StopReason::StatusCountExhausted { .. }
        | StopReason::BudgetExhausted(_)
        | StopReason::DeadlineTooClose { .. }
        | StopReason::DeadlineExceeded { .. }
        | StopReason::RetryAfterTooLong { .. }
        | StopReason::ForbiddenByServer { .. }
        | StopReason::Throttled
        | StopReason::HeldTooLong { .. }
        | StopReason::TooManyInFlight { .. } => true,
        // Whoever asked may have what it takes, such as an idempotent method; or it was no failure.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::reason::{Cause, HintHeader, LimitKind};

    fn response(status: u16, stop: StopReason) -> Response<()> {
        let mut report = RetryReport::new(http::Method::GET, "http://a.test/".to_owned());
        report.stop = stop;
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        response.extensions_mut().insert(report);
        response
    }

    fn vetoed(mut response: Response<()>) -> bool {
        apply(&mut response);
        response.headers().contains_key(SHOULD_RETRY)
    }

    #[test]
    fn only_what_is_used_up_is_vetoed() {
        let second = Duration::from_secs(1);
        let (kind, limit) = (LimitKind::Total, 3);
        let header = HintHeader::RetryAfter;
        let docs = include_str!("mod.rs");
        let row = |veto: &str| {
            let mut rows = docs.lines().filter(|line| line.starts_with("//! | `"));
            rows.find(|row| row.contains(veto)).expect("a row")
        };
        for (stop, expected) in [
            (StopReason::CountExhausted { kind, limit }, true),
            (StopReason::BudgetExhausted(Default::default()), true),
            (
                StopReason::StatusCountExhausted {
                    status: StatusCode::TOO_MANY_REQUESTS,
                    limit: 3,
                },
                true,
            ),
            (
                StopReason::DeadlineTooClose {
                    left: second,
                    needed: second,
                },
                true,
            ),
            (StopReason::DeadlineExceeded { deadline: second }, true),
            (
                StopReason::RetryAfterTooLong {
                    asked: second,
                    cap: second,
                },
                true,
            ),
            (StopReason::Throttled, true),
            (
                StopReason::HeldTooLong {
                    held: second,
                    max: second,
                },
                true,
            ),
            (StopReason::TooManyInFlight { max: 1 }, true),
            (StopReason::ForbiddenByServer { header }, true),
            (StopReason::Succeeded, false),
            (StopReason::KindDisabled { kind }, false),
            (
                StopReason::MethodNotAllowed {
                    method: http::Method::POST,
                },
                false,
            ),
            (
                StopReason::NotTransient {
                    cause: Cause::Certificate,
                },
                false,
            ),
            (StopReason::Disabled, false),
            (StopReason::Custom("no".into()), false),
        ] {
            let named = [row("yes: trying"), row("yes: the veto")];
            let name = format!("`{}`", stop.name());
            let is_named = named.iter().any(|row| row.contains(&name));
            assert_eq!(is_named, expected, "{name} in the docs");
            assert_eq!(vetoed(response(503, stop)), expected, "{name}");
        }
    }

    #[test]
    fn only_failures_are_vetoed_and_grpc_in_its_own_words() {
        let used_up = StopReason::BudgetExhausted(Default::default());
        for (status, expected) in [(200, false), (404, false), (429, true), (500, true)] {
            assert_eq!(
                vetoed(response(status, used_up.clone())),
                expected,
                "{status}"
            );
        }
        for (code, expected) in [("14", Some("-1")), ("0", None)] {
            let mut grpc = response(200, used_up.clone());
            let head = grpc.headers_mut();
            head.insert(
                CONTENT_TYPE,
                HeaderValue::from_static("application/grpc+proto"),
            );
            head.insert(GRPC_STATUS, HeaderValue::from_static(code));
            apply(&mut grpc);
            let found = grpc.headers().get(PUSHBACK).map(|value| value.as_bytes());
            assert_eq!(found, expected.map(str::as_bytes));
            assert!(!grpc.headers().contains_key(SHOULD_RETRY));
        }
        let mut own = response(503, used_up);
        own.headers_mut()
            .insert(SHOULD_RETRY, HeaderValue::from_static("true"));
        apply(&mut own);
        assert_eq!(own.headers()[SHOULD_RETRY], "true");
    }

    #[test]
    fn the_error_of_a_request_will_do_as_well() {
        let mut report = RetryReport::without_request();
        report.stop = StopReason::BudgetExhausted(Default::default());
        let kind = crate::error::RetryErrorKind::Failed;
        let error = RetryError::new(kind, report, None);
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response.extensions_mut().insert(Arc::new(error));
        assert!(vetoed(response));
    }
}
