//! [`ResponseFuture`]: the attempt loop, and the only place that sleeps, reads a clock or drops
//! a response.

mod attempts;
mod clock;
mod drain;
mod endings;
mod held;
mod kept;
mod progress;
mod special;
mod verdict;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_service::Service;

pub(crate) use self::{clock::Clock, held::Held, kept::Kept, special::Special};
use self::{
    clock::Limit,
    drain::Drain,
    progress::Progress,
    verdict::{Ended, Next},
};
use crate::{
    BoxError,
    body::{NotReplayable, Saved},
    error::RetryError,
    guards::Guards,
    policy::{AnySession, Session, StopReason},
    settings::{AttemptInfo, Brought, Settings},
    snapshot,
    stack::LayerOutcome,
};

pin_project! {
    /// The future of a [`Retry`](crate::Retry) service: all attempts at one request.
    ///
    /// Dropping it at any point sends nothing more, and gives back what an unsent retry took from
    /// a budget.
    ///
    /// The exception is an upload over HTTP/1.1 whose response had arrived already, although
    /// nobody had looked at it yet: clients then go on sending. A body that is recorded
    /// ([`Replay`](crate::body::Replay)) ends with an error there before it reads any more, and
    /// with it the connection. One that is sent as it is runs on to its end.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, F, E, B, V, D>
    where
        E: Session,
        V: Saved<B>,
    {
        #[pin]
        pub(crate) state: State<F, D, Held<S, B>>,
        pub(crate) kept: Kept<S, V>,
        pub(crate) session: AnySession<E>,
        pub(crate) settings: Arc<Settings>,
        pub(crate) clock: Clock,
        // Boxed, since most requests need neither.
        pub(crate) special: Option<Box<Special>>,
        pub(crate) progress: Option<Box<Progress>>,
    }

    impl<S, F, E, B, V, D> PinnedDrop for ResponseFuture<S, F, E, B, V, D>
    where
        E: Session,
        V: Saved<B>,
    {
        fn drop(this: Pin<&mut Self>) {
            this.give_up();
        }
    }
}

pin_project! {
    #[project = StateProj]
    pub(crate) enum State<F, D, H> {
        /// Waiting to send the first attempt, because the server asked another request to wait.
        Held { held: Option<Box<H>> },
        /// Refused by the throttle.
        Refused,
        /// Polling the response of the attempt in flight.
        Called { #[pin] future: F },
        /// Reading a failed response to its end, so that its connection can be used again.
        Draining { drain: Pin<Box<Drain<D>>> },
        /// Waiting until the next attempt is due, if it is not due at once. Nothing is held.
        Waiting { until: Option<Instant> },
        /// Polling the inner service until it is ready for the next attempt.
        Readying,
        /// Finished.
        Done,
    }
}

/// How a request starts.
pub(crate) enum Start<F, S, B> {
    /// Its first attempt is on the way.
    Called(F),
    /// Its first attempt is held back.
    Held(Box<Held<S, B>>),
    /// It is not sent.
    Refused,
}

impl<S, F, E: Session, B, V: Saved<B>, D> ResponseFuture<S, F, E, B, V, D> {
    pub(crate) fn special(
        start: Start<F, S, B>,
        session: AnySession<E>,
        kept: Kept<S, V>,
        settings: &Arc<Settings>,
        brought: Brought,
        guards: Option<Guards>,
    ) -> Self {
        let mut clock = Clock::start(settings);
        let special = Special::of(brought, guards, &mut clock, settings);
        let state = match start {
            Start::Called(future) => State::Called { future },
            Start::Held(held) => {
                clock.start_waiting();
                State::Held { held: Some(held) }
            }
            Start::Refused => State::Refused,
        };
        Self {
            state,
            kept,
            session,
            settings: Arc::clone(settings),
            clock,
            special,
            progress: None,
        }
    }

    /// Ends the attempt in flight, if there is one, and the upload that a client may go on with
    /// where the response has come before its end.
    fn give_up(self: Pin<&mut Self>) {
        let mut this = self.project();
        let StateProj::Called { .. } = this.state.as_mut().project() else {
            return;
        };
        // First, so that the client cancels the upload where it still can.
        this.state.set(State::Done);
        if let Kept::All { body, .. } = this.kept {
            body.cancel();
        }
    }
}

impl<S, F, E, B, V, D, SE> Future for ResponseFuture<S, F, E, B, V, D>
where
    S: Service<Request<B>, Response = Response<D>, Error = SE, Future = F>,
    F: Future<Output = Result<Response<D>, SE>>,
    SE: Into<BoxError>,
    E: Session,
    V: Saved<B>,
    D: Body,
{
    type Output = Result<Response<D>, RetryError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // What most requests take: a response is large, so it is moved once only.
        let this = self.as_mut().project();
        let StateProj::Called { future } = this.state.project() else {
            return self.go_on(None, cx);
        };
        let polled = match future.poll(cx) {
            Poll::Ready(Ok(response)) => {
                let session = &mut *this.session;
                if this.progress.is_none()
                    && this.settings.classifiers.is_empty()
                    && session.is_final(response.status(), response.headers())
                    && LayerOutcome::of(response.extensions()).is_none()
                {
                    session.succeeded();
                    if this.special.is_some() {
                        self.as_mut().leave_guards(response.status());
                    }
                    self.project().state.set(State::Done);
                    return Poll::Ready(Ok(response));
                }
                Poll::Ready(Ended::Response(response))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Ended::Error(error.into())),
            Poll::Pending => Poll::Pending,
        };
        self.go_on(Some(polled), cx)
    }
}

