//! One layer, both orders, and what each measures at the server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{HeaderName, HeaderValue, Request, StatusCode};
use tokio::time::Instant;
use tower::{Service, ServiceBuilder, ServiceExt, timeout::error::Elapsed};
use tower_http::{
    follow_redirect::FollowRedirectLayer,
    request_id::{MakeRequestId, RequestId, SetRequestIdLayer},
    trace::TraceLayer,
};
use tower_http_retry::BoxError;

use super::{Answer, Body, Measured, Server, attempts, get, http, measured, retries};

type Result<T> = std::result::Result<T, BoxError>;

const HOUR: Duration = Duration::from_secs(60 * 60);

// --- RateLimitLayer: below, it counts attempts; above, requests ---

pub(crate) async fn rate_limit_above(server: &Server) -> Result<Measured> {
    let mut stack = ServiceBuilder::new()
        .rate_limit(1, HOUR)
        .layer(retries(3)?)
        .service(http());
    let request = get(server.url("/rate/above/fail/2"))?;
    let response = stack.ready().await?.call(request).await?;
    let sent = server.count("/rate/above/");
    Ok(measured(
        response.status() == StatusCode::OK && sent == 3,
        format!("{sent} attempts of one request passed a limit of 1 an hour"),
    ))
}

pub(crate) async fn rate_limit_below(server: &Server) -> Result<Measured> {
    const PERIOD: Duration = Duration::from_millis(60);
    let stack = ServiceBuilder::new()
        .layer(retries(3)?)
        // A rate limit is not `Clone`, and if it were, each request would have its own. The
        // buffer owns it, and is what the requests share.
        .buffer(16)
        .rate_limit(1, PERIOD)
        .service(http());
    let started = Instant::now();
    let response = stack
        .oneshot(get(server.url("/rate/below/fail/2"))?)
        .await?;
    let took = started.elapsed();
    let sent = server.count("/rate/below/");
    Ok(measured(
        response.status() == StatusCode::OK && sent == 3 && took >= 2 * PERIOD,
        format!("{sent} attempts took {took:.0?} under a limit of 1 in {PERIOD:?}"),
    ))
}

// --- ConcurrencyLimitLayer: below, its permit is free during waits; above, it is held ---

pub(crate) async fn concurrency_limit_above(server: &Server) -> Result<Measured> {
    let stack = ServiceBuilder::new()
        .concurrency_limit(1)
        .layer(retries(10)?)
        .service(http());
    concurrency(server, "/concurrency/above/", stack, |locked, order| {
        let held = locked == 11 && order.last().is_some_and(|path| path == "key");
        measured(
            held,
            format!("a second request waited for all {locked} attempts of a failing one"),
        )
    })
    .await
}

pub(crate) async fn concurrency_limit_below(server: &Server) -> Result<Measured> {
    let stack = ServiceBuilder::new()
        .layer(retries(10)?)
        .concurrency_limit(1)
        .service(http());
    concurrency(server, "/concurrency/below/", stack, |locked, order| {
        let passed = locked < 11 && order.last().is_some_and(|path| path == "locked");
        measured(
            passed,
            format!("a second request passed during a wait; {locked} attempts were enough"),
        )
    })
    .await
}

/// One request fails until a second one, which starts later, has arrived; both share `stack`.
async fn concurrency<S, E>(
    server: &Server,
    prefix: &str,
    stack: S,
    judge: impl FnOnce(usize, &[String]) -> Measured,
) -> Result<Measured>
where
    S: Service<Request<Body>, Response = Answer, Error = E> + Clone,
    E: Into<BoxError>,
{
    let locked = stack
        .clone()
        .oneshot(get(server.url(&format!("{prefix}locked")))?);
    let key = get(server.url(&format!("{prefix}key")))?;
    let second = async {
        while server.count(prefix) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stack.clone().oneshot(key).await
    };
    let (first, second) = tokio::join!(locked, second);
    second.map_err(Into::into)?;
    let attempts = attempts(&first.map_err(Into::into)?);
    Ok(judge(attempts, &server.paths(prefix)))
}

// --- TimeoutLayer: below, it bounds each attempt; above, all attempts and waits together ---

pub(crate) async fn timeout_above(server: &Server) -> Result<Measured> {
    let stack = ServiceBuilder::new()
        .timeout(Duration::from_millis(100))
        .layer(retries(10)?)
        .service(http());
    let result = stack
        .oneshot(get(server.url("/timeout/above/hang/2"))?)
        .await;
    // The retries never learnt that the attempt hung: they were dropped, and their report with
    // them. `RetryLayer::deadline` would have kept it.
    let cut = result.is_err_and(|error| error.is::<Elapsed>());
    let sent = server.count("/timeout/above/");
    Ok(measured(
        cut && sent <= 1,
        format!("the request was cut off in attempt {sent}, without a report"),
    ))
}

