//! What the hops of one request have in common.

use http::{Method, Uri};
use tokio::time::Instant;

use super::rules::Hop;
use crate::{
    policy::{LimitKind, Note, StopReason, WaitReason},
    report::{AttemptOutcome, AttemptRecord, RetryReport, WaitRecord, sanitized_uri},
    stack::{LayerOutcome, RequestState},
};

/// A request that was redirected at least once.
pub(super) struct Trail {
    /// That of all hops so far.
    pub(super) report: RetryReport,
    pub(super) state: RequestState,
    /// Where the request was sent to, unless a response changed what the next one means.
    visited: Vec<(Method, Uri)>,
    pub(super) hops: u32,
}

impl Trail {
    /// Begins with the report of the first hop.
    pub(super) fn new(first: RetryReport, shared: Option<RequestState>) -> Box<Self> {
        let state = shared.unwrap_or_else(|| {
            // The retries of the first hop counted for themselves.
            let state = RequestState::new(None);
            let waits = first
                .attempts
                .iter()
                .filter_map(|attempt| attempt.wait.as_ref());
            for kind in waits.filter_map(|wait| wait.charged) {
                state.charge(kind);
            }
            for _ in 0..first.omitted {
                state.charge(LimitKind::Total);
            }
            state
        });
        Box::new(Self {
            report: first,
            state,
            visited: Vec::new(),
            hops: 0,
        })
    }

    /// Whether the hop comes back to where the request was before.
    pub(super) fn is_cycle(&mut self, from: (Method, Uri), hop: &Hop, forgets: bool) -> bool {
        if forgets {
            self.visited.clear();
            return false;
        }
        self.visited.push(from);
        let mut visited = self.visited.iter();
        visited.any(|(method, uri)| *method == hop.method && *uri == hop.uri)
    }

    /// Goes on with the next hop, after `wait`, which takes one of `redirect` and `total` where the
    /// policy's limits count.
    pub(super) fn follow(
        &mut self,
        hop: &Hop,
        wait: std::time::Duration,
        why: WaitReason,
        charged: bool,
    ) {
        self.hops += 1;
        let charged = charged.then_some(LimitKind::Redirect);
        if let Some(kind) = charged {
            self.state.charge(kind);
        }
        // A hop is a request of its own: no endpoint was tried for it.
        self.state.forget_tried();
        if let Some(last) = self.report.attempts.last_mut() {
            last.wait = Some(WaitRecord {
                planned: wait,
                why,
                charged,
            });
            last.layer_notes.push(Note::Redirected {
                method: hop.method.clone(),
                url: sanitized_uri(&hop.uri),
            });
        }
    }
}

/// The report of a hop that has none, since it ended with the first answer, and what the layers
/// below say of that.
pub(super) fn answered(
    (method, uri): (Method, &Uri),
    outcome: AttemptOutcome,
    stop: StopReason,
    started: Instant,
    below: Option<&LayerOutcome>,
) -> RetryReport {
    let took = started.elapsed();
    let mut report = RetryReport::new(method, sanitized_uri(uri));
    let mut attempt = AttemptRecord::new(1, outcome);
    attempt.took = took;
    attempt.note_layer(below);
    report.attempts.push(attempt);
    report.stop = stop;
    report.elapsed = took;
    report
}
