//! Idempotency keys: made once, kept over attempts, and what 409 and 422 mean then.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_http_retry::{
    AttemptInfo, NeverSent, PreviousOutcome, RetryLayer, RetryReport,
    policy::{Backoff, Methods, Note, RetryPolicy, StopReason},
};

type Head = http::request::Parts;

fn layer() -> RetryLayer<RetryPolicy> {
    let backoff = Backoff::constant(Duration::from_millis(10));
    let policy = RetryPolicy::builder().backoff(backoff).build();
    let keys = Arc::new(Mutex::new(0));
    RetryLayer::new(policy.expect("valid")).idempotency_keys_with(move || {
        let mut number = keys.lock().expect("no panic");
        *number += 1;
        format!("key-{number}")
    })
}

/// Sends `request` to a server that answers with `statuses`; the report and what was received.
async fn send(
    layer: RetryLayer<RetryPolicy>,
    request: Request<()>,
    statuses: &'static [u16],
) -> (Option<RetryReport>, Vec<Head>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let server = service_fn(move |request: Request<Full<Bytes>>| {
        let mut seen = log.lock().expect("no panic");
        let status = statuses[seen.len()];
        seen.push(request.into_parts().0);
        let response = Response::builder()
            .status(status)
            .body(Empty::<Bytes>::new());
        async move { Ok::<_, Infallible>(response.expect("valid")) }
    });
    let response = layer
        .layer(server)
        .oneshot(request.map(|()| Full::default()))
        .await
        .expect("a response");
    let report = response.extensions().get().cloned();
    let seen = std::mem::take(&mut *seen.lock().expect("no panic"));
    (report, seen)
}

fn request(method: Method) -> Request<()> {
    let request = Request::builder().method(method).uri("http://a.test/pay");
    request.body(()).expect("valid")
}

