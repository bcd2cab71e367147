//! What is counted of a request, however it ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{Method, StatusCode};
use test_support::{
    probe::{MS, Req, Res, answer, every, get, is_ok, refused, request, reset, sent, start},
    trip::Trip,
};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok};
use tower_http_retry::{
    RetryLayer,
    classify::Outcome,
    policy::{Attempt, Backoff, Decision, RetryDecision, RetryDisabled, RetryPolicy, policy_fn},
    stack::{Admission, Admit, Answer, Ask, AskFor, LayerOutcome, Ticket},
    telemetry::{Metrics, MetricsSnapshot, SampleValue},
};
use tower_test::mock;

const REQUESTS: &str = "tower_http_retry_requests_total";
const ATTEMPTS: &str = "tower_http_retry_attempts_total";
const SUPPRESSED: &str = "tower_http_retry_suppressed_total";
const WAITS: &str = "tower_http_retry_wait_seconds";
const REQUEST_ATTEMPTS: &str = "tower_http_retry_request_attempts";

fn counted() -> (RetryLayer<RetryPolicy>, Metrics) {
    let metrics = Metrics::builder().service("a").build();
    let layer = RetryLayer::new(every(100 * MS)).metrics(metrics.clone());
    (layer, metrics)
}

/// Everything that was counted as `name{labels}`, without the service.
fn lines(now: &MetricsSnapshot) -> Vec<String> {
    let counters = now.samples().iter().filter_map(|sample| {
        let SampleValue::Counter(count) = sample.value else {
            return None;
        };
        let name = sample.info.name.trim_start_matches("tower_http_retry_");
        assert_eq!(sample.labels[0], ("service", "a".into()));
        let names: Vec<_> = sample.labels[1..].iter().map(|label| label.0).collect();
        assert_eq!(names, sample.info.labels);
        let labels: Vec<_> = sample.labels[1..].iter().map(|label| &*label.1).collect();
        Some(format!("{name} {} {count}", labels.join(" ")))
    });
    counters.collect()
}

