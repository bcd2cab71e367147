//! [`RedirectFuture`]: one hop after the other.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use http::{
    HeaderMap, Method, Request, Response, StatusCode, Uri, header::SET_COOKIE, request::Parts,
};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tower_service::Service;

use super::{
    head,
    rules::{self, Hop, Leads, Rules},
    trail::{self, Trail},
};
use crate::{
    BoxError, TARGET,
    body::{NotReplayable, SavedBody, read_on},
    classify::{chain, classify},
    error::{RetryError, RetryErrorKind},
    policy::{
        Preset, RetryAfterMode, RetryPolicy, StopReason, WaitReason,
        hints::{self, Hint},
    },
    report::{AttemptOutcome, RetryReport},
    snapshot::Snapshot,
    stack::{LayerError, LayerOutcome, RequestState},
    trial::after,
};

/// So much of a redirect's body is read, so that its connection can be used again.
const DRAINED: u64 = 16 * 1024;
/// And for so long.
const DRAINED_FOR: Duration = Duration::from_millis(100);

pin_project! {
    /// The future of a [`Redirect`](super::Redirect) service: all hops of one request.
    ///
    /// Dropping it at any point sends nothing more.
    #[must_use = "futures do nothing unless polled"]
    pub struct RedirectFuture<S, F, ReqBody, Saved, ResBody> {
        #[pin]
        state: State<F, ReqBody, ResBody>,
        service: S,
        // The head of the hop in flight.
        head: Snapshot,
        saved: Saved,
        rules: Arc<Rules>,
        // The request's own policy.
        own: Option<RetryPolicy>,
        shared: Option<RequestState>,
        started: Instant,
        hop_started: Instant,
        // Whether a hop has dropped the body, which no later one brings back.
        bodiless: bool,
        trail: Option<Box<Trail>>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, ReqBody, ResBody> {
        /// Polling the response of a hop.
        Calling { #[pin] future: F },
        /// Reading a redirect to its end.
        Draining { body: Pin<Box<ResBody>>, left: u64, until: Pin<Box<Sleep>>, next: Option<Next<ReqBody>> },
        /// Waiting as the redirect asked. Nothing is held.
        Waiting { until: Pin<Box<Sleep>>, next: Option<Next<ReqBody>> },
        /// Polling the service for the next hop.
        Readying { next: Option<Next<ReqBody>> },
    }
}

/// The request of the next hop, and when it is due.
struct Next<B> {
    request: Box<Request<B>>,
    due: Option<Instant>,
}

/// What became of a redirect.
enum Turn<B, T> {
    Follow(Next<B>, T),
    Ended(Result<Response<T>, RetryError>),
}

impl<S, F, ReqBody, Saved, ResBody> RedirectFuture<S, F, ReqBody, Saved, ResBody> {
    pub(super) fn new(
        future: F,
        service: S,
        head: Snapshot,
        saved: Saved,
        rules: Arc<Rules>,
    ) -> Self {
        let now = Instant::now();
        Self {
            state: State::Calling { future },
            service,
            head,
            saved,
            rules,
            own: None,
            shared: None,
            started: now,
            hop_started: now,
            bodiless: false,
            trail: None,
        }
    }

    /// With what the request brought along.
    pub(super) fn with(
        mut self,
        own: Option<RetryPolicy>,
        shared: Option<RequestState>,
        started: Instant,
    ) -> Self {
        self.own = own;
        self.shared = shared;
        self.started = started;
        self.hop_started = started;
        self
    }
}

impl<S, F, ReqBody, Saved, ResBody> Future for RedirectFuture<S, F, ReqBody, Saved, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>, Future = F>,
    S::Error: Into<BoxError>,
    F: Future<Output = Result<Response<ResBody>, S::Error>>,
    Saved: SavedBody<ReqBody>,
    ReqBody: Default,
    ResBody: Body,
{
    type Output = Result<Response<ResBody>, RetryError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut this = self.as_mut().project();
            match this.state.as_mut().project() {
                StateProj::Calling { future } => match ready!(future.poll(cx)) {
                    Ok(response) => match self.as_mut().turn(response) {
                        Turn::Ended(result) => return Poll::Ready(result),
                        Turn::Follow(next, body) => self.as_mut().drain(next, body),
                    },
                    Err(error) => return Poll::Ready(Err(self.failed(error.into()))),
                },
                StateProj::Draining {
                    body,
                    left,
                    until,
                    next,
                } => {
                    let late = until.as_mut().poll(cx).is_ready();
                    if !late && read_on(body.as_mut(), left, &mut 0, cx).is_pending() {
                        return Poll::Pending;
                    }
                    let next = next.take();
                    let due = next.as_ref().and_then(|next| next.due);
                    this.state.set(match due {
                        Some(due) => State::Waiting {
                            until: Box::pin(sleep_until(due)),
                            next,
                        },
                        None => State::Readying { next },
                    });
                }
                StateProj::Waiting { until, next } => {
                    ready!(until.as_mut().poll(cx));
                    let next = next.take();
                    this.state.set(State::Readying { next });
                }
                StateProj::Readying { next } => {
                    if let Err(error) = ready!(this.service.poll_ready(cx)) {
                        return Poll::Ready(Err(self.not_ready(error.into())));
                    }
                    let Some(next) = next.take() else {
                        panic!("`RedirectFuture` polled after it finished");
                    };
                    *this.head = Snapshot::take(&next.request);
                    *this.hop_started = Instant::now();
                    let future = this.service.call(*next.request);
                    this.state.set(State::Calling { future });
                }
            }
        }
    }
}

