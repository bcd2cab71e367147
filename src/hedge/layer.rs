//! [`HedgeLayer`] and [`HedgeBuilder`]: what a user writes in a `ServiceBuilder`.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use http::{Uri, request::Parts};
use tokio::time::Instant;
use tower_layer::Layer;

use super::{
    Hedge, HedgeStats,
    shared::{Delay, FreePlaces, Shared},
};
use crate::{
    BoxError,
    body::{CloneAny, CloneBody, CloneWith, CopyRecorded, Reopen},
    budget::{OwnLine, RetryBudget, Scope, table::Table},
    own_header::OwnHeader,
    policy::{InvalidPolicy, RetryPolicy},
};

const LOAD: f64 = 0.05;
const SCOPES: usize = 128;
const MAX_SCOPES: usize = 1 << 16;
/// Hedges that can be due at once although the others have used up what was earned.
const CAPACITY: u32 = 20;

/// Sends a request that is late a second time, and takes the first good answer.
///
/// Belongs below the [`RetryLayer`](crate::RetryLayer), whose policy it is given; see the
/// [module](super).
///
/// `R` is how a body gets to two places at once, as with the retries: [`CloneBody`] for bodies whose
/// clones are [whole](crate::body::WholeBody), and what [`recorded_bodies`](Self::recorded_bodies)
/// and its siblings make of it.
///
/// # Clone
///
/// Clones, and the services that they make, share the estimates, the budget and the counters.
///
/// ```
/// use tower::ServiceBuilder;
/// use tower_http_retry::{RetryLayer, hedge::HedgeLayer, policy::RetryPolicy};
///
/// let policy = RetryPolicy::default();
/// let hedges = HedgeLayer::new(&policy);
/// let stack = ServiceBuilder::new()
///     .layer(RetryLayer::new(policy))
///     .layer(hedges.clone());
/// # let _ = stack;
/// assert_eq!(hedges.stats().sent, 0);
/// ```
#[derive(Clone)]
pub struct HedgeLayer<R = CloneBody> {
    rewind: R,
    shared: Arc<Shared>,
}

impl HedgeLayer {
    /// Hedges the requests that `policy` would repeat, at an extra load of at most 5 %.
    ///
    /// Each hedge also takes from the policy's [budget](RetryPolicy::budget), which it shares with
    /// the retries. What it takes for a failure is what the policy's statuses are, and every status
    /// from 500 on.
    pub fn new(policy: &RetryPolicy) -> Self {
        Self::builder(policy).build_unchecked()
    }

    /// Starts with the settings of [`new`](Self::new).
    pub fn builder(policy: &RetryPolicy) -> HedgeBuilder {
        HedgeBuilder {
            policy: policy.clone(),
            delay: Delay::Measured,
            load: LOAD,
            scope: Scope::PerAuthority,
            scopes: SCOPES,
            retry_budget: None,
            free_places: None,
            header: None,
            elsewhere: false,
        }
    }
}

impl<R> HedgeLayer<R> {
    /// Sends copies of bodies that the retries above
    /// [record](crate::RetryLayer::replay_bodies), once the recording is whole: until the
    /// request was read to its end, and where it is longer than the limit, there is no hedge. Nor
    /// is there one in the last attempt that the policy allows, which is not recorded. The first
    /// request that is late too early is logged, as the finding
    /// [`hedge-before-recorded`](crate::lint::LintCode::HedgeBeforeRecorded) of
    /// [`lint`](crate::lint).
    pub fn recorded_bodies(self) -> HedgeLayer<CopyRecorded> {
        self.rewind(CopyRecorded)
    }

    /// Sends what `try_clone` makes of a body; `None` says that this one cannot be cloned. Whoever
    /// calls this vouches for it, and the attempt's record
    /// [notes](crate::policy::Note::BodyVouched) that.
    pub fn clone_bodies_with<F, B>(self, try_clone: F) -> HedgeLayer<CloneWith<F>>
    where
        F: Fn(&B) -> Option<B>,
    {
        self.rewind(CloneWith::new(try_clone))
    }

    /// Sends clones of bodies of any type that is `Clone`. Whoever calls this vouches that they are
    /// whole and share nothing, and the attempt's record
    /// [notes](crate::policy::Note::BodyVouched) that.
    pub fn clone_bodies(self) -> HedgeLayer<CloneAny> {
        self.rewind(CloneAny)
    }

    /// Makes the body of each hedge with `factory`, from the request's head.
    pub fn reopen_bodies<F, B, E>(self, factory: F) -> HedgeLayer<Reopen<F>>
    where
        F: Fn(&Parts) -> Result<B, E>,
        E: Into<BoxError>,
    {
        self.rewind(Reopen::new(factory))
    }

    fn rewind<R2>(self, rewind: R2) -> HedgeLayer<R2> {
        HedgeLayer {
            rewind,
            shared: self.shared,
        }
    }

    /// What became of all hedges so far.
    pub fn stats(&self) -> HedgeStats {
        self.shared.stats()
    }

    /// After what time a request to `uri` is late at this moment; `None` as long as too little is
    /// known, or where requests take more than a minute.
    pub fn delay(&self, uri: &Uri) -> Option<Duration> {
        self.shared.delay_of(uri)
    }
}

impl<S, R: Clone> Layer<S> for HedgeLayer<R> {
    type Service = Hedge<S, R>;

    fn layer(&self, inner: S) -> Hedge<S, R> {
        Hedge::new(inner, self.rewind.clone(), Arc::clone(&self.shared))
    }
}

