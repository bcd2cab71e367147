//! [`ConnectionFuture`]: one attempt, whose connection is left if it is the reason to fail.

use std::{
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;

use super::{
    ConnectionBody,
    layer::Settings,
    leave::{Leave, is_of_connection},
};
use crate::{
    BoxError,
    classify::{self, Outcome},
    stack::{LayerError, LayerOutcome, TimeOut, say_late, time_out},
};

/// The layer's name in what it says.
const NAME: &str = "connection";

pin_project! {
    /// The future of a [`Connection`](super::Connection) service.
    #[must_use = "futures do nothing unless polled"]
    pub struct ConnectionFuture<F> {
        #[pin]
        future: F,
        // `None` once there is an answer.
        connection: Option<Leave>,
        settings: Arc<Settings>,
    }

    impl<F> PinnedDrop for ConnectionFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            // Who drops a request for another reason says nothing about its connection.
            late(this.project().connection.take());
        }
    }
}

/// Leaves the connection of an attempt that is dropped, if that is because its time is over.
pub(super) fn late(connection: Option<Leave>) {
    let is_late = connection.is_some() && time_out() == Some(TimeOut::Attempt);
    if is_late && connection.is_some_and(|it| it.leave()) {
        say_late(NAME, |outcome| outcome.left_connection = true);
    }
}

impl<F> ConnectionFuture<F> {
    pub(super) fn new(future: F, connection: Leave, settings: Arc<Settings>) -> Self {
        Self {
            future,
            connection: Some(connection),
            settings,
        }
    }
}

impl<F, B, E> Future for ConnectionFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
    B: Body,
    B::Error: 'static,
{
    type Output = Result<Response<ConnectionBody<B>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.future.poll(cx)).map_err(Into::into);
        let connection = this.connection.take();
        let connection = connection.expect("a future is not polled after it finished");
        Poll::Ready(match result {
            Ok(response) => Ok(answered(response, connection, this.settings)),
            Err(error) => Err(failed(error, &connection, this.settings)),
        })
    }
}

fn answered<B>(
    mut response: Response<B>,
    connection: Leave,
    settings: &Settings,
) -> Response<ConnectionBody<B>> {
    if !connection.is_known() {
        settings.client_tells_nothing();
        return response.map(|body| ConnectionBody::new(body, None));
    }
    let outcome = Outcome::Response {
        status: response.status(),
        headers: response.headers(),
    };
    let status = response.status();
    let bad = status == StatusCode::MISDIRECTED_REQUEST || settings.says_leave(&outcome);
    let outcome_is_failure = status.as_u16() >= 400;
    if bad && connection.leave() {
        LayerOutcome::amend(response.extensions_mut(), NAME, |outcome| {
            outcome.left_connection = true;
        });
        return response.map(|body| ConnectionBody::new(body, None));
    }
    // Somebody further out may find that it is to be left. Of a success nobody is told, which would
    // cost each of them.
    let extensions = response.extensions_mut();
    if outcome_is_failure || LayerOutcome::of(extensions).is_some() {
        LayerOutcome::amend(extensions, NAME, |outcome| {
            outcome.connection = Some(connection.handle());
        });
    }
    response.map(|body| ConnectionBody::new(body, Some(connection)))
}

fn failed(error: BoxError, connection: &Leave, settings: &Settings) -> BoxError {
    if !connection.is_known() {
        return error;
    }
    let failure = classify::classify(&*error);
    let outcome = Outcome::Error {
        failure,
        error: Some(&*error as &(dyn Error + 'static)),
    };
    let bad = is_of_connection(&*error, failure.cause) || settings.says_leave(&outcome);
    if bad && connection.leave() {
        LayerError::amend(error, NAME, |outcome| outcome.left_connection = true)
    } else if failure.cause.is_user_error() {
        error
    } else {
        LayerError::amend(error, NAME, |outcome| {
            outcome.connection = Some(connection.handle());
        })
    }
}

impl<F> fmt::Debug for ConnectionFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionFuture").finish_non_exhaustive()
    }
}
