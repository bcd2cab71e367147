//! How long a server is told that its client waits.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tokio::time;
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower_http_retry::{
    DeadlineHeader, RequestDeadline, RetryErrorKind, RetryLayer,
    policy::StopReason,
    stack::{Admission, Admit, Answer, Ask, AskFor, Ticket},
};
use tower_test::mock;

use test_support::probe::{
    MS, Req, Res, answer, assert_nothing_sent, every, get, is_ok, sent, start,
};

const GRPC: HeaderName = HeaderName::from_static("grpc-timeout");
const ENVOY: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

fn value(request: &Req, name: &HeaderName) -> Option<String> {
    let value = request.headers().get(name)?;
    Some(value.to_str().expect("a text").to_owned())
}

fn layer(header: DeadlineHeader) -> RetryLayer<tower_http_retry::policy::RetryPolicy> {
    RetryLayer::new(every(100 * MS)).deadline_header(header)
}

#[tokio::test(start_paused = true)]
async fn each_attempt_says_the_smaller_of_its_timeout_and_what_is_left() {
    let layer = layer(DeadlineHeader::EnvoyExpectedRqTimeoutMs)
        .attempt_timeout(200 * MS)
        .deadline(Duration::from_micros(400_900));
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    for expected in ["200", "200", "170"] {
        assert_pending!(future.poll());
        let (request, respond) = sent(&mut handle);
        assert_eq!(value(&request, &ENVOY).as_deref(), Some(expected));
        time::advance(15 * MS).await;
        if expected == "170" {
            respond.send_response(answer(200));
            assert!(is_ok(&assert_ready_ok!(future.poll())));
            return;
        }
        respond.send_response(answer(503));
        assert_pending!(future.poll());
        time::advance(100 * MS).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_of_the_request_alone_is_told_and_none_is_not() {
    let (mut service, mut handle) =
        mock::spawn_layer::<Req, Res, _>(layer(DeadlineHeader::GrpcTimeout));
    let mut request = get();
    request
        .extensions_mut()
        .insert(RequestDeadline::after(Duration::from_secs(2)));
    let mut future = start(&mut service, request);
    assert_pending!(future.poll());
    let (request, respond) = sent(&mut handle);
    assert_eq!(value(&request, &GRPC).as_deref(), Some("2000000u"));
    respond.send_response(answer(200));
    assert!(is_ok(&assert_ready_ok!(future.poll())));

    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    let (request, _respond) = sent(&mut handle);
    assert_eq!(value(&request, &GRPC), None);
}

#[tokio::test(start_paused = true)]
async fn what_the_caller_says_is_never_made_longer() {
    for (own, told) in [("3S", "2000000u"), ("1S", "1000000u"), ("soon", "2000000u")] {
        let layer = layer(DeadlineHeader::GrpcTimeout).deadline(Duration::from_secs(2));
        let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
        let mut request = get();
        request
            .headers_mut()
            .insert(GRPC, HeaderValue::from_static(own));
        let mut future = start(&mut service, request);
        assert_pending!(future.poll());
        let (request, _respond) = sent(&mut handle);
        assert_eq!(value(&request, &GRPC).as_deref(), Some(told));
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_is_not_sent_that_cannot_end_in_time() {
    // The first one: less than a millisecond cannot be told.
    let brief = Duration::from_micros(900);
    let first = layer(DeadlineHeader::EnvoyExpectedRqTimeoutMs).deadline(brief);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(first);
    let mut future = start(&mut service, get());
    let error = assert_ready_err!(future.poll());
    assert_eq!(error.kind(), RetryErrorKind::DeadlineExceeded);
    assert_eq!(error.report().attempt_count(), 0);
    let stop = StopReason::DeadlineTooClose {
        left: brief,
        needed: MS,
    };
    assert_eq!(error.stop_reason(), &stop);
    assert_nothing_sent(&mut handle);

    // A retry, of which the service was not ready for a long time.
    let retry = layer(DeadlineHeader::EnvoyExpectedRqTimeoutMs).deadline(200 * MS);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(retry);
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    let (_, respond) = sent(&mut handle);
    respond.send_response(answer(503));
    assert_pending!(future.poll());
    handle.allow(0);
    time::advance(100 * MS).await;
    assert_pending!(future.poll());
    time::advance(Duration::from_micros(99_500)).await;
    handle.allow(1);
    let error = assert_ready_err!(future.poll());
    assert_eq!(error.stop_reason().name(), "deadline_too_close");
    assert_nothing_sent(&mut handle);
}

/// Holds each first attempt back for this long.
struct Hold(Duration);

impl Admission for Hold {
    fn ticket(&self, _: &http::Uri) -> Ticket {
        Ticket::default()
    }

    fn admit(&self, _: &mut Ticket, ask: &Ask) -> Admit {
        match ask.stage {
            AskFor::First => Admit::Wait(self.0),
            _ => Admit::Now,
        }
    }

    fn answered(&self, _: &mut Ticket, _: &Answer) {}
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_held_back_says_what_is_left_when_it_is_sent() {
    let layer = layer(DeadlineHeader::EnvoyExpectedRqTimeoutMs)
        .admission(Hold(30 * MS))
        .deadline(100 * MS);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future: task::Spawn<_> = start(&mut service, get());
    assert_pending!(future.poll());
    assert_nothing_sent(&mut handle);
    handle.allow(1);
    time::advance(30 * MS).await;
    assert_pending!(future.poll());
    let (request, _respond) = sent(&mut handle);
    assert_eq!(value(&request, &ENVOY).as_deref(), Some("70"));
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_signs_sees_the_header() {
    let seen = layer(DeadlineHeader::EnvoyExpectedRqTimeoutMs)
        .deadline(400 * MS)
        .before_retry(|parts, _| {
            let told = parts.headers[ENVOY].clone();
            parts.headers.insert("signed", told);
        });
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(seen);
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    let (_, respond) = sent(&mut handle);
    respond.send_response(answer(503));
    assert_pending!(future.poll());
    time::advance(100 * MS).await;
    assert_pending!(future.poll());
    let (request, _respond) = sent(&mut handle);
    assert_eq!(request.headers()["signed"], "300");
}

/// A hedge is an attempt, too, and it is sent later.
#[cfg(feature = "hedge")]
#[tokio::test(start_paused = true)]
async fn a_hedge_says_what_is_left_when_it_is_sent_and_is_not_sent_when_nothing_is() {
    use std::sync::{Arc, Mutex};

    use tower::{Layer, ServiceExt, service_fn};
    use tower_http_retry::hedge::HedgeLayer;

    let said: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    for (deadline, delay, expected) in [
        (1000 * MS, 300 * MS, &["1000", "700"][..]),
        // What is left then is less than the header can say.
        (Duration::from_micros(300_400), 300 * MS, &["300"]),
    ] {
        said.lock().expect("no panic").clear();
        let heard = Arc::clone(&said);
        let hedges = HedgeLayer::builder(&tower_http_retry::policy::RetryPolicy::default())
            .fixed_delay(delay)
            .build()
            .expect("a layer");
        let service = hedges.layer(service_fn(move |request: Req| {
            let value = value(&request, &ENVOY);
            heard.lock().expect("no panic").push(value);
            std::future::pending::<Result<Res, tower_http_retry::BoxError>>()
        }));
        let layer = layer(DeadlineHeader::EnvoyExpectedRqTimeoutMs).deadline(deadline);
        layer.layer(service).oneshot(get()).await.expect_err("late");
        let said = said.lock().expect("no panic");
        let said: Vec<_> = said
            .iter()
            .map(|said| said.as_deref().unwrap_or(""))
            .collect();
        assert_eq!(said, expected);
    }
}
