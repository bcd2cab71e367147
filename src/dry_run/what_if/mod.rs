//! [`WhatIf`]: what another policy would have made of a request that is over.

mod decided;
mod recorded;
mod run;
mod text;

use std::time::Duration;

use self::{
    decided::Decided,
    recorded::{Scripted, request},
    run::Run,
};
use crate::{
    dry_run::asked::Asked,
    policy::{LimitKind, Policy, RequestHead, Rng, StopReason, WaitReason},
    report::RetryReport,
};

/// What a policy makes of a recorded request; made by [`RetryReport::replay`].
///
/// `Display` lists the differences:
///
/// ```text
/// GET http://example.com/: 1 difference
///   attempt 2: recorded: wait 1 s, backoff; replayed: stop, `total` is used up (1 retry)
///   unknown: …
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct WhatIf {
    /// The report under the policy, as far as the recorded attempts go.
    pub report: RetryReport,
    /// Where the policy decides otherwise.
    pub differences: Vec<Difference>,
    /// What the record does not say, and what might have changed the outcome.
    pub unknown: Vec<Unknown>,
    /// Whether the policy may have a budget that cannot be asked without taking from it, so that
    /// it was taken to be full.
    #[cfg_attr(feature = "serde", serde(default))]
    pub assumes_budget: bool,
}

/// A decision that is not the recorded one.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Difference {
    /// The attempt that it is about.
    pub attempt: u32,
    /// What was decided.
    pub recorded: Verdict,
    /// What the policy decides.
    pub replayed: Verdict,
}

/// What becomes of an attempt.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Verdict {
    /// It was no failure.
    Accept,
    /// Another attempt follows.
    Retry {
        /// The shortest wait before it that is possible; the one that there was, if it was
        /// recorded.
        #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::seconds"))]
        min: Duration,
        /// The longest.
        #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::seconds"))]
        max: Duration,
        /// Where the wait comes from.
        why: WaitReason,
        /// The limit that the retry is charged to; `None` for a request that was never processed.
        charged: Option<LimitKind>,
    },
    /// It was the last one.
    Stop(StopReason),
}

/// What a record does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Unknown {
    /// How the attempt with this number, which was never made, would have ended.
    Outcome {
        /// Its number.
        attempt: u32,
    },
    /// Whether the request had an idempotency key or mark. It did not matter then; it would make
    /// the request repeatable now.
    Idempotency,
    /// How the attempts after the one with this number would have ended, had they been made at
    /// another time.
    Timing {
        /// The number of the attempt.
        after: u32,
    },
}

