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

use super::layers::Layers;

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
    /// An answer with this status whose content broke off while it was read.
    Cut(u16),
    /// An answer that leads elsewhere, with the method and the content or as a plain GET.
    Redirect { status: u16, keeps: bool },
    /// An answer that says success.
    Success,
}

/// What the rules need to know of a request.
#[derive(Clone, Debug)]
pub struct Facts {
    pub preset: Preset,
    pub layers: Layers,
    pub method: Method,
    pub has_key: bool,
    /// The attempt in which more was read of the body than can be kept.
    pub over_limit_in: Option<usize>,
    /// Whether what is late is sent a second time.
    pub hedged: bool,
    /// When each attempt began and ended, if that is known.
    pub times: Vec<(Duration, Duration)>,
    /// Which of the server's names each attempt went to, if that is known.
    pub went_to: Vec<usize>,
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
    /// What is sent in each attempt.
    pub sent: Vec<Request>,
    /// Which of the server's names each attempt goes to.
    pub places: Vec<usize>,
}

/// What is sent in an attempt.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub has_key: bool,
    pub has_content: bool,
    pub redirected: bool,
}

/// Why it is not sent again.
#[derive(Clone, Debug, PartialEq)]
pub enum Stop {
    Because(StopReason),
    /// What was read of the body by then is not the rules' affair.
    BodyNotReplayable,
    /// Both names ask for more than a minute; how much of it is left is not the rules' affair.
    AskedTooLong,
}

/// A wait before a retry.
#[derive(Clone, Debug)]
pub struct Wait {
    pub charged: Option<LimitKind>,
    /// `None` where a word that holds for one name only makes no difference, or a little.
    pub why: Option<WaitReason>,
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

/// What happened so far.
#[derive(Debug, Default)]
struct Past {
    /// The retries that are charged to a limit, hops too.
    charged: u32,
    /// Those since the last hop, which is a request of its own.
    retries: u32,
    unprocessed: u32,
    misdirected: bool,
}

/// What must become of a request whose attempts, counted from 1, end like this.
pub fn expect(facts: &Facts, class: impl Fn(usize) -> Class) -> Expected {
    let mut past = Past::default();
    let mut places = Places::default();
    let mut request = Request {
        method: facts.method.clone(),
        has_key: facts.has_key,
        has_content: true,
        redirected: false,
    };
    let mut waits = Vec::new();
    let mut sent = Vec::new();
    let mut effects = (0, 0);
    for attempt in 1.. {
        let class = class(attempt);
        let place = places.next(facts, attempt);
        sent.push(request.clone());
        let facts = &Facts {
            method: request.method.clone(),
            has_key: request.has_key,
            ..facts.clone()
        };
        // An answer that says success is the only proof that the request was applied. What is
        // known not to have reached the server was not.
        let applied = match class {
            Class::Connect | Class::Unprocessed | Class::Untrusted(_) => (0, 0),
            // Not on this connection (RFC 9110, section 15.5.20).
            Class::Status(421, _) => (0, 0),
            Class::Read | Class::TimedOut | Class::Status(..) => (0, 1),
            Class::Cut(_) | Class::Redirect { .. } => (0, 1),
            Class::Success => (1, 1),
        };
        effects.0 += applied.0;
        // Sent twice, nobody knows what became of the other one.
        effects.1 += applied.1 + u32::from(facts.hedged);

        let asked = places.asked(facts, attempt, place, class);
        let mut verdict = match (facts.preset, class) {
            (_, Class::Redirect { status, keeps }) => {
                redirect(facts, status, keeps, &past, &request)
            }
            (Preset::Default, _) => default(facts, class, &asked, &past),
            (Preset::Urllib3, _) => urllib3(facts, class, &asked, &past),
            (preset, _) => panic!("no rules for {preset:?}"),
        };
        // Whether the body can be sent again is asked only when everything else is fine. What
        // was lost of it stays lost.
        let lost = facts.over_limit_in.is_some_and(|n| n <= attempt) && request.has_content;
        let keeps = !matches!(class, Class::Redirect { keeps: false, .. });
        if matches!(verdict, Verdict::Retry(_)) && lost && keeps {
            verdict = Verdict::GiveUp(Stop::BodyNotReplayable);
        }
        let raises = facts.preset == Preset::Urllib3 && matches!(verdict, Verdict::GiveUp(_));
        let stop = match verdict {
            Verdict::Retry(wait) => {
                match (wait.charged, class) {
                    (Some(_), Class::Redirect { keeps, .. }) => {
                        let charged = past.charged + 1;
                        past = Past {
                            charged,
                            ..Past::default()
                        };
                        request = request.follow(keeps);
                        places.follow();
                    }
                    (Some(_), _) => {
                        past.charged += 1;
                        past.retries += 1;
                    }
                    (None, _) => past.unprocessed += 1,
                }
                past.misdirected |= matches!(class, Class::Status(421, _));
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
                Class::Redirect { .. } if raises => Err(RetryErrorKind::Redirect),
                Class::Cut(_) if raises => Err(RetryErrorKind::Status),
                Class::Status(status, _) => Ok(status),
                Class::Cut(status) | Class::Redirect { status, .. } => Ok(status),
                Class::TimedOut => Err(RetryErrorKind::AttemptTimeout),
                Class::Connect | Class::Unprocessed | Class::Read | Class::Untrusted(_) => {
                    Err(RetryErrorKind::Failed)
                }
            },
            effects: effects.0..=effects.1,
            waits,
            sent,
            places: places.been,
        };
    }
    unreachable!("every policy has a limit")
}

impl Request {
    /// The request that follows a redirect: a GET has neither the content nor the key of another
    /// request.
    fn follow(self, keeps: bool) -> Self {
        let redirected = true;
        if keeps {
            return Self { redirected, ..self };
        }
        Self {
            method: Method::GET,
            has_key: false,
            has_content: false,
            redirected,
        }
    }
}

/// Where attempts go, if the server has two names: to the one that did not ask to be left alone,
/// or whose time is over first; then to the one that was asked less often; then to the other one
/// than last time; then to the first. A hop is a request of its own; which name it goes to first
/// depends on what failed lately, which is not the rules' affair.
#[derive(Debug, Default)]
struct Places {
    been: Vec<usize>,
    /// Where this hop begins among them.
    hop: usize,
    /// Until when each asked to be left alone.
    held: [Duration; 2],
}

/// What a server said of when to come back, as far as it holds for the next attempt.
#[derive(Debug)]
struct Asked {
    /// The seconds.
    time: Option<Duration>,
    /// Whether the next attempt can go to another name.
    elsewhere: bool,
}

impl Places {
    /// A server can ask for five minutes at most.
    const HELD_AT_MOST: Duration = Duration::from_secs(300);

