//! The layer, its service and its future: what happens between two attempts.

mod allocations;
mod cancel;
mod classifiers;
mod deadline_header;
mod events;
mod future;
mod guards;
mod held;
mod hooks;
mod idempotency;
mod late;
mod leaks;
mod no_runtime;
mod overrides;
mod paced;
mod policies;
mod readiness;
mod report;
#[cfg(feature = "shadow")]
mod shadow;
mod time;
mod told;
mod unprocessed;
mod wait;
