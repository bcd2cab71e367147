//! Replays what urllib3 2.8 really did, recorded in `tests/urllib3/vectors/data/`, against this crate.
//!
//! The folder can be replaced by the environment variable `URLLIB3_VECTORS`; a file that is not
//! there is reported as absent. Cases that need a proxy, the body read inside of the client
//! (`preload`) or bytes that no HTTP parser lets through are out of scope.
//! What differs on purpose is excused by a [`Rule`](crate::harness::Rule), which checks that the difference is
//! the one that is documented.

mod backoff;
mod bodies;
pub(crate) mod dates;
pub(crate) mod decisions;
pub(crate) mod layer;
mod mounts;
#[cfg(feature = "redirect")]
mod redirects;
mod requests_adapter;
mod retry_after;

use crate::harness::replay;

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

#[cfg(feature = "redirect")]
#[test]
fn redirects() {
    replay("redirects", redirects::case);
}

#[cfg(feature = "redirect")]
#[test]
fn redirect_edges() {
    replay("redirect_edges", redirects::case);
}