impl<S, F, E, B, V, D, SE> ResponseFuture<S, F, E, B, V, D>
where
    S: Service<Request<B>, Response = Response<D>, Error = SE, Future = F>,
    F: Future<Output = Result<Response<D>, SE>>,
    SE: Into<BoxError>,
    E: Session,
    V: Saved<B>,
    D: Body,
{
    /// Goes from state to state until there is an answer. If the attempt in flight was just
    /// polled, then with this answer.
    fn go_on(
        mut self: Pin<&mut Self>,
        mut polled: Option<Poll<Ended<D>>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<D>, RetryError>> {
        let limit = special::limit(self.special.as_deref(), &self.settings);
        // The time, as long as nothing was waited for.
        let mut at = None;
        let result = loop {
            let mut this = self.as_mut().project();
            match this.state.as_mut().project() {
                StateProj::Refused => {
                    break Err(self.as_mut().unsent(StopReason::Throttled));
                }
                StateProj::Held { held } => {
                    let Some(first) = held else {
                        unreachable!("a request that was held back is sent once")
                    };
                    let now = Instant::now();
                    let guards = special::guards(this.special.as_deref());
                    let held_for = guards.and_then(|g| Some((g, g.held(now.into_std())?)));
                    if let Some((guards, wait)) = held_for {
                        if let Some(stop) = guards.too_long(wait) {
                            break Err(self.as_mut().unsent(stop));
                        }
                        let left = this.clock.left(limit, now);
                        if let Some(left) = left.filter(|left| *left <= wait) {
                            let needed = wait;
                            let stop = StopReason::DeadlineTooClose { left, needed };
                            break Err(self.as_mut().unsent(stop));
                        }
                        ready!(this.clock.poll_until(now.checked_add(wait), cx));
                        // The server may have asked for more in the meantime.
                        continue;
                    }
                    match first.service.poll_ready(cx) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(error)) => {
                            break Err(self.as_mut().not_ready(error.into()));
                        }
                        Poll::Pending => {
                            ready!(this.clock.poll_until(this.clock.deadline(limit), cx));
                            let deadline = limit.unwrap_or_default();
                            break Err(self.as_mut().deadline_exceeded(deadline, false));
                        }
                    }
                    if let Some(first) = held.take() {
                        let Held {
                            mut service,
                            request,
                        } = *first;
                        let future = service.call(request);
                        this.clock.start_attempt(now);
                        // The report tells of the hold, also if all goes well from here on.
                        *this.progress = Some(Progress::new());
                        this.state.set(State::Called { future });
                    }
                }
                StateProj::Called { future } => {
                    let polled = match polled.take() {
                        Some(polled) => polled,
                        None => future.poll(cx).map(Ended::of),
                    };
                    let ended = match polled {
                        Poll::Ready(ended) => ended,
                        Poll::Pending => {
                            match ready!(this.clock.poll_attempt(limit, this.settings, cx)) {
                                Limit::Attempt(after) => Ended::TimedOut(after),
                                Limit::Deadline(deadline) => {
                                    break Err(self.as_mut().deadline_exceeded(deadline, true));
                                }
                            }
                        }
                    };
                    match self.as_mut().ended(ended) {
                        Next::Return(result) => break result,
                        Next::Wait { body, now, until } => {
                            let waits = self.as_mut().wait(body, now, until);
                            at = (!waits).then_some(now);
                        }
                    }
                }
                StateProj::Draining { drain } => {
                    if !drain.as_mut().is_done(cx) {
                        ready!(this.clock.poll_until(drain.until, cx));
                    }
                    let until = drain.then;
                    this.state.set(State::Waiting { until });
                }
                StateProj::Waiting { until } => {
                    if until.is_some() {
                        ready!(this.clock.poll_until(*until, cx));
                    }
                    // The server may have asked another request to wait in the meantime.
                    let guards = special::guards(this.special.as_deref());
                    let held = guards.and_then(|guards| {
                        let now = Instant::now();
                        Some((guards, guards.held(now.into_std())?, now))
                    });
                    if let Some((guards, held, now)) = held {
                        if let Some(stop) = guards.too_long(held) {
                            break Err(self.as_mut().unsent(stop));
                        }
                        let left = this.clock.left(limit, now);
                        let is_late = left.is_some_and(|left| left.is_zero());
                        if let (false, Some(free)) = (is_late, now.checked_add(held)) {
                            let deadline = this.clock.deadline(limit);
                            *until = deadline.into_iter().chain([free]).min();
                            at = None;
                            this.kept.settle();
                            continue;
                        }
                    }
                    this.state.set(State::Readying);
                }
                StateProj::Readying => {
                    let Kept::All { service, .. } = this.kept else {
                        unreachable!("a request of which nothing was kept is never retried")
                    };
                    let deadline = this.clock.deadline(limit);
                    // An attempt that cannot be waited for is not sent.
                    let at_once = at.is_some();
                    let now = at.take().unwrap_or_else(Instant::now);
                    let ready = if deadline.is_some_and(|deadline| deadline <= now) {
                        Poll::Pending
                    } else {
                        service.poll_ready(cx)
                    };
                    match ready {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(error)) => {
                            break Err(self.as_mut().not_ready(error.into()));
                        }
                        Poll::Pending => {
                            this.kept.settle();
                            ready!(this.clock.poll_until(deadline, cx));
                            let deadline = limit.unwrap_or_default();
                            break Err(self.as_mut().deadline_exceeded(deadline, false));
                        }
                    }
                    if let Err(error) = self.as_mut().call(now, at_once) {
                        break Err(error);
                    }
                }
                StateProj::Done => panic!("`ResponseFuture` polled after it finished"),
            }
        };
        if result.is_err() {
            self.as_mut().give_up();
        }
        self.finish();
        Poll::Ready(result)
    }
}

