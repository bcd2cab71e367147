//! What each candidate takes of memory: bytes of a request that waits, the peak while a body is
//! uploaded. Counted exactly. The allocations of requests are in `cells`.

mod common;

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use allocation_counter::measure;
use bytes::Bytes;
use common::Body;
use http::{Request, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::time::sleep;
use tower::{Service, ServiceExt};
use tower_http_retry::{
    body::{RecordBody, Rewind},
    policy::Backoff,
};

fn main() {
    waiting();
    futures();
    uploads();
}

const WAITING: u32 = 10_000;
const HOUR: Duration = Duration::from_secs(3600);

fn waiting() {
    let bare = live_bytes(|| {
        let request = common::get();
        async move {
            sleep(HOUR).await;
            drop(request);
        }
    });
    let tower = common::tower_waiting(
        common::server(StatusCode::SERVICE_UNAVAILABLE),
        HOUR,
        2 * HOUR,
    );
    let tower = live_bytes(|| tower.clone().oneshot(common::get()));
    let ours = common::ours_waiting(
        common::server(StatusCode::SERVICE_UNAVAILABLE),
        Backoff::constant(HOUR),
    );
    let ours = live_bytes(|| ours.clone().oneshot(common::get()));
    println!("\nwaiting in backoff, {WAITING} tokio tasks");
    println!("| | live bytes per request | against tower |");
    println!("| --- | ---: | ---: |");
    for (name, bytes) in [
        ("a request beside a sleep", bare),
        ("tower::retry + TpsBudget + ExponentialBackoff", tower),
        ("ours", ours),
    ] {
        println!("| {name} | {bytes:.0} | {:.2} |", bytes / tower);
    }
}

/// Bytes for each of many tasks that wait.
fn live_bytes<F>(mut task: impl FnMut() -> F) -> f64
where
    F: Future<Output: Send> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let mut spawn = |number| {
        runtime.block_on(async {
            for _ in 0..number {
                tokio::spawn(task());
            }
            for _ in 0..number {
                tokio::task::yield_now().await;
            }
        });
    };
    // What the runtime itself allocates at first is not counted.
    spawn(WAITING / 10);
    measure(|| spawn(WAITING)).bytes_current as f64 / f64::from(WAITING)
}

/// Sizes with hyper-util's client as the inner service.
fn futures() {
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build_http();
    println!("\nwith hyper-util's client below");
    println!("| | bytes of a future |");
    println!("| --- | ---: |");
    println!("| the client's | {} |", size_of_future(&client));
    println!(
        "| the client itself, which every retry keeps | {} |",
        size_of_val(&client)
    );
    let tower = size_of_future(&common::tower_budget_backoff(client.clone()));
    println!("| tower::retry + TpsBudget + ExponentialBackoff | {tower} |");
    println!("| ours | {} |", size_of_future(&common::ours(client)));
}

fn size_of_future<S: Service<Request<Body>>>(_: &S) -> usize {
    size_of::<S::Future>()
}

const UPLOAD: usize = 1024 * 1024;
const CHUNK: usize = 16 * 1024;

/// A stream of chunks that are allocated one by one.
struct Upload(usize);

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.0 == 0 {
            return Poll::Ready(None);
        }
        self.0 -= CHUNK;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; CHUNK])))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0 as u64)
    }
}

/// Sends all of a body as a connection does: one chunk at a time.
fn send_all<B: http_body::Body<Data = Bytes> + Unpin>(mut body: B) {
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut cx) {
        drop(frame);
    }
}

fn uploads() {
    let once = measure(|| send_all(Upload(UPLOAD)));
    let replayed = measure(|| {
        let head = Request::new(()).into_parts().0;
        let (first, mut saved) = RecordBody::new(2 * UPLOAD as u64).prepare(Upload(UPLOAD));
        send_all(first);
        let second = tower_http_retry::body::SavedBody::next(&mut saved, &head, true);
        send_all(second.expect("within the limit"));
    });
    let cloned = measure(|| {
        let mut cx = Context::from_waker(Waker::noop());
        let mut collect = std::pin::pin!(Upload(UPLOAD).collect());
        let Poll::Ready(Ok(all)) = collect.as_mut().poll(&mut cx) else {
            panic!("never pending");
        };
        let all = Body::new(all.to_bytes());
        send_all(all.clone());
        send_all(all);
    });
    println!("\nan upload of 1 MiB in chunks of 16 KiB");
    println!("| | peak bytes | against the body |");
    println!("| --- | ---: | ---: |");
    for (name, info) in [
        ("a stream that is sent once", once),
        ("ours, sent twice", replayed),
        ("collected, cloned, sent twice", cloned),
    ] {
        let ratio = info.bytes_max as f64 / UPLOAD as f64;
        println!("| {name} | {} | {ratio:.3} |", info.bytes_max);
    }
}
