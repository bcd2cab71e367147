//! [`Replay`]: what another policy would have made of a request that is over.

use std::{
    fmt,
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header::LOCATION};

use crate::{
    classify::{Failure, Outcome},
    human::Human,
    policy::{
        AnySession, Attempt, CountKind, Decision, Gate, Gates, IDEMPOTENCY_KEY, Idempotent,
        Judgement, Note, Policy, RequestHead, Retry, RetryDisabled, Rng, Session, Standing, Stop,
        StopReason, WaitReason, ask, rehearse,
    },
    report::{AttemptOutcome, AttemptRecord, RetryReport, WaitRecord},
};

/// What a policy makes of a recorded request; made by [`RetryReport::replay`].
///
/// `Display` lists the differences:
///
/// ```text
/// GET http://example.com/: 1 difference
///   attempt 2: recorded: wait 1 s, backoff; replayed: stop, `total` is used up (1 retry)
///   unknown: …
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Replay {
    /// The report under the policy, as far as the recorded attempts go.
    pub report: RetryReport,
    /// Where the policy decides otherwise.
    pub differences: Vec<Difference>,
    /// What the record does not say, and what might have changed the outcome.
    pub unknown: Vec<Unknown>,
}

/// A decision that is not the recorded one.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Difference {
    /// The attempt that it is about.
    pub attempt: u32,
    /// What was decided.
    pub recorded: Verdict,
    /// What the policy decides.
    pub replayed: Verdict,
}

/// What becomes of an attempt.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Verdict {
    /// It was no failure.
    Accept,
    /// Another attempt follows.
    Retry {
        /// The shortest wait before it that is possible; the one that there was, if it was
        /// recorded.
        #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::seconds"))]
        min: Duration,
        /// The longest.
        #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::seconds"))]
        max: Duration,
        /// Where the wait comes from.
        why: WaitReason,
        /// The limit that the retry is charged to; `None` for a request that was never processed.
        charged: Option<CountKind>,
    },
    /// It was the last one.
    Stop(StopReason),
}

/// What a record does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Unknown {
    /// How the attempt with this number, which was never made, would have ended.
    Outcome {
        /// Its number.
        attempt: u32,
    },
    /// Whether the request had an idempotency key or mark. It did not matter then; it would make
    /// the request repeatable now.
    Idempotency,
    /// How the attempts after the one with this number would have ended, had they been made at
    /// another time.
    Timing {
        /// The number of the attempt.
        after: u32,
    },
}

