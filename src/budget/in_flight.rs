//! A cap on how many retries run at once.

use std::sync::Arc;

use super::sync::{AtomicU64, Ordering::Relaxed};
use crate::reason::InvalidPolicy;

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
/// let place = limit.acquire().expect("the first");
/// assert!(limit.acquire().is_none());
/// drop(place);
/// assert!(limit.acquire().is_some());
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
            return Err(InvalidPolicy::new(
                "max_retries_in_flight",
                max,
                "1 or more",
            ));
        }
        Ok(Self {
            inner: Arc::new(Inner {
                max: max.into(),
                in_flight: AtomicU64::new(0),
                refused: AtomicU64::new(0),
            }),
        })
    }

    /// Takes a place, if there is one. It is given back when it is dropped.
    #[doc(hidden)]
    pub fn acquire(&self) -> Option<InFlightPlace> {
        let max = self.inner.max;
        let taken = self
            .inner
            .in_flight
            .fetch_update(Relaxed, Relaxed, |count| (count < max).then(|| count + 1))
            .is_ok();
        if !taken {
            self.inner.refused.fetch_add(1, Relaxed);
        }
        taken.then(|| InFlightPlace(self.clone()))
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

/// A place among the retries in flight, from [`InFlightLimit::acquire`]; given back when it is
/// dropped.
#[derive(Debug)]
#[must_use = "a place that is dropped is given back"]
pub struct InFlightPlace(InFlightLimit);

impl Drop for InFlightPlace {
    fn drop(&mut self) {
        self.0.inner.in_flight.fetch_sub(1, Relaxed);
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
            assert_eq!(taken.iter().flatten().count(), 1);
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
                    let place = limit.acquire();
                    if place.is_some() {
                        assert_eq!(limit.in_flight(), 1);
                    }
                    place.is_some()
                })
            });
            let taken = threads.map(|thread| thread.join().unwrap());
            assert!(taken.contains(&true));
            assert_eq!(limit.in_flight(), 0);
            assert!(limit.acquire().is_some());
        });
    }
}
