//! What the future does in each of its states.

use std::{
    future::Future,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Poll, ready},
    time::Duration,
};

use http::{Request, Response, request::Parts};
use http_body::Body;
use tokio::time::Instant;
use tower_service::Service;

use super::{
    LayerSettings, RetryContext,
    clock::TimeLimit,
    drain::Drain,
    extras,
    future::{ResponseFuture, Spare, State, StateProj, Step, Turn},
    history::History,
    kept::{self, HeldAttempt, Retained},
    settings::Preparing,
    told,
    verdict::{Ended, Next, refused},
};
use crate::{
    BoxError,
    body::SavedBody,
    error::RetryError,
    policy::Session,
    reason::StopReason,
    snapshot::{self, Snapshot, Target},
    stack::{AskFor, AttemptInfo, TimeOut},
    trial::after,
};

type Polled<ResBody> = Poll<Step<ResBody>>;

fn fail<ResBody>(error: RetryError) -> Polled<ResBody> {
    Poll::Ready(Step::Return(Err(error)))
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
    /// The first attempt was refused before it was sent.
    pub(super) fn refused(self: Pin<&mut Self>) -> Polled<ResBody> {
        let mut this = self;
        let StateProj::Refused { stop } = this.as_mut().project().state.project() else {
            unreachable!("the state is that one")
        };
        let stop = stop.take();
        let stop = *stop.expect("a request is refused once");
        fail(this.unsent(stop))
    }

    /// The first attempt waits until the admissions let it through, and the service is ready.
    pub(super) fn poll_held(mut self: Pin<&mut Self>, turn: &mut Turn<'_, '_>) -> Polled<ResBody> {
        let limit = self.time_limit();
        let this = self.as_mut().project();
        let StateProj::Held { held: slot } = this.state.project() else {
            unreachable!("the state is that one")
        };
        let held = slot.as_mut().expect("a request that was held is sent once");
        while let Some(until) = held.until {
            ready!(this.clock.poll_until(Some(until), turn.cx));
            let now = Instant::now();
            if let Some(deadline) = this.clock.passed(limit, now) {
                return fail(self.deadline_exceeded(deadline));
            }
            let left = this.clock.left(limit, now);
            let admitted =
                extras::admissions(this.extras).map(|all| all.admit(AskFor::Again, now, left));
            match admitted.unwrap_or(Ok(Duration::ZERO)) {
                Ok(Duration::ZERO) => held.until = None,
                Ok(needed) => match left.filter(|left| *left <= needed) {
                    Some(left) => {
                        return fail(self.unsent(StopReason::DeadlineTooClose { left, needed }));
                    }
                    None => held.until = Some(after(now, needed)),
                },
                Err(stop) => return fail(self.unsent(stop)),
            }
        }
        let now = Instant::now();
        if let Some(deadline) = this.clock.passed(limit, now) {
            return fail(self.deadline_exceeded(deadline));
        }
        match held.service.poll_ready(turn.cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return fail(self.not_ready(error.into())),
            Poll::Pending => {
                let deadline = ready!(this.clock.poll_deadline(limit, turn.cx));
                return fail(self.deadline_exceeded(deadline));
            }
        }
        let first = slot.take();
        let HeldAttempt {
            mut service,
            mut request,
            ..
        } = *first.expect("it was there");
        let left = this.clock.left(limit, now);
        if let Err(stop) = told::deadline_of(&mut request, left, this.settings) {
            return fail(self.unsent(stop));
        }
        let future = service.call(request);
        let mut this = self.project();
        // The report tells of the hold, also if all goes well from here on.
        let history = this.history.insert(History::new());
        this.clock.start_attempt(now);
        if let Some(admissions) = extras::admissions(this.extras) {
            history.spread = admissions.sent();
        }
        this.state.set(State::Called { future });
        Poll::Ready(Step::Next)
    }

    /// The attempt in flight goes on, or has ended.
    #[inline]
    pub(super) fn poll_called(
        mut self: Pin<&mut Self>,
        turn: &mut Turn<'_, '_>,
    ) -> Polled<ResBody> {
        let StateProj::Called { future } = self.as_mut().project().state.project() else {
            unreachable!("the state is that one")
        };
        let polled = future.poll(turn.cx).map(Ended::of);
        self.called(polled, turn)
    }

    /// The attempt in flight was polled.
    #[inline]
    pub(super) fn called(
        mut self: Pin<&mut Self>,
        polled: Poll<Ended<ResBody>>,
        turn: &mut Turn<'_, '_>,
    ) -> Polled<ResBody> {
        let ended = match polled {
            Poll::Ready(ended) => ended,
            Poll::Pending => {
                let limit = self.time_limit();
                let this = self.as_mut().project();
                match ready!(this.clock.poll_attempt(limit, this.settings, turn.cx)) {
                    TimeLimit::Attempt(after) => {
                        let said = self.as_mut().drop_late(TimeOut::Attempt);
                        Ended::TimedOut(after, said)
                    }
                    TimeLimit::Deadline(deadline) => {
                        return fail(self.cut_off(deadline));
                    }
                }
            }
        };
        match self.as_mut().decide(ended, turn.judged.take()) {
            Next::Return(result) => Poll::Ready(Step::Return(result)),
            Next::Wait {
                body,
                spare,
                now,
                until,
            } => {
                let waits = self.wait(body, now, until);
                turn.now = (!waits).then_some(now);
                turn.spare = spare.filter(|_| !waits);
                Poll::Ready(Step::Next)
            }
        }
    }

    /// The failed response is read to its end, within bounds.
    pub(super) fn poll_draining(self: Pin<&mut Self>, turn: &mut Turn<'_, '_>) -> Polled<ResBody> {
        let mut this = self.project();
        let StateProj::Draining { drain } = this.state.as_mut().project() else {
            unreachable!("the state is that one")
        };
        let complete = match drain.as_mut().poll(turn.cx) {
            Poll::Ready(complete) => complete,
            Poll::Pending => {
                ready!(this.clock.poll_until(drain.until, turn.cx));
                false
            }
        };
        if let (Some(history), Some(record)) = (this.history, drain.record(complete)) {
            history.drained(record);
        }
        let until = drain.then;
        this.state.set(State::Waiting { until });
        Poll::Ready(Step::Next)
    }

    /// The next attempt is waited for; then the admissions are asked once more, since a server may
    /// have asked another request to wait in the meantime.
    pub(super) fn poll_waiting(
        mut self: Pin<&mut Self>,
        turn: &mut Turn<'_, '_>,
    ) -> Polled<ResBody> {
        let limit = self.time_limit();
        let mut this = self.as_mut().project();
        let StateProj::Waiting { until } = this.state.as_mut().project() else {
            unreachable!("the state is that one")
        };
        if until.is_some() {
            ready!(this.clock.poll_until(*until, turn.cx));
        }
        if let Some(admissions) = extras::admissions(this.extras) {
            let now = Instant::now();
            match admissions.admit(AskFor::Again, now, this.clock.left(limit, now)) {
                Ok(Duration::ZERO) => {}
                Ok(held) => {
                    // Only a wait that ends before the deadline is worth it.
                    if this.clock.passed(limit, now).is_none() {
                        let deadline = this.clock.deadline(limit);
                        let free = Some(after(now, held));
                        *until = deadline.into_iter().chain(free).min();
                        turn.now = None;
                        this.kept.settle();
                        return Poll::Ready(Step::Next);
                    }
                }
                Err(stop) => return fail(self.unsent(stop)),
            }
            admissions.sent();
        }
        match self.as_mut().start_preparing() {
            Some(preparing) => self.project().state.set(State::Preparing { preparing }),
            None => self.project().state.set(State::Readying),
        }
        Poll::Ready(Step::Next)
    }

    /// The hook prepares the next attempt.
    pub(super) fn poll_preparing(
        mut self: Pin<&mut Self>,
        turn: &mut Turn<'_, '_>,
    ) -> Polled<ResBody> {
        let limit = self.time_limit();
        let mut this = self.as_mut().project();
        let StateProj::Preparing { preparing } = this.state.as_mut().project() else {
            unreachable!("the state is that one")
        };
        let preparing = preparing.get_mut().unwrap_or_else(PoisonError::into_inner);
        match preparing.as_mut().poll(turn.cx) {
            Poll::Ready(Ok(parts)) => {
                if let Some(history) = this.history {
                    history.hooked().prepared = Some(parts);
                }
                this.state.set(State::Readying);
                Poll::Ready(Step::Next)
            }
            Poll::Ready(Err(error)) => fail(self.hook_failed(error)),
            Poll::Pending => {
                turn.now = None;
                this.kept.settle();
                let deadline = ready!(this.clock.poll_deadline(limit, turn.cx));
                fail(self.deadline_exceeded(deadline))
            }
        }
    }

    /// The inner service is polled until it is ready, and then called.
    pub(super) fn poll_readying(
        mut self: Pin<&mut Self>,
        turn: &mut Turn<'_, '_>,
    ) -> Polled<ResBody> {
        let limit = self.time_limit();
        let this = self.as_mut().project();
        let Retained::Replayable { service, .. } = this.kept else {
            unreachable!("a request of which nothing was kept is never retried")
        };
        let at_once = turn.now.is_some();
        let now = turn.now.take().unwrap_or_else(Instant::now);
        // An attempt that cannot be waited for is not sent.
        if let Some(deadline) = this.clock.passed(limit, now) {
            return fail(self.deadline_exceeded(deadline));
        }
        match service.poll_ready(turn.cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return fail(self.not_ready(error.into())),
            Poll::Pending => {
                this.kept.settle();
                let deadline = ready!(this.clock.poll_deadline(limit, turn.cx));
                return fail(self.deadline_exceeded(deadline));
            }
        }
        let spare = turn.spare.take().unwrap_or_default();
        match self.send_again(now, at_once, spare) {
            Ok(()) => Poll::Ready(Step::Next),
            Err(error) => fail(error),
        }
    }
}

