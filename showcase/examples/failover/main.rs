//! One service at three servers: one is dead, one is slow, one is busy and says for how long.
//!
//! `cargo run -p showcase --example failover` starts them, sends a few requests through
//!
//! ```text
//! RetryLayer        attempts
//! EndpointsLayer    where to
//! ConnectionLayer   over which connection
//! hyper-util        the client
//! ```
//!
//! and prints what became of each, beside what should have. It exits with 1 if the two differ.

mod servers;

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{BoxError, ServiceBuilder, ServiceExt};
use tower_http_retry::{
    AttemptOutcome, RetryError, RetryLayer, RetryReport,
    connection::ConnectionLayer,
    endpoints::EndpointsLayer,
    policy::{Backoff, RetryPolicy},
};

use self::servers::Servers;

const SERVICE: &str = "http://orders.internal";

/// A server that does not answer for so long is given up.
const PATIENCE: Duration = Duration::from_secs(1);

type HyperClient = Client<HttpConnector, Full<Bytes>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match tour().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A request, and what should become of it.
struct Case {
    claim: &'static str,
    method: Method,
    path: &'static str,
    /// The servers, each with how it answers.
    expected: &'static str,
}

async fn tour() -> Result<bool, BoxError> {
    let servers = Servers::start().await?;
    let get = |claim, path, expected| Case {
        claim,
        method: Method::GET,
        path,
        expected,
    };
    let post = |claim, path, expected| Case {
        claim,
        method: Method::POST,
        path,
        expected,
    };
    // Each group has a memory of its own.
    let all = ["dead", "slow", "busy"];
    let groups = [
        (
            &all[..],
            vec![
                get(
                    "all are tried, then the first again",
                    "/cold",
                    "dead refused, slow timed out, busy 503, dead refused, slow 200",
                ),
                get("what failed is avoided", "/orders/7", "slow 200"),
            ],
        ),
        (
            &all,
            vec![post(
                "a POST that was never sent goes elsewhere",
                "/orders",
                "dead refused, slow 200",
            )],
        ),
        (
            &all[1..],
            vec![post(
                "a POST that may have been applied does not",
                "/stuck",
                "slow timed out; method_not_allowed",
            )],
        ),
        (
            &["busy", "slow"],
            vec![
                get(
                    "a hint holds for one server alone",
                    "/orders/8",
                    "busy 503, slow 200",
                ),
                get("which is then left alone", "/orders/9", "slow 200"),
            ],
        ),
    ];

    let mut out = io::stdout().lock();
    let mut rows = Vec::new();
    for (names, cases) in groups {
        let bases = names.iter().map(|name| servers.base(name));
        let endpoints = EndpointsLayer::ordered(SERVICE, bases)?;
        for case in cases {
            let (seen, timeline) = send(&case, &endpoints, &servers).await?;
            writeln!(out, "{}\n{timeline}\n", case.claim)?;
            rows.push((case, seen));
        }
    }
    let all_well = rows.iter().all(|(case, seen)| case.expected == seen);
    out.write_all(table(&rows).as_bytes())?;
    let verdict = if all_well {
        "all as it should be"
    } else {
        "NOT AS IT SHOULD BE"
    };
    writeln!(out, "{verdict}")?;
    Ok(all_well)
}

/// Sends a request. Returns which servers it was sent to and how they answered, and the timeline.
async fn send(
    case: &Case,
    endpoints: &EndpointsLayer,
    servers: &Servers,
) -> Result<(String, String), BoxError> {
    let policy = RetryPolicy::builder()
        .total(5)
        .backoff(Backoff::constant(Duration::from_millis(20)))
        .build()?;
    let client: HyperClient = Client::builder(TokioExecutor::new()).build_http();
    let service = ServiceBuilder::new()
        .layer(
            RetryLayer::new(policy)
                .attempt_timeout(PATIENCE)
                .deadline(30 * PATIENCE),
        )
        .layer(endpoints.clone())
        .layer(ConnectionLayer::new())
        .service(client);
    let request = Request::builder()
        .method(&case.method)
        .uri(format!("{SERVICE}{}", case.path))
        .body(Full::default())?;
    let result: Result<Response<_>, RetryError> = service.oneshot(request).await;
    let report = match &result {
        Ok(response) => response.extensions().get::<RetryReport>(),
        Err(error) => Some(error.report()),
    };
    let Some(report) = report else {
        // A request that succeeds at once has no story, but the layer says where it went.
        let response = result?;
        let outcome = tower_http_retry::stack::LayerOutcome::of(response.extensions());
        let url = outcome.and_then(|outcome| outcome.url.as_ref());
        let url = url.map(ToString::to_string).unwrap_or_default();
        let status = response.status().as_u16();
        let timeline = format!("{} {url}: {status} at once", case.method);
        return Ok((
            format!("{} {status}", servers.name(&url)),
            servers.named(&timeline),
        ));
    };
    let mut seen = String::new();
    for attempt in &report.attempts {
        let comma = if seen.is_empty() { "" } else { ", " };
        let server = servers.name(attempt.url.as_deref().unwrap_or_default());
        let how = match &attempt.outcome {
            AttemptOutcome::Response(status) => status.as_str().to_owned(),
            AttemptOutcome::Failed { cause, .. } => {
                let cause = cause.to_string();
                cause
                    .rsplit("connection ")
                    .next()
                    .unwrap_or_default()
                    .replace("attempt ", "")
            }
            other => other.to_string(),
        };
        write!(seen, "{comma}{server} {how}")?;
    }
    if !report.stop.is_success() {
        write!(seen, "; {}", report.stop.name())?;
    }
    Ok((seen, servers.named(&report.to_string())))
}

fn table(rows: &[(Case, String)]) -> String {
    let width = rows.iter().map(|(case, _)| case.claim.len()).max();
    let width = width.unwrap_or(0);
    let mut table = String::new();
    for (case, seen) in rows {
        let claim = case.claim;
        let (mark, but) = if case.expected == seen {
            ("ok", String::new())
        } else {
            ("NO", format!(", but expected was: {}", case.expected))
        };
        // Writing to a string cannot fail.
        let _ = writeln!(table, "{mark}  {claim:<width$}  {seen}{but}");
    }
    table
}
