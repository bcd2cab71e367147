//! [`EndpointsFuture`]: one attempt at one endpoint.

use std::{
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use http::{Extensions, HeaderMap, Response, StatusCode, Uri};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::pool::Pool;
use crate::{
    BoxError, classify,
    policy::{Hint, standard_retry_after},
    reason::{Cause, GrpcCode, Sent},
    stack::{LayerError, LayerOutcome, TimeOut, say_late, time_out},
};

/// The layer's name in what it says.
const NAME: &str = "endpoints";

pin_project! {
    /// The future of an [`Endpoints`](super::Endpoints) service.
    #[must_use = "futures do nothing unless polled"]
    pub struct EndpointsFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Called {
            #[pin]
            future: F,
            // `None` for a request to another service, and once there is an outcome.
            attempt: Option<Attempt>,
        },
        // There is no such URI.
        Failed { error: Option<http::Error> },
    }
}

/// An attempt at an endpoint. What becomes of it is remembered there; if it is dropped without an
/// outcome, that it ran out of time, or nothing.
pub(super) struct Attempt {
    pool: Arc<Pool>,
    index: usize,
    looks: bool,
    began: Instant,
    /// Where it went.
    pub(super) uri: Uri,
    ended: bool,
}

/// What an attempt says of its endpoint.
enum Said {
    Works,
    /// Nothing: the request itself is at fault, or it never came there.
    Nothing,
    Fails,
    /// It is to be left alone for so long.
    Hold(Duration),
}

impl Attempt {
    pub(super) fn new(pool: Arc<Pool>, index: usize, looks: bool, began: Instant) -> Self {
        Self {
            pool,
            index,
            looks,
            began,
            uri: Uri::default(),
            ended: false,
        }
    }

    /// Remembers how it ended.
    fn end(&mut self, said: &Said) {
        self.ended = true;
        let memory = &self.pool.endpoints[self.index].memory;
        let now = Instant::now();
        match said {
            Said::Works => memory.works(self.began),
            Said::Nothing if self.looks => memory.look_ended(now),
            Said::Nothing => {}
            Said::Fails => memory.failed(self.began, now),
            Said::Hold(asked) => {
                memory.failed(self.began, now);
                memory.hold(*asked, now);
            }
        }
    }

    /// Tells the layers above where it went, and what holds for the next one.
    fn tell(&self, outcome: &mut LayerOutcome, said: &Said) {
        // A layer below may have sent it further.
        outcome.url.get_or_insert_with(|| self.uri.clone());
        let Some(free_in) = self.pool.others_free_in(self.index, Instant::now()) else {
            return;
        };
        let asked = match said {
            Said::Hold(asked) => *asked,
            Said::Works | Said::Nothing | Said::Fails => Duration::ZERO,
        };
        if free_in.is_zero() || free_in < asked {
            outcome.elsewhere = true;
            // In place of what this one asks for.
            outcome.asked = Some(free_in).filter(|free_in| !free_in.is_zero());
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let over = time_out();
        let said = match over {
            Some(TimeOut::Attempt) => Said::Fails,
            // The request's deadline says nothing about the endpoint, nor does its caller.
            Some(TimeOut::Request) | None => Said::Nothing,
        };
        self.end(&said);
        if over.is_some() {
            say_late(NAME, |outcome| self.tell(outcome, &said));
        }
    }
}

/// What an answer says of its endpoint.
fn read(status: StatusCode, headers: &HeaderMap, extensions: &Extensions) -> Said {
    let below = LayerOutcome::of(extensions);
    let failure = below.and_then(|below| below.failure);
    let failure = failure.or_else(|| classify::grpc::failure(headers));
    let fails = match failure.map(|failure| failure.cause) {
        Some(Cause::Grpc(code)) => code == GrpcCode::Unavailable,
        Some(cause) => !cause.is_permanent(),
        None => matches!(status.as_u16(), 429 | 502..=504),
    };
    if !fails {
        return Said::Works;
    }
    let asked = match standard_retry_after(status, headers, SystemTime::now(), Duration::MAX) {
        Hint::Wait { asked, .. } => Some(asked),
        _ => below.and_then(|below| below.asked),
    };
    match asked.filter(|asked| !asked.is_zero()) {
        Some(asked) => Said::Hold(asked),
        None => Said::Fails,
    }
}

/// What an error says of its endpoint.
fn read_error(error: &(dyn Error + 'static)) -> Said {
    let failure = classify::classify(error);
    let below = error.downcast_ref().map(LayerError::outcome);
    match below.and_then(|below| below.wait) {
        Some(wait) => return Said::Hold(wait),
        None if failure.cause.is_user_error() => return Said::Nothing,
        None => {}
    }
    match (failure.cause, failure.sent) {
        // A limit of this process's own.
        (Cause::Overloaded | Cause::Unknown, Sent::Never) | (Cause::Canceled, _) => Said::Nothing,
        _ => Said::Fails,
    }
}

impl<F> EndpointsFuture<F> {
    pub(super) fn called(future: F, attempt: Option<Attempt>) -> Self {
        let state = State::Called { future, attempt };
        Self { state }
    }

    pub(super) fn failed(error: http::Error) -> Self {
        let state = State::Failed { error: Some(error) };
        Self { state }
    }
}

impl<F, B, E> Future for EndpointsFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<B>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (future, attempt) = match self.project().state.project() {
            StateProj::Called { future, attempt } => (future, attempt),
            StateProj::Failed { error } => {
                let error = error.take();
                let error = error.expect("a future is not polled after it finished");
                return Poll::Ready(Err(error.into()));
            }
        };
        let result = ready!(future.poll(cx)).map_err(Into::into);
        let Some(mut attempt) = attempt.take() else {
            return Poll::Ready(result);
        };
        Poll::Ready(match result {
            Ok(mut response) => {
                let (status, headers) = (response.status(), response.headers());
                let said = read(status, headers, response.extensions());
                attempt.end(&said);
                let extensions = response.extensions_mut();
                LayerOutcome::amend(extensions, NAME, |outcome| attempt.tell(outcome, &said));
                Ok(response)
            }
            Err(error) => {
                let said = read_error(&*error);
                attempt.end(&said);
                Err(LayerError::amend(error, NAME, |outcome| {
                    attempt.tell(outcome, &said);
                }))
            }
        })
    }
}

impl<F> fmt::Debug for EndpointsFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointsFuture").finish_non_exhaustive()
    }
}
