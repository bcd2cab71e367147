//! `decisions.json`, `decisions_jitter.json` and `edges.json`: what becomes of a request whose
//! attempts end as the script says.

use std::time::Duration;

use http::header::RETRY_AFTER;
use serde_json::Value;
use tower_http_retry::policy::{HintHeader, Methods, Note, RetryPolicy, WaitReason};

use super::{
    dates::{
        is_date_only_to_python, is_in_another_century_to_python, is_more_than_python_converts,
    },
    layer,
};
use crate::{
    harness::{Rule, Verdict, list, number, seconds},
    session::{self, Counters, End, Happened, Step, Trace, method, policy, script},
};

/// With jitter a case is run this often.
const DRAWS: u64 = 10;

pub(crate) fn case(case: &Value) -> Verdict {
    if case["preload"] == true || case["proxy"] == true {
        return Verdict::OutOfScope;
    }
    let jitter = !case["expect"]["sleeps_ms_bounds"].is_null();
    let mut verdict = Verdict::Passed;
    for seed in 0..if jitter { DRAWS } else { 1 } {
        verdict = with_seed(case, seed);
        if let Verdict::Failed(_) = verdict {
            break;
        }
    }
    verdict
}

fn with_seed(case: &Value, seed: u64) -> Verdict {
    let expected = |methods| judge(case, methods, seed);
    let no_methods = case["policy"]["allowed_methods"] == Value::Array(Vec::new());
    match expected(None).0 {
        Err(why) if no_methods => {
            // As urllib3 does when any method is allowed, and as with a set that has other
            // methods only.
            let any = expected(Some(Methods::any())).0;
            let none = expected(None).1;
            let others = expected(Some(Methods::from(["SOME-OTHER"]))).1;
            match any {
                Ok(_) if none == others && is_stopped_by_method(&none) => {
                    Verdict::Excused(Rule::EmptyMethodSet)
                }
                Ok(_) => Verdict::Failed(format!("an empty set is not none: {why}")),
                Err(why) => Verdict::Failed(why),
            }
        }
        result => result.into(),
    }
}

/// Whether the request ended as one whose method may not be repeated.
fn is_stopped_by_method(trace: &Trace) -> bool {
    !trace.exhausted && matches!(trace.end, End::Returned(_) | End::Bare)
}

/// Runs a case, through the session and through the layer, and compares both with what urllib3
/// did.
fn judge(
    case: &Value,
    methods: Option<Methods>,
    seed: u64,
) -> (Result<Option<Rule>, String>, Trace) {
    let settings = &case["policy"];
    let script = script(&case["script"], &case["expect"]["charged"]);
    let method = method(&case["method"]);
    let build = || policy(settings, methods.clone(), seed).unwrap();

    let policy = build();
    let trace = session::run(&policy, &method, &script);
    let result = same_through_the_layer(&build(), &trace, case, &script)
        .and_then(|()| compare(case, &policy, &script, &trace));
    (result, trace)
}

/// The layer must do what its session says, when it says so.
fn same_through_the_layer(
    policy: &RetryPolicy,
    trace: &Trace,
    case: &Value,
    script: &[Happened],
) -> Result<(), String> {
    let observed = layer::run(policy, &method(&case["method"]), script);
    let goes_on = trace.end == End::GoesOn;
    let on_time = observed.gaps.len() == trace.steps.len()
        && observed.gaps.iter().zip(&trace.steps).all(|(gap, step)| {
            // Timers have a resolution of a millisecond.
            (step.wait..=step.wait + Duration::from_millis(2)).contains(gap)
        });
    if observed.attempts == trace.steps.len() + 1
        && on_time
        && (goes_on || observed.end == trace.end)
    {
        Ok(())
    } else {
        Err(format!("the layer: {observed:?}; the session: {trace:?}"))
    }
}

/// Compares with what urllib3 did.
fn compare(
    case: &Value,
    policy: &RetryPolicy,
    script: &[Happened],
    trace: &Trace,
) -> Result<Option<Rule>, String> {
    let expect = &case["expect"];
    let attempts = usize::try_from(expect["attempts"].as_u64().unwrap()).unwrap();
    let retries = attempts - 1;
    let mut rule = None;
    for (at, step) in trace.steps.iter().enumerate().take(retries) {
        rule = rule.or(compare_step(case, policy, &script[at], at, step)?);
    }

    let result = &expect["result"];
    if let "InvalidHeader" | "ValueError" | "OverflowError" =
        result["raised"].as_str().unwrap_or_default()
    {
        let Some(step) = trace.steps.get(retries) else {
            return Err(format!("{result} there, no retry here: {trace:?}"));
        };
        return if is_unreadable(policy, &script[retries], step) {
            Ok(Some(Rule::UnreadableRetryAfter))
        } else {
            Err(format!("{result} there, {step:?} here"))
        };
    }

    let end = match (&result["returned_status"], &result["raised"]) {
        (Value::Null, raised) if raised == "MaxRetryError" => End::Exhausted {
            by_status: result["reason"] == "ResponseError",
        },
        (Value::Null, raised) if raised.is_string() => End::Bare,
        (status, _) => {
            let status = u16::try_from(status.as_u64().unwrap()).unwrap();
            End::Returned(status.try_into().unwrap())
        }
    };
    if trace.steps.len() != retries || trace.end != end {
        return Err(format!(
            "{attempts} attempts, {end:?} there; {trace:?} here"
        ));
    }
    if !expect["final_counters"].is_null()
        && !same_counters(&expect["final_counters"], &trace.sent_with)
    {
        return Err(format!(
            "sent with {} there, {:?} here",
            expect["final_counters"], trace.sent_with
        ));
    }
    // Whether urllib3 charged the last response says whether a limit or the kind of response
    // ended it.
    match (&script[retries], expect["charged"].get(retries)) {
        (Happened::Response(..), Some(charged)) if charged.is_null() == trace.exhausted => {
            Err(format!("charged {charged} there, {trace:?} here"))
        }
        _ => Ok(rule),
    }
}

