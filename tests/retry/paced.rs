//! First attempts that are spread over what is left of a server's quota.
#![cfg(feature = "ratelimit")]

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderValue, Request, Response};
use tokio::{
    task::JoinSet,
    time::{self, Instant},
};
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{Layer, ServiceExt, service_fn};
use tower_http_retry::{
    RequestDeadline, RetryLayer, RetryReport,
    policy::{Note, RequestHead, RetryPolicy},
    shared_hints::SharedHints,
};
use tower_test::mock::{self, Handle, Mock, Spawn};

use test_support::probe::{MS, Req, Res, answer, every, get, sent, start};

type Retries = tower_http_retry::Retry<Mock<Req, Res>, RetryPolicy>;

const SECOND: Duration = Duration::from_secs(1);

fn hints() -> SharedHints {
    let hints = SharedHints::builder().jitter(0.0).pace_below(0.1);
    hints.build().expect("valid")
}

fn paced() -> (Spawn<Retries>, Handle<Req, Res>) {
    mock::spawn_layer(RetryLayer::new(every(100 * MS)).admission(hints()))
}

fn with_quota(limit: &'static str, policy: &'static str) -> Res {
    let mut response = answer(200);
    let headers = response.headers_mut();
    headers.insert("ratelimit", HeaderValue::from_static(limit));
    headers.insert("ratelimit-policy", HeaderValue::from_static(policy));
    response
}

/// Sends one request, which is answered with this.
fn answered(service: &mut Spawn<Retries>, handle: &mut Handle<Req, Res>, response: Res) {
    let mut first = start(service, get());
    assert_pending!(first.poll());
    sent(handle).1.send_response(response);
    assert_ready_ok!(first.poll());
}

