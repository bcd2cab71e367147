//! The `failover` showcase, run as a user would run it.

use test_support::program::{self, has, run};

#[test]
fn failover_shows_where_each_attempt_went_and_that_it_should_have() {
    let failover = program::example("failover", &["-p", "showcase"]);
    let (stdout, _) = run(&failover, &[]);
    has(
        &stdout,
        &[
            "GET http://orders.internal/cold: succeeded after 5 attempts",
            "sent to http://slow/cold",
            "its connection is left",
            "what this server asks for holds for it alone",
            "not retried: POST is not in `allowed_methods`",
            "ok  what failed is avoided",
            "all as it should be",
        ],
    );
    assert!(!stdout.contains("NOT AS IT SHOULD BE"), "{stdout}");
}
