//! Policies that are exchanged while a service runs.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;

use super::{Part, Policy, RequestHead};

/// A policy that can be exchanged while it is in use, for instance when its configuration
/// changes.
///
/// The layer gets one clone, and another is kept as the handle. The exchange is atomic: a request
/// that starts before it keeps the old policy for all of its attempts, one that starts after it
/// has the new one, and none has parts of both.
///
/// ```
/// use tower_http_retry::{
///     RetryLayer,
///     policy::{Limit, Reloadable, RetryPolicy},
/// };
///
/// let policy = Reloadable::new(RetryPolicy::default());
/// let layer = RetryLayer::new(policy.clone());
///
/// // Later, somewhere else:
/// let old = policy.replace(RetryPolicy::builder().total(1).build()?);
/// assert_eq!(old.total(), Limit::AtMost(3));
/// # let _ = layer;
/// # Ok::<(), tower_http_retry::policy::InvalidPolicy>(())
/// ```
///
/// A new policy has a budget of its own, which is full, unless it is made of the old one
/// ([`RetryPolicy::to_builder`](super::RetryPolicy::to_builder)) or given the old one's:
/// exchanging policies all the time would make a budget useless.
///
/// # What it costs
///
/// Starting a request takes no lock, waits for nobody and allocates nothing, also while the policy
/// is being exchanged.
///
/// # Clone
///
/// Clones share the policy: what one is given, all have.
pub struct Reloadable<P> {
    current: Arc<ArcSwap<P>>,
}

impl<P> Reloadable<P> {
    /// Starts with `policy`.
    pub fn new(policy: P) -> Self {
        Self {
            current: Arc::new(ArcSwap::from_pointee(policy)),
        }
    }

    /// Exchanges the policy for requests that start from now on; answers the one before. It is
    /// dropped when the last of its requests has ended.
    pub fn replace(&self, policy: P) -> Arc<P> {
        self.current.swap(Arc::new(policy))
    }

    /// Exchanges the policy for what `change` makes of it, and answers the one before. When
    /// another thread exchanges it meanwhile, `change` is asked again.
    pub fn update(&self, mut change: impl FnMut(&P) -> P) -> Arc<P> {
        self.current.rcu(|policy| change(policy))
    }

    /// The policy that requests have which start now.
    pub fn current(&self) -> Arc<P> {
        self.current.load_full()
    }
}

impl<P: Policy> Policy for Reloadable<P> {
    type Session = P::Session;

    fn session(&self, request: &RequestHead<'_>) -> Self::Session {
        self.current.load().session(request)
    }

    fn parts(&self, visit: &mut dyn FnMut(Part<'_>)) {
        self.current.load().parts(visit);
    }
}

impl<P: Default> Default for Reloadable<P> {
    fn default() -> Self {
        Self::new(P::default())
    }
}

// Not derived: the policy need not be `Clone`.
impl<P> Clone for Reloadable<P> {
    fn clone(&self) -> Self {
        Self {
            current: Arc::clone(&self.current),
        }
    }
}

impl<P: fmt::Debug> fmt::Debug for Reloadable<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reloadable").field(&*self.current()).finish()
    }
}
