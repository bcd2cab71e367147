//! Replays what urllib3 2.8 really did, recorded in `tests/data/urllib3/`, against this crate.
//!
//! The folder can be replaced by the environment variable `URLLIB3_VECTORS`; a file that is not
//! there is reported as absent. Cases that need a proxy, the body read inside of the client
//! (`preload`), redirects followed or bytes that no HTTP parser lets through are out of scope.
//! What differs on purpose is excused by a [`harness::Rule`], which checks that the difference is
//! the one that is documented.

#[path = "urllib3_vectors/backoff.rs"]
mod backoff;
#[path = "urllib3_vectors/bodies.rs"]
mod bodies;
#[path = "urllib3_vectors/dates.rs"]
mod dates;
#[path = "urllib3_vectors/decisions.rs"]
mod decisions;
#[path = "urllib3_vectors/harness.rs"]
mod harness;
#[path = "urllib3_vectors/layer.rs"]
mod layer;
#[path = "urllib3_vectors/mounts.rs"]
mod mounts;
#[path = "urllib3_vectors/requests_adapter.rs"]
mod requests_adapter;
#[path = "urllib3_vectors/retry_after.rs"]
mod retry_after;
#[path = "urllib3_vectors/session.rs"]
mod session;
#[path = "urllib3_vectors/tally.rs"]
mod tally;

use harness::replay;

#[test]
fn backoff() {
    replay("backoff", backoff::case);
}

#[test]
fn retry_after() {
    replay("retry_after", retry_after::case);
}

#[test]
fn decisions() {
    replay("decisions", decisions::case);
}

#[test]
fn decisions_jitter() {
    replay("decisions_jitter", decisions::case);
}

#[test]
fn edges() {
    replay("edges", decisions::case);
}

/// What `urllib3_differential` once disagreed on, and what is next to it.
#[test]
fn found() {
    replay("found", decisions::case);
}

#[test]
fn bodies() {
    replay("bodies", bodies::case);
}

#[test]
fn mounts() {
    replay("mounts", mounts::case);
}

#[test]
fn requests_adapter() {
    replay("requests_adapter", requests_adapter::case);
}
