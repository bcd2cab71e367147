//! What a server asked one request for, the others respect, too.

mod board;
mod memo;
#[cfg(feature = "ratelimit")]
mod pace;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

#[cfg(feature = "ratelimit")]
use http::HeaderMap;
use http::Uri;

#[cfg(feature = "ratelimit")]
use self::pace::Paces;
use self::{
    board::{Board, Standing},
    memo::Memo,
};
use crate::{
    budget::Scope,
    dice::Dice,
    human::Human,
    reason::{InvalidPolicy, StopReason},
    stack::{Admission, Admit, Answer, Ask, AskFor, Ticket},
};

const MAX_HOLD: Duration = Duration::from_secs(60);
const JITTER: f64 = 0.1;

/// The longest that the others wait for the answer of the one that looks whether the server is
/// there, before another one looks.
const LEASE: Duration = Duration::from_secs(1);

/// What is allowed for the part of a quota that is little.
#[cfg(feature = "ratelimit")]
pub(crate) const PACES: &str = "more than 0, up to 1";

/// An [`Admission`]: a server's hint to one request (`Retry-After`, for instance) slows the others
/// to the same authority. None is sent before the time that the server named.
///
/// Every [hint](crate::policy::hints) that the policy obeys counts, without its jitter and whatever
/// becomes of the request that was told.
///
/// - Each request that is held goes out at a time of its own: up to a tenth of what the server
///   asked for after it ([`jitter`](SharedHintsBuilder::jitter)).
/// - Nobody is held for longer than a minute ([`max_hold`](SharedHintsBuilder::max_hold)), whatever
///   a server asks for. Where it asked for longer, one request is sent then to look, while the
///   others are held for its answer; one that would be held longer ends with
///   [`HeldTooLong`](StopReason::HeldTooLong).
/// - The last word counts: a later hint replaces an earlier one, also a longer one, and the success
///   of a request that was sent after a hint lifts it.
///
/// # Before a limit is hit
///
/// With [`pace_below`](SharedHintsBuilder::pace_below) (feature `ratelimit`), what a server says in
/// `RateLimit` is heard, too: once little is left of a quota of requests, first attempts are spread
/// over the time until there is more, so that fewer are turned down and have to be repeated. It is
/// a preference, never a refusal: nobody waits longer than until there is more, or than `max_hold`,
/// and a request whose deadline does not allow the wait is sent at once. Quotas of anything but
/// requests (`qu`) are left alone. What a server promises is no guarantee, and
/// [draft-ietf-httpapi-ratelimit-headers] asks clients not to take it for one: a `Retry-After` goes
/// first, as always.
///
/// # In a stack
///
/// Registered with [`RetryLayer::admission`](crate::RetryLayer::admission); alone in a stack it is a
/// [`Layer`](tower_layer::Layer) as well and reads `Retry-After` itself, see
/// [`Admitted`](crate::Admitted).
///
/// It is lock-free and of a fixed size: hints of 1024 authorities at once. Two that meet in one
/// place forget the earlier hint.
///
/// # Clone
///
/// Clones share the hints.
///
/// ```
/// use std::time::Duration;
/// use tower_http_retry::{RetryLayer, policy::RetryPolicy, shared_hints::SharedHints};
///
/// let hints = SharedHints::builder().max_hold(Duration::from_secs(10)).build()?;
/// let layer = RetryLayer::new(RetryPolicy::default()).admission(hints);
/// # let _ = layer;
/// # Ok::<_, tower_http_retry::policy::InvalidPolicy>(())
/// ```
///
/// [draft-ietf-httpapi-ratelimit-headers]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
#[derive(Clone, Debug)]
pub struct SharedHints {
    inner: Arc<Inner>,
}

struct Inner {
    board: Board,
    scope: Scope,
    max_hold: Duration,
    jitter: f64,
    dice: Dice,
    #[cfg(feature = "ratelimit")]
    paces: Option<Paces>,
}

impl SharedHints {
    /// Starts with a hold of at most a minute, a jitter of a tenth, and hints for each authority.
    pub fn builder() -> SharedHintsBuilder {
        SharedHintsBuilder {
            scope: Scope::PerAuthority,
            max_hold: MAX_HOLD,
            jitter: JITTER,
            seed: None,
            #[cfg(feature = "ratelimit")]
            pace_below: None,
        }
    }
}

impl Default for SharedHints {
    /// What [`builder`](Self::builder) starts with.
    fn default() -> Self {
        Self::builder().build_unchecked()
    }
}

