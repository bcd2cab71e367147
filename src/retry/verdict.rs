//! What becomes of an attempt that has ended.

use std::{
    borrow::Cow, cell::OnceCell, error::Error, marker::PhantomData, pin::Pin, sync::Arc,
    time::Duration,
};

use http::{Response, StatusCode};
use http_body::Body;
use tokio::time::Instant;

use super::{
    LayerSettings, ResponseFuture,
    admissions::Admissions,
    clock::AttemptTime,
    extras::{self, Extras},
    future::Spare,
    history::{self, History},
    kept,
};
use crate::{
    BoxError,
    body::{NotReplayable, SavedBody},
    budget::{InFlightLimit, InFlightPlace},
    classify::{self, AttemptTimedOut, Examined, Exchange, Outcome, RequestView, Vouch},
    error::{RetryError, RetryErrorKind},
    header_names::any_is_hint,
    policy::{Attempt, Decision, RetryDecision, Session, StopDecision, WallClock},
    reason::{Cause, Failure, GrpcCode, Note, Sent, StopReason, WaitReason},
    report::{AttemptOutcome, AttemptRecord, HintRecord, RetryReport, WaitRecord},
    snapshot::Target,
    stack::{Answer, AskFor, LayerError, LayerOutcome, Opinion},
    trial::{self, Conditions, Judged, Ruling, rule},
};

/// An attempt's end.
pub(super) enum Ended<ResBody> {
    Response(Response<ResBody>),
    Error(BoxError),
    /// After this long, with what the layers below say of the attempt.
    TimedOut(Duration, Option<Box<LayerOutcome>>),
}

/// What to do after an attempt.
pub(super) enum Next<ResBody> {
    Return(Result<Response<ResBody>, RetryError>),
    /// Wait from `now` on until then, if there is a wait; the response that failed is still to be
    /// drained.
    Wait {
        body: Option<ResBody>,
        spare: Option<Spare>,
        now: Instant,
        until: Option<Instant>,
    },
}

impl<ResBody> Ended<ResBody> {
    pub(super) fn of<E: Into<BoxError>>(result: Result<Response<ResBody>, E>) -> Self {
        match result {
            Ok(response) => Self::Response(response),
            Err(error) => Self::Error(error.into()),
        }
    }

    fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Response(response) => Some(response.status()),
            Self::Error(_) | Self::TimedOut(..) => None,
        }
    }

    /// What the attempt failed of, if it failed without a response.
    fn examine(&self, vouches: &[Vouch]) -> Option<Examined> {
        match self {
            Self::Response(_) => None,
            Self::Error(error) => Some(classify::examine(&**error, vouches)),
            Self::TimedOut(..) => Some(Failure::from(Cause::AttemptTimeout).into()),
        }
    }

    fn outcome(&self, failure: Option<Failure>) -> Outcome<'_> {
        match (self, failure) {
            (Self::Response(response), _) => Outcome::Response {
                status: response.status(),
                headers: response.headers(),
            },
            (Self::Error(error), failure) => Outcome::Error {
                failure: failure.unwrap_or(Cause::Unknown.into()),
                error: Some(&**error as &(dyn Error + 'static)),
            },
            (Self::TimedOut(..), failure) => Outcome::Error {
                failure: failure.unwrap_or(Cause::AttemptTimeout.into()),
                error: None,
            },
        }
    }

    #[inline(always)]
    fn record(&self, facts: &Facts<'_>, examined: Option<Examined>) -> AttemptRecord {
        let error = match self {
            Self::Response(_) => String::new(),
            Self::Error(error) => classify::chain(&**error),
            Self::TimedOut(after, _) => AttemptTimedOut::new(*after).to_string(),
        };
        let Examined { failure, evidence } =
            examined.unwrap_or_else(|| Failure::from(Cause::Unknown).into());
        let outcome = match self {
            Self::Response(response) => AttemptOutcome::Response(response.status()),
            Self::Error(_) | Self::TimedOut(..) => AttemptOutcome::failed(failure, error),
        };
        AttemptRecord {
            started: facts.time.offset,
            took: facts.time.took,
            failed_within: facts.failed_within.map(|failure| failure.cause),
            evidence: evidence.map(Box::new),
            inner_attempts: self.inner_attempts(facts.below),
            hint: self.hint(facts),
            ..AttemptRecord::new(facts.number, outcome)
        }
    }

    /// Whether a header of a response is about retries or rate limits.
    fn is_hinted(&self) -> bool {
        match self {
            Self::Response(response) => any_is_hint(response.headers()),
            Self::Error(_) | Self::TimedOut(..) => false,
        }
    }

    /// What a response said about when to come back.
    fn hint(&self, facts: &Facts<'_>) -> Option<Box<HintRecord>> {
        let Self::Response(response) = self else {
            return None;
        };
        let headers = response.headers();
        match facts.below.and_then(|below| below.trailers.clone()) {
            None if facts.is_hinted(self) => Some(HintRecord::found(headers, facts.wall.now())),
            None => None,
            Some(mut all) => {
                all.extend(headers.clone());
                HintRecord::of(&all, || facts.wall.now())
            }
        }
    }

    /// The response's head, and its body, which is still to be drained; or the error.
    fn let_go(self) -> Result<Response<ResBody>, BoxError> {
        match self {
            Self::Response(response) => Ok(response),
            Self::Error(error) => Err(error),
            Self::TimedOut(after, _) => Err(Box::new(AttemptTimedOut::new(after))),
        }
    }

    /// The service's answer.
    fn with_report(
        self,
        report: RetryReport,
        raise: bool,
    ) -> Result<Response<ResBody>, RetryError> {
        let (kind, source): (_, Option<BoxError>) = match self {
            Self::Response(mut response) if !raise => {
                response.extensions_mut().insert(report);
                return Ok(response);
            }
            Self::Response(_) => (RetryErrorKind::Status, None),
            Self::Error(error) => (RetryErrorKind::Failed, Some(error)),
            Self::TimedOut(after, _) => {
                let source = AttemptTimedOut::new(after);
                (RetryErrorKind::AttemptTimeout, Some(Box::new(source)))
            }
        };
        Err(RetryError::new(kind, report, source))
    }

    /// What a layer below says of it.
    #[inline]
    fn below(&self) -> Option<&LayerOutcome> {
        match self {
            Self::Response(response) => LayerOutcome::of(response.extensions()),
            Self::Error(error) => classify::layer_error(&**error).map(LayerError::outcome),
            Self::TimedOut(_, said) => said.as_deref(),
        }
    }

    /// What failed in a response whose status does not say so.
    fn failed_within(&self, below: Option<&LayerOutcome>) -> Option<Failure> {
        let Self::Response(response) = self else {
            return None;
        };
        match below.and_then(|below| below.failure) {
            Some(failure) => Some(failure),
            None => classify::grpc::failure(response.headers()),
        }
    }

    /// After what time a layer below lets it through that turned it away, and which one did.
    fn rejected(&self, failure: Option<Failure>) -> Option<(Duration, Cow<'static, str>)> {
        let (Self::Error(error), Some(failure)) = (self, failure) else {
            return None;
        };
        if failure.cause != Cause::Rejected || failure.sent != Sent::Never {
            return None;
        }
        let rejected = classify::rejected(&**error)?;
        Some((rejected.time()?, rejected.by().to_owned().into()))
    }

    /// How many attempts a layer further in made.
    fn inner_attempts(&self, below: Option<&LayerOutcome>) -> Option<u32> {
        let told = below.and_then(|below| below.attempts);
        match self {
            Self::Response(_) if told.is_some() => told,
            Self::Response(response) => {
                let extensions = response.extensions();
                // An empty map costs no look-up.
                if extensions.is_empty() {
                    return None;
                }
                let report = extensions.get::<RetryReport>()?;
                u32::try_from(report.attempt_count()).ok()
            }
            Self::Error(error) => classify::inner_attempts(&**error),
            Self::TimedOut(..) => told,
        }
    }
}

/// An attempt that has ended, but for how.
struct Facts<'a> {
    now: Instant,
    number: u32,
    time: AttemptTime,
    failure: Option<Failure>,
    /// What a layer below says of it.
    below: Option<&'a LayerOutcome>,
    /// What failed in a response whose status does not say so.
    failed_within: Option<Failure>,
    /// Whether a header of the response is about retries or rate limits, once it was looked at.
    hinted: OnceCell<bool>,
    wall: &'a WallClock<'a>,
}

impl Facts<'_> {
    fn is_hinted<ResBody>(&self, ended: &Ended<ResBody>) -> bool {
        *self.hinted.get_or_init(|| ended.is_hinted())
    }

    /// Whether a layer below says that it sent the attempt more than once.
    fn was_sent_twice(&self) -> bool {
        let attempts = self.below.and_then(|below| below.attempts);
        attempts.is_some_and(|attempts| attempts > 1)
    }

    /// Whether it is a gRPC call that failed in its head, where no layer looks any further.
    fn failed_in_head_only(&self) -> bool {
        let is_told = self.below.is_some_and(|below| below.failure.is_some());
        !is_told && self.failed_within.is_some()
    }
}

