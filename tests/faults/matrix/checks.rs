//! What must be true of a cell when it is over.

use std::{fmt, time::Duration};

use http::Response;
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::Instant;
use tower_http_retry::{
    AttemptOutcome, AttemptRecord, RetryLayer, RetryReport,
    classify::{Cause, FailureKind, Sent},
    policy::{LimitKind, Note, Preset, RetryPolicy, StopReason, WaitReason},
};

use super::{
    cell::{Cell, Setting, Stage},
    faults::{Arrives, Content, NEXT},
    layers::{AnyBody, NAMES},
    rules::{self, Class, Expected, Facts, Stop},
    uploads::{Upload, Watch},
};
use test_support::net::fault::{Answer, Attempt};

/// What is found to be wrong.
#[derive(Debug, Default)]
struct Findings(Vec<String>);

impl Findings {
    fn expect(&mut self, holds: bool, finding: impl FnOnce() -> String) {
        if !holds {
            self.0.push(finding());
        }
    }

    fn equal<T: PartialEq + fmt::Debug>(&mut self, what: &str, found: &T, expected: &T) {
        self.expect(found == expected, || {
            format!("{what}: {found:?}, expected {expected:?}")
        });
    }
}

impl Cell {
    /// Sends the request and returns what is wrong with what came of it.
    ///
    /// To be done alone in a runtime of one thread whose clock is paused.
    pub async fn run(&self, setting: &Setting) -> Vec<String> {
        let mut findings = Findings::default();
        let policy = match self.preset {
            Preset::Urllib3 => RetryPolicy::urllib3(),
            _ => RetryPolicy::default(),
        };
        let (sending, mut stage) = self.begin(setting, RetryLayer::new(policy.clone())).await;
        let (report, result) = match stage.drive(sending).await {
            Ok(response) => {
                let status = response.status().as_u16();
                let report = response.extensions().get::<RetryReport>().cloned();
                self.check_answer(response, report.as_ref(), &mut findings)
                    .await;
                (report, Ok(status))
            }
            Err(error) => (Some(error.report().clone()), Err(error.kind())),
        };
        stage.settle().await;

        let classes = self.classes(report.as_ref(), &mut findings);
        let watch = &*stage.watch;
        let attempts = || report.iter().flat_map(|report| &report.attempts);
        let place = |attempt: &AttemptRecord| {
            let url = attempt.url.as_deref().unwrap_or_default();
            usize::from(url.starts_with(NAMES[1]))
        };
        let facts = Facts {
            over_limit_in: watch.over_limit_in(),
            times: attempts()
                .map(|it| (it.started, it.started + it.took))
                .collect(),
            went_to: attempts().map(place).collect(),
            ..self.facts()
        };
        let expected = rules::expect(&facts, |attempt| {
            let class = classes.get(attempt - 1).copied();
            class.unwrap_or_else(|| self.class(attempt))
        });
        findings.equal("result", &result, &expected.result);
        self.check_report(report.as_ref(), &expected, watch, &mut findings);
        if let Some(report) = &report {
            self.check_layers(report, &classes, &expected, &stage, &mut findings);
        } else {
            findings.equal("hedged", &false, &self.is_hedged());
        }
        self.check_log(&stage.server.log(), &facts, &expected, watch, &mut findings);
        let permits = watch.permits().available_permits();
        findings.equal("permits", &permits, &self.layers.permits());
        if let Some(budget) = policy.budget() {
            let free = |wait: &&rules::Wait| {
                wait.why == Some(WaitReason::NeverProcessed)
                    || wait.charged == Some(LimitKind::Redirect)
            };
            let charged = expected.waits.iter().filter(|wait| !free(wait)).count();
            // Retries and hedges take from the same budget.
            let granted = charged + self.hedges(&expected);
            let stats = budget.stats(Instant::now().into_std());
            findings.equal("granted", &stats.granted, &(granted as u64));
            findings.equal("refunded", &stats.refunded, &0);
        }
        findings.equal("tasks left", &stage.end().await, &0);
        findings.0
    }

    /// The caller gets the last answer as it is.
    async fn check_answer(
        &self,
        response: Response<AnyBody>,
        report: Option<&RetryReport>,
        findings: &mut Findings,
    ) {
        let last = report.map_or(0, |report| report.attempts.len() - 1);
        match self.fault(last).map_or(Content::Whole, |f| f.content) {
            Content::Whole => match response.into_body().collect().await {
                Ok(body) => {
                    findings.equal("content", &&*body.to_bytes(), &Answer::BODY);
                }
                Err(error) => findings.0.push(format!("content: {error}")),
            },
            Content::Broken => {
                let body = response.into_body().collect().await;
                findings.expect(body.is_err(), || "the content is whole".to_owned());
            }
            Content::Endless => {
                let ended = response.into_body().is_end_stream();
                findings.expect(!ended, || "the content has an end".to_owned());
            }
        }
    }

