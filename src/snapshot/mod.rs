//! What a second attempt needs of a request's head, kept compactly.
//!
//! Cloning a `HeaderMap` is most of what a retry layer costs a request that succeeds at once: two
//! allocations for the map and one for each value that was never cloned before. A [`Snapshot`]
//! packs the URI and all headers into one buffer instead, which the next request uses again, and
//! builds them anew only when a retry happens.

mod beside;
mod pool;
#[cfg(test)]
mod tests;

use std::{fmt, mem, ops::Range};

use bytes::Bytes;
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    request::Parts,
    uri::{self, Authority, PathAndQuery, Scheme},
};

use self::{beside::Recycled, pool::Buffer};
use crate::header_names as names;

/// A value of so many bytes is not packed if the head is too large for a buffer that is kept:
/// sharing the value is cheaper than new memory and two copies.
const LONG_VALUE: usize = 2 * 1024;
/// As is one with more headers: an `http` map refuses more at some number of thousands, which
/// depends on the order they came in, so a large map might not be built a second time.
const MAX_HEADERS: usize = 512;

/// The head of a request, from which equal requests can be made.
///
/// Taking and dropping one allocates nothing once the thread has recycled buffers, unless there
/// are extensions, which are cloned.
pub(crate) struct Snapshot {
    method: Method,
    extensions: Extensions,
    layout: Layout,
    rest: Rest,
}

/// What is where in the packed bytes: the authority, the path and query, the headers. With what
/// fits beside it, since every request moves it.
#[derive(Clone, Copy, Default)]
struct Layout {
    version: Version,
    scheme: PackedScheme,
    authority: u16,
    path: u16,
    headers: u16,
}

/// A scheme that needs no memory. A request with another one is cloned.
#[derive(Clone, Copy, Default)]
enum PackedScheme {
    #[default]
    Absent,
    Http,
    Https,
}

/// All that has no fixed size.
///
/// Two enums of two variants are a word smaller than one of three, and every request moves them.
enum Rest {
    /// Packed, in memory that restored requests share.
    Shared(Bytes),
    Own(Own),
}

enum Own {
    /// Packed, in memory of one's own.
    Packed(Buffer),
    /// Not packed, not wholly, or no longer.
    Cloned(Recycled),
}

/// Whether a head is restored once more after this time.
#[derive(Clone, Copy)]
pub(crate) enum Next {
    /// Certainly not.
    Never,
    /// If so, then after a wait, where time does not matter but memory does.
    Later,
    /// If so, then perhaps at once: a spare is kept, since making one is cheaper than to restore
    /// the head again.
    Soon,
}

/// Where a request goes.
#[derive(PartialEq)]
pub(crate) struct Target<'a> {
    pub(crate) scheme: Option<&'a str>,
    pub(crate) authority: &'a str,
    pub(crate) path_and_query: &'a str,
}

impl Snapshot {
    /// Keeps all that another attempt needs of `request`, except for the body.
    #[inline(always)]
    pub(crate) fn take<B>(request: &Request<B>) -> Self {
        // Filled in where it stands: moving it costs more.
        let mut snapshot = Self {
            method: request.method().clone(),
            extensions: request.extensions().clone(),
            layout: Layout::default(),
            rest: Rest::Own(Own::Packed(Buffer::recycled())),
        };
        let never = |_: &HeaderValue| false;
        let filled = snapshot.fill(request.uri(), request.headers(), never);
        if filled.is_none() {
            snapshot.pack_anew(request.uri(), request.headers());
        }
        snapshot.layout.version = request.version();
        snapshot
    }

