//! A body is sent again whole or not at all, and whoever vouched for more is named.

use std::{
    borrow::Cow,
    collections::VecDeque,
    convert::Infallible,
    io::Cursor,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{
    BodyExt, Either, Empty, Full, StreamBody,
    combinators::{MapErr, UnsyncBoxBody},
};
use hyper::{body::Incoming, server, service::service_fn as serve};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use proptest::{collection::vec, prelude::*};
use tokio::net::TcpListener;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_http_retry::{
    BoxError, RetryLayer, RetryReport,
    body::{Rewind, WholeBody},
    policy::{Backoff, Note, RetryPolicy, StopReason},
};

/// Retries at once, three times.
fn layer() -> RetryLayer<RetryPolicy> {
    let policy = RetryPolicy::builder().backoff(Backoff::none()).build();
    RetryLayer::new(policy.expect("a valid policy"))
}

fn put<B>(body: B) -> Request<B> {
    Request::put("http://a.test/")
        .body(body)
        .expect("a request")
}

/// What the attempts at one request sent, and its report.
struct Sent {
    bodies: Vec<Vec<u8>>,
    report: RetryReport,
}

impl Sent {
    fn vouched_by(&self) -> Vec<Option<&str>> {
        let records = self.report.attempts.iter();
        let by = records.map(|record| {
            let mut notes = record.notes().filter_map(|note| match note {
                Note::BodyVouched { by } => Some(&**by),
                _ => None,
            });
            let by = notes.next();
            assert_eq!(notes.next(), None, "said once");
            by
        });
        by.collect()
    }
}

/// Reads at most so many frames of a body.
async fn read<B>(body: B, frames: usize) -> Vec<u8>
where
    B: Body<Error: std::fmt::Debug>,
{
    let mut body = std::pin::pin!(body);
    let mut content = Vec::new();
    for _ in 0..frames {
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(mut data) = frame.into_data() {
                    content.extend_from_slice(&data.copy_to_bytes(data.remaining()));
                }
            }
            Some(Err(error)) => panic!("the body failed: {error:?}"),
            None => break,
        }
    }
    content
}

/// Lets every attempt fail once it has read so many frames of its body; the last number holds for
/// all attempts that follow.
async fn send<R, B>(layer: RetryLayer<RetryPolicy, R>, body: B, frames: Vec<usize>) -> Sent
where
    R: Rewind<B> + Clone,
    R::Body: Body<Error: std::fmt::Debug>,
{
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&bodies);
    let inner = service_fn(move |request: Request<R::Body>| {
        let seen = Arc::clone(&seen);
        let number = seen.lock().expect("no panic").len();
        let frames = *frames.get(number).or(frames.last()).unwrap_or(&usize::MAX);
        async move {
            let content = read(request.into_body(), frames).await;
            seen.lock().expect("no panic").push(content);
            let response = Response::builder().status(503).body(Empty::<Bytes>::new());
            Ok::<_, Infallible>(response.expect("a response"))
        }
    });
    let response = layer.layer(inner).oneshot(put(body)).await;
    let response = response.expect("the last response");
    let report = response.extensions().get::<RetryReport>().cloned();
    let bodies = std::mem::take(&mut *bodies.lock().expect("no panic"));
    Sent {
        bodies,
        report: report.expect("a report"),
    }
}

/// Every attempt sends what the first one did, as far as it gets.
async fn assert_whole<B>(body: B, content: &[u8], frames: &[usize])
where
    B: WholeBody + Body<Error: std::fmt::Debug>,
{
    let mut frames = frames.to_vec();
    frames.push(usize::MAX);
    let sent = send(layer(), body, frames).await;
    assert_eq!(sent.bodies.len(), 4);
    for body in &sent.bodies {
        assert!(content.starts_with(body), "{body:?} is not {content:?}");
    }
    assert_eq!(sent.bodies[3], content);
    assert_eq!(sent.vouched_by(), [None; 4]);
}