#[tokio::test(start_paused = true)]
async fn requests_are_spread_and_the_report_says_why() {
    let (mut service, mut handle) = paced();
    answered(
        &mut service,
        &mut handle,
        with_quota(r#""a";r=4;t=10"#, r#""a";q=100;w=60"#),
    );
    let begin = Instant::now();
    let mut others: Vec<_> = (0..7).map(|_| start(&mut service, get())).collect();
    let mut reports: Vec<RetryReport> = Vec::new();
    for second in 0..=10_u32 {
        time::advance((begin + second * SECOND) - Instant::now()).await;
        others.retain_mut(|other| {
            assert_pending!(other.poll());
            let Some((_, send)) = task_sent(&mut handle) else {
                return true;
            };
            send.send_response(answer(200));
            let response = assert_ready_ok!(other.poll());
            let report = response.extensions().get::<RetryReport>();
            reports.push(report.expect("it was held").clone());
            false
        });
    }
    assert!(
        others.is_empty(),
        "nobody waits longer than until there is more"
    );
    let held: Vec<_> = reports.iter().map(|it| it.held.as_secs()).collect();
    assert_eq!(held, [2, 4, 6, 8, 10, 10, 10]);
    for report in &reports {
        assert_eq!(report.attempts[0].layer_notes, [Note::Spread], "{report}");
        assert!(report.to_string().contains("little was left"), "{report}");
        assert!(!report.to_string().contains("asked before"), "{report}");
    }
}

fn task_sent(handle: &mut Handle<Req, Res>) -> Option<(Req, tower_test::mock::SendResponse<Res>)> {
    let mut next = task::spawn(handle.next_request());
    match next.poll() {
        std::task::Poll::Ready(request) => request,
        std::task::Poll::Pending => None,
    }
}

#[tokio::test(start_paused = true)]
async fn enough_other_units_and_other_authorities_are_not_waited_for() {
    for (limit, policy) in [
        (r#""a";r=10;t=10"#, r#""a";q=100;w=60"#),
        (r#""a";r=4;t=10"#, r#""a";q=100;qu="content-bytes";w=60"#),
        (r#""a";r=4;t=10"#, r#""a";q=100;qu="concurrent-requests""#),
        (r#""a";r=4"#, r#""a";q=100;w=60"#),
        (r#""a";r=4;t=0"#, r#""a";q=100;w=60"#),
        (r#""a";r=4;t=10"#, r#""b";q=100;w=60"#),
        ("nonsense;;", r#""a";q=100"#),
    ] {
        let (mut service, mut handle) = paced();
        for _ in 0..3 {
            // The second one would have to wait.
            answered(&mut service, &mut handle, with_quota(limit, policy));
        }
    }
    let (mut service, mut handle) = paced();
    let little = with_quota(r#""a";r=4;t=10"#, r#""a";q=100;w=60"#);
    answered(&mut service, &mut handle, little);
    let mut other = get();
    *other.uri_mut() = "http://other.test/".parse().expect("a URI");
    let mut other = start(&mut service, other);
    assert_pending!(other.poll());
    assert!(task_sent(&mut handle).is_some(), "another server's");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_wait_is_sent_at_once_and_never_refused() {
    let (mut service, mut handle) = paced();
    let little = with_quota(r#""a";r=0;t=30"#, r#""a";q=100;w=60"#);
    answered(&mut service, &mut handle, little);
    let mut hurried = get();
    let deadline = RequestDeadline::after(30 * SECOND);
    hurried.extensions_mut().insert(deadline);
    let mut hurried = start(&mut service, hurried);
    assert_pending!(hurried.poll());
    assert!(task_sent(&mut handle).is_some());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_max_hold() {
    let hints = SharedHints::builder().pace_below(1.0).max_hold(3 * SECOND);
    let layer = RetryLayer::new(every(100 * MS)).admission(hints.build().expect("valid"));
    let (mut service, mut handle) = mock::spawn_layer(layer);
    let little = with_quota(r#""a";r=0;t=3000"#, r#""a";q=100;w=6000"#);
    answered(&mut service, &mut handle, little);
    let mut other = start(&mut service, get());
    assert_pending!(other.poll());
    assert!(task_sent(&mut handle).is_none());
    time::advance(3 * SECOND).await;
    assert_pending!(other.poll());
    assert!(task_sent(&mut handle).is_some());
}

#[test]
fn the_part_is_checked_and_explained() {
    for part in [0.0, -0.1, 1.1, f64::NAN, f64::INFINITY] {
        let error = SharedHints::builder().pace_below(part).build();
        let error = error.expect_err("no part").to_string();
        assert!(
            error.contains("`pace_below`") && error.contains("more than 0"),
            "{error}"
        );
    }
    let layer = RetryLayer::new(RetryPolicy::default()).admission(hints());
    let request = Request::get("http://example.com/")
        .body(())
        .expect("a request");
    let text = layer.explain(&RequestHead::of(&request)).to_string();
    assert!(
        text.contains("spread once less than 10 % of a quota is left"),
        "{text}"
    );
    let alone = RetryLayer::new(RetryPolicy::default());
    let text = alone.explain(&RequestHead::of(&request)).to_string();
    assert!(!text.contains("spread"), "{text}");
}

/// A server that serves 100 requests in each minute, and turns down the others.
#[derive(Default)]
struct Limited {
    served: u64,
    turned_down: u64,
    window: u64,
    used: u64,
}

impl Limited {
    const QUOTA: u64 = 100;

    fn answer(&mut self, now: Duration) -> Response<()> {
        let window = now.as_secs() / 60;
        if window != self.window {
            (self.window, self.used) = (window, 0);
        }
        let reset = 60 - now.as_secs() % 60;
        let mut response = Response::new(());
        if self.used == Self::QUOTA {
            self.turned_down += 1;
            *response.status_mut() = http::StatusCode::TOO_MANY_REQUESTS;
            response.headers_mut().insert("retry-after", reset.into());
        } else {
            self.used += 1;
            self.served += 1;
        }
        let left = format!(r#""minute";r={};t={reset}"#, Self::QUOTA - self.used);
        let left = HeaderValue::from_str(&left).expect("a value");
        response.headers_mut().insert("ratelimit", left);
        let policy = HeaderValue::from_static(r#""minute";q=100;w=60"#);
        response.headers_mut().insert("ratelimit-policy", policy);
        response
    }
}

/// 50 callers, one request after another each, for five minutes. How many were served, and how many
/// turned down.
async fn fifty_callers(hints: Option<SharedHints>) -> (u64, u64) {
    let server = Arc::new(Mutex::new(Limited::default()));
    let begin = Instant::now();
    let service = {
        let server = Arc::clone(&server);
        service_fn(
            move |request: Request<http_body_util::Empty<bytes::Bytes>>| {
                let server = Arc::clone(&server);
                async move {
                    drop(request);
                    time::sleep(100 * MS).await;
                    let response = server.lock().expect("no panic").answer(begin.elapsed());
                    time::sleep(100 * MS).await;
                    Ok::<_, Infallible>(
                        response.map(|()| http_body_util::Empty::<bytes::Bytes>::new()),
                    )
                }
            },
        )
    };
    let policy = RetryPolicy::builder().seed(7).retry_after_jitter(0.05);
    let mut layer = RetryLayer::new(policy.build().expect("valid"));
    if let Some(hints) = hints {
        layer = layer.admission(hints);
    }
    let client = layer.layer(service);
    let mut callers = JoinSet::new();
    for _ in 0..50 {
        let client = client.clone();
        callers.spawn(async move {
            while begin.elapsed() < 300 * SECOND {
                let request = Request::get("http://api.test/").body(Default::default());
                let _ = client.clone().oneshot(request.expect("a request")).await;
                time::sleep(300 * MS).await;
            }
        });
    }
    while callers.join_next().await.is_some() {}
    let server = server.lock().expect("no panic");
    (server.served, server.turned_down)
}

#[tokio::test(start_paused = true)]
async fn fifty_callers_are_turned_down_less_and_served_as_often() {
    let sharing = SharedHints::builder().seed(7);
    let (alone, turned_down) = fifty_callers(None).await;
    let (shared, held) = fifty_callers(Some(sharing.clone().build().expect("valid"))).await;
    let pacing = sharing.pace_below(0.1).build().expect("valid");
    let (paced, spread) = fifty_callers(Some(pacing)).await;
    println!(
        "served and turned down: without {alone}, {turned_down}; with shared hints {shared}, \
         {held}; paced {paced}, {spread}"
    );
    assert!(
        spread * 4 < held && held <= turned_down,
        "{spread} of {held} of {turned_down}"
    );
    assert!(paced * 10 >= shared * 9, "{paced} of {shared}");
}
