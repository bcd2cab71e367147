//! The errors of this crate's own: what a retry layer further in, or a recorded body, reports.

use std::{error::Error, fmt, time::Duration};

use super::{
    Cause,
    reading::{Place, Reading},
};
use crate::{body::ReplayError, human::Human, stack::Rejected};

/// The source of a [`RetryError`](crate::RetryError) whose last attempt took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptTimedOut {
    after: Duration,
}

impl AttemptTimedOut {
    pub(crate) const fn new(after: Duration) -> Self {
        Self { after }
    }

    /// The time after which the attempt was given up.
    pub const fn after(&self) -> Duration {
        self.after
    }
}

impl fmt::Display for AttemptTimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no response within {}", Human(self.after))
    }
}

impl Error for AttemptTimedOut {}

/// The source of a [`RetryError`](crate::RetryError) whose deadline passed during the first
/// attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadlinePassed {
    deadline: Duration,
}

impl DeadlinePassed {
    pub(crate) const fn new(deadline: Duration) -> Self {
        Self { deadline }
    }

    /// The deadline, counted from the request's start.
    pub const fn deadline(&self) -> Duration {
        self.deadline
    }
}

impl fmt::Display for DeadlinePassed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the deadline of {} passed", Human(self.deadline))
    }
}

impl Error for DeadlinePassed {}

/// Whether this is one of them.
pub(super) fn is_known(error: &(dyn Error + 'static)) -> bool {
    error.is::<ReplayError>() || error.is::<AttemptTimedOut>() || error.is::<DeadlinePassed>()
}

pub(super) fn read(error: &(dyn Error + 'static), _: Place) -> Option<Reading> {
    let cause = if let Some(error) = error.downcast_ref::<ReplayError>() {
        match error {
            ReplayError::Body(_) => Cause::RequestBody,
            // Its connection was given up for the attempt that took over.
            ReplayError::Superseded => return None,
        }
    } else if error.is::<AttemptTimedOut>() {
        Cause::AttemptTimeout
    } else if error.is::<Rejected>() {
        Cause::Rejected
    } else if error.is::<DeadlinePassed>() {
        Cause::Timeout
    } else {
        return None;
    };
    Some(Reading::Settled(cause))
}
