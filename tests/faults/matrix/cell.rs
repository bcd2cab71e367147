//! One cell: a request that meets a fault.

use std::{
    fmt,
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, Version, header};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use tokio::{runtime::Handle, sync::mpsc, time};
use tower::{ServiceBuilder, ServiceExt, limit::GlobalConcurrencyLimitLayer};
use tower_http_retry::{
    BoxError, DrainLimit, RetryError, RetryEvent, RetryLayer,
    body::Rewind,
    policy::{Preset, RetryPolicy},
};

use super::{
    faults::{Fault, Identities, Stalls},
    uploads::{self, Upload, Watch},
};
use test_support::net::{
    client::{self, FaultClient},
    clock::Still,
    fault::{FaultServer, Play, Protocol, in_turn},
    tls,
};

/// The longest that an attempt may take, by a clock that moves only when the server stalls.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// The clock's unit: a timer is not early.
const A_MOMENT: Duration = Duration::from_millis(1);

/// What follows the faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The server is well.
    Well,
    /// The last of them, again and again.
    Again,
}

/// A method, with or without an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    Put,
    Post,
    PostWithKey,
}

impl Verb {
    pub const ALL: [Self; 4] = [Self::Get, Self::Put, Self::Post, Self::PostWithKey];

    pub const fn method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Put => Method::PUT,
            Self::Post | Self::PostWithKey => Method::POST,
        }
    }

    pub fn key(self) -> Option<&'static str> {
        (self == Self::PostWithKey).then_some("\"a-key\"")
    }
}

/// A cell of the matrix.
#[derive(Clone, Debug)]
pub struct Cell {
    /// One after another.
    pub faults: Vec<Arc<Fault>>,
    pub then: Then,
    pub verb: Verb,
    pub upload: Upload,
    pub protocol: Protocol,
    pub preset: Preset,
    /// Whether connections are kept for further attempts.
    pub keeps: bool,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            write!(f, "{}, ", fault.name)?;
        }
        let Self {
            then,
            verb,
            upload,
            protocol,
            preset,
            ..
        } = self;
        write!(
            f,
            "then {then:?}: {verb:?}, {upload:?}, {protocol:?}, {preset:?}"
        )
    }
}

/// What the cells share.
#[derive(Debug)]
pub struct Setting {
    pub identities: Identities,
    pub file: PathBuf,
}

/// What the caller gets.
pub type Outcome = Result<Response<Incoming>, RetryError>;
/// The future of a request.
pub type Sending = Pin<Box<dyn Future<Output = Outcome>>>;

/// What a request meets.
#[derive(Debug)]
pub struct Stage {
    pub server: FaultServer,
    pub watch: Arc<Watch>,
    /// Kept, so that connections can be as well.
    client: Option<FaultClient>,
    /// The attempts that are followed by another, counted from 0, and the waits after them.
    retries: mpsc::UnboundedReceiver<(usize, Duration)>,
    /// Where each attempt stalls.
    cell: Cell,
    _still: Still,
}

impl Cell {
    /// What an attempt, counted from 0, meets.
    pub fn fault(&self, number: usize) -> Option<&Fault> {
        let last = match self.then {
            Then::Well => None,
            Then::Again => self.faults.last(),
        };
        self.faults.get(number).or(last).map(|fault| &**fault)
    }

    fn stalls(&self, number: usize) -> Stalls {
        self.fault(number).map_or(Stalls::Not, |fault| fault.stalls)
    }

    /// Begins to send the request.
    ///
    /// To be done alone in a runtime of one thread whose clock is paused.
    pub async fn begin(
        &self,
        setting: &Setting,
        layer: RetryLayer<RetryPolicy>,
    ) -> (Sending, Stage) {
        let still = Still::new();
        let server = self.server(setting).await;
        let trusted = [&setting.identities.server, &*setting.identities.other_name];
        let keeps = if self.keeps { usize::MAX } else { 0 };
        let client = client::of(&server, self.protocol, tls::trusting_all(trusted), keeps);
        let watch = Watch::new(self.upload, self.faults[0].is_early);
        let (retrying, retries) = mpsc::unbounded_channel();
        let layer = layer.attempt_timeout(ATTEMPT_TIMEOUT).on_event({
            let watch = Arc::clone(&watch);
            move |event| {
                if let RetryEvent::Retry { attempt, .. } = event {
                    let wait = attempt.wait.as_ref().expect("a retry has a wait");
                    watch.retry(wait.charged);
                    // Nobody is there to be told in the end.
                    let _ = retrying.send((attempt.number as usize - 1, wait.planned));
                }
            }
        });
        let stage = Stage {
            server,
            watch,
            client: Some(client.clone()),
            retries,
            cell: self.clone(),
            _still: still,
        };
        (self.send(&stage, client, layer, &setting.file), stage)
    }

