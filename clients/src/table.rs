//! What must come of each fault, whatever the client: the same for all, since it follows from
//! RFC 9110 and not from the client's code.
//!
//! | fault | GET, PUT, POST with an `Idempotency-Key` | POST |
//! | --- | --- | --- |
//! | nothing was sent: port closed, name unknown | sent again until `total` is used up | the same |
//! | lost before the response's head | sent again | once on the wire, an error |
//! | lost within the response's body | not sent again: the caller has the head | the same |
//! | 503, 429 | sent again, not before `Retry-After` | once, and the response is the caller's |
//! | 404 | the caller's | the same |
//!
//! Besides, in every case: each request on the wire is whole, byte for byte; a POST
//! without a key is there once at most; the report names as many attempts as there were.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::task::JoinSet;
use tower::{Service, ServiceExt};
use tower_http_retry::{
    RetryLayer,
    policy::{Backoff, RetryPolicy},
};

use crate::{
    expected::claim,
    places::{NO_SUCH_NAME, Place},
    script::{Answer, Step},
    server::Server,
    story::{Told, story},
    tls::Identity,
};

/// Requests for a client to send one after the other, over one and the same connection if it can.
#[derive(Debug)]
pub struct Case {
    /// The scheme and authority, for clients that are told these once.
    pub base: String,
    /// Whom to trust, where the scheme is `https`.
    pub identity: Option<Arc<Identity>>,
    /// The layer to put around the client.
    pub layer: RetryLayer<RetryPolicy>,
    pub requests: Vec<Request<Bytes>>,
}

/// What a client made of a request.
#[derive(Debug)]
pub enum Outcome {
    /// A response, and its body or why there is none.
    Response(StatusCode, Result<Bytes, String>),
    /// An error in place of a response.
    Error(String),
}

/// What the table takes for granted of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// Its errors prove what they say.
    Proves,
    /// It may send more than one request for one that it is given, for instance because it follows
    /// redirects: an error that says 'connect' then proves nothing of the first one.
    ProvesNothing,
}

impl Case {
    /// Sends the requests, one after the other, through a client that is a service.
    ///
    /// # Panics
    ///
    /// If the client is not ready.
    pub async fn exchange<S, B, R>(
        requests: Vec<Request<Bytes>>,
        mut client: S,
        body: impl Fn(Bytes) -> B,
    ) -> Vec<Outcome>
    where
        S: Service<Request<B>, Response = Response<R>>,
        S::Error: std::error::Error,
        R: http_body::Body<Error: std::error::Error>,
    {
        let mut outcomes = Vec::new();
        for request in requests {
            let service = client.ready().await.expect("ready");
            let outcome = match service.call(request.map(&body)).await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    let body = body.collect().await.map(|body| body.to_bytes());
                    Outcome::Response(head.status, body.map_err(|error| error.to_string()))
                }
                Err(error) => Outcome::Error(error.to_string()),
            };
            outcomes.push(outcome);
        }
        outcomes
    }
}

#[derive(Clone, Copy, Debug)]
enum End {
    /// 200 with the request's own body.
    Echo,
    Status(u16),
    /// A 200 whose body ends in an error, never as if it were whole.
    BodyError,
    Error,
}

#[derive(Clone, Copy, Debug)]
struct Expected {
    /// The story, with `*` for the rest of a word that depends on the client's timing, and `+` for
    /// one or more.
    story: &'static [&'static str],
    end: End,
}

const fn expect(story: &'static [&'static str], end: End) -> Expected {
    Expected { story, end }
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Get,
    Put,
    Post,
    PostWithKey,
}

const KEY: &str = "idempotency-key";

impl Kind {
    fn method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Put => Method::PUT,
            Self::Post | Self::PostWithKey => Method::POST,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::PostWithKey => "POST with a key",
        }
    }
}

#[derive(Clone, Debug)]
enum Where {
    Steps(Vec<Step>),
    Closed,
    NoSuchName,
}

struct Row {
    name: &'static str,
    place: Where,
    /// How many requests go before on the same connection.
    before: usize,
    body: usize,
    attempt_timeout: Option<Duration>,
    /// What the server asked to wait.
    asked: Option<Duration>,
    safe: Expected,
    post: Expected,
}

impl Row {
    fn new(name: &'static str, place: Where, safe: Expected, post: Expected) -> Self {
        Self {
            name,
            place,
            before: 0,
            body: 40_000,
            attempt_timeout: None,
            asked: None,
            safe,
            post,
        }
    }

