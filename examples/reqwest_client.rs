//! reqwest's client with retries, and with its own ways to read a response.

use examples::Server;
use http::Request;
use tower::{Layer, ServiceExt};
use tower_http_retry::{
    Retry, RetryLayer, RetryReport, body::RecordBody, policy::RetryPolicy, reqwest::ReqwestService,
};

type HttpClient = Retry<ReqwestService, RetryPolicy, RecordBody>;

fn client() -> reqwest::Result<HttpClient> {
    // The builder, not a client: its own retries and redirects are switched off.
    let client = ReqwestService::build(reqwest::Client::builder().no_proxy())?;
    Ok(RetryLayer::new(RetryPolicy::default())
        .replay_bodies(64 * 1024)
        .layer(client))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::start([503, 503]).await?;

    let body = reqwest::Body::from("three apples");
    let request = Request::put(server.url("/orders/1")).body(body)?;
    let response = client()?.oneshot(request).await?;
    if let Some(report) = response.extensions().get::<RetryReport>() {
        println!("{report}");
    }
    println!("{}", reqwest::Response::from(response).text().await?);
    Ok(())
}
