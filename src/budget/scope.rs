//! Which requests share a budget.

use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    num::NonZeroU64,
    sync::{Arc, OnceLock},
};

use http::Uri;

/// Which requests share one bucket of a [`RetryBudget`](super::RetryBudget).
///
/// ```
/// use std::hash::Hash;
/// use tower_http_retry::budget::{RetryBudget, Scope};
///
/// // An object store: one budget for each bucket, which is the first segment of the path.
/// let budget = RetryBudget::builder()
///     .scope(Scope::key(|uri, key| {
///         key.write_authority(uri);
///         uri.path().split('/').nth(1).hash(key);
///     }))
///     .build()?;
/// let slot = |uri: &'static str| budget.slot(&http::Uri::from_static(uri));
/// assert_eq!(slot("http://store/cats/1"), slot("http://store/cats/2"));
/// assert_ne!(slot("http://store/cats/1"), slot("http://store/dogs/1"));
/// # Ok::<_, tower_http_retry::policy::InvalidPolicy>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Scope {
    /// All requests share one.
    Shared,
    /// One for each authority: host and port, without regard to case and user information. A
    /// port that is absent is the scheme's: 80 for `http`, 443 for `https`. Requests without an
    /// authority share one.
    #[default]
    PerAuthority,
    /// One for each key; see [`Scope::key`].
    Key(KeyFn),
}

impl Scope {
    /// One bucket for each key, where the key is all that `write` writes.
    pub fn key<F>(write: F) -> Self
    where
        F: Fn(&Uri, &mut KeyHasher) + Send + Sync + 'static,
    {
        Self::Key(KeyFn(Arc::new(write)))
    }

    /// The slot of a request to `uri`: pure arithmetic, nothing is allocated or locked.
    ///
    /// Equal scopes give equal slots, so one slot serves a budget and an
    /// [`AdaptiveThrottle`](crate::throttle::AdaptiveThrottle) of the same scope.
    #[inline(always)]
    #[doc(hidden)]
    pub fn slot(&self, uri: &Uri) -> Slot {
        match self {
            Self::Shared => Slot::default(),
            Self::PerAuthority => {
                let mut key = KeyHasher::new();
                key.write_authority(uri);
                key.slot()
            }
            Self::Key(KeyFn(write)) => {
                let mut key = KeyHasher::new();
                write(uri, &mut key);
                key.slot()
            }
        }
    }
}

/// The function of a [`Scope::Key`]; made by [`Scope::key`].
#[derive(Clone)]
pub struct KeyFn(Arc<WriteKey>);

type WriteKey = dyn Fn(&Uri, &mut KeyHasher) + Send + Sync;

/// Functions cannot be compared: two keys are equal if they are clones of one.
impl PartialEq for KeyFn {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for KeyFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyFn")
    }
}

/// A request's place in a budget: a small number that is copied into the request's session.
///
/// It is the hash of the request's key under a seed of this process, and means nothing outside
/// of it. Two keys have the same slot with a chance of 2⁻⁶⁴; they would share a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(pub(crate) NonZeroU64);

impl Slot {
    /// The slot of the key that another slot's number is.
    #[cfg(any(feature = "shared-hints", feature = "throttle"))]
    pub(crate) fn from_key(key: u64) -> Self {
        Self(NonZeroU64::new(key).unwrap_or(NonZeroU64::MIN))
    }
}

impl Default for Slot {
    /// The slot of everything that has no key.
    fn default() -> Self {
        Self(NonZeroU64::MIN)
    }
}

