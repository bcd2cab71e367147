//! What the docs say, against the code.

use super::*;

#[test]
fn the_table_in_the_docs_is_that_of_the_code() {
    let docs = include_str!("mod.rs");
    let rows: Vec<_> = docs
        .lines()
        .filter(|line| line.starts_with("//! | `tower_http_retry_"))
        .collect();
    let expected: Vec<_> = METRICS
        .iter()
        .map(|info| {
            let labels: Vec<_> = info.labels.iter().map(|name| format!("`{name}`")).collect();
            let kind = info.kind.as_str();
            let labels = labels.join(", ");
            format!(
                "//! | `{}` | {kind} | {labels} | {} |",
                info.name, info.help
            )
        })
        .collect();
    assert_eq!(rows, expected);
}

#[test]
fn the_histograms_have_bounds_and_nothing_else_has() {
    for info in METRICS {
        let is_histogram = info.kind == MetricKind::Histogram;
        assert_eq!(!info.bounds.is_empty(), is_histogram, "{}", info.name);
        assert!(info.bounds.is_sorted());
    }
}

#[test]
fn prometheus_s_names_are_what_its_exporters_make_of_opentelemetry_s() {
    for info in METRICS {
        let mut name = info.otel_name.replace('.', "_");
        match info.unit {
            "s" => name.push_str("_seconds"),
            "By" => name.push_str("_bytes"),
            "1" => name.push_str("_ratio"),
            unit => assert!(unit.starts_with('{'), "{unit}"),
        }
        if info.kind == MetricKind::Counter {
            name.push_str("_total");
        }
        assert_eq!(name, info.name);
    }
}

#[test]
fn the_kinds_in_the_docs_have_names() {
    for (kind, name) in [
        (AttemptKind::First, "first"),
        (AttemptKind::Retry, "retry"),
        (AttemptKind::Unprocessed, "unprocessed"),
        (AttemptKind::Hedge, "hedge"),
        (AttemptKind::Redirect, "redirect"),
        (AttemptKind::Resume, "resume"),
        (AttemptKind::Endpoint, "endpoint"),
    ] {
        assert_eq!(kind.as_str(), name);
    }
    let docs = include_str!("mod.rs");
    for outcome in cells::OUTCOMES {
        assert!(docs.contains(&format!("`{outcome}`")), "{outcome}");
    }
}

#[test]
fn so_many_authorities_have_counters_of_their_own_and_the_rest_share_one() {
    let metrics = Metrics::builder().by_authority(3).build();
    for host in 0..10 {
        for _ in 0..2 {
            let uri = format!("http://user:secret@host-{host}.test:8080/");
            let uri = uri.parse().expect("a URI");
            metrics.attempt(AttemptKind::Hedge, &uri);
        }
    }
    let now = metrics.snapshot();
    let of = |address: &str| {
        let labels = [("kind", "hedge"), ("server_address", address)];
        now.count("tower_http_retry_attempts_total", &labels)
    };
    let own = (0..3).map(|host| of(&format!("host-{host}.test:8080")));
    assert!(own.eq([Some(2); 3]));
    assert_eq!(of("_OTHER"), Some(14));
    assert!(!format!("{now:?}").contains("secret"));
}

/// Two samples with the same labels would be one to whoever reads them.
#[test]
fn what_is_counted_apart_has_labels_of_its_own() {
    let metrics = Metrics::builder().by_authority(100).build();
    for (uri, name) in [
        ("http://a.test/", "a.test:80"),
        ("http://A.test:80/", "a.test:80"),
        ("http://me:secret@a.test:/x", "a.test:80"),
        ("https://a.test/", "a.test:443"),
        ("https://a.test:80/", "a.test:80"),
        ("http://a.test:8080/", "a.test:8080"),
        ("http://[::1]:81/", "[::1]:81"),
        ("a.test:443", "a.test:443"),
        ("a.test", "a.test"),
        ("/relative", "none"),
    ] {
        let uri: http::Uri = uri.parse().expect("a URI");
        let before = metrics.snapshot();
        metrics.attempt(AttemptKind::Hedge, &uri);
        let labels = [("server_address", name)];
        let count = |at: &MetricsSnapshot| at.count("tower_http_retry_attempts_total", &labels);
        let more = count(&metrics.snapshot()).zip(count(&before));
        assert_eq!(more.map(|(now, before)| now - before), Some(1), "{uri}");
    }
    let now = metrics.snapshot();
    let mut all: Vec<_> = now.samples().iter().map(|sample| &sample.labels).collect();
    let samples = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), samples);
}

