//! Which limit a retry is charged to.

use std::fmt;

use super::FailureKind;

/// Which of a policy's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum LimitKind {
    /// All retries together.
    Total,
    /// Retries after connect failures.
    Connect,
    /// Retries after read failures.
    Read,
    /// Retries of a redirect that was not followed below.
    Redirect,
    /// Retries because of a status.
    Status,
    /// Retries after other failures.
    Other,
}

impl LimitKind {
    /// All of them, `total` first.
    pub const ALL: [Self; 6] = [
        Self::Total,
        Self::Connect,
        Self::Read,
        Self::Redirect,
        Self::Status,
        Self::Other,
    ];

    /// The limit's name, as urllib3 spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Connect => "connect",
            Self::Read => "read",
            Self::Redirect => "redirect",
            Self::Status => "status",
            Self::Other => "other",
        }
    }
}

impl From<FailureKind> for LimitKind {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Connect => Self::Connect,
            FailureKind::Read => Self::Read,
            FailureKind::Status => Self::Status,
            FailureKind::Other => Self::Other,
        }
    }
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
