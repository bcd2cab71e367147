//! Retry budgets through the public API.

use std::time::{Duration, Instant};

use http::{HeaderMap, Method, Request, StatusCode, Uri};
use proptest::prelude::*;
use tower_http_retry::{
    budget::{RetryBudget, RetryBudgetBuilder, RetryPermit, Scope, Slot},
    classify::{
        FailureKind::{self, Connect, Other, Read, Status},
        Outcome,
    },
    policy::{Attempt, Decision, Policy, RequestHead, RetryPolicy, Session},
};

/// What [`ten_a_second`] can save up, and what the default budget can.
const CAPACITY: usize = 10;
const DEFAULT_CAPACITY: usize = 20;

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn uri(host: impl std::fmt::Display) -> Uri {
    format!("http://{host}/").parse().unwrap()
}

/// How many retries are granted in a row, up to `limit`.
fn grants(budget: &RetryBudget, slot: Slot, now: Instant, limit: usize) -> usize {
    (0..limit)
        .take_while(|_| budget.withdraw(slot, Status, false, now).is_ok())
        .count()
}

/// A fifth of the successes and 10 a second.
fn ten_a_second() -> RetryBudget {
    RetryBudget::builder()
        .min_ratio(0.0)
        .min_per_second(10)
        .capacity(CAPACITY as f64)
        .build()
        .expect("valid")
}

fn only_ratio(ratio: f64, capacity: f64) -> RetryBudget {
    RetryBudget::builder()
        .ratio(ratio)
        .min_per_second(0)
        .capacity(capacity)
        .scope(Scope::Shared)
        .build()
        .unwrap()
}

/// Retries granted over 10 000 successes, after each of which one is asked for.
fn retries_of_10_000(mut deposit: impl FnMut(), mut withdraw: impl FnMut() -> bool) -> u32 {
    (0..10_000)
        .map(|_| {
            deposit();
            u32::from(withdraw())
        })
        .sum()
}

#[test]
fn sixty_percent_is_exactly_sixty_percent() {
    let at = now();
    for (ratio, granted) in [
        (0.001, 10),
        (0.1, 1000),
        (0.2, 2000),
        (0.3, 3000),
        (0.4, 4000),
        (0.6, 6000),
        (0.7, 7000),
        (0.9, 9000),
        (1.0, 10_000),
    ] {
        // Room for what is left of one token and what the next success adds.
        let budget = only_ratio(ratio, 2.0);
        let slot = Slot::default();
        assert_eq!(grants(&budget, slot, at, 10), 2, "the capacity");
        let retries = retries_of_10_000(
            || budget.deposit(slot),
            || budget.withdraw(slot, Status, false, at).is_ok(),
        );
        assert_eq!(retries, granted, "{ratio}");
    }
}

/// The documented difference.
#[cfg(feature = "tower")]
#[test]
fn sixty_percent_of_towers_budget_is_one_hundred() {
    use tower::retry::budget::{Budget, TpsBudget};

    for (ratio, granted) in [(0.2, 2000), (0.4, 5000), (0.6, 10_000), (0.9, 10_000)] {
        // A ttl that this test does not outlive.
        let budget = TpsBudget::new(Duration::from_secs(60), 0, ratio);
        let retries = retries_of_10_000(|| budget.deposit(), || budget.withdraw());
        assert_eq!(retries, granted, "{ratio}");
    }
}

#[test]
fn twenty_percent_and_ten_a_second() {
    let budget = ten_a_second();
    let slot = budget.slot(&uri("example.com"));
    let start = now();
    assert_eq!(budget.capacity(), Some(10.0));
    assert_eq!(grants(&budget, slot, start, 1000), CAPACITY);
    // A second later: ten.
    let later = start + Duration::from_secs(1);
    assert_eq!(grants(&budget, slot, later, 1000), 10);
    // One in five.
    for _ in 0..50 {
        budget.deposit(slot);
    }
    assert_eq!(grants(&budget, slot, later, 1000), 10);
    // Long after: the capacity, and no more.
    let later = start + Duration::from_secs(1_000_000);
    assert_eq!(budget.balance(slot, later), Some(10.0));
    assert_eq!(grants(&budget, slot, later, 1000), 10);
}

