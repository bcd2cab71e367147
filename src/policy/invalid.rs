//! A setting that cannot be used.

use std::fmt;

/// A setting was out of its range: which one, what it was, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPolicy {
    /// The name of the setting.
    pub field: &'static str,
    /// The value that was given.
    pub value: String,
    /// What is allowed.
    pub allowed: &'static str,
}

impl fmt::Display for InvalidPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "invalid `{}`: {} (allowed: {})",
            self.field, self.value, self.allowed
        )
    }
}

impl std::error::Error for InvalidPolicy {}
