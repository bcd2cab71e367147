//! The server's own clock.

use std::time::{Duration, SystemTime};

use http::{
    HeaderMap,
    header::{AGE, DATE},
};

use super::{only, text};

/// What the server's clock shows, by its response: its `Date` (RFC 9110, section 6.6.1) plus the
/// time that the response spent in caches since (`Age`, RFC 9111, section 5.1). Without a `Date`
/// that can be read, what the client's clock shows.
pub(super) fn server_now(headers: &HeaderMap, now: impl Fn() -> SystemTime) -> SystemTime {
    let Some(date) = only(headers.get_all(DATE)).and_then(text::date) else {
        return now();
    };
    date.checked_add(age(headers)).unwrap_or(date)
}

/// How long the response was kept by caches; zero for one that comes from the server.
pub(super) fn age(headers: &HeaderMap) -> Duration {
    let age = only(headers.get_all(AGE)).and_then(text::digits);
    Duration::from_secs(age.unwrap_or(0))
}
