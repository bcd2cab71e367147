//! [`ResponseFuture`]: the attempt loop, and the only place that sleeps, reads a clock or drops
//! a response.

mod clock;
mod progress;

use std::{
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use bytes::Buf;
use http::{HeaderValue, Method, Request, Response, Uri, request::Parts};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_service::Service;

use self::{
    clock::{Clock, Limit},
    progress::Progress,
};
use crate::{
    BoxError,
    body::{NotReplayable, Saved},
    classify::{self, AttemptTimedOut, Cause, DeadlinePassed, Failure, Outcome},
    error::{RetryError, RetryErrorKind},
    policy::{AnySession, Attempt, Decision, Gate, Judgement, Retry, Session, Stop, StopReason},
    report::{AttemptOutcome, AttemptRecord, RetryReport, WaitRecord},
    settings::{AttemptInfo, Brought, Settings},
    snapshot::Snapshot,
};

pin_project! {
    /// The future of a [`Retry`](crate::Retry) service: all attempts at one request.
    ///
    /// Dropping it at any point sends nothing more, and gives back what an unsent retry took from
    /// a budget.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, F, E, B, V, D>
    where
        E: Session,
    {
        #[pin]
        state: State<F, D>,
        kept: Kept<S, V>,
        session: CommitGuard<E>,
        settings: Arc<Settings>,
        clock: Clock,
        outer_attempt: Option<u32>,
        // Boxed, since most requests never need it.
        progress: Option<Box<Progress>>,
        body: PhantomData<fn() -> B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, D> {
        /// Polling the response of the attempt in flight.
        Called { #[pin] future: F },
        /// Reading a failed response to its end, so that its connection can be used again.
        Draining { body: Pin<Box<D>>, left: u64, until: Option<Instant> },
        /// Waiting for the next attempt's time. Nothing is held.
        Waiting,
        /// Polling the inner service until it is ready for the next attempt.
        Readying,
        /// Finished.
        Done,
    }
}

/// What is kept of the request while its first attempt runs.
pub(crate) enum Kept<S, V> {
    /// It will never be sent again, for this reason: only what the report needs.
    Line {
        method: Method,
        uri: Uri,
        reason: StopReason,
    },
    /// All that another attempt needs.
    All(Tools<S, V>),
}

/// What another attempt needs.
pub(crate) struct Tools<S, V> {
    service: S,
    head: Snapshot,
    body: V,
}

/// An attempt's end.
enum Ended<D> {
    Response(Response<D>),
    Error(BoxError),
    TimedOut(Duration),
}

/// What to do after an attempt.
enum Next<D> {
    Return(Result<Response<D>, RetryError>),
    /// Wait; the response that failed is still to be drained.
    Wait(Option<D>),
}

impl<S, V> Tools<S, V> {
    pub(crate) fn new(service: S, head: Snapshot, body: V) -> Self {
        Self {
            service,
            head,
            body,
        }
    }
}

impl<S, V> Kept<S, V> {
    pub(crate) fn line(parts: &Parts, reason: StopReason) -> Self {
        Self::Line {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            reason,
        }
    }

    fn method(&self) -> &Method {
        match self {
            Self::Line { method, .. } => method,
            Self::All(tools) => tools.head.method(),
        }
    }

    fn uri(&self) -> &Uri {
        match self {
            Self::Line { uri, .. } => uri,
            Self::All(tools) => tools.head.uri(),
        }
    }
}

impl<S, F, E: Session, B, V, D> ResponseFuture<S, F, E, B, V, D> {
    pub(crate) fn new(
        future: F,
        session: AnySession<E>,
        kept: Kept<S, V>,
        settings: &Arc<Settings>,
        brought: Brought,
    ) -> Self {
        let clock = Clock::start(settings, brought.deadline);
        Self {
            state: State::Called { future },
            kept,
            session: CommitGuard {
                session,
                committed: false,
            },
            settings: Arc::clone(settings),
            clock,
            outer_attempt: brought.outer_attempt,
            progress: None,
            body: PhantomData,
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
        loop {
            let mut this = self.as_mut().project();
            match this.state.as_mut().project() {
                StateProj::Called { future } => {
                    let ended = match future.poll(cx) {
                        Poll::Ready(Ok(response)) => {
                            let session = &mut this.session.session;
                            if this.progress.is_none()
                                && this.settings.classifiers.is_empty()
                                && session.is_final(response.status(), response.headers())
                            {
                                session.succeeded();
                                this.state.set(State::Done);
                                return Poll::Ready(Ok(response));
                            }
                            Ended::Response(response)
                        }
                        Poll::Ready(Err(error)) => Ended::Error(error.into()),
                        Poll::Pending => match ready!(this.clock.poll_attempt(this.settings, cx)) {
                            Limit::Attempt(after) => Ended::TimedOut(after),
                            Limit::Deadline(deadline) => {
                                this.state.set(State::Done);
                                return Poll::Ready(Err(self.deadline_exceeded(deadline, true)));
                            }
                        },
                    };
                    match self.as_mut().ended(ended) {
                        Next::Return(result) => {
                            self.project().state.set(State::Done);
                            return Poll::Ready(result);
                        }
                        Next::Wait(body) => self.as_mut().wait(body),
                    }
                }
                StateProj::Draining { body, left, until } => {
                    if !drained(body, left, cx) {
                        ready!(this.clock.poll_until(*until, cx));
                    }
                    this.state.set(State::Waiting);
                    let wake_at = this.progress.as_ref().and_then(|progress| progress.wake_at);
                    this.clock.set_timer(wake_at);
                }
                StateProj::Waiting => {
                    ready!(this.clock.poll_timer(cx));
                    this.state.set(State::Readying);
                }
                StateProj::Readying => {
                    let Kept::All(tools) = this.kept else {
                        unreachable!("a request of which nothing was kept is never retried")
                    };
                    let deadline = this.clock.deadline();
                    // An attempt that cannot be waited for is not sent.
                    let ready = if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                        Poll::Pending
                    } else {
                        tools.service.poll_ready(cx)
                    };
                    match ready {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(error)) => {
                            this.state.set(State::Done);
                            return Poll::Ready(Err(self.not_ready(error.into())));
                        }
                        Poll::Pending => {
                            ready!(this.clock.poll_until(deadline, cx));
                            let deadline = this.clock.limit.unwrap_or_default();
                            this.state.set(State::Done);
                            return Poll::Ready(Err(self.deadline_exceeded(deadline, false)));
                        }
                    }
                    if let Err(error) = self.as_mut().call() {
                        self.project().state.set(State::Done);
                        return Poll::Ready(Err(error));
                    }
                }
                StateProj::Done => panic!("`ResponseFuture` polled after it finished"),
            }
        }
    }
}

impl<S, F, E, B, V, D> ResponseFuture<S, F, E, B, V, D>
where
    E: Session,
    V: Saved<B>,
    D: Body,
{
    /// Decides what becomes of an attempt that has ended, and keeps record of it.
    fn ended(self: Pin<&mut Self>, ended: Ended<D>) -> Next<D> {
        let this = self.project();
        let settings: &Settings = this.settings;
        let now = Instant::now();
        let (offset, took, elapsed) = this.clock.end_attempt(now);
        let session = &mut this.session.session;
        let number = this.progress.as_ref().map_or(1, |progress| progress.number);

        // What happened, and what everybody makes of it.
        let timed_out = Failure::new(Cause::AttemptTimeout);
        let (outcome, wall_clock) = match &ended {
            Ended::Response(response) => {
                let (status, headers) = (response.status(), response.headers());
                (Outcome::Response { status, headers }, None)
            }
            Ended::Error(error) => {
                let error: &(dyn std::error::Error + 'static) = &**error;
                let failure = classify::classify(error);
                let error = Some(error);
                (
                    Outcome::Error { failure, error },
                    Some(SystemTime::UNIX_EPOCH),
                )
            }
            Ended::TimedOut(_) => (
                Outcome::Error {
                    failure: timed_out,
                    error: None,
                },
                Some(SystemTime::UNIX_EPOCH),
            ),
        };
        let judgement = settings.judge(&outcome);
        let is_final = match &outcome {
            Outcome::Response { status, headers } => {
                judgement == Judgement::None && session.is_final(*status, headers)
            }
            Outcome::Error { .. } => false,
        };
        let mut decision = if is_final {
            Decision::Accept
        } else {
            let attempt = Attempt::new(number, this.kept.method(), outcome)
                .with_uri(this.kept.uri())
                .with_elapsed(elapsed)
                // Only a response can carry a date.
                .with_wall_clock(wall_clock.unwrap_or_else(|| settings.wall_clock()))
                .with_judgement(judgement);
            session.decide(&attempt)
        };
        if let (Decision::Accept, Outcome::Error { failure, .. }) = (&decision, &outcome) {
            // An error cannot be handed out as a response.
            decision = Decision::Stop(Stop::because(StopReason::NotTransient {
                cause: failure.cause,
            }));
        }
        if matches!(decision, Decision::Accept) {
            session.succeeded();
            if this.progress.is_none() {
                return match ended {
                    Ended::Response(response) => Next::Return(Ok(response)),
                    Ended::Error(_) | Ended::TimedOut(_) => unreachable!("an error is a stop"),
                };
            }
        }

        let outcome = match outcome {
            Outcome::Response { status, .. } => AttemptOutcome::Response(status),
            Outcome::Error { failure, error } => AttemptOutcome::Failed {
                kind: failure.kind,
                cause: failure.cause,
                error: match (&ended, error) {
                    (Ended::TimedOut(after), _) => AttemptTimedOut::new(*after).to_string(),
                    (_, error) => error.map(classify::chain).unwrap_or_default(),
                },
            },
        };
        let mut record = AttemptRecord {
            number,
            started: offset,
            took,
            outcome,
            wait: None,
            gates: crate::policy::Gates::default(),
            note: None,
            inner_attempts: inner_attempts(&ended),
        };
        let progress = this.progress.get_or_insert_with(|| {
            Box::new(Progress::new(
                this.kept.method().clone(),
                this.kept.uri(),
                *this.outer_attempt,
            ))
        });
        progress.quickest = progress.quickest.min(took);

        let stop = match decision {
            Decision::Accept => Stop::because(StopReason::Succeeded),
            Decision::Stop(stop) => stop,
            Decision::Retry(mut retry) => {
                let left = this.clock.left(now);
                match last_gates(
                    &mut retry,
                    this.kept,
                    this.session,
                    (left, settings.min_attempt.max(progress.quickest)),
                    now,
                ) {
                    Ok(()) => {
                        record.gates = retry.gates;
                        record.note = retry.note.take();
                        record.wait = Some(WaitRecord {
                            planned: retry.wait,
                            why: retry.why,
                            charged: retry.charged,
                        });
                        progress.retrying(record, settings, &retry, now);
                        return Next::Wait(match ended {
                            Ended::Response(response) => {
                                progress.last_error = None;
                                Some(response.into_body())
                            }
                            Ended::Error(error) => {
                                progress.last_error = Some(error);
                                None
                            }
                            Ended::TimedOut(after) => {
                                progress.last_error = Some(Box::new(AttemptTimedOut::new(after)));
                                None
                            }
                        });
                    }
                    Err(reason) => Stop {
                        raise: retry.raise,
                        gates: retry.gates,
                        note: retry.note,
                        ..Stop::because(reason)
                    },
                }
            }
        };
        record.gates = stop.gates;
        record.note = stop.note;
        progress.report.attempts.push(record);
        if !stop.reason.is_success() {
            this.session.session.failed(now.into_std());
        }
        let report = progress.finish(stop.reason, elapsed, settings);
        Next::Return(match ended {
            Ended::Response(_) if stop.raise => {
                Err(RetryError::new(RetryErrorKind::Status, report, None))
            }
            Ended::Response(mut response) => {
                response.extensions_mut().insert(report);
                Ok(response)
            }
            Ended::Error(error) => {
                Err(RetryError::new(RetryErrorKind::Failed, report, Some(error)))
            }
            Ended::TimedOut(after) => Err(RetryError::new(
                RetryErrorKind::AttemptTimeout,
                report,
                Some(Box::new(AttemptTimedOut::new(after))),
            )),
        })
    }

    /// Lets go of the failed response and everything else, and waits.
    fn wait(self: Pin<&mut Self>, body: Option<D>) {
        let mut this = self.project();
        if let Kept::All(tools) = this.kept {
            tools.head.settle();
            tools.body.retire();
            tools.head.settle();
        }
        let drain = this.settings.drain;
        if let Some(body) = body
            && !body.is_end_stream()
            // A body that is known to be too long would be read in vain.
            && body.size_hint().lower() <= drain.bytes
            && drain.bytes > 0
        {
            let body = Box::pin(body);
            let left = drain.bytes;
            let deadline = this.clock.deadline();
            let until = Instant::now().checked_add(drain.time);
            let until = until.into_iter().chain(deadline).min();
            this.state.set(State::Draining { body, left, until });
        } else {
            // Drops the inner future as well, and what it holds.
            this.state.set(State::Waiting);
            let wake_at = this.progress.as_ref().and_then(|progress| progress.wake_at);
            this.clock.set_timer(wake_at);
        }
    }

    /// Sends the next attempt; the inner service is ready.
    fn call<SE>(self: Pin<&mut Self>) -> Result<(), RetryError>
    where
        S: Service<Request<B>, Response = Response<D>, Error = SE, Future = F>,
    {
        let mut this = self.project();
        let (Kept::All(tools), Some(progress)) = (this.kept, this.progress.as_mut()) else {
            unreachable!("a retry follows a failure of a request that was kept")
        };
        let now = Instant::now();
        this.clock.start_attempt(now);
        progress.number = progress.number.saturating_add(1);
        let info = AttemptInfo {
            number: progress.number,
            previous: progress.previous,
            elapsed: this.clock.elapsed(now),
            left: this.clock.left(now),
        };
        let mut parts = tools.head.restore(progress.last);
        parts.extensions.insert(info);
        if let Some(name) = &this.settings.attempt_header {
            let retries = HeaderValue::from(info.number - 1);
            parts.headers.insert(name.clone(), retries);
        }
        if let Some(before_retry) = &this.settings.before_retry {
            before_retry(&mut parts, &info);
        }
        let body = match tools.body.next(&parts, progress.last) {
            Ok(body) => body,
            Err(error) => {
                this.session.session.failed(now.into_std());
                let last = progress.last_error.take();
                let (reason, source) = refused(error);
                let report = progress.finish(reason, info.elapsed, this.settings);
                return Err(RetryError::new(
                    RetryErrorKind::Body,
                    report,
                    source.or(last),
                ));
            }
        };
        // From here on the retry counts as sent.
        this.session.committed = false;
        let future = tools.service.call(Request::from_parts(parts, body));
        this.state.set(State::Called { future });
        Ok(())
    }

    fn deadline_exceeded(self: Pin<&mut Self>, deadline: Duration, in_attempt: bool) -> RetryError {
        let this = self.project();
        let now = Instant::now();
        let (offset, took, elapsed) = this.clock.end_attempt(now);
        this.session.session.failed(now.into_std());
        let progress = this.progress.get_or_insert_with(|| {
            Box::new(Progress::new(
                this.kept.method().clone(),
                this.kept.uri(),
                *this.outer_attempt,
            ))
        });
        if in_attempt {
            progress.report.attempts.push(AttemptRecord {
                number: progress.number,
                started: offset,
                took,
                outcome: AttemptOutcome::Failed {
                    kind: Cause::AttemptTimeout.kind(),
                    cause: Cause::AttemptTimeout,
                    error: String::new(),
                },
                wait: None,
                gates: {
                    let mut gates = crate::policy::Gates::default();
                    gates.set(Gate::Deadline, false);
                    gates
                },
                note: None,
                inner_attempts: None,
            });
        }
        let last = progress
            .last_error
            .take()
            .or_else(|| Some(Box::new(DeadlinePassed::new(deadline))));
        let reason = StopReason::DeadlineExceeded { deadline };
        let report = progress.finish(reason, elapsed, this.settings);
        RetryError::new(RetryErrorKind::DeadlineExceeded, report, last)
    }

    fn not_ready(self: Pin<&mut Self>, error: BoxError) -> RetryError {
        let this = self.project();
        let now = Instant::now();
        let elapsed = this.clock.elapsed(now);
        this.session.session.failed(now.into_std());
        let progress = this.progress.get_or_insert_with(|| {
            Box::new(Progress::new(
                this.kept.method().clone(),
                this.kept.uri(),
                *this.outer_attempt,
            ))
        });
        let last = progress.last_error.take();
        let report = progress.finish(StopReason::NotReady, elapsed, this.settings);
        RetryError::not_ready_again(report, last, error)
    }
}

/// Asks the gates that need more than the session: body, deadline and budget, the last of which
/// is the only one with a side effect.
fn last_gates<S, E: Session, B, V: Saved<B>>(
    retry: &mut Retry,
    kept: &Kept<S, V>,
    session: &mut CommitGuard<E>,
    (left, attempt): (Option<Duration>, Duration),
    now: Instant,
) -> Result<(), StopReason> {
    let tools = match kept {
        Kept::Line { reason, .. } => return Err(reason.clone()),
        Kept::All(tools) => tools,
    };
    let mut answer = Ok(());
    if let Err(error) = tools.body.check() {
        retry.gates.set(Gate::Body, false);
        answer = Err(refused(error).0);
    } else {
        retry.gates.set(Gate::Body, true);
    }
    if let Some(left) = left {
        let needed = retry.wait.saturating_add(attempt);
        retry.gates.set(Gate::Deadline, needed < left);
        if needed >= left && answer.is_ok() {
            answer = Err(StopReason::DeadlineTooClose { left, needed });
        }
    }
    answer?;
    match session.session.commit(now.into_std()) {
        Ok(asked) => {
            session.committed = true;
            if asked {
                retry.gates.set(Gate::Budget, true);
            }
            Ok(())
        }
        Err(reason) => {
            retry.gates.set(Gate::Budget, false);
            Err(reason)
        }
    }
}

/// How many attempts a retry layer further in made.
fn inner_attempts<D>(ended: &Ended<D>) -> Option<u32> {
    let report = match ended {
        Ended::Response(response) => response.extensions().get::<RetryReport>()?,
        Ended::Error(error) => error.downcast_ref::<RetryError>()?.report(),
        Ended::TimedOut(_) => return None,
    };
    u32::try_from(report.attempts.len()).ok()
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

/// Reads up to `left` bytes of a body; `false` if it has to be waited for.
fn drained<D: Body>(body: &mut Pin<Box<D>>, left: &mut u64, cx: &mut Context<'_>) -> bool {
    loop {
        match body.as_mut().poll_frame(cx) {
            Poll::Pending => return false,
            Poll::Ready(None | Some(Err(_))) => return true,
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Buf::remaining) as u64;
                // An endless row of empty frames must end as well.
                match left.checked_sub(bytes.max(1)) {
                    Some(rest) => *left = rest,
                    None => return true,
                }
            }
        }
    }
}

/// The session, and whether it has given a retry that is not sent yet.
struct CommitGuard<E: Session> {
    session: AnySession<E>,
    committed: bool,
}

impl<E: Session> Drop for CommitGuard<E> {
    fn drop(&mut self) {
        if self.committed {
            self.session.cancel();
        }
    }
}

impl<S, F, E: Session, B, V, D> std::fmt::Debug for ResponseFuture<S, F, E, B, V, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Called { .. } => "called",
            State::Draining { .. } => "draining",
            State::Waiting => "waiting",
            State::Readying => "readying",
            State::Done => "done",
        };
        f.debug_struct("ResponseFuture")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
