//! What the demonstration asks for, and what should come of it.

use std::{io, net::SocketAddr, ops::RangeInclusive, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, request::Builder};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody, combinators::UnsyncBoxBody};
use sha2::{Digest, Sha256};
use tower_http_retry::{
    BoxError,
    policy::{Backoff, Idempotent, Jitter, RetryPolicy, RetryPolicyBuilder},
};

use crate::{
    demo::Outcome,
    server::{DIGEST, Server, hex},
};

/// The body of every request of the demonstration: empty, or a stream.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// How much of a body is kept while it is sent, so that it can be sent again.
const KEEP: u64 = 512 * 1024;

/// The policy of the demonstration: the default one, but half of each wait is certain, so that
/// the timelines show how they grow.
pub(crate) fn policy() -> RetryPolicyBuilder {
    let backoff = Backoff::exponential(Duration::from_millis(100)).jitter(Jitter::Equal);
    RetryPolicy::builder().backoff(backoff)
}

/// A request and what should become of it.
pub(crate) struct Scenario {
    pub(crate) title: &'static str,
    pub(crate) request: fn(&mut Server) -> Result<Request<Body>, BoxError>,
    /// The layer's replay limit.
    pub(crate) keep: u64,
    pub(crate) expected: Expected,
}

/// What should become of a request.
pub(crate) struct Expected {
    attempts: RangeInclusive<usize>,
    /// The last status, or the cause of the last failure: one of these.
    result: &'static [&'static str],
    /// [`StopReason::name`](tower_http_retry::policy::StopReason::name).
    stop: &'static str,
    /// The waits together, at least.
    waited: Duration,
    /// The answer's content.
    text: fn() -> String,
}

const SUCCESS: Expected = Expected {
    attempts: 2..=2,
    result: &["200 OK"],
    stop: "succeeded",
    waited: Duration::ZERO,
    text: String::new,
};

impl Expected {
    /// What is not as it should be.
    pub(crate) fn differs_from(&self, outcome: &Outcome) -> Option<String> {
        let (attempts, stop, waited) = (outcome.attempts(), outcome.stop(), outcome.waited());
        if !self.attempts.contains(&attempts) {
            return Some(format!("{:?} attempts were expected", self.attempts));
        }
        if !self.result.contains(&outcome.result.as_str()) || stop != self.stop {
            let (result, stop) = (self.result.join(" or "), self.stop);
            return Some(format!("{result} was expected, and to stop for {stop}"));
        }
        if waited < self.waited {
            let least = self.waited;
            return Some(format!("a wait of {least:?} was expected, not {waited:?}"));
        }
        let text = (self.text)();
        (outcome.text != text).then(|| format!("{text:?} was expected"))
    }
}

