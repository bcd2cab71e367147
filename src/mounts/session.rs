//! One request under [`Mounts`](super::Mounts).

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, StatusCode, Uri};

use super::table::Table;
use crate::{
    budget::RetryPermit,
    policy::{Attempt, Decision, Eligibility, Note, Session, StopDecision, StopReason},
};

/// The session of a request under [`Mounts`](super::Mounts): that of the mounted policy, of the
/// fallback, or one that never retries.
pub struct MountSession<S>(State<S>);

enum State<S> {
    Mounted(S),
    Fallback(S, Unmatched),
    NoMount(Unmatched),
}

/// A URL that no mount matches, to say which ones came near if the request fails.
struct Unmatched {
    table: Arc<Table>,
    uri: Uri,
}

impl Unmatched {
    fn new(table: &Arc<Table>, uri: &Uri) -> Self {
        Self {
            table: Arc::clone(table),
            uri: uri.clone(),
        }
    }

    fn nearest(&self) -> Vec<String> {
        self.table.nearest(&self.uri)
    }
}

impl<S> MountSession<S> {
    pub(super) fn mounted(session: S) -> Self {
        Self(State::Mounted(session))
    }

    pub(super) fn fallback(session: S, table: &Arc<Table>, uri: &Uri) -> Self {
        Self(State::Fallback(session, Unmatched::new(table, uri)))
    }

    pub(super) fn no_mount(table: &Arc<Table>, uri: &Uri) -> Self {
        Self(State::NoMount(Unmatched::new(table, uri)))
    }

    fn inner(&mut self) -> Option<&mut S> {
        match &mut self.0 {
            State::Mounted(session) | State::Fallback(session, _) => Some(session),
            State::NoMount(_) => None,
        }
    }
}

impl<S: Session> Session for MountSession<S> {
    fn eligibility(&self) -> Eligibility {
        match &self.0 {
            State::Mounted(session) | State::Fallback(session, _) => session.eligibility(),
            // The nearest mounts are looked for when the request has failed.
            State::NoMount(_) => Eligibility::Never(StopReason::NoMount {
                nearest: Vec::new(),
            }),
        }
    }

    fn is_eligible(&self) -> bool {
        match &self.0 {
            State::Mounted(session) | State::Fallback(session, _) => session.is_eligible(),
            State::NoMount(_) => false,
        }
    }

    fn deadline(&self) -> Option<Duration> {
        match &self.0 {
            State::Mounted(session) | State::Fallback(session, _) => session.deadline(),
            State::NoMount(_) => None,
        }
    }

    fn is_final(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        match &self.0 {
            State::Mounted(session) | State::Fallback(session, _) => {
                session.is_final(status, headers)
            }
            State::NoMount(_) => status.as_u16() < 400,
        }
    }

    fn decide(&mut self, attempt: &Attempt<'_>) -> Decision {
        match &mut self.0 {
            State::Mounted(session) => session.decide(attempt),
            State::Fallback(session, unmatched) => {
                let mut decision = session.decide(attempt);
                let note = match &mut decision {
                    Decision::Retry(retry) => &mut retry.note,
                    Decision::Stop(stop) => &mut stop.note,
                    Decision::Accept => return decision,
                };
                // Once is enough.
                if note.is_none() && attempt.number() == 1 {
                    *note = Some(Note::NoMount {
                        nearest: unmatched.nearest(),
                    });
                }
                decision
            }
            State::NoMount(unmatched) => {
                Decision::Stop(StopDecision::because(StopReason::NoMount {
                    nearest: unmatched.nearest(),
                }))
            }
        }
    }

    fn succeeded(&mut self) {
        if let Some(session) = self.inner() {
            session.succeeded();
        }
    }

    fn failed(&mut self, now: Instant) {
        if let Some(session) = self.inner() {
            session.failed(now);
        }
    }

    fn moved(&mut self, uri: &Uri) {
        if let Some(session) = self.inner() {
            session.moved(uri);
        }
    }

    fn commit(&mut self, now: Instant) -> Result<RetryPermit, StopReason> {
        match self.inner() {
            Some(session) => session.commit(now),
            None => Err(StopReason::NoMount {
                nearest: Vec::new(),
            }),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for MountSession<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            State::Mounted(session) => f.debug_tuple("Mounted").field(session).finish(),
            State::Fallback(session, _) => f.debug_tuple("Fallback").field(session).finish(),
            State::NoMount(_) => f.write_str("NoMount"),
        }
    }
}
