//! [`RetryLayer`]: what a user writes in a `ServiceBuilder`.

use std::{
    error::Error,
    future::Future,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, SystemTime},
};

use http::request::Parts;
use tower_layer::Layer;

use super::{
    DrainLimit, LayerSettings, Retry, RetryContext,
    settings::{HookResult, Preparing},
};
use crate::{
    BoxError,
    body::{CloneAny, CloneBody, CloneWith, RecordBody, RecordedBody, Reopen},
    budget::InFlightLimit,
    classify::{Classify, Exchange, Opinion, Outcome, Stage, Vouch},
    observe::RetryEvent,
    policy::Policy,
    stack::AttemptInfo,
};

/// Where gRPC's servers read how many attempts there were.
pub(super) const GRPC_ATTEMPTS: &str = "grpc-previous-rpc-attempts";

/// Retries the requests of the service it wraps, by the rules of a
/// [`Policy`](crate::policy::Policy).
///
/// `R` is how request bodies are sent a second time: [`CloneBody`] for every body whose clones are
/// known to be [whole](crate::body::WholeBody), [`RecordBody`] after
/// [`replay_bodies`](Self::replay_bodies), [`Reopen`] after [`reopen_bodies`](Self::reopen_bodies),
/// [`CloneWith`] after [`clone_bodies_with`](Self::clone_bodies_with) and [`CloneAny`] after
/// [`clone_bodies`](Self::clone_bodies).
///
/// What a request has in its extensions is kept for its further attempts, and so lives through the
/// waits between them: a guard that is there, such as a permit or the guard of a span, is not
/// released before the request has ended.
///
/// # Panics
///
/// Waits and time limits use tokio's timer: the first request that really waits panics, with tokio's
/// words, where there is no runtime or one without `enable_time`. What is answered at once, or
/// repeated without a wait, needs none.
///
/// ```
/// use std::time::Duration;
/// use tower_http_retry::{RetryLayer, policy::RetryPolicy};
///
/// let layer = RetryLayer::new(RetryPolicy::default())
///     .attempt_timeout(Duration::from_secs(5))
///     .deadline(Duration::from_secs(20));
/// # let _: RetryLayer<RetryPolicy> = layer;
/// ```
#[derive(Clone, Debug)]
pub struct RetryLayer<P, R = CloneBody> {
    pub(super) policy: P,
    rewind: R,
    pub(super) settings: Arc<LayerSettings>,
    /// Whether the findings of lint were logged; shared by all clones.
    pub(super) linted: Arc<AtomicBool>,
}

impl<P> RetryLayer<P> {
    /// Retries by the rules of `policy`, with bodies whose clones are whole, without time limits.
    pub fn new(policy: P) -> Self {
        Self {
            policy,
            rewind: CloneBody,
            settings: Arc::default(),
            linted: Arc::default(),
        }
    }
}

impl<P, R> RetryLayer<P, R> {
    /// Keeps up to `limit` bytes of each request body while it is sent, so that bodies of any
    /// type can be sent again. A longer body is sent all the same; it is only not retried once
    /// more than `limit` bytes of it were read.
    pub fn replay_bodies(self, limit: u64) -> RetryLayer<P, RecordBody> {
        let mut layer = self.rewind(RecordBody::new(limit));
        layer.change().body_limit = Some(limit);
        layer
    }

    /// [`replay_bodies`](Self::replay_bodies) above a client that takes no body but its own: `wrap`
    /// makes that body of what is recorded, and the requests that come in have it, too.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
    /// use tower_http_retry::{BoxError, RetryLayer, policy::RetryPolicy};
    ///
    /// /// The only body that some client takes.
    /// struct OwnBody(UnsyncBoxBody<Bytes, BoxError>);
    ///
    /// impl OwnBody {
    ///     fn new<B>(body: B) -> Self
    ///     where
    ///         B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    ///     {
    ///         Self(body.map_err(Into::into).boxed_unsync())
    ///     }
    /// }
    /// # impl http_body::Body for OwnBody {
    /// #     type Data = Bytes;
    /// #     type Error = BoxError;
    /// #     fn poll_frame(
    /// #         mut self: std::pin::Pin<&mut Self>,
    /// #         cx: &mut std::task::Context<'_>,
    /// #     ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
    /// #         std::pin::Pin::new(&mut self.0).poll_frame(cx)
    /// #     }
    /// # }
    ///
    /// let layer = RetryLayer::new(RetryPolicy::default()).replay_bodies_as(64 * 1024, OwnBody::new);
    /// # let _ = layer;
    /// ```
    pub fn replay_bodies_as<F, B>(self, limit: u64, wrap: F) -> RetryLayer<P, RecordBody<F>>
    where
        F: Fn(RecordedBody<B>) -> B,
    {
        let mut layer = self.rewind(RecordBody::new(limit).wrapped(wrap));
        layer.change().body_limit = Some(limit);
        layer
    }

