//! Any policy, any request and any history: the limits hold, and the record says all of it.
//!
//! The text has a word at the beginning of each line, and what belongs to it behind:
//!
//! ```text
//! total 2
//! backoff exponential 100
//! jitter full
//! request POST key
//! fail reset
//! status 503
//! header retry-after: 7
//! status 200
//! ```

use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue, Request, StatusCode};
use tower_http_retry::{
    AttemptOutcome, RetryReport,
    budget::{RetryBudget, Scope},
    classify::{Cause, Failure, FailureKind, Opinion, Sent},
    dry_run::{Explain, ScriptedOutcome},
    policy::{
        Backoff, Idempotent, Jitter, Limit, LimitKind, Methods, Preset, RequestHead,
        RetryAfterMode, RetryPolicy, RetryPolicyBuilder, StopReason, WaitReason,
    },
};

use super::{Depth, exchange::now};

/// So many outcomes are played: more than most limits, and few enough to be quick.
const MOST: usize = 16;

/// Takes the bytes for the text above.
pub fn check(data: &[u8], depth: Depth) -> &'static str {
    let mut story = Story::new();
    for line in String::from_utf8_lossy(data).lines() {
        story.tell(line);
    }
    let policy = match story.builder.clone().build() {
        Ok(policy) => policy,
        Err(error) => {
            assert!(!error.field().is_empty() && !error.allowed().is_empty());
            assert!(error.to_string().contains(error.field()), "{error}");
            return "no policy";
        }
    };
    let sequence = policy.explain_sequence(&RequestHead::of(&story.request), &story.script);
    let report = sequence.report();
    assert_eq!(
        report.attempt_count() + sequence.unplayed(),
        story.script.len()
    );
    assert!(sequence.unplayed() == 0 || !sequence.goes_on());
    story.check_limits(&policy, report);
    story.check_waits(&policy, report);
    story.check_safety(&policy, report);
    check_end(report, sequence.goes_on());

    if !sequence.goes_on() && is_kept(report) {
        let replay = report.replay(&policy);
        assert!(replay.is_same(), "{replay}\n{report}");
        let mut replayed = replay.report;
        if let (Some(last), Some(recorded)) = (replayed.attempts.last_mut(), report.attempts.last())
        {
            // Which count a redirect was to be charged to is recorded only if that decided.
            if matches!(recorded.outcome, AttemptOutcome::Response(s) if s.is_redirection()) {
                last.gates = recorded.gates;
            }
        }
        assert_eq!(replayed, *report);
    }
    if depth == Depth::Full {
        assert!(!report.to_string().is_empty());
        let again = policy.explain_sequence(&RequestHead::of(&story.request), &story.script);
        assert_eq!(again, sequence, "a dry run changes nothing");
        #[cfg(feature = "serde")]
        {
            let json = serde_json::to_string(report).expect("JSON");
            let read: RetryReport = serde_json::from_str(&json).expect("what was written");
            // Seconds are a float, which has no room for the nanoseconds of a month.
            let again = serde_json::to_string(&read).expect("JSON");
            assert_eq!(again, json);
            if !sequence.goes_on() && is_kept(report) {
                let replay = read.replay(&policy);
                assert!(replay.is_same(), "{replay}\n{report}");
            }
        }
    }
    match (&report.stop, report.retry_count()) {
        _ if story.script.is_empty() => "no attempt",
        _ if sequence.goes_on() => "goes on",
        (StopReason::Succeeded, 0) => "at once",
        (StopReason::Succeeded, _) => "recovered",
        (stop, _) => stop.name(),
    }
}

struct Story {
    builder: RetryPolicyBuilder,
    request: Request<()>,
    script: Vec<ScriptedOutcome>,
    /// Which of these a classifier takes for transient.
    judged: Vec<bool>,
    marked: bool,
}

impl Story {
    fn new() -> Self {
        Self {
            builder: RetryPolicy::builder().budget(None),
            request: Request::new(()),
            script: Vec::new(),
            judged: Vec::new(),
            marked: false,
        }
    }

