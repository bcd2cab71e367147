//! Rule 10: what certainly never reached the application is sent again at once, for any method,
//! outside of counts and budget, within a limit of its own. The refusals are real: an HTTP/2
//! server refuses streams, an HTTP/1.1 connection closes while it is idle.
#![cfg(all(feature = "hyper", feature = "h2"))]

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::Reason;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{io::duplex, time::Instant};
use tower::{Layer, Service, ServiceExt};
use tower_http_retry::{
    BoxError, RetryErrorKind, RetryLayer, RetryReport,
    budget::RetryBudget,
    classify::{Cause, Opinion, Outcome, Stage},
    policy::{Backoff, Gate, Limit, LimitKind, Policy, RetryPolicy, StopReason, WaitReason},
};

use test_support::probe::{MS, Req, get, request};

type Reply<B> = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

/// A client of one HTTP/2 connection.
#[derive(Clone)]
struct H2Client(http2::SendRequest<Full<Bytes>>);

impl Service<Req> for H2Client {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = Reply<Incoming>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let response = self.0.send_request(request);
        Box::pin(async { Ok(response.await?) })
    }
}

/// A client of an HTTP/2 server that resets its streams with `reasons`, one after the other, and
/// answers 200 from then on; and the number of requests it has seen.
async fn h2_server(reasons: impl IntoIterator<Item = Reason>) -> (H2Client, Arc<AtomicU32>) {
    let (client, server) = duplex(64 * 1024);
    let mut reasons: VecDeque<_> = reasons.into_iter().collect();
    let requests = Arc::new(AtomicU32::new(0));
    tokio::spawn({
        let requests = Arc::clone(&requests);
        async move {
            let mut connection = h2::server::handshake(server).await.expect("a handshake");
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                requests.fetch_add(1, Relaxed);
                match reasons.pop_front() {
                    Some(reason) => respond.send_reset(reason),
                    None => {
                        respond
                            .send_response(Response::new(()), true)
                            .expect("sent");
                    }
                }
            }
        }
    });
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(client))
        .await
        .expect("a handshake");
    tokio::spawn(connection);
    (H2Client(sender), requests)
}

fn refused(times: usize) -> impl Iterator<Item = Reason> {
    std::iter::repeat_n(Reason::REFUSED_STREAM, times)
}

/// What the clients here fail with ends a call of theirs.
fn layer<P>(policy: P) -> RetryLayer<P> {
    RetryLayer::new(policy).vouch::<hyper::Error>(Stage::Call)
}

async fn send<P: Policy + Clone>(
    policy: P,
    client: H2Client,
    request: Req,
) -> Result<Response<Incoming>, tower_http_retry::RetryError> {
    layer(policy).layer(client).oneshot(request).await
}

fn report<B>(response: &Response<B>) -> &RetryReport {
    response.extensions().get().expect("a report")
}

/// Waits a second before each retry that is counted.
fn slow() -> RetryPolicy {
    RetryPolicy::builder()
        .backoff(Backoff::constant(1000 * MS))
        .build()
        .expect("valid")
}

