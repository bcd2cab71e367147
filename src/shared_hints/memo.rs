//! What is remembered of a request, in the one word of its ticket.

use super::board::TAG_MASK;

/// Since the tag follows from the key, the bits for it are free.
///
/// | bits | |
/// | --- | --- |
/// | those of a time and a flag | what the board said |
/// | the three above | whether that is anything; whether the request has a turn; whether it is counted |
#[derive(Clone, Copy, Default)]
pub(super) struct Memo(pub(super) u64);

const SEEN: u64 = 1 << 63;
#[cfg(feature = "ratelimit")]
const TURN: u64 = 1 << 62;
#[cfg(feature = "ratelimit")]
const COUNTED: u64 = 1 << 61;

impl Memo {
    pub(super) const fn with_seen(self, seen: u64) -> Self {
        let flags = self.0 & TAG_MASK & !SEEN;
        match seen {
            0 => Self(flags),
            seen => Self(flags | SEEN | seen & !TAG_MASK),
        }
    }

    /// What the board said, of a key with this tag.
    pub(super) const fn seen(self, tag: u64) -> u64 {
        match self.0 & SEEN {
            0 => 0,
            _ => tag | self.0 & !TAG_MASK,
        }
    }

    #[cfg(feature = "ratelimit")]
    pub(super) const fn with_turn(self) -> Self {
        Self(self.0 | TURN)
    }

    #[cfg(feature = "ratelimit")]
    pub(super) const fn has_turn(self) -> bool {
        self.0 & TURN != 0
    }

    #[cfg(feature = "ratelimit")]
    pub(super) const fn counted(self) -> Self {
        Self(self.0 | COUNTED)
    }

    #[cfg(feature = "ratelimit")]
    pub(super) const fn is_counted(self) -> bool {
        self.0 & COUNTED != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_comes_back_as_it_was() {
        const TAG: u64 = 0xabcd_ef00_0000_0000 & TAG_MASK;
        for seen in [0, TAG, TAG | 1, TAG | !TAG_MASK] {
            let memo = Memo::default().with_seen(seen);
            assert_eq!(memo.seen(TAG), seen);
            assert_eq!(memo.with_seen(0).seen(TAG), 0);
            #[cfg(feature = "ratelimit")]
            {
                let memo = memo.with_turn().counted();
                assert!(memo.has_turn() && memo.is_counted());
                assert_eq!(memo.seen(TAG), seen);
                assert!(memo.with_seen(TAG | 7).has_turn());
            }
        }
    }
}
