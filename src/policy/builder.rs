//! Builds a [`RetryPolicy`] and says what is wrong with its settings.

use std::{fmt, time::Duration};

use http::HeaderName;

use crate::budget::RetryBudget;
#[cfg(feature = "grpc")]
use crate::reason::GrpcCode;

use super::{
    Backoff, InvalidPolicy, Limit, LimitKind, Methods, Preset, ResetHeader, RetryAfterMode,
    RetryPolicy, Seconds,
    limit::StatusSet,
    settings::{Settings, settings_table},
};

/// The setter of a setting, by its kind.
macro_rules! setter {
    ($(#[$doc:meta])* $name:ident: Budget) => {
        $(#[$doc])*
        pub fn $name(mut self, budget: impl Into<Option<RetryBudget>>) -> Self {
            self.settings.$name = budget.into();
            self
        }
    };
    ($(#[$doc:meta])* $name:ident: Cap) => {
        $(#[$doc])*
        pub fn $name(mut self, max: impl Into<Seconds>) -> Self {
            if let Some(max) = self.seconds(stringify!($name), max.into().0) {
                self.settings.$name = max;
            }
            self
        }
    };
    ($(#[$doc:meta])* $name:ident: Codes) => {
        $(#[$doc])*
        #[cfg(feature = "grpc")]
        pub fn $name(mut self, codes: impl IntoIterator<Item = GrpcCode>) -> Self {
            self.settings.$name = codes.into_iter().collect();
            match self.settings.$name.contains(GrpcCode::Ok) {
                true => self.refuse(stringify!($name), GrpcCode::Ok, "codes of failures"),
                false => self,
            }
        }
    };
    ($(#[$doc:meta])* $name:ident: Count) => {
        $(#[$doc])*
        pub fn $name(mut self, retries: u32) -> Self {
            self.settings.$name = retries;
            self
        }
    };
    ($(#[$doc:meta])* $name:ident: Flag) => {
        $(#[$doc])*
        pub fn $name(mut self, on: bool) -> Self {
            self.settings.$name = on;
            self
        }
    };
    ($(#[$doc:meta])* $name:ident: Header) => {
        $(#[$doc])*
        pub fn $name(mut self, header: impl Into<Option<HeaderName>>) -> Self {
            self.settings.$name = header.into();
            self
        }
    };
    ($(#[$doc:meta])* $name:ident: MethodSet) => {
        $(#[$doc])*
        pub fn $name(mut self, methods: impl Into<Methods>) -> Self {
            self.settings.$name = methods.into();
            self
        }
    };
    ($(#[$doc:meta])* $name:ident: Mode) => {
        $(#[$doc])*
        pub fn $name(mut self, mode: RetryAfterMode) -> Self {
            self.settings.$name = mode;
            self
        }
    };
    ($(#[$doc:meta])* $name:ident: Part) => {
        $(#[$doc])*
        pub fn $name(mut self, part: f64) -> Self {
            if (0.0..=1.0).contains(&part) {
                self.settings.$name = part;
                self
            } else {
                self.refuse(stringify!($name), part, "a number in 0..=1")
            }
        }
    };
    ($(#[$doc:meta])* $name:ident: Resets) => {
        $(#[$doc])*
        pub fn $name(mut self, headers: impl IntoIterator<Item = ResetHeader>) -> Self {
            self.settings.$name = headers.into_iter().collect();
            self
        }
    };
    ($(#[$doc:meta])* $name:ident: Seed) => {
        $(#[$doc])*
        pub fn $name(mut self, seed: u64) -> Self {
            self.settings.$name = Some(seed);
            self
        }
    };
    ($(#[$doc:meta])* $name:ident: Statuses) => {
        $(#[$doc])*
        pub fn $name(mut self, statuses: impl IntoIterator<Item = u16>) -> Self {
            let mut set = StatusSet::default();
            for status in statuses {
                if !set.insert(status) {
                    self = self.refuse(stringify!($name), status, "a status in 100..=999");
                }
            }
            self.settings.$name = set;
            self
        }
    };
    ($(#[$doc:meta])* $name:ident: Waits) => {
        $(#[$doc])*
        pub fn $name(mut self, backoff: Backoff) -> Self {
            self.settings.$name = backoff;
            self
        }
    };
}

/// Builds a [`RetryPolicy`]; the setters have urllib3's names.
///
/// Every value is checked by [`build`](Self::build), not before.
#[derive(Clone, Debug)]
#[must_use = "does nothing until `build()`"]
pub struct RetryPolicyBuilder {
    pub(super) settings: Settings,
    /// The first wrong value, for `build()`.
    pub(super) wrong: Option<InvalidPolicy>,
}

impl RetryPolicyBuilder {
    pub(super) fn from_settings(settings: Settings) -> Self {
        Self {
            settings,
            wrong: None,
        }
    }

    /// The most retries of one kind, for who has the kind as a value.
    pub fn limit(mut self, kind: LimitKind, limit: impl Into<Limit>) -> Self {
        *self.settings.limits.get_mut(kind) = limit.into();
        self
    }

    /// The most retries of all kinds together, on top of the first attempt.
    pub fn total(self, limit: impl Into<Limit>) -> Self {
        self.limit(LimitKind::Total, limit)
    }

    /// The most retries after connect failures: nothing was sent.
    pub fn connect(self, limit: impl Into<Limit>) -> Self {
        self.limit(LimitKind::Connect, limit)
    }

    /// The most retries after read failures: the request may have been applied.
    pub fn read(self, limit: impl Into<Limit>) -> Self {
        self.limit(LimitKind::Read, limit)
    }

    /// The most retries of redirects that were listed in `status_forcelist` and not followed.
    ///
    /// Redirects themselves are followed by tower-http's `FollowRedirect`, which has its own limit.
    pub fn redirect(self, limit: impl Into<Limit>) -> Self {
        self.limit(LimitKind::Redirect, limit)
    }

    /// The most retries because of a status.
    pub fn status(self, limit: impl Into<Limit>) -> Self {
        self.limit(LimitKind::Status, limit)
    }

    /// The most retries after failures that are none of the other kinds.
    pub fn other(self, limit: impl Into<Limit>) -> Self {
        self.limit(LimitKind::Other, limit)
    }

    /// The backoff's base in seconds: under the urllib3 preset the n-th retry waits
    /// `backoff_factor * 2^(n-1)`, the first one nothing; under the default preset the first
    /// retry waits `backoff_factor` and each later one twice as long.
    pub fn backoff_factor(mut self, factor: impl Into<Seconds>) -> Self {
        self.settings.backoff.set_factor(factor.into().0);
        self
    }

    /// The longest wait of the backoff.
    pub fn backoff_max(mut self, max: impl Into<Seconds>) -> Self {
        let max = max.into().0;
        if let Some(max) = self.seconds("backoff_max", max) {
            self.settings.backoff = self.settings.backoff.max(max);
        }
        self
    }

    /// Adds up to this many seconds, evenly distributed, to each wait of the backoff, in place of
    /// the jitter it has.
    pub fn backoff_jitter(mut self, jitter: impl Into<Seconds>) -> Self {
        let jitter = jitter.into().0;
        if let Some(jitter) = self.seconds("backoff_jitter", jitter) {
            self.settings.backoff = self
                .settings
                .backoff
                .jitter(super::Jitter::Additive(jitter));
        }
        self
    }

    /// A number of seconds as a duration; remembers `field` as wrong if it is none.
    fn seconds(&mut self, field: &'static str, seconds: f64) -> Option<Duration> {
        match super::backoff::seconds(seconds) {
            Ok(duration) => Some(duration),
            Err(wrong) => {
                let allowed = "a number of seconds that is not negative";
                self.wrong
                    .get_or_insert_with(|| InvalidPolicy::new(field, wrong, allowed));
                None
            }
        }
    }

    /// Remembers the first value that is wrong.
    pub(super) fn refuse(
        mut self,
        field: &'static str,
        value: impl fmt::Display,
        allowed: &'static str,
    ) -> Self {
        self.wrong
            .get_or_insert_with(|| InvalidPolicy::new(field, value, allowed));
        self
    }

    /// Checks every value and builds the policy.
    ///
    /// # Errors
    ///
    /// The first setting that makes no sense, with its value and what is allowed: a negative or
    /// undefined number of seconds, a status outside of 100..=999, a method that is not a token, a
    /// jitter outside of 0..=1, a reset header that is read as something else, and, unless the builder started from the urllib3 preset, a negative limit.
    pub fn build(self) -> Result<RetryPolicy, InvalidPolicy> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let mut settings = self.settings;
        let never = |kind| settings.limits.get(kind) == Limit::Never;
        if settings.preset == Preset::Urllib3
            && never(LimitKind::Total)
            && !never(LimitKind::Redirect)
        {
            // urllib3's constructor does this, so that redirects are returned as they come. What
            // was `False` to begin with counts as 0, too, and is kept so that it can be told.
            *settings.limits.get_mut(LimitKind::Redirect) = Limit::AtMost(0);
        }
        if settings.preset != Preset::Urllib3 {
            for kind in LimitKind::ALL {
                if let Limit::AtMost(n @ ..=-1) = settings.limits.get(kind) {
                    return Err(InvalidPolicy::new(
                        kind.as_str(),
                        n,
                        "a number of retries that is not negative, unlimited or never",
                    ));
                }
            }
        }
        for header in &*settings.reset_headers {
            header.validate()?;
        }
        settings.allowed_methods.validate()?;
        settings.backoff.validate()?;
        Ok(RetryPolicy::from_settings(settings))
    }
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $kind:ident $row:tt)*) => {
        /// The settings that are one value each.
        impl RetryPolicyBuilder {
            $(setter!($(#[$doc])* $name: $kind);)*
        }
    };
}
settings_table!(setters);