/// Whether an attempt that failed with 503 is followed by another.
fn fails(
    session: &mut impl Session,
    number: u32,
    method: &Method,
    headers: &HeaderMap,
    at: Instant,
) -> bool {
    let outcome = Outcome::Response {
        status: StatusCode::SERVICE_UNAVAILABLE,
        headers,
    };
    let decision = session.decide(&Attempt::new(number, method, outcome));
    if !matches!(decision, Decision::Retry(_)) {
        return false;
    }
    session.commit(at).map(RetryPermit::sent).is_ok()
}

/// A request under the default policy whose attempts fail with 503 so often before one succeeds;
/// whether it recovers, in which case the budget hears of it.
fn recovers(policy: &RetryPolicy, failures: u32, at: Instant) -> bool {
    let request = Request::get("http://a.test/").body(()).expect("a request");
    let mut session = policy.session(&RequestHead::of(&request));
    let headers = HeaderMap::new();
    if !(1..=failures).all(|n| fails(&mut session, n, request.method(), &headers, at)) {
        return false;
    }
    session.succeeded();
    true
}

#[test]
fn twenty_requests_that_fail_once_at_the_same_time_all_recover() {
    let at = now();
    let policy = RetryPolicy::default();
    assert_eq!(policy.budget().and_then(RetryBudget::capacity), Some(20.0));
    let request = Request::get("http://a.test/").body(()).expect("a request");
    let headers = HeaderMap::new();
    let mut failed: Vec<_> = (0..20)
        .map(|_| {
            let mut session = policy.session(&RequestHead::of(&request));
            assert!(fails(&mut session, 1, request.method(), &headers, at));
            session
        })
        .collect();
    failed.iter_mut().for_each(Session::succeeded);
}

#[test]
fn single_failures_of_a_quiet_client_recover_for_ever() {
    // One request in five minutes, each of which fails once: a pooled connection that the server
    // has closed in the meantime.
    let (policy, mut at) = (RetryPolicy::default(), now());
    for number in 0..5_000 {
        assert!(recovers(&policy, 1, at), "{number}");
        at += Duration::from_secs(300);
    }
    // One request in ten seconds, of which one in five fails, three times.
    let (policy, mut at) = (RetryPolicy::default(), now());
    for number in 0..5_000 {
        let failures = if number % 20 == 0 { 3 } else { 0 };
        assert!(recovers(&policy, failures, at), "{number}");
        at += Duration::from_secs(10);
    }
}

#[test]
fn a_process_whose_requests_all_fail_has_a_tenth_of_its_own_rate() {
    for (every, count) in [
        (Duration::from_millis(1), 60_000),
        (Duration::from_secs(10), 600),
    ] {
        let (policy, start) = (RetryPolicy::default(), now());
        for number in 0..count {
            recovers(&policy, u32::MAX, start + every * number);
        }
        let at = start + every * count;
        let granted = policy.budget().expect("its own").stats(at).granted as f64;
        // 20 saved up, a tenth of the requests, and one in 200 seconds.
        let most = 20.0 + 0.1 * f64::from(count) + 0.005 * (every * count).as_secs_f64();
        assert!(granted <= most + 0.001, "{granted} of {most}");
        assert!(granted >= most - 2.0, "{granted} of {most}");
    }
}

#[test]
fn the_minimum_rate_may_be_a_fraction() {
    let budget = RetryBudget::builder()
        .ratio(0.0)
        .min_per_second(0.3)
        .capacity(5)
        .scope(Scope::Shared)
        .build()
        .unwrap();
    let start = now();
    let slot = Slot::default();
    assert_eq!(grants(&budget, slot, start, 10), 5);
    // Asked every 10 ms for 1000 s: 300, for the fractions between are not lost.
    let granted: usize = (1..=100_000)
        .map(|tick| grants(&budget, slot, start + Duration::from_millis(10 * tick), 10))
        .sum();
    assert_eq!(granted, 300);
}

