//! A table of fixed size from keys to values, without locks.
//!
//! Like a processor's cache it consists of small sets: a key may live in one set only, anywhere
//! in it. An entry once taken is never vacant again, it can only pass to another key; so a key
//! that is not found before the first vacant entry is not in the table.
//!
//! The orderings are relaxed: a key's word publishes nothing, the value beside it was valid from
//! the start and stays so whichever key owns it.

use std::num::NonZeroU64;

use super::sync::{AtomicU64, Ordering::Relaxed};

/// Entries of a set. With the bucket's 16 bytes an entry, a set is two cache lines.
pub(crate) const WAYS: usize = 8;

const VACANT: u64 = 0;

#[derive(Debug, Default)]
struct Entry<V> {
    key: AtomicU64,
    value: V,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Set<V>([Entry<V>; WAYS]);

/// Where a key's value is.
#[derive(Debug)]
pub(crate) struct Place<'a, V> {
    pub(crate) index: u32,
    pub(crate) value: &'a V,
}

#[derive(Debug)]
pub(crate) struct Table<V> {
    /// Not empty; its length is a power of two.
    sets: Box<[Set<V>]>,
}

impl<V: Default> Table<V> {
    /// A table of `entries`, rounded up to a whole power of two of sets.
    pub(crate) fn new(entries: usize) -> Self {
        let sets = entries.div_ceil(WAYS).max(1).next_power_of_two();
        Self {
            sets: (0..sets).map(|_| Set::default()).collect(),
        }
    }
}

impl<V> Table<V> {
    fn set(&self, key: NonZeroU64) -> (usize, &Set<V>) {
        let index = key.get() as usize & (self.sets.len() - 1);
        (index, &self.sets[index])
    }

    fn place<'a>(set: usize, way: usize, entry: &'a Entry<V>) -> Place<'a, V> {
        Place {
            index: (set * WAYS + way) as u32,
            value: &entry.value,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// The value of `key`, if it has an entry. Writes nothing.
    #[inline(always)]
    pub(crate) fn find(&self, key: NonZeroU64) -> Option<&V> {
        for entry in &self.set(key).1.0 {
            match entry.key.load(Relaxed) {
                VACANT => return None,
                found if found == key.get() => return Some(&entry.value),
                _ => {}
            }
        }
        None
    }

    /// Where the value of `key` is, if it has an entry. Writes nothing.
    #[cfg(any(feature = "hedge", feature = "telemetry"))]
    #[inline]
    pub(crate) fn place_of(&self, key: NonZeroU64) -> Option<Place<'_, V>> {
        let (set, Set(entries)) = self.set(key);
        for (way, entry) in entries.iter().enumerate() {
            match entry.key.load(Relaxed) {
                VACANT => return None,
                found if found == key.get() => return Some(Self::place(set, way, entry)),
                _ => {}
            }
        }
        None
    }

    /// The value of `key`, in an entry that it has, finds vacant, or takes over.
    ///
    /// `release` says whether a value may pass to another key and how much that key would miss
    /// by it: the lowest answer is preferred. `None` if the set is full and nothing in it may be
    /// taken over, or if another thread was faster.
    ///
    /// Two threads that take over for the same key at the same moment may take two entries; the
    /// key then uses the first, and the other becomes free in its time.
    pub(crate) fn claim(
        &self,
        key: NonZeroU64,
        release: impl Fn(&V) -> Option<u32>,
    ) -> Option<Place<'_, V>> {
        let (set, Set(entries)) = self.set(key);
        let mut best: Option<(u32, usize, &Entry<V>, u64)> = None;
        for (way, entry) in entries.iter().enumerate() {
            let mut owner = entry.key.load(Relaxed);
            if owner == VACANT {
                match entry
                    .key
                    .compare_exchange(VACANT, key.get(), Relaxed, Relaxed)
                {
                    Ok(_) => owner = key.get(),
                    Err(winner) => owner = winner,
                }
            }
            if owner == key.get() {
                return Some(Self::place(set, way, entry));
            }
            if let Some(loss) = release(&entry.value) {
                if best.is_none_or(|(least, ..)| loss < least) {
                    best = Some((loss, way, entry, owner));
                }
            }
        }
        let (_, way, entry, owner) = best?;
        match entry
            .key
            .compare_exchange(owner, key.get(), Relaxed, Relaxed)
        {
            Ok(_) => Some(Self::place(set, way, entry)),
            Err(winner) if winner == key.get() => Some(Self::place(set, way, entry)),
            Err(_) => None,
        }
    }

    /// The entry that `key` shares with another key when it cannot have its own: always the
    /// same one, so that it cannot use up what several others own.
    pub(crate) fn borrow(&self, key: NonZeroU64) -> Place<'_, V> {
        let (set, Set(entries)) = self.set(key);
        // The low bits have chosen the set.
        let way = (key.get() >> 32) as usize % WAYS;
        Self::place(set, way, &entries[way])
    }

    /// The value at an index that a [`Place`] named.
    pub(crate) fn get(&self, index: u32) -> Option<&V> {
        let index = index as usize;
        let set = self.sets.get(index / WAYS)?;
        Some(&set.0[index % WAYS].value)
    }

    /// The values that keys own or owned.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.sets
            .iter()
            .flat_map(|set| &set.0)
            .filter(|entry| entry.key.load(Relaxed) != VACANT)
            .map(|entry| &entry.value)
    }
}