    /// Takes in one line; what is not understood is left out.
    fn tell(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if self.tell_story(word, rest) {
            return;
        }
        let policy = self.builder.clone();
        let number = rest.parse().ok();
        let seconds: Option<f64> = number;
        self.builder = match (word, seconds) {
            ("urllib3", _) => RetryPolicy::urllib3_builder(),
            ("total", _) => policy.total(limit(rest)),
            ("connect", _) => policy.connect(limit(rest)),
            ("read", _) => policy.read(limit(rest)),
            ("redirect", _) => policy.redirect(limit(rest)),
            ("status-limit", _) => policy.status(limit(rest)),
            ("other", _) => policy.other(limit(rest)),
            ("unprocessed", _) => policy.unprocessed(rest.parse().unwrap_or(1)),
            ("methods", _) => policy.allowed_methods(match rest {
                "any" => Methods::any(),
                names => names.split(' ').filter(|name| !name.is_empty()).collect(),
            }),
            ("list", _) => {
                let statuses = rest.split(' ').filter_map(|status| status.parse().ok());
                policy.status_forcelist(statuses)
            }
            ("backoff", _) => policy.backoff(backoff(rest)),
            ("backoff-max", Some(max)) => policy.backoff_max(max),
            ("backoff-jitter", Some(jitter)) => policy.backoff_jitter(jitter),
            ("backoff-factor", Some(factor)) => policy.backoff_factor(factor),
            ("hint-max", Some(max)) => policy.retry_after_max(max),
            ("hint-jitter", Some(part)) => policy.retry_after_jitter(part),
            ("clamp", _) => policy.retry_after_mode(RetryAfterMode::Clamp),
            ("deaf", _) => policy.respect_retry_after_header(false),
            ("raise", _) => policy.raise_on_status(true),
            ("budget", Some(capacity)) => {
                let budget = RetryBudget::builder()
                    .capacity(capacity)
                    .min_per_second(0)
                    .scope(Scope::Shared)
                    .slots(1);
                match budget.build() {
                    Ok(budget) => policy.budget(budget),
                    Err(_) => policy,
                }
            }
            _ => return,
        };
    }

