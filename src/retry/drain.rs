//! Reads failed responses to their end, within bounds.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Buf;
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;

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
        let mut this = self.project();
        loop {
            match this.body.as_mut().poll_frame(cx) {
                Poll::Pending => return false,
                Poll::Ready(None | Some(Err(_))) => return true,
                Poll::Ready(Some(Ok(frame))) => {
                    let bytes = frame.data_ref().map_or(0, Buf::remaining) as u64;
                    // An endless row of empty frames must end as well.
                    match this.left.checked_sub(bytes.max(1)) {
                        Some(rest) => *this.left = rest,
                        None => return true,
                    }
                }
            }
        }
    }
}
