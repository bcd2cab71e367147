//! What the caller is told: nothing on success, everything else otherwise.

use std::{
    error::Error,
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use tower::Layer;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, request::Parts};
use http_body_util::Full;
use tokio::time;
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok};
use tower_http_retry::{
    AttemptOutcome, RetryError, RetryErrorKind, RetryLayer, RetryReport,
    classify::{Cause, FailureKind, Opinion, Outcome, Sent},
    policy::{
        Backoff, Gate, HintHeader, LimitKind, Note, Policy, RetryPolicy, StopReason, WaitReason,
    },
};
use tower_test::mock;

use test_support::probe::{
    Bookkeeper, MS, Req, Res, answer, every, get, is_ok, refused, report, request, reset, sent,
    start,
};
use test_support::trip::Trip;

/// What the service does with one attempt, each of which takes 5 ms.
enum Act {
    Answer(Res),
    Fail(tower_http_retry::BoxError),
}

/// Plays `acts`, passing over all waits, and returns how the request ended.
async fn play<P: Policy + Clone>(
    layer: RetryLayer<P>,
    request: Req,
    acts: Vec<Act>,
) -> Result<Res, RetryError> {
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, request);
    let mut acts = acts.into_iter();
    loop {
        if let Poll::Ready(result) = future.poll() {
            assert!(acts.next().is_none(), "it ended early: {result:?}");
            return result;
        }
        let Poll::Ready(next) = handle.poll_request() else {
            time::advance(MS).await;
            continue;
        };
        let (_, respond) = next.expect("the service is alive");
        time::advance(5 * MS).await;
        match acts.next().expect("another act") {
            Act::Answer(response) => respond.send_response(response),
            Act::Fail(error) => respond.send_error(error),
        }
    }
}

fn with_header(status: u16, name: &'static str, value: &'static str) -> Res {
    let mut response = answer(status);
    let value = HeaderValue::from_static(value);
    response.headers_mut().insert(name, value);
    response
}

