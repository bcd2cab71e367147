//! What of a head is not packed, in memory that the next request on the same thread uses again.

use std::{
    cell::RefCell,
    mem,
    ops::{Deref, DerefMut},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Uri};

use super::pool::Buffer;

/// So many are kept by a thread.
const MOST: usize = 16;
/// One that shared more values than this is freed.
const MOST_VALUES: usize = 16;

thread_local! {
    #[expect(clippy::vec_box, reason = "it is the boxes that are used again")]
    static POOL: RefCell<Vec<Box<Beside>>> = const { RefCell::new(Vec::new()) };
}

/// Either a clone of a head; or a spare, which the next restored request takes, and the packed
/// bytes; or values that are too long to be copied, and the rest in a buffer, perhaps with a spare.
#[derive(Default)]
pub(super) struct Beside {
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    /// The packed bytes, if the head is a spare or has values apart.
    pub(super) packed: Option<Bytes>,
    /// The same before they are shared.
    pub(super) buffer: Buffer,
    /// The values that are not packed, in their order.
    pub(super) apart: Vec<HeaderValue>,
}

impl Beside {
    /// The packed bytes of a head with values apart.
    pub(super) fn packed(&self) -> &[u8] {
        match &self.packed {
            Some(packed) => packed,
            None => self.buffer.as_ref(),
        }
    }

    /// The same, in memory that restored requests share from now on.
    pub(super) fn share(&mut self) -> Bytes {
        let buffer = &mut self.buffer;
        let packed = self
            .packed
            .get_or_insert_with(|| Bytes::from_owner(mem::take(buffer)));
        packed.clone()
    }

    /// The spare of a head with values apart, which has at least these headers.
    pub(super) fn take_spare(&mut self) -> Option<(Uri, HeaderMap)> {
        if self.headers.is_empty() {
            return None;
        }
        Some((mem::take(&mut self.uri), mem::take(&mut self.headers)))
    }
}

/// A box that goes to the next request when it is dropped.
pub(super) struct Recycled(Option<Box<Beside>>);

impl Recycled {
    pub(super) fn new() -> Self {
        // Access fails only while the thread ends.
        let kept = POOL.try_with(|pool| pool.try_borrow_mut().ok()?.pop());
        Self(Some(kept.ok().flatten().unwrap_or_default()))
    }
}

impl Deref for Recycled {
    type Target = Beside;

    fn deref(&self) -> &Beside {
        self.0.as_deref().expect("taken only when it is dropped")
    }
}

impl DerefMut for Recycled {
    fn deref_mut(&mut self) -> &mut Beside {
        self.0
            .as_deref_mut()
            .expect("taken only when it is dropped")
    }
}

impl Drop for Recycled {
    fn drop(&mut self) {
        let Some(mut boxed) = self.0.take() else {
            return;
        };
        // Before the pool is borrowed: what is dropped here is someone else's.
        boxed.packed = None;
        boxed.buffer = Buffer::default();
        if !boxed.headers.is_empty() || boxed.apart.is_empty() {
            boxed.uri = Uri::default();
            boxed.headers = HeaderMap::default();
        }
        boxed.apart.clear();
        if boxed.apart.capacity() > MOST_VALUES {
            return;
        }
        let _ = POOL.try_with(|pool| {
            if let Ok(mut pool) = pool.try_borrow_mut() {
                if pool.len() < MOST {
                    pool.push(boxed);
                }
            }
        });
    }
}
