//! `bodies.json`: what is sent as the body of each attempt.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, request::Parts};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_http_retry::{
    BoxError, RetryErrorKind, RetryLayer,
    body::{CloneBody, RecordBody, Reopen, Rewind, WholeBody},
    policy::StopReason,
};

use super::layer::{answer, end, on_paused_clock};
use crate::{
    harness::{Rule, Verdict, list, text},
    session::{End, method, policy, script},
};

/// What the inner service saw of one attempt; `None` if it never got to the body.
type Sent = Option<(String, Option<u64>)>;

pub(crate) fn case(case: &Value) -> Verdict {
    // Redirects are followed by another layer.
    if list(&case["script"])
        .iter()
        .any(|step| !step["headers"]["Location"].is_null())
    {
        return Verdict::OutOfScope;
    }
    let content = content(text(&case["body"]));
    let full = || Full::from(content);
    match text(&case["body"]) {
        "none" | "bytes" | "bytes_empty" | "bytearray" | "str" => {
            compare(case, &run(case, CloneBody, full()), false)
        }
        // Made of parts, of no known size, and as good as the first time: Python's list.
        "list" => compare(case, &run(case, CloneBody, Parted::new(content)), false),
        "file_seekable" | "file_seekable_at_6" | "file_text" => {
            let open = move |_: &Parts| Ok::<_, BoxError>(Parted::new(content));
            compare(
                case,
                &run(case, Reopen::new(open), Parted::new(content)),
                false,
            )
        }
        "file_tell_fails" | "file_tell_no_seek" | "file_seek_fails" => {
            let open = |_: &Parts| Err::<Parted, _>(io::Error::from(io::ErrorKind::NotSeekable));
            compare(
                case,
                &run(case, Reopen::new(open), Parted::new(content)),
                false,
            )
        }
        "generator" | "iterator" | "file_no_seek_no_tell" => {
            let whole = compare(
                case,
                &run(case, RecordBody::new(1024), OneShot::new(content)),
                true,
            );
            if let Verdict::Excused(_) = whole {
                let refused = run(case, RecordBody::new(1), OneShot::new(content));
                if let Err(why) = is_refused(case, &refused) {
                    return Verdict::Failed(why);
                }
            }
            whole
        }
        unknown => Verdict::Failed(format!("unknown body {unknown}")),
    }
}

/// What the bodies of the recorded cases say.
fn content(body: &str) -> &'static str {
    match body {
        "none" | "bytes_empty" => "",
        "str" | "file_text" => "héllo",
        "file_seekable_at_6" => "world",
        _ => "hello world",
    }
}

/// What was seen of a case.
#[derive(Debug)]
struct Observed {
    sent: Vec<Sent>,
    end: BodyEnd,
}

#[derive(Debug, PartialEq)]
enum BodyEnd {
    /// The request ended as one without a body might have.
    Usual(End),
    /// The body could not be made again: urllib3's `UnrewindableBodyError`.
    Unrewindable,
    /// The request was given up, with its last outcome intact, since too little was kept.
    NotKept,
}

/// Sends a body through the layer and records what the inner service gets.
fn run<R, B>(case: &Value, rewind: R, body: B) -> Observed
where
    R: Rewind<B> + Clone,
    R::Body: Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let steps = list(&case["script"]).to_vec();
    let outcomes = script(&case["script"], &Value::Null);
    let script: VecDeque<_> = steps.into_iter().zip(outcomes).collect();
    let state = Arc::new(Mutex::new((script, Vec::<Sent>::new())));
    let seen = Arc::clone(&state);
    let inner = service_fn(move |request: Request<R::Body>| {
        let state = Arc::clone(&state);
        async move {
            let (step, happened) = state
                .lock()
                .unwrap()
                .0
                .pop_front()
                .expect("a scripted attempt");
            let body = request.into_body();
            let size = body.size_hint().exact();
            let sent = match &step["read_error"] {
                _ if !step["connect_error"].is_null() => None,
                Value::String(fault) if fault.starts_with("write_") => Some((String::new(), size)),
                _ => {
                    let bytes = body.collect().await.unwrap().to_bytes();
                    Some((String::from_utf8(bytes.to_vec()).unwrap(), size))
                }
            };
            state.lock().unwrap().1.push(sent);
            answer(happened)
        }
    });
    let policy = policy(&case["policy"], None, 0).unwrap();
    let service = RetryLayer::new(policy).rewind(rewind).layer(inner);
    let request = Request::builder()
        .method(method(&case["method"]))
        .uri("http://a.test/")
        .body(body)
        .unwrap();
    let result = on_paused_clock(service.oneshot(request));

    let not_kept = |reason: &StopReason| matches!(reason, StopReason::BodyNotReplayable { .. });
    let end = match &result {
        Err(error) if error.kind() == RetryErrorKind::Body => BodyEnd::Unrewindable,
        Err(error) if not_kept(error.stop_reason()) => BodyEnd::NotKept,
        result => BodyEnd::Usual(end(result)),
    };
    let sent = std::mem::take(&mut seen.lock().unwrap().1);
    Observed { sent, end }
}