#[test]
fn a_refund_restores_what_was_taken() {
    let budget = only_ratio(0.2, 1.0);
    let (slot, at) = (Slot::default(), now());
    let taken = budget.withdraw(slot, Status, false, at).unwrap();
    assert_eq!(budget.balance(slot, at), Some(0.0));
    budget.refund(taken);
    assert_eq!(budget.balance(slot, at), Some(1.0));
    let taken = budget.withdraw(slot, Status, false, at).unwrap();
    // Earned meanwhile: the refund fills the bucket and no more.
    budget.deposit(slot);
    budget.refund(taken);
    assert_eq!(budget.balance(slot, at), Some(1.0));
}

#[test]
fn counters_tell_what_happened() {
    let budget = only_ratio(0.2, 2.0);
    let (slot, at) = (Slot::default(), now());
    let taken = budget.withdraw(slot, Status, false, at).unwrap();
    budget.refund(taken);
    assert_eq!(grants(&budget, slot, at, 9), 2);
    let refused = budget.withdraw(slot, Status, false, at).unwrap_err();
    assert_eq!(
        (refused.balance(), refused.needed()),
        (Some(0.0), Some(1.0))
    );
    assert_eq!(
        refused.to_string(),
        "the retry budget is exhausted: 0 tokens left, 1 needed"
    );
    let stats = budget.stats(at);
    assert_eq!((stats.granted, stats.refused, stats.refunded), (3, 2, 1));
    assert_eq!((stats.active, stats.slots, stats.borrowed), (1, 1, 0));
}

#[test]
fn clones_share_the_budget() {
    let budget = only_ratio(0.2, 1.0);
    let clone = budget.clone();
    assert_eq!(grants(&clone, Slot::default(), now(), 9), 1);
    assert_eq!(grants(&budget, Slot::default(), now(), 9), 0);
}

#[test]
fn aws_quota_charges_by_kind_and_gives_back() {
    let budget = RetryBudget::aws();
    let at = now();
    let slot = budget.slot(&uri("s3.example.com"));
    assert_eq!(budget.balance(slot, at), Some(500.0));
    let mut expected = 500.0;
    for (kind, throttled, cost) in [
        (Connect, false, 14.0),
        (Read, false, 14.0),
        (Status, false, 14.0),
        (Other, false, 14.0),
        (Status, true, 5.0),
        (Read, true, 5.0),
    ] {
        budget.withdraw(slot, kind, throttled, at).unwrap();
        expected -= cost;
        assert_eq!(budget.balance(slot, at), Some(expected));
    }
    budget.deposit(slot);
    assert_eq!(budget.balance(slot, at), Some(expected + 1.0));
    let taken = budget.withdraw(slot, Read, false, at).unwrap();
    budget.deposit_retried(slot, taken);
    assert_eq!(budget.balance(slot, at), Some(expected + 1.0));
    // 435 tokens: 31 times 14, and one is left.
    assert_eq!(grants(&budget, slot, at, 1000), 31);
    assert_eq!(budget.balance(slot, at), Some(1.0));
    // Without a minimum rate time does not help.
    let later = at + Duration::from_secs(86_400);
    assert_eq!(budget.balance(slot, later), Some(1.0));
}

#[test]
fn a_success_after_a_retry_earns_what_any_does() {
    let budget = only_ratio(0.2, 1.0);
    let (slot, at) = (Slot::default(), now());
    let taken = budget.withdraw(slot, Status, false, at).unwrap();
    budget.deposit_retried(slot, taken);
    assert_eq!(budget.balance(slot, at), Some(0.2));
}

