//! [`GrpcFuture`]: waits for the head of a response, and for what its body begins with.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use super::{
    outcome,
    status::{self, Ending},
};
use crate::body::PeekedBody;

/// How the response to a call is read.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    /// Its body is left alone.
    pub(super) head_only: bool,
    /// A head that is not all of it commits the call.
    pub(super) commit_on_head: bool,
}

impl Reading {
    /// Why the call must not be repeated of whose response the body was looked at, if it must not.
    fn committed<B: Body>(self, response: &Response<PeekedBody<B>>) -> Option<&'static str> {
        if outcome::has_message(response.body()) {
            Some("a message of the response has come, so the call is committed")
        } else if self.commit_on_head {
            Some("the response's head has come, so the call is committed")
        } else {
            None
        }
    }
}

pin_project! {
    /// The future of a [`Grpc`](super::Grpc) service.
    #[must_use = "futures do nothing unless polled"]
    pub struct GrpcFuture<F, B: Body> {
        #[pin]
        state: State<F, B>,
        reading: Reading,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, B: Body> {
        /// Polling the service below for the head of its response.
        Calling { #[pin] future: F },
        /// Polling the body of the response for its first frame.
        Peeking { response: Option<Response<PeekedBody<B>>> },
    }
}

impl<F, B: Body> GrpcFuture<F, B> {
    pub(super) fn new(future: F, reading: Reading) -> Self {
        let state = State::Calling { future };
        Self { state, reading }
    }
}

impl<F, B, E> Future for GrpcFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body + Unpin,
    B::Error: 'static,
{
    type Output = Result<Response<PeekedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let StateProj::Calling { future } = this.state.as_mut().project() {
            let mut response = match ready!(future.poll(cx)) {
                Ok(response) => response.map(PeekedBody::new),
                Err(error) => return Poll::Ready(Err(error)),
            };
            match status::of_head(&response) {
                Some(Ending::Open) if !this.reading.head_only => {}
                Some(ending) => {
                    outcome::tell(ending, None, &mut response);
                    return Poll::Ready(Ok(response));
                }
                None => return Poll::Ready(Ok(response)),
            }
            let response = Some(response);
            this.state.set(State::Peeking { response });
        }
        let StateProj::Peeking { response: kept } = this.state.project() else {
            unreachable!("a call that is answered is peeked into")
        };
        let Some(mut response) = kept.take() else {
            panic!("`GrpcFuture` polled after it finished")
        };
        match status::poll_body(&mut response, cx) {
            Poll::Ready(ending) => {
                let committed = this.reading.committed(&response);
                outcome::tell(ending, committed, &mut response);
                Poll::Ready(Ok(response))
            }
            Poll::Pending => {
                *kept = Some(response);
                Poll::Pending
            }
        }
    }
}

impl<F, B: Body> fmt::Debug for GrpcFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Calling { .. } => "calling",
            State::Peeking { .. } => "peeking",
        };
        f.debug_struct("GrpcFuture")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
