//! The client: hyper-util's, under the whole of the retry layer.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, Method, Request, Response, request::Parts};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client as Legacy, ResponseFuture};
use tower::{Layer, Service, ServiceExt, util::BoxCloneSyncService};
use tower_http_retry::{
    BoxError, RetryError, RetryLayer,
    body::{CloneBody, Reopen, Rewind},
    budget::{InFlightLimit, RetryBudget},
    connection::ConnectionLayer,
    endpoints::EndpointsLayer,
    hedge::HedgeLayer,
    policy::{Backoff, InvalidPolicy, Jitter, Preset, RetryPolicy},
    redirect::RedirectLayer,
};

use crate::{
    cli::Sabotage,
    dice::Dice,
    network::Way,
    order::{Order, REPLAY_LIMIT, Upload},
};
use test_support::net::{
    client::{self, Body},
    fault::Protocol,
};

/// Says how many attempts there were before.
pub(crate) const ATTEMPTS_BEFORE: HeaderName = HeaderName::from_static("attempts-before");

/// Says that an attempt is the second one.
pub(crate) const HEDGE: HeaderName = HeaderName::from_static("hedge");

/// After what time an attempt is sent a second time.
const LATE: Duration = Duration::from_millis(60);

/// The longest that an attempt may take: longer than any that the server answers, even where much
/// else goes on.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(500);

/// The longest that a request may take until the head of its response.
const DEADLINE: Duration = Duration::from_secs(3);

/// How long a connection is kept that nobody uses: at the end of each step all are closed.
const IDLE: Duration = Duration::from_millis(200);

const TOTAL: u32 = 4;
const UNPROCESSED: u32 = 2;

/// The most attempts that a request may make.
pub(crate) const MOST_ATTEMPTS: usize = 1 + (TOTAL + UNPROCESSED) as usize;

pub(crate) type AnyBody = UnsyncBoxBody<Bytes, BoxError>;
type Boxed<B> = BoxCloneSyncService<Request<B>, Response<AnyBody>, RetryError>;
type Below<B> = BoxCloneSyncService<Request<B>, Response<AnyBody>, BoxError>;

/// The services of one policy, by how bodies are sent again.
#[derive(Clone)]
struct Stack {
    cloning: Boxed<Full<Bytes>>,
    replaying: Boxed<Body>,
    reopening: Boxed<Body>,
}

type MakesBody = fn(&Parts) -> Result<Body, BoxError>;

/// The same body once more.
fn made_again(head: &Parts) -> Result<Body, BoxError> {
    let order = head.extensions.get::<Order>();
    Ok(order.ok_or("not a request of this run")?.pieces())
}

/// A service with any response body and error.
fn any<S, B, D>(service: S) -> Below<B>
where
    S: Service<Request<B>, Response = Response<D>, Error: Into<BoxError>, Future: Send>,
    S: Clone + Send + Sync + 'static,
    B: 'static,
    D: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let service = service.map_err(Into::into);
    BoxCloneSyncService::new(service.map_response(|response: Response<D>| {
        response.map(|body| body.map_err(Into::into).boxed_unsync())
    }))
}

/// What is below the retries: hedges, the server's two names, and connections that are left; or the
/// client alone.
fn below<B, H>(wire: &Wire, name: &str, layers: Option<HedgeLayer<H>>) -> Below<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    H: Rewind<B, Body = B, Saved: Send> + Clone + Send + Sync + 'static,
{
    let Some(hedges) = layers else {
        return any(wire.clone());
    };
    let names = [format!("http://{name}/"), format!("http://other.{name}/")];
    let endpoints = EndpointsLayer::ordered(&names[0], &names).expect("valid");
    let wire = any(ConnectionLayer::new().layer(wire.clone()));
    any(hedges.layer(endpoints.layer(wire)))
}

impl Stack {
    fn new(
        layer: &RetryLayer<RetryPolicy>,
        wire: &Wire,
        name: &str,
        layered: bool,
    ) -> Result<Self, InvalidPolicy> {
        let hedges = HedgeLayer::builder(layer.policy())
            .fixed_delay(LATE)
            .elsewhere();
        let hedges = hedges.header(HEDGE.try_into()?).build()?;
        let hedges = layered.then_some(hedges);
        let cloning = layer.layer(below::<_, CloneBody>(wire, name, hedges.clone()));
        let cloning = if layered {
            let redirects = RedirectLayer::new(layer.policy());
            BoxCloneSyncService::new(redirects.layer(cloning))
        } else {
            BoxCloneSyncService::new(cloning)
        };
        let recorded = hedges.clone().map(HedgeLayer::recorded_bodies);
        let replaying = layer.clone().replay_bodies(REPLAY_LIMIT);
        let replaying = replaying.layer(below(wire, name, recorded));
        let reopened = hedges.map(|hedges| hedges.reopen_bodies(made_again as MakesBody));
        let reopening = layer.clone().rewind(Reopen::new(made_again as MakesBody));
        let reopening = reopening.layer(below(wire, name, reopened));
        Ok(Self {
            cloning,
            replaying: BoxCloneSyncService::new(replaying),
            reopening: BoxCloneSyncService::new(reopening),
        })
    }
}

/// A request on its way.
type Sending = Pin<Box<dyn Future<Output = Result<Response<AnyBody>, RetryError>> + Send>>;

