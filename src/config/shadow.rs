//! A policy that is only asked, in a document.

use super::{InvalidConfig, RetryConfig, keys::PolicyKeys, read::Place};
use crate::{policy::RetryPolicy, shadow::Shadow};

impl RetryConfig {
    /// The policy, and the one in the table `candidate`, which is only asked. Without that table
    /// nobody is, so that a program can be built once and a candidate come and go with its document.
    ///
    /// ```
    /// use tower_http_retry::{RetryLayer, config::RetryConfig, policy::Limit};
    ///
    /// let config: RetryConfig = toml::from_str(
    ///     r#"
    ///     total = 3
    ///     status_forcelist = [429, 503]
    ///
    ///     [candidate]
    ///     total = 1
    ///     "#,
    /// )?;
    /// let policy = config.to_shadow()?;
    /// let candidate = policy.candidate().expect("there is one");
    /// assert_eq!(candidate.total(), Limit::AtMost(1));
    /// assert!(candidate.status_forcelist().eq([429, 503]), "as at the top");
    ///
    /// let layer = RetryLayer::new(policy.clone()).configure(&config);
    /// # let _ = layer;
    /// // … and after some requests:
    /// assert_eq!(policy.stats().disagreements(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A value that does not go with another one, in either table; and mounts, beside which no
    /// candidate stands.
    pub fn to_shadow(&self) -> Result<Shadow<RetryPolicy>, InvalidConfig> {
        if !self.mounts.is_empty() {
            let why = "makes more than one policy, and a shadow has a single one";
            return Err(InvalidConfig::conflict("mounts", why));
        }
        let live = self.policy.build(&Place::top(), None)?;
        let Some(keys) = &self.candidate else {
            return Ok(Shadow::alone(live));
        };
        let candidate = keys.build(&Place::candidate(), Some(&live))?;
        Ok(Shadow::new(live, candidate))
    }
}

impl From<&Shadow<RetryPolicy>> for RetryConfig {
    fn from(shadow: &Shadow<RetryPolicy>) -> Self {
        Self {
            candidate: shadow.candidate().map(PolicyKeys::from),
            ..shadow.live().into()
        }
    }
}
