//! Compares what became of a case here with what became of it there.

use std::{collections::BTreeSet, fmt::Debug, time::Duration};

use tower_http_retry::policy::{HintHeader, Note, StopReason};

use super::{
    case::{Behaviour, Case, End, Expected},
    client::{Observed, Planned},
    server::Attempt,
};
use crate::harness::{Rule, seconds};

/// So much may times differ.
const TOLERANCE: Duration = Duration::from_millis(80);

/// What came of a comparison.
#[derive(Debug)]
pub(crate) enum Finding {
    Agrees,
    Excused(Rule),
    Differs(String),
    /// The same, but at other times, which a busy machine may be the reason of.
    Untimely(String),
}

/// What is compared, when it is not the same.
type Same = Result<(), &'static str>;

pub(crate) fn compare(case: &Case, observed: &Observed, attempts: &[Attempt]) -> Finding {
    let result = same_requests(&case.expected, attempts)
        .and_then(|()| check(observed.end == case.expected.end, "end"))
        .and_then(|()| same_waits(case, &observed.retries))
        .and_then(|()| waited(observed));
    let differ = |what| both(what, &case.expected, observed, attempts);
    match result {
        Ok(()) => match same_times(case, observed, attempts) {
            Ok(()) => Finding::Agrees,
            Err(what) => Finding::Untimely(differ(what)),
        },
        Err(what) => match deviation(case, observed, attempts) {
            Some(rule) => Finding::Excused(rule),
            // The server answers in time, or never.
            None if is_too_slow(observed) && !case.behaviours.iter().any(|one| one.stalls) => {
                Finding::Untimely(differ(what))
            }
            None => Finding::Differs(differ(what)),
        },
    }
}

/// Whether a time limit passed.
fn is_too_slow(observed: &Observed) -> bool {
    observed.timed_out || observed.end == End::BrokenBody { timed_out: true }
}

fn check(same: bool, what: &'static str) -> Same {
    if same { Ok(()) } else { Err(what) }
}

/// Both sides, for whoever looks into the difference.
fn both(what: &str, expected: &Expected, observed: &Observed, attempts: &[Attempt]) -> String {
    fn side(
        requests: impl Iterator<Item = (impl Debug, impl Debug)>,
        waits: impl Iterator<Item = Duration>,
        gaps: &[Duration],
        end: &End,
    ) -> String {
        let requests: Vec<_> = requests.collect();
        let waits: Vec<_> = waits.collect();
        format!("sent {requests:?}, planned {waits:?}, between them {gaps:?}, then {end:?}")
    }
    let theirs = side(
        expected.methods.iter().zip(&expected.body_lengths),
        expected.waits.iter().copied(),
        &expected.gaps,
        &expected.end,
    );
    let ours = side(
        attempts.iter().map(|one| (&one.method, one.body_length)),
        observed.retries.iter().map(|retry| retry.wait),
        &gaps(attempts),
        &observed.end,
    );
    format!("other {what}: there {theirs}; here {ours}")
}

fn same_requests(expected: &Expected, attempts: &[Attempt]) -> Same {
    check(attempts.len() == expected.attempts, "attempts")?;
    let methods = attempts.iter().map(|attempt| &attempt.method);
    check(methods.eq(&expected.methods), "methods")?;
    let lengths = attempts.iter().map(|attempt| &attempt.body_length);
    check(lengths.eq(&expected.body_lengths), "body lengths")?;
    let hashes: BTreeSet<_> = attempts.iter().map(|one| &one.body_sha256).collect();
    check(hashes.into_iter().eq(&expected.body_hashes), "body hashes")
}

/// The waits as they were planned.
fn same_waits(case: &Case, retries: &[Planned]) -> Same {
    let Some(expected) = case.recorded_waits() else {
        return Ok(());
    };
    check(retries.len() == expected.len(), "number of retries")?;
    let pairs = retries.iter().map(|retry| retry.wait).zip(expected);
    let mut pairs = pairs.enumerate();
    check(
        pairs.all(|(at, (ours, &theirs))| {
            let date = case.behaviour(at).and_then(Behaviour::date_ahead);
            ours.abs_diff(theirs) <= TOLERANCE
                || date.is_some_and(|ahead| are_until(ahead, [ours, theirs]))
        }),
        "waits",
    )
}

