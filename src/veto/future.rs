//! [`VetoFuture`].

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project_lite::pin_project;

use super::rule;

pin_project! {
    /// The future of a [`Veto`](super::Veto) service.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct VetoFuture<F> {
        #[pin]
        future: F,
    }
}

impl<F> VetoFuture<F> {
    pub(super) fn new(future: F) -> Self {
        Self { future }
    }
}

impl<F, B, E> Future for VetoFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut result = ready!(self.project().future.poll(cx));
        if let Ok(response) = &mut result {
            rule::apply(response);
        }
        Poll::Ready(result)
    }
}
