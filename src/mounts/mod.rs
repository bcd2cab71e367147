//! Policies by URL prefix, as requests mounts its adapters.

mod near;
mod normal;
mod prefix;
mod session;
mod table;

pub use self::prefix::InvalidMount;

use std::{fmt, sync::Arc};

use http::Uri;

use self::{prefix::Prefix, session::MountSession, table::Table};
use crate::policy::{Mounted, Part, Policy, RequestHead};

/// Maps URL prefixes to policies: a request is judged by the policy with the longest prefix of
/// its URL.
///
/// ```
/// use tower_http_retry::{mounts::Mounts, policy::RetryPolicy, RetryLayer};
///
/// let patient = RetryPolicy::builder().total(8).build()?;
/// let never = RetryPolicy::builder().total(0).build()?;
/// let mounts = Mounts::new()
///     .mount_all(RetryPolicy::default())
///     .mount("https://api.example.com", patient)?
///     .mount("https://api.example.com/v1/orders", never)?;
///
/// let mounted = |uri: &'static str| Some(mounts.get(&http::Uri::from_static(uri))?.prefix());
/// assert_eq!(mounted("https://elsewhere.test/"), Some("https://"));
/// assert_eq!(mounted("https://API.example.com:443/v2"), Some("https://api.example.com"));
/// assert_eq!(
///     mounted("https://api.example.com/v1/orders/7?full"),
///     Some("https://api.example.com/v1/orders"),
/// );
/// let layer = RetryLayer::new(mounts);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What matches
///
/// A prefix is `scheme://`, `scheme://host[:port]` or `scheme://host[:port]/path`.
///
/// - Scheme and host are compared without regard to case, the path with regard to it (RFC 3986,
///   section 6.2.2.1).
/// - The whole host must match, and the port: a port that is not named is the scheme's.
///   `https://api.example.com` matches `https://api.example.com:443/`, and neither `:8443` nor
///   `https://api.example.com.evil.test/`. User information in a URL is ignored.
/// - An IPv6 address matches in any spelling. An internationalized host may be mounted in its
///   ASCII form, and with the `idna` feature in any: URLs of the `http` crate have the ASCII form.
/// - Path segments match as a whole: `/v1` matches `/v1` and `/v1/x`, and not `/v1beta`. With a
///   slash at its end, `/v1/` matches what is below, and not `/v1` itself.
/// - Percent-encoding that is not needed makes no difference (section 6.2.2.2), and neither do
///   dot segments (5.2.4): `/v1/../admin` and `/%61dmin` are `/admin`.
/// - The query of a URL never matters.
///
/// Two prefixes that match the same URLs are one mount: mounting a second policy there replaces
/// the first.
///
/// # Without a mount
///
/// A request whose URL has no mount is judged by the [`fallback`](Self::fallback), and the report
/// of a failure [notes](crate::policy::Note::NoMount) that. Without a fallback it is never retried, and a
/// failure stops with [`StopReason::NoMount`](crate::policy::StopReason::NoMount). Both name the mounts
/// that came nearest: one with another scheme, for instance.
///
/// # What it costs
///
/// The look-up neither allocates nor locks, and takes one step for the host and one for each
/// segment of the path that a mount has, however many mounts there are. (A URL's segment that has
/// percent-encoding and is longer than 128 octets is the exception: it is copied.)
///
/// Where a URL has no mount and its request fails, naming the [nearest](Self::nearest) ones takes
/// a bounded number of steps, too: who can choose URLs cannot make a failure expensive.
///
/// # Clone
///
/// Clones share the policies.
///
/// # Differences from requests
///
/// `Session.mount` compares strings. There `https://api.example.com` matches
/// `https://api.example.com.evil.test/` and `https://api.example.com@evil.test/`, `/v1` matches
/// `/v10`, letters of the path match in any case, a prefix with an internationalized host or
/// `%7E` never matches, the empty prefix and `http` match everything, and of two spellings of one
/// prefix the first wins. Here a prefix that is no URL is an [error](InvalidMount).
pub struct Mounts<P> {
    inner: Arc<Inner<P>>,
}