    fn steps(
        name: &'static str,
        steps: impl IntoIterator<Item = Step>,
        safe: Expected,
        post: Expected,
    ) -> Self {
        Self::new(name, Where::Steps(steps.into_iter().collect()), safe, post)
    }
}

const POST: &str = "method_not_allowed";

fn rows(client: Client) -> Vec<Row> {
    use End::{BodyError, Echo, Error, Status};

    let never_sent = |story, unproven| {
        let proven = expect(story, Error);
        match client {
            Client::Proves => (proven, proven),
            Client::ProvesNothing => (proven, expect(unproven, Error)),
        }
    };
    let refused = never_sent(
        match client {
            Client::Proves => &["connect: connection refused+", "count_exhausted"],
            Client::ProvesNothing => &["read: *+", "count_exhausted"],
        },
        &["read: *", POST],
    );
    let unknown = never_sent(
        match client {
            Client::Proves => &["connect: name not resolved+", "count_exhausted"],
            Client::ProvesNothing => &["read: *+", "count_exhausted"],
        },
        &["read: *", POST],
    );
    let asked = |status| Answer::status(status).header("retry-after", "1").into();
    vec![
        Row::steps(
            "no fault",
            [Step::Echo],
            expect(&[], Echo),
            expect(&[], Echo),
        ),
        Row::new("port closed", Where::Closed, refused.0, refused.1),
        Row::new("name unknown", Where::NoSuchName, unknown.0, unknown.1),
        Row::steps(
            "reset before the head",
            [Step::ResetBeforeHead],
            expect(&["read: connection reset", "200", "succeeded"], Echo),
            expect(&["read: connection reset", POST], Error),
        ),
        Row::steps(
            "closed before the head",
            [Step::CloseBeforeHead],
            expect(
                &[
                    "read: connection closed before the response",
                    "200",
                    "succeeded",
                ],
                Echo,
            ),
            expect(
                &["read: connection closed before the response", POST],
                Error,
            ),
        ),
        Row::steps(
            "cut in the head",
            [Step::CutInHead],
            expect(
                &[
                    "read: connection closed before the response",
                    "200",
                    "succeeded",
                ],
                Echo,
            ),
            expect(
                &["read: connection closed before the response", POST],
                Error,
            ),
        ),
        Row::steps(
            "cut in the body",
            [Step::CutInBody],
            expect(&[], BodyError),
            expect(&[], BodyError),
        ),
        Row {
            before: 1,
            ..Row::steps(
                "closed when used again",
                [Step::Echo, Step::CloseBeforeHead],
                expect(
                    &[
                        "read: connection closed before the response",
                        "200",
                        "succeeded",
                    ],
                    Echo,
                ),
                expect(
                    &["read: connection closed before the response", POST],
                    Error,
                ),
            )
        },
        Row {
            body: 4_000_000,
            ..Row::steps(
                "reset within the upload",
                [Step::ResetInUpload(10_000)],
                expect(&["read: *", "200", "succeeded"], Echo),
                expect(&["read: *", POST], Error),
            )
        },
        Row {
            attempt_timeout: Some(Duration::from_millis(300)),
            ..Row::steps(
                "silence",
                [Step::Silence],
                expect(&["read: attempt timed out+", "200", "succeeded"], Echo),
                expect(&["read: attempt timed out", POST], Error),
            )
        },
        Row::steps(
            "503 twice",
            [Answer::status(503).body("busy").into(), 503.into()],
            expect(&["503", "503", "200", "succeeded"], Echo),
            expect(&["503", POST], Status(503)),
        ),
        Row {
            asked: Some(Duration::from_secs(1)),
            ..Row::steps(
                "503 with Retry-After",
                [asked(503)],
                expect(&["503", "200", "succeeded"], Echo),
                expect(&["503", POST], Status(503)),
            )
        },
        Row {
            asked: Some(Duration::from_secs(1)),
            ..Row::steps(
                "429 with Retry-After",
                [asked(429)],
                expect(&["429", "200", "succeeded"], Echo),
                expect(&["429", POST], Status(429)),
            )
        },
        Row::steps(
            "503 until the end",
            [503.into(), 503.into(), 503.into(), 503.into()],
            expect(&["503+", "count_exhausted"], Status(503)),
            expect(&["503", POST], Status(503)),
        ),
        Row::steps(
            "404",
            [404.into()],
            expect(&["404", "status_not_listed"], Status(404)),
            expect(&["404", "status_not_listed"], Status(404)),
        ),
    ]
}

