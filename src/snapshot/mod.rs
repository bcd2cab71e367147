//! What a second attempt needs of a request's head, kept compactly.
//!
//! Cloning a `HeaderMap` is most of what a retry layer costs a request that succeeds at once: two
//! allocations for the map and one for each value that was never cloned before. A [`Snapshot`]
//! copies the text of all headers into one buffer instead, which the next request uses again, and
//! builds a map only when a retry happens.

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

use self::pool::{Buffers, CUSTOM, Head};

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
        if let Headers::Packed(buffers) = &mut self.headers {
            buffers.settle();
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
            parts.headers = mem::take(&mut self.headers).into_map();
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
    /// As text, until the first retry.
    Packed(Buffers),
    /// As a map from then on, because cloning one costs a third of building one. Boxed, because
    /// most requests never get here.
    Map(Box<HeaderMap>),
}

impl Default for Headers {
    fn default() -> Self {
        Self::Packed(Buffers::default())
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
        let mut buffers = Buffers::recycled().unwrap_or_else(|| sized_for(map));
        if pack(map, &mut buffers).is_none() {
            return Self::clone_of(map);
        }
        Self::Packed(buffers)
    }

    #[cold]
    fn clone_of(map: &HeaderMap) -> Self {
        Self::Map(Box::new(map.clone()))
    }

    fn map(&mut self) -> HeaderMap {
        match self {
            Self::Packed(buffers) if buffers.heads.is_empty() => HeaderMap::new(),
            Self::Packed(buffers) => {
                let map = unpack(buffers);
                // The clone is kept, because it has no spare room.
                *self = Self::Map(Box::new(map.clone()));
                map
            }
            Self::Map(map) => HeaderMap::clone(map),
        }
    }

    fn into_map(self) -> HeaderMap {
        match self {
            Self::Packed(buffers) => unpack(&buffers),
            Self::Map(map) => *map,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Packed(buffers) => buffers.heads.len(),
            Self::Map(map) => map.len(),
        }
    }
}

/// New buffers of exactly the size that `map` needs.
#[cold]
#[inline(never)]
fn sized_for(map: &HeaderMap) -> Buffers {
    let text = map.iter().map(|(name, value)| match names::number(name) {
        Some(_) => value.len(),
        None => name.as_str().len() + value.len(),
    });
    Buffers {
        heads: Vec::with_capacity(map.len()),
        text: Vec::with_capacity(text.sum()),
    }
}

/// Adds all headers in the map's order, or gives up on one that is too long to be copied.
#[inline]
fn pack(map: &HeaderMap, buffers: &mut Buffers) -> Option<()> {
    for (name, value) in map {
        let (number, name) = match names::number(name) {
            Some(number) => (number, 0),
            None => (CUSTOM, pack_name(name, buffers)?),
        };
        let text = value.as_bytes();
        if text.len() > MAX_VALUE {
            return None;
        }
        buffers.text.extend_from_slice(text);
        buffers.heads.push(Head {
            number,
            sensitive: value.is_sensitive(),
            name,
            value: text.len() as u32,
        });
    }
    Some(())
}

/// Out of the loop, because its registers are worth more than the call.
#[inline(never)]
fn pack_name(name: &HeaderName, buffers: &mut Buffers) -> Option<u16> {
    let text = name.as_str().as_bytes();
    let len = u16::try_from(text.len()).ok()?;
    buffers.text.extend_from_slice(text);
    Some(len)
}

fn unpack(buffers: &Buffers) -> HeaderMap {
    if buffers.heads.is_empty() {
        return HeaderMap::new();
    }
    let mut map = HeaderMap::try_with_capacity(buffers.heads.len()).unwrap_or_default();
    // All values are slices of this one copy.
    let text = Bytes::copy_from_slice(&buffers.text);
    let mut end = 0;
    for head in &buffers.heads {
        let name = end..end + usize::from(head.name);
        end = name.end + head.value as usize;
        let mut value = unpack_value(&text, name.end..end);
        value.set_sensitive(head.sensitive);
        // Neither error can happen: the name was legal before, the map is far from its limit.
        let _ = match names::name(head.number) {
            Some(name) => map.try_append(name, value),
            None => match HeaderName::from_bytes(&text[name]) {
                Ok(name) => map.try_append(name, value),
                Err(_) => Ok(false),
            },
        };
    }
    map
}

/// A value that shares `text`.
///
/// Only one that was made by `HeaderValue::from_maybe_shared_unchecked` can hold bytes that
/// `http` refuses. They become spaces, as RFC 9110, section 5.5, asks of whoever forwards them.
#[inline]
fn unpack_value(text: &Bytes, range: Range<usize>) -> HeaderValue {
    HeaderValue::from_maybe_shared(text.slice(range.clone())).unwrap_or_else(|_| {
        let legal = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        let clean: Vec<u8> = text[range]
            .iter()
            .map(|&byte| if legal(byte) { byte } else { b' ' })
            .collect();
        HeaderValue::from_maybe_shared(Bytes::from(clean)).unwrap_or(HeaderValue::from_static(""))
    })
}
