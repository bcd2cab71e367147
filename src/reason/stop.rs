//! Why a request was not sent again, and where a wait comes from.

use std::{borrow::Cow, fmt, time::Duration};

use http::{Method, StatusCode};

use super::{Cause, GrpcCode, HintHeader, LimitKind, NotResumed, Refused};
use crate::{human::Human, text};

/// Where a wait comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum WaitReason {
    /// No wait: the policy's first retry is immediate, or its wait is zero.
    Immediate,
    /// The request was never processed, so it is sent again at once.
    NeverProcessed,
    /// The policy's backoff.
    Backoff,
    /// The server named the time in this header. The wait is what it asked for plus
    /// [`retry_after_jitter`](crate::policy::RetryPolicyBuilder::retry_after_jitter).
    ServerHint(HintHeader),
    /// The server named a longer time in this header, which was cut to the policy's cap.
    ServerHintClamped(HintHeader),
    /// The server asked another request to the same authority to wait until then; see
    /// [`share_hints`](crate::shared_hints::SharedHints).
    SharedHint,
    /// A classifier or a layer below named the time; see
    /// [`Opinion::RetryIn`](crate::classify::Opinion::RetryIn) and
    /// [`LayerOutcome::wait`](crate::stack::LayerOutcome::wait).
    Opinion {
        /// Its name.
        #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::text::read::cow"))]
        by: Cow<'static, str>,
    },
}

impl WaitReason {
    /// Redacts what others wrote.
    pub(crate) fn clean(&mut self) {
        if let Self::Opinion { by } = self {
            text::clean(by);
        }
    }
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Immediate => f.write_str("immediate"),
            Self::NeverProcessed => f.write_str("immediate, the request was never processed"),
            Self::Backoff => f.write_str("backoff"),
            Self::ServerHint(header) => write!(f, "{header}"),
            Self::SharedHint => f.write_str("the server asked another request to wait"),
            Self::ServerHintClamped(header) => write!(f, "{header}, cut to the policy's cap"),
            Self::Opinion { by } => write!(f, "{} asks for it", Shown(by)),
        }
    }
}

