//! Requests to a service in memory that is pending wherever it can be, and always in the same way.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Request, Response, header::RETRY_AFTER};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use tokio::time::{self, Instant};
use tower::{Layer, Service};
use tower_http_retry::{
    BoxError, RetryError, RetryEvent, RetryLayer, RetryReport,
    body::Rewind,
    budget::{InFlightLimit, RetryBudget},
    classify::{Opinion, Outcome},
    policy::{Backoff, RetryPolicy, StopReason},
    shared_hints::SharedHints,
};

use super::cut::{Cut, Cutting};
use test_support::net::clock;

const MS: Duration = Duration::from_millis(1);

/// How one attempt goes.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    readiness: Readiness,
    /// Frames of the request's body that are read.
    reads: usize,
    ends: End,
}

#[derive(Clone, Copy, Debug)]
enum Readiness {
    /// After a while.
    Soon,
    Never,
    Fails,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Never,
    Reset,
    Status(u16),
    /// With a `Retry-After` of a second.
    ComeBack(u16),
    /// With content that does not end.
    Endless(u16),
}

impl From<End> for Attempt {
    fn from(ends: End) -> Self {
        Self {
            readiness: Readiness::Soon,
            reads: usize::MAX,
            ends,
        }
    }
}

impl Attempt {
    fn when(readiness: Readiness) -> Self {
        Self {
            readiness,
            ..End::Status(200).into()
        }
    }
}

/// What all instances of the service share.
#[derive(Debug, Default)]
struct Shared {
    script: Mutex<VecDeque<Attempt>>,
    calls: AtomicUsize,
    /// As many references as there are instances, futures and bodies.
    alive: Arc<()>,
}

impl Shared {
    fn now(&self) -> Attempt {
        let script = self.script.lock().unwrap();
        // In the end all is well.
        script.front().copied().unwrap_or(End::Status(200).into())
    }

    fn alive(&self) -> usize {
        Arc::strong_count(&self.alive) - 1
    }
}

/// Pending once, and woken at once.
#[derive(Debug, Default)]
struct Once(bool);

impl Once {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.0 = !self.0;
        if self.0 {
            cx.waker().wake_by_ref();
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}

/// One instance of the service.
#[derive(Debug)]
struct Instance {
    shared: Arc<Shared>,
    once: Once,
    is_ready: bool,
    alive: Arc<()>,
}

impl Instance {
    fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            once: Once::default(),
            is_ready: false,
            alive: Arc::clone(&shared.alive),
        }
    }
}

impl Clone for Instance {
    fn clone(&self) -> Self {
        Self::new(&self.shared)
    }
}

impl<B> Service<Request<B>> for Instance
where
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Content>;
    type Error = BoxError;
    type Future = Answering<B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.is_ready {
            return Poll::Ready(Ok(()));
        }
        ready!(self.once.poll(cx));
        match self.shared.now().readiness {
            Readiness::Soon => {
                self.is_ready = true;
                Poll::Ready(Ok(()))
            }
            Readiness::Never => Poll::Pending,
            Readiness::Fails => Poll::Ready(Err("broken".into())),
        }
    }

    fn call(&mut self, request: Request<B>) -> Answering<B> {
        assert!(self.is_ready, "called before it is ready");
        self.is_ready = false;
        self.shared.calls.fetch_add(1, Relaxed);
        let attempt = self.shared.now();
        self.shared.script.lock().unwrap().pop_front();
        Answering {
            attempt,
            body: Box::pin(request.into_body()),
            once: Once::default(),
            alive: Arc::clone(&self.alive),
        }
    }
}

/// The future of an attempt.
struct Answering<B> {
    attempt: Attempt,
    body: Pin<Box<B>>,
    once: Once,
    alive: Arc<()>,
}

