//! Where a `Location` leads to.

use std::fmt::Write;

use http::{HeaderValue, Uri, uri::Authority};
use iri_string::types::{UriAbsoluteStr, UriReferenceStr};

/// The URI that `location` names, seen from `base`; `None` if it cannot be read.
///
/// Without its fragment and user information: neither is sent.
pub(super) fn resolve(base: &Uri, location: &HeaderValue) -> Option<Uri> {
    let base = base.to_string();
    let base = UriAbsoluteStr::new(&base).ok()?;
    let location = encoded(location.as_bytes());
    let location = location.split('#').next().unwrap_or_default();
    let reference = UriReferenceStr::new(location).ok()?;
    let target = reference.resolve_against(base).to_string();
    let (scheme, rest) = target.split_once(':')?;
    // Which the parser knows by their small letters only.
    let target: Uri = [&scheme.to_ascii_lowercase(), ":", rest]
        .concat()
        .parse()
        .ok()?;
    let scheme = target.scheme_str()?;
    if !matches!(scheme, "http" | "https") {
        return None;
    }
    without_user(target)
}

fn without_user(uri: Uri) -> Option<Uri> {
    let authority = uri.authority()?;
    // A port that is no number between 0 and 65535 is taken for none by the parser.
    let is_bare = [authority.host(), ":"]
        .iter()
        .any(|end| authority.as_str().ends_with(end));
    if authority.host().is_empty() || !is_bare && authority.port_u16().is_none() {
        return None;
    }
    let host = match authority.as_str().rsplit_once('@') {
        None => return Some(uri),
        Some((_, host)) => host.parse::<Authority>().ok()?,
    };
    let mut parts = uri.into_parts();
    parts.authority = Some(host);
    Uri::from_parts(parts).ok()
}

/// What servers write into a `Location` without encoding it: spaces, characters that are not
/// ASCII, a `%` that means itself. Where one `%` does, all of them do, as urllib3 has it.
fn encoded(location: &[u8]) -> String {
    let percent = location
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'%');
    let is_encoded = percent
        .map(|(at, _)| location.get(at + 1..at + 3))
        .all(|hex| hex.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)));
    let mut text = String::with_capacity(location.len());
    for byte in location {
        let keeps = match byte {
            b'%' => is_encoded,
            b' ' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => false,
            byte => byte.is_ascii_graphic(),
        };
        if keeps {
            text.push(char::from(*byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Scheme, host and port: who gets to see credentials.
pub(super) fn same_origin(one: &Uri, other: &Uri) -> bool {
    fn origin(uri: &Uri) -> Option<(&str, &str, u16)> {
        let (scheme, host) = (uri.scheme_str()?, uri.host()?);
        let port = match scheme {
            "https" => 443,
            _ => 80,
        };
        Some((scheme, host, uri.port_u16().unwrap_or(port)))
    }
    match (origin(one), origin(other)) {
        (Some(one), Some(other)) => {
            one.0 == other.0 && one.1.eq_ignore_ascii_case(other.1) && one.2 == other.2
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(base: &str, location: &str) -> Option<String> {
        let base = base.parse().expect("a URI");
        let location = HeaderValue::from_bytes(location.as_bytes()).expect("a value");
        resolve(&base, &location).map(|uri| uri.to_string())
    }

    /// RFC 3986, section 5.4, without what a `Location` to HTTP cannot be.
    #[test]
    fn references_are_resolved_as_the_rfc_says() {
        let base = "http://a/b/c/d;p?q";
        for (reference, target) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            (";x", "http://a/b/c/;x"),
            ("g;x?y#s", "http://a/b/c/g;x?y"),
            (".", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../../g", "http://a/g"),
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            ("./g/.", "http://a/b/c/g/"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
        ] {
            assert_eq!(
                resolved(base, reference).as_deref(),
                Some(target),
                "{reference}"
            );
        }
    }

    #[test]
    fn what_servers_write_unencoded_is_encoded() {
        for (location, target) in [
            ("/a b", "http://a/a%20b"),
            ("/ä", "http://a/%C3%A4"),
            ("/100%", "http://a/100%25"),
            ("/%7e", "http://a/%7e"),
            ("/%7e%", "http://a/%257e%25"),
            ("/{x}|<y>", "http://a/%7Bx%7D%7C%3Cy%3E"),
        ] {
            assert_eq!(
                resolved("http://a/", location).as_deref(),
                Some(target),
                "{location}"
            );
        }
    }

    #[test]
    fn user_information_is_not_kept_and_other_schemes_are_not_followed() {
        let target = resolved("http://a/", "https://me:secret@b/x");
        assert_eq!(target.as_deref(), Some("https://b/x"));
        for location in [
            "ftp://b/",
            "mailto:me@b",
            "data:,x",
            "http://",
            "http://[::1/",
        ] {
            assert_eq!(resolved("http://a/", location), None, "{location}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |one: &str, other: &str| {
            same_origin(&one.parse().expect("a URI"), &other.parse().expect("a URI"))
        };
        assert!(same("http://a/x", "http://A:80/y"));
        assert!(same("https://a:443/", "https://a/"));
        for other in [
            "https://a/",
            "http://b/",
            "http://a:81/",
            "http://x.a/",
            "/a",
        ] {
            assert!(!same("http://a/", other), "{other}");
        }
    }
}