#[tokio::test(start_paused = true)]
async fn a_first_try_is_one_request_and_one_attempt() {
    let (layer, metrics) = counted();
    assert!(lines(&metrics.snapshot()).is_empty());
    let response = Trip::start(layer).end(204).expect("a response");
    assert!(response.status().is_success());
    assert_eq!(
        lines(&metrics.snapshot()),
        [
            "requests_total first_try GET 2xx 1",
            "attempts_total first 1"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_recovery_counts_its_retries_and_waits() {
    let (layer, metrics) = counted();
    let mut trip = Trip::start(layer);
    trip.fail(503).waits(100 * MS).await;
    trip.fail(503).waits(100 * MS).await;
    let before = metrics.snapshot();
    assert_eq!(before.count(REQUESTS, &[]), Some(0), "it has not ended");
    assert_eq!(before.count(WAITS, &[]), Some(2));
    trip.end(200).expect("a response");
    let now = metrics.snapshot();
    assert_eq!(
        lines(&now),
        [
            "requests_total recovered GET 2xx 1",
            "attempts_total first 1",
            "attempts_total retry 2"
        ]
    );
    assert_eq!(now.count(REQUEST_ATTEMPTS, &[("service", "a")]), Some(1));
    let waits = now
        .samples()
        .iter()
        .find(|sample| sample.info.name == WAITS);
    let Some(SampleValue::Histogram { counts, sum, .. }) = waits.map(|sample| &sample.value) else {
        panic!("no histogram of waits");
    };
    // 100 ms is the third bound.
    assert_eq!((counts[2], *sum), (2, 0.2));
}

#[tokio::test(start_paused = true)]
async fn what_was_never_processed_is_no_retry() {
    // As the policies of this crate answer a refused stream.
    let policy = policy_fn(|attempt: &Attempt<'_>| match attempt.outcome() {
        Outcome::Error { .. } => {
            let mut again = RetryDecision::after(Duration::ZERO);
            again.charged = None;
            Decision::Retry(again)
        }
        _ => Decision::Accept,
    });
    let metrics = Metrics::new();
    let mut trip = Trip::start(RetryLayer::new(policy).metrics(metrics.clone()));
    trip.fail(reset());
    trip.end(200).expect("a response");
    let now = metrics.snapshot();
    assert_eq!(now.count(ATTEMPTS, &[("kind", "unprocessed")]), Some(1));
    assert_eq!(now.count(ATTEMPTS, &[("kind", "retry")]), Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_failure_names_the_reason_and_its_last_status() {
    // A status that is not listed.
    let (layer, metrics) = counted();
    let response = Trip::start(layer).end(404).expect("a response");
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    // A method that must not be repeated.
    let post = RetryLayer::new(RetryPolicy::default()).metrics(metrics.clone());
    let mut trip = Trip::start_with(post, request("POST"));
    trip.end(reset()).expect_err("an error");
    // A policy that has enough after one retry.
    let policy = RetryPolicy::builder()
        .total(1)
        .backoff(Backoff::constant(100 * MS))
        .build()
        .expect("a policy");
    let layer = RetryLayer::new(policy).metrics(metrics.clone());
    let mut trip = Trip::start(layer);
    trip.fail(503).waits(100 * MS).await;
    trip.end(503).expect("a response");
    assert_eq!(
        lines(&metrics.snapshot()),
        [
            "requests_total failed_without_retry GET 4xx 1",
            "requests_total failed_without_retry POST none 1",
            "requests_total failed_after_retries GET 5xx 1",
            "attempts_total first 3",
            "attempts_total retry 1",
            "suppressed_total status_not_listed 1",
            "suppressed_total method_not_allowed 1",
            "suppressed_total count_exhausted 1",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_may_not_be_retried_at_all_is_counted_too() {
    let (layer, metrics) = counted();
    let mut disabled = get();
    disabled.extensions_mut().insert(RetryDisabled);
    Trip::start_with(layer, disabled)
        .end(refused())
        .expect_err("an error");
    let now = metrics.snapshot();
    assert_eq!(now.count(SUPPRESSED, &[("reason", "disabled")]), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_is_counted_once_wherever_it_was() {
    let (layer, metrics) = counted();
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    // In its first attempt.
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    drop((future, sent(&mut handle)));
    // In a wait.
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(503));
    assert_pending!(future.poll());
    drop(future);
    // After its end.
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(200));
    assert!(is_ok(&assert_ready_ok!(future.poll())));
    drop(future);
    assert_eq!(
        lines(&metrics.snapshot()),
        [
            "requests_total first_try GET 2xx 1",
            "requests_total dropped GET none 2",
            "attempts_total first 3",
        ]
    );
}

/// Refuses or holds first attempts.
struct Gate(Option<Duration>);

impl Admission for Gate {
    fn ticket(&self, _: &http::Uri) -> Ticket {
        Ticket::default()
    }

    fn admit(&self, _: &mut Ticket, ask: &Ask) -> Admit {
        match (ask.stage, self.0) {
            (AskFor::First, Some(wait)) => Admit::Wait(wait),
            (AskFor::First, None) => Admit::Refuse(tower_http_retry::policy::StopReason::Throttled),
            _ => Admit::Now,
        }
    }

    fn answered(&self, _: &mut Ticket, _: &Answer) {}
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_before_it_was_sent_is_a_request_without_an_attempt() {
    let (layer, metrics) = counted();
    let layer = layer.admission(Gate(None));
    let (mut service, _handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    assert_ready_err!(future.poll());
    assert_eq!(
        lines(&metrics.snapshot()),
        [
            "requests_total failed_without_retry GET none 1",
            "suppressed_total throttled 1",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_held_back_is_counted_as_held_and_by_how_it_ended() {
    let (layer, metrics) = counted();
    let mut trip = Trip::start(layer.admission(Gate(Some(30 * MS))));
    trip.waits(30 * MS).await;
    trip.end(200).expect("a response");
    assert_eq!(
        lines(&metrics.snapshot()),
        [
            "requests_total first_try GET 2xx 1",
            "attempts_total first 1",
            "held_total  1",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_or_given_up_while_it_is_held_was_held_too() {
    let (layer, metrics) = counted();
    let layer = layer.admission(Gate(Some(30 * MS)));
    let (mut service, _handle) = mock::spawn_layer::<Req, Res, _>(layer.clone());
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    drop(future);
    // One whose deadline would pass meanwhile is refused, not held.
    let (mut service, _handle) = mock::spawn_layer::<Req, Res, _>(layer.deadline(20 * MS));
    let mut future = start(&mut service, get());
    assert_ready_err!(future.poll());
    assert_eq!(
        lines(&metrics.snapshot()),
        [
            "requests_total failed_without_retry GET none 1",
            "requests_total dropped GET none 1",
            "suppressed_total deadline_too_close 1",
            "held_total  1",
        ]
    );
}

/// A service that panics, in its call or later.
#[tokio::test(start_paused = true)]
async fn a_request_whose_service_panics_is_counted_as_dropped() {
    use std::panic::AssertUnwindSafe;

    use futures_util::FutureExt;
    use tower::{Layer, ServiceExt, service_fn};

    let (layer, metrics) = counted();
    let service = layer.layer(service_fn(|_: Req| async {
        tokio::task::yield_now().await;
        panic!("a bug");
        #[expect(unreachable_code, reason = "the type")]
        Ok::<Res, tower_http_retry::BoxError>(answer(200))
    }));
    let panics = AssertUnwindSafe(service.oneshot(get())).catch_unwind();
    assert!(panics.await.is_err());
    assert_eq!(
        lines(&metrics.snapshot()),
        [
            "requests_total dropped GET none 1",
            "attempts_total first 1"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn hedges_that_a_layer_below_tells_of_are_counted() {
    use tower_http_retry::policy::Note;

    let hedged = |status: u16, won| {
        let mut response = answer(status);
        let mut below = LayerOutcome::new("hedge");
        below.attempts = Some(2);
        below.notes.push(Note::Hedged {
            after: 50 * MS,
            won,
        });
        response.extensions_mut().insert(below);
        response
    };
    let (layer, metrics) = counted();
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(hedged(503, false));
    assert_pending!(future.poll());
    tokio::time::advance(100 * MS).await;
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(hedged(200, true));
    assert!(is_ok(&assert_ready_ok!(future.poll())));
    assert_eq!(
        lines(&metrics.snapshot()),
        [
            "requests_total recovered GET 2xx 1",
            "attempts_total first 1",
            "attempts_total retry 1",
            "attempts_total hedge 2",
            "hedges_total won 1",
            "hedges_total lost 1",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_bytes_of_a_recorded_body_that_is_sent_again_are_counted() {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};
    use tower::{ServiceBuilder, ServiceExt, service_fn};

    let metrics = Metrics::new();
    let stack = ServiceBuilder::new()
        .layer(
            RetryLayer::new(every(MS))
                .replay_bodies(1024)
                .metrics(metrics.clone()),
        )
        .service(service_fn({
            let calls = Arc::new(AtomicU32::new(0));
            move |request: http::Request<_>| {
                let call = calls.fetch_add(1, Relaxed);
                async move {
                    let body: tower_http_retry::body::RecordedBody<Full<Bytes>> =
                        request.into_body();
                    assert_eq!(body.collect().await?.to_bytes().len(), 300);
                    let status = if call == 0 { 503 } else { 200 };
                    let response = http::Response::builder().status(status);
                    let body = Full::<Bytes>::default();
                    Ok::<_, tower_http_retry::BoxError>(response.body(body).expect("valid"))
                }
            }
        }));
    let request = http::Request::builder()
        .method(Method::PUT)
        .uri("http://a.test/")
        .body(Full::from(vec![7; 300]))
        .expect("valid");
    let response = stack.oneshot(request).await.expect("a response");
    assert!(response.status().is_success());
    let now = metrics.snapshot();
    assert_eq!(
        now.count("tower_http_retry_replayed_bytes_total", &[]),
        Some(300)
    );
}

#[cfg(feature = "metrics")]
#[tokio::test(start_paused = true)]
async fn the_facade_is_told_what_the_snapshot_says() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    let recorder = DebuggingRecorder::new();
    let read = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (layer, metrics) = counted();
    metrics.publish();
    let mut trip = Trip::start(layer);
    trip.fail(503).waits(100 * MS).await;
    trip.end(200).expect("a response");
    metrics.publish();
    metrics.publish();

    let mut told: Vec<String> = read
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, help, value)| {
            assert!(help.is_some_and(|help| !help.is_empty()));
            let key = key.key();
            let labels: Vec<_> = key.labels().map(|label| label.value().to_owned()).collect();
            let value = match value {
                DebugValue::Counter(count) => count.to_string(),
                DebugValue::Gauge(value) => value.to_string(),
                DebugValue::Histogram(values) => format!("{values:?}"),
            };
            format!("{} {} {value}", key.name(), labels.join(" "))
        })
        .collect();
    told.sort();
    assert_eq!(
        told,
        [
            "tower_http_retry_attempts_total a first 1",
            "tower_http_retry_attempts_total a retry 1",
            "tower_http_retry_request_attempts a [2.0]",
            "tower_http_retry_requests_total a recovered GET 2xx 1",
            "tower_http_retry_wait_seconds a [0.1]",
        ]
    );
}

#[cfg(feature = "opentelemetry")]
#[tokio::test(start_paused = true)]
async fn opentelemetry_reads_what_the_snapshot_says() {
    use opentelemetry::metrics::MeterProvider;
    use opentelemetry_sdk::metrics::{
        InMemoryMetricExporter, PeriodicReader, SdkMeterProvider,
        data::{AggregatedMetrics, MetricData},
    };

    let exporter = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(exporter.clone()).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    let (layer, metrics) = counted();
    metrics.register(&provider.meter("test"));
    let mut trip = Trip::start(layer);
    trip.fail(503).waits(100 * MS).await;
    trip.end(200).expect("a response");
    provider.force_flush().expect("an export");

    let mut told = Vec::new();
    for resource in exporter.get_finished_metrics().expect("the metrics") {
        for metric in resource.scope_metrics().flat_map(|scope| scope.metrics()) {
            let name = metric.name().trim_start_matches("tower_http_retry.");
            match metric.data() {
                AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                    assert!(sum.is_monotonic());
                    for point in sum.data_points() {
                        told.push(format!("{name} {}", point.value()));
                    }
                }
                AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                    for point in histogram.data_points() {
                        told.push(format!("{name} {} of {}", point.sum(), point.count()));
                    }
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }
    told.sort();
    assert_eq!(
        told,
        [
            "attempts 1",
            "attempts 1",
            "request_attempts 2 of 1",
            "requests 1",
            "wait 0.1 of 1",
        ]
    );
}

#[cfg(feature = "shadow")]
#[tokio::test(start_paused = true)]
async fn what_a_shadow_finds_is_counted_by_kind() {
    use tower_http_retry::shadow::Shadow;

    let candidate = RetryPolicy::builder().total(0).build().expect("a policy");
    let shadow = Shadow::new(every(100 * MS), candidate);
    let metrics = Metrics::builder().service("a").shadow("b", &shadow).build();
    let mut trip = Trip::start(RetryLayer::new(shadow).metrics(metrics.clone()));
    trip.fail(503).waits(100 * MS).await;
    trip.end(200).expect("a response");
    let lines = lines(&metrics.snapshot());
    let found: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("shadow"))
        .collect();
    assert_eq!(
        found,
        [
            "shadow_compared_total b 1",
            "shadow_disagreements_total b would_retry 0",
            "shadow_disagreements_total b would_stop 1",
            "shadow_disagreements_total b would_fail 0",
            "shadow_disagreements_total b would_accept 0",
            "shadow_disagreements_total b other_reason 0",
            "shadow_disagreements_total b other_wait 0",
        ]
    );
}