#[test]
fn grpc_throttling_stops_at_half() {
    let budget = RetryBudget::grpc(10, 0.1).unwrap();
    let at = now();
    let slot = budget.slot(&uri("grpc.example.com"));
    // 9, 8, 7 and 6 are above the half, 5 is not.
    assert_eq!(grants(&budget, slot, at, 4), 4);
    let refused = budget.withdraw(slot, Status, false, at).unwrap_err();
    assert_eq!(
        (refused.balance(), refused.needed()),
        (Some(5.0), Some(5.0))
    );
    // Failures are charged also when they are refused, or ask for nothing, down to zero.
    budget.failed(slot, at);
    assert_eq!(budget.balance(slot, at), Some(4.0));
    for _ in 0..9 {
        budget.failed(slot, at);
    }
    assert_eq!(budget.balance(slot, at), Some(0.0));
    for _ in 0..61 {
        budget.deposit(slot);
    }
    let granted = budget.withdraw(slot, Status, false, at).unwrap();
    assert_eq!(budget.balance(slot, at), Some(5.1));
    budget.refund(granted);
    assert_eq!(budget.balance(slot, at), Some(5.1), "the failure remains");
}

#[test]
fn a_failure_that_asks_for_nothing_costs_nothing_elsewhere() {
    for budget in [RetryBudget::default(), RetryBudget::aws()] {
        let slot = budget.slot(&uri("example.com"));
        budget.failed(slot, now());
        assert_eq!(budget.balance(slot, now()), budget.capacity());
    }
}

/// gRPC counts every request, "regardless of service or method invoked" (gRFC A6).
#[test]
fn a_request_that_can_never_be_retried_earns_for_nobody_but_grpc() {
    let earned = |budget: &RetryBudget, total| {
        let slot = budget.slot(&uri("a"));
        let policy = RetryPolicy::builder().total(total).budget(budget.clone());
        let policy = policy.build().expect("a policy");
        let request = http::Request::get(uri("a")).body(()).expect("a request");
        let before = budget.balance(slot, now()).expect("ours");
        policy.session(&RequestHead::of(&request)).succeeded();
        budget.balance(slot, now()).expect("ours") - before
    };
    let budget = only_ratio(0.5, 10.0);
    assert_eq!(grants(&budget, budget.slot(&uri("a")), now(), 10), 10);
    assert_eq!(earned(&budget, 0), 0.0);
    assert_eq!(earned(&budget, 3), 0.5);

    let budget = RetryBudget::grpc(10, 0.5).expect("a budget");
    budget.failed(budget.slot(&uri("a")), now());
    assert_eq!(earned(&budget, 0), 0.5);
}

#[test]
fn grpc_ratio_is_cut_to_three_decimals() {
    for (ratio, thousandths) in [(0.5466, 546.0), (0.29, 290.0), (0.001, 1.0), (1.0, 1000.0)] {
        let budget = RetryBudget::grpc(4, ratio).unwrap();
        let (slot, at) = (budget.slot(&uri("a")), now());
        assert_eq!(grants(&budget, slot, at, 9), 1);
        let before = budget.balance(slot, at).unwrap();
        budget.deposit(slot);
        let after = budget.balance(slot, at).unwrap();
        assert_eq!(((after - before) * 1000.0).round(), thousandths);
    }
}