/// Compares with what urllib3 sent. A body that is `consumed` there, but whole here, is excused.
fn compare(case: &Value, observed: &Observed, consumed: bool) -> Verdict {
    let expect = &case["expect"];
    let result = &expect["result"];
    let end = match (&result["returned_status"], result["raised"].as_str()) {
        (_, Some("UnrewindableBodyError")) => BodyEnd::Unrewindable,
        (_, Some("MaxRetryError")) => BodyEnd::Usual(End::Exhausted {
            by_status: result["reason"] == "ResponseError",
        }),
        (_, Some(_)) => BodyEnd::Usual(End::Bare),
        (status, None) => {
            let status = u16::try_from(status.as_u64().unwrap()).unwrap();
            BodyEnd::Usual(End::Returned(status.try_into().unwrap()))
        }
    };
    let expected = list(&expect["sent"]);
    if observed.end != end || observed.sent.len() != expected.len() {
        return Verdict::Failed(format!("{expect} there, {observed:?} here"));
    }

    let content = content(text(&case["body"]));
    let mut verdict = Verdict::Passed;
    for (at, (expected, ours)) in expected.iter().zip(&observed.sent).enumerate() {
        let same = match (expected, ours) {
            (Value::Null, None) => true,
            (Value::Object(_), Some((body, size))) => {
                let chunked = expected["framing"] == "chunked";
                let length = expected["content_length"]
                    .as_str()
                    .map(|n| n.parse().unwrap());
                // A body that was kept may know its length the second time.
                let framed = chunked || length == *size;
                let again = at > 0 && expected["body"] == "" && body == content;
                if expected["body"] == body.as_str() {
                    framed
                } else if consumed && again {
                    verdict = Verdict::Excused(Rule::ConsumedBody);
                    framed
                } else {
                    false
                }
            }
            _ => false,
        };
        if !same {
            return Verdict::Failed(format!("{expected} sent there, {ours:?} here"));
        }
    }
    verdict
}

/// With room for less than the body, the attempt that read it must be the last one.
fn is_refused(case: &Value, observed: &Observed) -> Result<(), String> {
    let whole = content(text(&case["body"]));
    match &observed.sent[..] {
        [Some((first, _))] if first == whole && observed.end == BodyEnd::NotKept => Ok(()),
        _ => Err(format!("not refused: {observed:?}")),
    }
}

/// A body in two parts that does not know its length.
#[derive(Clone)]
struct Parted(VecDeque<Bytes>);

impl Parted {
    fn new(content: &'static str) -> Self {
        let (first, second) = content.as_bytes().split_at(content.len() / 2);
        Self(VecDeque::from([first, second].map(Bytes::from_static)))
    }
}

impl WholeBody for Parted {
    fn try_clone_whole(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl Body for Parted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|part| Ok(Frame::data(part))))
    }
}

/// A body that can be read once and is not `Clone`: a generator.
struct OneShot(Parted);

impl OneShot {
    fn new(content: &'static str) -> Self {
        Self(Parted::new(content))
    }
}

impl Body for OneShot {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }
}
