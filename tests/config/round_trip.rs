//! What a policy's configuration says is the whole policy.
#![cfg(feature = "serde")]

#[cfg(feature = "tower")]
use std::sync::Arc;
use std::{fmt, time::Duration};

use http::HeaderName;
use proptest::{option, prelude::*, sample::select};
use tower_http_retry::{
    budget::{RetryBudget, RetryBudgetBuilder, Scope},
    classify::FailureKind,
    config::RetryConfig,
    mounts::Mounts,
    policy::{
        Backoff, Jitter, Limit, Methods, Preset, ResetFormat, ResetHeader, RetryAfterMode,
        RetryPolicy, RetryPolicyBuilder,
    },
};

#[test]
fn the_presets_are_written_as_documents_that_say_everything() {
    let text = toml::to_string(&RetryConfig::from(&RetryPolicy::urllib3())).expect("TOML");
    let expected = r#"preset = "urllib3"
total = 10
connect = "unlimited"
read = "unlimited"
redirect = "unlimited"
status = "unlimited"
other = "unlimited"
unprocessed = 0
allowed_methods = ["HEAD", "GET", "PUT", "DELETE", "OPTIONS", "TRACE"]
status_forcelist = []
retryable_status_codes = []
unprocessed_statuses = []
once_statuses = []
respect_retry_after_header = true
retry_after_max = "6h"
retry_after_mode = "clamp"
retry_after_jitter = 0.0
should_retry_header = false
raise_on_status = true
budget = false
reset_headers = []

[backoff]
kind = "urllib3"
base = "0s"
max = "2m"
jitter = "none"
"#;
    assert_eq!(text, expected);
    let text = serde_json::to_string(&RetryConfig::from(&RetryPolicy::default())).expect("JSON");
    let expected = concat!(
        r#"{"preset":"default","total":3,"connect":"unlimited","read":"unlimited","#,
        r#""redirect":"unlimited","status":"unlimited","other":"unlimited","unprocessed":2,"#,
        r#""allowed_methods":"idempotent","#,
        r#""status_forcelist":[408,425,429,500,502,503,504],"#,
        r#""retryable_status_codes":["UNAVAILABLE"],"unprocessed_statuses":[421,425],"#,
        r#""once_statuses":[],"respect_retry_after_header":true,"#,
        r#""retry_after_max":"1m","retry_after_mode":"give_up","retry_after_jitter":0.1,"#,
        r#""should_retry_header":"x-should-retry","raise_on_status":false,"#,
        r#""reset_headers":[{"name":"x-ratelimit-reset","format":"auto","#,
        r#""remaining":"x-ratelimit-remaining"},{"name":"ratelimit-reset","format":"auto","#,
        r#""remaining":"ratelimit-remaining"},{"name":"x-rate-limit-reset","format":"epoch","#,
        r#""remaining":"x-rate-limit-remaining"}],"#,
        r#""backoff":{"kind":"exponential","base":"100ms","max":"20s","jitter":"full"},"#,
        r#""budget":{"kind":"ratio","ratio":0.2,"min_ratio":0.1,"min_per_second":0.005,"#,
        r#""capacity":20.0,"#,
        r#""scope":"authority","slots":1024,"#,
        r#""cost":{"connect":1.0,"read":1.0,"status":1.0,"other":1.0}}}"#,
    );
    assert_eq!(text, expected);
}

#[test]
fn a_budget_that_cannot_be_written_is_kept() {
    let keyed = RetryBudget::builder()
        .scope(Scope::key(|_, _| {}))
        .build()
        .expect("valid");
    let policy = RetryPolicy::builder().budget(keyed).build().expect("valid");
    let config = RetryConfig::from(&policy);
    assert_eq!(config.build().expect("a policy"), policy);
    let error = serde_json::to_string(&config)
        .expect_err("a function")
        .to_string();
    assert!(error.starts_with("`budget` cannot be written"), "{error}");
}

#[test]
fn a_backoff_that_cannot_be_written_is_kept() {
    let squares = Backoff::from_fn(|n| Duration::from_millis(u64::from(n).pow(2)));
    let policy = RetryPolicy::builder()
        .backoff(squares)
        .build()
        .expect("valid");
    let config = RetryConfig::from(&policy);
    assert_eq!(config.build().expect("a policy"), policy);
    let error = serde_json::to_string(&config)
        .expect_err("a function")
        .to_string();
    assert!(error.starts_with("`backoff` cannot be written"), "{error}");
}

#[cfg(feature = "tower")]
#[test]
fn a_budget_of_towers_is_kept() {
    let tower = tower::retry::budget::TpsBudget::new(Duration::from_secs(10), 1, 0.5);
    let policy = RetryPolicy::builder()
        .budget(RetryBudget::from_tower(Arc::new(tower)))
        .build()
        .expect("valid");
    let config = RetryConfig::from(&policy);
    assert_eq!(config.build().expect("a policy"), policy);
    assert!(serde_json::to_string(&config).is_err());
}

