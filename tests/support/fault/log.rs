//! What the server remembers of each attempt.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
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

struct Entry {
    attempt: Attempt,
    hasher: Sha256,
}

/// All attempts.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<Entry>>>);

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Log").field(&self.attempts()).finish()
    }
}

impl Log {
    /// How many attempts there were, which is the number of the next one.
    pub(super) fn next(&self) -> usize {
        self.lock().len()
    }

    /// Begins an attempt, if `accepts` says so of its number.
    pub(super) fn begin_if(&self, accepts: impl FnOnce(usize) -> bool) -> Option<Record> {
        let mut entries = self.lock();
        let number = entries.len();
        if !accepts(number) {
            return None;
        }
        entries.push(Entry {
            attempt: Attempt {
                at: Instant::now(),
                method: None,
                path: None,
                key: None,
                received: 0,
                digest: [0; 32],
                whole: false,
                trailers: None,
                applied: false,
            },
            hasher: Sha256::new(),
        });
        Some(Record {
            log: self.clone(),
            number,
        })
    }

    pub(super) fn attempts(&self) -> Vec<Attempt> {
        let finished = |entry: &Entry| Attempt {
            digest: entry.hasher.clone().finalize().into(),
            ..entry.attempt.clone()
        };
        self.lock().iter().map(finished).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap()
    }
}

/// Where one attempt is written down.
#[derive(Debug)]
pub(super) struct Record {
    log: Log,
    number: usize,
}

impl Record {
    pub(super) fn head(&self, method: &Method, uri: &Uri, headers: &HeaderMap) {
        self.change(|entry| {
            let key = headers.get("idempotency-key");
            entry.attempt.method = Some(method.clone());
            entry.attempt.path = Some(uri.path().to_owned());
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
        change(&mut self.log.lock()[self.number])
    }
}