impl RetryReport {
    /// Asks `policy` for its decisions about the recorded attempts.
    ///
    /// Everything that the record knows counts: outcomes, times, classifiers' opinions, what
    /// servers said about when to come back, and whatever ended the request from outside of its
    /// policy (its body, a deadline, a throttle). A random wait is the recorded one if the policy
    /// could draw it.
    ///
    /// A budget is taken to be full, unless the record says that it was used up and the policy
    /// has one, too. A layer's [`min_attempt`](crate::RetryLayer::min_attempt) is not in the
    /// record: next to a deadline, the quickest attempt counts.
    ///
    /// With a serialised report, a trace from production becomes a test:
    ///
    /// ```
    /// use http::{Request, StatusCode};
    /// use tower_http_retry::policy::{RequestHead, RetryPolicy};
    ///
    /// let request = Request::get("http://example.com/").body(())?;
    /// let recorded = RetryPolicy::default().explain_sequence(
    ///     &RequestHead::of(&request),
    ///     &[StatusCode::BAD_GATEWAY, StatusCode::BAD_GATEWAY, StatusCode::OK].map(Into::into),
    /// );
    /// let report = recorded.report();
    /// assert!(report.replay(&RetryPolicy::default()).is_same());
    ///
    /// let once = RetryPolicy::builder().total(1).build()?;
    /// let replay = report.replay(&once);
    /// assert_eq!(replay.differences[0].attempt, 2);
    /// assert_eq!(
    ///     replay.report.stop.to_string(),
    ///     "`total` is used up (1 retry)",
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replay<P: Policy + ?Sized>(&self, policy: &P) -> Replay {
        let request = request(self);
        let head = RequestHead::of(&request);
        let mut replay = Replay {
            report: Self {
                attempts: Vec::new(),
                ..self.clone()
            },
            differences: Vec::new(),
            unknown: Vec::new(),
        };
        // The shortest and the longest waits: what lies between them is possible.
        let mut runs: Vec<Run<'_, P::Session>> = [0.0, 1.0]
            .map(|unit| Run::new(rehearse(policy, &head, Rng::constant(unit)), self))
            .into();
        for record in &self.attempts {
            let recorded = self.verdict(record);
            let scripted = Scripted::of(self, record);
            let decided: Vec<_> = runs
                .iter_mut()
                .map(|run| run.decide(&scripted, record))
                .collect();
            let agreeing: Vec<bool> = decided
                .iter()
                .map(|decided| decided.is_like(&recorded))
                .collect();
            let all = Decided::together(&decided);
            let same = agreeing.contains(&true) && all.allows(&recorded);
            // Where the policy can go two ways, it goes the recorded one.
            let way = agreeing.iter().position(|agrees| *agrees).unwrap_or(0);
            let taken = &decided[way];
            if same {
                replay.report.attempts.push(taken.as_recorded(record));
            } else {
                replay.differences.push(Difference {
                    attempt: record.number,
                    recorded,
                    replayed: all.verdict(taken),
                });
                let attempt = taken.instead(record, &all);
                replay.report.attempts.push(attempt);
            }
            if self.might_be_keyed()
                && taken.lacks_idempotency()
                && !replay.unknown.contains(&Unknown::Idempotency)
            {
                replay.unknown.push(Unknown::Idempotency);
            }
            match (&taken.verdict, record.wait.clone()) {
                (Verdict::Retry { .. }, Some(_)) => {
                    if !same {
                        let after = record.number;
                        replay.unknown.push(Unknown::Timing { after });
                    }
                    let mut keep = decided.iter().map(Decided::is_retry);
                    runs.retain(|_| keep.next().unwrap_or(false));
                }
                (Verdict::Retry { .. }, None) => {
                    let attempt = record.number.saturating_add(1);
                    replay.unknown.push(Unknown::Outcome { attempt });
                    replay.report.stop = StopReason::Custom(
                        "nothing is recorded of the attempt that follows".into(),
                    );
                    break;
                }
                (Verdict::Accept, _) => {
                    replay.report.stop = StopReason::Succeeded;
                    replay.report.elapsed = record.started.saturating_add(record.took);
                    break;
                }
                (Verdict::Stop(reason), _) => {
                    if !same {
                        replay.report.stop = reason.clone();
                        replay.report.elapsed = record.started.saturating_add(record.took);
                    }
                    break;
                }
            }
        }
        replay
    }

    /// What was decided about one of the attempts.
    fn verdict(&self, record: &AttemptRecord) -> Verdict {
        match record.wait.clone() {
            Some(wait) => Verdict::Retry {
                min: wait.planned,
                max: wait.planned,
                why: wait.why,
                charged: wait.charged,
            },
            None if self.stop.is_success() => Verdict::Accept,
            None => Verdict::Stop(self.stop.clone()),
        }
    }

    fn any_gate(&self, gate: Gate) -> Option<bool> {
        let said = self
            .attempts
            .iter()
            .filter_map(|record| record.gates.get(gate));
        said.reduce(|a, b| a || b)
    }

    /// Whether the record leaves open whether the request had an idempotency key or mark.
    fn might_be_keyed(&self) -> bool {
        self.any_gate(Gate::Idempotency).is_none()
    }

    /// Whether the server took the request for one with an idempotency key.
    fn was_keyed(&self) -> bool {
        self.stop == StopReason::IdempotencyKeyReused
            || self
                .attempts
                .iter()
                .any(|record| record.note == Some(Note::StillInProgress))
    }
}

/// The request, as far as the record knows it.
fn request(report: &RetryReport) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = report.method.clone();
    // A report that was not made by this crate may hold anything.
    *request.uri_mut() = report.url.parse().unwrap_or_else(|_| Uri::default());
    if report.any_gate(Gate::Idempotency) == Some(true) {
        request.extensions_mut().insert(Idempotent);
    }
    if report.was_keyed() {
        let key = HeaderValue::from_static("\"replayed\"");
        request.headers_mut().insert(IDEMPOTENCY_KEY, key);
    }
    if report.stop == StopReason::Disabled {
        request.extensions_mut().insert(RetryDisabled);
    }
    request
}