    /// Packs a request, but for the values that are `apart`; `None` if the buffer is too small, or
    /// packing is not for this request.
    #[inline(always)]
    fn fill(
        &mut self,
        uri: &Uri,
        headers: &HeaderMap,
        mut apart: impl FnMut(&HeaderValue) -> bool,
    ) -> Option<()> {
        let Rest::Own(Own::Packed(buffer)) = &mut self.rest else {
            return None;
        };
        let scheme = match uri.scheme_str() {
            None => PackedScheme::Absent,
            Some("http") => PackedScheme::Http,
            Some("https") => PackedScheme::Https,
            Some(_) => return None,
        };
        if headers.len() > MAX_HEADERS {
            return None;
        }
        let authority = uri.authority().map_or("", Authority::as_str);
        let path = uri.path_and_query().map_or("", PathAndQuery::as_str);
        let size = buffer.bytes.len();
        let mut room = &mut *buffer.bytes;
        room = put(room, authority.as_bytes())?;
        room = put(room, path.as_bytes())?;
        for (name, value) in headers {
            let apart = apart(value);
            let text = if apart { &[] } else { value.as_bytes() } as &[u8];
            let mut head = Head {
                number: CUSTOM,
                sensitive: value.is_sensitive(),
                apart,
                // A longer one fits into no buffer.
                value: text.len() as u16,
            };
            room = match names::number(name) {
                Some(number) => {
                    head.number = number;
                    put_chunk(room, head.to_bytes())?
                }
                None => put_name(room, name, head.to_bytes())?,
            };
            room = put(room, text)?;
        }
        buffer.used = size - room.len();
        self.layout.scheme = scheme;
        // `http` allows no longer ones.
        self.layout.authority = u16::try_from(authority.len()).ok()?;
        self.layout.path = u16::try_from(path.len()).ok()?;
        self.layout.headers = headers.len() as u16;
        Some(())
    }

    /// Does not fit into the buffer: leaves out what is too long, or packs into a new one of exactly
    /// the size that the request needs, or clones it.
    #[cold]
    #[inline(never)]
    fn pack_anew(&mut self, uri: &Uri, headers: &HeaderMap) {
        let longest = match leaves_out(uri, headers) {
            true => LONG_VALUE,
            false => usize::MAX,
        };
        if longest < usize::MAX && self.fill_apart(uri, headers).is_some() {
            return;
        }
        if let (Some(size), Rest::Own(Own::Packed(small))) =
            (packed_size(uri, headers, longest), &mut self.rest)
        {
            // Takes its place among those that are kept, or the thread would keep small ones for
            // ever.
            small.grow(size);
            let filled = match longest {
                LONG_VALUE => self.fill_apart(uri, headers),
                _ => self.fill(uri, headers, |_| false),
            };
            if filled.is_some() {
                return;
            }
        }
        self.layout = Layout {
            headers: u16::try_from(headers.len()).unwrap_or(u16::MAX),
            ..Layout::default()
        };
        let mut cloned = Recycled::new();
        cloned.uri = uri.clone();
        cloned.headers = headers.clone();
        self.rest = Rest::Own(Own::Cloned(cloned));
    }

    /// Packs all but the long values, if the buffer is large enough for the others.
    fn fill_apart(&mut self, uri: &Uri, headers: &HeaderMap) -> Option<()> {
        let mut beside = Recycled::new();
        let values = &mut beside.apart;
        let filled = self.fill(uri, headers, |value| {
            let long = value.len() >= LONG_VALUE;
            if long {
                values.push(value.clone());
            }
            long
        });
        filled?;
        if let Rest::Own(Own::Packed(buffer)) = &mut self.rest {
            beside.buffer = mem::take(buffer);
            self.rest = Rest::Own(Own::Cloned(beside));
        }
        Some(())
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    pub(crate) fn target(&self) -> Target<'_> {
        let (authority, path_and_query) = match &self.rest {
            Rest::Own(Own::Packed(buffer)) => self.layout.texts(buffer.as_ref()),
            Rest::Shared(packed) => self.layout.texts(packed),
            Rest::Own(Own::Cloned(cloned)) if cloned.apart.is_empty() => {
                return Target::of(&cloned.uri);
            }
            Rest::Own(Own::Cloned(cloned)) => self.layout.texts(cloned.packed()),
        };
        Target {
            scheme: match self.layout.scheme {
                PackedScheme::Absent => None,
                PackedScheme::Http => Some("http"),
                PackedScheme::Https => Some("https"),
            },
            authority,
            path_and_query,
        }
    }

