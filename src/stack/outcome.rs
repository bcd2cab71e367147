//! What goes up: [`LayerOutcome`].

use std::{borrow::Cow, error::Error, fmt, time::Duration};

use http::{Extensions, HeaderMap, Uri};

#[cfg(feature = "connection")]
use super::OnConnection;
use super::Opinion;
use crate::{
    BoxError,
    reason::{Failure, Note, Sent},
    text::redact,
};

/// What a layer below knows of an answer that the answer itself does not show: a gRPC status in
/// a trailer, an error in the body of a 200, a refusal by a circuit breaker, where the request
/// went.
///
/// A layer puts it into the response's extensions, or around an error ([`LayerError`]).
/// [`RetryLayer`](crate::RetryLayer) reads it: the [`opinion`](Self::opinion) counts after those
/// of the classifiers, and the rest becomes part of the attempt's record. Whoever stands alone
/// ignores it.
///
/// If several layers have something to say, each starts from what is there already
/// ([`LayerOutcome::of`]), so that nothing is lost.
///
/// ```
/// use std::time::Duration;
/// use http::Response;
/// use tower_http_retry::stack::{LayerOutcome, Opinion};
///
/// // A layer that looks into bodies has found an error in a 200.
/// let mut response = Response::new(());
/// let mut outcome = LayerOutcome::new("S3Errors");
/// outcome.opinion = Opinion::Retry("SlowDown in the body".into());
/// outcome.wait = Some(Duration::from_secs(1));
/// response.extensions_mut().insert(outcome);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LayerOutcome {
    /// The layer's name, for the report.
    pub by: Cow<'static, str>,
    /// What the layer takes the outcome for.
    pub opinion: Opinion,
    /// What the layer found to have failed, where the head of the response says that all is well.
    /// The policy judges it like any other failure.
    pub failure: Option<Failure>,
    /// How long not to send the request again. It takes the place of the policy's own wait.
    pub wait: Option<Duration>,
    /// How long the server asks for nothing to be sent, in what the layer has read. The policy
    /// takes it like such a [hint](crate::policy::hints) in a header: it may ignore it, cut it, or
    /// give up.
    pub asked: Option<Duration>,
    /// How far the request got, where the layer can prove it. With [`Opinion::Retry`] and a proof
    /// that the server did not process the request, it is sent again for every method.
    pub sent: Option<Sent>,
    /// How often the layer sent the request, if that is not once.
    pub attempts: Option<u32>,
    /// Where the layer sent the request, if not to its own URI.
    pub url: Option<Uri>,
    /// How long the layer held the request back before it was sent.
    pub held: Duration,
    /// What the attempt's record should say besides.
    pub notes: Vec<Note>,
    /// Whether the connection that the attempt was on is left, so that another attempt is on
    /// another one.
    pub left_connection: bool,
    /// The connection, as long as it can be left.
    #[cfg(feature = "connection")]
    pub(crate) connection: Option<OnConnection>,
    /// Whether another attempt would go to another server, for which it does not hold what this
    /// one says of when to come back. What does hold is [`asked`](Self::asked).
    pub elsewhere: bool,
    /// The response's trailers, if they have come: a [hint](crate::policy::hints) of gRPC's in
    /// them counts as in the head.
    pub trailers: Option<HeaderMap>,
}

impl LayerOutcome {
    /// The outcome of the layer `by`, which says nothing yet.
    pub fn new(by: impl Into<Cow<'static, str>>) -> Self {
        Self {
            by: by.into(),
            opinion: Opinion::NoOpinion,
            failure: None,
            wait: None,
            asked: None,
            sent: None,
            attempts: None,
            url: None,
            held: Duration::ZERO,
            notes: Vec::new(),
            left_connection: false,
            #[cfg(feature = "connection")]
            connection: None,
            elsewhere: false,
            trailers: None,
        }
    }

    /// The same with what a layer further out has to add, under the name that it gives itself, or
    /// else under `name`.
    #[cfg(feature = "peek")]
    pub(crate) fn and(mut self, said: Self, name: &'static str) -> Self {
        if !said.by.is_empty() {
            self.by = said.by;
        } else if said.opinion != Opinion::NoOpinion || said.asked.is_some() {
            self.by = name.into();
        }
        if said.opinion != Opinion::NoOpinion {
            self.opinion = said.opinion;
        }
        self.failure = said.failure.or(self.failure);
        self.wait = said.wait.or(self.wait);
        self.asked = said.asked.or(self.asked);
        self.sent = said.sent.or(self.sent);
        self.attempts = said.attempts.or(self.attempts);
        self.url = said.url.or(self.url);
        self.held = self.held.saturating_add(said.held);
        self.notes.extend(said.notes);
        self.left_connection |= said.left_connection;
        #[cfg(feature = "connection")]
        if said.connection.is_some() {
            self.connection = said.connection;
        }
        self.elsewhere |= said.elsewhere;
        self
    }

