//! The base URI of a service or of one of its endpoints.

use http::{
    HeaderValue, Uri,
    uri::{Authority, InvalidUriParts, Parts, PathAndQuery, Scheme},
};

use crate::reason::InvalidPolicy;

const ALLOWED: &str = "`http://` or `https://`, a host, a port if it is another than the scheme's, \
                       and a path if there is one";

/// Scheme, authority and path.
#[derive(Clone, Debug)]
pub(super) struct Base {
    pub(super) scheme: Scheme,
    authority: Authority,
    /// Empty, or with a slash at its beginning and none at its end.
    path: String,
}

impl Base {
    pub(super) fn parse(field: &'static str, text: &str) -> Result<Self, InvalidPolicy> {
        let invalid = |allowed| InvalidPolicy::new(field, format_args!("{text:?}"), allowed);
        if text.contains('#') {
            return Err(invalid("a base URI without a fragment"));
        }
        let uri: Uri = text.parse().map_err(|_| invalid(ALLOWED))?;
        let Parts {
            scheme: Some(scheme),
            authority: Some(authority),
            path_and_query,
            ..
        } = uri.into_parts()
        else {
            return Err(invalid(ALLOWED));
        };
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(invalid(ALLOWED));
        }
        if authority.as_str().contains('@') {
            // It would be in every report.
            return Err(InvalidPolicy::new(
                field,
                "a URI with user information",
                "a base URI without it",
            ));
        }
        let port = &authority.as_str()[authority.host().len()..];
        if authority.host().is_empty() || !port.is_empty() && authority.port_u16().is_none() {
            return Err(invalid(ALLOWED));
        }
        let path = path_and_query.as_ref().map_or("", PathAndQuery::path);
        if path_and_query
            .as_ref()
            .is_some_and(|it| it.query().is_some())
        {
            return Err(invalid("a base URI without a query"));
        }
        let dots = |segment: &str| matches!(segment, "." | "..");
        if path.split('/').any(dots) {
            return Err(invalid("a path without `.` and `..`"));
        }
        Ok(Self {
            scheme,
            authority,
            path: path.trim_end_matches('/').to_owned(),
        })
    }

    fn port(&self) -> Option<u16> {
        port(&self.scheme, &self.authority)
    }

    /// Whether both are the same place: host without regard to case, and the port that is meant.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.is_at(&other.scheme, &other.authority) && self.path == other.path
    }

    fn is_at(&self, scheme: &Scheme, authority: &Authority) -> bool {
        self.scheme == *scheme
            && self.authority.host().eq_ignore_ascii_case(authority.host())
            && self.port() == port(scheme, authority)
    }

    /// What follows the base in a URI: path and query, the path from its next segment on. `None`
    /// if the URI leads elsewhere. One that has no authority leads wherever it is sent.
    pub(super) fn rest<'a>(&self, uri: &'a Uri) -> Option<&'a str> {
        match (uri.scheme(), uri.authority()) {
            (Some(scheme), Some(authority)) if !self.is_at(scheme, authority) => return None,
            (Some(_), Some(_)) | (None, None) => {}
            // The form of CONNECT.
            _ => return None,
        }
        let rest = uri.path_and_query()?.as_str().strip_prefix(&self.path)?;
        (rest.is_empty() || rest.starts_with(['/', '?'])).then_some(rest)
    }

    /// Whether the URI is below this one; how long the path is that they share.
    pub(super) fn covers(&self, uri: &Uri) -> Option<usize> {
        uri.authority()?;
        self.rest(uri).map(|_| self.path.len())
    }

    /// The URI with this base, and the rest of another one.
    pub(super) fn join(&self, rest: &str) -> Result<Uri, http::Error> {
        let slash = if rest.starts_with('/') { "" } else { "/" };
        let path = [&self.path, slash, rest].concat();
        let mut parts = Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::try_from(path)?);
        Ok(Uri::from_parts(parts).map_err(|error: InvalidUriParts| error)?)
    }

    /// The `Host` header of a request to it, in place of one that names `service`; `None` to leave
    /// that as it is.
    pub(super) fn host(&self, service: &Self, given: &HeaderValue) -> Option<HeaderValue> {
        let given: Authority = given.to_str().ok()?.parse().ok()?;
        if !service.is_at(&service.scheme, &given) {
            return None;
        }
        HeaderValue::from_str(self.authority.as_str()).ok()
    }

    pub(super) fn text(&self) -> String {
        format!("{}://{}{}/", self.scheme, self.authority, self.path)
    }
}

fn port(scheme: &Scheme, authority: &Authority) -> Option<u16> {
    let default = if *scheme == Scheme::HTTP { 80 } else { 443 };
    authority.port_u16().or(Some(default))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(text: &str) -> Base {
        Base::parse("endpoints", text).expect("a base URI")
    }

    #[test]
    fn what_follows_the_service_follows_the_endpoint() {
        let service = base("http://orders/api");
        for (uri, joined) in [
            ("http://orders/api/7?x=1", Some("http://a:81/v2/7?x=1")),
            ("http://ORDERS:80/api/7", Some("http://a:81/v2/7")),
            ("http://orders/api", Some("http://a:81/v2/")),
            ("http://orders/api?x", Some("http://a:81/v2/?x")),
            ("http://orders/api/", Some("http://a:81/v2/")),
            ("http://orders/api//7", Some("http://a:81/v2//7")),
            ("/api/7", Some("http://a:81/v2/7")),
            ("http://orders/apiary", None),
            ("http://orders/", None),
            ("https://orders/api/7", None),
            ("http://orders:81/api/7", None),
            ("http://orders.evil.test/api/7", None),
            ("http://u@orders.evil.test/api/7", None),
            ("orders:80", None),
            ("*", None),
        ] {
            let uri: Uri = uri.parse().expect("a URI");
            let rest = service.rest(&uri);
            let at = rest.map(|rest| base("http://a:81/v2/").join(rest).expect("a URI"));
            assert_eq!(at.map(|at| at.to_string()).as_deref(), joined, "{uri}");
        }
    }

    #[test]
    fn a_host_that_names_the_service_moves_and_another_stays() {
        let (service, at) = (base("http://orders"), base("http://10.0.0.7:8080/v2"));
        for (given, sent) in [
            ("orders", Some("10.0.0.7:8080")),
            ("Orders:80", Some("10.0.0.7:8080")),
            ("orders:81", None),
            ("virtual.example.com", None),
            ("not a host", None),
        ] {
            let given = HeaderValue::from_static(given);
            let sent = sent.map(HeaderValue::from_static);
            assert_eq!(at.host(&service, &given), sent, "{given:?}");
        }
    }
}
