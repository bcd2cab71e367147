//! What few requests have, kept out of the way of the others.

use std::time::Duration;

use super::Clock;
use crate::{
    guards::Guards,
    settings::{Brought, RequestDeadline, Settings},
    stack::RequestState,
};

pub(crate) struct Special {
    /// The request's own deadline, or that of all layers together, counted from its start.
    deadline: Option<Duration>,
    /// The number of the attempt that the request is to a layer further out.
    pub(super) outer_attempt: Option<u32>,
    pub(super) guards: Option<Guards>,
    /// What the request shares with the layers further out.
    pub(super) state: Option<RequestState>,
}

impl Special {
    /// `None` for a request that has nothing of it.
    pub(super) fn of(
        brought: Brought,
        guards: Option<Guards>,
        clock: &mut Clock,
        settings: &Settings,
    ) -> Option<Box<Self>> {
        let Brought {
            deadline,
            outer_attempt,
            state,
        } = brought;
        if deadline.is_none() && outer_attempt.is_none() && guards.is_none() && state.is_none() {
            return None;
        }
        let own = deadline.map(|deadline| clock.limit(deadline));
        let shared = state.as_ref().and_then(RequestState::deadline);
        let deadline = match shared.map(|all| clock.limit(RequestDeadline::at(all))) {
            // Neither the request's nor the layer's own starts it anew.
            Some(all) => Some(own.or(settings.deadline).map_or(all, |own| own.min(all))),
            None => own,
        };
        Some(Box::new(Self {
            deadline,
            outer_attempt,
            guards,
            state,
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
