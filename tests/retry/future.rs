//! What kind of a value the future is: sendable when its parts are, with no lifetime of its own,
//! and small.

use std::{
    cell::{Cell, RefCell},
    marker::PhantomData,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{Layer, Service};
use tower_http_retry::{
    BoxError, Retry, RetryLayer,
    body::{CloneBody, RecordBody},
    policy::{Backoff, RetryPolicy, SharedPolicy},
};
use tower_test::mock;

use test_support::probe::{self, Req, Res, Tracked, answer, every, get, report};

type FutureOf<S, P, R = CloneBody, B = Full<Bytes>> =
    <Retry<S, P, R> as Service<Request<B>>>::Future;

const fn assert_send<T: Send>() {}
const fn assert_clone_send_sync<T: Clone + Send + Sync>() {}

type Boxed<E = BoxError> = Pin<Box<dyn Future<Output = Result<Res, E>> + Send>>;

/// A service of a client's size, with a client's future.
#[derive(Clone)]
struct Client {
    _fields: [u64; 25],
}

impl<B> Service<Request<B>> for Client {
    type Response = Res;
    type Error = BoxError;
    type Future = Boxed;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Boxed {
        Box::pin(std::future::ready(Ok(answer(200))))
    }
}

// Compiled, not run: the claim is that it compiles.
const _: () = {
    assert_send::<FutureOf<Client, RetryPolicy>>();
    assert_send::<FutureOf<Client, &'static RetryPolicy>>();
    assert_send::<FutureOf<Client, SharedPolicy>>();
    assert_send::<FutureOf<Client, RetryPolicy, RecordBody, Tracked>>();
    assert_send::<FutureOf<mock::Mock<Req, Res>, RetryPolicy>>();
    assert_clone_send_sync::<Retry<Client, RetryPolicy>>();
    assert_clone_send_sync::<RetryLayer<RetryPolicy>>();
    assert_clone_send_sync::<RetryLayer<SharedPolicy, RecordBody>>();
    // The error travels between threads and in other errors.
    const fn assert_error<T: std::error::Error + Send + Sync + 'static>() {}
    assert_error::<tower_http_retry::RetryError>();
};

/// Borrows what it counts its calls with, and hands out futures and bodies that borrow as well:
/// neither `Send` nor `'static`.
#[derive(Clone)]
struct Borrowing<'a> {
    statuses: &'a RefCell<Vec<u16>>,
    calls: &'a Cell<u32>,
    not_send: PhantomData<Rc<()>>,
}

/// A body that borrows.
struct Page<'a>(&'a Cell<u32>);

impl http_body::Body for Page<'_> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        self.0.set(self.0.get() + 1);
        Poll::Ready(None)
    }
}

impl<'a> Service<Request<&'a str>> for Borrowing<'a> {
    type Response = Response<Page<'a>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + 'a>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<&'a str>) -> Self::Future {
        assert_eq!(*request.body(), "borrowed");
        let (statuses, calls) = (self.statuses, self.calls);
        Box::pin(async move {
            calls.set(calls.get() + 1);
            let status = statuses.borrow_mut().remove(0);
            let mut response = Response::new(Page(calls));
            *response.status_mut() = status.try_into()?;
            Ok(response)
        })
    }
}

#[test]
fn a_service_that_borrows_and_is_not_send_is_retried_like_any_other() {
    let statuses = RefCell::new(vec![503, 503, 503, 200]);
    let calls = Cell::new(0);
    let text = String::from("borrowed");
    let policy = every(Duration::ZERO);
    let service = Borrowing {
        statuses: &statuses,
        calls: &calls,
        not_send: PhantomData,
    };
    let mut service = mock::Spawn::new(RetryLayer::new(&policy).layer(service));
    assert_ready_ok!(service.poll_ready::<Request<&str>>());
    let request = Request::get("http://a.test/").body(&*text).expect("valid");
    let mut future = task::spawn(service.call(request));
    let response = assert_ready_ok!(future.poll());
    assert_eq!(response.status(), 200);
    // Four attempts, and three pages that were drained.
    assert_eq!(calls.get(), 7);
}

#[test]
fn the_future_adds_little_to_the_service_the_body_and_the_future_it_holds() {
    // The service, the body that is kept and the inner future are the user's.
    let held = size_of::<Client>() + size_of::<Boxed>();
    let cloned = size_of::<FutureOf<Client, RetryPolicy>>();
    let replayed = size_of::<FutureOf<Client, RetryPolicy, RecordBody, Tracked>>();
    let body = size_of::<Full<Bytes>>();
    println!("cloned body: {cloned} bytes, of which {held} + {body} are held");
    println!("replayed body: {replayed} bytes, of which {held} are held");
    // The head of the request, the policy's memory and the clock.
    assert!(cloned - held - body <= 416, "{cloned} bytes");
    assert!(replayed - held <= 416, "{replayed} bytes");
}

#[tokio::test(start_paused = true)]
async fn the_future_tells_its_state() {
    let policy = RetryPolicy::builder().backoff(Backoff::constant(probe::MS));
    let policy = policy.build().expect("valid");
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(RetryLayer::new(policy));
    let mut future = probe::start(&mut service, get());
    for _ in 0..3 {
        assert_pending!(future.poll());
        assert!(
            future
                .enter(|_, future| format!("{future:?}"))
                .contains("called")
        );
        handle.allow(0);
        probe::sent(&mut handle)
            .1
            .send_response(probe::with_body(503, Tracked::new([probe::Step::Hang])));
        assert_pending!(future.poll());
        assert!(
            future
                .enter(|_, future| format!("{future:?}"))
                .contains("draining")
        );
        tokio::time::advance(250 * probe::MS).await;
        assert_pending!(future.poll());
        assert!(
            future
                .enter(|_, future| format!("{future:?}"))
                .contains("readying")
        );
        handle.allow(1);
    }
    assert_pending!(future.poll());
    probe::sent(&mut handle).1.send_response(answer(200));
    let response = assert_ready_ok!(future.poll());
    assert_eq!(report(&response).attempt_count(), 4);
    assert!(
        future
            .enter(|_, future| format!("{future:?}"))
            .contains("done")
    );
}
