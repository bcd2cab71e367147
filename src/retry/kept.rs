//! What is kept of a request while it is on its way.

use std::cell::OnceCell;

use http::{Extensions, HeaderMap, Method, Request, Uri, request::Parts};
use tokio::time::Instant;

use super::LayerSettings;
use crate::{
    body::SavedBody,
    classify::RequestView,
    reason::Note,
    report::sanitized,
    snapshot::{Snapshot, Target},
    text,
};

/// What another attempt needs, or what a report does.
pub(super) enum Retained<S, Saved> {
    /// All that another attempt needs.
    Replayable {
        head: Snapshot,
        service: S,
        body: Saved,
    },
    /// It will never be sent again.
    HeadOnly { method: Method, uri: Uri },
}

impl<S, Saved> Retained<S, Saved> {
    pub(super) fn head_only<B>(request: &Request<B>) -> Self {
        Self::HeadOnly {
            method: request.method().clone(),
            uri: request.uri().clone(),
        }
    }

    pub(super) fn method(&self) -> &Method {
        match self {
            Self::HeadOnly { method, .. } => method,
            Self::Replayable { head, .. } => head.method(),
        }
    }

    /// The head to be looked at, and what was kept of the body.
    pub(super) fn head_and_body(&mut self) -> (KeptHead<'_>, Option<&mut Saved>) {
        match self {
            Self::HeadOnly { method, uri } => (KeptHead::Line { method, uri }, None),
            Self::Replayable { head, body, .. } => {
                let copy = OnceCell::new();
                (KeptHead::Whole { head, copy }, Some(body))
            }
        }
    }

    /// Gives memory back, since the request has to wait.
    pub(super) fn settle(&mut self) {
        if let Self::Replayable { head, .. } = self {
            head.settle();
        }
    }

    /// What the layer notes of an attempt, which is the first one or a later one.
    pub(super) fn notes<B>(&self, number: u32) -> Vec<Note>
    where
        Saved: SavedBody<B>,
    {
        let by = match self {
            Self::Replayable { body, .. } if number > 1 => body.vouched_by(),
            Self::Replayable { .. } | Self::HeadOnly { .. } => None,
        };
        match by {
            Some(by) => vec![Note::BodyVouched { by: by.into() }],
            None => Vec::new(),
        }
    }

    fn target(&self) -> Target<'_> {
        match self {
            Self::HeadOnly { uri, .. } => Target::of(uri),
            Self::Replayable { head, .. } => head.target(),
        }
    }

    /// The URL as a report shows it.
    pub(super) fn url(&self, settings: &LayerSettings) -> String {
        shown(self.target(), settings)
    }

    /// The text of an error, which may show the URL.
    pub(super) fn hide_path(&self, error: &mut String, settings: &LayerSettings) {
        if let Some(redact) = &settings.redact_path {
            let target = self.target();
            *error = text::hide(error, target.path(), &redact(target.path()));
        }
    }
}

/// A URL as a report shows it.
pub(super) fn shown(target: Target<'_>, settings: &LayerSettings) -> String {
    match &settings.redact_path {
        Some(redact) => {
            let path = redact(target.path());
            sanitized(target.scheme, target.authority, &path)
        }
        None => sanitized(target.scheme, target.authority, target.path_and_query),
    }
}

/// A request's head for whoever wants to look at it: it is unpacked only then.
pub(super) enum KeptHead<'a> {
    Line {
        method: &'a Method,
        uri: &'a Uri,
    },
    Whole {
        head: &'a Snapshot,
        copy: OnceCell<Option<Box<Parts>>>,
    },
}

impl KeptHead<'_> {
    fn parts(&self) -> Option<&Parts> {
        match self {
            Self::Line { .. } => None,
            Self::Whole { head, copy } => copy.get_or_init(|| head.copy().map(Box::new)).as_deref(),
        }
    }
}

impl RequestView for KeptHead<'_> {
    fn method(&self) -> &Method {
        match self {
            Self::Line { method, .. } => method,
            Self::Whole { head, .. } => head.method(),
        }
    }

    fn uri(&self) -> Option<&Uri> {
        match self {
            Self::Line { uri, .. } => Some(uri),
            Self::Whole { .. } => Some(&self.parts()?.uri),
        }
    }

    fn headers(&self) -> Option<&HeaderMap> {
        Some(&self.parts()?.headers)
    }

    fn extensions(&self) -> Option<&Extensions> {
        Some(&self.parts()?.extensions)
    }
}

/// A first attempt that is held back: the request as it was given, and the service to send it with.
///
/// The service is a clone of the one that was polled ready, which must not be kept from others
/// for the time of the wait.
pub(super) struct HeldAttempt<S, B> {
    pub(super) service: S,
    pub(super) request: Request<B>,
    /// When the admissions are asked again; `None` once they have let it through.
    pub(super) until: Option<Instant>,
}
