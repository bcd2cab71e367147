//! Adaptive throttling and the cap on retries in flight, through the public API.

use std::time::{Duration, Instant};

use tower_http_retry::{
    budget::{InFlightLimit, Scope, Slot},
    throttle::AdaptiveThrottle,
};

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn slot(throttle: &AdaptiveThrottle, host: impl std::fmt::Display) -> Slot {
    throttle.slot(&format!("http://{host}/").parse().unwrap())
}

fn throttle(k: f64) -> AdaptiveThrottle {
    AdaptiveThrottle::builder().k(k).build().unwrap()
}

fn traffic(throttle: &AdaptiveThrottle, slot: Slot, at: Instant, requests: u32, accepts: u32) {
    for _ in 0..requests {
        throttle.on_request(slot, at);
    }
    for _ in 0..accepts {
        throttle.on_accept(slot, at);
    }
}

#[test]
fn the_probability_is_the_books() {
    for (k, requests, accepts, expected) in [
        (2.0, 0, 0, 0.0),
        (2.0, 1, 0, 1.0 / 2.0),
        (2.0, 99, 0, 99.0 / 100.0),
        (2.0, 100, 100, 0.0),
        (2.0, 100, 50, 0.0),
        (2.0, 100, 49, 2.0 / 101.0),
        (2.0, 100, 10, 80.0 / 101.0),
        (1.0, 100, 99, 1.0 / 101.0),
        (1.5, 100, 50, 25.0 / 101.0),
    ] {
        let throttle = throttle(k);
        let (slot, at) = (slot(&throttle, "a"), now());
        traffic(&throttle, slot, at, requests, accepts);
        let found = throttle.probability(slot, at);
        assert!((found - expected).abs() < 1e-12, "{k} {requests} {accepts}");
    }
}

#[test]
fn a_random_number_below_the_probability_rejects() {
    let throttle = throttle(2.0);
    let (slot, at) = (slot(&throttle, "a"), now());
    // Nothing was asked for yet: not even the lowest number rejects.
    assert!(!throttle.should_reject(slot, at, 0.0));
    traffic(&throttle, slot, at, 3, 0);
    assert!(throttle.should_reject(slot, at, 0.0));
    assert!(throttle.should_reject(slot, at, 0.7499));
    assert!(!throttle.should_reject(slot, at, 0.75));
    assert!(!throttle.should_reject(slot, at, f64::NAN));
    assert_eq!(throttle.stats(at).rejected, 2);
}

#[test]
fn two_minutes_later_all_is_forgotten() {
    let throttle = throttle(2.0);
    let (slot, at) = (slot(&throttle, "a"), now());
    traffic(&throttle, slot, at, 100, 0);
    let seconds = |s| at + Duration::from_secs(s);
    assert!(throttle.probability(slot, seconds(109)) > 0.98);
    assert_eq!(throttle.probability(slot, seconds(120)), 0.0);
    assert_eq!(throttle.stats(seconds(109)).active, 1);
    assert_eq!(throttle.stats(seconds(120)).active, 0);
}

#[test]
fn the_window_is_a_setting() {
    let throttle = AdaptiveThrottle::builder()
        .window(Duration::from_secs(12))
        .build()
        .unwrap();
    let (slot, at) = (slot(&throttle, "a"), now());
    traffic(&throttle, slot, at, 100, 0);
    assert!(throttle.probability(slot, at + Duration::from_secs(10)) > 0.98);
    assert_eq!(
        throttle.probability(slot, at + Duration::from_secs(12)),
        0.0
    );
}

/// A minute of outage at 10 requests a second, then all are accepted that are sent. How many were
/// sent during the outage, and how many seconds after it the last one was refused.
fn outage(throttle: &AdaptiveThrottle) -> (u32, u32) {
    let (slot, mut at) = (slot(throttle, "a"), now());
    let (mut sent, mut last_rejected) = (0, 600);
    // Multiples of the golden ratio: evenly spread in every stretch.
    let mut random = 0.0;
    for step in 0..12_000 {
        at += Duration::from_millis(100);
        random = (random + 0.618_033_988_75) % 1.0;
        let rejected = throttle.should_reject(slot, at, random);
        throttle.on_request(slot, at);
        if rejected {
            last_rejected = step;
        } else if step < 600 {
            sent += 1;
        } else {
            throttle.on_accept(slot, at);
        }
    }
    (sent, (last_rejected - 600) / 10)
}

