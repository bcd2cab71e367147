//! Configurations as JSON, TOML and variables: what is read is a whole policy, and what is not
//! says why.

use std::{collections::BTreeSet, fmt, time::Duration};

use http::{Method, Request};
use serde_json::Value;
use tower_http_retry::{
    config::{InvalidConfig, RetryConfig},
    dry_run::{Explain, Scenario},
    lint::{Lint, LintContext},
    mounts::Mounts,
    policy::{Limit, LimitKind, RequestHead, RetryPolicy},
};

use super::Depth;

/// The beginning of the variables' names.
const PREFIX: &str = "RETRY_";

/// Takes the bytes for JSON if they begin with a brace, for variables, one a line, if they begin
/// with the prefix of their names, and else for TOML.
pub fn check(data: &[u8], depth: Depth) -> &'static str {
    let Ok(text) = std::str::from_utf8(data) else {
        return "no text";
    };
    let start = text.trim_start();
    let (format, read) = if start.starts_with('{') {
        ("JSON", from_json(text))
    } else if start.starts_with(PREFIX) {
        ("variables", from_vars(text))
    } else {
        ("TOML", from_toml(text))
    };
    let config = match read {
        Ok(config) => config,
        Err(branch) => return branch,
    };
    check_config(&config);
    if config.build().is_ok() {
        // Nothing but mounts is in the way.
        assert!(config.to_mounts().is_ok());
    }
    let mounts = match config.to_mounts() {
        Ok(mounts) => mounts,
        Err(error) => {
            check_error(&error);
            return "does not build";
        }
    };
    if format == "JSON" {
        check_plain(text, mounts.fallback_policy());
    }
    check_mounts(&mounts);
    let policies = mounts.iter().map(|mount| mount.policy());
    for policy in policies.chain(mounts.fallback_policy()) {
        check_policy(policy, depth);
    }
    if mounts.is_empty() { format } else { "mounts" }
}

fn from_json(text: &str) -> Result<RetryConfig, &'static str> {
    let document = serde_json::from_str::<Value>(text);
    serde_json::from_str(text).map_err(|error| match document {
        Ok(document) => {
            let mut keys = Vec::new();
            keys_of(&document, &mut keys);
            check_names(&error, &keys);
            "refused JSON"
        }
        Err(_) => "not JSON",
    })
}

fn keys_of<'a>(value: &'a Value, keys: &mut Vec<&'a str>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                keys.push(key);
                keys_of(value, keys);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| keys_of(value, keys)),
        _ => {}
    }
}

fn from_toml(text: &str) -> Result<RetryConfig, &'static str> {
    let document = toml::from_str::<toml::Table>(text);
    toml::from_str(text).map_err(|error| match document {
        Ok(document) => {
            let document = serde_json::to_value(document).unwrap_or_default();
            let mut keys = Vec::new();
            keys_of(&document, &mut keys);
            // An error of TOML's shows the line, and with it the key; only the reason counts.
            check_names(&error.message(), &keys);
            "refused TOML"
        }
        Err(_) => "not TOML",
    })
}

fn from_vars(text: &str) -> Result<RetryConfig, &'static str> {
    let vars = text.lines().filter_map(|line| line.split_once('='));
    RetryConfig::from_vars(PREFIX, vars).map_err(|error| {
        check_error(&error);
        assert!(error.key().starts_with(PREFIX), "{error}");
        "refused variables"
    })
}

/// The message names one of the document's keys.
fn check_names(error: &impl fmt::Display, keys: &[&str]) {
    let text = error.to_string();
    let named = keys.iter().any(|key| {
        // Keys of mounts are quoted.
        let quoted = format!("{key:?}");
        text.contains(key) || text.contains(&quoted)
    });
    assert!(named, "none of {keys:?} is named: {text}");
}

fn check_error(error: &InvalidConfig) {
    assert!(!error.key().is_empty());
    assert_eq!(error.given().is_some(), error.allowed().is_some());
    let text = error.to_string();
    assert!(text.starts_with(&format!("`{}` ", error.key())), "{text}");
    if let (Some(given), Some(allowed)) = (error.given(), error.allowed()) {
        assert!(text.contains(given) && !allowed.is_empty(), "{text}");
    }
}