fn keys(seen: &[Head]) -> Vec<Option<&str>> {
    seen.iter()
        .map(|head| head.headers.get("idempotency-key")?.to_str().ok())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_post_gets_one_key_for_all_attempts_and_is_repeated() {
    for method in [Method::POST, Method::PATCH] {
        let (report, seen) = send(layer(), request(method), &[503, 503, 200]).await;
        assert_eq!(keys(&seen), [Some("\"key-1\""); 3]);
        assert_eq!(report.expect("retried").stop, StopReason::Succeeded);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_there_is_kept_and_other_methods_get_none() {
    let mut own = request(Method::POST);
    let key = "\"mine\"".parse().expect("valid");
    own.headers_mut().insert("idempotency-key", key);
    let (_, seen) = send(layer(), own, &[503, 200]).await;
    assert_eq!(keys(&seen), [Some("\"mine\""); 2]);

    for method in [Method::GET, Method::PUT] {
        let (_, seen) = send(layer(), request(method), &[503, 200]).await;
        assert_eq!(keys(&seen), [None, None]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_conflict_with_the_first_attempt_is_waited_for() {
    let (report, seen) = send(layer(), request(Method::POST), &[503, 409, 409, 201]).await;
    assert_eq!(seen.len(), 4);
    let report = report.expect("retried");
    assert_eq!(
        report.attempts[1].note.as_deref(),
        Some(&Note::StillInProgress)
    );
    assert_eq!(report.stop, StopReason::Succeeded);
}

/// PUT is allowed by itself, POST and PATCH by the user.
#[tokio::test(start_paused = true)]
async fn the_rules_of_a_key_hold_also_where_the_method_is_allowed() {
    let backoff = Backoff::constant(Duration::from_millis(10));
    let keyed = |method: Method| {
        let mut request = request(method);
        let key = "\"mine\"".parse().expect("valid");
        request.headers_mut().insert("idempotency-key", key);
        request
    };
    for methods in [
        Methods::any(),
        [Method::POST, Method::PATCH, Method::PUT].into(),
    ] {
        let policy = RetryPolicy::builder()
            .backoff(backoff.clone())
            .allowed_methods(methods)
            .budget(None);
        let layer = RetryLayer::new(policy.build().expect("valid"));
        for method in [Method::POST, Method::PATCH, Method::PUT] {
            let (report, seen) = send(layer.clone(), keyed(method.clone()), &[503, 409, 201]).await;
            assert_eq!(seen.len(), 3, "{method}");
            let report = report.expect("retried");
            assert_eq!(report.stop, StopReason::Succeeded);
            let note = report.attempts[1].note.as_deref();
            assert_eq!(note, Some(&Note::StillInProgress));

            let (report, seen) = send(layer.clone(), keyed(method.clone()), &[503, 422]).await;
            assert_eq!(seen.len(), 2);
            assert_eq!(
                report.expect("retried").stop,
                StopReason::IdempotencyKeyReused
            );

            // Without a key it is the caller's affair.
            let (report, seen) = send(layer.clone(), request(method), &[503, 409]).await;
            assert_eq!(seen.len(), 2);
            assert!(matches!(
                report.expect("failed").stop,
                StopReason::StatusNotListed { .. }
            ));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_conflict_of_the_first_attempt_is_the_callers_affair() {
    let (report, seen) = send(layer(), request(Method::POST), &[409]).await;
    assert_eq!(seen.len(), 1);
    let status = http::StatusCode::CONFLICT;
    assert_eq!(
        report.expect("failed").stop,
        StopReason::StatusNotListed { status }
    );
}

/// After a connect failure, and after a 425, the key was not used by this request.
#[tokio::test(start_paused = true)]
async fn a_conflict_after_what_was_never_processed_is_the_callers_affair() {
    let policy = RetryPolicy::builder().backoff(Backoff::none()).budget(None);
    let layer = RetryLayer::new(policy.build().expect("valid"));
    for last in [409, 422] {
        let status = http::StatusCode::from_u16(last).expect("valid");
        let caller = StopReason::StatusNotListed { status };
        for unprocessed in [0, 425] {
            for before in [vec![], vec![503]] {
                let script: Vec<_> = before
                    .iter()
                    .chain([&unprocessed, &last])
                    .copied()
                    .collect();
                let served = Arc::new(Mutex::new(script.into_iter()));
                let server = service_fn(move |_: Request<()>| {
                    let status = served.lock().expect("no panic").next();
                    std::future::ready(match status {
                        Some(0) => Err(NeverSent::new("refused")),
                        status => Ok(Response::builder()
                            .status(status.unwrap_or(201))
                            .body(String::new())
                            .expect("valid")),
                    })
                });
                let mut request = request(Method::POST);
                let key = "\"mine\"".parse().expect("valid");
                request.headers_mut().insert("idempotency-key", key);
                let response = layer.clone().layer(server).oneshot(request).await;
                let response = response.expect("a response");
                let report: &RetryReport = response.extensions().get().expect("a report");
                let theirs = match last {
                    409 => StopReason::Succeeded,
                    _ => StopReason::IdempotencyKeyReused,
                };
                let expected = if before.is_empty() { &caller } else { &theirs };
                assert_eq!(report.stop, *expected, "{report}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_used_for_another_request_stops() {
    let (report, seen) = send(layer(), request(Method::POST), &[503, 422]).await;
    assert_eq!(seen.len(), 2);
    assert_eq!(
        report.expect("retried").stop,
        StopReason::IdempotencyKeyReused
    );
}

#[cfg(feature = "uuid")]
#[tokio::test(start_paused = true)]
async fn generated_keys_are_uuids_and_differ_between_requests() {
    let layer = RetryLayer::new(RetryPolicy::default()).idempotency_keys();
    let mut all = Vec::new();
    for _ in 0..2 {
        let (_, seen) = send(layer.clone(), request(Method::POST), &[200]).await;
        let key = keys(&seen)[0].expect("a key").trim_matches('"').to_owned();
        let uuid: uuid::Uuid = key.parse().expect("a UUID");
        assert_eq!(uuid.get_version_num(), 7);
        all.push(key);
    }
    assert_ne!(all[0], all[1]);
}

#[tokio::test(start_paused = true)]
async fn each_retry_knows_its_number_and_tells_the_server() {
    let layer = layer().attempt_header("retry-attempt".parse().expect("a header of our own"));
    let (_, seen) = send(layer, request(Method::GET), &[503, 500, 200]).await;
    let headers: Vec<_> = seen
        .iter()
        .map(|head| head.headers.get("retry-attempt"))
        .collect();
    assert_eq!(headers[0], None);
    assert_eq!(headers[1].expect("there"), "1");
    assert_eq!(headers[2].expect("there"), "2");
    let infos: Vec<Option<&AttemptInfo>> = seen.iter().map(|h| h.extensions.get()).collect();
    assert_eq!(infos[0], None);
    let last = infos[2].expect("there");
    assert_eq!(last.number, 3);
    let status = http::StatusCode::INTERNAL_SERVER_ERROR;
    assert_eq!(last.previous, PreviousOutcome::Response(status));
}

#[tokio::test(start_paused = true)]
async fn nested_layers_notice_each_other() {
    let calls = Arc::new(Mutex::new(0));
    let count = Arc::clone(&calls);
    let server = service_fn(move |_: Request<Full<Bytes>>| {
        *count.lock().expect("no panic") += 1;
        let response = Response::builder().status(503).body(Empty::<Bytes>::new());
        async move { Ok::<_, Infallible>(response.expect("valid")) }
    });
    let twice = || {
        let backoff = Backoff::constant(Duration::from_millis(10));
        RetryPolicy::builder()
            .total(1)
            .backoff(backoff)
            .build()
            .expect("valid")
    };
    let inner_reports = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&inner_reports);
    let inner = RetryLayer::new(twice()).on_event(move |event| {
        if let tower_http_retry::RetryEvent::GaveUp(report) = event {
            log.lock().expect("no panic").push((*report).clone());
        }
    });
    let stack = RetryLayer::new(twice()).layer(inner.layer(server));
    let response = stack
        .oneshot(request(Method::GET).map(|()| Full::default()))
        .await
        .expect("a response");
    assert_eq!(*calls.lock().expect("no panic"), 4);
    let outer: &RetryReport = response.extensions().get().expect("there");
    assert_eq!(outer.attempts.len(), 2);
    assert!(
        outer
            .attempts
            .iter()
            .all(|attempt| attempt.inner_attempts == Some(2))
    );
    let inner = inner_reports.lock().expect("no panic");
    let outer_attempts: Vec<_> = inner.iter().map(|report| report.outer_attempt).collect();
    assert_eq!(outer_attempts, [None, Some(2)]);
    assert!(
        inner[1]
            .to_string()
            .contains("attempt 2 of a retry layer further out")
    );
}
