//! Buffers that the next request on the same thread uses again.

use std::cell::RefCell;
use std::mem;

/// Buffers kept by a thread; requests in flight beyond this number allocate their own.
pub(super) const MAX_BUFFERS: usize = 64;
/// A buffer that grew beyond this is freed, so that no giant header stays in memory. A thread
/// keeps at most 256 KiB.
pub(super) const MAX_BYTES: usize = 4096;

/// Bytes that a waiting request may hold without need; copying costs more than they are worth.
const MAX_SPARE: usize = 256;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer whose memory goes to the next request when it is dropped.
#[derive(Default)]
pub(super) struct Buffer {
    pub(super) bytes: Vec<u8>,
}

impl Buffer {
    /// An empty buffer that was used before, if the thread has any.
    #[inline]
    pub(super) fn recycled() -> Option<Self> {
        // Access fails only while the thread ends.
        let bytes = POOL
            .try_with(|pool| pool.try_borrow_mut().ok()?.pop())
            .ok()??;
        Some(Self { bytes })
    }

    /// Swaps a buffer that is much larger than what it holds for an exact one.
    pub(super) fn settle(&mut self) {
        if self.bytes.capacity() - self.bytes.len() > MAX_SPARE {
            let bytes = self.bytes.as_slice().into();
            *self = Self { bytes };
        }
    }
}

impl Drop for Buffer {
    #[inline]
    fn drop(&mut self) {
        let mut bytes = mem::take(&mut self.bytes);
        if !(1..=MAX_BYTES).contains(&bytes.capacity()) {
            return;
        }
        bytes.clear();
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
        &self.bytes
    }
}

/// Buffers that this thread keeps.
#[cfg(test)]
pub(super) fn kept() -> usize {
    POOL.with(|pool| pool.borrow().len())
}
