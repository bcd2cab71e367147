//! Other systems' settings: what is not refused becomes a policy, and what is lost is said.

use std::{borrow::Cow, collections::BTreeSet};

use serde_json::{Map, Value};
use tower_http_retry::{
    config::import::{self, Imported},
    policy::Limit,
};

use super::{Depth, config};

/// The first line names the system, the rest is its document: JSON, or variables, one a line.
pub fn check(data: &[u8], depth: Depth) -> &'static str {
    let Ok(text) = std::str::from_utf8(data) else {
        return "no text";
    };
    let Some((system, text)) = text.split_once('\n') else {
        return "no document";
    };
    if system == "aws_vars" {
        return variables(text, depth);
    }
    // The document as it is written, with keys that are given twice; it must not panic.
    if depth == Depth::Full {
        directly(system, text);
    }
    let Ok(document) = serde_json::from_str::<Value>(text) else {
        return "not JSON";
    };
    let imported = match system {
        "urllib3" => import::urllib3(&document).map(|imported| vec![imported]),
        "envoy" => import::envoy(&document).map(|imported| vec![imported]),
        "aws" => import::aws(&document).map(|imported| vec![imported]),
        "grpc" => import::grpc(&document).map(|methods| {
            for methods in &methods {
                assert!(methods.paths.iter().all(|path| path.starts_with('/')));
            }
            methods
                .into_iter()
                .map(|methods| methods.imported)
                .collect()
        }),
        _ => return "no such system",
    };
    let imported = match imported {
        Ok(imported) => imported,
        Err(error) => {
            check_refusal(&error.to_string(), &document);
            return match system {
                "urllib3" => "urllib3 refused",
                "envoy" => "Envoy refused",
                "aws" => "AWS refused",
                _ => "gRPC refused",
            };
        }
    };
    for imported in &imported {
        check_imported(imported, depth);
    }
    let Value::Object(entries) = &document else {
        panic!("only objects are imported");
    };
    match system {
        "urllib3" => urllib3(entries, &imported[0]),
        "envoy" => envoy(entries, &imported[0]),
        "aws" => aws(entries, &imported[0]),
        _ => grpc(entries, &imported),
    }
}

fn directly(system: &str, text: &str) {
    let document = &mut serde_json::Deserializer::from_str(text);
    match system {
        "urllib3" => drop(import::urllib3(document)),
        "envoy" => drop(import::envoy(document)),
        "aws" => drop(import::aws(document)),
        "grpc" => drop(import::grpc(document)),
        _ => {}
    }
}

/// A refusal names a field of the document, or one that it lacks, and says what is wrong with it.
fn check_refusal(error: &str, document: &Value) {
    let rest = error.strip_prefix('`').expect(error);
    let is_problem = |text: &str| {
        ["is missing", "is given twice", "is unknown: ", "needs "]
            .iter()
            .any(|said| text.starts_with(said))
            || text.starts_with("is ") && text.contains(": must be ")
    };
    // A key may have anything in it.
    let (field, problem) = rest
        .match_indices("` ")
        .map(|(at, end)| (&rest[..at], &rest[at + end.len()..]))
        .find(|(_, problem)| is_problem(problem))
        .expect(error);
    let is_missing = problem == "is missing";
    let known = document.to_string();
    // A field that is missing stands behind the one that it is missing in.
    let is_known = |name: &str| known.contains(name.split('[').next().unwrap_or(name));
    assert!(
        is_missing || field == "document" || field.split('.').any(is_known),
        "{error}"
    );
}

fn check_imported(imported: &Imported, depth: Depth) {
    let built = imported.config.build().expect("a policy");
    assert_eq!(built, imported.policy);
    config::check_config(&imported.config);
    config::check_policy(&imported.policy, depth);
    for lost in &imported.untranslated {
        assert!(!lost.why.is_empty());
        let line = lost.to_string();
        assert!(line.starts_with(&format!("`{}` = {}", lost.key, lost.value)));
    }
}

/// Every key of `entries` is one of those that are `known`, or it is said to be lost.
fn check_lost<'a>(
    place: &str,
    entries: &'a Map<String, Value>,
    imported: &Imported,
    known: &[&str],
    spelled: fn(&'a str) -> Cow<'a, str>,
) {
    let lost: BTreeSet<_> = imported
        .untranslated
        .iter()
        .map(|lost| &*lost.key)
        .collect();
    for key in entries.keys() {
        let name = format!("{place}{key}");
        assert!(
            known.contains(&&*spelled(key)) || lost.contains(&*name),
            "`{name}` is neither imported nor lost"
        );
    }
}

fn urllib3(entries: &Map<String, Value>, imported: &Imported) -> &'static str {
    const KNOWN: [&str; 15] = [
        "total",
        "connect",
        "read",
        "status",
        "other",
        "redirect",
        "allowed_methods",
        "method_whitelist",
        "status_forcelist",
        "backoff_factor",
        "backoff_max",
        "backoff_jitter",
        "respect_retry_after_header",
        "retry_after_max",
        "raise_on_status",
    ];
    let mut entries = entries.clone();
    // An empty history is what there is without one.
    entries.remove("history");
    check_lost("", &entries, imported, &KNOWN, |key| key.into());
    let policy = &imported.policy;
    match entries.get("total") {
        Some(Value::Null) => assert_eq!(policy.total(), Limit::Unlimited),
        Some(Value::Bool(on)) => assert_eq!(policy.total(), Limit::from(*on)),
        Some(total) if total.is_i64() => {
            assert_eq!(total.as_i64().map(Limit::AtMost), Some(policy.total()));
        }
        Some(_) => {}
        None => assert_eq!(policy.total(), Limit::AtMost(10)),
    }
    if let Some(Value::Array(statuses)) = entries.get("status_forcelist") {
        let statuses = statuses.iter().filter_map(Value::as_u64);
        let statuses: BTreeSet<_> = statuses.filter(|n| (100..1000).contains(n)).collect();
        assert!(policy.status_forcelist().map(u64::from).eq(statuses));
    }
    "urllib3"
}

