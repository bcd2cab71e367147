//! What a second attempt needs of a request's head, kept compactly.
//!
//! Cloning a `HeaderMap` is most of what a retry layer costs a request that succeeds at once: two
//! allocations for the map and one for each value that was never cloned before. A [`Snapshot`]
//! packs the URI and all headers into one buffer instead, which the next request uses again, and
//! builds them anew only when a retry happens.

mod names;
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

use self::pool::Buffer;

/// A request with a longer value is cloned: sharing is cheaper than copying then.
const MAX_VALUE: usize = 16 * 1024;
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
    version: Version,
    layout: Layout,
    rest: Rest,
}

/// What is where in the packed bytes: the authority, the path and query, the headers.
#[derive(Clone, Copy, Default)]
struct Layout {
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
    /// Not packed.
    Cloned(Box<(Uri, HeaderMap)>),
}

/// Where a request goes.
pub(crate) struct Target<'a> {
    pub(crate) scheme: Option<&'a str>,
    pub(crate) authority: &'a str,
    pub(crate) path_and_query: &'a str,
}

impl Snapshot {
    /// Keeps all that another attempt needs of `request`, except for the body.
    #[inline(always)]
    pub(crate) fn take<B>(request: &Request<B>) -> Self {
        let (layout, rest) = pack(request.uri(), request.headers());
        Self {
            method: request.method().clone(),
            extensions: request.extensions().clone(),
            version: request.version(),
            layout,
            rest,
        }
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    pub(crate) fn target(&self) -> Target<'_> {
        let (authority, path_and_query) = match &self.rest {
            Rest::Own(Own::Packed(buffer)) => self.layout.texts(buffer.as_ref()),
            Rest::Shared(packed) => self.layout.texts(packed),
            Rest::Own(Own::Cloned(cloned)) => return Target::of(&cloned.0),
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
        if let Rest::Own(Own::Packed(buffer)) = &mut self.rest {
            buffer.settle();
        }
    }

    /// A head equal to the one that was taken; the `last` one moves what it can.
    ///
    /// `None` if `http` refuses what it once accepted. That takes a header value which was made
    /// by `HeaderValue::from_maybe_shared_unchecked` from bytes that no value may hold.
    pub(crate) fn restore(&mut self, last: bool) -> Option<Parts> {
        let (uri, headers) = self.restore_rest()?;
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.uri = uri;
        parts.headers = headers;
        parts.version = self.version;
        // The report still asks for the method after the last one.
        parts.method = self.method.clone();
        if last {
            parts.extensions = mem::take(&mut self.extensions);
        } else {
            parts.extensions = self.extensions.clone();
        }
        Some(parts)
    }

    fn restore_rest(&mut self) -> Option<(Uri, HeaderMap)> {
        if let Rest::Own(Own::Packed(buffer)) = &mut self.rest {
            self.rest = Rest::Shared(Bytes::from_owner(mem::take(buffer)));
        }
        match &self.rest {
            Rest::Shared(packed) => {
                let uri = unpack_uri(packed, self.layout)?;
                let headers = unpack_headers(packed, self.layout)?;
                Some((uri, headers))
            }
            Rest::Own(Own::Cloned(cloned)) => Some((cloned.0.clone(), cloned.1.clone())),
            Rest::Own(Own::Packed(_)) => None,
        }
    }
}

impl<'a> Target<'a> {
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
            .field("version", &self.version)
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
        let text = |range| {
            let bytes = packed.get(range).unwrap_or_default();
            std::str::from_utf8(bytes).unwrap_or_default()
        };
        (text(self.authority()), text(self.path_and_query()))
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

/// Writes `bytes` to the front of `room`, and answers with the rest of it.
#[inline(always)]
fn put<'a>(room: &'a mut [u8], bytes: &[u8]) -> Option<&'a mut [u8]> {
    let (to, rest) = room.split_at_mut_checked(bytes.len())?;
    to.copy_from_slice(bytes);
    Some(rest)
}

#[inline(always)]
fn put_head(room: &mut [u8], head: Head) -> Option<&mut [u8]> {
    let (to, rest) = room.split_first_chunk_mut()?;
    *to = head.to_bytes();
    Some(rest)
}

