//! What the layer's tests are made of: bodies that tell what was done to them, a service that
//! panics when the contract of `Service` is broken, and a policy that keeps books.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio::time::{Instant, Sleep, sleep};
use tokio_test::{assert_ready, assert_ready_ok, task};
use tower::Service;
use tower_http_retry::{
    BoxError, NeverSent, RetryReport,
    budget::RetryPermit,
    policy::{
        Attempt, Backoff, Decision, Policy, RequestHead, RetryDecision, RetryPolicy, Session,
        StopDecision, StopReason,
    },
};
use tower_test::mock::{self, Handle, SendResponse};

pub type Req = Request<Full<Bytes>>;
pub type Res = Response<Tracked>;

pub const MS: Duration = Duration::from_millis(1);

/// The default policy with the same wait before every retry, and no jitter.
pub fn every(wait: Duration) -> RetryPolicy {
    RetryPolicy::builder()
        .backoff(Backoff::constant(wait))
        .retry_after_jitter(0.0)
        // What a budget refuses has tests of its own.
        .budget(None)
        .build()
        .expect("a valid policy")
}

pub fn get() -> Req {
    request("GET")
}

pub fn request(method: &str) -> Req {
    Request::builder()
        .method(method)
        .uri("http://a.test/x")
        .body(Full::new(Bytes::from_static(b"ping")))
        .expect("a valid request")
}

/// A response with an empty body.
pub fn answer(status: u16) -> Res {
    with_body(status, Tracked::empty())
}

pub fn with_body(status: u16, body: Tracked) -> Res {
    Response::builder()
        .status(status)
        .body(body)
        .expect("a valid response")
}

pub fn reset() -> BoxError {
    io::Error::from(io::ErrorKind::ConnectionReset).into()
}

pub fn refused() -> BoxError {
    NeverSent::new(io::Error::from(io::ErrorKind::ConnectionRefused)).into()
}

pub fn report(response: &Res) -> &RetryReport {
    response
        .extensions()
        .get::<RetryReport>()
        .expect("the response has a report")
}

/// The request that the mock was just sent.
#[track_caller]
pub fn sent<T, U>(handle: &mut Handle<T, U>) -> (T, SendResponse<U>) {
    assert_ready!(handle.poll_request(), "nothing was sent").expect("the service is alive")
}

/// Asserts that the mock was sent nothing (more).
#[track_caller]
pub fn assert_nothing_sent<T, U>(handle: &mut Handle<T, U>) {
    assert!(
        handle.poll_request().is_pending(),
        "another was sent, or the service is gone"
    );
}

/// Asserts that the mock was sent nothing (more), and never will be.
#[track_caller]
pub fn assert_hung_up<T, U>(handle: &mut Handle<T, U>) {
    if assert_ready!(handle.poll_request(), "the service is still held").is_some() {
        panic!("another request was sent");
    }
}

/// One thing that a [`Tracked`] body does when it is read.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Data(&'static [u8]),
    Trailers,
    /// Takes this long.
    Pause(Duration),
    /// Never says anything again.
    Hang,
    Fail,
}

/// What was done to a [`Tracked`] body.
#[derive(Debug, Default)]
pub struct Watch {
    frames: AtomicU32,
    polls: AtomicU32,
    bytes: AtomicU64,
    ended: AtomicBool,
    dropped: AtomicBool,
}

impl Watch {
    /// How often it was polled.
    pub fn polls(&self) -> u32 {
        self.polls.load(Relaxed)
    }

    /// Frames read.
    pub fn frames(&self) -> u32 {
        self.frames.load(Relaxed)
    }

    /// Bytes of data read.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Whether it was read to its end.
    pub fn ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    pub fn dropped(&self) -> bool {
        self.dropped.load(Relaxed)
    }
}

/// A response body that tells what was done to it.
#[derive(Debug)]
pub struct Tracked {
    steps: VecDeque<Step>,
    forever: Option<Step>,
    declared: Option<u64>,
    pause: Option<Pin<Box<Sleep>>>,
    watch: Arc<Watch>,
}

impl Tracked {
    pub fn empty() -> Self {
        Self::new([])
    }

    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            forever: None,
            declared: None,
            pause: None,
            watch: Arc::default(),
        }
    }

    /// Does the same thing again and again.
    pub fn forever(step: Step) -> Self {
        let mut body = Self::empty();
        body.forever = Some(step);
        body
    }

    /// Says in its size hint that it has this many bytes.
    pub fn declare(mut self, bytes: u64) -> Self {
        self.declared = Some(bytes);
        self
    }

    pub fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch)
    }
}

