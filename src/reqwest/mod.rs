//! reqwest's client with retries, in reqwest's own words; or below the retries, in `http`'s.
//!
//! [`RetryClient`] takes reqwest's requests and returns reqwest's responses:
//!
//! ```no_run
//! use tower_http_retry::{RetryLayer, policy::RetryPolicy, reqwest::RetryClient};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let builder = reqwest::Client::builder().user_agent("example");
//! let client = RetryClient::build(RetryLayer::new(RetryPolicy::default()), builder)?;
//! let text = client.get("https://example.com/").send().await?.text().await?;
//! # let _ = text;
//! # Ok(())
//! # }
//! ```
//!
//! # In a stack of one's own
//!
//! `reqwest::Client` is a service, but of reqwest's own request and response, while layers for HTTP
//! are made for [`http::Request`] and [`http::Response`]. [`ReqwestService`] is the client as they
//! want it.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_http_retry::{
//!     RetryLayer, policy::RetryPolicy, redirect::RedirectLayer, reqwest::ReqwestService,
//! };
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let client = reqwest::Client::builder().timeout(Duration::from_secs(30));
//!
//! let policy = RetryPolicy::default();
//! let client = ServiceBuilder::new()
//!     // Redirects are followed above the retries: each hop is a request of its own.
//!     .layer(RedirectLayer::new(&policy).replay_bodies(64 * 1024))
//!     .layer(RetryLayer::new(policy).replay_bodies(64 * 1024))
//!     .service(ReqwestService::build(client)?);
//!
//! let body = reqwest::Body::from("hello");
//! let request = http::Request::put("http://example.com/greeting").body(body)?;
//! let response = client.oneshot(request).await?;
//! // All of reqwest's ways to read a response are there again.
//! let text = reqwest::Response::from(response).text().await?;
//! # assert_eq!(text, "welcome");
//! # Ok(())
//! # }
//! ```
//!
//! [`replay_bodies`](crate::RetryLayer::replay_bodies) keeps what is sent of a body of any kind
//! without copying it, and costs an empty body nothing. Without it, a body that is a stream is never
//! sent again, and the content of one that is not is copied up front.
//!
//! reqwest's own `ClientBuilder::connector_layer` has no place for a [`RetryLayer`](crate::RetryLayer):
//! it takes layers of the connector, which see no requests.
//!
//! # Why the client is built here
//!
//! A client of reqwest's follows redirects and repeats some requests by itself: one call may be
//! more than one request, and that the last of them could not connect says nothing of the first.
//! A POST that was answered by a 303 to a closed port would be sent again. So only the errors of a
//! client that [`ReqwestService::build`] made prove that a request was not sent; those of another
//! one, [`ReqwestService::new`]'s, are retried for idempotent methods alone.
//!
//! # The connection that failed
//!
//! reqwest cannot be told to leave a connection. Over HTTP/2, a retry of an attempt that timed out
//! is on the same one again if its other side is gone; see [`guide::places`](crate::guide::places).
//! `http2_keep_alive_interval`, `http2_keep_alive_timeout` and `http2_keep_alive_while_idle` of
//! reqwest's builder let it find out by itself. A `ConnectionLayer` (feature `connection`) does
//! nothing here, and [says so](crate::lint::LintCode::ConnectionUnknown).

mod bodies;
mod client;
mod request;

use std::{
    any::Any,
    fmt,
    future::Future,
    mem,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll},
};

use ::reqwest::{
    Body, Client, ClientBuilder, Error, Request, Response, ResponseBuilderExt, redirect, retry,
};
use bytes::Bytes;
use pin_project_lite::pin_project;
use tower_service::Service;

pub use self::{client::RetryClient, request::RetryRequest};
use crate::{BoxError, body::WholeBody, stack::OwnTimeout};

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
/// Every error is a [`ReqwestError`] around reqwest's own, which
/// [`classify()`](crate::classify::classify) knows. A URI that reqwest cannot request, for instance
/// because it is not absolute, is one as well.
#[derive(Clone, Debug)]
pub struct ReqwestService {
    client: Client,
    /// Whether each call is one request.
    one_request: bool,
}