    /// How each attempt ended: by the fault's rules, and where it is a race, by what the client
    /// says of it.
    fn classes(&self, report: Option<&RetryReport>, findings: &mut Findings) -> Vec<Class> {
        let Some(report) = report else {
            return vec![Class::Success];
        };
        let mut classes = Vec::new();
        for (index, attempt) in report.attempts.iter().enumerate() {
            let fault = self.fault(index);
            let planned = self.class(index + 1);
            let class = match &attempt.outcome {
                AttemptOutcome::Response(status) if attempt.failed_within.is_some() => {
                    Class::Cut(status.as_u16())
                }
                AttemptOutcome::Response(status) if status.is_success() => Class::Success,
                AttemptOutcome::Response(_) if matches!(planned, Class::Redirect { .. }) => planned,
                AttemptOutcome::Response(status) => {
                    let asked = match fault.map(|fault| fault.class) {
                        Some(Class::Status(_, asked)) => asked,
                        _ => None,
                    };
                    Class::Status(status.as_u16(), asked)
                }
                AttemptOutcome::Failed {
                    kind, cause, sent, ..
                } => match (kind, cause, sent) {
                    // A stream above the last one that a GOAWAY names, whatever its code (RFC
                    // 9113, section 6.8), is as good as one that was refused.
                    (_, _, Sent::Unprocessed) | (_, Cause::Canceled, _) => Class::Unprocessed,
                    (FailureKind::Connect, _, _) => Class::Connect,
                    (FailureKind::Read, Cause::AttemptTimeout, _) => Class::TimedOut,
                    (FailureKind::Read, _, _) => Class::Read,
                    _ => Class::Untrusted(*cause),
                },
                outcome => panic!("an attempt ended in a new way: {outcome}"),
            };
            let is_right = class == planned || fault.is_some_and(|fault| fault.or.contains(&class));
            findings.expect(is_right, || {
                format!("attempt {}: {}", index + 1, attempt.outcome)
            });
            classes.push(class);
        }
        classes
    }

    fn check_report(
        &self,
        report: Option<&RetryReport>,
        expected: &Expected,
        watch: &Watch,
        findings: &mut Findings,
    ) {
        let arrivals = expected.attempts + self.hedges(expected);
        findings.equal("attempts", &watch.attempts(), &arrivals);
        let Some(report) = report else {
            // Nothing is reported of a first attempt that succeeds.
            let succeeded = Stop::Because(StopReason::Succeeded);
            findings.equal("stop", &succeeded, &expected.stop);
            return;
        };
        findings.equal(
            "reported attempts",
            &report.attempts.len(),
            &expected.attempts,
        );
        let stop = match report.stop {
            StopReason::BodyNotReplayable { sent, limit } => {
                findings.equal("limit", &limit, &self.upload.limit());
                findings.expect(limit < sent && sent <= watch.read(), || {
                    format!("{sent} bytes read, of {limit}, were {}", watch.read())
                });
                Stop::BodyNotReplayable
            }
            StopReason::RetryAfterTooLong { asked, .. }
                if self.layers.endpoints && expected.stop == Stop::AskedTooLong =>
            {
                findings.expect(asked <= Duration::from_secs(300), || {
                    format!("{asked:?} asked")
                });
                Stop::AskedTooLong
            }
            ref reason => Stop::Because(reason.clone()),
        };
        findings.equal("stop", &stop, &expected.stop);
        findings.equal("effects", &report.effects(), &expected.effects);
        let waits: Vec<_> = report
            .attempts
            .iter()
            .filter_map(|a| a.wait.clone())
            .collect();
        findings.equal("waits", &waits.len(), &expected.waits.len());
        for (wait, expected) in waits.iter().zip(&expected.waits) {
            let is_right = wait.charged == expected.charged
                && expected.time.contains(&wait.planned)
                // A jitter can be nothing.
                && (expected.why.as_ref().is_none_or(|why| *why == wait.why)
                    || wait.planned.is_zero() && wait.why == WaitReason::Immediate);
            findings.expect(is_right, || {
                format!("wait: {wait:?}, expected {expected:?}")
            });
        }
    }

    /// How often something is sent a second time.
    fn hedges(&self, expected: &Expected) -> usize {
        if self.is_hedged() {
            expected.attempts
        } else {
            0
        }
    }