impl<R> fmt::Debug for HedgeLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HedgeLayer")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

/// Builds a [`HedgeLayer`].
///
/// ```
/// use std::sync::Arc;
/// use tokio::sync::Semaphore;
/// use tower::{ServiceBuilder, limit::GlobalConcurrencyLimitLayer};
/// use tower_http_retry::{RetryLayer, hedge::HedgeLayer, policy::RetryPolicy};
///
/// let policy = RetryPolicy::default();
/// let places = Arc::new(Semaphore::new(64));
/// let free = Arc::clone(&places);
/// let hedges = HedgeLayer::builder(&policy)
///     .max_extra_load(0.02)
///     // No hedge takes the last place.
///     .free_places(move || free.available_permits())
///     .build()?;
/// let stack = ServiceBuilder::new()
///     .layer(RetryLayer::new(policy))
///     .layer(hedges)
///     .layer(GlobalConcurrencyLimitLayer::with_semaphore(places));
/// # let _ = stack;
/// # Ok::<_, tower_http_retry::policy::InvalidPolicy>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct HedgeBuilder {
    policy: RetryPolicy,
    delay: Delay,
    load: f64,
    scope: Scope,
    scopes: usize,
    retry_budget: Option<RetryBudget>,
    free_places: Option<FreePlaces>,
    header: Option<OwnHeader>,
    elsewhere: bool,
}

impl HedgeBuilder {
    /// The part of the requests that may be sent a second time. Default 0.05; from 0.001 to 0.5.
    ///
    /// It is both when and how often: a request is late when it takes longer than all but this
    /// part of those before it, and so many hedges there are at most, with 20 more that can be due
    /// at once.
    pub fn max_extra_load(mut self, part: f64) -> Self {
        self.load = part;
        self
    }

    /// Takes a request for late after this time, whatever others take; a millisecond at least.
    /// [`max_extra_load`](Self::max_extra_load) is still how many hedges there are at most.
    pub fn fixed_delay(mut self, delay: Duration) -> Self {
        self.delay = Delay::Fixed(delay);
        self
    }

    /// Which requests are compared with each other, and share a budget for hedges. Default
    /// [`Scope::PerAuthority`].
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// How many scopes there can be at once. Default 128; from 1 to 65536. Each that is in use
    /// takes about 2 KiB. Requests that find no place are neither measured nor hedged; one that
    /// was not used for two minutes is free.
    pub fn scopes(mut self, scopes: usize) -> Self {
        self.scopes = scopes;
        self
    }

    /// Takes from this budget, in place of the policy's: for a retry layer whose policy is none of
    /// this crate's own.
    pub fn retry_budget(mut self, budget: RetryBudget) -> Self {
        self.retry_budget = Some(budget);
        self
    }

    /// How many places a limit below has free at this moment. A hedge is then only sent if it does
    /// not take the last one, and if the service below is ready at once.
    ///
    /// Without it, a hedge waits until the service below is ready, as long as the request itself is
    /// under way.
    pub fn free_places<F>(mut self, free_places: F) -> Self
    where
        F: Fn() -> usize + Send + Sync + 'static,
    {
        self.free_places = Some(Arc::new(free_places));
        self
    }

    /// Says in this header that a request is a hedge, with the value 1, so that a server that has
    /// too much to do can turn hedges down first.
    pub fn header(mut self, header: OwnHeader) -> Self {
        self.header = Some(header);
        self
    }

    /// Lets a layer below that chooses between servers know where the first request went, so that its
    /// hedge goes to another: requests that may be hedged get a
    /// [`RequestState`](crate::stack::RequestState), unless they have one. That costs them two
    /// allocations.
    pub fn elsewhere(mut self) -> Self {
        self.elsewhere = true;
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// Names the first setting that is out of its range.
    pub fn build(self) -> Result<HedgeLayer, InvalidPolicy> {
        if !(0.001..=0.5).contains(&self.load) {
            let allowed = "from 0.001 to 0.5";
            return Err(InvalidPolicy::new("max_extra_load", self.load, allowed));
        }
        if let Delay::Fixed(delay) = self.delay {
            if self.delay.is_too_short() {
                let value = format_args!("{delay:?}");
                return Err(InvalidPolicy::new("fixed_delay", value, "1 ms or more"));
            }
        }
        if !(1..=MAX_SCOPES).contains(&self.scopes) {
            return Err(InvalidPolicy::new("scopes", self.scopes, "from 1 to 65536"));
        }
        Ok(self.build_unchecked())
    }

    fn build_unchecked(self) -> HedgeLayer {
        let own_budget = RetryBudget::builder()
            .ratio(self.load)
            .min_ratio(0.0)
            .min_per_second(0)
            .capacity(CAPACITY)
            .scope(self.scope.clone())
            .slots(self.scopes)
            .build()
            .expect("what is checked here is more than what a budget asks for");
        HedgeLayer {
            rewind: CloneBody,
            shared: Arc::new(Shared {
                policy: self.policy,
                delay: self.delay,
                load: self.load,
                estimates: Table::new(self.scopes),
                scope: self.scope,
                own_budget,
                retry_budget: self.retry_budget,
                free_places: self.free_places,
                header: self.header,
                elsewhere: self.elsewhere,
                origin: Instant::now(),
                said: AtomicBool::new(false),
                counters: OwnLine::default(),
            }),
        }
    }
}

impl fmt::Debug for HedgeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HedgeBuilder")
            .field("delay", &self.delay)
            .field("max_extra_load", &self.load)
            .field("scope", &self.scope)
            .field("scopes", &self.scopes)
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}