    /// What is no part of the policy; `false` if it is.
    fn tell_story(&mut self, word: &str, rest: &str) -> bool {
        let parse = |text: &str| text.parse::<u64>().ok();
        match word {
            "request" => {
                for word in rest.split(' ') {
                    match word {
                        "key" => {
                            let key = HeaderValue::from_static("\"1\"");
                            self.request.headers_mut().insert("idempotency-key", key);
                            self.marked = true;
                        }
                        "mark" => {
                            self.request.extensions_mut().insert(Idempotent);
                            self.marked = true;
                        }
                        method => {
                            if let Ok(method) = method.parse() {
                                *self.request.method_mut() = method;
                            }
                        }
                    }
                }
            }
            "status" if self.script.len() < MOST => {
                if let Ok(status) = StatusCode::from_bytes(rest.as_bytes()) {
                    let outcome = ScriptedOutcome::response(status);
                    self.script.push(outcome.wall_clock(now()));
                    self.judged.push(false);
                }
            }
            "fail" if self.script.len() < MOST => {
                if let Some(failure) = failure(rest) {
                    let outcome = ScriptedOutcome::failure(failure);
                    self.script.push(outcome.wall_clock(now()));
                    self.judged.push(false);
                }
            }
            "header" => {
                let Some((name, value)) = rest.split_once(": ") else {
                    return true;
                };
                // Latin-1, where that is possible.
                let bytes: Result<Vec<u8>, _> = value.chars().map(u8::try_from).collect();
                let bytes = bytes.unwrap_or_else(|_| value.as_bytes().to_vec());
                let value = HeaderValue::from_bytes(&bytes);
                if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value) {
                    self.change(|outcome| outcome.header(name, value));
                }
            }
            "took" => {
                let took = Duration::from_millis(parse(rest).unwrap_or(1));
                self.change(|outcome| outcome.took(took));
            }
            "clock" => {
                let at = Duration::from_secs(parse(rest).unwrap_or(0));
                if let Some(at) = SystemTime::UNIX_EPOCH.checked_add(at) {
                    self.change(|outcome| outcome.wall_clock(at));
                }
            }
            "judge" => {
                if let Some(judged) = self.judged.last_mut() {
                    *judged = rest == "retry";
                }
                let because = "it says so".into();
                let opinion = match rest {
                    "retry" => Opinion::Retry(because),
                    _ => Opinion::Forbid(because),
                };
                self.change(|outcome| outcome.judged("a test", opinion));
            }
            _ => return false,
        }
        true
    }

    /// Changes the last outcome.
    fn change(&mut self, change: impl FnOnce(ScriptedOutcome) -> ScriptedOutcome) {
        if let Some(last) = self.script.pop() {
            self.script.push(change(last));
        }
    }

    /// No kind of retry is made more often than its limit, and all together not more than `total`.
    fn check_limits(&self, policy: &RetryPolicy, report: &RetryReport) {
        let waits = || {
            report
                .attempts
                .iter()
                .filter_map(|attempt| attempt.wait.as_ref())
        };
        for kind in LimitKind::ALL {
            let charged = waits().filter(|wait| match kind {
                LimitKind::Total => wait.charged.is_some(),
                kind => wait.charged == Some(kind),
            });
            let most = match policy.limit(kind) {
                Limit::Unlimited => continue,
                Limit::AtMost(n) => n.max(0),
                Limit::Never => 0,
            };
            assert!(charged.count() as i64 <= most, "{kind}: {report}");
        }
        let free = waits().filter(|wait| wait.charged.is_none());
        // Only the first one is sent at once.
        for (at, wait) in free.clone().enumerate() {
            if at == 0 {
                assert_eq!(wait.why, WaitReason::NeverProcessed);
                assert_eq!(wait.planned, Duration::ZERO);
            } else {
                assert!(matches!(
                    wait.why,
                    WaitReason::Backoff | WaitReason::Immediate
                ));
            }
        }
        assert!(free.count() <= policy.unprocessed() as usize, "{report}");
    }

    /// No wait is longer than what it comes from allows.
    fn check_waits(&self, policy: &RetryPolicy, report: &RetryReport) {
        let cap = policy.retry_after_max();
        // Half of the jitter, since each random number is the one in the middle.
        let jittered = |wait: Duration| {
            let more = 1.0 + policy.retry_after_jitter() * (0.5 + 1e-9);
            let more = Duration::try_from_secs_f64(wait.as_secs_f64() * more);
            more.unwrap_or(Duration::MAX)
                .saturating_add(Duration::from_nanos(1))
        };
        for attempt in &report.attempts {
            let Some(wait) = &attempt.wait else {
                continue;
            };
            match &wait.why {
                WaitReason::Immediate | WaitReason::NeverProcessed => {
                    assert_eq!(wait.planned, Duration::ZERO);
                }
                WaitReason::Backoff => {
                    assert!(wait.planned <= policy.backoff().get_max(), "{report}");
                }
                WaitReason::ServerHint(_) | WaitReason::ServerHintClamped(_) => {
                    assert!(policy.respect_retry_after_header());
                    assert!(wait.planned <= jittered(cap), "{report}");
                }
                why => panic!("no policy waits for this: {why:?}"),
            }
            assert!(attempt.hint.is_some() || !matches!(wait.why, WaitReason::ServerHint(_)));
        }
    }

    /// What may have been applied is repeated only if that does no harm, and what cannot help is
    /// not repeated.
    fn check_safety(&self, policy: &RetryPolicy, report: &RetryReport) {
        if policy.preset() != Preset::Default {
            return;
        }
        let may_repeat = self.marked || policy.allowed_methods().contains(self.request.method());
        for (at, attempt) in report.attempts.iter().enumerate() {
            if attempt.wait.is_none() {
                continue;
            }
            let judged = self.judged[at];
            match attempt.outcome {
                AttemptOutcome::Response(_) => assert!(may_repeat, "{report}"),
                AttemptOutcome::Failed { cause, sent, .. } => {
                    assert!(may_repeat || sent.is_safe_to_repeat(), "{report}");
                    assert!(judged || !cause.is_permanent(), "{report}");
                }
                ref outcome => panic!("no such outcome: {outcome:?}"),
            }
        }
    }
}

/// Whether the record has all that the servers said, and as they said it: a few headers that are
/// not very long, in UTF-8.
fn is_kept(report: &RetryReport) -> bool {
    report
        .attempts
        .iter()
        .filter_map(|attempt| attempt.hint.as_ref())
        .all(|hint| {
            let long = |value: &str| value.len() >= 256 || value.contains('\u{fffd}');
            hint.headers.len() < 16 && !hint.headers.iter().any(|(_, value)| long(value))
        })
}

