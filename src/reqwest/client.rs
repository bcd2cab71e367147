//! [`RetryClient`]: reqwest in, reqwest out.

use std::{fmt, future::Future, future::poll_fn};

use ::reqwest::{
    Body, Client, ClientBuilder, Error, IntoUrl, Method, Request, RequestBuilder, Response,
};
use http::Extensions;
use tower_layer::Layer;
use tower_service::Service;

use super::{ReqwestService, RetryRequest, bodies::KeepBody};
use crate::{
    error::RetryError,
    policy::{Policy, RetryPolicy},
    redirect::{Redirect, RedirectLayer},
    retry::{Retry, RetryLayer},
    stack::OwnTimeout,
};

/// So many redirects reqwest follows.
const REDIRECTS: u32 = 10;
/// So much of a stream is kept.
const STREAMED: u64 = 64 * 1024;

type Stack<P> = Redirect<Retry<ReqwestService, P, KeepBody>, KeepBody>;

/// reqwest's client with retries: requests and responses are reqwest's own.
///
/// ```no_run
/// use std::time::Duration;
/// use tower_http_retry::{RetryLayer, RetryReport, policy::RetryPolicy, reqwest::RetryClient};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = RetryLayer::new(RetryPolicy::default()).attempt_timeout(Duration::from_secs(5));
/// let client: RetryClient = RetryClient::build(layer, reqwest::Client::builder())?;
///
/// let response = client.get("https://example.com/").send().await?.error_for_status()?;
/// if let Some(report) = response.extensions().get::<RetryReport>() {
///     println!("{report}");
/// }
/// println!("{}", response.text().await?);
/// # Ok(())
/// # }
/// ```
///
/// Clones are cheap, and share the connections and the retry budget.
///
/// # Bodies
///
/// What is in memory is sent again whatever its size, and is not copied. A stream is recorded while
/// it is sent, up to 64 KiB or [another limit](Self::replay_streams); a multipart form is a stream.
/// One that turns out to be longer is sent once, and a failure then says
/// [`BodyNotReplayable`](crate::policy::StopReason::BodyNotReplayable).
///
/// # Redirects
///
/// They are followed above the retries, so that each hop is a request of its own, and what fails on
/// the second hop does not repeat the first. As in reqwest, there are at most ten, or
/// [another number](Self::max_redirects), and one that is not followed is an
/// [error](crate::RetryErrorKind::Redirect). Other than in reqwest, none leads from `https` to
/// `http`, none leads back to where the request was before, no `Referer` is sent, a `Retry-After`
/// is waited for, and a `Policy` given to the builder has no effect.
///
/// # Timeouts
///
/// The builder's timeouts and that of one request are those of each attempt;
/// [`RetryLayer::deadline`] is the time for all attempts, hops and waits.
pub struct RetryClient<P = RetryPolicy> {
    layer: RetryLayer<P, KeepBody>,
    redirects: RedirectLayer<KeepBody>,
    max_redirects: u32,
    stack: Stack<P>,
}

impl<P: Policy + Clone> RetryClient<P> {
    /// Builds the client, and puts the retries around it. Its own redirects and retries are switched
    /// off, as [`ReqwestService::build`] does, whatever `client` says of them.
    ///
    /// # Errors
    ///
    /// As [`ClientBuilder::build`]: the TLS backend or the system's resolver could not be set up,
    /// or a setting is wrong.
    pub fn build(layer: RetryLayer<P>, client: ClientBuilder) -> Result<Self, Error> {
        let service = ReqwestService::build(client)?;
        let bodies = KeepBody::new(STREAMED);
        let layer = layer.rewind(bodies);
        let mut redirects = RedirectLayer::new(&RetryPolicy::default())
            .raise_on_redirect(true)
            .rewind(bodies);
        if let Some(deadline) = layer.whole_deadline() {
            redirects = redirects.deadline(deadline);
        }
        Ok(Self::stacked(layer, redirects, REDIRECTS, service))
    }

    fn stacked(
        layer: RetryLayer<P, KeepBody>,
        redirects: RedirectLayer<KeepBody>,
        max_redirects: u32,
        service: ReqwestService,
    ) -> Self {
        let redirects = redirects.max_redirects(max_redirects);
        let stack = redirects.layer(layer.layer(service));
        Self {
            layer,
            redirects,
            max_redirects,
            stack,
        }
    }

