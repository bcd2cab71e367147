//! A response as lines of text, and what any policy may make of it.
//!
//! ```text
//! 503 clamp post
//! retry-after: 7
//! date: Sun, 06 Nov 1994 08:49:30 GMT
//! ```

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use tower_http_retry::{
    classify::{Opinion, Outcome},
    policy::{
        Attempt, Backoff, Decision, Eligibility, HintHeader, Jitter, Limit, LimitKind, Note,
        Policy, Preset, RequestHead, RetryAfterMode, RetryPolicy, Session, StopReason, WaitReason,
    },
};

/// Sun, 06 Nov 1994 08:49:30 GMT, seven seconds before the date of RFC 9110's examples.
pub(super) const NOW: Duration = Duration::from_secs(784_111_770);

/// Where the client's clock stands.
pub(super) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + NOW
}

/// A failed exchange under a policy.
pub(super) struct Exchange {
    pub(super) policy: &'static RetryPolicy,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    post: bool,
    judged: bool,
}

static POLICIES: LazyLock<[(&str, RetryPolicy); 6]> = LazyLock::new(|| {
    let default = || RetryPolicy::builder().budget(None);
    let build = |policy: tower_http_retry::policy::RetryPolicyBuilder| {
        policy.build().expect("a valid policy")
    };
    let backoff = Backoff::exponential(Duration::from_millis(10)).max(Duration::from_millis(40));
    [
        ("default", build(default().seed(1))),
        (
            "clamp",
            build(
                default()
                    .retry_after_mode(RetryAfterMode::Clamp)
                    .retry_after_max(30)
                    .retry_after_jitter(1.0)
                    .backoff(backoff.clone().jitter(Jitter::Decorrelated))
                    .total(5)
                    .seed(2),
            ),
        ),
        (
            "never",
            build(
                default()
                    .retry_after_mode(RetryAfterMode::Clamp)
                    .retry_after_max(0),
            ),
        ),
        (
            "unlimited",
            build(
                default()
                    .retry_after_max(f64::INFINITY)
                    .retry_after_jitter(0.5)
                    .backoff(backoff),
            ),
        ),
        (
            "deaf",
            build(default().respect_retry_after_header(false).total(1)),
        ),
        (
            "urllib3",
            build(
                RetryPolicy::urllib3_builder()
                    .status_forcelist([429, 500, 503])
                    .backoff_factor(0.5)
                    .backoff_jitter(0.25)
                    .total(4)
                    .seed(3),
            ),
        ),
    ]
});

