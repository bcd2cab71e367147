//! [`Rejected`]: what a circuit breaker or a limit returns in place of sending a request.

use std::{borrow::Cow, error::Error, fmt, time::Duration};

use crate::{BoxError, human::Human, text::redact};

/// The error of a layer below that did not send the request, and knows when it would: a circuit
/// breaker that is open, a limit of a rate.
///
/// Where it says [when](Self::retry_in), the retries above wait for that time: outside of the counts
/// and of the budget, for every method, and as if the request had not been, as far as throttles are
/// concerned. If the deadline does not allow it, or the request was turned away 30 times, it ends
/// with [`StopReason::Rejected`](crate::policy::StopReason::Rejected). Where it does not say when,
/// it is a failed attempt like that of tower's `LoadShed`: counted under `connect`, after a backoff,
/// from the budget.
///
/// It must be the error itself, or below wrappers that are
/// [known](crate::classify#what-proves-that-a-request-was-not-applied).
///
/// # A breaker of tower-resilience
///
/// Its error is a type for each type of an inner error, which it shows to nobody
/// (`Error::source` returns nothing), and it does not say when it will be closed. So it is translated
/// where both types are known, in three lines; `wait_duration` is the breaker's own setting:
///
/// ```
/// # use std::time::Duration;
/// # use tower_http_retry::BoxError;
/// # enum CircuitBreakerError<E> { OpenCircuit, Inner(E) }
/// # let wait_duration = Duration::from_secs(30);
/// use tower_http_retry::stack::Rejected;
///
/// // ServiceBuilder::new().layer(retries).map_err(translate).layer(breaker)
/// let translate = move |error: CircuitBreakerError<BoxError>| match error {
///     CircuitBreakerError::OpenCircuit => Rejected::new("breaker").retry_in(wait_duration).into(),
///     CircuitBreakerError::Inner(error) => error,
/// };
/// # let error: BoxError = translate(CircuitBreakerError::OpenCircuit);
/// # assert!(error.is::<Rejected>());
/// # let _ = translate(CircuitBreakerError::Inner("reset".into()));
/// ```
#[derive(Debug)]
pub struct Rejected {
    by: Cow<'static, str>,
    retry_in: Option<Duration>,
    source: Option<BoxError>,
}

impl Rejected {
    /// The layer `by` did not send the request.
    pub fn new(by: impl Into<Cow<'static, str>>) -> Self {
        Self {
            by: by.into(),
            retry_in: None,
            source: None,
        }
    }

    /// It will let requests through after this time; a millisecond at least.
    #[must_use]
    pub fn retry_in(mut self, time: Duration) -> Self {
        self.retry_in = Some(time.max(Duration::from_millis(1)));
        self
    }

    /// The layer's own error, for people.
    #[must_use]
    pub fn because(mut self, error: impl Into<BoxError>) -> Self {
        self.source = Some(error.into());
        self
    }

    /// The layer that did not send the request.
    pub fn by(&self) -> &str {
        &self.by
    }

    /// After what time it will let requests through, if it knows.
    pub fn time(&self) -> Option<Duration> {
        self.retry_in
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} lets nothing through", redact(&self.by, false))?;
        match self.retry_in {
            Some(time) => write!(f, " for {}", Human(time)),
            None => Ok(()),
        }
    }
}

impl Error for Rejected {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