impl<B> Future for Answering<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<Content>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        while self.attempt.reads > 0 {
            match ready!(self.body.as_mut().poll_frame(cx)) {
                Some(Ok(_)) => self.attempt.reads -= 1,
                Some(Err(error)) => return Poll::Ready(Err(error.into())),
                None => self.attempt.reads = 0,
            }
        }
        ready!(self.once.poll(cx));
        let (status, asks, frames) = match self.attempt.ends {
            End::Never => {
                // The second poll after this one is by a timer.
                self.once = Once(true);
                return Poll::Pending;
            }
            End::Reset => {
                let error = io::Error::from(io::ErrorKind::ConnectionReset);
                return Poll::Ready(Err(error.into()));
            }
            End::Status(status) => (status, false, 2),
            End::ComeBack(status) => (status, true, 2),
            End::Endless(status) => (status, false, usize::MAX),
        };
        let mut response = Response::new(Content {
            frames,
            once: Once::default(),
            _alive: Arc::clone(&self.alive),
        });
        *response.status_mut() = status.try_into().expect("a status");
        if asks {
            let headers = response.headers_mut();
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        Poll::Ready(Ok(response))
    }
}

/// The content of an answer.
#[derive(Debug)]
struct Content {
    frames: usize,
    once: Once,
    _alive: Arc<()>,
}

impl Body for Content {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.frames == usize::MAX {
            return Poll::Pending;
        }
        ready!(self.once.poll(cx));
        Poll::Ready(self.frames.checked_sub(1).map(|left| {
            self.frames = left;
            Ok(Frame::data(Bytes::from_static(b"content")))
        }))
    }
}

/// A body of three frames, pending before each.
fn upload() -> UnsyncBoxBody<Bytes, BoxError> {
    let frames = stream::unfold(3_usize, async |left| {
        tokio::task::yield_now().await;
        let left = left.checked_sub(1)?;
        Some((Ok(Frame::data(Bytes::from_static(b"upload"))), left))
    });
    StreamBody::new(frames).boxed_unsync()
}

/// How a body is sent again.
#[derive(Clone, Copy, Debug)]
enum Again {
    Clone,
    Replay(u64),
    /// The body cannot be opened.
    FailsToOpen,
}

/// A request, and how it ends if nobody drops it.
struct Scenario {
    name: &'static str,
    script: Vec<Attempt>,
    again: Again,
    /// Retries that the budget has.
    budget: u32,
    layer: fn(RetryLayer<RetryPolicy>) -> RetryLayer<RetryPolicy>,
    /// Something that happens to other requests before.
    before: Before,
    stop: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Before {
    Nothing,
    /// The server asks one to come back.
    AHint,
    /// One has the only place for a retry.
    ARetry,
}

impl Scenario {
    fn new(name: &'static str, script: impl IntoIterator<Item = End>, stop: &'static str) -> Self {
        Self {
            name,
            script: script.into_iter().map(Attempt::from).collect(),
            again: Again::Replay(1024),
            budget: 9,
            layer: |layer| layer,
            before: Before::Nothing,
            stop,
        }
    }

    fn with(self, layer: fn(RetryLayer<RetryPolicy>) -> RetryLayer<RetryPolicy>) -> Self {
        Self { layer, ..self }
    }