#[tokio::test(start_paused = true)]
async fn a_success_at_once_has_no_report() {
    for status in [200, 201, 204, 206, 301, 304] {
        for layer in [
            RetryLayer::new(every(100 * MS)),
            RetryLayer::new(every(100 * MS))
                .deadline(1000 * MS)
                .attempt_timeout(100 * MS),
            RetryLayer::new(every(100 * MS)).classify(|_: &Outcome<'_>| Opinion::NoOpinion),
        ] {
            let response = play(layer, get(), vec![Act::Answer(answer(status))]).await;
            let response = response.expect("a response");
            assert_eq!(response.status().as_u16(), status);
            assert!(response.extensions().is_empty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_404_has_a_report_that_says_that_its_status_is_not_listed() {
    let response = play(
        RetryLayer::new(every(100 * MS)),
        get(),
        vec![Act::Answer(answer(404))],
    )
    .await
    .expect("a response");
    let report = report(&response);
    let status = StatusCode::NOT_FOUND;
    assert_eq!(report.stop, StopReason::StatusNotListed { status });
    assert_eq!(report.attempt_count(), 1);
    assert_eq!(report.retry_count(), 0);
    let attempt = &report.attempts[0];
    assert_eq!(attempt.outcome, AttemptOutcome::Response(status));
    assert_eq!(attempt.gates.get(Gate::Transient), Some(false));
    assert_eq!(
        attempt.gates.failed().collect::<Vec<_>>(),
        [Gate::Transient]
    );
    assert_eq!((&attempt.wait, &attempt.note), (&None, &None));
}

/// RFC 9110, section 15: to be treated like a 5xx, which is no success.
#[tokio::test(start_paused = true)]
async fn a_status_that_no_class_has_is_a_failure_with_a_report() {
    // Without 500 in its list there is nothing that it is as good as.
    let listed = every(100 * MS)
        .to_builder()
        .status_forcelist([503])
        .build()
        .expect("valid");
    for policy in [listed, RetryPolicy::urllib3()] {
        let script = vec![Act::Answer(answer(799))];
        let response = play(RetryLayer::new(policy), get(), script).await;
        let response = response.expect("a response");
        let status = response.status();
        assert_eq!(status.as_u16(), 799);
        assert_eq!(
            report(&response).stop,
            StopReason::StatusNotListed { status }
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_tells_every_attempt_and_every_wait_and_why() {
    let policy = RetryPolicy::builder()
        .total(5)
        .unprocessed(0)
        .backoff(Backoff::list([0, 40, 80].map(|n| n * MS)))
        .retry_after_jitter(0.0)
        .build()
        .expect("valid");
    let response = play(
        RetryLayer::new(policy),
        get(),
        vec![
            Act::Fail(refused()),
            Act::Answer(with_header(503, "retry-after", "soon")),
            Act::Answer(with_header(429, "retry-after", "1")),
            Act::Fail(reset()),
            Act::Answer(answer(200)),
        ],
    )
    .await
    .expect("a response");
    assert!(is_ok(&response));
    let report = report(&response);
    assert_eq!(report.method, Method::GET);
    assert_eq!(report.url, "http://a.test/x");
    assert_eq!(report.stop, StopReason::Succeeded);
    assert_eq!(report.elapsed, (5 + 5 + 40 + 5 + 1000 + 5 + 80 + 5) * MS);
    assert_eq!(report.waited(), (40 + 1000 + 80) * MS);
    assert_eq!((report.attempt_count(), report.retry_count()), (5, 4));
    // Refused: not sent; 503 and 429: who knows; reset: who knows; 200: yes.
    assert_eq!(report.effects(), 1..=4);

    let attempts = &report.attempts;
    assert!(attempts.iter().map(|attempt| attempt.number).eq(1..=5));
    assert!(attempts.iter().all(|attempt| attempt.took == 5 * MS));
    let started = attempts.iter().map(|attempt| attempt.started);
    assert!(started.eq([0, 5, 50, 1055, 1140].map(|n| n * MS)));

    let waits: Vec<_> = attempts
        .iter()
        .map(|attempt| {
            attempt
                .wait
                .as_ref()
                .map(|wait| (wait.planned, wait.why.clone(), wait.charged))
        })
        .collect();
    let (connect, read) = (Some(LimitKind::Connect), Some(LimitKind::Read));
    let status = Some(LimitKind::Status);
    let hint = WaitReason::ServerHint(HintHeader::RetryAfter);
    assert_eq!(
        waits,
        [
            Some((Duration::ZERO, WaitReason::Immediate, connect)),
            Some((40 * MS, WaitReason::Backoff, status)),
            Some((1000 * MS, hint, status)),
            Some((80 * MS, WaitReason::Backoff, read)),
            None,
        ]
    );

    let notes: Vec<_> = attempts
        .iter()
        .map(|attempt| attempt.note.as_deref())
        .collect();
    let ignored = Note::HintIgnored(HintHeader::RetryAfter);
    assert_eq!(notes, [None, Some(&ignored), None, None, None]);

    let outcomes: Vec<_> = attempts.iter().map(|attempt| &attempt.outcome).collect();
    let failed = |kind, cause, error: &str| AttemptOutcome::Failed {
        kind,
        cause,
        sent: match kind {
            FailureKind::Connect => Sent::Never,
            _ => Sent::Unknown,
        },
        error: error.to_owned(),
    };
    assert_eq!(
        outcomes,
        [
            &failed(
                FailureKind::Connect,
                Cause::ConnectionRefused,
                "connection refused"
            ),
            &AttemptOutcome::Response(StatusCode::SERVICE_UNAVAILABLE),
            &AttemptOutcome::Response(StatusCode::TOO_MANY_REQUESTS),
            &failed(
                FailureKind::Read,
                Cause::ConnectionReset,
                "connection reset"
            ),
            &AttemptOutcome::Response(StatusCode::OK),
        ]
    );

    for attempt in &attempts[..4] {
        for gate in [
            Gate::Transient,
            Gate::Method,
            Gate::Count,
            Gate::Total,
            Gate::Body,
            Gate::Budget,
        ] {
            assert_eq!(attempt.gates.get(gate), Some(true), "{gate} {attempt:?}");
        }
        // There is no deadline and no classifier.
        for gate in [Gate::Deadline, Gate::Classifiers, Gate::Idempotency] {
            assert_eq!(attempt.gates.get(gate), None, "{gate}");
        }
    }
    assert_eq!(attempts[2].gates.get(Gate::Hint), Some(true));
    assert_eq!(attempts[3].gates.get(Gate::Hint), None);
    assert_eq!(attempts[4].gates.iter().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_gates_of_a_stop_say_which_one_failed() {
    let two = RetryPolicy::builder().total(2).backoff(Backoff::none());
    let last = |result: Result<Res, RetryError>| {
        let response = result.expect("a response");
        let report = report(&response);
        let attempt = report.attempts.last().expect("some");
        (
            report.stop.name(),
            attempt.gates.failed().collect::<Vec<_>>(),
        )
    };
    let failures = || (0..3).map(|_| Act::Answer(answer(503))).collect();

    let layer = RetryLayer::new(two.build().expect("valid"));
    let (stop, failed) = last(play(layer, get(), failures()).await);
    assert_eq!((stop, &*failed), ("count_exhausted", &[Gate::Total][..]));

    let one_kind = RetryPolicy::builder().status(2).backoff(Backoff::none());
    let layer = RetryLayer::new(one_kind.build().expect("valid"));
    let (stop, failed) = last(play(layer, get(), failures()).await);
    assert_eq!((stop, &*failed), ("count_exhausted", &[Gate::Count][..]));

    let layer = RetryLayer::new(Bookkeeper::new(Duration::ZERO, 2));
    let (stop, failed) = last(play(layer, get(), failures()).await);
    assert_eq!((stop, &*failed), ("budget_exhausted", &[Gate::Budget][..]));

    let layer = RetryLayer::new(every(100 * MS)).deadline(300 * MS);
    let (stop, failed) = last(play(layer, get(), failures()).await);
    assert_eq!(
        (stop, &*failed),
        ("deadline_too_close", &[Gate::Deadline][..])
    );

    let slow = vec![
        Act::Answer(answer(503)),
        Act::Answer(answer(503)),
        Act::Answer(with_header(503, "retry-after", "61")),
    ];
    let (stop, failed) = last(play(RetryLayer::new(every(MS)), get(), slow).await);
    assert_eq!(
        (stop, &*failed),
        ("retry_after_too_long", &[Gate::Hint][..])
    );
}

#[tokio::test(start_paused = true)]
async fn a_report_prints_as_a_timeline() {
    let policy = RetryPolicy::builder()
        .backoff(Backoff::list([0, 40, 80].map(|n| n * MS)))
        .retry_after_jitter(0.0)
        .build()
        .expect("valid");
    let acts = |last| {
        vec![
            Act::Fail(refused()),
            Act::Answer(with_header(503, "retry-after", "soon")),
            Act::Answer(with_header(429, "retry-after", "20")),
            Act::Answer(answer(last)),
        ]
    };
    let response = play(RetryLayer::new(policy.clone()), get(), acts(200)).await;
    assert_eq!(
        report(&response.expect("a response")).to_string(),
        "\
GET http://a.test/x: succeeded after 4 attempts in 20.1 s
  #1    +0 ms  connect: connection refused, took 5.0 ms
      connection refused
      no wait: immediate
  #2  +5.0 ms  503 Service Unavailable, took 5.0 ms
      note: unreadable retry-after ignored
      wait 40 ms: backoff
  #3   +50 ms  429 Too Many Requests, took 5.0 ms
      wait 20 s: retry-after
  #4  +20.1 s  200 OK, took 5.0 ms"
    );
    let response = play(RetryLayer::new(policy), get(), acts(503)).await;
    let text = report(&response.expect("a response")).to_string();
    let (first, rest) = text.split_once('\n').expect("more lines");
    assert_eq!(
        first,
        "GET http://a.test/x: failed after 4 attempts in 20.1 s"
    );
    assert!(
        rest.ends_with(
            "
  #4  +20.1 s  503 Service Unavailable, took 5.0 ms
  gave up: `total` is used up (3 retries)"
        ),
        "{text}"
    );

    // One that was sent once says that it was not retried.
    let act = vec![Act::Answer(answer(503))];
    let response = play(RetryLayer::new(every(MS)), request("POST"), act).await;
    assert_eq!(
        report(&response.expect("a response")).to_string(),
        "\
POST http://a.test/x: failed after 1 attempt in 5.0 ms
  #1  +0 ms  503 Service Unavailable, took 5.0 ms
  not retried: POST is not in `allowed_methods` and the request may have been applied"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_told_holds_no_secrets() {
    #[derive(Debug)]
    struct Leaky;
    impl fmt::Display for Leaky {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("error sending request for http://joe:s3cr3t@a.test/p?token=s3cr3t")
        }
    }
    impl Error for Leaky {}

    let request = Request::get("http://joe:s3cr3t@a.test/p?token=s3cr3t")
        .body(Full::default())
        .expect("valid");
    let acts = (0..4).map(|_| Act::Fail(Box::new(Leaky))).collect();
    let error = play(RetryLayer::new(every(MS)), request, acts).await;
    let error = error.expect_err("it fails");
    assert_eq!(error.report().url, "http://a.test/p");
    for text in [
        error.to_string(),
        error.report().to_string(),
        format!("{:?}", error.report()),
    ] {
        assert!(!text.contains("s3cr3t"), "{text}");
        assert!(text.contains("http://a.test/p"), "{text}");
    }
}

/// An error with a cause of its own.
#[derive(Debug)]
struct Outer(io::Error);

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("outer")
    }
}

impl Error for Outer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_error_is_kept_as_it_was_with_all_of_its_chain() {
    let acts = [
        io::ErrorKind::ConnectionRefused,
        io::ErrorKind::BrokenPipe,
        io::ErrorKind::UnexpectedEof,
        io::ErrorKind::ConnectionReset,
    ];
    let acts = acts.map(|kind| Act::Fail(Box::new(Outer(kind.into()))));
    let error = play(RetryLayer::new(every(MS)), get(), acts.into()).await;
    let error = error.expect_err("it fails");
    assert_eq!(error.kind(), RetryErrorKind::Failed);
    assert_eq!(error.stop_reason(), &error.report().stop);
    let (kind, limit) = (LimitKind::Total, 3);
    assert_eq!(
        *error.stop_reason(),
        StopReason::CountExhausted { kind, limit }
    );
    assert!(error.readiness_error().is_none());
    assert_eq!(
        error.to_string(),
        "GET http://a.test/x failed after 4 attempts: `total` is used up (3 retries); \
         last attempt: connection reset"
    );

    let outer = error.downcast_inner::<Outer>().expect("it");
    assert_eq!(outer.0.kind(), io::ErrorKind::ConnectionReset);
    assert!(error.downcast_inner::<io::Error>().is_none(), "not below");
    let source = error.source().expect("outer");
    assert!(std::ptr::eq(
        source.downcast_ref::<Outer>().expect("it"),
        outer
    ));
    let below = source.source().expect("inner").downcast_ref::<io::Error>();
    assert_eq!(below.expect("it").kind(), io::ErrorKind::ConnectionReset);

    let texts: Vec<_> = error
        .report()
        .attempts
        .iter()
        .map(|attempt| attempt.outcome.to_string())
        .collect();
    assert_eq!(
        texts,
        [
            "read: connection refused (outer: connection refused)",
            "read: broken pipe (outer: broken pipe)",
            "read: unexpected end of the stream (outer: unexpected end of file)",
            "read: connection reset (outer: connection reset)",
        ]
    );
    assert!(error.into_inner().expect("it").is::<Outer>());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_cannot_be_opened_again_keeps_the_error_of_the_attempt_before() {
    let layer = RetryLayer::new(every(MS)).reopen_bodies(|_: &Parts| {
        let gone = io::Error::from(io::ErrorKind::NotFound);
        Err::<Full<Bytes>, _>(Outer(gone))
    });
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    sent(&mut handle).1.send_error(reset());
    assert_pending!(future.poll());
    time::advance(2 * MS).await;
    let error = assert_ready_err!(future.poll());

    assert_eq!(error.kind(), RetryErrorKind::Body);
    assert_eq!(*error.stop_reason(), StopReason::BodyNotReopened);
    let source = error.source().and_then(|source| source.downcast_ref());
    let source: &io::Error = source.expect("of the attempt");
    assert_eq!(source.kind(), io::ErrorKind::ConnectionReset);
    let of_the_body = error.body_error().and_then(|error| error.downcast_ref());
    let of_the_body: &Outer = of_the_body.expect("of the factory");
    assert_eq!(of_the_body.0.kind(), io::ErrorKind::NotFound);
    assert!(error.readiness_error().is_none());
    assert!(error.downcast_inner::<Outer>().is_some());
    assert_eq!(
        error.to_string(),
        "GET http://a.test/x failed after 1 attempt: the request body could not be opened again: \
         outer: entity not found; last attempt: connection reset"
    );
    assert!(error.into_inner().expect("it").is::<io::Error>());
}

#[tokio::test(start_paused = true)]
async fn an_error_that_cannot_be_retried_is_wrapped_with_its_report_too() {
    let act = || vec![Act::Fail(reset())];
    let layer = RetryLayer::new(every(MS));
    let error = play(layer, request("POST"), act()).await.expect_err("it");
    assert_eq!(error.kind(), RetryErrorKind::Failed);
    let method = Method::POST;
    assert_eq!(
        *error.stop_reason(),
        StopReason::MethodNotAllowed { method }
    );
    assert!(error.downcast_inner::<io::Error>().is_some());
    assert_eq!(error.report().attempt_count(), 1);
    assert_eq!(
        error.to_string(),
        "POST http://a.test/x failed after 1 attempt: POST is not in `allowed_methods` and the \
         request may have been applied; last attempt: connection reset"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_status_is_an_error_only_where_that_is_asked_for() {
    let failures = || (0..4).map(|_| Act::Answer(answer(503))).collect();
    let policy = |raise| {
        let policy = RetryPolicy::builder().backoff(Backoff::none());
        policy.raise_on_status(raise).build().expect("valid")
    };
    let response = play(RetryLayer::new(policy(false)), get(), failures()).await;
    assert_eq!(response.expect("a response").status(), 503);

    let error = play(RetryLayer::new(policy(true)), get(), failures()).await;
    let error = error.expect_err("an error");
    assert_eq!(error.kind(), RetryErrorKind::Status);
    assert!(error.source().is_none());
    let report: &RetryReport = error.report();
    assert_eq!(report.attempt_count(), 4);
    let last = &report.attempts[3].outcome;
    assert_eq!(
        *last,
        AttemptOutcome::Response(StatusCode::SERVICE_UNAVAILABLE)
    );
    assert_eq!(
        error.to_string(),
        "GET http://a.test/x failed after 4 attempts: `total` is used up (3 retries); \
         last attempt: 503 Service Unavailable"
    );
    assert!(error.into_inner().is_none());

    // Also where the layer, and not the policy, refuses the next retry.
    let layer = RetryLayer::new(
        policy(true)
            .to_builder()
            .backoff(Backoff::constant(100 * MS))
            .build()
            .expect("valid"),
    );
    let acts = (0..3).map(|_| Act::Answer(answer(503))).collect();
    let error = play(layer.deadline(300 * MS), get(), acts).await;
    let error = error.expect_err("an error");
    assert_eq!(error.kind(), RetryErrorKind::Status);
    assert_eq!(error.stop_reason().name(), "deadline_too_close");

    // A status that nobody would have retried is an answer.
    for (request, status) in [(get(), 404), (request("POST"), 503)] {
        let act = vec![Act::Answer(answer(status))];
        let response = play(RetryLayer::new(policy(true)), request, act).await;
        assert_eq!(response.expect("a response").status(), status);
    }
}

#[tokio::test(start_paused = true)]
async fn a_4xx_after_retries_is_told_with_all_attempts() {
    let acts = vec![
        Act::Answer(answer(503)),
        Act::Fail(reset()),
        Act::Answer(answer(404)),
    ];
    let response = play(RetryLayer::new(every(MS)), get(), acts).await;
    let response = response.expect("a response");
    let status = StatusCode::NOT_FOUND;
    assert_eq!(
        report(&response).stop,
        StopReason::StatusNotListed { status }
    );
    assert_eq!(report(&response).attempt_count(), 3);
}

#[tokio::test(start_paused = true)]
async fn each_request_has_a_report_of_its_own() {
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(RetryLayer::new(every(MS)));
    for failures in [3, 1, 2] {
        let mut future = start(&mut service, get());
        for _ in 0..failures {
            assert_pending!(future.poll());
            sent(&mut handle).1.send_response(answer(503));
            assert_pending!(future.poll());
            time::advance(MS).await;
        }
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(200));
        let response = assert_ready_ok!(future.poll());
        assert_eq!(report(&response).retry_count(), failures);
    }
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "polled after it finished")]
async fn a_finished_request_says_so_when_it_is_polled_again() {
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(RetryLayer::new(every(MS)));
    let mut future = start(&mut service, request("POST"));
    sent(&mut handle).1.send_error(reset());
    assert_ready_err!(future.poll());
    let _ = assert_ready!(future.poll());
}

#[tokio::test(start_paused = true)]
async fn the_method_is_known_to_the_end() {
    // The last attempt takes what was kept of the request; its report still names the method.
    let mut policy = RetryPolicy::builder().total(1).unprocessed(0);
    policy = policy.backoff(Backoff::constant(MS));
    let layer = RetryLayer::new(policy.build().expect("valid"));
    let mut request = get();
    *request.method_mut() = http::Method::DELETE;
    let acts = vec![Act::Answer(answer(503)), Act::Answer(answer(503))];
    let response = play(layer, request, acts).await.expect("a response");
    assert_eq!(report(&response).method, http::Method::DELETE);

    let policy = RetryPolicy::builder().total(1).unprocessed(0);
    let layer = RetryLayer::new(policy.build().expect("valid"));
    let mut request = get();
    *request.method_mut() = http::Method::POST;
    let acts = vec![Act::Fail(refused()), Act::Answer(answer(503))];
    let response = play(layer, request, acts).await.expect("a response");
    let method = http::Method::POST;
    assert_eq!(
        report(&response).stop,
        StopReason::MethodNotAllowed { method }
    );
}

/// Fails so many times and then succeeds.
#[tokio::test(start_paused = true)]
async fn a_report_of_attempts_without_end_is_bounded_and_says_what_it_leaves_out() {
    const FAILURES: u32 = 100_000;
    let policy = RetryPolicy::builder()
        .total(None)
        .backoff(Backoff::none())
        .budget(None)
        .build()
        .expect("valid");
    let count = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&count);
    let service = tower::service_fn(move |_: Req| {
        let status = if counter.fetch_add(1, Relaxed) < FAILURES {
            503
        } else {
            200
        };
        std::future::ready(Ok::<_, std::convert::Infallible>(answer(status)))
    });
    let mut service = mock::Spawn::new(RetryLayer::new(policy).layer(service));
    let mut future = start(&mut service, get());
    let response = assert_ready_ok!(future.poll());
    let report = report(&response);
    assert_eq!(report.attempt_count(), FAILURES as usize + 1);
    assert_eq!(report.retry_count(), FAILURES as usize);
    assert_eq!(report.omitted, FAILURES + 1 - 128);
    let numbers: Vec<u32> = report
        .attempts
        .iter()
        .map(|attempt| attempt.number)
        .collect();
    let last = FAILURES + 1;
    let kept: Vec<u32> = (1..=64).chain(last - 63..=last).collect();
    assert_eq!(numbers, kept);
    assert_eq!(report.effects(), 1..=last);
    let text = report.to_string();
    assert!(text.contains("succeeded after 100001 attempts"), "{text}");
    assert!(
        text.contains("\n  (99873 attempts are left out)\n"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_attempt_may_have_done_is_noted() {
    // The method, how the first attempt ends, the answer to the second, and whether it is noted.
    for (method, first, status, noted) in [
        ("PUT", reset(), 412, true),
        ("PUT", refused(), 412, false),
        ("PUT", reset(), 409, false),
        ("DELETE", reset(), 404, true),
        ("DELETE", reset(), 410, true),
        ("DELETE", reset(), 412, true),
        ("DELETE", refused(), 404, false),
        ("GET", reset(), 404, false),
        ("GET", reset(), 412, false),
        ("PUT", reset(), 404, false),
    ] {
        let mut trip = Trip::start_with(RetryLayer::new(every(100 * MS)), request(method));
        trip.fail(first).waits(100 * MS).await;
        let response = trip.end(status).expect("a response");
        let last = report(&response).attempts.last().expect("two attempts");
        let notes: Vec<_> = last.notes().collect();
        let shown = report(&response).to_string();
        assert_eq!(notes.contains(&&Note::MayBeDone), noted, "{shown}");
        let line = "an earlier attempt may have done what was asked";
        assert_eq!(shown.contains(line), noted, "{shown}");
    }
    // Alone, the answer speaks for itself.
    let trip = Trip::start_with(RetryLayer::new(every(100 * MS)), request("DELETE")).end(404);
    let response = trip.expect("a response");
    assert!(!report(&response).to_string().contains("may have done"));
}
