//! The atomics: std's, or loom's where loom explores their interleavings.

#[cfg(not(all(retry_loom, test)))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(all(retry_loom, test))]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
