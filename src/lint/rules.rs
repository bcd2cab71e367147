//! What can be wrong with a [`RetryPolicy`].

use std::{fmt, time::Duration};

use http::Method;

use super::{Finding, LintCode, LintContext, Severity};
use crate::{
    budget::RetryBudget,
    classify::FailureKind,
    human::{Human, Thousandths, range},
    policy::{Backoff, Limit, LimitKind, Methods, Preset, RetryAfterMode, RetryPolicy, Rng},
};

/// So many retries are looked at where there is no end to them.
const HORIZON: u32 = 64;

/// Statuses that a repeated request gets again: the request itself is at fault, or the server will
/// never do what it asks for (RFC 9110, section 15; RFC 6585; RFC 7725). What a precondition
/// asks about has changed, and repeating it asks the same (412); a network wants its user to log
/// in (511). Left out are those that can go away: 408, 409, 413, 421, 423, 424, 425, 429, and of
/// the 5xx all but these.
const NEVER_TRANSIENT: [u16; 22] = [
    400, 401, 402, 403, 404, 405, 406, 407, 410, 411, 412, 414, 415, 416, 417, 422, 426, 431, 451,
    501, 505, 511,
];

/// The methods whose requests usually have a body.
const WITH_BODY: [&str; 4] = ["POST", "PUT", "PATCH", "QUERY"];

/// What can only be known by playing a policy through: it is looked for when somebody asks, and not
/// when a layer makes its first service. A program that never asks does not contain it.
pub(super) struct Rehearsals {
    /// What the waits of every other request add up to, at most.
    median: fn(&Backoff, u32) -> Duration,
    /// Whether a full budget grants one retry after a failure of this kind.
    grants_one: fn(&RetryBudget, FailureKind) -> bool,
}

pub(super) const REHEARSALS: Rehearsals = Rehearsals { median, grants_one };

/// The findings about `policy`.
pub(super) fn policy(
    policy: &RetryPolicy,
    context: &LintContext,
    rehearsals: Option<&Rehearsals>,
) -> Vec<Finding> {
    let look = Look { policy, context };
    let mut found = Vec::new();
    let rules: [Rule<'_>; 14] = [
        Look::wanted_methods,
        Look::no_method,
        Look::no_status,
        Look::listed_statuses,
        Look::successes_listed,
        Look::statuses_without_effect,
        Look::processed_statuses,
        Look::total_zero,
        Look::unreachable_limits,
        Look::unlimited,
        Look::waits,
        Look::throttle_base,
        Look::seed,
        Look::not_idempotent,
    ];
    found.extend(rules.iter().filter_map(|rule| rule(&look)));
    found.extend(rehearsals.and_then(|rehearsals| look.budget(rehearsals)));
    found.extend(look.large_budget());
    found.extend(look.hint_cap());
    found.extend(look.schedule(rehearsals));
    found.extend(look.body_limit());
    found
}

type Rule<'a> = fn(&Look<'a>) -> Option<Finding>;

struct Look<'a> {
    policy: &'a RetryPolicy,
    context: &'a LintContext,
}

