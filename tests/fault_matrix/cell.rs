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
use http_body::Body as _;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use tokio::{runtime::Handle, sync::mpsc, time};
use tower::{ServiceBuilder, ServiceExt};
use tower_http_retry::{
    AttemptOutcome, BoxError, DrainLimit, RetryError, RetryEvent, RetryLayer, RetryReport,
    body::Rewind,
    classify::{Cause, FailureKind},
    policy::{Preset, RetryPolicy, StopReason, WaitReason},
};

use crate::{
    faults::{Arrives, Content, Fault, Identities, Stalls},
    rules::{self, Class, Expected, Facts, Stop},
    support::{
        client::{self, FaultClient},
        clock::Still,
        fault::{Answer, Attempt, FaultServer, Play, Protocol, in_turn},
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

    const fn method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Put => Method::PUT,
            Self::Post | Self::PostWithKey => Method::POST,
        }
    }

    fn key(self) -> Option<&'static str> {
        (self == Self::PostWithKey).then_some("\"a-key\"")
    }
}

/// A cell of the matrix.
#[derive(Clone, Debug)]
pub struct Cell {
    pub fault: Fault,
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
        let name = fault.name;
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

/// What is found to be wrong.
#[derive(Debug, Default)]
struct Findings(Vec<String>);

impl Findings {
    fn expect(&mut self, holds: bool, finding: impl FnOnce() -> String) {
        if !holds {
            self.0.push(finding());
        }
    }

    fn equal<T: PartialEq + fmt::Debug>(&mut self, what: &str, found: &T, expected: &T) {
        self.expect(found == expected, || {
            format!("{what}: {found:?}, expected {expected:?}")
        });
    }
}

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
                    let wait = attempt.wait.expect("a retry has a wait");
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
            over_limit_in: watch
                .over_limit_in()
                .filter(|_| self.upload == Upload::OverLimit),
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

    /// The caller gets the last answer as it is.
    async fn check_answer(
        &self,
        response: Response<Incoming>,
        report: Option<&RetryReport>,
        findings: &mut Findings,
    ) {
        let is_well = self.times == Times::Once && report.is_some_and(|r| r.attempts.len() > 1);
        let content = if is_well {
            Content::Whole
        } else {
            self.fault.content
        };
        match content {
            Content::Whole => match response.into_body().collect().await {
                Ok(body) => {
                    findings.equal("content", &&*body.to_bytes(), &Answer::BODY);
                }
                Err(error) => findings.0.push(format!("content: {error}")),
            },
            Content::Broken => {
                let body = response.into_body().collect().await;
                findings.expect(body.is_err(), || "the content is whole".to_owned());
            }
            Content::Endless => {
                let ended = response.into_body().is_end_stream();
                findings.expect(!ended, || "the content has an end".to_owned());
            }
        }
    }

    /// How each attempt ended: by the fault's rules, and where it is a race, by what the client
    /// says of it.
    fn classes(&self, report: Option<&RetryReport>, findings: &mut Findings) -> Vec<Class> {
        let Some(report) = report else {
            return vec![Class::Success];
        };
        let mut classes = Vec::new();
        for (index, attempt) in report.attempts.iter().enumerate() {
            let is_well = self.times == Times::Once && index > 0;
            let class = match &attempt.outcome {
                AttemptOutcome::Response(status) if status.is_success() => Class::Success,
                AttemptOutcome::Response(status) => {
                    let asked = match self.fault.class {
                        Class::Status(_, asked) => asked,
                        _ => None,
                    };
                    Class::Status(status.as_u16(), asked)
                }
                AttemptOutcome::Failed { kind, cause, .. } => match (kind, cause) {
                    (_, Cause::Canceled | Cause::RefusedStream | Cause::GoAway) => {
                        Class::Unprocessed
                    }
                    (FailureKind::Connect, _) => Class::Connect,
                    (FailureKind::Read, Cause::AttemptTimeout) => Class::TimedOut,
                    (FailureKind::Read, _) => Class::Read,
                    _ => Class::Untrusted(*cause),
                },
                outcome => panic!("an attempt ended in a new way: {outcome}"),
            };
            let is_right = if is_well {
                class == Class::Success
            } else {
                class == self.fault.class || self.fault.or.contains(&class)
            };
            findings.expect(is_right, || {
                format!("attempt {}: {}", index + 1, attempt.outcome)
            });
            classes.push(class);
        }
        classes
    }

