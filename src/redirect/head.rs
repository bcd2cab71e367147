//! The head of the request that follows a redirect.

use http::{
    Extensions, HeaderMap, HeaderName,
    header::{
        CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE,
        CONTENT_TYPE, EXPECT, HOST, LAST_MODIFIED, TRAILER, TRANSFER_ENCODING,
    },
    request::Parts,
};

use super::rules::{Hop, Rules};
use crate::{
    RequestDeadline,
    policy::{Idempotent, RetryDisabled, RetryPolicy},
    stack::{Lead, RequestState},
};

/// What is about a body, and goes with it.
const ABOUT_THE_BODY: [HeaderName; 13] = [
    EXPECT,
    TRAILER,
    CONTENT_RANGE,
    HeaderName::from_static("repr-digest"),
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LENGTH,
    CONTENT_LOCATION,
    CONTENT_TYPE,
    LAST_MODIFIED,
    TRANSFER_ENCODING,
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
];

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Turns the head of the request that was redirected into that of the next one.
pub(super) fn redirected(
    mut parts: Parts,
    hop: &Hop,
    rules: &Rules,
    policy: &RetryPolicy,
    state: &RequestState,
) -> Parts {
    if !hop.keeps_body {
        forget_the_body(&mut parts.headers);
        parts.extensions.remove::<Idempotent>();
    }
    if !hop.same_origin {
        let secrets: Vec<_> = parts.headers.keys().cloned().collect();
        for header in secrets {
            if rules.is_secret(policy, &header) {
                parts.headers.remove(header);
            }
        }
        parts.extensions = own(&parts.extensions);
    }
    if parts.uri.authority() != hop.uri.authority() {
        // That of the first server; the client makes it from the URI.
        parts.headers.remove(HOST);
    }
    state.leads(Lead::Redirect);
    parts.extensions.insert(state.clone());
    parts.method = hop.method.clone();
    parts.uri = hop.uri.clone();
    parts
}

fn forget_the_body(headers: &mut HeaderMap) {
    for header in ABOUT_THE_BODY.iter().chain([&IDEMPOTENCY_KEY]) {
        headers.remove(header);
    }
}

/// This crate's own extensions; others may be secrets of the first server's.
fn own(all: &Extensions) -> Extensions {
    fn keep<T: Clone + Send + Sync + 'static>(from: &Extensions, to: &mut Extensions) {
        if let Some(kept) = from.get::<T>() {
            to.insert(kept.clone());
        }
    }
    let mut kept = Extensions::new();
    keep::<Idempotent>(all, &mut kept);
    keep::<RequestDeadline>(all, &mut kept);
    keep::<RetryDisabled>(all, &mut kept);
    keep::<RetryPolicy>(all, &mut kept);
    #[cfg(feature = "reqwest")]
    keep::<crate::stack::OwnTimeout>(all, &mut kept);
    kept
}
