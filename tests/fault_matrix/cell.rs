//! One cell: a request that meets a fault, and all that must be true afterwards.

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
use tower::{ServiceBuilder, ServiceExt};
use tower_http_retry::{
    BoxError, DrainLimit, RetryError, RetryEvent, RetryLayer, RetryReport,
    body::Rewind,
    policy::{Preset, RetryPolicy},
};

use crate::{
    checks::Findings,
    faults::{Fault, Identities, Stalls},
    rules::{self, Facts},
    support::{
        client::{self, FaultClient},
        clock::Still,
        fault::{FaultServer, Play, Protocol, in_turn},
        tls,
    },
    uploads::{self, Upload, Watch},
};

/// The longest that an attempt may take, by a clock that moves only when the server stalls.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the fault happens before the server is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    Once,
    Always,
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
    pub fault: Arc<Fault>,
    pub times: Times,
    pub verb: Verb,
    pub upload: Upload,
    pub protocol: Protocol,
    pub preset: Preset,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            fault,
            times,
            verb,
            upload,
            protocol,
            preset,
        } = self;
        let name = &fault.name;
        write!(
            f,
            "{name} ({times:?}), {verb:?}, {upload:?}, {protocol:?}, {preset:?}"
        )
    }
}

/// What the cells share.
#[derive(Debug)]
pub struct Setting {
    pub identities: Identities,
    pub file: PathBuf,
}

type Outcome = Result<Response<Incoming>, RetryError>;
type Sending = Pin<Box<dyn Future<Output = Outcome>>>;

impl Cell {
    /// Sends the request and returns what is wrong with what came of it.
    ///
    /// To be run alone in a runtime of one thread whose clock is paused.
    pub async fn run(&self, setting: &Setting) -> Vec<String> {
        let still = Still::new();
        let mut findings = Findings::default();
        let server = self.server(setting).await;
        let watch = Watch::new(self.upload, self.fault.is_early);
        let policy = match self.preset {
            Preset::Urllib3 => RetryPolicy::urllib3(),
            _ => RetryPolicy::default(),
        };
        let (retrying, retries) = mpsc::unbounded_channel();
        let layer = RetryLayer::new(policy.clone())
            .attempt_timeout(ATTEMPT_TIMEOUT)
            .on_event(move |event| {
                if let RetryEvent::Retry { attempt, .. } = event {
                    let wait = attempt.wait.as_ref().expect("a retry has a wait");
                    // Nobody is there to be told in the end.
                    let _ = retrying.send(wait.planned);
                }
            });
        let client = client::of(
            &server,
            self.protocol,
            tls::trusting_all([&setting.identities.server, &*setting.identities.other_name]),
        );
        let sending = self.send(&server, client, layer, &watch, &setting.file);
        let outcome = self.drive(sending, &server, retries, &watch).await;

        let (report, result) = match outcome {
            Ok(response) => {
                let status = response.status().as_u16();
                let report = response.extensions().get::<RetryReport>().cloned();
                self.check_answer(response, report.as_ref(), &mut findings)
                    .await;
                (report, Ok(status))
            }
            Err(error) => (Some(error.report().clone()), Err(error.kind())),
        };
        // The client, all of its services and the response are gone: nothing keeps a connection,
        // and an upload that was still going on can end.
        watch.open_gate();
        server.closed().await;

        let classes = self.classes(report.as_ref(), &mut findings);
        let facts = Facts {
            preset: self.preset,
            method: self.verb.method(),
            has_key: self.verb.key().is_some(),
            over_limit_in: watch.over_limit_in(),
        };
        let expected = rules::expect(&facts, |attempt| {
            classes
                .get(attempt - 1)
                .copied()
                .unwrap_or(self.fault.class)
        });
        findings.equal("result", &result, &expected.result);
        self.check_report(report.as_ref(), &expected, &watch, &mut findings);
        self.check_log(&server.log(), &facts, &expected, &watch, &mut findings);
        let now = time::Instant::now().into_std();
        if let Some(budget) = policy.budget() {
            let charged = expected.waits.iter().filter(|wait| wait.charged.is_some());
            let stats = budget.stats(now);
            findings.equal("granted", &stats.granted, &(charged.count() as u64));
            findings.equal("refunded", &stats.refunded, &0);
        }

        drop((server, still));
        if let Err(tasks) = no_task_is_left().await {
            findings.0.push(format!("{tasks} tasks are left"));
        }
        findings.0
    }

    async fn server(&self, setting: &Setting) -> FaultServer {
        let plays = match self.times {
            Times::Once => vec![self.fault.play.clone(), Play::succeed()],
            Times::Always => vec![self.fault.play.clone()],
        };
        let identity = self.fault.is_tls.then_some(&setting.identities.server);
        FaultServer::start(self.protocol, identity, in_turn(plays)).await
    }

    fn send(
        &self,
        server: &FaultServer,
        client: FaultClient,
        layer: RetryLayer<RetryPolicy>,
        watch: &Arc<Watch>,
        file: &Path,
    ) -> Sending {
        let head = self.head(server);
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

    /// Lets time pass where something waits for it, and only there.
    async fn drive(
        &self,
        mut sending: Sending,
        server: &FaultServer,
        mut retries: mpsc::UnboundedReceiver<Duration>,
        watch: &Watch,
    ) -> Outcome {
        let a_moment = Duration::from_millis(1);
        loop {
            tokio::select! {
                biased;
                outcome = &mut sending => return outcome,
                Some(wait) = retries.recv() => {
                    watch.open_gate();
                    let drains = match self.fault.stalls {
                        Stalls::InTheAnswer => DrainLimit::default().time,
                        Stalls::Not | Stalls::BeforeTheAnswer => Duration::ZERO,
                    };
                    time::advance(wait.max(drains) + a_moment).await;
                }
                () = server.stalled() => {
                    if self.fault.stalls == Stalls::BeforeTheAnswer {
                        time::advance(ATTEMPT_TIMEOUT + a_moment).await;
                    }
                }
            }
        }
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
    let watch = Arc::clone(watch);
    let service = ServiceBuilder::new()
        .layer(layer)
        .map_request(move |request: Request<R::Body>| {
            watch.attempt();
            request.map(|body| body.map_err(Into::into).boxed_unsync())
        })
        .service(client);
    Box::pin(service.oneshot(request))
}

/// Waits until no task is left in this runtime, or says how many do not end.
///
/// Tasks of which nothing is left but to be cleared away need nobody but the runtime.
async fn no_task_is_left() -> Result<(), usize> {
    let metrics = Handle::current().metrics();
    for _ in 0..1000 {
        if metrics.num_alive_tasks() == 0 {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
    Err(metrics.num_alive_tasks())
}
