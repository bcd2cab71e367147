//! Sends an attempt that is late a second time, and takes the first good answer.
//!
//! The tests whose names begin with `not_as_in` are about what others shipped first.

use std::{
    collections::VecDeque,
    future::{Future, Ready, ready},
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use allocation_counter::measure;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full, channel::Channel};
use test_support::probe::{
    MS, Req, Res, Step, Tracked, answer, every, get, refused, report, request, reset, with_body,
};
use tokio::{
    sync::{Semaphore, oneshot},
    time,
};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, ServiceBuilder, limit::GlobalConcurrencyLimitLayer};
use tower_http_retry::{
    AttemptInfo, BoxError, OwnHeader, RetryErrorKind, RetryLayer, RetryReport,
    body::{RecordBody, Rewind, SavedBody},
    budget::{RetryBudget, Scope},
    classify::{Sent, classify},
    hedge::{HedgeInfo, HedgeLayer, HedgeStats},
    policy::{
        Attempt, Decision, Idempotent, Note, RetryDisabled, RetryPolicy, SharedPolicy, policy_fn,
    },
    stack::{LayerError, LayerOutcome, Opinion, RequestState},
};

const LATE: Duration = Duration::from_millis(50);

// ----- a service that is answered by hand ----------------------------------------------------

/// Keeps what it is sent until the test answers it.
#[derive(Clone, Default)]
struct Server {
    calls: Arc<Mutex<VecDeque<Call>>>,
}

struct Call {
    request: Req,
    respond: oneshot::Sender<Result<Res, BoxError>>,
}

impl Call {
    fn answer(self, status: u16) {
        self.end(Ok(answer(status)));
    }

    fn end(self, result: Result<Res, BoxError>) {
        assert!(self.respond.send(result).is_ok(), "nobody waits for it");
    }

    fn is_dropped(&self) -> bool {
        self.respond.is_closed()
    }
}

impl Server {
    #[track_caller]
    fn sent(&self) -> Call {
        let mut calls = self.calls.lock().expect("no panic");
        calls.pop_front().expect("nothing was sent")
    }

    fn is_idle(&self) -> bool {
        self.calls.lock().expect("no panic").is_empty()
    }
}

impl Service<Req> for Server {
    type Response = Res;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Res, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let (respond, answer) = oneshot::channel();
        let call = Call { request, respond };
        self.calls.lock().expect("no panic").push_back(call);
        Box::pin(async move { answer.await? })
    }
}

// ----- what is late --------------------------------------------------------------------------

/// Hedges what takes longer than 50 ms, without a budget of retries.
fn hedges() -> HedgeLayer {
    hedges_under(&every(MS))
}

fn hedges_under(policy: &RetryPolicy) -> HedgeLayer {
    let builder = HedgeLayer::builder(policy).fixed_delay(LATE);
    builder.build().expect("valid")
}

type Polled<S> = task::Spawn<<S as Service<Req>>::Future>;

/// Starts a request.
#[track_caller]
fn begin<S>(service: &mut S, request: Req) -> Polled<S>
where
    S: Service<Req>,
{
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready(), "not ready");
    task::spawn(service.call(request))
}

/// A request whose hedge is due, and which was not polled since.
async fn due<S, F>(future: &mut task::Spawn<F>, server: &Server) -> Call
where
    F: Future<Output = Result<Res, S>>,
{
    assert!(future.poll().is_pending());
    let first = server.sent();
    time::advance(LATE - MS).await;
    assert!(future.poll().is_pending());
    assert!(server.is_idle(), "the hedge is too early");
    time::advance(MS).await;
    first
}

/// A GET whose hedge is under way.
macro_rules! hedged {
    ($layer:expr, $request:expr => $server:ident, $future:ident, $first:ident, $hedge:ident) => {
        let $server = Server::default();
        let mut service = $layer.layer($server.clone());
        #[allow(unused_mut)]
        let mut $future = begin(&mut service, $request);
        let $first = due(&mut $future, &$server).await;
        assert_pending!($future.poll());
        let $hedge = $server.sent();
        assert!($server.is_idle());
    };
}

#[track_caller]
fn below(response: &Res) -> &LayerOutcome {
    LayerOutcome::of(response.extensions()).expect("something is said of it")
}

fn note(won: bool) -> Note {
    Note::Hedged { after: LATE, won }
}

fn stats(edit: impl FnOnce(&mut HedgeStats)) -> HedgeStats {
    let mut stats = HedgeStats::default();
    edit(&mut stats);
    stats
}

/// Sends `count` requests that take so long, one after the other.
async fn warm_up<S>(service: &mut S, server: &Server, count: usize, took: Duration)
where
    S: Service<Req, Response = Res>,
    S::Error: std::fmt::Debug,
{
    for _ in 0..count {
        let mut future = begin(service, get());
        assert!(future.poll().is_pending());
        time::advance(took).await;
        server.sent().answer(200);
        assert_ready_ok!(future.poll());
    }
}

fn uri() -> Uri {
    Uri::from_static("http://a.test/x")
}

// ----- which answer --------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn what_is_not_late_is_sent_once() {
    let layer = hedges();
    let server = Server::default();
    let mut service = layer.layer(server.clone());
    let mut future = begin(&mut service, get());
    assert_pending!(future.poll());
    time::advance(LATE - MS).await;
    assert_pending!(future.poll());
    server.sent().answer(200);
    let response = assert_ready_ok!(future.poll());
    assert!(LayerOutcome::of(response.extensions()).is_none());
    assert!(server.is_idle());
    assert_eq!(layer.stats(), HedgeStats::default());
}

#[tokio::test(start_paused = true)]
async fn the_hedge_is_the_same_request_and_says_what_it_is() {
    let header = OwnHeader::try_from("x-hedge").expect("free");
    let builder = HedgeLayer::builder(&every(MS)).fixed_delay(LATE);
    let layer = builder.header(header).build().expect("valid");
    hedged!(layer, get() => server, future, first, hedge);
    assert!(first.request.headers().is_empty() && first.request.extensions().is_empty());
    let Call { request, respond } = hedge;
    assert_eq!(request.method(), "GET");
    assert_eq!(request.uri(), &uri());
    assert_eq!(request.headers()["x-hedge"], "1");
    let info: &HedgeInfo = request.extensions().get().expect("marked");
    assert_eq!(info.after, LATE);
    let body = request.into_body().collect().await.expect("a body");
    assert_eq!(body.to_bytes(), "ping");
    respond.send(Ok(answer(200))).expect("waited for");
    let response = assert_ready_ok!(future.poll());
    let outcome = below(&response);
    assert_eq!((&*outcome.by, outcome.attempts), ("HedgeLayer", Some(2)));
    assert_eq!(outcome.notes, [note(true)]);
}

