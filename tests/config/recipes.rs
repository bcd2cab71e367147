//! The recipes of the guide: each API's own answers are played to its document and classifier.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};
use tower_http_retry::{
    BoxError, RetryLayer, RetryReport,
    classify::{Exchange, Opinion},
    config::RetryConfig,
    policy::{Idempotent, StopReason},
};

#[expect(unreachable_pub)]
mod github {
    include!("../../src/guide/recipes/github.rs");
}

#[expect(unreachable_pub)]
mod llm {
    include!("../../src/guide/recipes/llm.rs");
}

#[expect(unreachable_pub)]
mod kubernetes {
    include!("../../src/guide/recipes/kubernetes.rs");
}

#[expect(unreachable_pub)]
mod discord {
    include!("../../src/guide/recipes/discord.rs");
}

macro_rules! document {
    ($name:literal) => {
        include_str!(concat!("../../src/guide/recipes/", $name, ".toml"))
    };
}

/// An answer: its status and headers.
type Answer = (u16, &'static [(&'static str, &'static str)]);

const NOON: (&str, &str) = ("date", "Thu, 01 Jan 2026 12:00:00 GMT");
/// A minute after noon, in seconds since 1970.
const ONE_PAST_NOON: &str = "1767268860";

const OK: Answer = (200, &[]);

struct Recipe {
    document: &'static str,
    classifier: fn(&Exchange<'_>) -> Opinion,
}

impl Recipe {
    fn of(document: &'static str) -> Self {
        Self {
            document,
            classifier: |_| Opinion::NoOpinion,
        }
    }
}

/// What became of a request.
struct Played {
    status: StatusCode,
    attempts: usize,
    took: Duration,
    stop: Option<StopReason>,
}

impl Played {
    fn seconds(&self) -> u64 {
        self.took.as_secs()
    }
}

async fn play(recipe: &Recipe, method: Method, key: bool, answers: &[Answer]) -> Played {
    let config: RetryConfig = toml::from_str(recipe.document).expect("a document");
    let layer = RetryLayer::new(config.to_mounts().expect("a policy"))
        .configure(&config)
        .classify_exchange(recipe.classifier);
    let script = Arc::new(Mutex::new(VecDeque::from(answers.to_vec())));
    let server = service_fn(move |_: Request<Full<Bytes>>| {
        let (status, headers) = script
            .lock()
            .expect("nobody panics")
            .pop_front()
            .expect("no more requests than answers");
        let mut response = Response::new(Full::<Bytes>::default());
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        for (name, value) in headers {
            response.headers_mut().append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        async move { Ok::<_, BoxError>(response) }
    });
    let mut request = Request::builder()
        .method(method)
        .uri("https://discord.com/api/things")
        .body(Full::from("thing"))
        .expect("a request");
    if key {
        request
            .headers_mut()
            .insert("idempotency-key", HeaderValue::from_static("\"1\""));
        request.extensions_mut().insert(Idempotent);
    }
    let start = Instant::now();
    let response = layer.layer(server).oneshot(request).await;
    let response = response.expect("a response");
    let report = response.extensions().get::<RetryReport>();
    Played {
        status: response.status(),
        attempts: report.map_or(1, RetryReport::attempt_count),
        took: start.elapsed(),
        stop: report.map(|report| report.stop.clone()),
    }
}

fn github() -> Recipe {
    Recipe {
        document: document!("github"),
        classifier: github::github,
    }
}

#[tokio::test(start_paused = true)]
async fn github_primary_limit_is_waited_for_until_its_end() {
    let over: Answer = (
        403,
        &[
            NOON,
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", ONE_PAST_NOON),
        ],
    );
    for method in [Method::GET, Method::POST] {
        let played = play(&github(), method, false, &[over, OK]).await;
        assert_eq!((played.attempts, played.status.as_u16()), (2, 200));
        // A tenth of jitter, and a second since `Date` has no fractions.
        assert!((60..=67).contains(&played.seconds()), "{:?}", played.took);
    }
}

#[tokio::test(start_paused = true)]
async fn github_secondary_limit_is_waited_for_as_asked_and_otherwise_a_minute() {
    let told: Answer = (403, &[("retry-after", "30")]);
    let played = play(&github(), Method::POST, false, &[told, OK]).await;
    assert_eq!(played.attempts, 2);
    assert!((30..=33).contains(&played.seconds()), "{:?}", played.took);

    let untold: Answer = (429, &[]);
    let played = play(&github(), Method::GET, false, &[untold, OK]).await;
    assert_eq!(played.attempts, 2);
    assert!((60..=66).contains(&played.seconds()), "{:?}", played.took);
}

#[tokio::test(start_paused = true)]
async fn github_forbidden_is_not_repeated() {
    let forbidden: Answer = (403, &[NOON, ("x-ratelimit-remaining", "4999")]);
    let played = play(&github(), Method::GET, false, &[forbidden]).await;
    assert_eq!((played.attempts, played.status.as_u16()), (1, 403));
}

#[tokio::test(start_paused = true)]
async fn github_hour_is_longer_than_anybody_waits_and_the_report_says_so() {
    let over: Answer = (
        403,
        &[
            ("date", "Thu, 01 Jan 2026 11:00:00 GMT"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", ONE_PAST_NOON),
        ],
    );
    let played = play(&github(), Method::GET, false, &[over]).await;
    assert_eq!(played.attempts, 1);
    assert!(
        matches!(played.stop, Some(StopReason::RetryAfterTooLong { .. })),
        "{:?}",
        played.stop
    );
}

fn llm() -> Recipe {
    Recipe {
        document: document!("llm"),
        classifier: llm::turned_down,
    }
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_model_is_asked_again_after_the_milliseconds_it_names() {
    for status in [429, 529] {
        let busy: Answer = (status, &[("retry-after-ms", "2500"), ("retry-after", "9")]);
        let played = play(&llm(), Method::POST, false, &[busy, OK]).await;
        assert_eq!(played.attempts, 2, "{status}");
        assert_eq!(played.seconds(), 2, "{status}: {:?}", played.took);
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_failed_midway_is_asked_again_only_with_a_key() {
    let played = play(&llm(), Method::POST, false, &[(500, &[])]).await;
    assert_eq!(played.attempts, 1);
    let played = play(&llm(), Method::POST, true, &[(500, &[]), OK]).await;
    assert_eq!(played.attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_forbids_retries_is_obeyed_and_two_are_the_most() {
    let no: Answer = (529, &[("x-should-retry", "false")]);
    let played = play(&llm(), Method::POST, false, &[no]).await;
    assert_eq!(played.attempts, 1);
    let busy: Answer = (529, &[]);
    let played = play(&llm(), Method::POST, true, &[busy; 3]).await;
    assert_eq!(played.attempts, 3);
}

#[tokio::test(start_paused = true)]
async fn stripe_is_asked_again_with_a_key_unless_it_says_no() {
    let stripe = Recipe::of(document!("stripe"));
    for status in [409, 429, 500, 503] {
        let played = play(&stripe, Method::POST, true, &[(status, &[]), OK]).await;
        assert_eq!(played.attempts, 2, "{status}");
        let no: Answer = (status, &[("stripe-should-retry", "false")]);
        let played = play(&stripe, Method::POST, true, &[no]).await;
        assert_eq!(played.attempts, 1, "{status}");
    }
    for status in [409, 500] {
        let played = play(&stripe, Method::POST, false, &[(status, &[])]).await;
        assert_eq!(played.attempts, 1, "{status} without a key");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_api_server_is_asked_again_for_every_verb() {
    let kubernetes = Recipe {
        document: document!("kubernetes"),
        classifier: kubernetes::queue_is_full,
    };
    let full: Answer = (429, &[("retry-after", "1")]);
    let played = play(&kubernetes, Method::POST, false, &[full, OK]).await;
    assert_eq!((played.attempts, played.seconds()), (2, 1));
    // Eviction is refused with a 429 that no wait mends.
    let played = play(&kubernetes, Method::POST, false, &[(429, &[])]).await;
    assert_eq!(played.attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn s3_is_asked_again_after_slow_down() {
    let s3 = Recipe::of(document!("s3"));
    let played = play(&s3, Method::PUT, false, &[(503, &[]), (500, &[]), OK]).await;
    assert_eq!(played.attempts, 3);
    assert!(played.seconds() < 1, "{:?}", played.took);
}

#[tokio::test(start_paused = true)]
async fn docker_hubs_window_is_waited_for_if_it_is_short() {
    let hub = Recipe::of(document!("docker_hub"));
    let soon: Answer = (429, &[NOON, ("x-retry-after", ONE_PAST_NOON)]);
    let played = play(&hub, Method::GET, false, &[soon, OK]).await;
    assert_eq!(played.attempts, 2);
    assert!((60..=67).contains(&played.seconds()), "{:?}", played.took);
}

#[tokio::test(start_paused = true)]
async fn discords_route_is_waited_for_to_the_millisecond() {
    let discord = Recipe {
        document: document!("discord"),
        classifier: discord::over_the_limit,
    };
    let over: Answer = (429, &[("x-ratelimit-reset-after", "6.457")]);
    let played = play(&discord, Method::POST, false, &[over, OK]).await;
    assert_eq!(played.attempts, 2);
    assert!((6..=8).contains(&played.seconds()), "{:?}", played.took);
}

#[tokio::test(start_paused = true)]
async fn a_webhook_is_delivered_again_and_no_host_sets_the_pace_for_hours() {
    let webhooks = Recipe::of(document!("webhooks"));
    let played = play(
        &webhooks,
        Method::POST,
        false,
        &[(503, &[]), (502, &[]), OK],
    )
    .await;
    assert_eq!(played.attempts, 3);
    let greedy: Answer = (503, &[("retry-after", "86400")]);
    let played = play(&webhooks, Method::POST, false, &[greedy]).await;
    assert!(
        matches!(played.stop, Some(StopReason::RetryAfterTooLong { .. })),
        "{:?}",
        played.stop
    );
}
