//! [`RetryPolicy`]: urllib3's `Retry`, in two presets.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    Backoff, CountKind, Jitter, Ledger, Limit, Methods, Part, Policy, Rehearsal, RequestHead,
    ResetHeader, RetryPolicyBuilder, RetrySession, Rng, StopReason,
    hints::Hints,
    limit::{PerKind, StatusSet},
};
use http::{HeaderName, Method, StatusCode};

use crate::budget::RetryBudget;

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

/// How requests are retried: urllib3's `Retry` with its names, in two presets that never mix.
///
/// Cheap to clone; clones share the budget, and so does what [`to_builder`](Self::to_builder)
/// makes of a policy. A policy should therefore be made once, not for each request. Made from a preset by [`builder`](Self::builder),
/// [`urllib3_builder`](Self::urllib3_builder) or [`to_builder`](Self::to_builder).
///
/// # The default preset
///
/// [`RetryPolicy::default`] is what a careful engineer would run in production:
///
/// | setting | value | why |
/// | --- | --- | --- |
/// | `total` | 3 | a fault that outlives three retries is an outage, which retries prolong |
/// | `connect`, `read`, `status`, `other` | unlimited under `total` | one number to reason about |
/// | `unprocessed` | 2 | what a server refused unprocessed is sent again at once, for any method, outside of the counts (RFC 9113, section 8.7) |
/// | `allowed_methods` | [`Methods::idempotent`]: GET HEAD OPTIONS TRACE PUT DELETE QUERY PROPFIND and the others of IANA's registry | RFC 9110, section 9.2.2; another method is repeated only after a connect failure, or with an `Idempotency-Key` header or [`Idempotent`](super::Idempotent) mark |
/// | `status_forcelist` | 408 425 429 500 502 503 504 | the statuses that say "not now"; 501 and 505 say "never". One from 500 on that is not registered, Cloudflare's 520 for instance, is as good as 500 (RFC 9110, section 15) |
/// | backoff | exponential, 100 ms doubling to 20 s, full jitter | spreads clients best for the least work (AWS Architecture Blog, "Exponential Backoff And Jitter") |
/// | `respect_retry_after_header` | true | the server knows better; RFC 9110, section 10.2.3 |
/// | `retry_after_max` | 60 s, then give up | coming back earlier than asked is a broken promise, waiting longer is a broken client |
/// | `retry_after_jitter` | a tenth | a crowd that was told the same second should not come back in it; nobody comes earlier than told |
/// | `reset_headers`, `should_retry_header` | the usual ones | see [`hints`](super::hints) for all that a server can say, and what comes first |
/// | `raise_on_status` | false | the caller gets the last response, body and all |
/// | budget | 20 % of the successes, 10 % of what fails, 20 at once | retries cannot multiply an overload (Google SRE book, "Handling Overload") |
///
/// Certificate errors, unknown schemes and other permanent failures are not retried. An error of
/// an unknown type may have been sent, so it follows the rule for read failures.
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
    pub(super) eligible: Eligible,
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
pub(super) struct Eligible {
    /// Those that may be repeated although they may have been applied.
    repeatable: bool,
    others: bool,
}

