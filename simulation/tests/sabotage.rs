//! Defects of the stack's, each of which one of the checks must see: a check that cannot fail
//! shows nothing.

use crate::invariants::Invariant;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// The policy allows every method, which the checks do not know.
    RepeatsEverything,
    /// The policy allows one retry more than it should.
    OneRetryTooMany,
    /// The policy does not read `Retry-After`.
    DeafToHints,
    /// The layer was given no deadline.
    NoDeadline,
    /// Each attempt gets an idempotency key of its own.
    FreshKeys,
    /// The last chunk of a body that is sent again is lost.
    ShortReplays,
    /// Each request without a body is sent twice.
    SendsTwice,
    /// The request is sent once more after its end.
    SendsAfterTheEnd,
    /// The caller is given no report.
    HidesReports,
    /// A permit of the concurrency limit is never given back.
    LeaksPermits,
    /// A token of the budget is taken for nothing.
    WastesBudget,
    /// The report is told with longer waits than there were.
    TellsOfLongerWaits,
    /// The report is told without the first attempt.
    ForgetsAttempts,
    /// A caller never notices that its request has ended.
    NeverNotices,
    /// The server applies what it says that it refused.
    LyingServer,
    /// The server's second name is forgotten.
    StaysThere,
    /// Hedges are sent of every method.
    HedgesEverything,
}

impl Sabotage {
    pub(crate) const ALL: [Self; 17] = [
        Self::RepeatsEverything,
        Self::OneRetryTooMany,
        Self::DeafToHints,
        Self::NoDeadline,
        Self::FreshKeys,
        Self::ShortReplays,
        Self::SendsTwice,
        Self::SendsAfterTheEnd,
        Self::HidesReports,
        Self::LeaksPermits,
        Self::WastesBudget,
        Self::TellsOfLongerWaits,
        Self::ForgetsAttempts,
        Self::NeverNotices,
        Self::LyingServer,
        Self::StaysThere,
        Self::HedgesEverything,
    ];

    /// The invariants that it must break.
    pub(crate) fn breaks(self) -> &'static [Invariant] {
        use Invariant as I;
        match self {
            Self::RepeatsEverything => &[I::AtMostOnce, I::RetriesAreAllowed],
            Self::OneRetryTooMany => &[I::Counts],
            Self::DeafToHints => &[I::ServerHints],
            Self::NoDeadline => &[I::EndsInTime],
            Self::FreshKeys => &[I::KeyedOnce],
            Self::ShortReplays => &[I::BodiesIntact],
            Self::SendsTwice => &[I::SentOnceEach],
            Self::SendsAfterTheEnd => &[I::NothingAfterTheEnd],
            Self::HidesReports => &[I::NeverSilent],
            Self::LeaksPermits => &[I::NothingHeld],
            Self::WastesBudget => &[I::Budget],
            Self::TellsOfLongerWaits => &[I::Waits, I::Replays],
            Self::ForgetsAttempts => &[I::ReportsAreWhole],
            Self::NeverNotices => &[I::RunsToItsEnd],
            Self::LyingServer => &[I::Effects, I::RecordsAreTrue],
            Self::StaysThere => &[I::GoesElsewhere],
            Self::HedgesEverything => &[I::Hedges],
        }
    }
}