/// Takes in the parts of a key; see [`Scope::key`].
///
/// A folded multiplication for each 8 bytes, under a random seed of this process. Keys chosen to
/// collide would gain nothing: a table's sets have a fixed size, so that colliding keys share
/// buckets and cost no more time.
#[derive(Clone, Debug)]
pub struct KeyHasher {
    state: u64,
    factor: u64,
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// One byte in each of a word's eight.
const fn in_each_byte(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Maps capital letters of a URI to small ones. Also changes some other characters, but none that
/// may stand in a host into another one that may (RFC 3986, section 3.2.2).
const LOWER_CASE: u64 = in_each_byte(b' ');

impl KeyHasher {
    #[inline]
    pub(crate) fn new() -> Self {
        static SEED: OnceLock<(u64, u64)> = OnceLock::new();
        let (state, factor) = *SEED.get_or_init(|| {
            let random = RandomState::new();
            // Odd, so that the multiplication loses nothing of its low half.
            (random.hash_one(0u8), random.hash_one(1u8) | 1)
        });
        Self { state, factor }
    }

    fn slot(&self) -> Slot {
        let mixed = fold(self.state, self.factor ^ LOWER_CASE);
        Slot(NonZeroU64::new(mixed).unwrap_or(NonZeroU64::MIN))
    }

    /// Takes in a number.
    pub(crate) fn mix(&mut self, word: u64) {
        self.state = fold(self.state ^ word, self.factor);
    }

    /// Mixes in `bytes | mask`, but not their number; answers whether `@` was among them.
    #[inline]
    fn mix_bytes(&mut self, bytes: &[u8], mask: u64) -> bool {
        let mut at = 0;
        let mut take = |word: u64| {
            let x = word ^ in_each_byte(b'@');
            at |= x.wrapping_sub(in_each_byte(1)) & !x & in_each_byte(0x80);
            self.state = fold(self.state ^ (word | mask), self.factor);
        };
        let mut rest = bytes;
        while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
            take(u64::from_le_bytes(*chunk));
            rest = tail;
        }
        if !rest.is_empty() {
            take(match bytes.last_chunk::<8>() {
                // Some bytes twice: cheaper than to collect the last few.
                Some(chunk) => u64::from_le_bytes(*chunk),
                None => rest
                    .iter()
                    .fold(0, |word, byte| word << 8 | u64::from(*byte)),
            });
        }
        at != 0
    }

    /// Takes in a host without regard to case.
    #[cfg(feature = "mounts")]
    pub(crate) fn write_host(&mut self, host: &[u8]) {
        self.mix_bytes(host, LOWER_CASE);
        self.mix(host.len() as u64);
    }

    /// Takes in the authority as [`Scope::PerAuthority`] does: host and port, normalized.
    // Every request asks, and its caller can keep the state in registers.
    #[inline(always)]
    pub fn write_authority(&mut self, uri: &Uri) {
        let Some(authority) = uri.authority() else {
            return self.mix(0);
        };
        let bytes = authority.as_str().as_bytes();
        let (mut host, port) = split_port(bytes);
        let before = self.state;
        while self.mix_bytes(host, LOWER_CASE) {
            // Rare, so it is looked for only while the bytes go by.
            self.state = before;
            host = after_user_info(host);
        }
        let default = || match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => 0,
        };
        let port = u64::from(port.unwrap_or_else(default));
        self.mix((host.len() as u64) << 16 | port);
    }
}

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.mix_bytes(bytes, 0);
        self.mix(bytes.len() as u64);
    }

    fn finish(&self) -> u64 {
        self.slot().0.get()
    }
}

/// The host and the port of an authority, without user information.
#[cfg(feature = "mounts")]
pub(crate) fn host_and_port(authority: &[u8]) -> (&[u8], Option<u16>) {
    let (host, port) = split_port(authority);
    (after_user_info(host), port)
}

/// What follows the last `@`.
fn after_user_info(host: &[u8]) -> &[u8] {
    let at = host.iter().rposition(|byte| *byte == b'@');
    &host[at.map_or(0, |at| at + 1)..]
}

/// The port behind the last `:`, if there is one, and what stands before it. An empty port is as
/// good as none (RFC 3986, section 3.2.3); what is no port number stays with the host.
#[inline]
fn split_port(authority: &[u8]) -> (&[u8], Option<u16>) {
    // Most have none, and every request asks.
    match authority.last() {
        Some(b'0'..=b':') => split_digits(authority),
        _ => (authority, None),
    }
}

