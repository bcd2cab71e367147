//! [`ResumeBody`], and the loop over its states.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, response::Parts};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use sync_wrapper::SyncWrapper;
use tokio::time::Instant;
use tower_service::Service;

use super::{
    ResumeError, ResumeErrorKind,
    asking::{Asked, Line, Progress},
    story::Story,
    watch::{Over, Watch},
};
#[cfg(feature = "telemetry")]
use crate::telemetry::AttemptKind;
use crate::{
    BoxError, RequestDeadline,
    policy::Policy,
    reason::{NotResumed, StopReason},
    report::{AttemptOutcome, AttemptRecord, RetryReport},
    snapshot::Next,
    stack::{Lead, RequestState},
};

pin_project! {
    /// The body of a response, which goes on where it broke.
    ///
    /// Its frames are those of the first response and of its continuations, without a seam. Its
    /// length is that of the first response.
    ///
    /// Whatever has to be waited for needs a tokio runtime with its timer enabled.
    ///
    /// ```
    /// # use std::{convert::Infallible, io};
    /// # use bytes::Bytes;
    /// # use futures_util::stream;
    /// # use http::{Request, Response};
    /// # use http_body::Frame;
    /// # use http_body_util::{Empty, StreamBody};
    /// use http_body_util::BodyExt;
    /// use tower::{ServiceBuilder, ServiceExt};
    /// use tower_http_retry::{policy::{Backoff, RetryPolicy}, resume::ResumeLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// # // A server that breaks off after half of the file, and sends the rest when it is asked for it.
    /// # let server = tower::service_fn(|request: Request<Empty<Bytes>>| async move {
    /// #     let rest = request.headers().contains_key("range");
    /// #     let (status, range, frames) = match rest {
    /// #         false => (200, "", vec![
    /// #             Ok(Frame::data(Bytes::from("half"))),
    /// #             Err(io::Error::from(io::ErrorKind::ConnectionReset)),
    /// #         ]),
    /// #         true => (206, "bytes 4-7/8", vec![Ok(Frame::data(Bytes::from("half")))]),
    /// #     };
    /// #     let length = if rest { 4 } else { 8 };
    /// #     let response = Response::builder().status(status);
    /// #     let response = response.header("etag", "\"a\"").header("content-length", length);
    /// #     let response = response.header("content-range", range);
    /// #     Ok::<_, Infallible>(response.body(StreamBody::new(stream::iter(frames))).unwrap())
    /// # });
    /// let policy = RetryPolicy::builder().backoff(Backoff::none()).build()?;
    /// let client = ServiceBuilder::new()
    ///     .layer(ResumeLayer::new(policy))
    ///     .service(server);
    /// let request = Request::get("http://files.test/").body(Empty::new())?;
    /// let mut body = std::pin::pin!(client.oneshot(request).await?.into_body());
    /// let mut file = Vec::new();
    /// while let Some(frame) = body.frame().await {
    ///     // An error here is a `ResumeError`, which says why it could not go on.
    ///     file.extend(frame?.into_data().unwrap_or_default());
    /// }
    /// assert_eq!(file, b"halfhalf");
    /// let report = body.report().expect("it broke once");
    /// assert_eq!(report.attempt_count(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Dropping it at any point sends nothing more, and gives back what an unsent continuation took
    /// from a budget.
    pub struct ResumeBody<S, P, ReqBody, ResBody>
    where
        S: Service<Request<ReqBody>>,
        P: Policy,
    {
        #[pin]
        pub(super) state: State<ResBody, S::Future>,
        pub(super) asked: Asked<S, P>,
        pub(super) progress: Progress,
        watch: Watch,
        first: First,
        // Boxed, since most bodies do not break.
        pub(super) story: Option<Box<Story<P::Session>>>,
        marker: PhantomData<fn(ReqBody)>,
    }
}

/// What a report says of the head.
struct First {
    status: StatusCode,
    took: std::time::Duration,
    report: Option<Box<RetryReport>>,
}