impl Eligible {
    fn under(settings: &Settings) -> Self {
        let allows = |kind| settings.limits.get(kind).allows_any();
        let total = allows(CountKind::Total);
        let others = total
            && (allows(CountKind::Connect)
                || settings.unprocessed > 0
                || settings.preset == Preset::Urllib3 && allows(CountKind::Other));
        let after_send = [
            CountKind::Read,
            CountKind::Status,
            CountKind::Other,
            CountKind::Redirect,
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

/// Everything a policy can be told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) preset: Preset,
    pub(crate) limits: PerKind<Limit>,
    pub(crate) unprocessed: u32,
    pub(crate) methods: Methods,
    pub(crate) statuses: StatusSet,
    pub(crate) backoff: Backoff,
    pub(crate) respect_retry_after: bool,
    pub(crate) retry_after_max: Duration,
    pub(crate) retry_after_mode: RetryAfterMode,
    pub(crate) retry_after_jitter: f64,
    pub(crate) hints: Hints,
    pub(crate) raise_on_status: bool,
    pub(crate) seed: Option<u64>,
    pub(crate) budget: Option<RetryBudget>,
}

impl Settings {
    pub(super) fn default_preset() -> Self {
        let mut statuses = StatusSet::new();
        for status in [408, 425, 429, 500, 502, 503, 504] {
            statuses.insert(status);
        }
        Self {
            preset: Preset::Default,
            limits: limits(Limit::AtMost(3)),
            unprocessed: 2,
            methods: Methods::idempotent(),
            statuses,
            backoff: Backoff::exponential(Duration::from_millis(100))
                .max(Duration::from_secs(20))
                .jitter(Jitter::Full),
            respect_retry_after: true,
            retry_after_max: Duration::from_secs(60),
            retry_after_mode: RetryAfterMode::GiveUp,
            retry_after_jitter: 0.1,
            hints: Hints::defaults(),
            raise_on_status: false,
            seed: None,
            budget: Some(RetryBudget::default()),
        }
    }

    pub(super) fn urllib3_preset() -> Self {
        Self {
            preset: Preset::Urllib3,
            limits: limits(Limit::AtMost(10)),
            // Counted as connect errors there.
            unprocessed: 0,
            methods: Methods::urllib3(),
            statuses: StatusSet::new(),
            backoff: Backoff::urllib3(0.0),
            respect_retry_after: true,
            retry_after_max: Duration::from_secs(21_600),
            retry_after_mode: RetryAfterMode::Clamp,
            retry_after_jitter: 0.0,
            hints: Hints::default(),
            raise_on_status: true,
            seed: None,
            budget: None,
        }
    }

    /// Whether `status` is retried. Under the default preset a status from 500 on that is not
    /// registered is "equivalent to the x00 status code of that class", and one from 600 on is
    /// treated "as if it were a 5xx" (RFC 9110, section 15).
    pub(super) fn lists(&self, status: StatusCode) -> bool {
        let code = status.as_u16();
        self.statuses.contains(code)
            || self.preset == Preset::Default
                && code >= 500
                && !REGISTERED_5XX.contains(&code)
                && self.statuses.contains(500)
    }

    fn allows(&self, method: &Method) -> bool {
        match self.preset {
            Preset::Urllib3 => self.methods.contains_upper(method),
            Preset::Default => self.methods.contains(method),
        }
    }

    /// Why a request that is not [`Eligible`] is not.
    #[cold]
    pub(super) fn why_never(&self) -> StopReason {
        let total = self.limits.get(CountKind::Total);
        match total {
            Limit::Never => StopReason::KindDisabled {
                kind: CountKind::Total,
            },
            limit if !limit.allows_any() => limit.exhausted(CountKind::Total),
            _ => self
                .limits
                .get(CountKind::Connect)
                .exhausted(CountKind::Connect),
        }
    }
}

/// The server errors of IANA's registry of status codes, as of 2026-11.
const REGISTERED_5XX: [u16; 11] = [500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511];

/// A limit for all retries together, and none for the single kinds.
const fn limits(total: Limit) -> PerKind<Limit> {
    let none = Limit::Unlimited;
    PerKind::new([total, none, none, none, none, none])
}

impl RetryPolicy {
    /// urllib3 2.8's defaults and rules; see [the table above](Self#the-urllib3-preset).
    pub fn urllib3() -> Self {
        Self::from_settings(Settings::urllib3_preset())
    }

    /// A builder that starts from [`RetryPolicy::default`].
    pub fn builder() -> RetryPolicyBuilder {
        RetryPolicyBuilder::from_settings(Settings::default_preset())
    }

    /// A builder that starts from [`RetryPolicy::urllib3`].
    pub fn urllib3_builder() -> RetryPolicyBuilder {
        RetryPolicyBuilder::from_settings(Settings::urllib3_preset())
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
                eligible: Eligible::under(&settings),
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
        self.limit(CountKind::Total)
    }

    /// One of the limits.
    pub fn limit(&self, kind: CountKind) -> Limit {
        self.inner.settings.limits.get(kind)
    }

    /// How often a request that was refused unprocessed is sent again outside of the counts.
    pub fn unprocessed(&self) -> u32 {
        self.inner.settings.unprocessed
    }

    /// The methods that may be repeated.
    pub fn allowed_methods(&self) -> &Methods {
        &self.inner.settings.methods
    }

    /// The statuses that are retried, in ascending order.
    pub fn status_forcelist(&self) -> impl Iterator<Item = u16> + '_ {
        self.inner.settings.statuses.iter()
    }

    /// The waits between attempts.
    pub fn backoff(&self) -> &Backoff {
        &self.inner.settings.backoff
    }

    /// Whether the server's hints are obeyed.
    pub fn respect_retry_after_header(&self) -> bool {
        self.inner.settings.respect_retry_after
    }

    /// The longest wait that a server can ask for.
    pub fn retry_after_max(&self) -> Duration {
        self.inner.settings.retry_after_max
    }

    /// What happens when a server asks for more.
    pub fn retry_after_mode(&self) -> RetryAfterMode {
        self.inner.settings.retry_after_mode
    }

    /// The most that is added to what a server asks for, as a part of it.
    pub fn retry_after_jitter(&self) -> f64 {
        self.inner.settings.retry_after_jitter
    }

    /// The headers that say when a rate limit starts anew, in the order in which they are read.
    pub fn reset_headers(&self) -> &[ResetHeader] {
        &self.inner.settings.hints.resets
    }

    /// The header in which a server forbids retries.
    pub fn should_retry_header(&self) -> Option<&HeaderName> {
        self.inner.settings.hints.should_retry.as_ref()
    }

    /// Whether a failure status is an error once its retries are used up.
    pub fn raise_on_status(&self) -> bool {
        self.inner.settings.raise_on_status
    }

    /// The seed of all jitter, where it is repeatable.
    pub fn seed(&self) -> Option<u64> {
        self.inner.settings.seed
    }

    /// The budget that all requests under this policy, and under its clones, share.
    pub fn budget(&self) -> Option<&RetryBudget> {
        self.inner.settings.budget.as_ref()
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

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::from_settings(Settings::default_preset())
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
        for kind in CountKind::ALL {
            debug.field(kind.as_str(), &settings.limits.get(kind));
        }
        debug
            .field("unprocessed", &settings.unprocessed)
            .field("allowed_methods", &settings.methods)
            .field("status_forcelist", &settings.statuses)
            .field("backoff", &settings.backoff)
            .field("respect_retry_after_header", &settings.respect_retry_after)
            .field("retry_after_max", &settings.retry_after_max)
            .field("retry_after_mode", &settings.retry_after_mode)
            .field("retry_after_jitter", &settings.retry_after_jitter)
            .field("reset_headers", &settings.hints.resets)
            .field("should_retry_header", &settings.hints.should_retry)
            .field("raise_on_status", &settings.raise_on_status)
            .field("budget", &settings.budget)
            .finish_non_exhaustive()
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
            for mut settings in [Settings::default_preset(), Settings::urllib3_preset()] {
                settings.methods = methods.clone();
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