#[test]
fn errors_name_the_setting_its_value_and_what_is_allowed() {
    let builder = RetryBudget::builder;
    let cases: Vec<(RetryBudgetBuilder, &str, &str)> = vec![
        (builder().ratio(-0.1), "ratio", "-0.1"),
        (builder().ratio(f64::NAN), "ratio", "NaN"),
        (builder().ratio(f64::INFINITY), "ratio", "inf"),
        (builder().ratio(1000.001), "ratio", "1000.001"),
        (builder().ratio(0.0004), "ratio", "0.0004"),
        (builder().ratio(-0.0004), "ratio", "-0.0004"),
        (
            builder().ratio(0.0).min_ratio(0.0).min_per_second(0),
            "ratio",
            "0",
        ),
        (builder().min_ratio(1.1), "min_ratio", "1.1"),
        (builder().min_ratio(-0.1), "min_ratio", "-0.1"),
        (builder().min_ratio(f64::NAN), "min_ratio", "NaN"),
        (builder().min_per_second(-1), "min_per_second", "-1"),
        (
            builder().min_per_second(1e9),
            "min_per_second",
            "1000000000",
        ),
        (builder().capacity(0), "capacity", "0"),
        (builder().capacity(f64::NAN), "capacity", "NaN"),
        (builder().capacity(300_000), "capacity", "300000"),
        (builder().capacity(5).cost(Read, 6), "cost", "6"),
        (builder().cost(Other, -1), "cost", "-1"),
        (builder().capacity(5).throttle_cost(6), "throttle_cost", "6"),
        (builder().throttle_cost(f64::NAN), "throttle_cost", "NaN"),
        (builder().slots(0), "slots", "0"),
        (builder().slots(1 << 21), "slots", "2097152"),
        (RetryBudgetBuilder::grpc(0, 0.1), "max_tokens", "0"),
        (RetryBudgetBuilder::grpc(1001, 0.1), "max_tokens", "1001"),
        (RetryBudgetBuilder::grpc(10, 0.0), "ratio", "0"),
        (RetryBudgetBuilder::grpc(10, 0.0001), "ratio", "0.0001"),
        (RetryBudgetBuilder::grpc(10, f64::NAN), "ratio", "NaN"),
    ];
    for (builder, field, value) in cases {
        let error = builder.build().unwrap_err();
        assert_eq!((error.field(), error.value()), (field, value));
        assert!(!error.allowed().is_empty());
    }
}

#[test]
fn edges_of_the_ranges_are_allowed() {
    RetryBudget::builder()
        .ratio(1000.0)
        .min_per_second(268_435)
        .capacity(268_435)
        .cost(Connect, 268_435)
        .slots(1)
        .build()
        .unwrap();
    let free = RetryBudget::builder()
        .ratio(0.001)
        .min_per_second(0)
        .capacity(0.001)
        .cost(Connect, 0)
        .cost(Read, 0)
        .cost(Status, 0)
        .cost(Other, 0)
        .build()
        .unwrap();
    let slot = free.slot(&uri("a"));
    assert_eq!(grants(&free, slot, now(), 1000), 1000);
    // The default capacity grows with the costs, and is never above the most there can be.
    let dear = RetryBudget::builder().cost(Read, 1000).build().unwrap();
    assert_eq!(dear.capacity(), Some(2000.0));
    let fast = RetryBudget::builder()
        .min_per_second(100_000)
        .build()
        .unwrap();
    assert_eq!(fast.capacity(), Some(100_000.0));
    let dearest = RetryBudget::builder().cost(Read, 200_000).build().unwrap();
    assert_eq!(dearest.capacity(), Some(268_435.0));
}

#[test]
fn a_clock_that_goes_back_is_harmless() {
    let start = now();
    let budget = RetryBudget::shared();
    let slot = Slot::default();
    let later = start + Duration::from_secs(100);
    assert_eq!(grants(&budget, slot, later, 1000), DEFAULT_CAPACITY);
    assert_eq!(grants(&budget, slot, start, 1000), 0);
    if let Some(long_ago) = start.checked_sub(Duration::from_secs(3600)) {
        assert_eq!(grants(&budget, slot, long_ago, 1000), 0);
        assert_eq!(budget.balance(slot, long_ago), Some(0.0));
    }
    assert_eq!(grants(&budget, slot, later, 1000), 0);
}

#[test]
fn one_bad_authority_does_not_drain_the_others() {
    let budget = ten_a_second();
    let at = now();
    let bad = budget.slot(&uri("bad.example.com"));
    let good = budget.slot(&uri("good.example.com"));
    assert_eq!(grants(&budget, bad, at, 10_000), CAPACITY);
    // What the good one earns helps the good one only.
    for _ in 0..10_000 {
        budget.deposit(good);
    }
    assert_eq!(grants(&budget, bad, at, 10_000), 0);
    assert_eq!(grants(&budget, good, at, 10_000), CAPACITY);
}

