//! One byte for a standard header name.
//!
//! `http` keeps its standard names as numbers but has no way to ask for them. It does hash such
//! a name by its number alone, so a hasher that only listens learns it. The first name seen with
//! a number is remembered, and a name is recognised only if it is equal to the remembered one:
//! if `http` ever hashes otherwise, names are kept as text, which costs time, and are still
//! never mistaken for each other.

use std::cell::RefCell;
use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

use http::HeaderName;

/// Room for all numbers, and some more; `http` 1.5 has 81. A name with a number beyond is kept as
/// text.
const SLOTS: usize = 96;

static KNOWN: [OnceLock<HeaderName>; SLOTS] = [const { OnceLock::new() }; SLOTS];

/// The number of a standard name, or nothing for a custom one.
#[inline]
pub(super) fn number(name: &HeaderName) -> Option<u8> {
    let mut listener = Listener(NOTHING);
    name.hash(&mut listener);
    let number = u8::try_from(listener.0).ok()?;
    let known = KNOWN.get(usize::from(number))?.get_or_init(|| name.clone());
    (known == name).then_some(number)
}

/// The name that [`number`] gave this number for.
#[inline]
pub(super) fn name(number: u8) -> Option<&'static HeaderName> {
    KNOWN.get(usize::from(number))?.get()
}

/// So many custom names are shared by the requests that a thread restores.
const SHARED: usize = 256;
/// None of them is longer: names come from callers, and a thread keeps at most 16 KiB of them.
const LONGEST: usize = 64;

thread_local! {
    static CUSTOM: RefCell<Vec<Option<HeaderName>>> = const { RefCell::new(Vec::new()) };
}

/// A custom name, which is not parsed and has no memory of its own if the thread has had it before.
pub(super) fn custom(text: &[u8]) -> Option<HeaderName> {
    let parse = || HeaderName::from_bytes(text).ok();
    if text.len() > LONGEST {
        return parse();
    }
    let shared = CUSTOM.try_with(|names| {
        let names = &mut *names.try_borrow_mut().ok()?;
        if names.is_empty() {
            names.resize(SHARED, None);
        }
        // FNV-1a. Names that get in each other's way are parsed each time, and no more than that.
        let hash = text.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let first = (hash ^ hash >> 32) as usize % SHARED;
        let is_it = |name: &Option<HeaderName>| {
            let name = name.as_ref();
            name.is_some_and(|name| name.as_str().as_bytes() == text)
        };
        let places = [first, first ^ 1];
        if let Some(place) = places.into_iter().find(|place| is_it(&names[*place])) {
            return names[place].clone();
        }
        let free = places.into_iter().find(|place| names[*place].is_none());
        let name = parse()?;
        names[free.unwrap_or(first)] = Some(name.clone());
        Some(name)
    });
    // Access fails only while the thread ends.
    shared.ok().flatten().or_else(parse)
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