    /// Gives memory back that is not needed for what is kept; for a request that has to wait.
    pub(crate) fn settle(&mut self) {
        match &mut self.rest {
            Rest::Own(Own::Packed(buffer)) => buffer.settle(),
            Rest::Own(Own::Cloned(cloned)) if !cloned.apart.is_empty() => {
                cloned.buffer.settle();
                drop(cloned.take_spare());
            }
            Rest::Own(Own::Cloned(cloned)) => {
                if let Some(packed) = cloned.packed.take() {
                    self.rest = Rest::Shared(packed);
                }
            }
            Rest::Shared(_) => {}
        }
    }

    /// A copy of the head, to be looked at; see [`restore`](Self::restore).
    #[cold]
    pub(crate) fn copy(&self) -> Option<Parts> {
        let (uri, headers) = match &self.rest {
            Rest::Own(Own::Cloned(cloned)) if cloned.apart.is_empty() => {
                (cloned.uri.clone(), cloned.headers.clone())
            }
            Rest::Own(Own::Cloned(cloned)) => {
                self.unpack(&Bytes::copy_from_slice(cloned.packed()), &cloned.apart)?
            }
            Rest::Own(Own::Packed(buffer)) => {
                self.unpack(&Bytes::copy_from_slice(buffer.as_ref()), &[])?
            }
            Rest::Shared(packed) => self.unpack(packed, &[])?,
        };
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.uri = uri;
        parts.headers = headers;
        parts.version = self.layout.version;
        parts.method = self.method.clone();
        parts.extensions = self.extensions.clone();
        Some(parts)
    }

    fn unpack(&self, packed: &Bytes, apart: &[HeaderValue]) -> Option<(Uri, HeaderMap)> {
        Some((
            unpack_uri(packed, self.layout)?,
            unpack_headers(packed, self.layout, HeaderMap::new(), apart)?,
        ))
    }

    /// A head equal to the one that was taken.
    ///
    /// `None` if `http` refuses what it once accepted. That takes a header value which was made
    /// by `HeaderValue::from_maybe_shared_unchecked` from bytes that no value may hold.
    pub(crate) fn restore(&mut self, next: Next) -> Option<Parts> {
        self.restore_into(next, HeaderMap::new())
    }

    /// The same, with the headers in the memory of `empty` if there is room enough.
    pub(crate) fn restore_into(&mut self, next: Next, empty: HeaderMap) -> Option<Parts> {
        let (uri, headers) = self.restore_rest(next, empty)?;
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.uri = uri;
        parts.headers = headers;
        parts.version = self.layout.version;
        // The report still asks for the method after the last one.
        parts.method = self.method.clone();
        parts.extensions = match next {
            Next::Never => mem::take(&mut self.extensions),
            Next::Later | Next::Soon => self.extensions.clone(),
        };
        Some(parts)
    }