fn limit(negative: bool) -> impl Strategy<Value = Limit> {
    let least = if negative { -3 } else { 0 };
    prop_oneof![
        Just(Limit::Unlimited),
        Just(Limit::Never),
        (least..5i64).prop_map(Limit::AtMost),
        Just(Limit::AtMost(i64::MAX)),
    ]
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        (0u64..100_000).prop_map(Duration::from_millis),
        (any::<u64>(), 0u32..1_000_000_000).prop_map(|(secs, nanos)| Duration::new(secs, nanos)),
        Just(Duration::MAX),
    ]
}

fn factor() -> impl Strategy<Value = f64> {
    prop_oneof![0.0..10.0, Just(0.1), Just(0.0), 0.0..1e300, Just(1e-300)]
}

fn backoff() -> impl Strategy<Value = Backoff> {
    let kind = prop_oneof![
        factor().prop_map(Backoff::urllib3),
        (duration(), option::of(1.0..9.0)).prop_map(|(base, multiplier)| {
            let backoff = Backoff::exponential(base);
            match multiplier {
                Some(multiplier) => backoff.multiplier(multiplier),
                None => backoff,
            }
        }),
        duration().prop_map(Backoff::linear),
        duration().prop_map(Backoff::fibonacci),
        duration().prop_map(Backoff::constant),
        (duration(), factor()).prop_map(|(base, factor)| {
            let mut backoff = Backoff::linear(base);
            backoff.set_factor(factor);
            backoff
        }),
        proptest::collection::vec(duration(), 1..5).prop_map(Backoff::list),
        Just(Backoff::none()),
    ];
    let jitter = prop_oneof![
        select(
            &[
                Jitter::None,
                Jitter::Full,
                Jitter::Equal,
                Jitter::Decorrelated
            ][..]
        ),
        duration().prop_map(Jitter::Additive),
        (0.0..=1.0).prop_map(Jitter::Around),
    ];
    let throttle = option::of(duration());
    (kind, option::of(duration()), option::of(jitter), throttle).prop_map(
        |(backoff, max, jitter, throttle)| {
            let throttled = throttle.map(|base| backoff.clone().throttle_base(base));
            let backoff = throttled
                .filter(|backoff| {
                    RetryPolicy::builder()
                        .backoff(backoff.clone())
                        .build()
                        .is_ok()
                })
                .unwrap_or(backoff);
            let backoff = match max {
                Some(max) => backoff.max(max),
                None => backoff,
            };
            match jitter {
                Some(jitter) => backoff.jitter(jitter),
                None => backoff,
            }
        },
    )
}

fn budget() -> impl Strategy<Value = RetryBudget> {
    let builder = prop_oneof![
        Just(RetryBudget::builder()),
        Just(RetryBudgetBuilder::aws()),
        (1u32..1000, 0.001..10.0).prop_map(|(max, ratio)| RetryBudgetBuilder::grpc(max, ratio)),
    ];
    let changes = (
        option::of(0.001..10.0),
        option::of(0.001..100.0),
        option::of(20.0..1000.0),
        option::of(0.001..20.0),
        option::of(0.001..20.0),
        any::<bool>(),
        option::of(1usize..3000),
    );
    (builder, changes).prop_map(|(mut builder, changes)| {
        let (ratio, rate, capacity, cost, throttle_cost, shared, slots) = changes;
        if let Some(ratio) = ratio {
            builder = builder.ratio(ratio);
        }
        if let Some(rate) = rate {
            builder = builder.min_per_second(rate);
        }
        if let Some(cost) = cost {
            builder = builder.cost(FailureKind::Read, cost);
        }
        if let Some(cost) = throttle_cost {
            builder = builder.throttle_cost(cost);
        }
        if let Some(slots) = slots {
            builder = builder.slots(slots);
        }
        if shared {
            builder = builder.scope(Scope::Shared);
        }
        builder = builder.capacity(capacity.unwrap_or(500.0));
        builder.build().expect("a valid budget")
    })
}

fn methods() -> impl Strategy<Value = Methods> {
    prop_oneof![
        Just(Methods::any()),
        proptest::collection::vec(select(&["GET", "POST", "get", "QUERY", "X-1"][..]), 0..4)
            .prop_map(|names| names.into_iter().collect()),
    ]
}

fn header() -> impl Strategy<Value = HeaderName> {
    select(&["x-a", "x-b", "ratelimit-remaining"][..]).prop_map(HeaderName::from_static)
}

fn reset() -> impl Strategy<Value = ResetHeader> {
    let formats = [
        ResetFormat::Auto,
        ResetFormat::Seconds,
        ResetFormat::Milliseconds,
        ResetFormat::Epoch,
    ];
    (header(), select(formats.to_vec()), option::of(header())).prop_map(
        |(name, format, remaining)| {
            let reset = ResetHeader::new(name, format);
            match remaining {
                Some(name) => reset.remaining(name),
                None => reset,
            }
        },
    )
}

