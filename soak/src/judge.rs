//! Whether the promises were kept: what the caller was told, beside what the server saw.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tower_http_retry::{
    classify::{Cause, Sent},
    policy::{LimitKind, Preset},
};

use crate::{
    dice::Dice,
    ledger::{End, Seen, Told},
    order::{self, Order},
    plan::Plan,
};
use test_support::net::fault::{Attempt, Protocol};

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Breach {
    /// A request or an attempt has no outcome, or an outcome has no attempt.
    Lost,
    /// Something was sent or applied more often than was told or allowed.
    Doubled,
    /// Something arrived that is not what was sent.
    Corrupted,
    /// Something was not given back.
    Leaked,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Corrupted => "corrupted",
            Self::Leaked => "leaked",
        })
    }
}

/// How many breaches of a kind are described.
const DESCRIBED: u64 = 5;

/// Judges requests, and counts.
#[derive(Debug)]
pub(crate) struct Judge {
    dice: Dice,
    faults: f64,
    /// The most attempts that a request may make.
    most: usize,
    breaches: Mutex<BTreeMap<Breach, u64>>,
    described: Mutex<Vec<String>>,
    judged: AtomicU64,
    seen: AtomicU64,
    anonymous: AtomicU64,
    applied: AtomicU64,
}

impl Judge {
    pub(crate) fn new(dice: Dice, faults: f64, most: usize) -> Self {
        Self {
            dice,
            faults,
            most,
            breaches: Mutex::default(),
            described: Mutex::default(),
            judged: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            anonymous: AtomicU64::new(0),
            applied: AtomicU64::new(0),
        }
    }

    pub(crate) fn order(&self, id: u64) -> Order {
        Order::new(self.dice, id)
    }

    pub(crate) fn plan(&self, id: u64, attempt: order::Attempt) -> Plan {
        Plan::new(self.order(id), attempt, self.faults)
    }

    /// How many requests were judged.
    pub(crate) fn judged(&self) -> u64 {
        self.judged.load(Relaxed)
    }

    /// How many attempts the server saw, how many of them had no head, and how often a request
    /// was applied.
    pub(crate) fn server(&self) -> (u64, u64, u64) {
        let anonymous = self.anonymous.load(Relaxed);
        let seen = self.seen.load(Relaxed) + anonymous;
        (seen, anonymous, self.applied.load(Relaxed))
    }

    /// An attempt that nobody can know.
    pub(crate) fn anonymous(&self) {
        self.anonymous.fetch_add(1, Relaxed);
    }

    /// A promise was broken.
    pub(crate) fn breach(&self, breach: Breach, id: u64, what: impl fmt::Display) {
        let order = self.order(id);
        let Order {
            verb,
            upload,
            protocol,
            preset,
            ..
        } = order;
        self.breach_of_all(
            breach,
            format_args!("request {id} ({verb:?}, {upload:?}, {protocol:?}, {preset:?}): {what}"),
        );
    }

    /// A promise was broken, and not to a single request.
    pub(crate) fn breach_of_all(&self, breach: Breach, what: impl fmt::Display) {
        let mut breaches = self.breaches.lock().unwrap_or_else(PoisonError::into_inner);
        let count = breaches.entry(breach).or_default();
        *count += 1;
        if *count <= DESCRIBED {
            let mut described = self
                .described
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            described.push(format!("{breach}: {what}"));
        }
    }

    /// How many promises were broken, of which kind; and the first of them, described.
    pub(crate) fn breaches(&self) -> (BTreeMap<Breach, u64>, Vec<String>) {
        let breaches = self.breaches.lock().unwrap_or_else(PoisonError::into_inner);
        let described = self
            .described
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        (breaches.clone(), described.clone())
    }

    /// Judges a request that has come to its end.
    pub(crate) fn request(&self, id: u64, told: &Told, seen: &[Seen]) {
        self.judged.fetch_add(1, Relaxed);
        let order = self.order(id);
        if told.attempts.is_empty() {
            self.breach(Breach::Lost, id, "it ended without an attempt");
        }
        if told.attempts.len() > self.most {
            let attempts = told.attempts.len();
            self.breach(Breach::Doubled, id, format_args!("{attempts} attempts"));
        }
        for (number, ((end, _), hedged)) in (1..).zip(told.attempts.iter().zip(&told.hedged)) {
            let mut the_one = None;
            for is_hedge in [false, true] {
                let attempt = order::Attempt { number, is_hedge };
                let of_it: Vec<_> = seen.iter().filter(|it| it.attempt == attempt).collect();
                let allowed = usize::from(!is_hedge || hedged.is_some());
                if of_it.len() > allowed {
                    let what = format_args!("{attempt:?} was sent {} times", of_it.len());
                    self.breach(Breach::Doubled, id, what);
                }
                if hedged.unwrap_or(false) == is_hedge {
                    the_one = of_it.first().copied();
                }
            }
            if hedged.is_some() && !(order.layered && order.may_repeat()) {
                let what = format_args!("attempt {number} was hedged and must not be");
                self.breach(Breach::Doubled, id, what);
            }
            self.attempt(&order, number, *end, *hedged, the_one);
        }
        for seen in seen {
            self.content(&order, seen);
            if seen.attempt.number as usize > told.attempts.len() {
                let number = seen.attempt.number;
                let what = format_args!("attempt {number} was sent and is not in the report");
                self.breach(Breach::Doubled, id, what);
            }
        }
        self.effects(&order, told, seen);
    }

