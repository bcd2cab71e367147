//! More authorities than the budget has room for.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use allocation_counter::measure;
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::Empty;
use tokio::time::{self, Instant};
use tower::{Layer, ServiceExt, service_fn};
use tower_http_retry::{
    BoxError, RetryLayer, budget::RetryBudget, classify::FailureKind, shared_hints::SharedHints,
};

use super::{PRESETS, quick};

const AUTHORITIES: usize = 10_000;
const CAPACITY: u32 = 10;

fn uris(range: std::ops::Range<usize>) -> Vec<Uri> {
    range
        .map(|number| format!("http://host-{number}.test/"))
        .map(|uri| uri.parse().expect("a URI"))
        .collect()
}

/// The table is made once: 10 000 authorities that fail allocate nothing in it, and have no more
/// retries than its buckets hold.
#[tokio::test(start_paused = true)]
async fn the_budget_does_not_grow_with_its_authorities() {
    let budget = RetryBudget::default();
    let now = Instant::now().into_std();
    let uris = uris(0..AUTHORITIES);
    let mut granted = 0;
    let used = measure(|| {
        for _ in 0..CAPACITY + 5 {
            for uri in &uris {
                let slot = budget.slot(uri);
                let asked = budget.withdraw(slot, FailureKind::Read, false, now);
                granted += u64::from(asked.is_ok());
                // What is earned by then is spent as well.
                budget.deposit(slot);
            }
        }
    });
    assert_eq!(used.count_total, 0, "allocations");
    let stats = budget.stats(now);
    assert_eq!(stats.slots, 1024);
    assert_eq!(stats.granted, granted);
    assert!(stats.active <= stats.slots);
    assert!(stats.borrowed > 0, "there is no room for all of them");
    // 1024 full buckets, and a fifth of a retry for each deposit.
    let earned = 1024 * u64::from(CAPACITY) + (u64::from(CAPACITY) + 5) * 10_000 / 5;
    assert!(granted <= earned, "{granted} of {earned}");
    assert!(granted >= 1024 * u64::from(CAPACITY), "{granted}");
}

/// A bucket that is full again passes to the next authority that needs one.
#[tokio::test(start_paused = true)]
async fn an_authority_that_recovered_makes_room() {
    // One that is full again soon: by default a bucket that is not used passes on after a minute.
    let budget = RetryBudget::builder()
        .min_per_second(10)
        .capacity(f64::from(CAPACITY))
        .build()
        .expect("valid");
    let withdraw = |uri: &Uri, now: Instant| {
        let slot = budget.slot(uri);
        let asked = budget.withdraw(slot, FailureKind::Status, true, now.into_std());
        asked.is_ok()
    };
    let now = Instant::now();
    for uri in uris(0..AUTHORITIES) {
        withdraw(&uri, now);
    }
    let crowded = budget.stats(now.into_std());
    assert_eq!(crowded.active, 1024, "every bucket is in use");

    // So few that no eight of them are likely to meet in a set of 128, however they are mixed.
    let later = now + Duration::from_secs(2);
    let newcomers = uris(AUTHORITIES..AUTHORITIES + 64);
    for uri in &newcomers {
        for _ in 0..CAPACITY {
            assert!(withdraw(uri, later), "{uri} has a full bucket");
        }
        assert!(!withdraw(uri, later), "{uri} has no more than that");
    }
    let settled = budget.stats(later.into_std());
    assert_eq!(settled.borrowed, crowded.borrowed, "nobody has to share");
    assert_eq!(settled.active, newcomers.len(), "the others are full again");
}

/// The same through the layer, under both presets and beside shared hints, which know authorities
/// too.
#[tokio::test(start_paused = true)]
async fn requests_to_10_000_authorities_all_end() {
    for preset in PRESETS {
        let budget = RetryBudget::default();
        let policy = quick(preset).total(2).budget(budget.clone()).build();
        let layer = RetryLayer::new(policy.expect("valid")).admission(SharedHints::default());
        let attempts = AtomicU64::new(0);
        let server = service_fn(|_: Request<Empty<Bytes>>| {
            attempts.fetch_add(1, Relaxed);
            let mut response = Response::new(Empty::<Bytes>::new());
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            let when = http::HeaderValue::from_static("0");
            response.headers_mut().insert("retry-after", when);
            async { Ok::<_, BoxError>(response) }
        });
        let mut service = layer.layer(server);
        for uri in uris(0..AUTHORITIES) {
            let request = Request::get(uri).body(Empty::new()).expect("a request");
            let _ = (&mut service).oneshot(request).await;
            time::advance(Duration::from_micros(10)).await;
        }
        let stats = budget.stats(Instant::now().into_std());
        let retries = attempts.load(Relaxed) - AUTHORITIES as u64;
        assert_eq!(stats.granted - stats.refunded, retries, "{preset:?}");
        assert!(stats.active <= 1024 && stats.slots == 1024, "{preset:?}");
        assert!(retries >= 1024, "{preset:?}: {retries}");
    }
}
