//! What an operator sees of retries: a client goes through a small outage, and its metrics are on a
//! page that Prometheus could read.
//!
//! ```text
//! cargo run -p showcase --example observed -- [--serve SECONDS] [DIRECTORY]
//! ```
//!
//! After each phase it prints the lines of the page that have changed. At the end it draws the
//! panels of `examples/dashboard` from the same numbers, into `target/observed` or the directory.
//! The names of the metrics are in `tower_http_retry::telemetry`.
//!
//! With `--serve` it goes on for so long after that, from one outage to the next, so that a real
//! Prometheus can be pointed at the page.

mod server;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use showcase::observed::{Page, panels};
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};
use tower::{ServiceBuilder, ServiceExt};
use tower_http_retry::{
    BoxError, RetryLayer,
    budget::RetryBudget,
    policy::{Backoff, RetryPolicy},
    telemetry::{METRICS, MetricKind, Metrics},
};

use self::server::{Health, Switch};

/// What happens to the service, and for how long.
const PHASES: [(&str, Health, f64); 4] = [
    ("all is well", Health::WELL, 3.0),
    ("every other request fails", Health::FLAKY, 3.0),
    ("the service is down", Health::DOWN, 3.0),
    ("it is back", Health::WELL, 3.0),
];

/// Requests per second.
const RATE: f64 = 50.0;
/// How often the page is read, and over which time rates are taken.
const EVERY: Duration = Duration::from_millis(250);
const WINDOW: f64 = 1.0;

type Plain = Client<HttpConnector, Full<Bytes>>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let Arguments { serve, out } = Arguments::read()?;

    let budget = RetryBudget::builder().capacity(30.0).build()?;
    let metrics = Metrics::builder()
        .service("orders")
        .budget("orders", &budget)
        .build();
    let page = serve_metrics(metrics.clone()).await?;
    println!("the metrics are on {page}");

    let (url, health) = server::start().await?;
    let policy = RetryPolicy::builder()
        .backoff(Backoff::exponential(Duration::from_millis(50)))
        .budget(budget)
        .build()?;
    let retries = RetryLayer::new(policy)
        .attempt_timeout(Duration::from_secs(1))
        .deadline(Duration::from_secs(5))
        .metrics(metrics);

    let begin = Instant::now();
    let callers = tokio::spawn(call(retries, url));
    let pages = Arc::new(Mutex::new(vec![read(&page, begin).await?]));
    let reader = tokio::spawn(read_often(page.clone(), begin, Arc::clone(&pages)));

    let mut before = Page::default();
    let (mut time, mut faults) = (0.0, Vec::new());
    for (name, is, seconds) in PHASES {
        health.set(is);
        if is != Health::WELL {
            faults.push((time, time + seconds));
        }
        time += seconds;
        sleep_until(begin + Duration::from_secs_f64(time)).await;
        let now = read(&page, begin).await?;
        println!("\n{name}, for {seconds} s:");
        for line in now.news(&before) {
            println!("  {line}");
        }
        tell(&now, &before);
        before = now;
    }
    reader.abort();

    fs::create_dir_all(&out)?;
    let path = out.join("dashboard.svg");
    let picture = {
        let pages = pages.lock().unwrap_or_else(PoisonError::into_inner);
        panels(&pages, &faults, WINDOW)?
    };
    fs::write(&path, picture)?;
    println!("\nthe panels of the dashboard: {}", path.display());

    let _ = timeout(serve, outages(&health)).await;
    callers.abort();
    Ok(())
}

/// One after the other.
async fn outages(health: &Switch) {
    for (_, is, seconds) in PHASES.into_iter().cycle() {
        health.set(is);
        sleep(Duration::from_secs_f64(seconds)).await;
    }
}

struct Arguments {
    /// For how long the page stays after the picture.
    serve: Duration,
    /// Where the picture goes.
    out: PathBuf,
}

impl Arguments {
    fn read() -> Result<Self, BoxError> {
        let mut serve = Duration::ZERO;
        let mut out = Path::new("target").join("observed");
        let mut all = std::env::args_os().skip(1);
        while let Some(argument) = all.next() {
            if argument != "--serve" {
                out = PathBuf::from(argument);
                continue;
            }
            let seconds = all.next().ok_or("--serve needs a number of seconds")?;
            let seconds = seconds.to_string_lossy().parse()?;
            serve = Duration::from_secs(seconds);
        }
        Ok(Self { serve, out })
    }
}

/// What the alerts would look at.
fn tell(now: &Page, before: &Page) {
    let requests = now.rate(before, "tower_http_retry_requests_total", &[]);
    let attempts = "tower_http_retry_attempts_total";
    let retries = now.rate(before, attempts, &["kind=\"retry\""]);
    let suppressed = "tower_http_retry_suppressed_total";
    let refused = now.rate(before, suppressed, &["reason=\"budget_exhausted\""]);
    println!(
        "  => {requests:.0} requests/s, {:.0} % of them retries, {refused:.0} retries/s refused by \
         the budget",
        100.0 * retries / requests
    );
}

/// A server with a page of metrics; its URL.
async fn serve_metrics(metrics: Metrics) -> Result<String, BoxError> {
    let mut exporter = PrometheusBuilder::new();
    for info in METRICS {
        if info.kind == MetricKind::Histogram {
            let name = Matcher::Full(info.name.to_owned());
            exporter = exporter.set_buckets_for_metric(name, info.bounds)?;
        }
    }
    let handle = exporter.install_recorder()?;
    metrics.publish();
    let page = move || {
        // What was counted goes to the exporter when somebody asks.
        metrics.publish();
        handle.run_upkeep();
        let text = handle.render();
        async move { text }
    };
    let router = axum::Router::new().route("/metrics", axum::routing::get(page));
    let address = server::serve(router).await?;
    Ok(format!("http://{address}/metrics"))
}

/// Sends requests at an even pace, whatever becomes of them.
async fn call(retries: RetryLayer<RetryPolicy>, url: String) -> Result<(), BoxError> {
    let client: Plain = Client::builder(TokioExecutor::new()).build_http();
    let client = ServiceBuilder::new().layer(retries).service(client);
    let mut pace = interval(Duration::from_secs_f64(1.0 / RATE));
    loop {
        pace.tick().await;
        let request = Request::get(&url).body(Full::default())?;
        let client = client.clone();
        tokio::spawn(async move {
            // Its end is counted; a body that is not read costs its connection.
            if let Ok(response) = client.oneshot(request).await {
                let _ = response.into_body().collect().await;
            }
        });
    }
}

async fn read_often(
    page: String,
    begin: Instant,
    pages: Arc<Mutex<Vec<Page>>>,
) -> Result<(), BoxError> {
    loop {
        sleep(EVERY).await;
        let now = read(&page, begin).await?;
        let mut pages = pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.push(now);
    }
}

/// Reads the page as Prometheus would.
async fn read(page: &str, begin: Instant) -> Result<Page, BoxError> {
    let client: Plain = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::get(page).body(Full::default())?;
    let body = client.request(request).await?.into_body();
    let text = body.collect().await?.to_bytes();
    let at = begin.elapsed().as_secs_f64();
    Ok(Page::read(at, std::str::from_utf8(&text)?))
}