impl<S, Fut, Sess, ReqBody, Saved, ResBody> ResponseFuture<S, Fut, Sess, ReqBody, Saved, ResBody>
where
    Sess: Session,
    Saved: SavedBody<ReqBody>,
    ResBody: Body,
{
    /// Decides what becomes of an attempt that has ended, and keeps record of it. The classifiers
    /// are asked unless they have `judged` it already.
    pub(super) fn decide(
        mut self: Pin<&mut Self>,
        ended: Ended<ResBody>,
        judged: Option<Judged>,
    ) -> Next<ResBody> {
        let now = Instant::now();
        let this = self.as_mut().project();
        let below = ended.below();
        if let Some(url) = below.and_then(|below| below.url.as_ref()) {
            // What the request has, or takes, is that of the server it went to.
            this.session.moved(url);
        }
        let settings = Arc::clone(this.settings);
        let read = || settings.wall_clock();
        let examined = ended.examine(&settings.vouches);
        let facts = Facts {
            now,
            number: this.history.as_ref().map_or(1, |history| history.number()),
            time: this.clock.end_attempt(now),
            failure: examined.as_ref().map(|examined| examined.failure),
            below,
            failed_within: ended.failed_within(below),
            hinted: OnceCell::new(),
            wall: &WallClock::new(&read),
        };
        if let Some(admissions) = extras::admissions(this.extras) {
            admissions.hear(&ended.outcome(facts.failure), now);
        }
        let (ruling, place) = self.as_mut().rule(&ended, &facts, judged);
        if let Ruling::Accept = ruling {
            if self.history.is_none() && !facts.was_sent_twice() {
                if let Ended::Response(response) = ended {
                    let method = self.kept.method();
                    self.counted.succeeded(&settings, method, response.status());
                    return Next::Return(Ok(response));
                }
            }
        }
        let mut record = self.record(&ended, &facts, examined);
        let stop = match ruling {
            Ruling::Accept => StopDecision::because(StopReason::Succeeded),
            Ruling::Stop(stop) => stop,
            Ruling::Retry(retry, permit) => {
                let this = self.as_mut().project();
                let elsewhere = || below.is_some_and(|below| below.elsewhere);
                this.counted.goes(elsewhere);
                let history = this.history;
                let history = history.get_or_insert_with(History::new);
                // First, since who is told may panic.
                history.permit = Some(permit);
                history.place = place.or(history.place.take());
                let until = self.as_mut().prepare_retry(record, retry, now);
                return self.next_attempt(ended, now, until);
            }
        };
        record.gates = stop.gates;
        record.note = stop.note.map(Box::new);
        let report = self.conclude(record, stop.reason, facts.time.elapsed);
        Next::Return(ended.with_report(report, stop.raise))
    }

    /// What the report says of the attempt.
    // Called once, and a record is large.
    #[inline(always)]
    fn record(
        &self,
        ended: &Ended<ResBody>,
        facts: &Facts<'_>,
        examined: Option<Examined>,
    ) -> AttemptRecord {
        let mut record = ended.record(facts, examined);
        if let AttemptOutcome::Failed { error, .. } = &mut record.outcome {
            self.kept.hide_path(error, &self.settings);
        }
        record.layer_notes = self.kept.notes::<ReqBody>(facts.number);
        if facts.failed_in_head_only() {
            let history = self.history.as_ref();
            if !history.is_some_and(|history| history.has_noted(&Note::GrpcHeadOnly)) {
                record.layer_notes.push(Note::GrpcHeadOnly);
            }
        }
        let below = facts.below;
        record.note_layer(below);
        record.url = match below.and_then(|below| below.url.as_ref()) {
            // As all URLs are shown.
            Some(url) => Some(kept::shown(Target::of(url), &self.settings)),
            None => self.history.as_ref().and_then(|history| history.url()),
        };
        record
    }

    /// Another attempt follows: lets go of the one that has ended.
    fn next_attempt(
        mut self: Pin<&mut Self>,
        ended: Ended<ResBody>,
        now: Instant,
        until: Option<Instant>,
    ) -> Next<ResBody> {
        if let Some(url) = ended.below().and_then(|below| below.url.clone()) {
            Extras::tried(self.as_mut().project().extras, url);
        }
        let this = self.project();
        let wanted = this.settings.prepare_retry.is_some();
        let (mut body, mut spare, mut error, mut headers) = (None, None, None, None);
        match ended.let_go() {
            Ok(response) => {
                let (parts, rest) = response.into_parts();
                body = Some(rest);
                match wanted {
                    true => headers = Some(parts.headers),
                    // A request that waits keeps nothing.
                    false if until.is_none() => spare = Some(Spare::of(parts)),
                    false => {}
                }
            }
            Err(last) => error = Some(last),
        }
        if let Some(history) = this.history {
            history.last_error = error;
            if headers.is_some() {
                history.hooked().response_headers = headers;
            }
        }
        Next::Wait {
            body,
            spare,
            now,
            until,
        }
    }

    /// Asks the kernel.
    fn rule(
        self: Pin<&mut Self>,
        ended: &Ended<ResBody>,
        facts: &Facts<'_>,
        judged: Option<Judged>,
    ) -> (Ruling, Option<InFlightPlace>) {
        let this = self.project();
        let settings: &LayerSettings = this.settings;
        let limit = extras::time_limit(this.extras.as_deref(), settings);
        let history = this.history.as_deref();
        let quickest = history.map_or(Duration::MAX, |history| history.quickest);
        let (head, saved) = this.kept.head_and_body();
        let mut live = Live {
            saved,
            admissions: extras::admissions(this.extras),
            in_flight: settings.in_flight.as_ref(),
            has_place: history.is_some_and(|history| history.place.is_some()),
            place: None,
            elsewhere: false,
            times_turned_away: history.map_or(0, History::times_turned_away),
            status: ended.status(),
            grpc: match facts.failed_within.map(|failure| failure.cause) {
                Some(Cause::Grpc(code)) => Some(code),
                _ => None,
            },
            now: facts.now,
            left: this.clock.left(limit, facts.now),
            least: settings.min_attempt.max(quickest.min(facts.time.took)),
            body: PhantomData,
        };
        let outcome = ended.outcome(facts.failure);
        let below = facts.below;
        let mut judged = judged
            .or_else(|| settings.judge(|| Exchange::new(facts.number, outcome, &head)))
            .unwrap_or_default();
        if let Some(below) = below {
            if judged.opinion == Opinion::NoOpinion {
                let proved = facts.failure.map(|failure| failure.sent);
                judged = Judged::below(below, proved.or(below.sent));
            }
            judged.asked = below.asked.map(|asked| (asked, below.by.clone()));
            judged.changes = below.changes(&judged.opinion);
            live.elsewhere = judged.changes.server && below.asked.is_none();
        }
        judged.failure = facts.failed_within;
        judged.rejected = ended.rejected(facts.failure);
        let trial = trial::Ended {
            now: facts.now.into_std(),
            outcome,
            judged,
        };
        let ruling = rule(this.session, &mut live, trial, |outcome| {
            Attempt::new(facts.number, head.method(), outcome)
                .with_elapsed(facts.time.elapsed)
                .with_trailers(below.and_then(|below| below.trailers.as_ref()))
                .with_wall_clock_of(facts.wall)
                .with_hinted(facts.is_hinted(ended))
        });
        (ruling, live.place)
    }

    /// Keeps record of an attempt that is followed by another. Returns when that is due; `None` if
    /// at once.
    fn prepare_retry(
        self: Pin<&mut Self>,
        mut record: AttemptRecord,
        mut retry: RetryDecision,
        now: Instant,
    ) -> Option<Instant> {
        let this = self.project();
        let state = this
            .extras
            .as_ref()
            .and_then(|extras| extras.state.as_ref());
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
        this.counted.retrying(this.settings, &record);
        let history = this.history.get_or_insert_with(History::new);
        history.retrying(record, this.kept, this.settings, &retry, now)
    }

    /// Keeps record of the last attempt. Returns the report.
    #[inline(always)]
    fn conclude(
        self: Pin<&mut Self>,
        record: AttemptRecord,
        reason: StopReason,
        elapsed: Duration,
    ) -> RetryReport {
        let this = self.project();
        let (extras, settings) = (this.extras.as_deref(), &**this.settings);
        let report = match this.history {
            Some(history) => {
                history.push(record);
                history.finish(this.kept, extras, reason, elapsed, settings)
            }
            None => history::only(record, this.kept, extras, reason, elapsed, settings),
        };
        this.counted.finished(settings, &report);
        report
    }
}

