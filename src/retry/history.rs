//! What is remembered of a request's attempts, for the report and the error.

use std::{collections::VecDeque, slice, time::Duration};

use http::{HeaderMap, request::Parts};
use tokio::time::Instant;

use super::{extras::Extras, kept::Retained, settings::LayerSettings};
use crate::{
    BoxError,
    budget::{InFlightPlace, RetryPermit},
    observe::{self, About},
    policy::RetryDecision,
    reason::{Cause, Failure, Note, StopReason},
    report::{AttemptOutcome, AttemptRecord, DrainRecord, RetryReport, Version},
    stack::PreviousOutcome,
    trial::after,
};

/// The first so many attempts are kept, and the last so many; those between are counted. Without a
/// limit there is no end to them.
const FIRST: usize = 64;
const LAST: usize = 64;

/// The records of the attempts so far.
///
/// Keeps the first record without memory of its own: many requests may wait at once, and most
/// need no third attempt.
enum Attempts {
    None,
    One(AttemptRecord),
    Many {
        records: Vec<AttemptRecord>,
        /// Where there are too many.
        tail: Option<Box<Tail>>,
    },
}

#[derive(Default)]
struct Tail {
    /// The last ones.
    last: VecDeque<AttemptRecord>,
    /// How many are between the first ones and these.
    omitted: u32,
}

impl Attempts {
    fn push(&mut self, record: AttemptRecord) {
        match self {
            Self::None => *self = Self::One(record),
            Self::One(_) => {
                // As many as the third attempt needs.
                let mut records = Vec::with_capacity(3);
                if let Self::One(first) = std::mem::replace(self, Self::None) {
                    records.push(first);
                }
                records.push(record);
                *self = Self::Many {
                    records,
                    tail: None,
                };
            }
            Self::Many { records, .. } if records.len() < FIRST => records.push(record),
            Self::Many { tail, .. } => {
                let Tail { last, omitted } = &mut **tail.get_or_insert_default();
                if last.len() == LAST {
                    last.pop_front();
                    *omitted = omitted.saturating_add(1);
                }
                last.push_back(record);
            }
        }
    }

    /// The first ones.
    fn first(&self) -> &[AttemptRecord] {
        match self {
            Self::None => &[],
            Self::One(only) => slice::from_ref(only),
            Self::Many { records, .. } => records,
        }
    }

    /// How many are not kept.
    fn omitted(&self) -> u32 {
        match self {
            Self::Many {
                tail: Some(tail), ..
            } => tail.omitted,
            _ => 0,
        }
    }

    fn count(&self) -> u32 {
        let tail = match self {
            Self::Many {
                tail: Some(tail), ..
            } => tail.last.len(),
            _ => 0,
        };
        let kept = u32::try_from(self.first().len() + tail);
        kept.map_or(u32::MAX, |kept| kept.saturating_add(self.omitted()))
    }

    fn last(&self) -> Option<&AttemptRecord> {
        match self {
            Self::Many {
                tail: Some(tail), ..
            } => tail.last.back(),
            _ => self.first().last(),
        }
    }

    fn last_mut(&mut self) -> Option<&mut AttemptRecord> {
        match self {
            Self::None => None,
            Self::One(only) => Some(only),
            Self::Many {
                tail: Some(tail), ..
            } => tail.last.back_mut(),
            Self::Many { records, .. } => records.last_mut(),
        }
    }

    fn take(&mut self) -> Vec<AttemptRecord> {
        match std::mem::replace(self, Self::None) {
            Self::None => Vec::new(),
            Self::One(only) => vec![only],
            Self::Many { mut records, tail } => {
                records.extend(tail.into_iter().flat_map(|tail| tail.last));
                records
            }
        }
    }
}

/// What hooks see and change of a retry.
#[derive(Default)]
pub(super) struct Hooked {
    /// The head of the next attempt, once the hook has prepared it.
    pub(super) prepared: Option<Parts>,
    /// Those of the last response, where the hook wants to see them.
    pub(super) response_headers: Option<HeaderMap>,
    /// Where the attempt goes, if not to the request's own URL.
    pub(super) url: Option<String>,
}

/// The attempts so far.
pub(super) struct History {
    attempts: Attempts,
    /// The shortest time that an attempt took.
    pub(super) quickest: Duration,
    /// How often a layer below turned it away.
    turned_away: u32,
    /// Whether the coming attempt was held back to spread it.
    pub(super) spread: bool,
    /// The error of the last attempt, if it failed without a response.
    pub(super) last_error: Option<BoxError>,
    /// Whether the next attempt is certainly the last one.
    pub(super) last: bool,
    /// Whether the next attempt follows one that the server may have processed.
    pub(super) processed: bool,
    /// How many attempts were followed by another one that was not counted.
    pub(super) uncounted: u32,
    /// The permit of a retry that is not sent yet.
    pub(super) permit: Option<RetryPermit>,
    /// What the hooks have to do with it, if there are any.
    pub(super) hooked: Option<Box<Hooked>>,
    /// The request's place among the retries in flight, once it has one.
    pub(super) place: Option<InFlightPlace>,
}

