//! The future.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use http::{HeaderMap, Response};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep};
use tower_service::Service;

use crate::{
    BoxError,
    policy::{Hint, standard_retry_after},
    reason::{Sent, StopReason},
    stack::{Admission, Admit, Answer, Ask, AskFor, LayerError, LayerOutcome, Opinion, Ticket},
};

/// The admission's name in what it says.
const NAME: &str = "admission";

pin_project! {
    /// The future of an [`Admitted`](super::Admitted) service.
    #[must_use = "futures do nothing unless polled"]
    pub struct AdmittedFuture<S, R, A, F>
    where
        A: Admission,
    {
        #[pin]
        state: State<S, R, F>,
        admitted: Ongoing<A>,
        held: Duration,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, R, F> {
        Held { held: Option<Box<Held<S, R>>> },
        Called { #[pin] future: F },
        Refused { stop: Option<Box<StopReason>> },
    }
}

struct Held<S, R> {
    service: S,
    request: R,
    since: Instant,
    /// Until the admission is asked again; `None` once it has said yes.
    sleep: Option<Pin<Box<Sleep>>>,
}

/// A request that was let through and has no outcome yet: the admission hears of its end also if
/// it is dropped.
struct Ongoing<A: Admission> {
    admission: A,
    ticket: Option<Ticket>,
}

impl<A: Admission> Ongoing<A> {
    fn head(&mut self, headers: &HeaderMap, now: std::time::Instant) {
        if let Some(ticket) = &mut self.ticket {
            self.admission.head(ticket, headers, now);
        }
    }

    fn answered(&mut self, answer: &Answer) {
        if let Some(mut ticket) = self.ticket.take() {
            self.admission.answered(&mut ticket, answer);
        }
    }
}

impl<A: Admission> Drop for Ongoing<A> {
    fn drop(&mut self) {
        if self.ticket.is_some() {
            self.answered(&Answer::dropped(Instant::now().into_std()));
        }
    }
}

impl<S, R, A: Admission, F> AdmittedFuture<S, R, A, F> {
    pub(super) fn called(admission: A, ticket: Ticket, future: F) -> Self {
        Self {
            state: State::Called { future },
            admitted: Ongoing {
                admission,
                ticket: Some(ticket),
            },
            held: Duration::ZERO,
        }
    }

    pub(super) fn held(
        admission: A,
        ticket: Ticket,
        service: S,
        request: R,
        since: Instant,
        wait: Duration,
    ) -> Self {
        let held = Held {
            service,
            request,
            since,
            sleep: Some(Box::pin(sleep(wait))),
        };
        Self {
            state: State::Held {
                held: Some(Box::new(held)),
            },
            admitted: Ongoing {
                admission,
                ticket: Some(ticket),
            },
            held: Duration::ZERO,
        }
    }

    pub(super) fn refused(admission: A, stop: StopReason) -> Self {
        Self {
            state: State::Refused {
                stop: Some(Box::new(stop)),
            },
            admitted: Ongoing {
                admission,
                ticket: None,
            },
            held: Duration::ZERO,
        }
    }
}

fn refusal(stop: &StopReason) -> BoxError {
    let mut outcome = LayerOutcome::new(NAME);
    outcome.opinion = Opinion::Forbid(stop.to_string().into());
    outcome.sent = Some(Sent::Never);
    LayerError::new(outcome).into()
}

/// How long the response asks for nothing to be sent.
fn asked<D>(response: &Response<D>) -> Option<Duration> {
    let (status, headers) = (response.status(), response.headers());
    match standard_retry_after(status, headers, SystemTime::now(), Duration::MAX) {
        Hint::Wait { asked, .. } => Some(asked),
        _ => None,
    }
}

impl<S, R, A, D> Future for AdmittedFuture<S, R, A, S::Future>
where
    S: Service<R, Response = Response<D>>,
    S::Error: Into<BoxError>,
    A: Admission,
{
    type Output = Result<Response<D>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Refused { stop } => {
                    let stop = stop.take().expect("polled after it finished");
                    return Poll::Ready(Err(refusal(&stop)));
                }
                StateProj::Held { held } => {
                    let first = held.as_mut().expect("a request that was held is sent once");
                    match ready!(first.poll(this.admitted, cx)) {
                        Ok(()) => {}
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                    if let Some(first) = held.take() {
                        let mut first = *first;
                        *this.held = first.since.elapsed();
                        let future = first.service.call(first.request);
                        this.state.set(State::Called { future });
                    }
                }
                StateProj::Called { future } => {
                    let result = ready!(future.poll(cx)).map_err(Into::into);
                    let now = Instant::now().into_std();
                    return Poll::Ready(match result {
                        Ok(mut response) => {
                            this.admitted.head(response.headers(), now);
                            let mut answer = Answer::response(now, response.status());
                            answer.asked = asked(&response);
                            this.admitted.answered(&answer);
                            if !this.held.is_zero() {
                                let extensions = response.extensions_mut();
                                let mut outcome = LayerOutcome::of(extensions)
                                    .cloned()
                                    .unwrap_or_else(|| LayerOutcome::new(NAME));
                                outcome.held = outcome.held.saturating_add(*this.held);
                                extensions.insert(outcome);
                            }
                            Ok(response)
                        }
                        Err(error) => {
                            this.admitted.answered(&Answer::failed(now));
                            Err(error)
                        }
                    });
                }
            }
        }
    }
}

impl<S, R> Held<S, R> {
    /// Waits until the request may be sent and the service is ready.
    fn poll<A: Admission>(
        &mut self,
        admitted: &mut Ongoing<A>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), BoxError>>
    where
        S: Service<R>,
        S::Error: Into<BoxError>,
    {
        while let Some(sleep) = &mut self.sleep {
            ready!(sleep.as_mut().poll(cx));
            let now = Instant::now();
            let mut ask = Ask::new(now.into_std(), AskFor::Again);
            ask.held = now.duration_since(self.since);
            let Some(ticket) = &mut admitted.ticket else {
                break;
            };
            match admitted.admission.admit(ticket, &ask) {
                Admit::Now => self.sleep = None,
                Admit::Wait(wait) | Admit::Spread(wait) => {
                    // What comes after the end of time is never asked for again.
                    let Some(until) = now.checked_add(wait) else {
                        return Poll::Pending;
                    };
                    sleep.as_mut().reset(until);
                }
                Admit::Refuse(stop) => return Poll::Ready(Err(refusal(&stop))),
            }
        }
        self.service.poll_ready(cx).map_err(Into::into)
    }
}

impl<S, R, A: Admission, F> fmt::Debug for AdmittedFuture<S, R, A, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmittedFuture").finish_non_exhaustive()
    }
}
