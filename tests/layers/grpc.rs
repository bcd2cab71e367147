//! gRPC calls that end in a 200: what `GrpcLayer` sees of them, what the retries above make of it,
//! and that the caller gets every frame as it came.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Future, Ready, ready},
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};
use tower_http_retry::{
    RetryLayer, RetryReport,
    body::PeekedBody,
    grpc::{GrpcCode, GrpcLayer},
    policy::{Backoff, Idempotent, RetryPolicy, StopReason, WaitReason},
    reason::{Cause, HintHeader},
    stack::LayerOutcome,
};

/// What a scripted body gives, one step a poll.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Data(&'static str),
    Trailers(Vec<(&'static str, String)>),
    /// Not there yet.
    Later,
    Broken,
}

pub(super) fn trailers(code: u8) -> Step {
    Step::Trailers(vec![("grpc-status", code.to_string())])
}

/// A body that follows a script, and notes how often it was asked.
#[derive(Debug, Default)]
pub(super) struct Scripted {
    steps: VecDeque<Step>,
    polls: Arc<Mutex<u32>>,
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        *self.polls.lock().expect("no panic") += 1;
        Poll::Ready(match self.steps.pop_front() {
            None => None,
            Some(Step::Data(data)) => Some(Ok(Frame::data(Bytes::from_static(data.as_bytes())))),
            Some(Step::Trailers(fields)) => Some(Ok(Frame::trailers(map(&fields)))),
            Some(Step::Later) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(Step::Broken) => Some(Err(io::ErrorKind::ConnectionReset.into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }
}

fn map(fields: &[(&'static str, String)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let value = HeaderValue::try_from(value).expect("a header value");
        map.append(*name, value);
    }
    map
}

/// One answer of a scripted server.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    status: u16,
    head: Vec<(&'static str, String)>,
    steps: Vec<Step>,
    polls: Arc<Mutex<u32>>,
}

impl Answer {
    pub(super) fn grpc(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            status: 200,
            head: vec![("content-type", "application/grpc".to_owned())],
            steps: steps.into_iter().collect(),
            polls: Arc::default(),
        }
    }

    /// A response that is nothing but trailers.
    pub(super) fn trailers_only(code: u8) -> Self {
        Self::grpc([]).head("grpc-status", &code.to_string())
    }

    pub(super) fn ok() -> Self {
        Self::grpc([Step::Data("hello"), trailers(0)])
    }

    /// What a proxy answers that knows nothing of gRPC.
    pub(super) fn http(status: u16) -> Self {
        Self {
            status,
            head: Vec::new(),
            ..Self::grpc([])
        }
    }

    pub(super) fn head(mut self, name: &'static str, value: &str) -> Self {
        self.head.retain(|(other, _)| *other != name);
        self.head.push((name, value.to_owned()));
        self
    }
}

/// A server that gives these answers, one after the other, and counts how often it was called.
#[derive(Clone, Default)]
pub(super) struct Server {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    calls: Arc<Mutex<Vec<Instant>>>,
    heads: Arc<Mutex<Vec<HeaderMap>>>,
}

impl Server {
    pub(super) fn with(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self {
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            calls: Arc::default(),
            heads: Arc::default(),
        }
    }

    /// Whether the script goes on.
    pub(super) fn has_answers(&self) -> bool {
        !self.answers.lock().expect("no panic").is_empty()
    }

    /// What each call had under this name.
    pub(super) fn headers(&self, name: &str) -> Vec<Option<String>> {
        let heads = self.heads.lock().expect("no panic");
        let text = |head: &HeaderMap| Some(head.get(name)?.to_str().expect("text").to_owned());
        heads.iter().map(text).collect()
    }

    pub(super) fn calls(&self) -> Vec<Instant> {
        self.calls.lock().expect("no panic").clone()
    }
}

impl Service<Request<Full<Bytes>>> for Server {
    type Response = Response<Scripted>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        self.calls.lock().expect("no panic").push(Instant::now());
        let head = request.into_parts().0.headers;
        self.heads.lock().expect("no panic").push(head);
        let answer = self.answers.lock().expect("no panic").pop_front();
        let answer = answer.expect("a call that the script does not expect");
        let mut response = Response::new(Scripted {
            steps: answer.steps.into(),
            polls: answer.polls,
        });
        *response.status_mut() = answer.status.try_into().expect("a status");
        *response.headers_mut() = map(&answer.head);
        ready(Ok(response))
    }
}

/// Waits 10 ms before each retry, and not a moment longer.
fn policy() -> RetryPolicy {
    RetryPolicy::builder()
        .backoff(Backoff::constant(Duration::from_millis(10)))
        .budget(None)
        .build()
        .expect("a valid policy")
}

/// A call of a method that may be repeated: gRPC's are all POST.
pub(super) fn call() -> Request<Full<Bytes>> {
    let mut request = plain_call();
    request.extensions_mut().insert(Idempotent);
    request
}

pub(super) fn plain_call() -> Request<Full<Bytes>> {
    Request::post("http://greeter.test/helloworld.Greeter/SayHello")
        .body(Full::default())
        .expect("a valid request")
}

async fn ask(server: &Server) -> Response<PeekedBody<Scripted>> {
    ask_with(GrpcLayer::new(), server, call()).await
}

async fn ask_with(
    layer: GrpcLayer,
    server: &Server,
    request: Request<Full<Bytes>>,
) -> Response<PeekedBody<Scripted>> {
    let client = RetryLayer::new(policy()).layer(layer.layer(server.clone()));
    client.oneshot(request).await.expect("a response")
}

pub(super) fn report(response: &Response<impl Sized>) -> &RetryReport {
    response
        .extensions()
        .get()
        .expect("the response has a report")
}

/// Everything that is left of a body, in words.
pub(super) async fn read(mut body: PeekedBody<Scripted>) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some(frame) = body.frame().await {
        seen.push(match frame {
            Err(error) => error.to_string(),
            Ok(frame) => match frame.into_data() {
                Ok(data) => String::from_utf8_lossy(&data).into_owned(),
                Err(frame) => format!("{:?}", frame.into_trailers().expect("trailers")),
            },
        });
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_in_its_trailers_is_repeated() {
    let failed = Answer::grpc([trailers(14)]);
    let server = Server::with([failed, Answer::ok()]);
    let response = ask(&server).await;
    let report = report(&response);
    assert_eq!(report.attempt_count(), 2);
    assert_eq!(
        report.attempts[0].failed_within,
        Some(Cause::Grpc(GrpcCode::Unavailable))
    );
    let shown = report.to_string();
    assert!(shown.contains("200 OK, gRPC UNAVAILABLE"), "{shown}");
    assert_eq!(*report.effects().end(), 2, "either may have been applied");
    assert_eq!(
        read(response.into_body()).await,
        ["hello", r#"{"grpc-status": "0"}"#]
    );
}

#[tokio::test(start_paused = true)]
async fn a_status_right_behind_a_message_is_seen_and_nothing_is_lost() {
    let answer = Answer::grpc([Step::Data("half"), trailers(5)]);
    let server = Server::with([answer]);
    let response = ask(&server).await;
    let report = report(&response);
    assert_eq!(
        report.attempts[0].failed_within,
        Some(Cause::Grpc(GrpcCode::NotFound))
    );
    assert_eq!(
        read(response.into_body()).await,
        ["half", r#"{"grpc-status": "5"}"#]
    );
}

#[tokio::test(start_paused = true)]
async fn a_message_commits_the_call_whatever_comes_behind_it() {
    for steps in [
        vec![Step::Data("half"), trailers(14)],
        vec![Step::Data("half"), Step::Broken],
    ] {
        let response = ask(&Server::with([Answer::grpc(steps)])).await;
        assert_eq!(
            report(&response).to_string().lines().last(),
            Some(
                "  not retried: GrpcLayer forbids it: a message of the response has come, so the \
                 call is committed"
            )
        );
    }
    // A frame without anything in it is no message.
    let empty = Answer::grpc([Step::Data(""), trailers(14)]);
    let response = ask(&Server::with([empty, Answer::ok()])).await;
    assert_eq!(report(&response).attempt_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_head_commits_the_call_where_that_is_asked_for() {
    let layer = GrpcLayer::new().commit_on_head();
    let failed = Answer::grpc([trailers(14)]);
    let response = ask_with(layer.clone(), &Server::with([failed]), call()).await;
    let stop = report(&response).stop.to_string();
    assert!(
        stop.ends_with("head has come, so the call is committed"),
        "{stop}"
    );
    let server = Server::with([Answer::trailers_only(14), Answer::ok()]);
    let response = ask_with(layer, &server, call()).await;
    assert_eq!(report(&response).attempt_count(), 2, "nothing but trailers");
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_handed_out_once_its_first_frame_is_there() {
    let answer = Answer::grpc([
        Step::Data("one"),
        Step::Later,
        Step::Data("two"),
        Step::Data("three"),
        trailers(14),
    ]);
    let polls = Arc::clone(&answer.polls);
    let response = ask(&Server::with([answer])).await;
    assert_eq!(*polls.lock().unwrap(), 2, "the first frame, and one look");
    assert!(response.extensions().get::<LayerOutcome>().is_none());
    assert!(response.extensions().get::<RetryReport>().is_none());
    let frames = read(response.into_body()).await;
    assert_eq!(frames[..3], ["one", "two", "three"]);
    assert_eq!(frames.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_two_frames_are_ever_read_ahead() {
    let answer = Answer::grpc(["a", "b", "c"].map(Step::Data));
    let polls = Arc::clone(&answer.polls);
    let response = ask(&Server::with([answer])).await;
    assert_eq!(*polls.lock().unwrap(), 2);
    assert_eq!(read(response.into_body()).await, ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_before_its_first_message_is_a_failed_attempt() {
    let broken = Answer::grpc([Step::Later, Step::Broken]);
    let response = ask(&Server::with([broken.clone(), Answer::ok()])).await;
    assert_eq!(
        report(&response).attempts[0].failed_within,
        Some(Cause::ResponseBody)
    );

    // A call that may not be repeated has the same error in its body.
    let server = Server::with([broken]);
    let response = ask_with(GrpcLayer::new(), &server, plain_call()).await;
    assert!(matches!(
        report(&response).stop,
        StopReason::MethodNotAllowed { .. }
    ));
    assert_eq!(read(response.into_body()).await, ["connection reset"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_status_says_is_read_as_grpcs_clients_read_it() {
    let fields = |fields: &[(&'static str, &str)]| {
        let fields = fields
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        Step::Trailers(fields.collect())
    };
    for (trailers, code) in [
        (fields(&[("grpc-status", "5")]), GrpcCode::NotFound),
        (fields(&[("grpc-status", "16")]), GrpcCode::Unauthenticated),
        (fields(&[("grpc-status", "17")]), GrpcCode::Unknown),
        (fields(&[("grpc-status", "-1")]), GrpcCode::Unknown),
        (fields(&[("grpc-status", "05")]), GrpcCode::Unknown),
        (fields(&[("grpc-status", "NOT_FOUND")]), GrpcCode::Unknown),
        (fields(&[("grpc-status", "")]), GrpcCode::Unknown),
        // The first one, as a look-up gives it.
        (
            fields(&[("grpc-status", "5"), ("grpc-status", "0")]),
            GrpcCode::NotFound,
        ),
        (fields(&[("grpc-message", "no status")]), GrpcCode::Unknown),
        (
            fields(&[("grpc-status", "5"), ("grpc-message", "%F0%9F%92%A5 %zz %")]),
            GrpcCode::NotFound,
        ),
        (fields(&[]), GrpcCode::Unknown),
    ] {
        let Step::Trailers(expected) = &trailers else {
            unreachable!("they are trailers")
        };
        let expected = format!("{:?}", map(expected));
        let response = ask(&Server::with([Answer::grpc([trailers])])).await;
        let told = report(&response);
        let found = told.attempts[0].failed_within;
        assert_eq!(found, Some(Cause::Grpc(code)), "{expected}");
        assert_eq!(told.stop, StopReason::GrpcStatusNotListed { code });
        assert_eq!(read(response.into_body()).await, [expected], "as they came");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_in_the_head_is_seen_with_and_without_the_layer() {
    for code in [14, 16] {
        let server = Server::with([Answer::trailers_only(code), Answer::ok()]);
        let client = RetryLayer::new(policy()).layer(server.clone());
        let response = client.oneshot(call()).await.expect("a response");
        assert_eq!(server.calls().len(), if code == 14 { 2 } else { 1 });
        let without = report(&response).attempts.len();

        let server = Server::with([Answer::trailers_only(code), Answer::ok()]);
        let response = ask(&server).await;
        assert_eq!(report(&response).attempts.len(), without);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_not_be_repeated_says_so() {
    let server = Server::with([Answer::grpc([trailers(14)])]);
    let response = ask_with(GrpcLayer::new(), &server, plain_call()).await;
    assert_eq!(
        report(&response).to_string().lines().last(),
        Some(
            "  not retried: POST is not in `allowed_methods` and the request may have been applied"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_ends_without_a_status_is_unknown() {
    for steps in [vec![], vec![Step::Later], vec![Step::Data("x")]] {
        let response = ask(&Server::with([Answer::grpc(steps)])).await;
        assert_eq!(
            report(&response).attempts[0].failed_within,
            Some(Cause::Grpc(GrpcCode::Unknown))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn pushback_in_the_trailers_is_obeyed_exactly() {
    let pushback = |ms: &str| {
        let fields = vec![
            ("grpc-status", "14".to_owned()),
            ("grpc-retry-pushback-ms", ms.to_owned()),
        ];
        Answer::grpc([Step::Trailers(fields)])
    };
    let server = Server::with([pushback("700"), Answer::ok()]);
    let response = ask(&server).await;
    let calls = server.calls();
    assert_eq!(calls[1] - calls[0], Duration::from_millis(700));
    let wait = report(&response).attempts[0].wait.as_ref();
    let header = HintHeader::GrpcRetryPushbackMs;
    assert_eq!(
        wait.map(|wait| &wait.why),
        Some(&WaitReason::ServerHint(header.clone()))
    );

    for never in ["-1", "soon", "99999999999"] {
        let response = ask(&Server::with([pushback(never)])).await;
        let header = header.clone();
        let stop = &report(&response).stop;
        assert_eq!(*stop, StopReason::ForbiddenByServer { header }, "{never}");
        let hint = report(&response).attempts[0].hint.as_ref().expect("kept");
        assert_eq!(hint.headers[0].1, never);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_grpc_is_left_alone() {
    for kind in [
        "application/json",
        "application/grpcx",
        // These have their trailers within their last message.
        "application/grpc-web",
        "application/grpc-web-text+proto",
        "application/gRPC-web",
        "application/grp",
        "text/plain",
    ] {
        let answer = Answer::grpc([Step::Data("x"), trailers(14)]).head("content-type", kind);
        let polls = Arc::clone(&answer.polls);
        let response = ask(&Server::with([answer])).await;
        assert_eq!(*polls.lock().unwrap(), 0, "{kind}");
        assert!(response.extensions().get::<RetryReport>().is_none());
    }
    for kind in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc; charset=utf-8",
        "Application/gRPC+json",
    ] {
        let answer = Answer::grpc([trailers(13)]).head("content-type", kind);
        let response = ask(&Server::with([answer])).await;
        assert!(
            response.extensions().get::<RetryReport>().is_some(),
            "{kind}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_method_can_opt_out_of_having_its_body_read() {
    let answer = Answer::grpc([Step::Data("x"), trailers(14)]);
    let polls = Arc::clone(&answer.polls);
    let layer = GrpcLayer::new().head_only(|path| path == "/helloworld.Greeter/SayHello");
    let response = ask_with(layer, &Server::with([answer]), call()).await;
    assert_eq!(*polls.lock().unwrap(), 0);
    assert!(response.extensions().get::<RetryReport>().is_none());
}

#[tokio::test(start_paused = true)]
async fn alone_in_a_stack_the_layer_tells_and_changes_nothing() {
    let server = Server::with([Answer::grpc([trailers(14)])]);
    let client = GrpcLayer::new().layer(server);
    let response = client.oneshot(call()).await.expect("a response");
    let outcome = LayerOutcome::of(response.extensions()).expect("told");
    assert_eq!(
        outcome.failure.map(|failure| failure.cause),
        Some(Cause::Grpc(GrpcCode::Unavailable))
    );
    assert_eq!(
        read(response.into_body()).await,
        [r#"{"grpc-status": "14"}"#]
    );
}

#[test]
fn a_unary_call_that_succeeds_allocates_nothing_for_the_layer() {
    /// Sends one call, and reads its answer to the end.
    fn count<S, B>(mut service: S) -> u64
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>>,
        B: Body + Unpin,
    {
        let request = call();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let measured = allocation_counter::measure(|| {
            let mut future = std::pin::pin!(service.call(request));
            let Poll::Ready(Ok(response)) = future.as_mut().poll(&mut cx) else {
                panic!("answered at once")
            };
            let mut body = response.into_body();
            while let Poll::Ready(Some(_)) = Pin::new(&mut body).poll_frame(&mut cx) {}
        });
        measured.count_total
    }
    let server = || Server::with([Answer::ok()]);
    let plain = count(server());
    assert!(plain > 0, "the server's own");
    assert_eq!(count(GrpcLayer::new().layer(server())), plain);
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::sample::select(vec!["", "a", "bc"]).prop_map(Step::Data),
        2 => Just(Step::Later),
        1 => (0..20_u8).prop_map(trailers),
        1 => Just(Step::Broken),
    ]
}

proptest! {
    #[test]
    fn every_frame_comes_through_as_it_was(steps in prop::collection::vec(step(), 0..8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        // A body that broke says no more.
        let end = steps.iter().position(|step| matches!(step, Step::Broken));
        let steps: Vec<_> = steps.into_iter().take(end.map_or(usize::MAX, |at| at + 1)).collect();
        let plain = Scripted { steps: steps.clone().into(), polls: Arc::default() };
        let answer = Answer::grpc(steps);
        let (expected, seen) = runtime.block_on(async {
            let service = GrpcLayer::new().layer(Server::with([answer]));
            let response = service.oneshot(call()).await.expect("a response");
            let mut none = PeekedBody::<Scripted>::default();
            assert!(none.frame().await.is_none());
            let mut expected = Vec::new();
            let mut plain = plain;
            while let Some(frame) = plain.frame().await {
                expected.push(match frame {
                    Err(error) => error.to_string(),
                    Ok(frame) => match frame.into_data() {
                        Ok(data) => String::from_utf8_lossy(&data).into_owned(),
                        Err(frame) => format!("{:?}", frame.into_trailers().expect("trailers")),
                    },
                });
            }
            (expected, read(response.into_body()).await)
        });
        prop_assert_eq!(seen, expected);
    }
}