impl<S, Fut, Sess, ReqBody, Saved, ResBody> ResponseFuture<S, Fut, Sess, ReqBody, Saved, ResBody>
where
    Sess: Session,
    Saved: SavedBody<ReqBody>,
    ResBody: Body,
{
    /// The time that the request has, from its start.
    pub(super) fn time_limit(&self) -> Option<Duration> {
        extras::time_limit(self.extras.as_deref(), &self.settings)
    }

    /// Lets go of the failed response and everything else, and waits. Returns whether there is
    /// anything to wait for.
    fn wait(
        self: Pin<&mut Self>,
        body: Option<ResBody>,
        now: Instant,
        then: Option<Instant>,
    ) -> bool {
        let limit = self.time_limit();
        let mut this = self.project();
        let waits = match body.filter(|body| is_worth_draining(body, this.settings)) {
            Some(body) => {
                let limits = this.settings.drain;
                let deadline = this.clock.deadline(limit);
                let until = now.checked_add(limits.time);
                let drain = Box::pin(Drain {
                    body,
                    left: limits.bytes,
                    read: 0,
                    waited: false,
                    since: now,
                    until: until.into_iter().chain(deadline).min(),
                    then,
                });
                this.state.set(State::Draining { drain });
                true
            }
            None => {
                // Drops the inner future as well, and what it holds.
                this.state.set(State::Waiting { until: then });
                then.is_some()
            }
        };
        if waits {
            this.kept.settle();
        }
        waits
    }

    /// Calls the hook that prepares the next attempt, if there is one.
    fn start_preparing(mut self: Pin<&mut Self>) -> Option<Mutex<Preparing>> {
        let limit = self.time_limit();
        let this = self.as_mut().project();
        let hook = this.settings.prepare_retry.as_ref()?;
        let (Retained::Replayable { head, .. }, Some(history)) = (this.kept, this.history) else {
            return None;
        };
        let now = Instant::now();
        // What cannot be restored is found out where it is sent.
        let parts = head.restore(next(history.last, false))?;
        let attempt = AttemptInfo {
            number: history.number(),
            previous: history.previous(),
            elapsed: this.clock.elapsed(now),
            left: this.clock.left(limit, now),
        };
        let response_headers = history.hooked().response_headers.take();
        let context = RetryContext {
            attempt,
            response_headers,
        };
        Some(Mutex::new(hook(parts, context)))
    }

    /// Sends the next attempt, `at_once` if it was not waited for. The inner service is ready.
    fn send_again<E>(
        mut self: Pin<&mut Self>,
        now: Instant,
        at_once: bool,
        spare: Spare,
    ) -> Result<(), RetryError>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>, Error = E, Future = Fut>,
    {
        let limit = self.time_limit();
        let mut this = self.as_mut().project();
        let (
            Retained::Replayable {
                head,
                service,
                body,
            },
            Some(history),
        ) = (&mut *this.kept, this.history.as_mut())
        else {
            unreachable!("a retry follows a failure of a request that was kept")
        };
        this.clock.start_attempt(now);
        let info = AttemptInfo {
            number: history.number(),
            previous: history.previous(),
            elapsed: this.clock.elapsed(now),
            left: this.clock.left(limit, now),
        };
        let parts = next_head(head, history, at_once, spare);
        let made = make_request(parts, body, &info, history, this.settings);
        let mut request = match made {
            Ok(request) => request,
            Err(unmade) => return Err(self.unmade(unmade)),
        };
        if let Some(extras) = this.extras {
            extras.pass_on(request.extensions_mut());
        }
        if this.settings.has_hook() {
            let url = {
                let target = Target::of(request.uri());
                (target != head.target()).then(|| kept::shown(target, this.settings))
            };
            if url != history.url() {
                this.session.moved(request.uri());
                if let Some(admissions) = extras::admissions(this.extras) {
                    admissions.moved(request.uri(), now);
                }
                history.hooked().url = url;
            }
        }
        if let Some(permit) = history.permit.take() {
            permit.sent();
        }
        let (counted, recorded) = (*this.counted, || body.recorded());
        counted.retried(this.settings, history.processed, recorded);
        let future = service.call(request);
        this.state.set(State::Called { future });
        Ok(())
    }
}