    /// Sends what `try_clone` makes of a body, for types that can say whether they can be cloned;
    /// `None` says that this one cannot, and then the request is sent only once.
    ///
    /// What it makes is not looked at. Whoever calls this vouches for it, and the record of each
    /// attempt that sends a clone [notes](crate::policy::Note::BodyVouched) that.
    ///
    /// ```
    /// use tower_http_retry::{RetryLayer, policy::RetryPolicy};
    ///
    /// enum Content { Text(String), Stream }
    ///
    /// let layer = RetryLayer::new(RetryPolicy::default()).clone_bodies_with(|body| match body {
    ///     Content::Text(text) => Some(Content::Text(text.clone())),
    ///     Content::Stream => None,
    /// });
    /// # let _ = layer;
    /// ```
    pub fn clone_bodies_with<F, B>(self, try_clone: F) -> RetryLayer<P, CloneWith<F>>
    where
        F: Fn(&B) -> Option<B>,
    {
        self.rewind(CloneWith::new(try_clone))
    }

    /// Sends clones of bodies of any type that is `Clone`.
    ///
    /// Whoever calls this vouches that a clone yields the whole content even after the body it was
    /// made of was sent. That is not so where the two share what sending uses up: the server then
    /// gets a request without content. The record of each attempt that sends a clone
    /// [notes](crate::policy::Note::BodyVouched) that.
    pub fn clone_bodies(self) -> RetryLayer<P, CloneAny> {
        self.rewind(CloneAny)
    }

    /// Makes the body of each further attempt with `factory`, from that attempt's head: for
    /// uploads that are too large to be kept.
    pub fn reopen_bodies<F, B, E>(self, factory: F) -> RetryLayer<P, Reopen<F>>
    where
        F: Fn(&Parts) -> Result<B, E>,
        E: Into<BoxError>,
    {
        self.rewind(Reopen::new(factory))
    }

    /// Sends bodies a second time in a way of the user's own.
    pub fn rewind<R2>(mut self, rewind: R2) -> RetryLayer<P, R2> {
        self.change().body_limit = None;
        RetryLayer {
            policy: self.policy,
            rewind,
            settings: self.settings,
            linted: self.linted,
        }
    }

    /// Adds a classifier, which can take an outcome for transient or forbid a retry. The first
    /// one with an opinion wins, in the order in which they were added.
    ///
    /// ```
    /// use tower_http_retry::{
    ///     RetryLayer,
    ///     classify::{Opinion, Outcome},
    ///     policy::RetryPolicy,
    /// };
    ///
    /// let layer = RetryLayer::new(RetryPolicy::default()).classify(|outcome: &Outcome<'_>| {
    ///     match outcome {
    ///         Outcome::Response { status, headers }
    ///             if status.as_u16() == 409 && headers.contains_key("x-try-again") =>
    ///         {
    ///             Opinion::Retry("the row is locked".into())
    ///         }
    ///         _ => Opinion::NoOpinion,
    ///     }
    /// });
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn classify<C>(mut self, classifier: C) -> Self
    where
        C: Classify + Send + Sync + 'static,
    {
        self.change().classifiers.push(Arc::new(classifier));
        self
    }

