//! What can be wrong with a [`RetryPolicy`].

use std::{fmt, time::Duration};

use http::Method;

use super::{Finding, LintCode, LintContext, Severity};
use crate::{
    budget::RetryBudget,
    classify::FailureKind,
    human::{Human, range},
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

/// The findings about `policy`.
pub(super) fn policy(policy: &RetryPolicy, context: &LintContext) -> impl Iterator<Item = Finding> {
    let look = Look { policy, context };
    let findings = [
        look.wanted_methods(),
        look.no_method(),
        look.no_status(),
        look.listed_statuses(),
        look.successes_listed(),
        look.statuses_without_effect(),
        look.processed_statuses(),
        look.total_zero(),
        look.unreachable_limits(),
        look.unlimited(),
        look.waits(),
        look.throttle_base(),
        look.seed(),
        look.not_idempotent(),
        look.budget(),
        look.large_budget(),
        look.hint_cap(),
        look.schedule(),
        look.body_limit(),
    ];
    findings.into_iter().flatten()
}

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
        let missing = self.context.methods.iter();
        let missing: Vec<_> = missing
            .filter(|method| !self.allows(method) && !self.context.gives_key(method))
            .collect();
        (!missing.is_empty()).then(|| {
            Finding::new(
                LintCode::MethodNotAllowed,
                format!(
                    "{} not allowed: such a request is repeated only when nothing of it was sent",
                    are(&missing)
                ),
                "add it to `allowed_methods` if repeating it does no harm, give it an \
                 `Idempotency-Key` (`RetryLayer::idempotency_keys`), or mark single requests with \
                 `Idempotent`",
            )
            .fields(["allowed_methods"])
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
            .fields(["allowed_methods"])
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
            .fields(["status_forcelist"])
        })
    }

    fn listed_statuses(&self) -> Option<Finding> {
        let listed = self.policy.status_forcelist();
        // After one retry, for which a hook may have changed the request, it ends.
        let once: Vec<_> = self.policy.once_statuses().collect();
        let never: Vec<_> = listed
            .filter(|status| NEVER_TRANSIENT.contains(status) && !once.contains(status))
            .collect();
        (self.retries_anything() && !never.is_empty()).then(|| {
            Finding::new(
                LintCode::StatusNeverTransient,
                format!(
                    "{} retried, and the same request will be answered the same again",
                    are(&never)
                ),
                "take it out of `status_forcelist`, or allow this if the server means something \
                 else by it",
            )
            .fields(["status_forcelist"])
        })
    }

    /// Statuses that are named for what happens when they are retried, and are not.
    fn statuses_without_effect(&self) -> Option<Finding> {
        let asks = self.policy.preset() != Preset::Urllib3;
        let listed = |status: u16| asks && self.policy.status_forcelist().any(|it| it == status);
        // Those of the standard are there for whoever lists them.
        let unprocessed = self.policy.unprocessed_statuses();
        let named = unprocessed.filter(|status| !matches!(status, 421 | 425));
        let mut idle: Vec<_> = named
            .chain(self.policy.once_statuses())
            .filter(|status| !listed(*status))
            .collect();
        idle.sort_unstable();
        idle.dedup();
        (!idle.is_empty()).then(|| {
            let why = match self.policy.preset() {
                Preset::Default | Preset::Grpc => "`status_forcelist` does not have it",
                Preset::Urllib3 => "the urllib3 preset does not ask it",
            };
            Finding::new(
                LintCode::StatusWithoutEffect,
                format!("what is said of {} has no effect: {why}", list(&idle)),
                "list the status in `status_forcelist`, or take it out here",
            )
            .fields(["once_statuses", "unprocessed_statuses"])
        })
    }

    /// Statuses that are taken for 'not processed', and are what is said after processing.
    fn processed_statuses(&self) -> Option<Finding> {
        let unprocessed = self.policy.unprocessed_statuses();
        let may_be_applied =
            |status: &u16| *status < 400 || *status >= 500 && !matches!(*status, 501 | 505 | 511);
        let processed: Vec<_> = unprocessed.filter(may_be_applied).collect();
        let sends = self.policy.preset() != Preset::Urllib3 && self.retries_anything();
        (sends && !processed.is_empty()).then(|| {
            Finding::new(
                LintCode::StatusMayBeProcessed,
                format!(
                    "{} sent again for every method, as if nothing had been done: a server can \
                     answer so after it has applied the request",
                    are(&processed)
                ),
                "take it out of `unprocessed_statuses`, or allow this if your server is known to \
                 answer so before it looks at a request",
            )
            .fields(["unprocessed_statuses"])
        })
    }

    fn successes_listed(&self) -> Option<Finding> {
        let listed = self.policy.status_forcelist();
        // 304 says that what the client has is still right (RFC 9110, section 15.4.5).
        let is_success = |status: &u16| *status < 300 || *status == 304;
        let successes: Vec<_> = listed.filter(is_success).collect();
        (self.retries_anything() && !successes.is_empty()).then(|| {
            Finding::new(
                LintCode::SuccessListed,
                format!(
                    "{} retried: the answer is thrown away and the request repeated until a limit \
                     ends it",
                    are(&successes)
                ),
                "take it out of `status_forcelist`",
            )
            .fields(["status_forcelist"])
        })
    }

    fn kinds_with(&self, matches: impl Fn(Limit) -> bool) -> Vec<LimitKind> {
        let kinds = LimitKind::ALL.into_iter().skip(1);
        kinds
            .filter(|kind| matches(self.policy.limit(*kind)))
            .collect()
    }

    fn with_values(&self, kinds: &[LimitKind]) -> String {
        let value = |kind: &LimitKind| format!("`{kind}` = {}", self.policy.limit(*kind));
        list(&kinds.iter().map(value).collect::<Vec<_>>())
    }

    fn total_zero(&self) -> Option<Finding> {
        let kinds = self.kinds_with(|limit| matches!(limit, Limit::AtMost(1..)));
        (!self.retries_anything() && !kinds.is_empty()).then(|| {
            Finding::new(
                LintCode::TotalZero,
                format!(
                    "`total` allows no retry, so {} never counts",
                    self.with_values(&kinds)
                ),
                "raise `total`, or leave the other limits out",
            )
            .fields(fields(LimitKind::Total, &kinds))
        })
    }

    fn unreachable_limits(&self) -> Option<Finding> {
        let Limit::AtMost(total @ 1..) = self.policy.total() else {
            return None;
        };
        let kinds = self.kinds_with(|limit| matches!(limit, Limit::AtMost(n) if n > total));
        (!kinds.is_empty()).then(|| {
            Finding::new(
                LintCode::LimitUnreachable,
                format!(
                    "{} can never be reached: `total` = {total} is used up first",
                    self.with_values(&kinds)
                ),
                "raise `total` to at least that, or lower the limit",
            )
            .fields(fields(LimitKind::Total, &kinds))
        })
    }

    fn unlimited(&self) -> Option<Finding> {
        if self.policy.total() != Limit::Unlimited {
            return None;
        }
        let kinds = self.kinds_with(|limit| limit == Limit::Unlimited);
        (!kinds.is_empty()).then(|| {
            let names: Vec<_> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
            let (severity, end) = match self.context.deadline {
                Some(_) => (Severity::Warn, "only the deadline ends them"),
                None => (Severity::Error, "nothing ends them"),
            };
            Finding::new(
                LintCode::UnlimitedRetries,
                format!(
                    "retries after failures of {} are unlimited, and so is `total`: {end}",
                    list(&names)
                ),
                "set `total`, or a limit for each of these kinds",
            )
            .severity(severity)
            .fields(fields(LimitKind::Total, &kinds))
        })
    }

    fn waits(&self) -> Option<Finding> {
        let retries = self.most_retries().unwrap_or(HORIZON).min(HORIZON);
        let waits: Vec<_> = bounds(self.policy.backoff(), retries).collect();
        let retried = self.retries_anything() && !waits.is_empty();
        if retried && waits.iter().all(|(_, most)| most.is_zero()) {
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
                .fields(["backoff_factor"]),
            );
        }
        (retried && waits.iter().all(|(least, most)| least == most)).then(|| {
            Finding::new(
                LintCode::NoJitter,
                "every client waits equally long: those that failed together come back together",
                "set `backoff_jitter`, or a backoff with `Jitter::Full`",
            )
            .fields(["backoff_jitter"])
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
            .fields(["throttle_base", "backoff_factor"])
        })
    }

    fn seed(&self) -> Option<Finding> {
        self.policy.seed().map(|_| {
            Finding::new(
                LintCode::FixedSeed,
                "every process draws the same jitter, so that their clients move in step",
                "leave the seed to tests",
            )
            .fields(["seed"])
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
            let risky: Vec<_> = methods
                .iter()
                .filter(|method| !is_idempotent(method) && !self.context.gives_key(method))
                .collect();
            (!risky.is_empty()).then(|| are(&risky))
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
            .fields(["allowed_methods"])
        })
    }

    fn budget(&self) -> Option<Finding> {
        let budget = self.policy.budget()?;
        let kinds = [
            FailureKind::Connect,
            FailureKind::Read,
            FailureKind::Status,
            FailureKind::Other,
        ];
        let refused = kinds.into_iter().any(|kind| !grants_one(budget, kind));
        (self.retries_anything() && refused).then(|| {
            Finding::new(
                LintCode::BudgetTooSmall,
                "even a full budget does not grant a single retry",
                "raise its capacity: gRPC's budget grants a retry only while more than half is \
                 left, so it needs at least 3 tokens",
            )
            .fields(["budget"])
        })
    }

    fn large_budget(&self) -> Option<Finding> {
        let share = self.policy.budget()?.min_ratio()?;
        (self.retries_anything() && share > 0.5).then(|| {
            Finding::new(
                LintCode::BudgetTooLarge,
                format!(
                    "each request that fails earns {share} of a retry: the budget hardly limits \
                     anything while nothing succeeds"
                ),
                "set `min_ratio` to what may be added to the load of a server that is down: 0.1",
            )
            .fields(["budget"])
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
            .fields(["retry_after_max", "deadline"]);
            match self.policy.retry_after_mode() {
                // It would stop as well.
                RetryAfterMode::GiveUp => finding.severity(Severity::Note),
                // It would wait for the cap.
                RetryAfterMode::Clamp => finding,
            }
        })
    }

    fn schedule(&self) -> Option<Finding> {
        let deadline = self.context.deadline?;
        // Retries without end are ended by the deadline, as they were meant to be.
        let retries = self.most_retries().filter(|retries| *retries > 0)?;
        let waits = Waits::of(self.policy.backoff(), retries.min(HORIZON));
        let over = |waits: Duration| waits.saturating_add(self.context.min_attempt) >= deadline;
        let (severity, how) = if over(waits.least) {
            (Severity::Error, "always")
        } else if over(waits.most) && over(waits.median()) {
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
                    range(waits.least, waits.most),
                    Human(deadline)
                ),
                "raise the deadline, lower `backoff_factor` or `backoff_max`, or allow fewer \
                 retries",
            )
            .severity(severity)
            .fields(["backoff_factor", "total", "deadline"]),
        )
    }

    fn body_limit(&self) -> Option<Finding> {
        if self.context.body_limit != Some(0) || !self.retries_anything() {
            return None;
        }
        let methods = self.policy.allowed_methods();
        let carriers: Vec<_> = WITH_BODY
            .into_iter()
            .filter_map(|name| Method::from_bytes(name.as_bytes()).ok())
            .filter(|method| methods.contains(method) || self.context.gives_key(method))
            .collect();
        (!carriers.is_empty()).then(|| {
            Finding::new(
                LintCode::BodyLimitZero,
                format!(
                    "{} retried, but none of a body is kept: once a byte of it was read, the \
                     request is not sent again",
                    are(&carriers)
                ),
                "raise the limit of `replay_bodies`, or open bodies anew with `reopen_bodies`",
            )
            .fields(["replay_bodies", "allowed_methods"])
        })
    }
}

