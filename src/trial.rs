//! The kernel: an attempt has ended, and it is decided what becomes of the request.
//!
//! The session is asked first, which decides by the rules of its policy. If it wants another
//! attempt, the gates that need more than the session are asked in this order, and the first that
//! says no is the reason:
//!
//! 1. whether the body can be sent again,
//! 2. whether the wait and an attempt fit into the time until the deadline,
//! 3. whether the admissions and the limit of retries in flight let it through; what they make
//!    longer is compared with the deadline once more,
//! 4. whether the budget has something left.
//!
//! An attempt that a layer below turned away for some time was none: nobody but the first three gates
//! is asked about it ([`turned_away`]).
//!
//! The first two take nothing and are both asked, so that the report is whole. The attempt loop,
//! the dry run and the replay of a report all ask here, so that none of them can say what the
//! others do not do; they differ in their [`Conditions`] only.

use std::{
    borrow::Cow,
    mem,
    time::{Duration, Instant},
};

use crate::{
    budget::RetryPermit,
    classify::{Failure, Outcome},
    policy::{Attempt, Decision, Eligibility, RetryDecision, Session, StopDecision},
    reason::{Gate, LimitKind, Sent, StopReason, WaitReason},
    stack::{Changes, LayerOutcome, Opinion},
};

/// What the gates behind the session's are asked about.
pub(crate) trait Conditions<S: Session> {
    /// Whether what another attempt needs was kept.
    fn is_kept(&self) -> bool;

    /// The session has decided, and no gate was asked yet.
    fn decided(&mut self, decision: &Decision) {
        let _ = decision;
    }

    /// Whether the body can be sent again; `None` where nothing is known of it.
    fn body(&mut self) -> Option<Result<(), StopReason>> {
        None
    }

    /// The time left until the deadline, if there is one.
    fn left(&self) -> Option<Duration>;

    /// The least that another attempt needs of it.
    fn least(&self) -> Duration;

    /// Whether the admissions let the retry through, and how long they hold it back; `None` if
    /// there are none.
    fn admit(&mut self, retry: &RetryDecision) -> Option<Result<Duration, StopReason>> {
        let _ = retry;
        None
    }

    /// The attempt was turned away by a layer below: it is as if it had not been.
    fn turned_away(&mut self) {}

    /// How often the request was turned away before.
    fn times_turned_away(&self) -> u32 {
        0
    }

    /// Asks the session for the budget's permit.
    fn commit(&mut self, session: &mut S, now: Instant) -> Result<RetryPermit, StopReason> {
        session.commit(now)
    }

    /// The retry is certain but for the attempt that runs, which is told to leave the body alone.
    /// An upload may be under way on another thread, and have passed the replay limit since
    /// [`body`](Self::body) was asked. From here on it cannot.
    fn retire(&mut self) -> Result<(), StopReason> {
        Ok(())
    }
}

/// What becomes of a request.
pub(crate) enum Ruling {
    /// The outcome is no failure.
    Accept,
    /// The request is sent again.
    Retry(RetryDecision, RetryPermit),
    /// It is not.
    Stop(StopDecision),
}

/// How an attempt ended.
pub(crate) struct Ended<'a> {
    pub(crate) now: Instant,
    pub(crate) outcome: Outcome<'a>,
    pub(crate) judged: Judged,
}

