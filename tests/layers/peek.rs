//! Looks into the body of a response before it is judged.

use std::{cell::Cell, future::Future, pin::pin, sync::Arc, task::Poll, time::Duration};

use allocation_counter::measure;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tokio_test::task;
use tower::{Layer, Service, ServiceExt};
use tower_http_retry::{
    RetryLayer, RetryReport,
    budget::RetryBudget,
    classify::{Cause, FailureKind, Opinion, Sent},
    peek::{DEFAULT_LIMIT, PeekLayer},
    policy::{Backoff, Idempotent, LimitKind, Note, RetryPolicy, StopReason, WaitReason},
    stack::LayerOutcome,
};

use crate::scripted::{Script, Server, Step, data, get, request};

const MS: Duration = Duration::from_millis(1);

fn policy() -> RetryPolicy {
    let policy = RetryPolicy::builder().backoff(Backoff::constant(100 * MS));
    policy.budget(None).build().expect("valid")
}

/// What the caller gets of a body: its bytes, its trailers and how it ends.
async fn read<B>(body: B) -> (Vec<Bytes>, Option<HeaderMap>, Option<String>)
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: ToString,
{
    let (mut body, mut frames, mut trailers) = (body, Vec::new(), None);
    loop {
        match body.frame().await {
            None => return (frames, trailers, None),
            Some(Err(error)) => return (frames, trailers, Some(error.to_string())),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => frames.push(data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
        }
    }
}

fn report<B>(response: &Response<B>) -> &RetryReport {
    response.extensions().get().expect("a report")
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_judged_a_failure_is_asked_for_again_and_then_handed_on_frame_for_frame() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().expect("a value"));
    let server = Server::new()
        .answer(200, &[], [data("bu"), data("sy")])
        .answer(
            200,
            &[],
            [
                data("do"),
                Step::Pause(10 * MS),
                data("ne"),
                Step::Trailers(trailers.clone()),
            ],
        );
    let peek = PeekLayer::new(
        DEFAULT_LIMIT,
        |_| true,
        |_, bytes, complete| match bytes {
            b"busy" if complete => Opinion::Retry("busy".into()),
            _ => Opinion::NoOpinion,
        },
    );
    let service = RetryLayer::new(policy()).layer(peek.layer(server.clone()));
    let response = service.oneshot(get()).await.expect("a response");
    let first = report(&response).attempts[0].clone();
    let (by, because) = ("PeekLayer".into(), "busy".into());
    assert_eq!(
        first.note.as_deref(),
        Some(&Note::Reclassified { by, because })
    );
    let (frames, kept, error) = read(response.into_body()).await;
    assert_eq!(frames, ["do", "ne"]);
    assert_eq!((kept, error), (Some(trailers), None));
    assert_eq!(server.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn no_more_is_read_than_the_limit_and_the_rest_comes_as_it_was() {
    // What the judge saw, and whether it was told that this is all.
    for (limit, sizes, shown, complete) in [
        (100, &[60, 60][..], 100, false),
        (100, &[1, 1, 1], 3, true),
        (9000, &[1; 2000], 1024, false),
        (100, &[60], 60, true),
        (100, &[100], 100, true),
        (60, &[100], 60, false),
        (100, &[], 0, true),
    ] {
        let steps = sizes.iter().map(|size| data(vec![b'x'; *size]));
        let server = Server::new().answer(200, &[], steps);
        let seen = Arc::new(std::sync::Mutex::new(None));
        let saw = Arc::clone(&seen);
        let peek = PeekLayer::new(
            limit,
            |_| true,
            move |_, bytes, complete| {
                *saw.lock().expect("no panic") = Some((bytes.len(), complete));
                Opinion::NoOpinion
            },
        );
        let response = peek.layer(server).oneshot(get()).await.expect("a response");
        assert!(LayerOutcome::of(response.extensions()).is_none());
        assert_eq!(
            *seen.lock().expect("no panic"),
            Some((shown, complete)),
            "{limit} {sizes:?}"
        );
        let (frames, _, error) = read(response.into_body()).await;
        let sizes_read: Vec<_> = frames.iter().map(Bytes::len).collect();
        assert_eq!((&*sizes_read, error), (sizes, None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_or_is_short_is_a_read_failure_and_never_taken_for_unsent() {
    let broken = [data("half"), Step::Fail("connection reset by peer")];
    let short = [data("half")];
    for (headers, steps) in [
        (&[][..], broken.to_vec()),
        (&[("content-length", "8")], broken.to_vec()),
        (&[("content-length", "8")], short.to_vec()),
    ] {
        for preset in [RetryPolicy::builder(), RetryPolicy::urllib3_builder()] {
            let policy = preset.read(1).raise_on_status(false).budget(None);
            let policy = policy.backoff(Backoff::none()).build().expect("valid");
            let layer = RetryLayer::new(policy);
            // A GET is repeated; then it is used up.
            let server = Server::new().answer(200, headers, steps.clone()).answer(
                200,
                headers,
                steps.clone(),
            );
            let service = layer
                .clone()
                .layer(PeekLayer::collect(100).layer(server.clone()));
            let response = service.oneshot(get()).await.expect("a response");
            let told = report(&response);
            assert_eq!(server.count(), 2, "{told}");
            let (kind, limit) = (LimitKind::Read, 1);
            assert_eq!(told.stop, StopReason::CountExhausted { kind, limit });
            let wait = told.attempts[0].wait.as_ref().expect("a wait");
            assert_eq!(wait.charged, Some(LimitKind::Read));
            assert_eq!(told.attempts[0].failed_within, Some(Cause::ResponseBody));
            assert_eq!(told.effects(), 0..=2);
            let (frames, _, error) = read(response.into_body()).await;
            assert_eq!(frames, ["half"], "the caller meets what was met");
            let fails = matches!(steps.last(), Some(Step::Fail(_)));
            assert_eq!(error.is_some(), fails);
            // The server has answered: a POST is not repeated.
            let server = Server::new().answer(200, headers, steps.clone());
            let service = layer.layer(PeekLayer::collect(100).layer(server.clone()));
            let response = service
                .oneshot(request(Method::POST))
                .await
                .expect("a response");
            assert_eq!(report(&response).stop.name(), "method_not_allowed");
            let outcome = LayerOutcome::of(response.extensions()).expect("told");
            let failure = outcome.failure.expect("a failure");
            assert_eq!(
                (failure.kind, failure.sent),
                (FailureKind::Read, Sent::Answered)
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_small_body_that_breaks_is_asked_for_again_and_a_large_one_is_handed_on() {
    let server = Server::new()
        .answer(
            200,
            &[("content-length", "4")],
            [data("ha"), Step::Fail("gone")],
        )
        .answer(200, &[("content-length", "4")], [data("ha"), data("lf")]);
    let service = RetryLayer::new(policy()).layer(PeekLayer::collect(4).layer(server.clone()));
    let response = service.clone().oneshot(get()).await.expect("a response");
    assert_eq!(report(&response).attempt_count(), 2);
    assert_eq!(read(response.into_body()).await.0, ["ha", "lf"]);

    let server = Server::new().answer(200, &[("content-length", "5")], [Step::Stall]);
    let service = RetryLayer::new(policy()).layer(PeekLayer::collect(4).layer(server));
    let response = service.oneshot(get()).await.expect("its head is enough");
    assert!(response.extensions().get::<RetryReport>().is_none());
}

/// Whether a body without a length is whole shows behind its last byte.
#[tokio::test(start_paused = true)]
async fn a_body_of_exactly_the_limit_is_read_to_its_end() {
    for (steps, attempts) in [
        (vec![data("half"), Step::Fail("gone")], 2),
        (
            vec![data("ha"), data("lf"), Step::Pause(MS), Step::Fail("gone")],
            2,
        ),
        (vec![data("half"), Step::Pause(MS)], 1),
        // Longer than the limit, and so handed on.
        (vec![data("half"), data("-"), Step::Fail("gone")], 1),
        (vec![data("half-"), Step::Fail("gone")], 1),
    ] {
        let server = Server::new()
            .answer(200, &[], steps.clone())
            .answer(200, &[], [data("full")]);
        let service = RetryLayer::new(policy()).layer(PeekLayer::collect(4).layer(server.clone()));
        service.oneshot(get()).await.expect("a response");
        assert_eq!(server.count(), attempts, "{steps:?}");
    }
    // Nothing fits into nothing.
    let server = Server::new().answer(200, &[], [Step::Fail("gone")]);
    let service = RetryLayer::new(policy()).layer(PeekLayer::collect(0).layer(server));
    let response = service.oneshot(get()).await.expect("its head is enough");
    assert!(response.extensions().get::<RetryReport>().is_none());
}

#[tokio::test(start_paused = true)]
async fn the_attempts_timeout_covers_what_is_read() {
    let server = Server::new()
        .answer(200, &[], [data("half"), Step::Stall])
        .answer(200, &[], [data("whole")]);
    let start = Instant::now();
    let service = RetryLayer::new(policy()).attempt_timeout(500 * MS);
    let service = service.layer(PeekLayer::collect(100).layer(server));
    let response = service.oneshot(get()).await.expect("a response");
    assert_eq!(start.elapsed(), 600 * MS);
    let told = report(&response);
    assert!(told.to_string().contains("attempt timed out"), "{told}");
    assert_eq!(read(response.into_body()).await.0, ["whole"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_message_of_its_own_is_never_read() {
    let sse = ("content-type", "Text/Event-Stream; charset=utf-8");
    let ok = ("content-type", "text/plain");
    for (method, status, header) in [
        (Method::GET, 101, ok),
        (Method::CONNECT, 200, ok),
        (Method::GET, 200, sse),
        (Method::GET, 206, ok),
        (Method::HEAD, 200, ok),
        (Method::GET, 204, ok),
        (Method::GET, 304, ok),
    ] {
        let what = format!("{method} {status} {header:?}");
        let headers = [header, ("content-length", "9")];
        let server = Server::new().answer(status, &headers, [Step::Stall]);
        let peek = PeekLayer::new(
            DEFAULT_LIMIT,
            |_| true,
            |_, _, _| -> Opinion { panic!("it was read") },
        );
        let mut call = task::spawn(peek.layer(server).oneshot(request(method)));
        let Poll::Ready(response) = call.poll() else {
            panic!("{what} is waited for");
        };
        let response = response.expect("a response");
        assert!(LayerOutcome::of(response.extensions()).is_none(), "{what}");
    }
    // The same server, where it may be read, is waited for.
    let server = Server::new().answer(200, &[ok], [Step::Stall]);
    let service = PeekLayer::collect(100).layer(server);
    assert!(task::spawn(service.oneshot(get())).poll().is_pending());
}

const XML: (&str, &str) = ("content-type", "application/xml");

#[tokio::test(start_paused = true)]
async fn s3_says_in_a_200_that_a_copy_failed_after_spaces_that_keep_it_alive() {
    let spaces = [data(" "), Step::Pause(10_000 * MS), data(" \n")];
    let with = |end: &str| {
        spaces
            .iter()
            .cloned()
            .chain([data(end)])
            .collect::<Vec<_>>()
    };
    let slow = with("<?xml version=\"1.0\"?>\n<Error><Code>SlowDown</Code></Error>");
    let error = with("<Error><Code>InternalError</Code></Error>");
    let done = with("<CopyObjectResult/>");
    let server = Server::new()
        .answer(200, &[XML], slow)
        .answer(200, &[XML], error)
        .answer(200, &[XML], done);
    let service = RetryLayer::new(policy()).layer(PeekLayer::s3_errors().layer(server));
    let response = service
        .oneshot(request(Method::PUT))
        .await
        .expect("a response");
    let told = report(&response);
    let notes: Vec<_> = told
        .attempts
        .iter()
        .filter_map(|one| one.note.as_deref())
        .collect();
    let note = |because: &'static str| Note::Reclassified {
        by: "S3".into(),
        because: because.into(),
    };
    assert_eq!(notes, [&note("SlowDown"), &note("InternalError")]);
    let too_many = Some(Cause::Status(StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(told.attempts[0].failed_within, too_many);
    assert_eq!(
        read(response.into_body()).await.0.concat(),
        b"  \n<CopyObjectResult/>"
    );
}

#[tokio::test(start_paused = true)]
async fn what_s3_says_for_good_is_final_and_named_and_an_object_is_not_looked_into() {
    let denied = "<Error><Code>AccessDenied</Code></Error>";
    let server = Server::new().answer(200, &[XML], [data(denied)]);
    let service = RetryLayer::new(policy()).layer(PeekLayer::s3_errors().layer(server));
    let response = service
        .oneshot(request(Method::PUT))
        .await
        .expect("a response");
    let (by, because) = ("S3".into(), "AccessDenied".into());
    assert_eq!(report(&response).stop, StopReason::Vetoed { by, because });
    // A POST that is not known to be idempotent is not repeated, whatever it says.
    let slow = "<Error><Code>SlowDown</Code></Error>";
    let server = Server::new().answer(200, &[XML], [data(slow)]);
    let service = RetryLayer::new(policy()).layer(PeekLayer::s3_errors().layer(server));
    let response = service
        .oneshot(request(Method::POST))
        .await
        .expect("a response");
    assert_eq!(report(&response).stop.name(), "method_not_allowed");
    // An object that is such a document has an etag.
    let server = Server::new().answer(200, &[XML, ("etag", "\"a\"")], [data(slow)]);
    let service = RetryLayer::new(policy()).layer(PeekLayer::s3_errors().layer(server));
    let response = service.oneshot(get()).await.expect("a response");
    assert!(response.extensions().get::<RetryReport>().is_none());
}

#[tokio::test(start_paused = true)]
async fn graphql_errors_are_failures_where_there_is_no_data() {
    let json = (
        "content-type",
        "application/graphql-response+json; charset=utf-8",
    );
    let throttled = r#"{"errors":[{"message":"m","extensions":{"code":"THROTTLED"}}]}"#;
    let github = r#"{"data":null,"errors":[{"type":"RATE_LIMITED"}]}"#;
    let broken = r#"{"errors":[{"extensions":{"code":"INTERNAL_SERVER_ERROR"}}]}"#;
    let input = r#"{"errors":[{"extensions":{"code":"BAD_USER_INPUT"}}]}"#;
    let partial = r#"{"data":{"a":1},"errors":[{"extensions":{"code":"THROTTLED"}}]}"#;
    let fine = r#"{"data":{"a":1}}"#;
    for (body, stop) in [
        (throttled, Some("succeeded")),
        (github, Some("succeeded")),
        (broken, Some("succeeded")),
        (input, Some("vetoed")),
        (r#"{"errors":[{}]}"#, Some("vetoed")),
        (partial, None),
        (fine, None),
        (r#"{"errors":[]}"#, None),
        (r#"{"errors":7}"#, None),
        ("no json", None),
    ] {
        let server =
            Server::new()
                .answer(200, &[json], [data(body)])
                .answer(200, &[json], [data(fine)]);
        let service = RetryLayer::new(policy());
        let service = service.layer(PeekLayer::graphql_errors().layer(server));
        let mut query = request(Method::POST);
        query.extensions_mut().insert(Idempotent);
        let response = service.oneshot(query).await.expect("a response");
        let told = response.extensions().get::<RetryReport>();
        assert_eq!(told.map(|told| told.stop.name()), stop, "{body}");
    }
}

const PROBLEM: (&str, &str) = ("content-type", "application/problem+json");
const RETRY_INFO: &str = r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[
    {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"3.5s"}]}}"#;

#[tokio::test(start_paused = true)]
async fn hints_in_bodies_are_waited_for_as_far_as_the_policy_obeys() {
    let with_retry_after = [PROBLEM, ("retry-after", "2")];
    let asked = |ms: u64| Duration::from_millis(ms);
    let day = r#"{"retry_after":86400}"#;
    for (headers, body, wait) in [
        (&[PROBLEM][..], RETRY_INFO, Ok((asked(3500), true))),
        (&[PROBLEM], r#"{"retry_after":7}"#, Ok((asked(7000), true))),
        // A header goes first; what says nothing leaves it to the backoff.
        (&with_retry_after, RETRY_INFO, Ok((asked(2000), false))),
        (&[PROBLEM], r#"{"title":"busy"}"#, Ok((asked(100), false))),
        (&[PROBLEM], day, Err("retry_after_too_long")),
        (&[PROBLEM], r#"{"retryable":false}"#, Err("vetoed")),
    ] {
        let server = Server::new()
            .answer(503, headers, [data(body)])
            .answer(200, &[], []);
        let policy = RetryPolicy::builder()
            .backoff(Backoff::constant(100 * MS))
            .retry_after_jitter(0.0)
            .retry_after_max(asked(60_000));
        let policy = policy.budget(None).build().expect("valid");
        let start = Instant::now();
        let service = RetryLayer::new(policy).layer(PeekLayer::hints().layer(server));
        let response = service.oneshot(get()).await.expect("a response");
        let told = report(&response);
        match wait {
            Ok((wait, by_body)) => {
                assert_eq!(start.elapsed(), wait, "{told}");
                let why = &told.attempts[0].wait.as_ref().expect("a wait").why;
                let by_it = *why == WaitReason::Opinion { by: "body".into() };
                assert_eq!(by_it, by_body, "{told}");
            }
            Err(stop) => assert_eq!(told.stop.name(), stop),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_throttles_in_a_body_costs_the_budget_what_a_429_costs() {
    let spent = async |body: &'static str| {
        let budget = RetryBudget::aws();
        let now = Instant::now().into_std();
        let slot = budget.slot(get().uri());
        let policy = RetryPolicy::builder().backoff(Backoff::none());
        let policy = policy.budget(budget.clone()).build().expect("valid");
        let server = Server::new()
            .answer(503, &[PROBLEM], [data(body)])
            .answer(503, &[PROBLEM], [data(body)])
            .answer(403, &[], []);
        let service = RetryLayer::new(policy).layer(PeekLayer::hints().layer(server));
        service.oneshot(get()).await.expect("a response");
        500.0 - budget.balance(slot, now).expect("its own")
    };
    // Two retries, by the AWS quota: 14 each, or 5 where the server throttles.
    assert_eq!(spent("{}").await, 28.0);
    assert_eq!(
        spent(r#"{"error":{"status":"RESOURCE_EXHAUSTED"}}"#).await,
        10.0
    );
}

#[tokio::test(start_paused = true)]
async fn shared_hints_and_the_throttle_hear_what_bodies_say() {
    use tower_http_retry::shared_hints::SharedHints;

    let server = Server::new()
        .answer(503, &[PROBLEM], [data(RETRY_INFO)])
        .answer(200, &[], [])
        .answer(200, &[], []);
    let policy = RetryPolicy::builder().retry_after_jitter(0.0).budget(None);
    let layer = RetryLayer::new(policy.build().expect("valid")).admission(SharedHints::default());
    let service = layer.layer(PeekLayer::hints().layer(server.clone()));
    let first = tokio::spawn(service.clone().oneshot(get()));
    tokio::task::yield_now().await;
    let other = tokio::spawn(service.oneshot(get()));
    first.await.expect("no panic").expect("a response");
    other.await.expect("no panic").expect("a response");
    let times = server.times();
    assert!(
        times[1] - times[0] >= 3500 * MS,
        "the other one was held back, too"
    );
}

#[test]
fn a_response_that_is_not_read_costs_no_allocation() {
    let mut service =
        PeekLayer::s3_errors().layer(tower::service_fn(|_: Request<Full<Bytes>>| async {
            Ok::<_, ()>(Response::new(Full::new(Bytes::new())))
        }));
    let mut send = || {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let request = Request::new(Full::new(Bytes::new()));
        let info = measure(|| {
            let Poll::Ready(Ok(response)) = pin!(service.call(request)).poll(&mut cx) else {
                panic!("not answered at once");
            };
            drop(response);
        });
        info.count_total
    };
    assert_eq!(send(), 0);
    // What is read of one piece costs none either, unless it says something.
    let judged = Cell::new(0);
    let mut service = PeekLayer::new(
        DEFAULT_LIMIT,
        |_| true,
        |_, bytes, complete| {
            assert_eq!((bytes, complete), (&b"fine"[..], true));
            judged.set(judged.get() + 1);
            Opinion::NoOpinion
        },
    )
    .layer(tower::service_fn(|_: Request<Script>| async {
        Ok::<_, ()>(Response::new(Full::new(Bytes::from_static(b"fine"))))
    }));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let request = Request::new(Script::default());
    let info = measure(|| {
        assert!(pin!(service.call(request)).poll(&mut cx).is_ready());
    });
    assert_eq!((info.count_total, judged.get()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_service_below_is_handed_on_as_it_is() {
    let server = Server::new().fail("no route");
    let service = PeekLayer::collect(100).layer(server.clone());
    let error = service.oneshot(get()).await.expect_err("no route");
    assert_eq!(error.to_string(), "no route");
    assert_eq!(server.seen()[0].method, Method::GET);
}
