//! [`Explanation`]: what a policy makes of a request.

use std::{fmt, time::Duration};

use http::{Method, StatusCode};

use super::{
    Assumed, Venue, cases,
    rehearsal::Rehearsal,
    table::{Column, Table},
};
use crate::{
    human::range,
    policy::{Gate, Gates, LimitKind, Policy, RequestHead, Rng, StopReason, WaitReason},
    report::sanitized_uri,
};

/// What becomes of a request, for each kind of outcome that its attempts can have; made by
/// [`Explain::explain`](super::Explain::explain).
///
/// Every attempt is taken to end the same and to take no time. `Display` is a table:
///
/// ```text
/// GET http://example.com/
///   each attempt ends with            retries  waits                  then
///   --------------------------------  -------  ---------------------  -------------------------------
///   connect failure, read failure,          3  0–100 ms, 0–200 ms,    `total` is used up (3 retries)
///   503                                        0–400 ms
///   503 + Retry-After: 1                    3  1 s, 1 s, 1 s          `total` is used up (3 retries)
///   other 4xx, other 5xx                   no                         not in `status_forcelist`
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Explanation {
    /// The request's method.
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::method"))]
    pub method: Method,
    /// The request's URL without userinfo and query, which may hold secrets.
    pub url: String,
    /// Why no outcome at all can lead to another attempt, if none can.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub never: Option<StopReason>,
    /// The kinds of outcome, and what becomes of each.
    pub cases: Vec<Case>,
    /// Whether the policy may have a budget that cannot be asked without taking from it, so that
    /// it was taken to be full.
    #[cfg_attr(feature = "serde", serde(default))]
    pub assumes_budget: bool,
    /// What the layer's [admissions](crate::stack::Admission) say of how they hold requests back.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Vec::is_empty")
    )]
    pub admissions: Vec<String>,
}

/// One kind of outcome, and what becomes of a request whose attempts all end like that.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Case {
    /// How each attempt ends.
    pub scenario: Scenario,
    /// The retries that are made at least: fewer than [`most`](Self::most) only where a deadline
    /// or a budget cuts off the longer ones of random waits.
    pub fewest: u32,
    /// The retries that are made at most.
    pub most: u32,
    /// The wait before each of them.
    pub waits: Vec<WaitRange>,
    /// What ends it; `None` if there is no end.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub stop: Option<StopReason>,
    /// What else can end it, depending on random waits.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub or_stop: Option<StopReason>,
    /// What each gate said of the retry that was not made.
    #[cfg_attr(feature = "serde", serde(default))]
    pub gates: Gates,
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Scenario {
    /// The request never reached the application: refused with REFUSED_STREAM or GOAWAY, or
    /// cancelled in the pool.
    Unprocessed,
    /// The connection could not be made.
    Connect,
    /// The connection broke, or the attempt timed out, before the response's head arrived.
    Read,
    /// An error that no classifier knows.
    Other,
    /// The server's certificate is not acceptable.
    Certificate,
    /// The request itself is at fault, and was not sent.
    BadRequest,
    /// A response with a status that is treated in a way of its own.
    Status {
        /// The status.
        #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::status"))]
        status: StatusCode,
        /// The `Retry-After` of the response.
        #[cfg_attr(feature = "serde", serde(default, with = "opt_seconds"))]
        retry_after: Option<Duration>,
    },
    /// A response with any other status of a class.
    Others {
        /// The status's first digit.
        class: u16,
        /// One of these statuses.
        #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::status"))]
        like: StatusCode,
        /// The `Retry-After` of the response.
        #[cfg_attr(feature = "serde", serde(default, with = "opt_seconds"))]
        retry_after: Option<Duration>,
    },
}

/// The wait before one retry.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct WaitRange {
    /// The shortest that is possible.
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::seconds"))]
    pub min: Duration,
    /// The longest that is possible.
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::seconds"))]
    pub max: Duration,
    /// Where the wait comes from.
    pub why: WaitReason,
    /// The limit that the retry is charged to; `None` for a request that was never processed.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub charged: Option<LimitKind>,
}

pub(crate) fn explain<P: Policy + ?Sized>(
    policy: &P,
    request: &RequestHead<'_>,
    venue: &Venue<'_>,
) -> Explanation {
    let rehearsal = Rehearsal::new(policy, request, Rng::constant(0.0), venue);
    Explanation {
        method: request.method().clone(),
        url: sanitized_uri(request.uri()),
        never: rehearsal.never().cloned(),
        cases: cases::all(policy, request, venue),
        assumes_budget: rehearsal.assumes_budget(),
        admissions: Vec::new(),
    }
}

impl Explanation {
    /// Whether any outcome leads to another attempt.
    pub fn is_retried(&self) -> bool {
        self.cases.iter().any(Case::is_retried)
    }

    /// What becomes of the request if each attempt ends as `scenario` says. `None` for a status
    /// that is treated like most of its class, or a `Retry-After` that was not tried.
    pub fn case(&self, scenario: Scenario) -> Option<&Case> {
        self.cases.iter().find(|case| case.scenario == scenario)
    }

    /// What becomes of the request if each attempt ends with `status`, and with a `Retry-After`
    /// of so long: 1 second, or 7 days. `None` for any other time, and for an interim status.
    pub fn status(&self, status: StatusCode, retry_after: Option<Duration>) -> Option<&Case> {
        let own = self.case(Scenario::Status {
            status,
            retry_after,
        });
        let class = self.cases.iter().find(|case| match case.scenario {
            Scenario::Others {
                class,
                retry_after: hint,
                ..
            } => class == status.as_u16() / 100 && hint == retry_after,
            _ => false,
        });
        own.or(class)
    }
}