pub(crate) async fn timeout_below(server: &Server) -> Result<Measured> {
    let stack = ServiceBuilder::new()
        .layer(retries(10)?)
        .timeout(Duration::from_millis(100))
        .service(http());
    let response = stack
        .oneshot(get(server.url("/timeout/below/hang/2"))?)
        .await?;
    let attempts = attempts(&response);
    Ok(measured(
        response.status() == StatusCode::OK && attempts >= 3,
        format!("two attempts that hung were cut off, and attempt {attempts} succeeded"),
    ))
}

// --- TraceLayer: below, it shows each attempt; above, each request ---

pub(crate) async fn trace_above(server: &Server) -> Result<Measured> {
    let spans = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&spans);
    let stack = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http().on_request(
            move |_: &Request<Body>, _: &tracing::Span| {
                counting.fetch_add(1, Ordering::Relaxed);
            },
        ))
        .layer(retries(3)?)
        .service(http());
    stack
        .oneshot(get(server.url("/trace/above/fail/2"))?)
        .await?;
    let spans = spans.load(Ordering::Relaxed);
    Ok(measured(spans == 1, format!("{spans} span for 3 attempts")))
}

pub(crate) async fn trace_below(server: &Server) -> Result<Measured> {
    let spans = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&spans);
    let stack = ServiceBuilder::new()
        .layer(retries(3)?)
        .layer(TraceLayer::new_for_http().on_request(
            move |_: &Request<Body>, _: &tracing::Span| {
                counting.fetch_add(1, Ordering::Relaxed);
            },
        ))
        .service(http());
    stack
        .oneshot(get(server.url("/trace/below/fail/2"))?)
        .await?;
    let spans = spans.load(Ordering::Relaxed);
    Ok(measured(
        spans == 3,
        format!("{spans} spans for 3 attempts"),
    ))
}

// --- FollowRedirectLayer: above, each hop has its own retries; below, all hops are one attempt ---

pub(crate) async fn follow_redirect_above(server: &Server) -> Result<Measured> {
    let stack = ServiceBuilder::new()
        .layer(FollowRedirectLayer::new())
        .layer(retries(1)?)
        .service(http());
    let response = stack
        .oneshot(get(server.url("/redirect/above/hop/fail/1"))?)
        .await?;
    let (status, sent) = (response.status(), server.paths("/redirect/above/"));
    Ok(measured(
        status == StatusCode::OK && sent == ["hop/fail/1", "hop/fail/1", "fail/1", "fail/1"],
        format!("one retry for each of two hops that fail once: {status}"),
    ))
}

pub(crate) async fn follow_redirect_below(server: &Server) -> Result<Measured> {
    let stack = ServiceBuilder::new()
        .layer(retries(1)?)
        .layer(FollowRedirectLayer::new())
        .service(http());
    let response = stack
        .oneshot(get(server.url("/redirect/below/hop/fail/1"))?)
        .await?;
    let (status, sent) = (response.status(), server.paths("/redirect/below/"));
    Ok(measured(
        status == StatusCode::SERVICE_UNAVAILABLE && sent == ["hop/fail/1", "hop/fail/1", "fail/1"],
        format!("one retry for both hops together: {status}"),
    ))
}

// --- SetRequestIdLayer: above, one id for all attempts; below, one for each ---

/// Numbers requests. tower-http's `MakeRequestUuid` is what most stacks take.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbered(Arc<AtomicUsize>);

impl MakeRequestId for Numbered {
    fn make_request_id<B>(&mut self, _: &Request<B>) -> Option<RequestId> {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        Some(RequestId::new(HeaderValue::from(number)))
    }
}

pub(crate) fn request_id() -> SetRequestIdLayer<Numbered> {
    let name = HeaderName::from_static("x-request-id");
    SetRequestIdLayer::new(name, Numbered::default())
}

pub(crate) async fn set_request_id_above(server: &Server) -> Result<Measured> {
    let stack = ServiceBuilder::new()
        .layer(request_id())
        .layer(retries(3)?)
        .service(http());
    stack.oneshot(get(server.url("/id/above/fail/2"))?).await?;
    let ids = server.ids("/id/above/").len();
    Ok(measured(ids == 1, format!("{ids} id for 3 attempts")))
}

pub(crate) async fn set_request_id_below(server: &Server) -> Result<Measured> {
    let stack = ServiceBuilder::new()
        .layer(retries(3)?)
        .layer(request_id())
        .service(http());
    stack.oneshot(get(server.url("/id/below/fail/2"))?).await?;
    let ids = server.ids("/id/below/").len();
    Ok(measured(ids == 3, format!("{ids} ids for 3 attempts")))
}
