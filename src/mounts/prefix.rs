//! The prefix of a mount: what is one, and its normal form.

use std::{borrow::Cow, error::Error, fmt};

use http::uri::{Authority, PathAndQuery, Scheme};

use super::normal::{Host, HostRef, Scratch, default_port, is_well_encoded};

/// A prefix that no URL can match, or not in the way that it looks.
///
/// Names the prefix, what is wrong with it and what is allowed.
///
/// ```
/// use tower_http_retry::{mounts::Mounts, policy::RetryPolicy};
///
/// let error = Mounts::new()
///     .mount("api.example.com", RetryPolicy::default())
///     .unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "\"api.example.com\" is no mount: it has no scheme; it must be \
///      `scheme://`, `scheme://host[:port]` or `scheme://host[:port]/path`",
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidMount {
    prefix: String,
    problem: &'static str,
    allowed: &'static str,
}

impl InvalidMount {
    /// The prefix as it was given.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What is wrong with it.
    pub fn problem(&self) -> &'static str {
        self.problem
    }

    /// What is allowed instead.
    pub fn allowed(&self) -> &'static str {
        self.allowed
    }
}

impl fmt::Display for InvalidMount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no mount: {}; it must be {}",
            self.prefix, self.problem, self.allowed
        )
    }
}

impl Error for InvalidMount {}

/// What is wrong with a prefix, and what is allowed.
type Problem = (&'static str, &'static str);

const FORM: &str = "`scheme://`, `scheme://host[:port]` or `scheme://host[:port]/path`";

type Segments = Vec<Box<[u8]>>;

/// A prefix in its normal form.
#[derive(Clone, Debug)]
pub(super) struct Prefix {
    /// `https://api.example.com/v1/`.
    pub(super) text: String,
    /// In lower case.
    pub(super) scheme: Box<str>,
    /// `None` for all hosts.
    pub(super) authority: Option<Place>,
    /// Without dot segments.
    pub(super) segments: Segments,
    /// Whether it ends with a slash: it covers what is below the path, and not the path itself.
    pub(super) slash: bool,
}

/// A host and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) host: Host,
    /// The scheme's if none was named.
    pub(super) port: Option<u16>,
}

impl Prefix {
    pub(super) fn parse(prefix: &str) -> Result<Self, InvalidMount> {
        Self::of(prefix).map_err(|(problem, allowed)| InvalidMount {
            prefix: prefix.to_owned(),
            problem,
            allowed,
        })
    }

    fn of(prefix: &str) -> Result<Self, Problem> {
        if prefix.is_empty() {
            return Err((
                "it is empty",
                "a URL prefix; `fallback` is for all other URLs",
            ));
        }
        let white = |c: char| c.is_whitespace() || c.is_control();
        if prefix.contains(white) {
            return Err((
                "it contains white space",
                "a URL prefix, with `%20` for a space in its path",
            ));
        }
        let Some((scheme, rest)) = prefix.split_once("://") else {
            return Err(("it has no scheme", FORM));
        };
        let scheme = scheme.to_ascii_lowercase();
        if scheme == "all" {
            return Err((
                "`all` is no scheme",
                "one scheme for each mount; `mount_all` mounts http and https",
            ));
        }
        if Scheme::try_from(scheme.as_str()).is_err()
            || !scheme.starts_with(|c: char| c.is_ascii_lowercase())
        {
            return Err((
                "its scheme is none (RFC 3986, section 3.1)",
                "a letter, then letters, digits, `+`, `-` or `.`",
            ));
        }
        if rest.contains(['?', '#']) {
            return Err((
                "it has a query or a fragment, which say nothing of where a request goes",
                FORM,
            ));
        }
        let at = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        if authority.is_empty() {
            if !path.is_empty() {
                return Err(("it has a path but no host", FORM));
            }
            return Ok(Self {
                text: format!("{scheme}://"),
                scheme: scheme.into(),
                authority: None,
                segments: Segments::new(),
                slash: false,
            });
        }
        let place = Place::of(&scheme, authority)?;
        let (segments, slash) = segments(path)?;

        let mut text = format!("{scheme}://{}", place.display(&scheme));
        for segment in &segments {
            text.push('/');
            text.push_str(&String::from_utf8_lossy(segment));
        }
        if slash {
            text.push('/');
        }
        Ok(Self {
            text,
            scheme: scheme.into(),
            authority: Some(place),
            segments,
            slash,
        })
    }
}