/// The shortest and the longest wait before each retry.
fn bounds(backoff: &Backoff, retries: u32) -> impl Iterator<Item = (Duration, Duration)> {
    let mut last = (Duration::ZERO, Duration::ZERO);
    (1..=retries).map(move |retry| {
        last = backoff.bounds(retry, last);
        last
    })
}

/// All waits before the last retry together.
struct Waits<'a> {
    backoff: &'a Backoff,
    retries: u32,
    least: Duration,
    most: Duration,
}

impl<'a> Waits<'a> {
    fn of(backoff: &'a Backoff, retries: u32) -> Self {
        let (mut least, mut most) = (Duration::ZERO, Duration::ZERO);
        for (short, long) in bounds(backoff, retries) {
            least = least.saturating_add(short);
            most = most.saturating_add(long);
        }
        Self {
            backoff,
            retries,
            least,
            most,
        }
    }

    /// At most so long for every other request.
    fn median(&self) -> Duration {
        // Enough to tell where the middle is.
        let mut sums: Vec<Duration> = (0..401).map(|seed| self.drawn(seed)).collect();
        let middle = sums.len() / 2;
        *sums.select_nth_unstable(middle).1
    }

    fn drawn(&self, seed: u64) -> Duration {
        let mut rng = Rng::with_seed(seed);
        let (mut sum, mut previous) = (Duration::ZERO, Duration::ZERO);
        for retry in 1..=self.retries {
            previous = self.backoff.wait(retry, previous, &mut rng);
            sum = sum.saturating_add(previous);
        }
        sum
    }
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
fn fields(first: LimitKind, kinds: &[LimitKind]) -> Vec<&'static str> {
    let kinds = kinds.iter().map(|kind| kind.as_str());
    std::iter::once(first.as_str()).chain(kinds).collect()
}

/// "a", "a and b", "a, b and c".
fn list<T: fmt::Display>(items: &[T]) -> String {
    let mut text = String::new();
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            text.push_str(if at + 1 == items.len() { " and " } else { ", " });
        }
        text.push_str(&item.to_string());
    }
    text
}

/// A list and its verb.
fn are<T: fmt::Display>(items: &[T]) -> String {
    let verb = if items.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", list(items))
}
