//! What is to happen when.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

/// Events in the order of their time; those of the same time in the order in which they were
/// added.
#[derive(Debug)]
pub(super) struct Events<T> {
    heap: BinaryHeap<Reverse<Event<T>>>,
    added: u64,
}

#[derive(Debug)]
struct Event<T> {
    /// Time in nanoseconds and then the number of the event, in one word to compare.
    key: u128,
    what: T,
}

impl<T> Events<T> {
    pub(super) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            added: 0,
        }
    }

    pub(super) fn add(&mut self, at: Duration, what: T) {
        let key = at.as_nanos() << 64 | u128::from(self.added);
        self.added += 1;
        self.heap.push(Reverse(Event { key, what }));
    }

    /// The next event, unless it comes after `end`.
    pub(super) fn next_until(&mut self, end: Duration) -> Option<(Duration, T)> {
        let Reverse(first) = self.heap.peek()?;
        if first.at() > end {
            return None;
        }
        self.heap
            .pop()
            .map(|Reverse(event)| (event.at(), event.what))
    }
}

impl<T> Event<T> {
    fn at(&self) -> Duration {
        Duration::from_nanos((self.key >> 64) as u64)
    }
}

impl<T> PartialEq for Event<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<T> Eq for Event<T> {}

impl<T> PartialOrd for Event<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Event<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}
