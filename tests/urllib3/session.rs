//! Runs a script through a policy's session, the pure way: no runtime, no clock.

use std::time::Duration;

use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::Value;
use tower_http_retry::{
    classify::{Cause, Failure, FailureKind, Outcome, Sent},
    policy::{
        Attempt, Decision, InvalidPolicy, Limit, LimitKind, Methods, Note, Policy, RequestHead,
        RetryPolicy, RetrySession, Session, StopReason, WaitReason,
    },
};

use crate::harness::{headers, list, new_year, number, text};

/// How one attempt ended.
#[derive(Clone, Debug)]
pub(crate) enum Happened {
    Response(StatusCode, HeaderMap),
    Error(FailureKind),
}

/// Reads a script.
///
/// `charged` is the class that urllib3 made of each outcome; files without it are read by the
/// names of the outcomes.
pub(crate) fn script(script: &Value, charged: &Value) -> Vec<Happened> {
    // The head arrived, the fault is in the body: nothing that a retry loop sees.
    let ok = || Happened::Response(StatusCode::OK, HeaderMap::new());
    list(script)
        .iter()
        .enumerate()
        .map(|(at, step)| {
            if let Some(status) = step["status"].as_u64() {
                let status = StatusCode::from_u16(u16::try_from(status).unwrap()).unwrap();
                return Happened::Response(status, headers(&step["headers"]));
            }
            let class = match charged.get(at) {
                Some(Value::Null) => return ok(),
                Some(class) => text(class),
                None => match &step["read_error"] {
                    Value::Null if !step["connect_error"].is_null() => "connect",
                    Value::Null => "other",
                    fault => match text(fault) {
                        "incomplete" | "bad_chunk" | "body_timeout" | "body_reset"
                        | "headers_closed" => return ok(),
                        _ => "read",
                    },
                },
            };
            Happened::Error(match class {
                "connect" => FailureKind::Connect,
                "read" => FailureKind::Read,
                "other" => FailureKind::Other,
                unknown => panic!("unknown class {unknown}"),
            })
        })
        .collect()
}

/// Builds a policy from urllib3's own settings, with other methods if `methods` is given.
pub(crate) fn policy(
    settings: &Value,
    methods: Option<Methods>,
    seed: u64,
) -> Result<RetryPolicy, InvalidPolicy> {
    let mut builder = RetryPolicy::urllib3_builder().seed(seed);
    for (name, value) in settings.as_object().expect("settings") {
        builder = match name.as_str() {
            "total" => builder.total(limit(value)),
            "connect" => builder.connect(limit(value)),
            "read" => builder.read(limit(value)),
            "redirect" => builder.redirect(limit(value)),
            "status" => builder.status(limit(value)),
            "other" => builder.other(limit(value)),
            "allowed_methods" => match value {
                Value::Null => builder.allowed_methods(Methods::any()),
                Value::String(default) if default == "default" => builder,
                names => builder.allowed_methods(list(names).iter().map(text).collect::<Methods>()),
            },
            "status_forcelist" => builder.status_forcelist(
                list(value)
                    .iter()
                    .map(|status| u16::try_from(status.as_u64().unwrap()).unwrap()),
            ),
            "backoff_factor" => builder.backoff_factor(number(value)),
            "backoff_max" => builder.backoff_max(number(value)),
            "backoff_jitter" => builder.backoff_jitter(number(value)),
            "retry_after_max" => builder.retry_after_max(number(value)),
            "respect_retry_after_header" => {
                builder.respect_retry_after_header(value.as_bool().unwrap())
            }
            "raise_on_status" => builder.raise_on_status(value.as_bool().unwrap()),
            // Redirects are followed, or not, by another layer.
            "raise_on_redirect" | "remove_headers_on_redirect" => builder,
            unknown => panic!("unknown setting {unknown}"),
        };
    }
    #[cfg(feature = "serde")]
    if methods.is_none() {
        is_imported_alike(settings, &builder.clone().build()?);
    }
    if let Some(methods) = methods {
        builder = builder.allowed_methods(methods);
    }
    builder.build()
}

/// The importer must make the same policy of the same arguments.
#[cfg(feature = "serde")]
fn is_imported_alike(settings: &Value, policy: &RetryPolicy) {
    use tower_http_retry::{config::import, policy::Jitter};

    let mut arguments = settings.clone();
    let entries = arguments.as_object_mut().expect("settings");
    // A stand-in of these files.
    entries.retain(|_, value| value != "default");
    let imported = import::urllib3(&arguments).expect("arguments");
    let mut builder = imported.policy.to_builder().seed(0);
    if settings["allowed_methods"] == Value::Array(Vec::new()) {
        assert!(imported.policy.allowed_methods().is_any());
        builder = builder.allowed_methods(Methods::none());
    }
    if policy.backoff().get_jitter() == Jitter::Additive(Duration::ZERO) {
        builder = builder.backoff_jitter(0);
    }
    let policy = policy.to_builder().seed(0).build().expect("valid");
    assert_eq!(builder.build().expect("valid"), policy, "{settings}");
}

