//! The decisions of this crate as a process of JSON lines, for urllib3's own tests.
//!
//! A line of the input is one question about a `Retry` of urllib3's, a line of the output its
//! answer. `retry.py` asks; `.ci/urllib3-suite` builds this and runs the tests. Nothing is kept from
//! one question to the next: each has the arguments of the `Retry` and what has happened to it, which
//! is played through a [`Session`] again.
//!
//! What is translated, because the two are cut differently:
//!
//! - `Retry.increment` is called once `is_retry` has said yes, and counts whatever it is given. A
//!   session does both in one, so a response that is to be counted carries the judgement that it is
//!   to be retried, and its request a mark if its method would forbid it.
//! - A session knows one method. Where it changes, as after a redirect, another session goes on with
//!   the limits as they are then.
//! - `increment()` without response and error counts down `total` alone. A failure that nobody knows
//!   counts down `other`, too, which therefore is unlimited here for it.

use std::{
    error::Error,
    io::{self, BufRead as _, Write as _},
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tower_http_retry::{
    classify::{Cause, Failure, FailureKind, Opinion, Outcome, Sent},
    config::{
        RetryConfig,
        import::{self, Imported},
    },
    policy::{
        Attempt, Decision, Idempotent, Jitter, Limit, LimitKind, Methods, Note, Policy as _,
        RETRY_AFTER_STATUSES, RequestHead, RetryPolicy, RetrySession, Session as _, StopReason,
        WaitReason,
    },
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A question.
#[derive(Deserialize)]
struct Question {
    ask: Ask,
    /// The arguments of the `Retry`.
    arguments: Map<String, Value>,
    /// What happened to it, in `Retry.history`.
    #[serde(default)]
    history: Vec<Step>,
    /// The first so many of them happened before these arguments were given.
    #[serde(default)]
    before: usize,
    /// The wall clock, in seconds since 1970.
    now: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ask {
    /// The attributes of the `Retry`.
    Attributes,
    /// `Retry.increment`.
    Increment(Step),
    /// `Retry.is_retry`.
    IsRetry {
        method: String,
        status: u16,
        has_retry_after: bool,
    },
    /// `Retry.get_backoff_time`.
    Backoff,
    /// `Retry.sleep`, after this response.
    Sleep(Step),
    /// `Retry.sleep_for_retry`.
    SleepForRetry(Step),
    /// `Retry.parse_retry_after`.
    ParseRetryAfter(String),
}

/// How an attempt ended; without status and cause nobody knows how.
#[derive(Clone, Default, Deserialize)]
struct Step {
    method: Option<String>,
    status: Option<u16>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    cause: Option<Cause>,
}

fn main() -> Result<()> {
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let answer = match answer(&line?) {
            Ok(answer) => answer,
            Err(error) => json!({ "invalid": error.to_string() }),
        };
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
    Ok(())
}

fn answer(line: &str) -> Result<Value> {
    let Question {
        ask,
        arguments,
        history,
        before,
        now,
    } = serde_json::from_str(line)?;
    let Imported { policy, config, .. } = imported(&arguments)?;
    let now = SystemTime::UNIX_EPOCH + Duration::try_from_secs_f64(now)?;
    let counted = history.get(before..).ok_or("`before` is beyond history")?;
    let steps = || history.iter().cloned();
    Ok(match ask {
        Ask::Attributes => attributes(&policy, &config, &arguments, &play(&policy, counted, now)?)?,
        Ask::Increment(step) => increment(&policy, counted, &step, now)?,
        Ask::IsRetry {
            method,
            status,
            has_retry_after,
        } => {
            let mut headers = Vec::new();
            if has_retry_after {
                headers.push(("retry-after".to_owned(), "1".to_owned()));
            }
            let step = Step {
                method: Some(method),
                status: Some(status),
                headers,
                cause: None,
            };
            is_retry(&policy, counted, &step, now)?.into()
        }
        Ask::Backoff => {
            let policy = policy
                .to_builder()
                .respect_retry_after_header(false)
                .build()?;
            seconds(wait(&policy, steps(), now)?)
        }
        Ask::Sleep(response) => {
            // The last of the history is this response, without its headers.
            let before = steps().take(history.len().saturating_sub(1));
            seconds(wait(&policy, before.chain([response]), now)?)
        }
        Ask::SleepForRetry(response) => match said(&policy, response, now)? {
            Some((wait, WaitReason::ServerHint(_) | WaitReason::ServerHintClamped(_))) => {
                seconds(wait)
            }
            _ => Value::Null,
        },
        Ask::ParseRetryAfter(value) => {
            let response = Step {
                status: Some(RETRY_AFTER_STATUSES[0].as_u16()),
                headers: vec![("retry-after".to_owned(), value)],
                ..Step::default()
            };
            match said(&policy, response, now)? {
                // A time that has passed is waited for by the backoff, which is none for the first.
                Some((wait, _)) => seconds(wait),
                None => Value::Null,
            }
        }
    })
}

/// What the crate's importer makes of the arguments.
fn imported(arguments: &Map<String, Value>) -> Result<Imported> {
    let imported = import::urllib3(&Value::Object(arguments.clone()))?;
    // The rest of these is another layer's.
    let elsewhere = [
        "redirect",
        "raise_on_redirect",
        "remove_headers_on_redirect",
    ];
    match imported
        .untranslated
        .iter()
        .find(|lost| !elsewhere.contains(&&*lost.key))
    {
        Some(lost) => Err(lost.to_string().into()),
        None => Ok(imported),
    }
}

fn attributes(
    policy: &RetryPolicy,
    config: &RetryConfig,
    arguments: &Map<String, Value>,
    played: &Played,
) -> Result<Value> {
    let methods = policy.allowed_methods();
    let names: Vec<_> = methods.iter().map(Method::as_str).collect();
    let backoff = policy.backoff();
    // No setting of this crate's: what follows redirects has them.
    let removed = arguments
        .get("remove_headers_on_redirect")
        .map_or(Ok(Vec::new()), |names| {
            Vec::<String>::deserialize(names)?
                .iter()
                .map(|name| Ok(name.parse::<HeaderName>()?.as_str().to_owned()))
                .collect::<Result<_>>()
        })?;
    let raised = arguments.get("raise_on_redirect") != Some(&Value::Bool(false));
    // `Limit::Never` is "returned as it came", so that it is not raised. The policy itself counts
    // no redirects then; its document has the limits as they were given.
    let config = serde_json::to_value(config)?;
    let returned = [LimitKind::Total, LimitKind::Redirect]
        .into_iter()
        .any(|kind| config[kind.as_str()] == Value::Bool(false));
    let mut attributes = json!({
        "allowed_methods": if methods.is_any() { Value::Null } else { names.into() },
        "status_forcelist": policy.status_forcelist().collect::<Vec<_>>(),
        "backoff_factor": backoff.get_base().as_secs_f64(),
        "backoff_max": seconds(backoff.get_max()),
        "backoff_jitter": match backoff.get_jitter() {
            Jitter::Additive(most) => most.as_secs_f64(),
            _ => 0.0,
        },
        "respect_retry_after_header": policy.respect_retry_after_header(),
        "retry_after_max": seconds(policy.retry_after_max()),
        "raise_on_status": policy.raise_on_status(),
        "raise_on_redirect": raised && !returned,
        "remove_headers_on_redirect": removed,
        "is_exhausted": played.is_exhausted(),
    });
    for kind in LimitKind::ALL {
        attributes[kind.as_str()] = json!(played.left(kind));
    }
    Ok(attributes)
}

fn increment(
    policy: &RetryPolicy,
    counted: &[Step],
    step: &Step,
    now: SystemTime,
) -> Result<Value> {
    let (_, charged) = decided(&endless(policy)?, [step.clone()], now)?;
    let mut played = play(policy, counted, now)?;
    let ended = match played.step(step, Counted::Yes, now)? {
        Decision::Retry(_) => Value::Null,
        // What `Retry.increment` raises: the error as it came, or MaxRetryError.
        Decision::Stop(stop) => match stop.reason {
            StopReason::CountExhausted { .. } => "exhausted".into(),
            StopReason::KindDisabled { .. } | StopReason::MethodNotAllowed { .. } => "bare".into(),
            reason => return Err(format!("stopped: {reason}").into()),
        },
        other => return Err(format!("not counted: {other:?}").into()),
    };
    Ok(json!({ "ended": ended, "charged": charged.map(LimitKind::as_str) }))
}

fn is_retry(policy: &RetryPolicy, counted: &[Step], step: &Step, now: SystemTime) -> Result<bool> {
    let mut played = play(policy, counted, now)?;
    Ok(match played.step(step, Counted::No, now)? {
        Decision::Retry(_) => true,
        // Whether the limits have refused it, which `is_retry` leaves to `increment`.
        Decision::Stop(stop) => match stop.reason {
            StopReason::CountExhausted { kind, .. } => {
                played.left(kind).is_some_and(|left| left < 0)
            }
            _ => false,
        },
        _ => false,
    })
}

/// The wait after the last of these.
fn wait(
    policy: &RetryPolicy,
    steps: impl IntoIterator<Item = Step>,
    now: SystemTime,
) -> Result<Duration> {
    Ok(match decided(&endless(policy)?, steps, now)?.0 {
        Some(Decision::Retry(retry)) => retry.wait,
        // Nothing has happened yet.
        None => Duration::ZERO,
        Some(other) => return Err(format!("stopped: {other:?}").into()),
    })
}

/// What a response says about when to come back; `None` if it cannot be read.
fn said(
    policy: &RetryPolicy,
    mut response: Step,
    now: SystemTime,
) -> Result<Option<(Duration, WaitReason)>> {
    let policy = endless(policy)?
        .to_builder()
        .respect_retry_after_header(true)
        // Listed, not judged: a decision has room for one note.
        .status_forcelist(response.status)
        .build()?;
    response.method = None;
    match Played::new(&policy).step(&response, Counted::No, now)? {
        Decision::Retry(retry) => Ok(match retry.note {
            Some(Note::HintIgnored(_)) => None,
            _ => Some((retry.wait, retry.why)),
        }),
        other => Err(format!("stopped: {other:?}").into()),
    }
}

/// The same policy, so that it never stops: only its waits are asked for.
fn endless(policy: &RetryPolicy) -> Result<RetryPolicy> {
    let policy = limited(policy, |_| Limit::Unlimited);
    Ok(policy
        .to_builder()
        .allowed_methods(Methods::any())
        .build()?)
}

/// The last decision, and what was charged last.
fn decided(
    policy: &RetryPolicy,
    steps: impl IntoIterator<Item = Step>,
    now: SystemTime,
) -> Result<(Option<Decision>, Option<LimitKind>)> {
    let mut played = Played::new(policy);
    let mut last = None;
    for mut step in steps {
        // The methods do not matter here, and the session is to see all of it.
        step.method = None;
        last = Some(played.step(&step, Counted::Yes, now)?);
    }
    let charged = match &last {
        Some(Decision::Retry(retry)) => retry.charged,
        _ => None,
    };
    Ok((last, charged))
}

fn play(policy: &RetryPolicy, steps: &[Step], now: SystemTime) -> Result<Played> {
    let mut played = Played::new(policy);
    for step in steps {
        played.step(step, Counted::Yes, now)?;
    }
    Ok(played)
}

/// Whether a response is one that the caller has decided to retry.
#[derive(Clone, Copy, PartialEq)]
enum Counted {
    Yes,
    No,
}

/// A `Retry` to which some attempts have happened.
struct Played {
    policy: RetryPolicy,
    session: Option<(Kind, RetrySession)>,
    number: u32,
}

/// What is the same for all attempts of one session.
#[derive(Clone, PartialEq)]
struct Kind {
    method: Method,
    marked: bool,
    unknown: bool,
}

impl Played {
    fn new(policy: &RetryPolicy) -> Self {
        Self {
            policy: policy.clone(),
            session: None,
            number: 0,
        }
    }

    /// What is left of a limit, which is what urllib3's counter shows.
    fn left(&self, kind: LimitKind) -> Option<i64> {
        match &self.session {
            Some((now, session)) if !(now.unknown && kind == LimitKind::Other) => {
                session.left(kind)
            }
            _ => session(&self.policy, &Method::GET, false).left(kind),
        }
    }

    fn is_exhausted(&self) -> bool {
        LimitKind::ALL
            .into_iter()
            .any(|kind| self.left(kind).is_some_and(|left| left < 0))
    }

    /// Tells the session of one more attempt.
    fn step(&mut self, step: &Step, counted: Counted, now: SystemTime) -> Result<Decision> {
        self.number += 1;
        // An error without a method: no set of methods has this one.
        let method: Method = step.method.as_deref().unwrap_or("-").parse()?;
        let headers = headers(&step.headers)?;
        let outcome = match (step.status, step.cause) {
            (Some(status), _) => Outcome::Response {
                status: StatusCode::from_u16(status)?,
                headers: &headers,
            },
            (None, cause) => Outcome::Error {
                failure: match cause.unwrap_or(Cause::Unknown) {
                    // What urllib3 calls a connect error, it raises before it sends anything.
                    cause if cause.kind() == FailureKind::Connect => {
                        Failure::new(cause, Sent::Never)
                    }
                    cause => cause.into(),
                },
                error: None,
            },
        };
        let is_error = step.cause.is_some();
        let kind = Kind {
            marked: counted == Counted::Yes
                && !is_error
                && !self.policy.allowed_methods().contains(&method),
            unknown: step.status.is_none() && !is_error,
            method,
        };
        let mut attempt = Attempt::new(self.number, &kind.method, outcome).with_wall_clock(now);
        if counted == Counted::Yes && !is_error {
            attempt = attempt.with_opinion("caller", Opinion::Retry("increment".into()));
        }
        let (_, session) = self.session_of(&kind);
        if let Outcome::Response { status, headers } = *attempt.outcome() {
            if counted == Counted::No && session.is_final(status, headers) {
                return Ok(Decision::Accept);
            }
        }
        Ok(session.decide(&attempt))
    }

    /// The session so far, or one that goes on with what it has left.
    fn session_of(&mut self, kind: &Kind) -> &mut (Kind, RetrySession) {
        if self.session.as_ref().is_none_or(|(now, _)| now != kind) {
            if self.session.is_some() {
                self.policy = limited(&self.policy, |count| {
                    let limit = self.policy.limit(count);
                    match self.left(count) {
                        // `False` is more than 0 until it is counted down.
                        Some(0) if limit == Limit::Never => limit,
                        Some(left) => Limit::AtMost(left),
                        None => limit,
                    }
                });
            }
            let policy = if kind.unknown {
                let builder = self.policy.to_builder().other(Limit::Unlimited);
                builder.build().expect("valid as before")
            } else {
                self.policy.clone()
            };
            self.session = Some((kind.clone(), session(&policy, &kind.method, kind.marked)));
        }
        self.session.as_mut().expect("set above")
    }
}

/// As Python's numbers are: whole ones are written as such.
fn seconds(time: Duration) -> Value {
    if time.subsec_nanos() == 0 {
        time.as_secs().into()
    } else {
        time.as_secs_f64().into()
    }
}

fn session(policy: &RetryPolicy, method: &Method, marked: bool) -> RetrySession {
    let mut request = Request::new(());
    method.clone_into(request.method_mut());
    if marked {
        request.extensions_mut().insert(Idempotent);
    }
    policy.session(&RequestHead::of(&request))
}

fn limited(policy: &RetryPolicy, limit: impl Fn(LimitKind) -> Limit) -> RetryPolicy {
    let builder = policy.to_builder();
    builder
        .total(limit(LimitKind::Total))
        .connect(limit(LimitKind::Connect))
        .read(limit(LimitKind::Read))
        .redirect(limit(LimitKind::Redirect))
        .status(limit(LimitKind::Status))
        .other(limit(LimitKind::Other))
        .build()
        .expect("only limits are different")
}

/// Headers as Python has them, a character for each byte.
fn headers(lines: &[(String, String)]) -> Result<HeaderMap> {
    lines
        .iter()
        // The others mean nothing to a retry, and Python lets through what no parser does.
        .filter(|(name, _)| {
            [header::RETRY_AFTER, header::LOCATION]
                .iter()
                .any(|known| known.as_str().eq_ignore_ascii_case(name))
        })
        .map(|(name, value)| {
            let bytes: Option<Vec<u8>> = value.chars().map(|c| u8::try_from(c).ok()).collect();
            let bytes = bytes.ok_or("a header value of characters that are no bytes")?;
            Ok((name.parse()?, HeaderValue::from_bytes(&bytes)?))
        })
        .collect()
}
