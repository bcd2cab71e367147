//! A token that has run out: one new one, and the request once more.

use bytes::Bytes;
use examples::Server;
use http::{HeaderValue, Request, StatusCode, header::AUTHORIZATION, request::Parts};
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{Layer, ServiceExt};
use tower_http_retry::{
    BoxError, RetryContext, RetryLayer, RetryReport,
    classify::{Exchange, Opinion, Outcome},
    policy::RetryPolicy,
};

/// A 401 was not processed, so that a POST may be sent again as well; once.
fn stale_token(exchange: &Exchange<'_>) -> Opinion {
    match exchange.outcome() {
        Outcome::Response { status, .. }
            if *status == StatusCode::UNAUTHORIZED && exchange.number() == 1 =>
        {
            Opinion::Unprocessed("the token has run out".into())
        }
        _ => Opinion::NoOpinion,
    }
}

/// Would ask the authorization server, once for all requests that need it.
async fn with_new_token(mut parts: Parts, _: RetryContext) -> Result<Parts, BoxError> {
    let token = HeaderValue::from_static("Bearer new");
    parts.headers.insert(AUTHORIZATION, token);
    Ok(parts)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::start([401]).await?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let client = RetryLayer::new(RetryPolicy::default())
        .classify_exchange(stale_token)
        .before_retry_async(with_new_token)
        .layer(client);

    let request = Request::post(server.url("/orders"))
        .header(AUTHORIZATION, "Bearer old")
        .body(Full::from("one, please"))?;
    let response = client.oneshot(request).await?;
    println!("{}", response.status());
    if let Some(report) = response.extensions().get::<RetryReport>() {
        println!("{report}");
    }
    Ok(())
}
