//! The dashboard and the alerts name nothing that does not exist.

use std::{collections::BTreeSet, fs, path::PathBuf};

use tower_http_retry::{
    policy::StopReason,
    telemetry::{METRICS, MetricKind},
};

fn file(name: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/dashboard");
    fs::read_to_string(root.join(name)).expect("a file of the repository")
}

/// The words of a text that begin like this.
fn words<'a>(text: &'a str, start: &str) -> BTreeSet<&'a str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_word(c))
        .filter(|word| word.starts_with(start))
        .collect()
}

/// What Prometheus makes of the metrics.
fn series() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for info in METRICS {
        if info.kind == MetricKind::Histogram {
            for part in ["bucket", "sum", "count"] {
                all.insert(format!("{}_{part}", info.name));
            }
        } else {
            all.insert(info.name.to_owned());
        }
    }
    all
}

fn assert_known(text: &str) {
    let known = series();
    let named = words(text, "tower_http_retry_");
    assert!(named.len() > 3, "{named:?}");
    for name in named {
        assert!(known.contains(name), "no metric is called `{name}`");
    }
    // Labels, and the values that they are compared with.
    let mut labels: BTreeSet<&str> = METRICS
        .iter()
        .flat_map(|info| info.labels)
        .copied()
        .collect();
    labels.extend(["service", "le"]);
    let quoted = text.replace("\\\"", "\"");
    for (_, list) in quoted
        .split(" by (")
        .skip(1)
        .map(|rest| ((), rest.split(')').next()))
    {
        for label in list.expect("it is closed").split(',') {
            assert!(
                labels.contains(label.trim()),
                "no label is called `{label}`"
            );
        }
    }
    for selector in quoted.split("total{").skip(1) {
        let selector = selector.split('}').next().expect("it is closed");
        for part in selector.split(", ") {
            let (label, value) = part.split_once('=').expect("a comparison");
            assert!(labels.contains(label), "no label is called `{label}`");
            let value = value.trim_start_matches('~').trim_matches('"');
            for value in value.split('|').filter(|value| !value.starts_with('$')) {
                assert!(VALUES.contains(&value), "no {label} is called `{value}`");
            }
        }
    }
}

/// The values that are compared with, of which another test knows that they are counted.
const VALUES: [&str; 8] = [
    "retry",
    "unprocessed",
    "endpoint",
    "hedge",
    "recovered",
    "failed_after_retries",
    "won",
    "budget_exhausted",
];

#[test]
fn every_metric_that_the_dashboard_names_exists() {
    let text = file("grafana.json");
    let board: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let panels = board["panels"].as_array().expect("panels");
    let mut all = String::new();
    for panel in panels {
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{}", panel["title"]);
        for target in targets {
            let expression = target["expr"].as_str().expect("an expression");
            assert!(
                !words(expression, "tower_http_retry_").is_empty(),
                "{expression}"
            );
            assert!(expression.contains("service=~\"$service\""), "{expression}");
            all.push_str(expression);
            all.push('\n');
        }
    }
    assert_known(&all);
    // And each that there is can be seen somewhere.
    let shown = words(&all, "tower_http_retry_");
    for info in METRICS {
        let is_shown = shown.iter().any(|name| name.starts_with(info.name));
        assert!(is_shown, "`{}` is in no panel", info.name);
    }
    assert_known(&text);
}

#[test]
fn every_metric_that_the_alerts_name_exists() {
    let text = file("alerts.yml");
    assert_known(&text);
    let alerts = text.matches("- alert: ").count();
    for needed in ["expr:", "for:", "severity:", "summary:", "description:"] {
        assert_eq!(text.matches(needed).count(), alerts, "{needed}");
    }
}

#[test]
fn the_values_that_are_compared_with_are_names_of_the_code() {
    assert_eq!(
        StopReason::BudgetExhausted(Default::default()).name(),
        "budget_exhausted"
    );
    let docs = include_str!("../../src/telemetry/mod.rs");
    for outcome in ["recovered", "failed_after_retries", "won"] {
        assert!(docs.contains(&format!("`{outcome}`")), "{outcome}");
    }
}
