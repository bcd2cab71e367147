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
    /// `None` for a request that has nothing of it.
    pub(super) fn of<B>(
        request: &Request<B>,
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
            && deadline.is_none()
            && outer_attempt.is_none()
            && state.is_none()
            && admissions.is_none()
        {
            return None;
        }
        let own = deadline.map(|deadline| clock.limit(deadline));
        // What the request tells the server holds for all attempts together.
        let own = match told.map(|time| clock.limit(RequestDeadline::after(time))) {
            Some(told) => Some(own.or(settings.deadline).map_or(told, |own| own.min(told))),
            None => own,
        };
        let shared = state.as_ref().and_then(RequestState::deadline);
        let deadline = match shared.map(|all| clock.limit(RequestDeadline::at(all))) {
            // Neither the request's nor the layer's own starts it anew.
            Some(all) => Some(own.or(settings.deadline).map_or(all, |own| own.min(all))),
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