impl Inner {
    /// The wait for what is over in `left`: a part of `length` longer, but not so long that the
    /// request cannot be sent any more.
    fn spread(&self, left: Duration, length: Duration, ask: &Ask) -> Duration {
        let most = length.mul_f64(self.jitter);
        let most = match ask.left {
            Some(deadline) => most.min(deadline.saturating_sub(left) / 2),
            None => most,
        };
        left.saturating_add(most.mul_f64(self.dice.draw()))
    }

    fn hold(&self, left: Duration, length: Duration, ask: &Ask) -> Admit {
        let held = ask.held.saturating_add(left);
        if held > self.max_hold {
            let max = self.max_hold;
            return Admit::Refuse(StopReason::HeldTooLong { held, max });
        }
        Admit::Wait(self.spread(left, length, ask))
    }

    fn hold_for_probe(&self, left: Duration, ask: &Ask) -> Admit {
        // What the server asked for is over: this is to find out whether it is there.
        let held = ask.held.saturating_add(left);
        if held > self.max_hold.saturating_mul(2) {
            let max = self.max_hold;
            return Admit::Refuse(StopReason::HeldTooLong { held, max });
        }
        Admit::Wait(self.spread(left, LEASE, ask))
    }
}

impl Inner {
    /// How long a request waits for its turn. It has one then, and is not asked again.
    #[cfg(feature = "ratelimit")]
    fn turn(&self, ticket: &mut Ticket, ask: &Ask) -> Option<Duration> {
        let paces = self.paces.as_ref()?;
        if Memo(ticket.memo).has_turn() {
            return None;
        }
        let wait = paces.take(ticket.key, ask.now);
        let most = self.max_hold.saturating_sub(ask.held);
        let wait = wait.min(most);
        // A retry has a wait of its own, and others make room for it.
        if wait.is_zero() || matches!(ask.stage, AskFor::Retry { .. }) {
            return None;
        }
        if ask.left.is_some_and(|left| left <= wait) {
            return None;
        }
        ticket.memo = Memo(ticket.memo).with_turn().0;
        Some(wait)
    }

    #[cfg(not(feature = "ratelimit"))]
    #[expect(clippy::unused_self, reason = "there are no paces")]
    fn turn(&self, _: &mut Ticket, _: &Ask) -> Option<Duration> {
        None
    }

    /// The request is sent, on what the board says in `seen`.
    fn send(&self, ticket: &mut Ticket, seen: u64) -> Admit {
        let memo = Memo(ticket.memo);
        #[cfg(feature = "ratelimit")]
        let memo = match &self.paces {
            Some(paces) if !memo.is_counted() => {
                paces.sent(ticket.key);
                memo.counted()
            }
            _ => memo,
        };
        ticket.memo = memo.with_seen(seen).0;
        Admit::Now
    }
}

impl Admission for SharedHints {
    fn ticket(&self, uri: &Uri) -> Ticket {
        Ticket::for_key(self.inner.scope.slot(uri).0.get())
    }

    fn admit(&self, ticket: &mut Ticket, ask: &Ask) -> Admit {
        let inner = &*self.inner;
        // What the server said to the request itself is what it waits for.
        if let AskFor::Retry { told: true } = ask.stage {
            let seen = inner.board.seen(ticket.key);
            return inner.send(ticket, seen);
        }
        match inner.board.standing(ticket.key, ask.now, LEASE) {
            Standing::Free(seen) => match inner.turn(ticket, ask) {
                Some(wait) => {
                    inner.board.give_up(ticket.key, seen, ask.now);
                    Admit::Spread(wait)
                }
                None => inner.send(ticket, seen),
            },
            Standing::Held { left, length } => inner.hold(left, length, ask),
            Standing::Probed { left } => inner.hold_for_probe(left, ask),
        }
    }

    #[cfg(feature = "ratelimit")]
    fn head(&self, ticket: &mut Ticket, headers: &HeaderMap, now: Instant) {
        if let Some(paces) = &self.inner.paces {
            paces.learn(ticket.key, &crate::policy::hints::left(headers), now);
        }
    }

    fn explain(&self) -> Option<String> {
        let longest = Human(self.inner.max_hold);
        let text = format!("held back for what other requests were told, for {longest} at most");
        #[cfg(feature = "ratelimit")]
        let text = match &self.inner.paces {
            Some(paces) => {
                let percent = paces.below() * 100.0;
                format!("{text}; spread once less than {percent} % of a quota is left")
            }
            None => text,
        };
        Some(text)
    }