    /// Adds a classifier that sees the request as well: its method, URI, headers and extensions, and
    /// the attempt's number.
    ///
    /// ```
    /// use http::StatusCode;
    /// use tower_http_retry::{
    ///     RetryLayer,
    ///     classify::{Exchange, Opinion, Outcome},
    ///     policy::RetryPolicy,
    /// };
    ///
    /// // 417 is answered to an `Expect` before the body is sent: worth one more try.
    /// let layer = RetryLayer::new(RetryPolicy::default()).classify_exchange(
    ///     |exchange: &Exchange<'_>| match exchange.outcome() {
    ///         Outcome::Response { status, .. }
    ///             if *status == StatusCode::EXPECTATION_FAILED && exchange.number() == 1 =>
    ///         {
    ///             Opinion::Unprocessed("the server does not know `Expect`".into())
    ///         }
    ///         _ => Opinion::NoOpinion,
    ///     },
    /// );
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn classify_exchange<F>(self, classifier: F) -> Self
    where
        F: Fn(&Exchange<'_>) -> Opinion + Send + Sync + 'static,
    {
        self.classify(ByExchange(classifier))
    }

    /// Promises something of an error type that this crate does not know: that it is only made
    /// before anything of a request is written, or that it is transparent. See [`Stage`], and
    /// [the table](crate::classify#what-proves-that-a-request-was-not-applied) of what is known.
    ///
    /// Without it, nothing below such an error proves that a request was not applied, so that a
    /// failed connection is repeated for idempotent methods alone; the report names the error that
    /// was in the way. The promise about a type that was made last counts. It is asked for only
    /// where an attempt failed.
    ///
    /// ```
    /// use tower_http_retry::{RetryLayer, classify::Stage, policy::RetryPolicy};
    ///
    /// /// What the client of this service puts around the error of its HTTP client.
    /// #[derive(Debug)]
    /// struct ApiError(hyper_util::client::legacy::Error);
    /// # impl std::fmt::Display for ApiError {
    /// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    /// #         f.write_str("the API could not be asked")
    /// #     }
    /// # }
    ///
    /// impl std::error::Error for ApiError {
    ///     fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
    ///         Some(&self.0)
    ///     }
    /// }
    ///
    /// let layer = RetryLayer::new(RetryPolicy::default()).vouch::<ApiError>(Stage::Transparent);
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn vouch<E>(mut self, stage: Stage) -> Self
    where
        E: Error + 'static,
    {
        self.change().vouches.push(Vouch::of::<E>(stage));
        self
    }

    /// The longest that one attempt may take until the head of its response.
    ///
    /// Without it, or a timeout below, an attempt that hangs never reaches the retry logic. It is
    /// charged to `read`: how far the request got is unknown.
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.change().attempt_timeout = Some(timeout);
        self
    }

