//! What happened, as JSON.
//!
//! The library's own serde form is behind its `serde` feature; this one needs no feature, and is
//! the same whether there is a report or not.

use std::ops::RangeInclusive;

use serde::Serialize;
use tower_http_retry::{AttemptOutcome, AttemptRecord, RetryReport};

/// One request.
#[derive(Debug, Serialize)]
pub(crate) struct Fetched {
    pub(crate) url: String,
    pub(crate) method: String,
    /// Whether there is a whole response with a status below 400.
    pub(crate) success: bool,
    /// The last status, if the last attempt was answered.
    pub(crate) status: Option<u16>,
    pub(crate) attempts: usize,
    pub(crate) elapsed_seconds: f64,
    /// Why no further attempt was made.
    pub(crate) stop: Stop,
    /// How often the server can have applied the request.
    pub(crate) effects: Effects,
    /// Bytes of the response's body.
    pub(crate) body_bytes: u64,
    /// What went wrong in the end.
    pub(crate) error: Option<String>,
    /// Every attempt; empty if the first one succeeded.
    pub(crate) history: Vec<Attempt>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Stop {
    reason: &'static str,
    message: String,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Effects {
    min: u32,
    max: u32,
}

#[derive(Debug, Serialize)]
pub(crate) struct Attempt {
    number: u32,
    started_seconds: f64,
    took_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wait: Option<Wait>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Debug, Serialize)]
struct Failure {
    kind: &'static str,
    cause: String,
    error: String,
}

#[derive(Debug, Serialize)]
struct Wait {
    seconds: f64,
    why: String,
    charged: Option<&'static str>,
}

impl Stop {
    pub(crate) fn of(report: Option<&RetryReport>) -> Self {
        report.map_or_else(
            || Self {
                reason: "succeeded",
                message: "succeeded".into(),
            },
            |report| Self {
                reason: report.stop.name(),
                message: report.stop.to_string(),
            },
        )
    }
}

impl Effects {
    pub(crate) fn of(effects: RangeInclusive<u32>) -> Self {
        let (min, max) = effects.into_inner();
        Self { min, max }
    }
}

impl Attempt {
    pub(crate) fn all_of(report: &RetryReport) -> Vec<Self> {
        report.attempts.iter().map(Self::of).collect()
    }

    fn of(record: &AttemptRecord) -> Self {
        let (status, failure) = match &record.outcome {
            AttemptOutcome::Response(status) => (Some(status.as_u16()), None),
            AttemptOutcome::Failed {
                kind, cause, error, ..
            } => {
                let failure = Failure {
                    kind: kind.as_str(),
                    cause: cause.to_string(),
                    error: error.clone(),
                };
                (None, Some(failure))
            }
            _ => (None, None),
        };
        Self {
            number: record.number,
            started_seconds: record.started.as_secs_f64(),
            took_seconds: record.took.as_secs_f64(),
            status,
            failure,
            wait: record.wait.as_ref().map(|wait| Wait {
                seconds: wait.planned.as_secs_f64(),
                why: wait.why.to_string(),
                charged: wait.charged.map(|kind| kind.as_str()),
            }),
            note: record.note.as_ref().map(ToString::to_string),
        }
    }
}