impl<S, F, E, B, V, D> ResponseFuture<S, F, E, B, V, D>
where
    E: Session,
    V: Saved<B>,
    D: Body,
{
    /// A request succeeded at once.
    #[inline(never)]
    fn leave_guards(self: Pin<&mut Self>, status: StatusCode) {
        let special = self.project().special.take();
        if let Some(guards) = special::guards(special.as_deref()) {
            guards.answered(status, Instant::now().into_std());
        }
    }

    /// Gives back what the request holds, now that it has its answer.
    fn finish(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.state.set(State::Done);
        *this.special = None;
        *this.progress = None;
    }

    /// Lets go of the failed response and everything else, and waits. Answers whether there is
    /// anything to wait for.
    fn wait(self: Pin<&mut Self>, body: Option<D>, now: Instant, then: Option<Instant>) -> bool {
        let mut this = self.project();
        let drain = this.settings.drain;
        let worth_it = |body: &D| {
            !body.is_end_stream()
                // A body that is known to be too long would be read in vain.
                && body.size_hint().lower() <= drain.bytes
                && drain.bytes > 0
        };
        let waits = if let Some(body) = body.filter(worth_it) {
            let limit = special::limit(this.special.as_deref(), this.settings);
            let deadline = this.clock.deadline(limit);
            let until = now.checked_add(drain.time);
            let drain = Box::pin(Drain {
                body,
                left: drain.bytes,
                until: until.into_iter().chain(deadline).min(),
                then,
            });
            this.state.set(State::Draining { drain });
            true
        } else {
            // Drops the inner future as well, and what it holds.
            this.state.set(State::Waiting { until: then });
            then.is_some()
        };
        if waits {
            this.kept.settle();
        }
        waits
    }

    /// Sends the next attempt, `at_once` if it was not waited for. The inner service is ready.
    fn call<SE>(self: Pin<&mut Self>, now: Instant, at_once: bool) -> Result<(), RetryError>
    where
        S: Service<Request<B>, Response = Response<D>, Error = SE, Future = F>,
    {
        let mut this = self.project();
        let (
            Kept::All {
                head,
                service,
                body,
            },
            Some(progress),
        ) = (&mut *this.kept, this.progress.as_mut())
        else {
            unreachable!("a retry follows a failure of a request that was kept")
        };
        this.clock.start_attempt(now);
        let limit = special::limit(this.special.as_deref(), this.settings);
        let info = AttemptInfo {
            number: progress.number(),
            previous: progress.previous(),
            elapsed: this.clock.elapsed(now),
            left: this.clock.left(limit, now),
        };
        let next = match (progress.last, at_once) {
            (true, _) => snapshot::Next::Never,
            (false, true) => snapshot::Next::Soon,
            (false, false) => snapshot::Next::Later,
        };
        let request = match head.restore(next) {
            Some(mut parts) => {
                parts.extensions.insert(info);
                if let Some(name) = &this.settings.attempt_header {
                    let retries = HeaderValue::from(info.number - 1);
                    parts.headers.insert(name.clone(), retries);
                }
                if let Some(before_retry) = &this.settings.before_retry {
                    before_retry(&mut parts, &info);
                }
                match body.next(&parts, progress.last) {
                    Ok(body) => Ok(Request::from_parts(parts, body)),
                    Err(error) => Err(refused(error)),
                }
            }
            None => {
                let reason = "the request has a header value that must not be sent again";
                Err((StopReason::Custom(reason.into()), None))
            }
        };
        let request = match request {
            Ok(request) => request,
            Err((reason, source)) => {
                this.session.failed(now.into_std());
                let last = progress.last_error.take();
                let report = progress.finish(
                    this.kept,
                    this.special.as_deref(),
                    reason,
                    info.elapsed,
                    this.settings,
                );
                return Err(RetryError::without_body(report, last, source));
            }
        };
        // From here on the retry counts as sent.
        if let Some(permit) = progress.permit.take() {
            permit.sent();
        }
        let future = service.call(request);
        this.state.set(State::Called { future });
        Ok(())
    }
}

/// A body that cannot be sent again, as a reason and, where there is one, an error.
fn refused(error: NotReplayable) -> (StopReason, Option<BoxError>) {
    match error {
        NotReplayable::OverLimit { sent, limit } => {
            (StopReason::BodyNotReplayable { sent, limit }, None)
        }
        NotReplayable::Failed => (StopReason::BodyFailed, None),
        NotReplayable::NotKept => (StopReason::BodyNotKept, None),
        NotReplayable::Reopen(error) => (StopReason::BodyNotReopened, Some(error)),
    }
}

impl<S, F, E: Session, B, V: Saved<B>, D> std::fmt::Debug for ResponseFuture<S, F, E, B, V, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Held { .. } => "held",
            State::Refused => "refused",
            State::Called { .. } => "called",
            State::Draining { .. } => "draining",
            State::Waiting { .. } => "waiting",
            State::Readying => "readying",
            State::Done => "done",
        };
        f.debug_struct("ResponseFuture")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