/// Something the caller should know about one decision.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Note {
    /// The header could not be understood, so it was ignored.
    HintIgnored(HintHeader),
    /// The server still works at the first request with this idempotency key.
    StillInProgress,
    /// No mount matches the request's URL, so the fallback policy was asked.
    NoMount {
        /// The mounts that came nearest, each with what is different.
        #[cfg_attr(
            feature = "serde",
            serde(default, deserialize_with = "crate::text::read::all")
        )]
        nearest: Vec<String>,
    },
    /// The status is none that is registered, and so it is treated as 500.
    TreatedAs500 {
        /// The response's status.
        #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::status"))]
        status: StatusCode,
    },
    /// A classifier or a layer below knows that the server refused the request without processing
    /// it.
    Unprocessed {
        /// Its name.
        #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::text::read::cow"))]
        by: Cow<'static, str>,
        /// Its reason.
        #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::text::read::cow"))]
        because: Cow<'static, str>,
    },
    /// A classifier took the outcome for transient.
    Reclassified {
        /// The classifier's name.
        #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::text::read::cow"))]
        by: Cow<'static, str>,
        /// Its reason.
        #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::text::read::cow"))]
        because: Cow<'static, str>,
    },
    /// The gRPC call failed in the head of its response, and nobody below the retries looks any
    /// further: failures in trailers are not seen. `GrpcLayer` (feature `grpc`) would see them.
    GrpcHeadOnly,
    /// An earlier attempt, whose answer was lost or was a failure, may have done what was asked: a
    /// conditional write is answered with 412 then, and a DELETE with 404 or 410.
    MayBeDone,
    /// The connection that it was on is left, so that another attempt is on another one.
    ConnectionLeft,
    /// What the server says of when to come back holds for it alone, and another can be asked.
    HintElsewhere,
    /// Little was left of the server's quota, so the attempt waited for its turn; see
    /// [`SharedHints`](crate::shared_hints::SharedHints).
    Spread,
    /// The attempt sent a body of which nothing says that it was whole but the word of whoever
    /// wrote this option of the layer.
    BodyVouched {
        /// The option: `clone_bodies`, `clone_bodies_with` or `reopen_bodies`.
        #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::text::read::cow"))]
        by: Cow<'static, str>,
    },
    /// The response's body broke off, ended too early, or stalled.
    BodyEnded {
        /// So many bytes were handed on before.
        read: u64,
        /// How many there were to be, if that is known.
        of: Option<u64>,
    },
    /// The server redirected the request, and a layer further out followed.
    Redirected {
        /// The method of the request that followed.
        #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::method"))]
        method: Method,
        /// Where it went, without userinfo and query.
        url: String,
    },
    /// The attempt was late, so a layer below sent it a second time.
    Hedged {
        /// How long after the first one the second was sent.
        #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::seconds"))]
        after: Duration,
        /// Whether the outcome is that of the second one.
        won: bool,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HintIgnored(header) => write!(f, "unreadable {header} ignored"),
            Self::StillInProgress => {
                f.write_str("the first request with this idempotency key is still in progress")
            }
            Self::NoMount { nearest } => write!(
                f,
                "no mount matches the URL, so the fallback policy applies{}",
                Nearest(nearest)
            ),
            Self::TreatedAs500 { status } => write!(
                f,
                "{} is not registered, so it is treated as 500 (RFC 9110, section 15)",
                status.as_u16()
            ),
            Self::Reclassified { by, because } => {
                write!(f, "{} says retry: {}", Shown(by), Shown(because))
            }
            Self::Unprocessed { by, because } => {
                let (by, because) = (Shown(by), Shown(because));
                write!(f, "{by} says that it was not processed: {because}")
            }
            Self::GrpcHeadOnly => f.write_str(
                "seen in the head; a `GrpcLayer` below the retries would see failures in trailers, too",
            ),
            Self::MayBeDone => f.write_str("an earlier attempt may have done what was asked"),
            Self::ConnectionLeft => {
                f.write_str("its connection is left: another attempt is on a new connection")
            }
            Self::HintElsewhere => {
                f.write_str("what this server asks for holds for it alone: another can be asked")
            }
            Self::Spread => {
                f.write_str("little was left of the server's quota, so it waited for its turn")
            }
            Self::BodyVouched { by } => {
                let by = Shown(by);
                write!(f, "its body is whole on the word of `{by}` only")
            }
            Self::BodyEnded { read, of } => {
                write!(f, "its body ended after {read}")?;
                match of {
                    Some(of) => write!(f, " of {of} bytes"),
                    None => f.write_str(" bytes"),
                }
            }
            Self::Redirected { method, url } => {
                write!(f, "redirected to {method} {}", Shown(url))
            }
            Self::Hedged { after, won } => {
                let which = if *won { "second" } else { "first" };
                let after = Human(*after);
                write!(
                    f,
                    "sent a second time after {after}; the outcome is that of the {which} one"
                )
            }
        }
    }
}

impl Note {
    /// Redacts what others wrote.
    pub(crate) fn clean(&mut self) {
        match self {
            Self::Reclassified { by, because } | Self::Unprocessed { by, because } => {
                text::clean(by);
                text::clean(because);
            }
            Self::BodyVouched { by } => text::clean(by),
            Self::NoMount { nearest } => text::clean_all(nearest),
            Self::Redirected { url, .. } => text::clean_all(std::slice::from_mut(url)),
            Self::HintIgnored(_)
            | Self::StillInProgress
            | Self::TreatedAs500 { .. }
            | Self::BodyEnded { .. }
            | Self::GrpcHeadOnly
            | Self::Hedged { .. }
            | Self::MayBeDone
            | Self::ConnectionLeft
            | Self::HintElsewhere
            | Self::Spread => {}
        }
    }
}

/// A text that others wrote, and that may not have been cleaned: whoever has a word can show it.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::redact(self.0, false))
    }
}

/// The end of a sentence that names the nearest mounts, if there are any.
struct Nearest<'a>(&'a [String]);

impl fmt::Display for Nearest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, mount) in self.0.iter().enumerate() {
            let mount = Shown(mount);
            write!(f, "{}{mount}", if at == 0 { "; nearest: " } else { ", " })?;
        }
        Ok(())
    }
}

