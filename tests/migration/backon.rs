//! backon and backoff, around a client.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderValue, header::AUTHORIZATION, request::Parts};
use tower_http_retry::{
    RetryEvent, RetryLayer,
    classify::{Opinion, Outcome},
    policy::{Backoff, Jitter, Limit, RetryPolicy, RetryPolicyBuilder},
};

use crate::table::{
    NONE, Table,
    Turn::{self, Reset, Status, Strange, With},
    get, play,
};

fn policy(
    change: impl FnOnce(RetryPolicyBuilder) -> RetryPolicyBuilder,
) -> RetryLayer<RetryPolicy> {
    let builder = RetryPolicy::builder().budget(None).retry_after_jitter(0.0);
    RetryLayer::new(change(builder).build().expect("a policy"))
}

fn waits(backoff: Backoff) -> RetryLayer<RetryPolicy> {
    policy(|p| p.total(3).backoff(backoff))
}

/// A predicate on the error's text.
fn by_text(outcome: &Outcome<'_>) -> Opinion {
    match outcome {
        Outcome::Error {
            error: Some(error), ..
        } => match error.to_string().as_str() {
            "try again" => Opinion::Retry("it says so".into()),
            "in two seconds" => Opinion::RetryIn("it says when".into(), Duration::from_secs(2)),
            _ => Opinion::Forbid("nothing helps".into()),
        },
        _ => Opinion::NoOpinion,
    }
}

fn new_token(parts: &mut Parts) {
    let token = HeaderValue::from_static("Bearer new");
    parts.headers.insert(AUTHORIZATION, token);
}

const THREE: [Turn; 4] = [Reset, Reset, Reset, Status(200)];

#[tokio::test(start_paused = true)]
async fn documented_uses_come_out_as_they_must() {
    let mut table = Table::default();
    let second = Duration::from_secs(1);
    let exponential = Backoff::exponential(second);

    let played = play(waits(exponential.clone()), get(), THREE).await;
    let (doubled, good) = ([1000, 2000, 4000], "200");
    table.row(
        "the default: three times, from a second on",
        &played,
        doubled,
        good,
    );
    let jitter = exponential.clone().jitter(Jitter::Additive(second));
    let played = play(waits(jitter), get(), THREE).await;
    let between = [(1000, 2000), (2000, 3000), (4000, 5000)];
    table.row("with jitter on top", &played, between, good);
    let played = play(waits(exponential.clone().multiplier(1.5)), get(), THREE).await;
    table.row("another factor", &played, [1000, 1500, 2250], good);
    let played = play(waits(exponential.clone().max(second * 2)), get(), THREE).await;
    table.row("no wait over a maximum", &played, [1000, 2000, 2000], good);
    let played = play(waits(Backoff::constant(second / 2)), get(), THREE).await;
    table.row("always the same wait", &played, [500, 500, 500], good);
    let played = play(waits(Backoff::fibonacci(second)), get(), THREE).await;
    table.row("Fibonacci's waits", &played, [1000, 1000, 2000], good);
    let around = Backoff::exponential(second / 2).multiplier(1.5);
    let played = play(waits(around.jitter(Jitter::Around(0.5))), get(), THREE).await;
    let between = [(250, 750), (375, 1125), (562, 1688)];
    table.row(
        "backoff's: half more or less, half a second on",
        &played,
        between,
        good,
    );

    let forever = policy(|p| p.total(Limit::Unlimited).backoff(Backoff::constant(second)));
    let forever = forever.deadline(Duration::from_millis(3500));
    let played = play(forever, get(), [Reset; 4]).await;
    let late = "error, deadline_too_close";
    table.row(
        "without a number, for a time",
        &played,
        [1000, 1000, 1000],
        late,
    );

    let when = waits(Backoff::none()).classify(by_text);
    let played = play(when.clone(), get(), [Strange("try again"), Status(200)]).await;
    table.row("when the error says so", &played, [0], good);
    let played = play(when.clone(), get(), [Strange("bad key")]).await;
    table.row("a permanent error", &played, NONE, "error, vetoed");
    let played = play(when, get(), [Strange("in two seconds"), Status(200)]).await;
    table.row("an error that says when", &played, [2000], good);

    let asks = With(429, "retry-after", "3");
    let played = play(waits(Backoff::none()), get(), [asks, Status(200)]).await;
    table.row("the wait that a header asks for", &played, [3000], good);

    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let notify = waits(exponential).on_event(move |event| {
        if let RetryEvent::Retry { attempt, .. } = event {
            let wait = attempt.wait.as_ref().map(|wait| wait.planned);
            tell.lock().expect("nobody panics").push(wait);
        }
    });
    let played = play(notify, get(), THREE).await;
    table.row("to be told of each, with its wait", &played, doubled, good);
    let expected = [1, 2, 4].map(|seconds| Some(Duration::from_secs(seconds)));
    assert_eq!(*told.lock().expect("nobody panics"), expected);

    let context = waits(Backoff::none()).before_retry(|parts, _| new_token(parts));
    let played = play(context, get(), [Reset, Status(200)]).await;
    table.row("something else in each attempt", &played, [0], good);
    assert!(!played.heads[0].contains_key(AUTHORIZATION));
    assert_eq!(played.heads[1][AUTHORIZATION], "Bearer new");

    // A loop takes a response for a success, whatever its status.
    let played = play(waits(Backoff::none()), get(), [Status(503), Status(200)]).await;
    table.row("what a loop does not see", &played, [0], good);

    table.has_ten();
}