/// A configuration is what it is written as, and laying it over itself or nothing changes nothing.
pub(super) fn check_config(config: &RetryConfig) {
    let text = toml::to_string(config).expect("TOML");
    let read: RetryConfig = toml::from_str(&text).expect("what was written");
    // TOML's tables have no order, and so none of the mounts.
    let value = |config| serde_json::to_value(config).expect("JSON");
    let same = read == *config || value(&read) == value(config);
    assert!(same, "{read:?} is not {config:?}: {text}");
    let json = serde_json::to_string(config).expect("JSON");
    let read: RetryConfig = serde_json::from_str(&json).expect("what was written");
    assert_eq!(read, *config, "{json}");

    let nothing = RetryConfig::default;
    assert_eq!(nothing().overridden_by(config.clone()), *config);
    assert_eq!(config.clone().overridden_by(nothing()), *config);
    assert_eq!(config.clone().overridden_by(config.clone()), *config);
}

/// What a document says in so many words is what the policy does.
fn check_plain(text: &str, policy: Option<&RetryPolicy>) {
    let (Ok(document), Some(policy)) = (serde_json::from_str::<Value>(text), policy) else {
        return;
    };
    for kind in LimitKind::ALL {
        let said = match &document[kind.as_str()] {
            Value::Number(n) => n.as_i64().map(Limit::AtMost),
            Value::Bool(false) => Some(Limit::Never),
            _ => None,
        };
        // urllib3's constructor changes this one.
        if kind != LimitKind::Redirect {
            assert!(said.is_none_or(|said| said == policy.limit(kind)), "{text}");
        }
    }
    if let Value::Array(statuses) = &document["status_forcelist"] {
        let statuses: BTreeSet<_> = statuses.iter().filter_map(Value::as_u64).collect();
        assert!(
            policy.status_forcelist().map(u64::from).eq(statuses),
            "{text}"
        );
    }
    let max = match &document["retry_after_max"] {
        Value::Number(n) => n.as_u64().map(Duration::from_secs),
        Value::String(max) => duration(max),
        _ => None,
    };
    assert!(
        // The longest are a float of seconds, which has no room for their last second.
        max.is_none_or(|max| max == policy.retry_after_max()
            || max.as_secs_f64() == policy.retry_after_max().as_secs_f64()),
        "{text}"
    );
}

/// One number with one unit.
fn duration(text: &str) -> Option<Duration> {
    let (number, factor, nanos) = if let Some(number) = text.strip_suffix("ms") {
        (number, 1, 1_000_000)
    } else if let Some(number) = text.strip_suffix('s') {
        (number, 1, 1_000_000_000)
    } else {
        (text.strip_suffix('m')?, 60, 1_000_000_000)
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let nine: String = format!("{fraction}000000000").chars().take(9).collect();
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let billionths: u128 = format!("0{whole}{nine}").parse().ok()?;
    let nanos = billionths.checked_mul(factor)?.checked_mul(nanos)? / 1_000_000_000;
    let secs = u64::try_from(nanos / 1_000_000_000).ok()?;
    Some(Duration::new(secs, (nanos % 1_000_000_000) as u32))
}

fn check_mounts(mounts: &Mounts<RetryPolicy>) {
    let config = RetryConfig::from(mounts);
    assert_eq!(config.to_mounts().expect("the same mounts"), *mounts);
    let text = toml::to_string(&config).expect("TOML");
    let read: RetryConfig = toml::from_str(&text).expect("what was written");
    assert_eq!(
        read.to_mounts().expect("the same mounts"),
        *mounts,
        "{text}"
    );
}

/// A policy is what its configuration builds.
pub(super) fn check_policy(policy: &RetryPolicy, depth: Depth) {
    let config = RetryConfig::from(policy);
    assert_eq!(config.build().expect("the same policy"), *policy);
    let json = serde_json::to_string(&config).expect("JSON");
    let read: RetryConfig = serde_json::from_str(&json).expect("what was written");
    assert_eq!(read.build().expect("the same policy"), *policy, "{json}");
    if depth == Depth::Full {
        check_dry_run(policy);
    }
}

/// The dry run promises no more than the limits allow, and lint has an opinion.
fn check_dry_run(policy: &RetryPolicy) {
    for finding in policy.lint_with(&LintContext::wanting(&[Method::GET, Method::POST])) {
        assert!(!finding.to_string().is_empty());
    }
    for method in [Method::GET, Method::POST] {
        let mut request = Request::new(());
        *request.method_mut() = method;
        let explanation = policy.explain(&RequestHead::of(&request));
        assert!(!explanation.to_string().is_empty());
        for case in &explanation.cases {
            assert!(case.fewest <= case.most);
            assert_eq!(case.waits.len(), case.most as usize);
            let Limit::AtMost(total) = policy.limit(LimitKind::Total) else {
                continue;
            };
            let free = match case.scenario {
                Scenario::Unprocessed => policy.unprocessed(),
                _ => 0,
            };
            let most = total.max(0).saturating_add(free.into());
            assert!(i64::from(case.most) <= most, "{explanation}");
        }
    }
}
