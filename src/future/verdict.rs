//! What becomes of an attempt that has ended.

use std::{error::Error, marker::PhantomData, pin::Pin, time::Duration};

use http::Response;
use http_body::Body;
use tokio::time::Instant;

use super::{
    Kept, ResponseFuture,
    clock::AttemptTime,
    progress::Progress,
    refused,
    special::{guards, limit},
};
use crate::{
    BoxError,
    body::Saved,
    classify::{self, AttemptTimedOut, Cause, Failure, FailureKind, Outcome},
    error::{RetryError, RetryErrorKind},
    guards::Guards,
    policy::{
        Attempt, Decision, Judgement, Retry, Session, Stop, StopReason, WaitReason, WallClock,
    },
    report::{AttemptOutcome, AttemptRecord, HintRecord, RetryReport, WaitRecord},
    settings::Settings,
    stack::{LayerError, LayerOutcome, Opinion},
    trial::{self, Conditions, Ruling, rule},
};

/// An attempt's end.
pub(super) enum Ended<D> {
    Response(Response<D>),
    Error(BoxError),
    TimedOut(Duration),
}

/// What to do after an attempt.
pub(super) enum Next<D> {
    Return(Result<Response<D>, RetryError>),
    /// Wait from `now` on until then, if there is a wait; the response that failed is still to be
    /// drained.
    Wait {
        body: Option<D>,
        now: Instant,
        until: Option<Instant>,
    },
}

impl<D> Ended<D> {
    pub(super) fn of<E: Into<BoxError>>(result: Result<Response<D>, E>) -> Self {
        match result {
            Ok(response) => Self::Response(response),
            Err(error) => Self::Error(error.into()),
        }
    }

    /// What the attempt failed of, if it failed without a response.
    fn failure(&self) -> Option<Failure> {
        match self {
            Self::Response(_) => None,
            Self::Error(error) => {
                let failure = classify::classify(&**error);
                Some(match error.downcast_ref::<RetryError>() {
                    Some(inner) => with_attempts_before(failure, inner.report()),
                    None => failure,
                })
            }
            Self::TimedOut(_) => Some(Failure::new(Cause::AttemptTimeout)),
        }
    }

