//! `tower::retry`.

use std::time::Duration;

use tower_http_retry::{
    RetryLayer,
    budget::RetryBudget,
    classify::Outcome,
    policy::{
        Attempt, Backoff, Decision, Jitter, RetryDecision, RetryPolicy, StopDecision, StopReason,
        policy_fn,
    },
};

use crate::table::{
    NONE, Table,
    Turn::{Reset, Silent, Status},
    get, play,
};

/// Whatever fails, three times.
fn three_attempts(attempt: &Attempt<'_>) -> Decision {
    match attempt.outcome() {
        Outcome::Error { .. } if attempt.number() < 3 => {
            Decision::Retry(RetryDecision::after(Duration::ZERO))
        }
        _ => Decision::Stop(StopDecision::because(StopReason::Custom("three".into()))),
    }
}

/// The policy's own future sleeps.
fn after_a_pause(attempt: &Attempt<'_>) -> Decision {
    match attempt.outcome() {
        Outcome::Error { .. } => Decision::Retry(RetryDecision::after(Duration::from_millis(250))),
        _ => Decision::Stop(StopDecision::because(StopReason::Custom("good".into()))),
    }
}

fn backoff(backoff: Backoff) -> RetryLayer<RetryPolicy> {
    budget(backoff, None)
}

fn budget(backoff: Backoff, budget: Option<RetryBudget>) -> RetryLayer<RetryPolicy> {
    let policy = RetryPolicy::builder()
        .total(3)
        .backoff(backoff)
        .budget(budget);
    RetryLayer::new(policy.build().expect("a policy"))
}

#[tokio::test(start_paused = true)]
async fn documented_uses_come_out_as_they_must() {
    let mut table = Table::default();

    let layer = RetryLayer::new(policy_fn(three_attempts));
    let played = play(layer.clone(), get(), [Reset, Reset, Status(200)]).await;
    table.row("three attempts, whatever fails", &played, [0, 0], "200");
    let played = play(layer.clone(), get(), [Reset; 3]).await;
    table.row(
        "and the last error after them",
        &played,
        [0, 0],
        "error, custom",
    );
    let played = play(layer, get(), [Status(200)]).await;
    table.row("what succeeds is handed on", &played, NONE, "200");

    let layer = RetryLayer::new(policy_fn(after_a_pause));
    let played = play(layer, get(), [Reset, Status(200)]).await;
    table.row(
        "a policy that waits before it says yes",
        &played,
        [250],
        "200",
    );

    let none = backoff(Backoff::none());
    let played = play(none.clone(), get(), [Status(500), Status(502), Status(200)]).await;
    table.row("a bad status is a failure as well", &played, [0, 0], "200");
    let played = play(none.clone(), get(), [Status(404)]).await;
    table.row(
        "and the client's mistake is not",
        &played,
        NONE,
        "404, status_not_listed",
    );

    // Whoever cannot clone a request hears of it.
    let once = none.clone_bodies_with(|_| None);
    let played = play(once, get(), [Status(503)]).await;
    table.row(
        "a request that is not cloned",
        &played,
        NONE,
        "503, body_not_kept",
    );

    let bounds = Backoff::exponential(Duration::from_millis(100)).max(Duration::from_millis(350));
    let turns = [Reset, Reset, Reset, Status(200)];
    let played = play(backoff(bounds.clone()), get(), turns).await;
    table.row(
        "longer waits, between bounds",
        &played,
        [100, 200, 350],
        "200",
    );
    let played = play(backoff(bounds.jitter(Jitter::Full)), get(), turns).await;
    let waits = [(0, 100), (0, 200), (0, 350)];
    table.row("with jitter", &played, waits, "200");

    let generous = RetryBudget::builder().min_per_second(10).ratio(0.2);
    let generous = generous.build().expect("a budget");
    let played = play(
        budget(Backoff::none(), Some(generous)),
        get(),
        [Reset, Status(200)],
    )
    .await;
    table.row(
        "a budget of retries a second, and a part",
        &played,
        [0],
        "200",
    );
    #[cfg(feature = "tower")]
    {
        let empty = tower::retry::budget::TpsBudget::new(Duration::from_secs(10), 0, 0.0);
        let empty = RetryBudget::from_tower(std::sync::Arc::new(empty));
        let played = play(budget(Backoff::none(), Some(empty)), get(), [Reset]).await;
        let refused = "error, budget_exhausted";
        table.row("tower's own, when it is used up", &played, NONE, refused);
    }

    let second = Duration::from_secs(1);
    let each = backoff(Backoff::none()).attempt_timeout(second);
    let played = play(each, get(), [Silent, Status(200)]).await;
    table.row("a timeout below: for each attempt", &played, [0], "200");
    let all = backoff(Backoff::none()).deadline(second);
    let played = play(all, get(), [Silent]).await;
    table.row(
        "a timeout above: for all of them",
        &played,
        NONE,
        "error, deadline_exceeded",
    );

    table.has_ten();
}
