//! What operators are told: the layer's hook and `tracing` events, the same facts at the same
//! moments.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{Method, Request};
use http_body_util::Full;
use tokio::time::{self, Instant};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok};
use tower_http_retry::{
    RetryEvent, RetryLayer, RetryReport, TARGET,
    policy::{LimitKind, RetryDisabled, StopReason, WaitReason},
};
use tower_test::mock;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use test_support::probe::{
    MS, Req, Res, answer, assert_nothing_sent, every, get, request, reset, sent, start,
};
use test_support::trip::Trip;

/// An event with its fields as text.
#[derive(Clone, Debug)]
struct Logged {
    level: Level,
    target: String,
    fields: BTreeMap<&'static str, String>,
}

impl Logged {
    fn message(&self) -> &str {
        &self.fields["message"]
    }

    /// The fields' names and values, without the message.
    fn fields(&self) -> Vec<(&'static str, &str)> {
        let fields = self.fields.iter();
        fields
            .filter(|(name, _)| **name != "message")
            .map(|(name, value)| (*name, &**value))
            .collect()
    }
}

impl Visit for Logged {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}

/// Keeps every event.
#[derive(Clone, Default)]
pub(super) struct Log {
    events: Arc<Mutex<Vec<Logged>>>,
    spans: Arc<AtomicU64>,
}

/// Wants everything and keeps nothing.
///
/// Whether an event has a listener is remembered for the whole process, and is found out anew
/// whenever a listener comes or goes: an event that happens just then on another thread is lost.
/// With this one there always is one.
struct Awake;

impl Subscriber for Awake {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

impl Log {
    /// A log that misses nothing.
    pub(super) fn new() -> Self {
        static AWAKE: Once = Once::new();
        AWAKE.call_once(|| {
            tracing::subscriber::set_global_default(Awake).expect("nobody else listens");
        });
        Self::default()
    }

    /// Every field of every event.
    pub(super) fn texts(&self) -> Vec<(&'static str, String)> {
        let events = std::mem::take(&mut *self.events.lock().expect("no panic"));
        events.into_iter().flat_map(|event| event.fields).collect()
    }

