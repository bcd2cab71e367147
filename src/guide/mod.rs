//! Chapters about using the layer; there is no code in here.
//!
//! - [`migrating`]: coming from `tower::retry`, reqwest-retry, backoff or backon, urllib3, Polly.
//! - [`ordering`]: what it means for another layer to be above or below the retries.
//! - [`testing`]: how a client's retries are tested, in milliseconds and without a socket.

pub mod migrating;
pub mod ordering;
pub mod testing;