impl Look<'_> {
    fn retries_anything(&self) -> bool {
        self.policy.total().allows_any()
    }

    /// Whether the rules are gRPC's: its codes are listed, not methods and statuses, and its
    /// pushback has no cap but the deadline.
    fn is_grpc(&self) -> bool {
        self.policy.preset() == Preset::Grpc
    }

    /// The most retries that the counts allow; `None` if they have no end.
    fn most_retries(&self) -> Option<u32> {
        let most = |kind| match self.policy.limit(kind) {
            Limit::Unlimited => None,
            Limit::AtMost(n) => Some(u32::try_from(n.max(0)).unwrap_or(u32::MAX)),
            Limit::Never => Some(0),
        };
        let kinds = LimitKind::ALL.into_iter().skip(1);
        let together = kinds
            .map(most)
            .try_fold(0, |sum: u32, n| Some(sum.saturating_add(n?)));
        match (most(LimitKind::Total), together) {
            (Some(total), Some(together)) => Some(total.min(together)),
            (total, together) => total.or(together),
        }
    }

    fn allows(&self, method: &Method) -> bool {
        match self.policy.preset() {
            Preset::Default | Preset::Grpc => self.policy.allowed_methods().contains(method),
            Preset::Urllib3 => self.policy.allowed_methods().contains_upper(method),
        }
    }

    fn wanted_methods(&self) -> Option<Finding> {
        let missing = Names::of_methods(&mut self.context.methods.iter(), &|method| {
            !self.allows(method) && !self.context.gives_key(method)
        });
        (!missing.is_empty()).then(|| {
            Finding::new(
                LintCode::MethodNotAllowed,
                format!(
                    "{} not allowed: such a request is repeated only when nothing of it was sent",
                    missing.are()
                ),
                "add it to `allowed_methods` if repeating it does no harm, give it an \
                 `Idempotency-Key` (`RetryLayer::idempotency_keys`), or mark single requests with \
                 `Idempotent`",
            )
            .fields(&["allowed_methods"])
        })
    }

    fn no_method(&self) -> Option<Finding> {
        let methods = self.policy.allowed_methods();
        let empty = !methods.is_any() && methods.iter().next().is_none();
        // Without a list of statuses it may be meant so: connect failures only.
        let meant = self.policy.preset() == Preset::Default
            && self.policy.status_forcelist().next().is_none();
        (self.retries_anything() && empty && !meant).then(|| {
            Finding::new(
                LintCode::NoMethodAllowed,
                "no method is allowed: only connect failures are retried (to urllib3 the empty \
                 list means any method)",
                "list the methods, or use `Methods::any()`",
            )
            .fields(&["allowed_methods"])
        })
    }

    fn no_status(&self) -> Option<Finding> {
        if self.is_grpc() {
            return None;
        }
        let methods = self.policy.allowed_methods();
        let meant = !methods.is_any() && methods.iter().next().is_none()
            || !self.policy.limit(LimitKind::Status).allows_any();
        let empty = self.policy.status_forcelist().next().is_none();
        (self.retries_anything() && empty && !meant).then(|| {
            // urllib3's `bool(self.total and …)`: unlimited counts as no.
            let hinted = self.policy.respect_retry_after_header()
                && !(self.policy.preset() == Preset::Urllib3
                    && self.policy.total() == Limit::Unlimited);
            Finding::new(
                LintCode::NoStatusListed,
                if hinted {
                    "no status is retried, except 413, 429 and 503 with `Retry-After`"
                } else {
                    "no status is retried"
                },
                "list those that mean \"not now\", for instance 429, 502, 503 and 504",
            )
            .fields(&["status_forcelist"])
        })
    }

    fn listed_statuses(&self) -> Option<Finding> {
        let never = Names::of_statuses(&mut self.policy.status_forcelist(), &|status| {
            // After one retry, for which a hook may have changed the request, it ends.
            let is_once = || self.policy.once_statuses().any(|once| once == status);
            NEVER_TRANSIENT.contains(&status) && !is_once()
        });
        (self.retries_anything() && !never.is_empty()).then(|| {
            Finding::new(
                LintCode::StatusNeverTransient,
                format!(
                    "{} retried, and the same request will be answered the same again",
                    never.are()
                ),
                "take it out of `status_forcelist`, or allow this if the server means something \
                 else by it",
            )
            .fields(&["status_forcelist"])
        })
    }

    /// Statuses that are named for what happens when they are retried, and are not.
    fn statuses_without_effect(&self) -> Option<Finding> {
        let asks = self.policy.preset() != Preset::Urllib3;
        let listed = |status: u16| asks && self.policy.status_forcelist().any(|it| it == status);
        // Those of the standard are there for whoever lists them.
        let mut idle = Names::of_statuses(&mut self.policy.unprocessed_statuses(), &|status| {
            !matches!(status, 421 | 425) && !listed(status)
        });
        let once = Names::of_statuses(&mut self.policy.once_statuses(), &|status| !listed(status));
        for status in once.0 {
            // They have three digits each, so that their names stand in order as well.
            if let Err(place) = idle.0.binary_search(&status) {
                idle.0.insert(place, status);
            }
        }
        (!idle.is_empty()).then(|| {
            let why = match self.policy.preset() {
                Preset::Default | Preset::Grpc => "`status_forcelist` does not have it",
                Preset::Urllib3 => "the urllib3 preset does not ask it",
            };
            Finding::new(
                LintCode::StatusWithoutEffect,
                format!("what is said of {} has no effect: {why}", idle.list()),
                "list the status in `status_forcelist`, or take it out here",
            )
            .fields(&["once_statuses", "unprocessed_statuses"])
        })
    }

    /// Statuses that are taken for 'not processed', and are what is said after processing.
    fn processed_statuses(&self) -> Option<Finding> {
        let processed = Names::of_statuses(&mut self.policy.unprocessed_statuses(), &|status| {
            status < 400 || status >= 500 && !matches!(status, 501 | 505 | 511)
        });
        let sends = self.policy.preset() != Preset::Urllib3 && self.retries_anything();
        (sends && !processed.is_empty()).then(|| {
            Finding::new(
                LintCode::StatusMayBeProcessed,
                format!(
                    "{} sent again for every method, as if nothing had been done: a server can \
                     answer so after it has applied the request",
                    processed.are()
                ),
                "take it out of `unprocessed_statuses`, or allow this if your server is known to \
                 answer so before it looks at a request",
            )
            .fields(&["unprocessed_statuses"])
        })
    }

    fn successes_listed(&self) -> Option<Finding> {
        // 304 says that what the client has is still right (RFC 9110, section 15.4.5).
        let successes = Names::of_statuses(&mut self.policy.status_forcelist(), &|status| {
            status < 300 || status == 304
        });
        (self.retries_anything() && !successes.is_empty()).then(|| {
            Finding::new(
                LintCode::SuccessListed,
                format!(
                    "{} retried: the answer is thrown away and the request repeated until a limit \
                     ends it",
                    successes.are()
                ),
                "take it out of `status_forcelist`",
            )
            .fields(&["status_forcelist"])
        })
    }

    /// The kinds of failure with a limit from `least` on, all but `total`.
    fn kinds_above(&self, least: i64) -> Vec<LimitKind> {
        let mut kinds = Vec::new();
        for kind in LimitKind::ALL {
            let limit = self.policy.limit(kind);
            if kind != LimitKind::Total && matches!(limit, Limit::AtMost(n) if n > least) {
                kinds.push(kind);
            }
        }
        kinds
    }

    fn with_values(&self, kinds: &[LimitKind]) -> String {
        let mut names = Names::default();
        for kind in kinds {
            names.add(&format_args!("`{kind}` = {}", self.policy.limit(*kind)));
        }
        names.list()
    }

    fn total_zero(&self) -> Option<Finding> {
        let kinds = self.kinds_above(0);
        (!self.retries_anything() && !kinds.is_empty()).then(|| {
            Finding::new(
                LintCode::TotalZero,
                format!(
                    "`total` allows no retry, so {} never counts",
                    self.with_values(&kinds)
                ),
                "raise `total`, or leave the other limits out",
            )
            .fields(&fields(&kinds))
        })
    }

    fn unreachable_limits(&self) -> Option<Finding> {
        let Limit::AtMost(total @ 1..) = self.policy.total() else {
            return None;
        };
        let kinds = self.kinds_above(total);
        (!kinds.is_empty()).then(|| {
            Finding::new(
                LintCode::LimitUnreachable,
                format!(
                    "{} can never be reached: `total` = {total} is used up first",
                    self.with_values(&kinds)
                ),
                "raise `total` to at least that, or lower the limit",
            )
            .fields(&fields(&kinds))
        })
    }

    fn unlimited(&self) -> Option<Finding> {
        if self.policy.total() != Limit::Unlimited {
            return None;
        }
        let (mut kinds, mut names) = (Vec::new(), Names::default());
        for kind in LimitKind::ALL {
            if kind != LimitKind::Total && self.policy.limit(kind) == Limit::Unlimited {
                names.add(&format_args!("`{kind}`"));
                kinds.push(kind);
            }
        }
        (!kinds.is_empty()).then(|| {
            let (severity, end) = match self.context.deadline {
                Some(_) => (Severity::Warn, "only the deadline ends them"),
                None => (Severity::Error, "nothing ends them"),
            };
            Finding::new(
                LintCode::UnlimitedRetries,
                format!(
                    "retries after failures of {} are unlimited, and so is `total`: {end}",
                    names.list()
                ),
                "set `total`, or a limit for each of these kinds",
            )
            .severity(severity)
            .fields(&fields(&kinds))
        })
    }

    fn waits(&self) -> Option<Finding> {
        let retries = self.most_retries().unwrap_or(HORIZON).min(HORIZON);
        let (mut none_waits, mut all_alike) = (true, true);
        bounds(self.policy.backoff(), retries, &mut |least, most| {
            none_waits &= most.is_zero();
            all_alike &= least == most;
        });
        let retried = self.retries_anything() && retries > 0;
        if retried && none_waits {
            let immediate_once = retries == 1 && self.policy.preset() == Preset::Urllib3;
            return Some(
                Finding::new(
                    LintCode::NoBackoff,
                    "no retry waits: a server that is down gets them all at once",
                    if immediate_once {
                        "allow this, or allow more retries: under urllib3's rules the first one \
                         never waits"
                    } else {
                        "set a backoff, with jitter"
                    },
                )
                .fields(&["backoff_factor"]),
            );
        }
        (retried && all_alike).then(|| {
            Finding::new(
                LintCode::NoJitter,
                "every client waits equally long: those that failed together come back together",
                "set `backoff_jitter`, or a backoff with `Jitter::Full`",
            )
            .fields(&["backoff_jitter"])
        })
    }

    fn throttle_base(&self) -> Option<Finding> {
        let backoff = self.policy.backoff();
        let (base, usual) = (backoff.get_throttle_base()?, backoff.get_base());
        (self.retries_anything() && base < usual).then(|| {
            let (base, usual) = (Human(base), Human(usual));
            Finding::new(
                LintCode::ThrottleBaseBelowBase,
                format!(
                    "after throttling the waits begin with {base}, after other failures with \
                     {usual}: a server that asks for less load gets more"
                ),
                "set `throttle_base` to several times the base, or leave it out",
            )
            .fields(&["throttle_base", "backoff_factor"])
        })
    }

    fn seed(&self) -> Option<Finding> {
        self.policy.seed().map(|_| {
            Finding::new(
                LintCode::FixedSeed,
                "every process draws the same jitter, so that their clients move in step",
                "leave the seed to tests",
            )
            .fields(&["seed"])
        })
    }

    fn not_idempotent(&self) -> Option<Finding> {
        if self.is_grpc() {
            return None;
        }
        let methods = self.policy.allowed_methods();
        let what = if methods.is_any() {
            (!self.context.idempotency_keys).then(|| "every method is".to_owned())
        } else {
            let risky = Names::of_methods(&mut methods.iter(), &|method| {
                !is_idempotent(method) && !self.context.gives_key(method)
            });
            (!risky.is_empty()).then(|| risky.are())
        }?;
        self.retries_anything().then(|| {
            Finding::new(
                LintCode::NonIdempotentWithoutKey,
                format!(
                    "{what} repeated although the server may have applied it: it can be applied \
                     more than once"
                ),
                "give such requests an `Idempotency-Key` (`RetryLayer::idempotency_keys`), mark \
                 the harmless ones with `Idempotent`, or take the method out",
            )
            .fields(&["allowed_methods"])
        })
    }

    fn budget(&self, rehearsals: &Rehearsals) -> Option<Finding> {
        let budget = self.policy.budget()?;
        let kinds = [
            FailureKind::Connect,
            FailureKind::Read,
            FailureKind::Status,
            FailureKind::Other,
        ];
        let refused = kinds
            .into_iter()
            .any(|kind| !(rehearsals.grants_one)(budget, kind));
        (self.retries_anything() && refused).then(|| {
            Finding::new(
                LintCode::BudgetTooSmall,
                "even a full budget does not grant a single retry",
                "raise its capacity: gRPC's budget grants a retry only while more than half is \
                 left, so it needs at least 3 tokens",
            )
            .fields(&["budget"])
        })
    }

    fn large_budget(&self) -> Option<Finding> {
        let share = self.policy.budget()?.min_ratio()?;
        (self.retries_anything() && share > 0.5).then(|| {
            Finding::new(
                LintCode::BudgetTooLarge,
                format!(
                    "each request that fails earns {} of a retry: the budget hardly limits \
                     anything while nothing succeeds",
                    Thousandths::of(share)
                ),
                "set `min_ratio` to what may be added to the load of a server that is down: 0.1",
            )
            .fields(&["budget"])
        })
    }

    fn hint_cap(&self) -> Option<Finding> {
        if self.is_grpc() {
            return None;
        }
        let deadline = self.context.deadline?;
        let cap = self.policy.retry_after_max();
        let heard = self.retries_anything() && self.policy.respect_retry_after_header();
        (heard && cap > deadline).then(|| {
            let (cap, deadline) = (Human(cap), Human(deadline));
            let finding = Finding::new(
                LintCode::RetryAfterCapOverDeadline,
                format!(
                    "a server can ask for a wait of up to {cap}, the deadline is {deadline}: a \
                     request that is asked to wait longer than that stops at once"
                ),
                "set `retry_after_max` below the deadline",
            )
            .fields(&["retry_after_max", "deadline"]);
            match self.policy.retry_after_mode() {
                // It would stop as well.
                RetryAfterMode::GiveUp => finding.severity(Severity::Note),
                // It would wait for the cap.
                RetryAfterMode::Clamp => finding,
            }
        })
    }

    fn schedule(&self, rehearsals: Option<&Rehearsals>) -> Option<Finding> {
        let deadline = self.context.deadline?;
        // Retries without end are ended by the deadline, as they were meant to be.
        let retries = self.most_retries().filter(|retries| *retries > 0)?;
        let (backoff, played) = (self.policy.backoff(), retries.min(HORIZON));
        let (mut least, mut most) = (Duration::ZERO, Duration::ZERO);
        bounds(backoff, played, &mut |short, long| {
            least = least.saturating_add(short);
            most = most.saturating_add(long);
        });
        let over = |waits: Duration| waits.saturating_add(self.context.min_attempt) >= deadline;
        let median_is_over =
            || rehearsals.is_some_and(|rehearsals| over((rehearsals.median)(backoff, played)));
        let (severity, how) = if over(least) {
            (Severity::Error, "always")
        } else if over(most) && median_is_over() {
            (Severity::Warn, "for at least every other request")
        } else {
            return None;
        };
        Some(
            Finding::new(
                LintCode::ScheduleOverDeadline,
                format!(
                    "the waits before the last of {retries} retries take {}, the deadline is {}: it \
                     passes before that retry, {how}",
                    range(least, most),
                    Human(deadline)
                ),
                "raise the deadline, lower `backoff_factor` or `backoff_max`, or allow fewer \
                 retries",
            )
            .severity(severity)
            .fields(&["backoff_factor", "total", "deadline"]),
        )
    }

    fn body_limit(&self) -> Option<Finding> {
        if self.context.body_limit != Some(0) || !self.retries_anything() {
            return None;
        }
        let methods = self.policy.allowed_methods();
        let mut carriers = Names::default();
        for name in WITH_BODY {
            let keyed = self.context.idempotency_keys && ["POST", "PATCH"].contains(&name);
            if keyed || methods.is_any() || methods.iter().any(|method| method == name) {
                carriers.add(&name);
            }
        }
        (!carriers.is_empty()).then(|| {
            Finding::new(
                LintCode::BodyLimitZero,
                format!(
                    "{} retried, but none of a body is kept: once a byte of it was read, the \
                     request is not sent again",
                    carriers.are()
                ),
                "raise the limit of `replay_bodies`, or open bodies anew with `reopen_bodies`",
            )
            .fields(&["replay_bodies", "allowed_methods"])
        })
    }
}

