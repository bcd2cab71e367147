//! What is counted: [`ShadowStats`].

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use http::Method;

use crate::{dry_run::Verdict, human::Human, policy::WaitReason};

/// In what way two policies disagree; see [the module](super).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DisagreementKind {
    /// The candidate sends a request again that the live policy gives up.
    WouldRetry = 0,
    /// It gives up a request that the live policy sends again.
    WouldStop = 1,
    /// It takes for a failure what the live policy accepts.
    WouldFail = 2,
    /// It accepts what the live policy takes for a failure.
    WouldAccept = 3,
    /// Both give up, for different reasons.
    OtherReason = 4,
    /// Both send the request again, and their waits come from different places.
    OtherWait = 5,
}

impl DisagreementKind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::WouldRetry,
        Self::WouldStop,
        Self::WouldFail,
        Self::WouldAccept,
        Self::OtherReason,
        Self::OtherWait,
    ];

    /// A short, stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WouldRetry => "would_retry",
            Self::WouldStop => "would_stop",
            Self::WouldFail => "would_fail",
            Self::WouldAccept => "would_accept",
            Self::OtherReason => "other_reason",
            Self::OtherWait => "other_wait",
        }
    }
}

/// What the two policies make of an attempt, where it is not the same.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Disagreement {
    /// In what way.
    pub kind: DisagreementKind,
    /// The attempt's number.
    pub attempt: u32,
    /// The request's method.
    pub method: Method,
    /// What the live policy does.
    pub live: Verdict,
    /// What the candidate would do.
    pub candidate: Verdict,
}

impl Disagreement {
    pub(super) fn between(
        attempt: u32,
        method: &Method,
        live: &Verdict,
        candidate: &Verdict,
    ) -> Option<Self> {
        let kind = match (live, candidate) {
            (Verdict::Accept, Verdict::Accept) => return None,
            (Verdict::Accept, _) => DisagreementKind::WouldFail,
            (_, Verdict::Accept) => DisagreementKind::WouldAccept,
            (Verdict::Retry { .. }, Verdict::Stop(_)) => DisagreementKind::WouldStop,
            (Verdict::Stop(_), Verdict::Retry { .. }) => DisagreementKind::WouldRetry,
            (Verdict::Stop(a), Verdict::Stop(b)) if a.name() == b.name() => return None,
            (Verdict::Stop(_), Verdict::Stop(_)) => DisagreementKind::OtherReason,
            (Verdict::Retry { why: a, .. }, Verdict::Retry { why: b, .. }) => {
                if is_same_source(a, b) {
                    return None;
                }
                DisagreementKind::OtherWait
            }
        };
        Some(Self {
            kind,
            attempt,
            method: method.clone(),
            live: live.clone(),
            candidate: candidate.clone(),
        })
    }
}

/// A backoff that happens to be zero has no reason of its own.
fn is_same_source(a: &WaitReason, b: &WaitReason) -> bool {
    let own = |why: &WaitReason| matches!(why, WaitReason::Immediate | WaitReason::Backoff);
    a == b || own(a) && own(b)
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, attempt, method) = (self.kind.name(), self.attempt, &self.method);
        let (live, candidate) = (Said(&self.live), Said(&self.candidate));
        write!(
            f,
            "{kind}: attempt {attempt} at a {method}: live: {live}; candidate: {candidate}"
        )
    }
}

struct Said<'a>(&'a Verdict);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Verdict::Accept => f.write_str("no failure"),
            Verdict::Retry { min: wait, why, .. } => write!(f, "wait {}, {why}", Human(*wait)),
            Verdict::Stop(reason) => write!(f, "stop, {reason}"),
        }
    }
}

/// The counters of a [`Shadow`](super::Shadow) at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShadowStats {
    /// Decisions that were compared: one for each attempt that either policy takes for a failure.
    pub compared: u64,
    /// Where both send the request again: the sum of the live policy's waits.
    pub live_waits: Duration,
    /// And that of the candidate's.
    pub candidate_waits: Duration,
    kinds: [u64; DisagreementKind::ALL.len()],
}

impl ShadowStats {
    /// Disagreements of this kind.
    pub fn of(&self, kind: DisagreementKind) -> u64 {
        self.kinds[kind as usize]
    }

    /// All of them.
    pub fn disagreements(&self) -> u64 {
        self.kinds.iter().sum()
    }
}

type Hear = Box<dyn Fn(&Disagreement) + Send + Sync>;

#[derive(Default)]
pub(crate) struct Tally {
    compared: AtomicU64,
    kinds: [AtomicU64; DisagreementKind::ALL.len()],
    /// In microseconds.
    live_waits: AtomicU64,
    candidate_waits: AtomicU64,
    hear: Option<Hear>,
}

impl Tally {
    pub(super) fn heard_by(hear: Hear) -> Self {
        Self {
            hear: Some(hear),
            ..Self::default()
        }
    }

    /// Two verdicts are compared.
    pub(super) fn compared(&self, live: &Verdict, candidate: &Verdict) {
        self.compared.fetch_add(1, Relaxed);
        if let (Verdict::Retry { min: live, .. }, Verdict::Retry { min: candidate, .. }) =
            (live, candidate)
        {
            self.live_waits.fetch_add(micros(*live), Relaxed);
            self.candidate_waits.fetch_add(micros(*candidate), Relaxed);
        }
    }

    pub(super) fn count(&self, found: &Disagreement) {
        self.kinds[found.kind as usize].fetch_add(1, Relaxed);
        if let Some(hear) = &self.hear {
            hear(found);
        }
    }

    pub(crate) fn stats(&self) -> ShadowStats {
        ShadowStats {
            compared: self.compared.load(Relaxed),
            live_waits: Duration::from_micros(self.live_waits.load(Relaxed)),
            candidate_waits: Duration::from_micros(self.candidate_waits.load(Relaxed)),
            kinds: std::array::from_fn(|kind| self.kinds[kind].load(Relaxed)),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_are_those_of_the_docs() {
        let docs = include_str!("mod.rs");
        let rows = docs.lines().filter(|line| line.starts_with("//! | `"));
        let names: Vec<_> = rows.filter_map(|row| row.split('`').nth(1)).collect();
        assert_eq!(names, DisagreementKind::ALL.map(DisagreementKind::name));
        for (index, kind) in DisagreementKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
    }
}