/// Sends every row of the table through a client, each with GET, PUT, POST and a POST that
/// carries an `Idempotency-Key`.
///
/// `exchange` sends the requests of a case, one after the other, through a client that has the
/// case's layer around it. `name` is the client's in the list of
/// [expected failures](crate::expected).
///
/// # Panics
///
/// If a case does not come out as it must.
pub async fn run<F>(
    name: &str,
    client: Client,
    identity: Option<Arc<Identity>>,
    exchange: impl Fn(Case) -> F + Clone + Send + 'static,
) where
    F: Future<Output = Vec<Outcome>> + Send + 'static,
{
    let failures = failures(name, client, identity, exchange).await;
    assert!(failures.is_empty(), "{failures:#?}");
}

/// The cases that do not come out as [`run`] demands.
pub async fn failures<F>(
    name: &str,
    client: Client,
    identity: Option<Arc<Identity>>,
    exchange: impl Fn(Case) -> F + Clone + Send + 'static,
) -> Vec<String>
where
    F: Future<Output = Vec<Outcome>> + Send + 'static,
{
    let mut cases = JoinSet::new();
    for row in rows(client) {
        let row = Arc::new(row);
        for kind in [Kind::Get, Kind::Put, Kind::Post, Kind::PostWithKey] {
            if row.body > 1_000_000 && kind == Kind::Get {
                continue; // It has no body.
            }
            // No certificate can have that name, so that TLS refuses it before any resolver does.
            if identity.is_some() && matches!(row.place, Where::NoSuchName) {
                continue;
            }
            let (row, exchange, identity) = (Arc::clone(&row), exchange.clone(), identity.clone());
            let case = format!("{name}: {}: {}", row.name, kind.name());
            cases.spawn(async move {
                let check = check(row, kind, identity, exchange);
                let claim = tokio::spawn({
                    let case = case.clone();
                    async move { claim(&case, check).await }
                });
                claim.await.is_err().then_some(case)
            });
        }
    }
    let mut failed: Vec<_> = cases.join_all().await.into_iter().flatten().collect();
    failed.sort();
    failed
}

/// Content in which no part is like another.
fn content(length: usize) -> Bytes {
    let numbers = (0u32..).flat_map(|number| number.to_be_bytes());
    numbers.take(length).collect()
}

