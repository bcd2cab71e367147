//! Goes on with a download whose body broke.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use allocation_counter::measure;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use tokio::time::{self, Instant};
use tokio_test::task;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_http_retry::{
    RequestDeadline, RetryEvent, RetryLayer, RetryReport,
    budget::RetryBudget,
    classify::Cause,
    policy::{
        Backoff, Limit, LimitKind, Note, RetryDisabled, RetryPolicy, RetryPolicyBuilder, StopReason,
    },
    resume::{NotResumed, ResumeError, ResumeErrorKind, ResumeLayer},
    stack::RequestState,
};

use crate::scripted::{BoxError, Server, Step, data, get, request};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

const TAG: (&str, &str) = ("etag", "\"a\"");
const TEN: (&str, &str) = ("content-length", "10");
const FAIL: Step = Step::Fail("connection reset by peer");

fn length(length: &'static str) -> (&'static str, &'static str) {
    ("content-length", length)
}

fn range(range: &'static str) -> (&'static str, &'static str) {
    ("content-range", range)
}

fn builder() -> RetryPolicyBuilder {
    let policy = RetryPolicy::builder().backoff(Backoff::constant(100 * MS));
    policy.retry_after_jitter(0.0).budget(None)
}

fn policy() -> RetryPolicy {
    builder().build().expect("valid")
}

fn layer() -> ResumeLayer<RetryPolicy> {
    ResumeLayer::new(policy())
}

/// A download of ten bytes that breaks after the first four.
fn broken() -> Server {
    Server::new().answer(200, &[TAG, TEN], [data("0123"), FAIL])
}

trait Rest: Sized {
    fn rest(self) -> Self;
}

impl Rest for Server {
    /// And the other six.
    fn rest(self) -> Self {
        let fields = [TAG, length("6"), range("bytes 4-9/10")];
        self.answer(206, &fields, [data("456789")])
    }
}

/// What the caller gets of a body.
struct Got {
    bytes: Vec<u8>,
    trailers: Option<HeaderMap>,
    end: Result<Option<RetryReport>, ResumeError>,
}

impl Got {
    fn report(&self) -> &RetryReport {
        match &self.end {
            Ok(report) => report.as_ref().expect("a report"),
            Err(error) => error.report(),
        }
    }

    fn error(&self) -> &ResumeError {
        self.end.as_ref().expect_err("it went on")
    }

    /// Why it did not go on, which the original error must not hide.
    fn why(&self) -> NotResumed {
        let error = self.error();
        match *error.stop_reason() {
            StopReason::NotResumable { because } => because,
            _ => panic!("{error}"),
        }
    }
}

