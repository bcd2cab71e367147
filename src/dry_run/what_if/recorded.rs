//! What a record says of a request and of its attempts.

use std::{borrow::Cow, time::SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header::LOCATION};

use super::Verdict;
use crate::{
    classify::{Failure, Outcome},
    policy::{Gate, IDEMPOTENCY_KEY, Idempotent, LimitKind, Note, RetryDisabled, StopReason},
    report::{AttemptOutcome, AttemptRecord, HintRecord, RetryReport},
    stack::{Changes, Opinion},
};

impl RetryReport {
    /// What was decided about one of the attempts.
    pub(super) fn verdict(&self, record: &AttemptRecord) -> Verdict {
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
    pub(super) fn might_be_keyed(&self) -> bool {
        self.any_gate(Gate::Idempotency).is_none()
    }

    /// Whether the server took the request for one with an idempotency key.
    fn was_keyed(&self) -> bool {
        self.stop == StopReason::IdempotencyKeyReused
            || self
                .attempts
                .iter()
                .any(|record| record.note.as_deref() == Some(&Note::StillInProgress))
    }
}

/// The request, as far as the record knows it.
pub(super) fn request(report: &RetryReport) -> Request<()> {
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
    if matches!(
        report.stop,
        StopReason::Disabled | StopReason::RetriedAbove { .. }
    ) {
        request.extensions_mut().insert(RetryDisabled);
    }
    request
}

/// Whether the response was charged as a redirect. Where it leads is not in the record.
fn was_redirect(report: &RetryReport, record: &AttemptRecord) -> bool {
    const KIND: LimitKind = LimitKind::Redirect;
    match (&record.wait, &report.stop) {
        (Some(wait), _) => wait.charged == Some(KIND),
        (None, StopReason::CountExhausted { kind, .. } | StopReason::KindDisabled { kind }) => {
            *kind == KIND
        }
        (None, _) => false,
    }
}

/// An attempt as a session sees it.
pub(super) struct Scripted {
    headers: HeaderMap,
    pub(super) opinion: Opinion,
    pub(super) by: Cow<'static, str>,
    pub(super) changes: Changes,
    pub(super) wall_clock: SystemTime,
}

impl Scripted {
    pub(super) fn of(report: &RetryReport, record: &AttemptRecord) -> Self {
        let mut headers = HeaderMap::new();
        let hints = record.hint.iter().flat_map(|hint| &hint.headers);
        // A report that was not made by this crate may hold more than a map can.
        for (name, value) in hints.take(HintRecord::MOST) {
            if let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(name.as_bytes()),
                HeaderValue::from_bytes(value.as_bytes()),
            ) {
                let _ = headers.try_append(name, value);
            }
        }
        if was_redirect(report, record) {
            headers.insert(LOCATION, HeaderValue::from_static("/"));
        }
        let (by, opinion) = match (record.note.as_deref(), &report.stop) {
            (Some(Note::Unprocessed { by, because }), _) => {
                (by.clone(), Opinion::Unprocessed(because.clone()))
            }
            (Some(Note::Reclassified { by, because }), _) => {
                (by.clone(), Opinion::Retry(because.clone()))
            }
            (_, StopReason::Vetoed { by, because }) if record.wait.is_none() => {
                (by.clone(), Opinion::Forbid(because.clone()))
            }
            _ => (Cow::default(), Opinion::NoOpinion),
        };
        let noted = |note| record.layer_notes.contains(&note);
        let changes = Changes {
            connection: noted(Note::ConnectionLeft),
            server: noted(Note::HintElsewhere),
        };
        Self {
            headers,
            opinion,
            by,
            changes,
            wall_clock: record
                .hint
                .as_ref()
                .map_or(SystemTime::UNIX_EPOCH, |hint| hint.at),
        }
    }

    pub(super) fn outcome(&self, record: &AttemptRecord) -> Outcome<'_> {
        match &record.outcome {
            AttemptOutcome::Response(status) => Outcome::Response {
                status: *status,
                headers: &self.headers,
            },
            AttemptOutcome::Failed {
                kind, cause, sent, ..
            } => Outcome::Error {
                failure: Failure::new(*cause, *sent).with_kind(*kind),
                error: None,
            },
        }
    }
}
