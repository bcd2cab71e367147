//! What few requests have, kept out of the way of the others.

use std::time::Duration;

use http::{Extensions, Request, Uri};

use super::{
    admissions::Admissions,
    clock::Clock,
    settings::{LayerSettings, RequestDeadline, RequestOptions},
};
use crate::stack::RequestState;

pub(super) struct Extras {
    /// The request's own deadline, or that of all layers together, counted from its start.
    deadline: Option<Duration>,
    /// The number of the attempt that the request is to a layer further out.
    pub(super) outer_attempt: Option<u32>,
    /// What the request shares with the layers further out.
    pub(super) state: Option<RequestState>,
    pub(super) admissions: Option<Admissions>,
}

impl Extras {
    /// `None` for a request that has nothing of it. `policy` is how long its policy lets it take.
    pub(super) fn of<B>(
        request: &Request<B>,
        policy: Option<Duration>,
        settings: &LayerSettings,
        clock: &mut Clock,
    ) -> Option<Box<Self>> {
        let RequestOptions {
            deadline,
            outer_attempt,
            state,
        } = RequestOptions::of(request.extensions());
        let admissions = Admissions::enter(&settings.admissions, request.uri());
        let told = settings.deadline_header.as_ref();
        let told = told.and_then(|header| header.read(request.headers()));
        if told.is_none()
            && policy.is_none()
            && deadline.is_none()
            && outer_attempt.is_none()
            && state.is_none()
            && admissions.is_none()
        {
            return None;
        }
        let own = deadline.map(|deadline| clock.limit(deadline));
        // None of these starts it anew: what the request tells the server holds for all attempts
        // together.
        let shared = state.as_ref().and_then(RequestState::deadline);
        let others = [
            told.map(RequestDeadline::after),
            policy.map(RequestDeadline::after),
            shared.map(RequestDeadline::at),
        ];
        let others = others.into_iter().flatten();
        let deadline = match others.map(|other| clock.limit(other)).min() {
            Some(other) => Some(
                own.or(settings.deadline)
                    .map_or(other, |own| own.min(other)),
            ),
            None => own,
        };
        Some(Box::new(Self {
            deadline,
            outer_attempt,
            state,
            admissions,
        }))
    }

    /// A layer below sent an attempt to `endpoint`: the next one hears of it. A layer that was
    /// handed the state has noted it there itself.
    pub(super) fn tried(extras: &mut Option<Box<Self>>, endpoint: Uri) {
        let extras = extras.get_or_insert_with(|| {
            Box::new(Self {
                deadline: None,
                outer_attempt: None,
                state: None,
                admissions: None,
            })
        });
        let state = extras.state.get_or_insert_with(|| RequestState::new(None));
        if !state.has_tried(&endpoint) {
            state.add_tried(endpoint);
        }
    }

    /// Hands on what is shared with the layers below, unless it is there already.
    pub(super) fn pass_on(&self, extensions: &mut Extensions) {
        if let (Some(state), None) = (&self.state, RequestState::of(extensions)) {
            extensions.insert(state.clone());
        }
    }
}

/// The request's dealings with its admissions, if it has any.
pub(super) fn admissions(extras: &mut Option<Box<Extras>>) -> Option<&mut Admissions> {
    extras.as_mut()?.admissions.as_mut()
}

/// The time that a request has: its own, or the layer's.
pub(super) fn time_limit(extras: Option<&Extras>, settings: &LayerSettings) -> Option<Duration> {
    extras
        .and_then(|extras| extras.deadline)
        .or(settings.deadline)
}
