//! One byte for a standard header name.
//!
//! `http` keeps its standard names as numbers but has no way to ask for them. It does hash such
//! a name by its number alone, so a hasher that only listens learns it. The first name seen with
//! a number is remembered, and a name is recognised only if it is equal to the remembered one:
//! if `http` ever hashes otherwise, names are kept as text, which costs time, and are still
//! never mistaken for each other.

use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

use http::HeaderName;

/// Room for all numbers; `http` 1.5 has 81.
const SLOTS: usize = 1 << u8::BITS;

static KNOWN: [OnceLock<HeaderName>; SLOTS] = [const { OnceLock::new() }; SLOTS];

/// The number of a standard name, or nothing for a custom one.
#[inline]
pub(super) fn number(name: &HeaderName) -> Option<u8> {
    let mut listener = Listener(NOTHING);
    name.hash(&mut listener);
    let number = u8::try_from(listener.0).ok()?;
    let known = KNOWN[usize::from(number)].get_or_init(|| name.clone());
    (known == name).then_some(number)
}

/// The name that [`number`] gave this number for.
#[inline]
pub(super) fn name(number: u8) -> Option<&'static HeaderName> {
    KNOWN.get(usize::from(number))?.get()
}

/// Remembers the number that is hashed, unless text is hashed.
struct Listener(usize);

/// No number was heard: beyond every slot.
const NOTHING: usize = usize::MAX;

impl Hasher for Listener {
    #[inline]
    fn write(&mut self, _text: &[u8]) {
        self.0 = NOTHING;
    }

    // Rust hashes an enum's variant by this method.
    #[inline]
    fn write_isize(&mut self, number: isize) {
        self.0 = usize::try_from(number).unwrap_or(NOTHING);
    }

    #[inline]
    fn finish(&self) -> u64 {
        0
    }
}
