//! axum: a client with retries in the state of an app, with its type written down.

use axum::{Router, body::Body, extract::State, response::Response, routing::get};
use bytes::Bytes;
use clients::Server;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{Layer, ServiceExt};
use tower_http_retry::{Retry, RetryLayer, RetryReport, policy::RetryPolicy};

type HttpClient = Retry<Client<HttpConnector, Full<Bytes>>, RetryPolicy>;

/// A clone is cheap, and has the same connections and the same retry budget.
#[derive(Clone)]
struct App {
    client: HttpClient,
    url: String,
}

async fn order(State(app): State<App>) -> Result<Response, StatusCode> {
    let request = Request::get(&app.url).body(Full::default());
    let request = request.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let response = app.client.oneshot(request).await;
    let response = response.map_err(|_| StatusCode::BAD_GATEWAY)?;
    if let Some(report) = response.extensions().get::<RetryReport>() {
        println!("{report}");
    }
    Ok(response.map(Body::new))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::start([503]).await; // Busy at first.
    let client = Client::builder(TokioExecutor::new()).build_http();
    let app = App {
        client: RetryLayer::new(RetryPolicy::default()).layer(client),
        url: server.url(),
    };

    let router = Router::new().route("/", get(order)).with_state(app);
    let response = router
        .oneshot(Request::get("/").body(Body::empty())?)
        .await?;
    println!("{}", response.status());
    Ok(())
}
