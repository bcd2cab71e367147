//! What a second attempt needs of a request's head, kept compactly.
//!
//! Cloning a `HeaderMap` is most of what a retry layer costs a request that succeeds at once: two
//! allocations for the map and one for each value that was never cloned before. A [`Snapshot`]
//! packs all headers into one buffer instead, which the next request uses again, and builds a map
//! only when a retry happens.

mod names;
mod pool;
#[cfg(test)]
mod tests;

use std::fmt;
use std::mem;
use std::ops::Range;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Extensions, Method, Request, Uri, Version};

use self::pool::Buffer;

/// A request with a longer value has its map cloned: sharing is cheaper than copying then.
const MAX_VALUE: usize = 16 * 1024;
/// As has one with more headers: an `http` map refuses more at some number of thousands, which
/// depends on the order they came in, so a large map might not be built a second time.
const MAX_HEADERS: usize = 512;

/// The head of a request, from which equal requests can be made.
///
/// Taking and dropping one allocates nothing once the thread has recycled buffers, with two
/// exceptions: extensions are cloned, and a URI that is a path only and was never cloned before
/// makes its text shared.
pub(crate) struct Snapshot {
    method: Method,
    uri: Uri,
    version: Version,
    extensions: Extensions,
    headers: Headers,
}

impl Snapshot {
    /// Copies what is needed of `parts`.
    pub(crate) fn take(parts: &Parts) -> Self {
        Self {
            headers: Headers::take(&parts.headers),
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            version: parts.version,
            extensions: parts.extensions.clone(),
        }
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Gives memory back that is not needed for what is kept; for a request that has to wait.
    pub(crate) fn settle(&mut self) {
        if let Headers::Own { buffer, .. } = &mut self.headers {
            buffer.settle();
        }
    }

    /// A head equal to the one that was taken.
    ///
    /// The `last` one moves what is kept, and leaves a snapshot of a `GET /` without headers.
    pub(crate) fn restore(&mut self, last: bool) -> Parts {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.version = self.version;
        if last {
            parts.method = mem::take(&mut self.method);
            parts.uri = mem::take(&mut self.uri);
            parts.extensions = mem::take(&mut self.extensions);
            parts.headers = mem::take(&mut self.headers).map();
        } else {
            parts.method = self.method.clone();
            parts.uri = self.uri.clone();
            parts.extensions = self.extensions.clone();
            parts.headers = self.headers.map();
        }
        parts
    }
}

/// Header values may be secrets, so only their number is shown.
impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("method", &self.method)
            .field("version", &self.version)
            .field("headers", &self.headers.len())
            .finish_non_exhaustive()
    }
}

enum Headers {
    /// Packed, in memory of one's own.
    Own { buffer: Buffer, count: u16 },
    /// Packed, in memory that the values of a restored map share.
    Shared { packed: Bytes, count: u16 },
    /// Not packed. Boxed, because it is rare.
    Map(Box<HeaderMap>),
}

impl Default for Headers {
    fn default() -> Self {
        Self::Own {
            buffer: Buffer::default(),
            count: 0,
        }
    }
}

impl Headers {
    #[inline]
    fn take(map: &HeaderMap) -> Self {
        if map.is_empty() {
            return Self::default();
        }
        if map.len() > MAX_HEADERS {
            return Self::clone_of(map);
        }
        let mut buffer = Buffer::recycled().unwrap_or_else(|| buffer_for(map));
        match pack(map, &mut buffer.bytes) {
            Some(()) => Self::Own {
                buffer,
                count: map.len() as u16,
            },
            None => Self::clone_of(map),
        }
    }

    #[cold]
    fn clone_of(map: &HeaderMap) -> Self {
        Self::Map(Box::new(map.clone()))
    }

    fn map(&mut self) -> HeaderMap {
        if let Self::Own { buffer, count } = self {
            if *count == 0 {
                return HeaderMap::new();
            }
            *self = Self::Shared {
                packed: Bytes::from_owner(mem::take(buffer)),
                count: *count,
            };
        }
        match self {
            Self::Shared { packed, count } => unpack(packed, *count),
            Self::Map(map) => HeaderMap::clone(map),
            Self::Own { .. } => HeaderMap::new(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Own { count, .. } | Self::Shared { count, .. } => usize::from(*count),
            Self::Map(map) => map.len(),
        }
    }
}

/// What stands in front of each header's text: a custom name, if there is one, and the value.
#[derive(Clone, Copy)]
struct Head {
    /// The number of a standard name, or [`CUSTOM`].
    number: u8,
    sensitive: bool,
    /// Bytes of a custom name.
    name: u16,
    /// Bytes of the value.
    value: u32,
}

/// In place of a number: the name is kept as text.
const CUSTOM: u8 = u8::MAX;

impl Head {
    const BYTES: usize = 8;

