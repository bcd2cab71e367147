//! Where the policy comes from.

use tower_http_retry::{
    RetryLayer,
    policy::{RetryPolicy, SharedPolicy},
};

/// What is explained.
pub(crate) struct Source {
    /// A layer with the policy.
    pub(crate) layer: RetryLayer<SharedPolicy>,
    /// The same with the policy that a document has only asked.
    pub(crate) candidate: Option<RetryLayer<SharedPolicy>>,
    /// Whether it is said what the layer is like. Else nothing is known of it.
    pub(crate) has_layer: bool,
}

/// The policy of this name, or in this file.
pub(crate) fn load(source: &str) -> Result<Source, String> {
    let policy = match source {
        "default" => RetryPolicy::default(),
        "urllib3" => RetryPolicy::urllib3(),
        file => return read(file),
    };
    Ok(Source {
        layer: RetryLayer::new(SharedPolicy::new(policy)),
        candidate: None,
        has_layer: false,
    })
}

#[cfg(feature = "serde")]
fn read(file: &str) -> Result<Source, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{file}: {error}");
    let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
    let config: tower_http_retry::config::RetryConfig = if file.ends_with(".json") {
        serde_json::from_str(&text).map_err(|error| wrong(&error))?
    } else {
        toml::from_str(&text).map_err(|error| wrong(&error))?
    };
    let layer = |policy| RetryLayer::new(policy).configure(&config);
    let (policy, candidate) = match config.to_mounts() {
        // Without mounts, a single policy is what is meant.
        Ok(mounts) => match mounts.fallback_policy() {
            Some(policy) if mounts.is_empty() => (SharedPolicy::new(policy.clone()), None),
            _ => (SharedPolicy::new(mounts), None),
        },
        Err(error) if error.key() == "candidate" => {
            let shadow = config.to_shadow().map_err(|error| wrong(&error))?;
            let candidate = shadow.candidate().cloned().map(SharedPolicy::new);
            (SharedPolicy::new(shadow.live().clone()), candidate)
        }
        Err(error) => return Err(wrong(&error)),
    };
    Ok(Source {
        layer: layer(policy),
        candidate: candidate.map(layer),
        has_layer: true,
    })
}

#[cfg(not(feature = "serde"))]
fn read(source: &str) -> Result<Source, String> {
    Err(format!(
        "the policy is {source:?}: must be default or urllib3; to read a file, \
         `cargo run --features serde --example explain` is needed"
    ))
}