#[test]
fn an_outage_is_spared_nearly_all_requests_and_ends() {
    let (sent, recovered) = outage(&throttle(2.0));
    assert!((2..20).contains(&sent), "{sent} of 600");
    assert!((60..1000).contains(&recovered), "{recovered} s");
}

#[test]
fn a_capped_probability_recovers_sooner() {
    let capped = AdaptiveThrottle::builder()
        .max_probability(0.9)
        .build()
        .unwrap();
    let (sent, recovered) = outage(&capped);
    assert!((50..80).contains(&sent), "{sent} of 600");
    let (_, uncapped) = outage(&throttle(2.0));
    assert!(recovered < uncapped / 2, "{recovered} of {uncapped} s");
    let at = now();
    let slot = slot(&capped, "b");
    traffic(&capped, slot, at, 100, 0);
    assert_eq!(capped.probability(slot, at), 0.9);
}

#[test]
fn authorities_are_counted_apart() {
    let throttle = throttle(2.0);
    let at = now();
    let (bad, good) = (slot(&throttle, "bad"), slot(&throttle, "good"));
    traffic(&throttle, bad, at, 100, 0);
    traffic(&throttle, good, at, 100, 100);
    assert!(throttle.probability(bad, at) > 0.98);
    assert_eq!(throttle.probability(good, at), 0.0);
    assert_eq!(throttle.stats(at).active, 2);
}

#[test]
fn a_shared_throttle_counts_all_together() {
    let throttle = AdaptiveThrottle::builder()
        .scope(Scope::Shared)
        .build()
        .unwrap();
    let at = now();
    traffic(&throttle, slot(&throttle, "a"), at, 9, 0);
    assert_eq!(throttle.probability(slot(&throttle, "b"), at), 0.9);
}

#[test]
fn more_keys_than_slots_are_not_throttled() {
    let throttle = AdaptiveThrottle::builder().slots(8).build().unwrap();
    let at = now();
    for host in 0..1000 {
        traffic(&throttle, slot(&throttle, host), at, 1, 0);
    }
    let stats = throttle.stats(at);
    assert_eq!((stats.active, stats.slots, stats.untracked), (8, 8, 992));
    let last = slot(&throttle, 999);
    assert_eq!(throttle.probability(last, at), 0.0);
    // A window later, the slots are free for others.
    let later = at + Duration::from_secs(120);
    traffic(&throttle, last, later, 9, 0);
    assert_eq!(throttle.probability(last, later), 0.9);
    assert_eq!(throttle.stats(later).active, 1);
}

#[test]
fn errors_name_the_setting_its_value_and_what_is_allowed() {
    let builder = AdaptiveThrottle::builder;
    for (builder, field, value) in [
        (builder().k(0.9), "k", "0.9"),
        (builder().k(f64::NAN), "k", "NaN"),
        (builder().k(f64::INFINITY), "k", "inf"),
        (builder().max_probability(1.1), "max_probability", "1.1"),
        (
            builder().max_probability(f64::NAN),
            "max_probability",
            "NaN",
        ),
        (builder().window(Duration::ZERO), "window", "0ns"),
        (
            builder().window(Duration::from_secs(86_401)),
            "window",
            "86401s",
        ),
        (builder().slots(0), "slots", "0"),
        (builder().slots(100_000), "slots", "100000"),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!((error.field(), error.value()), (field, value));
    }
    let error = InFlightLimit::new(0).unwrap_err();
    assert_eq!(
        (error.field(), error.value()),
        ("max_retries_in_flight", "0")
    );
}

#[test]
fn in_flight_never_exceeds_its_cap() {
    let limit = InFlightLimit::new(3).unwrap();
    let clone = limit.clone();
    let places = [limit.acquire(), clone.acquire(), limit.acquire()];
    assert!(places.iter().all(Option::is_some));
    assert!(clone.acquire().is_none());
    assert_eq!((clone.in_flight(), clone.max(), clone.refused()), (3, 3, 1));
    let [first, ..] = places;
    drop(first);
    assert_eq!(limit.in_flight(), 2);
    assert!(limit.acquire().is_some());
}
