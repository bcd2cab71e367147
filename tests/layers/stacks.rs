//! The layer between tower's own layers: what each order means.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tower::{
    BoxError, Service, ServiceBuilder, ServiceExt,
    buffer::{Buffer, BufferLayer, error::ServiceError},
    limit::{ConcurrencyLimit, ConcurrencyLimitLayer, RateLimit, RateLimitLayer},
    load_shed::LoadShedLayer,
    service_fn,
    timeout::{TimeoutLayer, error::Elapsed},
};
use tower_http_retry::{
    RetryError, RetryErrorKind, RetryLayer,
    policy::{Backoff, LimitKind, RetryPolicy, StopReason},
};

#[cfg(feature = "tower")]
use test_support::probe::request;
use test_support::probe::{MS, Req, Res, answer, every, get, is_ok, report};

/// When each attempt reached the service below.
#[derive(Clone)]
struct Times {
    begin: Instant,
    at: Arc<Mutex<Vec<Duration>>>,
}

impl Times {
    fn new() -> Self {
        Self {
            begin: Instant::now(),
            at: Arc::default(),
        }
    }

    fn note(&self) -> usize {
        let mut at = self.at.lock().expect("no panic");
        at.push(self.begin.elapsed());
        at.len()
    }

    fn in_ms(&self) -> Vec<u128> {
        let at = self.at.lock().expect("no panic");
        at.iter().map(Duration::as_millis).collect()
    }
}

/// A service that takes `took` for each attempt and answers every `nth` one with 200, all others
/// with 503.
fn every_nth_succeeds(
    nth: usize,
    took: Duration,
    times: &Times,
) -> impl Service<Req, Response = Res, Error = BoxError, Future: Send> + Clone + Send + Sync + 'static
{
    let times = times.clone();
    service_fn(move |_: Req| {
        let status = if times.note() % nth == 0 { 200 } else { 503 };
        async move {
            sleep(took).await;
            Ok::<_, BoxError>(answer(status))
        }
    })
}

fn at_once() -> RetryPolicy {
    every(Duration::ZERO)
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_below_counts_attempts() {
    let times = Times::new();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(at_once()))
        // A rate limit is not `Clone`; it is shared behind a buffer.
        .layer(BufferLayer::new(8))
        .layer(RateLimitLayer::new(2, 1000 * MS))
        .service(every_nth_succeeds(4, Duration::ZERO, &times));
    let response = service.oneshot(get()).await.expect("a response");
    assert!(is_ok(&response));
    // Two attempts a second.
    assert_eq!(times.in_ms(), [0, 0, 1000, 1000]);
    assert_eq!(report(&response).attempt_count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_above_counts_requests() {
    let times = Times::new();
    let mut service: RateLimit<_> = ServiceBuilder::new()
        .layer(RateLimitLayer::new(1, 1000 * MS))
        .layer(RetryLayer::new(at_once()))
        .service(every_nth_succeeds(3, Duration::ZERO, &times));
    for _ in 0..3 {
        let response = service.ready().await.expect("ready").call(get()).await;
        assert_eq!(report(&response.expect("a response")).attempt_count(), 3);
    }
    assert_eq!(times.in_ms(), [0, 0, 0, 1000, 1000, 1000, 2000, 2000, 2000]);
}

#[tokio::test(start_paused = true)]
async fn a_concurrency_limit_below_counts_attempts_in_flight() {
    let times = Times::new();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(every(100 * MS)))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(every_nth_succeeds(usize::MAX, 10 * MS, &times));
    let (one, two) = tokio::join!(service.clone().oneshot(get()), service.oneshot(get()));
    for response in [one, two] {
        assert_eq!(report(&response.expect("a response")).attempt_count(), 4);
    }
    // The attempts of one take place in the waits of the other.
    assert_eq!(times.in_ms(), [0, 10, 110, 120, 220, 230, 330, 340]);
}

#[tokio::test(start_paused = true)]
async fn a_concurrency_limit_above_counts_requests_with_their_waits() {
    let times = Times::new();
    let service: ConcurrencyLimit<_> = ServiceBuilder::new()
        .layer(ConcurrencyLimitLayer::new(1))
        .layer(RetryLayer::new(every(100 * MS)))
        .service(every_nth_succeeds(usize::MAX, 10 * MS, &times));
    let (one, two) = tokio::join!(service.clone().oneshot(get()), service.oneshot(get()));
    for response in [one, two] {
        assert_eq!(report(&response.expect("a response")).attempt_count(), 4);
    }
    assert_eq!(times.in_ms(), [0, 110, 220, 330, 340, 450, 560, 670]);
}

#[cfg(feature = "tower")]
#[tokio::test(start_paused = true)]
async fn a_timeout_below_limits_each_attempt_and_is_a_read_failure() {
    let times = Times::new();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(every(100 * MS)))
        .layer(TimeoutLayer::new(50 * MS))
        .service(every_nth_succeeds(usize::MAX, 3_600_000 * MS, &times));
    let error = service.clone().oneshot(get()).await.expect_err("an error");
    assert_eq!(times.in_ms(), [0, 150, 300, 450]);
    assert_eq!(error.kind(), RetryErrorKind::Failed);
    assert!(error.downcast_inner::<Elapsed>().is_some());
    for attempt in &error.report().attempts {
        assert_eq!(attempt.took, 50 * MS);
        let charged = attempt.wait.as_ref().map(|wait| wait.charged);
        assert!(matches!(charged, Some(Some(LimitKind::Read)) | None));
    }
    assert_eq!(error.report().elapsed, 500 * MS);

    // It may have been applied.
    let error = service
        .oneshot(request("POST"))
        .await
        .expect_err("an error");
    assert_eq!(error.stop_reason().name(), "method_not_allowed");
    assert_eq!(times.in_ms().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_above_limits_the_request_with_its_waits_and_ends_it() {
    let times = Times::new();
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(250 * MS))
        .layer(RetryLayer::new(every(100 * MS)))
        .service(every_nth_succeeds(usize::MAX, MS, &times));
    let error = service.oneshot(get()).await.expect_err("an error");
    assert!(error.is::<Elapsed>(), "the report is lost with the request");
    sleep(10_000 * MS).await;
    assert_eq!(times.in_ms(), [0, 101, 202], "nothing is sent any more");
}

#[tokio::test(start_paused = true)]
async fn a_buffer_below_is_no_obstacle() {
    let times = Times::new();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(every(100 * MS)))
        .layer(BufferLayer::new(1))
        .service(every_nth_succeeds(4, 10 * MS, &times));
    let response = service.oneshot(get()).await.expect("a response");
    assert_eq!(report(&response).attempt_count(), 4);
    assert_eq!(times.in_ms(), [0, 110, 220, 330]);
}

