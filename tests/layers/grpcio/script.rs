//! Random service configs, and what a server does with the calls under them.

use fastrand::Rng;
use h2::Reason;
use serde_json::{Value, json};

/// What the server does with one attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    Ok,
    Fail {
        code: u8,
        /// Whether the status stands in trailers, behind a head of their own.
        behind: bool,
        pushback: Option<&'static str>,
    },
    /// What a proxy answers.
    Http(u16),
    Reset(Reason),
}

/// A client with a service config, and its calls in order.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) id: usize,
    pub(super) config: Value,
    pub(super) calls: Vec<Call>,
}

#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) path: String,
    /// What the server does with each attempt; then it succeeds.
    pub(super) steps: Vec<Step>,
}

pub(super) const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Those that a case uses mostly: few, so that what is listed is met.
const USUAL: [u8; 4] = [14, 14, 10, 8];

impl Case {
    pub(super) fn random(id: usize, rng: &mut Rng) -> Self {
        let throttled = rng.bool();
        let mut methods = vec![json!({
            "name": [{ "service": service(id) }],
            "retryPolicy": retry_policy(rng),
        })];
        if rng.bool() {
            methods.push(json!({
                "name": [{ "service": service(id), "method": "Own" }],
                "retryPolicy": retry_policy(rng),
            }));
        }
        // Named rule: to grpcio a method without a policy pays nothing into the throttle.
        if !throttled && rng.u8(..4) == 0 {
            let name = json!([{ "service": service(id), "method": "Bare" }]);
            methods.push(json!({ "name": name }));
        }
        rng.shuffle(&mut methods);
        let mut config = json!({ "methodConfig": methods });
        if throttled {
            let ratio = [0.1, 0.5, 1.0][rng.usize(..3)];
            config["retryThrottling"] = json!({ "maxTokens": rng.u8(1..=10), "tokenRatio": ratio });
        }
        let calls = (0..rng.usize(1..=6)).map(|_| Call {
            path: format!(
                "/{}/{}",
                service(id),
                ["Own", "Bare", "Other"][rng.usize(..3)]
            ),
            steps: (0..rng.usize(..7)).map(|_| step(rng)).collect(),
        });
        let calls = calls.collect();
        Self { id, config, calls }
    }
}

/// The name of the service that all methods of a case belong to.
fn service(id: usize) -> String {
    format!("case.Number{id}")
}

fn code(rng: &mut Rng) -> u8 {
    match rng.u8(..4) {
        0 => rng.u8(1..=16),
        _ => USUAL[rng.usize(..USUAL.len())],
    }
}

fn retry_policy(rng: &mut Rng) -> Value {
    let codes: Vec<_> = (0..rng.usize(1..=3))
        .map(|_| NAMES[usize::from(code(rng))])
        .collect();
    let max = ["0.001s", "0.003s"][rng.usize(..2)];
    let multiplier = [1.0, 1.5, 2.0][rng.usize(..3)];
    json!({
        // More than 5 are 5.
        "maxAttempts": rng.u8(2..=7),
        "initialBackoff": "0.001s",
        "maxBackoff": max,
        "backoffMultiplier": multiplier,
        "retryableStatusCodes": codes,
    })
}

fn step(rng: &mut Rng) -> Step {
    match rng.u8(..20) {
        0 | 1 => Step::Ok,
        2 => Step::Http([400, 401, 403, 404, 429, 500, 502, 503, 504][rng.usize(..9)]),
        // Named rule: not REFUSED_STREAM.
        3 | 4 => Step::Reset(
            [
                Reason::INTERNAL_ERROR,
                Reason::CANCEL,
                Reason::ENHANCE_YOUR_CALM,
                Reason::PROTOCOL_ERROR,
                Reason::INADEQUATE_SECURITY,
            ][rng.usize(..5)],
        ),
        _ => Step::Fail {
            code: code(rng),
            behind: rng.u8(..5) == 0,
            pushback: match rng.u8(..8) {
                0 => Some(["-1", "0", "2", "5"][rng.usize(..4)]),
                _ => None,
            },
        },
    }
}
