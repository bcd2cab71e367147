//! Rule 5: while it waits, the layer holds nothing, and of a failed response it reads only what
//! the next attempt is worth.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Full, channel::Channel};
use tokio::time::{self, Instant};
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, limit::ConcurrencyLimit};
use tower_http_retry::{
    DrainLimit, Retry, RetryErrorKind, RetryLayer,
    body::{CloneBody, RecordedBody, ReplayError, Rewind},
    budget::RetryPermit,
    classify::{Opinion, Outcome},
    policy::{
        Attempt, Backoff, Decision, Gate, Policy, RequestHead, RetryDisabled, RetryPolicy, Session,
        StopReason,
    },
};
use tower_test::mock::{self, Handle, Mock, Spawn};

use test_support::probe::{
    Bookkeeper, MS, Req, Res, Step, Tracked, Watch, answer, assert_nothing_sent, every, get, is_ok,
    report, request, reset, sent, start, with_body,
};

const HELLO: [Step; 3] = [Step::Data(b"hello, "), Step::Data(b"world"), Step::Trailers];

type Mocked<P> = Retry<Mock<Req, Res>, P, CloneBody>;
type Spawned<P> = task::Spawn<<Mocked<P> as Service<Req>>::Future>;

/// Starts a GET that is answered with 503 and `body`, and polls it once after that.
fn failed_once<P>(layer: RetryLayer<P>, body: Tracked) -> (Spawned<P>, Handle<Req, Res>, Arc<Watch>)
where
    P: Policy + Clone,
{
    let watch = body.watch();
    let (mut service, mut handle) = mock::spawn_layer(layer);
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(with_body(503, body));
    assert_pending!(future.poll());
    (future, handle, watch)
}