/// How long the server asked for nothing to be sent, as far as the policy obeys, and whether it
/// asked for longer; whatever becomes of this request.
fn asked(decision: &Decision) -> (Option<Duration>, bool) {
    match decision {
        Decision::Accept => (None, false),
        // A policy of the user's own need not say more than the reason.
        Decision::Retry(retry) => match retry.why {
            WaitReason::ServerHint(_) => (retry.asked.or(Some(retry.wait)), false),
            WaitReason::ServerHintClamped(_) => (retry.asked.or(Some(retry.wait)), true),
            _ => (retry.asked, false),
        },
        Decision::Stop(stop) => match stop.reason {
            StopReason::RetryAfterTooLong { asked, cap } => {
                (Some(stop.asked.unwrap_or(asked).min(cap)), true)
            }
            _ => (stop.asked, false),
        },
    }
}

/// What the gates of a request that is sent are asked about.
struct Live<'a, ReqBody, Saved> {
    /// What was kept of the body, if anything was.
    saved: Option<&'a mut Saved>,
    admissions: Option<&'a mut Admissions>,
    in_flight: Option<&'a InFlightLimit>,
    /// Whether the request is among the retries in flight already.
    has_place: bool,
    /// The place that it has taken now.
    place: Option<InFlightPlace>,
    /// Whether another attempt goes to another server.
    elsewhere: bool,
    times_turned_away: u32,
    /// That of the response, if there was one.
    status: Option<StatusCode>,
    /// The code of a gRPC call that failed in it.
    grpc: Option<GrpcCode>,
    now: Instant,
    left: Option<Duration>,
    least: Duration,
    body: PhantomData<fn() -> ReqBody>,
}

