//! The memory of one request under a [`RetryPolicy`], and the rules of the presets.

mod default;
mod grpc;
mod urllib3;

use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode, Uri};

use crate::{
    budget::{RetryPermit, Slot, Withdrawal},
    classify::{Cause, Failure, FailureKind, Outcome},
    stack::RequestState,
};

use super::{
    Attempt, Decision, Due, Eligibility, Gate, Gates, Hint, HintHeader, LimitKind, Preset,
    RequestHead, RetryAfterMode, RetryDecision, RetryPolicy, Rng, Session, StopReason, WaitReason,
    backoff::Circumstances,
    limit::{PerKind, StatusSet},
    repeatable::{is_keyed, is_marked},
    settings::Settings,
};

/// One request under a [`RetryPolicy`].
#[derive(Debug)]
pub struct RetrySession {
    policy: RetryPolicy,
    used: PerKind<u32>,
    /// Requests sent again because they were never processed.
    unprocessed: u32,
    /// Whether it was sent again because it came over the wrong connection.
    misdirected: bool,
    /// Of these, to gRPC, those that never left the client.
    never_left: u32,
    /// Failures in a row; urllib3 starts anew after a redirect.
    run: u32,
    /// The previous wait in nanoseconds, for decorrelated jitter.
    previous: u64,
    rng: Option<Rng>,
    method_allowed: bool,
    idempotent: bool,
    /// The request carries an idempotency key that matters.
    keyed: bool,
    /// The statuses after which it was sent again, of those that allow it once.
    once_used: OnceUsed,
    /// Whether an attempt so far may have been processed.
    seen: bool,
    /// The request's bucket, if the policy has a budget.
    slot: Option<Slot>,
    /// What the retry that was decided on costs; `None` if it is free.
    cost: Option<Cost>,
    /// What the last retry took from the budget.
    withdrawn: Option<Withdrawal>,
}

/// What a retry is charged for.
#[derive(Clone, Copy, Debug)]
struct Cost {
    kind: FailureKind,
    throttled: bool,
}

/// Statuses that have had their one retry; without memory for those who have none.
#[derive(Debug, Default)]
struct OnceUsed(Option<Box<StatusSet>>);

impl OnceUsed {
    fn has(&self, status: StatusCode) -> bool {
        let used = self.0.as_ref();
        used.is_some_and(|used| used.contains(status.as_u16()))
    }

    fn add(&mut self, status: Option<StatusCode>) {
        if let Some(status) = status {
            self.0.get_or_insert_default().insert(status.as_u16());
        }
    }
}

impl RetrySession {
    #[inline(always)]
    pub(super) fn new(policy: RetryPolicy, request: &RequestHead<'_>) -> Self {
        let rng = policy.rng();
        Self::with_rng(policy, request, rng)
    }

    // Built where it is kept: moving it costs more than filling it in.
    #[inline(always)]
    pub(super) fn with_rng(
        policy: RetryPolicy,
        request: &RequestHead<'_>,
        rng: Option<Rng>,
    ) -> Self {
        let inner = &*policy.inner;
        let settings = &inner.settings;
        let marked = is_marked(request);
        let method_allowed = inner.allows(request.method());
        let keyed = is_keyed(request, settings.preset);
        let idempotent = marked || keyed;
        let eligible = inner.eligible.with(method_allowed || idempotent);
        Self {
            slot: match &settings.budget {
                Some(budget) if eligible || budget.counts_every_request() => {
                    Some(budget.slot(request.uri()))
                }
                _ => None,
            },
            cost: None,
            withdrawn: None,
            used: match RequestState::of(request.extensions()) {
                Some(state) => PerKind::new(LimitKind::ALL.map(|kind| state.used(kind))),
                None => PerKind::default(),
            },
            unprocessed: 0,
            misdirected: false,
            never_left: 0,
            run: 0,
            previous: 0,
            rng,
            method_allowed,
            idempotent,
            keyed,
            once_used: OnceUsed::default(),
            seen: false,
            policy,
        }
    }

