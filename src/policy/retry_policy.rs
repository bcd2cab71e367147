//! [`RetryPolicy`]: urllib3's `Retry`, in three presets.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    Backoff, Ledger, Limit, LimitKind, Methods, Part, Policy, Rehearsal, RequestHead, ResetHeader,
    RetryPolicyBuilder, RetrySession, Rng, StopReason,
    limit::StatusSet,
    settings::{Settings, settings_table},
};
use http::{HeaderName, Method};

use crate::budget::RetryBudget;
#[cfg(feature = "grpc")]
use crate::reason::GrpcCode;

/// Which family of rules a policy follows; see [`RetryPolicy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Preset {
    /// The rules of [`RetryPolicy::default`].
    Default,
    /// The rules of [`RetryPolicy::urllib3`].
    Urllib3,
    /// The rules of [`RetryPolicy::grpc`].
    Grpc,
}

/// What becomes of a server's hint that asks for more than `retry_after_max`.
///
/// The third way is not to read hints at all:
/// [`respect_retry_after_header(false)`](RetryPolicyBuilder::respect_retry_after_header). See
/// [`hints`](super::hints#three-ways-to-take-it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum RetryAfterMode {
    /// Wait for `retry_after_max` and come back too early, as urllib3 does.
    Clamp,
    /// Stop at once with
    /// [`StopReason::RetryAfterTooLong`](super::StopReason::RetryAfterTooLong).
    GiveUp,
}