fn split_digits(authority: &[u8]) -> (&[u8], Option<u16>) {
    let digits = authority
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (before, digits) = authority.split_at(authority.len() - digits);
    let Some((b':', host)) = before.split_last() else {
        return (authority, None);
    };
    if digits.is_empty() {
        return (host, None);
    }
    let port = digits.iter().try_fold(0u16, |port, digit| {
        port.checked_mul(10)?
            .checked_add(u16::from(digit.wrapping_sub(b'0')))
    });
    match port {
        Some(port) => (host, Some(port)),
        None => (authority, None),
    }
}

#[cfg(all(test, not(retry_loom)))]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn slot(uri: &str) -> Slot {
        Scope::PerAuthority.slot(&uri.parse().unwrap())
    }

    #[test]
    fn equal_authorities_have_equal_slots() {
        let slots = [
            slot("http://example.com/"),
            slot("http://EXAMPLE.com:80/path?query"),
            slot("HTTP://example.COM:/"),
            slot("http://example.com:0080/"),
            slot("http://user:pass@Example.com/"),
            slot("http://user:80@example.com:80/"),
            slot("https://example.com:80/"),
        ];
        assert!(slots.iter().all(|other| *other == slots[0]), "{slots:?}");
    }

    #[test]
    fn different_authorities_have_different_slots() {
        let uris = [
            "http://example.com/",
            "https://example.com/",
            "http://example.com:8080/",
            "http://example.com:808/",
            "http://example.comm/",
            "http://example.co/",
            "http://xample.com/",
            "http://a/",
            "http://aa/",
            "http://aaaaaaaa/",
            "http://aaaaaaaaa/",
            "http://aaaaaaaab/",
            "http://10.0.0.1/",
            "http://10.0.0.10/",
            "http://10.0.0.1:10/",
            "http://[::1]/",
            "http://[::1]:81/",
            "http://[::2]/",
            "/relative",
            "example.com:443",
        ];
        let slots: HashSet<Slot> = uris.iter().map(|uri| slot(uri)).collect();
        assert!(!slots.contains(&Slot::default()));
        // The last one is what a CONNECT request names: the same as with https.
        assert_eq!(slot("example.com:443"), slot("https://example.com/"));
        assert_eq!(slots.len(), uris.len() - 1);
    }

    #[test]
    fn ports_are_split_off() {
        let cases: [(&str, &str, Option<u16>); 8] = [
            ("a", "a", None),
            ("a:", "a", None),
            ("a:1", "a", Some(1)),
            ("a:65535", "a", Some(65535)),
            ("a:65536", "a:65536", None),
            ("10.0.0.1", "10.0.0.1", None),
            ("[::1]:2", "[::1]", Some(2)),
            ("", "", None),
        ];
        for (authority, host, port) in cases {
            assert_eq!(split_port(authority.as_bytes()), (host.as_bytes(), port));
        }
    }

    #[test]
    fn shared_scope_has_one_slot() {
        let slot = |uri: &'static str| Scope::Shared.slot(&Uri::from_static(uri));
        assert_eq!(slot("http://a/"), slot("http://b/"));
    }

    #[test]
    fn slots_spread_evenly() {
        let mut counts = [0u32; 256];
        for i in 0..25_600 {
            let slot = slot(&format!("http://host-{i}.example.com/"));
            counts[slot.0.get() as usize % 256] += 1;
        }
        // 100 expected, standard deviation 10.
        assert!(counts.iter().all(|n| (30..200).contains(n)), "{counts:?}");
    }

    proptest! {
        #[test]
        fn case_and_user_never_matter(
            host in "[a-z0-9][a-z0-9.-]{0,40}",
            user in "([a-zA-Z0-9:]{0,9}@)?",
            port in proptest::option::of(0u16..),
            upper in any::<u64>(),
        ) {
            let cased: String = host
                .chars()
                .enumerate()
                .map(|(i, c)| if upper >> (i % 64) & 1 == 1 { c.to_ascii_uppercase() } else { c })
                .collect();
            let tail = port.map_or(String::new(), |port| format!(":{port}"));
            prop_assert_eq!(
                slot(&format!("http://{user}{cased}{tail}/x")),
                slot(&format!("http://{host}{tail}/")),
            );
        }
    }
}
