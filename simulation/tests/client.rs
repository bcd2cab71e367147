//! A client: the whole stack, and callers that note what they are told.

use std::{
    io,
    pin::Pin,
    sync::{Arc, atomic::AtomicU32, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, Version, request::Parts};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{
    sync::Semaphore,
    task::spawn_local,
    time::{Instant, sleep, timeout},
};
use tower::{
    Layer, Service, ServiceExt, limit::GlobalConcurrencyLimitLayer, util::BoxCloneService,
};
use tower_http_retry::{
    AttemptInfo, BoxError, DrainLimit, RequestDeadline, RetryError, RetryEvent, RetryLayer,
    body::Rewind,
    budget::InFlightLimit,
    classify::FailureKind,
    connection::ConnectionLayer,
    endpoints::EndpointsLayer,
    hedge::{HedgeInfo, HedgeLayer},
    policy::{Idempotent, InvalidPolicy, Methods, RetryPolicy},
    shared_hints::SharedHints,
};

use crate::{
    body::{Content, SimBody},
    log::{End, Event, Left, Log, Received},
    net::Connector,
    sabotage::Sabotage,
    scenario::{self, ATTEMPT, Key, LENGTH, REQUEST, Reads},
    server,
    world::World,
};

/// How long a caller reads a response's body.
const READING: Duration = Duration::from_secs(3);
/// How long after everything has ended it is watched whether anything is still sent.
const AFTERWARDS: Duration = Duration::from_millis(600);
/// As good as no limit.
const PERMITS: usize = 1000;

type Stack = BoxCloneService<Request<SimBody>, Response<AnyBody>, RetryError>;
type AnyBody = UnsyncBoxBody<Bytes, BoxError>;

/// Sends all requests of the client with this index.
pub(crate) async fn run(world: Arc<World>, index: usize) -> turmoil::Result {
    let plan = &world.scenario.clients[index];
    let policy = plan.policy.policy(world.sabotage)?;
    let in_flight = plan.retries_in_flight.map(InFlightLimit::new).transpose()?;
    let permits = plan.concurrency.unwrap_or(PERMITS);
    let semaphore = Arc::new(Semaphore::new(permits));
    let stack = stack(&world, index, &policy, in_flight.clone(), &semaphore)?;

    let mine = |request: &&scenario::Request| request.client == index;
    let callers: Vec<_> = world
        .scenario
        .requests
        .iter()
        .filter(mine)
        .map(|request| {
            let (world, stack) = (Arc::clone(&world), stack.clone());
            spawn_local(call(world, stack, request.clone()))
        })
        .collect();
    for caller in callers {
        caller.await?;
    }

    if let (Some(Sabotage::WastesBudget), Some(budget)) = (world.sabotage, policy.budget()) {
        let now = Instant::now().into_std();
        let slot = budget.slot(&Uri::from_static("http://server/"));
        let _ = budget.withdraw(slot, FailureKind::Read, false, now);
    }
    let stats = policy
        .budget()
        .map(|budget| budget.stats(Instant::now().into_std()))
        .unwrap_or_default();
    world.log.note(Event::Idle {
        client: index,
        left: Left {
            permits_taken: permits - semaphore.available_permits(),
            retries_in_flight: in_flight.map_or(0, |limit| limit.in_flight()),
            granted: stats.granted,
            refunded: stats.refunded,
            refused: stats.refused,
        },
    });
    // What is still on its way arrives; the client's connections live on.
    let healed = world.scenario.healed();
    let now = turmoil::sim_elapsed().unwrap_or_default();
    sleep(healed.saturating_sub(now) + AFTERWARDS).await;
    drop(stack);
    Ok(())
}

/// One request, from its caller's side.
async fn call(world: Arc<World>, mut stack: Stack, plan: scenario::Request) {
    sleep(plan.at).await;
    let log = &world.log;
    let id = plan.id;
    let request = request(&world, &plan);
    let stack = stack
        .ready()
        .await
        .expect("the inner service is always ready");
    log.note(Event::Begun { request: id });
    let future = stack.call(request);
    let result = match plan.cancel {
        Some(patience) => timeout(patience, future).await.ok(),
        None => Some(future.await),
    };
    let mut end = match &result {
        None => End::Cancelled,
        Some(Ok(response)) => End::Response {
            status: response.status().as_u16(),
            report: response.extensions().get().cloned(),
        },
        Some(Err(error)) => End::Error {
            kind: error.kind(),
            text: error.to_string(),
            report: error.report().clone(),
        },
    };
    match world.sabotage {
        Some(Sabotage::NeverNotices) => std::future::pending().await,
        Some(Sabotage::SendsAfterTheEnd) => {
            let again = stack.clone().oneshot(self::request(&world, &plan));
            spawn_local(async { drop(again.await) });
        }
        Some(sabotage) => tamper(sabotage, &mut end),
        None => {}
    }
    log.note(Event::Ended { request: id, end });
    let Some(Ok(response)) = result else {
        return;
    };
    let length = response.headers().get(LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let length = match plan.method {
        http::Method::HEAD => 0,
        _ => length.unwrap_or(0),
    };
    let expected = Content::new(0, length);
    let receiving = server::receive(response.into_body(), Reads::Everything, &expected);
    let body = timeout(READING, receiving).await;
    let body = body.unwrap_or(Received::Left { bytes: 0 });
    log.note(Event::Read { request: id, body });
}

/// Brings in the defects of reports.
fn tamper(sabotage: Sabotage, end: &mut End) {
    if let (End::Response { report, .. }, Sabotage::HidesReports) = (&mut *end, sabotage) {
        *report = None;
    }
    let (End::Response {
        report: Some(report),
        ..
    }
    | End::Error { report, .. }) = end
    else {
        return;
    };
    match sabotage {
        Sabotage::TellsOfLongerWaits => {
            let waits = report.attempts.iter_mut();
            for wait in waits.filter_map(|attempt| attempt.wait.as_mut()) {
                wait.planned = wait.planned * 3 + Duration::from_millis(500);
            }
        }
        Sabotage::ForgetsAttempts if report.attempts.len() > 1 => {
            report.attempts.remove(0);
        }
        _ => {}
    }
}

fn request(world: &World, plan: &scenario::Request) -> Request<SimBody> {
    let mut request = Request::builder()
        .method(plan.method.clone())
        .uri(format!("http://server/r/{}?token=secret", plan.id))
        .header(REQUEST, plan.id)
        .extension(plan.content.clone())
        .body(plan.content.body())
        .expect("a request");
    if world.scenario.http2 {
        *request.version_mut() = Version::HTTP_2;
    } else if plan.content.trailer().is_some() {
        server::announce(request.headers_mut());
    }
    match plan.key {
        Key::None => {}
        Key::Header => {
            let key = HeaderValue::from_str(&format!("\"own-{}\"", plan.id)).expect("a key");
            request.headers_mut().insert("idempotency-key", key);
        }
        Key::Mark => {
            request.extensions_mut().insert(Idempotent);
        }
    }
    if let Some(deadline) = plan.deadline {
        let deadline = RequestDeadline::after(deadline);
        request.extensions_mut().insert(deadline);
    }
    request
}

fn stack(
    world: &Arc<World>,
    index: usize,
    policy: &RetryPolicy,
    in_flight: Option<InFlightLimit>,
    semaphore: &Arc<Semaphore>,
) -> Result<Stack, InvalidPolicy> {
    let plan = &world.scenario.clients[index];
    let log = world.log.clone();
    let clock = world.client_clocks[index].clone();
    let mut layer = RetryLayer::new(policy.clone())
        .attempt_header(ATTEMPT.try_into().expect("nobody else's"))
        .wall_clock(move || clock.now())
        .on_event(move |event| note(&log, event));
    if let Some(timeout) = plan.attempt_timeout {
        layer = layer.attempt_timeout(timeout);
    }
    match plan.deadline {
        Some(deadline) if world.sabotage != Some(Sabotage::NoDeadline) => {
            layer = layer.deadline(deadline);
        }
        _ => {}
    }
    if plan.gives_keys {
        let next = AtomicU32::new(0);
        let new_key = move || format!("layer-{index}-{}", next.fetch_add(1, Relaxed));
        layer = layer.idempotency_keys_with(new_key);
    }
    if plan.share_hints {
        layer = layer.admission(SharedHints::default());
    }
    if let Some(throttle) = plan.adaptive_throttle()? {
        layer = layer.admission(throttle);
    }
    if let Some(limit) = in_flight {
        layer = layer.max_retries_in_flight(limit);
    }
    if !plan.drains {
        layer = layer.drain(DrainLimit::NONE);
    }

    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_millis(700))
        .pool_max_idle_per_host(if plan.keeps_idle { 8 } else { 0 })
        .retry_canceled_requests(plan.sends_canceled_again)
        .http2_only(world.scenario.http2)
        .http2_keep_alive_interval(plan.ping)
        .http2_keep_alive_timeout(Duration::from_millis(300));
    let http = Http {
        client: builder.build(Connector {
            timeout: plan.connect_timeout,
        }),
        world: Arc::clone(world),
        semaphore: Arc::clone(semaphore),
    };
    let names = match world.sabotage {
        Some(Sabotage::StaysThere) => &NAMES[..1],
        _ => &NAMES[..],
    };
    let endpoints = plan
        .two_names
        .then(|| EndpointsLayer::ordered(NAMES[0], names));
    let places = Places {
        http: GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(semaphore)).layer(http),
        endpoints: endpoints.transpose()?,
        connection: plan.leaves.then(ConnectionLayer::new),
    };
    let hedges = match plan.hedges {
        Some(delay) => {
            let mut policy = policy.clone();
            if world.sabotage == Some(Sabotage::HedgesEverything) {
                let every = policy.to_builder().allowed_methods(Methods::any());
                policy = every.build()?;
            }
            let mut hedges = HedgeLayer::builder(&policy).fixed_delay(delay);
            if plan.two_names {
                hedges = hedges.elsewhere();
            }
            Some(hedges.build()?)
        }
        None => None,
    };
    Ok(match (plan.rewind, hedges) {
        (scenario::Rewind::Clone, None) => boxed(layer, places),
        (scenario::Rewind::Clone, Some(hedges)) => hedged(layer, hedges, places),
        (scenario::Rewind::Replay(limit), None) => boxed(layer.replay_bodies(limit), places),
        (scenario::Rewind::Replay(limit), Some(hedges)) => {
            hedged(layer.replay_bodies(limit), hedges.recorded_bodies(), places)
        }
        (scenario::Rewind::Reopen, None) => boxed(layer.reopen_bodies(reopen), places),
        (scenario::Rewind::Reopen, Some(hedges)) => {
            let hedges = hedges.reopen_bodies(reopen);
            hedged(layer.reopen_bodies(reopen), hedges, places)
        }
    })
}

