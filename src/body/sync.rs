//! The lock and the pointer that an attempt and its successor share.
//!
//! They live in one place so that loom's can take theirs when the hand-over is model checked.

#[cfg(all(retry_loom, test))]
pub(super) use loom::sync::{Arc, Mutex, MutexGuard};
#[cfg(not(all(retry_loom, test)))]
pub(super) use std::sync::{Arc, Mutex, MutexGuard};
