//! A policy that decides, and one that is only asked.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Method, StatusCode};
use tower_http_retry::{
    RetryLayer,
    budget::RetryBudget,
    policy::{Backoff, RetryPolicy, RetryPolicyBuilder},
    shadow::{DisagreementKind, Shadow},
};

use test_support::{
    probe::{MS, request, reset},
    trip::Trip,
};

fn builder() -> RetryPolicyBuilder {
    RetryPolicy::builder().backoff(Backoff::constant(100 * MS))
}

type Heard = Arc<Mutex<Vec<String>>>;

/// The two, and what is heard of them.
fn shadow(live: RetryPolicyBuilder, candidate: RetryPolicyBuilder) -> (Shadow<RetryPolicy>, Heard) {
    let heard = Heard::default();
    let hear = Arc::clone(&heard);
    let live = live.build().expect("a policy");
    let candidate = candidate.build().expect("a policy");
    let shadow = Shadow::new(live, candidate).on_disagreement(move |found| {
        hear.lock().expect("not poisoned").push(found.to_string());
    });
    (shadow, heard)
}

fn said(heard: &Heard) -> Vec<String> {
    heard.lock().expect("not poisoned").clone()
}

/// Two failures and a success, by the live policy's rules.
async fn recover(shadow: &Shadow<RetryPolicy>) {
    let mut trip = Trip::start(RetryLayer::new(shadow.clone()));
    trip.fail(503).waits(100 * MS).await;
    trip.fail(503).waits(100 * MS).await;
    trip.end(200).expect("a response");
}

#[tokio::test(start_paused = true)]
async fn the_live_policy_decides_and_the_same_one_never_disagrees() {
    let (shadow, heard) = shadow(builder(), builder());
    recover(&shadow).await;
    let mut trip = Trip::start_with(RetryLayer::new(shadow.clone()), request("POST"));
    trip.end(reset()).expect_err("an error");
    let stats = shadow.stats();
    // Two failures and an error: nobody asks about a success.
    assert_eq!((stats.compared, stats.disagreements()), (3, 0), "{stats:?}");
    assert_eq!(stats.live_waits, 200 * MS);
    assert_eq!(stats.candidate_waits, 200 * MS);
    assert!(said(&heard).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_would_stop_is_not_asked_again() {
    let (shadow, heard) = shadow(builder(), builder().total(1));
    recover(&shadow).await;
    let stats = shadow.stats();
    assert_eq!(stats.of(DisagreementKind::WouldStop), 1);
    assert_eq!((stats.compared, stats.disagreements()), (2, 1));
    assert_eq!(
        said(&heard),
        [
            "would_stop: attempt 2 at a GET: live: wait 100 ms, backoff; candidate: stop, `total` \
             is used up (1 retry)"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_would_go_on_sends_nothing() {
    let (shadow, _) = shadow(builder().total(0), builder());
    let mut trip = Trip::start(RetryLayer::new(shadow.clone()));
    // `end` sees to it that nothing more is sent.
    let response = trip.end(503).expect("a response");
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(shadow.stats().of(DisagreementKind::WouldRetry), 1);
}

#[tokio::test(start_paused = true)]
async fn each_way_to_disagree_has_a_kind_of_its_own() {
    // What is a success to one is a failure to the other, a method may be repeated or not, and
    // reasons differ.
    for (live, candidate, status, method, kind) in [
        (
            builder(),
            builder().status_forcelist([202]),
            202,
            "GET",
            DisagreementKind::WouldFail,
        ),
        (
            builder().status_forcelist([202]).total(0),
            builder(),
            202,
            "GET",
            DisagreementKind::WouldAccept,
        ),
        (
            builder().total(0),
            builder().allowed_methods([Method::PUT]),
            503,
            "GET",
            DisagreementKind::OtherReason,
        ),
    ] {
        let (shadow, heard) = shadow(live, candidate);
        let mut trip = Trip::start_with(RetryLayer::new(shadow.clone()), request(method));
        trip.end(status).expect("a response");
        let stats = shadow.stats();
        assert_eq!(stats.of(kind), 1, "{:?}", said(&heard));
        assert_eq!(stats.disagreements(), 1, "{:?}", said(&heard));
    }
}

#[tokio::test(start_paused = true)]
async fn the_candidate_spends_a_copy_of_its_budget_and_never_the_live_one_s() {
    let budget = RetryBudget::builder()
        .capacity(2.0)
        .min_ratio(0.0)
        .min_per_second(0)
        .build()
        .expect("a budget");
    // Both are made with the same one.
    let (shadow, heard) = shadow(
        builder().budget(budget.clone()),
        builder().budget(budget.clone()),
    );
    for _ in 0..2 {
        let mut trip = Trip::start(RetryLayer::new(shadow.clone()));
        trip.fail(503).waits(100 * MS).await;
        trip.end(404).expect("a response");
    }
    let now = tokio::time::Instant::now().into_std();
    assert_eq!(budget.stats(now).granted, 2);
    // Both are empty at the same time.
    let mut trip = Trip::start(RetryLayer::new(shadow.clone()));
    trip.end(503).expect("a response");
    assert!(said(&heard).is_empty(), "{:?}", said(&heard));

    // A candidate with less is empty sooner.
    let less = RetryBudget::builder()
        .capacity(1.0)
        .min_ratio(0.0)
        .min_per_second(0)
        .build()
        .expect("a budget");
    let (shadow, heard) = self::shadow(builder().budget(None), builder().budget(less.clone()));
    for _ in 0..2 {
        let mut trip = Trip::start(RetryLayer::new(shadow.clone()));
        trip.fail(503).waits(100 * MS).await;
        trip.end(404).expect("a response");
    }
    assert_eq!(shadow.stats().of(DisagreementKind::WouldStop), 1);
    assert!(said(&heard)[0].contains("the shared retry budget is used up"));
    assert_eq!(less.stats(now).granted, 0);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_request_gives_the_copy_back_what_it_did_not_use() {
    let small = || {
        RetryBudget::builder()
            .capacity(1.0)
            .min_ratio(0.0)
            .min_per_second(0)
    };
    let (shadow, heard) = shadow(
        builder().budget(None),
        builder().budget(small().build().expect("a budget")),
    );
    for _ in 0..3 {
        let mut trip = Trip::start(RetryLayer::new(shadow.clone()));
        trip.fail(503);
        // Dropped in its wait.
    }
    assert!(said(&heard).is_empty(), "{:?}", said(&heard));
}

#[tokio::test(start_paused = true)]
async fn what_stops_a_request_from_outside_of_its_policy_stops_both() {
    let (shadow, heard) = shadow(builder(), builder());
    let layer = RetryLayer::new(shadow.clone()).deadline(Duration::from_millis(50));
    let response = Trip::start(layer).end(503).expect("a response");
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(said(&heard).is_empty(), "{:?}", said(&heard));
    assert_eq!(shadow.stats().compared, 1);
}
