//! What the layer tells of its requests.

use std::sync::{Arc, Mutex, PoisonError};

use tower_http_retry::{RetryEvent, RetryReport};

/// Keeps the reports of all requests that did not simply succeed.
///
/// Some clients hide the response's extensions, and all make an error of their own of ours: the
/// layer's hook sees every report.
#[derive(Clone, Debug, Default)]
pub struct Told(Arc<Mutex<Vec<RetryReport>>>);

impl Told {
    /// For [`RetryLayer::on_event`](tower_http_retry::RetryLayer::on_event).
    pub fn hook(&self) -> impl Fn(&RetryEvent<'_>) + Send + Sync + use<> {
        let told = self.clone();
        move |event| match event {
            RetryEvent::Recovered(report) | RetryEvent::GaveUp(report) => told.push(report),
            _ => {}
        }
    }

    fn push(&self, report: &RetryReport) {
        let mut reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reports.push(report.clone());
    }

    /// All reports, in order.
    pub fn reports(&self) -> Vec<RetryReport> {
        let reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reports.clone()
    }

    /// The report of the only request that did not simply succeed.
    ///
    /// # Panics
    ///
    /// If there is none, or another.
    #[track_caller]
    pub fn report(&self) -> RetryReport {
        match &*self.reports() {
            [report] => report.clone(),
            reports => panic!("{} reports: {reports:#?}", reports.len()),
        }
    }

    /// The story of the only request, or an empty one if it succeeded at once.
    #[track_caller]
    pub fn story(&self) -> Vec<String> {
        if self.reports().is_empty() {
            Vec::new()
        } else {
            story(&self.report())
        }
    }
}

/// A report in short: `connect: connection refused` or `503 Service Unavailable` for each attempt,
/// and the name of the reason for which it ended.
pub fn story(report: &RetryReport) -> Vec<String> {
    use tower_http_retry::AttemptOutcome::{Failed, Response};

    let attempts = report
        .attempts
        .iter()
        .map(|attempt| match &attempt.outcome {
            Response(status) => status.as_str().to_owned(),
            Failed { kind, cause, .. } => format!("{kind}: {cause}"),
            other => panic!("a new outcome: {other:?}"),
        });
    attempts.chain([report.stop.name().to_owned()]).collect()
}