impl Place {
    fn of(scheme: &str, authority: &str) -> Result<Self, Problem> {
        if authority.contains('@') {
            return Err((
                "it has user information, which is not looked at",
                "the host without it",
            ));
        }
        if authority.contains('*') {
            return Err((
                "it has a wildcard",
                "a whole host, or no host at all for every host",
            ));
        }
        let end = match authority.starts_with('[') {
            true => authority.find(']').map(|end| end + 1),
            false => authority.find(':'),
        };
        let (host, port) = authority.split_at(end.unwrap_or(authority.len()));
        if host.is_empty() {
            return Err(("it has a port but no host", FORM));
        }
        let port = match port {
            // RFC 3986, section 3.2.3: an empty port is as good as none.
            "" | ":" => default_port(scheme),
            port => {
                let digits = port.strip_prefix(':').filter(|digits| {
                    let mut bytes = digits.bytes();
                    bytes.all(|byte| byte.is_ascii_digit())
                });
                let number = digits.and_then(|digits| digits.parse().ok());
                Some(number.ok_or(("its port is no port number", "a port in 0..=65535"))?)
            }
        };
        let host = to_ascii(host)?;
        // What no URI of the `http` crate can carry would never match.
        if Authority::try_from(&*host).is_err()
            || host.contains(['@', '*', ':']) && !host.starts_with('[')
        {
            return Err((
                "its host is none (RFC 3986, section 3.2.2)",
                "a name, an IPv4 address, or an IPv6 address in brackets",
            ));
        }
        let host = match HostRef::new(host.as_bytes()) {
            HostRef::V6(address) => Host::V6(address),
            HostRef::Name(_) if host.starts_with('[') => {
                return Err((
                    "its IPv6 address is none",
                    "an IPv6 address in brackets, without a zone",
                ));
            }
            HostRef::Name(_) => Host::Name(host.to_ascii_lowercase().into()),
        };
        Ok(Self { host, port })
    }

    fn display(&self, scheme: &str) -> impl fmt::Display {
        let host = self.host.to_string();
        match self.port {
            Some(port) if default_port(scheme) != Some(port) => format!("{host}:{port}"),
            _ => host,
        }
    }
}

/// A host name in the form that URIs carry (RFC 5891): `http::Uri` has only ASCII.
#[cfg(feature = "idna")]
fn to_ascii(host: &str) -> Result<Cow<'_, str>, Problem> {
    if host.is_ascii() {
        return Ok(host.into());
    }
    idna::domain_to_ascii_cow(host.as_bytes(), idna::AsciiDenyList::URL).map_err(|_| {
        (
            "its host is no internationalized name (RFC 5891)",
            "a domain name",
        )
    })
}

#[cfg(not(feature = "idna"))]
fn to_ascii(host: &str) -> Result<Cow<'_, str>, Problem> {
    if host.is_ascii() {
        return Ok(host.into());
    }
    Err((
        "its host is not ASCII",
        "the name in its ASCII form (`xn--...`), or as it is with the `idna` feature",
    ))
}

/// The segments of a path in their normal form, and whether it ends with a slash.
fn segments(path: &str) -> Result<(Segments, bool), Problem> {
    if !path.is_ascii() {
        return Err((
            "its path is not ASCII",
            "a path in which other characters are percent-encoded UTF-8 (RFC 3986, section 2.5)",
        ));
    }
    if !is_well_encoded(path.as_bytes()) {
        return Err((
            "its path has a `%` that begins no encoded octet",
            "`%` and two hexadecimal digits",
        ));
    }
    let mut segments = Segments::new();
    let Some(rest) = path.strip_prefix('/') else {
        return Ok((segments, false));
    };
    if PathAndQuery::try_from(path).is_err() {
        return Err((
            "its path has a character that no path has (RFC 3986, section 3.3)",
            "a path in which other characters are percent-encoded",
        ));
    }
    let mut scratch = Scratch::new();
    let mut slash = false;
    for segment in rest.split('/') {
        let segment = scratch.normalize(segment.as_bytes());
        slash = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"." => {}
            b".." => {
                segments.pop();
            }
            segment => segments.push(segment.into()),
        }
    }
    // The empty segment behind the last slash is that slash.
    if slash && path.rsplit('/').next() == Some("") {
        segments.pop();
    }
    Ok((segments, slash))
}
