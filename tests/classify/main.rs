//! What failed, and at which stage.

mod errors;
#[cfg(feature = "hyper")]
mod never_twice;
