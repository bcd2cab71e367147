//! A server in memory whose responses, and each step of their bodies, are written down.

use std::{
    collections::VecDeque,
    fmt,
    future::{Future, Ready, ready},
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready as ready_or},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, request::Parts};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio::time::{Instant, Sleep, sleep};
use tower::Service;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A step of a body.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    /// The body fails with this text.
    Fail(&'static str),
    /// Nothing comes for this long.
    Pause(Duration),
    /// Nothing comes any more.
    Stall,
}

pub(crate) fn data(bytes: impl AsRef<[u8]>) -> Step {
    Step::Data(Bytes::copy_from_slice(bytes.as_ref()))
}

/// A body that takes its steps.
#[derive(Default)]
pub(crate) struct Script {
    steps: VecDeque<Step>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Script {
    pub(crate) fn of(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            pause: None,
        }
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.fmt(f)
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready_or!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            return Poll::Ready(match self.steps.pop_front() {
                None => None,
                Some(Step::Data(bytes)) => Some(Ok(Frame::data(bytes))),
                Some(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
                Some(Step::Fail(why)) => Some(Err(io::Error::other(why))),
                Some(Step::Pause(time)) => {
                    self.pause = Some(Box::pin(sleep(time)));
                    continue;
                }
                Some(Step::Stall) => {
                    self.steps.push_front(Step::Stall);
                    return Poll::Pending;
                }
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && self.pause.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

type Answer = Result<Response<Script>, BoxError>;

/// Answers what is written down, and remembers when it was asked what.
#[derive(Clone, Default)]
pub(crate) struct Server {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    seen: Arc<Mutex<Vec<(Instant, Parts)>>>,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The next answer: its status, its headers, its body.
    pub(crate) fn answer(
        self,
        status: u16,
        headers: &[(&'static str, &str)],
        steps: impl IntoIterator<Item = Step>,
    ) -> Self {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let response = response.body(Script::of(steps)).expect("a response");
        self.push(Ok(response))
    }

    /// The next answer is this error.
    pub(crate) fn fail(self, error: impl Into<BoxError>) -> Self {
        self.push(Err(error.into()))
    }

    fn push(self, answer: Answer) -> Self {
        self.answers.lock().expect("no panic").push_back(answer);
        self
    }

    /// The heads of the requests so far.
    pub(crate) fn seen(&self) -> Vec<Parts> {
        let seen = self.seen.lock().expect("no panic");
        seen.iter().map(|(_, head)| head.clone()).collect()
    }

    /// When they came.
    pub(crate) fn times(&self) -> Vec<Instant> {
        let seen = self.seen.lock().expect("no panic");
        seen.iter().map(|(at, _)| *at).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().expect("no panic").len()
    }
}

impl Service<Request<Full<Bytes>>> for Server {
    type Response = Response<Script>;
    type Error = BoxError;
    type Future = Ready<Answer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let (head, _) = request.into_parts();
        let mut seen = self.seen.lock().expect("no panic");
        seen.push((Instant::now(), head));
        let answer = self.answers.lock().expect("no panic").pop_front();
        ready(answer.unwrap_or_else(|| Err("the script is at its end".into())))
    }
}

/// A GET without a body.
pub(crate) fn get() -> Request<Full<Bytes>> {
    request(http::Method::GET)
}

pub(crate) fn request(method: http::Method) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method);
    let request = request.uri("http://files.test/big?token=secret");
    request.body(Full::default()).expect("a request")
}
