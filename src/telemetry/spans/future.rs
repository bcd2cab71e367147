//! [`AttemptSpanFuture`].

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project_lite::pin_project;
use tracing::Span;

use crate::{BoxError, classify::examine, stack::time_out};

pin_project! {
    /// The future of an [`AttemptSpan`](super::AttemptSpan).
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct AttemptSpanFuture<F> {
        #[pin]
        future: F,
        // Gone once the attempt has ended.
        span: Option<Span>,
    }

    impl<F> PinnedDrop for AttemptSpanFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            if let Some(span) = this.project().span.take() {
                // OpenTelemetry's word, and ours.
                fail(&span, if time_out().is_some() { "timeout" } else { "cancelled" });
            }
        }
    }
}

impl<F> AttemptSpanFuture<F> {
    pub(super) fn new(future: F, span: Span) -> Self {
        Self {
            future,
            span: Some(span),
        }
    }
}

impl<F, ResBody, E> Future for AttemptSpanFuture<F>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<ResBody>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = {
            let _entered = this.span.as_ref().map(Span::enter);
            ready!(this.future.poll(cx)).map_err(Into::into)
        };
        if let Some(span) = this.span.take().filter(|span| !span.is_disabled()) {
            end(&span, &result);
        }
        Poll::Ready(result)
    }
}

fn end<ResBody>(span: &Span, result: &Result<Response<ResBody>, BoxError>) {
    match result {
        Ok(response) => {
            let status = response.status();
            span.record("http.response.status_code", i64::from(status.as_u16()));
            if status.as_u16() >= 400 {
                fail(span, status.as_str());
            }
        }
        Err(error) => {
            let cause = examine(&**error, &[]).failure.cause;
            let name = format!("{cause:?}");
            // Without what some have in them: there are to be few.
            fail(span, name.split('(').next().unwrap_or(&name));
        }
    }
}

fn fail(span: &Span, what: &str) {
    span.record("error.type", what);
    span.record("otel.status_code", "ERROR");
}
