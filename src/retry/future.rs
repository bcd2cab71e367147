//! [`ResponseFuture`], and the loop over its states.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
};

use http::{Extensions, HeaderMap, Request, Response, StatusCode, response::Parts};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_service::Service;

use super::{
    LayerSettings,
    clock::Clock,
    counted::Counted,
    drain::Drain,
    extras::Extras,
    history::History,
    kept::{HeldAttempt, Retained},
    settings::Preparing,
    verdict::Ended,
};
use crate::{
    BoxError,
    body::SavedBody,
    classify::{self, Exchange, Outcome},
    error::RetryError,
    policy::{AnySession, Session},
    reason::StopReason,
    stack::{Answer, LayerOutcome, TimeOut, drop_late},
    trial::Judged,
};

pin_project! {
    /// The future of a [`Retry`](crate::Retry) service: all attempts at one request.
    ///
    /// Dropping it at any point sends nothing more, and gives back what an unsent retry took from
    /// a budget.
    ///
    /// The exception is an upload over HTTP/1.1 whose response had arrived already, although
    /// nobody had looked at it yet: clients then go on sending. A body that is recorded
    /// ([`RecordBody`](crate::body::RecordBody)) ends with an error there before it reads any more, and
    /// with it the connection. One that is sent as it is runs on to its end.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Fut, Sess, ReqBody, Saved, ResBody>
    where
        Sess: Session,
        Saved: SavedBody<ReqBody>,
    {
        #[pin]
        pub(super) state: State<Fut, ResBody, HeldAttempt<S, ReqBody>>,
        pub(super) kept: Retained<S, Saved>,
        pub(super) session: AnySession<Sess>,
        pub(super) settings: Arc<LayerSettings>,
        pub(super) clock: Clock,
        pub(super) counted: Counted,
        // Boxed, since most requests need neither.
        pub(super) extras: Option<Box<Extras>>,
        pub(super) history: Option<Box<History>>,
    }

    impl<S, Fut, Sess, ReqBody, Saved, ResBody> PinnedDrop
        for ResponseFuture<S, Fut, Sess, ReqBody, Saved, ResBody>
    where
        Sess: Session,
        Saved: SavedBody<ReqBody>,
    {
        fn drop(this: Pin<&mut Self>) {
            this.count_drop();
            this.give_up();
        }
    }
}

pin_project! {
    #[project = StateProj]
    pub(super) enum State<Fut, ResBody, Held> {
        /// The first attempt is held back by an admission.
        Held { held: Option<Box<Held>> },
        /// The first attempt is refused by an admission.
        Refused { stop: Option<Box<StopReason>> },
        /// Polling the response of the attempt in flight.
        Called { #[pin] future: Fut },
        /// Reading a failed response to its end, so that its connection can be used again.
        Draining { drain: Pin<Box<Drain<ResBody>>> },
        /// Waiting until the next attempt is due, if it is not due at once. Nothing is held.
        Waiting { until: Option<Instant> },
        /// Polling the hook that prepares the next attempt.
        Preparing { preparing: Mutex<Preparing> },
        /// Polling the inner service until it is ready for the next attempt.
        Readying,
        /// The attempt in flight ran out of time and was dropped.
        Late,
        /// Finished.
        Done,
    }
}

/// What a state has come to.
pub(super) enum Step<ResBody> {
    /// Another state.
    Next,
    /// The answer.
    Return(Result<Response<ResBody>, RetryError>),
}

/// One call of `poll`.
pub(super) struct Turn<'a, 'cx> {
    pub(super) cx: &'a mut Context<'cx>,
    /// The time, as long as nothing was waited for.
    pub(super) now: Option<Instant>,
    /// What the classifiers have said of the attempt in flight, once it has ended.
    pub(super) judged: Option<Judged>,
    /// What a failed response has left, as long as nothing was waited for.
    pub(super) spare: Option<Spare>,
}

/// The memory of a failed response's head, emptied: the head of the next attempt is built in it.
#[derive(Default)]
pub(super) struct Spare {
    pub(super) headers: HeaderMap,
    pub(super) extensions: Extensions,
}

impl Spare {
    pub(super) fn of(response: Parts) -> Self {
        let Parts {
            mut headers,
            mut extensions,
            ..
        } = response;
        headers.clear();
        extensions.clear();
        Self {
            headers,
            extensions,
        }
    }
}

impl<S, Fut, Sess: Session, ReqBody, Saved: SavedBody<ReqBody>, ResBody>
    ResponseFuture<S, Fut, Sess, ReqBody, Saved, ResBody>
{
    /// Counts a request that is dropped before it has its answer.
    #[inline(always)]
    fn count_drop(&self) {
        let sent = match self.state {
            State::Done => return,
            State::Held { .. } | State::Refused { .. } => false,
            _ => true,
        };
        let method = self.kept.method();
        self.counted.dropped(&self.settings, method, sent);
    }

    /// Ends the attempt in flight, if there is one, and the upload that a client may go on with
    /// where the response has come before its end.
    fn give_up(self: Pin<&mut Self>) {
        let mut this = self.project();
        let (StateProj::Called { .. } | StateProj::Late) = this.state.as_mut().project() else {
            return;
        };
        // First, so that the client cancels the upload where it still can.
        this.state.set(State::Done);
        if let Retained::Replayable { body, .. } = this.kept {
            body.cancel();
        }
    }

    /// Drops the attempt in flight, whose time is over. Returns what the layers below say of it.
    pub(super) fn drop_late(self: Pin<&mut Self>, over: TimeOut) -> Option<Box<LayerOutcome>> {
        let mut state = self.project().state;
        drop_late(over, || state.set(State::Late))
    }

    /// Gives back what the request holds, now that it has its answer.
    fn finish(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.state.set(State::Done);
        *this.extras = None;
        *this.history = None;
    }

    /// A request succeeded at once, of which the admissions are to hear.
    #[inline(never)]
    fn leave(self: Pin<&mut Self>, status: StatusCode, headers: &HeaderMap) {
        let extras = self.project().extras.take();
        if let Some(mut admissions) = extras.and_then(|extras| extras.admissions) {
            let now = Instant::now();
            admissions.head(headers, now);
            admissions.answered(&Answer::response(now.into_std(), status));
        }
    }
}

impl<S, Fut, Sess, ReqBody, Saved, ResBody, E> Future
    for ResponseFuture<S, Fut, Sess, ReqBody, Saved, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>, Error = E, Future = Fut>,
    Fut: Future<Output = Result<Response<ResBody>, E>>,
    E: Into<BoxError>,
    Sess: Session,
    Saved: SavedBody<ReqBody>,
    ResBody: Body,
{
    type Output = Result<Response<ResBody>, RetryError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // What most requests take: a response is large, so it is moved once only.
        let this = self.as_mut().project();
        let StateProj::Called { future } = this.state.project() else {
            return self.poll_slow(None, None, cx);
        };
        let mut judged = None;
        let polled = match future.poll(cx) {
            Poll::Ready(Ok(response)) => {
                let session = &mut *this.session;
                if this.history.is_none()
                    && session.is_final(response.status(), response.headers())
                    && LayerOutcome::of(response.extensions()).is_none()
                    && classify::grpc::failure(response.headers()).is_none()
                    && (this.settings.classifiers.is_empty()
                        || asked(this.kept, this.settings, &response, &mut judged))
                {
                    session.succeeded();
                    let method = this.kept.method();
                    this.counted
                        .succeeded(this.settings, method, response.status());
                    if this.extras.is_some() {
                        self.as_mut().leave(response.status(), response.headers());
                    }
                    self.project().state.set(State::Done);
                    return Poll::Ready(Ok(response));
                }
                Poll::Ready(Ended::Response(response))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Ended::Error(error.into())),
            Poll::Pending => Poll::Pending,
        };
        self.poll_slow(Some(polled), judged, cx)
    }
}