    /// What the layers below the retries say of each attempt.
    fn check_layers(
        &self,
        report: &RetryReport,
        classes: &[Class],
        expected: &Expected,
        stage: &Stage,
        findings: &mut Findings,
    ) {
        let mut left = 0;
        for (index, (attempt, class)) in report.attempts.iter().zip(classes).enumerate() {
            let number = index + 1;
            let notes = &attempt.layer_notes;
            let hedged = notes.iter().any(|note| matches!(note, Note::Hedged { .. }));
            findings.equal(&format!("hedged {number}"), &hedged, &self.is_hedged());
            let name = NAMES[expected.places.get(index).copied().unwrap_or_default()];
            let path = match expected.sent.get(index) {
                Some(sent) if sent.redirected => NEXT,
                _ => "/path",
            };
            // What goes to the request's own URL need not say so.
            let moved = self.layers.endpoints || path == NEXT;
            let url = moved.then(|| format!("{name}{path}"));
            findings.equal(&format!("URL {number}"), &attempt.url, &url);
            let is_left = notes.contains(&Note::ConnectionLeft);
            let leaves = match class {
                _ if !self.layers.connections => Some(false),
                Class::TimedOut | Class::Status(421, _) => Some(true),
                Class::Status(..) | Class::Success | Class::Redirect { .. } => Some(false),
                // Whether there was one, or whether a single stream failed, is the fault's affair.
                _ => None,
            };
            findings.expect(leaves.is_none_or(|leaves| leaves == is_left), || {
                format!("{number}: left its connection: {is_left}")
            });
            left += usize::from(leaves == Some(true) && number < expected.attempts);
        }
        let accepted = stage.server.accepted();
        findings.expect(left == 0 || accepted > left, || {
            format!("{accepted} connections for {left} that were left")
        });
    }

    fn check_log(
        &self,
        log: &[Attempt],
        facts: &Facts,
        expected: &Expected,
        watch: &Watch,
        findings: &mut Findings,
    ) {
        let arrivals = expected.attempts + self.hedges(expected);
        findings.equal("attempts that arrived", &log.len(), &arrivals);
        let all = self.upload.content();
        for (index, attempt) in log.iter().enumerate() {
            let fault = self.fault(index);
            let of = if self.is_hedged() { index / 2 } else { index };
            let Some(sent) = expected.sent.get(of) else {
                continue;
            };
            let content = if sent.has_content { &all[..] } else { &[] };
            let (arrives, applies) = fault.map_or((Arrives::Whole, true), |fault| {
                (fault.arrives, fault.applies)
            });
            let number = index + 1;
            findings.equal(&format!("applied {number}"), &attempt.applied, &applies);
            match arrives {
                Arrives::Nothing => {
                    let nothing = attempt.method.is_none() && attempt.received == 0;
                    findings.expect(nothing, || format!("something arrived of {number}"));
                    continue;
                }
                Arrives::AtLeast(bytes) => {
                    let least = bytes.min(content.len() as u64);
                    findings.expect(attempt.received >= least, || {
                        format!("{} bytes arrived of {number}", attempt.received)
                    });
                }
                Arrives::Whole => {
                    findings.expect(attempt.whole, || format!("{number} is not whole"));
                }
            }
            findings.equal("method", &attempt.method, &Some(sent.method.clone()));
            let key = self.verb.key().filter(|_| sent.has_key);
            findings.equal("key", &attempt.key.as_deref(), &key);
            let path = if sent.redirected { NEXT } else { "/path" };
            findings.equal("path", &attempt.path.as_deref(), &Some(path));
            // What arrives is the same on every attempt, to its last byte.
            let length = usize::try_from(attempt.received).expect("small");
            match content.get(..length) {
                Some(sent) => {
                    let is_same = attempt.digest == Attempt::digest_of(sent);
                    findings.expect(is_same, || format!("other bytes arrived of {number}"));
                }
                None => findings
                    .0
                    .push(format!("{length} bytes arrived of {number}")),
            }
            if attempt.whole {
                findings.equal("length", &length, &content.len());
                let trailers = self.upload.trailers().filter(|_| sent.has_content);
                findings.equal("trailers", &attempt.trailers, &trailers);
            }
            if self.upload == Upload::OverLimit && attempt.received > self.upload.limit() {
                let known = facts.over_limit_in.is_some_and(|n| n <= number);
                findings.expect(known, || format!("{number} was read by nobody"));
            }
        }
        let applied = log.iter().filter(|attempt| attempt.applied).count();
        let applied = u32::try_from(applied).expect("few");
        findings.expect(expected.effects.contains(&applied), || {
            format!("applied {applied} times, known {:?}", expected.effects)
        });
        // What a redirect made of it may be repeated where the request itself may not.
        let once = log.iter().zip(&expected.sent).filter(|(attempt, sent)| {
            let facts = Facts {
                method: sent.method.clone(),
                ..facts.clone()
            };
            attempt.applied && !rules::may_repeat(&facts)
        });
        let once = once.count();
        findings.expect(once <= 1, || format!("applied {once} times"));
        if self.upload == Upload::File {
            findings.equal("opened", &(watch.opened() + 1), &arrivals);
        }
    }
}
