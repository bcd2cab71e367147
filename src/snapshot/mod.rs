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
    scheme: Option<Scheme>,
    version: Version,
    layout: Layout,
    rest: Rest,
}

/// What is where in the packed bytes: the authority, the path and query, the headers.
#[derive(Clone, Copy, Default)]
struct Layout {
    authority: u16,
    path: u16,
    headers: u16,
}

/// All that has no fixed size.
enum Rest {
    /// Packed, in memory of one's own.
    Own(Buffer),
    /// Packed, in memory that restored requests share.
    Shared(Bytes),
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
    #[inline]
    pub(crate) fn take<B>(request: &Request<B>) -> Self {
        let (layout, rest) = pack(request.uri(), request.headers());
        Self {
            method: request.method().clone(),
            extensions: request.extensions().clone(),
            scheme: request.uri().scheme().cloned(),
            version: request.version(),
            layout,
            rest,
        }
    }

    /// Keeps what a report says of `request`: the method and the target.
    #[inline]
    pub(crate) fn line<B>(request: &Request<B>) -> Self {
        let (layout, rest) = pack_line(request.uri());
        Self {
            method: request.method().clone(),
            extensions: Extensions::new(),
            scheme: request.uri().scheme().cloned(),
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
            Rest::Own(buffer) => self.layout.texts(&buffer.bytes),
            Rest::Shared(packed) => self.layout.texts(packed),
            Rest::Cloned(cloned) => {
                let uri = &cloned.0;
                (
                    uri.authority().map_or("", Authority::as_str),
                    uri.path_and_query().map_or("", PathAndQuery::as_str),
                )
            }
        };
        Target {
            scheme: self.scheme.as_ref().map(Scheme::as_str),
            authority,
            path_and_query,
        }
    }

    /// Gives memory back that is not needed for what is kept; for a request that has to wait.
    pub(crate) fn settle(&mut self) {
        if let Rest::Own(buffer) = &mut self.rest {
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
        if let Rest::Own(buffer) = &mut self.rest {
            self.rest = Rest::Shared(Bytes::from_owner(mem::take(buffer)));
        }
        match &self.rest {
            Rest::Shared(packed) => {
                let uri = unpack_uri(packed, self.layout, self.scheme.clone())?;
                let headers = unpack_headers(packed, self.layout)?;
                Some((uri, headers))
            }
            Rest::Cloned(cloned) => Some((cloned.0.clone(), cloned.1.clone())),
            Rest::Own(_) => None,
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

fn pack(uri: &Uri, headers: &HeaderMap) -> (Layout, Rest) {
    if headers.len() > MAX_HEADERS {
        return cloned(uri, headers);
    }
    let mut buffer = Buffer::recycled().unwrap_or_else(|| buffer_for(uri, headers));
    let packed = &mut buffer.bytes;
    let Some(mut layout) = pack_uri(uri, packed) else {
        return cloned(uri, headers);
    };
    layout.headers = headers.len() as u16;
    match pack_headers(headers, packed) {
        Some(()) => (layout, Rest::Own(buffer)),
        None => cloned(uri, headers),
    }
}

fn pack_line(uri: &Uri) -> (Layout, Rest) {
    let mut buffer = Buffer::recycled().unwrap_or_default();
    match pack_uri(uri, &mut buffer.bytes) {
        Some(layout) => (layout, Rest::Own(buffer)),
        None => cloned(uri, &HeaderMap::new()),
    }
}

#[cold]
#[inline(never)]
fn cloned(uri: &Uri, headers: &HeaderMap) -> (Layout, Rest) {
    let layout = Layout {
        headers: u16::try_from(headers.len()).unwrap_or(u16::MAX),
        ..Layout::default()
    };
    (
        layout,
        Rest::Cloned(Box::new((uri.clone(), headers.clone()))),
    )
}

/// A new buffer of exactly the size that a request needs.
#[cold]
#[inline(never)]
fn buffer_for(uri: &Uri, headers: &HeaderMap) -> Buffer {
    let authority = uri.authority().map_or("", Authority::as_str);
    let path = uri.path_and_query().map_or("", PathAndQuery::as_str);
    let headers = headers
        .iter()
        .map(|(name, value)| match names::number(name) {
            Some(_) => Head::BYTES + value.len(),
            None => Head::BYTES + name.as_str().len() + value.len(),
        });
    let size = headers.sum::<usize>() + authority.len() + path.len();
    Buffer {
        bytes: Vec::with_capacity(size),
    }
}

#[inline]
fn pack_uri(uri: &Uri, packed: &mut Vec<u8>) -> Option<Layout> {
    let authority = uri.authority().map_or("", Authority::as_str);
    let path = uri.path_and_query().map_or("", PathAndQuery::as_str);
    packed.extend_from_slice(authority.as_bytes());
    packed.extend_from_slice(path.as_bytes());
    Some(Layout {
        // `http` allows no longer ones.
        authority: u16::try_from(authority.len()).ok()?,
        path: u16::try_from(path.len()).ok()?,
        headers: 0,
    })
}

/// Adds all headers in the map's order, or gives up on one that is too long to be copied.
#[inline]
fn pack_headers(headers: &HeaderMap, packed: &mut Vec<u8>) -> Option<()> {
    for (name, value) in headers {
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

fn unpack_uri(packed: &Bytes, layout: Layout, scheme: Option<Scheme>) -> Option<Uri> {
    let mut parts = uri::Parts::default();
    parts.scheme = scheme;
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
        let text = packed.slice(name.end..at);
        let mut value = HeaderValue::from_maybe_shared(text).ok()?;
        value.set_sensitive(head.sensitive);
        match names::name(head.number) {
            Some(name) => headers.try_append(name, value).ok()?,
            None => {
                let name = HeaderName::from_bytes(&packed[name]).ok()?;
                headers.try_append(name, value).ok()?
            }
        };
    }
    Some(headers)
}