    fn again(self, again: Again) -> Self {
        Self { again, ..self }
    }
}

fn scenarios() -> Vec<Scenario> {
    use End::{ComeBack, Endless, Never, Reset, Status};

    vec![
        Scenario::new("succeeds", [Status(200)], "succeeded"),
        Scenario::new(
            "recovers from errors",
            [Reset, Reset, Status(200)],
            "succeeded",
        ),
        Scenario::new(
            "recovers from answers",
            [Status(503), Status(503)],
            "succeeded",
        ),
        Scenario::new(
            "recovers from both",
            [Reset, Status(503), Reset],
            "succeeded",
        )
        .again(Again::Clone),
        Scenario::new("gives up on errors", [Reset; 4], "count_exhausted"),
        Scenario::new("gives up on answers", [Status(503); 4], "count_exhausted"),
        Scenario::new("fails for good", [Status(404)], "status_not_listed"),
        Scenario::new("obeys the server", [ComeBack(503)], "succeeded"),
        Scenario::new("drains in vain", [Endless(503)], "succeeded"),
        Scenario::new("times out", [Never, Never], "succeeded")
            .with(|layer| layer.attempt_timeout(50 * MS)),
        Scenario::new("times out for good", [Never; 4], "count_exhausted")
            .with(|layer| layer.attempt_timeout(50 * MS)),
        Scenario::new("is late in an attempt", [Reset, Never], "deadline_exceeded")
            .with(|layer| layer.deadline(500 * MS)),
        Scenario::new("would be late", [Reset], "deadline_too_close")
            .with(|layer| layer.deadline(50 * MS)),
        Scenario {
            script: vec![Reset.into(), Attempt::when(Readiness::Never)],
            ..Scenario::new("is late before an attempt", [], "deadline_exceeded")
                .with(|layer| layer.deadline(500 * MS))
        },
        Scenario {
            script: vec![Reset.into(), Attempt::when(Readiness::Fails)],
            ..Scenario::new("finds the service broken", [], "not_ready")
        },
        Scenario {
            budget: 1,
            ..Scenario::new("is too dear", [Reset, Reset], "budget_exhausted")
        },
        Scenario {
            before: Before::AHint,
            ..Scenario::new("is held back", [Reset], "succeeded").with(|layer| {
                layer.admission(SharedHints::builder().jitter(0.0).build().expect("valid"))
            })
        },
        Scenario {
            before: Before::ARetry,
            ..Scenario::new("is one too many", [Reset], "too_many_in_flight")
        },
        Scenario::new("is too long", [Reset], "body_not_replayable").again(Again::Replay(10)),
        Scenario {
            script: vec![
                Attempt {
                    reads: 1,
                    ..Reset.into()
                },
                Attempt {
                    reads: 2,
                    ..Status(503).into()
                },
            ],
            ..Scenario::new("is read in parts", [], "succeeded")
        },
        Scenario::new("cannot be opened", [Reset], "body_not_reopened").again(Again::FailsToOpen),
        Scenario::new("is forbidden", [Reset], "vetoed")
            .with(|layer| layer.classify(|_: &Outcome<'_>| Opinion::Forbid("because".into()))),
    ]
}

type Sending = Pin<Box<dyn Future<Output = Result<Response<Content>, RetryError>>>>;

/// Sends a request to an instance of the service, once it is ready, through the layer.
async fn send(layer: RetryLayer<RetryPolicy>, instance: Instance, again: Again) -> Sending {
    let full = Full::new(Bytes::from_static(b"upload"));
    match again {
        Again::Clone => call(layer, instance, full).await,
        Again::Replay(limit) => call(layer.replay_bodies(limit), instance, upload()).await,
        Again::FailsToOpen => {
            let fails = |_: &_| Err::<Full<Bytes>, _>(io::Error::from(io::ErrorKind::NotFound));
            call(layer.reopen_bodies(fails), instance, full).await
        }
    }
}

async fn call<B, R>(layer: RetryLayer<RetryPolicy, R>, instance: Instance, body: B) -> Sending
where
    R: Rewind<B, Saved: 'static> + Clone,
    R::Body: Body<Error: Into<BoxError>> + Send + 'static,
{
    let mut service = layer.layer(instance);
    poll_fn(|cx| service.poll_ready(cx)).await.expect("ready");
    let request = Request::put("http://a.test/");
    Box::pin(service.call(request.body(body).expect("a request")))
}

/// Runs a scenario; how often the future was polled, and how it ended.
async fn run(scenario: &Scenario, cut: Cut) -> (usize, Option<StopReason>) {
    let shared = Arc::new(Shared::default());
    let budget = RetryBudget::builder()
        .ratio(0.001)
        .min_per_second(0)
        .capacity(scenario.budget)
        .build()
        .expect("valid");
    let policy = RetryPolicy::builder()
        .backoff(Backoff::constant(100 * MS))
        .budget(budget.clone())
        .build()
        .expect("valid");
    let places = InFlightLimit::new(1).expect("valid");
    let decided = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&decided);
    let layer = RetryLayer::new(policy)
        .max_retries_in_flight(places.clone())
        .on_event(move |event| {
            if let RetryEvent::Retry { .. } = event {
                counting.fetch_add(1, Relaxed);
            }
        });
    let layer = (scenario.layer)(layer);
    let first = Instance::new(&shared);

    let mut others = 0;
    let mut place = None;
    match scenario.before {
        Before::Nothing => {}
        Before::AHint => {
            shared
                .script
                .lock()
                .unwrap()
                .push_back(End::ComeBack(503).into());
            let other = send(layer.clone(), first.clone(), Again::Clone).await;
            // Dropped while it waits for the second that the server asked for.
            let other = time::timeout(500 * MS, other).await;
            assert!(other.is_err(), "{}: not asked to wait", scenario.name);
            others = 1;
        }
        Before::ARetry => place = places.acquire(),
    }
    let before = budget.stats(Instant::now().into_std());
    decided.store(0, Relaxed);
    shared.script.lock().unwrap().extend(&scenario.script);

    let sending = send(layer.clone(), first.clone(), scenario.again).await;
    let mut cutting = Cutting::new(sending, cut);
    let ended = (&mut cutting).await;
    let polls = cutting.polls();
    let stop = ended.map(|ended| match ended {
        Ok(response) => match response.extensions().get::<RetryReport>() {
            Some(report) => report.stop.clone(),
            None => StopReason::Succeeded,
        },
        Err(error) => error.stop_reason().clone(),
    });

    // Nothing of it is left, neither here nor there.
    assert_eq!(shared.alive(), 1, "instances, futures and bodies");
    let places_of_others = u32::from(place.is_some());
    assert_eq!(place.is_some(), scenario.before == Before::ARetry);
    assert_eq!(places.in_flight(), places_of_others, "places");
    let calls = shared.calls.load(Relaxed) - others;
    let now = Instant::now().into_std();
    let stats = budget.stats(now);
    let spent = stats.granted - stats.refunded - (before.granted - before.refunded);
    assert_eq!(spent, calls.saturating_sub(1) as u64, "retries");
    let refunded = stats.refunded - before.refunded;
    let unsent = decided.load(Relaxed) as u64 - spent;
    assert_eq!(refunded, unsent, "retries given back");
    let slot = budget.slot(&"http://a.test/".parse().expect("a URI"));
    if stop.is_none() {
        let spent = u32::try_from(spent).expect("few");
        let balance = budget.balance(slot, now);
        assert_eq!(balance, Some(f64::from(scenario.budget - spent)), "balance");
    }

    // And nothing comes later.
    time::sleep(60_000 * MS).await;
    assert_eq!(shared.calls.load(Relaxed) - others, calls, "attempts");

    // The service is as good as new.
    shared.script.lock().unwrap().clear();
    let next = send(layer, first, scenario.again).await.await;
    assert!(next.is_ok(), "the next request");
    assert_eq!(shared.alive(), 1, "the next request's answer");
    drop(next);
    assert_eq!(shared.alive(), 0);
    (polls, stop)
}

#[test]
fn a_request_can_be_dropped_at_every_poll_of_every_scenario() {
    let mut cuts = 0;
    for scenario in scenarios() {
        let name = scenario.name;
        let (polls, stop) = clock::paused().block_on(run(&scenario, Cut::NEVER));
        let stop = stop.expect("nobody dropped it");
        assert_eq!(stop.name(), scenario.stop, "{name}");
        for cut in Cut::all(polls) {
            let run = || clock::paused().block_on(run(&scenario, cut));
            match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
                Ok((reached, ended)) => {
                    assert_eq!((reached, ended), (cut.polls, None), "{name}: {cut:?}");
                }
                Err(_) => panic!("{name}: {cut:?}"),
            }
            cuts += 1;
        }
    }
    println!("dropped {cuts} times");
}
