//! Admissions alone in a stack, and admissions of one's own.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{HeaderValue, Uri};
use tokio::time;
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, limit::ConcurrencyLimit};
use tower_http_retry::{
    RetryErrorKind, RetryLayer,
    classify::Sent,
    policy::{Gate, StopReason},
    shared_hints::SharedHints,
    stack::{Admission, Admit, Answer, Ask, AskFor, LayerError, LayerOutcome, Ticket},
    throttle::AdaptiveThrottle,
};
use tower_test::mock::{self, Spawn};

use test_support::probe::{
    Bookkeeper, MS, Req, Res, answer, assert_nothing_sent, every, get, report, sent, start,
};

fn later(seconds: &'static str) -> Res {
    let mut response = answer(503);
    let seconds = HeaderValue::from_static(seconds);
    response.headers_mut().insert("retry-after", seconds);
    response
}

fn begin<S>(service: &mut Spawn<S>, request: Req) -> task::Spawn<S::Future>
where
    S: Service<Req, Error: std::fmt::Debug>,
{
    assert_ready_ok!(service.poll_ready::<Req>());
    task::spawn(service.call(request))
}

#[tokio::test(start_paused = true)]
async fn a_throttle_works_alone_and_says_that_nothing_was_sent() {
    let throttle = AdaptiveThrottle::builder().seed(1).build().expect("valid");
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(throttle.clone());
    let mut refused = 0;
    for _ in 0..100 {
        let mut future = begin(&mut service, get());
        if let std::task::Poll::Ready(result) = future.poll() {
            let error = result.expect_err("nothing was sent");
            let error: &LayerError = error.downcast_ref().expect("its type");
            assert_eq!(error.outcome().sent, Some(Sent::Never));
            assert!(error.to_string().contains("throttle"), "{error}");
            refused += 1;
        } else {
            sent(&mut handle).1.send_response(answer(503));
            assert_ready_ok!(future.poll());
        }
    }
    assert!(refused > 70, "{refused}");
}

#[tokio::test(start_paused = true)]
async fn the_decisions_of_a_throttle_with_a_seed_repeat() {
    let run = || {
        let throttle = AdaptiveThrottle::builder().seed(7).build().expect("valid");
        let uri = Uri::from_static("http://a.test/");
        let now = time::Instant::now().into_std();
        let decide = |_| {
            let mut ticket = throttle.ticket(&uri);
            throttle.admit(&mut ticket, &Ask::new(now, AskFor::First))
        };
        (0..200).map(decide).collect::<Vec<_>>()
    };
    let decisions = run();
    assert_eq!(decisions, run());
    assert!(decisions.contains(&Admit::Now));
    assert!(decisions.contains(&Admit::Refuse(StopReason::Throttled)));
}

