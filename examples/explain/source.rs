//! Where the policy comes from.

use tower_http_retry::policy::{RetryPolicy, SharedPolicy};

/// The policy of this name, or in this file.
pub(crate) fn load(source: &str) -> Result<SharedPolicy, String> {
    match source {
        "default" => Ok(SharedPolicy::new(RetryPolicy::default())),
        "urllib3" => Ok(SharedPolicy::new(RetryPolicy::urllib3())),
        _ => Err(format!(
            "the policy is {source:?}: allowed is default or urllib3"
        )),
    }
}
