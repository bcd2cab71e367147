//! [`ResumeFuture`]: waits for the head of a response.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{ResumeBody, asking::Asked};
use crate::policy::Policy;

pin_project! {
    /// The future of a [`Resume`](super::Resume) service.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResumeFuture<S, P, ReqBody>
    where
        S: Service<Request<ReqBody>>,
    {
        #[pin]
        future: S::Future,
        asked: Option<Asked<S, P>>,
    }
}

impl<S, P, ReqBody> ResumeFuture<S, P, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    pub(super) fn new(future: S::Future, asked: Asked<S, P>) -> Self {
        let asked = Some(asked);
        Self { future, asked }
    }
}

impl<S, P, ReqBody, ResBody> Future for ResumeFuture<S, P, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    P: Policy,
    ResBody: Body,
{
    type Output = Result<Response<ResumeBody<S, P, ReqBody, ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = match ready!(this.future.poll(cx)) {
            Ok(response) => response,
            Err(error) => return Poll::Ready(Err(error)),
        };
        let asked = this.asked.take();
        let asked = asked.expect("`ResumeFuture` polled after it finished");
        let (head, body) = response.into_parts();
        let body = ResumeBody::new(asked, &head, body);
        Poll::Ready(Ok(Response::from_parts(head, body)))
    }
}

impl<S, P, ReqBody> fmt::Debug for ResumeFuture<S, P, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResumeFuture").finish_non_exhaustive()
    }
}