    fn restore_rest(&mut self, next: Next, empty: HeaderMap) -> Option<(Uri, HeaderMap)> {
        if let Rest::Own(Own::Packed(buffer)) = &mut self.rest {
            self.rest = Rest::Shared(Bytes::from_owner(mem::take(buffer)));
        }
        match &mut self.rest {
            Rest::Shared(packed) => {
                let uri = unpack_uri(packed, self.layout)?;
                let headers = unpack_headers(packed, self.layout, empty, &[])?;
                if let Next::Soon = next {
                    let mut spare = Recycled::new();
                    spare.uri = uri.clone();
                    spare.headers = headers.clone();
                    spare.packed = Some(mem::take(packed));
                    self.rest = Rest::Own(Own::Cloned(spare));
                }
                Some((uri, headers))
            }
            Rest::Own(Own::Cloned(cloned)) if !cloned.apart.is_empty() => {
                if let Some(spare) = cloned.take_spare() {
                    return Some(spare);
                }
                let packed = cloned.share();
                let uri = unpack_uri(&packed, self.layout)?;
                let headers = unpack_headers(&packed, self.layout, empty, &cloned.apart)?;
                if let Next::Soon = next {
                    cloned.uri = uri.clone();
                    cloned.headers = headers.clone();
                }
                Some((uri, headers))
            }
            Rest::Own(Own::Cloned(cloned)) => match cloned.packed.take() {
                Some(packed) => {
                    let uri = mem::take(&mut cloned.uri);
                    let headers = mem::take(&mut cloned.headers);
                    self.rest = Rest::Shared(packed);
                    Some((uri, headers))
                }
                None => Some((cloned.uri.clone(), cloned.headers.clone())),
            },
            Rest::Own(Own::Packed(_)) => None,
        }
    }
}

impl<'a> Target<'a> {
    /// The path, without the query.
    pub(crate) fn path(&self) -> &'a str {
        let query = self.path_and_query.find(['?', '#']);
        &self.path_and_query[..query.unwrap_or(self.path_and_query.len())]
    }

    pub(crate) fn of(uri: &'a Uri) -> Self {
        Self {
            scheme: uri.scheme_str(),
            authority: uri.authority().map_or("", Authority::as_str),
            path_and_query: uri.path_and_query().map_or("", PathAndQuery::as_str),
        }
    }
}

/// What is packed may be secret, so only its size is shown.
impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("method", &self.method)
            .field("version", &self.layout.version)
            .field("headers", &self.layout.headers)
            .finish_non_exhaustive()
    }
}

impl Layout {
    fn authority(self) -> Range<usize> {
        0..usize::from(self.authority)
    }

    fn path_and_query(self) -> Range<usize> {
        let start = usize::from(self.authority);
        start..start + usize::from(self.path)
    }

    fn texts(self, packed: &[u8]) -> (&str, &str) {
        // Both at once, since it is checked what they are.
        let both = packed.get(..self.path_and_query().end).unwrap_or_default();
        let both = std::str::from_utf8(both).unwrap_or_default();
        both.split_at_checked(self.authority().end)
            .unwrap_or_default()
    }
}

/// What stands in front of each header's text. Behind it come the length of a custom name in two
/// bytes and that name, if it is none of the standard ones, and the value.
#[derive(Clone, Copy)]
struct Head {
    /// The number of a standard name, or [`CUSTOM`].
    number: u8,
    sensitive: bool,
    /// Whether the value is not packed.
    apart: bool,
    /// Bytes of the value.
    value: u16,
}

/// In place of a number: the name is kept as text.
const CUSTOM: u8 = u8::MAX;

/// Bytes of a custom name's length.
const NAME_LENGTH: usize = size_of::<u16>();

impl Head {
    const BYTES: usize = size_of::<u32>();

    #[inline]
    fn to_bytes(self) -> [u8; Self::BYTES] {
        let flags = u32::from(self.sensitive) | u32::from(self.apart) << 1;
        let word = u32::from(self.number) | flags << 8 | u32::from(self.value) << 16;
        word.to_ne_bytes()
    }

    #[inline]
    fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let word = u32::from_ne_bytes(bytes);
        Self {
            number: word as u8,
            sensitive: word >> 8 & 1 == 1,
            apart: word >> 9 & 1 == 1,
            value: (word >> 16) as u16,
        }
    }
}

/// Writes `bytes` to the front of `room`, and answers with the rest of it.
#[inline(always)]
fn put<'a>(room: &'a mut [u8], bytes: &[u8]) -> Option<&'a mut [u8]> {
    let (to, rest) = room.split_at_mut_checked(bytes.len())?;
    to.copy_from_slice(bytes);
    Some(rest)
}