    /// An attempt: what was told, and what was seen if it was.
    fn attempt(
        &self,
        order: &Order,
        number: u32,
        end: End,
        hedged: Option<bool>,
        seen: Option<&Seen>,
    ) {
        let id = order.id;
        let is_hedge = hedged == Some(true);
        let planned = self.plan(id, order::Attempt { number, is_hedge }).status();
        match (end, seen) {
            (End::Response(status), Some(_)) if planned == Some(status) => {}
            (End::Response(status), Some(_)) => {
                let what = format!("attempt {number} was told as {status}, sent was {planned:?}");
                self.breach(Breach::Corrupted, id, what);
            }
            (End::Response(status), None) => {
                let what = format_args!("attempt {number}, told as {status}, was never seen");
                self.breach(Breach::Lost, id, what);
            }
            (End::Failed(cause, sent), Some(seen)) => {
                let never = matches!(sent, Sent::Never);
                let unapplied = sent.is_safe_to_repeat();
                if never || unapplied && seen.applied {
                    let what = format_args!("attempt {number} was told as {cause}, and was seen");
                    self.breach(Breach::Doubled, id, what);
                }
                // Of two, either may have failed.
                if hedged.is_none() {
                    self.cause(order, number, cause, planned);
                }
            }
            // Whether it was sent is not known.
            (End::Failed(..), None) => {}
        }
    }

    /// Whether an attempt that was seen and failed has a reason to.
    fn cause(&self, order: &Order, number: u32, cause: Cause, planned: Option<u16>) {
        // A slow machine; and on a connection for many, another request's fault.
        let may_fail = cause == Cause::AttemptTimeout || order.protocol == Protocol::Http2;
        // What was not read of an answer is lost when its connection is reset.
        let is_hedge = false;
        let cut = self
            .plan(order.id, order::Attempt { number, is_hedge })
            .is_cut();
        if let (Some(status), false, false) = (planned, may_fail, cut) {
            let what = format!("attempt {number}, answered with {status}, was told as {cause}");
            self.breach(Breach::Lost, order.id, what);
        }
    }

    /// What arrived of an attempt.
    fn content(&self, order: &Order, seen: &Seen) {
        self.seen.fetch_add(1, Relaxed);
        self.applied.fetch_add(seen.applied.into(), Relaxed);
        let content = order.content();
        let part = content.get(..seen.received as usize);
        let (number, received, whole) = (seen.attempt.number, seen.received, seen.whole);
        let corrupted = |what: &str| {
            let what = format!("attempt {number}: {what}, {received} of {}", content.len());
            self.breach(Breach::Corrupted, order.id, what);
        };
        match part {
            None => corrupted("too much content arrived"),
            Some(part) if Attempt::digest_of(part) != seen.digest => {
                corrupted("other content arrived");
            }
            Some(_) if whole && part != Some(&content) => corrupted("the content ended early"),
            Some(_) if whole && seen.trailer != order.trailer() => {
                corrupted("other trailers arrived");
            }
            Some(_) => {}
        }
        if seen.method != Some(order.verb.method()) || seen.key != order.key() {
            corrupted("another head arrived");
        }
    }

    /// How often it was applied.
    fn effects(&self, order: &Order, told: &Told, seen: &[Seen]) {
        let id = order.id;
        let applied = seen.iter().filter(|seen| seen.applied).count() as u32;
        let (least, most) = told.effects;
        if applied > most {
            let what = format_args!("it was applied {applied} times, told was at most {most}");
            self.breach(Breach::Doubled, id, what);
        }
        if applied < least {
            let what = format_args!("it was applied {applied} times, told was at least {least}");
            self.breach(Breach::Lost, id, what);
        }
        // urllib3 takes what it cannot name for a failure that any method survives.
        let permitted = order.preset == Preset::Urllib3
            && told
                .attempts
                .iter()
                .any(|(_, charged)| *charged == Some(LimitKind::Other));
        if applied > 1 && !order.verb.is_repeatable() && !permitted {
            let what = format_args!("it was applied {applied} times and must not be repeated");
            self.breach(Breach::Doubled, id, what);
        }
    }
}