/// An attempt as a session sees it.
struct Scripted {
    headers: HeaderMap,
    judgement: Judgement,
    wall_clock: SystemTime,
}

impl Scripted {
    fn of(report: &RetryReport, record: &AttemptRecord) -> Self {
        let mut headers = HeaderMap::new();
        for (name, value) in record.hint.iter().flat_map(|hint| &hint.headers) {
            if let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(name.as_bytes()),
                HeaderValue::from_bytes(value.as_bytes()),
            ) {
                headers.append(name, value);
            }
        }
        if was_redirect(report, record) {
            headers.insert(LOCATION, HeaderValue::from_static("/"));
        }
        let judgement = match (&record.note, &report.stop) {
            (Some(Note::Reclassified { by, because }), _) => Judgement::Retry {
                by: by.clone(),
                because: because.clone(),
            },
            (_, StopReason::Vetoed { by, because }) if record.wait.is_none() => Judgement::Forbid {
                by: by.clone(),
                because: because.clone(),
            },
            _ => Judgement::None,
        };
        Self {
            headers,
            judgement,
            wall_clock: record
                .hint
                .as_ref()
                .map_or(SystemTime::UNIX_EPOCH, |hint| hint.at),
        }
    }

    fn outcome(&self, record: &AttemptRecord) -> Outcome<'_> {
        match &record.outcome {
            AttemptOutcome::Response(status) => Outcome::Response {
                status: *status,
                headers: &self.headers,
            },
            AttemptOutcome::Failed { kind, cause, .. } => Outcome::Error {
                failure: Failure::with_kind(*kind, *cause),
                error: None,
            },
        }
    }
}

/// Whether the response was charged as a redirect. Where it leads is not in the record.
fn was_redirect(report: &RetryReport, record: &AttemptRecord) -> bool {
    const KIND: CountKind = CountKind::Redirect;
    match (&record.wait, &report.stop) {
        (Some(wait), _) => wait.charged == Some(KIND),
        (None, StopReason::CountExhausted { kind, .. } | StopReason::KindDisabled { kind }) => {
            *kind == KIND
        }
        (None, _) => false,
    }
}

/// The request under the policy, with one way to draw random waits.
struct Run<'a, S: Session> {
    session: AnySession<S>,
    never: Option<StopReason>,
    report: &'a RetryReport,
    quickest: Duration,
    origin: Instant,
}

impl<'a, S: Session> Run<'a, S> {
    fn new(session: AnySession<S>, report: &'a RetryReport) -> Self {
        let never = match session.standing() {
            Standing::Never(reason) => Some(reason),
            Standing::Eligible => None,
        };
        Self {
            session,
            never,
            report,
            quickest: Duration::MAX,
            // An instant cannot be made up. Which one it is makes no difference.
            origin: tokio::time::Instant::now().into_std(),
        }
    }

    fn decide(&mut self, scripted: &Scripted, record: &AttemptRecord) -> Decided {
        let elapsed = record.started.saturating_add(record.took);
        let now = self.origin.checked_add(elapsed).unwrap_or(self.origin);
        let cut_off = matches!(self.report.stop, StopReason::DeadlineExceeded { .. });
        if record.wait.is_none() && cut_off {
            // The attempt was cut off, and no policy was asked.
            return Decided::from_outside(self.report.stop.clone(), record.gates);
        }
        self.quickest = self.quickest.min(record.took);
        let (number, method) = (record.number, &self.report.method);
        let outcome = scripted.outcome(record);
        let judgement = scripted.judgement.clone();
        let decision = ask(&mut self.session, outcome, judgement, |outcome| {
            Attempt::new(number, method, outcome)
                .with_elapsed(elapsed)
                .with_wall_clock(scripted.wall_clock)
        });
        match decision {
            Decision::Accept => Decided {
                verdict: Verdict::Accept,
                wait: None,
                gates: Gates::default(),
                note: None,
            },
            Decision::Stop(stop) => Decided::stopped(stop, None),
            Decision::Retry(mut retry) => match self.last_gates(&mut retry, record, now) {
                Ok(()) => Decided {
                    verdict: Verdict::Retry {
                        min: retry.wait,
                        max: retry.wait,
                        why: retry.why,
                        charged: retry.charged,
                    },
                    wait: Some(retry.wait),
                    gates: retry.gates,
                    note: retry.note,
                },
                Err(reason) => {
                    let wait = Some(retry.wait);
                    let stop = Stop {
                        gates: retry.gates,
                        note: retry.note,
                        ..Stop::because(reason)
                    };
                    Decided::stopped(stop, wait)
                }
            },
        }
    }