#[tokio::test(start_paused = true)]
async fn no_place_in_a_buffer_below_is_held_during_a_wait() {
    let times = Times::new();
    // A buffer with a single place, over a service that is always ready.
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(every(100 * MS)))
        .layer(BufferLayer::new(1))
        .service(every_nth_succeeds(usize::MAX, 10 * MS, &times));
    let requests = (0..5).map(|_| service.clone().oneshot(get()));
    let responses = futures_util::future::join_all(requests).await;
    for response in responses {
        assert_eq!(report(&response.expect("a response")).attempt_count(), 4);
    }
    // All of them move in step: five attempts every 110 ms.
    let expected = [0, 110, 220, 330].into_iter();
    let expected: Vec<_> = expected.flat_map(|at| [at; 5]).collect();
    assert_eq!(times.in_ms(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_buffer_above_hands_on_the_next_request_while_one_waits() {
    let times = Times::new();
    let service: Buffer<_, _> = ServiceBuilder::new()
        .layer(BufferLayer::new(1))
        .layer(RetryLayer::new(every(100 * MS)))
        .service(every_nth_succeeds(usize::MAX, 10 * MS, &times));
    let (one, two) = tokio::join!(service.clone().oneshot(get()), async {
        sleep(50 * MS).await;
        service.clone().oneshot(get()).await
    });
    for response in [one, two] {
        assert_eq!(report(&response.expect("a response")).attempt_count(), 4);
    }
    assert_eq!(times.in_ms(), [0, 50, 110, 160, 220, 270, 330, 380]);
}

#[tokio::test(start_paused = true)]
async fn a_closed_buffer_below_ends_a_request_with_both_errors() {
    let calls = Arc::new(AtomicU32::new(0));
    let below = FailsToBecomeReady {
        after: 2,
        calls: Arc::clone(&calls),
    };
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(every(100 * MS)))
        .layer(BufferLayer::new(4))
        .service(below);
    let error = service.oneshot(get()).await.expect_err("an error");
    assert_eq!(calls.load(Relaxed), 2);
    // The buffer accepts the third attempt and then finds its service worn out; from then on it
    // is not ready itself.
    assert_eq!(error.kind(), RetryErrorKind::NotReady);
    assert_eq!(error.report().attempt_count(), 3);
    let failed = error.downcast_inner::<ServiceError>().expect("the third's");
    assert!(failed.to_string().contains("worn out"), "{failed}");
    let readiness = error.readiness_error().expect("one").to_string();
    assert!(readiness.contains("worn out"), "{readiness}");
}

/// Answers 503 and is worn out in the end.
struct FailsToBecomeReady {
    after: u32,
    calls: Arc<AtomicU32>,
}

impl Service<Req> for FailsToBecomeReady {
    type Response = Res;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Res, BoxError>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(if self.calls.load(Relaxed) < self.after {
            Ok(())
        } else {
            Err("worn out".into())
        })
    }

    fn call(&mut self, _: Req) -> Self::Future {
        self.calls.fetch_add(1, Relaxed);
        std::future::ready(Ok(answer(503)))
    }
}

