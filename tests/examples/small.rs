//! The small examples, and that they are small.
#![cfg(feature = "default")]

use std::{fs, path::Path};

use test_support::program::{has, run};

use crate::example;

#[test]
fn hyper_client_says_what_it_tried() {
    let (stdout, _) = run(&example("hyper_client"), &[]);
    has(
        &stdout,
        &["200 OK", "/orders/1: succeeded after 3 attempts"],
    );
}

#[cfg(feature = "reqwest")]
#[test]
fn reqwest_client_sends_the_body_again() {
    let (stdout, _) = run(&example("reqwest_client"), &[]);
    has(
        &stdout,
        &["/orders/1: succeeded after 3 attempts", "three apples"],
    );
}

#[test]
fn per_request_repeats_a_marked_post_and_no_probe() {
    let (stdout, _) = run(&example("per_request"), &[]);
    has(
        &stdout,
        &[
            "POST",
            "/search: succeeded after 3 attempts",
            "503 Service Unavailable",
        ],
    );
    assert!(!stdout.contains("/probe"), "{stdout}");
}

#[test]
fn custom_policy_waits_for_locks_only() {
    let (stdout, _) = run(&example("custom_policy"), &[]);
    has(
        &stdout,
        &[
            "/document: succeeded after 3 attempts",
            "423 Locked",
            "/busy: failed after 1 attempt",
            "only locks are waited for",
        ],
    );
}

#[cfg(feature = "serde")]
#[test]
fn policy_from_file_obeys_the_mount() {
    let (stdout, _) = run(&example("policy_from_file"), &[]);
    has(
        &stdout,
        &["418 I'm a teapot", "/tea: failed after 2 attempts"],
    );
}

#[test]
fn token_refresh_sends_a_post_once_more() {
    let (stdout, _) = run(&example("token_refresh"), &[]);
    has(
        &stdout,
        &[
            "200 OK",
            "/orders: succeeded after 2 attempts",
            "the token has run out",
        ],
    );
}

#[test]
fn post_on_429_waits_as_long_as_the_server_asks() {
    let (stdout, _) = run(&example("post_on_429"), &[]);
    has(
        &stdout,
        &[
            "201 Created",
            "/orders: succeeded after 2 attempts",
            "over the limit, and not looked at",
            "retry-after",
        ],
    );
}

#[test]
fn off_switch_switches_off() {
    let (stdout, _) = run(&example("off_switch"), &[]);
    has(
        &stdout,
        &[
            "true: 200 OK and 200 OK",
            "false: 503 Service Unavailable and 200 OK",
        ],
    );
}

/// Lines of code: neither blank nor a comment.
fn lines_of_code(text: &str) -> usize {
    let code = text.lines().map(str::trim_start);
    code.filter(|line| !line.is_empty() && !line.starts_with("//"))
        .count()
}

#[test]
fn the_small_examples_are_small() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut counted = 0;
    for folder in ["examples", "clients/examples"] {
        for entry in fs::read_dir(root.join(folder)).expect("the folder") {
            let path = entry.expect("an entry").path();
            let is_source = path.extension().is_some_and(|ext| ext == "rs");
            if !is_source || path.ends_with("reqwest_tour.rs") {
                continue;
            }
            let text = fs::read_to_string(&path).expect("a source");
            let imports: usize = text
                .split(";\n")
                .filter(|item| item.trim_start().starts_with("use "))
                .map(lines_of_code)
                .sum();
            let lines = lines_of_code(&text) - imports;
            assert!(lines < 40, "{}: {lines} lines of code", path.display());
            counted += 1;
        }
    }
    assert!(counted >= 12, "{counted} examples");
}