fn compare_step(
    case: &Value,
    policy: &RetryPolicy,
    happened: &Happened,
    at: usize,
    step: &Step,
) -> Result<Option<Rule>, String> {
    let expect = &case["expect"];
    let differs = |what: &Value| Err(format!("retry {}: {what} there, {step:?} here", at + 1));

    match expect["charged"].get(at) {
        Some(charged) if step.charged.map(|kind| kind.as_str()) != charged.as_str() => {
            return differs(charged);
        }
        _ => {}
    }
    match expect["counters"].get(at) {
        Some(counters) if !same_counters(counters, &step.counters) => return differs(counters),
        _ => {}
    }

    let (low, high) = match &expect["sleeps_ms_bounds"] {
        Value::Null => {
            let sleep = number(&expect["sleeps_ms"][at]);
            (sleep, sleep)
        }
        bounds => (number(&bounds[at][0]), number(&bounds[at][1])),
    };
    let (low, high) = (seconds(low / 1000.0), seconds(high / 1000.0));
    let backoff = backoff(policy, step);
    let is_backoff = matches!(step.why, WaitReason::Immediate | WaitReason::Backoff);
    let close = |a: Duration, b: Duration| a.abs_diff(b) <= Duration::from_micros(1);
    let rounding = Duration::from_micros(1);
    let in_time =
        low.saturating_sub(rounding) <= step.wait && step.wait <= high.saturating_add(rounding);
    let whole_range = !is_backoff || close(backoff.0, low) && close(backoff.1, high);
    if in_time && whole_range {
        return Ok(None);
    }
    // A date that only Python reads.
    let lenient = ignored_value(happened, step).is_some_and(|value| is_date_only_to_python(&value));
    if lenient && is_in(backoff, step.wait) {
        return Ok(Some(Rule::LenientDate));
    }
    // One that it reads otherwise.
    let clamped = step.why == WaitReason::ServerHintClamped(HintHeader::RetryAfter);
    if clamped
        && step.wait == policy.retry_after_max()
        && retry_after(happened).is_some_and(|value| is_in_another_century_to_python(&value))
    {
        return Ok(Some(Rule::TwoDigitYear));
    }
    differs(&expect["sleeps_ms"])
}

/// The shortest and the longest backoff before the retry of a step.
fn backoff(policy: &RetryPolicy, step: &Step) -> (Duration, Duration) {
    policy
        .backoff()
        .bounds(step.run, (Duration::ZERO, Duration::ZERO))
}

fn is_in((low, high): (Duration, Duration), wait: Duration) -> bool {
    low <= wait && wait <= high
}

/// Whether a header that Python fails on was ignored, noted, and replaced by the backoff; or, if
/// it is a number too long for Python, obeyed as far as allowed.
fn is_unreadable(policy: &RetryPolicy, happened: &Happened, step: &Step) -> bool {
    let value = retry_after(happened).unwrap_or_default();
    let cap = policy.retry_after_max();
    let asks = value.contains(|digit| matches!(digit, '1'..='9')) && !cap.is_zero();
    if is_more_than_python_converts(&value) && asks {
        let why = WaitReason::ServerHintClamped(HintHeader::RetryAfter);
        return step.why == why && step.wait == cap;
    }
    // An empty header is absent here, and a wait cut to zero is none: nothing to note.
    let empty = value.trim_matches([' ', '\t']).is_empty();
    let unnoted = empty || is_more_than_python_converts(&value);
    (unnoted || ignored_value(happened, step).is_some()) && is_in(backoff(policy, step), step.wait)
}

/// The value of the header that a step says was ignored.
fn ignored_value(happened: &Happened, step: &Step) -> Option<String> {
    match step.note {
        Some(Note::HintIgnored(HintHeader::RetryAfter)) => retry_after(happened),
        _ => None,
    }
}

fn retry_after(happened: &Happened) -> Option<String> {
    let Happened::Response(_, headers) = happened else {
        return None;
    };
    let lines = headers.get_all(RETRY_AFTER);
    let lines: Vec<_> = lines
        .iter()
        .map(|value| {
            value
                .as_bytes()
                .iter()
                .copied()
                .map(char::from)
                .collect::<String>()
        })
        .collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

/// Compares counters; `False` counts as 0 until it is counted down.
fn same_counters(expected: &Value, ours: &Counters) -> bool {
    list(expected).iter().zip(ours).all(|(expected, ours)| {
        let expected = match expected {
            Value::Null => None,
            Value::Bool(on) => Some(i64::from(*on)),
            count => count.as_i64(),
        };
        expected == *ours
    })
}
