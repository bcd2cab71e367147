//! The guide's page of anti-patterns: a section for each lint, whose first document has the mistake
//! and whose second one does not.

use http::Method;
use tower_http_retry::{
    RetryLayer,
    config::RetryConfig,
    lint::{Finding, LintCode},
};

const PAGE: &str = include_str!("../../src/guide/anti_patterns.rs");

/// The page's sections: a code, and its documents.
fn sections() -> Vec<(&'static str, Vec<String>)> {
    let mut sections: Vec<(&str, Vec<String>)> = Vec::new();
    let mut document: Option<String> = None;
    for line in PAGE.lines() {
        let line = line.trim_start_matches("//!").trim();
        if let Some(code) = line.strip_prefix("# `") {
            sections.push((code.trim_end_matches('`'), Vec::new()));
        } else if line == "```toml" {
            document = Some(String::new());
        } else if line == "```" {
            let ended = document.take().expect("a document has begun");
            sections.last_mut().expect("a section").1.push(ended);
        } else if let Some(document) = &mut document {
            document.push_str(line);
            document.push('\n');
        }
    }
    sections
}

fn findings(document: &str, wanted: Option<Method>) -> Vec<Finding> {
    let config: RetryConfig = toml::from_str(document).expect(document);
    let mounts = config.to_mounts().expect(document);
    let layer = RetryLayer::new(mounts)
        .configure(&config)
        .wanted_methods(wanted);
    match config.replay_limit() {
        Some(limit) => layer.replay_bodies(limit).lint(),
        None => layer.lint(),
    }
}

#[test]
fn every_lint_has_its_section() {
    let sections = sections();
    let named: Vec<_> = sections.iter().map(|(code, _)| *code).collect();
    let all: Vec<_> = LintCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(named, all);
}

#[test]
fn each_mistake_is_found_and_its_fix_has_none_of_it() {
    for (name, documents) in sections() {
        let code: LintCode = name.parse().expect("a code");
        // They are about the layers below, which no document names and which have their own tests.
        if matches!(
            code,
            LintCode::ConnectionUnknown | LintCode::HedgeBeforeRecorded
        ) {
            continue;
        }
        let wanted = (code == LintCode::MethodNotAllowed).then_some(Method::POST);
        let [mistake, fix] = &documents[..] else {
            panic!("{name} has {} documents", documents.len());
        };
        let has = |document: &str| {
            let mut found = findings(document, wanted.clone()).into_iter();
            found.any(|found| found.code == code)
        };
        assert!(has(mistake), "{name} is not found in\n{mistake}");
        assert!(!has(fix), "{name} is found in\n{fix}");
    }
}
