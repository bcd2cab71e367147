//! What is kept of a request while it is on its way.

use http::{Method, Request, Uri};

use crate::{
    report::sanitized,
    snapshot::{Snapshot, Target},
};

/// What another attempt needs, or what a report does.
pub(crate) enum Kept<S, V> {
    /// It will never be sent again.
    Line { method: Method, uri: Uri },
    /// All that another attempt needs.
    All { head: Snapshot, service: S, body: V },
}

impl<S, V> Kept<S, V> {
    #[inline(always)]
    pub(crate) fn line<B>(request: &Request<B>) -> Self {
        Self::Line {
            method: request.method().clone(),
            uri: request.uri().clone(),
        }
    }

    pub(super) fn method(&self) -> &Method {
        match self {
            Self::Line { method, .. } => method,
            Self::All { head, .. } => head.method(),
        }
    }

    /// Gives memory back, since the request has to wait.
    pub(super) fn settle(&mut self) {
        if let Self::All { head, .. } = self {
            head.settle();
        }
    }

    /// The URL as a report shows it.
    pub(super) fn url(&self) -> String {
        let target = match self {
            Self::Line { uri, .. } => Target::of(uri),
            Self::All { head, .. } => head.target(),
        };
        sanitized(target.scheme, target.authority, target.path_and_query)
    }
}