/// Whether these are waits for a date that was so many seconds ahead. It has no fraction, so that
/// the wait for it depends on when in a second it was asked for.
fn are_until(ahead: f64, waits: [Duration; 2]) -> bool {
    let latest = seconds(ahead.max(0.0));
    let earliest = latest.saturating_sub(Duration::from_secs(1));
    let range = earliest.saturating_sub(TOLERANCE)..=latest + TOLERANCE;
    waits.iter().all(|wait| range.contains(wait))
}

/// The time between attempts.
fn gaps(attempts: &[Attempt]) -> Vec<Duration> {
    let pairs = attempts.windows(2);
    pairs
        .map(|pair| pair[1].arrived.saturating_sub(pair[0].arrived))
        .collect()
}

/// The time between attempts here and there, with what the server did before it.
///
/// Where the wait is for a date, theirs is what it would have been with our wait.
fn gaps_of_both<'a>(
    case: &'a Case,
    retries: &'a [Planned],
    attempts: &[Attempt],
) -> impl Iterator<Item = (Duration, Duration, Option<&'a Behaviour>)> {
    let theirs = &case.expected.gaps;
    // Each gap has its wait, unless there are redirects.
    let waits = case
        .recorded_waits()
        .filter(|all| all.len() == theirs.len());
    let pairs = gaps(attempts).into_iter().zip(theirs);
    pairs.enumerate().map(move |(at, (ours, &theirs))| {
        let behaviour = case.behaviour(at);
        let is_dated = behaviour.and_then(Behaviour::date_ahead).is_some();
        let theirs = match (waits, retries.get(at)) {
            (Some(waits), Some(retry)) if is_dated => theirs.saturating_sub(waits[at]) + retry.wait,
            _ => theirs,
        };
        (ours, theirs, behaviour)
    })
}

/// What was planned was waited for.
fn waited(observed: &Observed) -> Same {
    let planned: Duration = observed.retries.iter().map(|retry| retry.wait).sum();
    check(observed.elapsed >= planned, "time, less than planned")
}

fn same_times(case: &Case, observed: &Observed, attempts: &[Attempt]) -> Same {
    let mut gaps = gaps_of_both(case, &observed.retries, attempts);
    check(
        gaps.all(|(ours, theirs, behaviour)| {
            // A failed response that does not end is read until the read times out there, and for
            // less here.
            let is_let_go = behaviour.is_some_and(|one| one.stalls_in_body);
            let not_early = ours + TOLERANCE >= theirs || is_let_go;
            not_early && ours <= theirs + TOLERANCE
        }),
        "time between attempts",
    )?;
    // Nobody but the client sees the attempts at a closed port.
    let end = case.expected.elapsed + TOLERANCE;
    check(!case.closed_port || observed.elapsed <= end, "time in all")
}

/// The named deviation that a case meets. What that does not change must be the same.
fn deviation(case: &Case, observed: &Observed, attempts: &[Attempt]) -> Option<Rule> {
    let expected = &case.expected;
    if expected.end == End::InvalidHeader {
        // The same up to there; then it goes on, with a note.
        let begun = attempts.get(..expected.attempts)?;
        let retries = expected.waits.len();
        let ignored = observed.retries.get(retries)?;
        // A header without a value is none here.
        let last = case.behaviour(expected.attempts.checked_sub(1)?)?;
        let noted = ignored.note == Some(Note::HintIgnored(HintHeader::RetryAfter))
            || last.retry_after.as_deref() == Some("");
        let same = same_requests(expected, begun).is_ok()
            && same_waits(case, &observed.retries[..retries]).is_ok();
        return (same && noted && attempts.len() > expected.attempts)
            .then_some(Rule::UnreadableRetryAfter);
    }
    let refused = matches!(observed.stop, Some(StopReason::MethodNotAllowed { .. }));
    (case.has_no_methods() && refused && attempts.len() < expected.attempts)
        .then_some(Rule::EmptyMethodSet)
}