#[tokio::test(start_paused = true)]
async fn a_refused_stream_is_sent_again_for_any_method_the_first_time_at_once() {
    for method in ["GET", "POST", "PATCH", "DELETE"] {
        let (client, requests) = h2_server(refused(2)).await;
        let begin = Instant::now();
        let response = send(slow(), client, request(method))
            .await
            .expect("a response");
        assert_eq!(response.status(), 200);
        assert_eq!(requests.load(Relaxed), 3);
        // The second time is the sign of a server with too much to do.
        assert_eq!(begin.elapsed(), 1000 * MS);
        let report = report(&response);
        assert_eq!(report.stop, StopReason::Succeeded);
        let waits = [
            (Duration::ZERO, WaitReason::NeverProcessed),
            (1000 * MS, WaitReason::Backoff),
        ];
        for (attempt, planned) in report.attempts.iter().zip(waits) {
            let wait = attempt.wait.as_ref().expect("another attempt followed");
            assert_eq!((wait.planned, wait.why.clone()), planned);
            assert_eq!(wait.charged, None);
            assert!(
                attempt
                    .outcome
                    .to_string()
                    .contains(&Cause::RefusedStream.to_string())
            );
        }
        // It was applied once, and certainly not more often.
        assert_eq!(report.effects(), 1..=1);
        let text = report.to_string();
        assert!(
            text.contains("no wait: immediate, the request was never processed"),
            "{text}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_its_own_limit_a_refused_stream_counts_as_a_connect_failure() {
    let (client, requests) = h2_server(refused(4)).await;
    let begin = Instant::now();
    let response = send(slow(), client, request("POST"))
        .await
        .expect("a response");
    assert_eq!(requests.load(Relaxed), 5);
    assert_eq!(begin.elapsed(), 3000 * MS);
    let waits: Vec<_> = report(&response)
        .attempts
        .iter()
        .filter_map(|attempt| {
            attempt
                .wait
                .as_ref()
                .map(|wait| (wait.planned, wait.charged))
        })
        .collect();
    let (at_once, free, counted) = (
        (Duration::ZERO, None),
        (1000 * MS, None),
        (1000 * MS, Some(LimitKind::Connect)),
    );
    assert_eq!(waits, [at_once, free, counted, counted]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_always_refuses_is_given_up_within_both_limits() {
    for (policy, attempts) in [
        (slow(), 6),
        (
            slow().to_builder().unprocessed(0).build().expect("valid"),
            4,
        ),
        (
            slow().to_builder().unprocessed(5).build().expect("valid"),
            9,
        ),
        // What must not be retried at all is not sent again for this either.
        (slow().to_builder().total(0).build().expect("valid"), 1),
        (
            slow()
                .to_builder()
                .total(Limit::Never)
                .build()
                .expect("valid"),
            1,
        ),
    ] {
        let (client, requests) = h2_server(refused(100)).await;
        let error = send(policy, client, request("POST"))
            .await
            .expect_err("an error");
        assert_eq!(error.kind(), RetryErrorKind::Failed);
        assert_eq!(requests.load(Relaxed), attempts);
        assert_eq!(error.report().attempt_count(), attempts as usize);
        // Nothing of it was ever applied.
        assert_eq!(error.report().effects(), 0..=0);
        assert!(error.downcast_inner::<hyper::Error>().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_refused_once_costs_the_budget_nothing() {
    let budget = RetryBudget::builder()
        .ratio(0.01)
        .min_ratio(0.0)
        .min_per_second(0)
        .capacity(1)
        .build()
        .expect("valid");
    let policy = slow().to_builder().budget(budget).build().expect("valid");
    for _ in 0..3 {
        let (client, _) = h2_server(refused(1)).await;
        let response = send(policy.clone(), client, request("POST"))
            .await
            .expect("a response");
        for attempt in &report(&response).attempts {
            assert_eq!(attempt.gates.get(Gate::Budget), None, "it was not asked");
        }
    }
    // The one retry that there is is still there: for the second refusal of one request.
    let (client, requests) = h2_server(refused(100)).await;
    let error = send(policy, client, request("POST"))
        .await
        .expect_err("an error");
    assert_eq!(error.stop_reason().name(), "budget_exhausted");
    assert_eq!(requests.load(Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_every_stream_is_not_flooded_past_the_budget() {
    let budget = RetryBudget::builder()
        .ratio(0.01)
        .min_ratio(0.0)
        .min_per_second(0)
        .capacity(1)
        .build()
        .expect("valid");
    let policy = RetryPolicy::builder()
        .budget(budget)
        .build()
        .expect("valid");
    let mut sent = 0;
    for _ in 0..100 {
        let (client, requests) = h2_server(refused(100)).await;
        let error = send(policy.clone(), client, request("POST"))
            .await
            .expect_err("an error");
        assert_eq!(error.stop_reason().name(), "budget_exhausted");
        sent += requests.load(Relaxed);
    }
    // Each is sent a second time at once; of the others there is one in the budget.
    assert_eq!(sent, 201);
}

#[tokio::test(start_paused = true)]
async fn a_refused_stream_between_other_failures_leaves_their_count_alone() {
    let reasons = [
        Reason::INTERNAL_ERROR,
        Reason::REFUSED_STREAM,
        Reason::INTERNAL_ERROR,
        Reason::REFUSED_STREAM,
        Reason::INTERNAL_ERROR,
    ];
    let (client, requests) = h2_server(reasons).await;
    let response = send(slow(), client, get()).await.expect("a response");
    assert_eq!(requests.load(Relaxed), 6);
    let charged: Vec<_> = report(&response)
        .attempts
        .iter()
        .filter_map(|attempt| attempt.wait.as_ref().map(|wait| wait.charged))
        .collect();
    let read = Some(LimitKind::Read);
    assert_eq!(charged, [read, None, read, None, read]);
}

#[tokio::test(start_paused = true)]
async fn another_reset_may_have_been_applied_so_its_method_is_asked() {
    let (client, requests) = h2_server([Reason::INTERNAL_ERROR]).await;
    let error = send(slow(), client, request("POST"))
        .await
        .expect_err("an error");
    let method = Method::POST;
    assert_eq!(
        *error.stop_reason(),
        StopReason::MethodNotAllowed { method }
    );
    assert_eq!(requests.load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn under_urllib3_a_refused_stream_is_a_connect_failure() {
    let policy = RetryPolicy::urllib3_builder()
        .total(3)
        .connect(2)
        .build()
        .expect("valid");
    let (client, requests) = h2_server(refused(100)).await;
    let error = send(policy, client, request("POST"))
        .await
        .expect_err("an error");
    assert_eq!(requests.load(Relaxed), 3);
    let kind = LimitKind::Connect;
    assert_eq!(
        *error.stop_reason(),
        StopReason::CountExhausted { kind, limit: 2 }
    );
    for attempt in &error.report().attempts[..2] {
        let charged = attempt.wait.as_ref().expect("a wait").charged;
        assert_eq!(charged, Some(LimitKind::Connect));
    }
}

#[tokio::test(start_paused = true)]
async fn a_classifier_can_forbid_it_and_a_mark_of_the_request_as_well() {
    let (client, requests) = h2_server(refused(2)).await;
    let layer = layer(slow()).classify(|outcome: &Outcome<'_>| match outcome {
        Outcome::Error { failure, .. } if failure.cause == Cause::RefusedStream => {
            Opinion::Forbid("not here".into())
        }
        _ => Opinion::NoOpinion,
    });
    let error = layer
        .layer(client)
        .oneshot(get())
        .await
        .expect_err("an error");
    assert_eq!(error.stop_reason().name(), "vetoed");
    assert_eq!(requests.load(Relaxed), 1);

    let (client, requests) = h2_server(refused(2)).await;
    let mut marked = get();
    marked
        .extensions_mut()
        .insert(tower_http_retry::policy::RetryDisabled);
    let error = send(slow(), client, marked).await.expect_err("an error");
    assert_eq!(*error.stop_reason(), StopReason::Disabled);
    assert_eq!(requests.load(Relaxed), 1);
}

/// A pool of HTTP/1.1 connections that hands them out without looking whether they still live.
#[derive(Clone)]
struct Pool(Arc<Mutex<VecDeque<http1::SendRequest<Full<Bytes>>>>>);

impl Service<Req> for Pool {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = Reply<Incoming>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let connection = self.0.lock().expect("no panic").pop_front();
        let mut connection = connection.expect("a connection is left");
        Box::pin(async move { Ok(connection.send_request(request).await?) })
    }
}

/// `dead` connections that were closed while they were idle, and one that lives.
async fn pool(dead: usize) -> Pool {
    let mut connections = VecDeque::new();
    for n in 0..=dead {
        let (client, server) = duplex(64 * 1024);
        let (sender, connection) = http1::handshake(TokioIo::new(client))
            .await
            .expect("a handshake");
        if n < dead {
            drop((connection, server));
        } else {
            tokio::spawn(connection);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(
                TokioIo::new(server),
                hyper::service::service_fn(|_: Request<Incoming>| async {
                    Ok::<_, BoxError>(Response::new(Full::new(Bytes::from_static(b"pong"))))
                }),
            ));
        }
        connections.push_back(sender);
    }
    Pool(Arc::new(Mutex::new(connections)))
}

#[tokio::test(start_paused = true)]
async fn a_request_cancelled_in_the_pool_is_sent_again_for_any_method_the_first_time_at_once() {
    for method in ["GET", "POST"] {
        let begin = Instant::now();
        let service = layer(slow()).layer(pool(2).await);
        let response = service.oneshot(request(method)).await.expect("a response");
        assert_eq!(begin.elapsed(), 1000 * MS);
        let report = report(&response);
        assert_eq!(report.attempt_count(), 3);
        let whys = [WaitReason::NeverProcessed, WaitReason::Backoff];
        for (attempt, why) in report.attempts.iter().zip(whys) {
            assert!(
                attempt
                    .outcome
                    .to_string()
                    .contains(&Cause::Canceled.to_string())
            );
            let wait = attempt.wait.as_ref().expect("a wait");
            assert_eq!((wait.why.clone(), wait.charged), (why, None));
        }
        assert_eq!(report.effects(), 1..=1);
    }
}
