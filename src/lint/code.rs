//! The names of the lints.

use std::{error::Error, fmt, str::FromStr};

use super::Severity;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $severity:ident;)*) => {
        /// Which mistake was found; see [the table](super#the-lints).
        ///
        /// A code's name is stable: it may be written into configurations and scripts.
        ///
        /// ```
        /// use tower_http_retry::lint::LintCode;
        ///
        /// assert_eq!(LintCode::NoJitter.as_str(), "no-jitter");
        /// assert_eq!("no-jitter".parse(), Ok(LintCode::NoJitter));
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum LintCode {
            $($(#[$doc])* $variant,)*
        }

        impl LintCode {
            /// All codes, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code's name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// How much such a mistake usually matters. A single [`Finding`](super::Finding) can
            /// be milder, where something else takes the edge off it.
            pub const fn severity(self) -> Severity {
                match self {
                    $(Self::$variant => Severity::$severity,)*
                }
            }
        }
    };
}

codes! {
    /// A method that is wanted is not in `allowed_methods`.
    MethodNotAllowed = "method-not-allowed", Warn;
    /// `allowed_methods` is empty.
    NoMethodAllowed = "no-method-allowed", Warn;
    /// `status_forcelist` is empty.
    NoStatusListed = "no-status-listed", Warn;
    /// `status_forcelist` has a status that never goes away by itself.
    StatusNeverTransient = "status-never-transient", Warn;
    /// `status_forcelist` has a status that means success.
    SuccessListed = "success-listed", Warn;
    /// `once_statuses` or `unprocessed_statuses` has a status that is not retried.
    StatusWithoutEffect = "status-without-effect", Warn;
    /// `unprocessed_statuses` has a status that says no such thing.
    StatusMayBeProcessed = "status-may-be-processed", Error;
    /// `total` allows no retry, another limit does.
    TotalZero = "total-zero", Error;
    /// A limit is above `total`.
    LimitUnreachable = "limit-unreachable", Warn;
    /// There is no bound on the number of retries.
    UnlimitedRetries = "unlimited-retries", Error;
    /// All retries are sent at once.
    NoBackoff = "no-backoff", Warn;
    /// All clients wait equally long.
    NoJitter = "no-jitter", Warn;
    /// Waits are shorter after throttling than after other failures.
    ThrottleBaseBelowBase = "throttle-base-below-base", Warn;
    /// All processes draw the same jitter.
    FixedSeed = "fixed-seed", Warn;
    /// A request that is not idempotent is repeated.
    NonIdempotentWithoutKey = "non-idempotent-without-key", Warn;
    /// The budget never grants a retry.
    BudgetTooSmall = "budget-too-small", Error;
    /// The budget hardly limits anything while nothing succeeds.
    BudgetTooLarge = "budget-too-large", Warn;
    /// Nothing bounds the time.
    NoTimeLimit = "no-time-limit", Warn;
    /// The deadline passes before the first attempt times out.
    AttemptTimeoutOverDeadline = "attempt-timeout-over-deadline", Error;
    /// A server can ask for a wait that the deadline forbids.
    RetryAfterCapOverDeadline = "retry-after-cap-over-deadline", Warn;
    /// The deadline passes before the last retry.
    ScheduleOverDeadline = "schedule-over-deadline", Warn;
    /// No body is kept for a retry.
    BodyLimitZero = "body-limit-zero", Warn;
    /// A mount covers `http` or `https`, and the other has none.
    MountOnlyOneScheme = "mount-only-one-scheme", Warn;
    /// A mount is never reached, because others cover all of it.
    MountShadowed = "mount-shadowed", Warn;
    /// A client does not say which connection it uses, so that none can be left.
    ConnectionUnknown = "connection-unknown", Warn;
    /// A hedge was due for a request whose body was not recorded to its end.
    HedgeBeforeRecorded = "hedge-before-recorded", Note;
}

impl fmt::Display for LintCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for LintCode {
    type Err = UnknownLint;

    fn from_str(name: &str) -> Result<Self, UnknownLint> {
        let known = |code: &&Self| code.as_str() == name;
        Self::ALL
            .iter()
            .find(known)
            .copied()
            .ok_or_else(|| UnknownLint(name.to_owned()))
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for LintCode {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

/// A name that is none of the [lints'](LintCode::ALL).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownLint(String);

impl fmt::Display for UnknownLint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not the code of a lint: must be one of", self.0)?;
        for (at, code) in LintCode::ALL.iter().enumerate() {
            write!(f, "{} `{code}`", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl Error for UnknownLint {}