#[tokio::test(start_paused = true)]
async fn shared_hints_work_alone_and_hold_no_permit() {
    let hints = SharedHints::builder().jitter(0.0).build().expect("valid");
    let (mock, mut handle) = mock::pair::<Req, Res>();
    let mut service = Spawn::new(hints.layer(ConcurrencyLimit::new(mock, 1)));
    let mut first = begin(&mut service, get());
    assert_pending!(first.poll());
    sent(&mut handle).1.send_response(later("2"));
    assert_ready_ok!(first.poll());
    drop(first);
    // The permit is free for each of them.
    let mut others: Vec<_> = (0..3).map(|_| begin(&mut service, get())).collect();
    for other in &mut others {
        assert_pending!(other.poll());
    }
    time::advance(1999 * MS).await;
    assert_pending!(others[0].poll());
    assert_nothing_sent(&mut handle);
    time::advance(MS).await;
    for mut other in others {
        assert_pending!(other.poll());
        sent(&mut handle).1.send_response(answer(200));
        let response = assert_ready_ok!(other.poll());
        let outcome: &LayerOutcome = response.extensions().get().expect("it was held");
        assert_eq!(outcome.held, 2000 * MS);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_after_the_hold_fails_the_request() {
    let hints = SharedHints::builder().jitter(0.0).build().expect("valid");
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(hints);
    let mut first = begin(&mut service, get());
    assert_pending!(first.poll());
    sent(&mut handle).1.send_response(later("2"));
    assert_ready_ok!(first.poll());
    let mut other = begin(&mut service, get());
    assert_pending!(other.poll());
    handle.send_error("broken");
    time::advance(2000 * MS).await;
    assert_eq!(assert_ready_err!(other.poll()).to_string(), "broken");
}

/// Says what it is told to, and writes down what it is asked and told.
#[derive(Clone, Default)]
struct Gatekeeper {
    closed: Arc<AtomicBool>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Admission for Gatekeeper {
    fn ticket(&self, uri: &Uri) -> Ticket {
        Ticket::for_key(uri.path().len() as u64)
    }

    fn admit(&self, ticket: &mut Ticket, ask: &Ask) -> Admit {
        ticket.memo += 1;
        let mut heard = self.heard.lock().expect("no panic");
        heard.push(format!("{:?} {}", ask.stage, ticket.memo));
        if self.closed.load(Relaxed) {
            return Admit::Refuse(StopReason::Custom("closed".into()));
        }
        Admit::Now
    }

    fn answered(&self, ticket: &mut Ticket, answer: &Answer) {
        assert_eq!(ticket.key, 2);
        let status = answer.status.map_or(0, |status| status.as_u16());
        let mut heard = self.heard.lock().expect("no panic");
        heard.push(format!("{status} {:?} {}", answer.asked, answer.dropped));
    }
}

#[tokio::test(start_paused = true)]
async fn an_admission_of_ones_own_is_asked_and_told() {
    let keeper = Gatekeeper::default();
    let layer = RetryLayer::new(every(100 * MS)).admission(keeper.clone());
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(later("2"));
    assert_pending!(future.poll());
    time::advance(2000 * MS).await;
    assert_pending!(future.poll());
    sent(&mut handle).1.send_error("reset");
    assert_pending!(future.poll());
    // Given up while it waits.
    drop(future);
    let heard = std::mem::take(&mut *keeper.heard.lock().expect("no panic"));
    let two = Some(Duration::from_secs(2));
    assert_eq!(
        heard,
        [
            "First 1".to_owned(),
            format!("503 {two:?} false"),
            "Retry { told: true } 2".to_owned(),
            "Again 3".to_owned(),
            "0 None false".to_owned(),
            "Retry { told: false } 4".to_owned(),
            "0 None true".to_owned(),
        ]
    );
    // What succeeds at once is told, too.
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(200));
    assert_ready_ok!(future.poll());
    let heard = std::mem::take(&mut *keeper.heard.lock().expect("no panic"));
    assert_eq!(heard, ["First 1", "200 None false"]);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_is_refused_costs_no_budget_and_keeps_the_last_response() {
    let keeper = Gatekeeper::default();
    let policy = Bookkeeper::new(100 * MS, 9);
    let books = policy.books();
    let layer = RetryLayer::new(policy).admission(keeper.clone());
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    keeper.closed.store(true, Relaxed);
    sent(&mut handle).1.send_response(answer(503));
    let response = assert_ready_ok!(future.poll());
    assert_eq!(response.status().as_u16(), 503);
    let report = report(&response);
    assert_eq!(report.stop, StopReason::Custom("closed".into()));
    assert_eq!(report.attempts[0].gates.get(Gate::Throttle), Some(false));
    assert_eq!(report.attempts[0].gates.get(Gate::Budget), None);
    assert_eq!((books.commits(), books.cancels()), (0, 0));

    let mut future = start(&mut service, get());
    let error = assert_ready!(future.poll()).expect_err("closed");
    assert_eq!(error.kind(), RetryErrorKind::Throttled);
    assert_nothing_sent(&mut handle);
}

#[tokio::test(start_paused = true)]
async fn an_admission_that_closes_during_a_wait_gives_the_budget_back() {
    let keeper = Gatekeeper::default();
    let policy = Bookkeeper::new(100 * MS, 9);
    let books = policy.books();
    let layer = RetryLayer::new(policy).admission(keeper.clone());
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(503));
    assert_pending!(future.poll());
    keeper.closed.store(true, Relaxed);
    time::advance(100 * MS).await;
    let error = assert_ready_err!(future.poll());
    assert_eq!(error.kind(), RetryErrorKind::Throttled);
    assert_eq!((books.commits(), books.cancels()), (1, 1));
    assert_nothing_sent(&mut handle);
}