    /// Whether the request may be repeated although it may have been applied.
    #[inline]
    fn may_repeat(&self) -> bool {
        self.method_allowed || self.idempotent
    }

    #[inline]
    fn settings(&self) -> &Settings {
        &self.policy.inner.settings
    }

    /// What is left of a limit; `None` if there is none. The numbers are urllib3's counters.
    pub fn left(&self, kind: LimitKind) -> Option<i64> {
        self.settings().limits.get(kind).left(self.used.get(kind))
    }

    /// Charges a retry to `kind` and to `total`; the limit that this exceeds, if any.
    fn charge(&mut self, kind: LimitKind) -> Option<StopReason> {
        for kind in [LimitKind::Total, kind] {
            let used = self.used.get_mut(kind);
            *used = used.saturating_add(1);
        }
        // urllib3 looks at every counter, also at those that this failure was not charged to.
        let exceeded = LimitKind::ALL
            .into_iter()
            .find(|kind| self.left(*kind).is_some_and(|left| left < 0))?;
        let limit = self.settings().limits.get(exceeded);
        Some(limit.exhausted(exceeded))
    }

    /// Whether no failure of the next attempt can be followed by another one.
    fn is_last(&self) -> bool {
        let settings = self.settings();
        let unprocessed = match settings.preset {
            // What never left is sent again however often it was.
            Preset::Grpc => settings.unprocessed == 0,
            Preset::Default | Preset::Urllib3 => self.unprocessed >= settings.unprocessed,
        };
        self.left(LimitKind::Total) == Some(0) && unprocessed
    }

    /// A transient failure: what a retry would cost the budget, also if none is made.
    fn set_cost(&mut self, attempt: &Attempt<'_>) {
        if self.slot.is_none() {
            return;
        }
        self.cost = Some(Cost {
            kind: match attempt.outcome() {
                Outcome::Response { .. } => kind_within(attempt.layer_failure()),
                Outcome::Error { failure, .. } => failure.kind,
            },
            throttled: asks_for_less_load(attempt),
        });
    }

    /// What the retry that was decided on takes from the budget, for a dry run.
    #[cold]
    fn due(&self) -> Option<Due> {
        let budget = self.settings().budget.clone();
        let ((budget, slot), cost) = budget.zip(self.slot).zip(self.cost)?;
        Some(Due {
            budget,
            slot,
            kind: cost.kind,
            throttled: cost.throttled,
        })
    }

    /// The request is sent again because it was not processed, outside of the counts: the first
    /// time at once, then after a backoff by the number of `times`.
    fn again(&mut self, attempt: &Attempt<'_>, times: u32) -> Decision {
        let (wait, why) = if times == 1 {
            (Duration::ZERO, WaitReason::NeverProcessed)
        } else {
            let run = std::mem::replace(&mut self.run, times - 1);
            let backoff = self.backoff(attempt, false);
            self.run = run;
            backoff
        };
        let mut gates = Gates::default();
        gates.set(Gate::Transient, true);
        gates.set(Gate::Method, true);
        Decision::Retry(RetryDecision {
            wait,
            why,
            charged: None,
            raise: false,
            last: self.is_last(),
            gates,
            asked: None,
            note: None,
        })
    }

    /// The backoff before the next attempt. `hinted` says that the server gave a hint which does
    /// not say how long.
    fn backoff(&mut self, attempt: &Attempt<'_>, hinted: bool) -> (Duration, WaitReason) {
        let rng = self.rng.get_or_insert_with(Rng::new);
        let under = Circumstances {
            previous: Duration::from_nanos(self.previous),
            throttled: hinted || asks_for_less_load(attempt),
            room: attempt.room(),
        };
        let wait = self
            .policy
            .inner
            .settings
            .backoff
            .draw(self.run, under, rng);
        self.previous = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        let why = if wait.is_zero() {
            WaitReason::Immediate
        } else {
            WaitReason::Backoff
        };
        (wait, why)
    }