    /// The longest that all attempts and waits together may take until the head of the response.
    ///
    /// A wait that could not be followed by an attempt before the deadline is not begun: the
    /// request stops at once with
    /// [`DeadlineTooClose`](crate::policy::StopReason::DeadlineTooClose). A response whose head
    /// arrived in time is never cut off. A request whose deadline has passed already, as that of a
    /// [`RequestDeadline`](crate::RequestDeadline) may have, is not sent at all.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.change().deadline = Some(deadline);
        self
    }

    /// The least time that an attempt needs, for the comparison with the deadline before a wait.
    /// Without it, the quickest attempt of the same request so far is the measure.
    #[must_use]
    pub fn min_attempt(mut self, time: Duration) -> Self {
        self.change().min_attempt = time;
        self
    }

    /// How much of a failed response is read before it is dropped, so that its connection can be
    /// used again. It is read only when another attempt is certain.
    #[must_use]
    pub fn drain(mut self, limit: impl Into<DrainLimit>) -> Self {
        self.change().drain = limit.into();
        self
    }

    /// Calls `hook` on each retry and at the end of each request that did not simply succeed.
    ///
    /// The hook runs inside of the request's task, so it should be quick.
    #[must_use]
    pub fn on_event<F>(mut self, hook: F) -> Self
    where
        F: Fn(&RetryEvent<'_>) + Send + Sync + 'static,
    {
        self.change().on_event = Some(Arc::new(hook));
        self
    }

    /// Calls `hook` on the head of each further attempt before it is sent: to sign it anew, or to
    /// send it elsewhere. It may return a `Result`; with an error the retry is not sent, and the
    /// request ends with [`RetryErrorKind::Hook`](crate::RetryErrorKind::Hook).
    ///
    /// Where the hook changes the URI, budget and admissions count with the new one, and the
    /// attempt's record has it.
    #[must_use]
    pub fn before_retry<F, T>(mut self, hook: F) -> Self
    where
        F: Fn(&mut Parts, &AttemptInfo) -> T + Send + Sync + 'static,
        T: HookResult,
    {
        self.change().before_retry =
            Some(Arc::new(move |parts, info| hook(parts, info).into_result()));
        self
    }

    /// Lets `hook` prepare the head of each further attempt, for which it may take its time: to
    /// refresh a token, for instance. It runs after the wait and before the inner service is asked
    /// whether it is ready, so that nothing is held meanwhile, and within the deadline. With an
    /// error the retry is not sent, and the request ends with
    /// [`RetryErrorKind::Hook`](crate::RetryErrorKind::Hook).
    ///
    /// A [`before_retry`](Self::before_retry) hook is called after it.
    ///
    /// ```
    /// use http::{HeaderValue, request::Parts};
    /// use tower_http_retry::{BoxError, RetryContext, RetryLayer, policy::RetryPolicy};
    ///
    /// async fn fresh_token() -> Result<HeaderValue, BoxError> {
    ///     // Asks the authorization server.
    ///     Ok(HeaderValue::from_static("Bearer new"))
    /// }
    ///
    /// let layer = RetryLayer::new(RetryPolicy::default()).before_retry_async(
    ///     |mut parts: Parts, _: RetryContext| async move {
    ///         parts.headers.insert("authorization", fresh_token().await?);
    ///         Ok::<_, BoxError>(parts)
    ///     },
    /// );
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn before_retry_async<F, Fut, E>(mut self, hook: F) -> Self
    where
        F: Fn(Parts, RetryContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Parts, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let hook = move |parts, context| -> Preparing {
            let preparing = hook(parts, context);
            Box::pin(async move { preparing.await.map_err(Into::into) })
        };
        self.change().prepare_retry = Some(Arc::new(hook));
        self
    }

    /// Shows the paths of requests as `redact` returns them, in reports, events and logs, for those
    /// that have secrets in them. Userinfo and query are never shown.
    ///
    /// ```
    /// use tower_http_retry::{RetryLayer, policy::RetryPolicy};
    ///
    /// let layer = RetryLayer::new(RetryPolicy::default()).redact_paths(|path| {
    ///     // `/bot<token>/send`
    ///     match path.strip_prefix("/bot").and_then(|rest| rest.split_once('/')) {
    ///         Some((_token, method)) => format!("/bot-/{method}"),
    ///         None => path.to_owned(),
    ///     }
    /// });
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn redact_paths<F>(mut self, redact: F) -> Self
    where
        F: Fn(&str) -> String + Send + Sync + 'static,
    {
        self.change().redact_path = Some(Arc::new(redact));
        self
    }

    /// Gives each POST and PATCH that has none an `Idempotency-Key` made by `new_key`, the same on
    /// all attempts, and takes it for repeatable from then on. The server must know the header
    /// (IETF draft `draft-ietf-httpapi-idempotency-key-header`).
    ///
    /// The key is sent as a structured-field string; it should be as unguessable as a UUID.
    /// With the feature `uuid`, `idempotency_keys` makes one.
    #[must_use]
    pub fn idempotency_keys_with<F>(mut self, new_key: F) -> Self
    where
        F: Fn() -> String + Send + Sync + 'static,
    {
        self.change().new_key = Some(Arc::new(new_key));
        self
    }

    /// [`idempotency_keys_with`](Self::idempotency_keys_with) keys that are UUIDs of version 7
    /// (RFC 9562, section 5.7), which databases can index well.
    #[cfg(feature = "uuid")]
    #[must_use]
    pub fn idempotency_keys(self) -> Self {
        self.idempotency_keys_with(|| uuid::Uuid::now_v7().to_string())
    }

    /// Lets `admission` hold back or refuse requests, first attempts too, for reasons that lie in
    /// other requests: an [`AdaptiveThrottle`](crate::throttle::AdaptiveThrottle), which refuses
    /// what the server would most likely turn down, or [`SharedHints`](crate::shared_hints::SharedHints), which holds requests back
    /// when the server asked another one to wait.
    ///
    /// Several are asked in the order in which they were added. A first attempt that is refused
    /// ends with [`RetryErrorKind::Throttled`](crate::RetryErrorKind::Throttled); a retry that is
    /// refused ends with the last response or error.
    ///
    /// ```
    /// use tower_http_retry::{
    ///     RetryLayer, policy::RetryPolicy, shared_hints::SharedHints, throttle::AdaptiveThrottle,
    /// };
    ///
    /// let layer = RetryLayer::new(RetryPolicy::default())
    ///     .admission(AdaptiveThrottle::builder().build()?)
    ///     .admission(SharedHints::default());
    /// # let _ = layer;
    /// # Ok::<_, tower_http_retry::policy::InvalidPolicy>(())
    /// ```
    #[must_use]
    #[cfg(feature = "layers")]
    pub fn admission<A>(mut self, admission: A) -> Self
    where
        A: crate::stack::Admission + 'static,
    {
        let settings = self.change();
        let added: Arc<dyn crate::stack::Admission> = Arc::new(admission);
        settings.admissions = settings.admissions.iter().cloned().chain([added]).collect();
        self
    }

    /// Counts what happens to the requests of this layer.
    #[cfg(feature = "telemetry")]
    #[must_use]
    pub fn metrics(mut self, metrics: crate::telemetry::Metrics) -> Self {
        self.change().metrics = Some(metrics);
        self
    }

    /// Limits how many requests can be in a retry at once, waits included.
    #[must_use]
    pub fn max_retries_in_flight(mut self, limit: InFlightLimit) -> Self {
        self.change().in_flight = Some(limit);
        self
    }

    /// Sets what a document says of the layer: `attempt_timeout`, `deadline`, `min_attempt`,
    /// `drain_limit`, `attempt_header`, `max_retries_in_flight`, `share_hints` and `pace_below`; what
    /// it does not say stays as it is.
    ///
    /// Its `replay_limit` is for [`replay_bodies`](Self::replay_bodies), which makes another type
    /// of this layer: see [`RetryConfig::replay_limit`](crate::config::RetryConfig::replay_limit).
    #[cfg(feature = "serde")]
    #[must_use]
    pub fn configure(mut self, config: &crate::config::RetryConfig) -> Self {
        let keys = config.layer();
        if let Some(bytes) = keys.drain_limit {
            self = self.drain(bytes);
        }
        if let Some(hints) = keys.shared_hints() {
            self = self.admission(hints);
        }
        // Never 0, which is the only number that is not allowed.
        if let Some(limit) = keys.max_retries_in_flight.map(InFlightLimit::new) {
            self.change().in_flight = limit.ok();
        }
        let settings = self.change();
        settings.attempt_timeout = keys.attempt_timeout.or(settings.attempt_timeout);
        settings.deadline = keys.deadline.or(settings.deadline);
        settings.min_attempt = keys.min_attempt.unwrap_or(settings.min_attempt);
        if let Some(header) = &keys.attempt_header {
            settings.attempt_header = Some(header.clone());
        }
        self
    }

    /// Reads the wall clock, which dates in [hints](crate::policy::hints#dates) are compared with
    /// when the response has no `Date`, from `clock` in place of the system's; for tests.
    #[must_use]
    pub fn wall_clock<F>(mut self, clock: F) -> Self
    where
        F: Fn() -> SystemTime + Send + Sync + 'static,
    {
        self.change().wall_clock = Some(Arc::new(clock));
        self
    }

    /// The policy.
    pub fn policy(&self) -> &P {
        &self.policy
    }

    /// The deadline, for a layer above that has to keep it as well.
    #[cfg(feature = "reqwest")]
    pub(crate) fn whole_deadline(&self) -> Option<Duration> {
        self.settings.deadline
    }

    pub(super) fn change(&mut self) -> &mut LayerSettings {
        // What was said of the layer before need not hold any more.
        self.linted = Arc::default();
        Arc::make_mut(&mut self.settings)
    }
}

impl<S, P, R> Layer<S> for RetryLayer<P, R>
where
    P: Policy + Clone,
    R: Clone,
{
    type Service = Retry<S, P, R>;

    fn layer(&self, inner: S) -> Self::Service {
        self.log_findings();
        Retry::with_settings(
            inner,
            self.policy.clone(),
            self.rewind.clone(),
            Arc::clone(&self.settings),
        )
    }
}

/// A classifier that wants to see the request.
struct ByExchange<F>(F);

impl<F> Classify for ByExchange<F>
where
    F: Fn(&Exchange<'_>) -> Opinion,
{
    // The layer asks about the exchange.
    fn classify(&self, _: &Outcome<'_>) -> Opinion {
        Opinion::NoOpinion
    }

    fn classify_exchange(&self, exchange: &Exchange<'_>) -> Opinion {
        (self.0)(exchange)
    }
}
