//! What failed, and at which stage.

mod chains;
mod errors;
#[cfg(feature = "hyper")]
mod never_twice;
mod over_http2;
#[cfg(feature = "hyper")]
mod tunnel;
