//! What the client was told of each request, beside what the server saw of it.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use http::Method;
use tower_http_retry::{
    AttemptOutcome, RetryReport,
    classify::{Cause, Sent},
    policy::{LimitKind, Note},
};

use crate::{
    judge::{Breach, Judge},
    order::{self, Order, TRAILER},
};
use test_support::net::fault::Attempt;

/// How the caller was told that an attempt ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Response(u16),
    Failed(Cause, Sent),
}

/// What the caller was told of a request.
#[derive(Debug)]
pub(crate) struct Told {
    /// How each attempt ended, and what the retry after it was charged to.
    pub(crate) attempts: Vec<(End, Option<LimitKind>)>,
    /// Whether each was sent a second time, and if so, whether the outcome is that of the second.
    pub(crate) hedged: Vec<Option<bool>>,
    /// How often it can have been applied.
    pub(crate) effects: (u32, u32),
    /// Why it ended, if it did not simply succeed.
    pub(crate) stop: Option<&'static str>,
}

impl Told {
    pub(crate) fn by(report: &RetryReport) -> Self {
        let attempts = report.attempts.iter().map(|attempt| {
            let end = match &attempt.outcome {
                AttemptOutcome::Response(status) => End::Response(status.as_u16()),
                AttemptOutcome::Failed { cause, sent, .. } => End::Failed(*cause, *sent),
                _ => End::Failed(Cause::Unknown, Sent::Unknown),
            };
            (end, attempt.wait.as_ref().and_then(|wait| wait.charged))
        });
        let effects = report.effects();
        let hedged = report.attempts.iter().map(|attempt| {
            attempt.layer_notes.iter().find_map(|note| match note {
                Note::Hedged { won, .. } => Some(*won),
                _ => None,
            })
        });
        Self {
            attempts: attempts.collect(),
            hedged: hedged.collect(),
            effects: (*effects.start(), *effects.end()),
            stop: Some(report.stop.name()),
        }
    }

    /// What a response without a report says.
    pub(crate) fn at_once(status: u16) -> Self {
        Self {
            attempts: vec![(End::Response(status), None)],
            hedged: vec![None],
            effects: (1, 1),
            stop: None,
        }
    }
}

/// What the server saw of an attempt.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The attempt, as the client wrote it.
    pub(crate) attempt: order::Attempt,
    pub(crate) method: Option<Method>,
    pub(crate) key: Option<String>,
    pub(crate) received: u64,
    pub(crate) digest: [u8; 32],
    pub(crate) whole: bool,
    pub(crate) trailer: Option<http::HeaderValue>,
    pub(crate) applied: bool,
}

#[derive(Debug, Default)]
struct Entry {
    told: Option<Told>,
    seen: Vec<Seen>,
}

impl Entry {
    /// Whether there is nothing more to come: the caller was told of the end, and the server saw
    /// all that it can have seen.
    fn is_complete(&self) -> bool {
        let Some(told) = &self.told else {
            return false;
        };
        // Of one that was sent twice, the other may still arrive.
        let once = told.hedged.iter().all(Option::is_none);
        once && (1..).zip(&told.attempts).all(|(number, (end, _))| {
            let cannot_arrive = matches!(end, End::Failed(_, Sent::Never));
            let mut seen = self.seen.iter();
            cannot_arrive || seen.any(|seen| seen.attempt.number == number)
        })
    }
}

/// All requests that are not judged yet.
pub(crate) struct Ledger {
    judge: Judge,
    entries: Vec<Mutex<HashMap<u64, Entry>>>,
    /// The first request of the step that goes on; those before it are judged.
    first: AtomicU64,
    /// A bit for each request of the step: whether it is judged.
    judged: Vec<AtomicU64>,
}

impl Ledger {
    /// For steps of at most so many requests, one after another.
    pub(crate) fn new(judge: Judge, step: u64) -> Self {
        Self {
            judge,
            entries: (0..16).map(|_| Mutex::default()).collect(),
            first: AtomicU64::new(0),
            judged: (0..=step / 64).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// A step begins with this request; those before it are settled.
    pub(crate) fn begin(&self, first: u64) {
        self.first.store(first, Relaxed);
        for bits in &self.judged {
            bits.store(0, Relaxed);
        }
    }

    /// Where it is written down that a request is judged; `None` if that was in another step.
    fn judged(&self, id: u64) -> Option<(&AtomicU64, u64)> {
        let at = id.checked_sub(self.first.load(Relaxed))?;
        let bits = self.judged.get(usize::try_from(at / 64).ok()?)?;
        Some((bits, 1 << (at % 64)))
    }

    pub(crate) const fn judge(&self) -> &Judge {
        &self.judge
    }

    /// A request is about to be sent.
    pub(crate) fn open(&self, id: u64) {
        self.shard(id).entry(id).or_default();
    }

    /// The caller was told of a request's end.
    pub(crate) fn told(&self, id: u64, told: Told) {
        self.change(id, |entry| entry.told = Some(told));
    }

    /// The server is done with an attempt.
    pub(crate) fn seen(&self, attempt: Attempt) {
        // Of less than a head, nobody knows what it belonged to.
        let Some(id) = attempt.path.as_deref().and_then(Order::id_in) else {
            self.judge.anonymous();
            return;
        };
        let seen = Seen {
            attempt: order::Attempt::of(&attempt.headers),
            method: attempt.method,
            key: attempt.key,
            received: attempt.received,
            digest: attempt.digest,
            whole: attempt.whole,
            trailer: attempt
                .trailers
                .and_then(|mut trailers| trailers.remove(TRAILER)),
            applied: attempt.applied,
        };
        self.change(id, |entry| entry.seen.push(seen));
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Entry)) {
        let complete = {
            let mut entries = self.shard(id);
            let entry = entries.entry(id).or_default();
            change(entry);
            if entry.is_complete() {
                entries.remove(&id)
            } else {
                None
            }
        };
        if let Some(entry) = complete {
            self.close(id, entry);
        }
    }

    /// Judges what is left, when nothing goes on any more.
    pub(crate) fn settle(&self) {
        for shard in &self.entries {
            let left = std::mem::take(&mut *lock(shard));
            for (id, entry) in left {
                self.close(id, entry);
            }
        }
    }

    fn close(&self, id: u64, entry: Entry) {
        let again = match self.judged(id) {
            Some((bits, bit)) => bits.fetch_or(bit, Relaxed) & bit != 0,
            None => true,
        };
        match entry.told {
            Some(told) if !again => self.judge.request(id, &told, &entry.seen),
            _ if again => {
                let late: Vec<_> = entry.seen.iter().map(|seen| seen.attempt).collect();
                let what = format_args!("attempts {late:?} came after all that were told");
                self.judge.breach(Breach::Doubled, id, what);
            }
            _ => self.judge.breach(Breach::Lost, id, "it has no outcome"),
        }
    }

    fn shard(&self, id: u64) -> MutexGuard<'_, HashMap<u64, Entry>> {
        lock(&self.entries[id as usize % self.entries.len()])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