async fn check<F>(
    row: Arc<Row>,
    kind: Kind,
    identity: Option<Arc<Identity>>,
    exchange: impl Fn(Case) -> F,
) where
    F: Future<Output = Vec<Outcome>>,
{
    let method = kind.method();
    let closed = Place::closed();
    let scheme = if identity.is_some() { "https" } else { "http" };
    let (server, base) = match &row.place {
        Where::Steps(steps) => {
            let steps = steps.iter().cloned();
            let (server, base) = match &identity {
                None => {
                    let server = Server::start(steps).await;
                    let base = server.url();
                    (server, base)
                }
                Some(identity) => {
                    let server = Server::start_tls(identity, steps).await;
                    let base = server.tls_url();
                    (server, base)
                }
            };
            (Some(server), base)
        }
        Where::Closed => (None, format!("{scheme}://{}", closed.address())),
        Where::NoSuchName => (None, format!("{scheme}://{NO_SUCH_NAME}")),
    };

    let told = Told::default();
    let mut policy = RetryPolicy::builder().backoff(Backoff::constant(Duration::from_millis(1)));
    if row.attempt_timeout.is_some() {
        // On a slow machine the time may be up more than once.
        policy = policy.total(50);
    }
    let mut layer = RetryLayer::new(policy.build().expect("valid")).on_event(told.hook());
    if let Some(timeout) = row.attempt_timeout {
        layer = layer.attempt_timeout(timeout);
    }
    let sent = if method == Method::GET {
        Bytes::new()
    } else {
        content(row.body)
    };
    let request = |method: &Method, body: &Bytes| {
        let request = Request::builder()
            .method(method.clone())
            .uri(format!("{base}/some/path"));
        request.body(body.clone()).expect("valid")
    };
    let mut requests: Vec<_> = (0..row.before)
        .map(|_| request(&Method::GET, &Bytes::new()))
        .collect();
    let mut last = request(&method, &sent);
    if kind == Kind::PostWithKey {
        last.headers_mut()
            .insert(KEY, HeaderValue::from_static("\"a-key\""));
    }
    requests.push(last);
    let case = Case {
        base: base.clone(),
        identity,
        layer,
        requests,
    };
    let mut outcomes = exchange(case).await;
    assert_eq!(outcomes.len(), row.before + 1);
    let outcome = outcomes.pop().expect("one");

    let expected = if kind == Kind::Post {
        row.post
    } else {
        row.safe
    };
    assert_end(&outcome, expected.end, &sent);
    let reports = told.reports();
    let (attempts, never_sent) = match &*reports {
        [] => {
            assert!(expected.story.is_empty(), "no report: {outcome:?}");
            (1, 0)
        }
        [report] => {
            let found = story(report);
            assert!(matches(&found, expected.story), "{found:?}\n{report}");
            assert_eq!(report.method, method);
            assert_eq!(report.url, format!("{base}/some/path"));
            if let Some(asked) = row.asked.filter(|_| kind != Kind::Post) {
                let waited = report.attempts[0].wait.as_ref().expect("waited");
                assert!(waited.planned >= asked, "{report}");
            }
            if kind == Kind::Post {
                assert!(*report.effects().end() <= 1, "{report}");
            }
            let connect = |outcome: &&String| outcome.starts_with("connect: ");
            (report.attempt_count(), found.iter().filter(connect).count())
        }
        reports => panic!("{} reports", reports.len()),
    };
    let Some(server) = server else { return };

    let received = server.received();
    let received = &received[row.before..];
    let sent_as_told = if row.attempt_timeout.is_some() {
        // On a slow machine the time may be up before anything is sent.
        received.len() <= attempts
    } else {
        received.len() == attempts - never_sent
    };
    assert!(sent_as_told, "{attempts} attempts: {received:#?}");
    for (at, request) in received.iter().enumerate() {
        assert_eq!(request.method, method);
        assert_eq!(request.target, "/some/path");
        assert_eq!(request.headers.contains_key(KEY), kind == Kind::PostWithKey);
        let cut = row.body > 1_000_000 && at == 0;
        assert_eq!(request.whole, !cut, "request {at}");
        let of_it = &sent[..request.body.len().min(sent.len())];
        assert!(
            request.body == *of_it && (cut || request.body.len() == sent.len()),
            "request {at}"
        );
    }
    if kind == Kind::Post {
        assert!(
            received.len() <= 1,
            "a POST was there {} times",
            received.len()
        );
    }
    if row.before > 0 {
        let before = server.received();
        assert_eq!(before[0].connection, before[1].connection, "not used again");
    }
}

#[track_caller]
fn assert_end(outcome: &Outcome, end: End, sent: &Bytes) {
    let as_expected = match (end, outcome) {
        (End::Echo, Outcome::Response(status, Ok(body))) => *status == 200 && body == sent,
        (End::Status(expected), Outcome::Response(status, Ok(_))) => *status == expected,
        (End::BodyError, Outcome::Response(status, Err(_))) => *status == 200,
        (End::Error, Outcome::Error(_)) => true,
        _ => false,
    };
    if as_expected {
        return;
    }
    match outcome {
        Outcome::Response(status, Ok(body)) => {
            panic!("{status} with {} bytes in place of {end:?}", body.len())
        }
        other => panic!("{other:?} in place of {end:?}"),
    }
}

/// Whether a story is as expected, with the signs of [`Expected::story`].
fn matches(found: &[String], expected: &[&str]) -> bool {
    let Some((first, rest)) = expected.split_first() else {
        return found.is_empty();
    };
    let (pattern, many) = match first.strip_suffix('+') {
        Some(pattern) => (pattern, true),
        None => (*first, false),
    };
    let fits = |word: &String| match pattern.strip_suffix('*') {
        Some(start) => word.starts_with(start),
        None => word == pattern,
    };
    let same = found.iter().take_while(|word| fits(word)).count();
    let most = if many { same } else { same.min(1) };
    (1..=most).any(|used| matches(&found[used..], rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_fits_its_pattern() {
        let found = ["503", "503", "200"].map(str::to_owned);
        for (expected, fits) in [
            (&["503", "503", "200"][..], true),
            (&["503+", "200"], true),
            (&["5*+", "200"], true),
            (&["503", "200"], false),
            (&["503+"], false),
            (&["503+", "503", "200"], true),
            (&["404+", "503+", "200"], false),
            (&[], false),
        ] {
            assert_eq!(matches(&found, expected), fits, "{expected:?}");
        }
    }
}
