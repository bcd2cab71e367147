//! The examples that go through what they show and check it themselves.
#![cfg(feature = "default")]

use test_support::program::{has, run};

use crate::example;

#[test]
fn stack_measures_what_each_order_means() {
    let (stdout, _) = run(&example("stack"), &[]);
    has(
        &stdout,
        &[
            "above the retries: 3 attempts of one request passed a limit of 1 an hour",
            "below the retries: a second request passed during a wait",
            "above the retries: 1 span for 3 attempts\n  below the retries: 3 spans for 3 attempts",
            "above the retries: one retry for each of two hops that fail once: 200 OK",
            "above the retries: 1 id for 3 attempts\n  below the retries: 3 ids for 3 attempts",
            "32 attempts reached the server",
            "every order meant what it should",
        ],
    );
    assert!(!stdout.contains("WRONG"), "{stdout}");
}

#[cfg(feature = "reqwest")]
#[test]
fn reqwest_tour_repeats_through_reqwest() {
    let (stdout, _) = run(&example("reqwest_tour"), &[]);
    has(
        &stdout,
        &[
            "/flaky: succeeded after 3 attempts",
            "/upload: succeeded after 2 attempts",
            "read: timed out",
            "/crash: failed after 1 attempt ",
            "POST is not in `allowed_methods`",
            "connect: connection refused",
            "/orders: failed after 4 attempts",
            "all as it should be",
        ],
    );
}
