//! What servers said about when to come back, for all requests with the same key.

use std::time::{Duration, Instant};

use crate::budget::{
    Slot,
    sync::{AtomicU64, Ordering::Relaxed},
};

/// Keys with a hint at once.
const SLOTS: usize = 1024;

/// A word is a tag of the key, a flag, and a time in milliseconds since the board was made.
const TIME_BITS: u32 = 40;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
const PROBED: u64 = 1 << TIME_BITS;
pub(super) const TAG_MASK: u64 = !(TIME_MASK | PROBED);

/// The times before which nothing should be sent, one for each key: lock-free, of a fixed size.
///
/// Two keys can meet in one place. The later hint then takes it, and the earlier one is
/// forgotten, which is as if it had not been shared.
pub(super) struct Board {
    origin: Instant,
    places: Box<[Place]>,
}

#[derive(Default)]
struct Place {
    word: AtomicU64,
    /// How long the server asked for, in milliseconds. Not read together with the word: whoever
    /// reads another hint's waits a little more or less after its end.
    length: AtomicU64,
}

/// Whether a request may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It may. The number is what [`Board::forget`] must find unchanged.
    Free(u64),
    /// Not before this time is over, which the server asked for in a hint of this length.
    Held { left: Duration, length: Duration },
    /// Not before this time is over, unless the request that looks whether the server is there
    /// has its answer sooner.
    Probed { left: Duration },
}

impl Board {
    /// An empty board that counts from `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            origin: now,
            places: (0..SLOTS).map(|_| Place::default()).collect(),
        }
    }

    /// Notes that a server asked for `wait` from `now` on; `cut` says that it asked for longer, so
    /// that only one request is sent then, to look. What was noted before is replaced: the later
    /// answer knows better.
    pub(super) fn post(&self, key: u64, now: Instant, wait: Duration, cut: bool) {
        let (place, tag) = self.place(key);
        // Relaxed: the words guard nothing but themselves.
        place.length.store(millis(wait), Relaxed);
        let flag = if cut { PROBED } else { 0 };
        place.word.store(tag | flag | self.at(now, wait), Relaxed);
    }

    /// Whether a request may be sent at `now`. If that is to look whether the server is there, no
    /// other may for the time of `lease`.
    pub(super) fn standing(&self, key: u64, now: Instant, lease: Duration) -> Standing {
        let (place, tag) = self.place(key);
        let word = place.word.load(Relaxed);
        if word == 0 || word & TAG_MASK != tag {
            return Standing::Free(0);
        }
        if let Some(left) = self.left(word, now) {
            let length = Duration::from_millis(place.length.load(Relaxed));
            // A lease is what somebody has posted who looks.
            return if length.is_zero() {
                Standing::Probed { left }
            } else {
                Standing::Held { left, length }
            };
        }
        if word & PROBED == 0 {
            return Standing::Free(word);
        }
        let leased = tag | PROBED | self.at(now, lease);
        match place.word.compare_exchange(word, leased, Relaxed, Relaxed) {
            Ok(_) => {
                place.length.store(0, Relaxed);
                Standing::Free(leased)
            }
            // Somebody else looks.
            Err(newer) => Standing::Probed {
                left: self.left(newer, now).unwrap_or(lease).min(lease),
            },
        }
    }

    /// What is noted, as [`Standing::Free`] has it.
    pub(super) fn seen(&self, key: u64) -> u64 {
        let (place, tag) = self.place(key);
        let word = place.word.load(Relaxed);
        if word & TAG_MASK == tag { word } else { 0 }
    }

    /// The tag of a key, which a word of its place has.
    pub(super) fn tag(&self, key: u64) -> u64 {
        self.place(key).1
    }

    /// The server accepted a request that was sent when `seen` was noted: that holds no more.
    pub(super) fn forget(&self, key: u64, seen: u64) {
        if seen != 0 {
            let (place, _) = self.place(key);
            // An error is a hint that is newer.
            let _ = place.word.compare_exchange(seen, 0, Relaxed, Relaxed);
        }
    }

    /// The request that was to look was not sent: another one may.
    pub(super) fn give_up(&self, key: u64, seen: u64, now: Instant) {
        if seen & PROBED != 0 {
            let (place, tag) = self.place(key);
            let over = tag | PROBED | self.at(now, Duration::ZERO);
            let _ = place.word.compare_exchange(seen, over, Relaxed, Relaxed);
        }
    }

    /// The time from `now` on until the word's, if that is still to come.
    fn left(&self, word: u64, now: Instant) -> Option<Duration> {
        let until = Duration::from_millis(word & TIME_MASK);
        until
            .checked_sub(now.saturating_duration_since(self.origin))
            .filter(|left| !left.is_zero())
    }

    fn at(&self, now: Instant, wait: Duration) -> u64 {
        let until = now.saturating_duration_since(self.origin);
        millis(until.saturating_add(wait)).min(TIME_MASK)
    }

    /// A key's place and its tag.
    fn place(&self, key: u64) -> (&Place, u64) {
        let hash = Slot::from_key(key).0.get();
        // The place comes from the low bits, the tag from the high ones.
        (&self.places[hash as usize % SLOTS], hash & TAG_MASK)
    }
}