#[tokio::test(start_paused = true)]
async fn the_first_good_answer_wins_and_the_other_is_dropped_at_once() {
    for won in [true, false] {
        let layer = hedges();
        hedged!(layer, get() => server, future, first, hedge);
        let (winner, loser) = if won { (hedge, first) } else { (first, hedge) };
        assert!(!loser.is_dropped());
        winner.answer(200);
        let response = assert_ready_ok!(future.poll());
        // The future is still there, and the loser's upload has ended.
        assert!(loser.is_dropped());
        assert_eq!(below(&response).notes, [note(won)]);
        assert_eq!(below(&response).attempts, Some(2));
        let expected = stats(|stats| {
            stats.sent = 1;
            stats.won = u64::from(won);
            stats.lost = u64::from(!won);
        });
        assert_eq!(layer.stats(), expected);
        assert!(server.is_idle(), "one hedge at most");
    }
}

#[tokio::test(start_paused = true)]
async fn there_is_one_hedge_at_most_however_late() {
    hedged!(hedges(), get() => server, future, first, hedge);
    for _ in 0..5 {
        time::advance(10 * LATE).await;
        assert_pending!(future.poll());
        assert!(server.is_idle());
    }
    assert!(!first.is_dropped() && !hedge.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn a_404_is_an_answer_and_a_503_is_not() {
    for (status, is_answer) in [
        (404, true),
        (400, true),
        (301, true),
        (503, false),
        (429, false),
    ] {
        hedged!(hedges(), get() => server, future, first, hedge);
        hedge.answer(status);
        if is_answer {
            let response = assert_ready_ok!(future.poll());
            assert_eq!(response.status(), status);
            assert!(first.is_dropped());
        } else {
            assert_pending!(future.poll(), "{status}");
            first.answer(200);
            let response = assert_ready_ok!(future.poll());
            assert_eq!(response.status(), 200);
        }
        assert!(server.is_idle());
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_waits_for_the_other_request() {
    for hedge_fails in [true, false] {
        for error in [true, false] {
            let layer = hedges();
            hedged!(layer, get() => server, future, first, hedge);
            let (loser, winner) = if hedge_fails {
                (hedge, first)
            } else {
                (first, hedge)
            };
            loser.end(if error { Err(reset()) } else { Ok(answer(503)) });
            assert_pending!(future.poll());
            time::advance(LATE).await;
            assert_pending!(future.poll());
            winner.answer(200);
            let response = assert_ready_ok!(future.poll());
            assert_eq!(response.status(), 200);
            assert_eq!(below(&response).notes, [note(!hedge_fails)]);
            let expected = stats(|stats| {
                stats.sent = 1;
                stats.failed = u64::from(hedge_fails);
                stats.won = u64::from(!hedge_fails);
            });
            assert_eq!(layer.stats(), expected);
            assert!(server.is_idle());
        }
    }
}

/// How a request ends.
fn ending(which: &str) -> Result<Res, BoxError> {
    match which {
        "error" => Err(reset()),
        status => Ok(answer(status.parse().expect("a status"))),
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_failures_a_response_counts_before_an_error_and_the_first_request_before_its_hedge()
{
    // (the first, its hedge, the one that counts, whether it is the hedge's)
    let cases = [
        ("503", "502", "503", false),
        ("503", "error", "503", false),
        ("error", "502", "502", true),
        ("error", "error", "error", false),
    ];
    for (one, two, counts, won) in cases {
        for first_ends_first in [true, false] {
            hedged!(hedges(), get() => server, future, first, hedge);
            let mut both = [(first, one), (hedge, two)];
            if !first_ends_first {
                both.reverse();
            }
            let [(a, a_end), (b, b_end)] = both;
            a.end(ending(a_end));
            assert_pending!(future.poll());
            b.end(ending(b_end));
            let outcome = match future.poll() {
                Poll::Ready(Ok(response)) => {
                    assert_eq!(response.status().as_str(), counts);
                    below(&response).clone()
                }
                Poll::Ready(Err(error)) => {
                    assert_eq!(counts, "error");
                    let error: &LayerError = error.downcast_ref().expect("told");
                    error.outcome().clone()
                }
                Poll::Pending => panic!("both have ended"),
            };
            assert_eq!(outcome.attempts, Some(2));
            assert_eq!(outcome.notes, [note(won)], "{one} and {two}");
            assert!(server.is_idle());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_layer_below_forbids_to_repeat_is_an_answer_and_what_it_takes_for_a_failure_is_none()
{
    let said = |opinion| {
        let mut outcome = LayerOutcome::new("peek");
        outcome.opinion = opinion;
        let mut response = answer(200);
        response.extensions_mut().insert(outcome);
        Ok(response)
    };
    hedged!(hedges(), get() => server, future, first, hedge);
    hedge.end(said(Opinion::Forbid("not again".into())));
    let response = assert_ready_ok!(future.poll());
    assert!(first.is_dropped() && server.is_idle());
    let outcome = below(&response);
    assert_eq!(outcome.by, "peek");
    assert_eq!(outcome.opinion, Opinion::Forbid("not again".into()));
    assert_eq!(outcome.attempts, Some(2));

    hedged!(hedges(), get() => server, future, first, hedge);
    hedge.end(said(Opinion::Retry("SlowDown".into())));
    assert_pending!(future.poll());
    first.answer(200);
    assert_ready_ok!(future.poll());
    assert!(server.is_idle());
}

#[tokio::test(start_paused = true)]
async fn one_of_two_errors_proves_nothing_and_two_that_do_prove_it() {
    let broken = || -> BoxError { reset() };
    for (one, two, sent) in [
        (refused(), refused(), Sent::Never),
        (refused(), broken(), Sent::Unknown),
        (broken(), refused(), Sent::Unknown),
    ] {
        hedged!(hedges(), get() => server, future, first, hedge);
        first.end(Err(one));
        assert_pending!(future.poll());
        hedge.end(Err(two));
        let error = assert_ready_err!(future.poll());
        assert_eq!(classify(&*error).sent, sent, "{error:?}");
        assert!(server.is_idle());
    }
    // The other one was answered.
    hedged!(hedges(), get() => server, future, first, hedge);
    let mut outcome = LayerOutcome::new("peek");
    outcome.opinion = Opinion::Unprocessed("not mine".into());
    let mut response = answer(503);
    response.extensions_mut().insert(outcome);
    hedge.end(Err(reset()));
    assert_pending!(future.poll());
    first.end(Ok(response));
    let response = assert_ready_ok!(future.poll());
    assert_eq!(below(&response).opinion, Opinion::Retry("not mine".into()));
    assert!(server.is_idle());
}

// ----- which requests ------------------------------------------------------------------------

/// Whether a hedge is sent of it.
async fn is_hedged(layer: &HedgeLayer, request: Req) -> bool {
    let server = Server::default();
    let mut service = layer.layer(server.clone());
    let mut future = begin(&mut service, request);
    let first = due(&mut future, &server).await;
    assert_pending!(future.poll());
    let hedged = !server.is_idle();
    first.answer(200);
    assert_ready_ok!(future.poll());
    hedged
}

#[tokio::test(start_paused = true)]
async fn only_what_may_be_repeated_is_hedged() {
    let with = |method, edit: fn(&mut Req)| {
        let mut request = request(method);
        edit(&mut request);
        request
    };
    let key = |request: &mut Req| {
        let key = HeaderValue::from_static("\"8e03978e\"");
        request.headers_mut().insert("idempotency-key", key);
    };
    let cases: [(Req, bool); 11] = [
        (request("GET"), true),
        (request("PUT"), true),
        (request("DELETE"), true),
        (request("POST"), false),
        (request("PATCH"), false),
        (request("get"), false),
        (with("POST", key), true),
        (
            with("POST", |post| {
                post.extensions_mut().insert(Idempotent);
            }),
            true,
        ),
        (
            with("GET", |get| {
                get.extensions_mut().insert(RetryDisabled);
            }),
            false,
        ),
        (
            with("GET", |get| {
                let never = RetryPolicy::builder().total(0).build().expect("valid");
                get.extensions_mut().insert(never);
            }),
            false,
        ),
        (
            with("GET", |get| {
                let other = policy_fn(|_: &Attempt<'_>| Decision::Accept);
                get.extensions_mut().insert(SharedPolicy::new(other));
            }),
            false,
        ),
    ];
    let layer = hedges();
    for (request, expected) in cases {
        let shown = format!("{request:?}");
        assert_eq!(is_hedged(&layer, request).await, expected, "{shown}");
    }
    // urllib3 does not know the header.
    let layer = hedges_under(&RetryPolicy::urllib3());
    assert!(!is_hedged(&layer, with("POST", key)).await);
    assert!(is_hedged(&layer, get()).await);
    let gets = RetryPolicy::builder().allowed_methods(["GET"]);
    let layer = hedges_under(&gets.budget(None).build().expect("valid"));
    assert!(is_hedged(&layer, get()).await);
    assert!(!is_hedged(&layer, request("DELETE")).await);
}

#[tokio::test(start_paused = true)]
async fn a_request_with_a_policy_of_its_own_goes_by_that() {
    let posts = RetryPolicy::builder().allowed_methods(["POST"]);
    let budget = RetryBudget::builder().capacity(1).min_per_second(0);
    let budget = budget.scope(Scope::Shared).build().expect("valid");
    let own = posts.budget(budget.clone()).build().expect("valid");
    let with_own = |method| {
        let mut request = request(method);
        request.extensions_mut().insert(own.clone());
        request
    };
    let layer = hedges();
    assert!(!is_hedged(&layer, with_own("GET")).await);
    assert!(is_hedged(&layer, with_own("POST")).await);
    // Its budget has nothing left; the layer's has.
    assert!(!is_hedged(&layer, with_own("POST")).await);
    assert!(is_hedged(&layer, get()).await);
    assert_eq!(layer.stats().over_budget, 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_vouched_for_is_noted() {
    let layer = hedges().clone_bodies_with(|body: &Full<Bytes>| Some(body.clone()));
    hedged!(layer, get() => server, future, _first, hedge);
    hedge.answer(200);
    let response = assert_ready_ok!(future.poll());
    let by = "clone_bodies_with".into();
    assert_eq!(
        below(&response).notes,
        [note(true), Note::BodyVouched { by }]
    );
    assert!(server.is_idle());

    let layer = hedges().clone_bodies_with(|_: &Full<Bytes>| None);
    let server = Server::default();
    let mut service = layer.layer(server.clone());
    let mut future = begin(&mut service, get());
    let _first = due(&mut future, &server).await;
    assert_pending!(future.poll());
    assert!(server.is_idle());
    assert_eq!(layer.stats(), stats(|stats| stats.not_repeatable = 1));
}

#[tokio::test(start_paused = true)]
async fn a_body_is_opened_anew_for_the_hedge_and_no_sooner() {
    let opened = Arc::new(Mutex::new(0));
    let count = Arc::clone(&opened);
    let layer = hedges().reopen_bodies(move |_| {
        *count.lock().expect("no panic") += 1;
        Ok::<_, BoxError>(Full::new(Bytes::from_static(b"opened")))
    });
    let server = Server::default();
    let mut service = layer.layer(server.clone());
    let mut future = begin(&mut service, request("PUT"));
    let _first = due(&mut future, &server).await;
    assert_eq!(*opened.lock().expect("no panic"), 0);
    assert_pending!(future.poll());
    let body = server.sent().request.into_body().collect().await;
    assert_eq!(body.expect("a body").to_bytes(), "opened");
}

/// Sends what it is given to a service that reads bodies, and waits for answers by hand.
#[tokio::test(start_paused = true)]
async fn a_recorded_body_is_hedged_once_the_recording_is_whole() {
    // (bytes of the recording's limit, whether the body was read to its end, whether it is hedged)
    for (limit, is_read, expected) in [(64, true, true), (64, false, false), (4, true, false)] {
        let (mut sender, body) = Channel::<Bytes>::new(4);
        sender
            .send_data(Bytes::from_static(b"hello, "))
            .await
            .expect("room");
        let (first, mut saved) = RecordBody::new(limit).prepare(body);
        type Recorded = tower_http_retry::body::RecordedBody<Channel<Bytes>>;
        let bodies = Arc::new(Mutex::new(Vec::<Recorded>::new()));
        let kept = Arc::clone(&bodies);
        let below = tower::service_fn(move |request: Request<Recorded>| {
            kept.lock().expect("no panic").push(request.into_body());
            std::future::pending::<Result<Response<()>, BoxError>>()
        });
        let layer = hedges().recorded_bodies();
        let mut service = layer.layer(below);
        let request = Request::put("http://a.test/x").body(first).expect("valid");
        let mut future = task::spawn(service.call(request));
        assert_pending!(future.poll());
        let first = bodies.lock().expect("no panic").pop().expect("sent");
        let mut first = Box::pin(first.collect());
        if is_read {
            sender
                .send_data(Bytes::from_static(b"world"))
                .await
                .expect("room");
            drop(sender);
            assert_eq!(
                first.as_mut().await.expect("whole").to_bytes(),
                "hello, world"
            );
        } else {
            let mut cx = Context::from_waker(Waker::noop());
            assert!(first.as_mut().poll(&mut cx).is_pending());
        }
        time::advance(LATE).await;
        assert_pending!(future.poll());
        let hedge = bodies.lock().expect("no panic").pop();
        assert_eq!(hedge.is_some(), expected, "limit {limit}, read {is_read}");
        if let Some(hedge) = hedge {
            use http_body::Body;
            assert_eq!(hedge.size_hint().exact(), Some(12));
            assert_eq!(
                hedge.collect().await.expect("whole").to_bytes(),
                "hello, world"
            );
            // The recording is as it was: a retry still has it.
            let (head, ()) = Request::new(()).into_parts();
            let again = saved.next(&head, true).expect("kept");
            assert_eq!(
                again.collect().await.expect("whole").to_bytes(),
                "hello, world"
            );
        } else {
            assert_eq!(layer.stats(), stats(|stats| stats.not_repeatable = 1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_recorded_in_time_is_found_by_lint_once() {
    type Recorded = tower_http_retry::body::RecordedBody<Channel<Bytes>>;
    let log = Log::default();
    let to = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || to.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let below = tower::service_fn(|_: Request<Recorded>| {
        std::future::pending::<Result<Response<()>, BoxError>>()
    });
    let layer = hedges().recorded_bodies();
    for _ in 0..2 {
        let (_sender, body) = Channel::<Bytes>::new(4);
        let (first, _saved) = RecordBody::new(64).prepare(body);
        let request = Request::put("http://a.test/x").body(first).expect("valid");
        let mut future = task::spawn(layer.layer(below).call(request));
        assert_pending!(future.poll());
        time::advance(LATE).await;
        assert_pending!(future.poll());
    }
    let log = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("text");
    assert_eq!(log.matches("hedge-before-recorded").count(), 1, "{log}");
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// ----- budgets -------------------------------------------------------------------------------

fn budget(capacity: u32) -> RetryBudget {
    let builder = RetryBudget::builder().capacity(capacity).min_per_second(0);
    builder.scope(Scope::Shared).build().expect("valid")
}

fn under(budget: &RetryBudget) -> RetryPolicy {
    let builder = RetryPolicy::builder().budget(budget.clone());
    builder.build().expect("valid")
}

fn balance(budget: &RetryBudget) -> f64 {
    let now = time::Instant::now().into_std();
    budget.balance(budget.slot(&uri()), now).expect("own")
}

#[tokio::test(start_paused = true)]
async fn a_hedge_takes_from_the_retries_budget() {
    let budget = budget(2);
    let layer = hedges_under(&under(&budget));
    for left in [1.0, 0.0] {
        assert!(is_hedged(&layer, get()).await);
        assert_eq!(balance(&budget), left);
    }
    assert!(!is_hedged(&layer, get()).await);
    assert_eq!(layer.stats().over_budget, 1);
}

#[tokio::test(start_paused = true)]
async fn a_hedge_takes_from_a_budget_of_its_own() {
    let layer = hedges();
    let mut sent = 0;
    for _ in 0..400 {
        sent += u32::from(is_hedged(&layer, get()).await);
    }
    // 20 that were saved up, and one for each 20 requests.
    assert!((38..=40).contains(&sent), "{sent}");
    let counted = layer.stats();
    assert_eq!(counted.sent + counted.over_budget, 400);
    assert_eq!(counted.sent, u64::from(sent));
}

#[tokio::test(start_paused = true)]
async fn a_refused_hedge_costs_neither_budget_anything() {
    let retries = budget(100);
    let layer = hedges_under(&under(&retries));
    // Uses up what was saved.
    for _ in 0..400 {
        is_hedged(&layer, get()).await;
    }
    let sent = layer.stats().sent;
    assert_eq!(balance(&retries), 100.0 - sent as f64);
    let empty = budget(1);
    let layer = hedges_under(&under(&empty));
    assert!(is_hedged(&layer, get()).await);
    for _ in 0..30 {
        assert!(!is_hedged(&layer, get()).await);
    }
    // The own budget was given back each time, or it would be empty by now.
    let other = HedgeLayer::builder(&under(&empty)).fixed_delay(LATE);
    let layer = other.retry_budget(budget(100)).build().expect("valid");
    assert!(is_hedged(&layer, get()).await);
}

#[tokio::test(start_paused = true)]
async fn grpcs_throttling_charges_failures_and_refuses_hedges() {
    let budget = RetryBudget::grpc(10, 0.1).expect("valid");
    let policy = RetryPolicy::builder().budget(budget.clone());
    let layer = hedges_under(&policy.build().expect("valid"));
    for _ in 0..12 {
        assert!(is_hedged(&layer, get()).await);
    }
    assert_eq!(balance(&budget), 10.0);
    for _ in 0..5 {
        budget.failed(budget.slot(&uri()), time::Instant::now().into_std());
    }
    assert!(!is_hedged(&layer, get()).await);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_a_pause_gets_no_hedges_until_it_is_over() {
    let layer = hedges();
    let server = Server::default();
    let mut service = layer.layer(server.clone());
    let mut future = begin(&mut service, get());
    assert_pending!(future.poll());
    let mut busy = answer(503);
    let pause = HeaderValue::from_static("2");
    busy.headers_mut().insert("retry-after", pause);
    server.sent().end(Ok(busy));
    assert_ready_ok!(future.poll());
    assert!(!is_hedged(&layer, get()).await);
    assert_eq!(layer.stats(), stats(|stats| stats.asked_to_wait = 1));
    // Another server did not ask.
    let mut elsewhere = get();
    *elsewhere.uri_mut() = Uri::from_static("http://b.test/x");
    assert!(is_hedged(&layer, elsewhere).await);
    time::advance(2000 * MS).await;
    assert!(is_hedged(&layer, get()).await);
}

// ----- the retries above ---------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn both_failures_are_one_attempt_for_the_retries_and_two_in_its_effects() {
    let policy = every(100 * MS);
    let server = Server::default();
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new(policy.clone()))
        .layer(hedges_under(&policy));
    let mut service = stack.service(server.clone());
    let mut future = begin(&mut service, get());
    let first = due(&mut future, &server).await;
    assert_pending!(future.poll());
    let hedge = server.sent();
    first.answer(503);
    hedge.answer(502);
    assert_pending!(future.poll());
    time::advance(100 * MS).await;
    assert_pending!(future.poll());
    let second = server.sent();
    assert_eq!(
        second
            .request
            .extensions()
            .get::<AttemptInfo>()
            .expect("told")
            .number,
        2
    );
    // A retry is hedged as a first attempt is, and the hedge is part of it.
    time::advance(LATE).await;
    assert_pending!(future.poll());
    let hedge = server.sent();
    assert_eq!(
        hedge
            .request
            .extensions()
            .get::<AttemptInfo>()
            .expect("told")
            .number,
        2
    );
    hedge.answer(200);
    let response = assert_ready_ok!(future.poll());
    let story = report(&response);
    assert_eq!(story.attempt_count(), 2);
    assert_eq!(story.attempts[0].inner_attempts, Some(2));
    assert_eq!(story.attempts[0].layer_notes, [note(false)]);
    assert_eq!(story.attempts[1].layer_notes, [note(true)]);
    assert_eq!(story.effects(), 1..=4);
    assert!(server.is_idle());
}

#[tokio::test(start_paused = true)]
async fn retries_and_hedges_together_take_from_one_budget() {
    let budget = budget(3);
    let builder = RetryPolicy::builder().budget(budget.clone()).total(9);
    let policy = builder.build().expect("valid");
    let server = Server::default();
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new(policy.clone()))
        .layer(hedges_under(&policy));
    let mut service = stack.service(server.clone());
    let mut future = begin(&mut service, get());
    let mut sent = 0;
    let result = loop {
        match future.poll() {
            Poll::Ready(result) => break result,
            Poll::Pending => time::advance(MS).await,
        }
        let mut calls = server.calls.lock().expect("no panic");
        // Both are answered once the hedge had its time.
        while let Some(call) = calls.pop_front() {
            sent += 1;
            tokio::spawn(async {
                time::sleep(3 * LATE).await;
                let _ = call.respond.send(Ok(answer(503)));
            });
        }
    };
    let response = result.expect("the last response");
    assert_eq!(report(&response).stop.name(), "budget_exhausted");
    // One, and the three that the budget had; a tenth more was earned by failing.
    assert_eq!(sent, 1 + 3);
    assert!(balance(&budget) < 1.0);
}

// ----- what others shipped first -------------------------------------------------------------

/// tower::hedge: `select.rs` returns whatever completes first, errors included.
#[tokio::test(start_paused = true)]
async fn not_as_in_tower_an_error_does_not_win() {
    hedged!(hedges(), get() => server, future, first, hedge);
    hedge.end(Err(reset()));
    assert_pending!(future.poll());
    first.answer(200);
    assert_ready_ok!(future.poll());
    assert!(server.is_idle());
}

/// tower::hedge: neither errors nor cancelled losers are counted, so the estimate only sinks.
#[tokio::test(start_paused = true)]
async fn not_as_in_tower_the_estimate_does_not_only_sink() {
    let layer = HedgeLayer::new(&every(MS));
    let server = Server::default();
    let mut service = layer.layer(server.clone());
    warm_up(&mut service, &server, 60, 20 * MS).await;
    let before = layer.delay(&uri()).expect("enough");
    assert!((20 * MS..22 * MS).contains(&before), "{before:?}");
    // From now on every request takes 400 ms, and its hedge 5 ms.
    let mut hedges = 0;
    for _ in 0..200 {
        let mut future = begin(&mut service, get());
        assert_pending!(future.poll());
        let first = server.sent();
        time::advance(layer.delay(&uri()).expect("enough") + MS).await;
        assert_pending!(future.poll());
        if server.is_idle() {
            time::advance(400 * MS).await;
            first.answer(200);
        } else {
            hedges += 1;
            time::advance(5 * MS).await;
            server.sent().answer(200);
        }
        assert_ready_ok!(future.poll());
    }
    assert!(hedges > 5, "{hedges}");
    let after = layer.delay(&uri()).expect("enough");
    assert!(after >= 400 * MS, "{after:?}");
}

/// The same for requests that a timeout further out ends.
#[tokio::test(start_paused = true)]
async fn not_as_in_tower_timeouts_count_with_the_time_they_took() {
    let policy = RetryPolicy::builder()
        .total(0)
        .budget(None)
        .build()
        .expect("valid");
    let layer = HedgeLayer::new(&every(MS));
    let server = Server::default();
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new(policy).attempt_timeout(300 * MS))
        .layer(layer.clone());
    let mut service = stack.service(server.clone());
    warm_up(&mut service, &server, 60, 20 * MS).await;
    for _ in 0..100 {
        let mut future = begin(&mut service, get());
        assert_pending!(future.poll());
        time::advance(300 * MS).await;
        let error = assert_ready_err!(future.poll());
        assert_eq!(error.kind(), RetryErrorKind::AttemptTimeout);
    }
    let after = layer.delay(&uri()).expect("enough");
    assert!(after >= 300 * MS, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn requests_that_their_callers_drop_count_for_nothing() {
    let layer = HedgeLayer::new(&every(MS));
    let server = Server::default();
    let mut service = layer.layer(server.clone());
    warm_up(&mut service, &server, 60, 20 * MS).await;
    let before = layer.delay(&uri());
    for took in [MS, 100 * MS].repeat(500) {
        let mut future = begin(&mut service, get());
        assert_pending!(future.poll());
        time::advance(took).await;
        drop(future);
        assert!(server.sent().is_dropped());
    }
    assert_eq!(layer.delay(&uri()), before);
}

/// tower::hedge and others: fast failures make the estimate small, so that all that works is late.
#[tokio::test(start_paused = true)]
async fn not_as_in_bhope_hedge_fast_failures_do_not_lower_the_estimate() {
    let layer = HedgeLayer::new(&every(MS));
    let server = Server::default();
    let mut service = layer.layer(server.clone());
    warm_up(&mut service, &server, 60, 20 * MS).await;
    let before = layer.delay(&uri());
    for error in [true, false].repeat(500) {
        let mut future = begin(&mut service, get());
        assert_pending!(future.poll());
        time::advance(MS).await;
        server
            .sent()
            .end(if error { Err(reset()) } else { Ok(answer(503)) });
        assert!(future.poll().is_ready());
    }
    assert_eq!(layer.delay(&uri()), before);
}

/// scylladb#3746: the time of the hedged request as a whole was counted, so the estimate drifts.
#[tokio::test(start_paused = true)]
async fn not_as_in_scylladb_the_time_of_a_hedge_does_not_count() {
    let layer = HedgeLayer::new(&every(MS));
    let server = Server::default();
    let mut service = layer.layer(server.clone());
    warm_up(&mut service, &server, 100, 20 * MS).await;
    // One request in 30 is slow, and its hedge is quick or slow: it makes no difference.
    for hedge_took in [MS, 200 * MS].repeat(20) {
        warm_up(&mut service, &server, 29, 20 * MS).await;
        let mut future = begin(&mut service, get());
        assert_pending!(future.poll());
        let _first = server.sent();
        time::advance(23 * MS).await;
        assert_pending!(future.poll());
        let hedge = server.sent();
        time::advance(hedge_took).await;
        hedge.answer(200);
        assert_ready_ok!(future.poll());
    }
    let after = layer.delay(&uri()).expect("enough");
    assert!((20 * MS..22 * MS).contains(&after), "{after:?}");
}

/// tower::hedge is not `Clone`, and a lock is around its histogram.
#[tokio::test(start_paused = true)]
async fn not_as_in_tower_the_service_is_clone_and_clones_share_what_they_know() {
    let layer = HedgeLayer::new(&every(MS));
    let server = Server::default();
    let one = layer.layer(server.clone());
    let (mut two, mut three) = (one.clone(), layer.layer(server.clone()));
    warm_up(&mut two, &server, 25, 20 * MS).await;
    warm_up(&mut three, &server, 25, 20 * MS).await;
    assert!(layer.delay(&uri()).is_some());
    drop(one);
}

/// A limit of places.
fn limited(places: &Arc<Semaphore>) -> GlobalConcurrencyLimitLayer {
    GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(places))
}

/// tower::hedge: both copies must be ready before the first request is sent.
#[tokio::test(start_paused = true)]
async fn not_as_in_tower_one_free_place_is_enough_for_a_request() {
    let places = Arc::new(Semaphore::new(1));
    let server = Server::default();
    let stack = ServiceBuilder::new()
        .layer(hedges())
        .layer(limited(&places));
    let mut service = stack.service(server.clone());
    let mut future = begin(&mut service, get());
    assert_pending!(future.poll());
    assert_eq!(places.available_permits(), 0);
    server.sent().answer(200);
    assert_ready_ok!(future.poll());
    assert_eq!(places.available_permits(), 1);
}

/// zebra#1089, go-service#2380: hedges starved the requests of a limit's places.
#[tokio::test(start_paused = true)]
async fn not_as_in_zebra_a_hedge_never_takes_the_last_place() {
    for (count, expected) in [(1, false), (2, false), (3, true)] {
        let places = Arc::new(Semaphore::new(count));
        let free = Arc::clone(&places);
        let builder = HedgeLayer::builder(&every(MS)).fixed_delay(LATE);
        let builder = builder.free_places(move || free.available_permits());
        let layer = builder.build().expect("valid");
        let server = Server::default();
        let stack = ServiceBuilder::new()
            .layer(layer.clone())
            .layer(limited(&places));
        let mut service = stack.service(server.clone());
        let mut future = begin(&mut service, get());
        let first = due(&mut future, &server).await;
        assert_pending!(future.poll());
        assert_eq!(!server.is_idle(), expected, "{count} places");
        assert_eq!(layer.stats().no_room, u64::from(!expected));
        assert!(
            count == 1 || places.available_permits() >= 1,
            "{count} places"
        );
        first.answer(200);
        assert_ready_ok!(future.poll());
        assert_eq!(places.available_permits(), count);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hedge_that_finds_no_place_waits_beside_the_request_and_holds_nothing() {
    let places = Arc::new(Semaphore::new(1));
    let budget = budget(5);
    let layer = hedges_under(&under(&budget));
    let server = Server::default();
    let stack = ServiceBuilder::new()
        .layer(layer.clone())
        .layer(limited(&places));
    let mut service = stack.service(server.clone());
    let mut future = begin(&mut service, get());
    let first = due(&mut future, &server).await;
    assert_pending!(future.poll());
    assert!(server.is_idle());
    assert_eq!(balance(&budget), 4.0);
    // Answered meanwhile: what was taken is given back, and the place is free.
    first.answer(200);
    let response = assert_ready_ok!(future.poll());
    assert!(LayerOutcome::of(response.extensions()).is_none());
    assert_eq!(balance(&budget), 5.0);
    assert_eq!(places.available_permits(), 1);
    assert_eq!(layer.stats().sent, 0);

    // The next one gets the place of another request.
    let other = Arc::clone(&places).acquire_owned().await.expect("open");
    places.add_permits(1);
    let mut future = begin(&mut service, get());
    let _first = due(&mut future, &server).await;
    assert_pending!(future.poll());
    assert!(server.is_idle());
    time::advance(LATE).await;
    drop(other);
    assert!(future.is_woken());
    assert_pending!(future.poll());
    let hedge = server.sent();
    let info: &HedgeInfo = hedge.request.extensions().get().expect("marked");
    assert_eq!(info.after, 2 * LATE);
}

/// grpc-java#7222: a call hung to its deadline when its hedges were throttled; failsafe-go#141: a
/// request failed because there was no budget for its hedge.
#[tokio::test(start_paused = true)]
async fn not_as_in_grpc_java_and_failsafe_go_a_refused_hedge_leaves_the_request_to_finish() {
    let layer = hedges_under(&under(&budget(1)));
    assert!(is_hedged(&layer, get()).await);
    let server = Server::default();
    let mut service = layer.layer(server.clone());
    let mut future = begin(&mut service, get());
    let first = due(&mut future, &server).await;
    assert_pending!(future.poll());
    assert!(server.is_idle());
    time::advance(100 * LATE).await;
    assert_pending!(future.poll());
    assert!(!first.is_dropped());
    first.answer(200);
    assert!(future.is_woken());
    let response = assert_ready_ok!(future.poll());
    assert!(LayerOutcome::of(response.extensions()).is_none());
}

/// grpc-java#10145: a failure waited for the hedge's delay.
#[tokio::test(start_paused = true)]
async fn not_as_in_grpc_java_a_request_that_fails_before_it_is_late_ends_at_once() {
    for error in [true, false] {
        let layer = hedges();
        let server = Server::default();
        let mut service = layer.layer(server.clone());
        let mut future = begin(&mut service, get());
        assert_pending!(future.poll());
        server
            .sent()
            .end(if error { Err(reset()) } else { Ok(answer(503)) });
        match future.poll() {
            Poll::Ready(Ok(response)) => {
                assert_eq!(response.status(), 503);
                assert!(LayerOutcome::of(response.extensions()).is_none());
            }
            Poll::Ready(Err(error)) => assert!(!error.is::<LayerError>()),
            Poll::Pending => panic!("it waits"),
        }
        time::advance(10 * LATE).await;
        assert!(server.is_idle());
    }
}

/// grpc-java#9185 and #10314: races between a start, a commit and a cancellation.
#[tokio::test(start_paused = true)]
async fn not_as_in_grpc_java_both_answers_at_the_same_moment_are_one_answer() {
    for at_the_moment_it_is_due in [true, false] {
        let layer = hedges();
        let server = Server::default();
        let mut service = layer.layer(server.clone());
        let mut future = begin(&mut service, get());
        let first = due(&mut future, &server).await;
        if at_the_moment_it_is_due {
            first.answer(200);
            let response = assert_ready_ok!(future.poll());
            assert!(LayerOutcome::of(response.extensions()).is_none());
            assert_eq!(layer.stats().sent, 0);
        } else {
            assert_pending!(future.poll());
            let hedge = server.sent();
            hedge.answer(200);
            first.answer(200);
            let response = assert_ready_ok!(future.poll());
            assert_eq!(below(&response).notes, [note(false)]);
            assert_eq!(
                layer.stats(),
                stats(|stats| (stats.sent, stats.lost) = (1, 1))
            );
        }
        assert!(server.is_idle());
    }
}

/// A request is dropped after each number of polls: nothing more is sent, nothing is held.
#[tokio::test(start_paused = true)]
async fn not_as_in_grpc_java_a_request_that_is_dropped_leaves_nothing_at_any_poll() {
    for polls in 0..6 {
        let places = Arc::new(Semaphore::new(9));
        let budget = budget(5);
        let server = Server::default();
        let stack = ServiceBuilder::new()
            .layer(hedges_under(&under(&budget)))
            .layer(limited(&places));
        let mut service = stack.service(server.clone());
        let mut future = begin(&mut service, get());
        for _ in 0..polls {
            assert_pending!(future.poll());
            time::advance(LATE / 2).await;
        }
        drop(future);
        let sent: Vec<_> = server.calls.lock().expect("no panic").drain(..).collect();
        assert!(sent.iter().all(Call::is_dropped), "after {polls} polls");
        let hedges = sent.len() - 1;
        assert_eq!(balance(&budget), 5.0 - hedges as f64, "after {polls} polls");
        assert_eq!(places.available_permits(), 9);
        time::advance(10 * LATE).await;
        assert!(server.is_idle());
        assert_eq!(hedges, usize::from(polls > 2), "after {polls} polls");
    }
}

/// Envoy#12993: the timeout of an attempt was not counted when it was hedged.
#[tokio::test(start_paused = true)]
async fn not_as_in_envoy_the_timeout_of_a_hedged_attempt_is_counted_once() {
    let policy = every(MS);
    let server = Server::default();
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new(policy.clone()).attempt_timeout(3 * LATE))
        .layer(hedges_under(&policy));
    let mut service = stack.service(server.clone());
    let mut future = begin(&mut service, get());
    let first = due(&mut future, &server).await;
    assert_pending!(future.poll());
    let hedge = server.sent();
    time::advance(2 * LATE).await;
    assert_pending!(future.poll());
    assert!(first.is_dropped() && hedge.is_dropped());
    time::advance(MS).await;
    assert_pending!(future.poll());
    server.sent().answer(200);
    let response = assert_ready_ok!(future.poll());
    let story = report(&response);
    assert_eq!(story.attempt_count(), 2);
    // It was dropped, and told all the same.
    assert_eq!(story.attempts[0].inner_attempts, Some(2));
    assert_eq!(story.attempts[0].layer_notes, [note(false)]);
    assert_eq!(story.effects(), 1..=3);
    assert!(server.is_idle());
}

/// resty#1197, failsafe-go#65 and #123, hedgedhttp#7: the winner's body ended with the request.
#[tokio::test(start_paused = true)]
async fn not_as_in_resty_failsafe_go_and_hedgedhttp_the_winners_body_is_tied_to_nothing() {
    for won in [true, false] {
        hedged!(hedges(), get() => server, future, first, hedge);
        let steps = [
            Step::Data(b"one"),
            Step::Pause(10 * LATE),
            Step::Data(b"two"),
        ];
        let (winner, loser) = if won { (hedge, first) } else { (first, hedge) };
        winner.end(Ok(with_body(200, Tracked::new(steps))));
        let response = assert_ready_ok!(future.poll());
        drop((future, loser));
        let body = response.into_body().collect().await.expect("whole");
        assert_eq!(body.to_bytes(), "onetwo");
        assert!(server.is_idle());
    }
}

/// cristalhq/hedgedhttp: all copies read one body.
#[tokio::test(start_paused = true)]
async fn not_as_in_hedgedhttp_each_request_has_a_body_of_its_own() {
    hedged!(hedges(), request("PUT") => server, _future, first, hedge);
    for call in [first, hedge] {
        let body = call.request.into_body().collect().await.expect("a body");
        assert_eq!(body.to_bytes(), "ping");
    }
    assert!(server.is_idle());
}

/// dotnet/extensions, bhope/hedge: a POST is hedged, the latter if its body can be had twice.
#[tokio::test(start_paused = true)]
async fn not_as_in_dotnet_and_bhope_hedge_a_post_is_not_hedged() {
    assert!(!is_hedged(&hedges(), request("POST")).await);
}

/// dotnet/extensions#5105: a body that cannot be had twice throws.
#[tokio::test(start_paused = true)]
async fn not_as_in_dotnet_a_body_that_cannot_be_sent_twice_is_sent_once() {
    let layer = hedges().clone_bodies_with(|_: &Full<Bytes>| None);
    let server = Server::default();
    let mut service = layer.layer(server.clone());
    let mut future = begin(&mut service, request("PUT"));
    let first = due(&mut future, &server).await;
    assert_pending!(future.poll());
    assert!(server.is_idle());
    first.answer(200);
    assert_ready_ok!(future.poll());
}

/// bhope/hedge: one budget for all hosts, of a rate that somebody has to configure.
#[tokio::test(start_paused = true)]
async fn not_as_in_bhope_hedge_one_server_cannot_use_up_the_hedges_of_another() {
    let layer = hedges();
    for _ in 0..100 {
        is_hedged(&layer, get()).await;
    }
    assert!(layer.stats().over_budget > 0);
    let mut elsewhere = get();
    *elsewhere.uri_mut() = Uri::from_static("http://b.test/x");
    assert!(is_hedged(&layer, elsewhere).await);
}

/// tower-resilience-hedge up to 0.11 (#393): losers were never cancelled.
#[tokio::test(start_paused = true)]
async fn not_as_in_tower_resilience_the_loser_is_cancelled() {
    hedged!(hedges(), get() => server, future, first, hedge);
    hedge.answer(200);
    assert_ready_ok!(future.poll());
    assert!(first.is_dropped() && server.is_idle());
}

/// mcp-proxy#209, parapet#223: layers of hedges and retries multiply.
#[tokio::test(start_paused = true)]
async fn not_as_in_mcp_proxy_retries_and_hedges_do_not_multiply() {
    let policy = RetryPolicy::builder()
        .total(2)
        .budget(budget(2))
        .build()
        .expect("valid");
    let server = Server::default();
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new(policy.clone()))
        .layer(hedges_under(&policy));
    let mut service = stack.service(server.clone());
    let mut future = begin(&mut service, get());
    let first = due(&mut future, &server).await;
    assert_pending!(future.poll());
    let hedge = server.sent();
    first.end(Err(reset()));
    hedge.end(Err(reset()));
    // The second token is the first retry's, and there is none for its hedge.
    assert_pending!(future.poll());
    time::advance(1000 * MS).await;
    assert_pending!(future.poll());
    let retry = server.sent();
    time::advance(10 * LATE).await;
    assert_pending!(future.poll());
    assert!(server.is_idle());
    retry.end(Err(reset()));
    let error = assert_ready_err!(future.poll());
    assert_eq!(error.stop_reason().name(), "budget_exhausted");
    assert_eq!(error.report().attempt_count(), 2);
}

// ----- estimates, settings, costs ------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn nothing_is_hedged_before_fifty_requests_and_each_server_has_its_own_estimate() {
    let layer = HedgeLayer::new(&every(MS));
    let server = Server::default();
    let mut service = layer.layer(server.clone());
    warm_up(&mut service, &server, 49, 20 * MS).await;
    assert_eq!(layer.delay(&uri()), None);
    let mut future = begin(&mut service, get());
    assert_pending!(future.poll());
    time::advance(100 * LATE).await;
    assert_pending!(future.poll());
    server.sent().answer(200);
    assert!(server.is_idle());
    assert_ready_ok!(future.poll());
    let delay = layer.delay(&uri()).expect("fifty");
    assert!((20 * MS..22 * MS).contains(&delay), "{delay:?}");
    assert_eq!(layer.delay(&Uri::from_static("http://b.test/")), None);
}

#[tokio::test(start_paused = true)]
async fn servers_beyond_the_places_that_there_are_are_neither_measured_nor_hedged() {
    let builder = HedgeLayer::builder(&every(MS)).scopes(8);
    let layer = builder.build().expect("valid");
    let server = Server::default();
    let mut service = layer.layer(server.clone());
    let hosts: Vec<Uri> = (0..100)
        .map(|host| format!("http://host-{host}.test/").parse().expect("valid"))
        .collect();
    for _ in 0..60 {
        // tokio lets a task do so much before it must yield.
        tokio::task::yield_now().await;
        for host in &hosts {
            let mut request = get();
            *request.uri_mut() = host.clone();
            let mut future = begin(&mut service, request);
            assert_pending!(future.poll());
            server.sent().answer(200);
            assert_ready_ok!(future.poll());
        }
    }
    let measured = hosts.iter().filter(|host| layer.delay(host).is_some());
    assert_eq!(measured.count(), 8);
}

#[test]
fn settings_out_of_their_range_are_named() {
    let policy = RetryPolicy::default();
    let builder = || HedgeLayer::builder(&policy);
    for (builder, text) in [
        (
            builder().max_extra_load(0.0),
            "`max_extra_load` is 0: must be from 0.001 to 0.5",
        ),
        (
            builder().max_extra_load(f64::NAN),
            "`max_extra_load` is NaN: must be from 0.001 to 0.5",
        ),
        (
            builder().fixed_delay(Duration::from_micros(999)),
            "`fixed_delay` is 999µs: must be 1 ms or more",
        ),
        (
            builder().scopes(0),
            "`scopes` is 0: must be from 1 to 65536",
        ),
    ] {
        let error = builder.build().expect_err(text);
        assert_eq!(error.to_string(), text);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hedge_knows_where_its_request_went_if_that_is_asked_for() {
    let builder = HedgeLayer::builder(&every(MS)).fixed_delay(LATE);
    let layer = builder.elsewhere().build().expect("valid");
    hedged!(layer, get() => server, _future, first, hedge);
    let state = RequestState::of(first.request.extensions()).expect("there");
    state.add_tried(uri());
    let state = RequestState::of(hedge.request.extensions()).expect("there");
    assert_eq!(state.tried(), [uri()]);
    assert!(server.is_idle());
}

/// Answers at once.
#[derive(Clone)]
struct AtOnce;

impl Service<Req> for AtOnce {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = Ready<Result<Response<()>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Req) -> Self::Future {
        ready(Ok(Response::new(())))
    }
}

/// Without a runtime: whatever needs one panics.
#[test]
fn a_request_that_is_answered_at_its_first_poll_costs_no_allocation_and_no_timer() {
    let policy = RetryPolicy::default();
    let measured = HedgeLayer::new(&policy);
    let fixed = HedgeLayer::builder(&policy).fixed_delay(LATE);
    for layer in [measured, fixed.build().expect("valid")] {
        let mut service = layer.layer(AtOnce);
        let mut send = |request: Req| {
            let mut cx = Context::from_waker(Waker::noop());
            assert!(service.poll_ready(&mut cx).is_ready());
            assert!(pin!(service.call(request)).poll(&mut cx).is_ready());
        };
        for _ in 0..100 {
            send(get());
            send(request("POST"));
        }
        assert!(layer.delay(&uri()).is_some());
        for request in [get(), request("POST"), request("PUT")] {
            let shown = format!("{request:?}");
            let cost = measure(|| send(request));
            assert_eq!(cost.count_total, 0, "{shown}");
        }
    }
}

/// A service outlives the runtime that its first request ran in.
#[test]
fn one_service_serves_two_runtimes() {
    let layer = HedgeLayer::new(&every(MS));
    let server = Server::default();
    let mut service = layer.layer(server.clone());
    for _ in 0..2 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            warm_up(&mut service, &server, 60, 20 * MS).await;
            let mut future = begin(&mut service, get());
            assert_pending!(future.poll());
            time::advance(30 * MS).await;
            assert_pending!(future.poll());
            server.sent().answer(200);
            server.sent();
            assert_ready_ok!(future.poll());
        });
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_hedged_is_told_to_the_caller_of_the_retries() {
    let policy = every(MS);
    let server = Server::default();
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new(policy.clone()))
        .layer(hedges_under(&policy));
    let mut service = stack.service(server.clone());
    let mut future = begin(&mut service, get());
    let _first = due(&mut future, &server).await;
    assert_pending!(future.poll());
    server.sent().answer(200);
    let response = assert_ready_ok!(future.poll());
    let story: &RetryReport = report(&response);
    assert_eq!(story.effects(), 1..=2);
    let text = story.to_string();
    assert!(
        text.contains("sent a second time after 50 ms; the outcome is that of the second one"),
        "{text}"
    );
}
