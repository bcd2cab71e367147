//! What the cells send, and what they are answered: nothing of it is made while something is
//! measured.

use std::{
    cell::RefCell,
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    hint::black_box,
    pin::{Pin, pin},
    rc::Rc,
    sync::{Arc, LazyLock},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body_util::{Empty, Full};
use tower::Service;

pub(crate) type Body = Full<Bytes>;
pub(crate) type Answer = Response<Empty<Bytes>>;

// ===== requests =====

const SHORT: &str = "http://api.example.com/v1/item";
const URI: &str = "http://api.example.com/v1/items/42?fields=name";

fn request_to(uri: String, headers: HeaderMap) -> Request<Body> {
    let mut request = Request::new(Body::default());
    // From text of its own, as a URI that was put together or received.
    *request.uri_mut() = uri.try_into().expect("a URI");
    *request.headers_mut() = headers;
    request
}

/// How headers came to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Made {
    /// Standard names, constant values.
    Standard,
    /// Constant names that are no standard ones, constant values.
    Custom,
    /// Standard names, each value from text of its own.
    Values,
    /// Each name and each value from text of its own.
    Strings,
    /// Standard names, values that are slices of one buffer, as a server receives them.
    Slices,
}

pub(crate) const MADE: [(Made, &str); 5] = [
    (Made::Standard, "standard names, constant values"),
    (Made::Custom, "custom constant names and values"),
    (Made::Values, "standard names, values from strings"),
    (Made::Strings, "custom names and values from strings"),
    (Made::Slices, "values that are slices of one buffer"),
];

/// Names as requests and responses have them, all of them standard ones.
const NAMES: [HeaderName; 60] = [
    header::HOST,
    header::USER_AGENT,
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::AUTHORIZATION,
    header::IF_NONE_MATCH,
    header::COOKIE,
    header::ACCEPT_CHARSET,
    header::ACCEPT_RANGES,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
    header::ACCESS_CONTROL_REQUEST_HEADERS,
    header::ACCESS_CONTROL_REQUEST_METHOD,
    header::AGE,
    header::ALLOW,
    header::ALT_SVC,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LOCATION,
    header::CONTENT_RANGE,
    header::CONTENT_SECURITY_POLICY,
    header::CONTENT_SECURITY_POLICY_REPORT_ONLY,
    header::CONTENT_TYPE,
    header::DATE,
    header::DNT,
    header::ETAG,
    header::EXPECT,
    header::EXPIRES,
    header::FORWARDED,
    header::FROM,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::LAST_MODIFIED,
    header::LINK,
    header::LOCATION,
    header::MAX_FORWARDS,
    header::ORIGIN,
    header::PRAGMA,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::RANGE,
    header::REFERER,
    header::REFERRER_POLICY,
    header::SERVER,
    header::SET_COOKIE,
    header::STRICT_TRANSPORT_SECURITY,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::VARY,
];

static CUSTOM: LazyLock<Vec<HeaderName>> = LazyLock::new(|| {
    (0..NAMES.len())
        .map(|number| {
            let name: &'static str = Box::leak(format!("x-custom-{number}").into_boxed_str());
            HeaderName::from_static(name)
        })
        .collect()
});

const VALUE: &str = "a value of 24 characters";

fn headers(count: usize, made: Made) -> HeaderMap {
    let buffer = Bytes::from(VALUE.repeat(count));
    let text = || HeaderValue::try_from(VALUE.to_owned()).expect("a value");
    (0..count)
        .map(|at| match made {
            Made::Standard => (NAMES[at].clone(), HeaderValue::from_static(VALUE)),
            Made::Custom => (CUSTOM[at].clone(), HeaderValue::from_static(VALUE)),
            Made::Values => (NAMES[at].clone(), text()),
            Made::Strings => (CUSTOM[at].as_str().parse().expect("a name"), text()),
            Made::Slices => {
                let slice = buffer.slice(at * VALUE.len()..(at + 1) * VALUE.len());
                let value = HeaderValue::from_maybe_shared(slice).expect("a value");
                (NAMES[at].clone(), value)
            }
        })
        .collect()
}

/// A GET with so many headers.
pub(crate) fn with_headers(count: usize, made: Made) -> Request<Body> {
    request_to(URI.to_owned(), headers(count, made))
}

