//! Three services in a row, each of which retries.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use http::{Request, Response, StatusCode};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt};
use tower_http_retry::{
    RetryLayer, RetryReport,
    budget::RetryBudget,
    policy::{Backoff, RetryPolicy},
    veto::VetoLayer,
};

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
    address
}

/// Four attempts at each request, whatever the others do.
fn policy() -> RetryPolicy {
    let budget = RetryBudget::builder().capacity(1000.0).build();
    RetryPolicy::builder()
        .total(3)
        .backoff(Backoff::constant(Duration::from_millis(1)))
        .budget(budget.expect("a budget"))
        .build()
        .expect("a policy")
}

async fn ask(client: &Client<HttpConnector, Body>, to: SocketAddr) -> Response<Body> {
    let request = Request::get(format!("http://{to}/")).body(Body::empty());
    let retrying = RetryLayer::new(policy())
        .clone_bodies_with(|_: &Body| Some(Body::empty()))
        .layer(client.clone());
    match retrying.oneshot(request.expect("valid")).await {
        Ok(response) => response.map(Body::new),
        Err(error) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response.extensions_mut().insert(Arc::new(error));
            response
        }
    }
}

/// A service that asks another one for its answer.
async fn serve_in_front_of(behind: SocketAddr, veto: bool) -> SocketAddr {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let handler = move || {
        let client = client.clone();
        async move { Ok::<_, Infallible>(ask(&client, behind).await) }
    };
    let router = Router::new().route("/", get(handler));
    serve(match veto {
        true => router.layer(VetoLayer::new()),
        false => router,
    })
    .await
}

/// How often the service behind three others is asked for one request, and what is said of it.
async fn attempts_at_the_last(veto: bool) -> (u32, RetryReport) {
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let broken = move || {
        count.fetch_add(1, Relaxed);
        async { StatusCode::SERVICE_UNAVAILABLE }
    };
    let mut behind = serve(Router::new().route("/", get(broken))).await;
    for _ in 0..2 {
        behind = serve_in_front_of(behind, veto).await;
    }
    // The third one is asked here.
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = ask(&client, behind).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let report = response.extensions().get::<RetryReport>();
    (asked.load(Relaxed), report.expect("a report").clone())
}

#[tokio::test]
async fn three_times_four_attempts_are_sixty_four_and_with_the_veto_four() {
    let (without, report) = attempts_at_the_last(false).await;
    assert_eq!(without, 64);
    assert_eq!(report.stop.name(), "count_exhausted");

    let (with, report) = attempts_at_the_last(true).await;
    assert_eq!(with, 4);
    assert_eq!(report.stop.name(), "forbidden_by_server");
    assert_eq!(report.attempt_count(), 1);
}