    fn outcome(&self, failure: Option<Failure>) -> Outcome<'_> {
        match (self, failure) {
            (Self::Response(response), _) => Outcome::Response {
                status: response.status(),
                headers: response.headers(),
            },
            (Self::Error(error), failure) => Outcome::Error {
                failure: failure.unwrap_or(Failure::new(Cause::Unknown)),
                error: Some(&**error as &(dyn Error + 'static)),
            },
            (Self::TimedOut(_), failure) => Outcome::Error {
                failure: failure.unwrap_or(Failure::new(Cause::AttemptTimeout)),
                error: None,
            },
        }
    }

    fn record(&self, number: u32, time: AttemptTime, failure: Option<Failure>) -> AttemptRecord {
        let error = match self {
            Self::Response(_) => String::new(),
            Self::Error(error) => classify::chain(&**error),
            Self::TimedOut(after) => AttemptTimedOut::new(*after).to_string(),
        };
        let outcome = match (self, failure) {
            (Self::Response(response), _) => AttemptOutcome::Response(response.status()),
            (_, failure) => {
                let Failure { kind, cause } = failure.unwrap_or(Failure::new(Cause::Unknown));
                AttemptOutcome::Failed { kind, cause, error }
            }
        };
        AttemptRecord {
            started: time.offset,
            took: time.took,
            inner_attempts: self.inner_attempts(),
            ..AttemptRecord::new(number, outcome)
        }
    }

    /// What a response said about when to come back.
    fn hint(&self, wall: &WallClock<'_>) -> Option<Box<HintRecord>> {
        match self {
            Self::Response(response) => HintRecord::of(response.headers(), || wall.now()),
            Self::Error(_) | Self::TimedOut(_) => None,
        }
    }

    /// The response's body, which is still to be drained, or the error.
    fn let_go(self) -> (Option<D>, Option<BoxError>) {
        match self {
            Self::Response(response) => (Some(response.into_body()), None),
            Self::Error(error) => (None, Some(error)),
            Self::TimedOut(after) => (None, Some(Box::new(AttemptTimedOut::new(after)))),
        }
    }

    /// The service's answer.
    fn with_report(self, report: RetryReport, raise: bool) -> Result<Response<D>, RetryError> {
        let (kind, source): (_, Option<BoxError>) = match self {
            Self::Response(mut response) if !raise => {
                response.extensions_mut().insert(report);
                return Ok(response);
            }
            Self::Response(_) => (RetryErrorKind::Status, None),
            Self::Error(error) => (RetryErrorKind::Failed, Some(error)),
            Self::TimedOut(after) => {
                let source = AttemptTimedOut::new(after);
                (RetryErrorKind::AttemptTimeout, Some(Box::new(source)))
            }
        };
        Err(RetryError::new(kind, report, source))
    }

    /// What a layer below says of it.
    fn below(&self) -> Option<&LayerOutcome> {
        match self {
            Self::Response(response) => LayerOutcome::of(response.extensions()),
            Self::Error(error) => error.downcast_ref().map(LayerError::outcome),
            Self::TimedOut(_) => None,
        }
    }

    /// How many attempts a layer further in made.
    fn inner_attempts(&self) -> Option<u32> {
        if let Some(attempts) = self.below().and_then(|below| below.attempts) {
            return Some(attempts);
        }
        let report = match self {
            Self::Response(response) => response.extensions().get::<RetryReport>()?,
            Self::Error(error) => error.downcast_ref::<RetryError>()?.report(),
            Self::TimedOut(_) => return None,
        };
        u32::try_from(report.attempts.len()).ok()
    }
}

/// The failure of a retry layer further in is that of its last attempt; an attempt before that
/// one may have been applied all the same.
fn with_attempts_before(failure: Failure, inner: &RetryReport) -> Failure {
    if failure.cause.sent().is_safe_to_repeat() && *inner.effects().end() > 0 {
        Failure::with_kind(FailureKind::Read, Cause::Unknown)
    } else {
        failure
    }
}

impl<S, F, E, B, V, D> ResponseFuture<S, F, E, B, V, D>
where
    E: Session,
    V: Saved<B>,
    D: Body,
{
    /// Decides what becomes of an attempt that has ended, and keeps record of it.
    pub(super) fn ended(self: Pin<&mut Self>, ended: Ended<D>) -> Next<D> {
        let this = self.project();
        let settings: &Settings = this.settings;
        let now = Instant::now();
        let time = this.clock.end_attempt(now);
        let limit = limit(this.special.as_deref(), settings);
        let guards = guards(this.special.as_deref());
        if let (Some(guards), Ended::Response(response)) = (guards, &ended) {
            guards.answered(response.status(), now.into_std());
        }

        let number = this
            .progress
            .as_ref()
            .map_or(1, |progress| progress.number());
        let failure = ended.failure();
        let session = &mut *this.session;
        let outcome = ended.outcome(failure);
        let below = ended.below();
        let judgement = match settings.judge(&outcome) {
            Judgement::None => below.map_or(Judgement::None, judged_by),
            judgement => judgement,
        };
        let method = this.kept.method().clone();
        let read = || settings.wall_clock();
        let wall = WallClock::new(&read);
        let progress = this.progress.as_deref();
        let quickest = progress.map_or(Duration::MAX, Progress::quickest);
        let special = this.special.as_deref_mut();
        let mut conditions = Live {
            kept: this.kept,
            guards: special.and_then(|special| special.guards.as_mut()),
            now,
            left: this.clock.left(limit, now),
            least: settings.min_attempt.max(quickest.min(time.took)),
            body: PhantomData,
        };
        let judged = trial::Ended {
            now: now.into_std(),
            outcome,
            judgement,
            wait: below.and_then(|below| Some((below.wait?, below.by.clone()))),
        };
        let ruling = rule(session, &mut conditions, judged, |outcome| {
            let attempt = Attempt::new(number, &method, outcome).with_elapsed(time.elapsed);
            attempt.with_wall_clock_of(&wall)
        });
        let ended = match (&ruling, &this.progress, ended) {
            (Ruling::Accept, None, Ended::Response(response)) => {
                return Next::Return(Ok(response));
            }
            (_, _, ended) => ended,
        };

        let mut record = ended.record(number, time, failure);
        record.hint = ended.hint(&wall);
        let progress = this.progress.get_or_insert_with(Progress::new);
        let stop = match ruling {
            Ruling::Accept => Stop::because(StopReason::Succeeded),
            Ruling::Stop(stop) => stop,
            Ruling::Retry(mut retry, permit) => {
                let state = this
                    .special
                    .as_deref()
                    .and_then(|special| special.state.as_ref());
                if let (Some(state), Some(kind)) = (state, retry.charged) {
                    state.charge(kind);
                }
                record.gates = retry.gates;
                record.note = retry.note.take().map(Box::new);
                record.wait = Some(WaitRecord {
                    planned: retry.wait,
                    why: retry.why.clone(),
                    charged: retry.charged,
                });
                // First, since who is told may panic.
                progress.permit = Some(permit);
                let until = progress.retrying(record, this.kept, settings, &retry, now);
                let (body, error) = ended.let_go();
                progress.last_error = error;
                return Next::Wait { body, now, until };
            }
        };

        record.gates = stop.gates;
        record.note = stop.note.map(Box::new);
        progress.attempts.push(record);
        let report = progress.finish(
            this.kept,
            this.special.as_deref(),
            stop.reason,
            time.elapsed,
            settings,
        );
        Next::Return(ended.with_report(report, stop.raise))
    }
}

/// The opinion of a layer below, as that of a classifier.
fn judged_by(below: &LayerOutcome) -> Judgement {
    let by = below.by.clone();
    match below.opinion.clone() {
        Opinion::NoOpinion => Judgement::None,
        Opinion::Retry(because) => Judgement::Retry { by, because },
        Opinion::Forbid(because) => Judgement::Forbid { by, because },
    }
}

/// How long the server asked for nothing to be sent, whatever becomes of this request.
fn asked(decision: &Decision) -> Option<Duration> {
    match decision {
        Decision::Accept => None,
        // A policy of the user's own need not say more than the reason.
        Decision::Retry(retry) => retry.asked.or(match retry.why {
            WaitReason::ServerHint(_) | WaitReason::ServerHintClamped(_) => Some(retry.wait),
            _ => None,
        }),
        Decision::Stop(stop) => stop.asked.or(match stop.reason {
            StopReason::RetryAfterTooLong { asked, .. } => Some(asked),
            _ => None,
        }),
    }
}

/// What the gates of a request that is sent are asked about.
struct Live<'a, S, B, V> {
    kept: &'a mut Kept<S, V>,
    guards: Option<&'a mut Guards>,
    now: Instant,
    left: Option<Duration>,
    least: Duration,
    body: PhantomData<fn() -> B>,
}

