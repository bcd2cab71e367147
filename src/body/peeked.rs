//! [`PeekedBody`]: a response body whose beginning was looked at.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};

/// A response body of which a layer has read the beginning.
///
/// Hands on every frame of the body below as it came, trailers and errors included: first those
/// that were read before the response was handed out, then the rest.
pub struct PeekedBody<B: Body> {
    /// The first two frames have a place of their own: a unary answer is one frame and its
    /// trailers, which so need no memory.
    first: Option<Read<B>>,
    second: Option<Read<B>>,
    others: VecDeque<Read<B>>,
    /// Whether the body below has ended or failed.
    ended: bool,
    inner: B,
}

/// What a body gives when it is polled.
pub(crate) type Read<B> = Result<Frame<<B as Body>::Data>, <B as Body>::Error>;

impl<B: Body> PeekedBody<B> {
    /// Nothing was read of `inner` yet.
    pub(crate) fn new(inner: B) -> Self {
        Self {
            first: None,
            second: None,
            others: VecDeque::new(),
            ended: false,
            inner,
        }
    }

    /// The frames that were read and not handed out yet.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &Read<B>> {
        self.first.iter().chain(&self.second).chain(&self.others)
    }

    /// Whether there is nothing more to be read of the body below.
    #[cfg(feature = "peek")]
    pub(crate) fn is_read_out(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn keep(&mut self, frame: Read<B>) -> &Read<B> {
        if self.first.is_none() {
            self.first.insert(frame)
        } else if self.second.is_none() {
            self.second.insert(frame)
        } else {
            self.others.push_back(frame);
            &self.others[self.others.len() - 1]
        }
    }

    fn next_kept(&mut self) -> Option<Read<B>> {
        let next = self.first.take().or_else(|| self.second.take());
        next.or_else(|| self.others.pop_front())
    }
}

impl<B: Body + Unpin> PeekedBody<B> {
    /// Reads one more frame and keeps it. `None` at the body's end, and behind an error.
    pub(crate) fn poll_peek(&mut self, cx: &mut Context<'_>) -> Poll<Option<&Read<B>>> {
        match ready!(self.poll_inner(cx)) {
            Some(frame) => Poll::Ready(Some(self.keep(frame))),
            None => Poll::Ready(None),
        }
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Read<B>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        self.ended = !matches!(frame, Some(Ok(_)));
        Poll::Ready(frame)
    }
}

impl<B: Body + Unpin> Body for PeekedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Read<B>>> {
        let this = self.get_mut();
        match this.next_kept() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => this.poll_inner(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.kept().next().is_none() && (self.ended || self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = if self.ended {
            SizeHint::with_exact(0)
        } else {
            self.inner.size_hint()
        };
        let kept = self
            .kept()
            .filter_map(|frame| frame.as_ref().ok()?.data_ref())
            .map(|data| data.remaining() as u64)
            .fold(0, u64::saturating_add);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(kept));
        }
        hint.set_lower(hint.lower().saturating_add(kept));
        hint
    }
}

// No frame is pinned where it is kept.
impl<B: Body + Unpin> Unpin for PeekedBody<B> {}

impl<B: Body + Default> Default for PeekedBody<B> {
    fn default() -> Self {
        Self::new(B::default())
    }
}

impl<B: Body> fmt::Debug for PeekedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeekedBody")
            .field("frames_kept", &self.kept().count())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
