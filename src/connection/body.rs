//! [`ConnectionBody`]: a response body whose connection is left if it breaks off.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{
    future::late,
    leave::{Leave, breaks_connection},
};

pin_project! {
    /// The body of a response that came through a [`ConnectionLayer`](super::ConnectionLayer). Every
    /// frame is that of the body below; an error that is not about a single stream of HTTP/2 leaves
    /// the connection. So does an attempt timeout while a layer further out reads the body.
    pub struct ConnectionBody<B> {
        #[pin]
        inner: B,
        // `None` where there is nothing more to leave.
        connection: Option<Leave>,
    }

    impl<B> PinnedDrop for ConnectionBody<B> {
        fn drop(this: Pin<&mut Self>) {
            // Whoever drops a body for another reason says nothing about its connection.
            late(this.project().connection.take());
        }
    }
}

impl<B> ConnectionBody<B> {
    pub(super) fn new(inner: B, connection: Option<Leave>) -> Self {
        Self { inner, connection }
    }
}

impl<B> Body for ConnectionBody<B>
where
    B: Body,
    B::Error: 'static,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        match &frame {
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                let connection = this.connection.take();
                if let Some(connection) = connection.filter(|_| breaks_connection(error)) {
                    connection.leave();
                }
            }
            None => *this.connection = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Default> Default for ConnectionBody<B> {
    /// An empty body that came over no connection.
    fn default() -> Self {
        Self::new(B::default(), None)
    }
}

impl<B: fmt::Debug> fmt::Debug for ConnectionBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionBody")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
