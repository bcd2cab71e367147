//! [`Schedule`]: when each retry is sent.

use std::{fmt, time::Duration};

use http::Method;

use super::{
    Assumed, ScriptedOutcome, Venue,
    cases::{Ends, Run},
    table::{Column, Table},
};
use crate::{
    human::{Human, range},
    policy::{Policy, RequestHead, Rng, StopReason, WaitReason},
    report::sanitized_uri,
};

/// When each retry of a request is sent whose attempts all end the same; made by
/// [`Explain::schedule`](super::Explain::schedule).
///
/// The ends of each [`Spread`] are what is possible, not what was seen. What is between them is
/// taken from 2001 requests with seeded random numbers, so that the same policy always has the
/// same schedule. `Display` is a table, and a smaller one where nothing is random:
///
/// ```text
/// GET http://example.com/
///   retry  wait: min     p50     p95     max  sent after: min     p50     p95     max  why
///   -----  ---------  ------  ------  ------  ---------------  ------  ------  ------  -------
///       1       0 ms   50 ms   95 ms  100 ms             0 ms   50 ms   95 ms  100 ms  backoff
///       2       0 ms  100 ms  190 ms  200 ms             0 ms  149 ms  258 ms  300 ms  backoff
///     sum       0 ms  149 ms  258 ms  300 ms
///   then: `total` is used up (2 retries)
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Schedule {
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::method"))]
    method: Method,
    url: String,
    retries: Vec<ScheduledRetry>,
    total: Spread,
    stop: Option<StopReason>,
    #[cfg_attr(feature = "serde", serde(default))]
    assumes_budget: bool,
}

/// One retry of a [`Schedule`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ScheduledRetry {
    /// Its number; the first retry is 1.
    pub number: u32,
    /// The wait before it.
    pub wait: Spread,
    /// When it is sent, counted from the end of the first attempt.
    pub start: Spread,
    /// Where the wait comes from.
    pub why: WaitReason,
    /// The part of all such requests that come to it: less than 1 only where a deadline or a
    /// budget cuts off some of them.
    pub share: f64,
}

/// A time that is drawn at random, or one that is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Spread {
    /// The shortest that is possible.
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::seconds"))]
    pub min: Duration,
    /// Half of them are at most so long.
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::seconds"))]
    pub p50: Duration,
    /// 95 % of them are at most so long.
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::seconds"))]
    pub p95: Duration,
    /// The longest that is possible.
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::seconds"))]
    pub max: Duration,
}

impl Spread {
    /// Whether nothing about it is random.
    pub fn is_exact(&self) -> bool {
        self.min == self.max
    }

    /// Of samples, and of the ends that are known.
    fn of(samples: impl Iterator<Item = Duration>, (min, max): (Duration, Duration)) -> Self {
        let mut samples: Vec<Duration> = samples.chain([min, max]).collect();
        samples.sort_unstable();
        // The nearest rank.
        let percentile = |percent: usize| {
            let rank = (samples.len() * percent).div_ceil(100);
            samples
                .get(rank.saturating_sub(1))
                .copied()
                .unwrap_or_default()
        };
        Self {
            min: samples.first().copied().unwrap_or_default(),
            p50: percentile(50),
            p95: percentile(95),
            max: samples.last().copied().unwrap_or_default(),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&range(self.min, self.max))
    }
}

