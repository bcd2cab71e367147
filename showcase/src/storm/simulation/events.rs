//! What is to happen when.

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

/// Events in the order of their time; those of the same time in the order in which they were
/// added.
///
/// Most events of a kind are added in the order of their time already, and a row is much cheaper
/// than a heap.
#[derive(Debug)]
pub(super) struct Events<T> {
    rows: [VecDeque<Event<T>>; 2],
    heap: BinaryHeap<Event<T>>,
    added: u64,
}

/// Events of one row never come before one that was added to it earlier.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row {
    First,
    Second,
}

#[derive(Debug)]
struct Event<T> {
    at: Duration,
    number: u64,
    what: T,
}

impl<T> Events<T> {
    pub(super) fn new() -> Self {
        Self {
            rows: [VecDeque::new(), VecDeque::new()],
            heap: BinaryHeap::new(),
            added: 0,
        }
    }

    pub(super) fn add(&mut self, at: Duration, what: T) {
        let event = self.number(at, what);
        self.heap.push(event);
    }

    /// The same where `at` is not before the time of any event that was added to `row`.
    pub(super) fn add_to(&mut self, row: Row, at: Duration, what: T) {
        let event = self.number(at, what);
        let row = &mut self.rows[row as usize];
        debug_assert!(row.back().is_none_or(|last| last.at <= at));
        row.push_back(event);
    }

    fn number(&mut self, at: Duration, what: T) -> Event<T> {
        let number = self.added;
        self.added += 1;
        Event { at, number, what }
    }

    /// The next event, unless it comes after `end`.
    pub(super) fn next_until(&mut self, end: Duration) -> Option<(Duration, T)> {
        let [first, second] = &self.rows;
        let heads = [first.front(), second.front(), self.heap.peek()];
        let (from, next) = heads
            .into_iter()
            .enumerate()
            .filter_map(|(from, event)| Some((from, event?)))
            // The greatest is the one that comes first.
            .max_by(|(_, a), (_, b)| a.cmp(b))?;
        if next.at > end {
            return None;
        }
        let event = match self.rows.get_mut(from) {
            Some(row) => row.pop_front(),
            None => self.heap.pop(),
        };
        event.map(|event| (event.at, event.what))
    }
}

/// The earliest is the greatest: what a [`BinaryHeap`] gives out first.
impl<T> Ord for Event<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<T> PartialOrd for Event<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Event<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Event<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_the_order_of_time_and_then_of_addition() {
        let mut events = Events::new();
        let at = Duration::from_millis;
        events.add(at(5), 'e');
        events.add_to(Row::First, at(2), 'b');
        events.add(at(2), 'c');
        events.add_to(Row::First, at(9), 'f');
        events.add_to(Row::Second, at(2), 'd');
        events.add(at(1), 'a');
        let mut until = |end| {
            let next = std::iter::from_fn(|| events.next_until(at(end)));
            next.map(|(_, what)| what).collect::<String>()
        };
        assert_eq!(until(5), "abcde");
        assert_eq!(until(8), "");
        assert_eq!(until(9), "f");
    }
}