/// The record has no gap, and its end says why.
fn check_end(report: &RetryReport, goes_on: bool) {
    let mut at = Duration::ZERO;
    let mut attempts = report.attempts.iter().zip(1..).peekable();
    while let Some((attempt, number)) = attempts.next() {
        assert_eq!((attempt.number, attempt.started), (number, at), "{report}");
        at = at.saturating_add(attempt.took);
        match &attempt.wait {
            Some(wait) => at = at.saturating_add(wait.planned),
            None => assert!(attempts.peek().is_none(), "{report}"),
        }
    }
    assert_eq!(report.elapsed, at);
    let effects = report.effects();
    assert!(effects.start() <= effects.end());
    assert!(*effects.end() as usize <= report.attempt_count());
    assert!(!report.stop.to_string().is_empty());
    let Some(last) = report.attempts.last() else {
        assert!(goes_on);
        return;
    };
    assert_eq!(last.wait.is_some(), goes_on, "{report}");
    if report.stop.is_success() {
        match last.outcome {
            AttemptOutcome::Response(status) => {
                assert!(status.as_u16() < 400, "{report}");
            }
            ref outcome => panic!("a success without a response: {outcome:?}"),
        }
    } else if !goes_on {
        assert!(last.gates.failed().next().is_some(), "{report}");
    }
}

fn limit(text: &str) -> Limit {
    match (text, text.parse()) {
        ("never", _) => Limit::Never,
        (_, Ok(n)) => Limit::AtMost(n),
        _ => Limit::Unlimited,
    }
}

/// A kind and numbers of milliseconds, or seconds for urllib3.
fn backoff(text: &str) -> Backoff {
    let mut words = text.split(' ');
    let kind = words.next().unwrap_or_default();
    let jitter = match words.clone().next_back() {
        Some("full") => Some(Jitter::Full),
        Some("equal") => Some(Jitter::Equal),
        Some("decorrelated") => Some(Jitter::Decorrelated),
        _ => None,
    };
    let numbers: Vec<f64> = words.filter_map(|word| word.parse().ok()).collect();
    let time = |ms: &f64| Duration::try_from_secs_f64(ms / 1000.0).unwrap_or(Duration::MAX);
    let first = numbers.first().map_or(Duration::ZERO, time);
    let backoff = match kind {
        "urllib3" => Backoff::urllib3(numbers.first().copied().unwrap_or(0.0)),
        "exponential" => match numbers.get(1) {
            Some(multiplier) => Backoff::exponential(first).multiplier(*multiplier),
            None => Backoff::exponential(first),
        },
        "linear" => Backoff::linear(first),
        "fibonacci" => Backoff::fibonacci(first),
        "constant" => Backoff::constant(first),
        "list" => Backoff::list(numbers.iter().map(time)),
        _ => Backoff::none(),
    };
    match jitter {
        Some(jitter) => backoff.jitter(jitter),
        None => backoff,
    }
}

fn failure(text: &str) -> Option<Failure> {
    let (word, number) = text.split_once(' ').unwrap_or((text, ""));
    let cause = match word {
        "refused" => Cause::ConnectionRefused,
        "dns" => Cause::Dns,
        "connect-timeout" => Cause::ConnectTimeout,
        "tls-handshake" => Cause::TlsHandshake,
        "overloaded" => Cause::Overloaded,
        "canceled" => Cause::Canceled,
        "refused-stream" => Cause::RefusedStream,
        "go-away" => Cause::GoAway,
        "incomplete" => Cause::IncompleteMessage,
        "reset" => Cause::ConnectionReset,
        "timeout" => Cause::Timeout,
        "attempt-timeout" => Cause::AttemptTimeout,
        "invalid" => Cause::InvalidResponse,
        "body" => Cause::ResponseBody,
        "http2" => Cause::Http2(number.parse().unwrap_or(2)),
        "calm" => Cause::EnhanceYourCalm,
        "io" => Cause::Io,
        "certificate" => Cause::Certificate,
        "scheme" => Cause::UnsupportedScheme,
        "request-body" => Cause::RequestBody,
        "status" => Cause::Status(StatusCode::from_bytes(number.as_bytes()).ok()?),
        "unknown" => Cause::Unknown,
        _ => return None,
    };
    Some(match number {
        "as-connect" => Failure::from(cause).with_kind(FailureKind::Connect),
        "as-other" => Failure::from(cause).with_kind(FailureKind::Other),
        "unproved" => Failure::from(cause),
        _ => match (cause, cause.kind()) {
            (Cause::RefusedStream | Cause::GoAway, _) => Failure::new(cause, Sent::Unprocessed),
            (_, FailureKind::Connect) => Failure::new(cause, Sent::Never),
            _ => Failure::from(cause),
        },
    })
}
