//! reqwest's client below the retries: what it does when a server misbehaves.
//!
//! ```text
//! cargo run --example reqwest_tour --features reqwest
//! ```
//!
//! It starts a server that misbehaves, sends it requests, prints the report of each, and exits
//! with 1 if one did not end as it should.

use std::{
    convert::Infallible,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_http::follow_redirect::{FollowRedirect, FollowRedirectLayer};
use tower_http_retry::{
    BoxError, Retry, RetryError, RetryLayer, RetryReport,
    body::RecordBody,
    policy::{RetryPolicy, StopReason},
    reqwest::ReqwestService,
};

type Retries = Retry<ReqwestService, RetryPolicy, RecordBody>;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => {
            println!("all as it should be");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// reqwest's client with retries. `timeout` is reqwest's own, for one attempt.
fn stack(timeout: Duration) -> Result<FollowRedirect<Retries>, BoxError> {
    let client = reqwest::Client::builder().no_proxy().timeout(timeout);
    let policy = RetryPolicy::builder().backoff_factor(0.02).build()?;
    Ok(ServiceBuilder::new()
        // Each hop gets all of the retries.
        .layer(FollowRedirectLayer::new())
        .layer(RetryLayer::new(policy).replay_bodies(256 * 1024))
        .service(ReqwestService::build(client)?))
}

async fn run() -> Result<(), BoxError> {
    let client = stack(Duration::from_secs(30))?;
    let server = serve().await?;
    let url = |path: &str| format!("{server}{path}");

    // A redirect to a page that works the third time. The response is reqwest's again, so all of
    // its ways to read one are there.
    let response = send(&client, Request::get(url("/moved")).body("".into())?).await?;
    expect(attempts(&response) == 3, "three attempts")?;
    let response = reqwest::Response::from(response).error_for_status()?;
    expect(response.url().path() == "/flaky", "the URL after redirects")?;
    expect(response.text().await? == "third time lucky", "the text")?;

    // A stream, which reqwest itself could not send twice.
    let chunks = (0..100).map(|i| Ok::<_, Infallible>(Bytes::from(vec![i; 1000])));
    let upload = reqwest::Body::wrap_stream(stream::iter(chunks));
    let response = send(&client, Request::put(url("/upload")).body(upload)?).await?;
    expect(attempts(&response) == 2, "two attempts")?;
    let text = reqwest::Response::from(response).text().await?;
    expect(text == "100000 bytes", "the upload, whole")?;

    // reqwest's timeout is a failure like any other.
    let hurried = stack(Duration::from_millis(200))?;
    let response = send(&hurried, Request::get(url("/hanging")).body("".into())?).await?;
    expect(attempts(&response) >= 2, "a repeated timeout")?;

    // Nobody knows whether this one was applied.
    let order = Request::post(url("/crash")).body("one, please".into())?;
    let error = failure(send(&client, order).await)?;
    let stop = error.stop_reason();
    expect(
        matches!(stop, StopReason::MethodNotAllowed { .. }),
        "a POST sent once",
    )?;

    // This one was certainly not.
    let dead = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let order = Request::post(format!("http://{dead}/orders")).body("one, please".into())?;
    let error = failure(send(&client, order).await)?;
    expect(
        error.report().attempt_count() == 4,
        "a POST sent four times",
    )?;
    let inner = error.downcast_inner::<reqwest::Error>();
    expect(
        inner.is_some_and(reqwest::Error::is_connect),
        "reqwest's own error",
    )
}

/// Sends a request and prints its report.
async fn send<S>(
    client: &S,
    request: Request<reqwest::Body>,
) -> Result<Response<reqwest::Body>, RetryError>
where
    S: Service<Request<reqwest::Body>, Response = Response<reqwest::Body>, Error = RetryError>
        + Clone,
{
    let result = client.clone().oneshot(request).await;
    let report = match &result {
        Ok(response) => response.extensions().get::<RetryReport>(),
        Err(error) => Some(error.report()),
    };
    match report {
        Some(report) => println!("{report}\n"),
        None => println!("well at once\n"),
    }
    result
}

fn attempts<B>(response: &Response<B>) -> usize {
    response
        .extensions()
        .get::<RetryReport>()
        .map_or(1, RetryReport::attempt_count)
}

fn failure<T>(result: Result<T, RetryError>) -> Result<RetryError, BoxError> {
    match result {
        Ok(_) => Err("a response where none should be".into()),
        Err(error) => Ok(error),
    }
}

fn expect(holds: bool, what: &str) -> Result<(), BoxError> {
    if holds {
        Ok(())
    } else {
        Err(format!("not as it should be: {what}").into())
    }
}

/// Starts a server that misbehaves; its URL.
async fn serve() -> Result<String, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let hits: Arc<[AtomicUsize; 3]> = Arc::default();
    tokio::spawn(async move {
        loop {
            let Ok((socket, _)) = listener.accept().await else {
                // Out of file descriptors, for instance.
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let hits = Arc::clone(&hits);
            tokio::spawn(async move {
                let serve = service_fn(|request| answer(request, &hits));
                // An error of the service closes the connection without a response.
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), serve)
                    .await;
            });
        }
    });
    Ok(url)
}

async fn answer(
    request: Request<Incoming>,
    [flaky, upload, hanging]: &[AtomicUsize; 3],
) -> Result<Response<Full<Bytes>>, BoxError> {
    let before = |hits: &AtomicUsize| hits.fetch_add(1, Ordering::Relaxed);
    let (status, text) = match request.uri().path() {
        "/moved" => (StatusCode::FOUND, String::new()),
        "/flaky" if before(flaky) < 2 => (StatusCode::SERVICE_UNAVAILABLE, "not yet".to_owned()),
        "/flaky" => (StatusCode::OK, "third time lucky".to_owned()),
        "/upload" => {
            let body = request.into_body().collect().await?.to_bytes();
            if before(upload) == 0 {
                return Err("crashed after the last byte".into());
            }
            (StatusCode::OK, format!("{} bytes", body.len()))
        }
        "/hanging" if before(hanging) == 0 => std::future::pending().await,
        "/hanging" => (StatusCode::OK, "awake".to_owned()),
        _ => return Err("crashed".into()),
    };
    Ok(Response::builder()
        .status(status)
        .header("location", "/flaky")
        .body(Full::new(Bytes::from(text)))?)
}