/// Visits the shortest and the longest wait before each retry.
fn bounds(backoff: &Backoff, retries: u32, visit: &mut dyn FnMut(Duration, Duration)) {
    let mut last = (Duration::ZERO, Duration::ZERO);
    for retry in 1..=retries {
        last = backoff.bounds(retry, last);
        visit(last.0, last.1);
    }
}

/// All waits before the last retry together are at most so long for every other request.
fn median(backoff: &Backoff, retries: u32) -> Duration {
    let drawn = |seed: u64| {
        let mut rng = Rng::with_seed(seed);
        let (mut sum, mut previous) = (Duration::ZERO, Duration::ZERO);
        for retry in 1..=retries {
            previous = backoff.wait(retry, previous, &mut rng);
            sum = sum.saturating_add(previous);
        }
        sum
    };
    // Enough to tell where the middle is.
    let mut sums: Vec<Duration> = (0..401).map(drawn).collect();
    let middle = sums.len() / 2;
    *sums.select_nth_unstable(middle).1
}

/// Whether a full budget grants a retry after a failure of `kind`.
fn grants_one(budget: &RetryBudget, kind: FailureKind) -> bool {
    // Another library's cannot be asked without taking from it.
    let Some(budget) = budget.fresh() else {
        return true;
    };
    let slot = budget.slot(&http::Uri::default());
    let now = tokio::time::Instant::now().into_std();
    budget.withdraw(slot, kind, false, now).is_ok()
}

