//! A POST that the server turned down: its documentation says that nothing was done.

use bytes::Bytes;
use examples::{Answer, Server};
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{Layer, ServiceExt};
use tower_http_retry::{
    RetryLayer, RetryReport,
    classify::{Exchange, Opinion, Outcome},
    policy::RetryPolicy,
};

/// Whoever sets the limit knows whether it is looked at before anything else, as here. The retry
/// counts, and waits as `Retry-After` says.
fn turned_down(exchange: &Exchange<'_>) -> Opinion {
    match exchange.outcome() {
        Outcome::Response { status, .. } if *status == StatusCode::TOO_MANY_REQUESTS => {
            Opinion::Unprocessed("over the limit, and not looked at".into())
        }
        _ => Opinion::NoOpinion,
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let busy = Answer::status(429).header("retry-after", "1");
    let server = Server::start([busy, Answer::status(201)]).await?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let client = RetryLayer::new(RetryPolicy::default())
        .classify_exchange(turned_down)
        .layer(client);

    let request = Request::post(server.url("/orders")).body(Full::from("one, please"))?;
    let response = client.oneshot(request).await?;
    println!("{}", response.status());
    if let Some(report) = response.extensions().get::<RetryReport>() {
        println!("{report}");
    }
    Ok(())
}
