//! The gates that a retry must pass, and what each of them said.

use std::fmt;

/// One condition for a retry.
///
/// They are listed in the order in which they are asked: the first that says no is the
/// [reason](super::StopReason) why a request stopped. `urllib3()` asks `Method` after the counts
/// where urllib3 does.
// The number is the bit in a serialized report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Gate {
    /// No classifier forbids it.
    Classifiers = 1,
    /// The failure is transient: the status is listed, the cause is not permanent.
    Transient = 0,
    /// The method may be repeated, or nothing was sent.
    Method = 2,
    /// The request says itself that it may be repeated (an idempotency key or mark).
    Idempotency = 3,
    /// The limit of all retries is not used up.
    Total = 5,
    /// The limit of the failure's kind is not used up.
    Count = 4,
    /// The server neither forbade it nor asked for a longer wait than allowed.
    Hint = 6,
    /// The body can be sent again.
    Body = 7,
    /// The next attempt can end before the deadline.
    Deadline = 8,
    /// The admissions (an adaptive throttle, shared hints) and the limit of retries in flight let
    /// it through.
    Throttle = 9,
    /// The shared budget has something left.
    Budget = 10,
}

impl Gate {
    /// All gates, in the order in which they are asked.
    pub const ALL: [Self; 11] = [
        Self::Classifiers,
        Self::Transient,
        Self::Method,
        Self::Idempotency,
        Self::Total,
        Self::Count,
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
    pub(crate) fn set(&mut self, gate: Gate, passed: bool) {
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
