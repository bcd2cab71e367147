//! Finds the outcomes that a policy treats differently, and plays each of them to the end.

use std::{collections::BTreeMap, time::Duration};

use http::StatusCode;

use super::{Case, Scenario, ScriptedOutcome, Venue, WaitRange, rehearsal::Rehearsal};
use crate::{
    classify::{Cause, Failure, Sent},
    policy::{Decision, Gates, LimitKind, Note, Policy, RequestHead, Rng, StopReason, WaitReason},
};

/// What a server asks for in a dry run: a wait that any policy grants that grants one at all, and
/// one that none should.
pub(super) const SHORT: Duration = Duration::from_secs(1);
pub(super) const LONG: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Every case of `request`, in the order in which they are shown.
pub(super) fn all<P: Policy + ?Sized>(
    policy: &P,
    request: &RequestHead<'_>,
    venue: &Venue<'_>,
) -> Vec<Case> {
    let mut scenarios = vec![
        Scenario::Unprocessed,
        Scenario::Connect,
        Scenario::Read,
        Scenario::Other,
        Scenario::Certificate,
        Scenario::BadRequest,
    ];
    for (class, statuses) in by_treatment(policy, request, venue) {
        for status in statuses.special {
            scenarios.extend(
                [None, Some(SHORT), Some(LONG)].map(|retry_after| Scenario::Status {
                    status,
                    retry_after,
                }),
            );
        }
        if let Some(like) = statuses.others {
            // A long wait matters only to those that are retried.
            let hints = [None, Some(SHORT), Some(LONG)];
            let count = if statuses.plain { 2 } else { 3 };
            let others = hints.into_iter().take(count);
            scenarios.extend(others.map(|retry_after| Scenario::Others {
                class,
                like,
                retry_after,
            }));
        }
    }
    let play = |scenario| case(policy, request, venue, scenario);
    scenarios.into_iter().map(play).collect()
}

/// The statuses of one class.
struct Statuses {
    /// Those that are treated in a way of their own.
    special: Vec<StatusCode>,
    /// One of those that are treated as most are.
    others: Option<StatusCode>,
    /// Whether most are accepted or not listed.
    plain: bool,
}

/// What a first attempt with a status leads to, what it is charged to, and whether the status is
/// treated as another one.
type Outcome = (&'static str, Option<&'static str>, bool);

/// The outcome without a `Retry-After` and with one.
type Treatment = [Outcome; 2];

/// The final statuses by class: those that most statuses of their class are treated like, and
/// the rest.
fn by_treatment<P: Policy + ?Sized>(
    policy: &P,
    request: &RequestHead<'_>,
    venue: &Venue<'_>,
) -> Vec<(u16, Statuses)> {
    let mut classes = Vec::new();
    for class in 2..=9u16 {
        let mut groups: BTreeMap<Treatment, Vec<StatusCode>> = BTreeMap::new();
        let codes = class * 100..(class + 1) * 100;
        for status in codes.filter_map(|code| StatusCode::from_u16(code).ok()) {
            let plain = ScriptedOutcome::response(status);
            let hinted = plain.clone().retry_after(SHORT);
            let treatment = [plain, hinted].map(|outcome| first(policy, request, venue, &outcome));
            groups.entry(treatment).or_default().push(status);
        }
        let most = groups.values().map(Vec::len).max().unwrap_or(0);
        let mut statuses = Statuses {
            special: Vec::new(),
            others: None,
            plain: true,
        };
        let mut plain = true;
        for (treatment, group) in groups {
            let is_plain = treatment == [ACCEPTED; 2] || treatment == [NOT_LISTED; 2];
            plain &= is_plain;
            // An even split has no rule and no exception.
            if group.len() == most && most > 50 {
                statuses.others = group.first().copied();
                statuses.plain = is_plain;
            } else {
                statuses.special.extend(group);
            }
        }
        statuses.special.sort_unstable();
        // Nobody sends these, unless a policy says otherwise.
        if class <= 5 || !plain {
            classes.push((class, statuses));
        }
    }
    classes
}

const ACCEPTED: Outcome = ("accept", None, false);
const NOT_LISTED: Outcome = ("status_not_listed", None, false);

