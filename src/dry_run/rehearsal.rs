//! One request of a dry run: the attempt loop without attempts.

use std::{
    fmt,
    time::{Duration, Instant},
};

use http::Method;

use super::{ScriptedOutcome, asked::Asked};
use crate::{
    budget::RetryPermit,
    classify::{Cause, Failure, Outcome},
    policy::{
        Attempt, Decision, Gate, Gates, Policy, RequestHead, Rng, Session, StopDecision, StopReason,
    },
    trial::{Conditions, Ended, Judged, Ruling, rule},
};

/// So many retries are looked at where a policy has no end of them.
const HORIZON: u32 = 100;

/// What the classifiers say of the attempt with this number.
pub(crate) type Judge<'a> = dyn Fn(u32, Outcome<'_>) -> Judged + 'a;

/// What surrounds the policy: a layer's time limits and classifiers, or nothing.
#[derive(Clone, Copy)]
pub(crate) struct Venue<'a> {
    pub(crate) attempt_timeout: Option<Duration>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) min_attempt: Duration,
    pub(crate) judge: Option<&'a Judge<'a>>,
    /// The most retries that are looked at.
    pub(crate) retries: u32,
    /// How many requests percentiles are taken of.
    pub(crate) samples: u32,
    /// Whether the deadline and the budget are left out, so that nothing but the policy's counts
    /// ends a request.
    pub(crate) free: bool,
}

impl Default for Venue<'_> {
    fn default() -> Self {
        Self {
            attempt_timeout: None,
            deadline: None,
            min_attempt: Duration::ZERO,
            judge: None,
            retries: HORIZON,
            samples: 2001,
            free: false,
        }
    }
}

impl fmt::Debug for Venue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Venue")
            .field("attempt_timeout", &self.attempt_timeout)
            .field("deadline", &self.deadline)
            .field("min_attempt", &self.min_attempt)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}

/// A request in a dry run.
pub(crate) struct Rehearsal<'a, S: Session> {
    session: Asked<S>,
    never: Option<StopReason>,
    method: &'a Method,
    venue: &'a Venue<'a>,
    /// The layer's, or the policy's.
    deadline: Option<Duration>,
    number: u32,
    elapsed: Duration,
    quickest: Duration,
    // An instant cannot be made up. Which one it is makes no difference.
    origin: Instant,
}

/// An attempt of a dry run, and what became of it.
pub(crate) struct Rehearsed {
    pub(crate) number: u32,
    pub(crate) started: Duration,
    pub(crate) took: Duration,
    /// Whether one of the layer's time limits ended it.
    pub(crate) timed_out: bool,
    /// The longest wait after which another attempt could still end before the deadline.
    pub(crate) room: Option<Duration>,
    pub(crate) decision: Decision,
}

impl<'a, S: Session> Rehearsal<'a, S> {
    pub(crate) fn new<P>(
        policy: &P,
        request: &RequestHead<'a>,
        rng: Rng,
        venue: &'a Venue<'a>,
    ) -> Self
    where
        P: Policy<Session = S> + ?Sized,
    {
        let session = Asked::start(policy, request, rng);
        Self {
            never: session.never(),
            deadline: venue.deadline.into_iter().chain(session.deadline()).min(),
            session,
            method: request.method(),
            venue,
            number: 0,
            elapsed: Duration::ZERO,
            quickest: Duration::MAX,
            origin: tokio::time::Instant::now().into_std(),
        }
    }

    /// Why no outcome can lead to another attempt, if none can.
    pub(crate) fn never(&self) -> Option<&StopReason> {
        self.never.as_ref()
    }

    /// Whether there may be a budget that is not asked, but taken to be full.
    pub(crate) fn assumes_budget(&self) -> bool {
        self.session.assumes_budget()
    }

    /// The time since the request started.
    pub(crate) fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Makes the next attempt, which ends with `scripted` unless a time limit ends it before.
    pub(crate) fn attempt(&mut self, scripted: &ScriptedOutcome) -> Rehearsed {
        self.number = self.number.saturating_add(1);
        let started = self.elapsed;
        let mut took = scripted.length();
        let mut outcome = scripted.outcome();
        let timeout = self.venue.attempt_timeout.filter(|timeout| took > *timeout);
        if let Some(timeout) = timeout {
            took = timeout;
            outcome = timed_out();
        }
        let left = self.left();
        let cut_off = left.zip(self.deadline);
        if let Some((left, deadline)) = cut_off.filter(|(left, _)| took > *left) {
            self.elapsed = deadline;
            let mut gates = Gates::default();
            gates.set(Gate::Deadline, false);
            return Rehearsed {
                number: self.number,
                started,
                took: left,
                timed_out: true,
                room: Some(Duration::ZERO),
                decision: Decision::Stop(StopDecision {
                    gates,
                    ..StopDecision::because(StopReason::DeadlineExceeded { deadline })
                }),
            };
        }
        self.elapsed = self.elapsed.saturating_add(took);
        self.quickest = self.quickest.min(took);

        let mut judged = match (scripted.said(), self.venue.judge) {
            (Some(judged), _) => judged,
            (None, Some(judge)) => judge(self.number, outcome),
            (None, None) => Judged::default(),
        };
        judged.failure = scripted.layer_failure();
        let (number, elapsed, method) = (self.number, self.elapsed, self.method);
        let now = self.now();
        let mut dry = Dry {
            is_kept: self.never.is_none(),
            // Where nothing but the policy's counts ends a request, it has all the time.
            left: self.left(),
            least: self.least(),
            free: self.venue.free,
        };
        let room = dry.left.map(|left| left.saturating_sub(dry.least));
        let ended = Ended {
            now,
            outcome,
            judged,
        };
        let ruling = rule(&mut self.session, &mut dry, ended, |outcome| {
            Attempt::new(number, method, outcome)
                .with_elapsed(elapsed)
                .with_wall_clock(scripted.ended_at())
        });
        let decision = match ruling {
            Ruling::Accept => Decision::Accept,
            Ruling::Stop(stop) => Decision::Stop(stop),
            Ruling::Retry(retry, permit) => {
                permit.sent();
                self.elapsed = self.elapsed.saturating_add(retry.wait);
                Decision::Retry(retry)
            }
        };
        Rehearsed {
            number,
            started,
            took,
            timed_out: timeout.is_some(),
            room,
            decision,
        }
    }

    fn left(&self) -> Option<Duration> {
        let deadline = self.deadline.filter(|_| !self.venue.free)?;
        Some(deadline.saturating_sub(self.elapsed))
    }

    /// The least time that the next attempt needs.
    fn least(&self) -> Duration {
        self.venue.min_attempt.max(self.quickest)
    }

    fn now(&self) -> Instant {
        self.origin.checked_add(self.elapsed).unwrap_or(self.origin)
    }
}

/// A dry run: nothing is known of the body, and no other request stands in the way.
struct Dry {
    is_kept: bool,
    left: Option<Duration>,
    least: Duration,
    free: bool,
}

impl<S: Session> Conditions<S> for Dry {
    fn is_kept(&self) -> bool {
        self.is_kept
    }

    fn left(&self) -> Option<Duration> {
        self.left
    }

    fn least(&self) -> Duration {
        self.least
    }

    fn commit(&mut self, session: &mut S, now: Instant) -> Result<RetryPermit, StopReason> {
        if self.free {
            Ok(RetryPermit::free())
        } else {
            session.commit(now)
        }
    }
}

fn timed_out() -> Outcome<'static> {
    Outcome::Error {
        failure: Failure::from(Cause::AttemptTimeout),
        error: None,
    }
}