/// The rows of the table in the documentation.
macro_rules! reasons {
    ($(
        $(#[$doc:meta])*
        $name:ident: $kind:ident {
            presets: $presets:tt,
            get: $get:literal,
            key: $key:literal,
            why: $why:literal,
        }
    )*) => {
        concat!($("| `", stringify!($name), "` | ", $why, " |\n"),*)
    };
}

/// How requests are retried: urllib3's `Retry` with its names, in three presets that never mix.
///
/// Cheap to clone; clones share the budget, and so does what [`to_builder`](Self::to_builder)
/// makes of a policy. A policy should therefore be made once, not for each request. Made from a preset by [`builder`](Self::builder),
/// [`urllib3_builder`](Self::urllib3_builder), [`grpc_builder`](Self::grpc_builder) or
/// [`to_builder`](Self::to_builder).
///
/// # The default preset
///
/// [`RetryPolicy::default`] is what a careful engineer would run in production:
///
/// | setting | value | why |
/// | --- | --- | --- |
/// | `total` | 3 | a fault that outlives three retries is an outage, which retries prolong |
/// | `connect`, `read`, `status`, `other` | unlimited under `total` | one number to reason about |
#[doc = settings_table!(reasons)]
///
/// Certificate errors, unknown schemes and other permanent failures are not retried. An error of
/// an unknown type may have been sent, so it follows the rule for read failures.
///
/// How often it sends what again, at most, if every attempt ends the same way. A GET that cannot
/// connect is tried four times; a POST that was answered with 503 is returned as it is:
///
#[doc = include_str!("default_table.md")]
///
/// HEAD, OPTIONS and TRACE are as GET. `Retry-After` makes 413 wait and be repeated as well.
///
/// # The urllib3 preset
///
/// [`RetryPolicy::urllib3`] decides as urllib3 2.8's `Retry` does, checked against vectors made by
/// the real one: ten retries in total, no status, no backoff, six methods, `raise_on_status`, a
/// connect failure or an `other` failure repeated for every method, the first retry immediate,
/// `Retry-After` on 413, 429 and 503 even when they are not listed, and so on. It has no budget.
/// It deviates in this only:
///
/// - An unreadable `Retry-After` is ignored and noted in the report, where urllib3 fails the
///   request with `InvalidHeader`: a header of the server's must not take the response away.
/// - `Retry-After` dates are read as RFC 9110 defines them, where Python's parser also accepts
///   what nobody may send (no time zone, day 99, two-digit times) and takes the year 69 for 1969.
/// - An empty `allowed_methods` means no method, where urllib3 takes it for any.
/// - A request body that was consumed and cannot be replayed ends the request, where urllib3
///   sends an empty one in its place.
/// - A mistake in the request itself (bad URI, unknown scheme, the request's own body failing)
///   is not charged to `other`: urllib3, too, raises these without asking its `Retry`.
///
/// # The gRPC preset
///
/// [`RetryPolicy::grpc`] decides as [gRFC A6] has it, by the code that a call ended with. A failure
/// without a `grpc-status` has the code that gRPC's clients give it: 503 is UNAVAILABLE, and so is
/// a connection that broke; a timeout is DEADLINE_EXCEEDED.
///
/// | setting | value | why |
/// | --- | --- | --- |
/// | `max_attempts` | 4 | this and the next three: A6's own example |
/// | `initial_backoff`, `max_backoff`, `backoff_multiplier` | 100 ms, 1 s, 2 | with jitter from 0.8 to 1.2, as gRPC's clients have it |
/// | `retryable_status_codes` | UNAVAILABLE | whoever lists a code vouches for the calls that end so: they are repeated whatever the method, which is always POST |
/// | `retry_throttling` | 10 tokens, 0.1 for each success | a retry is refused while half of the tokens or fewer are left |
/// | `grpc-retry-pushback-ms` | obeyed, in the head and in the trailers | waited for exactly, and then the backoff starts anew; one that is negative or cannot be read forbids the retry, and counts as a failure. It names the time of a retry, and causes none: what is not listed is not repeated. No other hint is read |
/// | what never left the client | again, until the deadline; without one, 10 times | at once the first time, then after a backoff, outside of the counts and the throttling |
/// | `unprocessed` | 1 | the same for what the server refused unprocessed (REFUSED_STREAM, GOAWAY); from then on it is UNAVAILABLE. 0 switches both off |
///
/// It needs a `GrpcLayer` below the retries (feature `grpc`): without one, a call that fails in its
/// trailers is taken for a success, and only what fails in the head is seen, of which the report then
/// says so ([`Note::GrpcHeadOnly`](super::Note::GrpcHeadOnly)).
///
/// It deviates in this only:
///
/// - What can never work by repeating, a certificate that is not acceptable for instance, is not
///   repeated, although it is UNAVAILABLE to gRPC.
/// - A timeout of one attempt is repeated only if DEADLINE_EXCEEDED is listed: nothing proves that
///   the call was not processed.
/// - A call counts as a success once its response is handed out, also if it is a stream that fails
///   later.
/// - What commits a call is up to [`GrpcLayer`](crate#feature-flags), which without
///   `commit_on_head` allows for more than A6.
///
/// [gRFC A6]: https://github.com/grpc/proposal/blob/master/A6-client-retries.md
///
/// ```
/// use tower_http_retry::policy::{Limit, RetryPolicy};
///
/// let policy = RetryPolicy::builder()
///     .total(5)
///     .read(Limit::Never)
///     .status_forcelist([429, 503])
///     .backoff_factor(0.2)
///     .build()?;
/// assert_eq!(policy.total(), Limit::AtMost(5));
/// # Ok::<(), tower_http_retry::policy::InvalidPolicy>(())
/// ```
#[derive(Clone)]
pub struct RetryPolicy {
    pub(super) inner: Arc<Inner>,
}

/// A built policy: its settings, and what is derived from them.
pub(super) struct Inner {
    pub(super) settings: Settings,
    pub(super) eligible: Repeatable,
    /// The statuses below 400 that the session is asked about.
    pub(super) asked: StatusSet,
    /// Whether every header that is read as a hint has `retry` or `ratelimit` in its name, so that
    /// none of others needs to be looked up.
    pub(super) usual_hints: bool,
    /// The common methods that are allowed, one bit each.
    allowed: u16,
    /// Sessions started so far, for policies with a seed.
    sessions: AtomicU64,
    /// Where a dry run asks what a retry would take, if this is its copy.
    pub(super) ledger: Option<Arc<Ledger>>,
}

impl Inner {
    /// Whether `method` is among the allowed ones, by the rules of the preset.
    #[inline]
    pub(super) fn allows(&self, method: &Method) -> bool {
        match common(method) {
            Some(bit) => self.allowed & bit != 0,
            None => self.settings.allows(method),
        }
    }
}

/// The bit of a common method. Every request asks, and comparing with each method of a list takes
/// longer.
#[inline]
fn common(method: &Method) -> Option<u16> {
    Some(match *method {
        Method::GET => 1,
        Method::HEAD => 1 << 1,
        Method::POST => 1 << 2,
        Method::PUT => 1 << 3,
        Method::DELETE => 1 << 4,
        Method::PATCH => 1 << 5,
        Method::OPTIONS => 1 << 6,
        _ => return None,
    })
}

fn allowed(settings: &Settings) -> u16 {
    let methods = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::OPTIONS,
    ];
    methods
        .iter()
        .filter(|method| settings.allows(method))
        .filter_map(common)
        .sum()
}

/// Which requests can be sent again at all. Known beforehand, since every request asks.
pub(super) struct Repeatable {
    /// Those that may be repeated although they may have been applied.
    repeatable: bool,
    others: bool,
}

