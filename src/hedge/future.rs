//! [`HedgeFuture`]: a request, and its hedge if it is late.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_service::Service;

use super::{
    estimate::Estimate,
    outcome::{self, Outcome, Story, attempts, better, is_failure, proved},
    race::Race,
    shared::{Delay, Shared, count},
};
use crate::{
    BoxError, body::SavedBody, budget::Slot, classify::Sent, policy::RetryPolicy,
    snapshot::Snapshot, stack::time_out,
};

pin_project! {
    /// The future of a [`Hedge`](super::Hedge) service.
    ///
    /// Dropped at any point, it sends nothing more, and gives back what an unsent hedge took from
    /// the budgets.
    ///
    /// # Panics
    ///
    /// Where it has to wait before it can be hedged, there must be a tokio runtime with a timer.
    #[must_use = "futures do nothing unless polled"]
    pub struct HedgeFuture<S, Fut, ReqBody, Saved, ResBody> {
        #[pin]
        first: First<Fut>,
        // A request that may not be hedged has none of the two.
        watched: Option<Watched<S, Saved>>,
        race: Option<Pin<Box<Race<Fut, ResBody>>>>,
        body: PhantomData<fn() -> ReqBody>,
    }

    impl<S, Fut, ReqBody, Saved, ResBody> PinnedDrop for HedgeFuture<S, Fut, ReqBody, Saved, ResBody> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Some(watched) = this.watched {
                let sent_after = this.race.as_ref().and_then(|race| race.sent_after);
                watched.dropped(sent_after);
            }
        }
    }
}

pin_project! {
    #[project = FirstProj]
    enum First<Fut> {
        /// The request itself is under way.
        Sent { #[pin] future: Fut },
        /// It has ended, and its hedge may not have.
        Ended,
    }
}

/// A request that may be hedged: its time counts, too.
pub(super) struct Watched<S, Saved> {
    pub(super) shared: Arc<Shared>,
    pub(super) slot: Slot,
    /// Where its scope's estimate is.
    place: u32,
    /// Since when it is waited for; a request that is answered at its first poll took no time.
    pub(super) started: Option<Instant>,
    /// What a hedge needs, if there may be one.
    pub(super) kept: Option<Kept<S, Saved>>,
}

pub(super) struct Kept<S, Saved> {
    pub(super) head: Snapshot,
    pub(super) service: S,
    pub(super) body: Saved,
    /// The request's own policy, if it brought one along.
    pub(super) policy: Option<RetryPolicy>,
}

impl<S, Saved> Watched<S, Saved> {
    #[inline]
    pub(super) fn new(
        shared: &Arc<Shared>,
        slot: Slot,
        place: u32,
        kept: Option<Kept<S, Saved>>,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            slot,
            place,
            started: None,
            kept,
        }
    }

    #[inline]
    fn estimate(&self) -> Option<&Estimate> {
        self.shared.estimate(self.place)
    }

    /// The estimate that this request's time counts for.
    #[inline]
    fn measured(&self) -> Option<&Estimate> {
        match self.shared.delay {
            Delay::Measured => self.estimate(),
            Delay::Fixed(_) => None,
        }
    }

    fn delay(&self) -> Option<Duration> {
        match self.shared.delay {
            Delay::Fixed(delay) => Some(delay),
            Delay::Measured => self.estimate()?.delay(),
        }
    }

    /// Whether the server asked for a pause that is not over.
    pub(super) fn is_quiet(&self, shared: &Shared, now: Instant) -> bool {
        let now = shared.since_start(now);
        self.estimate().is_some_and(|all| all.is_quiet(now))
    }

    /// The option by which somebody vouches for the hedge's body.
    pub(super) fn vouched_by<B>(&self) -> Option<&'static str>
    where
        Saved: SavedBody<B>,
    {
        self.kept.as_ref()?.body.vouched_by()
    }

    fn took(&self) -> Duration {
        self.started.map_or(Duration::ZERO, |start| {
            Instant::now().saturating_duration_since(start)
        })
    }

    /// The request has ended, or it lost: counts it, and its time.
    ///
    /// A failure tells how long an answer takes only if it took longer than answers do.
    #[inline]
    fn measure(&self, answered: bool) {
        self.shared.own_budget.deposit(self.slot);
        let Some(estimate) = self.measured() else {
            return;
        };
        let took = self.took();
        if answered || estimate.delay().is_some_and(|delay| took >= delay) {
            let now = || self.shared.since_start(Instant::now());
            estimate.record(took, self.shared.load, now);
        }
    }

    /// The request has ended, and no hedge was sent.
    #[inline]
    fn end<B>(&self, outcome: &Outcome<B>) {
        let failed = self.judge(outcome);
        self.measure(!failed);
    }

    /// The request is dropped, and its hedge, if one was sent. If that is because its time is over,
    /// it was sent twice, which nobody else can tell.
    fn dropped(&self, sent_after: Option<Duration>) {
        if time_out().is_some() {
            self.out_of_time();
            if let Some(after) = sent_after {
                outcome::say_late(after);
            }
        }
    }

    /// Counts as the time that it took at least, if it was late: of one that had less time nothing
    /// is known.
    fn out_of_time(&self) {
        let Some(estimate) = self.measured().filter(|_| self.started.is_some()) else {
            return;
        };
        let took = self.took();
        if estimate.delay().is_some_and(|delay| took >= delay) {
            let now = || self.shared.since_start(Instant::now());
            estimate.record(took, self.shared.load, now);
        }
    }

    /// Whether the outcome is a failure. If so, a server that asks for a pause is heard.
    #[inline]
    fn judge<B>(&self, outcome: &Outcome<B>) -> bool {
        let own = self.kept.as_ref().and_then(|kept| kept.policy.as_ref());
        let policy = own.unwrap_or(&self.shared.policy);
        let failed = is_failure(outcome, policy);
        if failed {
            if let (Some(asked), Some(estimate)) =
                (outcome::asked(outcome, policy), self.estimate())
            {
                let now = self.shared.since_start(Instant::now());
                estimate.quiet(now.saturating_add(asked));
            }
        }
        failed
    }
}

