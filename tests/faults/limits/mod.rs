//! What is large, endless or absurd: servers that never stop failing, waits of billions of years,
//! ten thousand headers or authorities, an upload of a gibibyte.
//!
//! Each is met under both presets where both can meet it. Nothing depends on speed.

mod authorities;
mod failing;
#[cfg(all(feature = "h2", feature = "hyper"))]
mod headers;
mod hints;
#[cfg(all(feature = "h2", feature = "hyper"))]
mod upload;

use std::time::Duration;

use tower_http_retry::policy::{Backoff, Preset, RetryPolicy, RetryPolicyBuilder};

const PRESETS: [Preset; 2] = [Preset::Default, Preset::Urllib3];

fn builder(preset: Preset) -> RetryPolicyBuilder {
    match preset {
        Preset::Urllib3 => RetryPolicy::urllib3_builder(),
        _ => RetryPolicy::builder(),
    }
}

/// A preset that repeats what is answered with 503 and waits for a moment only.
fn quick(preset: Preset) -> RetryPolicyBuilder {
    builder(preset)
        .status_forcelist([503])
        .backoff(Backoff::constant(Duration::from_millis(1)))
}
