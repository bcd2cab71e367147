//! When a request is sent again: pure decisions, without clock, I/O or runtime.

mod backoff;
mod invalid;
mod retry_after;
mod rng;

pub use self::{
    backoff::{Backoff, BackoffKind, Jitter},
    invalid::InvalidPolicy,
    retry_after::{
        Hint, HintHeader, InvalidRetryAfter, RETRY_AFTER_STATUSES, parse_retry_after, retry_after,
        standard_retry_after,
    },
    rng::Rng,
};