/// Sends a request through the layer, and reads what comes of it.
async fn fetch<S>(layer: &ResumeLayer<RetryPolicy>, server: S, request: Request<Full<Bytes>>) -> Got
where
    S: Service<Request<Full<Bytes>>, Response = Response<crate::scripted::Script>> + Clone,
    S::Error: Into<BoxError> + std::fmt::Debug,
{
    let response = layer.layer(server).oneshot(request).await;
    let mut body = pin!(response.expect("a response").into_body());
    let (mut bytes, mut trailers) = (Vec::new(), None);
    let end = loop {
        match body.frame().await {
            None => break Ok(body.report().cloned()),
            Some(Err(error)) => break Err(error),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => bytes.extend(data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
        }
    };
    if let Err(error) = &end {
        assert_eq!(body.report(), Some(error.report()));
        assert!(body.frame().await.is_none(), "nothing follows an error");
    }
    assert_eq!(body.delivered(), bytes.len() as u64);
    Got {
        bytes,
        trailers,
        end,
    }
}

fn original(error: &ResumeError) -> String {
    error
        .downcast_inner::<io::Error>()
        .expect("the body's own")
        .to_string()
}

#[tokio::test(start_paused = true)]
async fn what_breaks_ends_too_early_or_stalls_goes_on_without_a_seam() {
    let stall = Step::Stall;
    for (end, waits, cause) in [
        (vec![FAIL], 100 * MS, Cause::ResponseBody),
        (vec![], 100 * MS, Cause::UnexpectedEof),
        (vec![stall], 30 * SECOND + 100 * MS, Cause::Timeout),
        (
            vec![Step::Pause(29 * SECOND), FAIL],
            29 * SECOND + 100 * MS,
            Cause::ResponseBody,
        ),
    ] {
        let steps = [data("01"), data("23")].into_iter().chain(end);
        let server = Server::new().answer(200, &[TAG, TEN], steps).rest();
        let start = Instant::now();
        let got = fetch(&layer(), server.clone(), get()).await;
        assert_eq!(got.bytes, b"0123456789");
        assert_eq!(start.elapsed(), waits);
        let report = got.report();
        assert_eq!(
            (report.attempt_count(), report.stop.name()),
            (2, "succeeded")
        );
        assert_eq!(report.url, "http://files.test/big", "without its query");
        let first = &report.attempts[0];
        assert_eq!(first.failed_within, Some(cause));
        let (read, of) = (4, Some(10));
        assert_eq!(first.layer_notes, [Note::BodyEnded { read, of }]);
        let wait = first.wait.as_ref().expect("a wait");
        assert_eq!(
            (wait.planned, wait.charged),
            (100 * MS, Some(LimitKind::Read))
        );
        let seen = server.seen();
        assert_eq!(seen[1].headers["range"], "bytes=4-");
        assert_eq!(seen[1].headers["if-range"], "\"a\"");
        assert_eq!(seen[1].uri, seen[0].uri);
        assert!(
            report.to_string().contains("after 4 of 10 bytes"),
            "{report}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_arrives_in_one_piece_is_handed_on_as_it_is_and_has_no_report() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().expect("a value"));
    let steps = [
        data("01234"),
        Step::Pause(SECOND),
        data("56789"),
        Step::Trailers(trailers.clone()),
    ];
    let server = Server::new().answer(200, &[TAG, TEN], steps);
    let got = fetch(&layer(), server, get()).await;
    assert_eq!(
        (&*got.bytes, got.trailers),
        (&b"0123456789"[..], Some(trailers))
    );
    assert_eq!(got.end.expect("no error"), None);
}

#[tokio::test(start_paused = true)]
async fn trailers_are_those_of_the_last_part() {
    let trailer = |text: &str| {
        HeaderMap::from_iter([(
            http::HeaderName::from_static("x-sum"),
            text.parse().expect("a value"),
        )])
    };
    let fields = [TAG, length("6"), range("bytes 4-9/10")];
    let server = Server::new()
        .answer(
            200,
            &[TAG, TEN],
            [data("0123"), Step::Trailers(trailer("early"))],
        )
        .answer(
            206,
            &fields,
            [data("456789"), Step::Trailers(trailer("last"))],
        );
    let got = fetch(&layer(), server, get()).await;
    assert_eq!(got.bytes, b"0123456789");
    assert_eq!(got.trailers, Some(trailer("last")));
}

#[tokio::test(start_paused = true)]
async fn parts_that_are_shorter_earlier_longer_or_the_whole_fit_all_the_same() {
    let whole = "0123456789";
    let any = range("bytes 4-9/*");
    for (fields, steps) in [
        (vec![TAG, length("6"), any], vec![data("456789")]),
        (
            vec![TAG, length("10"), range("bytes 0-9/10")],
            vec![data("01"), data(&whole[2..])],
        ),
        (
            vec![TAG, length("8"), range("bytes 2-9/10")],
            vec![data("234"), data("56789")],
        ),
    ] {
        let got = fetch(&layer(), broken().answer(206, &fields, steps), get()).await;
        assert_eq!(got.bytes, whole.as_bytes(), "{fields:?}");
    }
    // The whole, under the same validator and of the same length.
    let got = fetch(
        &layer(),
        broken().answer(200, &[TAG, TEN], [data(whole)]),
        get(),
    )
    .await;
    assert_eq!(got.bytes, whole.as_bytes());
    // A piece, and from there on.
    let server = broken().answer(
        206,
        &[TAG, length("2"), range("bytes 4-5/10")],
        [data("45")],
    );
    let server = server.answer(
        206,
        &[TAG, length("4"), range("bytes 6-9/10")],
        [data("6789")],
    );
    let got = fetch(&layer(), server.clone(), get()).await;
    assert_eq!(got.bytes, whole.as_bytes());
    assert_eq!(server.seen()[2].headers["range"], "bytes=6-");
    // More than its own range says is nobody's.
    let server = broken().answer(
        206,
        &[TAG, length("2"), range("bytes 4-5/10")],
        [data("45xxxx")],
    );
    let server = server.answer(
        206,
        &[TAG, length("4"), range("bytes 6-9/10")],
        [data("6789xx")],
    );
    assert_eq!(fetch(&layer(), server, get()).await.bytes, whole.as_bytes());
}

#[tokio::test(start_paused = true)]
async fn a_range_of_the_callers_own_is_continued_to_its_end_and_not_beyond() {
    let first = [TAG, length("5"), range("bytes 2-6/10")];
    let mut part = get();
    part.headers_mut()
        .insert("range", "bytes=2-6".parse().expect("a value"));
    for (fields, steps) in [
        ([TAG, length("3"), range("bytes 4-6/10")], "456"),
        ([TAG, length("6"), range("bytes 4-9/10")], "456789"),
        ([TAG, length("10"), range("bytes 0-9/10")], "0123456789"),
    ] {
        let server = Server::new()
            .answer(206, &first, [data("23"), FAIL])
            .answer(206, &fields, [data(steps)]);
        let got = fetch(&layer(), server.clone(), part.clone()).await;
        assert_eq!(got.bytes, b"23456");
        assert_eq!(server.seen()[1].headers["range"], "bytes=4-6");
    }
    let server = Server::new()
        .answer(206, &first, [data("23"), FAIL])
        .answer(200, &[TAG, TEN], [data("0123456789")]);
    assert_eq!(fetch(&layer(), server, part.clone()).await.bytes, b"23456");
    // A server without ranges gave the whole.
    let got = fetch(&layer(), broken().rest(), part).await;
    assert_eq!(got.bytes, b"0123456789");
}

/// What comes behind may be without an end.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_longer_than_what_is_left_is_not_read_to_its_end() {
    let mut part = get();
    let asked = "bytes=2-6".parse().expect("a value");
    part.headers_mut().insert("range", asked);
    let first = [TAG, length("5"), range("bytes 2-6/*")];
    for (status, fields, steps) in [
        (
            206,
            vec![TAG, length("96"), range("bytes 4-99/*")],
            vec![data("456"), data("789"), Step::Stall],
        ),
        (
            200,
            vec![TAG, length("100")],
            vec![data("0123456"), data("789"), Step::Stall],
        ),
        (
            200,
            vec![TAG, length("100")],
            vec![data("0123456"), data("789"), Step::Fail("gone")],
        ),
    ] {
        let server = Server::new()
            .answer(206, &first, [data("23"), FAIL])
            .answer(status, &fields, steps);
        let start = Instant::now();
        let got = fetch(&layer(), server, part.clone()).await;
        assert_eq!(got.bytes, b"23456");
        assert_eq!(start.elapsed(), 100 * MS, "the backoff, and nothing else");
        assert_eq!(got.report().stop.name(), "succeeded");
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_is_not_read_on_behind_its_own_range() {
    let rest = [TAG, length("2"), range("bytes 4-5/10")];
    let last = [TAG, length("4"), range("bytes 6-9/10")];
    let server = broken()
        .answer(206, &rest, [data("45"), data("?"), Step::Stall])
        .answer(206, &last, [data("6789")]);
    let start = Instant::now();
    let got = fetch(&layer(), server, get()).await;
    assert_eq!(got.bytes, b"0123456789");
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_never_ends_is_not_taken_for_none() {
    let policy = builder().backoff(Backoff::constant(Duration::MAX));
    let layer = ResumeLayer::new(policy.build().expect("valid"));
    let server = broken().rest();
    let fetched = time::timeout(1000 * SECOND, fetch(&layer, server.clone(), get())).await;
    assert!(fetched.is_err(), "it waits");
    assert_eq!(server.count(), 1);
}

/// Where a file is may be another place each time, as for a signed URL.
#[cfg(feature = "redirect")]
#[tokio::test(start_paused = true)]
async fn a_continuation_follows_the_redirects_anew_and_asks_there_for_the_rest() {
    use tower_http_retry::redirect::RedirectLayer;

    let to = |location| [("location", location), length("0")];
    let server = Server::new()
        .answer(302, &to("http://cdn.test/file?signed=1"), [])
        .answer(200, &[TAG, TEN], [data("0123"), FAIL])
        .answer(302, &to("http://cdn.test/file?signed=2"), [])
        .rest();
    let stack = ServiceBuilder::new()
        .layer(RedirectLayer::new(&policy()))
        .layer(RetryLayer::new(policy()))
        .service(server.clone());
    let got = fetch(&layer(), stack, get()).await;
    assert_eq!(got.bytes, b"0123456789");
    let seen = server.seen();
    let uris: Vec<_> = seen.iter().map(|head| head.uri.to_string()).collect();
    let first = "http://files.test/big?token=secret";
    let signed = |number| format!("http://cdn.test/file?signed={number}");
    assert_eq!(uris, [first, &signed(1), first, &signed(2)]);
    for head in &seen[2..] {
        assert_eq!(head.headers["range"], "bytes=4-");
        assert_eq!(head.headers["if-range"], "\"a\"");
    }
    let report = got.report();
    assert_eq!(report.stop.name(), "succeeded");
    assert_eq!(report.attempt_count(), 4, "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_to_be_repeated_is_not_continued() {
    let off = builder().total(Limit::Never).build().expect("valid");
    let mut disabled = get();
    disabled.extensions_mut().insert(RetryDisabled);
    for (policy, request, stop) in [
        (off, get(), "kind_disabled"),
        (policy(), disabled, "disabled"),
    ] {
        let server = broken();
        let got = fetch(&ResumeLayer::new(policy), server.clone(), request).await;
        assert_eq!(got.error().stop_reason().name(), stop);
        assert_eq!(original(got.error()), "connection reset by peer");
        assert_eq!(server.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_go_on_ends_with_the_original_error_and_says_why() {
    use NotResumed::*;
    let gzip = ("content-encoding", "gzip");
    let weak = ("etag", "W/\"a\"");
    let none = ("accept-ranges", "none");
    // What the first response says.
    for (method, fields, because) in [
        (Method::GET, &[TAG][..], NoLength),
        (Method::GET, &[TEN], NoValidator),
        (Method::GET, &[weak, TEN], WeakValidator),
        (Method::GET, &[TAG, TEN, gzip], Encoded),
        (Method::GET, &[TAG, TEN, none], RangesRefused),
        (Method::POST, &[TAG, TEN], NotGet),
    ] {
        let server = Server::new().answer(200, fields, [data("0123"), FAIL]);
        let got = fetch(&layer(), server.clone(), request(method)).await;
        assert_eq!(got.bytes, b"0123");
        assert_eq!(got.why(), because, "{fields:?}");
        assert_eq!(original(got.error()), "connection reset by peer");
        assert_eq!(server.count(), 1);
    }
    // What the answer to a continuation says.
    let other = ("etag", "\"b\"");
    let parts = ("content-type", "multipart/byteranges; boundary=x");
    let ends_before = range("bytes 0-3/10");
    for (status, fields, because) in [
        (200, &[other, TEN][..], Changed),
        (200, &[TEN], Changed),
        (200, &[TAG, length("11")], Changed),
        (206, &[other, length("6"), range("bytes 4-9/10")], Changed),
        (206, &[weak, length("6"), range("bytes 4-9/10")], Changed),
        (206, &[TAG, length("6"), range("bytes 4-9/11")], Changed),
        (
            206,
            &[TAG, length("5"), range("bytes 5-9/10")],
            InvalidRange,
        ),
        (206, &[TAG, length("4"), ends_before], InvalidRange),
        (
            206,
            &[TAG, length("6"), range("bytes 9-4/10")],
            InvalidRange,
        ),
        (206, &[TAG, length("6")], InvalidRange),
        (
            206,
            &[TAG, length("7"), range("bytes 4-9/10")],
            InvalidRange,
        ),
        (206, &[TAG, range("bytes 4-9/10")], InvalidRange),
        (206, &[TAG, length("60"), parts], Multipart),
        (
            206,
            &[TAG, length("6"), range("bytes 4-9/10"), gzip],
            Encoded,
        ),
        (412, &[], Changed),
        (416, &[range("bytes */4")], Changed),
    ] {
        let server = broken().answer(status, fields, [data("other bytes")]);
        let got = fetch(&layer(), server.clone(), get()).await;
        assert_eq!(got.bytes, b"0123", "{status} {fields:?}");
        assert_eq!(got.why(), because, "{status} {fields:?}");
        assert_eq!(original(got.error()), "connection reset by peer");
        assert_eq!(server.count(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_below_that_decodes_is_noticed_by_the_length_that_it_takes() {
    let fields = [TAG, TEN, ("content-encoding", "gzip")];
    let server = Server::new().answer(200, &fields, [data("decoded"), FAIL]);
    // As `tower_http::decompression` does.
    let decoder = tower::util::MapResponseLayer::new(|mut response: Response<_>| {
        response.headers_mut().remove("content-encoding");
        response.headers_mut().remove("content-length");
        response
    });
    let got = fetch(&layer(), decoder.layer(server), get()).await;
    assert_eq!(got.why(), NotResumed::NoLength);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_continued_but_too_short_or_stalled_is_an_error_as_well() {
    for (steps, kind) in [
        (vec![data("0123")], ResumeErrorKind::Short),
        (
            vec![data("0123"), Step::Stall],
            ResumeErrorKind::Idle { after: 30 * SECOND },
        ),
    ] {
        let server = Server::new().answer(200, &[TEN], steps);
        let got = fetch(&layer(), server, get()).await;
        assert_eq!(got.why(), NotResumed::NoValidator);
        let error = got.error();
        assert_eq!((error.kind(), error.delivered()), (kind, 4));
        assert!(std::error::Error::source(error).is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn all_that_was_handed_on_is_complete_however_it_ends() {
    for steps in [
        vec![data("0123456789"), FAIL],
        vec![data("0123456789"), Step::Stall],
    ] {
        let server = Server::new().answer(200, &[TAG, TEN], steps);
        let got = fetch(&layer(), server.clone(), get()).await;
        assert_eq!((&*got.bytes, server.count()), (&b"0123456789"[..], 1));
        assert!(got.end.expect("no error").is_none());
    }
    // An empty one is complete from the start.
    let server = Server::new().answer(200, &[TAG, length("0")], [FAIL]);
    assert!(fetch(&layer(), server, get()).await.end.is_ok());
}

#[tokio::test(start_paused = true)]
async fn upgrades_tunnels_and_events_are_never_touched() {
    let sse = ("content-type", "text/event-stream");
    let ok = ("content-type", "text/plain");
    for (method, status, kind) in [
        (Method::GET, 101, ok),
        (Method::CONNECT, 200, ok),
        (Method::GET, 200, sse),
    ] {
        let fields = [TAG, TEN, kind];
        let server = Server::new().answer(status, &fields, [data("0123"), Step::Stall]);
        let layer = layer().deadline(SECOND);
        let response = layer.layer(server).oneshot(request(method.clone())).await;
        let mut body = task::spawn(response.expect("a response").into_body());
        let mut poll = || body.enter(|cx, body| body.poll_frame(cx));
        assert!(poll().is_ready());
        assert!(poll().is_pending());
        time::advance(3600 * SECOND).await;
        assert!(poll().is_pending(), "{method} {status} is not timed");
        // What breaks is handed on, and nothing is sent.
        let server = Server::new()
            .answer(status, &fields, [data("0123"), FAIL])
            .rest();
        let got = fetch(&layer, server.clone(), request(method)).await;
        assert_eq!((got.why(), server.count()), (NotResumed::NoDownload, 1));
        let short = Server::new().answer(status, &fields, [data("0123")]);
        assert!(fetch(&layer, short, get()).await.end.is_ok() || status == 200);
    }
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_head_has_a_length_and_no_body() {
    let server = Server::new().answer(200, &[TAG, TEN], []);
    let got = fetch(&layer(), server.clone(), request(Method::HEAD)).await;
    assert!(got.end.expect("no error").is_none());
    assert_eq!(server.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_progress_the_count_is_used_up_and_with_it_starts_anew() {
    let policy = builder().read(2).build().expect("valid");
    let step = |server: Server, at: u64| {
        let text = (at * 1000).to_string();
        let end = format!("bytes {text}-9999/10000");
        let length = (10_000 - at * 1000).to_string();
        let fields = [TAG, ("content-length", &*length), ("content-range", &*end)];
        server.answer(206, &fields, [data(vec![b'x'; 1000]), FAIL])
    };
    for (reset_after, sent) in [(64 * 1024, 3), (2001, 5), (2000, 10), (1000, 10), (0, 10)] {
        let first = [TAG, length("10000")];
        let server = Server::new().answer(200, &first, [data(vec![b'x'; 1000]), FAIL]);
        let server = (1..10).fold(server, step);
        let layer = ResumeLayer::new(policy.clone()).reset_after(reset_after);
        let got = fetch(&layer, server.clone(), get()).await;
        assert_eq!(server.count(), sent, "{reset_after}: {}", got.report());
        assert_eq!(got.bytes.len(), sent * 1000);
        if sent < 10 {
            let (kind, limit) = (LimitKind::Read, 2);
            let stop = got.error().stop_reason();
            assert_eq!(*stop, StopReason::CountExhausted { kind, limit });
            assert_eq!(original(got.error()), "connection reset by peer");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_sends_large_parts_is_asked_for_the_next_at_once_and_free() {
    const PART: u64 = 100_000;
    let mut server = Server::new().answer(200, &[TAG, length("1000000")], [data("x"), FAIL]);
    let mut at = 1u64;
    while at < 1_000_000 {
        let end = (at + PART).min(1_000_000);
        let range = format!("bytes {at}-{}/1000000", end - 1);
        let length = (end - at).to_string();
        let fields = [
            TAG,
            ("content-length", &*length),
            ("content-range", &*range),
        ];
        server = server.answer(206, &fields, [data(vec![b'x'; (end - at) as usize])]);
        at = end;
    }
    let start = Instant::now();
    let policy = builder().read(1).build().expect("valid");
    let got = fetch(&ResumeLayer::new(policy), server.clone(), get()).await;
    assert_eq!((got.bytes.len(), server.count()), (1_000_000, 11));
    assert_eq!(start.elapsed(), 100 * MS, "the first break was waited for");
}

#[tokio::test(start_paused = true)]
async fn the_retries_below_send_it_and_all_is_one_report_and_one_count() {
    let stack = |policy: RetryPolicy, server: Server| RetryLayer::new(policy).layer(server);
    let policy = builder().total(3).build().expect("valid");
    // One retry for the head, one continuation, and one retry for that.
    let server = Server::new()
        .answer(503, &[], [])
        .answer(200, &[TAG, TEN], [data("0123"), FAIL])
        .answer(503, &[], [])
        .rest();
    let layer = ResumeLayer::new(policy.clone());
    let got = fetch(&layer, stack(policy.clone(), server.clone()), get()).await;
    assert_eq!(got.bytes, b"0123456789");
    let report = got.report();
    let numbers: Vec<_> = report.attempts.iter().map(|one| one.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    let starts: Vec<_> = report.attempts.iter().map(|one| one.started).collect();
    assert_eq!(starts, [0, 100, 200, 300].map(|ms| ms * MS), "{report}");
    // With one more failure, the count is used up: nothing is multiplied.
    let server = Server::new()
        .answer(503, &[], [])
        .answer(200, &[TAG, TEN], [data("0123"), FAIL])
        .answer(503, &[], [])
        .answer(503, &[], [])
        .rest();
    let got = fetch(&layer, stack(policy, server.clone()), get()).await;
    let (kind, limit) = (LimitKind::Total, 3);
    assert_eq!(
        *got.error().stop_reason(),
        StopReason::CountExhausted { kind, limit }
    );
    assert_eq!(original(got.error()), "connection reset by peer");
    assert_eq!(server.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_continuation_that_fails_is_an_attempt_like_others_where_no_retries_are_below() {
    let late = [("retry-after", "7")];
    let server = broken().answer(503, &late, []).fail("no route").rest();
    let start = Instant::now();
    let got = fetch(&layer(), server, get()).await;
    assert_eq!(got.bytes, b"0123456789");
    assert_eq!(start.elapsed(), 7 * SECOND + 200 * MS, "{}", got.report());
    assert_eq!(got.report().attempt_count(), 4);
    // What no retry helps against ends it.
    let got = fetch(&layer(), broken().answer(404, &[], []), get()).await;
    assert_eq!(got.error().stop_reason().name(), "status_not_listed");
    assert_eq!(original(got.error()), "connection reset by peer");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_an_instant_and_the_bodys_own_takes_its_place() {
    let late = || {
        let steps = [data("0123"), Step::Pause(10 * SECOND), FAIL];
        Server::new().answer(200, &[TAG, TEN], steps).rest()
    };
    let mut shared = get();
    shared
        .extensions_mut()
        .insert(RequestState::new(Some(Instant::now() + 5 * SECOND)));
    let got = fetch(&layer(), late(), shared).await;
    assert_eq!(got.error().stop_reason().name(), "deadline_too_close");
    assert_eq!(original(got.error()), "connection reset by peer");

    let with_own = || {
        let mut request = get();
        request
            .extensions_mut()
            .insert(RequestDeadline::after(5 * SECOND));
        request
    };
    let got = fetch(&layer(), late(), with_own()).await;
    assert_eq!(got.error().stop_reason().name(), "deadline_too_close");
    // The body's own is longer, and the retries below do not see the other any more.
    let server = late();
    let layer = layer().deadline(20 * SECOND);
    let got = fetch(
        &layer,
        RetryLayer::new(policy()).layer(server.clone()),
        with_own(),
    )
    .await;
    assert_eq!(got.bytes, b"0123456789");
    let head = &server.seen()[1];
    assert!(head.extensions.get::<RequestDeadline>().is_none());
    let state = RequestState::of(&head.extensions).expect("shared");
    let left = state.deadline().expect("a deadline") - server.times()[0];
    assert_eq!(left, 20 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_bodys_own_deadline_ends_it_wherever_it_is() {
    let trickle = (0..9).flat_map(|_| [data("x"), Step::Pause(SECOND)]);
    let flows = Server::new().answer(200, &[TAG, TEN], trickle);
    let start = Instant::now();
    let own = layer().deadline(3500 * MS);
    let got = fetch(&own, flows, get()).await;
    assert_eq!((start.elapsed(), got.bytes.len()), (3500 * MS, 4));
    let deadline = 3500 * MS;
    assert_eq!(got.error().kind(), ResumeErrorKind::Deadline { deadline });
    assert_eq!(
        *got.error().stop_reason(),
        StopReason::DeadlineExceeded { deadline }
    );
    // A continuation whose head does not come.
    let start = Instant::now();
    let service = tower::service_fn({
        let server = broken();
        move |request: Request<Full<Bytes>>| {
            let first = server.count() == 0;
            let answer = first.then(|| server.clone().call(request));
            async move {
                match answer {
                    Some(answer) => answer.await,
                    None => std::future::pending().await,
                }
            }
        }
    });
    let got = fetch(&own, service, get()).await;
    assert_eq!(start.elapsed(), 3500 * MS);
    assert_eq!(original(got.error()), "connection reset by peer");
    assert_eq!(
        *got.error().stop_reason(),
        StopReason::DeadlineExceeded { deadline }
    );
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_asked_and_gets_back_what_was_not_sent() {
    let budget = RetryBudget::aws();
    let policy = builder().budget(budget.clone()).build().expect("valid");
    let balance = || {
        let slot = budget.slot(get().uri());
        budget
            .balance(slot, Instant::now().into_std())
            .expect("its own")
    };
    let layer = ResumeLayer::new(policy);
    let response = layer
        .layer(broken().rest())
        .oneshot(get())
        .await
        .expect("a response");
    let mut body = task::spawn(response.into_body());
    let mut poll = || body.enter(|cx, body| body.poll_frame(cx));
    assert!(poll().is_ready());
    assert!(poll().is_pending(), "it waits");
    assert!(balance() < 500.0);
    drop(body);
    assert_eq!(balance(), 500.0);
    // Spent, until the whole has arrived.
    let got = fetch(&layer, broken().answer(404, &[], []), get()).await;
    assert!(got.end.is_err());
    let spent = 500.0 - balance();
    assert!(spent > 0.0);
    let got = fetch(&layer, broken().rest(), get()).await;
    assert!(got.end.is_ok());
    assert_eq!(500.0 - balance(), spent, "a success gets back what it cost");
    // With nothing left, it ends.
    let slot = budget.slot(get().uri());
    let now = Instant::now().into_std();
    while budget
        .withdraw(
            slot,
            tower_http_retry::classify::FailureKind::Read,
            false,
            now,
        )
        .is_ok()
    {}
    let got = fetch(&layer, broken().rest(), get()).await;
    assert_eq!(got.error().stop_reason().name(), "budget_exhausted");
    assert_eq!(original(got.error()), "connection reset by peer");
}

/// Is ready half a second after it was asked first, and a clone is not ready.
struct Slow<S> {
    inner: S,
    calls: Arc<Mutex<Vec<Instant>>>,
    until: Option<Instant>,
    ready: bool,
    sleep: Arc<Mutex<Option<Pin<Box<time::Sleep>>>>>,
}

impl<S: Clone> Clone for Slow<S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            calls: Arc::clone(&self.calls),
            until: None,
            ready: false,
            sleep: Arc::default(),
        }
    }
}

impl<S: Service<Request<Full<Bytes>>>> Service<Request<Full<Bytes>>> for Slow<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let until = *self.until.get_or_insert_with(|| Instant::now() + 500 * MS);
        let mut sleep = self.sleep.lock().expect("no panic");
        let timer = sleep.get_or_insert_with(|| Box::pin(time::sleep_until(until)));
        std::task::ready!(timer.as_mut().poll(cx));
        *sleep = None;
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> S::Future {
        assert!(
            std::mem::take(&mut self.ready),
            "called before it was ready"
        );
        self.until = None;
        self.calls.lock().expect("no panic").push(Instant::now());
        self.inner.call(request)
    }
}

#[tokio::test(start_paused = true)]
async fn readiness_is_waited_for_before_each_continuation() {
    let fields = [TAG, length("6"), range("bytes 4-9/10")];
    let server = broken().answer(206, &fields, [data("45"), FAIL]);
    let server = server.answer(
        206,
        &[TAG, length("4"), range("bytes 6-9/10")],
        [data("6789")],
    );
    let calls = Arc::default();
    let slow = Slow {
        inner: server,
        calls: Arc::clone(&calls),
        until: None,
        ready: false,
        sleep: Arc::default(),
    };
    let start = Instant::now();
    let got = fetch(&layer(), slow, get()).await;
    assert_eq!(got.bytes, b"0123456789");
    let calls: Vec<_> = calls
        .lock()
        .expect("no panic")
        .iter()
        .map(|at| *at - start)
        .collect();
    assert_eq!(calls, [500 * MS, 1100 * MS, 1700 * MS]);
}

#[tokio::test(start_paused = true)]
async fn each_break_and_each_end_is_told() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&told);
    let layer = layer().on_event(move |event| {
        let line = match event {
            RetryEvent::Retry { url, attempt, .. } => format!("break {} {url}", attempt.number),
            RetryEvent::Recovered(report) => format!("recovered {}", report.attempt_count()),
            RetryEvent::GaveUp(report) => format!("gave up: {}", report.stop.name()),
            _ => "?".to_owned(),
        };
        hear.lock().expect("no panic").push(line);
    });
    let layer = layer.redact_paths(|_| "/…".to_owned());
    fetch(&layer, broken().rest(), get()).await;
    fetch(&layer, broken().answer(412, &[], []), get()).await;
    let told = told.lock().expect("no panic");
    let (one, end) = ("break 1 http://files.test/…", "gave up: not_resumable");
    assert_eq!(*told, [one, "recovered 2", one, end]);
}

/// hyper, for one, stops at the length, and so do those who copy so many bytes.
#[tokio::test(start_paused = true)]
async fn the_end_is_told_with_the_last_byte() {
    let budget = RetryBudget::aws();
    let told = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&told);
    let policy = builder().budget(budget.clone()).build().expect("valid");
    let layer = ResumeLayer::new(policy).on_event(move |event| {
        let end = matches!(event, RetryEvent::Recovered(_));
        hear.lock().expect("no panic").push(end);
    });
    let response = layer.layer(broken().rest()).oneshot(get()).await;
    let mut body = pin!(response.expect("a response").into_body());
    while body.size_hint().exact() != Some(0) {
        body.frame().await.expect("a frame").expect("a part");
    }
    assert_eq!(body.report().expect("it broke").stop.name(), "succeeded");
    let slot = budget.slot(get().uri());
    let balance = budget.balance(slot, Instant::now().into_std());
    assert_eq!(balance, Some(500.0), "a success gets back what it cost");
    assert!(body.frame().await.is_none());
    assert_eq!(*told.lock().expect("no panic"), [false, true], "and once");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_of_the_bodys_own_that_never_comes_takes_the_place_of_the_requests() {
    let steps = [data("0123"), Step::Pause(10 * SECOND), FAIL];
    let server = Server::new().answer(200, &[TAG, TEN], steps).rest();
    let mut request = get();
    let deadline = RequestDeadline::after(5 * SECOND);
    request.extensions_mut().insert(deadline);
    let got = fetch(&layer().deadline(Duration::MAX), server, request).await;
    assert_eq!(got.bytes, b"0123456789");
    assert!(got.end.is_ok());
}

#[tokio::test(start_paused = true)]
async fn identity_is_offered_where_nothing_else_is_and_stays_as_it_was() {
    let mut gzip = get();
    gzip.headers_mut()
        .insert("accept-encoding", "gzip".parse().expect("a value"));
    for (layer, request, expected) in [
        (layer(), get(), None),
        (layer().offer_identity(), get(), Some("identity")),
        (layer().offer_identity(), gzip, Some("gzip")),
    ] {
        let server = broken().rest();
        fetch(&layer, server.clone(), request).await;
        for head in server.seen() {
            let sent = head
                .headers
                .get("accept-encoding")
                .map(|value| value.to_str().expect("a text"));
            assert_eq!(sent, expected);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_length_is_that_of_the_download_until_its_end() {
    let response = layer().layer(broken().rest()).oneshot(get()).await;
    let mut body = pin!(response.expect("a response").into_body());
    assert_eq!(body.size_hint().exact(), Some(10));
    let mut left = 10;
    while let Some(frame) = body.frame().await {
        left -= frame.expect("it goes on").data_ref().map_or(0, Bytes::len) as u64;
        assert_eq!(body.size_hint().exact(), Some(left));
    }
    assert!(body.is_end_stream());
}

#[test]
fn a_body_above_hyper_is_one_that_can_be_boxed_and_read_without_pinning() {
    use hyper_util::{client::legacy::Client, rt::TokioExecutor};
    fn is_boxable<B>(_: impl Fn(B))
    where
        B: Body<Data = Bytes, Error = ResumeError> + Send + Sync + Unpin + 'static,
    {
    }
    fn body_of<S, B>(_: &S) -> impl Fn(B)
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>>,
    {
        |_| {}
    }
    let stack = ServiceBuilder::new()
        .layer(layer())
        .layer(RetryLayer::new(policy()))
        .service(Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>());
    is_boxable(body_of(&stack));
}

#[cfg(feature = "telemetry")]
#[tokio::test(start_paused = true)]
async fn continuations_are_counted_and_the_bytes_that_came_by_them() {
    use tower_http_retry::telemetry::Metrics;

    let metrics = Metrics::new();
    let layer = layer().metrics(metrics.clone());
    fetch(&layer, broken().rest(), get()).await;
    fetch(&layer, broken().answer(412, &[], []), get()).await;
    let counts = metrics.snapshot();
    let count = |name: &str, labels: &[(&str, &str)]| {
        counts.count(&format!("tower_http_retry_{name}"), labels)
    };
    assert_eq!(count("attempts_total", &[("kind", "resume")]), Some(2));
    assert_eq!(count("resumed_bytes_total", &[]), Some(6));
    let reason = [("reason", "not_resumable")];
    assert_eq!(count("suppressed_total", &reason), Some(1));
}

/// Answers at once, with such headers.
fn answering(
    fields: &'static [(&'static str, &'static str)],
) -> impl Service<Request<Empty<Bytes>>, Response = Response<Full<Bytes>>, Error = BoxError> + Clone
{
    tower::service_fn(move |_| {
        let mut response = Response::new(Full::new(Bytes::from_static(b"0123456789")));
        for (name, value) in fields {
            let value = http::HeaderValue::from_static(value);
            response.headers_mut().insert(*name, value);
        }
        std::future::ready(Ok(response))
    })
}

/// What it costs to send a request and to read its response, beyond what it costs without.
fn cost<S, B>(service: S, method: Method) -> u64
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>>,
    B: Body<Data = Bytes>,
{
    let mut service = service;
    let mut cx = Context::from_waker(Waker::noop());
    let mut send = || {
        let request = Request::builder().method(method.clone());
        let request = request.uri("http://files.test/big").header("accept", "*/*");
        let request = request.body(Empty::new()).expect("a request");
        let info = measure(|| {
            assert!(matches!(service.poll_ready(&mut cx), Poll::Ready(Ok(()))));
            let Poll::Ready(Ok(response)) = pin!(service.call(request)).poll(&mut cx) else {
                panic!("not answered at once");
            };
            let mut body = pin!(response.into_body());
            while let Poll::Ready(Some(Ok(_))) = body.as_mut().poll_frame(&mut cx) {}
        });
        info.count_total
    };
    // The first one fills what is recycled.
    send();
    send()
}

#[test]
fn a_download_in_one_piece_costs_no_allocation_and_needs_no_timer() {
    for fields in [
        &[][..],
        &[("etag", "\"a\""), ("content-length", "10")],
        &[("etag", "W/\"a\""), ("content-length", "10")],
        &[("content-type", "text/event-stream")],
    ] {
        let bare = cost(answering(fields), Method::GET);
        for method in [Method::GET, Method::POST] {
            let resume = ServiceBuilder::new()
                .layer(layer())
                .service(answering(fields));
            assert_eq!(cost(resume, method), bare, "{fields:?}");
        }
    }
}

#[test]
fn the_whole_family_with_nothing_to_do_costs_no_allocation() {
    let bare = cost(answering(&[]), Method::GET);
    let stack = ServiceBuilder::new()
        .layer(layer())
        .layer(RetryLayer::new(policy()))
        .service(answering(&[]));
    assert_eq!(cost(stack, Method::GET), bare);
    #[cfg(feature = "peek")]
    {
        let stack = ServiceBuilder::new()
            .layer(layer())
            .layer(RetryLayer::new(policy()))
            .layer(tower_http_retry::peek::PeekLayer::s3_errors())
            .layer(tower_http_retry::peek::PeekLayer::hints())
            .service(answering(&[]));
        assert_eq!(cost(stack, Method::GET), bare);
    }
}