impl Repeatable {
    fn under(settings: &Settings) -> Self {
        let allows = |kind| settings.limits.get(kind).allows_any();
        let total = allows(LimitKind::Total);
        // To gRPC, what was not processed is no retry, and no limit keeps it from being sent.
        let transparent = settings.preset == Preset::Grpc && settings.unprocessed > 0;
        let others = transparent
            || total
                && (allows(LimitKind::Connect)
                    || settings.unprocessed > 0
                    || settings.preset == Preset::Urllib3 && allows(LimitKind::Other));
        let after_send = [
            LimitKind::Read,
            LimitKind::Status,
            LimitKind::Other,
            LimitKind::Redirect,
        ];
        Self {
            repeatable: others || total && after_send.into_iter().any(allows),
            others,
        }
    }

    #[inline(always)]
    pub(super) fn with(&self, may_repeat: bool) -> bool {
        if may_repeat {
            self.repeatable
        } else {
            self.others
        }
    }
}

impl Settings {
    /// Why a request that is not [`Repeatable`] is not.
    #[cold]
    pub(super) fn why_never(&self) -> StopReason {
        let total = self.limits.get(LimitKind::Total);
        match total {
            Limit::Never => StopReason::KindDisabled {
                kind: LimitKind::Total,
            },
            limit if !limit.allows_any() => limit.exhausted(LimitKind::Total),
            _ => self
                .limits
                .get(LimitKind::Connect)
                .exhausted(LimitKind::Connect),
        }
    }
}

impl RetryPolicy {
    /// urllib3 2.8's defaults and rules; see [the table above](Self#the-urllib3-preset).
    pub fn urllib3() -> Self {
        Self::from_settings(Settings::of(Preset::Urllib3))
    }

    /// A builder that starts from [`RetryPolicy::default`].
    pub fn builder() -> RetryPolicyBuilder {
        RetryPolicyBuilder::from_settings(Settings::of(Preset::Default))
    }

    /// A builder that starts from [`RetryPolicy::urllib3`].
    pub fn urllib3_builder() -> RetryPolicyBuilder {
        RetryPolicyBuilder::from_settings(Settings::of(Preset::Urllib3))
    }

    /// A builder that starts from this policy.
    pub fn to_builder(&self) -> RetryPolicyBuilder {
        RetryPolicyBuilder::from_settings(self.inner.settings.clone())
    }

    pub(super) fn from_settings(settings: Settings) -> Self {
        Self::with_ledger(settings, None)
    }

    fn with_ledger(settings: Settings, ledger: Option<Arc<Ledger>>) -> Self {
        Self {
            inner: Arc::new(Inner {
                eligible: Repeatable::under(&settings),
                asked: settings.asked(),
                usual_hints: settings.hints().are_usual(),
                allowed: allowed(&settings),
                settings,
                sessions: AtomicU64::new(0),
                ledger,
            }),
        }
    }

    /// The family of rules this policy follows.
    pub fn preset(&self) -> Preset {
        self.inner.settings.preset
    }

    /// The limit of all retries together.
    pub fn total(&self) -> Limit {
        self.limit(LimitKind::Total)
    }

    /// One of the limits.
    pub fn limit(&self, kind: LimitKind) -> Limit {
        self.inner.settings.limits.get(kind)
    }

    /// The same policy with a budget of its own that has the same settings and is full. Another
    /// library's cannot be copied and is left out.
    #[cfg(feature = "shadow")]
    pub(crate) fn apart(&self) -> Self {
        let mut settings = self.inner.settings.clone();
        settings.budget = settings.budget.and_then(|budget| budget.copy());
        Self::with_ledger(settings, None)
    }

    /// A session of a copy of this policy: neither the budget nor the count of sessions notices.
    #[cold]
    fn detached(&self, request: &RequestHead<'_>, rehearsal: &Rehearsal) -> RetrySession {
        let mut settings = self.inner.settings.clone();
        let ledger = &rehearsal.ledger;
        settings.budget = settings.budget.and_then(|budget| {
            let copy = budget.fresh();
            if copy.is_none() {
                ledger.know_foreign();
            }
            copy
        });
        ledger.know();
        let copy = Self::with_ledger(settings, Some(Arc::clone(ledger)));
        RetrySession::with_rng(copy, request, Some(rehearsal.rng.clone()))
    }

    /// The random numbers of the next session.
    #[inline]
    pub(super) fn rng(&self) -> Option<Rng> {
        let seed = self.inner.settings.seed?;
        // Each session its own sequence, or all clients of a seeded run would move in step.
        let session = self.inner.sessions.fetch_add(1, Ordering::Relaxed);
        Some(Rng::with_seed(
            seed ^ session.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        ))
    }
}

