//! Any text as a report that is read back: it is clean, it is written as it was read, and it can be
//! replayed under any policy.

use serde_json::Value;
use tower_http_retry::{RetryReport, policy::RetryPolicy};

use super::Depth;

/// Takes the bytes for JSON.
pub fn check(data: &[u8], depth: Depth) -> &'static str {
    let Ok(json) = serde_json::from_slice::<Value>(data) else {
        return "not JSON";
    };
    let report: RetryReport = match serde_json::from_value(json) {
        Ok(report) => report,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return "refused";
        }
    };
    check_texts(&report);
    check_numbers(&report);
    let written = serde_json::to_value(&report).expect("JSON");
    let read: RetryReport = serde_json::from_value(written.clone()).expect("what was written");
    assert_eq!(serde_json::to_value(&read).expect("JSON"), written);

    let default = report.replay(&RetryPolicy::default());
    assert!(!default.to_string().is_empty());
    check_texts(&default.report);
    if depth == Depth::Full {
        // No limit at all: only what the record says ends it.
        let endless = RetryPolicy::builder().total(None).budget(None).build();
        for policy in [RetryPolicy::urllib3(), endless.expect("valid")] {
            let replay = report.replay(&policy);
            assert!(!replay.to_string().is_empty());
            // The same again.
            assert_eq!(report.replay(&policy).is_same(), replay.is_same());
        }
    }
    match (report.attempts.is_empty(), default.is_same()) {
        (true, _) => "no attempts",
        (false, true) => "alike",
        (false, false) => "otherwise",
    }
}

/// Whatever was in it: no line is forged, and none can be made to look like another.
fn check_texts(report: &RetryReport) {
    let forges = |char: char| {
        char.is_control() && char != '\n'
            || matches!(char, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let timeline = report.to_string();
    assert!(!timeline.contains(forges), "{timeline:?}");
    let json = serde_json::to_value(report).expect("JSON");
    check_strings(&json, &|text| {
        assert!(
            !text.contains(|char| forges(char) || char == '\n'),
            "{text:?}"
        );
    });
}

fn check_strings(json: &Value, check: &impl Fn(&str)) {
    match json {
        Value::String(text) => check(text),
        Value::Array(all) => all.iter().for_each(|json| check_strings(json, check)),
        Value::Object(all) => all.values().for_each(|json| check_strings(json, check)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn check_numbers(report: &RetryReport) {
    let effects = report.effects();
    assert!(effects.start() <= effects.end());
    // Layers further in may have sent an attempt more than once.
    let most = report.attempts.iter().fold(report.omitted, |sum, attempt| {
        sum.saturating_add(attempt.inner_attempts.unwrap_or(1).max(1))
    });
    assert!(*effects.end() <= most);
    let mut waits = report
        .attempts
        .iter()
        .filter_map(|attempt| attempt.wait.as_ref());
    assert!(waits.all(|wait| wait.planned <= report.waited()));
}
