//! [`PeekFuture`]: waits for the head of a response, and for what its body begins with.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Response, response::Parts};
use http_body::Body;
use pin_project_lite::pin_project;

use super::{
    PeekLayer,
    judge::{Counted, Extent, is_readable, is_short, poll_read, read},
};
use crate::{
    body::PeekedBody,
    reason::Cause,
    stack::{LayerOutcome, Opinion},
};

pin_project! {
    /// The future of a [`Peek`](super::Peek) service.
    #[must_use = "futures do nothing unless polled"]
    pub struct PeekFuture<F, W, J, B: Body> {
        #[pin]
        state: State<F, B>,
        // None if this request's response has no body that could be read.
        layer: Option<PeekLayer<W, J>>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, B: Body> {
        /// Polling the service below for the head of its response.
        Calling { #[pin] future: F },
        /// Reading the body of the response.
        Reading { response: Option<(Parts, PeekedBody<B>)>, counted: Counted },
    }
}

impl<F, W, J, B: Body> PeekFuture<F, W, J, B> {
    pub(super) fn new(future: F, layer: Option<PeekLayer<W, J>>) -> Self {
        let state = State::Calling { future };
        Self { state, layer }
    }
}

impl<F, W, J, V, B, E> Future for PeekFuture<F, W, J, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    W: Fn(&Parts) -> bool,
    J: Fn(&Parts, &[u8], bool) -> V,
    V: Into<LayerOutcome>,
    B: Body + Unpin,
{
    type Output = Result<Response<PeekedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let StateProj::Calling { future } = this.state.as_mut().project() {
            let (head, body) = match ready!(future.poll(cx)) {
                Ok(response) => response.map(PeekedBody::new).into_parts(),
                Err(error) => return Poll::Ready(Err(error)),
            };
            let wanted = this.layer.as_ref().is_some_and(|layer| {
                let (limit, when, ..) = layer.parts();
                limit > 0 && is_readable(&head) && when(&head)
            });
            if !wanted {
                return Poll::Ready(Ok(Response::from_parts(head, body)));
            }
            let response = Some((head, body));
            this.state.set(State::Reading {
                response,
                counted: Counted::default(),
            });
        }
        let StateProj::Reading { response, counted } = this.state.project() else {
            unreachable!("a call that is answered is read")
        };
        let (Some((_, body)), Some(layer)) = (response.as_mut(), this.layer) else {
            panic!("`PeekFuture` polled after it finished")
        };
        let (limit, ..) = layer.parts();
        let extent = ready!(poll_read(body, counted, limit, cx));
        let response = response.take().map(|(mut head, body)| {
            judge(layer, &mut head, &body, extent);
            Response::from_parts(head, body)
        });
        Poll::Ready(Ok(response.expect("it was there")))
    }
}

/// Tells the layers above what the body says, if it says anything.
fn judge<W, J, V, B>(
    layer: &PeekLayer<W, J>,
    head: &mut Parts,
    body: &PeekedBody<B>,
    extent: Extent,
) where
    J: Fn(&Parts, &[u8], bool) -> V,
    V: Into<LayerOutcome>,
    B: Body,
{
    let (limit, _, judge, name) = layer.parts();
    let said = match extent {
        Extent::Whole if !is_short(head, body) => {
            let (bytes, all) = read(body, limit);
            judge(head, &bytes, all).into()
        }
        Extent::Part => judge(head, &read(body, limit).0, false).into(),
        Extent::Whole | Extent::Broken => {
            let mut said = LayerOutcome::from(Opinion::NoOpinion);
            said.failure = Some(Cause::ResponseBody.into());
            said
        }
    };
    let says_nothing = LayerOutcome {
        by: said.by.clone(),
        ..Opinion::NoOpinion.into()
    };
    if said == says_nothing {
        return;
    }
    // A layer further in may have said something of its own.
    let before = LayerOutcome::of(&head.extensions).cloned();
    let all = match before {
        Some(before) => before.and(said, name),
        None => LayerOutcome::new(name).and(said, name),
    };
    head.extensions.insert(all);
}

impl<F, W, J, B: Body> fmt::Debug for PeekFuture<F, W, J, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Calling { .. } => "calling",
            State::Reading { .. } => "reading",
        };
        f.debug_struct("PeekFuture")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