#[inline(always)]
fn put_chunk<const N: usize>(room: &mut [u8], bytes: [u8; N]) -> Option<&mut [u8]> {
    let (to, rest) = room.split_first_chunk_mut()?;
    *to = bytes;
    Some(rest)
}

/// Whether some of the values are long, and the head is too large for a buffer that is kept.
fn leaves_out(uri: &Uri, headers: &HeaderMap) -> bool {
    let (mut long, mut size) = (false, 0);
    for value in headers.values() {
        long |= value.len() >= LONG_VALUE;
        size += value.len();
    }
    let whole = || packed_size(uri, headers, usize::MAX);
    long && (size > pool::MAX_BYTES || whole().is_none_or(|size| size > pool::MAX_BYTES))
}

/// The bytes that a request takes without the values of that length or more; `None` if it is one to
/// be cloned.
fn packed_size(uri: &Uri, headers: &HeaderMap, longest: usize) -> Option<usize> {
    if headers.len() > MAX_HEADERS {
        return None;
    }
    let target = Target::of(uri);
    let mut size = target.authority.len() + target.path_and_query.len();
    for (name, value) in headers {
        let name = match names::number(name) {
            Some(_) => 0,
            None => NAME_LENGTH + u16::try_from(name.as_str().len()).ok()? as usize,
        };
        size += Head::BYTES + name;
        if value.len() < longest {
            size += value.len();
        }
    }
    Some(size)
}

/// Out of the loop, because its registers are worth more than the call.
#[inline(never)]
fn put_name<'a>(
    room: &'a mut [u8],
    name: &HeaderName,
    head: [u8; Head::BYTES],
) -> Option<&'a mut [u8]> {
    let text = name.as_str().as_bytes();
    let room = put_chunk(room, head)?;
    let room = put_chunk(room, u16::try_from(text.len()).ok()?.to_ne_bytes())?;
    put(room, text)
}

#[inline]
fn unpack_uri(packed: &Bytes, layout: Layout) -> Option<Uri> {
    let mut parts = uri::Parts::default();
    parts.scheme = match layout.scheme {
        PackedScheme::Absent => None,
        PackedScheme::Http => Some(Scheme::HTTP),
        PackedScheme::Https => Some(Scheme::HTTPS),
    };
    if layout.authority > 0 {
        let text = packed.slice(layout.authority());
        parts.authority = Some(Authority::from_maybe_shared(text).ok()?);
    }
    if layout.path > 0 {
        let text = packed.slice(layout.path_and_query());
        parts.path_and_query = Some(PathAndQuery::from_maybe_shared(text).ok()?);
    }
    Uri::from_parts(parts).ok()
}

#[inline]
fn unpack_headers(
    packed: &Bytes,
    layout: Layout,
    empty: HeaderMap,
    apart: &[HeaderValue],
) -> Option<HeaderMap> {
    let mut apart = apart.iter();
    let mut headers = match empty.capacity() < layout.headers.into() {
        true => HeaderMap::try_with_capacity(layout.headers.into()).ok()?,
        false => empty,
    };
    let mut at = layout.path_and_query().end;
    for _ in 0..layout.headers {
        let head = Head::from_bytes(*packed.get(at..)?.first_chunk()?);
        at += Head::BYTES;
        let custom = if head.number == CUSTOM {
            let length = u16::from_ne_bytes(*packed.get(at..)?.first_chunk()?);
            let start = at + NAME_LENGTH;
            at = start + usize::from(length);
            Some(names::custom(packed.get(start..at)?)?)
        } else {
            None
        };
        let text = at..at + usize::from(head.value);
        at = text.end;
        let mut value = match head.apart {
            true => apart.next()?.clone(),
            false => HeaderValue::from_maybe_shared(packed.slice(text)).ok()?,
        };
        if head.sensitive {
            value.set_sensitive(true);
        }
        let added = match custom {
            Some(name) => headers.try_append(name, value),
            None => headers.try_append(names::name(head.number)?, value),
        };
        added.ok()?;
    }
    Some(headers)
}