impl<S, F, ReqBody, Saved, ResBody> RedirectFuture<S, F, ReqBody, Saved, ResBody>
where
    Saved: SavedBody<ReqBody>,
    ReqBody: Default,
    ResBody: Body,
{
    /// A hop was answered.
    fn turn(mut self: Pin<&mut Self>, response: Response<ResBody>) -> Turn<ReqBody, ResBody> {
        if !response.status().is_redirection() {
            return Turn::Ended(self.answered(response));
        }
        let Some(parts) = self.head.copy() else {
            return Turn::Ended(self.answered(response));
        };
        let (policy, rules) = (self.policy(), Arc::clone(&self.rules));
        let from = (&parts.method, &parts.uri);
        match rules.leads(&policy, from, response.status(), response.headers()) {
            Leads::Nowhere => Turn::Ended(self.answered(response)),
            Leads::Refused(stop) => {
                self.as_mut().absorb(&response);
                Turn::Ended(self.as_mut().refused(response, stop))
            }
            Leads::To(hop) => match self.as_mut().follow(&policy, parts, &hop, &response) {
                Ok(next) => Turn::Follow(next, response.into_body()),
                Err(stop) => Turn::Ended(self.refused(response, stop)),
            },
        }
    }

    fn policy(&self) -> RetryPolicy {
        self.own.as_ref().unwrap_or(&self.rules.policy).clone()
    }

    /// Makes the request of the next hop.
    ///
    /// # Errors
    ///
    /// Why there is none.
    fn follow(
        mut self: Pin<&mut Self>,
        policy: &RetryPolicy,
        parts: Parts,
        hop: &Hop,
        response: &Response<ResBody>,
    ) -> Result<Next<ReqBody>, StopReason> {
        self.as_mut().absorb(response);
        let this = self.project();
        let Some(trail) = this.trail else {
            unreachable!("a redirect was absorbed")
        };
        let own_limit = this.rules.own_limit;
        rules::allowed(own_limit, policy, &trail.state, trail.hops)?;
        let now = Instant::now();
        let (wait, why) = asked(policy, response.status(), response.headers())?;
        let urllib3 = policy.preset() == Preset::Urllib3;
        let forgets = urllib3 || !wait.is_zero() || response.headers().contains_key(SET_COOKIE);
        if trail.is_cycle((parts.method.clone(), parts.uri.clone()), hop, forgets) {
            return Err(StopReason::RedirectRefused {
                because: "the request was there before".into(),
            });
        }
        let left = trail
            .state
            .deadline()
            .map(|end| end.saturating_duration_since(now));
        if let Some(left) = left.filter(|left| *left <= wait) {
            return Err(StopReason::DeadlineTooClose { left, needed: wait });
        }
        let head = head::redirected(parts, hop, this.rules, policy, &trail.state);
        *this.bodiless |= !hop.keeps_body;
        let body = if !*this.bodiless {
            this.saved.retire().map_err(no_body)?;
            this.saved.next(&head, false).map_err(no_body)?
        } else {
            this.saved.cancel();
            ReqBody::default()
        };
        trail.follow(hop, wait, why, own_limit.is_none());
        Ok(Next {
            request: Box::new(Request::from_parts(head, body)),
            due: (!wait.is_zero()).then(|| after(now, wait)),
        })
    }

    fn drain(self: Pin<&mut Self>, next: Next<ReqBody>, body: ResBody) {
        self.project().state.set(State::Draining {
            body: Box::pin(body),
            left: DRAINED,
            until: Box::pin(sleep(DRAINED_FOR)),
            next: Some(next),
        });
    }

    /// Adds the hop that was answered to the report.
    fn absorb(self: Pin<&mut Self>, response: &Response<ResBody>) {
        let this = self.project();
        let (started, hop_started) = (*this.started, *this.hop_started);
        let own = match response.extensions().is_empty() {
            true => None,
            false => response.extensions().get::<RetryReport>().cloned(),
        };
        let report = own.unwrap_or_else(|| {
            let outcome = AttemptOutcome::Response(response.status());
            let line = line(this.head);
            trail::answered(
                (line.0, &line.1),
                outcome,
                StopReason::Succeeded,
                hop_started,
                LayerOutcome::of(response.extensions()),
            )
        });
        match this.trail {
            None => *this.trail = Some(Trail::new(report, this.shared.clone())),
            Some(trail) => trail.report.go_on(report, hop_started - started),
        }
    }

    /// The last hop was answered.
    fn answered(
        mut self: Pin<&mut Self>,
        mut response: Response<ResBody>,
    ) -> Result<Response<ResBody>, RetryError> {
        if self.trail.is_some() {
            self.as_mut().absorb(&response);
            if let Some(trail) = self.project().trail.take() {
                response.extensions_mut().insert(trail.report);
            }
        }
        Ok(response)
    }

    /// A redirect is not followed.
    fn refused(
        self: Pin<&mut Self>,
        mut response: Response<ResBody>,
        stop: StopReason,
    ) -> Result<Response<ResBody>, RetryError> {
        let raises = self.rules.raises(&self.policy());
        let mut report = match self.project().trail.take() {
            Some(trail) => trail.report,
            None => unreachable!("a redirect was absorbed"),
        };
        report.stop = stop;
        told(&report);
        if raises {
            return Err(RetryError::new(RetryErrorKind::Redirect, report, None));
        }
        response.extensions_mut().insert(report);
        Ok(response)
    }

    /// The last hop failed.
    fn failed(self: Pin<&mut Self>, error: BoxError) -> RetryError {
        let this = self.project();
        let offset = *this.hop_started - *this.started;
        let mut error = RetryError::passed_on(error).unwrap_or_else(|error| {
            let outcome = AttemptOutcome::failed(classify(&*error), chain(&*error));
            let stop = StopReason::Custom("there are no retries below the redirects".into());
            let line = line(this.head);
            let below = error.downcast_ref().map(LayerError::outcome);
            let (line, started) = ((line.0, &line.1), *this.hop_started);
            let report = trail::answered(line, outcome, stop, started, below);
            RetryError::new(RetryErrorKind::Failed, report, Some(error))
        });
        if let Some(trail) = this.trail.take() {
            error.follows(trail.report, offset);
        }
        error
    }

    /// The inner service failed to become ready for the next hop.
    fn not_ready(self: Pin<&mut Self>, error: BoxError) -> RetryError {
        let this = self.project();
        let mut report = match this.trail.take() {
            Some(trail) => trail.report,
            None => unreachable!("there was a hop before"),
        };
        report.stop = StopReason::NotReady;
        report.elapsed = this.started.elapsed();
        told(&report);
        RetryError::not_ready_again(report, None, error)
    }
}

