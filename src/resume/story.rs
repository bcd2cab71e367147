//! What became of a body that broke: its counts, its report, and who is told of it.

use std::{
    error::Error,
    mem,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::{
    asking::{Asked, Progress},
    error::ResumeErrorKind,
};
use crate::{
    BoxError,
    budget::RetryPermit,
    classify::Outcome,
    observe::{self, About},
    policy::{AnySession, Attempt, Policy, RequestHead, RetryDecision, Session, select},
    reason::{Failure, LimitKind, Note, Sent, StopReason},
    report::{AttemptOutcome, AttemptRecord, RetryReport, WaitRecord},
    snapshot::Snapshot,
    stack::RequestState,
    trial::{self, Conditions, Ended, Judged, Ruling},
};

/// What nobody else has a hand on. The lock is never taken: it makes a body one that threads may
/// share, whatever the policy's sessions are, as boxed bodies have to be.
fn own<T>(locked: &mut Mutex<T>) -> &mut T {
    locked.get_mut().unwrap_or_else(PoisonError::into_inner)
}

/// What is kept of a body once it broke.
pub(super) struct Story<Sess> {
    pub(super) report: RetryReport,
    /// The break that is to be mended.
    pub(super) kind: ResumeErrorKind,
    pub(super) source: Option<BoxError>,
    /// What it counts together with the layers below.
    pub(super) state: RequestState,
    session: Mutex<Option<AnySession<Sess>>>,
    /// What was charged to `total` when the session was last asked.
    seen: u32,
    /// Of a continuation that is not sent yet.
    permit: Mutex<Option<RetryPermit>>,
    charged: Option<LimitKind>,
    /// When the continuation was sent.
    pub(super) sent: Instant,
    /// The bytes that were handed on when it broke first.
    whole_until: u64,
    /// Whether its end was told.
    has_ended: bool,
}

/// What the policy is asked about.
pub(super) enum What<'a> {
    /// The body, which broke.
    Break,
    /// The head of the response to a continuation.
    Answer(StatusCode, &'a HeaderMap),
    /// A continuation without a response.
    Error(Failure, &'a (dyn Error + 'static)),
}

/// The gates behind the session's: nothing has to be kept but the head.
struct Left(Option<Duration>);

impl<S: Session> Conditions<S> for Left {
    fn is_kept(&self) -> bool {
        true
    }

    fn left(&self) -> Option<Duration> {
        self.0
    }

    fn least(&self) -> Duration {
        Duration::ZERO
    }
}

impl<Sess: Session> Story<Sess> {
    /// A body broke for the first time. What was made of the head is counted already.
    pub(super) fn new<S, P>(
        asked: &Asked<S, P>,
        mut report: RetryReport,
        delivered: u64,
    ) -> Box<Self> {
        report.stop = StopReason::Succeeded;
        let state = match &asked.state {
            Some(shared) if asked.settings.deadline.is_none() => shared.clone(),
            shared => {
                let state = RequestState::new(asked.ends());
                if let Some(shared) = shared {
                    state.charge_as(shared);
                } else {
                    let waits = report.attempts.iter().filter_map(|one| one.wait.as_ref());
                    waits
                        .filter_map(|wait| wait.charged)
                        .for_each(|kind| state.charge(kind));
                }
                state
            }
        };
        Box::new(Self {
            report,
            kind: ResumeErrorKind::Failed,
            source: None,
            state,
            session: Mutex::new(None),
            seen: 0,
            permit: Mutex::new(None),
            charged: None,
            sent: asked.started,
            whole_until: delivered,
            has_ended: false,
        })
    }

    /// The body broke.
    pub(super) fn broke(
        &mut self,
        kind: ResumeErrorKind,
        source: Option<BoxError>,
        progress: &Progress,
    ) {
        (self.kind, self.source) = (kind, source);
        if let Some(last) = self.report.attempts.last_mut() {
            last.failed_within = Some(kind.cause());
            last.layer_notes.push(Note::BodyEnded {
                read: progress.delivered,
                of: progress.length,
            });
        }
    }

    /// The counts start anew.
    pub(super) fn start_anew(&mut self, ends: Option<Instant>) {
        self.session = Mutex::new(None);
        self.state = RequestState::new(ends);
    }

