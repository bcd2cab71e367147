//! [`ToldDeadline`]: until when a server was told that its client waits.

use http::request::Parts;
use tokio::time::Instant;

use crate::deadline_header::DeadlineHeader;

/// What a request's head says of the time that is left, for a layer below that sends it once more,
/// later: it is in the request's extensions, and says less then.
#[derive(Clone, Debug)]
pub(crate) struct ToldDeadline {
    pub(crate) header: DeadlineHeader,
    pub(crate) until: Instant,
}

impl ToldDeadline {
    /// Says what is left by now of a head that is about to be sent. Whether it can still be sent: the
    /// header cannot say less than its unit.
    pub(crate) fn renew(head: &mut Parts) -> bool {
        let Some(told) = head.extensions.get::<Self>() else {
            return true;
        };
        let left = told.until.saturating_duration_since(Instant::now());
        if left < told.header.least() {
            return false;
        }
        let (name, value) = (told.header.name().clone(), told.header.write(left));
        head.headers.insert(name, value);
        true
    }
}
