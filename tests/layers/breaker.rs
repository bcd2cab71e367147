//! A circuit breaker below the retries, and the order of the two with timeouts.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use http::Request;
use test_support::probe::{MS, Req, Res, answer, every, get, report, request};
use tokio::time::{self, Instant};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, layer::layer_fn, timeout::TimeoutLayer};
use tower_http_retry::{
    BoxError, RetryErrorKind, RetryLayer,
    budget::RetryBudget,
    classify::{Cause, Sent, classify},
    policy::{Backoff, RetryPolicy, WaitReason},
    stack::{Admission, Admit, Answer, Ask, Rejected, Ticket},
    throttle::AdaptiveThrottle,
};

const OPEN: Duration = Duration::from_secs(2);

/// Opens after so many failures in a row, for two seconds.
#[derive(Clone)]
struct Breaker<S> {
    inner: S,
    state: Arc<Mutex<State>>,
    threshold: u32,
}

#[derive(Default)]
struct State {
    failures: u32,
    open_until: Option<Instant>,
    calls: u32,
}

impl State {
    fn ended(&mut self, failed: bool, threshold: u32) {
        self.failures = if failed { self.failures + 1 } else { 0 };
        if self.failures >= threshold {
            self.open_until = Some(Instant::now() + OPEN);
            self.failures = 0;
        }
    }
}

impl<S> Service<Req> for Breaker<S>
where
    S: Service<Req, Response = Res>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = Res;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Res, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let mut state = self.state.lock().expect("no panic");
        let now = Instant::now();
        if let Some(until) = state.open_until.filter(|until| *until > now) {
            let error = Rejected::new("breaker").retry_in(until - now);
            return Box::pin(async { Err(error.into()) });
        }
        state.open_until = None;
        state.calls += 1;
        let (all, threshold) = (Arc::clone(&self.state), self.threshold);
        let future = self.inner.call(request);
        Box::pin(async move {
            let result = future.await.map_err(Into::into);
            let failed = result
                .as_ref()
                .map_or(true, |response: &Res| response.status().is_server_error());
            all.lock().expect("no panic").ended(failed, threshold);
            result
        })
    }
}

fn breaker<S>(
    threshold: u32,
) -> (
    impl Layer<S, Service = Breaker<S>> + Clone,
    Arc<Mutex<State>>,
) {
    let state = Arc::<Mutex<State>>::default();
    let shared = Arc::clone(&state);
    let layer = layer_fn(move |inner| Breaker {
        inner,
        state: Arc::clone(&shared),
        threshold,
    });
    (layer, state)
}

/// Answers with each status once, the last one again and again; 0 is no answer.
#[derive(Clone)]
struct Script(Arc<Mutex<Vec<u16>>>);

fn script(statuses: &[u16]) -> Script {
    Script(Arc::new(Mutex::new(
        statuses.iter().rev().copied().collect(),
    )))
}

impl Service<Req> for Script {
    type Response = Res;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Res, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Req) -> Self::Future {
        let mut left = self.0.lock().expect("no panic");
        let status = match left.len() {
            1 => left[0],
            _ => left.pop().expect("at least one"),
        };
        Box::pin(async move {
            match status {
                0 => std::future::pending().await,
                status => Ok(answer(status)),
            }
        })
    }
}

fn once(budget: &RetryBudget) -> RetryPolicy {
    let builder = RetryPolicy::builder().total(1).budget(budget.clone());
    let builder = builder.backoff(Backoff::constant(100 * MS));
    builder.build().expect("valid")
}

