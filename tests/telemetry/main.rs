//! What a subscriber hears.

#[cfg(feature = "telemetry")]
mod attempt_spans;
#[cfg(feature = "telemetry")]
mod counters;
#[cfg(feature = "telemetry")]
mod dashboard;
mod lint;
mod span;