fn first<P: Policy + ?Sized>(
    policy: &P,
    request: &RequestHead<'_>,
    venue: &Venue<'_>,
    outcome: &ScriptedOutcome,
) -> Outcome {
    let mut rehearsal = Rehearsal::new(policy, request, Rng::constant(0.0), venue);
    match rehearsal.attempt(outcome).decision {
        Decision::Accept => ACCEPTED,
        Decision::Stop(stop) => (stop.reason.name(), None, stop.note.is_some_and(is_as_500)),
        Decision::Retry(retry) => {
            let why = match retry.why {
                WaitReason::ServerHint(_) => "server hint",
                WaitReason::ServerHintClamped(_) => "clamped server hint",
                WaitReason::Opinion { .. } | WaitReason::SharedHint => "shared hint",
                WaitReason::NeverProcessed => "never processed",
                // Which of the two may be a matter of chance.
                WaitReason::Immediate | WaitReason::Backoff => "backoff",
            };
            let charged = retry.charged.map(LimitKind::as_str);
            (why, charged, retry.note.is_some_and(is_as_500))
        }
    }
}

fn is_as_500(note: Note) -> bool {
    matches!(note, Note::TreatedAs500 { .. })
}

fn outcome(scenario: Scenario) -> ScriptedOutcome {
    let (status, hint) = match scenario {
        Scenario::Unprocessed => {
            return Failure::new(Cause::RefusedStream, Sent::Unprocessed).into();
        }
        Scenario::Connect => return Failure::new(Cause::ConnectionRefused, Sent::Never).into(),
        Scenario::Read => return Cause::IncompleteMessage.into(),
        Scenario::Other => return Cause::Unknown.into(),
        Scenario::Certificate => return Cause::Certificate.into(),
        Scenario::BadRequest => return Cause::InvalidRequest.into(),
        Scenario::Status {
            status,
            retry_after,
        } => (status, retry_after),
        Scenario::Others {
            like, retry_after, ..
        } => (like, retry_after),
    };
    let response = ScriptedOutcome::response(status);
    match hint {
        Some(wait) => response.retry_after(wait),
        None => response,
    }
}

/// Plays `scenario` with the shortest and with the longest waits.
fn case<P: Policy + ?Sized>(
    policy: &P,
    request: &RequestHead<'_>,
    venue: &Venue<'_>,
    scenario: Scenario,
) -> Case {
    let outcome = outcome(scenario);
    let ends = Ends::play(policy, request, venue, &outcome);
    let [mut most, mut fewest] = [&ends.shortest, &ends.longest];
    if most.waits.len() < fewest.waits.len() {
        (most, fewest) = (fewest, most);
    }
    let waits = most.waits.iter().enumerate().map(|(at, wait)| {
        let (min, max) = ends.wait(at);
        WaitRange {
            min,
            max,
            why: ends.why(at).unwrap_or_else(|| wait.why.clone()),
            charged: wait.charged,
        }
    });
    let or_stop = fewest
        .stop
        .as_ref()
        .filter(|stop| Some(stop.name()) != most.stop.as_ref().map(StopReason::name));
    Case {
        scenario,
        fewest: count(&fewest.waits),
        most: count(&most.waits),
        waits: waits.collect(),
        stop: most.stop.clone(),
        or_stop: or_stop.cloned(),
        gates: most.gates,
    }
}

fn count<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}

/// A request with the shortest waits that can be drawn, and one with the longest.
pub(super) struct Ends {
    pub(super) shortest: Run,
    pub(super) longest: Run,
    /// The same without a deadline and a budget that cut off one of them.
    free: [Run; 2],
}