#[inline]
fn pack(uri: &Uri, headers: &HeaderMap) -> (Layout, Rest) {
    let mut buffer = Buffer::recycled();
    match fill(uri, headers, &mut buffer) {
        Some(layout) => (layout, Rest::Own(Own::Packed(buffer))),
        None => pack_anew(uri, headers, buffer),
    }
}

/// Does not fit into `small`: packs into a new buffer of exactly the size that the request needs,
/// or clones it.
#[cold]
#[inline(never)]
fn pack_anew(uri: &Uri, headers: &HeaderMap, mut small: Buffer) -> (Layout, Rest) {
    if let Some(size) = packed_size(uri, headers) {
        // Takes its place among those that are kept, or the thread would keep small ones for ever.
        small.grow(size);
        if let Some(layout) = fill(uri, headers, &mut small) {
            return (layout, Rest::Own(Own::Packed(small)));
        }
    }
    let layout = Layout {
        headers: u16::try_from(headers.len()).unwrap_or(u16::MAX),
        ..Layout::default()
    };
    let cloned = Box::new((uri.clone(), headers.clone()));
    (layout, Rest::Own(Own::Cloned(cloned)))
}

/// The bytes that a request takes; `None` if it is one to be cloned.
fn packed_size(uri: &Uri, headers: &HeaderMap) -> Option<usize> {
    if headers.len() > MAX_HEADERS {
        return None;
    }
    let target = Target::of(uri);
    let mut size = target.authority.len() + target.path_and_query.len();
    for (name, value) in headers {
        let name = match names::number(name) {
            Some(_) => 0,
            None => name.as_str().len(),
        };
        if value.len() > MAX_VALUE || name > usize::from(u16::MAX) {
            return None;
        }
        size += Head::BYTES + name + value.len();
    }
    Some(size)
}

/// Packs a request; `None` if the buffer is too small, or packing is not for this request.
#[inline]
fn fill(uri: &Uri, headers: &HeaderMap, buffer: &mut Buffer) -> Option<Layout> {
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
        let text = value.as_bytes();
        let mut head = Head {
            number: CUSTOM,
            sensitive: value.is_sensitive(),
            name: 0,
            value: text.len() as u32,
        };
        room = match names::number(name) {
            Some(number) => {
                head.number = number;
                put_head(room, head)?
            }
            None => put_name(room, name, head)?,
        };
        room = put(room, text)?;
    }
    buffer.used = size - room.len();
    Some(Layout {
        scheme,
        // `http` allows no longer ones.
        authority: u16::try_from(authority.len()).ok()?,
        path: u16::try_from(path.len()).ok()?,
        headers: headers.len() as u16,
    })
}

/// Out of the loop, because its registers are worth more than the call.
#[inline(never)]
fn put_name<'a>(room: &'a mut [u8], name: &HeaderName, mut head: Head) -> Option<&'a mut [u8]> {
    let text = name.as_str().as_bytes();
    head.name = u16::try_from(text.len()).ok()?;
    put(put_head(room, head)?, text)
}

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

fn unpack_headers(packed: &Bytes, layout: Layout) -> Option<HeaderMap> {
    let mut headers = HeaderMap::try_with_capacity(layout.headers.into()).ok()?;
    let mut at = layout.path_and_query().end;
    for _ in 0..layout.headers {
        let head = Head::from_bytes(*packed.get(at..)?.first_chunk()?);
        let name = at + Head::BYTES..at + Head::BYTES + usize::from(head.name);
        at = name.end + head.value as usize;
        let Ok(mut value) = HeaderValue::from_maybe_shared(packed.slice(name.end..at)) else {
            return None;
        };
        if head.sensitive {
            value.set_sensitive(true);
        }
        let added = match names::name(head.number) {
            Some(name) => headers.try_append(name, value),
            None => headers.try_append(HeaderName::from_bytes(&packed[name]).ok()?, value),
        };
        if added.is_err() {
            return None;
        }
    }
    Some(headers)
}
