//! `tower::retry` with a policy that somebody might write: three retries of what may be transient,
//! tower's budget, tower's backoff.

use std::{
    future::{Ready, ready},
    sync::Arc,
    time::Duration,
};

use http::{Method, Request, Response};
use tower::{
    retry::{
        Policy, Retry,
        backoff::{ExponentialBackoff, ExponentialBackoffMaker, MakeBackoff as _},
        budget::{Budget as _, TpsBudget},
    },
    util::rng::HasherRng,
};

/// `TpsBudget` and `ExponentialBackoff`, both carried by every request as they are, but without the
/// wait: one of zero would need a timer, and so the peer is cheaper than it is.
#[derive(Clone)]
pub(crate) struct Peer {
    left: u32,
    budget: Arc<TpsBudget>,
    #[expect(dead_code, reason = "carried")]
    backoff: ExponentialBackoff<HasherRng>,
}

impl<B: Clone, D, E> Policy<Request<B>, Response<D>, E> for Peer {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        request: &mut Request<B>,
        result: &mut Result<Response<D>, E>,
    ) -> Option<Ready<()>> {
        let transient = match result {
            Ok(response) => matches!(response.status().as_u16(), 429 | 500 | 502 | 503 | 504),
            Err(_) => true,
        };
        if !transient {
            self.budget.deposit();
            return None;
        }
        let repeatable = matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS
        );
        if !repeatable || self.left == 0 || !self.budget.withdraw() {
            return None;
        }
        self.left -= 1;
        Some(ready(()))
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        Some(request.clone())
    }
}

pub(crate) fn peer<S>(inner: S) -> Retry<Peer, S> {
    let (min, max) = (Duration::from_millis(100), Duration::from_secs(20));
    let maker = ExponentialBackoffMaker::new(min, max, 0.5, HasherRng::default());
    // A reserve that nothing here runs into.
    let budget = TpsBudget::new(Duration::from_secs(10), 1_000_000_000, 1.0);
    let policy = Peer {
        left: 3,
        budget: Arc::new(budget),
        backoff: maker.expect("a backoff").make_backoff(),
    };
    Retry::new(policy, inner)
}

/// Never retries, and so clones nothing.
#[derive(Clone)]
pub(crate) struct Never;

impl<Req, Res, E> Policy<Req, Res, E> for Never {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut Req, _: &mut Result<Res, E>) -> Option<Ready<()>> {
        None
    }

    fn clone_request(&mut self, _: &Req) -> Option<Req> {
        None
    }
}

pub(crate) fn never<S>(inner: S) -> Retry<Never, S> {
    Retry::new(Never, inner)
}
