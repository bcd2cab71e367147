//! What the layer tells the server in the head of an attempt.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::{AttemptInfo, LayerSettings};
use crate::reason::StopReason;

/// Writes how long the attempt can take, of a request that has the time `left`, if it has a
/// deadline.
///
/// What the request says itself is never made longer.
///
/// # Errors
///
/// There is less time than the header can say: the attempt could not end in time.
pub(super) fn deadline(
    headers: &mut HeaderMap,
    left: Option<Duration>,
    settings: &LayerSettings,
) -> Result<(), StopReason> {
    let Some(header) = &settings.deadline_header else {
        return Ok(());
    };
    let least = header.least();
    if let Some(left) = left.filter(|left| *left < least) {
        return Err(StopReason::DeadlineTooClose {
            left,
            needed: least,
        });
    }
    let attempt = settings.attempt_timeout.map(|time| time.max(least));
    let own = header.read(headers);
    if let Some(time) = [attempt, left, own].into_iter().flatten().min() {
        headers.insert(header.name().clone(), header.write(time));
    }
    Ok(())
}

/// Writes which attempt it is; `info` is that of a retry.
pub(super) fn attempt(headers: &mut HeaderMap, info: &AttemptInfo, settings: &LayerSettings) {
    if let Some(name) = &settings.attempt_header {
        let retries = HeaderValue::from(info.number - 1);
        headers.insert(name.name().clone(), retries);
    }
}