impl Exchange {
    /// Reads the fuzzer's bytes; what is not understood is left out.
    pub(super) fn read(data: &[u8]) -> Self {
        let mut lines = data.split(|byte| *byte == b'\n');
        let mut exchange = Self {
            policy: &POLICIES[0].1,
            status: StatusCode::SERVICE_UNAVAILABLE,
            headers: HeaderMap::new(),
            post: false,
            judged: false,
        };
        for word in lines.next().unwrap_or_default().split(|byte| *byte == b' ') {
            let Ok(word) = std::str::from_utf8(word) else {
                continue;
            };
            let policy = POLICIES.iter().find(|(name, _)| *name == word);
            if let Some((_, policy)) = policy {
                exchange.policy = policy;
            } else if let Ok(status) = StatusCode::from_bytes(word.as_bytes()) {
                exchange.status = status;
            }
            exchange.post |= word == "post";
            exchange.judged |= word == "judged";
        }
        for line in lines {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                continue;
            };
            // As a parser of HTTP/1.1 hands them over, but for the space at the end.
            let value = &line[colon + 1..];
            let value = value.strip_prefix(b" ").unwrap_or(value);
            if let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(&line[..colon]),
                HeaderValue::from_bytes(value),
            ) {
                exchange.headers.append(name, value);
            }
        }
        exchange
    }

    /// The values of a header.
    pub(super) fn values(&self, name: &str) -> Vec<&[u8]> {
        let values = self.headers.get_all(name).into_iter();
        values.map(HeaderValue::as_bytes).collect()
    }

    /// Whether a policy of the default preset looks for hints beside `Retry-After`.
    pub(super) fn reads_all_hints(&self) -> bool {
        self.policy.preset() == Preset::Default && self.policy.respect_retry_after_header()
    }

    /// Has a session decide until it stops, while each attempt is answered like this, and checks
    /// what must hold for every decision. The first one.
    pub(super) fn decide(&self) -> Decision {
        let policy = self.policy;
        let method = match self.post {
            true => Method::POST,
            false => Method::GET,
        };
        let mut request = Request::new(());
        *request.method_mut() = method.clone();
        let mut session = policy.session(&RequestHead::of(&request));
        assert_eq!(session.eligibility(), Eligibility::Eligible);
        let opinion = match self.judged {
            true => Opinion::Retry("it says so".into()),
            false => Opinion::NoOpinion,
        };
        let Limit::AtMost(total) = policy.total() else {
            panic!("each of these policies has a limit");
        };
        if !self.judged && session.is_final(self.status, &self.headers) {
            return Decision::Accept;
        }

        let mut first = None;
        for number in 1.. {
            let outcome = Outcome::Response {
                status: self.status,
                headers: &self.headers,
            };
            let attempt = Attempt::new(number, &method, outcome)
                .with_wall_clock(now())
                .with_opinion("a test", opinion.clone());
            let decision = session.decide(&attempt);
            self.check(&decision);
            let goes_on = matches!(decision, Decision::Retry(_));
            assert!(
                !goes_on || i64::from(number) <= total,
                "attempt {number} of {total} + 1 is followed by another"
            );
            first.get_or_insert(decision);
            if !goes_on {
                break;
            }
        }
        first.expect("at least one attempt")
    }

    fn check(&self, decision: &Decision) {
        let policy = self.policy;
        let cap = policy.retry_after_max();
        match decision {
            Decision::Accept => {
                let is_failure = self.status.as_u16() >= 400;
                assert!(!is_failure, "{} is a failure", self.status);
            }
            Decision::Retry(retry) => {
                assert!(policy.respect_retry_after_header() || retry.asked.is_none());
                match &retry.why {
                    WaitReason::Immediate => assert_eq!(retry.wait, Duration::ZERO),
                    WaitReason::Backoff => assert!(retry.wait <= policy.backoff().get_max()),
                    WaitReason::ServerHint(header) => {
                        let asked = retry.asked.expect("the server asked");
                        assert!(asked <= cap, "{asked:?} is above {cap:?}");
                        self.check_hinted(retry.wait, asked, header);
                    }
                    WaitReason::ServerHintClamped(header) => {
                        assert_eq!(policy.retry_after_mode(), RetryAfterMode::Clamp);
                        assert_eq!(retry.asked, Some(cap));
                        self.check_hinted(retry.wait, cap, header);
                    }
                    why => panic!("no policy waits for this: {why:?}"),
                }
                self.check_note(retry.note.as_ref());
                assert_eq!(retry.gates.failed().next(), None, "a gate said no");
                let kind = retry.charged.expect("a response is charged");
                assert!(matches!(kind, LimitKind::Status | LimitKind::Redirect));
            }
            Decision::Stop(stop) => {
                if let StopReason::RetryAfterTooLong { asked, cap: by } = &stop.reason {
                    assert!(*by == cap && *asked > cap, "{asked:?} is within {cap:?}");
                    assert_eq!(policy.retry_after_mode(), RetryAfterMode::GiveUp);
                    assert_eq!(stop.asked, Some(cap), "no longer than is obeyed");
                }
                if let StopReason::ForbiddenByServer { header } = &stop.reason {
                    assert!(self.headers.contains_key(header.as_str()));
                }
                self.check_note(stop.note.as_ref());
                assert!(stop.gates.failed().next().is_some(), "no gate said no");
                assert!(!stop.reason.to_string().is_empty());
            }
            decision => panic!("no such decision: {decision:?}"),
        }
    }

    /// Never earlier than asked, and later by no more than the jitter.
    fn check_hinted(&self, wait: Duration, asked: Duration, header: &HintHeader) {
        assert!(self.headers.contains_key(header.as_str()), "{header}");
        if *header == HintHeader::GrpcRetryPushbackMs {
            assert_eq!(wait, asked, "a pushback is exact");
            return;
        }
        assert!(wait >= asked, "{wait:?} is before {asked:?}");
        let more = wait.as_secs_f64() - asked.as_secs_f64();
        let most = asked.as_secs_f64() * self.policy.retry_after_jitter();
        // What is lost between a duration and a float of seconds.
        let slack = 1e-9 + wait.as_secs_f64() * 1e-15;
        assert!(more <= most + slack, "{more} s are more than {most} s");
    }

    fn check_note(&self, note: Option<&Note>) {
        if let Some(Note::HintIgnored(header)) = note {
            assert!(self.headers.contains_key(header.as_str()), "{header}");
        }
    }
}
