//! What bodies that can be sent again cost in allocations and memory, counted exactly.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use allocation_counter::measure;
use bytes::Bytes;
use http::request::Parts;
use http_body::{Body, Frame};
use http_body_util::{Empty, Full};
use tower_http_retry::body::{CloneBody, RecordBody, Reopen, Rewind, SavedBody};

/// A stream of unknown length.
struct Stream<F> {
    chunks: u32,
    make: F,
}

impl<F: Fn() -> Bytes + Unpin> Body for Stream<F> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.chunks == 0 {
            return Poll::Ready(None);
        }
        self.chunks -= 1;
        Poll::Ready(Some(Ok(Frame::data((self.make)()))))
    }
}

/// Chunks that cost no allocation themselves.
fn borrowed(chunks: u32) -> Stream<impl Fn() -> Bytes> {
    Stream {
        chunks,
        make: || Bytes::from_static(&[7; 1024]),
    }
}

fn head() -> Parts {
    http::Request::new(()).into_parts().0
}

/// Sends a body as a connection does: each chunk is dropped before the next is asked for.
fn send<B: Body<Data = Bytes> + Unpin>(body: &mut B) -> u64 {
    let mut cx = Context::from_waker(Waker::noop());
    let mut sent = 0;
    while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut *body).poll_frame(&mut cx) {
        sent += frame.data_ref().map_or(0, Bytes::len) as u64;
    }
    sent
}

#[test]
fn a_replayed_stream_costs_one_allocation() {
    let stream = borrowed(10);
    let mut prepared = None;
    let info = measure(|| prepared = Some(RecordBody::new(1 << 20).prepare(stream)));
    assert_eq!(info.count_total, 1);

    let (first, mut saved) = prepared.expect("prepared");
    drop(first);
    let head = head();
    let info = measure(|| drop(saved.next(&head, false)));
    assert_eq!(info.count_total, 0, "the next attempt costs none");
}

#[test]
fn recording_costs_no_allocation_but_the_growth_of_the_queue() {
    const CHUNKS: u32 = 1000;
    let (mut first, mut saved) = RecordBody::new(1 << 20).prepare(borrowed(CHUNKS));
    let info = measure(|| assert_eq!(send(&mut first), 1024 * u64::from(CHUNKS)));
    // The queue doubles.
    assert!(
        info.count_total <= u64::from(CHUNKS.ilog2()),
        "{} allocations",
        info.count_total
    );

    for last in [false, true] {
        let mut body = saved.next(&head(), last).expect("within the limit");
        let info = measure(|| assert_eq!(send(&mut body), 1024 * u64::from(CHUNKS)));
        assert_eq!(info.count_total, 0, "replaying costs none");
    }
}

#[test]
fn an_empty_body_costs_no_allocation() {
    let head = head();
    let info = measure(|| {
        let (mut first, mut saved) = RecordBody::new(1 << 20).prepare(Empty::<Bytes>::new());
        assert_eq!(send(&mut first), 0);
        assert!(saved.next(&head, true).is_ok());
        let (mut first, _saved) = RecordBody::new(1 << 20).prepare(Full::new(Bytes::new()));
        assert_eq!(send(&mut first), 0);
    });
    assert_eq!(info.count_total, 0);
}

#[test]
fn a_request_that_is_sent_once_costs_no_allocation() {
    let stream = borrowed(10);
    let info = measure(|| assert_eq!(send(&mut RecordBody::new(1 << 20).pass(stream)), 10 * 1024));
    assert_eq!(info.count_total, 0);
}

#[test]
fn what_is_kept_of_a_stream_is_the_stream_itself() {
    const CHUNK: usize = 16 * 1024;
    const CHUNKS: u32 = 64;
    let whole = u64::from(CHUNKS) * CHUNK as u64;
    let fresh = Stream {
        chunks: CHUNKS,
        make: || Bytes::from(vec![7; CHUNK]),
    };
    let info = measure(|| {
        let (mut first, saved) = RecordBody::new(whole).prepare(fresh);
        assert_eq!(send(&mut first), whole);
        assert!(saved.check().is_ok());
    });
    assert!(
        info.bytes_max <= whole / 100 * 105,
        "{} bytes for {whole}",
        info.bytes_max
    );
    assert_eq!(info.bytes_current, 0);
}

#[test]
fn memory_stays_at_the_limit() {
    const CHUNK: usize = 16 * 1024;
    const LIMIT: u64 = 16 * CHUNK as u64;
    let long = Stream {
        chunks: 1000,
        make: || Bytes::from(vec![7; CHUNK]),
    };
    let (mut first, saved) = RecordBody::new(LIMIT).prepare(long);
    let info = measure(|| assert_eq!(send(&mut first), 1000 * CHUNK as u64));
    // The chunk that passes the limit, and the queue.
    let most = LIMIT + 2 * CHUNK as u64;
    assert!(info.bytes_max <= most, "{} bytes", info.bytes_max);
    assert_eq!(info.bytes_current, 0, "past the limit nothing is kept");
    assert!(saved.check().is_err());
}

#[test]
fn cloning_a_shared_body_costs_no_allocation() {
    let body = Full::new(Bytes::from_static(b"hello"));
    let head = head();
    let info = measure(|| {
        let (first, mut saved) = CloneBody.prepare(body);
        drop(first);
        drop(saved.next(&head, true));
    });
    assert_eq!(info.count_total, 0);
}

#[test]
fn reopening_costs_what_the_factory_costs() {
    let name = String::from("a name that a clone of the closure would allocate");
    let reopen = Reopen::new(move |_: &Parts| Ok::<_, Infallible>(name.len()));
    let head = head();
    let info = measure(|| {
        let (_first, mut saved) = reopen.prepare(0);
        assert!(saved.next(&head, false).is_ok());
    });
    assert_eq!(info.count_total, 0);
}
