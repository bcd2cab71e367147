//! hyper-util's client with retries, and how its type is written down.

use bytes::Bytes;
use examples::Server;
use http::Request;
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{Layer, ServiceExt};
use tower_http_retry::{Retry, RetryLayer, RetryReport, policy::RetryPolicy};

type Body = Full<Bytes>;
type HttpClient = Retry<Client<HttpConnector, Body>, RetryPolicy>;

fn client() -> HttpClient {
    // Make it once and clone it: clones share the connections and the retry budget.
    let client = Client::builder(TokioExecutor::new()).build_http();
    RetryLayer::new(RetryPolicy::default()).layer(client)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::start([503, 503]).await?;

    let request = Request::put(server.url("/orders/1")).body(Body::from("three apples"))?;
    let response = client().oneshot(request).await?;
    println!("{}", response.status());
    // There is a report whenever the first attempt was not the whole story.
    if let Some(report) = response.extensions().get::<RetryReport>() {
        println!("{report}");
    }
    Ok(())
}
