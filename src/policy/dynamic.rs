//! Policies behind a pointer, for stacks whose policy is chosen at run time.

use std::{fmt, sync::Arc};

use super::{Part, Policy, RequestHead, Session};

/// A [`Policy`] whose sessions are boxed, so that it can be a trait object.
///
/// Implemented for every policy that is `Clone` and has sendable sessions. `Box<dyn DynPolicy>`
/// is a policy and `Clone`, so that a layer can be made of it; `Arc<dyn DynPolicy>` is so without
/// copying what is inside.
pub trait DynPolicy: Send + Sync {
    /// Starts a request.
    fn boxed_session(&self, request: &RequestHead<'_>) -> Box<dyn Session + Send>;

    /// [`Policy::parts`].
    fn visit_parts(&self, visit: &mut dyn FnMut(Part<'_>));

    /// The same policy once more.
    fn boxed_clone<'a>(&self) -> Box<dyn DynPolicy + 'a>
    where
        Self: 'a;
}

impl<P> DynPolicy for P
where
    P: Policy + Clone + Send + Sync,
    P::Session: Send + 'static,
{
    fn boxed_session(&self, request: &RequestHead<'_>) -> Box<dyn Session + Send> {
        Box::new(self.session(request))
    }

    fn visit_parts(&self, visit: &mut dyn FnMut(Part<'_>)) {
        self.parts(visit);
    }

    fn boxed_clone<'a>(&self) -> Box<dyn DynPolicy + 'a>
    where
        Self: 'a,
    {
        Box::new(self.clone())
    }
}

impl Clone for Box<dyn DynPolicy + '_> {
    fn clone(&self) -> Self {
        (**self).boxed_clone()
    }
}

impl Policy for dyn DynPolicy + '_ {
    type Session = Box<dyn Session + Send>;

    fn session(&self, request: &RequestHead<'_>) -> Self::Session {
        self.boxed_session(request)
    }

    fn parts(&self, visit: &mut dyn FnMut(Part<'_>)) {
        self.visit_parts(visit);
    }
}

impl Policy for Box<dyn DynPolicy + '_> {
    type Session = Box<dyn Session + Send>;

    fn session(&self, request: &RequestHead<'_>) -> Self::Session {
        (**self).boxed_session(request)
    }

    fn parts(&self, visit: &mut dyn FnMut(Part<'_>)) {
        (**self).visit_parts(visit);
    }
}

/// Any policy, cheap to clone; also the form in which a policy of any type travels in a
/// request's extensions and overrides the layer's for that request.
///
/// ```
/// use tower_http_retry::policy::{RetryPolicy, SharedPolicy};
///
/// let mut request = http::Request::get("http://example.com/").body(())?;
/// request.extensions_mut().insert(SharedPolicy::new(RetryPolicy::urllib3()));
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone)]
pub struct SharedPolicy(Arc<dyn DynPolicy>);

impl SharedPolicy {
    /// Shares `policy`.
    pub fn new<P>(policy: P) -> Self
    where
        P: Policy + Send + Sync + 'static,
        P::Session: Send + 'static,
    {
        // An `Arc` of any policy is `Clone`.
        Self(Arc::new(Arc::new(policy)))
    }
}

impl Policy for SharedPolicy {
    type Session = Box<dyn Session + Send>;

    fn session(&self, request: &RequestHead<'_>) -> Self::Session {
        self.0.boxed_session(request)
    }

    fn parts(&self, visit: &mut dyn FnMut(Part<'_>)) {
        self.0.visit_parts(visit);
    }
}

impl fmt::Debug for SharedPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedPolicy").finish_non_exhaustive()
    }
}
