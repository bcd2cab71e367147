//! What few requests have, kept out of the way of the others.

use std::time::Duration;

use super::Clock;
use crate::{
    guards::Guards,
    settings::{Brought, Settings},
};

pub(crate) struct Special {
    /// The request's own deadline, counted from its start.
    deadline: Option<Duration>,
    /// The number of the attempt that the request is to a layer further out.
    pub(super) outer_attempt: Option<u32>,
    pub(super) guards: Option<Guards>,
}

impl Special {
    /// `None` for a request that has nothing of it.
    pub(super) fn of(
        brought: Brought,
        guards: Option<Guards>,
        clock: &mut Clock,
    ) -> Option<Box<Self>> {
        let Brought {
            deadline,
            outer_attempt,
        } = brought;
        if deadline.is_none() && outer_attempt.is_none() && guards.is_none() {
            return None;
        }
        Some(Box::new(Self {
            deadline: deadline.map(|deadline| clock.limit(deadline)),
            outer_attempt,
            guards,
        }))
    }
}

/// The time that a request has: its own, or the layer's.
pub(super) fn limit(special: Option<&Special>, settings: &Settings) -> Option<Duration> {
    special
        .and_then(|special| special.deadline)
        .or(settings.deadline)
}

pub(super) fn guards(special: Option<&Special>) -> Option<&Guards> {
    special?.guards.as_ref()
}
