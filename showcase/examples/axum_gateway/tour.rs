//! Drives the gateway with requests, and checks what becomes of each.

use std::{convert::Infallible, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, Uri};
use http_body_util::BodyExt;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::net::TcpListener;
use tower_http_retry::BoxError;

use super::{
    gateway::{self, Limits},
    upstream::{self, Hits, sha256},
};

/// What a request through the gateway must come to.
struct Expected<'a> {
    status: u16,
    /// Something in the body or the headers that says why.
    says: &'a str,
    /// How many requests the upstream must see.
    hits: usize,
}

struct Tour {
    client: Client<HttpConnector, Body>,
    hits: Hits,
    failures: usize,
}

/// Starts everything, sends the requests; whether all went as it should.
pub(crate) async fn drive(limits: Limits) -> Result<bool, BoxError> {
    let (upstream, hits) = upstream::start().await?;
    let gateway = serve(&upstream, limits).await?;
    println!("gateway {gateway} -> flaky upstream {upstream}\n");
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let mut tour = Tour {
        client: Client::builder(TokioExecutor::new()).build(connector),
        hits,
        failures: 0,
    };
    let to = |method, path: &str| {
        Request::builder()
            .method(method)
            .uri(format!("{gateway}{path}"))
    };
    let expect = |status, says, hits| Expected { status, says, hits };

    tour.send(
        "503 twice, then well",
        to(Method::GET, "/flaky").body(Body::empty())?,
        expect(200, "third time lucky", 3),
    )
    .await?;
    tour.send(
        "a POST is not repeated; its 503 is passed on",
        to(Method::POST, "/orders/1").body(Body::from("one, please"))?,
        expect(503, "retry-stopped: method_not_allowed", 1),
    )
    .await?;
    tour.send(
        "with a key it is",
        to(Method::POST, "/orders/2")
            .header("idempotency-key", "7d44")
            .body(Body::from("one, please"))?,
        expect(201, "ordered", 2),
    )
    .await?;
    let (body, digest) = streamed(64);
    tour.send(
        "a streamed upload arrives whole after the upstream crashed",
        to(Method::PUT, "/upload/1").body(body)?,
        expect(200, &digest, 2),
    )
    .await?;
    tour.send(
        "one that is longer than what is kept is sent once",
        to(Method::PUT, "/upload/2").body(streamed(1 + limits.replay / 1024).0)?,
        expect(502, "body_not_replayable", 1),
    )
    .await?;
    let retries = usize::try_from(limits.retries)?;
    tour.send(
        "always 500",
        to(Method::GET, "/broken").body(Body::empty())?,
        expect(502, "count_exhausted", 1 + retries),
    )
    .await?;
    tour.send(
        "the same, for a client that wants text",
        to(Method::GET, "/broken/text")
            .header("accept", "text/plain")
            .body(Body::empty())?,
        expect(502, "`total` is used up", 1 + retries),
    )
    .await?;
    tour.send(
        "asks to come back later than is worth waiting",
        to(Method::GET, "/busy").body(Body::empty())?,
        expect(503, "retry-after: 120", 1),
    )
    .await?;
    tour.send(
        "no failure of the upstream's",
        to(Method::GET, "/missing").body(Body::empty())?,
        expect(404, "no such page", 1),
    )
    .await?;

    tour.send(
        "a caller that does not wait long",
        to(Method::GET, "/hanging/1")
            .header("x-envoy-expected-rq-timeout-ms", "150")
            .body(Body::empty())?,
        expect(504, "the deadline of 150 ms passed", 1),
    )
    .await?;
    tour.send(
        "a caller that tries again itself",
        to(Method::GET, "/broken/again")
            .header("x-envoy-attempt-count", "2")
            .body(Body::empty())?,
        expect(500, "retry-stopped: retried_above", 1),
    )
    .await?;

    let impatient = Limits {
        attempt_timeout: Duration::from_millis(60),
        deadline: Duration::from_millis(200),
        retries: 100,
        ..limits
    };
    let gateway = serve(&upstream, impatient).await?;
    println!("\ngateway {gateway} -> the same, with little time");
    let hanging = format!("{gateway}/hanging").parse::<Uri>()?;
    tour.send_uncounted(
        "never answers",
        Request::get(hanging).body(Body::empty())?,
        504,
        "\"reason\":\"deadline_",
    )
    .await?;

    let dead = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let dead = format!("http://{dead}").parse::<Uri>()?;
    let gateway = serve(&dead, limits).await?;
    println!("\ngateway {gateway} -> {dead}, where nobody listens");
    let orders = format!("{gateway}/orders/3").parse::<Uri>()?;
    tour.send_uncounted(
        "nothing was sent, so a POST is repeated as well",
        Request::post(orders).body(Body::from("one, please"))?,
        502,
        &vec!["\"connection refused\""; 1 + retries].join(","),
    )
    .await?;

    match tour.failures {
        0 => println!("\nall as it should be"),
        n => println!("\n{n} not as it should be"),
    }
    Ok(tour.failures == 0)
}

/// Serves a gateway to `upstream`; its URL.
async fn serve(upstream: &Uri, limits: Limits) -> Result<String, BoxError> {
    let router = gateway::router(upstream, limits)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

/// A body of so many KiB that comes in chunks, and the digest of the whole.
fn streamed(kib: u64) -> (Body, String) {
    let chunks: Vec<Bytes> = (0..kib)
        .map(|i| Bytes::from(vec![u8::try_from(i % 251).unwrap_or(0); 1024]))
        .collect();
    let digest = sha256(&chunks.concat());
    let chunks = chunks.into_iter().map(Ok::<_, Infallible>);
    (
        Body::from_stream(futures_util::stream::iter(chunks)),
        digest,
    )
}

impl Tour {
    async fn send(
        &mut self,
        what: &str,
        request: Request<Body>,
        expected: Expected<'_>,
    ) -> Result<(), BoxError> {
        let path = request.uri().path().to_owned();
        self.send_uncounted(what, request, expected.status, expected.says)
            .await?;
        let hits = self.hits.of(&path);
        println!("  the upstream saw {hits}");
        self.check(
            hits == expected.hits,
            &format!("{} requests", expected.hits),
        );
        println!();
        Ok(())
    }

    async fn send_uncounted(
        &mut self,
        what: &str,
        request: Request<Body>,
        status: u16,
        says: &str,
    ) -> Result<(), BoxError> {
        println!("{} {}: {what}", request.method(), request.uri().path());
        let response = self.client.request(request).await?;
        let found = response.status();
        let mut text = String::new();
        for name in ["retry-attempts", "retry-stopped", "retry-after"] {
            if let Some(value) = response.headers().get(name) {
                text.push_str(&format!("  {name}: {}\n", value.to_str()?));
            }
        }
        let body = response.into_body().collect().await?.to_bytes();
        text.push_str(&format!("  {}", String::from_utf8_lossy(&body).trim_end()));
        println!("  {found}\n{text}");
        self.check(found.as_u16() == status, &format!("status {status}"));
        self.check(text.contains(says), says);
        Ok(())
    }

    fn check(&mut self, holds: bool, expected: &str) {
        if !holds {
            self.failures += 1;
            println!("  NOT AS IT SHOULD BE, expected: {expected}");
        }
    }
}
