//! Reads a body on for nothing, so that its connection can be used again.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Buf;
use http_body::Body;

/// Reads on until the end, an error, or `left` more bytes; `false` if there is more to be waited
/// for.
pub(crate) fn read_on<B: Body>(
    mut body: Pin<&mut B>,
    left: &mut u64,
    cx: &mut Context<'_>,
) -> bool {
    loop {
        match body.as_mut().poll_frame(cx) {
            Poll::Pending => return false,
            Poll::Ready(None | Some(Err(_))) => return true,
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Buf::remaining) as u64;
                // An endless row of empty frames must end as well.
                match left.checked_sub(bytes.max(1)) {
                    Some(rest) => *left = rest,
                    None => return true,
                }
            }
        }
    }
}