    /// The wait for a server that asked for one: never shorter, and longer only as far as the
    /// deadline has room.
    fn hinted(&mut self, asked: Duration, why: &WaitReason, attempt: &Attempt<'_>) -> Duration {
        let part = self.settings().retry_after_jitter;
        if part == 0.0 || is_pushback(why) {
            return asked;
        }
        let rng = self.rng.get_or_insert_with(Rng::new);
        let most = Duration::try_from_secs_f64(asked.as_secs_f64() * part);
        let mut most = most.unwrap_or(Duration::MAX);
        if let Some(room) = attempt.room() {
            most = most.min(room.saturating_sub(asked));
        }
        let more = Duration::try_from_secs_f64(most.as_secs_f64() * rng.unit());
        asked.saturating_add(more.unwrap_or(most).min(most))
    }
}

/// What a server's hint does to a wait.
enum HintEffect {
    /// Wait this long, for this reason.
    Wait(Duration, WaitReason),
    /// Do not come back.
    TooLong { asked: Duration, cap: Duration },
    /// There is none, or it was ignored.
    None,
}

impl HintEffect {
    /// How long the server asked for nothing to be sent, as far as it is obeyed.
    fn asked(&self) -> Option<Duration> {
        match self {
            Self::Wait(asked, _) => Some(*asked),
            Self::TooLong { cap, .. } => Some(*cap),
            Self::None => None,
        }
    }
}

/// Applies `mode` to a hint. A hint of zero is none, since the backoff is what keeps clients
/// apart; but gRPC's is to be obeyed exactly.
fn obey(hint: Hint, mode: RetryAfterMode) -> HintEffect {
    match hint {
        Hint::Absent | Hint::Invalid { .. } => HintEffect::None,
        Hint::Wait { asked, header }
            if !asked.is_zero() || header == HintHeader::GrpcRetryPushbackMs =>
        {
            HintEffect::Wait(asked, WaitReason::ServerHint(header))
        }
        Hint::Wait { .. } => HintEffect::None,
        Hint::OverCap { asked, cap, header } => match mode {
            RetryAfterMode::GiveUp => HintEffect::TooLong { asked, cap },
            RetryAfterMode::Clamp if cap.is_zero() => HintEffect::None,
            RetryAfterMode::Clamp => HintEffect::Wait(cap, WaitReason::ServerHintClamped(header)),
        },
    }
}

/// Applies the policy to a hint that a layer below has found where the policy does not look.
fn obey_layer(attempt: &Attempt<'_>, settings: &Settings) -> HintEffect {
    let Some((asked, by)) = attempt.layer_hint() else {
        return HintEffect::None;
    };
    let (asked, cap, mode) = (*asked, settings.retry_after_max, settings.retry_after_mode);
    if !settings.respect_retry_after_header || asked.min(cap).is_zero() {
        return HintEffect::None;
    }
    match mode {
        RetryAfterMode::GiveUp if asked > cap => HintEffect::TooLong { asked, cap },
        _ => HintEffect::Wait(asked.min(cap), WaitReason::Opinion { by: by.clone() }),
    }
}

/// Whether the wait is gRPC's pushback, which is exact, and starts the backoff anew (gRFC A6).
fn is_pushback(why: &WaitReason) -> bool {
    matches!(
        why,
        WaitReason::ServerHint(HintHeader::GrpcRetryPushbackMs)
            | WaitReason::ServerHintClamped(HintHeader::GrpcRetryPushbackMs)
    )
}

/// Whether the failure itself says that the server has too much to do.
fn asks_for_less_load(attempt: &Attempt<'_>) -> bool {
    let failure = match attempt.outcome() {
        Outcome::Response { status, .. } if *status == StatusCode::TOO_MANY_REQUESTS => {
            return true;
        }
        Outcome::Response { .. } => attempt.layer_failure(),
        Outcome::Error { failure, .. } => Some(*failure),
    };
    matches!(
        failure.map(|failure| failure.cause),
        Some(Cause::EnhanceYourCalm | Cause::Status(StatusCode::TOO_MANY_REQUESTS))
    )
}

