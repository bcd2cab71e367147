//! reqwest's client below the retries.
//!
//! `reqwest::Client` is a service, but of reqwest's own request and response, while layers for HTTP
//! are made for [`http::Request`] and [`http::Response`]. [`ReqwestService`] is the client as they
//! want it.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_http_retry::{RetryLayer, policy::RetryPolicy, reqwest::ReqwestService};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let client = reqwest::Client::builder()
//!     // Otherwise the client repeats some requests on its own, unseen and uncounted.
//!     .retry(reqwest::retry::never())
//!     // Redirects belong above the retries: tower-http's `FollowRedirectLayer`.
//!     .redirect(reqwest::redirect::Policy::none())
//!     .timeout(Duration::from_secs(30))
//!     .build()?;
//!
//! let client = ServiceBuilder::new()
//!     .layer(RetryLayer::new(RetryPolicy::default()).replay_bodies(64 * 1024))
//!     .service(ReqwestService::new(client));
//!
//! let body = reqwest::Body::from("hello");
//! let request = http::Request::put("http://example.com/greeting").body(body)?;
//! let response = client.oneshot(request).await?;
//! // All of reqwest's ways to read a response are there again.
//! let text = reqwest::Response::from(response).text().await?;
//! # let _ = text;
//! # Ok(())
//! # }
//! ```
//!
//! [`replay_bodies`](crate::RetryLayer::replay_bodies) keeps what is sent of a body of any kind
//! without copying it, and costs an empty body nothing. Without it, a body that is a stream is never
//! sent again, and the content of one that is not is copied up front.

use std::{
    any::Any,
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use ::reqwest::{Body, Client, Error, Request, Response, ResponseBuilderExt};
use bytes::Bytes;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{BoxError, body::WholeBody};

/// reqwest's client as a service of [`http::Request`] and [`http::Response`].
///
/// See the [module](self) for an example. The response keeps its URL, so that
/// `reqwest::Response::from(response)` knows it again.
///
/// # Bodies
///
/// Any body will do. `reqwest::Body` is taken as it is; another type is handed to the client as a
/// stream, which the client can send but not repeat: should it follow a 307 or 308 redirect by
/// itself, a request with content ends there, with the redirect as its response.
///
/// # Errors
///
/// Every error is a `reqwest::Error`, which [`classify()`](crate::classify::classify) knows with the
/// feature `reqwest`. A URI that reqwest cannot request, for instance because it is not absolute,
/// is one as well.
#[derive(Clone, Debug, Default)]
pub struct ReqwestService {
    client: Client,
}

impl ReqwestService {
    /// Sends requests with `client`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The client.
    pub fn get_ref(&self) -> &Client {
        &self.client
    }

    /// The client.
    pub fn into_inner(self) -> Client {
        self.client
    }
}

impl From<Client> for ReqwestService {
    fn from(client: Client) -> Self {
        Self::new(client)
    }
}

impl<B> Service<http::Request<B>> for ReqwestService
where
    B: http_body::Body + Send + Sync + 'static,
    B::Data: Into<Bytes>,
    B::Error: Into<BoxError>,
{
    type Response = http::Response<Body>;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.client.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> ResponseFuture {
        let state = match Request::try_from(request.map(into_body)) {
            Ok(request) => State::Sent {
                pending: self.client.call(request),
            },
            Err(error) => State::Refused { error: Some(error) },
        };
        ResponseFuture { state }
    }
}

/// A body for reqwest: its own as it is, any other as a stream.
fn into_body<B>(body: B) -> Body
where
    B: http_body::Body + Send + Sync + 'static,
    B::Data: Into<Bytes>,
    B::Error: Into<BoxError>,
{
    let mut body = Some(body);
    if let Some(own) = (&mut body as &mut dyn Any).downcast_mut::<Option<Body>>() {
        return own.take().unwrap_or_default();
    }
    body.map(Body::wrap).unwrap_or_default()
}

/// A stream cannot be cloned. What is no stream is copied, since the body's own clone, which shares
/// it, is not public; [`replay_bodies`](crate::RetryLayer::replay_bodies) shares it.
impl WholeBody for Body {
    #[inline]
    fn try_clone_whole(&self) -> Option<Self> {
        let content = self.as_bytes()?;
        Some(Bytes::copy_from_slice(content).into())
    }
}

/// The response as one of `http`'s, with the URL where `reqwest::Response::from` looks for it.
fn into_http(response: Response) -> http::Response<Body> {
    let mut url = http::Response::builder().url(response.url().clone());
    let mut response = http::Response::<Body>::from(response);
    if let Some(url) = url.extensions_mut() {
        response.extensions_mut().extend(mem::take(url));
    }
    response
}

pin_project! {
    /// The future of a [`ReqwestService`].
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture {
        #[pin]
        state: State,
    }
}

pin_project! {
    #[project = StateProj]
    enum State {
        /// On its way.
        Sent { #[pin] pending: <Client as Service<Request>>::Future },
        /// Not a request that reqwest can send.
        Refused { error: Option<Error> },
    }
}

impl Future for ResponseFuture {
    type Output = Result<http::Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Sent { pending } => pending.poll(cx).map_ok(into_http),
            StateProj::Refused { error } => match error.take() {
                Some(error) => Poll::Ready(Err(error)),
                None => panic!("`ResponseFuture` polled after it finished"),
            },
        }
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