#[test]
fn a_million_authorities_take_no_more_than_the_few_that_were_asked_for() {
    let metrics = Metrics::builder().by_authority(20).build();
    for host in 0..1_000_000 {
        let uri = format!("http://h{host}.test/").parse().expect("a URI");
        metrics.attempt(AttemptKind::Hedge, &uri);
    }
    let now = metrics.snapshot();
    // And the rest.
    assert!(now.samples().len() <= 21, "{}", now.samples().len());
    assert!(now.samples().len() > 15, "{}", now.samples().len());
    let all = now.count("tower_http_retry_attempts_total", &[]);
    assert_eq!(all, Some(1_000_000));
}

#[test]
fn an_authority_that_two_threads_meet_at_once_takes_one_place() {
    for _ in 0..50 {
        let metrics = Metrics::builder().by_authority(8).build();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for host in 0..8 {
                        let uri = format!("http://h{host}.test/").parse().expect("a URI");
                        metrics.attempt(AttemptKind::Hedge, &uri);
                    }
                });
            }
        });
        // Whoever came at a bad moment was counted with the others, and the place is free again.
        for host in 0..8 {
            let uri = format!("http://h{host}.test/").parse().expect("a URI");
            metrics.attempt(AttemptKind::Hedge, &uri);
            let labels = [("server_address", &*format!("h{host}.test:80"))];
            let now = metrics.snapshot();
            let own = now.count("tower_http_retry_attempts_total", &labels);
            assert!(own >= Some(1), "{host}");
        }
    }
}

#[test]
fn requests_are_counted_by_their_mount() {
    let policy = crate::policy::RetryPolicy::default();
    let mounts = crate::mounts::Mounts::new()
        .mount("https://a.test/v1", policy.clone())
        .and_then(|mounts| mounts.mount("https://a.test", policy))
        .expect("prefixes");
    let metrics = Metrics::builder().service("a").by_mount(&mounts).build();
    for uri in ["https://a.test/v1/x", "https://a.test/", "http://a.test/"] {
        metrics.resumed(7, &uri.parse().expect("a URI"));
    }
    let now = metrics.snapshot();
    for mount in ["https://a.test/v1", "https://a.test", "none"] {
        let labels = [("mount", mount), ("service", "a")];
        let bytes = now.count("tower_http_retry_resumed_bytes_total", &labels);
        assert_eq!(bytes, Some(7), "{mount}");
    }
    assert_eq!(now.count("no_such_metric", &[]), None);
}

#[test]
fn budgets_and_throttles_are_shown_as_they_stand() {
    use crate::{budget::RetryBudget, reason::FailureKind, throttle::AdaptiveThrottle};

    let budget = RetryBudget::builder()
        .capacity(4.0)
        .build()
        .expect("a budget");
    let throttle = AdaptiveThrottle::builder().build().expect("a throttle");
    let metrics = Metrics::builder()
        .budget("b", &budget)
        .throttle("t", &throttle)
        .build();
    let balance = || {
        let now = metrics.snapshot();
        now.gauge("tower_http_retry_budget_balance_ratio", &[("budget", "b")])
    };
    assert_eq!(balance(), Some(1.0));
    let now = tokio::time::Instant::now().into_std();
    let uri = http::Uri::from_static("http://a.test/");
    for _ in 0..5 {
        let _ = budget.withdraw(budget.slot(&uri), FailureKind::Read, false, now);
        throttle.on_request(throttle.slot(&uri), now);
    }
    assert!(balance().is_some_and(|left| left < 0.1));
    let now = metrics.snapshot();
    let refused = [("answer", "refused")];
    let refused = now.count("tower_http_retry_budget_retries_total", &refused);
    assert_eq!(refused, Some(1));
    let probability = now.gauge("tower_http_retry_throttle_probability_ratio", &[]);
    assert_eq!(probability, Some(5.0 / 6.0));
}
