//! Rule 7: a request that is dropped sends nothing more, and a retry that was paid for and not
//! sent is given back exactly once.

use std::{error::Error, future::Future, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, request::Parts};
use http_body_util::{
    BodyExt, Full,
    channel::{Channel, Sender},
};
use tokio::time;
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, limit::ConcurrencyLimit};
use tower_http_retry::{
    DrainLimit, RetryError, RetryErrorKind, RetryLayer,
    body::{RecordBody, RecordedBody, ReplayError},
    policy::{RetryPolicy, StopReason},
};
use tower_test::mock::{self, Spawn};

use test_support::probe::{
    Bookkeeper, Books, MS, Req, Res, Step, Tracked, answer, assert_hung_up, assert_nothing_sent,
    every, get, is_ok, report, reset, sent, start, with_body,
};

/// Where a request is when it is dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// Its attempt was made; the future was not polled since.
    Unpolled,
    /// Its attempt waits for a response.
    Called,
    /// Its failed response is being read.
    Draining,
    /// It waits for the next attempt's time.
    Waiting,
    /// The service is not ready for the next attempt.
    Readying,
}

impl Place {
    const ALL: [Self; 5] = [
        Self::Unpolled,
        Self::Called,
        Self::Draining,
        Self::Waiting,
        Self::Readying,
    ];

    /// Whether a retry was paid for and not sent.
    fn owes_a_retry(self) -> bool {
        matches!(self, Self::Draining | Self::Waiting | Self::Readying)
    }
}

fn policy() -> (Bookkeeper, Arc<Books>) {
    let policy = Bookkeeper::new(100 * MS, u32::MAX);
    let books = policy.books();
    (policy, books)
}

