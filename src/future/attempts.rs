//! The records of the attempts so far.

use crate::report::AttemptRecord;

/// Keeps the first record without memory of its own: many requests may wait at once, and most
/// need no third attempt.
pub(super) struct Attempts {
    /// Moves to the front of the others when there are any.
    first: Option<AttemptRecord>,
    others: Vec<AttemptRecord>,
}

impl Attempts {
    pub(super) const NONE: Self = Self {
        first: None,
        others: Vec::new(),
    };

    pub(super) fn push(&mut self, record: AttemptRecord) {
        if self.len() == 0 {
            self.first = Some(record);
            return;
        }
        if let Some(first) = self.first.take() {
            // As many as the third attempt needs.
            self.others.reserve_exact(3);
            self.others.push(first);
        }
        self.others.push(record);
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &AttemptRecord> {
        self.first.iter().chain(&self.others)
    }

    pub(super) fn take(&mut self) -> Vec<AttemptRecord> {
        match self.first.take() {
            Some(only) => vec![only],
            None => std::mem::take(&mut self.others),
        }
    }
}
