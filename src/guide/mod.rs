//! Chapters about using the layer; there is no code in here.
//!
//! - [`anti_patterns`]: mistakes that others have made, and what to write instead.
//! - [`migrating`]: coming from `tower::retry`, reqwest-retry, backoff or backon, urllib3, Polly.
//! - [`ordering`]: what it means for another layer to be above or below the retries.
//! - [`places`]: when a retry is worth more on another connection, or at another server.
//! - [`recipes`]: policies for GitHub, Stripe, S3 and others, to be copied.
//! - [`testing`]: how a client's retries are tested, in milliseconds and without a socket.

pub mod anti_patterns;
pub mod migrating;
pub mod ordering;
pub mod places;
pub mod recipes;
pub mod testing;