pub(crate) fn schedule<P: Policy + ?Sized>(
    policy: &P,
    request: &RequestHead<'_>,
    outcome: &ScriptedOutcome,
    venue: &Venue<'_>,
) -> Schedule {
    let ends = Ends::play(policy, request, venue, outcome);
    let play = |seed| Run::play(policy, request, venue, outcome, Rng::with_seed(seed));
    let samples: Vec<Run> = if ends.is_exact() {
        Vec::new()
    } else {
        (0..u64::from(venue.samples)).map(play).collect()
    };
    let runs = || samples.iter().chain([&ends.shortest, &ends.longest]);
    let longest = runs().max_by_key(|run| run.waits.len());
    let count = longest.map_or(0, |run| run.waits.len());
    let took = outcome.length();
    // The first attempt and the one that is sent last must both fit in.
    let latest = venue.deadline.map(|deadline| {
        let last = took.max(venue.min_attempt);
        deadline.saturating_sub(took).saturating_sub(last)
    });
    let retries = (0..count).map(|at| {
        let number = at + 1;
        let that_far = || samples.iter().filter(|run| run.waits.len() >= number);
        let wait = Spread::of(
            that_far().filter_map(|run| Some(run.waits.get(at)?.wait)),
            ends.wait(at),
        );
        let attempts = took.saturating_mul(u32::try_from(at).unwrap_or(u32::MAX));
        let start = Spread::of(
            that_far().map(|run| run.waited(number).saturating_add(attempts)),
            ends.start(at, attempts, latest),
        );
        ScheduledRetry {
            number: u32::try_from(number).unwrap_or(u32::MAX),
            wait,
            start,
            why: ends.why(at).unwrap_or(WaitReason::Backoff),
            share: if samples.is_empty() {
                1.0
            } else {
                that_far().count() as f64 / samples.len() as f64
            },
        }
    });
    let waited = |run: &Run| run.waited(usize::MAX);
    let (shortest, most) = (waited(&ends.shortest), waited(&ends.longest));
    Schedule {
        method: request.method().clone(),
        url: sanitized_uri(request.uri()),
        retries: retries.collect(),
        total: Spread::of(
            samples.iter().map(waited),
            (shortest.min(most), shortest.max(most)),
        ),
        stop: longest.and_then(|run| run.stop.clone()),
        assumes_budget: ends.shortest.assumes_budget,
    }
}

impl Schedule {
    /// The retries in order.
    pub fn retries(&self) -> &[ScheduledRetry] {
        &self.retries
    }

    /// All waits of a request together.
    pub fn total(&self) -> Spread {
        self.total
    }

    /// Whether the policy may have a budget that cannot be asked without taking from it, so that
    /// it was taken to be full.
    pub fn assumes_budget(&self) -> bool {
        self.assumes_budget
    }

    /// What ends it after the last retry; `None` if there is no end.
    pub fn stop(&self) -> Option<&StopReason> {
        self.stop.as_ref()
    }
}

/// The columns are wide enough for every reason to wait.
const WHY: (&str, Column) = ("why", Column::Text(60));

impl Schedule {
    fn exact_table(&self) -> Table {
        let mut table = Table::new([
            ("retry", Column::Number),
            ("wait", Column::Number),
            ("sent after", Column::Number),
            WHY,
        ]);
        for retry in &self.retries {
            let times = [retry.wait, retry.start].map(|time| Human(time.max).to_string());
            let [wait, start] = times;
            table.row([retry.number.to_string(), wait, start, retry.why()]);
        }
        table
    }

    fn random_table(&self) -> Table {
        let mut table = Table::new([
            ("retry", Column::Number),
            ("wait: min", Column::Number),
            ("p50", Column::Number),
            ("p95", Column::Number),
            ("max", Column::Number),
            ("sent after: min", Column::Number),
            ("p50", Column::Number),
            ("p95", Column::Number),
            ("max", Column::Number),
            WHY,
        ]);
        let times = |spread: Spread| {
            [spread.min, spread.p50, spread.p95, spread.max].map(|time| Human(time).to_string())
        };
        for retry in &self.retries {
            let [w0, w1, w2, w3] = times(retry.wait);
            let [s0, s1, s2, s3] = times(retry.start);
            let number = retry.number.to_string();
            table.row([number, w0, w1, w2, w3, s0, s1, s2, s3, retry.why()]);
        }
        let [t0, t1, t2, t3] = times(self.total);
        let rest = [(); 5].map(|()| String::new());
        let [r0, r1, r2, r3, r4] = rest;
        table.row(["sum".to_owned(), t0, t1, t2, t3, r0, r1, r2, r3, r4]);
        table
    }
}

impl ScheduledRetry {
    fn why(&self) -> String {
        let mut why = self.why.to_string();
        if self.share < 1.0 {
            why.push_str(&format!(", {:.0} % of the requests", self.share * 100.0));
        }
        why
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)?;
        let exact = self.retries.iter().all(|retry| retry.wait.is_exact());
        let table = if exact {
            self.exact_table()
        } else {
            self.random_table()
        };
        if !self.retries.is_empty() {
            write!(f, "\n{table}")?;
        }
        match &self.stop {
            Some(reason) if self.retries.is_empty() => write!(f, "\n  not retried: {reason}")?,
            Some(reason) => write!(f, "\n  then: {reason}")?,
            None => write!(f, "\n  and so on without end")?,
        }
        write!(f, "{}", Assumed(self.assumes_budget))
    }
}