/// The names of the server. To the client's pool they are two servers.
const NAMES: [&str; 2] = ["http://server/", "http://server:81/"];

fn reopen(head: &Parts) -> Result<SimBody, io::Error> {
    let content = head.extensions.get::<Content>();
    content
        .map(Content::body)
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// What is below the retries: where an attempt goes, and over which connection.
struct Places {
    http: tower::limit::ConcurrencyLimit<Http>,
    endpoints: Option<EndpointsLayer>,
    connection: Option<ConnectionLayer>,
}

type Below<B> = BoxCloneService<Request<B>, Response<AnyBody>, BoxError>;

impl Places {
    fn below<B>(self) -> Below<B>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let below = match self.connection {
            Some(layer) => any(layer.layer(self.http)),
            None => any(self.http),
        };
        match self.endpoints {
            Some(layer) => any(layer.layer(below)),
            None => below,
        }
    }
}

/// A service with any response body and error.
fn any<S, B, D>(service: S) -> Below<B>
where
    S: Service<Request<B>, Response = Response<D>, Error: Into<BoxError>, Future: Send>,
    S: Clone + Send + 'static,
    B: 'static,
    D: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let service = service.map_err(Into::into);
    BoxCloneService::new(service.map_response(|response: Response<D>| {
        response.map(|body| body.map_err(Into::into).boxed_unsync())
    }))
}