pin_project! {
    #[project = StateProj]
    pub(super) enum State<ResBody, Fut> {
        /// Reading the first response, or a continuation.
        Reading { #[pin] body: ResBody },
        /// Waiting until a continuation is due. Nothing is held.
        Waiting { until: Option<Instant> },
        /// Polling the service below until it is ready for it.
        Readying,
        /// Polling the response to it.
        Called { #[pin] future: SyncWrapper<Fut> },
        /// Finished.
        Done,
    }
}

/// What a state has come to.
pub(super) enum Step {
    /// Another state.
    Next,
    Frame(Frame<Bytes>),
    End,
    Fail(ResumeError),
}

impl<S, P, ReqBody, ResBody> ResumeBody<S, P, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
    P: Policy,
{
    pub(super) fn new(asked: Asked<S, P>, head: &Parts, body: ResBody) -> Self {
        let progress = Progress::of(&asked, head);
        let idle = asked.settings.idle.filter(|_| progress.is_download());
        let report = head.extensions.get::<RetryReport>();
        Self {
            state: State::Reading { body },
            first: First {
                status: head.status,
                took: asked.started.elapsed(),
                report: report.map(|report| Box::new(report.clone())),
            },
            progress,
            asked,
            watch: Watch::new(idle),
            story: None,
            marker: PhantomData,
        }
    }

    /// What became of it so far, if it broke; once it has ended,
    /// [`stop`](RetryReport::stop) says how.
    pub fn report(&self) -> Option<&RetryReport> {
        self.story.as_ref().map(|story| &story.report)
    }

    /// The bytes that were handed on so far.
    pub fn delivered(&self) -> u64 {
        self.progress.delivered
    }

    /// The story, from the first break on.
    pub(super) fn tell(self: Pin<&mut Self>, kind: ResumeErrorKind, source: Option<BoxError>) {
        let this = self.project();
        let asked = &*this.asked;
        let first = &mut *this.first;
        let delivered = this.progress.delivered;
        let story = this.story.get_or_insert_with(|| {
            let report = match first.report.take() {
                Some(report) => *report,
                None => {
                    let mut report = RetryReport::new(asked.method().clone(), asked.url());
                    let outcome = AttemptOutcome::Response(first.status);
                    report.push(AttemptRecord {
                        took: first.took,
                        ..AttemptRecord::new(1, outcome)
                    });
                    report
                }
            };
            Story::new(asked, report, delivered)
        });
        story.broke(kind, source, this.progress);
    }

    /// All of it was handed on.
    pub(super) fn finish(self: Pin<&mut Self>) -> Step {
        let mut this = self.project();
        this.state.set(State::Done);
        if let Some(story) = this.story {
            story.succeed(this.asked, this.progress);
        }
        Step::End
    }

    /// The body does not go on.
    pub(super) fn fail(self: Pin<&mut Self>, stop: StopReason) -> Step {
        let mut this = self.project();
        this.state.set(State::Done);
        let Some(story) = this.story else {
            unreachable!("what fails has broken before")
        };
        story.give_up(stop, this.asked, this.progress);
        let come = (this.progress.delivered, this.progress.length);
        let source = story.source.take();
        Step::Fail(ResumeError::new(
            story.kind,
            come,
            story.report.clone(),
            source,
        ))
    }

    /// The time for it is over: nothing more is sent.
    fn out_of_time(self: Pin<&mut Self>) -> Step {
        let asked = &self.asked;
        let deadline = asked.ends().unwrap_or(asked.started) - asked.started;
        self.fail(StopReason::DeadlineExceeded { deadline })
    }
}

impl<S, P, ReqBody, ResBody> ResumeBody<S, P, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    S::Error: Into<BoxError>,
    P: Policy,
    ReqBody: Default,
    ResBody: Body,
    ResBody::Error: Into<BoxError>,
{
    fn poll_reading(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Step> {
        let this = self.as_mut().project();
        let StateProj::Reading { body } = this.state.project() else {
            unreachable!("the state is that one")
        };
        match body.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.watch.moved();
                Poll::Ready(match frame.into_data() {
                    // An answer that is longer than what is left of the download, however much.
                    Ok(data) if this.progress.is_past(&data) => self.finish(),
                    Ok(data) if this.progress.is_behind(&data) => self.part_ended(),
                    Ok(data) => match this.progress.take(data) {
                        Some(data) => {
                            // Who knows the length may never ask for the end.
                            match this.story {
                                Some(story) if this.progress.is_whole() => {
                                    story.succeed(this.asked, this.progress);
                                }
                                _ => {}
                            }
                            Step::Frame(Frame::data(data))
                        }
                        None => Step::Next,
                    },
                    // Those of a part that is not the last are nobody's.
                    Err(frame) => match frame.into_trailers() {
                        Ok(trailers) if this.progress.may_end() => {
                            Step::Frame(Frame::trailers(trailers))
                        }
                        _ => Step::Next,
                    },
                })
            }
            Poll::Ready(Some(Err(_))) if this.progress.is_whole() => Poll::Ready(self.finish()),
            Poll::Ready(Some(Err(error))) => {
                let source = Some(error.into());
                Poll::Ready(self.interrupted(ResumeErrorKind::Failed, source))
            }
            Poll::Ready(None) if this.progress.may_end() => Poll::Ready(self.finish()),
            Poll::Ready(None) => Poll::Ready(self.part_ended()),
            Poll::Pending => {
                let own = this.asked.own_deadline();
                let own = own.filter(|_| this.progress.is_download());
                match ready!(this.watch.poll_body(own, cx)) {
                    // Only its end was missing.
                    _ if this.progress.has_all() => Poll::Ready(self.finish()),
                    Over::Idle(after) => {
                        Poll::Ready(self.interrupted(ResumeErrorKind::Idle { after }, None))
                    }
                    Over::Deadline => {
                        let deadline = this.asked.settings.deadline.unwrap_or_default();
                        let kind = ResumeErrorKind::Deadline { deadline };
                        self.as_mut().tell(kind, None);
                        Poll::Ready(self.out_of_time())
                    }
                }
            }
        }
    }

    fn poll_waiting(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Step> {
        let mut this = self.project();
        let StateProj::Waiting { until } = this.state.as_mut().project() else {
            unreachable!("the state is that one")
        };
        if let Some(at) = *until {
            ready!(this.watch.poll_until(at, cx));
        }
        this.state.set(State::Readying);
        Poll::Ready(Step::Next)
    }

    fn poll_readying(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Step> {
        let ends = self.asked.ends();
        let now = Instant::now();
        if ends.is_some_and(|ends| ends <= now) {
            return Poll::Ready(self.out_of_time());
        }
        let this = self.as_mut().project();
        let Line::Get { service, .. } = &mut this.asked.line else {
            unreachable!("only a GET is continued")
        };
        match service.poll_ready(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(self.send(now)),
            Poll::Ready(Err(_)) => Poll::Ready(self.fail(StopReason::NotReady)),
            Poll::Pending => {
                ready!(this.watch.poll_deadline(ends, cx));
                Poll::Ready(self.out_of_time())
            }
        }
    }

    /// Asks for the rest. The service below is ready.
    fn send(mut self: Pin<&mut Self>, now: Instant) -> Step {
        let mut this = self.as_mut().project();
        let (Line::Get { head, service, .. }, Ok(plan), Some(story)) = (
            &mut this.asked.line,
            this.progress.plan(),
            this.story.as_mut(),
        ) else {
            unreachable!("what is continued can be")
        };
        let Some(mut parts) = head.restore(Next::Later) else {
            let because = NotResumed::HeadNotKept;
            return self.fail(StopReason::NotResumable { because });
        };
        plan.ask(&mut parts);
        story.sends(now);
        #[cfg(feature = "telemetry")]
        let metrics = this.asked.settings.metrics.as_ref();
        #[cfg(feature = "telemetry")]
        let metrics = metrics.map(|metrics| (metrics, metrics.series(&parts.uri)));
        story.state.leads(Lead::Resume);
        // As an instant, it is in there; a duration would start anew.
        parts.extensions.remove::<RequestDeadline>();
        parts.extensions.insert::<RequestState>(story.state.clone());
        let future = service.call(Request::from_parts(parts, ReqBody::default()));
        let future = SyncWrapper::new(future);
        // Retries below that count have taken it.
        #[cfg(feature = "telemetry")]
        if let (Some((metrics, series)), Some(_)) = (metrics, story.state.take_lead()) {
            metrics.attempted(series, AttemptKind::Resume);
        }
        this.state.set(State::Called { future });
        Step::Next
    }

    fn poll_called(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Step> {
        let this = self.as_mut().project();
        let StateProj::Called { future } = this.state.project() else {
            unreachable!("the state is that one")
        };
        match future.get_pin_mut().poll(cx) {
            Poll::Ready(Ok(response)) => {
                this.watch.moved();
                Poll::Ready(self.answered(response))
            }
            Poll::Ready(Err(error)) => Poll::Ready(self.unanswered(&*error.into())),
            Poll::Pending => {
                let ends = this.asked.ends();
                ready!(this.watch.poll_deadline(ends, cx));
                Poll::Ready(self.out_of_time())
            }
        }
    }
}

impl<S, P, ReqBody, ResBody> Body for ResumeBody<S, P, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    S::Error: Into<BoxError>,
    P: Policy,
    ReqBody: Default,
    ResBody: Body,
    ResBody::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = ResumeError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResumeError>>> {
        loop {
            let this = self.as_mut();
            let step = match this.state {
                State::Reading { .. } => this.poll_reading(cx),
                State::Waiting { .. } => this.poll_waiting(cx),
                State::Readying => this.poll_readying(cx),
                State::Called { .. } => this.poll_called(cx),
                State::Done => return Poll::Ready(None),
            };
            match ready!(step) {
                Step::Next => {}
                Step::Frame(frame) => return Poll::Ready(Some(Ok(frame))),
                Step::End => return Poll::Ready(None),
                Step::Fail(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Reading { body } => body.is_end_stream() && self.progress.may_end(),
            State::Done => true,
            State::Waiting { .. } | State::Readying | State::Called { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.state, self.progress.length) {
            (State::Done, _) => SizeHint::with_exact(0),
            (_, Some(length)) if self.progress.plan().is_ok() => {
                SizeHint::with_exact(length.saturating_sub(self.progress.delivered))
            }
            (State::Reading { body }, _) => body.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

impl<S, P, ReqBody, ResBody> fmt::Debug for ResumeBody<S, P, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
    P: Policy,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Reading { .. } => "reading",
            State::Waiting { .. } => "waiting",
            State::Readying => "readying",
            State::Called { .. } => "called",
            State::Done => "done",
        };
        f.debug_struct("ResumeBody")
            .field("state", &state)
            .field("delivered", &self.progress.delivered)
            .field("length", &self.progress.length)
            .finish_non_exhaustive()
    }
}
