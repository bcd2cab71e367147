//! What must become of a request, by the rules alone.
//!
//! Written from the design's rules and from what urllib3 2.8 documents of its `Retry`, as a
//! second opinion: nothing here asks the library what it would do. Its types are used for names
//! only.

use std::{ops::RangeInclusive, time::Duration};

use http::{Method, StatusCode};
use tower_http_retry::{
    RetryErrorKind,
    classify::Cause,
    policy::{HintHeader, LimitKind, Preset, StopReason, WaitReason},
};

/// How an attempt ended, as far as the rules make a difference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Class {
    /// No connection was made: nothing was sent.
    Connect,
    /// The server never got the request, or says that it did not process it.
    Unprocessed,
    /// The request may have been applied, and no answer came.
    Read,
    /// The same, and it took too long.
    TimedOut,
    /// The server, or what it speaks, is not to be trusted: nothing was sent.
    Untrusted(Cause),
    /// An answer that says failure, perhaps with seconds to wait.
    Status(u16, Option<u64>),
    /// An answer that says success.
    Success,
}

/// What the rules need to know of a request.
#[derive(Clone, Debug)]
pub struct Facts {
    pub preset: Preset,
    pub method: Method,
    pub has_key: bool,
    /// The attempt in which more was read of the body than can be kept.
    pub over_limit_in: Option<usize>,
}

/// What must become of a request.
#[derive(Clone, Debug)]
pub struct Expected {
    pub attempts: usize,
    pub stop: Stop,
    /// The status that the caller gets, or the kind of the error.
    pub result: Result<u16, RetryErrorKind>,
    /// How often the server can have applied it, for all that the client knows.
    pub effects: RangeInclusive<u32>,
    /// One for each retry.
    pub waits: Vec<Wait>,
}

/// Why it is not sent again.
#[derive(Clone, Debug, PartialEq)]
pub enum Stop {
    Because(StopReason),
    /// What was read of the body by then is not the rules' affair.
    BodyNotReplayable,
}

/// A wait before a retry.
#[derive(Clone, Debug)]
pub struct Wait {
    pub charged: Option<LimitKind>,
    pub why: WaitReason,
    pub time: RangeInclusive<Duration>,
}

/// What the rules say of one attempt.
enum Verdict {
    Accept,
    Retry(Wait),
    /// The failure is returned as it is.
    Stop(Stop),
    /// The same, but that a status becomes an error where the policy says so: its retry was
    /// wanted, and something that has nothing to do with the status is in the way.
    GiveUp(Stop),
}

/// What must become of a request whose attempts, counted from 1, end like this.
pub fn expect(facts: &Facts, class: impl Fn(usize) -> Class) -> Expected {
    let mut retries = 0;
    let mut unprocessed = 0;
    let mut waits = Vec::new();
    let mut effects = (0, 0);
    for attempt in 1.. {
        let class = class(attempt);
        // An answer that says success is the only proof that the request was applied. What is
        // known not to have reached the server was not.
        let applied = match class {
            Class::Connect | Class::Unprocessed | Class::Untrusted(_) => (0, 0),
            Class::Read | Class::TimedOut | Class::Status(..) => (0, 1),
            Class::Success => (1, 1),
        };
        effects.0 += applied.0;
        effects.1 += applied.1;

        let mut verdict = match facts.preset {
            Preset::Default => default(facts, class, retries, unprocessed),
            Preset::Urllib3 => urllib3(facts, class, retries),
            preset => panic!("no rules for {preset:?}"),
        };
        // Whether the body can be sent again is asked only when everything else is fine. What
        // was lost of it stays lost.
        if matches!(verdict, Verdict::Retry(_)) && facts.over_limit_in.is_some_and(|n| n <= attempt)
        {
            verdict = Verdict::GiveUp(Stop::BodyNotReplayable);
        }
        let raises = facts.preset == Preset::Urllib3 && matches!(verdict, Verdict::GiveUp(_));
        let stop = match verdict {
            Verdict::Retry(wait) => {
                match wait.charged {
                    Some(_) => retries += 1,
                    None => unprocessed += 1,
                }
                waits.push(wait);
                continue;
            }
            Verdict::Accept => Stop::Because(StopReason::Succeeded),
            Verdict::Stop(stop) | Verdict::GiveUp(stop) => stop,
        };
        return Expected {
            attempts: attempt,
            stop,
            result: match class {
                Class::Success => Ok(200),
                Class::Status(..) if raises => Err(RetryErrorKind::Status),
                Class::Status(status, _) => Ok(status),
                Class::TimedOut => Err(RetryErrorKind::AttemptTimeout),
                Class::Connect | Class::Unprocessed | Class::Read | Class::Untrusted(_) => {
                    Err(RetryErrorKind::Failed)
                }
            },
            effects: effects.0..=effects.1,
            waits,
        };
    }
    unreachable!("every policy has a limit")
}

/// The idempotent methods of RFC 9110, section 9.2.2, which are also urllib3's.
fn is_idempotent(method: &Method) -> bool {
    ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"].contains(&method.as_str())
}

fn method_not_allowed(facts: &Facts) -> Stop {
    Stop::Because(StopReason::MethodNotAllowed {
        method: facts.method.clone(),
    })
}