impl<S, Fut, ReqBody, Saved, ResBody> HedgeFuture<S, Fut, ReqBody, Saved, ResBody> {
    /// A request that is sent once.
    #[inline]
    pub(super) fn once(future: Fut) -> Self {
        Self {
            first: First::Sent { future },
            watched: None,
            race: None,
            body: PhantomData,
        }
    }

    #[inline]
    pub(super) fn watched(future: Fut, watched: Watched<S, Saved>) -> Self {
        Self {
            first: First::Sent { future },
            watched: Some(watched),
            race: None,
            body: PhantomData,
        }
    }

    /// The request was not answered at once: from now on its time runs.
    fn start_race(self: Pin<&mut Self>) {
        let this = self.project();
        let Some(watched) = this.watched else {
            return;
        };
        if watched.started.is_some() {
            return;
        }
        let now = Instant::now();
        watched.started = Some(now);
        if watched.kept.is_none() {
            return;
        }
        match watched.delay().and_then(|delay| now.checked_add(delay)) {
            Some(at) => *this.race = Some(Race::start(at)),
            None => watched.kept = None,
        }
    }

    /// The request, or its hedge, was answered, or both have failed.
    #[cold]
    fn conclude(
        self: Pin<&mut Self>,
        outcome: Outcome<ResBody>,
        won: bool,
        other: Option<Outcome<ResBody>>,
    ) -> Outcome<ResBody> {
        let mut this = self.project();
        let (Some(watched), Some(mut race)) = (this.watched.take(), this.race.take()) else {
            return outcome;
        };
        if won && other.is_none() {
            // The first request took at least so long.
            watched.measure(true);
        }
        this.first.set(First::Ended);
        let race = race.as_mut().project();
        let story = Story {
            after: race.sent_after.unwrap_or_default(),
            won,
            others: other.as_ref().map_or(1, attempts),
            proved: match (&outcome, &other) {
                (Err(_), Some(other)) => both_proved(proved(&outcome), proved(other)),
                _ => None,
            },
            vouched_by: *race.vouched_by,
        };
        story.tell(outcome)
    }
}

/// What is certain of two requests together.
fn both_proved(one: Option<Sent>, other: Option<Sent>) -> Option<Sent> {
    match (one?, other?) {
        (Sent::Never, Sent::Never) => Some(Sent::Never),
        (Sent::Never | Sent::Unprocessed, Sent::Never | Sent::Unprocessed) => {
            Some(Sent::Unprocessed)
        }
        _ => None,
    }
}