    /// What the layer asked of this retry, as far as it is recorded.
    fn last_gates(
        &mut self,
        retry: &mut Retry,
        record: &AttemptRecord,
        now: Instant,
    ) -> Result<(), StopReason> {
        if let Some(reason) = &self.never {
            return Err(reason.clone());
        }
        let stop = &self.report.stop;
        let last = record.wait.is_none();
        match stop {
            StopReason::BodyNotReplayable { .. }
            | StopReason::BodyFailed
            | StopReason::BodyNotKept
            | StopReason::BodyNotReopened
                if last =>
            {
                return retry.check(Some(Err(stop.clone())), None, Duration::ZERO);
            }
            StopReason::Throttled
            | StopReason::TooManyInFlight { .. }
            | StopReason::HeldTooLong { .. }
                if last =>
            {
                retry.gates.set(Gate::Throttle, false);
                return Err(stop.clone());
            }
            StopReason::DeadlineTooClose { left, .. } if last => {
                retry.check(None, Some(*left), self.quickest)?;
            }
            _ => {}
        }
        retry.commit(&mut self.session, now)?;
        if last && *stop == StopReason::BudgetExhausted && retry.gates.get(Gate::Budget).is_some() {
            retry.gates.set(Gate::Budget, false);
            return Err(StopReason::BudgetExhausted);
        }
        Ok(())
    }
}

/// What a run decided about an attempt.
struct Decided {
    verdict: Verdict,
    /// The wait that the policy wanted, also if something else stopped the request.
    wait: Option<Duration>,
    gates: Gates,
    note: Option<Note>,
}

/// Two times of which one came through text.
fn about(a: Duration, b: Duration) -> bool {
    // Long ones are not that exact as a float of seconds.
    a.abs_diff(b) <= Duration::from_micros(1) || a.as_secs_f64() == b.as_secs_f64()
}

/// Whether waits for these reasons are drawn from the same thing. A backoff that happens to be
/// zero has no reason of its own.
fn same_source(a: &WaitReason, b: &WaitReason) -> bool {
    let own = |why: &WaitReason| matches!(why, WaitReason::Immediate | WaitReason::Backoff);
    a == b || own(a) && own(b)
}

/// Whether it is the same reason, whatever was drawn at random.
fn same_reason(a: &StopReason, b: &StopReason) -> bool {
    match (a, b) {
        (
            StopReason::DeadlineTooClose { left: a, .. },
            StopReason::DeadlineTooClose { left: b, .. },
        ) => about(*a, *b),
        // A date is as exact as the text that it came through.
        (
            StopReason::RetryAfterTooLong { asked: a, cap: c },
            StopReason::RetryAfterTooLong { asked: b, cap: d },
        ) => about(*a, *b) && about(*c, *d),
        _ => a == b,
    }
}

impl Decided {
    fn stopped(stop: Stop, wait: Option<Duration>) -> Self {
        Self {
            verdict: Verdict::Stop(stop.reason),
            wait,
            gates: stop.gates,
            note: stop.note,
        }
    }

    fn from_outside(reason: StopReason, gates: Gates) -> Self {
        Self::stopped(
            Stop {
                gates,
                ..Stop::because(reason)
            },
            None,
        )
    }

    fn is_retry(&self) -> bool {
        matches!(self.verdict, Verdict::Retry { .. })
    }

    /// Whether it is the same decision but for the wait.
    fn is_like(&self, recorded: &Verdict) -> bool {
        match (&self.verdict, recorded) {
            (Verdict::Accept, Verdict::Accept) => true,
            (Verdict::Stop(a), Verdict::Stop(b)) => same_reason(a, b),
            (
                Verdict::Retry {
                    why: a, charged: c, ..
                },
                Verdict::Retry {
                    why: b, charged: d, ..
                },
            ) => c == d && (same_source(a, b) || *b == WaitReason::SharedHint),
            _ => false,
        }
    }

