//! What is wrong with a policy's settings.

use std::{error::Error, fmt};

/// A setting that no policy can work with.
///
/// Names the setting, the value it was given and what is allowed.
///
/// ```
/// use tower_http_retry::policy::RetryPolicy;
///
/// let error = RetryPolicy::builder().backoff_factor(f64::NAN).build().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "`backoff_factor` is NaN: must be a number of seconds that is not negative",
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPolicy {
    field: &'static str,
    value: String,
    allowed: &'static str,
}

impl InvalidPolicy {
    pub(crate) fn new(
        field: &'static str,
        value: impl fmt::Display,
        allowed: &'static str,
    ) -> Self {
        Self {
            field,
            value: value.to_string(),
            allowed,
        }
    }

    /// The name of the setting.
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// The value it was given.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// What is allowed instead.
    pub fn allowed(&self) -> &'static str {
        self.allowed
    }
}

impl fmt::Display for InvalidPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is {}: must be {}",
            self.field, self.value, self.allowed
        )
    }
}

impl Error for InvalidPolicy {}