impl ReqwestService {
    /// Builds a client that sends one request for each that it is given, whatever `builder` says:
    /// its redirects and its retries are switched off. Both have their place above, in a
    /// [`RedirectLayer`](crate::redirect::RedirectLayer) and a [`RetryLayer`](crate::RetryLayer).
    ///
    /// # Errors
    ///
    /// As [`ClientBuilder::build`]: the TLS backend or the system's resolver could not be set up,
    /// or a setting is wrong.
    pub fn build(builder: ClientBuilder) -> Result<Self, Error> {
        let client = builder
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .build()?;
        Ok(Self {
            client,
            one_request: true,
        })
    }

    /// Sends requests with a `client` that was built elsewhere, and may follow redirects and
    /// repeat requests by itself: none of its errors proves that a request was not sent. Prefer
    /// [`build`](Self::build).
    ///
    /// Who knows that such a client does neither can
    /// [vouch](crate::RetryLayer::vouch) for [`ReqwestError`] as
    /// [transparent](crate::classify::Stage::Transparent).
    pub fn new(client: Client) -> Self {
        Self {
            client,
            one_request: false,
        }
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
    type Error = ReqwestError;
    type Future = ReqwestFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReqwestError>> {
        let one_request = self.one_request;
        let ready = self.client.poll_ready(cx);
        ready.map_err(|error| ReqwestError { error, one_request })
    }

    fn call(&mut self, request: http::Request<B>) -> ReqwestFuture {
        let own_timeout = match request.extensions().is_empty() {
            true => None,
            false => request.extensions().get::<OwnTimeout>().copied(),
        };
        let state = match Request::try_from(request.map(into_body)) {
            Ok(mut request) => {
                if let Some(OwnTimeout(timeout)) = own_timeout {
                    *request.timeout_mut() = Some(timeout);
                }
                let pending = self.client.call(request);
                State::Sent { pending }
            }
            Err(error) => State::Refused { error: Some(error) },
        };
        ReqwestFuture {
            state,
            one_request: self.one_request,
        }
    }
}

/// An error of reqwest's, from a [`ReqwestService`].
///
/// It reads like reqwest's own, which it dereferences to and which is its `source`, and knows
/// whether its client may have sent more than one request.
/// [`RetryError::downcast_inner`](crate::RetryError::downcast_inner) finds reqwest's error, too.
pub struct ReqwestError {
    error: Error,
    one_request: bool,
}

impl ReqwestError {
    /// reqwest's own error.
    pub fn into_inner(self) -> Error {
        self.error
    }

    /// Whether nothing was sent but the request that the error is about.
    ///
    /// Errors of reading a response are not about a request, and do not come from this service.
    pub(crate) fn is_of_one_request(&self) -> bool {
        self.one_request
    }
}

impl Deref for ReqwestError {
    type Target = Error;

    fn deref(&self) -> &Error {
        &self.error
    }
}

impl From<ReqwestError> for Error {
    fn from(error: ReqwestError) -> Self {
        error.error
    }
}

impl fmt::Debug for ReqwestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl fmt::Display for ReqwestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl std::error::Error for ReqwestError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
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
    pub struct ReqwestFuture {
        #[pin]
        state: State,
        one_request: bool,
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

impl Future for ReqwestFuture {
    type Output = Result<http::Response<Body>, ReqwestError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let one_request = *this.one_request;
        let wrap = |error| ReqwestError { error, one_request };
        match this.state.project() {
            StateProj::Sent { pending } => pending.poll(cx).map_ok(into_http).map_err(wrap),
            StateProj::Refused { error } => match error.take() {
                Some(error) => Poll::Ready(Err(wrap(error))),
                None => panic!("`ReqwestFuture` polled after it finished"),
            },
        }
    }
}

impl fmt::Debug for ReqwestFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestFuture").finish_non_exhaustive()
    }
}