impl Body for Tracked {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.watch.polls.fetch_add(1, Relaxed);
        let frame = loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let forever = self.forever;
            match self.steps.pop_front().or(forever) {
                None => {
                    self.watch.ended.store(true, Relaxed);
                    return Poll::Ready(None);
                }
                Some(Step::Pause(time)) => self.pause = Some(Box::pin(sleep(time))),
                Some(Step::Hang) => {
                    self.forever = Some(Step::Hang);
                    return Poll::Pending;
                }
                Some(Step::Fail) => return Poll::Ready(Some(Err(io::Error::other("cut off")))),
                Some(Step::Data(data)) => break Frame::data(Bytes::from_static(data)),
                Some(Step::Trailers) => {
                    let mut trailers = HeaderMap::new();
                    trailers.insert("x-sum", HeaderValue::from_static("1"));
                    break Frame::trailers(trailers);
                }
            }
        };
        self.watch.frames.fetch_add(1, Relaxed);
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        self.watch.bytes.fetch_add(bytes, Relaxed);
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && self.forever.is_none() && self.pause.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.declared
            .map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.watch.dropped.store(true, Relaxed);
    }
}

/// How one attempt ends at a [`Probe`].
#[derive(Debug)]
pub enum Ending {
    Status(u16),
    Error(BoxError),
}

impl From<u16> for Ending {
    fn from(status: u16) -> Self {
        Self::Status(status)
    }
}

impl From<BoxError> for Ending {
    fn from(error: BoxError) -> Self {
        Self::Error(error)
    }
}

/// A service that plays a script and panics when its caller breaks the contract:
///
/// - `call` without an own `poll_ready` before it; a clone starts unready,
/// - `poll_ready` or `call` while the caller is supposed to wait,
/// - a permit, or the future of the failed attempt, kept beyond the begin of the wait.
///
/// For one request at a time.
#[derive(Debug)]
pub struct Probe {
    shared: Arc<Mutex<Shared>>,
    instance: usize,
    permit: Option<Permit>,
}

#[derive(Debug)]
struct Shared {
    script: VecDeque<Ending>,
    /// How long the caller rests after each failed attempt.
    rest: Duration,
    resting_until: Option<Instant>,
    instances: usize,
    permits: usize,
    calls: Vec<(usize, Instant)>,
    readied: Vec<usize>,
}

#[derive(Debug)]
struct Permit {
    shared: Arc<Mutex<Shared>>,
    /// When the attempt that it was for failed.
    failed_at: Option<Instant>,
}

impl Permit {
    fn take(shared: &Arc<Mutex<Shared>>) -> Self {
        shared.lock().expect("no panic").permits += 1;
        Self {
            shared: Arc::clone(shared),
            failed_at: None,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.shared.lock().expect("no panic").permits -= 1;
        assert!(
            self.failed_at.is_none_or(|failed| failed == Instant::now()),
            "a permit was kept during the wait"
        );
    }
}

impl Probe {
    /// Plays `script`; its caller rests for `rest` after each attempt but the last.
    pub fn new(rest: Duration, script: impl IntoIterator<Item = Ending>) -> Self {
        Self {
            shared: Arc::new(Mutex::new(Shared {
                script: script.into_iter().collect(),
                rest,
                resting_until: None,
                instances: 1,
                permits: 0,
                calls: Vec::new(),
                readied: Vec::new(),
            })),
            instance: 0,
            permit: None,
        }
    }

    /// Another handle to the same script, which is no instance that may be called.
    pub fn observer(&self) -> Observer {
        Observer(Arc::clone(&self.shared))
    }
}

/// Looks at a [`Probe`] from outside.
#[derive(Debug)]
pub struct Observer(Arc<Mutex<Shared>>);

impl Observer {
    /// Which instance was called, and when, for every attempt.
    pub fn calls(&self) -> Vec<(usize, Instant)> {
        self.0.lock().expect("no panic").calls.clone()
    }

    /// Which instances gave out a permit, in order.
    pub fn readied(&self) -> Vec<usize> {
        self.0.lock().expect("no panic").readied.clone()
    }