    /// Follows so many redirects at most, in place of ten; with 0, each is the response.
    #[must_use]
    pub fn max_redirects(self, max: u32) -> Self {
        let service = self.stack.into_inner().into_inner();
        Self::stacked(self.layer, self.redirects, max, service)
    }

    /// Keeps up to `limit` bytes of a stream, in place of 64 KiB.
    #[must_use]
    pub fn replay_streams(self, limit: u64) -> Self {
        let bodies = KeepBody::new(limit);
        let (layer, redirects) = (self.layer.rewind(bodies), self.redirects.rewind(bodies));
        let service = self.stack.into_inner().into_inner();
        Self::stacked(layer, redirects, self.max_redirects, service)
    }

    /// The client below the retries. What it sends by itself is sent once, and no redirect is
    /// followed.
    pub fn get_ref(&self) -> &Client {
        self.stack.get_ref().get_ref().get_ref()
    }

    /// A GET request.
    pub fn get(&self, url: impl IntoUrl) -> RetryRequest<P> {
        self.request(Method::GET, url)
    }

    /// A HEAD request.
    pub fn head(&self, url: impl IntoUrl) -> RetryRequest<P> {
        self.request(Method::HEAD, url)
    }

    /// A POST request.
    pub fn post(&self, url: impl IntoUrl) -> RetryRequest<P> {
        self.request(Method::POST, url)
    }

    /// A PUT request.
    pub fn put(&self, url: impl IntoUrl) -> RetryRequest<P> {
        self.request(Method::PUT, url)
    }

    /// A PATCH request.
    pub fn patch(&self, url: impl IntoUrl) -> RetryRequest<P> {
        self.request(Method::PATCH, url)
    }

    /// A DELETE request.
    pub fn delete(&self, url: impl IntoUrl) -> RetryRequest<P> {
        self.request(Method::DELETE, url)
    }

    /// A request of any method. A URL that cannot be read is an error when it is sent, as in
    /// reqwest.
    pub fn request(&self, method: Method, url: impl IntoUrl) -> RetryRequest<P> {
        self.with_builder(self.get_ref().request(method, url))
    }

    /// Takes a request that was built with another client of reqwest's, and sends it with this one.
    pub fn with_builder(&self, builder: RequestBuilder) -> RetryRequest<P> {
        RetryRequest::new(self.clone(), builder)
    }

    /// Sends a request.
    ///
    /// # Errors
    ///
    /// The [`RetryError`] has the report of all attempts; reqwest's own error is its source, and
    /// [`downcast_inner`](RetryError::downcast_inner) finds it. A status is no error, as in reqwest,
    /// unless the policy says so.
    pub fn execute(
        &self,
        request: Request,
    ) -> impl Future<Output = Result<Response, RetryError>> + use<P> {
        self.send(Ok(request), Extensions::new())
    }

    pub(super) fn send(
        &self,
        request: Result<Request, Error>,
        extensions: Extensions,
    ) -> impl Future<Output = Result<Response, RetryError>> + use<P> {
        let (stack, follows) = (self.stack.clone(), self.max_redirects > 0);
        async move {
            let request = request.and_then(|request| into_http(request, extensions));
            let request = request.map_err(|error| RetryError::no_request(error.into()))?;
            let response = match follows {
                true => call(stack, request).await?,
                false => call(stack.into_inner(), request).await?,
            };
            Ok(Response::from(response))
        }
    }
}

async fn call<S>(mut stack: S, request: http::Request<Body>) -> Result<S::Response, S::Error>
where
    S: Service<http::Request<Body>>,
{
    poll_fn(|cx| stack.poll_ready(cx)).await?;
    stack.call(request).await
}

fn into_http(request: Request, extensions: Extensions) -> Result<http::Request<Body>, Error> {
    let timeout = request.timeout().copied();
    let mut request = http::Request::try_from(request)?;
    request.extensions_mut().extend(extensions);
    if let Some(timeout) = timeout {
        // reqwest's own mark of it would not follow a redirect to another origin.
        request.extensions_mut().insert(OwnTimeout(timeout));
    }
    Ok(request)
}

impl<P: Clone> Clone for RetryClient<P> {
    fn clone(&self) -> Self {
        Self {
            layer: self.layer.clone(),
            redirects: self.redirects.clone(),
            max_redirects: self.max_redirects,
            stack: self.stack.clone(),
        }
    }
}

impl<P: fmt::Debug> fmt::Debug for RetryClient<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryClient")
            .field("policy", self.layer.policy())
            .field("max_redirects", &self.max_redirects)
            .finish_non_exhaustive()
    }
}
