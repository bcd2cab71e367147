//! What must hold in every run, whatever happened: told from the trace alone.
//!
//! The rules are written down a second time here, from the documentation and not from the code.

use std::{fmt, time::Duration};

use http::Method;
use tower_http_retry::{
    AttemptOutcome, AttemptRecord, RetryReport,
    classify::{Cause, FailureKind, Sent},
    policy::{LimitKind, Note, StopReason, WaitReason},
};

use crate::{
    log::{Answered, Asked, End, Event, Left, Received},
    run::Run,
    scenario::{self, Client, Fault, Key, MISDIRECTED, Rewind, Rules},
    world::EPOCH,
};

/// The runtime's timers have a resolution of a millisecond.
const TIMER: Duration = Duration::from_millis(2);
/// How long a failed response is read at most.
const DRAIN: Duration = Duration::from_millis(250);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Invariant {
    /// The run as a whole ends, and nothing panics.
    RunsToItsEnd,
    /// Every request ends, within its deadline, and no attempt takes longer than its timeout.
    EndsInTime,
    /// What must not be repeated is applied at most once.
    AtMostOnce,
    /// What has an idempotency key that the server knows is applied at most once.
    KeyedOnce,
    /// A body that arrives whole is identical to its last byte, that of a response too.
    BodiesIntact,
    /// The reported bound of effects contains the server's own count.
    Effects,
    /// What the report says of an attempt is what the server saw of it.
    RecordsAreTrue,
    /// No limit of the policy is exceeded.
    Counts,
    /// Every retry is one that the policy's rules allow.
    RetriesAreAllowed,
    /// Another attempt goes to another endpoint, where there is one.
    GoesElsewhere,
    /// Waits are as long as planned.
    Waits,
    /// Nobody comes back before the server wants it.
    ServerHints,
    /// What is no plain success has a report with a reason, and the reason is true.
    NeverSilent,
    /// The report has every attempt, and the hook is told the same as the caller.
    ReportsAreWhole,
    /// Each attempt is sent once.
    SentOnceEach,
    /// Nothing is sent after a request's end.
    NothingAfterTheEnd,
    /// Permits and places are given back.
    NothingHeld,
    /// The budget granted what was sent, and no more than it may.
    Budget,
    /// The recorded policy decides about the record as it did.
    Replays,
    /// An attempt is hedged once at most, and only one that may be repeated; the report says so.
    Hedges,
}

impl Invariant {
    pub(crate) const ALL: [Self; 20] = [
        Self::RunsToItsEnd,
        Self::EndsInTime,
        Self::AtMostOnce,
        Self::KeyedOnce,
        Self::BodiesIntact,
        Self::Effects,
        Self::RecordsAreTrue,
        Self::Counts,
        Self::RetriesAreAllowed,
        Self::GoesElsewhere,
        Self::Waits,
        Self::ServerHints,
        Self::NeverSilent,
        Self::ReportsAreWhole,
        Self::SentOnceEach,
        Self::NothingAfterTheEnd,
        Self::NothingHeld,
        Self::Budget,
        Self::Replays,
        Self::Hedges,
    ];
}