impl Case {
    /// Whether a request whose first attempt ends like that is sent again.
    pub fn is_retried(&self) -> bool {
        self.most > 0
    }

    /// Whether the policy takes the outcome for no failure.
    pub fn is_accepted(&self) -> bool {
        self.stop == Some(StopReason::Succeeded)
    }

    /// Every gate that says no: not only the first one, which is the [reason](Self::stop).
    pub fn blocked_by(&self) -> impl Iterator<Item = Gate> + '_ {
        self.gates.failed()
    }

    /// What is shown of it: cases that look the same are one row.
    fn cells(&self) -> [String; 3] {
        let retries = if self.is_accepted() {
            "-".to_owned()
        } else if self.stop.is_none() {
            format!("{}+", self.most)
        } else if self.most == 0 {
            "no".to_owned()
        } else if self.fewest == self.most {
            self.most.to_string()
        } else {
            format!("{}–{}", self.fewest, self.most)
        };
        [retries, self.waits_in_short(), self.end()]
    }

    fn waits_in_short(&self) -> String {
        const SHOWN: usize = 4;
        let text = |wait: &WaitRange| range(wait.min, wait.max);
        let mut shown: Vec<String> = self.waits.iter().map(text).collect();
        if shown.len() > SHOWN + 1 {
            let hidden = SHOWN - 1..shown.len() - 1;
            shown.splice(hidden, ["…".to_owned()]);
        }
        shown.join(", ")
    }

    fn end(&self) -> String {
        let mut text = match &self.stop {
            Some(StopReason::Succeeded) => "no failure".to_owned(),
            // The row names the status or the cause already, or more than one.
            Some(StopReason::StatusNotListed { .. }) => "not in `status_forcelist`".to_owned(),
            Some(StopReason::NotTransient { .. }) => "repeating cannot help".to_owned(),
            Some(reason) => reason.to_string(),
            None => "no end".to_owned(),
        };
        if let Some(other) = &self.or_stop {
            text.push_str(&format!(", or {other}"));
        }
        let gates: Vec<_> = self.blocked_by().map(Gate::as_str).collect();
        if !self.is_retried() && gates.len() > 1 {
            text.push_str(&format!(" [no: {}]", gates.join(", ")));
        }
        text
    }
}

impl Scenario {
    fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } | Self::Others { retry_after, .. } => retry_after,
            _ => None,
        }
    }

    /// Without what the server asks for.
    fn plain(self) -> Self {
        let retry_after = None;
        match self {
            Self::Status { status, .. } => Self::Status {
                status,
                retry_after,
            },
            Self::Others { class, like, .. } => Self::Others {
                class,
                like,
                retry_after,
            },
            other => other,
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unprocessed => f.write_str("never processed")?,
            Self::Connect => f.write_str("connect failure")?,
            Self::Read => f.write_str("read failure")?,
            Self::Other => f.write_str("unknown error")?,
            Self::Certificate => f.write_str("bad certificate")?,
            Self::BadRequest => f.write_str("invalid request")?,
            Self::Status { status, .. } => write!(f, "{}", status.as_u16())?,
            Self::Others { class, .. } => write!(f, "other {class}xx")?,
        }
        match self.retry_after() {
            Some(wait) => write!(f, ", Retry-After: {}", wait.as_secs()),
            None => Ok(()),
        }
    }
}

/// A row of the table: cases that look the same.
struct Row {
    names: Vec<String>,
    hint: Option<Duration>,
    cells: [String; 3],
}

impl Explanation {
    fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for case in &self.cases {
            let plain = case.scenario.plain();
            let hint = case.scenario.retry_after();
            let cells = case.cells();
            let without = self.case(plain).filter(|_| hint.is_some());
            if without.is_some_and(|without| without.cells() == cells) {
                // The header makes no difference.
                continue;
            }
            let name = match plain {
                Scenario::Others { class, .. } if !self.has_special(class) => format!("{class}xx"),
                plain => plain.to_string(),
            };
            let same = |row: &&mut Row| row.cells == cells && row.hint == hint;
            match rows.iter_mut().find(same) {
                Some(row) => row.names.push(name),
                None => rows.push(Row {
                    names: vec![name],
                    hint,
                    cells,
                }),
            }
        }
        rows
    }

    /// Whether a status of `class` is treated in a way of its own.
    fn has_special(&self, class: u16) -> bool {
        self.cases.iter().any(|case| {
            matches!(case.scenario, Scenario::Status { status, .. } if status.as_u16() / 100 == class)
        })
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)?;
        if let Some(reason) = &self.never {
            write!(f, "\n  never sent again: {reason}")?;
        }
        let mut table = Table::new([
            ("each attempt ends with", Column::Text(32)),
            ("retries", Column::Number),
            ("waits", Column::Text(21)),
            ("then", Column::Text(36)),
        ]);
        for row in self.rows() {
            let mut name = row.names.join(", ");
            if let Some(hint) = row.hint {
                name.push_str(&format!(" + Retry-After: {}", hint.as_secs()));
            }
            let [retries, waits, end] = row.cells;
            table.row([name, retries, waits, end]);
        }
        write!(f, "\n{table}{}", Assumed(self.assumes_budget))?;
        let mut admissions = self.admissions.iter();
        admissions.try_for_each(|admission| write!(f, "\n  {admission}"))
    }
}

#[cfg(feature = "serde")]
mod opt_seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => to.serialize_some(&duration.as_secs_f64()),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        let seconds = Option::<f64>::deserialize(from)?;
        let read = seconds.map(crate::serde_http::seconds::duration);
        read.transpose().map_err(D::Error::custom)
    }
}
