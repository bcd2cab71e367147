//! RetryLayer together with other layers, around a hyper-util client: what each order means, and
//! what it measures on real sockets.
//!
//! ```text
//! cargo run --example stack
//! ```
//!
//! It starts a server that fails as it is told to, sends requests through six pairs of stacks and
//! then through a whole one, and exits with 1 if a figure is not what the order means.

mod orders;
mod server;
mod whole;

use std::{process::ExitCode, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower_http_retry::{
    BoxError, RetryLayer, RetryReport,
    policy::{Backoff, InvalidPolicy, RetryPolicy},
};

use self::server::Server;

type Body = Full<Bytes>;
type Http = Client<HttpConnector, Body>;
type Answer = Response<Incoming>;

/// What was measured, and whether it is what the order means.
struct Measured {
    holds: bool,
    text: String,
}

fn measured(holds: bool, text: impl Into<String>) -> Measured {
    Measured {
        holds,
        text: text.into(),
    }
}

fn http() -> Http {
    Client::builder(TokioExecutor::new()).build_http()
}

/// The retries of all stacks here: short waits, of a length that is known.
fn retries(total: u32) -> Result<RetryLayer<RetryPolicy>, InvalidPolicy> {
    let policy = RetryPolicy::builder()
        .total(total)
        .backoff(Backoff::constant(Duration::from_millis(20)))
        // Nearly everything fails here, which is just what a budget would put an end to.
        .budget(None)
        .build()?;
    Ok(RetryLayer::new(policy))
}

fn get(url: String) -> Result<Request<Body>, http::Error> {
    Request::get(url).body(Body::default())
}

/// How many attempts a response took.
fn attempts<B>(response: &Response<B>) -> usize {
    response
        .extensions()
        .get::<RetryReport>()
        .map_or(1, RetryReport::attempt_count)
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(0) => {
            println!("\nevery order meant what it should");
            ExitCode::SUCCESS
        }
        Ok(wrong) => {
            println!("\n{wrong} figures are not what the order means");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures everything; how many figures are wrong.
async fn run() -> Result<usize, BoxError> {
    let server = Server::start().await?;
    println!("server on {}", server.url("/"));
    let mut wrong = 0;
    let mut show = |layer: &str, above: Measured, below: Measured| {
        println!("\n{layer}");
        for (order, measured) in [("above", above), ("below", below)] {
            let mark = if measured.holds { "" } else { "  WRONG" };
            println!("  {order} the retries: {}{mark}", measured.text);
            wrong += usize::from(!measured.holds);
        }
    };

    show(
        "RateLimitLayer",
        orders::rate_limit_above(&server).await?,
        orders::rate_limit_below(&server).await?,
    );
    show(
        "ConcurrencyLimitLayer",
        orders::concurrency_limit_above(&server).await?,
        orders::concurrency_limit_below(&server).await?,
    );
    show(
        "TimeoutLayer",
        orders::timeout_above(&server).await?,
        orders::timeout_below(&server).await?,
    );
    show(
        "TraceLayer",
        orders::trace_above(&server).await?,
        orders::trace_below(&server).await?,
    );
    show(
        "FollowRedirectLayer",
        orders::follow_redirect_above(&server).await?,
        orders::follow_redirect_below(&server).await?,
    );
    show(
        "SetRequestIdLayer",
        orders::set_request_id_above(&server).await?,
        orders::set_request_id_below(&server).await?,
    );

    println!("\nAll of them together");
    for measured in whole::measure(&server).await? {
        let mark = if measured.holds { "" } else { "  WRONG" };
        println!("  {}{mark}", measured.text);
        wrong += usize::from(!measured.holds);
    }
    Ok(wrong)
}
