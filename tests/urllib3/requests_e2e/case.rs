//! The cases, and what requests made of them.

use std::{collections::HashMap, fs, path::Path, time::Duration};

use http::Method;
use serde_json::{Value, json};
use tower_http_retry::{classify::FailureKind, policy::RetryPolicy};

use super::client::Client;
use crate::{
    harness::{list, number, seconds, text},
    session,
    tally::print,
};

/// The file of the cases.
pub(crate) const CASES: &str = "e2e_cases.json";
/// The file of what became of them.
const EXPECTED: &str = "e2e_expected.json";

/// All cases of a folder.
#[derive(Debug)]
pub(crate) struct Cases {
    pub(crate) cases: Vec<Case>,
    /// The client with the time limits that they were recorded with.
    pub(crate) client: Client,
}

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) note: String,
    pub(crate) method: Method,
    pub(crate) data: String,
    settings: Value,
    /// The policy was a number to requests, which then does not record its waits.
    is_number: bool,
    pub(crate) behaviours: Vec<Behaviour>,
    /// It is sent to a port where nobody listens.
    pub(crate) closed_port: bool,
    pub(crate) follow_redirects: bool,
    pub(crate) transport_specific: bool,
    pub(crate) expected: Expected,
}

/// What the server does with an attempt, as far as the comparison needs it.
#[derive(Clone, Debug)]
pub(crate) struct Behaviour {
    /// It lets the client wait until that gives up.
    pub(crate) stalls: bool,
    /// It does so in the middle of a body.
    pub(crate) stalls_in_body: bool,
    pub(crate) retry_after: Option<String>,
}

impl Behaviour {
    /// Whether `Retry-After` is a date that many seconds ahead, without its fraction.
    pub(crate) fn date_ahead(&self) -> Option<f64> {
        let value = self.retry_after.as_deref()?;
        let (_, ahead) = value.split_once("{{httpdate")?;
        ahead.split('}').next()?.parse().ok()
    }
}

/// What requests did.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) attempts: usize,
    pub(crate) gaps: Vec<Duration>,
    pub(crate) waits: Vec<Duration>,
    pub(crate) elapsed: Duration,
    pub(crate) methods: Vec<String>,
    pub(crate) body_lengths: Vec<u64>,
    /// Every hash that there was, sorted.
    pub(crate) body_hashes: Vec<String>,
    pub(crate) end: End,
}

/// How a request ended, in terms of requests.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    /// With a response, whose body begins so.
    Response {
        status: u64,
        body: String,
    },
    /// With a response whose body could not be read to its end.
    BrokenBody {
        timed_out: bool,
    },
    /// `MaxRetryError` because of a status.
    Status(u64),
    /// `MaxRetryError` because of an error.
    Exhausted(Fault),
    /// The error as it came.
    Bare(Fault),
    /// A `Retry-After` that urllib3 cannot read.
    InvalidHeader,
    TooManyRedirects,
    /// Nothing that the other side could say.
    Unexpected(String),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fault {
    pub(crate) kind: FailureKind,
    /// For a read error: whether nothing came in time, or something wrong.
    pub(crate) timed_out: bool,
}

impl Case {
    pub(crate) fn policy(&self) -> RetryPolicy {
        session::policy(&self.settings, None, 0).unwrap()
    }

    /// Whether no method may be repeated, which urllib3 takes for the opposite.
    pub(crate) fn has_no_methods(&self) -> bool {
        self.settings["allowed_methods"] == json!([])
    }

    /// How long requests waited before each retry, if that is known.
    pub(crate) fn recorded_waits(&self) -> Option<&[Duration]> {
        (!self.is_number).then_some(&self.expected.waits)
    }

    /// What the server does with the attempt at this position.
    pub(crate) fn behaviour(&self, at: usize) -> Option<&Behaviour> {
        self.behaviours.get(at).or(self.behaviours.last())
    }
}