    /// Permits that are out.
    pub fn permits(&self) -> usize {
        self.0.lock().expect("no panic").permits
    }
}

impl Clone for Probe {
    fn clone(&self) -> Self {
        let mut shared = self.shared.lock().expect("no panic");
        let instance = shared.instances;
        shared.instances += 1;
        Self {
            shared: Arc::clone(&self.shared),
            instance,
            permit: None,
        }
    }
}

impl Service<Req> for Probe {
    type Response = Res;
    type Error = BoxError;
    type Future = ProbeFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let resting_until = self.shared.lock().expect("no panic").resting_until;
        assert!(
            resting_until.is_none_or(|until| Instant::now() >= until),
            "polled ready during the wait"
        );
        if self.permit.is_none() {
            self.permit = Some(Permit::take(&self.shared));
            let mut shared = self.shared.lock().expect("no panic");
            shared.readied.push(self.instance);
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Req) -> ProbeFuture {
        let permit = self.permit.take().expect("called without a permit");
        let mut shared = self.shared.lock().expect("no panic");
        assert!(
            shared
                .resting_until
                .is_none_or(|until| Instant::now() >= until),
            "called during the wait"
        );
        shared.resting_until = None;
        shared.calls.push((self.instance, Instant::now()));
        ProbeFuture {
            sleep: Box::pin(sleep(MS)),
            permit,
        }
    }
}

/// The future of a [`Probe`]: takes a millisecond.
#[derive(Debug)]
pub struct ProbeFuture {
    sleep: Pin<Box<Sleep>>,
    permit: Permit,
}

impl Future for ProbeFuture {
    type Output = Result<Res, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        std::task::ready!(self.sleep.as_mut().poll(cx));
        let now = Instant::now();
        let (ending, is_last) = {
            let mut shared = self.permit.shared.lock().expect("no panic");
            let ending = shared.script.pop_front().expect("the script goes on");
            let is_last = shared.script.is_empty();
            if !is_last {
                shared.resting_until = Some(now + shared.rest);
            }
            (ending, is_last)
        };
        if !is_last {
            self.permit.failed_at = Some(now);
        }
        Poll::Ready(match ending {
            Ending::Status(status) => Ok(answer(status)),
            Ending::Error(error) => Err(error),
        })
    }
}

/// What happened to the sessions of a [`Bookkeeper`].
#[derive(Debug, Default)]
pub struct Books {
    commits: AtomicU32,
    cancels: AtomicU32,
    successes: AtomicU32,
    failures: AtomicU32,
}

impl Books {
    /// Retries that were committed.
    pub fn commits(&self) -> u32 {
        self.commits.load(Relaxed)
    }

    /// Retries that were given back.
    pub fn cancels(&self) -> u32 {
        self.cancels.load(Relaxed)
    }

    /// Requests that ended well and requests that did not.
    pub fn ends(&self) -> (u32, u32) {
        (self.successes.load(Relaxed), self.failures.load(Relaxed))
    }
}

/// A policy that retries everything after the same wait, and counts what its budget is told.
#[derive(Clone, Debug)]
pub struct Bookkeeper {
    wait: Duration,
    funds: u32,
    books: Arc<Books>,
}

impl Bookkeeper {
    /// A budget of `funds` retries for all requests together.
    pub fn new(wait: Duration, funds: u32) -> Self {
        Self {
            wait,
            funds,
            books: Arc::default(),
        }
    }

    pub fn books(&self) -> Arc<Books> {
        Arc::clone(&self.books)
    }
}

impl Policy for Bookkeeper {
    type Session = Self;

    fn session(&self, _: &RequestHead<'_>) -> Self {
        self.clone()
    }
}

impl Session for Bookkeeper {
    fn decide(&mut self, attempt: &Attempt<'_>) -> Decision {
        if attempt.number() > 9 {
            return Decision::Stop(StopDecision::because(StopReason::Custom(
                "nine retries".into(),
            )));
        }
        Decision::Retry(RetryDecision::after(self.wait))
    }

    fn succeeded(&mut self) {
        self.books.successes.fetch_add(1, Relaxed);
    }

    fn commit(&mut self, _: std::time::Instant) -> Result<RetryPermit, StopReason> {
        if self.books.commits.load(Relaxed) >= self.funds {
            return Err(StopReason::BudgetExhausted(Default::default()));
        }
        self.books.commits.fetch_add(1, Relaxed);
        let books = self.books();
        Ok(RetryPermit::new(move || {
            books.cancels.fetch_add(1, Relaxed);
        }))
    }

    fn failed(&mut self, _: std::time::Instant) {
        self.books.failures.fetch_add(1, Relaxed);
    }
}

/// Whether the response says success.
pub fn is_ok(response: &Res) -> bool {
    response.status() == StatusCode::OK
}

/// Polls `service` ready and calls it.
#[track_caller]
pub fn start<S>(service: &mut mock::Spawn<S>, request: Req) -> task::Spawn<S::Future>
where
    S: Service<Req>,
    S::Error: std::fmt::Debug,
{
    assert_ready_ok!(service.poll_ready::<Req>());
    task::spawn(service.call(request))
}
