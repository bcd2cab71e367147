//! Reads failed responses to their end, within bounds.

use std::{pin::Pin, task::Context};

use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use crate::body::read_on;

pin_project! {
    /// A failed response that is being read.
    pub(super) struct Drain<D> {
        #[pin]
        pub(super) body: D,
        // The bytes that are still worth reading.
        pub(super) left: u64,
        // When reading ends, whatever is left.
        pub(super) until: Option<Instant>,
        // When the next attempt is due.
        pub(super) then: Option<Instant>,
    }
}

impl<D: Body> Drain<D> {
    /// Reads on; `false` if there is more to be waited for.
    pub(super) fn is_done(self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool {
        let this = self.project();
        read_on(this.body, this.left, cx)
    }
}
