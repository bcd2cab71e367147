//! Reads a body on for nothing, so that its connection can be used again.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Buf;
use http_body::Body;

/// Reads on until the end, an error, or `left` more bytes, and adds the bytes to `read`. Returns
/// whether it came to the end.
pub(crate) fn read_on<B: Body>(
    mut body: Pin<&mut B>,
    left: &mut u64,
    read: &mut u64,
    cx: &mut Context<'_>,
) -> Poll<bool> {
    loop {
        match body.as_mut().poll_frame(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => return Poll::Ready(true),
            Poll::Ready(Some(Err(_))) => return Poll::Ready(false),
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Buf::remaining) as u64;
                *read = read.saturating_add(bytes);
                // An endless row of empty frames must end as well.
                match left.checked_sub(bytes.max(1)) {
                    Some(rest) => *left = rest,
                    None => return Poll::Ready(false),
                }
            }
        }
    }
}