/// What a body is wrapped in.
#[derive(Clone, Copy, Debug)]
enum Wrap {
    None,
    Some,
    Box,
    Pin,
    Left,
    Right,
    MapErr,
    Everything,
}

async fn assert_whole_in<B>(wrap: Wrap, body: B, content: &[u8], frames: &[usize])
where
    B: WholeBody + Body<Error: std::fmt::Debug> + Unpin + Clone,
{
    type Other = Empty<Bytes>;
    let same = |error: B::Error| error;
    match wrap {
        Wrap::None => assert_whole(body, content, frames).await,
        Wrap::Some => assert_whole(Maybe(Some(body)), content, frames).await,
        Wrap::Box => assert_whole(Box::new(body), content, frames).await,
        Wrap::Pin => assert_whole(Box::pin(body), content, frames).await,
        Wrap::Left => assert_whole(Or::<B, B>(Either::Left(body)), content, frames).await,
        Wrap::Right => assert_whole(Or::<B, B>(Either::Right(body)), content, frames).await,
        Wrap::MapErr => assert_whole(body.map_err(same), content, frames).await,
        Wrap::Everything => {
            let body = Or::<B, B>(Either::Left(body)).map_err(|error| error);
            assert_whole(Box::pin(Box::new(Maybe(Some(body)))), content, frames).await;
        }
    }
    let none = send(layer(), Maybe::<Other>(None), frames.to_vec()).await;
    assert!(none.bodies.iter().all(Vec::is_empty));
}

/// `Option` is no `Body` of its own.
struct Maybe<B>(Option<B>);

impl<B: WholeBody> WholeBody for Maybe<B> {
    fn try_clone_whole(&self) -> Option<Self> {
        self.0.try_clone_whole().map(Self)
    }
}

impl<B: Body + Unpin> Body for Maybe<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match &mut self.0 {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }
}

/// `Either` is a `Body` with a boxed error only, which is no error to `map_err`.
#[derive(Clone)]
struct Or<L, R>(Either<L, R>);

impl<L: WholeBody, R: WholeBody> WholeBody for Or<L, R> {
    fn try_clone_whole(&self) -> Option<Self> {
        self.0.try_clone_whole().map(Self)
    }
}

impl<B: Body + Unpin> Body for Or<B, B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match &mut self.0 {
            Either::Left(body) | Either::Right(body) => Pin::new(body).poll_frame(cx),
        }
    }
}

fn wrap() -> impl Strategy<Value = Wrap> {
    proptest::sample::select(vec![
        Wrap::None,
        Wrap::Some,
        Wrap::Box,
        Wrap::Pin,
        Wrap::Left,
        Wrap::Right,
        Wrap::MapErr,
        Wrap::Everything,
    ])
}