/// A name of protocol buffers in snake case.
fn snake(key: &str) -> Cow<'_, str> {
    let mut text = String::new();
    for c in key.chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
    }
    text.into()
}

fn envoy(entries: &Map<String, Value>, imported: &Imported) -> &'static str {
    const KNOWN: [&str; 6] = [
        "retry_on",
        "num_retries",
        "per_try_timeout",
        "retriable_status_codes",
        "retry_back_off",
        "rate_limited_retry_back_off",
    ];
    let route = entries.iter().find(|(key, _)| snake(key) == "retry_policy");
    let (place, policy) = match route {
        Some((key, Value::Object(policy))) => (format!("{key}."), policy),
        Some(_) => panic!("it must be an object"),
        None => (String::new(), entries),
    };
    if route.is_some() {
        check_lost("", entries, imported, &["retry_policy", "timeout"], snake);
    }
    check_lost(&place, policy, imported, &KNOWN, snake);
    let retries = policy.iter().find(|(key, _)| snake(key) == "num_retries");
    let retries = match retries {
        Some((_, retries)) => retries.as_f64().expect("it must be a number"),
        None => 1.0,
    };
    assert_eq!(imported.policy.total(), Limit::AtMost(retries as i64));
    match route {
        Some(_) => "Envoy's route",
        None => "Envoy",
    }
}

fn aws(entries: &Map<String, Value>, imported: &Imported) -> &'static str {
    const KNOWN: [&str; 7] = [
        "max_attempts",
        "retry_mode",
        "mode",
        "initial_backoff",
        "max_backoff",
        "AWS_MAX_ATTEMPTS",
        "AWS_RETRY_MODE",
    ];
    check_lost("", entries, imported, &KNOWN, |key| match key {
        "AWS_MAX_ATTEMPTS" | "AWS_RETRY_MODE" => key.into(),
        key => snake(key),
    });
    let attempts = entries
        .iter()
        .find(|(key, _)| *key == "AWS_MAX_ATTEMPTS" || snake(key) == "max_attempts");
    let attempts = match attempts {
        Some((_, attempts)) => attempts.as_f64().expect("it must be a number"),
        None => 3.0,
    };
    let total = Limit::AtMost(attempts as i64 - 1);
    assert_eq!(imported.policy.total(), total);
    "AWS"
}

fn variables(text: &str, depth: Depth) -> &'static str {
    let vars = text.lines().filter_map(|line| line.split_once('='));
    let imported = match import::aws_vars(vars.clone()) {
        Ok(imported) => imported,
        Err(error) => {
            let given = vars.clone().any(|(name, _)| name == error.key());
            assert!(given, "{error}");
            return "AWS's variables refused";
        }
    };
    check_imported(&imported, depth);
    "AWS's variables"
}

fn grpc(entries: &Map<String, Value>, all: &[Imported]) -> &'static str {
    const POLICY: [&str; 5] = [
        "maxAttempts",
        "initialBackoff",
        "maxBackoff",
        "backoffMultiplier",
        "retryableStatusCodes",
    ];
    let check_policy = |place: &str, policy: &Map<String, Value>, imported: &Imported| {
        check_lost(place, policy, imported, &POLICY, |key| key.into());
        let attempts = policy["maxAttempts"].as_f64().expect("a number");
        let total = Limit::AtMost(attempts.min(5.0) as i64 - 1);
        assert_eq!(imported.policy.total(), total);
        // Each code is a code of the policy's, by its name or its number.
        let codes = policy["retryableStatusCodes"].as_array().expect("a list");
        for code in codes {
            let listed = imported.policy.retryable_status_codes().any(|listed| {
                let named = |name: &str| listed.as_str().eq_ignore_ascii_case(name);
                code.as_str().is_some_and(named) || code.as_u64() == Some(listed.number().into())
            });
            assert!(listed, "{code}");
        }
    };
    if entries.contains_key("maxAttempts") {
        check_policy("", entries, &all[0]);
        return "gRPC's policy";
    }
    let configs = match entries.get("methodConfig") {
        Some(configs) => configs.as_array().expect("a list").as_slice(),
        None => &[],
    };
    // And one for all other methods, if none is.
    assert!((configs.len()..=configs.len() + 1).contains(&all.len()));
    for (at, (config, imported)) in configs.iter().zip(all).enumerate() {
        let place = format!("methodConfig[{at}].");
        let config = config.as_object().expect("an object");
        let known = ["name", "timeout", "retryPolicy"];
        check_lost(&place, config, imported, &known, |key| key.into());
        let known = ["methodConfig", "retryThrottling"];
        check_lost("", entries, imported, &known, |key| key.into());
        if let Some(policy) = config.get("retryPolicy") {
            let policy = policy.as_object().expect("an object");
            check_policy(&format!("{place}retryPolicy."), policy, imported);
        }
    }
    if configs.is_empty() {
        "gRPC without methods"
    } else {
        "gRPC"
    }
}