impl RetryReport {
    /// Asks `policy` for its decisions about the recorded attempts.
    ///
    /// Everything that the record knows counts: outcomes, times, classifiers' opinions, what
    /// servers said about when to come back, and whatever ended the request from outside of its
    /// policy (its body, a deadline, a throttle). A random wait is the recorded one if the policy
    /// could draw it.
    ///
    /// # What other requests did
    ///
    /// A record is of one request. What others had a part in is not in it, so that even the policy
    /// that made the record may decide otherwise:
    ///
    /// - A budget is taken to be full, unless the record says that it was used up and the policy
    ///   has one, too. Retries that only the successes of other requests paid for are replayed as
    ///   [`BudgetExhausted`](StopReason::BudgetExhausted). Replayed without its budget
    ///   ([`budget(None)`](crate::policy::RetryPolicyBuilder::budget)), a policy shows what else
    ///   it would have decided.
    /// - A hint that [another request was given](crate::shared_hints::SharedHints) is named only by
    ///   a wait that it prolonged ([`SharedHint`](WaitReason::SharedHint)) and by
    ///   [`HeldTooLong`](StopReason::HeldTooLong). Where it left too little time before the
    ///   deadline, the record says no more than [`DeadlineTooClose`](StopReason::DeadlineTooClose),
    ///   and the replay goes on with the policy's own wait. Its `needed` is then longer than that
    ///   wait and the quickest attempt together.
    ///
    /// Likewise, a layer's [`min_attempt`](crate::RetryLayer::min_attempt) is not in the record:
    /// next to a deadline, the quickest attempt counts.
    ///
    /// # Examples
    ///
    /// With a serialised report, a trace from production becomes a test:
    ///
    /// ```
    /// use http::{Request, StatusCode};
    /// use tower_http_retry::{dry_run::Explain, policy::{RequestHead, RetryPolicy}};
    ///
    /// let request = Request::get("http://example.com/").body(())?;
    /// let recorded = RetryPolicy::default().explain_sequence(
    ///     &RequestHead::of(&request),
    ///     &[StatusCode::BAD_GATEWAY, StatusCode::BAD_GATEWAY, StatusCode::OK].map(Into::into),
    /// );
    /// let report = recorded.report();
    /// assert!(report.replay(&RetryPolicy::default()).is_same());
    ///
    /// let once = RetryPolicy::builder().total(1).build()?;
    /// let replay = report.replay(&once);
    /// assert_eq!(replay.differences[0].attempt, 2);
    /// assert_eq!(
    ///     replay.report.stop.to_string(),
    ///     "`total` is used up (1 retry)",
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replay<P: Policy + ?Sized>(&self, policy: &P) -> WhatIf {
        let request = request(self);
        let head = RequestHead::of(&request);
        let mut replay = WhatIf {
            report: Self {
                attempts: Vec::new(),
                ..self.clone()
            },
            differences: Vec::new(),
            unknown: Vec::new(),
            assumes_budget: false,
        };
        // The shortest and the longest waits: what lies between them is possible.
        let mut runs: Vec<Run<'_, P::Session>> = [0.0, 1.0]
            .map(|unit| Run::new(Asked::start(policy, &head, Rng::constant(unit)), self))
            .into();
        replay.assumes_budget = runs.iter().any(Run::assumes_budget);
        for (at, record) in self.attempts.iter().enumerate() {
            // What was left out of the record was not decided on here either.
            let expected = u32::try_from(at).map_or(u32::MAX, |at| at.saturating_add(1));
            if self.omitted > 0 && record.number > expected {
                replay.unknown.push(Unknown::Outcome { attempt: expected });
                break;
            }
            let recorded = self.verdict(record);
            let scripted = Scripted::of(self, record);
            let decided: Vec<_> = runs
                .iter_mut()
                .map(|run| run.decide(&scripted, record))
                .collect();
            let agreeing: Vec<bool> = decided
                .iter()
                .map(|decided| decided.is_like(&recorded))
                .collect();
            let all = Decided::together(&decided);
            let same = agreeing.contains(&true) && all.allows(&recorded);
            // Where the policy can go two ways, it goes the recorded one.
            let way = agreeing.iter().position(|agrees| *agrees).unwrap_or(0);
            let taken = &decided[way];
            if same {
                replay.report.attempts.push(taken.as_recorded(record));
            } else {
                replay.differences.push(Difference {
                    attempt: record.number,
                    recorded,
                    replayed: all.verdict(taken),
                });
                let attempt = taken.instead(record, &all);
                replay.report.attempts.push(attempt);
            }
            if self.might_be_keyed()
                && taken.lacks_idempotency()
                && !replay.unknown.contains(&Unknown::Idempotency)
            {
                replay.unknown.push(Unknown::Idempotency);
            }
            match (&taken.verdict, record.wait.clone()) {
                (Verdict::Retry { .. }, Some(_)) => {
                    if !same {
                        let after = record.number;
                        replay.unknown.push(Unknown::Timing { after });
                    }
                    let mut keep = decided.iter().map(Decided::is_retry);
                    runs.retain(|_| keep.next().unwrap_or(false));
                }
                (Verdict::Retry { .. }, None) => {
                    let attempt = record.number.saturating_add(1);
                    replay.unknown.push(Unknown::Outcome { attempt });
                    replay.report.stop = StopReason::Custom(
                        "nothing is recorded of the attempt that follows".into(),
                    );
                    break;
                }
                (Verdict::Accept, _) => {
                    replay.report.stop = StopReason::Succeeded;
                    replay.report.elapsed = record.started.saturating_add(record.took);
                    break;
                }
                (Verdict::Stop(reason), _) => {
                    if !same {
                        replay.report.stop = reason.clone();
                        replay.report.elapsed = record.started.saturating_add(record.took);
                    }
                    break;
                }
            }
        }
        replay
    }
}

impl WhatIf {
    /// Whether every decision is the recorded one.
    pub fn is_same(&self) -> bool {
        self.differences.is_empty()
    }
}