fn is_turned_away(record: &AttemptRecord) -> bool {
    match &record.outcome {
        AttemptOutcome::Failed { cause, .. } => *cause == Cause::Rejected,
        AttemptOutcome::Response(_) => false,
    }
}

impl History {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self {
            attempts: Attempts::None,
            quickest: Duration::MAX,
            turned_away: 0,
            spread: false,
            last_error: None,
            last: false,
            processed: true,
            uncounted: 0,
            permit: None,
            hooked: None,
            place: None,
        })
    }

    /// Where the attempt went, if not to the request's own URL.
    pub(super) fn url(&self) -> Option<String> {
        self.hooked.as_ref()?.url.clone()
    }

    pub(super) fn hooked(&mut self) -> &mut Hooked {
        self.hooked.get_or_insert_default()
    }

    /// The number of the attempt that follows those that have ended.
    pub(super) fn number(&self) -> u32 {
        self.attempts.count().saturating_add(1)
    }

    /// How often the request was turned away by a layer below.
    pub(super) fn times_turned_away(&self) -> u32 {
        self.turned_away
    }

    /// Whether an attempt so far has this note, of the first ones.
    pub(super) fn has_noted(&self, note: &Note) -> bool {
        let mut first = self.attempts.first().iter();
        first.any(|record| record.layer_notes.contains(note))
    }

    pub(super) fn push(&mut self, mut record: AttemptRecord) {
        record.clean();
        self.note_spread(&mut record);
        if is_turned_away(&record) {
            // It says nothing of the time that an attempt takes.
            self.turned_away = self.turned_away.saturating_add(1);
        } else {
            self.quickest = self.quickest.min(record.took);
        }
        self.attempts.push(record);
    }

    fn note_spread(&mut self, record: &mut AttemptRecord) {
        if std::mem::take(&mut self.spread) {
            record.layer_notes.push(Note::Spread);
        }
    }

    /// What was read of the last attempt's response.
    pub(super) fn drained(&mut self, drained: DrainRecord) {
        if let Some(last) = self.attempts.last_mut() {
            last.drained = Some(Box::new(drained));
        }
    }

    /// How the last attempt ended.
    pub(super) fn previous(&self) -> PreviousOutcome {
        match self.attempts.last().map(|attempt| &attempt.outcome) {
            Some(AttemptOutcome::Response(status)) => PreviousOutcome::Response(*status),
            Some(AttemptOutcome::Failed {
                kind, cause, sent, ..
            }) => PreviousOutcome::Failed(Failure::new(*cause, *sent).with_kind(*kind)),
            None => PreviousOutcome::Failed(Failure::from(Cause::Unknown)),
        }
    }

    /// A retry is on its way from now on. Returns when it is due; `None` if it is due at once.
    pub(super) fn retrying<S, Saved>(
        &mut self,
        mut record: AttemptRecord,
        kept: &Retained<S, Saved>,
        settings: &LayerSettings,
        retry: &RetryDecision,
        now: Instant,
    ) -> Option<Instant> {
        record.clean();
        self.note_spread(&mut record);
        let (on_event, url) = (settings.on_event.as_ref(), || kept.url(settings));
        observe::retry(About::Request, on_event, kept.method(), url, &record);
        self.push(record);
        self.last = retry.last;
        self.processed = retry.charged.is_some();
        self.uncounted = self
            .uncounted
            .saturating_add(retry.charged.is_none().into());
        (!retry.wait.is_zero()).then(|| after(now, retry.wait))
    }

    /// The whole story of the request, which is told to whoever listens.
    pub(super) fn finish<S, Saved>(
        &mut self,
        kept: &Retained<S, Saved>,
        extras: Option<&Extras>,
        stop: StopReason,
        elapsed: Duration,
        settings: &LayerSettings,
    ) -> RetryReport {
        let omitted = self.attempts.omitted();
        let attempts = self.attempts.take();
        told(attempts, omitted, kept, extras, stop, elapsed, settings)
    }
}

/// The whole story of a request with a single attempt.
#[inline(always)]
pub(super) fn only<S, Saved>(
    mut record: AttemptRecord,
    kept: &Retained<S, Saved>,
    extras: Option<&Extras>,
    stop: StopReason,
    elapsed: Duration,
    settings: &LayerSettings,
) -> RetryReport {
    record.clean();
    told(vec![record], 0, kept, extras, stop, elapsed, settings)
}

fn told<S, Saved>(
    attempts: Vec<AttemptRecord>,
    omitted: u32,
    kept: &Retained<S, Saved>,
    extras: Option<&Extras>,
    mut stop: StopReason,
    elapsed: Duration,
    settings: &LayerSettings,
) -> RetryReport {
    stop.clean();
    let mut report = RetryReport {
        version: Version,
        method: kept.method().clone(),
        url: kept.url(settings),
        stop,
        outer_attempt: extras.and_then(|extras| extras.outer_attempt),
        // A first attempt starts at once unless it was held back.
        held: attempts
            .first()
            .map_or(Duration::ZERO, |first| first.started),
        elapsed,
        attempts,
        omitted,
    };
    report.note_what_was_done_before();
    observe::finished(About::Request, settings.on_event.as_ref(), &report);
    report
}