pub(crate) fn limit(value: &Value) -> Limit {
    match value {
        Value::Null => Limit::Unlimited,
        Value::Bool(on) => Limit::from(*on),
        count => Limit::from(count.as_i64().unwrap()),
    }
}

pub(crate) fn method(name: &Value) -> Method {
    text(name).parse().unwrap()
}

/// What a session made of a script.
#[derive(Debug, PartialEq)]
pub(crate) struct Trace {
    /// One for each retry.
    pub(crate) steps: Vec<Step>,
    pub(crate) end: End,
    /// The counters with which the last attempt was sent.
    pub(crate) sent_with: Counters,
    /// Whether urllib3 would have found a limit used up in `Retry.increment`, which it calls
    /// neither for a response that it returns nor for an error that it raises as it came.
    pub(crate) exhausted: bool,
}

/// What is left of each limit, in the order of [`LimitKind::ALL`].
pub(crate) type Counters = [Option<i64>; 6];

#[derive(Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) charged: Option<LimitKind>,
    pub(crate) wait: Duration,
    pub(crate) why: WaitReason,
    pub(crate) note: Option<Note>,
    pub(crate) counters: Counters,
    /// Failures in a row since the last redirect, counted here.
    pub(crate) run: u32,
}

/// How a request ended.
#[derive(Debug, PartialEq)]
pub(crate) enum End {
    /// A response was returned.
    Returned(StatusCode),
    /// urllib3's `MaxRetryError`, because of a status or of an error.
    Exhausted { by_status: bool },
    /// The error as it came.
    Bare,
    /// Another attempt is made, which the script does not have.
    GoesOn,
    /// Something that the urllib3 preset must not say.
    Unexpected(String),
}

impl End {
    /// What a stop after an error is in urllib3's terms.
    pub(crate) fn after_error(reason: &StopReason) -> Self {
        match reason {
            StopReason::CountExhausted { .. } => Self::Exhausted { by_status: false },
            StopReason::KindDisabled { .. } | StopReason::MethodNotAllowed { .. } => Self::Bare,
            other => Self::Unexpected(other.to_string()),
        }
    }
}

/// Runs `script` through a session of `policy`.
pub(crate) fn run(policy: &RetryPolicy, method: &Method, script: &[Happened]) -> Trace {
    let request = Request::builder()
        .method(method)
        .uri("http://a.test/")
        .body(())
        .unwrap();
    let mut session = policy.session(&RequestHead::of(&request));
    let mut steps = Vec::new();
    let mut run = 0;
    let mut sent_with = counters(&session);
    for (number, happened) in (1..).zip(script) {
        sent_with = counters(&session);
        let (end, exhausted) = match decide(&mut session, number, method, happened) {
            Decision::Retry(retry) => {
                run = match retry.charged {
                    Some(LimitKind::Redirect) => 0,
                    _ => run + 1,
                };
                steps.push(Step {
                    charged: retry.charged,
                    wait: retry.wait,
                    why: retry.why,
                    note: retry.note,
                    counters: counters(&session),
                    run,
                });
                continue;
            }
            Decision::Stop(stop) => {
                // What was charged too much is below 0. A `total` that is merely 0 is what
                // `is_retry` looks at: `bool(self.total and …)`.
                let exhausted = match stop.reason {
                    StopReason::CountExhausted { kind, .. } => {
                        session.left(kind).is_some_and(|left| left < 0)
                    }
                    _ => false,
                };
                match happened {
                    Happened::Response(..) if stop.raise => {
                        (End::Exhausted { by_status: true }, exhausted)
                    }
                    Happened::Response(status, _) => (End::Returned(*status), exhausted),
                    Happened::Error(_) => (End::after_error(&stop.reason), exhausted),
                }
            }
            Decision::Accept => match happened {
                Happened::Response(status, _) => (End::Returned(*status), false),
                Happened::Error(_) => (End::Unexpected("accepted".to_owned()), false),
            },
            other => (End::Unexpected(format!("{other:?}")), false),
        };
        return Trace {
            steps,
            end,
            sent_with,
            exhausted,
        };
    }
    Trace {
        steps,
        end: End::GoesOn,
        sent_with,
        exhausted: false,
    }
}

fn decide(
    session: &mut RetrySession,
    number: u32,
    method: &Method,
    happened: &Happened,
) -> Decision {
    let outcome = match happened {
        Happened::Response(status, headers) => {
            if session.is_final(*status, headers) {
                return Decision::Accept;
            }
            Outcome::Response {
                status: *status,
                headers,
            }
        }
        Happened::Error(kind) => Outcome::Error {
            failure: match kind {
                FailureKind::Connect => Failure::new(Cause::ConnectionRefused, Sent::Never),
                FailureKind::Read => Cause::ConnectionReset.into(),
                _ => Cause::Certificate.into(),
            },
            error: None,
        },
    };
    session.decide(&Attempt::new(number, method, outcome).with_wall_clock(new_year()))
}

fn counters(session: &RetrySession) -> Counters {
    LimitKind::ALL.map(|kind| session.left(kind))
}
