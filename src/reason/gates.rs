//! The gates that a retry must pass, and what each of them said.

use std::fmt;

/// One condition for a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Gate {
    /// The failure is transient: the status is listed, the cause is not permanent.
    Transient,
    /// No classifier forbids it.
    Classifiers,
    /// The method may be repeated, or nothing was sent.
    Method,
    /// The request says itself that it may be repeated (an idempotency key or mark).
    Idempotency,
    /// The limit of the failure's kind is not used up.
    Count,
    /// The limit of all retries is not used up.
    Total,
    /// The server neither forbade it nor asked for a longer wait than allowed.
    Hint,
    /// The body can be sent again.
    Body,
    /// The next attempt can end before the deadline.
    Deadline,
    /// The adaptive throttle and the limit of retries in flight let it through.
    Throttle,
    /// The shared budget has something left.
    Budget,
}

impl Gate {
    /// All gates, in the order in which they are asked.
    pub const ALL: [Self; 11] = [
        Self::Transient,
        Self::Classifiers,
        Self::Method,
        Self::Idempotency,
        Self::Count,
        Self::Total,
        Self::Hint,
        Self::Body,
        Self::Deadline,
        Self::Throttle,
        Self::Budget,
    ];

    /// The gate's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Classifiers => "classifiers",
            Self::Method => "method",
            Self::Idempotency => "idempotency",
            Self::Count => "count",
            Self::Total => "total",
            Self::Hint => "hint",
            Self::Body => "body",
            Self::Deadline => "deadline",
            Self::Throttle => "throttle",
            Self::Budget => "budget",
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What each [`Gate`] said of one retry: passed, failed, or not asked.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Gates {
    passed: u16,
    failed: u16,
}

impl Gates {
    /// Records what `gate` said.
    pub fn set(&mut self, gate: Gate, passed: bool) {
        let bit = 1 << gate as u16;
        if passed {
            self.passed |= bit;
            self.failed &= !bit;
        } else {
            self.failed |= bit;
            self.passed &= !bit;
        }
    }

    /// What `gate` said; `None` if it was not asked.
    pub fn get(&self, gate: Gate) -> Option<bool> {
        let bit = 1 << gate as u16;
        if self.passed & bit != 0 {
            Some(true)
        } else if self.failed & bit != 0 {
            Some(false)
        } else {
            None
        }
    }

    /// The gates that were asked, with what they said.
    pub fn iter(&self) -> impl Iterator<Item = (Gate, bool)> + '_ {
        Gate::ALL
            .into_iter()
            .filter_map(|gate| self.get(gate).map(|passed| (gate, passed)))
    }

    /// The gates that said no.
    pub fn failed(&self) -> impl Iterator<Item = Gate> + '_ {
        self.iter()
            .filter_map(|(gate, passed)| (!passed).then_some(gate))
    }
}

impl fmt::Debug for Gates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
