//! One mistake that was found.

use std::{borrow::Cow, fmt};

use super::LintCode;

/// How much a mistake matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Severity {
    /// Worth knowing; does no harm.
    Note,
    /// Requests will probably be treated otherwise than was meant, or servers worse than needed.
    Warn,
    /// The settings contradict each other: something that they ask for can never happen, or
    /// nothing bounds the harm.
    Error,
}

impl Severity {
    /// Its name, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warn => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A mistake in a policy or a layer: what happens, and what helps.
///
/// `Display` is two lines:
///
/// ```
/// use tower_http_retry::{lint::Lint, policy::RetryPolicy};
///
/// let policy = RetryPolicy::builder().total(0).connect(3).build()?;
/// assert_eq!(
///     policy.lint()[0].to_string(),
///     "error[total-zero] `total`, `connect`: `total` allows no retry, so `connect` = 3 never \
///      counts\n  help: raise `total`, or leave the other limits out",
/// );
/// # Ok::<(), tower_http_retry::policy::InvalidPolicy>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Finding {
    /// Which mistake.
    pub code: LintCode,
    /// How much it matters here.
    pub severity: Severity,
    /// Where the policy is, if there is more than one: a mount's prefix, for instance.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub place: Option<String>,
    /// The settings that have to do with it, the most telling first.
    pub fields: Vec<Cow<'static, str>>,
    /// What happens.
    pub message: Cow<'static, str>,
    /// What helps.
    pub help: Cow<'static, str>,
}

impl Finding {
    /// A finding of the code's usual severity, without fields and place.
    pub(crate) fn new(
        code: LintCode,
        message: impl Into<Cow<'static, str>>,
        help: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::with(code, message.into(), help.into())
    }

    #[inline(never)]
    fn with(code: LintCode, message: Cow<'static, str>, help: Cow<'static, str>) -> Self {
        Self {
            code,
            severity: code.severity(),
            place: None,
            fields: Vec::new(),
            message,
            help,
        }
    }

    /// Sets the settings that have to do with it.
    #[must_use]
    #[inline(never)]
    pub(super) fn fields(mut self, fields: &[&'static str]) -> Self {
        for field in fields {
            self.fields.push(Cow::Borrowed(field));
        }
        self
    }

    /// Sets how much it matters here.
    #[must_use]
    pub(super) fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.severity, self.code)?;
        if let Some(place) = &self.place {
            write!(f, " {place}:")?;
        }
        for (at, field) in self.fields.iter().enumerate() {
            write!(f, "{} `{field}`", if at == 0 { "" } else { "," })?;
        }
        if !self.fields.is_empty() {
            f.write_str(":")?;
        }
        write!(f, " {}\n  help: {}", self.message, self.help)
    }
}