#[test]
fn shared_scope_is_one_bucket_for_all() {
    let budget = RetryBudget::shared();
    let at = now();
    assert_eq!(
        grants(&budget, budget.slot(&uri("a")), at, 1000),
        DEFAULT_CAPACITY
    );
    assert_eq!(grants(&budget, budget.slot(&uri("b")), at, 1000), 0);
    assert_eq!(budget.stats(at).slots, 1);
}

#[test]
fn a_key_function_decides_who_shares() {
    // By the first segment of the path, whatever the host.
    let budget = RetryBudget::builder()
        .scope(Scope::key(|uri, key| {
            use std::hash::Hash;
            uri.path().split('/').nth(1).hash(key);
        }))
        .build()
        .unwrap();
    let at = now();
    let slot = |uri: &'static str| budget.slot(&Uri::from_static(uri));
    assert_eq!(
        grants(&budget, slot("http://a/one/x"), at, 1000),
        DEFAULT_CAPACITY
    );
    assert_eq!(grants(&budget, slot("http://b/one/y"), at, 1000), 0);
    assert_eq!(
        grants(&budget, slot("http://a/two/x"), at, 1000),
        DEFAULT_CAPACITY
    );
}

#[test]
fn healthy_authorities_need_no_slot() {
    let budget = RetryBudget::builder().slots(8).build().unwrap();
    for i in 0..10_000 {
        budget.deposit(budget.slot(&uri(i)));
    }
    assert_eq!(budget.stats(now()).active, 0);
    // So all slots are there for those that fail.
    let at = now();
    for i in 0..8 {
        let slot = budget.slot(&uri(format_args!("bad{i}")));
        assert_eq!(grants(&budget, slot, at, 1000), DEFAULT_CAPACITY);
    }
    assert_eq!(budget.stats(at).borrowed, 0);
}

#[test]
fn ten_thousand_failing_authorities_stay_bounded() {
    let budget = ten_a_second();
    let at = now();
    let granted: usize = (0..10_000)
        .map(|i| grants(&budget, budget.slot(&uri(i)), at, 1000))
        .sum();
    let stats = budget.stats(at);
    assert_eq!(stats.slots, 1024);
    assert!(stats.active <= 1024);
    // Each slot can grant its capacity and not a token more, however many keys pass by.
    assert!(granted <= 1024 * CAPACITY, "{granted}");
    assert_eq!(granted as u64, stats.granted);
    assert!(stats.borrowed > 0);
}

#[test]
fn idle_authorities_are_dropped() {
    let budget = ten_a_second();
    let mut at = now();
    // Twelve times as many as there are slots, but few at once: of 30 keys it takes nine in one
    // set of 128 to make one of them share.
    for round in 0..400 {
        for i in 0..30 {
            let slot = budget.slot(&uri(format_args!("{round}.{i}")));
            assert_eq!(grants(&budget, slot, at, 1000), CAPACITY);
        }
        assert_eq!(budget.stats(at).active, 30);
        // The buckets are full again, and so they can be passed on.
        at += Duration::from_secs(1);
        assert_eq!(budget.stats(at).active, 0);
    }
    assert_eq!(budget.stats(at).borrowed, 0);
}

#[test]
fn without_a_minimum_rate_idle_slots_pass_on_what_they_hold() {
    let budget = RetryBudgetBuilder::aws().slots(8).build().unwrap();
    let at = now();
    for i in 0..8 {
        let slot = budget.slot(&uri(i));
        // 35 times 14; 10 tokens remain.
        assert_eq!(grants(&budget, slot, at, 1000), 35);
    }
    let new = budget.slot(&uri("new"));
    // The table is full of keys in use: the new one has to share.
    assert_eq!(grants(&budget, new, at + Duration::from_secs(59), 9), 0);
    assert_eq!(budget.stats(at).borrowed, 1);
    // It earns nothing while it shares, and takes a slot over once there is an idle one.
    for _ in 0..100 {
        budget.deposit(new);
    }
    let later = at + Duration::from_secs(59 + 60);
    assert_eq!(grants(&budget, new, later, 9), 0, "no tokens were made");
    assert_eq!(budget.stats(at).borrowed, 1);
    for _ in 0..100 {
        budget.deposit(new);
    }
    assert_eq!(grants(&budget, new, later, 9), 7);
}