impl<ReqBody, Saved: SavedBody<ReqBody>, Sess: Session> Conditions<Sess>
    for Live<'_, ReqBody, Saved>
{
    fn is_kept(&self) -> bool {
        self.saved.is_some()
    }

    fn decided(&mut self, decision: &Decision) {
        let Some(admissions) = &mut self.admissions else {
            return;
        };
        let now = self.now.into_std();
        let mut answer = match self.status {
            Some(status) => Answer::response(now, status),
            None => Answer::failed(now),
        };
        answer.failed = !matches!(decision, Decision::Accept);
        if !self.elsewhere {
            (answer.asked, answer.cut) = asked(decision);
        }
        answer.grpc = self.grpc;
        admissions.answered(&answer);
    }

    fn turned_away(&mut self) {
        if let Some(admissions) = &mut self.admissions {
            admissions.answered(&Answer::dropped(self.now.into_std()));
        }
    }

    fn times_turned_away(&self) -> u32 {
        self.times_turned_away
    }

    fn body(&mut self) -> Option<Result<(), StopReason>> {
        let saved = self.saved.as_ref()?;
        Some(saved.check().map_err(|no| refused(no).0))
    }

    fn left(&self) -> Option<Duration> {
        self.left
    }

    fn least(&self) -> Duration {
        self.least
    }

    fn admit(&mut self, retry: &RetryDecision) -> Option<Result<Duration, StopReason>> {
        if self.admissions.is_none() && self.in_flight.is_none() {
            return None;
        }
        let told = matches!(
            retry.why,
            WaitReason::ServerHint(_) | WaitReason::ServerHintClamped(_)
        );
        Some(self.let_through(told))
    }

    fn retire(&mut self) -> Result<(), StopReason> {
        match &mut self.saved {
            Some(saved) => saved.retire().map_err(|no| refused(no).0),
            None => Ok(()),
        }
    }
}

impl<ReqBody, Saved> Live<'_, ReqBody, Saved> {
    /// Asks the admissions, and takes a place among the retries in flight.
    fn let_through(&mut self, told: bool) -> Result<Duration, StopReason> {
        let held = match &mut self.admissions {
            Some(admissions) => admissions.admit(AskFor::Retry { told }, self.now, self.left)?,
            None => Duration::ZERO,
        };
        match self.in_flight {
            Some(limit) if !self.has_place => {
                self.place = limit.acquire();
                match self.place {
                    Some(_) => Ok(held),
                    None => Err(StopReason::TooManyInFlight { max: limit.max() }),
                }
            }
            _ => Ok(held),
        }
    }
}

/// A body that cannot be sent again, as a reason and, where there is one, an error.
pub(super) fn refused(error: NotReplayable) -> (StopReason, Option<BoxError>) {
    match error {
        NotReplayable::OverLimit { sent, limit } => {
            (StopReason::BodyNotReplayable { sent, limit }, None)
        }
        NotReplayable::Failed => (StopReason::BodyFailed, None),
        NotReplayable::NotKept => (StopReason::BodyNotKept, None),
        NotReplayable::Reopen(error) => (StopReason::BodyNotReopened, Some(error)),
    }
}