/// What a failed response is charged to, of which a layer below may have found more than its
/// status: a body that broke off is a read failure.
fn kind_within(below: Option<Failure>) -> FailureKind {
    below.map_or(FailureKind::Status, |failure| failure.kind)
}

/// The statuses on which a `Retry-After` alone asks for a retry: urllib3's
/// `RETRY_AFTER_STATUS_CODES`.
fn retry_after_alone(status: StatusCode) -> bool {
    matches!(status.as_u16(), 413 | 429 | 503)
}

/// Whether the response is no success of any kind. A status from 600 on is to be treated "as if it
/// were a 5xx" (RFC 9110, section 15).
fn is_failure(status: StatusCode) -> bool {
    status.as_u16() >= 400
}

/// Why a failed response is not repeated: its status, or what a layer below found in it, is not
/// in the policy's list.
fn not_listed(status: StatusCode, below: Option<Failure>) -> StopReason {
    match below.map(|failure| failure.cause) {
        Some(Cause::Grpc(code)) => StopReason::GrpcStatusNotListed { code },
        Some(Cause::Status(status)) => StopReason::StatusNotListed { status },
        Some(cause) => StopReason::NotTransient { cause },
        None => StopReason::StatusNotListed { status },
    }
}

/// Whether the response is a redirect that could be followed.
fn is_redirect(status: StatusCode, headers: &HeaderMap) -> bool {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return false;
    }
    let mut lines = headers.get_all(http::header::LOCATION).iter();
    match (lines.next(), lines.next()) {
        (Some(location), None) => !location.is_empty(),
        // urllib3 joins them with commas, so that there is something even if each is empty.
        (lines, _) => lines.is_some(),
    }
}

impl Session for RetrySession {
    fn eligibility(&self) -> Eligibility {
        if self.is_eligible() {
            Eligibility::Eligible
        } else {
            Eligibility::Never(self.settings().why_never())
        }
    }

    #[inline]
    fn is_eligible(&self) -> bool {
        self.policy.inner.eligible.with(self.may_repeat())
    }

    #[inline]
    fn is_final(&self, status: StatusCode, _: &HeaderMap) -> bool {
        let code = status.as_u16();
        code < 400 && !self.policy.inner.asked.contains(code)
    }

    fn decide(&mut self, attempt: &Attempt<'_>) -> Decision {
        self.cost = None;
        let decision = match self.settings().preset {
            Preset::Default => self.decide_default(attempt),
            Preset::Urllib3 => self.decide_urllib3(attempt),
            Preset::Grpc => self.decide_grpc(attempt),
        };
        if let Some(ledger) = &self.policy.inner.ledger {
            ledger.set_due(self.due());
        }
        decision
    }

    #[inline(always)]
    fn succeeded(&mut self) {
        if let (Some(budget), Some(slot)) = (&self.policy.inner.settings.budget, self.slot) {
            match self.withdrawn.take() {
                Some(last) => budget.deposit_retried(slot, last),
                None => budget.deposit(slot),
            }
        }
    }

    fn failed(&mut self, now: Instant) {
        if let (Some(budget), Some(slot), Some(_)) =
            (&self.policy.inner.settings.budget, self.slot, self.cost)
        {
            budget.failed(slot, now);
        }
    }

    fn moved(&mut self, uri: &Uri) {
        if let (Some(budget), Some(slot)) = (&self.policy.inner.settings.budget, &mut self.slot) {
            *slot = budget.slot(uri);
        }
    }

    fn commit(&mut self, now: Instant) -> Result<RetryPermit, StopReason> {
        let (Some(budget), Some(slot), Some(cost)) = (
            &self.policy.inner.settings.budget,
            self.slot,
            self.cost.take(),
        ) else {
            return Ok(RetryPermit::free());
        };
        if self.withdrawn.is_none() {
            budget.deposit_failed(slot);
        }
        match budget.permit(slot, cost.kind, cost.throttled, now) {
            Ok((permit, withdrawn)) => {
                self.withdrawn = Some(withdrawn);
                Ok(permit)
            }
            Err(refused) => Err(StopReason::BudgetExhausted(refused)),
        }
    }
}
