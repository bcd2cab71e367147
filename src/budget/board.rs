//! What servers said about when to come back, for all requests to the same authority.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Scope, Slot,
    sync::{AtomicU64, Ordering::Relaxed},
};

/// Authorities with a hint at once. Each is one word.
const SLOTS: usize = 1024;

/// A word is a tag of the key above a time in milliseconds since the board was made.
const TIME_BITS: u32 = 40;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// The times before which nothing should be sent, one for each authority: lock-free, of a fixed
/// size.
///
/// Two authorities can meet in one place. The later hint then takes it, and the earlier one is
/// forgotten, which is as if it had not been shared.
#[derive(Clone)]
pub(crate) struct HintBoard {
    inner: Arc<Inner>,
}

struct Inner {
    scope: Scope,
    origin: Instant,
    words: Box<[AtomicU64]>,
}

impl HintBoard {
    /// An empty board that counts from `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            inner: Arc::new(Inner {
                scope: Scope::PerAuthority,
                origin: now,
                words: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            }),
        }
    }

    pub(crate) fn slot(&self, uri: &http::Uri) -> Slot {
        self.inner.scope.slot(uri)
    }

    /// Notes that a server asked for `wait` from `now` on. An earlier hint that asks for longer
    /// stays.
    pub(crate) fn post(&self, slot: Slot, now: Instant, wait: Duration) {
        let until = now
            .saturating_duration_since(self.inner.origin)
            .saturating_add(wait);
        // Rounded up: never earlier than asked.
        let until = u64::try_from(until.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        let (word, tag) = self.place(slot);
        let until = tag | until.min(TIME_MASK);
        // Relaxed: the word guards nothing but itself.
        let _ = word.fetch_update(Relaxed, Relaxed, |old| {
            let same = old & !TIME_MASK == tag;
            (!same || old < until).then_some(until)
        });
    }

    /// The time that is left until something may be sent; `None` if it may at once.
    pub(crate) fn left(&self, slot: Slot, now: Instant) -> Option<Duration> {
        let (word, tag) = self.place(slot);
        let word = word.load(Relaxed);
        if word == 0 || word & !TIME_MASK != tag {
            return None;
        }
        let until = Duration::from_millis(word & TIME_MASK);
        until
            .checked_sub(now.saturating_duration_since(self.inner.origin))
            .filter(|left| !left.is_zero())
    }

    /// A key's place and its tag.
    fn place(&self, slot: Slot) -> (&AtomicU64, u64) {
        let hash = slot.0.get();
        // The place comes from the low bits, the tag from the high ones.
        let index = hash as usize % SLOTS;
        (&self.inner.words[index], hash & !TIME_MASK)
    }
}

impl fmt::Debug for HintBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HintBoard").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(retry_loom)))]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn board() -> (HintBoard, Instant) {
        let now = tokio::time::Instant::now().into_std();
        (HintBoard::new(now), now)
    }

    fn slot(board: &HintBoard, uri: &'static str) -> Slot {
        board.slot(&http::Uri::from_static(uri))
    }

    #[test]
    fn a_hint_holds_for_its_authority_until_its_time() {
        let (board, now) = board();
        let a = slot(&board, "http://a.test/x");
        assert_eq!(board.left(a, now), None);
        board.post(a, now, SECOND);
        assert_eq!(
            board.left(slot(&board, "http://a.test/y"), now),
            Some(SECOND)
        );
        assert_eq!(board.left(slot(&board, "http://b.test/"), now), None);
        assert_eq!(board.left(a, now + SECOND / 2), Some(SECOND / 2));
        assert_eq!(board.left(a, now + SECOND), None);
    }

    #[test]
    fn a_shorter_hint_does_not_shorten_a_longer_one() {
        let (board, now) = board();
        let a = slot(&board, "http://a.test/");
        board.post(a, now, 5 * SECOND);
        board.post(a, now, SECOND);
        assert_eq!(board.left(a, now), Some(5 * SECOND));
        board.post(a, now, 9 * SECOND);
        assert_eq!(board.left(a, now), Some(9 * SECOND));
    }

    #[test]
    fn a_part_of_a_millisecond_is_rounded_up() {
        let (board, now) = board();
        let a = slot(&board, "http://a.test/");
        board.post(a, now, Duration::from_nanos(1));
        assert_eq!(board.left(a, now), Some(Duration::from_millis(1)));
    }

    #[test]
    fn no_wait_is_too_long() {
        let (board, now) = board();
        let a = slot(&board, "http://a.test/");
        board.post(a, now, Duration::MAX);
        assert!(board.left(a, now).expect("held") > 300 * 24 * 3600 * SECOND);
    }
}
