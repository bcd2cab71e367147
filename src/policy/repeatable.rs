//! Whether a request says of itself that it may be applied more than once.

use super::{IDEMPOTENCY_KEY, Idempotent, Preset, RequestHead};

/// Whether its caller marked it.
#[inline(always)]
pub(super) fn is_marked(request: &RequestHead<'_>) -> bool {
    !request.extensions().is_empty() && request.extensions().get::<Idempotent>().is_some()
}

/// Whether it carries an idempotency key that matters under `preset`: that of a request which changes
/// nothing says nothing, and urllib3 does not know the header.
#[inline(always)]
pub(super) fn is_keyed(request: &RequestHead<'_>, preset: Preset) -> bool {
    // Looked for by comparing: hashing the name takes longer than to look at each of the few that
    // there are.
    preset == Preset::Default
        && !request.method().is_safe()
        && request
            .headers()
            .keys()
            .any(|name| *name == IDEMPOTENCY_KEY)
}
