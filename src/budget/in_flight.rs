//! A cap on how many retries run at once.

use std::sync::Arc;

use super::sync::{AtomicU64, Ordering::Relaxed};
use crate::policy::InvalidPolicy;

/// A cap on how many retries are in flight at once, over all requests.
///
/// A budget limits how many retries there are in a stretch of time; this limits how many wait for
/// a server that has become slow.
///
/// # Clone
///
/// Clones share the count.
///
/// # Example
///
/// ```
/// use tower_http_retry::budget::InFlightLimit;
///
/// let limit = InFlightLimit::new(1)?;
/// assert!(limit.acquire());
/// assert!(!limit.acquire());
/// limit.release();
/// assert!(limit.acquire());
/// # Ok::<_, tower_http_retry::policy::InvalidPolicy>(())
/// ```
#[derive(Clone, Debug)]
pub struct InFlightLimit {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    max: u64,
    /// Relaxed: it guards no memory, only itself.
    in_flight: AtomicU64,
    refused: AtomicU64,
}

impl InFlightLimit {
    /// Allows for at most `max` retries at once.
    ///
    /// # Errors
    ///
    /// `max` must not be 0.
    pub fn new(max: u32) -> Result<Self, InvalidPolicy> {
        if max == 0 {
            return Err(InvalidPolicy::new("in_flight", max, "1 or more"));
        }
        Ok(Self {
            inner: Arc::new(Inner {
                max: max.into(),
                in_flight: AtomicU64::new(0),
                refused: AtomicU64::new(0),
            }),
        })
    }

    /// Takes a place, if there is one. Every place that is taken must be given back by
    /// [`release`](Self::release), also when the retry is cancelled.
    #[must_use]
    pub fn acquire(&self) -> bool {
        let max = self.inner.max;
        let taken = self
            .inner
            .in_flight
            .fetch_update(Relaxed, Relaxed, |count| (count < max).then(|| count + 1))
            .is_ok();
        if !taken {
            self.inner.refused.fetch_add(1, Relaxed);
        }
        taken
    }

    /// Gives a place back. Without a place taken before, it does nothing.
    pub fn release(&self) {
        // An error is a count of zero, which stays.
        let _ = self
            .inner
            .in_flight
            .fetch_update(Relaxed, Relaxed, |count| count.checked_sub(1));
    }

    /// The retries in flight at this moment.
    pub fn in_flight(&self) -> u32 {
        // Never above `max`, which came from a u32.
        self.inner.in_flight.load(Relaxed) as u32
    }

    /// The most retries that may be in flight.
    pub fn max(&self) -> u32 {
        self.inner.max as u32
    }

    /// How many were refused so far.
    pub fn refused(&self) -> u64 {
        self.inner.refused.load(Relaxed)
    }
}

#[cfg(all(retry_loom, test))]
mod interleavings {
    use loom::thread;

    use super::*;

    #[test]
    fn one_place_is_taken_once() {
        loom::model(|| {
            let limit = InFlightLimit::new(1).unwrap();
            let threads = [(); 3].map(|()| {
                let limit = limit.clone();
                thread::spawn(move || limit.acquire())
            });
            let taken = threads.map(|thread| thread.join().unwrap());
            assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
            assert_eq!((limit.in_flight(), limit.refused()), (1, 2));
        });
    }

    #[test]
    fn a_place_given_back_can_be_taken() {
        loom::model(|| {
            let limit = InFlightLimit::new(1).unwrap();
            let threads = [(); 2].map(|()| {
                let limit = limit.clone();
                thread::spawn(move || {
                    let taken = limit.acquire();
                    if taken {
                        assert_eq!(limit.in_flight(), 1);
                        limit.release();
                    }
                    taken
                })
            });
            let taken = threads.map(|thread| thread.join().unwrap());
            assert!(taken.contains(&true));
            assert_eq!(limit.in_flight(), 0);
            assert!(limit.acquire());
        });
    }
}
