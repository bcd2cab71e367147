//! How a replay reads.

use std::fmt;

use super::{Difference, Unknown, Verdict, WhatIf};
use crate::{dry_run::Assumed, human::Human};

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("no failure"),
            Self::Retry { min, max, why, .. } if min == max => {
                write!(f, "wait {}, {why}", Human(*max))
            }
            Self::Retry { min, max, why, .. } => {
                write!(f, "wait {} to {}, {why}", Human(*min), Human(*max))
            }
            Self::Stop(reason) => write!(f, "stop, {reason}"),
        }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outcome { attempt } => {
                write!(f, "how attempt {attempt} would have ended")
            }
            Self::Idempotency => f.write_str("whether the request had an idempotency key"),
            Self::Timing { after } => write!(
                f,
                "whether attempts after {after} would have ended the same at another time"
            ),
        }
    }
}

impl fmt::Display for WhatIf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (method, url) = (&self.report.method, &self.report.url);
        match self.differences.len() {
            0 => write!(f, "{method} {url}: the same decisions")?,
            1 => write!(f, "{method} {url}: 1 difference")?,
            n => write!(f, "{method} {url}: {n} differences")?,
        }
        for difference in &self.differences {
            let Difference {
                attempt,
                recorded,
                replayed,
            } = difference;
            write!(
                f,
                "\n  attempt {attempt}: recorded: {recorded}; replayed: {replayed}"
            )?;
        }
        for unknown in &self.unknown {
            write!(f, "\n  unknown: {unknown}")?;
        }
        write!(f, "{}", Assumed(self.assumes_budget))
    }
}