#[test]
fn a_sharing_key_touches_one_other_only() {
    let budget = RetryBudget::builder()
        .slots(8)
        .capacity(100)
        .build()
        .unwrap();
    let at = now();
    let owners: Vec<Slot> = (0..8).map(|i| budget.slot(&uri(i))).collect();
    for slot in &owners {
        assert_eq!(grants(&budget, *slot, at, 10), 10);
    }
    let guest = budget.slot(&uri("guest"));
    assert_eq!(grants(&budget, guest, at, 1000), 90);
    let untouched = owners
        .iter()
        .filter(|slot| budget.balance(**slot, at) == Some(90.0))
        .count();
    assert_eq!(untouched, 7);
}

#[test]
fn threads_take_exactly_what_there_is() {
    let budget = only_ratio(0.5, 100_000.0);
    let (slot, at) = (Slot::default(), now());
    assert_eq!(grants(&budget, slot, at, 200_000), 100_000);
    let granted: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    (0..10_000)
                        .map(|_| {
                            budget.deposit(slot);
                            grants(&budget, slot, at, 3)
                        })
                        .sum::<usize>()
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    let left = budget.balance(slot, at).unwrap();
    assert_eq!(granted as f64 + left, 20_000.0);
}

#[cfg(feature = "tower")]
mod tower_budgets {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use tower::retry::budget::{Budget, TpsBudget};

    use super::*;

    #[derive(Default)]
    struct Counting {
        deposits: AtomicUsize,
        withdrawals: AtomicUsize,
    }

    impl Budget for Counting {
        fn deposit(&self) {
            self.deposits.fetch_add(1, Relaxed);
        }

        fn withdraw(&self) -> bool {
            self.withdrawals.fetch_add(1, Relaxed) < 2
        }
    }

    #[test]
    fn a_budget_of_towers_decides() {
        let theirs = Arc::new(Counting::default());
        let budget = RetryBudget::from_tower(theirs.clone());
        let slot = budget.slot(&uri("example.com"));
        let first = budget.withdraw(slot, Read, false, now()).unwrap();
        budget.withdraw(slot, Read, true, now()).unwrap();
        let refused = budget.withdraw(slot, Read, false, now()).unwrap_err();
        assert_eq!((refused.balance(), refused.needed()), (None, None));
        assert_eq!(refused.to_string(), "the retry budget is exhausted");
        budget.deposit(slot);
        assert!(budget.withdraw(slot, Read, false, now()).is_err());
        budget.refund(first);
        budget.failed(slot, now());
        assert_eq!(theirs.deposits.load(Relaxed), 1);
        assert_eq!(theirs.withdrawals.load(Relaxed), 4);
        assert_eq!(budget.balance(slot, now()), None);
        assert_eq!(budget.capacity(), None);
        let stats = budget.stats(now());
        assert_eq!((stats.granted, stats.refused), (2, 2));
    }