    async fn server(&self, setting: &Setting) -> FaultServer {
        let mut plays: Vec<_> = self.faults.iter().map(|fault| fault.play.clone()).collect();
        if self.then == Then::Well {
            plays.push(Play::succeed());
        }
        let is_tls = self.faults.iter().any(|fault| fault.is_tls);
        let identity = is_tls.then_some(&setting.identities.server);
        FaultServer::start(self.protocol, identity, in_turn(plays)).await
    }

    fn send(
        &self,
        stage: &Stage,
        client: FaultClient,
        layer: RetryLayer<RetryPolicy>,
        file: &Path,
    ) -> Sending {
        let head = self.head(&stage.server);
        let watch = &stage.watch;
        match self.upload {
            Upload::None => send(client, layer, head.map(|()| Empty::new()), watch),
            Upload::Full => {
                let content = self.upload.content();
                send(client, layer, head.map(|()| Full::new(content)), watch)
            }
            Upload::Streamed | Upload::Trailers | Upload::OverLimit => {
                let layer = layer.replay_bodies(self.upload.limit());
                let pieces = uploads::pieces(self.upload, watch);
                send(client, layer, head.map(|()| pieces), watch)
            }
            Upload::File => {
                let body = uploads::open(file).expect("the file is there");
                let layer = layer.reopen_bodies({
                    let (file, watch) = (file.to_owned(), Arc::clone(watch));
                    move |_| uploads::reopen(&file, &watch)
                });
                send(client, layer, head.map(|()| body), watch)
            }
        }
    }

    fn head(&self, server: &FaultServer) -> Request<()> {
        let mut request = Request::builder()
            .method(self.verb.method())
            .uri(server.uri("/path"));
        if let Some(key) = self.verb.key() {
            request = request.header("idempotency-key", key);
        }
        if self.protocol == Protocol::Http1 && self.upload.is_chunked() {
            // Without it, hyper sends no content with a GET, and no trailers with anything.
            request = request
                .header(header::TRANSFER_ENCODING, "chunked")
                .header(header::TRAILER, "checksum");
        }
        let version = match self.protocol {
            Protocol::Http1 => Version::HTTP_11,
            Protocol::Http2 => Version::HTTP_2,
        };
        request.version(version).body(()).expect("a request")
    }
}

impl Stage {
    /// Lets time pass where something waits for it, and only there, until `sending` is at its
    /// end.
    pub async fn drive<T>(&mut self, mut sending: impl Future<Output = T> + Unpin) -> T {
        loop {
            tokio::select! {
                biased;
                outcome = &mut sending => return outcome,
                Some((number, wait)) = self.retries.recv() => {
                    let permits = self.watch.permits().available_permits();
                    assert!(permits == 1 || wait.is_zero(), "a wait holds a permit");
                    // What was held back comes while the request waits.
                    self.watch.open_gate();
                    let drains = match self.cell.stalls(number) {
                        Stalls::InTheAnswer => DrainLimit::default().time,
                        Stalls::Not | Stalls::BeforeTheAnswer => Duration::ZERO,
                    };
                    time::advance(wait.max(drains) + A_MOMENT).await;
                }
                number = self.server.stalled() => {
                    if self.cell.stalls(number) == Stalls::BeforeTheAnswer {
                        time::advance(ATTEMPT_TIMEOUT + A_MOMENT).await;
                    }
                }
            }
        }
    }

    /// Waits until nothing goes on any more, to be done when the request's future, and a response
    /// of it, is gone.
    ///
    /// Nothing keeps a connection then: all connections must be closed at one time. An upload that
    /// is still going on can end.
    pub async fn settle(&mut self) {
        self.client = None;
        self.watch.open_gate();
        self.server.closed().await;
    }

    /// Takes everything down, and says how many tasks are left.
    pub async fn end(self) -> usize {
        drop(self);
        let metrics = Handle::current().metrics();
        // Tasks of which nothing is left but to be cleared away need nobody but the runtime.
        for _ in 0..1000 {
            if metrics.num_alive_tasks() == 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        metrics.num_alive_tasks()
    }
}

/// Sends a request through the layer, and watches what goes to the client.
fn send<B, R>(
    client: FaultClient,
    layer: RetryLayer<RetryPolicy, R>,
    request: Request<B>,
    watch: &Arc<Watch>,
) -> Sending
where
    B: 'static,
    R: Rewind<B> + Clone + 'static,
    R::Body: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let permits = GlobalConcurrencyLimitLayer::with_semaphore(watch.permits());
    let watch = Arc::clone(watch);
    let service = ServiceBuilder::new()
        .layer(layer)
        .layer(permits)
        .map_request(move |request: Request<R::Body>| {
            watch.attempt();
            request.map(|body| body.map_err(Into::into).boxed_unsync())
        })
        .service(client);
    Box::pin(service.oneshot(request))
}