/// Asks the classifiers of a first attempt. Returns whether they have nothing to say.
#[inline(never)]
fn asked<S, Saved, ResBody>(
    kept: &mut Retained<S, Saved>,
    settings: &LayerSettings,
    response: &Response<ResBody>,
    judged: &mut Option<Judged>,
) -> bool {
    let (head, _) = kept.head_and_body();
    let outcome = Outcome::Response {
        status: response.status(),
        headers: response.headers(),
    };
    match settings.judge(|| Exchange::new(1, outcome, &head)) {
        None => true,
        // Written only then: it is large.
        said => {
            *judged = said;
            false
        }
    }
}

impl<S, Fut, Sess, ReqBody, Saved, ResBody, E> ResponseFuture<S, Fut, Sess, ReqBody, Saved, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>, Error = E, Future = Fut>,
    Fut: Future<Output = Result<Response<ResBody>, E>>,
    E: Into<BoxError>,
    Sess: Session,
    Saved: SavedBody<ReqBody>,
    ResBody: Body,
{
    /// Goes from state to state until there is an answer. If the attempt in flight was just
    /// polled, then with what came of it, and what the classifiers said.
    fn poll_slow(
        mut self: Pin<&mut Self>,
        polled: Option<Poll<Ended<ResBody>>>,
        judged: Option<Judged>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<ResBody>, RetryError>> {
        let mut turn = Turn {
            cx,
            now: None,
            judged,
            spare: None,
        };
        let mut step = match polled {
            Some(polled) => self.as_mut().called(polled, &mut turn),
            None => Poll::Ready(Step::Next),
        };
        let result = loop {
            if let Step::Return(result) = ready!(step) {
                break result;
            }
            let this = self.as_mut();
            step = match this.state {
                State::Held { .. } => this.poll_held(&mut turn),
                State::Refused { .. } => this.refused(),
                State::Called { .. } => this.poll_called(&mut turn),
                State::Draining { .. } => this.poll_draining(&mut turn),
                State::Waiting { .. } => this.poll_waiting(&mut turn),
                State::Preparing { .. } => this.poll_preparing(&mut turn),
                State::Readying => this.poll_readying(&mut turn),
                State::Late | State::Done => panic!("`ResponseFuture` polled after it finished"),
            };
        };
        if result.is_err() {
            self.as_mut().give_up();
        }
        self.finish();
        Poll::Ready(result)
    }
}

impl<S, Fut, Sess: Session, ReqBody, Saved: SavedBody<ReqBody>, ResBody> fmt::Debug
    for ResponseFuture<S, Fut, Sess, ReqBody, Saved, ResBody>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Held { .. } => "held",
            State::Refused { .. } => "refused",
            State::Called { .. } => "called",
            State::Draining { .. } => "draining",
            State::Waiting { .. } => "waiting",
            State::Preparing { .. } => "preparing",
            State::Readying => "readying",
            State::Late => "late",
            State::Done => "done",
        };
        f.debug_struct("ResponseFuture")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