#[tokio::test(start_paused = true)]
async fn a_request_dropped_at_any_place_sends_nothing_more_and_gives_an_unsent_retry_back() {
    for place in Place::ALL {
        // Dropped during the first, second and third attempt, or after it.
        for retries in 0..3 {
            let (policy, books) = policy();
            let (mock, mut handle) = mock::pair::<Req, Res>();
            let limited = ConcurrencyLimit::new(mock, 1);
            let mut other = Spawn::new(limited.clone());
            let mut service = Spawn::new(RetryLayer::new(policy).layer(limited));
            let mut future = start(&mut service, get());
            for _ in 0..retries {
                assert_pending!(future.poll());
                sent(&mut handle).1.send_error(reset());
                assert_pending!(future.poll());
                time::advance(100 * MS).await;
            }
            let mut body = Tracked::empty();
            if place == Place::Draining {
                body = Tracked::new([Step::Data(b"a"), Step::Hang]);
            }
            let watch = body.watch();
            if place != Place::Unpolled || retries > 0 {
                assert_pending!(future.poll());
            }
            let (_, respond) = sent(&mut handle);
            if place.owes_a_retry() {
                respond.send_response(with_body(503, body));
                if place == Place::Readying {
                    handle.allow(0);
                }
                assert_pending!(future.poll());
            }
            if place == Place::Readying {
                time::advance(100 * MS).await;
                assert_pending!(future.poll());
            }
            let owed = u32::from(place.owes_a_retry());
            assert_eq!(books.commits(), retries + owed, "{place:?} {retries}");
            assert_eq!(books.cancels(), 0, "{place:?} {retries}");

            drop(future);
            assert_eq!(books.commits(), retries + owed, "{place:?} {retries}");
            assert_eq!(books.cancels(), owed, "{place:?} {retries}");
            assert_eq!(books.ends(), (0, 0), "it did not end");
            if place == Place::Draining {
                assert!(watch.dropped());
            }
            // Nothing is left behind: no permit, no clone, no timer that sends something.
            handle.allow(9);
            assert_ready_ok!(other.poll_ready::<Req>());
            time::advance(10_000 * MS).await;
            assert_nothing_sent(&mut handle);
            drop((service, other));
            assert_hung_up(&mut handle);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_was_sent_is_not_given_back() {
    let (policy, books) = policy();
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(RetryLayer::new(policy));
    let mut future = start(&mut service, get());
    for _ in 0..3 {
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(503));
        assert_pending!(future.poll());
        time::advance(100 * MS).await;
    }
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(200));
    assert!(is_ok(&assert_ready_ok!(future.poll())));
    drop(future);
    assert_eq!((books.commits(), books.cancels()), (3, 0));
    assert_eq!(books.ends(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_budget_hears_of_every_end_once() {
    // Succeeds at once.
    let (policy, books) = policy();
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(RetryLayer::new(policy));
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(200));
    assert_ready_ok!(future.poll());
    drop(future);
    assert_eq!((books.commits(), books.cancels()), (0, 0));
    assert_eq!(books.ends(), (1, 0));

    // Gives up in the end.
    let mut future = start(&mut service, get());
    for _ in 0..9 {
        assert_pending!(future.poll());
        sent(&mut handle).1.send_error(reset());
        assert_pending!(future.poll());
        time::advance(100 * MS).await;
    }
    assert_pending!(future.poll());
    sent(&mut handle).1.send_error(reset());
    assert_ready_err!(future.poll());
    drop(future);
    assert_eq!((books.commits(), books.cancels()), (9, 0));
    assert_eq!(books.ends(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_the_budget_refuses_is_not_sent_and_not_given_back() {
    let policy = Bookkeeper::new(100 * MS, 2);
    let books = policy.books();
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(RetryLayer::new(policy));
    let mut future = start(&mut service, get());
    for _ in 0..2 {
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(503));
        assert_pending!(future.poll());
        time::advance(100 * MS).await;
    }
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(503));
    let response = assert_ready_ok!(future.poll());
    assert_eq!(report(&response).stop.name(), "budget_exhausted");
    drop(future);
    assert_eq!((books.commits(), books.cancels()), (2, 0));
    assert_eq!(books.ends(), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_budget_is_not_asked_for_a_retry_that_another_gate_refuses() {
    let (policy, books) = policy();
    let layer = RetryLayer::new(policy).deadline(250 * MS);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    for _ in 0..2 {
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(503));
        assert_pending!(future.poll());
        time::advance(100 * MS).await;
    }
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(503));
    let response = assert_ready_ok!(future.poll());
    assert_eq!(report(&response).stop.name(), "deadline_too_close");
    drop(future);
    assert_eq!((books.commits(), books.cancels()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_retry_for_which_the_service_does_not_become_ready_is_given_back() {
    for retries in 0..3 {
        let (policy, books) = policy();
        let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(RetryLayer::new(policy));
        let mut future = start(&mut service, get());
        for _ in 0..retries {
            assert_pending!(future.poll());
            sent(&mut handle).1.send_response(answer(503));
            assert_pending!(future.poll());
            time::advance(100 * MS).await;
        }
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(503));
        assert_pending!(future.poll());
        handle.send_error("broken");
        time::advance(100 * MS).await;
        let error = assert_ready_err!(future.poll());
        assert_eq!(error.kind(), RetryErrorKind::NotReady);
        drop(future);
        assert_eq!((books.commits(), books.cancels()), (retries + 1, 1));
        assert_eq!(books.ends(), (0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_for_which_the_deadline_leaves_no_time_is_given_back() {
    // While the service is not ready, and while a failed response is drained.
    for body in [Tracked::empty(), Tracked::new([Step::Hang])] {
        let (policy, books) = policy();
        let drain = DrainLimit {
            time: Duration::MAX,
            ..DrainLimit::default()
        };
        let layer = RetryLayer::new(policy).drain(drain).deadline(450 * MS);
        let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
        let mut future = start(&mut service, get());
        for _ in 0..2 {
            assert_pending!(future.poll());
            sent(&mut handle).1.send_response(answer(503));
            assert_pending!(future.poll());
            time::advance(100 * MS).await;
        }
        assert_pending!(future.poll());
        let (_, respond) = sent(&mut handle);
        handle.allow(0);
        respond.send_response(with_body(503, body));
        assert_pending!(future.poll());
        time::advance(100 * MS).await;
        assert_pending!(future.poll());
        time::advance(149 * MS).await;
        assert_pending!(future.poll());
        time::advance(MS).await;
        let error = assert_ready_err!(future.poll());
        assert_eq!(error.kind(), RetryErrorKind::DeadlineExceeded);
        drop(future);
        assert_eq!((books.commits(), books.cancels()), (3, 1));
        assert_eq!(books.ends(), (0, 1));
        assert_nothing_sent(&mut handle);
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_during_which_the_deadline_passes_is_not_given_back() {
    let (policy, books) = policy();
    let layer = RetryLayer::new(policy).deadline(250 * MS);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    for _ in 0..2 {
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(503));
        assert_pending!(future.poll());
        time::advance(100 * MS).await;
    }
    assert_pending!(future.poll());
    let _unanswered = sent(&mut handle);
    time::advance(50 * MS).await;
    let error = assert_ready_err!(future.poll());
    assert_eq!(error.kind(), RetryErrorKind::DeadlineExceeded);
    drop(future);
    assert_eq!((books.commits(), books.cancels()), (2, 0));
    assert_eq!(books.ends(), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_retry_whose_body_cannot_be_opened_is_given_back() {
    let (policy, books) = policy();
    let layer = RetryLayer::new(policy).reopen_bodies({
        let opened = std::sync::atomic::AtomicU32::new(0);
        move |_: &Parts| match opened.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 | 1 => Ok(Full::new(Bytes::from_static(b"ping"))),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    });
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    for _ in 0..2 {
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(503));
        assert_pending!(future.poll());
        time::advance(100 * MS).await;
    }
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(503));
    assert_pending!(future.poll());
    time::advance(100 * MS).await;
    let error = assert_ready_err!(future.poll());
    assert_eq!(error.kind(), RetryErrorKind::Body);
    assert_eq!(*error.stop_reason(), StopReason::BodyNotReopened);
    assert_eq!(
        error.downcast_inner::<io::Error>().expect("it").kind(),
        io::ErrorKind::NotFound
    );
    assert!(error.source().is_some_and(<dyn Error>::is::<io::Error>));
    drop(future);
    assert_eq!((books.commits(), books.cancels()), (3, 1));
    assert_eq!(books.ends(), (0, 1));
    assert_nothing_sent(&mut handle);
}

#[tokio::test(start_paused = true)]
async fn a_budget_of_the_default_policy_gets_an_unsent_retry_back() {
    use tower_http_retry::{budget::RetryBudget, policy::Backoff};

    let budget = RetryBudget::builder()
        .ratio(0.01)
        .min_per_second(0)
        .capacity(3)
        .build()
        .expect("valid");
    let policy = RetryPolicy::builder()
        .backoff(Backoff::constant(100 * MS))
        .budget(budget)
        .build()
        .expect("valid");
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(RetryLayer::new(policy));
    // Ten requests that are dropped in their waits cost nothing.
    for _ in 0..10 {
        let mut future = start(&mut service, get());
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(503));
        assert_pending!(future.poll());
        drop(future);
    }
    // All three retries are still there, and no fourth one.
    let mut future: task::Spawn<_> = start(&mut service, get());
    for _ in 0..3 {
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(503));
        assert_pending!(future.poll());
        time::advance(100 * MS).await;
    }
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(503));
    let response = assert_ready_ok!(future.poll());
    assert_eq!(report(&response).attempt_count(), 4);
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(503));
    let response = assert_ready_ok!(future.poll());
    assert_eq!(report(&response).stop.name(), "budget_exhausted");
}

type Upload = Channel<Bytes, io::Error>;

/// Sends the first byte of an upload. Gives the request's future and what it is answered with,
/// and the upload as a client has it and as the caller does.
async fn uploading(
    layer: RetryLayer<RetryPolicy, RecordBody>,
) -> (
    task::Spawn<impl Future<Output = Result<Res, RetryError>>>,
    mock::SendResponse<Res>,
    RecordedBody<Upload>,
    Sender<Bytes, io::Error>,
) {
    let (mock, mut handle) = mock::pair();
    let mut service = Spawn::new(layer.layer(mock));
    let (mut sender, upload) = Upload::new(4);
    sender.try_send(frame("a")).expect("room");
    let request = Request::put("http://a.test/x").body(upload).expect("valid");
    assert_ready_ok!(service.poll_ready::<Request<Upload>>());
    let mut future = task::spawn(service.call(request));
    assert_pending!(future.poll());
    let (request, respond) = sent(&mut handle);
    let mut upload: RecordedBody<Upload> = request.into_body();
    let first = upload.frame().await.expect("a frame").expect("whole");
    assert_eq!(first.into_data().expect("data"), "a");
    (future, respond, upload, sender)
}

fn frame(data: &'static str) -> http_body::Frame<Bytes> {
    http_body::Frame::data(Bytes::from_static(data.as_bytes()))
}

/// Asserts that there is no more to be sent, although there is more.
#[track_caller]
fn assert_ends(upload: &mut RecordedBody<Upload>, sender: &mut Sender<Bytes, io::Error>) {
    sender.try_send(frame("b")).expect("room");
    let next = assert_ready!(task::spawn(upload.frame()).poll());
    let next = next.expect("an error");
    assert!(matches!(next, Err(ReplayError::Superseded)), "{next:?}");
}

fn retry() -> RetryLayer<RetryPolicy> {
    RetryLayer::new(every(100 * MS))
}

#[tokio::test(start_paused = true)]
async fn a_recorded_upload_ends_when_its_request_is_dropped_before_its_early_answer_is_seen() {
    for limit in [64, 0] {
        let (future, respond, mut upload, mut sender) =
            uploading(retry().replay_bodies(limit)).await;
        respond.send_response(answer(200));
        drop(future);
        assert_ends(&mut upload, &mut sender);
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_whose_early_answer_is_returned_goes_on() {
    // One that succeeds, and one that fails and is not retried.
    for status in [200, 404] {
        let (mut future, respond, upload, mut sender) = uploading(retry().replay_bodies(64)).await;
        respond.send_response(answer(status));
        let response = assert_ready_ok!(future.poll());
        assert_eq!(response.status(), status);
        drop(future);
        sender.try_send(frame("b")).expect("room");
        drop(sender);
        let rest = upload.collect().await.expect("to its end");
        assert_eq!(rest.to_bytes(), "b");
    }
}

#[tokio::test(start_paused = true)]
async fn a_recorded_upload_ends_with_a_request_that_ends_with_an_error() {
    let raises = RetryPolicy::builder()
        .status(0)
        .raise_on_status(true)
        .build()
        .expect("valid");
    for (layer, answers, kind) in [
        (RetryLayer::new(raises), true, RetryErrorKind::Status),
        (
            retry().deadline(50 * MS),
            false,
            RetryErrorKind::DeadlineExceeded,
        ),
    ] {
        let (mut future, respond, mut upload, mut sender) =
            uploading(layer.replay_bodies(64)).await;
        if answers {
            respond.send_response(answer(503));
        } else {
            time::advance(51 * MS).await;
        }
        let error = assert_ready_err!(future.poll());
        assert_eq!(error.kind(), kind);
        assert_ends(&mut upload, &mut sender);
    }
}