    fn lacks_idempotency(&self) -> bool {
        self.gates.get(Gate::Method) == Some(false)
            && self.gates.get(Gate::Idempotency) == Some(false)
    }

    /// The waits that the runs would draw between them.
    fn together(decided: &[Self]) -> Waits {
        let waits = || decided.iter().filter_map(|decided| decided.wait);
        Waits {
            min: waits().min().unwrap_or_default(),
            max: waits().max().unwrap_or_default(),
        }
    }

    /// The record, with what is the policy's own set anew.
    fn as_recorded(&self, record: &AttemptRecord) -> AttemptRecord {
        let mut gates = self.gates;
        // These were asked by the layer, of which nothing is known here.
        for gate in [Gate::Body, Gate::Deadline, Gate::Throttle] {
            if let Some(said) = record.gates.get(gate) {
                gates.set(gate, said);
            }
        }
        AttemptRecord {
            gates,
            note: self.note.clone(),
            ..record.clone()
        }
    }

    /// The record of another decision. A wait is as near to the recorded one as can be.
    fn instead(&self, record: &AttemptRecord, waits: &Waits) -> AttemptRecord {
        let recorded = record.wait.as_ref().map_or(waits.min, |wait| wait.planned);
        let wait = match &self.verdict {
            Verdict::Retry { why, charged, .. } => Some(WaitRecord {
                planned: recorded.clamp(waits.min, waits.max),
                why: why.clone(),
                charged: *charged,
            }),
            Verdict::Accept | Verdict::Stop(_) => None,
        };
        AttemptRecord {
            wait,
            ..self.as_recorded(record)
        }
    }
}

/// The shortest and the longest wait.
struct Waits {
    min: Duration,
    max: Duration,
}

impl Waits {
    /// Whether a wait that was recorded could have been drawn.
    fn allows(&self, recorded: &Verdict) -> bool {
        let Verdict::Retry { min: wait, why, .. } = recorded else {
            return true;
        };
        let long_enough = *wait >= self.min || about(*wait, self.min);
        // A hint that was meant for another request prolongs any wait.
        let short_enough =
            *wait <= self.max || about(*wait, self.max) || *why == WaitReason::SharedHint;
        long_enough && short_enough
    }

    fn verdict(&self, taken: &Decided) -> Verdict {
        match &taken.verdict {
            Verdict::Retry { why, charged, .. } => Verdict::Retry {
                min: self.min,
                max: self.max,
                why: why.clone(),
                charged: *charged,
            },
            other => other.clone(),
        }
    }
}

impl Replay {
    /// Whether every decision is the recorded one.
    pub fn is_same(&self) -> bool {
        self.differences.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("no failure"),
            Self::Retry { min, max, why, .. } if min == max => {
                write!(f, "wait {}, {why}", Human(*max))
            }
            Self::Retry { min, max, why, .. } => {
                write!(f, "wait {} to {}, {why}", Human(*min), Human(*max))
            }
            Self::Stop(reason) => write!(f, "stop, {reason}"),
        }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outcome { attempt } => {
                write!(f, "how attempt {attempt} would have ended")
            }
            Self::Idempotency => f.write_str("whether the request had an idempotency key"),
            Self::Timing { after } => write!(
                f,
                "whether attempts after {after} would have ended the same at another time"
            ),
        }
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (method, url) = (&self.report.method, &self.report.url);
        match self.differences.len() {
            0 => write!(f, "{method} {url}: the same decisions")?,
            1 => write!(f, "{method} {url}: 1 difference")?,
            n => write!(f, "{method} {url}: {n} differences")?,
        }
        for difference in &self.differences {
            let Difference {
                attempt,
                recorded,
                replayed,
            } = difference;
            write!(
                f,
                "\n  attempt {attempt}: recorded: {recorded}; replayed: {replayed}"
            )?;
        }
        for unknown in &self.unknown {
            write!(f, "\n  unknown: {unknown}")?;
        }
        Ok(())
    }
}
