//! One cell: a request that meets a fault.

use std::{
    fmt,
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use http::{Method, Request, Response, Version, header, request::Parts};
use http_body_util::{Empty, Full};
use tokio::{runtime::Handle, sync::mpsc, time};
use tower_http_retry::{
    DrainLimit, RetryError, RetryEvent, RetryLayer,
    policy::{Preset, RetryPolicy},
};

use super::{
    faults::{Fault, Identities, Stalls},
    layers::{AnyBody, HEDGE_DELAY, Hedges, Layers, Stack},
    rules::{self, Class, Facts},
    uploads::{self, Upload, Watch},
};
use test_support::net::{
    client::{self, FaultClient},
    clock::Still,
    fault::{FaultServer, Play, Protocol, in_turn},
    tls,
};

/// The longest that an attempt may take, by a clock that moves only when the server stalls.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// What stands around the retries.
    pub layers: Layers,
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
            layers,
            ..
        } = self;
        write!(
            f,
            "then {then:?}: {verb:?}, {upload:?}, {protocol:?}, {preset:?}, {layers}"
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
pub type Outcome = Result<Response<AnyBody>, RetryError>;
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

    /// How long it takes until something happens when this arrival, counted from 0, stalls.
    fn time_of_stall(&self, number: usize) -> Duration {
        match self.is_hedged() {
            true if number % 2 == 0 => HEDGE_DELAY,
            true => ATTEMPT_TIMEOUT - HEDGE_DELAY,
            false => ATTEMPT_TIMEOUT,
        }
    }

    fn stalls(&self, number: usize) -> Stalls {
        self.fault(number)
            .map_or(Stalls::Not, |fault| fault.stalls_to(self.layers))
    }

    /// How an attempt, counted from 1, ends.
    pub fn class(&self, attempt: usize) -> Class {
        // Where each is sent twice, the second arrival counts.
        let arrival = if self.is_hedged() {
            2 * attempt - 1
        } else {
            attempt - 1
        };
        self.fault(arrival)
            .map_or(Class::Success, |fault| fault.class_to(self.layers))
    }

    /// Whether an attempt that is late is sent a second time.
    pub fn is_hedged(&self) -> bool {
        self.facts().hedged
    }

    /// What the rules need to know of the request before it is sent.
    pub fn facts(&self) -> Facts {
        let facts = Facts {
            preset: self.preset,
            layers: self.layers,
            method: self.verb.method(),
            has_key: self.verb.key().is_some(),
            over_limit_in: None,
            hedged: false,
            times: Vec::new(),
            went_to: Vec::new(),
        };
        // What may be repeated, and can be in two places at once.
        let is_whole = self.upload != Upload::OverLimit;
        let hedged = self.layers.hedges == Hedges::Due && is_whole && rules::may_repeat(&facts);
        Facts { hedged, ..facts }
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
        let watch = Watch::new(self.upload, self.faults[0].is_early, self.layers.permits());
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
        let stack = Stack::new(self.layers, &layer, client, watch);
        let limit = self.upload.limit();
        match self.upload {
            Upload::None => stack.cloning(layer, head.map(|()| Empty::new())),
            Upload::Full => {
                let content = self.upload.content();
                stack.cloning(layer, head.map(|()| Full::new(content)))
            }
            Upload::Streamed | Upload::Trailers | Upload::OverLimit => {
                let pieces = uploads::pieces(self.upload, watch);
                stack.recording(layer, limit, head.map(|()| pieces))
            }
            Upload::File => {
                let body = uploads::open(file).expect("the file is there");
                let (file, watch) = (file.to_owned(), Arc::clone(watch));
                let reopen = move |_: &Parts| uploads::reopen(&file, &watch);
                stack.reopening(layer, reopen, head.map(|()| body))
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
                    let free = self.watch.permits().available_permits();
                    let all = self.cell.layers.permits();
                    assert!(free == all || wait.is_zero(), "a wait holds a permit");
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
                        time::advance(self.cell.time_of_stall(number) + A_MOMENT).await;
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