/// Rounded up: never earlier than asked.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(all(test, not(retry_loom)))]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const A: u64 = 0x1234_5678_9abc_def0;
    /// In another place.
    const B: u64 = 0x1234_5678_9abc_def1;
    /// In the same place, with another tag.
    const C: u64 = 0x5678_5678_9abc_def0;

    fn board() -> (Board, Instant) {
        let now = tokio::time::Instant::now().into_std();
        (Board::new(now), now)
    }

    fn left(board: &Board, key: u64, now: Instant) -> Option<Duration> {
        match board.standing(key, now, SECOND) {
            Standing::Free(_) => None,
            Standing::Held { left, .. } | Standing::Probed { left } => Some(left),
        }
    }

    #[test]
    fn a_hint_holds_for_its_key_until_its_time() {
        let (board, now) = board();
        assert_eq!(left(&board, A, now), None);
        board.post(A, now, SECOND, false);
        assert_eq!(left(&board, A, now), Some(SECOND));
        assert_eq!(left(&board, B, now), None);
        assert_eq!(left(&board, C, now), None);
        assert_eq!(left(&board, A, now + SECOND / 2), Some(SECOND / 2));
        assert_eq!(left(&board, A, now + SECOND), None);
    }

    #[test]
    fn a_later_hint_replaces_an_earlier_one() {
        let (board, now) = board();
        for seconds in [5, 1, 9] {
            board.post(A, now, seconds * SECOND, false);
            assert_eq!(left(&board, A, now), Some(seconds * SECOND));
        }
    }

    #[test]
    fn a_part_of_a_millisecond_is_rounded_up() {
        let (board, now) = board();
        board.post(A, now, Duration::from_nanos(1), false);
        assert_eq!(left(&board, A, now), Some(Duration::from_millis(1)));
    }

    #[test]
    fn no_wait_is_too_long() {
        let (board, now) = board();
        board.post(A, now, Duration::MAX, true);
        assert!(left(&board, A, now).expect("held") > 300 * 24 * 3600 * SECOND);
    }

    #[test]
    fn one_request_looks_after_a_hint_that_was_cut() {
        let (board, now) = board();
        board.post(A, now, SECOND, true);
        let then = now + SECOND;
        let Standing::Free(probe) = board.standing(A, then, SECOND) else {
            panic!("nobody may look");
        };
        let held = Standing::Probed { left: SECOND };
        assert_eq!(board.standing(A, then, SECOND), held);
        // It was dropped: the next one looks at once.
        board.give_up(A, probe, then);
        let Standing::Free(probe) = board.standing(A, then, SECOND) else {
            panic!("nobody may look");
        };
        assert_eq!(board.standing(A, then, SECOND), held);
        // The answer takes its time: another one looks meanwhile.
        let later = then + SECOND;
        let Standing::Free(other) = board.standing(A, later, SECOND) else {
            panic!("nobody may look");
        };
        // What the first one finds out is overtaken.
        board.forget(A, probe);
        assert_eq!(board.standing(A, later, SECOND), held);
        board.forget(A, other);
        assert_eq!(board.standing(A, later, SECOND), Standing::Free(0));
    }

    #[test]
    fn a_success_from_before_a_hint_does_not_lift_it() {
        let (board, now) = board();
        let Standing::Free(seen) = board.standing(A, now, SECOND) else {
            panic!("held for nothing");
        };
        board.post(A, now, SECOND, false);
        board.forget(A, seen);
        assert_eq!(left(&board, A, now), Some(SECOND));
    }
}