impl<S, B, V: Saved<B>, E: Session> Conditions<E> for Live<'_, S, B, V> {
    fn is_kept(&self) -> bool {
        matches!(self.kept, Kept::All { .. })
    }

    fn decided(&mut self, decision: &Decision) {
        if let (Some(guards), Some(asked)) = (&self.guards, asked(decision)) {
            guards.hinted(self.now.into_std(), asked);
        }
    }

    fn body(&mut self) -> Option<Result<(), StopReason>> {
        match self.kept {
            Kept::All { body, .. } => Some(body.check().map_err(|error| refused(error).0)),
            Kept::Line { .. } => None,
        }
    }

    fn left(&self) -> Option<Duration> {
        self.left
    }

    fn least(&self) -> Duration {
        self.least
    }

    fn admit(&mut self, retry: &Retry) -> Option<Result<Duration, StopReason>> {
        let told = matches!(
            retry.why,
            WaitReason::ServerHint(_) | WaitReason::ServerHintClamped(_)
        );
        let guards = self.guards.as_mut()?;
        Some(guards.admit_retry(self.now.into_std(), told))
    }

    fn retire(&mut self) -> Result<(), StopReason> {
        match self.kept {
            Kept::All { body, .. } => body.retire().map_err(|error| refused(error).0),
            Kept::Line { .. } => Ok(()),
        }
    }
}