struct Inner<P> {
    table: Arc<Table>,
    /// By the numbers that the table gives out.
    policies: Vec<Arc<P>>,
    fallback: Option<Arc<P>>,
}

/// One mount: a prefix and its policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mount<'a, P> {
    prefix: &'a str,
    policy: &'a P,
}

impl<'a, P> Mount<'a, P> {
    /// The prefix in its normal form: lower-case scheme and host, no default port, no needless
    /// percent-encoding.
    pub fn prefix(&self) -> &'a str {
        self.prefix
    }

    /// The policy.
    pub fn policy(&self) -> &'a P {
        self.policy
    }
}

impl<P> Mounts<P> {
    /// Without any mount.
    pub fn new() -> Self {
        Self {
            inner: Arc::new(Inner {
                table: Arc::default(),
                policies: Vec::new(),
                fallback: None,
            }),
        }
    }

    /// Mounts `policy` at `prefix`, in place of the one that is mounted there, if there is one.
    ///
    /// # Errors
    ///
    /// [`InvalidMount`] for what is no URL prefix, or would look like one that matches more than
    /// it does: no scheme (`api.example.com`), no host before a path, user information, a query or
    /// fragment, a wildcard, white space, a port or address that is none, `all://`.
    pub fn mount(self, prefix: &str, policy: P) -> Result<Self, InvalidMount> {
        let prefix = Prefix::parse(prefix)?;
        Ok(self.mount_shared(prefix, Arc::new(policy)))
    }

    /// Mounts `policy` for all `http` and `https` URLs. Mounting one of the two only is a common
    /// mistake, which leaves the other without retries.
    #[must_use]
    pub fn mount_all(mut self, policy: P) -> Self {
        let policy = Arc::new(policy);
        for scheme in ["http://", "https://"] {
            if let Ok(prefix) = Prefix::parse(scheme) {
                self = self.mount_shared(prefix, Arc::clone(&policy));
            }
        }
        self
    }

    /// Judges requests whose URL has no mount by `policy`.
    #[must_use]
    pub fn fallback(mut self, policy: P) -> Self {
        self.change().fallback = Some(Arc::new(policy));
        self
    }

    fn mount_shared(mut self, prefix: Prefix, policy: Arc<P>) -> Self {
        let inner = self.change();
        let number = Arc::make_mut(&mut inner.table).insert(prefix);
        match inner.policies.get_mut(number) {
            Some(place) => *place = policy,
            None => inner.policies.push(policy),
        }
        self
    }

    fn change(&mut self) -> &mut Inner<P> {
        Arc::make_mut(&mut self.inner)
    }

    /// The mount that a request to `uri` is judged by; `None` if it is the fallback's.
    pub fn get(&self, uri: &Uri) -> Option<Mount<'_, P>> {
        self.inner.at(self.inner.table.find(uri)?)
    }

    /// Finds the number of a URL's mount, as [`iter`](Self::iter) counts them.
    #[cfg(feature = "telemetry")]
    pub(crate) fn finder(&self) -> impl Fn(&Uri) -> Option<usize> + Send + Sync + use<P> {
        let table = Arc::clone(&self.inner.table);
        move |uri| table.find(uri)
    }

    /// The policy for URLs without a mount.
    pub fn fallback_policy(&self) -> Option<&P> {
        self.inner.fallback.as_deref()
    }

    /// The mounts that come nearest to a URL that has none, each with what is different:
    /// `http://api.example.com (other scheme)`.
    ///
    /// At most three, and it looks at no more than some hundred: at mounts of the same host, of
    /// hosts in the same domain, and at those for all hosts of another scheme.
    pub fn nearest(&self, uri: &Uri) -> Vec<String> {
        self.inner.table.nearest(uri)
    }

    /// All mounts, in the order in which they were made.
    pub fn iter(&self) -> impl Iterator<Item = Mount<'_, P>> {
        (0..self.len()).filter_map(|number| self.inner.at(number))
    }

    /// The number of mounts.
    pub fn len(&self) -> usize {
        self.inner.policies.len()
    }

    /// Whether there is no mount at all.
    pub fn is_empty(&self) -> bool {
        self.inner.policies.is_empty()
    }
}

