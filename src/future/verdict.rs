//! What becomes of an attempt that has ended.

use std::{error::Error, pin::Pin, time::Duration};

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
        AnySession, Attempt, Decision, Gate, Retry, Session, Standing, Stop, StopReason,
        WaitReason, WallClock, ask,
    },
    report::{AttemptOutcome, AttemptRecord, HintRecord, RetryReport, WaitRecord},
    settings::Settings,
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

    /// How many attempts a retry layer further in made.
    fn inner_attempts(&self) -> Option<u32> {
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
        let judgement = settings.judge(&outcome);
        let method = this.kept.method();
        let read = || settings.wall_clock();
        let wall = WallClock::new(&read);
        let decision = ask(session, outcome, judgement, |outcome| {
            let attempt = Attempt::new(number, method, outcome).with_elapsed(time.elapsed);
            attempt.with_wall_clock_of(&wall)
        });
        if let (Some(guards), Some(asked)) = (guards, asked(&decision)) {
            guards.hinted(now.into_std(), asked);
        }
        if matches!(decision, Decision::Accept) {
            session.succeeded();
        }
        let ended = match (&decision, &this.progress, ended) {
            (Decision::Accept, None, Ended::Response(response)) => {
                return Next::Return(Ok(response));
            }
            (_, _, ended) => ended,
        };

        let mut record = ended.record(number, time, failure);
        record.hint = ended.hint(&wall);
        let progress = this.progress.get_or_insert_with(Progress::new);
        let stop = match decision {
            Decision::Accept => Stop::because(StopReason::Succeeded),
            Decision::Stop(stop) => stop,
            Decision::Retry(mut retry) => {
                let quickest = progress.quickest().min(time.took);
                let time = Time {
                    now,
                    left: this.clock.left(limit, now),
                    attempt: settings.min_attempt.max(quickest),
                };
                let special = this.special.as_deref_mut();
                let guards = special.and_then(|special| special.guards.as_mut());
                match last_gates(&mut retry, this.kept, this.session, guards, time) {
                    Ok(()) => {
                        record.gates = retry.gates;
                        record.note = retry.note.take().map(Box::new);
                        record.wait = Some(WaitRecord {
                            planned: retry.wait,
                            why: retry.why.clone(),
                            charged: retry.charged,
                        });
                        let until = progress.retrying(record, this.kept, settings, &retry, now);
                        let (body, error) = ended.let_go();
                        progress.last_error = error;
                        return Next::Wait { body, now, until };
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
        record.note = stop.note.map(Box::new);
        progress.attempts.push(record);
        if !stop.reason.is_success() {
            this.session.failed(now.into_std());
        }
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

/// What the deadline is compared with.
struct Time {
    now: Instant,
    /// The time left until the deadline, if there is one.
    left: Option<Duration>,
    /// The least that an attempt needs.
    attempt: Duration,
}

/// Asks the gates that need more than the session: body, deadline, guards and budget. The first
/// that says no is the reason; the last ones have side effects and are asked only if all others
/// said yes.
fn last_gates<S, E: Session, B, V: Saved<B>>(
    retry: &mut Retry,
    kept: &mut Kept<S, V>,
    session: &mut AnySession<E>,
    guards: Option<&mut Guards>,
    time: Time,
) -> Result<(), StopReason> {
    let body = match kept {
        Kept::Line { .. } => {
            return Err(match session.standing() {
                Standing::Never(reason) => retry.never(reason),
                Standing::Eligible => StopReason::BodyNotKept,
            });
        }
        Kept::All { body, .. } => body,
    };
    let now = time.now.into_std();
    let own = matches!(
        retry.why,
        WaitReason::ServerHint(_) | WaitReason::ServerHintClamped(_)
    );
    if let (Some(guards), false) = (&guards, own) {
        if let Some(held) = guards.held(now).filter(|held| *held > retry.wait) {
            retry.wait = held;
            if let Some(stop) = guards.too_long(held) {
                retry.gates.set(Gate::Throttle, false);
                return Err(stop);
            }
            retry.why = WaitReason::SharedHint;
        }
    }
    let replayable = body.check().map_err(|error| refused(error).0);
    retry.check(Some(replayable), time.left, time.attempt)?;
    if let Some(guards) = guards {
        let admitted = guards.admit_retry(now);
        retry.gates.set(Gate::Throttle, admitted.is_ok());
        admitted?;
    }
    retry.commit(session, now)?;
    // The upload may still be under way on another thread, and have passed the replay limit since
    // it was asked. From here on it cannot. Where it has, what was taken is given back.
    if let Err(error) = body.retire() {
        session.cancel();
        retry.gates.set(Gate::Body, false);
        return Err(refused(error).0);
    }
    Ok(())
}