fn status_not_listed(status: u16) -> Stop {
    Stop::Because(StopReason::StatusNotListed {
        status: StatusCode::from_u16(status).unwrap(),
    })
}

fn used_up(total: i64) -> Verdict {
    Verdict::GiveUp(Stop::Because(StopReason::CountExhausted {
        kind: LimitKind::Total,
        limit: total,
    }))
}

/// Whether the request may be sent again although it may have been applied (rule 4). An
/// idempotency key is nothing to urllib3.
pub fn may_repeat(facts: &Facts) -> bool {
    is_idempotent(&facts.method) || facts.preset == Preset::Default && facts.has_key
}

/// `RetryPolicy::default()`: three retries, full jitter between 0 and 100 ms doubling to 20 s,
/// seven statuses, `Retry-After` up to a minute and a tenth more at random, and what was never processed is sent again twice
/// outside of the counts: at once and free, then after a wait and charged to the budget (rule 11).
fn default(facts: &Facts, class: Class, retries: u32, unprocessed: u32) -> Verdict {
    const TOTAL: u32 = 3;
    const STATUSES: [u16; 7] = [408, 425, 429, 500, 502, 503, 504];
    const LONGEST: u64 = 60;

    let kind = match class {
        Class::Success => return Verdict::Accept,
        Class::Untrusted(cause) => {
            return Verdict::Stop(Stop::Because(StopReason::NotTransient { cause }));
        }
        Class::Status(status, _) if !STATUSES.contains(&status) => {
            return Verdict::Stop(status_not_listed(status));
        }
        Class::Unprocessed if unprocessed == 0 => {
            return Verdict::Retry(Wait {
                charged: None,
                why: WaitReason::NeverProcessed,
                time: Duration::ZERO..=Duration::ZERO,
            });
        }
        Class::Unprocessed if unprocessed == 1 => {
            return Verdict::Retry(Wait {
                charged: None,
                why: WaitReason::Backoff,
                time: Duration::ZERO..=Duration::from_millis(100),
            });
        }
        Class::Connect | Class::Unprocessed => LimitKind::Connect,
        Class::Read | Class::TimedOut => LimitKind::Read,
        Class::Status(..) => LimitKind::Status,
    };
    if kind != LimitKind::Connect && !may_repeat(facts) {
        return Verdict::Stop(method_not_allowed(facts));
    }
    if retries == TOTAL {
        return used_up(TOTAL.into());
    }
    let asked = match class {
        Class::Status(_, Some(seconds)) if seconds > LONGEST => {
            return Verdict::GiveUp(Stop::Because(StopReason::RetryAfterTooLong {
                asked: Duration::from_secs(seconds),
                cap: Duration::from_secs(LONGEST),
            }));
        }
        Class::Status(_, asked) => asked,
        _ => None,
    };
    let backoff = Duration::from_millis(100 << retries).min(Duration::from_secs(20));
    Verdict::Retry(wait(kind, asked, 0.1, Duration::ZERO..=backoff))
}

/// `RetryPolicy::urllib3()`: ten retries at once, no statuses but those that come with a
/// `Retry-After`, which is obeyed up to six hours, and a connect failure or anything unknown is
/// repeated for every method.
fn urllib3(facts: &Facts, class: Class, retries: u32) -> Verdict {
    const TOTAL: u32 = 10;

    let kind = match class {
        Class::Success => return Verdict::Accept,
        // No response, so it is as if no connection had been made.
        Class::Connect | Class::Unprocessed => LimitKind::Connect,
        Class::Untrusted(_) => LimitKind::Other,
        Class::Read | Class::TimedOut => LimitKind::Read,
        Class::Status(413 | 429 | 503, Some(_)) => LimitKind::Status,
        Class::Status(status, _) => return Verdict::Stop(status_not_listed(status)),
    };
    if matches!(kind, LimitKind::Read | LimitKind::Status) && !may_repeat(facts) {
        return Verdict::Stop(method_not_allowed(facts));
    }
    if retries == TOTAL {
        return match used_up(TOTAL.into()) {
            // `is_retry`: "self.total and …", so that the last of them is returned as it is.
            Verdict::GiveUp(stop) if kind == LimitKind::Status => Verdict::Stop(stop),
            verdict => verdict,
        };
    }
    let asked = match class {
        Class::Status(_, asked) => asked,
        _ => None,
    };
    Verdict::Retry(wait(kind, asked, 0.0, Duration::ZERO..=Duration::ZERO))
}

/// The server's word counts, and up to this share of it on top, but a word of zero is none.
fn wait(
    kind: LimitKind,
    asked: Option<u64>,
    jitter: f64,
    backoff: RangeInclusive<Duration>,
) -> Wait {
    let (why, time) = match asked.filter(|seconds| *seconds > 0) {
        Some(seconds) => {
            let seconds = Duration::from_secs(seconds);
            (
                WaitReason::ServerHint(HintHeader::RetryAfter),
                seconds..=seconds.mul_f64(1.0 + jitter),
            )
        }
        None if backoff.end().is_zero() => (WaitReason::Immediate, backoff),
        None => (WaitReason::Backoff, backoff),
    };
    Wait {
        charged: Some(kind),
        why,
        time,
    }
}
