//! How often, for which methods and for which statuses: the three sets a policy is made of.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use http::Method;

use super::{InvalidPolicy, LimitKind, StopReason};

/// How many retries of one kind are allowed, on top of the first attempt.
///
/// urllib3 spells these `None`, `False` and an integer.
///
/// ```
/// use tower_http_retry::policy::Limit;
///
/// assert_eq!(Limit::from(3), Limit::AtMost(3));
/// assert_eq!(Limit::from(None), Limit::Unlimited);
/// assert_eq!(Limit::from(false), Limit::Never);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// No limit of its own (urllib3's `None`).
    Unlimited,
    /// At most this many retries. Only [`RetryPolicy::urllib3`](super::RetryPolicy::urllib3)
    /// takes a negative number, with urllib3's meaning: used up from the start.
    AtMost(i64),
    /// Not at all: such a failure is returned as it came (urllib3's `False`).
    Never,
}

impl Limit {
    /// Whether a policy with this limit can ever retry.
    pub(crate) const fn allows_any(self) -> bool {
        match self {
            Self::Unlimited => true,
            Self::AtMost(n) => n > 0,
            Self::Never => false,
        }
    }

    /// Why a retry is refused when this limit, that of `kind`, is used up.
    pub(crate) fn exhausted(self, kind: LimitKind) -> StopReason {
        StopReason::CountExhausted {
            kind,
            limit: match self {
                Self::AtMost(n) => n,
                Self::Never => 0,
                Self::Unlimited => i64::MAX,
            },
        }
    }

    /// What is left after `used` retries; `None` without a limit.
    pub(crate) const fn left(self, used: u32) -> Option<i64> {
        match self {
            Self::Unlimited => None,
            Self::AtMost(n) => Some(n.saturating_sub(used as i64)),
            // urllib3 counts on from `False` as from 0.
            Self::Never => Some(-(used as i64)),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("unlimited"),
            Self::AtMost(n) => n.fmt(f),
            Self::Never => f.write_str("never"),
        }
    }
}

macro_rules! limit_from {
    ($($int:ty),*) => {$(
        impl From<$int> for Limit {
            fn from(n: $int) -> Self {
                Self::AtMost(i64::try_from(n).unwrap_or(i64::MAX))
            }
        }
    )*};
}

limit_from!(i32, i64, u32, usize);

// For one type only, so that `total(None)` is not ambiguous.
impl From<Option<u32>> for Limit {
    fn from(n: Option<u32>) -> Self {
        n.map_or(Self::Unlimited, Self::from)
    }
}

impl From<bool> for Limit {
    /// `false` is [`Limit::Never`]; `true` is one retry, as `True` is 1 to urllib3.
    fn from(on: bool) -> Self {
        if on { Self::AtMost(1) } else { Self::Never }
    }
}

/// One value for each [`LimitKind`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PerKind<T>([T; 6]);

impl<T: Copy> PerKind<T> {
    pub(crate) const fn new(values: [T; 6]) -> Self {
        Self(values)
    }

    pub(crate) const fn get(&self, kind: LimitKind) -> T {
        self.0[kind as usize]
    }

    pub(crate) fn get_mut(&mut self, kind: LimitKind) -> &mut T {
        &mut self.0[kind as usize]
    }
}