/// A GET with eight headers, as a client of some API sends it: three values are put together for
/// this request, and two of them stand under names that are no standard ones.
pub(crate) fn mixed() -> Request<Body> {
    let mut headers = HeaderMap::with_capacity(8);
    let constant = HeaderValue::from_static;
    let text = |value: &str| HeaderValue::try_from(value.to_owned()).expect("a value");
    headers.insert(header::HOST, constant("api.example.com"));
    headers.insert(header::USER_AGENT, constant("client/1.0"));
    headers.insert(header::ACCEPT, constant("application/json"));
    headers.insert(header::ACCEPT_ENCODING, constant("gzip, br"));
    headers.insert(
        header::AUTHORIZATION,
        text("Bearer eyJhbGciOiJIUzI1NiJ9.e30.ZRrHA1JJ"),
    );
    headers.insert(header::IF_NONE_MATCH, constant("\"33a64df551425fcc\""));
    headers.insert(
        HeaderName::from_static("x-request-id"),
        text("0189f7ea-ae2c-7809-8aeb-b819cf5e9e7f"),
    );
    headers.insert(
        HeaderName::from_static("traceparent"),
        text("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    );
    request_to(URI.to_owned(), headers)
}

/// The same with a cookie of this size.
pub(crate) fn with_cookie(bytes: usize) -> Request<Body> {
    let mut request = mixed();
    let cookie = HeaderValue::try_from("c".repeat(bytes)).expect("a value");
    request.headers_mut().insert(header::COOKIE, cookie);
    request
}

/// The same to a URI of 30 bytes.
pub(crate) fn with_short_uri() -> Request<Body> {
    let mut request = mixed();
    *request.uri_mut() = SHORT.to_owned().try_into().expect("a URI");
    request
}

/// The same to a URI of 1.3 KB.
pub(crate) fn with_long_uri() -> Request<Body> {
    let mut request = mixed();
    let uri = format!("{URI}&filter={}", "f".repeat(1246));
    *request.uri_mut() = uri.try_into().expect("a URI");
    request
}

#[derive(Clone)]
struct Peer(#[expect(dead_code, reason = "only carried")] [u64; 4]);
#[derive(Clone)]
struct Route(#[expect(dead_code, reason = "only carried")] String);
#[derive(Clone)]
struct Trace(#[expect(dead_code, reason = "only carried")] Arc<()>);

/// The same with so many extensions, at most three: what a server, a router and a tracer leave.
pub(crate) fn with_extensions(count: usize) -> Request<Body> {
    let mut request = mixed();
    let extensions = request.extensions_mut();
    if count > 0 {
        extensions.insert(Peer([0; 4]));
    }
    if count > 1 {
        extensions.insert(Route("/v1/items/:id".to_owned()));
    }
    if count > 2 {
        extensions.insert(Trace(Arc::default()));
    }
    request
}

/// A POST of 1 KiB; with a key it may be repeated.
pub(crate) fn post(key: bool) -> Request<Body> {
    static BODY: [u8; 1024] = [b'x'; 1024];
    let mut request = mixed().map(|_| Body::new(Bytes::copy_from_slice(&BODY)));
    *request.method_mut() = Method::POST;
    if key {
        let key = HeaderValue::from_static("8e03978e-40d5");
        request.headers_mut().insert("idempotency-key", key);
    }
    request
}

// ===== responses =====

/// What a response has beside its status.
#[derive(Clone, Copy)]
pub(crate) struct Dress {
    pub(crate) headers: usize,
    pub(crate) extension: bool,
}

pub(crate) const BARE: Dress = Dress {
    headers: 0,
    extension: false,
};

/// Headers of a response behind a CDN, in the order in which they come.
const RESPONSE: [(&str, &str); 15] = [
    ("date", "Sat, 28 Nov 2026 10:00:00 GMT"),
    ("content-type", "application/json; charset=utf-8"),
    ("content-length", "0"),
    ("server", "envoy"),
    ("cache-control", "no-store, max-age=0"),
    ("vary", "accept-encoding, origin"),
    ("etag", "\"33a64df551425fcc55e4d42a148795d9\""),
    ("x-request-id", "0189f7ea-ae2c-7809-8aeb-b819cf5e9e7f"),
    ("x-envoy-upstream-service-time", "12"),
    ("strict-transport-security", "max-age=31536000"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("set-cookie", "session=38afes7a8; HttpOnly; Path=/"),
    ("via", "1.1 varnish"),
    ("x-cache", "MISS"),
];

/// As from the network: the values are slices of what was read, custom names are text.
fn response(status: u16, dress: Dress) -> Answer {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status.try_into().expect("a status");
    let lines = &RESPONSE[..dress.headers];
    let buffer: String = lines.iter().map(|(_, value)| *value).collect();
    let buffer = Bytes::from(buffer);
    let mut at = 0;
    for (name, value) in lines {
        let slice = buffer.slice(at..at + value.len());
        at += value.len();
        let name: HeaderName = name.parse().expect("a name");
        let value = HeaderValue::from_maybe_shared(slice).expect("a value");
        response.headers_mut().append(name, value);
    }
    if dress.extension {
        // What hyper-util's connector leaves.
        response.extensions_mut().insert(Peer([0; 4]));
    }
    response
}

// ===== the service =====

/// Answers at once what was prepared, or when it is polled the second time.
#[derive(Clone)]
pub(crate) struct Server(Rc<Shared>);

struct Shared {
    answers: RefCell<VecDeque<Answer>>,
    at_once: bool,
}

impl Server {
    pub(crate) fn new(at_once: bool) -> Self {
        Self(Rc::new(Shared {
            answers: RefCell::default(),
            at_once,
        }))
    }

    pub(crate) fn prepare(&self, status: u16, dress: Dress) {
        self.0
            .answers
            .borrow_mut()
            .push_back(response(status, dress));
    }
}

pub(crate) struct Answering {
    answer: Option<Answer>,
    polled: bool,
}

impl Future for Answering {
    type Output = Result<Answer, Infallible>;

    fn poll(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.polled {
            self.polled = true;
            return Poll::Pending;
        }
        Poll::Ready(Ok(self.answer.take().expect("polled until ready")))
    }
}

impl<B> Service<Request<B>> for Server {
    type Response = Answer;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    // Not a part of its caller, so that all callers pay the same for it.
    #[inline(never)]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        drop(black_box(request));
        let answer = self.0.answers.borrow_mut().pop_front();
        Answering {
            answer: Some(answer.expect("prepared")),
            polled: self.0.at_once,
        }
    }
}

/// Sends a request to a service that is always ready, and waits for nothing.
pub(crate) fn send<S, R>(service: &mut S, request: R) -> S::Response
where
    S: Service<R>,
{
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(service.poll_ready(&mut cx), Poll::Ready(Ok(()))));
    let mut answer = pin!(service.call(request));
    loop {
        match answer.as_mut().poll(&mut cx) {
            Poll::Ready(Ok(response)) => return response,
            Poll::Ready(Err(_)) => panic!("the server answers"),
            Poll::Pending => {}
        }
    }
}