/// All that the requests share.
#[derive(Clone)]
pub(crate) struct Client {
    /// By protocol, then by preset, and then by whether the other layers are in it.
    stacks: Vec<[[Stack; 2]; 2]>,
    /// What the requests share of the layer.
    pub(crate) budget: RetryBudget,
    pub(crate) in_flight: InFlightLimit,
}

impl Client {
    /// A client that reaches the servers on these ways: over HTTP/1.1, and over HTTP/2.
    pub(crate) fn new(
        ways: [Way; 2],
        dice: Dice,
        concurrency: u16,
        sabotage: Option<Sabotage>,
    ) -> Result<Self, InvalidPolicy> {
        // Enough for most faults, and not for all that meet.
        let budget = RetryBudget::builder()
            .ratio(0.3)
            .min_per_second(100)
            .capacity(200)
            .build()?;
        let in_flight = InFlightLimit::new(u32::from(concurrency).div_ceil(3))?;
        let backoff = Backoff::exponential(Duration::from_millis(1))
            .max(Duration::from_millis(10))
            .jitter(Jitter::Full);
        let policies = [
            RetryPolicy::builder()
                .retry_after_max(Duration::from_secs(1))
                .unprocessed(UNPROCESSED),
            RetryPolicy::urllib3_builder()
                .status_forcelist([429, 502, 503])
                .retry_after_max(Duration::from_millis(5)),
        ];
        let mut layers = Vec::new();
        for policy in policies {
            let policy = policy
                .total(i64::from(TOTAL))
                .backoff(backoff.clone())
                .budget(budget.clone())
                .build()?;
            let layer = RetryLayer::new(policy)
                .attempt_timeout(ATTEMPT_TIMEOUT)
                .deadline(DEADLINE)
                .attempt_header(ATTEMPTS_BEFORE.try_into()?)
                .max_retries_in_flight(in_flight.clone());
            layers.push(layer);
        }
        let mut stacks = Vec::new();
        for (protocol, way) in [Protocol::Http1, Protocol::Http2].into_iter().zip(ways) {
            let client = client::builder()
                .http2_only(protocol == Protocol::Http2)
                .pool_idle_timeout(IDLE)
                .build(way);
            let wire = Wire {
                client,
                sabotage,
                dice,
                sent: Arc::default(),
            };
            let name = Order::authority(protocol);
            let [a, b] = &layers[..] else {
                unreachable!("two presets")
            };
            let stack = |layer, layered| Stack::new(layer, &wire, name, layered);
            stacks.push([
                [stack(a, false)?, stack(a, true)?],
                [stack(b, false)?, stack(b, true)?],
            ]);
        }
        Ok(Self {
            stacks,
            budget,
            in_flight,
        })
    }

    /// Sends a request.
    pub(crate) fn send(&self, order: &Order, head: Request<()>) -> Sending {
        let by_preset = &self.stacks[usize::from(order.protocol == Protocol::Http2)];
        let by_layers = &by_preset[usize::from(order.preset == Preset::Urllib3)];
        let stack = &by_layers[usize::from(order.layered)];
        match order.upload {
            Upload::None | Upload::Full => {
                let service = stack.cloning.clone();
                Box::pin(service.oneshot(head.map(|()| order.full())))
            }
            Upload::Streamed | Upload::Trailers | Upload::OverLimit => {
                let service = stack.replaying.clone();
                Box::pin(service.oneshot(head.map(|()| order.pieces())))
            }
            Upload::Reopened => {
                let service = stack.reopening.clone();
                Box::pin(service.oneshot(head.map(|()| order.pieces())))
            }
        }
    }
}

/// hyper-util's client, for a body of any type.
#[derive(Clone, Debug)]
struct Wire {
    client: Legacy<Way, Body>,
    sabotage: Option<Sabotage>,
    dice: Dice,
    sent: Arc<AtomicU64>,
}

impl Wire {
    /// What is done to an attempt that is to be spoiled.
    fn spoiled(&self, request: Request<Body>) -> Request<Body> {
        if !self.dice.of(self.sent.fetch_add(1, Relaxed)).chance(0.05) {
            return request;
        }
        match self.sabotage {
            Some(Sabotage::Corrupt) => request.map(|body| {
                let changed = |data: Bytes| data.iter().map(|byte| byte ^ 1).collect::<Bytes>();
                body.map_frame(move |frame| frame.map_data(changed))
                    .boxed_unsync()
            }),
            Some(Sabotage::Double) if request.method() == Method::POST => {
                if request.body().is_end_stream() {
                    let empty = Empty::new().map_err(Into::into).boxed_unsync();
                    let mut again = Request::new(empty);
                    again.method_mut().clone_from(request.method());
                    again.uri_mut().clone_from(request.uri());
                    again.headers_mut().clone_from(request.headers());
                    tokio::spawn(self.client.request(again));
                }
                request
            }
            _ => request,
        }
    }
}

impl<B> Service<Request<B>> for Wire
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Incoming>;
    type Error = hyper_util::client::legacy::Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        let request = match self.sabotage {
            None => request,
            Some(_) => self.spoiled(request),
        };
        self.client.request(request)
    }
}

/// Keeps something of each request, for good.
pub(crate) fn leak() {
    static LEAKED: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

    let mut leaked = LEAKED.lock().unwrap_or_else(PoisonError::into_inner);
    leaked.push(vec![1; 1024]);
}
