//! [`GrpcPolicies`]: policies by the method that is called.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use super::session::GrpcSession;
use crate::policy::{InvalidPolicy, Part, Policy, RequestHead, RetryPolicy};

/// The name of all methods that have none.
pub(crate) const OTHERS: &str = "/";

/// Policies by the method of a gRPC call, as a service config has them: that of the method itself,
/// else that of its service, else the one for all others.
///
/// A service config is read into this by [`import::grpc`](crate::config::import::grpc) (feature
/// `serde`). Written by hand:
///
/// ```
/// use tower_http_retry::{RetryLayer, policy::{GrpcPolicies, RetryPolicy}, reason::GrpcCode};
///
/// // One throttling for all, since clones share it.
/// let usual = RetryPolicy::grpc();
/// let orders = usual.to_builder().max_attempts(2).build()?;
/// let lookup = usual
///     .to_builder()
///     .retryable_status_codes([GrpcCode::Unavailable, GrpcCode::DeadlineExceeded])
///     .build()?;
/// let policies = GrpcPolicies::new(usual)
///     .name("/shop.Orders/", orders)?
///     .name("/shop.Orders/Lookup", lookup)?;
///
/// let attempts = |path| policies.get(path).total().to_string();
/// assert_eq!(attempts("/shop.Orders/Lookup"), "3");
/// assert_eq!(attempts("/shop.Orders/Place"), "1");
/// assert_eq!(attempts("/shop.Stock/Lookup"), "3");
/// let layer = RetryLayer::new(policies);
/// # Ok::<(), tower_http_retry::policy::InvalidPolicy>(())
/// ```
///
/// The look-up neither allocates nor locks. Clones share the policies.
#[derive(Clone)]
pub struct GrpcPolicies {
    names: Arc<HashMap<Box<str>, Named>>,
    others: Named,
}

/// What some methods have.
#[derive(Clone)]
struct Named {
    policy: RetryPolicy,
    timeout: Option<Duration>,
}

impl From<RetryPolicy> for Named {
    fn from(policy: RetryPolicy) -> Self {
        let timeout = None;
        Self { policy, timeout }
    }
}

impl GrpcPolicies {
    /// `others` is for all methods without a name.
    pub fn new(others: RetryPolicy) -> Self {
        Self {
            names: Arc::default(),
            others: others.into(),
        }
    }

    /// Adds the policy for a method, `/package.Service/Method`, or for the other methods of a
    /// service, `/package.Service/`.
    ///
    /// # Errors
    ///
    /// A name that is neither, or that has a policy already.
    pub fn name(mut self, name: &str, policy: RetryPolicy) -> Result<Self, InvalidPolicy> {
        let wrong = |allowed| InvalidPolicy::new("name", name.escape_debug(), allowed);
        let parts = name.strip_prefix('/').and_then(|name| name.split_once('/'));
        if !parts.is_some_and(|(service, method)| !service.is_empty() && !method.contains('/')) {
            return Err(wrong(
                "`/package.Service/Method` for a method, `/package.Service/` for a service",
            ));
        }
        // Only clones that are kept from before make this a copy.
        let names = Arc::make_mut(&mut self.names);
        if names.contains_key(name) {
            return Err(wrong("a name once"));
        }
        names.insert(name.into(), policy.into());
        Ok(self)
    }

    /// How long a call of what was [named](Self::name) so may take at most, all attempts and waits
    /// together; `/` is the name of all that have none. It is a service config's `timeout`.
    ///
    /// A call has the shortest of this, its own deadline
    /// ([`RequestDeadline`](crate::RequestDeadline), or `grpc-timeout` with
    /// [`grpc_headers`](crate::RetryLayer::grpc_headers)) and the layer's. As in a service config, a
    /// method with a policy of its own does not have the timeout of its service.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_http_retry::policy::{GrpcPolicies, RetryPolicy};
    ///
    /// let policy = RetryPolicy::grpc();
    /// let policies = GrpcPolicies::new(policy.clone())
    ///     .timeout("/", Duration::from_secs(30))?
    ///     .name("/shop.Stock/Lookup", policy)?
    ///     .timeout("/shop.Stock/Lookup", Duration::from_millis(500))?;
    /// # let _ = policies;
    /// # Ok::<(), tower_http_retry::policy::InvalidPolicy>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What was not named.
    pub fn timeout(mut self, name: &str, timeout: Duration) -> Result<Self, InvalidPolicy> {
        let named = match name {
            OTHERS => Some(&mut self.others),
            name => Arc::make_mut(&mut self.names).get_mut(name),
        };
        let named = named.ok_or_else(|| {
            let allowed = "a name that has a policy, or `/` for all others";
            InvalidPolicy::new("name", name.escape_debug(), allowed)
        })?;
        named.timeout = Some(timeout);
        Ok(self)
    }

    /// The policy of the method with this path, `/package.Service/Method`.
    pub fn get(&self, path: &str) -> &RetryPolicy {
        &self.named(path).policy
    }

    fn named(&self, path: &str) -> &Named {
        self.names
            .get(path)
            .or_else(|| {
                let (service, _) = path.rsplit_once('/')?;
                self.names.get(&path[..=service.len()])
            })
            .unwrap_or(&self.others)
    }
}

impl Policy for GrpcPolicies {
    type Session = GrpcSession;

    fn session(&self, request: &RequestHead<'_>) -> GrpcSession {
        let Named { policy, timeout } = self.named(request.uri().path());
        GrpcSession::new(policy.session(request), *timeout)
    }

    fn parts(&self, visit: &mut dyn FnMut(Part<'_>)) {
        self.others.policy.parts(visit);
        let mut names: Vec<_> = self.names.iter().collect();
        names.sort_by_key(|(name, _)| *name);
        for (name, Named { policy, .. }) in names {
            policy.parts(&mut |part| visit(part.within(name)));
        }
    }
}

impl fmt::Debug for GrpcPolicies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcPolicies")
            .field("names", &self.names.keys())
            .finish_non_exhaustive()
    }
}
