//! The demonstration: one request for each way to misbehave, and what became of it.

use std::{
    fmt::{Display, Write as _},
    io::{self, Write},
    time::Duration,
};

use http_body_util::BodyExt;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{
    ServiceBuilder, ServiceExt,
    timeout::{Timeout, TimeoutLayer},
};
use tower_http_retry::{
    AttemptOutcome, Retry, RetryError, RetryLayer, RetryReport,
    body::{RecordBody, RecordedBody},
    policy::RetryPolicy,
};

use crate::{
    paint::Paint,
    scenarios::{self, Body},
    server::Server,
};

type HyperClient = Client<HttpConnector, RecordedBody<Body>>;
type Stack = Retry<Timeout<HyperClient>, RetryPolicy, RecordBody>;

/// The longest that an attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest that all attempts at a request and the waits between them may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// What every request of the demonstration is sent through.
fn stack(policy: &RetryPolicy, keep: u64, client: &HyperClient) -> Stack {
    ServiceBuilder::new()
        .layer(
            RetryLayer::new(policy.clone())
                .deadline(DEADLINE)
                .replay_bodies(keep),
        )
        .layer(TimeoutLayer::new(ATTEMPT_TIMEOUT))
        .service(client.clone())
}

/// Runs all scenarios and prints them; `false` if one did not behave as it should.
pub(crate) async fn run() -> io::Result<bool> {
    let paint = Paint::for_output(&io::stdout());
    let policy = scenarios::policy().build().map_err(io::Error::other)?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut server = Server::start().await?;
    say(format_args!(
        "A server on 127.0.0.1 misbehaves on purpose. Each request goes through\n\
         RetryLayer (deadline {DEADLINE:?}) -> TimeoutLayer ({ATTEMPT_TIMEOUT:?}) -> hyper-util's client."
    ))?;
    let mut rows = Vec::new();
    for (at, scenario) in scenarios::ALL.iter().enumerate() {
        say(format_args!(
            "\n{}",
            paint.bold(&format!("{:>2}  The server {}", at + 1, scenario.title))
        ))?;
        let stack = stack(&policy, scenario.keep, &client);
        let request = (scenario.request)(&mut server).map_err(io::Error::other)?;
        let line = format!("{} {}", request.method(), request.uri());
        let outcome = Outcome::of(stack.oneshot(request).await).await;
        tell(&line, &outcome, paint)?;
        let wrong = scenario.expected.differs_from(&outcome);
        if let Some(wrong) = &wrong {
            say(format_args!("    {}", paint.red(wrong)))?;
        }
        rows.push(Row {
            title: scenario.title,
            attempts: outcome.attempts(),
            as_expected: wrong.is_none(),
            result: match outcome.stop() {
                "succeeded" => outcome.result,
                stop => stop.to_owned(),
            },
        });
    }
    let all_well = rows.iter().all(|row| row.as_expected);
    say(format_args!("\n{}", table(&rows, paint)))?;
    Ok(all_well)
}

/// What became of one request.
pub(crate) struct Outcome {
    /// The last status, or why there is none.
    pub(crate) result: String,
    /// The answer's content.
    pub(crate) text: String,
    /// There is none for a request that succeeded at once.
    pub(crate) report: Option<RetryReport>,
}

impl Outcome {
    async fn of(result: Result<http::Response<hyper::body::Incoming>, RetryError>) -> Self {
        match result {
            Ok(mut response) => {
                let report = response.extensions_mut().remove::<RetryReport>();
                let result = response.status().to_string();
                let text = match response.into_body().collect().await {
                    Ok(content) => String::from_utf8_lossy(&content.to_bytes()).into_owned(),
                    Err(error) => format!("nothing whole: {error}"),
                };
                Self {
                    result,
                    text,
                    report,
                }
            }
            Err(error) => {
                let report = error.report();
                let result = match report.attempts.last().map(|last| &last.outcome) {
                    Some(AttemptOutcome::Failed { cause, .. }) => cause.to_string(),
                    _ => error.to_string(),
                };
                Self {
                    result,
                    text: String::new(),
                    report: Some(report.clone()),
                }
            }
        }
    }

    pub(crate) fn attempts(&self) -> usize {
        self.report.as_ref().map_or(1, RetryReport::attempt_count)
    }

    /// The name of the reason why no further attempt was made.
    pub(crate) fn stop(&self) -> &'static str {
        self.report
            .as_ref()
            .map_or("succeeded", |report| report.stop.name())
    }

    pub(crate) fn waited(&self) -> Duration {
        self.report
            .as_ref()
            .map_or(Duration::ZERO, RetryReport::waited)
    }
}

fn tell(line: &str, outcome: &Outcome, paint: Paint) -> io::Result<()> {
    match &outcome.report {
        Some(report) => write!(io::stdout(), "{}", paint.timeline(report, "    "))?,
        None => say(format_args!(
            "    {}\n      {}",
            paint.bold(&format!("{line}: succeeded at the first attempt")),
            paint.green(&format!("{}, nothing to report", outcome.result)),
        ))?,
    }
    if !outcome.text.is_empty() {
        say(format_args!("      the server has {}", outcome.text))?;
    }
    Ok(())
}

/// A row of the table at the end.
struct Row {
    title: &'static str,
    attempts: usize,
    result: String,
    as_expected: bool,
}

fn table(rows: &[Row], paint: Paint) -> String {
    let titles = rows.iter().map(|row| row.title.len()).max().unwrap_or(0);
    let results = rows.iter().map(|row| row.result.len()).max().unwrap_or(0);
    let head = format!(
        " #  {:titles$}  attempts  {:results$}  expected",
        "The server", "result"
    );
    let mut table = format!("{}\n", paint.bold(&head));
    for (number, row) in (1..).zip(rows) {
        let verdict = if row.as_expected {
            paint.green("yes")
        } else {
            paint.red("NO")
        };
        let _ = writeln!(
            table,
            "{number:>2}  {:titles$}  {:>8}  {:results$}  {verdict}",
            row.title, row.attempts, row.result
        );
    }
    let well = rows.iter().filter(|row| row.as_expected).count();
    let _ = write!(table, "\n{well} of {} behaved as they should", rows.len());
    table
}

/// Prints a line; unlike `println!`, a closed pipe is an error and no panic.
fn say(line: impl Display) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}