impl Ends {
    pub(super) fn play<P: Policy + ?Sized>(
        policy: &P,
        request: &RequestHead<'_>,
        venue: &Venue<'_>,
        outcome: &ScriptedOutcome,
    ) -> Self {
        let play = |venue: &Venue<'_>, unit| {
            let rng = Rng::constant(unit);
            Run::play(policy, request, venue, outcome, rng)
        };
        let free = Venue {
            free: true,
            ..*venue
        };
        Self {
            shortest: play(venue, 0.0),
            longest: play(venue, 1.0),
            free: [0.0, 1.0].map(|unit| play(&free, unit)),
        }
    }

    /// The shortest and the longest wait before a retry that is made.
    pub(super) fn wait(&self, at: usize) -> (Duration, Duration) {
        let waits = |runs: [&Run; 2]| runs.map(|run| run.waits.get(at).map(|wait| wait.wait));
        let waits = |runs| waits(runs).into_iter().flatten();
        let free = || waits([&self.free[0], &self.free[1]]);
        let cut = || waits([&self.shortest, &self.longest]);
        let min = free().chain(cut()).min().unwrap_or_default();
        let max = free().chain(cut()).max().unwrap_or_default();
        // A request that waited as short as can be has the most time left.
        let room = self.shortest.waits.get(at).and_then(|wait| wait.room);
        (min, room.map_or(max, |room| max.min(room).max(min)))
    }

    /// When a retry is sent, if it is, with `attempts` between the waits before it and no later
    /// than at `latest`.
    pub(super) fn start(
        &self,
        at: usize,
        attempts: Duration,
        latest: Option<Duration>,
    ) -> (Duration, Duration) {
        let [shortest, longest] =
            [&self.free[0], &self.free[1]].map(|run| run.waited(at + 1).saturating_add(attempts));
        let (min, max) = (shortest.min(longest), shortest.max(longest));
        (min, latest.map_or(max, |latest| max.min(latest).max(min)))
    }

    /// Where the longest of these waits comes from: one that happens to be zero has no reason of
    /// its own.
    pub(super) fn why(&self, at: usize) -> Option<WaitReason> {
        let [short, long] = &self.free;
        let runs = [long, &self.longest, short, &self.shortest];
        let waits = runs.into_iter().filter_map(|run| run.waits.get(at));
        // The first of the longest.
        let longest = waits.reduce(|a, b| if b.wait > a.wait { b } else { a });
        longest.map(|wait| wait.why.clone())
    }

    /// Whether nothing is drawn at random.
    pub(super) fn is_exact(&self) -> bool {
        let waits =
            |run: &Run| -> Vec<Duration> { run.waits.iter().map(|wait| wait.wait).collect() };
        waits(&self.shortest) == waits(&self.longest)
            && waits(&self.free[0]) == waits(&self.free[1])
    }
}

/// One request whose attempts all end the same.
pub(super) struct Run {
    pub(super) waits: Vec<RunWait>,
    /// What ended it; `None` if nothing did, as far as was looked.
    pub(super) stop: Option<StopReason>,
    pub(super) gates: Gates,
    /// Whether there may be a budget that is not asked, but taken to be full.
    pub(super) assumes_budget: bool,
}

/// A wait of a [`Run`].
pub(super) struct RunWait {
    pub(super) wait: Duration,
    why: WaitReason,
    charged: Option<LimitKind>,
    /// The longest that there would have been time for.
    room: Option<Duration>,
}

impl Run {
    /// All waits together, up to that before a retry.
    pub(super) fn waited(&self, retries: usize) -> Duration {
        let waits = self.waits.iter().take(retries).map(|wait| wait.wait);
        waits.fold(Duration::ZERO, Duration::saturating_add)
    }

    pub(super) fn play<P: Policy + ?Sized>(
        policy: &P,
        request: &RequestHead<'_>,
        venue: &Venue<'_>,
        outcome: &ScriptedOutcome,
        rng: Rng,
    ) -> Self {
        let mut rehearsal = Rehearsal::new(policy, request, rng, venue);
        let mut run = Self {
            waits: Vec::new(),
            stop: None,
            gates: Gates::default(),
            assumes_budget: rehearsal.assumes_budget(),
        };
        loop {
            let attempt = rehearsal.attempt(outcome);
            match attempt.decision {
                Decision::Accept => run.stop = Some(StopReason::Succeeded),
                Decision::Stop(stop) => {
                    run.stop = Some(stop.reason);
                    run.gates = stop.gates;
                }
                Decision::Retry(retry) if count(&run.waits) < venue.retries => {
                    run.gates = retry.gates;
                    run.waits.push(RunWait {
                        wait: retry.wait,
                        why: retry.why,
                        charged: retry.charged,
                        room: attempt.room,
                    });
                    continue;
                }
                Decision::Retry(_) => {}
            }
            return run;
        }
    }
}
