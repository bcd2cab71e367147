//! [`RedirectLayer`]: what a user writes in a `ServiceBuilder`.

use std::{sync::Arc, time::Duration};

use http::HeaderName;
use tower_layer::Layer;

use super::{Redirect, rules::Rules};
use crate::{
    body::{CloneAny, CloneBody, RecordBody},
    policy::RetryPolicy,
};

/// Follows redirects above a [`RetryLayer`](crate::RetryLayer); see the [module](super).
#[derive(Clone, Debug)]
pub struct RedirectLayer<R = CloneBody> {
    rules: Arc<Rules>,
    rewind: R,
}

impl RedirectLayer {
    /// Follows redirects within the limits of `policy`, which should be that of the retries below.
    /// A request's own [`RetryPolicy`], in its extensions, takes its place.
    pub fn new(policy: &RetryPolicy) -> Self {
        Self {
            rules: Arc::new(Rules::new(policy.clone())),
            rewind: CloneBody,
        }
    }
}

impl<R> RedirectLayer<R> {
    /// The time for all hops, attempts and waits together. The retries below end what takes
    /// longer. A request's own [`RequestDeadline`](crate::RequestDeadline) takes its place.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.change().deadline = Some(deadline);
        self
    }

    /// Headers that hold secrets, and so are not sent to another origin: in addition to
    /// `Authorization`, `Cookie` and `Proxy-Authorization`, or under
    /// [`urllib3`](RetryPolicy::urllib3)'s rules in place of them, as there.
    ///
    /// ```
    /// use http::HeaderName;
    /// use tower_http_retry::{policy::RetryPolicy, redirect::RedirectLayer};
    ///
    /// let layer = RedirectLayer::new(&RetryPolicy::default())
    ///     .remove_headers_on_redirect([HeaderName::from_static("x-api-key")]);
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn remove_headers_on_redirect(
        mut self,
        headers: impl IntoIterator<Item = HeaderName>,
    ) -> Self {
        self.change().remove(headers);
        self
    }

    /// Follows so many redirects at most, whatever the policy says of `redirect` and `total`, and
    /// takes none of them from `total`: as browsers and most clients count.
    ///
    /// ```
    /// use tower_http_retry::{policy::RetryPolicy, redirect::RedirectLayer};
    ///
    /// let layer = RedirectLayer::new(&RetryPolicy::default()).max_redirects(10);
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn max_redirects(mut self, max: u32) -> Self {
        self.change().own_limit = Some(max);
        self
    }

    /// Whether a redirect that is not followed is an error. By default it is returned as it is, with
    /// its report; under [`urllib3`](RetryPolicy::urllib3)'s rules it is an error. Where `redirect` or
    /// `total` is `false` it is returned in any case, as there.
    #[must_use]
    pub fn raise_on_redirect(mut self, raise: bool) -> Self {
        self.change().raise = Some(raise);
        self
    }

    /// Keeps up to `limit` bytes of each request body while it is sent, so that 307 and 308 can be
    /// followed with bodies of any type.
    pub fn replay_bodies(self, limit: u64) -> RedirectLayer<RecordBody> {
        self.rewind(RecordBody::new(limit))
    }

    /// Sends clones of bodies of any type that is `Clone`; see
    /// [`RetryLayer::clone_bodies`](crate::RetryLayer::clone_bodies) for what that promises.
    pub fn clone_bodies(self) -> RedirectLayer<CloneAny> {
        self.rewind(CloneAny)
    }

    /// Sends bodies a second time in a way of the user's own.
    pub fn rewind<R2>(self, rewind: R2) -> RedirectLayer<R2> {
        RedirectLayer {
            rules: self.rules,
            rewind,
        }
    }

    fn change(&mut self) -> &mut Rules {
        Arc::make_mut(&mut self.rules)
    }
}

impl<S, R: Clone> Layer<S> for RedirectLayer<R> {
    type Service = Redirect<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Redirect::new(inner, self.rewind.clone(), Arc::clone(&self.rules))
    }
}