/// Why a request was not sent again: which knob decided.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", remote = "Self"))]
#[non_exhaustive]
pub enum StopReason {
    /// The last attempt succeeded.
    Succeeded,
    /// The request may have been applied, and its method is not in `allowed_methods`.
    MethodNotAllowed {
        /// The request's method.
        #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::method"))]
        method: Method,
    },
    /// The status is not in `status_forcelist`.
    StatusNotListed {
        /// The response's status.
        #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::status"))]
        status: StatusCode,
    },
    /// The gRPC status is not in `retryable_status_codes`.
    GrpcStatusNotListed {
        /// The call's status.
        code: GrpcCode,
    },
    /// A limit is used up.
    CountExhausted {
        /// The limit that is used up.
        kind: LimitKind,
        /// Its value: retries on top of the first attempt.
        limit: i64,
    },
    /// The request was sent again after this status as often as the policy allows.
    StatusCountExhausted {
        /// The response's status.
        #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::status"))]
        status: StatusCode,
        /// How often it may be sent again after it.
        limit: u32,
    },
    /// The policy says never for this kind of failure (urllib3's `False`).
    KindDisabled {
        /// The limit that says never.
        kind: LimitKind,
    },
    /// The request body was longer than what is kept for a replay.
    BodyNotReplayable {
        /// Bytes read from the body so far.
        sent: u64,
        /// Bytes that could have been kept.
        limit: u64,
    },
    /// The request's own body failed, so it cannot be sent again.
    BodyFailed,
    /// Nothing was kept of the request's body.
    BodyNotKept,
    /// The request's body could not be opened again.
    BodyNotReopened,
    /// The budget that all requests share has too little left for this retry. A budget of the
    /// user's own that does not tell how much says `BudgetExhausted(Refused::default())`.
    BudgetExhausted(Refused),
    /// The next attempt could not have ended before the deadline.
    DeadlineTooClose {
        /// Time left until the deadline.
        #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::seconds"))]
        left: Duration,
        /// The wait plus the least that an attempt needs.
        #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::seconds"))]
        needed: Duration,
    },
    /// The deadline passed during an attempt or a wait.
    DeadlineExceeded {
        /// The deadline, counted from the request's start.
        #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::seconds"))]
        deadline: Duration,
    },
    /// The server asked to wait longer than the policy is willing to.
    RetryAfterTooLong {
        /// What the server asked for.
        #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::seconds"))]
        asked: Duration,
        /// `retry_after_max`.
        #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::seconds"))]
        cap: Duration,
    },
    /// Repeating the request cannot help.
    NotTransient {
        /// Why the attempt failed.
        cause: Cause,
    },
    /// A classifier forbade it.
    Vetoed {
        /// The classifier's name.
        #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::text::read::cow"))]
        by: Cow<'static, str>,
        /// Its reason.
        #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::text::read::cow"))]
        because: Cow<'static, str>,
    },
    /// The server forbids it in this header: `x-should-retry: false`, or a negative
    /// `grpc-retry-pushback-ms`.
    ForbiddenByServer {
        /// Where it says so.
        header: HintHeader,
    },
    /// The server says that the idempotency key was used for another request.
    IdempotencyKeyReused,
    /// No mount matches the request's URL, and there is no fallback.
    NoMount {
        /// The mounts that came nearest, each with what is different.
        #[cfg_attr(
            feature = "serde",
            serde(default, deserialize_with = "crate::text::read::all")
        )]
        nearest: Vec<String>,
    },
    /// Retries are switched off for this request.
    Disabled,
    /// The request is part of a retry that somebody further out makes.
    RetriedAbove {
        /// How many layers further out are at a retry.
        depth: u32,
        /// `max_retry_depth`.
        max: u32,
    },
    /// The adaptive throttle refused the request: the server turns too many of them down.
    Throttled,
    /// The server asked another request to wait longer than this one may be held back.
    HeldTooLong {
        /// How long this one would have been held back in all.
        #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::seconds"))]
        held: Duration,
        /// The `max_hold` of the [shared hints](crate::shared_hints::SharedHints).
        #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::seconds"))]
        max: Duration,
    },
    /// As many retries as are allowed at once are in flight.
    TooManyInFlight {
        /// The limit.
        max: u32,
    },
    /// A layer below, such as a circuit breaker, lets nothing through: for longer than there is time
    /// until the deadline, or again and again.
    Rejected {
        /// The layer.
        #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::text::read::cow"))]
        by: Cow<'static, str>,
        /// After what time it would let requests through.
        #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::seconds"))]
        retry_in: Duration,
    },
    /// A redirect is not followed.
    RedirectRefused {
        /// Why.
        because: Cow<'static, str>,
    },
    /// The hook before a retry failed.
    HookFailed,
    /// The inner service failed to become ready.
    NotReady,
    /// A response body broke, and could not be continued; see the `resume` room.
    NotResumable {
        /// Why.
        because: NotResumed,
    },
    /// A policy of the user's own stopped, for this reason.
    Custom(
        #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::text::read::cow"))]
        Cow<'static, str>,
    ),
}