    /// Leaves the connection, if that is what somebody further out thinks. Returns what of another
    /// attempt would be another.
    pub(crate) fn changes(&self, opinion: &Opinion) -> Changes {
        #[cfg(feature = "connection")]
        if let (Opinion::LeaveConnection(_), Some(connection)) = (opinion, &self.connection) {
            connection.leave();
        }
        #[cfg(not(feature = "connection"))]
        let _ = opinion;
        Changes {
            connection: self.has_left(),
            server: self.elsewhere,
        }
    }

    /// Whether the connection is left.
    pub(crate) fn has_left(&self) -> bool {
        #[cfg(feature = "connection")]
        if self.connection.as_ref().is_some_and(OnConnection::is_left) {
            return true;
        }
        self.left_connection
    }

    /// Puts into these extensions what the layer `by` has to say, besides what is there already.
    #[cfg(any(feature = "connection", feature = "endpoints"))]
    pub(crate) fn amend(
        extensions: &mut Extensions,
        by: &'static str,
        say: impl FnOnce(&mut LayerOutcome),
    ) {
        say(extensions.get_or_insert_with(|| LayerOutcome::new(by)));
    }

    /// What a layer has put into these extensions.
    #[inline]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        // An empty map costs no look-up.
        if extensions.is_empty() {
            return None;
        }
        extensions.get()
    }
}

/// What is no more than an opinion. Whoever passes it on gives it their own name.
impl From<Opinion> for LayerOutcome {
    fn from(opinion: Opinion) -> Self {
        Self {
            opinion,
            ..Self::new("")
        }
    }
}

/// What of another attempt would be another, as the layers below say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// The connection.
    pub(crate) connection: bool,
    /// The server.
    pub(crate) server: bool,
}

/// An error with the [`LayerOutcome`] of the layer that returns it.
///
/// ```
/// use std::{error::Error, time::Duration};
/// use tower_http_retry::{
///     classify::Sent,
///     stack::{LayerError, LayerOutcome, Opinion},
/// };
///
/// // A circuit breaker that is open: nothing was sent.
/// let mut outcome = LayerOutcome::new("breaker");
/// outcome.opinion = Opinion::Retry("the circuit is open".into());
/// outcome.sent = Some(Sent::Never);
/// outcome.wait = Some(Duration::from_secs(2));
/// let error = LayerError::new(outcome);
/// assert_eq!(error.to_string(), "breaker: the circuit is open");
/// assert!(error.source().is_none());
/// ```
#[derive(Debug)]
pub struct LayerError {
    outcome: Box<LayerOutcome>,
    source: Option<BoxError>,
}

impl LayerError {
    /// The error of a layer that did not send the request, or has none of the inner service.
    pub fn new(outcome: LayerOutcome) -> Self {
        Self {
            outcome: Box::new(outcome),
            source: None,
        }
    }

    /// The inner service's error, and what the layer knows of it.
    pub fn around(outcome: LayerOutcome, source: impl Into<BoxError>) -> Self {
        Self {
            outcome: Box::new(outcome),
            source: Some(source.into()),
        }
    }

    /// What the layer says.
    pub fn outcome(&self) -> &LayerOutcome {
        &self.outcome
    }

    /// The error with what the layer `by` has to say, besides what is said already.
    #[cfg(any(feature = "connection", feature = "endpoints"))]
    pub(crate) fn amend(
        error: BoxError,
        by: &'static str,
        say: impl FnOnce(&mut LayerOutcome),
    ) -> BoxError {
        match error.downcast::<Self>() {
            Ok(mut error) => {
                say(&mut error.outcome);
                error
            }
            Err(error) => {
                let mut outcome = LayerOutcome::new(by);
                say(&mut outcome);
                Self::around(outcome, error).into()
            }
        }
    }
}

impl fmt::Display for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = redact(&self.outcome.by, false);
        match (self.outcome.opinion.because(), &self.source) {
            (Some(because), _) => write!(f, "{by}: {}", redact(because, false)),
            // It has nothing to say of why it failed.
            (None, Some(source)) => source.fmt(f),
            (None, None) => f.write_str(&by),
        }
    }
}

impl Error for LayerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