/// One call of a setter.
struct Change(Box<dyn Fn(RetryPolicyBuilder) -> RetryPolicyBuilder>);

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Change")
    }
}

fn change(negative: bool) -> impl Strategy<Value = Change> {
    fn boxed(change: impl Fn(RetryPolicyBuilder) -> RetryPolicyBuilder + 'static) -> Change {
        Change(Box::new(change))
    }
    prop_oneof![
        limit(negative).prop_map(|limit| boxed(move |b| b.total(limit))),
        limit(negative).prop_map(|limit| boxed(move |b| b.connect(limit))),
        limit(negative).prop_map(|limit| boxed(move |b| b.read(limit))),
        limit(negative).prop_map(|limit| boxed(move |b| b.redirect(limit))),
        limit(negative).prop_map(|limit| boxed(move |b| b.status(limit))),
        limit(negative).prop_map(|limit| boxed(move |b| b.other(limit))),
        any::<u32>().prop_map(|n| boxed(move |b| b.unprocessed(n))),
        methods().prop_map(|methods| boxed(move |b| b.allowed_methods(methods.clone()))),
        proptest::collection::vec(100u16..1000, 0..5)
            .prop_map(|list| boxed(move |b| b.status_forcelist(list.iter().copied()))),
        backoff().prop_map(|backoff| boxed(move |b| b.backoff(backoff.clone()))),
        factor().prop_map(|factor| boxed(move |b| b.backoff_max(factor))),
        factor().prop_map(|factor| boxed(move |b| b.backoff_jitter(factor))),
        any::<bool>().prop_map(|on| boxed(move |b| b.respect_retry_after_header(on))),
        duration().prop_map(|max| boxed(move |b| b.retry_after_max(max))),
        select(&[RetryAfterMode::Clamp, RetryAfterMode::GiveUp][..])
            .prop_map(|mode| boxed(move |b| b.retry_after_mode(mode))),
        (0.0..=1.0).prop_map(|part| boxed(move |b| b.retry_after_jitter(part))),
        proptest::collection::vec(reset(), 0..3)
            .prop_map(|resets| boxed(move |b| b.reset_headers(resets.clone()))),
        option::of(header()).prop_map(|name| boxed(move |b| b.should_retry_header(name.clone()))),
        any::<bool>().prop_map(|on| boxed(move |b| b.raise_on_status(on))),
        option::of(budget()).prop_map(|budget| boxed(move |b| b.budget(budget.clone()))),
        any::<u64>().prop_map(|seed| boxed(move |b| b.seed(seed))),
    ]
}

/// Any policy that can be built.
fn policy() -> impl Strategy<Value = RetryPolicy> {
    const PRESETS: &[Preset] = &[Preset::Default, Preset::Grpc, Preset::Urllib3];
    select(PRESETS).prop_flat_map(|preset| {
        let urllib3 = preset == Preset::Urllib3;
        let changes = proptest::collection::vec(change(urllib3), 0..8);
        changes.prop_map(move |changes| {
            let builder = match preset {
                Preset::Urllib3 => RetryPolicy::urllib3_builder(),
                Preset::Grpc => RetryPolicy::grpc_builder(),
                _ => RetryPolicy::builder(),
            };
            let builder = changes
                .iter()
                .fold(builder, |builder, change| change.0(builder));
            builder.build().expect("a valid policy")
        })
    })
}

proptest! {
    #[test]
    fn a_policy_is_what_its_configuration_builds(policy in policy()) {
        let config = RetryConfig::from(&policy);
        prop_assert_eq!(&config.build().expect("a policy"), &policy);

        let json = serde_json::to_string(&config).expect("JSON");
        let read: RetryConfig = serde_json::from_str(&json).expect("a document");
        prop_assert_eq!(&read.build().expect("a policy"), &policy, "{}", json);

        let text = toml::to_string(&config).expect("TOML");
        let read: RetryConfig = toml::from_str(&text).expect("a document");
        prop_assert_eq!(&read.build().expect("a policy"), &policy, "{}", text);
    }

    #[test]
    fn mounts_are_what_their_configuration_builds(
        policies in proptest::collection::vec(policy(), 0..3),
        fallback in option::of(policy()),
    ) {
        let prefixes = ["https://", "http://a.test/v1/", "https://[::1]:81"];
        let mut mounts = Mounts::new();
        for (prefix, policy) in prefixes.iter().zip(policies) {
            mounts = mounts.mount(prefix, policy).expect("a prefix");
        }
        if let Some(policy) = fallback {
            mounts = mounts.fallback(policy);
        }
        let text = toml::to_string(&RetryConfig::from(&mounts)).expect("TOML");
        let read: RetryConfig = toml::from_str(&text).expect("a document");
        prop_assert_eq!(read.to_mounts().expect("mounts"), mounts, "{}", text);
    }
}