    fn next(&mut self, facts: &Facts, attempt: usize) -> usize {
        if !facts.layers.endpoints {
            self.been.push(0);
            return 0;
        }
        let now = facts
            .times
            .get(attempt - 1)
            .map_or(Duration::ZERO, |it| it.0);
        let been = &self.been[self.hop..];
        let rank = |place: &usize| {
            let times = been.iter().filter(|been| *been == place).count();
            let held = self.held[*place].saturating_sub(now);
            (held, times, been.last() == Some(place), *place)
        };
        let place = match facts.went_to.get(attempt - 1) {
            Some(place) if been.is_empty() && self.hop > 0 => *place,
            _ => [0, 1].into_iter().min_by_key(rank).expect("two"),
        };
        self.been.push(place);
        place
    }

    fn follow(&mut self) {
        self.hop = self.been.len();
    }

    fn asked(&mut self, facts: &Facts, attempt: usize, place: usize, class: Class) -> Asked {
        let time = match class {
            Class::Status(_, asked) => asked.map(Duration::from_secs),
            _ => None,
        };
        let time = time.filter(|time| !time.is_zero());
        if !facts.layers.endpoints {
            let elsewhere = false;
            return Asked { time, elsewhere };
        }
        let now = facts
            .times
            .get(attempt - 1)
            .map_or(Duration::ZERO, |it| it.1);
        match (class, time) {
            // Those that say that a server has trouble.
            (Class::Status(429 | 502..=504, _), Some(time)) => {
                self.held[place] = now + time.min(Self::HELD_AT_MOST);
            }
            (Class::Status(429 | 502..=504, _), None) => {}
            (Class::Status(..) | Class::Success | Class::Redirect { .. }, _) => {
                self.held[place] = Duration::ZERO;
            }
            _ => {}
        }
        let left = self.held[1 - place].saturating_sub(now);
        if left.is_zero() || time.is_some_and(|time| left < time) {
            let time = Some(left).filter(|left| !left.is_zero());
            return Asked {
                time,
                elsewhere: true,
            };
        }
        let elsewhere = false;
        Asked { time, elsewhere }
    }
}

/// A redirect: followed as often as the limits allow, at once, and never in a circle.
fn redirect(facts: &Facts, status: u16, keeps: bool, past: &Past, from: &Request) -> Verdict {
    if !facts.layers.redirects {
        return Verdict::Stop(status_not_listed(status));
    }
    let total = match facts.preset {
        Preset::Urllib3 => 10,
        _ => 3,
    };
    if past.charged == total {
        return used_up(total.into());
    }
    // All lead to the same place; urllib3 goes in circles until a limit is used up.
    let comes_back = from.redirected && (keeps || from.method == Method::GET);
    if comes_back && facts.preset != Preset::Urllib3 {
        let because = "the request was there before".into();
        return Verdict::Stop(Stop::Because(StopReason::RedirectRefused { because }));
    }
    Verdict::Retry(Wait {
        charged: Some(LimitKind::Redirect),
        why: Some(WaitReason::Immediate),
        time: Duration::ZERO..=Duration::ZERO,
    })
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
fn default(facts: &Facts, class: Class, asked: &Asked, past: &Past) -> Verdict {
    const TOTAL: u32 = 3;
    const STATUSES: [u16; 7] = [408, 425, 429, 500, 502, 503, 504];
    const LONGEST: Duration = Duration::from_secs(60);

    let misdirected = matches!(class, Class::Status(421, _));
    let kind = match class {
        Class::Success => return Verdict::Accept,
        Class::Redirect { .. } => unreachable!("there are rules for it"),
        Class::Untrusted(cause) => {
            return Verdict::Stop(Stop::Because(StopReason::NotTransient { cause }));
        }
        // On another connection it may be the right server, once.
        Class::Status(421, _) if facts.layers.connections && !past.misdirected => LimitKind::Status,
        Class::Status(status, _) if !STATUSES.contains(&status) => {
            return Verdict::Stop(status_not_listed(status));
        }
        Class::Unprocessed if past.unprocessed == 0 => {
            return Verdict::Retry(Wait {
                charged: None,
                why: Some(WaitReason::NeverProcessed),
                time: Duration::ZERO..=Duration::ZERO,
            });
        }
        Class::Unprocessed if past.unprocessed == 1 => {
            return Verdict::Retry(Wait {
                charged: None,
                why: Some(WaitReason::Backoff),
                time: Duration::ZERO..=Duration::from_millis(100),
            });
        }
        Class::Connect | Class::Unprocessed => LimitKind::Connect,
        Class::Read | Class::TimedOut | Class::Cut(_) => LimitKind::Read,
        Class::Status(..) => LimitKind::Status,
    };
    if kind != LimitKind::Connect && !misdirected && !may_repeat(facts) {
        return Verdict::Stop(method_not_allowed(facts));
    }
    if past.charged == TOTAL {
        return used_up(TOTAL.into());
    }
    match asked.time.filter(|time| *time > LONGEST) {
        Some(_) if asked.elsewhere => return Verdict::GiveUp(Stop::AskedTooLong),
        Some(asked) => {
            let cap = LONGEST;
            let reason = StopReason::RetryAfterTooLong { asked, cap };
            return Verdict::GiveUp(Stop::Because(reason));
        }
        None => {}
    }
    let backoff = Duration::from_millis(100 << past.retries).min(Duration::from_secs(20));
    Verdict::Retry(wait(kind, asked, 0.1, Duration::ZERO..=backoff))
}

/// `RetryPolicy::urllib3()`: ten retries at once, no statuses but those that come with a
/// `Retry-After`, which is obeyed up to six hours, and a connect failure or anything unknown is
/// repeated for every method.
fn urllib3(facts: &Facts, class: Class, asked: &Asked, past: &Past) -> Verdict {
    const TOTAL: u32 = 10;

    let kind = match class {
        Class::Success => return Verdict::Accept,
        // No response, so it is as if no connection had been made.
        Class::Connect | Class::Unprocessed => LimitKind::Connect,
        Class::Untrusted(_) => LimitKind::Other,
        Class::Redirect { .. } => unreachable!("there are rules for it"),
        Class::Read | Class::TimedOut | Class::Cut(_) => LimitKind::Read,
        Class::Status(413 | 429 | 503, Some(_)) => LimitKind::Status,
        Class::Status(status, _) => return Verdict::Stop(status_not_listed(status)),
    };
    if matches!(kind, LimitKind::Read | LimitKind::Status) && !may_repeat(facts) {
        return Verdict::Stop(method_not_allowed(facts));
    }
    if past.charged == TOTAL {
        return match used_up(TOTAL.into()) {
            // `is_retry`: "self.total and …", so that the last of them is returned as it is.
            Verdict::GiveUp(stop) if kind == LimitKind::Status => Verdict::Stop(stop),
            verdict => verdict,
        };
    }
    Verdict::Retry(wait(kind, asked, 0.0, Duration::ZERO..=Duration::ZERO))
}

/// The server's word counts, and up to this share of it on top, but a word of zero is none.
fn wait(kind: LimitKind, asked: &Asked, jitter: f64, backoff: RangeInclusive<Duration>) -> Wait {
    let (why, time) = match asked.time {
        Some(time) => (
            WaitReason::ServerHint(HintHeader::RetryAfter),
            time..=time.mul_f64(1.0 + jitter),
        ),
        None if backoff.end().is_zero() => (WaitReason::Immediate, backoff),
        None => (WaitReason::Backoff, backoff),
    };
    Wait {
        charged: Some(kind),
        why: Some(why).filter(|_| !asked.elsewhere),
        time,
    }
}
