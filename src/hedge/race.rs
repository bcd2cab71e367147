//! The hedge of a request that is late: when it is due, whether it is ready, what became of it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderValue, Request, Response, request::Parts};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

use super::{
    HedgeInfo,
    future::{Kept, Watched},
    outcome::Outcome,
    shared::{Permits, Refusal, Shared, count},
};
use crate::{BoxError, body::SavedBody, snapshot::Next, stack::ToldDeadline};

pin_project! {
    /// What a request has that was not answered at once and may be hedged.
    pub(super) struct Race<Fut, ResBody> {
        #[pin]
        stage: Stage<Fut>,
        // How long after the request its hedge was sent, if it was.
        pub(super) sent_after: Option<Duration>,
        // How the request ended, if it failed while its hedge was under way.
        pub(super) first: Option<Outcome<ResBody>>,
        // How the hedge ended, if it failed.
        pub(super) hedge: Option<Outcome<ResBody>>,
        pub(super) vouched_by: Option<&'static str>,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<Fut> {
        /// The request is not late yet.
        Waiting { #[pin] sleep: Sleep },
        /// It is, and the service below is not ready for another one.
        Readying { due: Option<Box<Due>> },
        /// The hedge is under way.
        Sent { #[pin] future: Fut },
        /// There is none, or it has ended.
        Over,
    }
}

/// A hedge that was granted and is not sent yet.
struct Due {
    head: Parts,
    permits: Permits,
}

impl<Fut, ResBody> Race<Fut, ResBody> {
    /// The request is late at `at`.
    pub(super) fn start(at: Instant) -> Pin<Box<Self>> {
        Box::pin(Self {
            stage: Stage::Waiting {
                // One timer for each request, in the wheel that all timers of the runtime share. A
                // timer of the layer's own would have to be driven by one of the requests: one
                // whose caller stops polling it would hold up the hedges of all others. And it
                // would be bound to the runtime of the request that made it.
                sleep: sleep_until(at),
            },
            sent_after: None,
            first: None,
            hedge: None,
            vouched_by: None,
        })
    }

    /// Polls the hedge. Ready once it has ended.
    pub(super) fn poll<S, B, Saved, E>(
        mut self: Pin<&mut Self>,
        watched: &mut Watched<S, Saved>,
        cx: &mut Context<'_>,
    ) -> Poll<Outcome<ResBody>>
    where
        S: Service<Request<B>, Response = Response<ResBody>, Error = E, Future = Fut>,
        Fut: Future<Output = Result<Response<ResBody>, E>>,
        E: Into<BoxError>,
        Saved: SavedBody<B>,
    {
        loop {
            let mut this = self.as_mut().project();
            let next = match this.stage.as_mut().project() {
                StageProj::Over => return Poll::Pending,
                StageProj::Sent { future } => {
                    let outcome = ready!(future.poll(cx)).map_err(Into::into);
                    this.stage.set(Stage::Over);
                    return Poll::Ready(outcome);
                }
                StageProj::Waiting { sleep } => {
                    ready!(sleep.poll(cx));
                    due(watched).map(|due| Stage::Readying {
                        due: Some(Box::new(due)),
                    })
                }
                StageProj::Readying { due } => {
                    let sent = ready!(poll_ready::<S, B, Saved>(watched, due, cx));
                    sent.map(|(future, after)| {
                        *this.sent_after = Some(after);
                        *this.vouched_by = watched.vouched_by::<B>();
                        Stage::Sent { future }
                    })
                }
            };
            let next = next.unwrap_or_else(|refusal| {
                watched.shared.refused(refusal);
                Stage::Over
            });
            if !matches!(next, Stage::Readying { .. }) {
                // Nothing of it is needed any more, not even the service's place in a queue.
                watched.kept = None;
            }
            this.stage.set(next);
        }
    }
}

/// The hedge is due: whether it may be sent.
#[cold]
fn due<S, B, Saved: SavedBody<B>>(watched: &mut Watched<S, Saved>) -> Result<Due, Refusal> {
    let now = Instant::now();
    let shared = &watched.shared;
    if watched.is_quiet(shared, now) {
        return Err(Refusal::Quiet);
    }
    let Some(kept) = &mut watched.kept else {
        return Err(Refusal::Body);
    };
    kept.body.check().map_err(|_| Refusal::Body)?;
    if !shared.has_room() {
        return Err(Refusal::NoRoom);
    }
    // What `http` once accepted and now refuses cannot be sent twice.
    let head = kept.head.restore(Next::Never).ok_or(Refusal::Body)?;
    let permits = shared.withdraw(watched.slot, kept.policy.as_ref(), &head.uri, now);
    let permits = permits.ok_or(Refusal::Budget)?;
    Ok(Due { head, permits })
}

type Sent<Fut> = Result<(Fut, Duration), Refusal>;

/// Polls the clone of the service below, and sends the hedge once it is ready.
#[cold]
fn poll_ready<S, B, Saved>(
    watched: &mut Watched<S, Saved>,
    due: &mut Option<Box<Due>>,
    cx: &mut Context<'_>,
) -> Poll<Sent<S::Future>>
where
    S: Service<Request<B>>,
    Saved: SavedBody<B>,
{
    let Some(Kept { service, body, .. }) = &mut watched.kept else {
        return Poll::Ready(Err(Refusal::Body));
    };
    match service.poll_ready(cx) {
        Poll::Ready(Ok(())) => {}
        // The request that is under way is not its affair.
        Poll::Ready(Err(_)) => return Poll::Ready(Err(Refusal::NoRoom)),
        // Whoever says how many places are free wants the next one for somebody else.
        Poll::Pending if watched.shared.free_places.is_some() => {
            return Poll::Ready(Err(Refusal::NoRoom));
        }
        Poll::Pending => return Poll::Pending,
    }
    let Some(granted) = due.take() else {
        return Poll::Ready(Err(Refusal::Body));
    };
    let Due { mut head, permits } = *granted;
    let started = watched.started.unwrap_or_else(Instant::now);
    let after = Instant::now().saturating_duration_since(started);
    mark(&mut head, &watched.shared, after);
    if !ToldDeadline::renew(&mut head) {
        return Poll::Ready(Err(Refusal::NoRoom));
    }
    let Ok(body) = body.next(&head, true) else {
        return Poll::Ready(Err(Refusal::Body));
    };
    permits.sent();
    count(&watched.shared.counters.0.sent);
    let future = service.call(Request::from_parts(head, body));
    Poll::Ready(Ok((future, after)))
}

/// Says that it is a hedge.
fn mark(head: &mut Parts, shared: &Shared, after: Duration) {
    head.extensions.insert(HedgeInfo { after });
    if let Some(header) = &shared.header {
        let value = HeaderValue::from_static("1");
        head.headers.insert(header.name().clone(), value);
    }
}