#[tokio::test(start_paused = true)]
async fn breaker_below_is_waited_for_outside_of_counts_and_budget() {
    for method in ["GET", "POST"] {
        let budget = RetryBudget::builder().capacity(5).min_per_second(0);
        let budget = budget.build().expect("valid");
        let (breaker, state) = breaker(1);
        let stack = ServiceBuilder::new()
            .layer(RetryLayer::new(once(&budget)))
            .layer(breaker)
            .service(script(&[200]));
        state.lock().expect("no panic").open_until = Some(Instant::now() + OPEN);
        let before = budget.stats(Instant::now().into_std());
        let start = Instant::now();
        let response = stack
            .clone()
            .oneshot(request(method))
            .await
            .expect("answered");
        assert_eq!(response.status(), 200, "{method}");
        assert!((OPEN..OPEN + 5 * MS).contains(&start.elapsed()));
        let story = report(&response);
        assert_eq!(story.attempt_count(), 2);
        let wait = story.attempts[0].wait.as_ref().expect("waited for");
        let by = "breaker".into();
        assert_eq!(
            (wait.planned, &wait.why),
            (OPEN, &WaitReason::Opinion { by })
        );
        assert_eq!(wait.charged, None);
        assert_eq!(story.effects(), 1..=1);
        assert_eq!(budget.stats(Instant::now().into_std()), before);
        let text = story.to_string();
        assert!(text.contains("turned away by a layer below"), "{text}");
        assert!(
            text.contains("breaker lets nothing through for 2 s"),
            "{text}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_decides_whether_a_breaker_is_waited_for() {
    let budget = RetryBudget::shared();
    for (deadline, waits) in [(2000 * MS, false), (2500 * MS, true)] {
        let (breaker, state) = breaker(1);
        let stack = ServiceBuilder::new()
            .layer(RetryLayer::new(once(&budget)).deadline(deadline))
            .layer(breaker)
            .service(script(&[200]));
        state.lock().expect("no panic").open_until = Some(Instant::now() + OPEN);
        let start = Instant::now();
        let result = stack.oneshot(get()).await;
        if waits {
            assert_eq!(result.expect("answered").status(), 200);
        } else {
            let error = result.expect_err("there is no time");
            assert_eq!(
                start.elapsed(),
                Duration::ZERO,
                "nothing is waited for in vain"
            );
            assert_eq!(error.kind(), RetryErrorKind::Failed);
            assert_eq!(error.stop_reason().name(), "rejected");
            assert_eq!(
                error.stop_reason().to_string(),
                "breaker lets nothing through for 2 s"
            );
            assert_eq!(error.report().effects(), 0..=0);
            assert!(error.downcast_inner::<Rejected>().is_some());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_turned_away_again_and_again_ends() {
    let (breaker, state) = breaker(1);
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new(every(MS)))
        .layer(breaker)
        .service(script(&[200]));
    let open = Arc::clone(&state);
    open.lock().expect("no panic").open_until = Some(Instant::now() + OPEN);
    tokio::spawn(async move {
        loop {
            open.lock().expect("no panic").open_until = Some(Instant::now() + OPEN);
            time::sleep(OPEN / 2).await;
        }
    });
    let error = stack.oneshot(get()).await.expect_err("it never closes");
    assert_eq!(error.stop_reason().name(), "rejected");
    assert_eq!(error.report().attempt_count(), 31);
    assert_eq!(state.lock().expect("no panic").calls, 0);
}

/// Notes what it hears of.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<Answer>>>);

impl Admission for Listener {
    fn ticket(&self, _: &http::Uri) -> Ticket {
        Ticket::default()
    }

    fn admit(&self, _: &mut Ticket, _: &Ask) -> Admit {
        Admit::Now
    }

    fn answered(&self, _: &mut Ticket, answer: &Answer) {
        self.0.lock().expect("no panic").push(*answer);
    }
}

#[tokio::test(start_paused = true)]
async fn throttles_hear_nothing_of_what_a_breaker_turns_away() {
    let (breaker, state) = breaker(1);
    let heard = Listener::default();
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new(every(MS)).admission(heard.clone()))
        .layer(breaker)
        .service(script(&[200]));
    state.lock().expect("no panic").open_until = Some(Instant::now() + OPEN);
    stack.oneshot(get()).await.expect("answered");
    let heard: Vec<_> = heard.0.lock().expect("no panic").drain(..).collect();
    assert!(heard[0].dropped && heard[0].status.is_none());
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[1].status.expect("answered"), 200);

    // A hundred of them do not make the adaptive throttle refuse the next one.
    let throttle = AdaptiveThrottle::builder().build().expect("valid");
    let (breaker, state) = self::breaker(1);
    let never = RetryPolicy::builder().total(0).build().expect("valid");
    let stack = ServiceBuilder::new()
        .layer(
            RetryLayer::new(never)
                .admission(throttle)
                .deadline(OPEN / 2),
        )
        .layer(breaker)
        .service(script(&[200]));
    state.lock().expect("no panic").open_until = Some(Instant::now() + OPEN);
    for _ in 0..100 {
        let error = stack.clone().oneshot(get()).await.expect_err("it is open");
        assert_eq!(error.kind(), RetryErrorKind::Failed);
    }
    state.lock().expect("no panic").open_until = None;
    for _ in 0..20 {
        stack.clone().oneshot(get()).await.expect("let through");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_turned_away_without_a_time_is_a_failed_connection() {
    let budget = RetryBudget::shared();
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new(once(&budget)))
        .service_fn(|_: Req| async { Err::<Res, BoxError>(Rejected::new("bulkhead").into()) });
    let error = stack.oneshot(request("POST")).await.expect_err("always");
    assert_eq!(error.stop_reason().name(), "count_exhausted");
    let first = &error.report().attempts[0];
    assert!(first.wait.as_ref().expect("a wait").charged.is_some());
    assert_eq!(budget.stats(Instant::now().into_std()).granted, 1);
}

#[derive(Debug)]
struct Wrapper(BoxError);

impl std::fmt::Display for Wrapper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("something of one's own")
    }
}

impl std::error::Error for Wrapper {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}

#[tokio::test(start_paused = true)]
async fn below_an_unknown_error_nothing_is_proved_and_nothing_waited_for() {
    let rejected = || Rejected::new("breaker").retry_in(OPEN);
    let failure = classify(&rejected());
    assert_eq!(
        (failure.cause, failure.sent),
        (Cause::Rejected, Sent::Never)
    );
    let failure = classify(&Arc::new(rejected()));
    assert_eq!(
        (failure.cause, failure.sent),
        (Cause::Rejected, Sent::Never)
    );
    let wrapped = move || Wrapper(rejected().into());
    assert_eq!(classify(&wrapped()).sent, Sent::Unknown);
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new(every(MS)))
        .service_fn(move |_: Req| async move { Err::<Res, BoxError>(wrapped().into()) });
    let error = stack.oneshot(request("POST")).await.expect_err("always");
    assert_eq!(error.report().attempt_count(), 1);
    assert_eq!(error.stop_reason().name(), "method_not_allowed");
}

