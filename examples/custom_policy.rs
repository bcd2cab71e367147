//! A policy of one's own, as a closure.

use std::time::Duration;

use bytes::Bytes;
use examples::Server;
use http::Request;
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{Layer, ServiceExt};
use tower_http_retry::{
    RetryLayer, RetryReport,
    classify::Outcome,
    policy::{Attempt, Decision, RetryDecision, StopDecision, StopReason, policy_fn},
};

/// What is locked now will be free in a moment; nothing else is worth a second try.
fn until_unlocked(attempt: &Attempt<'_>) -> Decision {
    let why = match attempt.outcome() {
        Outcome::Response { status, .. } if status.as_u16() == 423 => {
            if attempt.number() < 5 {
                return Decision::Retry(RetryDecision::after(Duration::from_millis(20)));
            }
            "locked for too long"
        }
        _ => "only locks are waited for",
    };
    Decision::Stop(StopDecision::because(StopReason::Custom(why.into())))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::start([423, 423, 200, 503]).await?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let client = RetryLayer::new(policy_fn(until_unlocked)).layer(client);

    for path in ["/document", "/busy"] {
        let request = Request::get(server.url(path)).body(Full::default())?;
        let response = client.clone().oneshot(request).await?;
        if let Some(report) = response.extensions().get::<RetryReport>() {
            println!("{report}");
        }
    }
    Ok(())
}
