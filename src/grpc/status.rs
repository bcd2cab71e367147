//! Where a gRPC response says how its call ended, and what it says there.

use std::task::{Context, Poll, ready};

use http::{HeaderMap, Response, StatusCode, header::CONTENT_TYPE};
use http_body::Body;

use super::{GrpcCode, reset};
use crate::body::PeekedBody;

/// How a call ended, as far as its response was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// With a status.
    Status(GrpcCode),
    /// The body broke off.
    Broken,
    /// It goes on: its status is not known yet.
    Open,
}

impl Ending {
    /// What a header or trailer section with or without a `grpc-status` says.
    fn of(fields: &HeaderMap, http: StatusCode) -> Self {
        Self::Status(match fields.get("grpc-status") {
            Some(value) => GrpcCode::from_header(value),
            None => GrpcCode::from_http(http),
        })
    }

    /// The body ended without any status.
    fn without_status(http: StatusCode) -> Self {
        Self::Status(GrpcCode::from_http(http))
    }
}

/// What the head of a response says; `None` if it is not one of gRPC.
pub(super) fn of_head<B: Body>(response: &Response<B>) -> Option<Ending> {
    let kind = response.headers().get(CONTENT_TYPE)?.as_bytes();
    let (name, kind) = kind.split_at_checked(b"application/grpc".len())?;
    if !name.eq_ignore_ascii_case(b"application/grpc") {
        return None;
    }
    if response.headers().contains_key("grpc-status") {
        return Some(Ending::of(response.headers(), response.status()));
    }
    match kind.first() {
        // `application/grpc-web` has its trailers within its messages.
        Some(b'+' | b';' | b' ' | b'\t') | None => Some(if response.body().is_end_stream() {
            Ending::without_status(response.status())
        } else {
            Ending::Open
        }),
        Some(_) => None,
    }
}

/// Reads the first frame of a body, and the second one if it is there already.
pub(super) fn poll_body<B>(
    response: &mut Response<PeekedBody<B>>,
    cx: &mut Context<'_>,
) -> Poll<Ending>
where
    B: Body + Unpin,
    B::Error: 'static,
{
    let http = response.status();
    let body = response.body_mut();
    if body.kept().next().is_none() {
        let first = ready!(body.poll_peek(cx));
        match ending(first, http) {
            Ending::Open => {}
            ended => return Poll::Ready(ended),
        }
    }
    // Trailers that come right behind a message: no more is waited for.
    Poll::Ready(match body.poll_peek(cx) {
        Poll::Ready(second) => ending(second, http),
        Poll::Pending => Ending::Open,
    })
}

/// What a frame, or the end of the body, says.
fn ending<D, E: 'static>(
    frame: Option<&Result<http_body::Frame<D>, E>>,
    http: StatusCode,
) -> Ending {
    match frame {
        None => Ending::without_status(http),
        Some(Err(error)) => match reset::code_of(error) {
            Some(code) => Ending::Status(code),
            None => Ending::Broken,
        },
        Some(Ok(frame)) => match frame.trailers_ref() {
            Some(trailers) => Ending::of(trailers, http),
            None => Ending::Open,
        },
    }
}
