//! [`Opinion`]: what somebody who is not the policy says of an outcome.

use std::{borrow::Cow, time::Duration};

/// What a classifier, or a layer below, says of an outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Opinion {
    /// Nothing to say: the next classifier is asked, and in the end the policy.
    #[default]
    NoOpinion,
    /// The outcome is a transient failure, for this reason, whatever its status or cause.
    ///
    /// The other gates (method, counts, body, budget, deadline) still have their say.
    Retry(Cow<'static, str>),
    /// The same, and the request is to be sent again after this time, in place of the policy's own
    /// wait.
    RetryIn(Cow<'static, str>, Duration),
    /// The same as [`Retry`](Self::Retry), and the connection that the attempt was on is to blame, or
    /// what it leads to: where a `ConnectionLayer` (feature `connection`) stands below, it is left,
    /// whether or not the request is sent again, and the record notes that. Of answers that is
    /// known where the status is 400 or more.
    LeaveConnection(Cow<'static, str>),
    /// The server refused the request without processing it, for this reason: it is sent again for
    /// every method.
    ///
    /// Only for what proves it: 425 (RFC 8470) and 421 (RFC 9110) do so by themselves, where the
    /// policy lists them. The other gates (counts, body, budget, deadline) still have their say.
    Unprocessed(Cow<'static, str>),
    /// The request must not be sent again, for this reason.
    Forbid(Cow<'static, str>),
}

impl Opinion {
    /// Whether somebody takes the outcome for a transient failure.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Retry(_)
            | Self::RetryIn(..)
            | Self::LeaveConnection(_)
            | Self::Unprocessed(_) => true,
            Self::NoOpinion | Self::Forbid(_) => false,
        }
    }

    /// Whether somebody knows that the request was not processed.
    pub(crate) fn is_unprocessed(&self) -> bool {
        matches!(self, Self::Unprocessed(_))
    }

    /// The reason, unless there is no opinion.
    pub(crate) fn because(&self) -> Option<&str> {
        match self {
            Self::NoOpinion => None,
            Self::Retry(because)
            | Self::RetryIn(because, _)
            | Self::LeaveConnection(because)
            | Self::Unprocessed(because)
            | Self::Forbid(because) => Some(because),
        }
    }
}
