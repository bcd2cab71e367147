//! What stands beside: [`Admission`].

use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode, Uri};

use crate::reason::{GrpcCode, StopReason};

/// Decides whether a request may be sent now, for reasons that lie in other requests: a server
/// that turns most of them down, a server that asked one of them to wait.
///
/// Registered with [`RetryLayer::admission`](crate::RetryLayer::admission), it is asked
///
/// - before the first attempt, outside of the attempt timeout and within the deadline. A refusal
///   ends the request with an error of the kind
///   [`Throttled`](crate::RetryErrorKind::Throttled);
/// - before a retry is taken from the budget, so that a refusal costs nothing and the last
///   response is returned;
/// - once more after each wait, since things may have changed.
///
/// Whatever comes of a request that was admitted, [`answered`](Self::answered) hears of it once.
///
/// An implementation must neither block nor panic. It is asked on the happy path of every
/// request, so a lock that all requests share is felt.
///
/// # Example
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use http::Uri;
/// use tower_http_retry::{
///     RetryLayer,
///     policy::{RetryPolicy, StopReason},
///     stack::{Admission, Admit, Answer, Ask, Ticket},
/// };
///
/// /// Lets nothing through while the program shuts down.
/// #[derive(Default)]
/// struct Drain(AtomicBool);
///
/// impl Admission for Drain {
///     fn ticket(&self, _: &Uri) -> Ticket {
///         Ticket::default()
///     }
///
///     fn admit(&self, _: &mut Ticket, _: &Ask) -> Admit {
///         if self.0.load(Ordering::Relaxed) {
///             Admit::Refuse(StopReason::Custom("shutting down".into()))
///         } else {
///             Admit::Now
///         }
///     }
///
///     fn answered(&self, _: &mut Ticket, _: &Answer) {}
/// }
///
/// let layer = RetryLayer::new(RetryPolicy::default()).admission(Drain::default());
/// # let _ = layer;
/// ```
pub trait Admission: Send + Sync {
    /// Starts a request to `uri`.
    fn ticket(&self, uri: &Uri) -> Ticket;

    /// Whether the request may be sent.
    fn admit(&self, ticket: &mut Ticket, ask: &Ask) -> Admit;

    /// The head of a response has come, whatever its status. [`answered`](Self::answered) follows.
    // Hidden, as the next: for this crate's own, until somebody else has a use for it.
    #[doc(hidden)]
    fn head(&self, ticket: &mut Ticket, headers: &HeaderMap, now: Instant) {
        let _ = (ticket, headers, now);
    }

    /// One sentence about how it holds requests back, for
    /// `RetryLayer::explain`. By default there is none.
    #[doc(hidden)]
    fn explain(&self) -> Option<String> {
        None
    }

    /// What became of the request since it was admitted.
    fn answered(&self, ticket: &mut Ticket, answer: &Answer);
}

/// What an [`Admission`] remembers of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticket {
    /// Which requests it is counted with; the admission's own choice.
    pub key: u64,
    /// Whatever the admission has to know about this request when it is answered.
    pub memo: u64,
}

impl Ticket {
    /// A request that is counted under `key`.
    pub const fn for_key(key: u64) -> Self {
        Self { key, memo: 0 }
    }
}

/// A question to an [`Admission`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ask {
    /// The time, by tokio's clock.
    pub now: Instant,
    /// What is to be sent.
    pub stage: AskFor,
    /// How long admissions have held the coming attempt back so far.
    pub held: Duration,
    /// The time left until the request's deadline, if it has one: a wait of this length or more
    /// ends it.
    pub left: Option<Duration>,
}

impl Ask {
    /// Asks for `stage` of a request that was not held back so far and has no deadline.
    pub const fn new(now: Instant, stage: AskFor) -> Self {
        Self {
            now,
            stage,
            held: Duration::ZERO,
            left: None,
        }
    }
}

/// What an [`Admission`] is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AskFor {
    /// A first attempt.
    First,
    /// A retry, which has not been waited for yet.
    Retry {
        /// Whether the server named the time of this retry, to this request.
        told: bool,
    },
    /// The same attempt once more, after a wait.
    Again,
}

/// The answer of an [`Admission`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Admit {
    /// The request may be sent.
    Now,
    /// It may not before this long from now; it is then asked for again.
    Wait(Duration),
    /// The same, since requests are spread over what is left of a server's quota. The report notes
    /// it ([`Note::Spread`](crate::policy::Note::Spread)).
    Spread(Duration),
    /// It may not, and is not waited for.
    Refuse(StopReason),
}

/// What became of a request that an [`Admission`] has admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The time, by tokio's clock.
    pub now: Instant,
    /// The status of the response; `None` if there was none.
    pub status: Option<StatusCode>,
    /// How long the server asked for nothing to be sent, as far as the policy obeys.
    pub asked: Option<Duration>,
    /// Whether it asked for longer than that.
    pub cut: bool,
    /// Whether the policy takes the outcome for a failure, also if the status is a success.
    pub failed: bool,
    /// How the call ended, if it is one of gRPC's that failed.
    pub grpc: Option<GrpcCode>,
    /// Whether the request was dropped, or given up unsent, before it had an outcome: it is as
    /// if it had not been.
    pub dropped: bool,
}

impl Answer {
    /// A response with this status that is no failure.
    pub fn response(now: Instant, status: StatusCode) -> Self {
        Self {
            now,
            status: Some(status),
            asked: None,
            cut: false,
            failed: false,
            grpc: None,
            dropped: false,
        }
    }

    /// An error, or no answer in time.
    pub fn failed(now: Instant) -> Self {
        Self {
            now,
            status: None,
            asked: None,
            cut: false,
            failed: true,
            grpc: None,
            dropped: false,
        }
    }

    /// Whether the server accepted the request: it answered, did not turn it down for overload, and
    /// nobody found a failure in what looks like a success. A 404 is accepted, a 503 is not. Nor is
    /// a gRPC call that ended as UNAVAILABLE, RESOURCE_EXHAUSTED or DEADLINE_EXCEEDED, the codes
    /// for the same; one that ended with another code is.
    pub fn is_accepted(&self) -> bool {
        if let Some(code) = self.grpc {
            return !matches!(
                code,
                GrpcCode::Unavailable | GrpcCode::ResourceExhausted | GrpcCode::DeadlineExceeded
            );
        }
        match self.status {
            Some(status) if status.is_success() => !self.failed,
            Some(status) => !matches!(status.as_u16(), 429 | 502..=504),
            None => false,
        }
    }

    /// The request was dropped, or given up unsent.
    pub fn dropped(now: Instant) -> Self {
        Self {
            failed: false,
            dropped: true,
            ..Self::failed(now)
        }
    }
}
