//! The table itself: a client with a fault must not get through it.

use std::{
    future::{Ready, ready},
    mem,
};

use bytes::Bytes;
use clients::{
    Case,
    table::{Client, failures},
};
use futures_util::StreamExt;
use http::Request;
use http_body_util::{BodyStream, Full, StreamBody};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use octocrab::OctoBody;
use tower::{Layer, ServiceBuilder, ServiceExt, retry};

fn hyper<B>() -> legacy::Client<HttpConnector, B>
where
    B: http_body::Body<Data: Send> + Send,
{
    legacy::Client::builder(TokioExecutor::new()).build_http()
}

#[track_caller]
fn assert_found(failures: &[String], expected: &[&str]) {
    for case in expected {
        assert!(
            failures.iter().any(|failure| failure == case),
            "{case} is not in {failures:#?}"
        );
    }
}

/// Sends each request that failed once more, whatever its method is.
#[derive(Clone, Default)]
struct OnceMore {
    done: bool,
}

impl<B: Clone, R, E> retry::Policy<Request<B>, R, E> for OnceMore {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut Request<B>, result: &mut Result<R, E>) -> Option<Self::Future> {
        let again = result.is_err() && !mem::replace(&mut self.done, true);
        again.then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        Some(request.clone())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_twice_is_found() {
    let failures = failures("twice", Client::Proves, None, |case: Case| {
        let client = ServiceBuilder::new()
            .layer(case.layer)
            .layer(retry::RetryLayer::new(OnceMore::default()))
            .service(hyper());
        Case::exchange(case.requests, client, Full::<Bytes>::new)
    })
    .await;
    assert_found(
        &failures,
        &[
            "twice: reset before the head: POST",
            "twice: closed before the head: POST",
            "twice: cut in the head: POST",
            "twice: closed when used again: POST",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_empty_the_second_time_is_found() {
    let failures = failures("empty", Client::Proves, None, |case: Case| {
        let client = case.layer.clone_bodies().layer(hyper());
        Case::exchange(case.requests, client, OctoBody::from)
    })
    .await;
    assert_found(
        &failures,
        &["empty: 503 twice: PUT", "empty: reset before the head: PUT"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_ends_early_is_found() {
    let failures = failures("short", Client::Proves, None, |case: Case| {
        // Takes what has come for the whole.
        let client = case.layer.layer(hyper()).map_response(|response| {
            response.map(|body: Incoming| {
                StreamBody::new(BodyStream::new(body).take_while(|frame| ready(frame.is_ok())))
            })
        });
        Case::exchange(case.requests, client, Full::<Bytes>::new)
    })
    .await;
    assert_found(&failures, &["short: cut in the body: GET"]);
}
