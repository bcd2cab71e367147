//! Which attempt it is, why, and how deep in the retries of others.

use std::time::Duration;

use http::{HeaderValue, StatusCode};
use tokio::time;
use tokio_test::assert_pending;
use tower_http_retry::{OwnHeader, RetryDepth, RetryLayer, policy::RetryPolicy};
use tower_test::mock;

use test_support::{
    probe::{Req, Res, every, get, refused, report, reset, sent, start},
    trip::Trip,
};

fn layer() -> RetryLayer<RetryPolicy> {
    RetryLayer::new(every(Duration::from_millis(1)))
}

fn own(name: &str) -> OwnHeader {
    name.parse().expect("a header of our own")
}

fn value<'a>(request: &'a Req, name: &str) -> Option<&'a str> {
    let value = request.headers().get(name)?;
    Some(value.to_str().expect("text"))
}

#[tokio::test(start_paused = true)]
async fn attempts_are_counted_from_one_and_retries_say_why_they_are_made() {
    let layer = layer()
        .attempt_count_header(own("x-attempt"))
        .attempt_header(own("x-attempts-before"))
        .retry_reason_header(own("x-retry-reason"));
    let mut trip = Trip::start(layer);
    trip.fail(503);
    assert_eq!(value(trip.last(), "x-attempt"), Some("1"));
    assert_eq!(value(trip.last(), "x-attempts-before"), None);
    assert_eq!(value(trip.last(), "x-retry-reason"), None);
    for (number, reason, ending) in [("2", "503", reset()), ("3", "read", refused())] {
        trip.waits(Duration::from_millis(1)).await;
        trip.fail(ending);
        let before = number.parse::<u32>().expect("a number") - 1;
        assert_eq!(value(trip.last(), "x-attempt"), Some(number));
        let counted = value(trip.last(), "x-attempts-before");
        assert_eq!(counted, Some(&*before.to_string()));
        assert_eq!(value(trip.last(), "x-retry-reason"), Some(reason));
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_took_too_long_is_named_as_the_reason() {
    let second = Duration::from_secs(1);
    let layer = layer()
        .attempt_timeout(second)
        .retry_reason_header(own("x-retry-reason"));
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    let (_, _respond) = sent(&mut handle);
    time::advance(second).await;
    assert_pending!(future.poll());
    time::advance(Duration::from_millis(1)).await;
    assert_pending!(future.poll());
    let (request, _respond) = sent(&mut handle);
    assert_eq!(value(&request, "x-retry-reason"), Some("timeout"));
}

#[tokio::test(start_paused = true)]
async fn what_is_retried_further_out_is_not_retried_here() {
    let said = |name: &'static str, value: &'static str| {
        let mut request = get();
        let value = HeaderValue::from_static(value);
        request.headers_mut().insert(name, value);
        request
    };
    let mut marked = get();
    marked.extensions_mut().insert(RetryDepth::new(1));
    for request in [
        said("x-envoy-attempt-count", "2"),
        said("grpc-previous-rpc-attempts", "1"),
        said("baggage", "k=v,retry.depth=1"),
        marked,
    ] {
        let text = format!("{request:?}");
        let mut trip = Trip::start_with(layer().max_retry_depth(0), request);
        let response = trip.end(503).expect("a response");
        let report = report(&response);
        assert_eq!(report.stop.name(), "retried_above", "{text}");
        assert!(report.to_string().contains("`max_retry_depth` is 0"));
    }
    // One deeper is allowed, what is not part of a retry is retried, and so is all without it.
    let deeper = said("baggage", "retry.depth=1");
    for (layer, request) in [
        (layer().max_retry_depth(1), deeper),
        (
            layer().max_retry_depth(0),
            said("x-envoy-attempt-count", "1"),
        ),
        (layer(), said("x-envoy-attempt-count", "2")),
    ] {
        Trip::start_with(layer, request).fail(503);
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_says_how_deep_it_is_and_a_first_attempt_what_it_was_told() {
    let mut request = get();
    let baggage = HeaderValue::from_static("user=7");
    request.headers_mut().insert("baggage", baggage);
    let mut trip = Trip::start_with(layer().tell_retry_depth(), request);
    trip.fail(503);
    assert_eq!(value(trip.last(), "baggage"), Some("user=7"));
    trip.waits(Duration::from_millis(1)).await;
    trip.fail(503);
    assert_eq!(value(trip.last(), "baggage"), Some("user=7,retry.depth=1"));
    trip.waits(Duration::from_millis(1)).await;
    let response = trip.end(200).expect("a response");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(value(trip.last(), "baggage"), Some("user=7,retry.depth=1"));

    // What was read from the request that is answered goes on.
    let mut request = get();
    request.extensions_mut().insert(RetryDepth::new(1));
    let layer = layer().tell_retry_depth();
    let mut trip = Trip::start_with(layer, request);
    trip.fail(503);
    assert_eq!(value(trip.last(), "baggage"), Some("retry.depth=1"));
    trip.waits(Duration::from_millis(1)).await;
    trip.end(200).expect("a response");
    assert_eq!(value(trip.last(), "baggage"), Some("retry.depth=2"));
}