/// Reads the cases of a folder.
pub(crate) fn read(folder: &Path) -> Cases {
    let read = |name| {
        let path = folder.join(name);
        let text =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let (script, expected) = (read(CASES), read(EXPECTED));
    let expected: HashMap<_, _> = list(&expected["cases"])
        .iter()
        .filter(|expected| !expected.is_null())
        .map(|expected| (text(&expected["id"]), expected))
        .collect();
    let limit = |name: &str| seconds(number(&script["timeout_s"][name]));
    let (connect, read) = (limit("connect"), limit("read"));
    let case = |case: &Value| {
        let id = text(&case["id"]);
        let Some(expected) = expected.get(id) else {
            print(&format!("{id}: SKIPPED: not in {EXPECTED}\n"));
            return None;
        };
        Some(self::case(case, read, self::expected(expected)))
    };
    Cases {
        cases: list(&script["cases"]).iter().filter_map(case).collect(),
        client: Client::new(connect, read),
    }
}

fn case(case: &Value, read: Duration, expected: Expected) -> Case {
    let (settings, is_number) = match case["policy"].get("max_retries") {
        None => (case["policy"].clone(), false),
        Some(retries) => (from_number(retries), true),
    };
    let own = |name: &str| case[name].as_str().unwrap_or_default().to_owned();
    Case {
        id: own("id"),
        note: own("note"),
        method: text(&case["method"]).parse().unwrap(),
        data: own("data"),
        settings,
        is_number,
        behaviours: list(&case["behaviours"])
            .iter()
            .map(|one| behaviour(one, read))
            .collect(),
        closed_port: case["target"] == "closed_port",
        follow_redirects: case["follow_redirects"] != false,
        transport_specific: case["transport_specific"] == true,
        expected,
    }
}

/// What requests' `HTTPAdapter` makes of a number: 0, its default, is not urllib3's.
fn from_number(retries: &Value) -> Value {
    match retries {
        Value::Null => json!({ "total": 3 }),
        retries if *retries == 0 || *retries == false => json!({ "total": 0, "read": false }),
        retries => json!({ "total": retries }),
    }
}

fn behaviour(behaviour: &Value, read: Duration) -> Behaviour {
    let mut headers = behaviour["headers"].as_object().into_iter().flatten();
    let retry_after = headers.find(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
    let delay = Duration::from_millis(behaviour["delay_ms"].as_u64().unwrap_or(0));
    let stalls = matches!(text(&behaviour["do"]), "slow" | "slow_body");
    Behaviour {
        stalls: stalls || delay >= read,
        stalls_in_body: behaviour["do"] == "slow_body",
        retry_after: retry_after.map(|(_, value)| text(value).to_owned()),
    }
}

fn expected(expected: &Value) -> Expected {
    let ms = |value: &Value| seconds(number(value) / 1000.0);
    let times = |name: &str| list(&expected[name]).iter().map(ms).collect();
    let texts = |name: &str| {
        let all = list(&expected[name]).iter();
        all.map(|value| text(value).to_owned()).collect()
    };
    let lengths = list(&expected["body_lens"]).iter();
    Expected {
        attempts: list(&expected["methods"]).len(),
        gaps: times("gaps_ms"),
        waits: times("client_sleeps_ms"),
        elapsed: ms(&expected["elapsed_ms"]),
        methods: texts("methods"),
        body_lengths: lengths.map(|length| length.as_u64().unwrap()).collect(),
        body_hashes: texts("body_sha256"),
        end: end(&expected["result"]),
    }
}

/// requests names what it raises, urllib3's error below (`cause`) and, if that is
/// `MaxRetryError`, the last failure (`reason`).
fn end(result: &Value) -> End {
    if let Some(status) = result["status"].as_u64() {
        let body = text(&result["body"]).to_owned();
        return End::Response { status, body };
    }
    let name = |key: &str| result[key].as_str().unwrap_or_default();
    match (name("raised"), name("cause"), name("reason")) {
        (_, "MaxRetryError", "ResponseError") => {
            // "too many 503 error responses"; a redirect's has no number.
            let words = name("reason_text").split(' ');
            let status = words.filter_map(|word| word.parse().ok()).next();
            End::Status(status.unwrap_or(0))
        }
        (_, "MaxRetryError", reason) => End::Exhausted(fault(reason)),
        // Out of the body: an adapter's own `ReadTimeoutError` is raised as `ReadTimeout`.
        ("ConnectionError", "ReadTimeoutError", _) => End::BrokenBody { timed_out: true },
        ("ChunkedEncodingError" | "ContentDecodingError", ..) => {
            End::BrokenBody { timed_out: false }
        }
        (_, "InvalidHeader", _) => End::InvalidHeader,
        ("TooManyRedirects", ..) => End::TooManyRedirects,
        (_, cause, _) => End::Bare(fault(cause)),
    }
}

/// What urllib3 charges an error to.
fn fault(class: &str) -> Fault {
    let kind = match class {
        "NewConnectionError" | "ConnectTimeoutError" | "NameResolutionError" => {
            FailureKind::Connect
        }
        "ReadTimeoutError" | "ProtocolError" => FailureKind::Read,
        _ => FailureKind::Other,
    };
    let timed_out = class == "ReadTimeoutError";
    Fault { kind, timed_out }
}
