//! Which bodies are read, how far, and what the judge is shown of them.

use std::{
    borrow::Cow,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http::{
    StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
    response::Parts,
};
use http_body::Body;

use crate::body::PeekedBody;

/// Each frame that is kept takes memory, however little is in it.
const MOST_FRAMES: usize = 1024;

/// How much of a body was read so far.
#[derive(Default)]
pub(super) struct Counted {
    bytes: usize,
    frames: usize,
}

/// How far a body was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// To its end.
    Whole,
    /// As far as the limit allows.
    Part,
    /// Until it broke off, or ended before its length.
    Broken,
}

/// Whether the body of such a response is a message that can be looked at.
pub(super) fn is_readable(head: &Parts) -> bool {
    if head.status.is_informational()
        || matches!(
            head.status,
            StatusCode::NO_CONTENT
                | StatusCode::RESET_CONTENT
                | StatusCode::PARTIAL_CONTENT
                | StatusCode::NOT_MODIFIED
        )
    {
        return false;
    }
    !is_of(head, |kind| kind.eq_ignore_ascii_case("text/event-stream"))
}

/// Whether the media type of the response, without its parameters, is one that is meant.
pub(super) fn is_of(head: &Parts, is_meant: impl Fn(&str) -> bool) -> bool {
    let kind = head.headers.get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or("");
    is_meant(kind.split(';').next().unwrap_or("").trim())
}

/// Reads on until the limit or the end.
pub(super) fn poll_read<B: Body + Unpin>(
    body: &mut PeekedBody<B>,
    counted: &mut Counted,
    limit: usize,
    cx: &mut Context<'_>,
) -> Poll<Extent> {
    loop {
        if body.is_read_out() {
            return Poll::Ready(Extent::Whole);
        }
        if counted.bytes >= limit || counted.frames >= MOST_FRAMES {
            return Poll::Ready(Extent::Part);
        }
        match ready!(body.poll_peek(cx)) {
            None => return Poll::Ready(Extent::Whole),
            Some(Err(_)) => return Poll::Ready(Extent::Broken),
            // Nothing comes behind trailers.
            Some(Ok(frame)) if frame.is_trailers() => return Poll::Ready(Extent::Whole),
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Buf::remaining);
                counted.bytes = counted.bytes.saturating_add(bytes);
                counted.frames += 1;
            }
        }
    }
}

/// What was read of the body, `limit` bytes at most, and whether it is all that was read.
pub(super) fn read<B: Body>(body: &PeekedBody<B>, limit: usize) -> (Cow<'_, [u8]>, bool) {
    let frames = body.kept().filter_map(|frame| frame.as_ref().ok());
    let mut data = frames.filter_map(|frame| frame.data_ref()).peekable();
    let first = data.next().filter(|_| data.peek().is_none());
    match first.map(Buf::chunk) {
        // One piece, as most are.
        Some(only) if Some(only.len()) == first.map(Buf::remaining) => {
            let shown = only.len().min(limit);
            (Cow::Borrowed(&only[..shown]), shown == only.len())
        }
        _ => {
            let frames = body.kept().filter_map(|frame| frame.as_ref().ok());
            let mut all = Vec::new();
            for data in frames.filter_map(|frame| frame.data_ref()) {
                if !copy(data, limit, &mut all) {
                    return (Cow::Owned(all), false);
                }
            }
            (Cow::Owned(all), true)
        }
    }
}

/// Copies what a buffer holds, without moving it on. Returns whether that is all of it: a buffer
/// of several pieces need not show more than the first.
fn copy<D: Buf>(data: &D, limit: usize, to: &mut Vec<u8>) -> bool {
    let mut parts = [std::io::IoSlice::new(&[]); 16];
    let filled = data.chunks_vectored(&mut parts);
    let before = to.len();
    for part in &parts[..filled] {
        let room = limit - to.len();
        to.extend_from_slice(&part[..part.len().min(room)]);
    }
    to.len() - before == data.remaining()
}

/// Whether a body that has ended is shorter than its head says.
pub(super) fn is_short<B: Body>(head: &Parts, body: &PeekedBody<B>) -> bool {
    let length = head.headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let frames = body.kept().filter_map(|frame| frame.as_ref().ok());
    let read = frames
        .filter_map(|frame| frame.data_ref())
        .fold(0u64, |sum, data| {
            sum.saturating_add(data.remaining() as u64)
        });
    length.is_some_and(|length| read < length)
}