fn is_idempotent(method: &Method) -> bool {
    Methods::idempotent().contains(method)
}

/// `total` and `kinds`.
fn fields(kinds: &[LimitKind]) -> Vec<&'static str> {
    let mut fields = vec![LimitKind::Total.as_str()];
    for kind in kinds {
        fields.push(kind.as_str());
    }
    fields
}

/// What a sentence is about.
#[derive(Default)]
struct Names(Vec<String>);

impl Names {
    fn of_statuses(all: &mut dyn Iterator<Item = u16>, keep: &dyn Fn(u16) -> bool) -> Self {
        let mut names = Self::default();
        for status in all {
            if keep(status) {
                names.add(&status);
            }
        }
        names
    }

    fn of_methods<'m>(
        all: &mut dyn Iterator<Item = &'m Method>,
        keep: &dyn Fn(&Method) -> bool,
    ) -> Self {
        let mut names = Self::default();
        for method in all {
            if keep(method) {
                names.add(method);
            }
        }
        names
    }

    #[inline(never)]
    fn add(&mut self, name: &dyn fmt::Display) {
        self.0.push(name.to_string());
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// "a", "a and b", "a, b and c".
    #[inline(never)]
    fn list(&self) -> String {
        let mut text = String::new();
        for (at, name) in self.0.iter().enumerate() {
            if at > 0 {
                text.push_str(if at + 1 == self.0.len() {
                    " and "
                } else {
                    ", "
                });
            }
            text.push_str(name);
        }
        text
    }

    /// The list and its verb.
    #[inline(never)]
    fn are(&self) -> String {
        let mut text = self.list();
        text.push_str(if self.0.len() == 1 { " is" } else { " are" });
        text
    }
}
