//! reqwest-retry: what its middleware decides. In reqwest's words, `clients` has it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use tower_http_retry::{
    RetryEvent, RetryLayer, RetryReport,
    classify::{Opinion, Outcome},
    policy::{Backoff, Jitter, Limit, Methods, RetryPolicy, RetryPolicyBuilder},
};

use crate::table::{
    NONE, Table,
    Turn::{Refused, Reset, Status, Strange, With},
    get, play, post,
};

fn policy(
    change: impl FnOnce(RetryPolicyBuilder) -> RetryPolicyBuilder,
) -> RetryLayer<RetryPolicy> {
    let builder = RetryPolicy::builder().budget(None).backoff(Backoff::none());
    RetryLayer::new(change(builder).build().expect("a policy"))
}

/// A 201 is not what was wanted.
fn created(outcome: &Outcome<'_>) -> Opinion {
    match outcome {
        Outcome::Response { status, .. } if status.as_u16() == 201 => {
            Opinion::Retry("created, not done".into())
        }
        _ => Opinion::NoOpinion,
    }
}

#[tokio::test(start_paused = true)]
async fn documented_uses_come_out_as_they_must() {
    let mut table = Table::default();
    let ms = Duration::from_millis;
    let busy = |times: usize| vec![Status(503); times];

    let backoff = Backoff::exponential(ms(1000)).max(ms(1_800_000));
    let layer = policy(|p| p.total(3).backoff(backoff.jitter(Jitter::Full)));
    let turns = [busy(3), vec![Status(200)]].concat();
    let played = play(layer, get(), turns).await;
    let waits = [(0, 1000), (0, 2000), (0, 4000)];
    table.row(
        "at most three retries, exponentially later",
        &played,
        waits,
        "200",
    );
    let report = played.report.as_ref().map(RetryReport::attempt_count);
    assert_eq!(report, Some(4), "how many there were is in the report");

    let backoff = Backoff::exponential(ms(100)).multiplier(3.0);
    let layer = policy(|p| p.total(3).backoff(backoff.clone().max(ms(500))));
    let played = play(layer, get(), busy(4)).await;
    let end = "503, count_exhausted";
    table.row("bounds and a base", &played, [100, 300, 500], end);

    let layer = policy(|p| p.total(2).backoff(backoff.jitter(Jitter::Equal)));
    let played = play(layer, get(), busy(3)).await;
    table.row(
        "jitter that keeps a part",
        &played,
        [(50, 100), (150, 300)],
        end,
    );

    let constant = Backoff::constant(ms(300));
    let layer = policy(|p| p.total(Limit::Unlimited).backoff(constant.clone()));
    let played = play(layer.deadline(ms(1000)), get(), busy(4)).await;
    let late = "503, deadline_too_close";
    table.row("as long as a time lasts", &played, [300, 300, 300], late);
    let layer = policy(|p| p.total(2).backoff(constant));
    let played = play(layer.deadline(ms(1000)), get(), busy(3)).await;
    table.row("or so often, what ends first", &played, [300, 300], end);

    let layer = policy(|p| p);
    let turns = [Status(408), Status(429), Status(500), Status(200)];
    let played = play(layer.clone(), get(), turns).await;
    table.row("what is transient by its status", &played, [0, 0, 0], "200");
    let played = play(layer.clone(), get(), [Status(400)]).await;
    table.row(
        "what is fatal by it",
        &played,
        NONE,
        "400, status_not_listed",
    );
    let played = play(
        layer.clone().classify(created),
        get(),
        [Status(201), Status(200)],
    )
    .await;
    table.row("a strategy of one's own", &played, [0], "200");

    let played = play(layer.clone(), post(), [Refused, Status(200)]).await;
    table.row("a connection that was not made", &played, [0], "200");
    let played = play(layer.clone(), get(), [Reset, Status(200)]).await;
    table.row("a connection that broke", &played, [0], "200");

    // What changes, and how to keep what was.
    let once = "503, method_not_allowed";
    let played = play(layer.clone(), post(), busy(1)).await;
    table.row("a POST is no longer repeated on a 503", &played, NONE, once);
    let played = play(layer.clone(), post(), [Strange("who knows")]).await;
    let unknown = "error, method_not_allowed";
    table.row(
        "nor on an error that proves nothing",
        &played,
        NONE,
        unknown,
    );
    let any = policy(|p| p.allowed_methods(Methods::any()));
    let played = play(any, post(), [Status(503), Reset, Status(200)]).await;
    table.row("as before: any method", &played, [0, 0], "200");
    let asks = With(503, "retry-after", "9");
    let deaf = policy(|p| p.respect_retry_after_header(false));
    let played = play(deaf, get(), [asks, Status(200)]).await;
    table.row("as before: deaf to Retry-After", &played, [0], "200");

    let heard = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&heard);
    let layer = layer.on_event(move |event| {
        if matches!(event, RetryEvent::Retry { .. }) {
            count.fetch_add(1, Relaxed);
        }
    });
    let played = play(layer, get(), [Reset, Reset, Status(200)]).await;
    table.row("each retry is logged", &played, [0, 0], "200");
    assert_eq!(heard.load(Relaxed), 2);

    table.has_ten();
}
