//! `RedirectLayer` above the retries: what is followed, what is shared, what is told.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use tokio::time::Instant;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_http_retry::{
    BoxError, NeverSent, RequestDeadline, RetryError, RetryErrorKind, RetryLayer, RetryReport,
    policy::{
        Backoff, Idempotent, LimitKind, Note, RetryPolicy, RetryPolicyBuilder, StopReason,
        WaitReason,
    },
    redirect::RedirectLayer,
    stack::RequestState,
};

type Res = Response<Full<Bytes>>;

/// An answer: a status with headers, or an error.
#[derive(Clone)]
enum Answer {
    Status(u16, Vec<(&'static str, &'static str)>),
    Reset,
}

fn to(status: u16, location: &'static str) -> Answer {
    Answer::Status(status, vec![("location", location)])
}

fn status(status: u16) -> Answer {
    Answer::Status(status, vec![])
}

/// A request as the server saw it.
#[derive(Clone, Debug)]
struct Seen {
    at: Instant,
    method: Method,
    url: String,
    headers: http::HeaderMap,
    extensions: http::Extensions,
    body: Bytes,
}

/// What came of a request.
struct Trip {
    result: Result<Res, RetryError>,
    seen: Vec<Seen>,
}

impl Trip {
    fn response(&self) -> &Res {
        self.result.as_ref().expect("a response")
    }

    fn error(&self) -> &RetryError {
        self.result.as_ref().expect_err("an error")
    }

    fn report(&self) -> &RetryReport {
        match &self.result {
            Ok(response) => response.extensions().get().expect("a report"),
            Err(error) => error.report(),
        }
    }

    fn lines(&self) -> Vec<String> {
        let seen = self.seen.iter();
        seen.map(|seen| format!("{} {}", seen.method, seen.url))
            .collect()
    }
}

fn policy(change: impl FnOnce(RetryPolicyBuilder) -> RetryPolicyBuilder) -> RetryPolicy {
    let builder = RetryPolicy::builder()
        .backoff(Backoff::constant(Duration::from_millis(100)))
        .budget(None);
    change(builder).build().expect("a valid policy")
}

fn plain() -> RetryPolicy {
    policy(|p| p.total(10))
}

fn request(method: Method, url: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(url)
        .body(Full::from("payload"))
        .expect("a request")
}

fn get(url: &str) -> Request<Full<Bytes>> {
    request(Method::GET, url)
}

async fn trip(
    redirects: RedirectLayer,
    policy: RetryPolicy,
    request: Request<Full<Bytes>>,
    answers: impl IntoIterator<Item = Answer>,
) -> Trip {
    let script: VecDeque<_> = answers.into_iter().collect();
    let state = Arc::new(Mutex::new((script, Vec::new())));
    let shared = Arc::clone(&state);
    let server = service_fn(move |request: Request<Full<Bytes>>| {
        let shared = Arc::clone(&shared);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.expect("a whole body").to_bytes();
            let (script, seen) = &mut *shared.lock().expect("nobody panics");
            seen.push(Seen {
                at: Instant::now(),
                method: parts.method,
                url: parts.uri.to_string(),
                headers: parts.headers,
                extensions: parts.extensions,
                body,
            });
            match script.pop_front().expect("no more requests than answers") {
                Answer::Status(status, headers) => {
                    let mut response = Response::builder().status(status);
                    for (name, value) in headers {
                        response = response.header(name, value);
                    }
                    Ok(response.body(Full::from("moved")).expect("a response"))
                }
                Answer::Reset => {
                    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
                    Err(BoxError::from(reset))
                }
            }
        }
    });
    let service = ServiceBuilder::new()
        .layer(redirects)
        .layer(RetryLayer::new(policy))
        .service(server);
    let result = service.oneshot(request).await;
    let seen = state.lock().expect("nobody panics").1.clone();
    Trip { result, seen }
}

async fn follow(request: Request<Full<Bytes>>, answers: impl IntoIterator<Item = Answer>) -> Trip {
    trip(RedirectLayer::new(&plain()), plain(), request, answers).await
}

// ===== a number of its own =====