    #[test]
    fn a_default_tps_budget_is_accepted() {
        let budget = RetryBudget::from_tower(Arc::new(TpsBudget::default()));
        // 10 seconds of 10 a second.
        assert_eq!(grants(&budget, Slot::default(), now(), 1000), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn ours_serves_as_towers_on_tokios_clock() {
        let budget: Arc<dyn Budget + Send + Sync> = Arc::new(ten_a_second());
        let granted = || (0..1000).take_while(|_| budget.withdraw()).count();
        assert_eq!(granted(), CAPACITY);
        for _ in 0..10 {
            budget.deposit();
        }
        assert_eq!(granted(), 2);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(granted(), 5);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Deposit(u8),
    Withdraw(u8, u8, bool),
    /// A withdrawal that is given back after a few more of its like.
    Cancelled(u8),
    /// Milliseconds.
    Wait(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || 0..20u8;
    let step = prop_oneof![
        key().prop_map(Step::Deposit),
        (key(), 0..4u8, any::<bool>()).prop_map(|(k, f, t)| Step::Withdraw(k, f, t)),
        key().prop_map(Step::Cancelled),
        (0..2000u16).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..400)
}

const KINDS: [FailureKind; 4] = [Connect, Read, Status, Other];

proptest! {
    /// The promise of the module's documentation, for a single bucket and for a table that is
    /// too small for its keys, over each stretch of the run.
    #[test]
    fn withdrawals_never_exceed_what_was_earned(
        ratio in 1..2000u64,
        rate in 0..20_000u64,
        capacity in 5000..50_000u64,
        one in any::<bool>(),
        steps in steps(),
    ) {
        // Thousandths of a token.
        let costs = [1000, 2000, 500, 5000];
        let throttle_cost = 3000;
        let mut builder = RetryBudget::builder()
            .ratio(ratio as f64 / 1000.0)
            .min_per_second(rate as f64 / 1000.0)
            .capacity(capacity as f64 / 1000.0)
            .throttle_cost(3)
            .slots(8);
        for (kind, cost) in KINDS.iter().zip(costs) {
            builder = builder.cost(*kind, f64::from(cost) / 1000.0);
        }
        if one {
            builder = builder.scope(Scope::Shared);
        }
        let budget = builder.build().unwrap();
        let buckets = budget.stats(now()).slots as u64;
        let slots: Vec<Slot> = (0..20).map(|i| budget.slot(&uri(i))).collect();

        let mut at = now();
        // Millionths of a token. The worst stretch begins where this is lowest above what
        // follows: at its highest point so far.
        let mut earned_less_spent = 0i128;
        let mut highest = 0i128;
        let mut held = Vec::new();
        for step in steps {
            match step {
                Step::Deposit(key) => {
                    budget.deposit(slots[usize::from(key)]);
                    earned_less_spent += i128::from(ratio) * 1000;
                }
                Step::Withdraw(key, kind, throttled) => {
                    let slot = slots[usize::from(key)];
                    let kind = usize::from(kind);
                    let cost = if throttled { throttle_cost } else { costs[kind] };
                    if budget.withdraw(slot, KINDS[kind], throttled, at).is_ok() {
                        earned_less_spent -= i128::from(cost) * 1000;
                    }
                }
                Step::Cancelled(key) => {
                    let slot = slots[usize::from(key)];
                    if let Ok(taken) = budget.withdraw(slot, Connect, false, at) {
                        earned_less_spent -= i128::from(costs[0]) * 1000;
                        held.push(taken);
                    }
                    if held.len() > 3 {
                        budget.refund(held.remove(0));
                        earned_less_spent += i128::from(costs[0]) * 1000;
                    }
                }
                Step::Wait(ms) => {
                    at += Duration::from_millis(ms.into());
                    earned_less_spent += i128::from(rate) * i128::from(ms) * i128::from(buckets);
                }
            }
            highest = highest.max(earned_less_spent);
            let spent = highest - earned_less_spent;
            // A thousandth of a token and one step of the clock, for each bucket.
            let slack = i128::from(buckets) * (1000 + 10 * i128::from(rate));
            let most = i128::from(buckets * capacity) * 1000 + slack;
            prop_assert!(spent <= most, "{spent} of {most}");
        }
    }

    #[test]
    fn no_number_makes_the_builder_panic(
        ratio: f64, rate: f64, capacity: f64, cost: f64, tokens: u32, slots in 0..2048usize,
    ) {
        let built = RetryBudget::builder()
            .ratio(ratio)
            .min_per_second(rate)
            .capacity(capacity)
            .cost(Status, cost)
            .slots(slots)
            .build();
        if let Ok(budget) = built {
            let slot = budget.slot(&uri("a"));
            let _ = budget.withdraw(slot, Status, false, now());
        }
        let _ = RetryBudget::grpc(tokens, ratio);
    }
}