    #[inline]
    fn to_bytes(self) -> [u8; Self::BYTES] {
        let word = u64::from(self.number)
            | u64::from(self.sensitive) << 8
            | u64::from(self.name) << 16
            | u64::from(self.value) << 32;
        word.to_ne_bytes()
    }

    #[inline]
    fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let word = u64::from_ne_bytes(bytes);
        Self {
            number: word as u8,
            sensitive: word >> 8 & 1 == 1,
            name: (word >> 16) as u16,
            value: (word >> 32) as u32,
        }
    }
}

/// A new buffer of exactly the size that `map` needs.
#[cold]
#[inline(never)]
fn buffer_for(map: &HeaderMap) -> Buffer {
    let sizes = map.iter().map(|(name, value)| match names::number(name) {
        Some(_) => Head::BYTES + value.len(),
        None => Head::BYTES + name.as_str().len() + value.len(),
    });
    Buffer {
        bytes: Vec::with_capacity(sizes.sum()),
    }
}

/// Adds all headers in the map's order, or gives up on one that is too long to be copied.
#[inline]
fn pack(map: &HeaderMap, packed: &mut Vec<u8>) -> Option<()> {
    for (name, value) in map {
        let text = value.as_bytes();
        if text.len() > MAX_VALUE {
            return None;
        }
        let mut head = Head {
            number: CUSTOM,
            sensitive: value.is_sensitive(),
            name: 0,
            value: text.len() as u32,
        };
        match names::number(name) {
            Some(number) => {
                head.number = number;
                packed.extend_from_slice(&head.to_bytes());
            }
            None => pack_name(name, head, packed)?,
        }
        packed.extend_from_slice(text);
    }
    Some(())
}

/// Out of the loop, because its registers are worth more than the call.
#[inline(never)]
fn pack_name(name: &HeaderName, mut head: Head, packed: &mut Vec<u8>) -> Option<()> {
    let text = name.as_str().as_bytes();
    head.name = u16::try_from(text.len()).ok()?;
    packed.extend_from_slice(&head.to_bytes());
    packed.extend_from_slice(text);
    Some(())
}

fn unpack(packed: &Bytes, count: u16) -> HeaderMap {
    let mut map = HeaderMap::try_with_capacity(count.into()).unwrap_or_default();
    let mut at = 0;
    while let Some(head) = packed[at..].first_chunk() {
        let head = Head::from_bytes(*head);
        let name = at + Head::BYTES..at + Head::BYTES + usize::from(head.name);
        at = name.end + head.value as usize;
        let mut value = unpack_value(packed, name.end..at);
        value.set_sensitive(head.sensitive);
        // Neither error can happen: the name was legal before, the map is far from its limit.
        let _ = match names::name(head.number) {
            Some(name) => map.try_append(name, value),
            None => match HeaderName::from_bytes(&packed[name]) {
                Ok(name) => map.try_append(name, value),
                Err(_) => Ok(false),
            },
        };
    }
    map
}

/// A value that shares the memory of `packed`.
///
/// Only one that was made by `HeaderValue::from_maybe_shared_unchecked` can hold bytes that
/// `http` refuses. They become spaces, as RFC 9110, section 5.5, asks of whoever forwards them.
#[inline]
fn unpack_value(packed: &Bytes, range: Range<usize>) -> HeaderValue {
    HeaderValue::from_maybe_shared(packed.slice(range.clone()))
        .unwrap_or_else(|_| without_illegal_bytes(&packed[range]))
}

#[cold]
fn without_illegal_bytes(text: &[u8]) -> HeaderValue {
    let legal = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    let clean: Vec<u8> = text
        .iter()
        .map(|&byte| if legal(byte) { byte } else { b' ' })
        .collect();
    HeaderValue::from_maybe_shared(Bytes::from(clean)).unwrap_or(HeaderValue::from_static(""))
}