fn boxed<R>(layer: RetryLayer<RetryPolicy, R>, places: Places) -> Stack
where
    R: Rewind<SimBody> + Clone + Send + 'static,
    R::Body: Body<Data = Bytes> + Send + 'static,
    <R::Body as Body>::Error: Into<BoxError>,
    R::Saved: Send,
{
    BoxCloneService::new(layer.layer(places.below()))
}

/// The same, with hedges between the retries and what is below.
fn hedged<R, H>(layer: RetryLayer<RetryPolicy, R>, hedges: HedgeLayer<H>, places: Places) -> Stack
where
    R: Rewind<SimBody> + Clone + Send + 'static,
    R::Body: Body<Data = Bytes> + Send + 'static,
    <R::Body as Body>::Error: Into<BoxError>,
    R::Saved: Send,
    H: Rewind<R::Body, Body = R::Body> + Clone + Send + 'static,
    H::Saved: Send,
{
    BoxCloneService::new(layer.layer(hedges.layer(places.below())))
}

/// Notes what the layer tells.
fn note(log: &Log, event: &RetryEvent<'_>) {
    let id = |url: &str| -> u32 {
        let id = url.rsplit('/').next().and_then(|id| id.parse().ok());
        id.expect("a URL that ends with the request's number")
    };
    log.note(match event {
        RetryEvent::Retry { url, attempt, .. } => Event::Retrying {
            request: id(url),
            record: (*attempt).clone(),
        },
        RetryEvent::Recovered(report) | RetryEvent::GaveUp(report) => Event::Told {
            request: id(&report.url),
            report: (*report).clone(),
        },
        _ => return,
    });
}