#[tokio::test(start_paused = true)]
async fn what_a_breaker_turned_away_is_replayed_as_it_was() {
    let policy = every(100 * MS);
    for deadline in [60_000 * MS, 1000 * MS] {
        let (breaker, state) = breaker(1);
        let layer = RetryLayer::new(policy.clone()).deadline(deadline);
        let stack = ServiceBuilder::new().layer(layer).layer(breaker);
        let stack = stack.service(script(&[503, 200]));
        state.lock().expect("no panic").open_until = Some(Instant::now() + OPEN);
        let story = match stack.oneshot(get()).await {
            Ok(response) => report(&response).clone(),
            Err(error) => error.report().clone(),
        };
        let replay = story.replay(&policy);
        assert!(replay.differences.is_empty(), "{replay}\n{story}");
    }
}

// ----- the order -----------------------------------------------------------------------------

/// The order of the guide: deadline, retries, breaker, attempt timeout.
#[tokio::test(start_paused = true)]
async fn deadline_retries_breaker_and_attempt_timeout_are_in_this_order() {
    let (breaker, state) = breaker(1);
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new(every(10 * MS)).deadline(10_000 * MS))
        .layer(breaker)
        .layer(TimeoutLayer::new(500 * MS))
        .service(script(&[0, 200]));
    let start = Instant::now();
    let response = stack.oneshot(get()).await.expect("answered");
    assert_eq!(response.status(), 200);
    // The timeout has opened the breaker; a retry found it open and came back when it was closed.
    let story = report(&response);
    let causes: Vec<_> = story
        .attempts
        .iter()
        .map(|attempt| attempt.outcome.to_string())
        .collect();
    assert_eq!(causes.len(), 3, "{story}");
    assert!(causes[1].contains("turned away"), "{story}");
    assert!((500 * MS + OPEN..540 * MS + OPEN).contains(&start.elapsed()));
    assert_eq!(state.lock().expect("no panic").calls, 2);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_timeout_above_a_breaker_hides_timeouts_from_it() {
    let (breaker, state) = breaker(1);
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new(every(10 * MS)).attempt_timeout(500 * MS))
        .layer(breaker)
        .service(script(&[0]));
    let error = stack.oneshot(get()).await.expect_err("nothing answers");
    assert_eq!(error.kind(), RetryErrorKind::AttemptTimeout);
    // All of them were sent, since nobody told the breaker.
    assert_eq!(state.lock().expect("no panic").calls, 4);
    assert!(state.lock().expect("no panic").open_until.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_breaker_above_counts_requests_and_turns_them_away_without_a_retry() {
    let (breaker, state) = breaker(2);
    let stack = ServiceBuilder::new()
        .layer(breaker)
        .layer(RetryLayer::new(every(10 * MS)))
        .service(script(&[503]));
    for _ in 0..2 {
        let response = stack.clone().oneshot(get()).await.expect("a response");
        assert_eq!(report(&response).attempt_count(), 4);
    }
    // Eight failures before it opens at two.
    assert!(state.lock().expect("no panic").open_until.is_some());
    let error = stack.oneshot(get()).await.expect_err("open");
    assert!(error.is::<Rejected>());
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_is_open_holds_no_readiness() {
    let (breaker, state) = breaker(1);
    state.lock().expect("no panic").open_until = Some(Instant::now() + OPEN);
    let mut stack = ServiceBuilder::new()
        .layer(RetryLayer::new(every(MS)))
        .layer(breaker)
        .concurrency_limit(1)
        .service(script(&[200]));
    let waits = stack.clone().oneshot(get());
    let mut waits = Box::pin(waits);
    poll_fn(|cx| {
        assert!(waits.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    // While it waits, the place is free.
    let ready = stack.ready().await.expect("a place");
    let request: Request<_> = get();
    drop(ready.call(request));
}
