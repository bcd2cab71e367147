//! What can be wrong with a layer's time limits, whatever its policy.

use super::{Finding, LintCode, LintContext};
use crate::human::Human;

pub(crate) fn time_limits(context: &LintContext) -> Vec<Finding> {
    let finding = match (context.attempt_timeout, context.deadline) {
        _ if !context.in_layer => None,
        (None, None) => Some(
            Finding::new(
                LintCode::NoTimeLimit,
                "nothing bounds the time: a request that hangs is never retried and never ends",
                "set an attempt timeout and a deadline, or allow this where a layer below times \
                 out",
            )
            .fields(&["attempt_timeout", "deadline"]),
        ),
        (Some(timeout), Some(deadline)) if timeout >= deadline => Some(
            Finding::new(
                LintCode::AttemptTimeoutOverDeadline,
                format!(
                    "an attempt times out after {}, the deadline is {}: an attempt that hangs is \
                     never followed by another",
                    Human(timeout),
                    Human(deadline)
                ),
                "set the attempt timeout to a fraction of the deadline",
            )
            .fields(&["attempt_timeout", "deadline"]),
        ),
        _ => None,
    };
    finding.into_iter().collect()
}
