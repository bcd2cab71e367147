//! [`Exchange`]: an attempt as a classifier sees it, with its request.

use std::fmt;

use http::{Extensions, HeaderMap, Method, Uri};

use super::Outcome;

/// What an attempt sent and how it ended; see
/// [`Classify::classify_exchange`](super::Classify::classify_exchange).
#[derive(Clone, Copy)]
pub struct Exchange<'a> {
    number: u32,
    outcome: Outcome<'a>,
    request: &'a dyn RequestView,
}

/// A request's head, as far as it is known.
pub(crate) trait RequestView {
    fn method(&self) -> &Method;
    fn uri(&self) -> Option<&Uri>;
    fn headers(&self) -> Option<&HeaderMap>;
    fn extensions(&self) -> Option<&Extensions>;
}

impl<'a> Exchange<'a> {
    pub(crate) fn new(number: u32, outcome: Outcome<'a>, request: &'a dyn RequestView) -> Self {
        Self {
            number,
            outcome,
            request,
        }
    }

    /// The attempt's number; 1 is the first one.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// How it ended; a response with its headers.
    pub fn outcome(&self) -> &Outcome<'a> {
        &self.outcome
    }

    /// The request's method.
    pub fn method(&self) -> &'a Method {
        self.request.method()
    }

    /// The request's URI, as it was given to the layer. `None` only where it was made of parts that
    /// no URI may have.
    pub fn uri(&self) -> Option<&'a Uri> {
        self.request.uri()
    }

    /// The request's headers, as they were given to the layer. `None` for a request that is never
    /// sent again whatever happens, of which they are not kept.
    pub fn headers(&self) -> Option<&'a HeaderMap> {
        self.request.headers()
    }

    /// The request's extensions; `None` where there are no [`headers`](Self::headers).
    pub fn extensions(&self) -> Option<&'a Extensions> {
        self.request.extensions()
    }
}

impl fmt::Debug for Exchange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("number", &self.number)
            .field("method", self.method())
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}