#[tokio::test(start_paused = true)]
async fn the_permit_of_a_concurrency_limit_below_is_free_during_every_wait() {
    let (mock, mut handle) = mock::pair::<Req, Res>();
    let limited = ConcurrencyLimit::new(mock, 1);
    let mut other = Spawn::new(limited.clone());
    let mut service = Spawn::new(RetryLayer::new(every(100 * MS)).layer(limited));
    let mut first = start(&mut service, get());

    for failure in [
        Ok(answer(503)),
        Err(reset()),
        Ok(with_body(429, Tracked::new(HELLO))),
    ] {
        assert_pending!(first.poll());
        let (_, respond) = sent(&mut handle);
        assert_pending!(other.poll_ready::<Req>(), "the attempt has the permit");
        match failure {
            Ok(response) => respond.send_response(response),
            Err(error) => respond.send_error(error),
        }
        assert_pending!(first.poll());

        // Another request gets through in the middle of the wait.
        time::advance(50 * MS).await;
        assert_pending!(first.poll());
        let mut second = start(&mut other, get());
        sent(&mut handle).1.send_response(answer(200));
        assert!(is_ok(&assert_ready_ok!(second.poll())));
        drop(second);

        time::advance(50 * MS).await;
    }
    assert_pending!(first.poll());
    sent(&mut handle).1.send_response(answer(200));
    let response = assert_ready_ok!(first.poll());
    assert!(is_ok(&response));
    assert_eq!(report(&response).attempt_count(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_permit_below_is_free_while_a_failed_response_is_drained() {
    let (mock, mut handle) = mock::pair::<Req, Res>();
    let limited = ConcurrencyLimit::new(mock, 1);
    let mut other = Spawn::new(limited.clone());
    let mut service = Spawn::new(RetryLayer::new(every(Duration::ZERO)).layer(limited));
    let mut first = start(&mut service, get());

    for _ in 0..3 {
        assert_pending!(first.poll());
        let (_, respond) = sent(&mut handle);
        let body = Tracked::new([Step::Hang]);
        let watch = body.watch();
        respond.send_response(with_body(503, body));
        assert_pending!(first.poll());
        assert!(watch.polls() > 0 && !watch.dropped(), "it is being drained");

        let mut second = start(&mut other, get());
        sent(&mut handle).1.send_response(answer(200));
        assert!(is_ok(&assert_ready_ok!(second.poll())));
        drop(second);
        time::advance(250 * MS).await;
    }
    assert_pending!(first.poll());
    sent(&mut handle).1.send_response(answer(200));
    assert_ready_ok!(first.poll());
}

#[tokio::test(start_paused = true)]
async fn the_inner_future_and_all_of_the_response_are_gone_during_the_wait() {
    /// Set when its value is dropped.
    #[derive(Clone)]
    struct Flag(#[allow(dead_code, reason = "held")] Arc<Held>);
    struct Held(Arc<AtomicBool>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.store(true, Relaxed);
        }
    }
    let flag = || {
        let dropped = Arc::new(AtomicBool::new(false));
        (Flag(Arc::new(Held(Arc::clone(&dropped)))), dropped)
    };

    let script = Arc::new(std::sync::Mutex::new(Vec::<(Res, Flag)>::new()));
    let service = tower::service_fn({
        let script = Arc::clone(&script);
        move |_: Req| {
            let (response, held) = script.lock().expect("no panic").remove(0);
            // The future keeps the flag until it is dropped, also after it has resolved.
            let mut response = Some(response);
            std::future::poll_fn(move |_| {
                let _held = &held;
                std::task::Poll::Ready(Ok::<_, io::Error>(response.take().expect("polled once")))
            })
        }
    });
    let mut flags = Vec::new();
    for status in [503, 503, 503, 200] {
        let body = Tracked::new(HELLO);
        let watch = body.watch();
        let mut response = with_body(status, body);
        let (in_response, response_dropped) = flag();
        let (in_future, future_dropped) = flag();
        response.extensions_mut().insert(in_response);
        script.lock().expect("no panic").push((response, in_future));
        flags.push((watch, response_dropped, future_dropped));
    }

    let mut service = Spawn::new(RetryLayer::new(every(100 * MS)).layer(service));
    let mut future = start(&mut service, get());
    for (watch, response_dropped, future_dropped) in &flags[..3] {
        assert!(!watch.dropped());
        assert_pending!(future.poll());
        assert!(watch.dropped(), "the body");
        assert!(response_dropped.load(Relaxed), "the extensions");
        assert!(future_dropped.load(Relaxed), "the future");
        time::advance(100 * MS).await;
    }
    let response = assert_ready_ok!(future.poll());
    let (watch, response_dropped, _) = &flags[3];
    assert!(!watch.dropped() && !response_dropped.load(Relaxed));
    assert_eq!(report(&response).attempt_count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_failed_body_is_read_to_its_end_before_the_wait() {
    let (mut service, mut handle) = mock::spawn_layer(RetryLayer::new(every(100 * MS)));
    let mut future = start(&mut service, get());
    for _ in 0..3 {
        assert_pending!(future.poll());
        let body = Tracked::new(HELLO);
        let watch = body.watch();
        sent(&mut handle).1.send_response(with_body(503, body));
        assert_pending!(future.poll());
        assert_eq!((watch.frames(), watch.bytes()), (3, 12));
        assert!(watch.ended() && watch.dropped());
        time::advance(100 * MS).await;
    }
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(200));
    assert_ready_ok!(future.poll());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_comes_slowly_is_read_during_the_wait_and_does_not_prolong_it() {
    let start = Instant::now();
    let body = Tracked::new([
        Step::Data(b"a"),
        Step::Pause(40 * MS),
        Step::Data(b"b"),
        Step::Pause(40 * MS),
        Step::Data(b"c"),
    ]);
    let (mut future, mut handle, watch) = failed_once(RetryLayer::new(every(100 * MS)), body);
    assert_eq!(watch.bytes(), 1);
    time::advance(40 * MS).await;
    assert_pending!(future.poll());
    assert_eq!(watch.bytes(), 2);
    time::advance(40 * MS).await;
    assert_pending!(future.poll());
    assert!(watch.ended() && watch.dropped());
    time::advance(19 * MS).await;
    assert_pending!(future.poll());
    assert_nothing_sent(&mut handle);
    time::advance(MS).await;
    assert_pending!(future.poll());
    assert_eq!(start.elapsed(), 100 * MS);
    sent(&mut handle);
}

#[tokio::test(start_paused = true)]
async fn an_endless_body_is_read_up_to_the_limit_and_dropped() {
    let layer = RetryLayer::new(every(100 * MS)).drain(64);
    let (_future, _handle, watch) = failed_once(layer, Tracked::forever(Step::Data(b"0123456789")));
    assert!(watch.dropped());
    // The frame that passes the limit is the last one.
    assert_eq!(watch.bytes(), 70);
}

#[tokio::test(start_paused = true)]
async fn a_body_of_exactly_the_limit_is_read_to_its_end() {
    let layer = RetryLayer::new(every(100 * MS)).drain(12);
    let (_future, _handle, watch) = failed_once(layer, Tracked::new(HELLO[..2].to_vec()));
    assert!(watch.ended() && watch.dropped());
    assert_eq!(watch.bytes(), 12);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_says_it_is_too_long_is_dropped_unread() {
    for (declared, is_read) in [(64, true), (65, false), (u64::MAX, false)] {
        let layer = RetryLayer::new(every(100 * MS)).drain(64);
        let body = Tracked::new(HELLO).declare(declared);
        let (_future, _handle, watch) = failed_once(layer, body);
        assert!(watch.dropped());
        assert_eq!(watch.polls() > 0, is_read, "{declared}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endless_row_of_empty_frames_ends() {
    let layer = RetryLayer::new(every(100 * MS)).drain(1000);
    let (_future, _handle, watch) = failed_once(layer, Tracked::forever(Step::Data(b"")));
    assert!(watch.dropped());
    assert_eq!(watch.bytes(), 0);
    assert!(watch.frames() <= 1001, "{}", watch.frames());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_dropped_after_the_drain_time_within_the_wait() {
    let body = Tracked::new([Step::Data(b"a"), Step::Hang]);
    let (mut future, mut handle, watch) = failed_once(RetryLayer::new(every(1000 * MS)), body);
    time::advance(249 * MS).await;
    assert_pending!(future.poll());
    assert!(!watch.dropped());
    time::advance(MS).await;
    assert_pending!(future.poll());
    assert!(watch.dropped() && !watch.ended());
    time::advance(749 * MS).await;
    assert_pending!(future.poll());
    assert_nothing_sent(&mut handle);
    time::advance(MS).await;
    assert_pending!(future.poll());
    sent(&mut handle);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_delays_a_retry_by_no_more_than_the_drain_time() {
    let drain = DrainLimit {
        time: 20 * MS,
        ..DrainLimit::default()
    };
    let layer = RetryLayer::new(every(Duration::ZERO)).drain(drain);
    let (mut service, mut handle) = mock::spawn_layer(layer);
    let mut future = start(&mut service, get());
    for _ in 0..3 {
        assert_pending!(future.poll());
        let (_, respond) = sent(&mut handle);
        respond.send_response(with_body(503, Tracked::new([Step::Hang])));
        assert_pending!(future.poll());
        time::advance(19 * MS).await;
        assert_pending!(future.poll());
        assert_nothing_sent(&mut handle);
        time::advance(MS).await;
    }
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(200));
    assert_ready_ok!(future.poll());
}

/// R7
#[tokio::test(start_paused = true)]
async fn the_record_says_what_was_drained_where_that_took_time_or_was_cut_short() {
    let hang = [Step::Data(b"abc"), Step::Hang];
    let slow = [Step::Data(b"abc"), Step::Pause(40 * MS), Step::Data(b"def")];
    // The body, and what is told of it: bytes, milliseconds, and whether it came to its end.
    type Told = (u64, u32, bool);
    let table: [(Tracked, Option<Told>); 5] = [
        (Tracked::new(HELLO), None),
        (Tracked::new([]), None),
        (Tracked::new(hang), Some((3, 250, false))),
        (Tracked::new(slow), Some((6, 40, true))),
        (
            Tracked::forever(Step::Data(b"0123456789")),
            Some((70, 0, false)),
        ),
    ];
    for (body, told) in table {
        let drain = DrainLimit {
            bytes: 64,
            ..DrainLimit::default()
        };
        let layer = RetryLayer::new(every(20 * MS)).drain(drain);
        let (mut future, mut handle, _) = failed_once(layer, body);
        for _ in 0..300 {
            time::advance(MS).await;
            assert_pending!(future.poll());
        }
        sent(&mut handle).1.send_response(answer(200));
        let response = assert_ready_ok!(future.poll());
        let record = report(&response).attempts[0].drained.as_deref();
        let found = record.map(|drained| (drained.bytes, drained.took, drained.complete));
        let told = told.map(|(bytes, ms, complete)| (bytes, ms * MS, complete));
        assert_eq!(found, told);
        let timeline = report(&response).to_string();
        assert_eq!(timeline.contains("of it in"), told.is_some(), "{timeline}");
        if told == Some((3, 250 * MS, false)) {
            let line = "note: read 3 bytes of it in 250 ms, then dropped it";
            assert!(timeline.contains(line), "{timeline}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_in_time_a_body_is_read_however_long_it_takes() {
    let drain = DrainLimit {
        bytes: u64::MAX,
        time: Duration::MAX,
    };
    let body = Tracked::new([Step::Pause(3_600_000 * MS), Step::Data(b"a")]);
    let layer = RetryLayer::new(every(100 * MS)).drain(drain);
    let (mut future, mut handle, watch) = failed_once(layer, body);
    assert!(!watch.dropped());
    time::advance(3_600_000 * MS).await;
    assert_pending!(future.poll());
    assert!(watch.ended() && watch.dropped());
    sent(&mut handle);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_fails_while_it_is_drained_changes_nothing() {
    let body = Tracked::new([Step::Data(b"a"), Step::Fail]);
    let (mut future, mut handle, watch) = failed_once(RetryLayer::new(every(100 * MS)), body);
    assert!(watch.dropped());
    time::advance(100 * MS).await;
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(200));
    let response = assert_ready_ok!(future.poll());
    assert_eq!(report(&response).attempt_count(), 2);
    assert_eq!(report(&response).stop, StopReason::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_drained_where_that_is_switched_off() {
    let layer = RetryLayer::new(every(100 * MS)).drain(DrainLimit::NONE);
    let (_future, _handle, watch) = failed_once(layer, Tracked::new(HELLO));
    assert!(watch.dropped());
    assert_eq!(watch.polls(), 0);
}

#[tokio::test(start_paused = true)]
async fn draining_ends_with_the_deadline_and_no_attempt_is_sent_after_it() {
    let layer = RetryLayer::new(every(Duration::ZERO)).deadline(100 * MS);
    let (mut future, mut handle, watch) = failed_once(layer, Tracked::new([Step::Hang]));
    time::advance(99 * MS).await;
    assert_pending!(future.poll());
    assert!(!watch.dropped());
    time::advance(MS).await;
    let error = assert_ready_err!(future.poll());
    assert!(watch.dropped());
    assert_nothing_sent(&mut handle);
    assert_eq!(error.kind(), RetryErrorKind::DeadlineExceeded);
    assert_eq!(
        *error.stop_reason(),
        StopReason::DeadlineExceeded { deadline: 100 * MS }
    );
    assert_eq!(error.report().attempt_count(), 1);
}

/// Sends `request` to a service that answers 503 twice and then with `last`, and asserts that the
/// third answer comes back unread.
async fn stopped_at_the_third<P, R>(
    layer: RetryLayer<P, R>,
    request: Req,
    mut last: Res,
) -> StopReason
where
    P: Policy + Clone,
    R: Rewind<Full<Bytes>> + Clone,
{
    let watch = last.body().watch();
    *last.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
    let (mut service, mut handle) = {
        let (mock, handle) = mock::pair::<Request<R::Body>, Res>();
        (Spawn::new(layer.layer(mock)), handle)
    };
    assert_ready_ok!(service.poll_ready::<Req>());
    let mut future = task::spawn(service.call(request));
    let mut drained = Vec::new();
    for _ in 0..2 {
        assert_pending!(future.poll());
        let body = Tracked::new(HELLO);
        drained.push(body.watch());
        sent(&mut handle).1.send_response(with_body(503, body));
        assert_pending!(future.poll());
        time::advance(100 * MS).await;
    }
    assert_pending!(future.poll());
    let (request, respond) = sent(&mut handle);
    drop(request);
    respond.send_response(last);
    let response = assert_ready_ok!(future.poll());
    assert_nothing_sent(&mut handle);
    assert!(drained.iter().all(|watch| watch.ended()));
    assert_eq!(watch.polls(), 0, "it was read");
    let stop = report(&response).stop.clone();
    assert_eq!(report(&response).attempt_count(), 3);
    let whole = response.into_body().collect().await.expect("it is whole");
    assert_eq!(whole.trailers().map(http::HeaderMap::len), Some(1));
    assert_eq!(whole.to_bytes(), "hello, world");
    stop
}

#[tokio::test(start_paused = true)]
async fn whatever_stops_the_retries_leaves_the_last_response_untouched() {
    let last = || with_body(503, Tracked::new(HELLO));
    let wait = Backoff::constant(100 * MS);

    let two = RetryPolicy::builder().total(2).backoff(wait.clone());
    let layer = RetryLayer::new(two.build().expect("valid"));
    let stop = stopped_at_the_third(layer, get(), last()).await;
    assert_eq!(stop.name(), "count_exhausted");

    let layer = RetryLayer::new(every(100 * MS)).deadline(250 * MS);
    let stop = stopped_at_the_third(layer, get(), last()).await;
    assert_eq!(stop.name(), "deadline_too_close");

    let layer = RetryLayer::new(Bookkeeper::new(100 * MS, 2));
    let stop = stopped_at_the_third(layer, get(), last()).await;
    assert_eq!(stop.name(), "budget_exhausted");

    let layer = RetryLayer::new(every(100 * MS));
    let mut slow_down = last();
    let header = HeaderValue::from_static("3600");
    slow_down.headers_mut().insert("retry-after", header);
    let stop = stopped_at_the_third(layer, get(), slow_down).await;
    assert_eq!(stop.name(), "retry_after_too_long");

    let layer = RetryLayer::new(every(100 * MS)).classify(|outcome: &Outcome<'_>| match outcome {
        Outcome::Response { headers, .. } if headers.contains_key("x-final") => {
            Opinion::Forbid("it said so".into())
        }
        _ => Opinion::NoOpinion,
    });
    let mut fatal = last();
    let header = HeaderValue::from_static("1");
    fatal.headers_mut().insert("x-final", header);
    let stop = stopped_at_the_third(layer, get(), fatal).await;
    assert_eq!(stop.name(), "vetoed");
}

#[tokio::test(start_paused = true)]
async fn a_first_failure_that_is_not_retried_is_returned_untouched() {
    let disabled = {
        let mut request = get();
        request.extensions_mut().insert(RetryDisabled);
        request
    };
    for (request, status, stop) in [
        (get(), 404, "status_not_listed"),
        (get(), 501, "status_not_listed"),
        (request("POST"), 503, "method_not_allowed"),
        (disabled, 503, "disabled"),
    ] {
        let (mut service, mut handle) = mock::spawn_layer(RetryLayer::new(every(100 * MS)));
        let mut future = start(&mut service, request);
        assert_pending!(future.poll());
        let body = Tracked::new(HELLO);
        let watch = body.watch();
        sent(&mut handle).1.send_response(with_body(status, body));
        let response = assert_ready_ok!(future.poll());
        assert_eq!(report(&response).stop.name(), stop);
        assert_eq!(watch.polls(), 0);
        let body = response.into_body().collect().await.expect("whole");
        assert_eq!(body.to_bytes(), "hello, world");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_is_not_drained_when_the_request_body_cannot_be_sent_again() {
    let (mut service, mut handle) = {
        let layer = RetryLayer::new(every(100 * MS)).replay_bodies(4);
        let (mock, handle) = mock::pair();
        (Spawn::new(layer.layer(mock)), handle)
    };
    let (mut sender, upload) = Channel::<Bytes, io::Error>::new(4);
    for chunk in ["longer ", "than four"] {
        sender
            .try_send(http_body::Frame::data(chunk.into()))
            .expect("room");
    }
    drop(sender);
    let request = Request::put("http://a.test/x").body(upload).expect("valid");
    assert_ready_ok!(service.poll_ready::<Request<Channel<Bytes, io::Error>>>());
    let mut future = task::spawn(service.call(request));
    assert_pending!(future.poll());
    let (request, respond) = sent(&mut handle);
    let uploaded = request.into_body().collect().await.expect("it is sent");
    assert_eq!(uploaded.to_bytes(), "longer than four");
    let body = Tracked::new(HELLO);
    let watch = body.watch();
    respond.send_response(with_body(503, body));
    let response = assert_ready_ok!(future.poll());
    assert_eq!(watch.polls(), 0);
    assert_eq!(
        report(&response).stop,
        StopReason::BodyNotReplayable { sent: 16, limit: 4 }
    );
}

type Upload = Channel<Bytes, io::Error>;

/// An upload that goes on while it is decided what becomes of its request: in the last gate that
/// is foreign code, as it could on another thread.
#[derive(Clone)]
struct Meanwhile {
    upload: Arc<Mutex<Option<RecordedBody<Upload>>>>,
    books: Bookkeeper,
}

impl Policy for Meanwhile {
    type Session = Self;

    fn session(&self, _: &RequestHead<'_>) -> Self {
        self.clone()
    }
}

impl Session for Meanwhile {
    fn decide(&mut self, attempt: &Attempt<'_>) -> Decision {
        self.books.decide(attempt)
    }

    fn commit(&mut self, now: std::time::Instant) -> Result<RetryPermit, StopReason> {
        let mut upload = self.upload.lock().expect("no panic");
        let upload = upload.as_mut().expect("on the way");
        let next = assert_ready!(task::spawn(upload.frame()).poll());
        assert!(next.expect("more").is_ok());
        self.books.commit(now)
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_is_not_lost_to_an_upload_that_passes_the_limit_while_it_is_decided_on() {
    let books = Bookkeeper::new(100 * MS, 9);
    let upload = Arc::default();
    let policy = Meanwhile {
        upload: Arc::clone(&upload),
        books: books.clone(),
    };
    let (mock, mut handle) = mock::pair();
    let mut service = Spawn::new(RetryLayer::new(policy).replay_bodies(4).layer(mock));
    let (mut sender, body) = Channel::<Bytes, io::Error>::new(4);
    for chunk in ["four", " and more"] {
        let frame = http_body::Frame::data(chunk.into());
        sender.try_send(frame).expect("room");
    }
    let request = Request::put("http://a.test/x").body(body).expect("valid");
    assert_ready_ok!(service.poll_ready::<Request<Channel<Bytes, io::Error>>>());
    let mut future = task::spawn(service.call(request));
    assert_pending!(future.poll());
    let (request, respond) = sent(&mut handle);
    let mut sending = request.into_body();
    assert!(assert_ready!(task::spawn(sending.frame()).poll()).is_some());
    *upload.lock().expect("no panic") = Some(sending);
    respond.send_response(with_body(503, Tracked::new(HELLO)));

    let response = assert_ready_ok!(future.poll());
    let report = report(&response);
    assert_eq!(
        report.stop,
        StopReason::BodyNotReplayable { sent: 13, limit: 4 }
    );
    let gates = &report.attempts[0].gates;
    assert_eq!(gates.failed().collect::<Vec<_>>(), [Gate::Body]);
    assert!(report.attempts[0].wait.is_none());
    let books = books.books();
    assert_eq!((books.commits(), books.cancels()), (1, 1), "given back");
    let body = response.into_body().collect().await.expect("whole");
    assert_eq!(body.to_bytes(), "hello, world");

    // The upload was not cut either.
    drop(sender);
    let sending = upload.lock().expect("no panic").take().expect("on the way");
    sending.collect().await.expect("to its end");
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_was_answered_early_reads_no_further_during_the_wait() {
    let (mut service, mut handle) = {
        let layer = RetryLayer::new(every(100 * MS)).replay_bodies(64);
        let (mock, handle) = mock::pair();
        (Spawn::new(layer.layer(mock)), handle)
    };
    let (mut sender, upload) = Channel::<Bytes, io::Error>::new(8);
    let frame = |data: &'static str| http_body::Frame::data(Bytes::from_static(data.as_bytes()));
    sender.try_send(frame("a")).expect("room");
    let request = Request::put("http://a.test/x").body(upload).expect("valid");
    assert_ready_ok!(service.poll_ready::<Request<Channel<Bytes, io::Error>>>());
    let mut future = task::spawn(service.call(request));
    for _ in 0..3 {
        assert_pending!(future.poll());
        let (request, respond) = sent(&mut handle);
        // A connection that goes on sending after the answer.
        let mut upload = request.into_body();
        let first = upload.frame().await.expect("a frame").expect("whole");
        assert_eq!(first.into_data().expect("data"), "a");
        respond.send_response(answer(503));
        assert_pending!(future.poll());
        let next = assert_ready!(task::spawn(upload.frame()).poll());
        assert!(
            matches!(next, Some(Err(ReplayError::Superseded))),
            "{next:?}"
        );
        time::advance(100 * MS).await;
    }
    assert_pending!(future.poll());
    let (request, respond) = sent(&mut handle);
    sender.try_send(frame("b")).expect("room");
    drop(sender);
    let whole = request.into_body().collect().await.expect("whole");
    assert_eq!(whole.to_bytes(), "ab");
    respond.send_response(answer(200));
    assert_ready_ok!(future.poll());
}
