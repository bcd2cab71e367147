//! Reads failed responses to their end, within bounds.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use crate::{body::read_on, report::DrainRecord};

pin_project! {
    /// A failed response that is being read.
    pub(super) struct Drain<D> {
        #[pin]
        pub(super) body: D,
        // The bytes that are still worth reading.
        pub(super) left: u64,
        // Those that were read.
        pub(super) read: u64,
        // Whether there was anything to be waited for.
        pub(super) waited: bool,
        pub(super) since: Instant,
        // When reading ends, whatever is left.
        pub(super) until: Option<Instant>,
        // When the next attempt is due.
        pub(super) then: Option<Instant>,
    }
}

impl<D: Body> Drain<D> {
    /// Reads on; whether it came to the end.
    pub(super) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        let this = self.project();
        let polled = read_on(this.body, this.left, this.read, cx);
        *this.waited |= polled.is_pending();
        polled
    }
}

impl<D> Drain<D> {
    /// What is told of it: nothing where all of it was there already.
    pub(super) fn record(&self, complete: bool) -> Option<DrainRecord> {
        (self.waited || !complete).then(|| DrainRecord {
            bytes: self.read,
            took: self.since.elapsed(),
            complete,
        })
    }
}
