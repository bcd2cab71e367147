//! Polly, and the resilience handlers of .NET.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use tower_http_retry::{
    RetryEvent, RetryLayer,
    classify::{Opinion, Outcome},
    policy::{Backoff, Jitter, Limit, RetryPolicy, RetryPolicyBuilder},
};

use crate::table::{
    NONE, Table,
    Turn::{self, Reset, Silent, Status, Strange, With},
    get, play, post, request, timed,
};

fn policy(
    change: impl FnOnce(RetryPolicyBuilder) -> RetryPolicyBuilder,
) -> RetryLayer<RetryPolicy> {
    let builder = RetryPolicy::builder().budget(None).retry_after_jitter(0.0);
    RetryLayer::new(change(builder.total(3)).build().expect("a policy"))
}

fn waits(backoff: Backoff) -> RetryLayer<RetryPolicy> {
    policy(|p| p.backoff(backoff))
}

/// One exception, and no other.
fn handled(outcome: &Outcome<'_>) -> Opinion {
    match outcome {
        Outcome::Error {
            error: Some(error), ..
        } if error.to_string() == "rejected" => Opinion::Retry("the one that is handled".into()),
        Outcome::Error { .. } => Opinion::Forbid("any other".into()),
        _ => Opinion::NoOpinion,
    }
}

const THREE: [Turn; 4] = [Reset, Reset, Reset, Status(200)];

#[tokio::test(start_paused = true)]
async fn documented_uses_come_out_as_they_must() {
    let mut table = Table::default();
    let second = Duration::from_secs(1);
    let good = "200";

    let played = play(waits(Backoff::constant(second * 2)), get(), THREE).await;
    table.row(
        "the default: three, two seconds apart",
        &played,
        [2000; 3],
        good,
    );
    let played = play(waits(Backoff::none()), get(), THREE).await;
    table.row("without a delay", &played, [0; 3], good);
    let played = play(waits(Backoff::linear(second)), get(), THREE).await;
    table.row("linear", &played, [1000, 2000, 3000], good);
    let exponential = Backoff::exponential(second * 3);
    let jitter = exponential.clone().jitter(Jitter::Decorrelated);
    let played = play(waits(jitter), get(), THREE).await;
    let between = [(3000, 9000), (3000, 27_000), (3000, 81_000)];
    table.row("exponential with jitter", &played, between, good);
    let played = play(waits(exponential.max(second * 5)), get(), THREE).await;
    table.row("a maximum", &played, [3000, 5000, 5000], good);
    let listed = Backoff::list([Duration::ZERO, second, second * 5]);
    let played = play(waits(listed), get(), THREE).await;
    table.row(
        "a delay for each by its number",
        &played,
        [0, 1000, 5000],
        good,
    );
    let asks = With(429, "retry-after", "2");
    let played = play(waits(Backoff::none()), get(), [asks, Status(200)]).await;
    table.row("the delay that the server asks for", &played, [2000], good);

    let forever = policy(|p| p.total(Limit::Unlimited).backoff(Backoff::none()));
    let turns = [vec![Reset; 100], vec![Status(200)]].concat();
    let played = play(forever, get(), turns).await;
    table.row("for ever", &played, [0; 100], good);

    let handles = policy(|p| p.backoff(Backoff::none()).status_forcelist([500]));
    let handles = handles.classify(handled);
    let turns = [Strange("rejected"), Status(500), Status(200)];
    let played = play(handles.clone(), get(), turns).await;
    table.row(
        "one exception and one status are handled",
        &played,
        [0; 2],
        good,
    );
    let played = play(handles, get(), [Reset]).await;
    table.row("and no other", &played, NONE, "error, vetoed");

    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    let told = waits(Backoff::none()).on_event(move |event| {
        if matches!(event, RetryEvent::Retry { .. }) {
            counted.fetch_add(1, Relaxed);
        }
    });
    let played = play(told, get(), THREE).await;
    table.row("to be told of each retry", &played, [0; 3], good);
    assert_eq!(count.load(Relaxed), 3);

    let standard = waits(Backoff::constant(second * 2));
    let standard = standard.attempt_timeout(second * 10).deadline(second * 30);
    let played = play(standard.clone(), get(), [Silent, Status(500), Status(200)]).await;
    table.row(
        "the standard handler: ten seconds each",
        &played,
        [2000; 2],
        good,
    );
    let (played, took) = timed(play(standard, get(), [Silent; 2])).await;
    let late = "error, deadline_too_close";
    table.row(
        "and thirty for all, so that a third has no room",
        &played,
        [2000],
        late,
    );
    assert!(took <= second * 30, "{took:?}");

    let played = play(waits(Backoff::none()), post(), [Status(503)]).await;
    let once = "503, method_not_allowed";
    table.row("switched off for unsafe methods", &played, NONE, once);
    let no_put = policy(|p| p.allowed_methods(["GET"]));
    let played = play(no_put, request("PUT"), [Status(503)]).await;
    table.row("switched off for one of them", &played, NONE, once);

    table.has_ten();
}