impl StopReason {
    /// Redacts what others wrote.
    pub(crate) fn clean(&mut self) {
        match self {
            Self::Vetoed { by, because } => {
                text::clean(by);
                text::clean(because);
            }
            Self::Rejected { by, .. } => text::clean(by),
            Self::Custom(reason) | Self::RedirectRefused { because: reason } => text::clean(reason),
            Self::NoMount { nearest } => text::clean_all(nearest),
            _ => {}
        }
    }

    /// Whether the request ended well.
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Succeeded)
    }

    /// A short, stable name for metrics and log fields.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::StatusNotListed { .. } => "status_not_listed",
            Self::GrpcStatusNotListed { .. } => "grpc_status_not_listed",
            Self::CountExhausted { .. } => "count_exhausted",
            Self::StatusCountExhausted { .. } => "status_count_exhausted",
            Self::KindDisabled { .. } => "kind_disabled",
            Self::BodyNotReplayable { .. } => "body_not_replayable",
            Self::BodyFailed => "body_failed",
            Self::BodyNotKept => "body_not_kept",
            Self::BodyNotReopened => "body_not_reopened",
            Self::BudgetExhausted(_) => "budget_exhausted",
            Self::DeadlineTooClose { .. } => "deadline_too_close",
            Self::DeadlineExceeded { .. } => "deadline_exceeded",
            Self::RetryAfterTooLong { .. } => "retry_after_too_long",
            Self::NotTransient { .. } => "not_transient",
            Self::Vetoed { .. } => "vetoed",
            Self::ForbiddenByServer { .. } => "forbidden_by_server",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::NoMount { .. } => "no_mount",
            Self::Disabled => "disabled",
            Self::RetriedAbove { .. } => "retried_above",
            Self::Throttled => "throttled",
            Self::HeldTooLong { .. } => "held_too_long",
            Self::TooManyInFlight { .. } => "too_many_in_flight",
            Self::Rejected { .. } => "rejected",
            Self::RedirectRefused { .. } => "redirect_refused",
            Self::HookFailed => "hook_failed",
            Self::NotReady => "not_ready",
            Self::NotResumable { .. } => "not_resumable",
            Self::Custom(_) => "custom",
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Succeeded => f.write_str("succeeded"),
            Self::MethodNotAllowed { method } => write!(
                f,
                "{method} is not in `allowed_methods` and the request may have been applied"
            ),
            Self::StatusNotListed { status } => {
                write!(f, "{} is not in `status_forcelist`", status.as_u16())
            }
            Self::GrpcStatusNotListed { code } => {
                write!(f, "gRPC {code} is not in `retryable_status_codes`")
            }
            Self::CountExhausted { kind, limit } => {
                let plural = if *limit == 1 { "retry" } else { "retries" };
                write!(f, "`{kind}` is used up ({limit} {plural})")
            }
            Self::StatusCountExhausted { status, limit: 1 } => write!(
                f,
                "{} is in `once_statuses`, and the request was sent again after it already",
                status.as_u16()
            ),
            Self::StatusCountExhausted { status, limit } => write!(
                f,
                "{} was answered with {limit} retries, as many as are allowed",
                status.as_u16()
            ),
            Self::KindDisabled { kind } => write!(f, "`{kind}` is set to never"),
            Self::BodyNotReplayable { sent, limit } => write!(
                f,
                "the request body cannot be sent again: {sent} bytes were read, {limit} could be kept"
            ),
            Self::BodyFailed => f.write_str("the request's own body failed"),
            Self::BodyNotKept => f.write_str("nothing was kept of the request body"),
            Self::BodyNotReopened => f.write_str("the request body could not be opened again"),
            Self::BudgetExhausted(refused) => {
                write!(f, "the shared retry budget is used up{}", refused.numbers())
            }
            Self::DeadlineTooClose { left, needed } => write!(
                f,
                "the deadline is too close: {} left, {} needed",
                Human(*left),
                Human(*needed)
            ),
            Self::DeadlineExceeded { deadline } => {
                write!(f, "the deadline of {} passed", Human(*deadline))
            }
            Self::RetryAfterTooLong { asked, cap } => write!(
                f,
                "the server asked to wait {}, `retry_after_max` is {}",
                Human(*asked),
                Human(*cap)
            ),
            Self::NotTransient { cause } => write!(f, "repeating cannot help: {cause}"),
            Self::Vetoed { by, because } => {
                write!(f, "{} forbids it: {}", Shown(by), Shown(because))
            }
            Self::ForbiddenByServer { header } => write!(f, "the server forbids it: {header}"),
            Self::IdempotencyKeyReused => {
                f.write_str("the idempotency key was used for another request")
            }
            Self::NoMount { nearest } => {
                write!(f, "no mount matches the URL{}", Nearest(nearest))
            }
            Self::Disabled => f.write_str("retries are switched off for this request"),
            Self::RetriedAbove { depth, max } => write!(
                f,
                "it is part of a retry further out (depth {depth}, `max_retry_depth` is {max})"
            ),
            Self::Throttled => {
                f.write_str("refused by the adaptive throttle: the server turns too many down")
            }
            Self::HeldTooLong { held, max } => {
                let (held, max) = (Human(*held), Human(*max));
                write!(
                    f,
                    "the server asked another request to wait {held}, `max_hold` is {max}"
                )
            }
            Self::TooManyInFlight { max } => {
                write!(
                    f,
                    "{max} retries are in flight, as many as are allowed at once"
                )
            }
            Self::Rejected { by, retry_in } => {
                let (by, retry_in) = (Shown(by), Human(*retry_in));
                write!(f, "{by} lets nothing through for {retry_in}")
            }
            Self::RedirectRefused { because } => {
                write!(f, "the redirect is not followed: {}", Shown(because))
            }
            Self::HookFailed => f.write_str("the hook before the retry failed"),
            Self::NotReady => f.write_str("the inner service failed to become ready"),
            Self::NotResumable { because } => write!(f, "{because}"),
            Self::Custom(reason) => write!(f, "{}", Shown(reason)),
        }
    }
}

/// What is derived does it, but for a name that has become more than a name since.
#[cfg(feature = "serde")]
mod serialized {
    use std::fmt;

    use serde::{
        Deserialize, Deserializer, Serialize, Serializer,
        de::{Error, IntoDeserializer, MapAccess, Visitor, value::MapAccessDeserializer},
    };

    use super::{Refused, StopReason};

    impl Serialize for StopReason {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            StopReason::serialize(self, to)
        }
    }

    impl<'de> Deserialize<'de> for StopReason {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_any(Read)
        }
    }

    struct Read;

    impl<'de> Visitor<'de> for Read {
        type Value = StopReason;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the reason of a stop: its name, or its name with what belongs to it")
        }

        fn visit_str<E: Error>(self, name: &str) -> Result<StopReason, E> {
            match name {
                // Reports without a version have no numbers.
                "budget_exhausted" => Ok(StopReason::BudgetExhausted(Refused::default())),
                name => StopReason::deserialize(name.into_deserializer()),
            }
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<StopReason, A::Error> {
            StopReason::deserialize(MapAccessDeserializer::new(map))
        }
    }
}