pub(crate) const ALL: &[Scenario] = &[
    Scenario {
        title: "answers at once",
        request: |server| get(server.http, "/well"),
        keep: KEEP,
        expected: Expected {
            attempts: 1..=1,
            ..SUCCESS
        },
    },
    Scenario {
        title: "answers 503 twice",
        request: |server| get(server.http, "/flaky"),
        keep: KEEP,
        expected: Expected {
            attempts: 3..=3,
            ..SUCCESS
        },
    },
    Scenario {
        title: "answers 429 with Retry-After: 1",
        request: |server| get(server.http, "/limited"),
        keep: KEEP,
        expected: Expected {
            waited: Duration::from_secs(1),
            ..SUCCESS
        },
    },
    Scenario {
        title: "answers 503 with Retry-After: 3600",
        request: |server| get(server.http, "/maintenance"),
        keep: KEEP,
        expected: Expected {
            attempts: 1..=1,
            result: &["503 Service Unavailable"],
            stop: "retry_after_too_long",
            ..SUCCESS
        },
    },
    Scenario {
        title: "closes the connection before it answers",
        request: |server| get(server.closing, "/closing"),
        keep: KEEP,
        expected: SUCCESS,
    },
    Scenario {
        title: "resets the connection within the answer",
        request: |server| get(server.resetting, "/resetting"),
        keep: KEEP,
        expected: SUCCESS,
    },
    Scenario {
        title: "hangs",
        request: |server| get(server.http, "/hanging"),
        keep: KEEP,
        expected: SUCCESS,
    },
    Scenario {
        title: "listens only after 300 ms",
        request: |server| {
            let late = server.start_late(Duration::from_millis(300))?;
            let mut request = get(late, "/late")?;
            // A policy of its own, for this request alone.
            request.extensions_mut().insert(policy().total(6).build()?);
            Ok(request)
        },
        keep: KEEP,
        expected: Expected {
            attempts: 2..=7,
            ..SUCCESS
        },
    },
    Scenario {
        title: "does not listen at all",
        request: |server| get(server.dead, "/dead"),
        keep: KEEP,
        expected: Expected {
            attempts: 4..=4,
            result: &["connection refused"],
            stop: "count_exhausted",
            ..SUCCESS
        },
    },
    Scenario {
        title: "answers a POST with 503",
        request: |server| post(server.http, "/order", Ok),
        keep: KEEP,
        expected: Expected {
            attempts: 1..=1,
            result: &["503 Service Unavailable"],
            stop: "method_not_allowed",
            ..SUCCESS
        },
    },
    Scenario {
        title: "answers a POST with 503 (in `allowed_methods`)",
        request: |server| {
            post(server.http, "/order/allowed", |request| {
                Ok(request.extension(policy().allowed_methods(["POST"]).build()?))
            })
        },
        keep: KEEP,
        expected: Expected {
            result: &["201 Created"],
            ..SUCCESS
        },
    },
    Scenario {
        title: "answers a POST with 503 (marked `Idempotent`)",
        request: |server| {
            post(server.http, "/order/marked", |request| {
                Ok(request.extension(Idempotent))
            })
        },
        keep: KEEP,
        expected: Expected {
            result: &["201 Created"],
            ..SUCCESS
        },
    },
    Scenario {
        title: "cuts an upload of 256 KiB in the middle",
        request: |server| upload(server.cutting),
        keep: KEEP,
        expected: Expected {
            result: &["201 Created"],
            text: || {
                let digest = hex(&Sha256::digest(content()));
                format!("262144 bytes, SHA-256 {digest}, as announced")
            },
            ..SUCCESS
        },
    },
    Scenario {
        title: "cuts an upload above the replay limit",
        request: |server| upload(server.cutting_again),
        keep: 64 * 1024,
        expected: Expected {
            attempts: 1..=1,
            // It depends on the system how a writer learns of a reset.
            result: &["connection reset", "broken pipe"],
            stop: "body_not_replayable",
            ..SUCCESS
        },
    },
];

fn get(address: SocketAddr, path: &str) -> Result<Request<Body>, BoxError> {
    Ok(Request::get(format!("http://{address}{path}")).body(empty())?)
}

fn post(
    address: SocketAddr,
    path: &str,
    permit: fn(Builder) -> Result<Builder, BoxError>,
) -> Result<Request<Body>, BoxError> {
    let request = Request::post(format!("http://{address}{path}"));
    Ok(permit(request)?.body(empty())?)
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that is made while it is sent, so that it cannot simply be cloned.
fn upload(address: SocketAddr) -> Result<Request<Body>, BoxError> {
    let content = Bytes::from(content());
    let digest = hex(&Sha256::digest(&content));
    let chunks = stream::unfold(content, async |mut rest| {
        if rest.is_empty() {
            return None;
        }
        // The server cuts the connection while the rest is still to come.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let chunk = rest.split_to(rest.len().min(16 * 1024));
        Some((Ok(Frame::data(chunk)), rest))
    });
    Ok(Request::put(format!("http://{address}/upload"))
        .header(DIGEST, digest)
        .body(StreamBody::new(chunks).boxed_unsync())?)
}

/// 256 KiB without a pattern: a chunk that is lost, doubled or moved changes the digest.
fn content() -> Vec<u8> {
    let mut state = 1_u32;
    let noise = || {
        // Numerical Recipes' linear congruential generator.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(noise).take(256 * 1024).collect()
}
