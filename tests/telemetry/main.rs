//! What a subscriber hears.

#[cfg(feature = "telemetry")]
mod attempt_spans;
#[cfg(feature = "telemetry")]
mod counters;
#[cfg(feature = "telemetry")]
mod dashboard;
#[cfg(all(
    feature = "endpoints",
    feature = "hedge",
    feature = "redirect",
    feature = "resume",
    feature = "telemetry"
))]
mod kinds;
mod lint;
mod span;