    fn check_report(
        &self,
        report: Option<&RetryReport>,
        expected: &Expected,
        watch: &Watch,
        findings: &mut Findings,
    ) {
        findings.equal("attempts", &watch.attempts(), &expected.attempts);
        let Some(report) = report else {
            // Nothing is reported of a first attempt that succeeds.
            let succeeded = Stop::Because(StopReason::Succeeded);
            findings.equal("stop", &succeeded, &expected.stop);
            return;
        };
        findings.equal(
            "reported attempts",
            &report.attempts.len(),
            &expected.attempts,
        );
        let stop = match report.stop {
            StopReason::BodyNotReplayable { sent, limit } => {
                findings.equal("limit", &limit, &self.upload.limit());
                findings.expect(limit < sent && sent <= watch.read(), || {
                    format!("{sent} bytes read, of {limit}, were {}", watch.read())
                });
                Stop::BodyNotReplayable
            }
            ref reason => Stop::Because(reason.clone()),
        };
        findings.equal("stop", &stop, &expected.stop);
        findings.equal("effects", &report.effects(), &expected.effects);
        let waits: Vec<_> = report.attempts.iter().filter_map(|a| a.wait).collect();
        findings.equal("waits", &waits.len(), &expected.waits.len());
        for (wait, expected) in waits.iter().zip(&expected.waits) {
            let is_right = wait.charged == expected.charged
                && expected.time.contains(&wait.planned)
                // A jitter can be nothing.
                && (wait.why == expected.why
                    || wait.planned.is_zero() && wait.why == WaitReason::Immediate);
            findings.expect(is_right, || {
                format!("wait: {wait:?}, expected {expected:?}")
            });
        }
    }

    fn check_log(
        &self,
        log: &[Attempt],
        facts: &Facts,
        expected: &Expected,
        watch: &Watch,
        findings: &mut Findings,
    ) {
        findings.equal("attempts that arrived", &log.len(), &expected.attempts);
        let content = self.upload.content();
        for (index, attempt) in log.iter().enumerate() {
            let is_well = self.times == Times::Once && index > 0;
            let (arrives, applies) = if is_well {
                (Arrives::Whole, true)
            } else {
                (self.fault.arrives, self.fault.applies)
            };
            let number = index + 1;
            findings.equal(&format!("applied {number}"), &attempt.applied, &applies);
            match arrives {
                Arrives::Nothing => {
                    let nothing = attempt.method.is_none() && attempt.received == 0;
                    findings.expect(nothing, || format!("something arrived of {number}"));
                    continue;
                }
                Arrives::AtLeast(bytes) => {
                    let least = bytes.min(content.len() as u64);
                    findings.expect(attempt.received >= least, || {
                        format!("{} bytes arrived of {number}", attempt.received)
                    });
                }
                Arrives::Whole => {
                    findings.expect(attempt.whole, || format!("{number} is not whole"));
                }
            }
            findings.equal("method", &attempt.method, &Some(self.verb.method()));
            let key = self.verb.key().map(str::to_owned);
            findings.equal("key", &attempt.key, &key);
            // What arrives is the same on every attempt, to its last byte.
            let length = usize::try_from(attempt.received).expect("small");
            match content.get(..length) {
                Some(sent) => {
                    let digest = Attempt::digest_of(sent);
                    findings.equal("digest", &attempt.digest, &digest);
                }
                None => findings
                    .0
                    .push(format!("{length} bytes arrived of {number}")),
            }
            if attempt.whole {
                findings.equal("length", &length, &content.len());
                findings.equal("trailers", &attempt.trailers, &self.upload.trailers());
            }
            if self.upload == Upload::OverLimit && attempt.received > self.upload.limit() {
                let known = facts.over_limit_in.is_some_and(|n| n <= number);
                findings.expect(known, || format!("{number} was read by nobody"));
            }
        }
        let applied = log.iter().filter(|attempt| attempt.applied).count();
        let applied = u32::try_from(applied).expect("few");
        findings.expect(expected.effects.contains(&applied), || {
            format!("applied {applied} times, known {:?}", expected.effects)
        });
        findings.expect(applied <= 1 || rules::may_repeat(facts), || {
            format!("applied {applied} times")
        });
        if self.upload == Upload::File {
            findings.equal("opened", &(watch.opened() + 1), &expected.attempts);
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
