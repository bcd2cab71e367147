//! Buffers that the next request on the same thread uses again.

use std::cell::RefCell;
use std::mem;

/// Buffers kept by a thread; requests in flight beyond this number allocate their own.
pub(super) const MAX_BUFFERS: usize = 64;
/// A buffer that holds more text than this is freed, so that no giant header stays in memory.
pub(super) const MAX_TEXT: usize = 4096;
/// The same for the number of headers. A thread keeps at most 288 KiB.
pub(super) const MAX_HEADS: usize = 64;
/// Bytes that a waiting request may hold without need; copying costs more than they are worth.
const MAX_SPARE: usize = 256;

thread_local! {
    static POOL: RefCell<Vec<Buffers>> = const { RefCell::new(Vec::new()) };
}

/// What is known of one header besides its text.
#[derive(Clone, Copy)]
pub(super) struct Head {
    /// The number of a standard name, or [`CUSTOM`].
    pub(super) number: u8,
    pub(super) sensitive: bool,
    /// Bytes of a custom name, which come first in the text.
    pub(super) name: u16,
    /// Bytes of the value.
    pub(super) value: u32,
}

/// In place of a number: the name is kept as text.
pub(super) const CUSTOM: u8 = u8::MAX;

/// The headers of one request; dropping them gives the memory to the next one.
#[derive(Default)]
pub(super) struct Buffers {
    pub(super) heads: Vec<Head>,
    pub(super) text: Vec<u8>,
}

impl Buffers {
    /// Empty buffers that were used before, if the thread has any.
    #[inline]
    pub(super) fn recycled() -> Option<Self> {
        // Access fails only while the thread ends.
        POOL.try_with(|pool| pool.try_borrow_mut().ok()?.pop())
            .ok()
            .flatten()
    }

    /// Swaps buffers that are much larger than what they hold for exact ones.
    pub(super) fn settle(&mut self) {
        let spare = self.text.capacity() - self.text.len()
            + (self.heads.capacity() - self.heads.len()) * size_of::<Head>();
        if spare > MAX_SPARE {
            *self = Self {
                heads: self.heads.as_slice().into(),
                text: self.text.as_slice().into(),
            };
        }
    }
}

impl Drop for Buffers {
    #[inline]
    fn drop(&mut self) {
        let (text, heads) = (self.text.capacity(), self.heads.capacity());
        if text > MAX_TEXT || heads > MAX_HEADS || heads == 0 {
            return;
        }
        self.heads.clear();
        self.text.clear();
        let _ = POOL.try_with(|pool| {
            if let Ok(mut pool) = pool.try_borrow_mut() {
                if pool.len() < MAX_BUFFERS {
                    pool.push(mem::take(self));
                }
            }
        });
    }
}

/// Buffers that this thread keeps.
#[cfg(test)]
pub(super) fn kept() -> usize {
    POOL.with(|pool| pool.borrow().len())
}