#[tokio::test(start_paused = true)]
async fn max_redirects_counts_apart_from_the_policys_limits() {
    let tight = policy(|p| p.total(2).redirect(0));
    let redirects = RedirectLayer::new(&tight).max_redirects(3);
    let hops = [to(302, "/1"), to(302, "/2"), to(302, "/3")];
    // Three hops, and the two retries are still there.
    let ends = [status(503), status(503), status(200)];
    let answers = hops.clone().into_iter().chain(ends);
    let trip = trip(
        redirects.clone(),
        tight.clone(),
        get("http://a.test/0"),
        answers,
    )
    .await;
    assert_eq!(trip.response().status(), 200);
    assert_eq!(trip.report().attempt_count(), 6);

    let answers = hops.into_iter().chain([to(302, "/4")]);
    let over = self::trip(redirects, tight, get("http://a.test/0"), answers).await;
    assert_eq!(over.response().status(), 302);
    let stop = &over.report().stop;
    let kind = LimitKind::Redirect;
    assert!(
        matches!(stop, StopReason::CountExhausted { kind: it, limit: 3 } if *it == kind),
        "{stop:?}"
    );
}

// ===== methods and bodies =====

/// RFC 9110, section 15.4.
#[tokio::test(start_paused = true)]
async fn the_next_method_and_body_are_those_of_the_rfc() {
    let methods = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
    ];
    for code in [301, 302, 303, 307, 308] {
        for method in &methods {
            let first = request(method.clone(), "http://a.test/x");
            let trip = follow(first, [to(code, "/y"), status(200)]).await;
            let (next, keeps) = match (code, method) {
                (301 | 302, &Method::POST) => (Method::GET, false),
                (303, &Method::HEAD) => (Method::HEAD, false),
                (303, _) => (Method::GET, false),
                _ => (method.clone(), true),
            };
            let case = format!("{code} of {method}");
            assert_eq!(trip.seen[1].method, next, "{case}");
            let body = if keeps { "payload" } else { "" };
            assert_eq!(trip.seen[1].body, body, "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_about_the_body_goes_with_it() {
    let headers = [
        ("content-type", "text/plain"),
        ("content-length", "7"),
        ("content-encoding", "identity"),
        ("content-language", "en"),
        ("content-location", "/z"),
        ("digest", "sha-256=x"),
        ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("idempotency-key", "\"1\""),
    ];
    for (code, kept) in [(303, 0), (307, headers.len())] {
        let mut first = request(Method::POST, "http://a.test/x");
        for (name, value) in headers {
            let value = http::HeaderValue::from_static(value);
            first.headers_mut().insert(name, value);
        }
        first
            .headers_mut()
            .insert("x-own", "1".parse().expect("a value"));
        first.extensions_mut().insert(Idempotent);
        let trip = follow(first, [to(code, "/y"), status(200)]).await;
        let next = &trip.seen[1];
        let left = headers
            .iter()
            .filter(|(name, _)| next.headers.contains_key(*name));
        assert_eq!(left.count(), kept, "{code}");
        assert!(next.headers.contains_key("x-own"), "{code}");
        let marked = next.extensions.get::<Idempotent>().is_some();
        assert_eq!(marked, kept > 0, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_a_hop_has_dropped_is_not_sent_by_a_later_one() {
    let post = request(Method::POST, "http://a.test/x");
    let trip = follow(
        post,
        [to(303, "/y"), to(307, "/z"), status(503), status(200)],
    )
    .await;
    let bodies: Vec<_> = trip.seen.iter().map(|seen| seen.body.clone()).collect();
    assert_eq!(bodies, ["payload", "", "", ""]);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_redirect_is_returned_without_a_report() {
    for answer in [
        to(300, "/y"),
        to(304, "/y"),
        to(305, "/y"),
        to(201, "/y"),
        status(302),
        to(302, ""),
    ] {
        let trip = follow(get("http://a.test/x"), [answer]).await;
        assert_eq!(trip.seen.len(), 1);
        let report = trip.response().extensions().get::<RetryReport>();
        assert!(report.is_none(), "{report:?}");
    }
}

// ===== credentials =====

#[tokio::test(start_paused = true)]
async fn credentials_never_cross_an_origin_and_stay_away() {
    #[derive(Clone)]
    struct Secret;
    for (there, crosses) in [
        ("http://a.test/y", false),
        ("http://A.test:80/y", false),
        ("/y", false),
        ("https://a.test/y", true),
        ("http://a.test:8080/y", true),
        ("http://b.test/y", true),
        ("//www.a.test/y", true),
        ("http://a.test.evil.test/y", true),
        ("http://a.test@b.test/y", true),
    ] {
        let mut first = get("http://a.test/x");
        for name in [
            "authorization",
            "cookie",
            "proxy-authorization",
            "x-api-key",
            "accept",
        ] {
            first
                .headers_mut()
                .insert(name, "secret".parse().expect("a value"));
        }
        first.extensions_mut().insert(Secret);
        let layer = RedirectLayer::new(&plain())
            .remove_headers_on_redirect([http::HeaderName::from_static("x-api-key")]);
        let back = to(307, "http://a.test/z");
        let answers = [to(307, there), back, status(200)];
        let downgrades = there.starts_with("https");
        let trip = trip(layer, plain(), first, answers).await;
        for seen in &trip.seen[1..] {
            for name in [
                "authorization",
                "cookie",
                "proxy-authorization",
                "x-api-key",
            ] {
                let has = seen.headers.contains_key(name);
                assert_eq!(has, !crosses, "{name} at {} by {there}", seen.url);
            }
            assert!(seen.headers.contains_key("accept"), "{there}");
            let has = seen.extensions.get::<Secret>().is_some();
            assert_eq!(has, !crosses, "{there}");
            assert!(!seen.url.contains('@'), "{}", seen.url);
        }
        assert_eq!(trip.seen.len(), if downgrades { 2 } else { 3 }, "{there}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_servers_host_header_is_not_the_seconds() {
    let mut first = get("http://a.test/x");
    first
        .headers_mut()
        .insert("host", "a.test".parse().expect("a value"));
    let trip = follow(first, [to(307, "http://b.test/y"), status(200)]).await;
    assert!(!trip.seen[1].headers.contains_key("host"));
}

// ===== what ends it =====

#[tokio::test(start_paused = true)]
async fn https_never_leads_to_http() {
    let trip = follow(get("https://a.test/x"), [to(302, "http://a.test/x")]).await;
    assert_eq!(trip.response().status(), 302);
    assert_eq!(
        trip.report().stop.to_string(),
        "the redirect is not followed: it leads from `https` to `http`"
    );
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_location_is_not_followed_and_the_report_says_so() {
    for location in [
        "http://[bad/",
        "ftp://a.test/",
        "http://",
        "http://a.test:99999/",
    ] {
        let trip = follow(get("http://a.test/x"), [to(302, location)]).await;
        assert_eq!(trip.response().status(), 302, "{location}");
        assert_eq!(trip.report().stop.name(), "redirect_refused", "{location}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cycle_is_found_unless_the_server_asks_for_it() {
    let trip = follow(get("http://a.test/x"), [to(302, "/y"), to(302, "/x")]).await;
    assert_eq!(trip.response().status(), 302);
    assert_eq!(
        trip.report().stop.to_string(),
        "the redirect is not followed: the request was there before"
    );
    // It may know the request now, or have finished its work.
    for header in [("set-cookie", "seen=1"), ("retry-after", "1")] {
        let again = Answer::Status(302, vec![("location", "/x"), header]);
        let trip = follow(get("http://a.test/x"), [again, status(200)]).await;
        assert_eq!(trip.response().status(), 200, "{header:?}");
    }
    // A 303 after a POST leads to another request to the same URL.
    let post = request(Method::POST, "http://a.test/x");
    let trip = follow(post, [to(303, "/x"), status(200)]).await;
    assert_eq!(
        trip.lines(),
        ["POST http://a.test/x", "GET http://a.test/x"]
    );
}

#[tokio::test(start_paused = true)]
async fn twenty_hops_are_the_most() {
    let endless = policy(|p| p.total(tower_http_retry::policy::Limit::Unlimited));
    let paths: Vec<&'static str> = (0..30).map(|n| &*format!("/{n}").leak()).collect();
    let answers = paths.into_iter().map(|path| to(302, path));
    let layer = RedirectLayer::new(&endless);
    let trip = trip(layer, endless, get("http://a.test/x"), answers).await;
    assert_eq!(trip.seen.len(), 21);
    let kind = LimitKind::Redirect;
    assert_eq!(
        trip.report().stop,
        StopReason::CountExhausted { kind, limit: 20 }
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_was_not_kept_is_not_sent_again() {
    type Upload = BoxBody<Bytes, BoxError>;
    let chunk = |text: &'static str| Ok::<_, BoxError>(http_body::Frame::data(Bytes::from(text)));
    let upload = || -> Upload {
        let chunks = futures_util::stream::iter([chunk("one"), chunk("two")]);
        BodyExt::boxed(StreamBody::new(chunks))
    };
    for (limit, whole) in [(1024, true), (4, false)] {
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&bodies);
        let server = service_fn(move |request: Request<_>| {
            let seen = Arc::clone(&seen);
            async move {
                let body: tower_http_retry::body::RecordedBody<Upload> = request.into_body();
                let body = body.collect().await?.to_bytes();
                let mut seen = seen.lock().expect("nobody panics");
                seen.push(body);
                let response = match seen.len() {
                    1 => Response::builder().status(307).header("location", "/y"),
                    _ => Response::builder(),
                };
                Ok::<_, BoxError>(response.body(Full::<Bytes>::default()).expect("a response"))
            }
        });
        let service = RedirectLayer::new(&plain())
            .replay_bodies(limit)
            .layer(server);
        let request = Request::put("http://a.test/x")
            .body(upload())
            .expect("a request");
        let response = service.oneshot(request).await.expect("a response");
        let bodies = bodies.lock().expect("nobody panics");
        if whole {
            assert_eq!(**bodies, ["onetwo", "onetwo"]);
        } else {
            assert_eq!(response.status(), 307);
            let report: &RetryReport = response.extensions().get().expect("a report");
            assert_eq!(report.stop.name(), "body_not_replayable");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_redirect_that_is_not_followed_can_be_an_error() {
    let layer = RedirectLayer::new(&plain()).raise_on_redirect(true);
    let first = get("https://a.test/x");
    let trip = trip(layer, plain(), first, [to(302, "http://a.test/x")]).await;
    assert_eq!(trip.error().kind(), RetryErrorKind::Redirect);
}

// ===== one accounting =====

#[tokio::test(start_paused = true)]
async fn hops_and_retries_share_total() {
    let three = || policy(|p| p.total(3));
    // Two hops and a retry are three.
    let answers = [status(503), to(302, "/y"), to(302, "/z"), status(503)];
    let layer = RedirectLayer::new(&three());
    let trip = trip(layer, three(), get("http://a.test/x"), answers).await;
    assert_eq!(trip.response().status(), 503);
    let kind = LimitKind::Total;
    assert_eq!(
        trip.report().stop,
        StopReason::CountExhausted { kind, limit: 3 }
    );
    assert_eq!(trip.report().attempt_count(), 4);
}

#[tokio::test(start_paused = true)]
async fn hops_are_charged_to_redirect() {
    let two = || policy(|p| p.total(10).redirect(2));
    let answers = [to(302, "/1"), to(302, "/2"), to(302, "/3")];
    let layer = RedirectLayer::new(&two());
    let trip = trip(layer, two(), get("http://a.test/x"), answers).await;
    assert_eq!(trip.response().status(), 302);
    let kind = LimitKind::Redirect;
    assert_eq!(
        trip.report().stop,
        StopReason::CountExhausted { kind, limit: 2 }
    );
}

#[tokio::test(start_paused = true)]
async fn a_requests_own_policy_counts() {
    let mut first = get("http://a.test/x");
    first
        .extensions_mut()
        .insert(policy(|p| p.total(10).redirect(0)));
    let trip = follow(first, [to(302, "/y")]).await;
    assert_eq!(trip.response().status(), 302);
    let kind = LimitKind::Redirect;
    assert_eq!(
        trip.report().stop,
        StopReason::CountExhausted { kind, limit: 0 }
    );
}

#[tokio::test(start_paused = true)]
async fn the_deadline_does_not_start_anew_with_each_hop() {
    let busy = || Answer::Status(503, vec![("retry-after", "4")]);
    let answers = || [busy(), to(302, "/y"), busy(), to(302, "/z"), busy()];
    let seconds = Duration::from_secs;
    for by_layer in [true, false] {
        let mut first = get("http://a.test/x");
        let mut layer = RedirectLayer::new(&plain());
        if by_layer {
            layer = layer.deadline(seconds(10));
        } else {
            first
                .extensions_mut()
                .insert(RequestDeadline::after(seconds(10)));
        }
        let trip = trip(layer, plain(), first, answers()).await;
        // The third wait of four seconds and more would end after ten.
        assert_eq!(trip.seen.len(), 5, "{by_layer}");
        assert_eq!(
            trip.report().stop.name(),
            "deadline_too_close",
            "{by_layer}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_redirects_retry_after_is_waited_for() {
    let later = Answer::Status(303, vec![("location", "/y"), ("retry-after", "7")]);
    let post = request(Method::POST, "http://a.test/x");
    let trip = follow(post, [later, status(200)]).await;
    assert_eq!(trip.seen[1].at - trip.seen[0].at, Duration::from_secs(7));
    let wait = trip.report().attempts[0].wait.as_ref().expect("a wait");
    assert!(matches!(wait.why, WaitReason::ServerHint(_)), "{wait:?}");
    assert_eq!(wait.charged, Some(LimitKind::Redirect));

    let never = Answer::Status(302, vec![("location", "/y"), ("retry-after", "86400")]);
    let trip = follow(get("http://a.test/x"), [never]).await;
    assert_eq!(trip.report().stop.name(), "retry_after_too_long");
}

#[tokio::test(start_paused = true)]
async fn one_report_tells_every_hop() {
    let answers = [
        status(503),
        to(303, "http://b.test/y?q=secret"),
        Answer::Reset,
        status(200),
    ];
    let mut post = request(Method::POST, "http://a.test/x");
    post.extensions_mut().insert(Idempotent);
    let trip = follow(post, answers).await;
    let report = trip.report();
    assert_eq!(report.stop, StopReason::Succeeded);
    assert_eq!(
        (report.method.as_str(), &*report.url),
        ("POST", "http://a.test/x")
    );
    let numbers: Vec<_> = report
        .attempts
        .iter()
        .map(|attempt| attempt.number)
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    let urls: Vec<_> = report
        .attempts
        .iter()
        .map(|attempt| attempt.url.as_deref())
        .collect();
    let there = Some("http://b.test/y");
    assert_eq!(urls, [None, None, there, there]);
    let note = report.attempts[1].notes().next().expect("a note");
    let (method, url) = (Method::GET, "http://b.test/y".to_owned());
    assert_eq!(*note, Note::Redirected { method, url });
    assert!(
        report
            .to_string()
            .contains("redirected to GET http://b.test/y"),
        "{report}"
    );
    let started: Vec<_> = report
        .attempts
        .iter()
        .map(|attempt| attempt.started)
        .collect();
    assert!(started.is_sorted(), "{started:?}");
}

#[tokio::test(start_paused = true)]
async fn an_error_of_a_later_hop_has_the_report_of_all() {
    let answers = [to(307, "/y")].into_iter().chain(vec![Answer::Reset; 1]);
    let post = request(Method::POST, "http://a.test/x");
    let trip = follow(post, answers).await;
    let error = trip.error();
    assert_eq!(error.report().attempt_count(), 2);
    assert_eq!(error.stop_reason().name(), "method_not_allowed");
    assert!(error.downcast_inner::<io::Error>().is_some());
}

/// The first hop's POST was applied: that the second one could not connect proves nothing of it.
#[tokio::test(start_paused = true)]
async fn a_connect_failure_on_the_second_hop_never_repeats_the_first_hops_post() {
    let none = || policy(|p| p.total(1));
    let calls = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&calls);
    let server = service_fn(move |request: Request<Full<Bytes>>| {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        seen.lock()
            .expect("nobody panics")
            .push(format!("{method} {path}"));
        async move {
            if path == "/orders" {
                let response = Response::builder()
                    .status(303)
                    .header("location", "/receipt");
                return Ok(response.body(Full::<Bytes>::default()).expect("a response"));
            }
            let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
            Err(BoxError::from(NeverSent::new(refused)))
        }
    });
    // Retries above the redirects as well, as nobody should write it.
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(plain()))
        .layer(RedirectLayer::new(&none()))
        .layer(RetryLayer::new(none()))
        .service(server);
    let post = request(Method::POST, "http://a.test/orders");
    let error = service.oneshot(post).await.expect_err("nobody listens");
    let calls = calls.lock().expect("nobody panics");
    let posts = calls.iter().filter(|call| call.starts_with("POST")).count();
    assert_eq!(posts, 1, "{calls:?}\n{}", error.report());
}

// ===== alone, and dropped =====

#[tokio::test(start_paused = true)]
async fn alone_it_follows_and_tells() {
    let server = service_fn(|request: Request<Full<Bytes>>| async move {
        if request.uri().path() == "/end" {
            return Err(BoxError::from("broken"));
        }
        let response = Response::builder().status(302).header("location", "/end");
        Ok(response.body(Full::<Bytes>::default()).expect("a response"))
    });
    let service = RedirectLayer::new(&plain()).layer(server);
    let error = service
        .oneshot(get("http://a.test/x"))
        .await
        .expect_err("broken");
    assert_eq!(error.report().attempt_count(), 2);
    assert_eq!(
        error.into_inner().expect("the inner error").to_string(),
        "broken"
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_redirected_is_only_passed_on() {
    let trip = follow(get("http://a.test/x"), [status(200)]).await;
    assert_eq!(trip.response().status(), StatusCode::OK);
    assert!(trip.response().extensions().is_empty());
    assert!(RequestState::of(&trip.seen[0].extensions).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_request_sends_nothing_more() {
    let calls = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&calls);
    let server = service_fn(move |_: Request<Full<Bytes>>| {
        *seen.lock().expect("nobody panics") += 1;
        let response = Response::builder().status(302).header("location", "/y");
        let response = response.header("retry-after", "5");
        async move { Ok::<_, BoxError>(response.body(Full::<Bytes>::default()).expect("a response")) }
    });
    let service = RedirectLayer::new(&plain()).layer(server);
    let future = service.oneshot(get("http://a.test/x"));
    let waited = tokio::time::timeout(Duration::from_secs(2), future).await;
    assert!(waited.is_err(), "it waits");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(*calls.lock().expect("nobody panics"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_strange_location_leads_to_one_place_or_to_none() {
    for (location, expected) in [
        ("//b.test/x", Some("https://b.test/x")),
        ("/\\b.test/x", Some("https://a.test/%5Cb.test/x")),
        ("\\\\b.test/x", Some("https://a.test/dir/%5C%5Cb.test/x")),
        ("https:\\\\b.test/x", None),
        ("///b.test/x", None),
        ("https:/b.test/x", None),
        ("https:b.test/x", None),
        ("https://me:secret@b.test/x", Some("https://b.test/x")),
        ("https://a.test@b.test/x", Some("https://b.test/x")),
        ("https://b.test:99999/x", None),
        ("https://b.test:0x50/x", None),
        ("https://[::1]:8443/x", Some("https://[::1]:8443/x")),
        ("HTTPS://B.TEST/x", Some("https://B.TEST/x")),
        ("?y=1", Some("https://a.test/dir/x?y=1")),
        ("../../../y", Some("https://a.test/y")),
        ("y#https://b.test/", Some("https://a.test/dir/y")),
        ("#part", None),
        ("javascript:alert(1)", None),
        ("https://", None),
    ] {
        let mut secret = get("https://a.test/dir/x");
        secret
            .headers_mut()
            .insert("authorization", "me".parse().expect("a value"));
        let trip = follow(secret, [to(302, location), status(200)]).await;
        let second = trip.seen.get(1).map(|seen| seen.url.as_str());
        assert_eq!(second, expected, "{location}");
        let Some(seen) = trip.seen.get(1) else {
            let stop = &trip.report().stop;
            assert!(
                matches!(stop, StopReason::RedirectRefused { .. }),
                "{location}: {stop}"
            );
            continue;
        };
        let same = seen.url.starts_with("https://a.test/");
        assert_eq!(
            seen.headers.contains_key("authorization"),
            same,
            "{location}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_and_a_request_without_a_host_are_not_sent_elsewhere() {
    let tunnel = request(Method::CONNECT, "a.test:443");
    let trip = follow(tunnel, [to(307, "https://b.test/")]).await;
    assert_eq!(trip.response().status(), 307);
    assert_eq!(trip.seen.len(), 1);
    for url in ["/x", "*"] {
        let trip = follow(request(Method::OPTIONS, url), [to(307, "https://b.test/")]).await;
        assert_eq!(trip.seen.len(), 1, "{url}");
        let stop = trip.report().stop.to_string();
        assert!(stop.contains("no scheme and host"), "{url}: {stop}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_never_ends_is_waited_for() {
    let policy = policy(|policy| {
        policy
            .retry_after_max(Duration::MAX)
            .retry_after_jitter(0.0)
    });
    let seconds = "18446744073709551615";
    let moved = Answer::Status(307, vec![("location", "/b"), ("retry-after", seconds)]);
    let layer = RedirectLayer::new(&policy);
    let trip = trip(layer, policy, get("http://a.test/"), [moved]);
    let waited = tokio::time::timeout(Duration::from_secs(1000), trip).await;
    assert!(waited.is_err(), "it waits");
}