    /// Asks the policy; `None` if the head of the request cannot be shown to it.
    pub(super) fn rule<P>(
        &mut self,
        policy: &P,
        head: &Snapshot,
        what: &What<'_>,
        left: Option<Duration>,
        times: (Instant, Instant),
    ) -> Option<Ruling>
    where
        P: Policy<Session = Sess>,
    {
        let (started, now) = times;
        let used = self.state.used(LimitKind::Total);
        // What the layers below have charged since then counts, too.
        let session = own(&mut self.session);
        if session.is_none() || used != self.seen {
            let mut parts = head.copy()?;
            parts.extensions.insert(self.state.clone());
            *session = Some(select(policy, &RequestHead::from(&parts)));
            self.seen = used;
        }
        let number = u32::try_from(self.report.attempt_count()).unwrap_or(u32::MAX);
        let outcome = match what {
            What::Break => Outcome::Error {
                failure: Failure::new(self.kind.cause(), Sent::Answered),
                error: self.source.as_deref().map(|source| source as _),
            },
            What::Answer(status, headers) => Outcome::Response {
                status: *status,
                headers,
            },
            What::Error(failure, error) => Outcome::Error {
                failure: *failure,
                error: Some(*error),
            },
        };
        let ended = Ended {
            now: now.into_std(),
            outcome,
            judged: Judged::default(),
        };
        let method = head.method();
        let session = session.as_mut()?;
        Some(trial::rule(session, &mut Left(left), ended, |outcome| {
            Attempt::new(number, method, outcome)
                .with_elapsed(now.duration_since(started))
                .with_wall_clock(SystemTime::now())
        }))
    }

    /// It will go on. Returns when.
    pub(super) fn goes_on<S, P>(
        &mut self,
        retry: RetryDecision,
        permit: RetryPermit,
        asked: &Asked<S, P>,
        now: Instant,
    ) -> Option<Instant> {
        self.permit = Mutex::new(Some(permit));
        self.charged = retry.charged;
        if let Some(last) = self.report.attempts.last_mut() {
            last.gates = retry.gates;
            last.note = retry.note.map(Box::new);
            last.wait = Some(WaitRecord {
                planned: retry.wait,
                why: retry.why,
                charged: retry.charged,
            });
            last.clean();
        }
        self.tell_break(asked);
        (!retry.wait.is_zero()).then(|| trial::after(now, retry.wait))
    }

    /// The continuation is sent.
    pub(super) fn sends(&mut self, now: Instant) {
        self.sent = now;
        if let Some(permit) = own(&mut self.permit).take() {
            permit.sent();
        }
        if let Some(kind) = self.charged.take() {
            self.state.charge(kind);
        }
        self.seen = self.state.used(LimitKind::Total);
    }

    /// Keeps record of what came of a continuation: of all that a layer below made of it, or of
    /// the one attempt that it was.
    pub(super) fn ended(
        &mut self,
        below: Option<&RetryReport>,
        outcome: AttemptOutcome,
        started: Instant,
        now: Instant,
    ) {
        let offset = self.sent.duration_since(started);
        match below {
            Some(report) => self.report.append(report.clone(), offset),
            None => {
                let number = u32::try_from(self.report.attempt_count()).unwrap_or(u32::MAX);
                self.report.push(AttemptRecord {
                    started: offset,
                    took: now.duration_since(self.sent),
                    ..AttemptRecord::new(number.saturating_add(1), outcome)
                });
            }
        }
    }

    /// All of it has arrived.
    pub(super) fn succeed<S, P>(&mut self, asked: &Asked<S, P>, progress: &Progress) {
        if mem::replace(&mut self.has_ended, true) {
            return;
        }
        asked.count_resumed(progress.delivered.saturating_sub(self.whole_until));
        if let Some(session) = own(&mut self.session) {
            session.succeeded();
        }
        self.report.stop = StopReason::Succeeded;
        self.report.elapsed = asked.started.elapsed();
        let on_event = asked.settings.on_event.as_ref();
        observe::finished(About::Body, on_event, &self.report);
    }

    /// It does not go on.
    pub(super) fn give_up<S, P>(
        &mut self,
        mut stop: StopReason,
        asked: &Asked<S, P>,
        progress: &Progress,
    ) {
        stop.clean();
        asked.count_resumed(progress.delivered.saturating_sub(self.whole_until));
        asked.count_given_up(&stop);
        // What was granted and is not sent goes back.
        self.permit = Mutex::new(None);
        self.report.stop = stop;
        self.report.elapsed = asked.started.elapsed();
        let on_event = asked.settings.on_event.as_ref();
        observe::finished(About::Body, on_event, &self.report);
    }

    fn tell_break<S, P>(&self, asked: &Asked<S, P>) {
        if let Some(attempt) = self.report.attempts.last() {
            let on_event = asked.settings.on_event.as_ref();
            let (method, url) = (&self.report.method, || self.report.url.clone());
            observe::retry(About::Body, on_event, method, url, attempt);
        }
    }
}