#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) invariant: Invariant,
    pub(crate) request: Option<u32>,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.invariant)?;
        if let Some(request) = self.request {
            write!(f, ", request {request}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Everything that is wrong with a run.
pub(crate) fn check(run: &Run) -> Vec<Violation> {
    let mut found = Found {
        request: None,
        violations: Vec::new(),
    };
    if let Some(failure) = &run.failure {
        found.that(Invariant::RunsToItsEnd, false, || failure.clone());
    }
    for plan in &run.scenario.requests {
        found.request = Some(plan.id);
        Facts::of(run, plan).check(&mut found);
    }
    found.request = None;
    for (index, client) in run.scenario.clients.iter().enumerate() {
        check_client(run, index, client, &mut found);
    }
    found.violations
}

struct Found {
    request: Option<u32>,
    violations: Vec<Violation>,
}

impl Found {
    /// Notes a violation unless `holds`.
    fn that(&mut self, invariant: Invariant, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(Violation {
                invariant,
                request: self.request,
                what: what(),
            });
        }
    }
}

/// What is known of a request.
struct Facts<'a> {
    plan: &'a scenario::Request,
    client: &'a Client,
    begun: Option<Duration>,
    end: Option<(Duration, &'a End)>,
    calls: Vec<(Duration, u32)>,
    /// The attempts that were sent a second time.
    hedges: Vec<u32>,
    /// How often that was at the same endpoint.
    hedged_there: usize,
    /// Each with what the client's clock was wrong by.
    retrying: Vec<(Duration, i64, &'a AttemptRecord)>,
    told: Vec<&'a RetryReport>,
    read: Option<&'a Received>,
    arrived: Vec<u32>,
    received: Vec<(u32, &'a Received)>,
    applied: Vec<u32>,
    answered: Vec<(u32, &'a Answered)>,
    called_after_end: usize,
    /// Whether a server asked for anything in an answer to another request.
    others_were_held: bool,
}

impl<'a> Facts<'a> {
    fn of(run: &'a Run, plan: &'a scenario::Request) -> Self {
        let client = run.scenario.client_of(plan);
        let mut facts = Self {
            plan,
            client,
            begun: None,
            end: None,
            calls: Vec::new(),
            hedges: Vec::new(),
            hedged_there: 0,
            retrying: Vec::new(),
            told: Vec::new(),
            read: None,
            arrived: Vec::new(),
            received: Vec::new(),
            applied: Vec::new(),
            answered: Vec::new(),
            called_after_end: 0,
            others_were_held: false,
        };
        let mut clock = client.clock;
        for (at, event) in &run.trace {
            let at = *at;
            match event {
                Event::Fault(Fault::ClientClock(index, by)) if *index == plan.client => {
                    clock += by;
                }
                Event::Begun { request } if *request == plan.id => facts.begun = Some(at),
                Event::Called { request, attempt } if *request == plan.id => {
                    if facts.end.is_some() {
                        facts.called_after_end += 1;
                    } else {
                        facts.calls.push((at, *attempt));
                    }
                }
                Event::Hedged {
                    request,
                    attempt,
                    elsewhere,
                } if *request == plan.id => {
                    if facts.end.is_some() {
                        facts.called_after_end += 1;
                    } else {
                        facts.hedges.push(*attempt);
                        facts.hedged_there += usize::from(!elsewhere);
                    }
                }
                Event::Retrying { request, record } if *request == plan.id => {
                    facts.retrying.push((at, clock, record));
                }
                Event::Told { request, report } if *request == plan.id => facts.told.push(report),
                Event::Ended { request, end } if *request == plan.id => {
                    facts.end = Some((at, end));
                }
                Event::Read { request, body } if *request == plan.id => facts.read = Some(body),
                Event::Arrived { request, attempt } if *request == plan.id => {
                    facts.arrived.push(*attempt);
                }
                Event::Received {
                    request,
                    attempt,
                    body,
                } if *request == plan.id => facts.received.push((*attempt, body)),
                Event::Applied { request, attempt } if *request == plan.id => {
                    facts.applied.push(*attempt);
                }
                Event::Answered {
                    request,
                    attempt,
                    answer,
                } if *request == plan.id => facts.answered.push((*attempt, answer)),
                Event::Answered { answer, .. } => {
                    facts.others_were_held |= answer.asked.is_some();
                }
                _ => {}
            }
        }
        facts
    }

    fn rules(&self) -> &'a Rules {
        &self.client.policy
    }

    fn report(&self) -> Option<&'a RetryReport> {
        match self.end?.1 {
            End::Response { report, .. } => report.as_ref(),
            End::Error { report, .. } => Some(report),
            End::Cancelled => None,
        }
    }

    fn deadline(&self) -> Option<Duration> {
        self.plan.deadline.or(self.client.deadline)
    }

    fn is_post_or_patch(&self) -> bool {
        matches!(self.plan.method, Method::POST | Method::PATCH)
    }

    fn gets_key(&self) -> bool {
        self.client.gives_keys && self.is_post_or_patch() && self.plan.key != Key::Header
    }

    fn has_key(&self) -> bool {
        self.plan.key == Key::Header || self.gets_key()
    }

    /// Whether the request may be repeated although it may have been applied.
    fn may_repeat(&self) -> bool {
        !self.is_post_or_patch()
            || self.gets_key()
            || match self.plan.key {
                Key::None => false,
                Key::Mark => true,
                // urllib3 does not know the header.
                Key::Header => !self.rules().urllib3,
            }
    }

    /// The retries that the budget was asked for.
    fn paid(&self) -> usize {
        let waits = self.retrying.iter();
        let waits = waits.filter_map(|(_, _, record)| record.wait.as_ref());
        waits
            .filter(|wait| wait.why != WaitReason::NeverProcessed)
            .count()
    }

    fn charged(&self) -> impl Iterator<Item = LimitKind> {
        self.retrying
            .iter()
            .filter_map(|(_, _, record)| record.wait.as_ref()?.charged)
    }

    fn check(&self, found: &mut Found) {
        self.check_time(found);
        self.check_effects(found);
        self.check_bodies(found);
        self.check_sending(found);
        self.check_counts(found);
        for (at, clock, record) in &self.retrying {
            self.check_retry(*at, record, found);
            self.check_hint(*at, *clock, record, found);
        }
        self.check_end(found);
        if let Some(report) = self.report() {
            self.check_report(report, found);
            self.check_records(report, found);
            self.check_reason(report, found);
        }
    }

    fn check_time(&self, found: &mut Found) {
        let id = Invariant::EndsInTime;
        let (Some(begun), Some((ended, end))) = (self.begun, self.end) else {
            return found.that(id, false, || "it never ends".to_owned());
        };
        let took = ended.saturating_sub(begun);
        if let Some(deadline) = self.deadline() {
            found.that(id, took <= deadline + TIMER, || {
                format!("it took {took:?}, its deadline is {deadline:?}")
            });
        }
        for (called, attempt) in &self.calls {
            let at = called.saturating_sub(begun);
            let in_time = self.deadline().is_none_or(|deadline| at < deadline);
            found.that(id, in_time, || {
                format!("attempt {attempt} was sent {at:?} after the start")
            });
        }
        if let (End::Cancelled, Some(patience)) = (end, self.plan.cancel) {
            found.that(id, took <= patience + TIMER, || {
                format!("cancelled after {took:?} in place of {patience:?}")
            });
        }
        let records = self
            .report()
            .into_iter()
            .flat_map(|report| &report.attempts);
        for record in records {
            let limit = self.client.attempt_timeout.unwrap_or(Duration::MAX - TIMER);
            found.that(id, record.took <= limit + TIMER, || {
                format!("attempt {} took {:?}", record.number, record.took)
            });
        }
    }

    fn check_effects(&self, found: &mut Found) {
        let count = self.applied.len();
        if self.has_key() {
            found.that(Invariant::KeyedOnce, count <= 1, || {
                format!("applied {count} times")
            });
        }
        // urllib3 repeats what it cannot place, whatever the method.
        let other = self.charged().filter(|kind| *kind == LimitKind::Other);
        let unplaced = if self.rules().urllib3 {
            other.count()
        } else {
            0
        };
        if !self.may_repeat() {
            found.that(Invariant::AtMostOnce, count <= 1 + unplaced, || {
                format!("{} applied {count} times", self.plan.method)
            });
        }
        let bound = match (self.report(), self.end) {
            (Some(report), _) => report.effects(),
            (
                None,
                Some((
                    _,
                    End::Response {
                        status: 200..=299, ..
                    },
                )),
            ) => 1..=1,
            _ => return,
        };
        let bound = *bound.start() as usize..=*bound.end() as usize;
        found.that(Invariant::Effects, bound.contains(&count), || {
            format!("applied {count} times, and the report says {bound:?}")
        });
    }

    fn check_bodies(&self, found: &mut Found) {
        let altered = |body: &Received| matches!(body, Received::Altered { .. });
        for (attempt, body) in &self.received {
            found.that(Invariant::BodiesIntact, !altered(body), || {
                format!(
                    "attempt {attempt} arrived as {body:?}, sent were {} bytes",
                    self.plan.content.len()
                )
            });
        }
        if let Some(body) = self.read {
            found.that(Invariant::BodiesIntact, !altered(body), || {
                format!("the response arrived as {body:?}")
            });
        }
    }

    fn check_sending(&self, found: &mut Found) {
        let asked = |(_, answer): &(u32, &Answered)| answer.asked.is_some();
        let may_stay = self.others_were_held || self.answered.iter().any(asked);
        let stayed = self.client.two_names && self.hedged_there > 0 && !may_stay;
        found.that(Invariant::GoesElsewhere, !stayed, || {
            format!("{} hedges went to the same endpoint", self.hedged_there)
        });
        found.that(
            Invariant::NothingAfterTheEnd,
            self.called_after_end == 0,
            || format!("{} attempts after the end", self.called_after_end),
        );
        let id = Invariant::SentOnceEach;
        for (index, (_, attempt)) in self.calls.iter().enumerate() {
            found.that(id, *attempt as usize == index + 1, || {
                format!("attempt {attempt} was the {}th to be sent", index + 1)
            });
            let hedges = self.hedges.iter().filter(|hedge| *hedge == attempt).count();
            let arrivals = self.arrived.iter().filter(|arrived| *arrived == attempt);
            let count = arrivals.count();
            found.that(id, count <= 1 + hedges, || {
                format!("attempt {attempt} arrived {count} times, hedged {hedges} times")
            });
            let allowed = self.client.hedges.is_some() && self.may_repeat();
            found.that(Invariant::Hedges, hedges <= usize::from(allowed), || {
                format!("attempt {attempt} was hedged {hedges} times")
            });
        }
        let sent = self.calls.len();
        for attempt in &self.arrived {
            found.that(id, *attempt as usize <= sent, || {
                format!("attempt {attempt} arrived, {sent} were sent")
            });
        }
    }

    fn check_counts(&self, found: &mut Found) {
        let rules = self.rules();
        let mut limits = vec![
            (LimitKind::Connect, rules.connect),
            (LimitKind::Read, rules.read),
            (LimitKind::Status, rules.status),
        ];
        limits.retain(|(_, limit)| limit.is_some());
        for (kind, limit) in limits {
            let count = self.charged().filter(|charged| *charged == kind).count();
            let limit = limit.unwrap_or(u32::MAX) as usize;
            found.that(Invariant::Counts, count <= limit, || {
                format!("{count} retries under `{kind:?}`, which allows {limit}")
            });
        }
        let charged = self.charged().count();
        let unprocessed = self.retrying.len() - charged;
        found.that(Invariant::Counts, charged <= rules.total as usize, || {
            format!("{charged} retries, `total` is {}", rules.total)
        });
        found.that(
            Invariant::Counts,
            unprocessed <= rules.unprocessed as usize,
            || format!("{unprocessed} requests sent again uncounted"),
        );
        let sent = self.calls.len();
        found.that(Invariant::Counts, sent <= 1 + self.retrying.len(), || {
            format!("{sent} attempts, but {} retries", self.retrying.len())
        });
    }

    /// Whether the rules allow that another attempt follows this one.
    fn check_retry(&self, at: Duration, record: &AttemptRecord, found: &mut Found) {
        let rules = self.rules();
        let number = record.number;
        let charged = record.wait.as_ref().and_then(|wait| wait.charged);
        let allowed = match (&record.outcome, charged) {
            (AttemptOutcome::Failed { cause, sent, .. }, None) => {
                let canceled = *cause == Cause::Canceled && *sent == Sent::Never;
                !rules.urllib3 && (canceled || *sent == Sent::Unprocessed)
            }
            (AttemptOutcome::Response(_), None) => false,
            (AttemptOutcome::Response(status), Some(_)) => {
                let status = status.as_u16();
                let asks = rules.respects_hints
                    && matches!(status, 413 | 429 | 503)
                    && (self.is_hedged(number)
                        || self.asked_of(number).is_some_and(|asked| {
                            !rules.urllib3 || !matches!(asked, Asked::AfterMs(_))
                        }));
                let earlier = self
                    .retrying
                    .iter()
                    .filter(|(_, _, earlier)| earlier.number < number && is_misdirected(earlier));
                let first = is_misdirected(record) && earlier.count() == 0;
                let misdirected = !rules.urllib3 && self.client.leaves && first;
                let in_progress = !rules.urllib3 && status == 409 && number > 1 && self.has_key();
                misdirected
                    || self.may_repeat() && (rules.listed.contains(&status) || asks || in_progress)
            }
            (AttemptOutcome::Failed { kind, cause, .. }, Some(_)) => match kind {
                FailureKind::Connect => true,
                FailureKind::Other => {
                    !cause.is_user_error() && (rules.urllib3 || self.may_repeat())
                }
                _ => self.may_repeat(),
            },
            _ => false,
        };
        found.that(Invariant::RetriesAreAllowed, allowed, || {
            format!(
                "{} goes on at {at:?} after attempt {number}: {}",
                self.plan.method, record.outcome
            )
        });
    }

    /// Whether the attempt was sent a second time: the server may have answered both.
    fn is_hedged(&self, attempt: u32) -> bool {
        self.hedges.contains(&attempt)
    }

    fn asked_of(&self, attempt: u32) -> Option<&'a Asked> {
        let mut answers = self.answered.iter();
        answers
            .find(|(number, _)| *number == attempt)?
            .1
            .asked
            .as_ref()
    }

    /// How long the server asked to wait with its answer to this attempt.
    fn asked(&self, record: &AttemptRecord) -> Option<Duration> {
        let mut answers = self.answered.iter();
        let (_, answer) = answers.find(|(number, _)| *number == record.number)?;
        let urllib3 = self.rules().urllib3;
        let asked = match answer.asked.as_ref()? {
            Asked::After(asked) => *asked,
            Asked::AfterMs(_) if urllib3 => return None,
            Asked::AfterMs(asked) => *asked,
            Asked::At(date) => {
                let own = record.hint.as_ref()?.at;
                let now = answer.date.filter(|_| !urllib3).unwrap_or(own);
                date.duration_since(now).ok()?
            }
            Asked::Unreadable => return None,
        };
        Some(asked).filter(|asked| !asked.is_zero())
    }

    fn check_hint(&self, at: Duration, clock: i64, record: &AttemptRecord, found: &mut Found) {
        let rules = self.rules();
        let id = Invariant::ServerHints;
        let (AttemptOutcome::Response(_), Some(wait)) = (&record.outcome, &record.wait) else {
            return;
        };
        let number = record.number;
        if self.is_hedged(number) {
            return;
        }
        if let Some(hint) = &record.hint {
            let by = Duration::from_secs(clock.unsigned_abs());
            let right = std::time::SystemTime::UNIX_EPOCH + EPOCH + at;
            let shown = if clock < 0 { right - by } else { right + by };
            found.that(id, hint.at == shown, || {
                format!("attempt {number} was looked at when the clock showed another time")
            });
        }
        if record.layer_notes.contains(&Note::HintElsewhere) {
            // It does not hold for the other endpoint.
            return;
        }
        let Some(asked) = self.asked(record).filter(|_| rules.respects_hints) else {
            return;
        };
        if asked > rules.hint_max {
            found.that(id, rules.clamps && wait.planned >= rules.hint_max, || {
                format!(
                    "attempt {number}: asked for {asked:?}, waits {:?}",
                    wait.planned
                )
            });
            return;
        }
        let shared = wait.why == WaitReason::SharedHint;
        let most = if rules.urllib3 { 1.0 } else { 1.1 };
        let most = asked.mul_f64(most) + Duration::from_millis(1);
        found.that(id, wait.planned >= asked, || {
            format!(
                "attempt {number}: asked for {asked:?}, waits {:?}",
                wait.planned
            )
        });
        found.that(id, shared || wait.planned <= most, || {
            format!(
                "attempt {number}: asked for {asked:?}, waits {:?}",
                wait.planned
            )
        });
    }

    fn check_end(&self, found: &mut Found) {
        let id = Invariant::NeverSilent;
        match self.end {
            Some((_, End::Response { status, report })) => {
                let plain = *status < 400 && self.calls.len() == 1;
                found.that(id, plain || report.is_some(), || {
                    format!("{status} without a report")
                });
                if let Some(report) = report {
                    let succeeded = report.stop.is_success();
                    found.that(id, succeeded == (*status < 400), || {
                        format!("{status}, and the report says: {}", report.stop)
                    });
                }
            }
            Some((_, End::Error { report, text, .. })) => {
                found.that(id, !report.stop.is_success(), || {
                    format!("an error of a success: {text}")
                });
                let reason = report.stop.to_string();
                found.that(id, text.contains(&reason), || {
                    format!("the error's text does not say why: {text}")
                });
            }
            Some((_, End::Cancelled)) | None => {}
        }
        let told: Vec<_> = self.report().into_iter().collect();
        found.that(Invariant::ReportsAreWhole, self.told == told, || {
            format!("the hook was told {:?}", self.told)
        });
    }

    fn check_report(&self, report: &RetryReport, found: &mut Found) {
        let id = Invariant::ReportsAreWhole;
        let attempts = &report.attempts;
        let sent = self.calls.len();
        found.that(id, attempts.len() == sent, || {
            format!("{} attempts in the report, {sent} sent", attempts.len())
        });
        let begun = self.begun.unwrap_or_default();
        if let Some((ended, _)) = self.end {
            let took = ended.saturating_sub(begun);
            found.that(id, report.elapsed.abs_diff(took) <= TIMER, || {
                format!("{:?} in the report, it took {took:?}", report.elapsed)
            });
        }
        for (index, (record, (called, _))) in attempts.iter().zip(&self.calls).enumerate() {
            let number = record.number;
            found.that(id, number as usize == index + 1, || {
                format!("attempt {number} in place {}", index + 1)
            });
            let told = record.inner_attempts == Some(2);
            found.that(Invariant::Hedges, told == self.is_hedged(number), || {
                format!("attempt {number}: the report says hedged: {told}")
            });
            let started = called.saturating_sub(begun);
            found.that(id, record.started.abs_diff(started) <= TIMER, || {
                format!(
                    "attempt {number} started at {:?}, not {started:?}",
                    record.started
                )
            });
            // It is told before the response is read to its end.
            let mut undrained = record.clone();
            undrained.drained = None;
            let retried = self.retrying.iter().any(|(_, _, said)| **said == undrained);
            found.that(id, retried == record.wait.is_some(), || {
                format!("the hook was told otherwise of attempt {number}")
            });
            let Some(next) = attempts.get(index + 1) else {
                continue;
            };
            let held = self
                .answered
                .iter()
                .any(|(_, answer)| answer.asked.is_some());
            let elsewhere = record.url.is_some() && record.url != next.url;
            // A hedge has tried the other one.
            let hedged = self.is_hedged(number) || self.is_hedged(number + 1);
            let may_stay = !self.client.two_names || held || self.others_were_held || hedged;
            found.that(Invariant::GoesElsewhere, elsewhere || may_stay, || {
                format!(
                    "attempts {number} and the next were both sent to {:?}",
                    next.url
                )
            });
            let Some(wait) = &record.wait else {
                found.that(id, false, || {
                    format!("nothing between {number} and the next")
                });
                continue;
            };
            let ended = record.started + record.took;
            let waited = next.started.saturating_sub(ended);
            found.that(Invariant::Waits, waited >= wait.planned, || {
                format!(
                    "{waited:?} after attempt {number}, planned {:?}",
                    wait.planned
                )
            });
            let drains = matches!(record.outcome, AttemptOutcome::Response(_));
            let drain = if drains { DRAIN } else { Duration::ZERO };
            let most = wait.planned.max(drain) + TIMER;
            // Then others can have to be waited for.
            let alone = self.client.concurrency.is_none() && !self.client.share_hints;
            found.that(Invariant::Waits, !alone || waited <= most, || {
                format!(
                    "{waited:?} after attempt {number}, planned {:?}",
                    wait.planned
                )
            });
        }
    }

    /// Compares what is said of each attempt with what the server knows.
    fn check_records(&self, report: &RetryReport, found: &mut Found) {
        let id = Invariant::RecordsAreTrue;
        for record in &report.attempts {
            let number = record.number;
            let arrived = self.arrived.contains(&number);
            let applied = self.applied.contains(&number);
            match &record.outcome {
                AttemptOutcome::Response(status) => {
                    let mut answers = self.answered.iter();
                    let was = answers.any(|(attempt, answer)| {
                        *attempt == number && answer.status == status.as_u16()
                    });
                    found.that(id, was, || {
                        format!("nobody answered attempt {number} with {status}")
                    });
                }
                AttemptOutcome::Failed { cause, sent, .. } => match sent {
                    Sent::Never => found.that(id, !arrived, || {
                        format!("attempt {number} ({cause}) did arrive")
                    }),
                    Sent::Unprocessed => found.that(id, !applied, || {
                        format!("attempt {number} ({cause}) was applied")
                    }),
                    _ => {}
                },
                other => found.that(id, false, || format!("attempt {number}: {other}")),
            }
        }
        // A hint that was meant for another request is in no record, unless it was waited for;
        // nor is what others put into the budget.
        let hinted =
            self.client.share_hints && matches!(report.stop, StopReason::DeadlineTooClose { .. });
        let paid = self.paid() as f64;
        let budget = self.rules().budget.as_ref();
        if hinted || budget.is_some_and(|budget| paid > budget.capacity) {
            return;
        }
        let policy = self.rules().policy(None);
        let replay = policy.map(|policy| report.replay(&policy));
        let same = replay
            .as_ref()
            .is_ok_and(|replay| replay.differences.is_empty());
        found.that(Invariant::Replays, same, || match replay {
            Ok(replay) => format!("{replay}\n{report}"),
            Err(error) => error.to_string(),
        });
    }

    /// Whether the reason why nothing followed is true.
    fn check_reason(&self, report: &RetryReport, found: &mut Found) {
        let rules = self.rules();
        let last = report.attempts.last();
        let last_status = last.and_then(|record| match &record.outcome {
            AttemptOutcome::Response(status) => Some(*status),
            _ => None,
        });
        let last_failure = last.and_then(|record| match &record.outcome {
            AttemptOutcome::Failed { kind, cause, .. } => Some((*kind, *cause)),
            _ => None,
        });
        let retries = |kind| match kind {
            LimitKind::Total => self.charged().count(),
            kind => self.charged().filter(|charged| *charged == kind).count(),
        };
        let length = self.plan.content.len() as u64;
        let is_true = match &report.stop {
            StopReason::Succeeded => last_status.is_some_and(|status| status.as_u16() < 400),
            StopReason::MethodNotAllowed { method } => {
                *method == self.plan.method
                    && !self.may_repeat()
                    && last_failure.is_none_or(|(kind, _)| kind != FailureKind::Connect)
            }
            StopReason::StatusNotListed { status } => {
                last_status == Some(*status) && !rules.listed.contains(&status.as_u16())
            }
            StopReason::CountExhausted { kind, limit } => {
                let allowed = match kind {
                    LimitKind::Total => Some(rules.total),
                    LimitKind::Connect => rules.connect,
                    LimitKind::Read => rules.read,
                    LimitKind::Status => rules.status,
                    _ => None,
                };
                allowed.is_some_and(|allowed| {
                    i64::from(allowed) == *limit && retries(*kind) == allowed as usize
                })
            }
            StopReason::BodyNotReplayable { limit, .. } => {
                self.client.rewind == Rewind::Replay(*limit) && length > *limit
            }
            StopReason::BodyFailed => {
                matches!(self.client.rewind, Rewind::Replay(_)) && self.plan.content.fails()
            }
            StopReason::BudgetExhausted(_) => rules.budget.is_some(),
            StopReason::DeadlineTooClose { left, needed } => {
                let whole = self.deadline().unwrap_or_default();
                needed >= left && (*left + report.elapsed).abs_diff(whole) <= TIMER
            }
            StopReason::DeadlineExceeded { deadline } => {
                self.deadline() == Some(*deadline) && report.elapsed + TIMER >= *deadline
            }
            StopReason::RetryAfterTooLong { asked, cap } => {
                let said = last.and_then(|record| self.asked(record));
                // Or what the other endpoint, or the other of the two, asked for.
                let other = self.client.two_names
                    || last.is_some_and(|record| self.is_hedged(record.number));
                asked > cap
                    && *cap == rules.hint_max
                    && !rules.clamps
                    && (other || said == Some(*asked))
            }
            StopReason::HeldTooLong { held, max } => {
                held > max && self.client.share_hints && *max == Duration::from_secs(60)
            }
            StopReason::NotTransient { cause } => {
                last_failure.is_some_and(|(_, last)| last == *cause) && self.plan.content.fails()
            }
            StopReason::Throttled => self.client.throttle,
            StopReason::TooManyInFlight { max } => self.client.retries_in_flight == Some(*max),
            // Nothing of the kind is in any scenario.
            _ => false,
        };
        found.that(Invariant::NeverSilent, is_true, || {
            format!("the reason is not true: {:?}\n{report}", report.stop)
        });
    }
}

/// Whether the attempt was answered that it came to the wrong place.
fn is_misdirected(record: &AttemptRecord) -> bool {
    matches!(record.outcome, AttemptOutcome::Response(status) if status == MISDIRECTED)
}

fn check_client(run: &Run, index: usize, client: &Client, found: &mut Found) {
    let left = run.trace.iter().find_map(|(at, event)| match event {
        Event::Idle { client, left } if *client == index => Some((at, left)),
        _ => None,
    });
    let Some((at, left)) = left else {
        // Then some request has not ended either.
        return;
    };
    let Left {
        permits_taken,
        retries_in_flight,
        granted,
        refunded,
        ..
    } = *left;
    found.that(
        Invariant::NothingHeld,
        permits_taken == 0 && retries_in_flight == 0,
        || format!("client {index}: {left:?}"),
    );
    let Some(budget) = &client.policy.budget else {
        return;
    };
    let mut sent = 0;
    let mut successes = 0_u32;
    // What each request earns that failed and asked for a retry: the budget's default.
    const MIN_RATIO: f64 = 0.1;
    let mut failures = 0_u32;
    for plan in &run.scenario.requests {
        if plan.client != index {
            continue;
        }
        let facts = Facts::of(run, plan);
        sent += facts
            .retrying
            .iter()
            .filter(|(_, _, record)| {
                let wait = record.wait.as_ref();
                // Free is only the first time of what was never processed.
                wait.is_some_and(|wait| wait.why != WaitReason::NeverProcessed)
                    && facts
                        .calls
                        .iter()
                        .any(|(_, call)| *call == record.number + 1)
            })
            .count() as u64;
        sent += facts.hedges.len() as u64;
        let succeeded = matches!(facts.end, Some((_, End::Response { status: ..400, .. })));
        successes += u32::from(succeeded);
        failures += u32::from(!succeeded || !facts.retrying.is_empty());
    }
    found.that(Invariant::Budget, granted - refunded == sent, || {
        format!("client {index}: {sent} retries and hedges sent, {left:?}")
    });
    // Each of the server's names is an authority of its own.
    let buckets = if client.two_names { 2.0 } else { 1.0 };
    let most = buckets * (budget.capacity + budget.per_second * at.as_secs_f64())
        + budget.ratio * f64::from(successes)
        + MIN_RATIO * f64::from(failures)
        + 0.001;
    found.that(Invariant::Budget, sent as f64 <= most, || {
        format!("client {index}: {sent} retries and hedges sent, {most} allowed")
    });
}
