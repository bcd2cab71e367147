//! One download.

use std::{error::Error, fmt, io, path::PathBuf, pin::pin, time::Duration};

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use tower::{ServiceBuilder, ServiceExt};
use tower_http_retry::{
    RetryError, RetryEvent, RetryLayer, RetryReport,
    classify::chain,
    policy::RetryPolicy,
    redirect::RedirectLayer,
    resume::{ResumeError, ResumeLayer},
};

use crate::{connect::connector, file::Part};

/// What is to be downloaded, where to, and how long it may take.
pub(crate) struct Job {
    pub(crate) url: Uri,
    pub(crate) file: PathBuf,
    pub(crate) idle: Duration,
    pub(crate) deadline: Option<Duration>,
    pub(crate) cacert: Option<PathBuf>,
}

/// A file that has arrived.
pub(crate) struct Got {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    /// What became of it, if it broke.
    pub(crate) report: Option<RetryReport>,
}

/// One that has not.
#[derive(Debug)]
pub(crate) struct Failed {
    /// The original error.
    pub(crate) error: String,
    /// Why it could not go on.
    pub(crate) reason: Option<String>,
    pub(crate) report: Option<RetryReport>,
}

impl Failed {
    pub(crate) fn because(error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            reason: None,
            report: None,
        }
    }

    fn file(file: &std::path::Path, error: &io::Error) -> Self {
        Self::because(format!("{}: {error}", file.display()))
    }
}

impl From<RetryError> for Failed {
    fn from(error: RetryError) -> Self {
        Self {
            error: match error.source() {
                Some(source) => chain(source),
                None => error.to_string(),
            },
            reason: Some(error.stop_reason().to_string()),
            report: Some(error.report().clone()),
        }
    }
}

impl From<ResumeError> for Failed {
    fn from(error: ResumeError) -> Self {
        let (original, reason) = match error.source() {
            Some(source) => (chain(source), Some(error.stop_reason().to_string())),
            // It says both.
            None => (error.to_string(), None),
        };
        Self {
            error: original,
            reason,
            report: Some(error.report().clone()),
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(report) = &self.report {
            writeln!(f, "{report}\n")?;
        }
        write!(f, "error: {}", self.error)?;
        match &self.reason {
            Some(reason) => write!(f, "\ncould not go on: {reason}"),
            None => Ok(()),
        }
    }
}

/// Downloads a file, and shows how far it is.
pub(crate) async fn fetch(job: &Job) -> Result<Got, Failed> {
    // One request is no storm: there is no budget.
    let policy = RetryPolicy::builder().total(10).budget(None).build();
    let policy = policy.map_err(|error| Failed::because(error.to_string()))?;
    let connector = connector(job.cacert.as_deref());
    let connector = connector.map_err(|error| Failed::because(error.to_string()))?;
    let bar = bar();
    let shown = bar.clone();
    let mut resume = ResumeLayer::new(policy.clone())
        .idle_timeout(job.idle)
        .offer_identity()
        .on_event(move |event| {
            if let RetryEvent::Retry { attempt, .. } = event {
                for note in &attempt.layer_notes {
                    shown.println(format!("{note}"));
                }
            }
        });
    let redirects = RedirectLayer::new(&policy);
    let mut retries = RetryLayer::new(policy).attempt_timeout(job.idle);
    if let Some(deadline) = job.deadline {
        resume = resume.deadline(deadline);
        retries = retries.deadline(deadline);
    }
    let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(connector);
    let client = ServiceBuilder::new()
        .layer(resume)
        .layer(redirects)
        .layer(retries)
        .service(client);
    let request = Request::get(job.url.clone());
    let request = request
        .header("user-agent", "tower-http-retry")
        .body(Empty::new());
    let request = request.map_err(|error| Failed::because(error.to_string()))?;
    let response = client.oneshot(request).await?;
    if !response.status().is_success() {
        let report = response.extensions().get::<RetryReport>().cloned();
        return Err(Failed {
            error: response.status().to_string(),
            reason: report.as_ref().map(|report| report.stop.to_string()),
            report,
        });
    }
    let unwritten = |error| Failed::file(&job.file, &error);
    let mut file = Part::of(&job.file).map_err(unwritten)?;
    let mut hash = Sha256::new();
    let mut body = pin!(response.into_body());
    match http_body::Body::size_hint(&*body).exact() {
        Some(length) => bar.set_length(length),
        None => bar.set_style(style("{spinner} {bytes} {bytes_per_sec}")),
    }
    // Also while nothing arrives.
    bar.enable_steady_tick(Duration::from_millis(200));
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            hash.update(data);
            file.write(data).map_err(unwritten)?;
            bar.inc(data.len() as u64);
        }
    }
    file.finish().map_err(unwritten)?;
    bar.finish_and_clear();
    let hex = |byte: &u8| format!("{byte:02x}");
    Ok(Got {
        bytes: body.delivered(),
        sha256: hash.finalize().iter().map(hex).collect(),
        report: body.report().cloned(),
    })
}

/// A bar on a terminal, and nothing elsewhere.
fn bar() -> ProgressBar {
    let style = style("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    ProgressBar::no_length().with_style(style)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