fn block_on(future: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.build().expect("a runtime").block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each of the bodies that the crate knows, in each wrapper, however much of it an attempt
    /// reads before it fails.
    #[test]
    fn every_attempt_sends_what_the_first_one_did_or_there_is_none(
        content in vec(any::<u8>(), 0..200),
        skip in 0..8_usize,
        wrap in wrap(),
        frames in vec(0..3_usize, 3),
    ) {
        let text = String::from_utf8_lossy(&content).into_owned();
        // What was read before belongs to nobody's request.
        let skip = skip.min(content.len()) as u64;
        let rest = &content[skip as usize..];
        let cursor = |content: &[u8]| {
            let mut cursor = Cursor::new(content.to_vec());
            cursor.set_position(skip);
            cursor
        };
        block_on(async {
            let bytes = Bytes::copy_from_slice(&content);
            let f = &frames[..];
            assert_whole_in(wrap, Full::new(bytes.clone()), &content, f).await;
            assert_whole_in(wrap, Full::new(BytesMut::from(&content[..])), &content, f).await;
            let queue = VecDeque::from(content.clone());
            assert_whole_in(wrap, Full::new(queue), &content, f).await;
            assert_whole_in(wrap, Full::new(cursor(&content)), rest, f).await;
            let mut moved = Cursor::new(bytes.clone());
            moved.set_position(skip);
            assert_whole_in(wrap, Full::new(moved), rest, f).await;
            let boxed = Cursor::new(content.clone().into_boxed_slice());
            assert_whole_in(wrap, Full::new(boxed), &content, f).await;
            assert_whole_in(wrap, Full::new(Cursor::new(text.clone())), text.as_bytes(), f).await;
            assert_whole_in(wrap, Full::new(&content[..]), &content, f).await;
            assert_whole_in(wrap, Full::new(Cursor::new(&content[..])), &content, f).await;
            assert_whole_in(wrap, Full::new(Cursor::new(&*text)), text.as_bytes(), f).await;
            assert_whole_in(wrap, text.clone(), text.as_bytes(), f).await;
            assert_whole_in(wrap, Empty::<Bytes>::new(), b"", f).await;

            // The layer got what was left of it.
            let mut read_before = Full::new(bytes.clone());
            let _ = read_before.frame().await;
            assert_whole_in(wrap, read_before, b"", f).await;
            // The clone is another body.
            let body = Full::new(bytes.clone());
            let mut clone = body.clone();
            let _ = clone.frame().await;
            assert_whole_in(wrap, body, &content, f).await;
        });
    }

    /// The same of what is recorded, whatever frames it comes in.
    #[test]
    fn a_recorded_body_of_the_clients_own_type_is_whole_or_not_repeated(
        chunks in vec(vec(any::<u8>(), 0..20), 0..8),
        limit in 0..100_u64,
        frames in vec(0..10_usize, 3),
    ) {
        let content = chunks.concat();
        block_on(async {
            let body = streamed(&chunks);
            let mut frames = frames;
            frames.push(usize::MAX);
            let sent = send(layer().replay_bodies_as(limit, Own::new), body, frames).await;
            for body in &sent.bodies {
                assert!(content.starts_with(body));
            }
            match sent.report.stop {
                StopReason::CountExhausted { .. } => assert_eq!(sent.bodies[3], content),
                StopReason::BodyNotReplayable { limit: kept, .. } => {
                    assert!(content.len() as u64 > kept);
                }
                other => panic!("{other}"),
            }
            assert!(sent.vouched_by().iter().all(Option::is_none));
        });
    }
}

/// A body of no known length.
fn streamed(chunks: &[Vec<u8>]) -> Own {
    let frames: Vec<_> = chunks
        .iter()
        .map(|chunk| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(chunk))))
        .collect();
    Own::new(StreamBody::new(stream::iter(frames)))
}

/// The only body that some client takes, as tonic's and kube's are.
struct Own(UnsyncBoxBody<Bytes, BoxError>);

impl Own {
    fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Self(body.map_err(Into::into).boxed_unsync())
    }
}

impl Body for Own {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// A body whose `Clone` is shallow, as that of octocrab's client: once it was sent, its clones are
/// empty. It can be cloned in full as long as its content is at hand.
#[derive(Clone)]
struct Shared {
    content: Arc<Mutex<VecDeque<Bytes>>>,
    whole: Option<Bytes>,
}

impl Shared {
    fn new(content: &'static str, at_hand: bool) -> Self {
        let content = Bytes::from(content);
        Self {
            content: Arc::new(Mutex::new(VecDeque::from([content.clone()]))),
            whole: at_hand.then_some(content),
        }
    }

