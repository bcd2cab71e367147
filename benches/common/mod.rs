//! The requests, the service and the peers that all benchmarks share.
#![allow(dead_code)]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{Empty, Full};
use tower::{
    Layer, Service,
    retry::{
        Policy, Retry as TowerRetry,
        backoff::{Backoff as _, ExponentialBackoff, ExponentialBackoffMaker, MakeBackoff},
        budget::{Budget as _, TpsBudget},
    },
    util::rng::HasherRng,
};
use tower_http_retry::{
    Retry, RetryLayer,
    budget::RetryBudget,
    policy::{Backoff, RetryPolicy},
};

pub(crate) type Body = Full<Bytes>;

/// A GET with eight usual headers, three of them built from strings.
#[inline(never)]
pub(crate) fn get() -> Request<Body> {
    let request = Request::get("http://api.example.com/v1/items/42?fields=name")
        .header(header::HOST, HeaderValue::from_static("api.example.com"))
        .header(header::USER_AGENT, HeaderValue::from_static("client/1.0"))
        .header(header::ACCEPT, HeaderValue::from_static("application/json"))
        .header(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("gzip, br"),
        )
        .header(
            header::ACCEPT_LANGUAGE,
            HeaderValue::from_static("en;q=0.8"),
        )
        .header(
            header::AUTHORIZATION,
            "Bearer eyJhbGciOiJIUzI1NiJ9.e30.ZRrHA1JJ".to_owned(),
        )
        .header(
            header::IF_NONE_MATCH,
            "\"33a64df551425fcc55e4d42a148795d9\"".to_owned(),
        )
        .header(header::COOKIE, "session=38afes7a8; theme=dark".to_owned());
    request.body(Body::default()).expect("a request")
}

/// A POST of 1 KiB that may be repeated.
#[inline(never)]
pub(crate) fn post() -> Request<Body> {
    static BODY: [u8; 1024] = [b'x'; 1024];
    let mut request = get().map(|_| Body::new(Bytes::copy_from_slice(&BODY)));
    *request.method_mut() = http::Method::POST;
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert("idempotency-key", HeaderValue::from_static("8e03978e-40d5"));
    request
}

/// Answers at once, and always with this status.
#[derive(Clone)]
pub(crate) struct Server(StatusCode);

pub(crate) fn server(status: StatusCode) -> Server {
    Server(status)
}

impl Service<Request<Body>> for Server {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        drop(request);
        let mut response = Response::new(Empty::new());
        *response.status_mut() = self.0;
        ready(Ok(response))
    }
}

// ===== tower's policies =====

/// Three retries of what is not a success, with tower's budget.
#[derive(Clone)]
pub(crate) struct Budgeted {
    left: u32,
    budget: Arc<TpsBudget>,
}

impl<B: Clone, D, E> Policy<Request<B>, Response<D>, E> for Budgeted {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<B>,
        result: &mut Result<Response<D>, E>,
    ) -> Option<Ready<()>> {
        if !failed(result) {
            self.budget.deposit();
            return None;
        }
        if self.left == 0 || !self.budget.withdraw() {
            return None;
        }
        self.left -= 1;
        Some(ready(()))
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        Some(request.clone())
    }
}

/// The same with tower's budget and backoff.
#[derive(Clone)]
pub(crate) struct BackingOff {
    inner: Budgeted,
    backoff: ExponentialBackoff<HasherRng>,
}

impl<B: Clone, D, E> Policy<Request<B>, Response<D>, E> for BackingOff {
    type Future = tokio::time::Sleep;

    fn retry(
        &mut self,
        request: &mut Request<B>,
        result: &mut Result<Response<D>, E>,
    ) -> Option<tokio::time::Sleep> {
        let _granted: Ready<()> = self.inner.retry(request, result)?;
        Some(self.backoff.next_backoff())
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        Some(request.clone())
    }
}

fn failed<D, E>(result: &Result<Response<D>, E>) -> bool {
    !matches!(result, Ok(response) if response.status().is_success())
}

/// Enough that no benchmark runs into it.
pub(crate) fn roomy_budget() -> Arc<TpsBudget> {
    let budget = TpsBudget::new(Duration::from_secs(10), 1_000_000_000, 1.0);
    Arc::new(budget)
}

fn budgeted() -> Budgeted {
    Budgeted {
        left: 3,
        budget: roomy_budget(),
    }
}

pub(crate) fn tower_budget_backoff<S>(inner: S) -> TowerRetry<BackingOff, S> {
    tower_waiting(inner, Duration::from_millis(100), Duration::from_secs(20))
}

/// With waits between `min` and `max`.
pub(crate) fn tower_waiting<S>(
    inner: S,
    min: Duration,
    max: Duration,
) -> TowerRetry<BackingOff, S> {
    let mut maker =
        ExponentialBackoffMaker::new(min, max, 0.5, HasherRng::default()).expect("a backoff");
    let policy = BackingOff {
        inner: budgeted(),
        backoff: maker.make_backoff(),
    };
    TowerRetry::new(policy, inner)
}

// ===== ours =====

pub(crate) fn ours<S>(inner: S) -> Retry<S, RetryPolicy> {
    RetryLayer::new(RetryPolicy::default()).layer(inner)
}

pub(crate) fn ours_waiting<S>(inner: S, backoff: Backoff) -> Retry<S, RetryPolicy> {
    let budget = RetryBudget::builder().ratio(10.0).capacity(100_000.0);
    let policy = RetryPolicy::builder()
        .backoff(backoff)
        .budget(budget.build().expect("a budget"));
    RetryLayer::new(policy.build().expect("a policy")).layer(inner)
}

/// The middle one of these values.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