    /// The events of requests; what the layer says of its settings is none.
    fn take(&self) -> Vec<Logged> {
        let mut events = std::mem::take(&mut *self.events.lock().expect("no panic"));
        events.retain(|event| !event.message().starts_with("lint"));
        events
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(self.spans.fetch_add(1, Relaxed) + 1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut logged = Logged {
            level: *event.metadata().level(),
            target: event.metadata().target().to_owned(),
            fields: BTreeMap::new(),
        };
        event.record(&mut logged);
        self.events.lock().expect("no panic").push(logged);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// What the layer's hook was told, and when.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Retry {
        method: Method,
        url: String,
        number: u32,
        wait: Duration,
        why: WaitReason,
    },
    Recovered(RetryReport),
    GaveUp(RetryReport),
}

type Tape = Arc<Mutex<Vec<(Duration, Told)>>>;

fn taped<P>(layer: RetryLayer<P>) -> (RetryLayer<P>, Tape) {
    let tape = Tape::default();
    let begin = Instant::now();
    let layer = layer.on_event({
        let tape = Arc::clone(&tape);
        move |event| {
            let told = match event {
                RetryEvent::Retry {
                    method,
                    url,
                    attempt,
                    ..
                } => {
                    let wait = attempt.wait.as_ref().expect("a retry has a wait");
                    Told::Retry {
                        method: (*method).clone(),
                        url: (*url).to_owned(),
                        number: attempt.number,
                        wait: wait.planned,
                        why: wait.why.clone(),
                    }
                }
                RetryEvent::Recovered(report) => Told::Recovered((*report).clone()),
                RetryEvent::GaveUp(report) => Told::GaveUp((*report).clone()),
                _ => unreachable!("a new kind of event"),
            };
            tape.lock().expect("no panic").push((begin.elapsed(), told));
        }
    });
    (layer, tape)
}

fn retry(number: u32) -> Told {
    Told::Retry {
        method: Method::GET,
        url: "http://a.test/x".to_owned(),
        number,
        wait: 100 * MS,
        why: WaitReason::Backoff,
    }
}

fn report(response: &Res) -> RetryReport {
    test_support::probe::report(response).clone()
}

#[tokio::test(start_paused = true)]
async fn the_hook_is_told_of_each_retry_when_it_is_decided_and_of_the_recovery() {
    let (layer, tape) = taped(RetryLayer::new(every(100 * MS)));
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    for n in 1..=3 {
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(503));
        assert_pending!(future.poll());
        assert_eq!(tape.lock().expect("no panic").len(), n, "before the wait");
        time::advance(100 * MS).await;
    }
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(200));
    let response = assert_ready_ok!(future.poll());
    assert_eq!(
        *tape.lock().expect("no panic"),
        [
            (Duration::ZERO, retry(1)),
            (100 * MS, retry(2)),
            (200 * MS, retry(3)),
            (300 * MS, Told::Recovered(report(&response))),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_hook_is_told_when_a_request_is_given_up() {
    let (layer, tape) = taped(RetryLayer::new(every(100 * MS)).deadline(250 * MS));
    let mut trip = Trip::start(layer);
    for _ in 0..2 {
        trip.fail(reset()).waits(100 * MS).await;
    }
    let error = trip.end(reset()).expect_err("an error");
    assert_eq!(
        *tape.lock().expect("no panic"),
        [
            (Duration::ZERO, retry(1)),
            (100 * MS, retry(2)),
            (200 * MS, Told::GaveUp(error.report().clone())),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_hook_is_told_of_every_way_to_end() {
    // Not ready for a retry.
    let (layer, tape) = taped(RetryLayer::new(every(100 * MS)));
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(503));
    assert_pending!(future.poll());
    handle.send_error("broken");
    time::advance(100 * MS).await;
    let error = assert_ready_err!(future.poll());
    let told = std::mem::take(&mut *tape.lock().expect("no panic"));
    assert_eq!(told.len(), 2);
    assert_eq!(told[1].1, Told::GaveUp(error.report().clone()));

    // The deadline passes during an attempt.
    let (layer, tape) = taped(RetryLayer::new(every(100 * MS)).deadline(50 * MS));
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    let _unanswered = sent(&mut handle);
    time::advance(50 * MS).await;
    let error = assert_ready_err!(future.poll());
    let gave_up = Told::GaveUp(error.report().clone());
    assert_eq!(*tape.lock().expect("no panic"), [(50 * MS, gave_up)]);

    // Answers that are not retried.
    let (layer, tape) = taped(RetryLayer::new(every(100 * MS)));
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut disabled = get();
    disabled.extensions_mut().insert(RetryDisabled);
    for (request, status) in [(get(), 404), (request("POST"), 503), (disabled, 503)] {
        let mut future = start(&mut service, request);
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(status));
        let response = assert_ready_ok!(future.poll());
        let told = std::mem::take(&mut *tape.lock().expect("no panic"));
        assert_eq!(told, [(Duration::ZERO, Told::GaveUp(report(&response)))]);
    }

    // A request that is dropped is not heard of again.
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(503));
    assert_pending!(future.poll());
    drop(future);
    assert_eq!(tape.lock().expect("no panic").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_success_at_once_is_no_event() {
    let log = Log::new();
    let _guard = tracing::subscriber::set_default(log.clone());
    let (layer, tape) = taped(RetryLayer::new(every(100 * MS)));
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    for status in [200, 204, 304] {
        let mut future = start(&mut service, get());
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(status));
        assert_ready_ok!(future.poll());
    }
    assert_nothing_sent(&mut handle);
    assert!(tape.lock().expect("no panic").is_empty());
    assert!(log.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_retry_and_a_recovery_are_logged_as_debug() {
    let log = Log::new();
    let _guard = tracing::subscriber::set_default(log.clone());
    let (mut service, mut handle) =
        mock::spawn_layer::<Req, Res, _>(RetryLayer::new(every(100 * MS)));
    let mut future = start(&mut service, get());
    for n in 1..=3 {
        assert_pending!(future.poll());
        let (_, respond) = sent(&mut handle);
        if n == 2 {
            respond.send_error(reset());
        } else {
            respond.send_response(answer(503));
        }
        assert_pending!(future.poll());
        let events = log.take();
        let [event] = &*events else {
            panic!("{events:?}");
        };
        assert_eq!((event.level, &*event.target), (Level::DEBUG, TARGET));
        assert_eq!(event.message(), "retrying");
        let number = n.to_string();
        let (outcome, charged) = if n == 2 {
            ("read: connection reset (connection reset)", LimitKind::Read)
        } else {
            ("503 Service Unavailable", LimitKind::Status)
        };
        assert_eq!(
            event.fields(),
            [
                ("attempt", &*number),
                ("charged", charged.as_str()),
                ("method", "GET"),
                ("outcome", outcome),
                ("url", "http://a.test/x"),
                ("wait_ms", "100"),
                ("why", "backoff"),
            ]
        );
        time::advance(100 * MS).await;
    }
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(200));
    assert_ready_ok!(future.poll());
    let events = log.take();
    let [event] = &*events else {
        panic!("{events:?}");
    };
    assert_eq!((event.level, event.message()), (Level::DEBUG, "recovered"));
    assert_eq!(
        event.fields(),
        [
            ("attempts", "4"),
            ("elapsed_ms", "300"),
            ("method", "GET"),
            ("url", "http://a.test/x"),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn giving_up_is_logged_as_a_warning_with_its_reason() {
    let log = Log::new();
    let _guard = tracing::subscriber::set_default(log.clone());
    let (mut service, mut handle) =
        mock::spawn_layer::<Req, Res, _>(RetryLayer::new(every(100 * MS)));
    let mut future = start(&mut service, get());
    for _ in 0..3 {
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(503));
        assert_pending!(future.poll());
        time::advance(100 * MS).await;
    }
    assert_pending!(future.poll());
    log.take();
    sent(&mut handle).1.send_response(answer(503));
    assert_ready_ok!(future.poll());
    let events = log.take();
    let [event] = &*events else {
        panic!("{events:?}");
    };
    assert_eq!((event.level, &*event.target), (Level::WARN, TARGET));
    assert_eq!(event.message(), "gave up");
    assert_eq!(
        event.fields(),
        [
            ("attempts", "4"),
            ("elapsed_ms", "300"),
            ("last", "503 Service Unavailable"),
            ("method", "GET"),
            ("reason", "count_exhausted"),
            ("stop", "`total` is used up (3 retries)"),
            ("url", "http://a.test/x"),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_callers_own_affairs_are_logged_as_debug_and_the_servers_as_a_warning() {
    let log = Log::new();
    let _guard = tracing::subscriber::set_default(log.clone());
    let (mut service, mut handle) =
        mock::spawn_layer::<Req, Res, _>(RetryLayer::new(every(100 * MS)));
    for (request, status, level, reason) in [
        (get(), 404, Level::DEBUG, "status_not_listed"),
        (request("POST"), 422, Level::DEBUG, "status_not_listed"),
        (get(), 501, Level::WARN, "status_not_listed"),
        (request("POST"), 503, Level::WARN, "method_not_allowed"),
    ] {
        let mut future = start(&mut service, request);
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(status));
        assert_ready_ok!(future.poll());
        let events = log.take();
        let [event] = &*events else {
            panic!("{events:?}");
        };
        assert_eq!(event.level, level, "{status}");
        assert_eq!(event.fields["reason"], reason);
        let message = if level == Level::DEBUG {
            "not retried"
        } else {
            "gave up"
        };
        assert_eq!(event.message(), message);
    }

    // A 404 after retries is not what was asked for at first: something was wrong.
    let mut future = start(&mut service, get());
    for _ in 0..2 {
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(503));
        assert_pending!(future.poll());
        time::advance(100 * MS).await;
    }
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(404));
    assert_ready_ok!(future.poll());
    let levels: Vec<_> = log.take().iter().map(|event| event.level).collect();
    assert_eq!(levels, [Level::DEBUG, Level::DEBUG, Level::WARN]);
}

#[tokio::test(start_paused = true)]
async fn urls_are_logged_without_userinfo_and_query() {
    let log = Log::new();
    let _guard = tracing::subscriber::set_default(log.clone());
    let (layer, tape) = taped(RetryLayer::new(every(100 * MS)));
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let request = Request::get("https://joe:s3cr3t@a.test:8443/p/q?token=s3cr3t")
        .body(Full::default())
        .expect("valid");
    let mut future = start(&mut service, request);
    for _ in 0..3 {
        assert_pending!(future.poll());
        let (request, respond) = sent(&mut handle);
        // The request itself keeps them.
        assert!(request.uri().to_string().contains("joe:s3cr3t@"));
        assert_eq!(request.uri().query(), Some("token=s3cr3t"));
        respond.send_error("failed: https://joe:s3cr3t@a.test:8443/p/q?token=s3cr3t");
        assert_pending!(future.poll());
        time::advance(100 * MS).await;
    }
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(503));
    let response = assert_ready_ok!(future.poll());

    let events = log.take();
    assert_eq!(events.len(), 4);
    for event in &events {
        assert_eq!(event.fields["url"], "https://a.test:8443/p/q");
        assert!(!format!("{event:?}").contains("s3cr3t"), "{event:?}");
    }
    let tape = format!("{:?}", tape.lock().expect("no panic"));
    assert!(!tape.contains("s3cr3t"), "{tape}");
    assert_eq!(report(&response).url, "https://a.test:8443/p/q");
}

#[tokio::test(start_paused = true)]
async fn a_request_sent_again_because_it_was_never_processed_is_logged_without_a_count() {
    use tower_http_retry::policy::{Attempt, Decision, RetryDecision, StopDecision, policy_fn};

    let log = Log::new();
    let _guard = tracing::subscriber::set_default(log.clone());
    let policy = policy_fn(|attempt: &Attempt<'_>| {
        let mut retry = RetryDecision::after(Duration::ZERO);
        retry.why = WaitReason::NeverProcessed;
        retry.charged = None;
        match attempt.number() {
            1 | 2 => Decision::Retry(retry),
            _ => Decision::Stop(StopDecision::because(StopReason::Custom("no".into()))),
        }
    });
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(RetryLayer::new(policy));
    let mut future = start(&mut service, get());
    for _ in 0..2 {
        assert_pending!(future.poll());
        sent(&mut handle).1.send_error("refused");
    }
    assert_pending!(future.poll());
    sent(&mut handle).1.send_error("refused");
    assert_ready_err!(future.poll());
    let events = log.take();
    assert_eq!(events.len(), 3);
    for event in &events[..2] {
        assert_eq!(event.fields.get("charged"), None);
        assert_eq!(event.fields["wait_ms"], "0");
    }
    assert_eq!(events[2].fields["reason"], "custom");
    assert_eq!(events[2].fields["stop"], "no");
}

/// One line each, for a log of one's own.
#[tokio::test(start_paused = true)]
async fn an_event_shows_itself_in_a_line_and_has_the_report_if_there_is_one() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let layer = |policy| {
        let lines = Arc::clone(&lines);
        RetryLayer::new(policy).on_event(move |event| {
            let report = event.report().map(|report| report.attempt_count());
            let head = event.method().map(Method::as_str).zip(event.url());
            let head = head.map(|(method, url)| format!("{method} {url}"));
            let line = event.to_string();
            lines.lock().expect("no panic").push((line, head, report));
        })
    };
    let mut trip = Trip::start(layer(every(100 * MS)));
    trip.fail(reset()).waits(100 * MS).await;
    trip.end(200).expect("a response");
    let mut trip = Trip::start(layer(every(Duration::ZERO)));
    for _ in 0..3 {
        trip.fail(503);
    }
    trip.end(503).expect("a response");
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer(every(MS)));
    handle.send_error("broken");
    assert_ready_err!(service.poll_ready());
    let lines = std::mem::take(&mut *lines.lock().expect("no panic"));
    let head = Some("GET http://a.test/x".to_owned());
    let line = |line: &str, report| (format!("GET http://a.test/x: {line}"), head.clone(), report);
    assert_eq!(
        lines,
        [
            line(
                "attempt 1: read: connection reset (connection reset); again in 100 ms: backoff",
                None
            ),
            line("succeeded after 2 attempts in 100 ms", Some(2)),
            line(
                "attempt 1: 503 Service Unavailable; again at once: immediate",
                None
            ),
            line(
                "attempt 2: 503 Service Unavailable; again at once: immediate",
                None
            ),
            line(
                "attempt 3: 503 Service Unavailable; again at once: immediate",
                None
            ),
            line(
                "failed after 4 attempts in 0 ms: `total` is used up (3 retries); last attempt: \
                 503 Service Unavailable",
                Some(4)
            ),
            (
                "no request was made: the inner service failed to become ready".to_owned(),
                None,
                Some(0)
            ),
        ]
    );
}
