//! Buffers that the next request on the same thread uses again.

use std::cell::RefCell;
use std::mem;

/// Buffers kept by a thread; requests in flight beyond this number allocate their own.
pub(super) const MAX_BUFFERS: usize = 64;
/// A buffer that grew beyond this is freed, so that no giant header stays in memory. A thread
/// keeps at most 256 KiB.
pub(super) const MAX_BYTES: usize = 4096;

/// Bytes that a waiting request may hold without need; copying costs more than they are worth.
const MAX_SPARE: usize = 64;

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer whose memory goes to the next request when it is dropped.
#[derive(Default)]
pub(super) struct Buffer {
    pub(super) bytes: Box<[u8]>,
    /// How many of them belong to this request; the others are left from ones before.
    pub(super) used: usize,
}

impl Buffer {
    /// Room for `size` bytes, for less of which there was room before.
    pub(super) fn grow(&mut self, size: usize) {
        let bytes = vec![0; size].into_boxed_slice();
        // One that is too large to be kept must not displace one that is not.
        let small = Self { bytes, used: 0 };
        let mut small = mem::replace(self, small);
        if size <= MAX_BYTES {
            small.bytes = Box::default();
        }
    }

    /// A buffer that was used before, or one without room.
    #[inline]
    pub(super) fn recycled() -> Self {
        // Access fails only while the thread ends.
        let bytes = POOL.try_with(|pool| pool.try_borrow_mut().ok()?.pop());
        Self {
            bytes: bytes.ok().flatten().unwrap_or_default(),
            used: 0,
        }
    }

    /// Swaps a buffer that is much larger than what it holds for an exact one.
    pub(super) fn settle(&mut self) {
        if self.bytes.len() - self.used > MAX_SPARE {
            *self = Self {
                bytes: self.as_ref().into(),
                used: self.used,
            };
        }
    }
}

impl Drop for Buffer {
    #[inline]
    fn drop(&mut self) {
        let bytes = mem::take(&mut self.bytes);
        if !(1..=MAX_BYTES).contains(&bytes.len()) {
            return;
        }
        let _ = POOL.try_with(|pool| {
            if let Ok(mut pool) = pool.try_borrow_mut() {
                if pool.len() < MAX_BUFFERS {
                    pool.push(bytes);
                }
            }
        });
    }
}

/// What makes the buffer the memory of [`Bytes`](bytes::Bytes), and recycled when the last slice
/// of it is dropped.
impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }
}

/// Buffers that this thread keeps.
#[cfg(test)]
pub(super) fn kept() -> usize {
    POOL.with(|pool| pool.borrow().len())
}