/// How long a redirect asks to wait.
///
/// # Errors
///
/// For longer than the policy is willing to.
fn asked(
    policy: &RetryPolicy,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<(Duration, WaitReason), StopReason> {
    let none = Ok((Duration::ZERO, WaitReason::Immediate));
    if !policy.respect_retry_after_header() {
        return none;
    }
    let cap = policy.retry_after_max();
    match hints::retry_after(status, headers, SystemTime::now(), cap) {
        Hint::Wait { asked, header } if !asked.is_zero() => {
            Ok((asked, WaitReason::ServerHint(header)))
        }
        Hint::OverCap { asked, cap, header } => match policy.retry_after_mode() {
            RetryAfterMode::Clamp => Ok((cap, WaitReason::ServerHintClamped(header))),
            RetryAfterMode::GiveUp => Err(StopReason::RetryAfterTooLong { asked, cap }),
        },
        _ => none,
    }
}

fn no_body(error: NotReplayable) -> StopReason {
    match error {
        NotReplayable::OverLimit { sent, limit } => StopReason::BodyNotReplayable { sent, limit },
        NotReplayable::Failed => StopReason::BodyFailed,
        NotReplayable::NotKept => StopReason::BodyNotKept,
        NotReplayable::Reopen(_) => StopReason::BodyNotReopened,
    }
}

/// The first line of a head.
fn line(head: &Snapshot) -> (Method, Uri) {
    match head.copy() {
        Some(mut parts) => (mem::take(&mut parts.method), mem::take(&mut parts.uri)),
        None => (head.method().clone(), Uri::default()),
    }
}

/// The end of a request whose redirect is not followed, for the log.
fn told(report: &RetryReport) {
    let (method, url, attempts) = (&report.method, &*report.url, report.attempt_count());
    let (reason, stop) = (report.stop.name(), &report.stop);
    tracing::warn!(target: TARGET, %method, url, attempts, reason, %stop, "redirect not followed");
}

impl<S, F, ReqBody, Saved, ResBody> fmt::Debug for RedirectFuture<S, F, ReqBody, Saved, ResBody> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Calling { .. } => "calling",
            State::Draining { .. } => "draining",
            State::Waiting { .. } => "waiting",
            State::Readying { .. } => "readying",
        };
        f.debug_struct("RedirectFuture")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