/// Whether the head is wanted once more.
fn next(last: bool, at_once: bool) -> snapshot::Next {
    match (last, at_once) {
        (true, _) => snapshot::Next::Never,
        (false, true) => snapshot::Next::Soon,
        (false, false) => snapshot::Next::Later,
    }
}

/// The head of the next attempt: what a hook has prepared, or the request's own, in the memory of
/// `spare`.
// Called once, as the next function is, and a head is large.
#[inline(always)]
fn next_head(
    head: &mut Snapshot,
    history: &mut History,
    at_once: bool,
    spare: Spare,
) -> Option<Parts> {
    let hooked = history.hooked.as_mut();
    let mut parts = match hooked.and_then(|hooked| hooked.prepared.take()) {
        Some(parts) => parts,
        None => head.restore_into(next(history.last, at_once), spare.headers)?,
    };
    if parts.extensions.is_empty() {
        parts.extensions = spare.extensions;
    }
    Some(parts)
}

/// Why there is no next attempt.
pub(super) enum Unmade {
    /// The body, or the head, cannot be sent again.
    Lost(StopReason, Option<BoxError>),
    /// The hook says so.
    Refused(BoxError),
    /// It could not end in time.
    Late(StopReason),
}

/// The next attempt.
#[inline(always)]
fn make_request<ReqBody>(
    head: Option<Parts>,
    body: &mut impl SavedBody<ReqBody>,
    info: &AttemptInfo,
    history: &History,
    settings: &LayerSettings,
) -> Result<Request<ReqBody>, Unmade> {
    let Some(mut parts) = head else {
        let reason = "the request has a header value that must not be sent again";
        return Err(Unmade::Lost(StopReason::Custom(reason.into()), None));
    };
    parts.extensions.insert(*info);
    told::retry(&mut parts.headers, info, history.uncounted, settings);
    let told = told::deadline(&mut parts.headers, info.left, settings);
    told.map_err(Unmade::Late)?.note(&mut parts.extensions);
    if let Some(before_retry) = &settings.before_retry {
        before_retry(&mut parts, info).map_err(Unmade::Refused)?;
    }
    match body.next(&parts, history.last).map_err(refused) {
        Ok(body) => Ok(Request::from_parts(parts, body)),
        Err((reason, source)) => Err(Unmade::Lost(reason, source)),
    }
}

/// Whether there is something of the response to be read, and not too much.
fn is_worth_draining(body: &impl Body, settings: &LayerSettings) -> bool {
    let most = settings.drain.bytes;
    // A body that is known to be too long would be read in vain.
    !body.is_end_stream() && body.size_hint().lower() <= most && most > 0
}