    fn answered(&self, ticket: &mut Ticket, answer: &Answer) {
        let Inner {
            board, max_hold, ..
        } = &*self.inner;
        let memo = Memo(std::mem::take(&mut ticket.memo));
        #[cfg(feature = "ratelimit")]
        if let Some(paces) = self.inner.paces.as_ref().filter(|_| memo.is_counted()) {
            paces.ended(ticket.key);
        }
        let seen = memo.seen(board.tag(ticket.key));
        match answer.asked.filter(|asked| !asked.is_zero()) {
            Some(asked) => {
                let cut = answer.cut || asked > *max_hold;
                board.post(ticket.key, answer.now, asked.min(*max_hold), cut);
            }
            None if answer.dropped => board.give_up(ticket.key, seen, answer.now),
            None if answer.is_accepted() => board.forget(ticket.key, seen),
            // It is no better; another one looks when its time has come.
            None => {}
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the board: it has a thousand places.
        f.debug_struct("Inner")
            .field("scope", &self.scope)
            .field("max_hold", &self.max_hold)
            .field("jitter", &self.jitter)
            .field("dice", &self.dice)
            .finish_non_exhaustive()
    }
}

/// Builds [`SharedHints`].
#[derive(Clone, Debug)]
#[must_use]
pub struct SharedHintsBuilder {
    scope: Scope,
    max_hold: Duration,
    jitter: f64,
    seed: Option<u64>,
    #[cfg(feature = "ratelimit")]
    pace_below: Option<f64>,
}

impl SharedHintsBuilder {
    /// The longest that a hint holds requests back, and that one request is held. Default one
    /// minute; more than zero.
    pub fn max_hold(mut self, longest: Duration) -> Self {
        self.max_hold = longest;
        self
    }

    /// How far requests that are held by the same hint are spread after its end, as a part of what
    /// the server asked for. Default 0.1; from 0, where all go out at the same moment, to 1.
    pub fn jitter(mut self, part: f64) -> Self {
        self.jitter = part;
        self
    }

    /// Which requests share a hint. Default [`Scope::PerAuthority`].
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Makes the jitter of a run repeatable. Without a seed, each is drawn anew.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Spreads first attempts over the time until there is more, once less than this part is left of
    /// a quota of requests (`RateLimit`, with the quota in `RateLimit-Policy`), or less than the
    /// requests that are under way. By default nothing is spread. More than 0, up to 1; 0.1 is what
    /// most want.
    ///
    /// ```
    /// use tower_http_retry::{RetryLayer, policy::RetryPolicy, shared_hints::SharedHints};
    ///
    /// let hints = SharedHints::builder().pace_below(0.1).build()?;
    /// let layer = RetryLayer::new(RetryPolicy::default()).admission(hints);
    /// # let _ = layer;
    /// # Ok::<_, tower_http_retry::policy::InvalidPolicy>(())
    /// ```
    #[cfg(feature = "ratelimit")]
    pub fn pace_below(mut self, part: f64) -> Self {
        self.pace_below = Some(part);
        self
    }

    /// Builds the admission.
    ///
    /// # Errors
    ///
    /// Names the first setting that is out of its range.
    pub fn build(self) -> Result<SharedHints, InvalidPolicy> {
        if self.max_hold.is_zero() {
            let value = format_args!("{:?}", self.max_hold);
            return Err(InvalidPolicy::new("max_hold", value, "more than 0"));
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(InvalidPolicy::new("jitter", self.jitter, "from 0 to 1"));
        }
        #[cfg(feature = "ratelimit")]
        if let Some(part) = self
            .pace_below
            .filter(|part| !(*part > 0.0 && *part <= 1.0))
        {
            return Err(InvalidPolicy::new("pace_below", part, PACES));
        }
        Ok(self.build_unchecked())
    }

    fn build_unchecked(self) -> SharedHints {
        let now: Instant = tokio::time::Instant::now().into_std();
        SharedHints {
            inner: Arc::new(Inner {
                board: Board::new(now),
                scope: self.scope,
                max_hold: self.max_hold,
                jitter: self.jitter,
                dice: Dice::new(self.seed),
                #[cfg(feature = "ratelimit")]
                paces: self.pace_below.map(|below| Paces::new(now, below)),
            }),
        }
    }
}