/// The methods that IANA's registry has as idempotent, apart from those of RFC 9110.
const IDEMPOTENT_EXTENSIONS: [&str; 30] = [
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "LABEL",
    "LINK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "ORDERPATCH",
    "PRI",
    "PROPFIND",
    "PROPPATCH",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

/// The methods that may be repeated after the request may have been sent.
///
/// An empty set means none, unlike urllib3's, where it means any.
#[derive(Clone, PartialEq, Eq)]
pub struct Methods {
    any: bool,
    set: Arc<[Method]>,
    /// The first name that is not a method, for the error at `build()`.
    invalid: Option<String>,
}

impl Methods {
    /// Every method.
    pub fn any() -> Self {
        Self {
            any: true,
            set: Arc::default(),
            invalid: None,
        }
    }

    /// No method.
    pub fn none() -> Self {
        Self {
            any: false,
            set: Arc::default(),
            invalid: None,
        }
    }

    /// The methods that [IANA's registry] has as idempotent: those of RFC 9110, section 9.2.2
    /// (GET, HEAD, OPTIONS, TRACE, PUT and DELETE), QUERY, and those of WebDAV and other
    /// extensions, such as PROPFIND, REPORT, SEARCH, MKCOL, COPY and MOVE.
    ///
    /// [IANA's registry]: https://www.iana.org/assignments/http-methods/http-methods.xhtml
    pub fn idempotent() -> Self {
        static SET: LazyLock<Arc<[Method]>> = LazyLock::new(|| {
            let mut set = Methods::urllib3().set.to_vec();
            let names = IDEMPOTENT_EXTENSIONS.iter();
            // Each is a token, so that none is left out.
            set.extend(names.filter_map(|name| Method::from_bytes(name.as_bytes()).ok()));
            set.into()
        });
        Self {
            any: false,
            set: Arc::clone(&SET),
            invalid: None,
        }
    }

    /// Whether these are all idempotent methods, and no others.
    fn is_idempotent(&self) -> bool {
        *self == Self::idempotent()
    }

    /// urllib3's `DEFAULT_ALLOWED_METHODS`.
    pub fn urllib3() -> Self {
        Self::from([
            Method::HEAD,
            Method::GET,
            Method::PUT,
            Method::DELETE,
            Method::OPTIONS,
            Method::TRACE,
        ])
    }

    /// Whether `method` is in the set. Methods are case-sensitive (RFC 9110, section 9.1).
    #[inline]
    pub fn contains(&self, method: &Method) -> bool {
        self.any || self.set.iter().any(|m| m == method)
    }

    /// Whether every method is allowed.
    pub const fn is_any(&self) -> bool {
        self.any
    }

    /// The methods in the set; empty for [`Methods::any`].
    pub fn iter(&self) -> impl Iterator<Item = &Method> {
        self.set.iter()
    }

    /// As urllib3 asks: the request's method is upper-cased, the entries are not.
    pub(crate) fn contains_upper(&self, method: &Method) -> bool {
        self.any
            || self.contains(method) && !has_lower(method)
            || has_lower(method)
                && Method::from_bytes(method.as_str().to_ascii_uppercase().as_bytes())
                    .is_ok_and(|upper| self.contains(&upper))
    }

    pub(super) fn validate(&self) -> Result<(), InvalidPolicy> {
        match &self.invalid {
            None => Ok(()),
            Some(name) => Err(InvalidPolicy::new(
                "allowed_methods",
                format_args!("{name:?}"),
                "a set of method names, each a token (RFC 9110, section 5.6.2), or any",
            )),
        }
    }
}

fn has_lower(method: &Method) -> bool {
    method.as_str().bytes().any(|b| b.is_ascii_lowercase())
}

impl fmt::Debug for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.invalid {
            Some(name) => write!(f, "Methods(not a method: {name:?})"),
            None => write!(f, "Methods({self})"),
        }
    }
}

impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.any {
            return f.write_str("any");
        }
        if self.set.is_empty() {
            return f.write_str("none");
        }
        if self.is_idempotent() {
            return f.write_str("idempotent");
        }
        for (i, method) in self.set.iter().enumerate() {
            write!(f, "{}{method}", if i == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl FromIterator<Method> for Methods {
    fn from_iter<I: IntoIterator<Item = Method>>(methods: I) -> Self {
        let mut set = Vec::new();
        for method in methods {
            if !set.contains(&method) {
                set.push(method);
            }
        }
        Self {
            any: false,
            set: set.into(),
            invalid: None,
        }
    }
}

impl<'a> FromIterator<&'a str> for Methods {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Self {
        let mut invalid = None;
        let mut all: Self = names
            .into_iter()
            .filter_map(|name| match Method::from_bytes(name.as_bytes()) {
                Ok(method) => Some(method),
                Err(_) => {
                    invalid.get_or_insert_with(|| name.to_owned());
                    None
                }
            })
            .collect();
        all.invalid = invalid;
        all
    }
}

impl<const N: usize> From<[Method; N]> for Methods {
    fn from(methods: [Method; N]) -> Self {
        methods.into_iter().collect()
    }
}

impl<const N: usize> From<[&str; N]> for Methods {
    fn from(names: [&str; N]) -> Self {
        names.into_iter().collect()
    }
}

impl From<Vec<Method>> for Methods {
    fn from(methods: Vec<Method>) -> Self {
        methods.into_iter().collect()
    }
}

impl From<&[Method]> for Methods {
    fn from(methods: &[Method]) -> Self {
        methods.iter().cloned().collect()
    }
}

impl From<Vec<String>> for Methods {
    fn from(names: Vec<String>) -> Self {
        names.iter().map(String::as_str).collect()
    }
}

/// A set of statuses: one bit for each, so that asking costs the same for any set.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct StatusSet([u64; 16]);

impl StatusSet {
    /// Adds a status; `false` if it is outside of 100..=999.
    pub(crate) fn insert(&mut self, status: u16) -> bool {
        let valid = (100..=999).contains(&status);
        if valid {
            self.0[usize::from(status / 64)] |= 1 << (status % 64);
        }
        valid
    }

    #[inline]
    pub(crate) fn contains(&self, status: u16) -> bool {
        self.0
            .get(usize::from(status / 64))
            .is_some_and(|word| word & (1 << (status % 64)) != 0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u16> {
        (100..=999).filter(|status| self.contains(*status))
    }
}

/// Those of the statuses that are in 100..=999.
impl<const N: usize> From<[u16; N]> for StatusSet {
    fn from(statuses: [u16; N]) -> Self {
        let mut set = Self::default();
        for status in statuses {
            set.insert(status);
        }
        set
    }
}

impl fmt::Debug for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// A number of seconds, made from an `f64`, an `i32` or a [`Duration`](std::time::Duration).
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Seconds(pub f64);

impl From<f64> for Seconds {
    fn from(seconds: f64) -> Self {
        Self(seconds)
    }
}

impl From<i32> for Seconds {
    fn from(seconds: i32) -> Self {
        Self(f64::from(seconds))
    }
}

impl From<std::time::Duration> for Seconds {
    fn from(duration: std::time::Duration) -> Self {
        Self(duration.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The methods of IANA's registry, as of 2026-11, and which of them are idempotent.
    const REGISTRY: &str = "ACL yes, BASELINE-CONTROL yes, BIND yes, CHECKIN yes, CHECKOUT yes, \
        CONNECT no, COPY yes, DELETE yes, GET yes, HEAD yes, LABEL yes, LINK yes, LOCK no, \
        MERGE yes, MKACTIVITY yes, MKCALENDAR yes, MKCOL yes, MKREDIRECTREF yes, \
        MKWORKSPACE yes, MOVE yes, OPTIONS yes, ORDERPATCH yes, PATCH no, POST no, PRI yes, \
        PROPFIND yes, PROPPATCH yes, PUT yes, QUERY yes, REBIND yes, REPORT yes, SEARCH yes, \
        TRACE yes, UNBIND yes, UNCHECKOUT yes, UNLINK yes, UNLOCK yes, UPDATE yes, \
        UPDATEREDIRECTREF yes, VERSION-CONTROL yes, * no";

    #[test]
    fn the_idempotent_methods_are_those_of_the_registry() {
        let mut count = 0;
        for row in REGISTRY.split(", ") {
            let (name, idempotent) = row.split_once(' ').expect("two columns");
            let method = Method::from_bytes(name.as_bytes()).expect("a token");
            let listed = Methods::idempotent().contains(&method);
            assert_eq!(listed, idempotent == "yes", "{name}");
            count += usize::from(listed);
        }
        assert_eq!(Methods::idempotent().iter().count(), count);
        assert_eq!(Methods::idempotent().to_string(), "idempotent");
        assert_eq!(
            Methods::urllib3().iter().count(),
            6,
            "urllib3's are its own"
        );
    }
}
