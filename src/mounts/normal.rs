//! URL parts in their normal form (RFC 3986, section 6.2.2), without an allocation where there is
//! nothing to change.

use std::net::Ipv6Addr;

/// A segment up to this length is normalized on the stack.
const SHORT: usize = 128;

/// Room for a segment that differs from its normal form.
pub(super) struct Scratch {
    short: [u8; SHORT],
    long: Vec<u8>,
}

impl Scratch {
    pub(super) const fn new() -> Self {
        Self {
            short: [0; SHORT],
            long: Vec::new(),
        }
    }

    /// A segment in its normal form.
    ///
    /// Octets that need no percent-encoding have none (section 6.2.2.2), the digits of the others
    /// are upper case (6.2.2.1). What only looks like an encoding stays as it is.
    pub(super) fn normalize<'a>(&'a mut self, segment: &'a [u8]) -> &'a [u8] {
        if !segment.contains(&b'%') {
            return segment;
        }
        let room = if segment.len() <= SHORT {
            &mut self.short[..]
        } else {
            self.long.resize(segment.len(), 0);
            &mut self.long[..]
        };
        // The normal form is never longer.
        let mut len = 0;
        let mut put = |byte: u8| {
            if let Some(place) = room.get_mut(len) {
                *place = byte;
            }
            len += 1;
        };
        let mut rest = segment;
        while let Some((&first, tail)) = rest.split_first() {
            match encoded(rest) {
                Some(octet) if is_unreserved(octet) => put(octet),
                Some(_) => rest[..3].iter().for_each(|b| put(b.to_ascii_uppercase())),
                None => put(first),
            }
            rest = if encoded(rest).is_some() {
                &rest[3..]
            } else {
                tail
            };
        }
        &room[..len]
    }
}

/// The octet that `bytes` begin with, if they begin with `%` and two digits.
fn encoded(bytes: &[u8]) -> Option<u8> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    match bytes {
        [b'%', high, low, ..] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

/// Whether every `%` begins an encoded octet.
pub(super) fn is_well_encoded(segment: &[u8]) -> bool {
    (0..segment.len()).all(|at| segment[at] != b'%' || encoded(&segment[at..]).is_some())
}

/// RFC 3986, section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// A host: two spellings of one are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// In lower case.
    Name(Box<str>),
    V6(Ipv6Addr),
}

/// A host as it is written in a URL.
#[derive(Clone, Copy, Debug)]
pub(super) enum HostRef<'a> {
    Name(&'a [u8]),
    V6(Ipv6Addr),
}

impl<'a> HostRef<'a> {
    pub(super) fn new(host: &'a [u8]) -> Self {
        let literal = || {
            let inner = host.strip_prefix(b"[")?.strip_suffix(b"]")?;
            std::str::from_utf8(inner).ok()?.parse().ok()
        };
        literal().map_or(Self::Name(host), Self::V6)
    }

    /// As [`Host`] displays it; `None` for a name that is no text.
    pub(super) fn to_text(self) -> Option<String> {
        match self {
            Self::Name(name) => Some(std::str::from_utf8(name).ok()?.to_ascii_lowercase()),
            Self::V6(address) => Some(format!("[{address}]")),
        }
    }

    pub(super) fn is(self, host: &Host) -> bool {
        match (self, host) {
            // Nearly always in lower case, too.
            (Self::Name(a), Host::Name(b)) => {
                a == b.as_bytes() || a.eq_ignore_ascii_case(b.as_bytes())
            }
            (Self::V6(a), Host::V6(b)) => a == *b,
            _ => false,
        }
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V6(address) => write!(f, "[{address}]"),
        }
    }
}

impl Host {
    pub(super) fn as_ref(&self) -> HostRef<'_> {
        match self {
            Self::Name(name) => HostRef::Name(name.as_bytes()),
            Self::V6(address) => HostRef::V6(*address),
        }
    }
}

/// The port that a URL with this scheme has if it names none. For a scheme that is not known
/// here, no port is the same as none.
pub(super) fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}
