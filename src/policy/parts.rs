//! What a policy is made of, for those who read policies.

use std::borrow::Cow;

use super::RetryPolicy;

/// One of the [`RetryPolicy`]s that a [`Policy`](super::Policy) chooses from; see
/// [`Policy::parts`](super::Policy::parts).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Part<'a> {
    /// The policy; `None` for one of another type.
    pub policy: Option<&'a RetryPolicy>,
    /// Which one it is, if there is more than one: a mount's prefix, for instance.
    pub place: Option<Cow<'a, str>>,
    /// Where it is mounted, if it is.
    #[cfg(feature = "mounts")]
    pub(crate) mounted: Option<Mounted<'a>>,
}

/// A place in a table of mounts.
#[cfg(feature = "mounts")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mounted<'a> {
    /// Tells the tables apart.
    pub(crate) table: usize,
    /// `None` for the fallback.
    pub(crate) prefix: Option<&'a str>,
}

impl<'a> Part<'a> {
    /// A policy that is all there is.
    pub(crate) fn of(policy: Option<&'a RetryPolicy>) -> Self {
        Self {
            policy,
            place: None,
            #[cfg(feature = "mounts")]
            mounted: None,
        }
    }

    /// Says which one it is. A place that the part has already is inside of this one.
    #[must_use]
    pub fn within(mut self, place: &'a str) -> Self {
        self.place = Some(match self.place {
            None => Cow::Borrowed(place),
            Some(inner) => Cow::Owned(format!("{place}, {inner}")),
        });
        self
    }
}
