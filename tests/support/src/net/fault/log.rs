//! What the server remembers of each attempt.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// One attempt, as the server saw it.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When it began.
    pub at: Instant,
    /// The request's method, if its head arrived.
    pub method: Option<Method>,
    /// The request's path, if its head arrived.
    pub path: Option<String>,
    /// The request's headers, if its head arrived.
    pub headers: HeaderMap,
    /// The request's idempotency key, if its head arrived and had one.
    pub key: Option<String>,
    /// How many bytes of its content arrived.
    pub received: u64,
    /// The SHA-256 of them.
    pub digest: [u8; 32],
    /// Whether its content arrived to its end.
    pub whole: bool,
    /// What came after the content.
    pub trailers: Option<HeaderMap>,
    /// Whether it had its side effect.
    pub applied: bool,
}

impl Attempt {
    /// The SHA-256 of some content, to compare a [`digest`](Self::digest) with.
    pub fn digest_of(content: &[u8]) -> [u8; 32] {
        Sha256::digest(content).into()
    }
}

/// What is known of an attempt so far.
struct Entry {
    attempt: Attempt,
    hasher: Sha256,
}

impl Entry {
    fn new() -> Self {
        Self {
            attempt: Attempt {
                at: Instant::now(),
                method: None,
                path: None,
                headers: HeaderMap::new(),
                key: None,
                received: 0,
                digest: [0; 32],
                whole: false,
                trailers: None,
                applied: false,
            },
            hasher: Sha256::new(),
        }
    }

    fn finished(&self) -> Attempt {
        Attempt {
            digest: self.hasher.clone().finalize().into(),
            ..self.attempt.clone()
        }
    }
}

/// All attempts.
pub(super) struct Log {
    /// How many there were.
    begun: Mutex<usize>,
    keeping: Keeping,
}

/// What becomes of what is known of an attempt.
enum Keeping {
    All(Mutex<Vec<Arc<Mutex<Entry>>>>),
    /// Nothing but the attempts that go on; the others are told.
    None(Box<dyn Fn(Attempt) + Send + Sync>),
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Log").field(&self.attempts()).finish()
    }
}

impl Log {
    /// Keeps all attempts.
    pub(super) fn keeping() -> Self {
        Self::new(Keeping::All(Mutex::default()))
    }

    /// Tells each attempt when it is over, and keeps none.
    pub(super) fn telling(tell: impl Fn(Attempt) + Send + Sync + 'static) -> Self {
        Self::new(Keeping::None(Box::new(tell)))
    }

    fn new(keeping: Keeping) -> Self {
        Self {
            begun: Mutex::new(0),
            keeping,
        }
    }

    /// How many attempts there were, which is the number of the next one.
    pub(super) fn next(&self) -> usize {
        *self.begun.lock().unwrap()
    }

    /// Begins an attempt, if `accepts` says so of its number.
    pub(super) fn begin_if(
        self: &Arc<Self>,
        accepts: impl FnOnce(usize) -> bool,
    ) -> Option<Record> {
        let mut begun = self.begun.lock().unwrap();
        let number = *begun;
        if !accepts(number) {
            return None;
        }
        *begun += 1;
        let entry = Arc::new(Mutex::new(Entry::new()));
        if let Keeping::All(entries) = &self.keeping {
            entries.lock().unwrap().push(Arc::clone(&entry));
        }
        Some(Record {
            log: Arc::clone(self),
            number,
            entry,
        })
    }

    /// The attempts that are kept.
    pub(super) fn attempts(&self) -> Vec<Attempt> {
        match &self.keeping {
            Keeping::All(entries) => {
                let entries = entries.lock().unwrap();
                let finished = |entry: &Arc<Mutex<Entry>>| entry.lock().unwrap().finished();
                entries.iter().map(finished).collect()
            }
            Keeping::None(_) => Vec::new(),
        }
    }
}

/// Where one attempt is written down, as long as it goes on.
pub(super) struct Record {
    log: Arc<Log>,
    number: usize,
    entry: Arc<Mutex<Entry>>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Record").field(&self.number).finish()
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Keeping::None(tell) = &self.log.keeping {
            tell(self.change(|entry| entry.finished()));
        }
    }
}

impl Record {
    /// The attempt's number, counted from 0.
    pub(super) const fn number(&self) -> usize {
        self.number
    }

    pub(super) fn head(&self, method: &Method, uri: &Uri, headers: &HeaderMap) {
        self.change(|entry| {
            let key = headers.get("idempotency-key");
            entry.attempt.method = Some(method.clone());
            entry.attempt.path = Some(uri.path().to_owned());
            entry.attempt.headers = headers.clone();
            entry.attempt.key = key.map(|key| key.to_str().unwrap().to_owned());
        });
    }

    pub(super) fn content(&self, content: &Bytes) {
        self.change(|entry| {
            entry.attempt.received += content.len() as u64;
            entry.hasher.update(content);
        });
    }

    pub(super) fn end(&self, trailers: Option<HeaderMap>) {
        self.change(|entry| {
            entry.attempt.whole = true;
            entry.attempt.trailers = trailers;
        });
    }

    /// Half a request cannot be applied.
    pub(super) fn apply(&self) {
        self.change(|entry| entry.attempt.applied = entry.attempt.whole);
    }

    pub(super) fn received(&self) -> u64 {
        self.change(|entry| entry.attempt.received)
    }

    pub(super) fn is_whole(&self) -> bool {
        self.change(|entry| entry.attempt.whole)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Entry) -> T) -> T {
        change(&mut self.entry.lock().unwrap())
    }
}
