//! [`HedgeStats`]: what became of all hedges.

/// A layer's counters at one moment; see [`HedgeLayer::stats`](super::HedgeLayer::stats).
///
/// Requests are not counted, which would be a shared write for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HedgeStats {
    /// Hedges that were sent. Those that are neither won nor lost nor failed are under way, or were
    /// dropped with their requests.
    pub sent: u64,
    /// Hedges whose answer came first.
    pub won: u64,
    /// Hedges that were dropped because the first request was answered.
    pub lost: u64,
    /// Hedges that failed, whatever became of the first request.
    pub failed: u64,
    /// Hedges that were due and not sent, because one of the two budgets had nothing left.
    pub over_budget: u64,
    /// The same, because the body could not be sent a second time at that moment.
    pub not_repeatable: u64,
    /// The same, because the service below was not ready for it.
    pub no_room: u64,
    /// The same, because the server had asked for a pause.
    pub asked_to_wait: u64,
}