    fn try_clone(&self) -> Option<Self> {
        let whole = self.whole.clone()?;
        Some(Self {
            content: Arc::new(Mutex::new(VecDeque::from([whole.clone()]))),
            whole: Some(whole),
        })
    }
}

impl Body for Shared {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = self.content.lock().expect("no panic").pop_front();
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

const CONTENT: &str = "seventeen bytes ..";

#[tokio::test]
async fn a_body_that_says_how_it_is_cloned_is_whole_on_the_users_word() {
    let layer = layer().clone_bodies_with(Shared::try_clone);
    let sent = send(layer.clone(), Shared::new(CONTENT, true), vec![]).await;
    assert_eq!(sent.bodies, [CONTENT.as_bytes(); 4]);
    let by = Some("clone_bodies_with");
    assert_eq!(sent.vouched_by(), [None, by, by, by]);
    let text = sent.report.to_string();
    let note = "note: its body is whole on the word of `clone_bodies_with` only";
    assert_eq!(text.matches(note).count(), 3, "{text}");

    let sent = send(layer, Shared::new(CONTENT, false), vec![]).await;
    assert_eq!(sent.bodies, [CONTENT.as_bytes()]);
    assert_eq!(sent.report.stop, StopReason::BodyNotKept);
    assert_eq!(sent.vouched_by(), [None]);
}

#[tokio::test]
async fn a_shallow_clone_is_sent_only_on_the_users_word_and_the_report_says_so() {
    let sent = send(layer().clone_bodies(), Shared::new(CONTENT, true), vec![]).await;
    // What the user promised is not so.
    assert_eq!(sent.bodies, [CONTENT.as_bytes(), b"", b"", b""]);
    let by = Some("clone_bodies");
    assert_eq!(sent.vouched_by(), [None, by, by, by]);
}

#[tokio::test]
async fn a_shallow_body_is_whole_where_it_is_recorded() {
    let layer = layer().replay_bodies(1024);
    let sent = send(layer, Shared::new(CONTENT, false), vec![]).await;
    assert_eq!(sent.bodies, [CONTENT.as_bytes(); 4]);
    assert_eq!(sent.vouched_by(), [None; 4]);
}

#[tokio::test]
async fn a_body_that_is_opened_anew_is_whole_on_the_users_word() {
    let layer = layer().reopen_bodies(|_: &_| Ok::<_, Infallible>(Full::<Bytes>::from(CONTENT)));
    let sent = send(layer, Full::from(CONTENT), vec![]).await;
    assert_eq!(sent.bodies, [CONTENT.as_bytes(); 4]);
    let by = Some("reopen_bodies");
    assert_eq!(sent.vouched_by(), [None, by, by, by]);
}

/// A body that can be cloned so many times more.
struct Few(&'static str, Mutex<u32>);

impl WholeBody for Few {
    fn try_clone_whole(&self) -> Option<Self> {
        let mut left = self.1.lock().expect("no panic");
        *left = left.checked_sub(1)?;
        Some(Self(self.0, Mutex::new(*left)))
    }
}

impl Body for Few {
    type Data = &'static [u8];
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<&'static [u8]>, Infallible>>> {
        let content = std::mem::take(&mut self.0);
        Poll::Ready((!content.is_empty()).then(|| Ok(Frame::data(content.as_bytes()))))
    }
}

#[tokio::test]
async fn a_body_that_can_be_cloned_no_more_ends_the_request_with_its_last_response() {
    for clones in 0..3 {
        let sent = send(layer(), Few(CONTENT, Mutex::new(clones)), vec![]).await;
        assert_eq!(sent.bodies, vec![CONTENT.as_bytes(); clones as usize + 1]);
        assert_eq!(sent.report.stop, StopReason::BodyNotKept, "{clones}");
    }
}

/// A mapped body whose inner one is `Clone`, but shallow.
#[derive(Clone)]
struct Deep(Shared);

impl WholeBody for Deep {
    fn try_clone_whole(&self) -> Option<Self> {
        self.0.try_clone().map(Self)
    }
}

impl Body for Deep {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }
}

#[tokio::test]
async fn a_mapped_body_is_cloned_as_the_one_within_says() {
    let mapped = |at_hand| {
        let body = Deep(Shared::new(CONTENT, at_hand));
        body.map_err(|never| match never {} as Infallible)
    };
    let _: &dyn Fn(bool) -> MapErr<Deep, _> = &mapped;
    let sent = send(layer(), mapped(true), vec![]).await;
    assert_eq!(sent.bodies, [CONTENT.as_bytes(); 4]);
    let sent = send(layer(), mapped(false), vec![]).await;
    assert_eq!(sent.bodies, [CONTENT.as_bytes()]);
    assert_eq!(sent.report.stop, StopReason::BodyNotKept);
}

/// What is no `Body`, but a request's content to some service.
#[test]
fn plain_content_is_cloned_whole() {
    fn same<B: WholeBody + PartialEq + std::fmt::Debug>(content: B) {
        assert_eq!(content.try_clone_whole().as_ref(), Some(&content));
    }
    same(());
    same("text");
    same(&b"bytes"[..]);
    same(String::from("text"));
    same(vec![1_u8, 2]);
    same(Bytes::from("bytes"));
    same(BytesMut::from("bytes"));
    same(Box::<str>::from("text"));
    same(Box::<[u8]>::from(*b"bytes"));
    same(Arc::<str>::from("text"));
    same(Arc::<[u8]>::from(*b"bytes"));
    same(Cow::Borrowed("text"));
    same(Cow::<[u8]>::Owned(vec![1]));
    same(Some("text"));
    same(None::<Bytes>);
    same(Box::new(Some(String::from("text"))));
}

// --- on real sockets -----------------------------------------------------------------------------

/// Sends one request to a server that answers 503 twice and then 200; gives what it received.
async fn over_tcp<R, B>(layer: RetryLayer<RetryPolicy, R>, body: B) -> Vec<Bytes>
where
    R: Rewind<B, Saved: Send> + Clone + Send,
    R::Body: Body<Data: Send, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let received = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&received);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            let service = serve(move |request: Request<Incoming>| {
                let seen = Arc::clone(&seen);
                async move {
                    let content = request.into_body().collect().await?.to_bytes();
                    let mut seen = seen.lock().expect("no panic");
                    seen.push(content);
                    let status = if seen.len() < 3 { 503 } else { 200 };
                    let response = Response::builder().status(status);
                    Ok::<_, hyper::Error>(response.body(Empty::<Bytes>::new()).expect("valid"))
                }
            });
            let io = TokioIo::new(stream);
            tokio::spawn(server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
    let client = Client::builder(TokioExecutor::new()).build_http::<R::Body>();
    let mut request = put(body);
    *request.uri_mut() = format!("http://{address}/").parse().expect("a URI");
    let mut service = layer.layer(client);
    let response = service.ready().await.expect("ready").call(request).await;
    assert_eq!(response.expect("a response").status(), 200);
    let received = received.lock().expect("no panic");
    received.clone()
}

#[tokio::test]
async fn the_server_gets_the_same_bytes_three_times() {
    let content: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
    let whole = Bytes::from(content.clone());
    let chunks: Vec<_> = content.chunks(777).map(<[u8]>::to_vec).collect();
    let full = || Full::new(whole.clone());
    let received = [
        over_tcp(layer(), full()).await,
        over_tcp(layer(), Box::pin(full())).await,
        over_tcp(layer(), Full::new(Cursor::new(content))).await,
        over_tcp(layer().replay_bodies(1 << 20), streamed(&chunks)).await,
        over_tcp(
            layer().replay_bodies_as(1 << 20, Own::new),
            streamed(&chunks),
        )
        .await,
        over_tcp(
            layer().replay_bodies_as(1 << 20, Own::new),
            Own::new(full()),
        )
        .await,
        over_tcp(layer().clone_bodies(), full()).await,
    ];
    for bodies in received {
        assert_eq!(bodies.len(), 3);
        assert!(bodies.iter().all(|body| *body == whole));
    }
    let nothing = over_tcp(layer(), Empty::<Bytes>::new()).await;
    assert_eq!(nothing, vec![Bytes::new(); 3]);
}