impl<P> Inner<P> {
    fn at(&self, number: usize) -> Option<Mount<'_, P>> {
        Some(Mount {
            prefix: &self.table.prefixes().get(number)?.text,
            policy: self.policies.get(number)?,
        })
    }
}

impl<P: Policy> Policy for Mounts<P> {
    type Session = MountSession<P::Session>;

    fn session(&self, request: &RequestHead<'_>) -> Self::Session {
        self.start(request, |policy| policy.session(request))
    }

    fn parts(&self, visit: &mut dyn FnMut(Part<'_>)) {
        let table = Arc::as_ptr(&self.inner) as usize;
        let mounts = self.iter().map(|mount| (Some(mount.prefix), mount.policy));
        let fallback = self.fallback_policy().map(|policy| (None, policy));
        for (prefix, policy) in mounts.chain(fallback) {
            let mounted = Some(Mounted { table, prefix });
            let place = prefix.unwrap_or("fallback");
            let mut shown = false;
            policy.parts(&mut |part| {
                shown = true;
                let part = part.within(place);
                visit(Part { mounted, ..part });
            });
            if !shown {
                let part = Part::of(None).within(place);
                visit(Part { mounted, ..part });
            }
        }
    }
}

impl<P: Policy> Mounts<P> {
    /// The session of a request, made by `make` from the policy that judges it.
    fn start(
        &self,
        request: &RequestHead<'_>,
        make: impl FnOnce(&P) -> P::Session,
    ) -> MountSession<P::Session> {
        let Inner {
            table,
            policies,
            fallback,
        } = &*self.inner;
        let mounted = table.find(request.uri());
        if let Some(policy) = mounted.and_then(|number| policies.get(number)) {
            return MountSession::mounted(make(policy));
        }
        match fallback {
            Some(policy) => MountSession::fallback(make(policy), table, request.uri()),
            None => {
                if let Some(rehearsal) = request.rehearsal() {
                    rehearsal.ledger.know();
                }
                MountSession::no_mount(table, request.uri())
            }
        }
    }
}

impl<P> Default for Mounts<P> {
    fn default() -> Self {
        Self::new()
    }
}

// Not derived: the policies need not be `Clone`.
impl<P> Clone for Mounts<P> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<P> Clone for Inner<P> {
    fn clone(&self) -> Self {
        Self {
            table: Arc::clone(&self.table),
            policies: self.policies.clone(),
            fallback: self.fallback.clone(),
        }
    }
}

/// Equal if they have the same mounts, in whatever order, and the same fallback.
impl<P: PartialEq> PartialEq for Mounts<P> {
    fn eq(&self, other: &Self) -> bool {
        let sorted = |mounts: &Self| {
            let mut numbers: Vec<_> = (0..mounts.len()).collect();
            numbers.sort_by_key(|number| &mounts.inner.table.prefixes()[*number].text);
            numbers
        };
        self.len() == other.len()
            && self.fallback_policy() == other.fallback_policy()
            && sorted(self)
                .into_iter()
                .zip(sorted(other))
                .all(|(a, b)| self.inner.at(a) == other.inner.at(b))
    }
}

impl<P: fmt::Debug> fmt::Debug for Mounts<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mounts = self.iter().map(|mount| (mount.prefix, mount.policy));
        let fallback = self.fallback_policy().map(|policy| ("fallback", policy));
        f.write_str("Mounts ")?;
        f.debug_map().entries(mounts.chain(fallback)).finish()
    }
}