/// The getter of a setting, by its kind.
macro_rules! getter {
    ($get:literal, $name:ident: Budget) => {
        getter!(@ $get, $name, Option<&RetryBudget>, budget => budget.as_ref());
    };
    ($get:literal, $name:ident: Cap) => { getter!(@ $get, $name, Duration, max => *max); };
    ($get:literal, $name:ident: Codes) => {
        #[cfg(feature = "grpc")]
        getter!(@ $get, $name, impl Iterator<Item = GrpcCode> + '_, codes => codes.iter());
    };
    ($get:literal, $name:ident: Count) => { getter!(@ $get, $name, u32, count => *count); };
    ($get:literal, $name:ident: Flag) => { getter!(@ $get, $name, bool, on => *on); };
    ($get:literal, $name:ident: Header) => {
        getter!(@ $get, $name, Option<&HeaderName>, header => header.as_ref());
    };
    ($get:literal, $name:ident: MethodSet) => {
        getter!(@ $get, $name, &Methods, methods => methods);
    };
    ($get:literal, $name:ident: Mode) => { getter!(@ $get, $name, RetryAfterMode, mode => *mode); };
    ($get:literal, $name:ident: Part) => { getter!(@ $get, $name, f64, part => *part); };
    ($get:literal, $name:ident: Resets) => {
        getter!(@ $get, $name, &[ResetHeader], headers => headers);
    };
    ($get:literal, $name:ident: Seed) => { getter!(@ $get, $name, Option<u64>, seed => *seed); };
    ($get:literal, $name:ident: Statuses) => {
        getter!(@ $get, $name, impl Iterator<Item = u16> + '_, statuses => statuses.iter());
    };
    ($get:literal, $name:ident: Waits) => { getter!(@ $get, $name, &Backoff, waits => waits); };
    (@ $get:literal, $name:ident, $of:ty, $stored:ident => $value:expr) => {
        #[doc = $get]
        pub fn $name(&self) -> $of {
            let $stored = &self.inner.settings.$name;
            $value
        }
    };
}

macro_rules! getters {
    ($(
        $(#[$doc:meta])*
        $name:ident: $kind:ident {
            presets: $presets:tt,
            get: $get:literal,
            $($text:ident: $what:literal,)*
        }
    )*) => {
        /// What is set. A setter of [`RetryPolicyBuilder`] goes with each.
        impl RetryPolicy {
            $(getter!($get, $name: $kind);)*
        }

        impl Settings {
            /// Adds all fields but the first.
            fn show(&self, debug: &mut fmt::DebugStruct<'_, '_>) {
                $(debug.field(stringify!($name), &self.$name);)*
            }
        }
    };
}
settings_table!(getters);

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::from_settings(Settings::of(Preset::Default))
    }
}

impl PartialEq for RetryPolicy {
    fn eq(&self, other: &Self) -> bool {
        self.inner.settings == other.inner.settings
    }
}

impl fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.inner.settings;
        let mut debug = f.debug_struct("RetryPolicy");
        debug.field("preset", &settings.preset);
        for kind in LimitKind::ALL {
            debug.field(kind.as_str(), &settings.limits.get(kind));
        }
        settings.show(&mut debug);
        debug.finish()
    }
}

impl Policy for RetryPolicy {
    type Session = RetrySession;

    #[inline(always)]
    fn session(&self, request: &RequestHead<'_>) -> RetrySession {
        match request.rehearsal() {
            None => RetrySession::new(self.clone(), request),
            Some(rehearsal) => self.detached(request, rehearsal),
        }
    }

    fn parts(&self, visit: &mut dyn FnMut(Part<'_>)) {
        visit(Part::of(Some(self)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Methods;

    #[test]
    fn the_bits_say_what_the_list_of_methods_does() {
        let names = [
            "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT",
            "QUERY", "PURGE", "get", "Post",
        ];
        let each = names.map(|name| Methods::from([name]));
        let lists = [Methods::any(), Methods::none(), Methods::idempotent()];
        for methods in each.into_iter().chain(lists) {
            for mut settings in [Settings::of(Preset::Default), Settings::of(Preset::Urllib3)] {
                settings.allowed_methods = methods.clone();
                let policy = RetryPolicy::from_settings(settings);
                for name in names {
                    let method: Method = name.parse().expect("a token");
                    let listed = policy.inner.settings.allows(&method);
                    assert_eq!(
                        policy.inner.allows(&method),
                        listed,
                        "{method} of {methods}"
                    );
                }
            }
        }
    }
}