impl<S, Fut, ReqBody, Saved, ResBody> HedgeFuture<S, Fut, ReqBody, Saved, ResBody> {
    /// Polls the request itself, once it is late or may become so.
    fn poll_first<E>(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<ResBody>>
    where
        Fut: Future<Output = Result<Response<ResBody>, E>>,
        E: Into<BoxError>,
    {
        let mut this = self.as_mut().project();
        let FirstProj::Sent { future } = this.first.as_mut().project() else {
            return Poll::Pending;
        };
        let outcome = ready!(future.poll(cx)).map_err(Into::into);
        this.first.set(First::Ended);
        let (Some(watched), Some(race)) = (this.watched.as_mut(), this.race.as_mut()) else {
            return Poll::Ready(outcome);
        };
        let race = race.as_mut().project();
        if race.sent_after.is_none() {
            watched.end(&outcome);
            *this.watched = None;
            *this.race = None;
            return Poll::Ready(outcome);
        }
        let failed = watched.judge(&outcome);
        watched.measure(!failed);
        if !failed {
            if race.hedge.is_none() {
                count(&watched.shared.counters.0.lost);
            }
            let other = race.hedge.take();
            return Poll::Ready(self.conclude(outcome, false, other));
        }
        match race.hedge.take() {
            Some(hedge) => {
                let (outcome, other, won) = better(outcome, hedge);
                Poll::Ready(self.conclude(outcome, won, Some(other)))
            }
            None => {
                *race.first = Some(outcome);
                Poll::Pending
            }
        }
    }

    /// The hedge has ended.
    #[cold]
    fn hedge_ended(mut self: Pin<&mut Self>, outcome: Outcome<ResBody>) -> Poll<Outcome<ResBody>> {
        let this = self.as_mut().project();
        let (Some(watched), Some(race)) = (this.watched.as_mut(), this.race.as_mut()) else {
            return Poll::Ready(outcome);
        };
        let race = race.as_mut().project();
        let failed = watched.judge(&outcome);
        let counters = &watched.shared.counters.0;
        count(if failed {
            &counters.failed
        } else {
            &counters.won
        });
        match (failed, race.first.take()) {
            (false, first) => Poll::Ready(self.conclude(outcome, true, first)),
            (true, Some(first)) => {
                let (outcome, other, won) = better(first, outcome);
                Poll::Ready(self.conclude(outcome, won, Some(other)))
            }
            (true, None) => {
                *race.hedge = Some(outcome);
                Poll::Pending
            }
        }
    }
}

impl<S, Fut, ReqBody, Saved, ResBody, E> HedgeFuture<S, Fut, ReqBody, Saved, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>, Error = E, Future = Fut>,
    Fut: Future<Output = Result<Response<ResBody>, E>>,
    E: Into<BoxError>,
    Saved: SavedBody<ReqBody>,
{
    /// Polls both the request and its hedge, or the timer for that.
    #[inline(never)]
    fn poll_both(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<ResBody>> {
        // First, since it was there first.
        match self.as_mut().poll_first(cx) {
            Poll::Ready(outcome) => Poll::Ready(outcome),
            Poll::Pending => self.poll_hedge(cx),
        }
    }

    fn poll_hedge(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<ResBody>> {
        let this = self.as_mut().project();
        let (Some(race), Some(watched)) = (this.race, this.watched) else {
            panic!("`HedgeFuture` polled after it finished")
        };
        let hedge = ready!(race.as_mut().poll::<S, ReqBody, Saved, E>(watched, cx));
        self.hedge_ended(hedge)
    }
}

impl<S, Fut, ReqBody, Saved, ResBody, E> Future for HedgeFuture<S, Fut, ReqBody, Saved, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>, Error = E, Future = Fut>,
    Fut: Future<Output = Result<Response<ResBody>, E>>,
    E: Into<BoxError>,
    Saved: SavedBody<ReqBody>,
{
    type Output = Result<Response<ResBody>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.as_mut().project();
        if this.race.is_some() {
            return self.poll_both(cx);
        }
        let FirstProj::Sent { future } = this.first.as_mut().project() else {
            panic!("`HedgeFuture` polled after it finished")
        };
        if this.watched.is_none() {
            return future.poll(cx).map_err(Into::into);
        }
        match future.poll(cx) {
            Poll::Ready(result) => {
                let outcome = result.map_err(Into::into);
                this.first.set(First::Ended);
                if let Some(watched) = this.watched.take() {
                    watched.end(&outcome);
                }
                Poll::Ready(outcome)
            }
            Poll::Pending => {
                self.as_mut().start_race();
                match self.race {
                    Some(_) => self.poll_hedge(cx),
                    None => Poll::Pending,
                }
            }
        }
    }
}

impl<S, Fut, ReqBody, Saved, ResBody> fmt::Debug for HedgeFuture<S, Fut, ReqBody, Saved, ResBody> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HedgeFuture")
            .field("may_be_hedged", &self.watched.is_some())
            .finish_non_exhaustive()
    }
}
