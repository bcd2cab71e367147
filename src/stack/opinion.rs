//! [`Opinion`]: what somebody who is not the policy says of an outcome.

use std::borrow::Cow;

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
    /// The request must not be sent again, for this reason.
    Forbid(Cow<'static, str>),
}
