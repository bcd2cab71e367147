//! [`RetryRequest`]: a request that is being built.

use std::{fmt, future::Future, time::Duration};

use ::reqwest::{
    Body, Request, RequestBuilder, Response,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use http::Extensions;

use super::RetryClient;
use crate::{
    error::RetryError,
    policy::{Policy, RetryPolicy},
};

/// reqwest's `RequestBuilder` for a [`RetryClient`].
///
/// What needs no feature of reqwest's has its own name here; [`with`](Self::with) does all else that
/// reqwest's builder can do.
///
/// ```no_run
/// use tower_http_retry::{policy::Idempotent, reqwest::RetryClient};
///
/// # async fn run(client: RetryClient) -> Result<(), Box<dyn std::error::Error>> {
/// let response = client
///     .post("https://example.com/search")
///     .with(|request| request.version(reqwest::Version::HTTP_11)) // Or `request.json(&query)`.
///     .extension(Idempotent)
///     .send()
///     .await?;
/// # let _ = response;
/// # Ok(())
/// # }
/// ```
#[must_use = "a request is not sent before `send`"]
pub struct RetryRequest<P = RetryPolicy> {
    client: RetryClient<P>,
    builder: RequestBuilder,
    extensions: Extensions,
}

impl<P: Policy + Clone> RetryRequest<P> {
    pub(super) fn new(client: RetryClient<P>, builder: RequestBuilder) -> Self {
        Self {
            client,
            builder,
            extensions: Extensions::new(),
        }
    }

    /// Whatever reqwest's builder can do: `.with(|request| request.json(&order))`.
    pub fn with(mut self, change: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Self {
        self.builder = change(self.builder);
        self
    }

    /// Adds a header.
    pub fn header<K, V>(self, name: K, value: V) -> Self
    where
        HeaderName: TryFrom<K>,
        <HeaderName as TryFrom<K>>::Error: Into<http::Error>,
        HeaderValue: TryFrom<V>,
        <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
    {
        self.with(|request| request.header(name, value))
    }

    /// Adds headers, in place of those of the same names.
    pub fn headers(self, headers: HeaderMap) -> Self {
        self.with(|request| request.headers(headers))
    }

    /// Basic authentication.
    pub fn basic_auth(
        self,
        username: impl fmt::Display,
        password: Option<impl fmt::Display>,
    ) -> Self {
        self.with(|request| request.basic_auth(username, password))
    }

    /// Authentication by a token.
    pub fn bearer_auth(self, token: impl fmt::Display) -> Self {
        self.with(|request| request.bearer_auth(token))
    }

    /// The body.
    pub fn body(self, body: impl Into<Body>) -> Self {
        self.with(|request| request.body(body))
    }

    /// The time that each attempt may take, in place of that of the client.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|request| request.timeout(timeout))
    }

    /// What this request says for itself: [`Idempotent`](crate::policy::Idempotent),
    /// [`RetryDisabled`](crate::policy::RetryDisabled), [`RequestDeadline`](crate::RequestDeadline),
    /// or a [`RetryPolicy`] of its own.
    pub fn extension<T: Clone + Send + Sync + 'static>(mut self, mark: T) -> Self {
        self.extensions.insert(mark);
        self
    }

    /// The request as it is now, without its [extensions](Self::extension).
    ///
    /// # Errors
    ///
    /// The URL, a header or the body could not be made.
    pub fn build(self) -> Result<Request, ::reqwest::Error> {
        self.builder.build()
    }

    /// Sends the request.
    ///
    /// # Errors
    ///
    /// As [`RetryClient::execute`]; also, with no attempt in its report, if the request could not be
    /// built.
    pub fn send(self) -> impl Future<Output = Result<Response, RetryError>> + use<P> {
        self.client.send(self.builder.build(), self.extensions)
    }
}

impl<P> fmt::Debug for RetryRequest<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.builder, f)
    }
}