/// What the classifiers and the layers below say of an attempt.
#[derive(Default)]
pub(crate) struct Judged {
    pub(crate) opinion: Opinion,
    /// Whose opinion it is.
    pub(crate) by: Cow<'static, str>,
    /// What failed in a response whose status does not say so.
    pub(crate) failure: Option<Failure>,
    /// What of another attempt would be another.
    pub(crate) changes: Changes,
    /// When the request is to be sent again, if somebody says so, and who.
    pub(crate) wait: Option<(Duration, Cow<'static, str>)>,
    /// How long the server asks to wait, where the response's head does not say so, and who has
    /// read it.
    pub(crate) asked: Option<(Duration, Cow<'static, str>)>,
    /// After what time a layer below lets the request through that turned it away, and which.
    pub(crate) rejected: Option<(Duration, Cow<'static, str>)>,
}

impl Judged {
    /// The opinion of a classifier or a layer of this name.
    pub(crate) fn by(by: Cow<'static, str>, opinion: Opinion) -> Self {
        let wait = match &opinion {
            Opinion::RetryIn(_, wait) => Some((*wait, by.clone())),
            _ => None,
        };
        Self {
            opinion,
            by,
            failure: None,
            changes: Changes::default(),
            wait,
            asked: None,
            rejected: None,
        }
    }

    /// What a layer below says, in its own outcome; `sent` is what is proved of the request. Of a
    /// response that is the layer's own word, of an error what all of its chain proves.
    pub(crate) fn below(below: &LayerOutcome, sent: Option<Sent>) -> Self {
        let mut judged = Self::by(below.by.clone(), below.opinion.clone());
        judged.opinion = match (judged.opinion, sent) {
            (
                Opinion::Retry(because) | Opinion::RetryIn(because, _),
                Some(Sent::Never | Sent::Unprocessed),
            ) => Opinion::Unprocessed(because),
            (opinion, _) => opinion,
        };
        if let Some(wait) = below.wait {
            judged.wait = Some((wait, below.by.clone()));
        }
        judged
    }
}

/// Decides what becomes of a request whose attempt has ended. The rest of the attempt is made by
/// `attempt` if it matters.
pub(crate) fn rule<'a, S: Session>(
    session: &mut S,
    conditions: &mut impl Conditions<S>,
    mut ended: Ended<'a>,
    attempt: impl FnOnce(Outcome<'a>) -> Attempt<'a>,
) -> Ruling {
    let (now, outcome, judged) = (ended.now, ended.outcome, &mut ended.judged);
    if let (Some(rejected), Opinion::NoOpinion) = (judged.rejected.take(), &judged.opinion) {
        return turned_away(session, conditions, now, rejected);
    }
    let wait = judged.wait.take();
    let mut decision = ask(session, conditions, outcome, judged, attempt);
    if let (Decision::Retry(retry), Some((wait, by))) = (&mut decision, wait) {
        retry.wait = wait;
        retry.why = WaitReason::Opinion { by };
    }
    conditions.decided(&decision);
    let stop = match decision {
        Decision::Accept => {
            session.succeeded();
            return Ruling::Accept;
        }
        Decision::Stop(stop) => stop,
        Decision::Retry(mut retry) => match pass_gates(&mut retry, session, conditions, now) {
            Ok(permit) => return Ruling::Retry(retry, permit),
            Err(reason) => StopDecision {
                reason,
                raise: retry.raise,
                gates: retry.gates,
                asked: retry.asked,
                note: retry.note,
            },
        },
    };
    session.failed(now);
    Ruling::Stop(stop)
}

/// So often a request is turned away at most: without a deadline, nothing else would end it.
const MOST_TURNED_AWAY: u32 = 30;

/// Decides what becomes of a request that the layer `by` has not sent, and would in some time. The
/// session never hears of it: it is outside of counts and budget, and safe for every method.
fn turned_away<S: Session>(
    session: &mut S,
    conditions: &mut impl Conditions<S>,
    now: Instant,
    (retry_in, by): (Duration, Cow<'static, str>),
) -> Ruling {
    conditions.turned_away();
    let why = WaitReason::Opinion { by: by.clone() };
    let mut retry = RetryDecision::after(retry_in);
    (retry.why, retry.charged) = (why, None);
    retry.gates.set(Gate::Transient, true);
    let passed = if conditions.is_kept() {
        wait_for(&mut retry, conditions, by)
    } else {
        Err(never(&mut retry, session.eligibility()))
    };
    match passed {
        Ok(()) => Ruling::Retry(retry, RetryPermit::free()),
        Err(reason) => {
            session.failed(now);
            let gates = retry.gates;
            let stop = StopDecision::because(reason);
            Ruling::Stop(StopDecision { gates, ..stop })
        }
    }
}

/// Asks the gates whether the time is waited for after which the layer `by` lets it through.
fn wait_for<S: Session>(
    retry: &mut RetryDecision,
    conditions: &mut impl Conditions<S>,
    by: Cow<'static, str>,
) -> Result<(), StopReason> {
    let retry_in = retry.wait;
    let rejected = || StopReason::Rejected { by, retry_in };
    if conditions.times_turned_away() >= MOST_TURNED_AWAY {
        return Err(rejected());
    }
    if let Some(body) = conditions.body() {
        retry.gates.set(Gate::Body, body.is_ok());
        body?;
    }
    if ask_deadline(retry, conditions).is_err() {
        return Err(rejected());
    }
    if let Some(admitted) = conditions.admit(retry) {
        retry.gates.set(Gate::Throttle, admitted.is_ok());
        let wait = admitted?;
        if wait > retry.wait {
            retry.wait = wait;
            retry.why = WaitReason::SharedHint;
            ask_deadline(retry, conditions)?;
        }
    }
    conditions.retire().inspect_err(|_| {
        retry.gates.set(Gate::Body, false);
    })
}

/// What holds for every policy's answer.
fn ask<'a, S: Session>(
    session: &mut S,
    conditions: &impl Conditions<S>,
    outcome: Outcome<'a>,
    judged: &mut Judged,
    attempt: impl FnOnce(Outcome<'a>) -> Attempt<'a>,
) -> Decision {
    match outcome {
        Outcome::Response { status, headers }
            if judged.opinion == Opinion::NoOpinion
                && judged.failure.is_none()
                && session.is_final(status, headers) =>
        {
            return Decision::Accept;
        }
        _ => {}
    }
    let mut attempt = attempt(outcome);
    attempt.set_opinion(mem::take(&mut judged.by), mem::take(&mut judged.opinion));
    attempt.set_below(judged.failure, judged.asked.take(), judged.changes);
    attempt.set_room(room(conditions));
    let decision = session.decide(&attempt);
    if let (Decision::Accept, Outcome::Error { failure, .. }) = (&decision, outcome) {
        // An error cannot be handed out as a response.
        return Decision::Stop(StopDecision::because(StopReason::NotTransient {
            cause: failure.cause,
        }));
    }
    decision
}

/// So much later than asked for a timer of tokio's can end.
const TIMER: Duration = Duration::from_millis(1);

/// The longest wait that leaves time for another attempt.
fn room<S: Session>(conditions: &impl Conditions<S>) -> Option<Duration> {
    let needed = conditions.least().saturating_add(TIMER);
    Some(conditions.left()?.saturating_sub(needed))
}

/// Asks the gates behind the session's own.
fn pass_gates<S: Session>(
    retry: &mut RetryDecision,
    session: &mut S,
    conditions: &mut impl Conditions<S>,
    now: Instant,
) -> Result<RetryPermit, StopReason> {
    if !conditions.is_kept() {
        return Err(never(retry, session.eligibility()));
    }
    let body = conditions.body();
    if let Some(body) = &body {
        retry.gates.set(Gate::Body, body.is_ok());
    }
    let in_time = ask_deadline(retry, conditions);
    body.unwrap_or(Ok(())).and(in_time)?;
    if let Some(admitted) = conditions.admit(retry) {
        retry.gates.set(Gate::Throttle, admitted.is_ok());
        let wait = admitted?;
        if wait > retry.wait {
            retry.wait = wait;
            retry.why = WaitReason::SharedHint;
            ask_deadline(retry, conditions)?;
        }
    }
    let permit = conditions.commit(session, now).inspect_err(|_| {
        retry.gates.set(Gate::Budget, false);
    })?;
    if permit.is_charged() {
        retry.gates.set(Gate::Budget, true);
    }
    // If it cannot, the permit gives back what was taken.
    conditions.retire().inspect_err(|_| {
        retry.gates.set(Gate::Body, false);
    })?;
    Ok(permit)
}

/// Whether the wait and another attempt fit into the time left.
fn ask_deadline<S: Session>(
    retry: &mut RetryDecision,
    conditions: &impl Conditions<S>,
) -> Result<(), StopReason> {
    let Some(left) = conditions.left() else {
        return Ok(());
    };
    let needed = retry.wait.saturating_add(conditions.least());
    retry.gates.set(Gate::Deadline, needed < left);
    if needed < left {
        Ok(())
    } else {
        Err(StopReason::DeadlineTooClose { left, needed })
    }
}

/// Why a request of which nothing was kept is not sent again; names the gate that it stands for.
fn never(retry: &mut RetryDecision, eligibility: Eligibility) -> StopReason {
    let reason = match eligibility {
        Eligibility::Never(reason) => reason,
        Eligibility::Eligible => return StopReason::BodyNotKept,
    };
    match reason {
        StopReason::CountExhausted { kind, .. } | StopReason::KindDisabled { kind } => {
            let gate = match kind {
                LimitKind::Total => Gate::Total,
                _ => Gate::Count,
            };
            retry.gates.set(gate, false);
        }
        _ => {}
    }
    reason
}

/// As good as never, and small enough to be added to any instant.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The moment `wait` after `now`.
pub(crate) fn after(now: tokio::time::Instant, wait: Duration) -> tokio::time::Instant {
    now + wait.min(FAR)
}
