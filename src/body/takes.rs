//! Which services a retry layer can be put above.

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::BoxError;

/// A client: a [`Service`] that takes requests with bodies of type `B`.
///
/// Every service is one whose responses are [`Response`]s with a [`Body`], and whose errors can be
/// boxed. It is a trait of its own for the compiler's message: [`Retry`](crate::Retry) sends the
/// bodies that its layer makes of a request's, and not every client takes them.
///
/// | the layer's option | the client gets |
/// | --- | --- |
/// | none, [`clone_bodies`](crate::RetryLayer::clone_bodies), [`clone_bodies_with`](crate::RetryLayer::clone_bodies_with) | the request's own body |
/// | [`replay_bodies(limit)`](crate::RetryLayer::replay_bodies) | a [`RecordedBody`](super::RecordedBody) of it |
/// | [`replay_bodies_as(limit, f)`](crate::RetryLayer::replay_bodies_as) | what `f` makes of that: for clients that take no body but their own |
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::{Client, connect::HttpConnector}, rt::TokioExecutor};
/// use tower_http_retry::body::TakesBody;
///
/// fn is_client<B>(_: impl TakesBody<B>) {}
///
/// let client: Client<HttpConnector, Full<Bytes>> =
///     Client::builder(TokioExecutor::new()).build_http();
/// is_client(client);
/// ```
// Nobody has to name it: what the compiler says is all that it is for.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` takes no requests with a body of type `{B}`, which is what the retries send",
    label = "this must be a `Service<Request<{B}>>` with a `Response` that has a `Body`, and an error that can be boxed",
    note = "a client that takes no body but its own: `RetryLayer::new(policy).replay_bodies_as(limit, OwnBody::new)`, with any function from a `RecordedBody` to that body",
    note = "a body that need not be recorded reaches the client as it is: `.clone_bodies_with(|body| body.try_clone())`, or no option at all for a `WholeBody`"
)]
pub trait TakesBody<B>:
    Service<
        Request<B>,
        Response = Response<<Self as TakesBody<B>>::ResponseBody>,
        Error: Into<BoxError>,
    >
{
    /// The body of its responses.
    type ResponseBody: Body;
}

// Else the message would be that of `Service`.
#[diagnostic::do_not_recommend]
impl<S, B, ResBody> TakesBody<B> for S
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    S::Error: Into<BoxError>,
    ResBody: Body,
{
    type ResponseBody = ResBody;
}