/// hyper-util's client; notes each attempt, and brings in the defects that are asked for.
#[derive(Clone)]
struct Http {
    client: legacy::Client<Connector, AnyBody>,
    world: Arc<World>,
    semaphore: Arc<Semaphore>,
}

impl<B> Service<Request<B>> for Http
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Incoming>;
    type Error = legacy::Error;
    type Future = legacy::ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), legacy::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let info = request.extensions().get::<AttemptInfo>();
        let attempt = info.map_or(1, |info| info.number);
        let id = request.headers().get(REQUEST);
        let id = id.and_then(|id| id.to_str().ok()?.parse().ok());
        let id = id.expect("every request has a number");
        let log = &self.world.log;
        let is_hedge = request.extensions().get::<HedgeInfo>().is_some();
        let place = request.uri().authority().map(ToString::to_string);
        log.note(if is_hedge {
            let first = self.world.places().get(&id).cloned();
            Event::Hedged {
                request: id,
                attempt,
                elsewhere: first != place,
            }
        } else {
            self.world.places().extend(place.map(|place| (id, place)));
            Event::Called {
                request: id,
                attempt,
            }
        });
        let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        if let Some(sabotage) = self.world.sabotage {
            self.sabotage(sabotage, &mut request, id, attempt);
        }
        self.client.request(request)
    }
}

impl Http {
    fn sabotage(&self, sabotage: Sabotage, request: &mut Request<AnyBody>, id: u32, attempt: u32) {
        let again = attempt > 1;
        match sabotage {
            Sabotage::FreshKeys if again => {
                if let Some(key) = request.headers_mut().get_mut("idempotency-key") {
                    let fresh = format!("\"fresh-{id}-{attempt}\"");
                    *key = HeaderValue::from_str(&fresh).expect("a key");
                }
            }
            Sabotage::ShortReplays if again => {
                let body = std::mem::replace(request.body_mut(), empty());
                *request.body_mut() = AnyBody::new(Short { body, next: None });
            }
            Sabotage::SendsTwice if request.body().is_end_stream() => {
                drop(tokio::spawn(self.client.request(copy(request))));
            }
            Sabotage::LeaksPermits if again => {
                if let Ok(permit) = Arc::clone(&self.semaphore).try_acquire_owned() {
                    permit.forget();
                }
            }
            _ => {}
        }
    }
}

fn empty() -> AnyBody {
    http_body_util::Empty::new()
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// The same request without a body.
fn copy(request: &Request<AnyBody>) -> Request<AnyBody> {
    let mut copy = Request::new(empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// A body without its last frame.
struct Short {
    body: AnyBody,
    next: Option<Frame<Bytes>>,
}

impl Body for Short {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Some(before) = self.next.replace(frame) {
                        return Poll::Ready(Some(Ok(before)));
                    }
                }
                other => return Poll::Ready(other),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() {
            SizeHint::with_exact(0)
        } else {
            SizeHint::default()
        }
    }
}