#[cfg(feature = "tower")]
#[tokio::test(start_paused = true)]
async fn what_load_shed_below_refuses_was_not_sent_and_is_retried_for_any_method() {
    let times = Times::new();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(every(100 * MS)))
        .layer(LoadShedLayer::new())
        .layer(ConcurrencyLimitLayer::new(1))
        .service(every_nth_succeeds(1, 250 * MS, &times));
    let (one, two) = tokio::join!(service.clone().oneshot(request("POST")), async {
        sleep(10 * MS).await;
        service.clone().oneshot(request("POST")).await
    });
    assert!(one.expect("a response").extensions().is_empty());
    let two = two.expect("a response");
    // At 10, 110 and 210 ms the first one is still there.
    assert_eq!(times.in_ms(), [0, 310]);
    let report = report(&two);
    assert_eq!(report.attempt_count(), 4);
    for attempt in &report.attempts[..3] {
        assert_eq!(attempt.took, Duration::ZERO);
        assert!(attempt.outcome.to_string().contains("overloaded"));
        let charged = attempt.wait.as_ref().expect("a wait").charged;
        assert_eq!(charged, Some(LimitKind::Connect));
    }
    assert_eq!(report.effects(), 1..=1);
}

#[tokio::test(start_paused = true)]
async fn load_shed_above_does_not_refuse_because_another_request_waits() {
    let times = Times::new();
    let service = ServiceBuilder::new()
        .layer(LoadShedLayer::new())
        .layer(RetryLayer::new(every(100 * MS)))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(every_nth_succeeds(usize::MAX, 10 * MS, &times));
    let (one, two, three) = tokio::join!(
        service.clone().oneshot(get()),
        async {
            // During an attempt of the first one.
            sleep(5 * MS).await;
            service.clone().oneshot(get()).await
        },
        async {
            // During its wait.
            sleep(50 * MS).await;
            service.clone().oneshot(get()).await
        }
    );
    let refused = two.expect_err("refused");
    assert!(refused.is::<tower::load_shed::error::Overloaded>());
    for response in [one, three] {
        assert_eq!(report(&response.expect("a response")).attempt_count(), 4);
    }
    assert_eq!(times.in_ms(), [0, 50, 110, 160, 220, 270, 330, 380]);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_covers_the_time_for_which_layers_below_are_not_ready() {
    let times = Times::new();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(at_once()).deadline(2500 * MS))
        .layer(BufferLayer::new(1))
        .layer(RateLimitLayer::new(1, 1000 * MS))
        .service(every_nth_succeeds(usize::MAX, Duration::ZERO, &times));
    let error = service.oneshot(get()).await.expect_err("an error");
    assert_eq!(error.kind(), RetryErrorKind::DeadlineExceeded);
    assert_eq!(error.report().elapsed, 2500 * MS);
    assert_eq!(times.in_ms(), [0, 1000, 2000]);
}

#[tokio::test(start_paused = true)]
async fn all_of_them_together() {
    let times = Times::new();
    let policy = RetryPolicy::builder()
        .backoff(Backoff::constant(10 * MS))
        .total(5)
        .build()
        .expect("valid");
    let service = ServiceBuilder::new()
        .layer(BufferLayer::new(8))
        .layer(LoadShedLayer::new())
        .layer(ConcurrencyLimitLayer::new(4))
        .layer(TimeoutLayer::new(60_000 * MS))
        .layer(RetryLayer::new(policy).attempt_timeout(5000 * MS))
        .layer(BufferLayer::new(8))
        .layer(RateLimitLayer::new(2, 100 * MS))
        .layer(ConcurrencyLimitLayer::new(2))
        .layer(TimeoutLayer::new(1000 * MS))
        .service(every_nth_succeeds(3, MS, &times));
    let requests = (0..4).map(|_| service.clone().oneshot(get()));
    let responses = futures_util::future::join_all(requests).await;
    let mut attempts = 0;
    for response in responses {
        let response = response.expect("a response");
        assert!(is_ok(&response));
        let report = response.extensions().get::<tower_http_retry::RetryReport>();
        attempts += report.map_or(1, tower_http_retry::RetryReport::attempt_count);
    }
    // Every third attempt succeeds, whoever makes it: twelve for four successes, two at a time.
    assert_eq!(attempts, 12);
    // The last one had to wait for its own backoff.
    assert_eq!(
        times.in_ms(),
        [0, 0, 100, 100, 200, 200, 300, 300, 400, 400, 500, 511]
    );
}

#[tokio::test(start_paused = true)]
async fn the_error_passes_through_layers_that_box_it() {
    let times = Times::new();
    let service = ServiceBuilder::new()
        .layer(BufferLayer::new(1))
        .layer(TimeoutLayer::new(60_000 * MS))
        .layer(RetryLayer::new(
            at_once()
                .to_builder()
                .raise_on_status(true)
                .build()
                .expect("valid"),
        ))
        .service(every_nth_succeeds(usize::MAX, MS, &times));
    let error: BoxError = service.oneshot(get()).await.expect_err("an error");
    let error = error.downcast_ref::<RetryError>().expect("as it was");
    let kind = LimitKind::Total;
    assert_eq!(
        *error.stop_reason(),
        StopReason::CountExhausted { kind, limit: 3 }
    );
    assert_eq!(error.report().attempt_count(), 4);
}
