//! What a request went through: each attempt, each wait and why, and why it stopped.

use std::{
    fmt,
    ops::RangeInclusive,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, Method, StatusCode};

use crate::{
    header_names::{any_is_hint, is_hint},
    human::Human,
    reason::{
        Cause, Evidence, Failure, FailureKind, Gates, LimitKind, Note, Sent, StopReason, WaitReason,
    },
    stack::LayerOutcome,
    text::{self, one_line, redact},
};

/// The story of one request.
///
/// It is in the extensions of the response whenever more than one attempt was made, a failure was
/// not retried, the first attempt was held back or hedged, and in every
/// [`RetryError`](crate::RetryError). A request that succeeded at once has none.
///
/// `Display` is a timeline for people:
///
/// ```text
/// GET http://127.0.0.1:8080/flaky: succeeded after 4 attempts in 1.32 s
///   #1    +0 ms  503 Service Unavailable, took 1.2 ms
///       wait 87 ms: backoff
///   #2   +89 ms  read: connection closed before the response, took 0.6 ms
///       client error (SendRequest): connection closed before message completed
///       wait 228 ms: backoff
///   #3  +318 ms  429 Too Many Requests, took 0.6 ms
///       wait 1 s: retry-after
///   #4  +1.32 s  200 OK, took 0.6 ms
/// ```
///
/// Each attempt has its number, its offset from the start, and what happened; a failure without
/// a response also has its error and that error's sources, unless they are those of the attempt
/// before. A request that failed ends with a line that says which knob decided: `not retried:`
/// after a single attempt, else `gave up:`.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RetryReport {
    /// What the serialized form is.
    #[cfg_attr(feature = "serde", serde(default))]
    pub(crate) version: Version,
    /// The request's method.
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::method"))]
    pub method: Method,
    /// The request's URL without userinfo and query, which may hold secrets.
    ///
    /// It is that of the request which the layer was given: above a client that adds the origin
    /// itself, as tonic's channel and kube's do, it is a path, and every attempt's own
    /// [`url`](AttemptRecord::url) only says more where a layer below tells where it was sent:
    /// neither of the two tells it. The whole of it is shown where the origin is added above the
    /// layer: by the `with_origin` of a client that tonic generates, by kube's `base_uri_layer`, by
    /// tower's `map_request`. Then mounts and scopes by authority know it, too.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::text::read::text"))]
    pub url: String,
    /// The attempts, in order: all of them, unless there were more than 128. Then they are the
    /// first 64 and the last 64, and [`omitted`](Self::omitted) says how many there were between.
    pub attempts: Vec<AttemptRecord>,
    /// How many attempts were made that are not in [`attempts`](Self::attempts).
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_zero"))]
    pub omitted: u32,
    /// Why no further attempt was made.
    pub stop: StopReason,
    /// The number of the attempt that this request was to a retry layer further out, if there is
    /// one and it was not its first.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub outer_attempt: Option<u32>,
    /// How long the first attempt was held back because the server had asked another request to
    /// wait, or to [spread](Note::Spread) it; see [`SharedHints`](crate::shared_hints::SharedHints).
    #[cfg_attr(
        feature = "serde",
        serde(
            default,
            skip_serializing_if = "Duration::is_zero",
            with = "crate::serde_http::seconds"
        )
    )]
    pub held: Duration,
    /// The time from the start of the first attempt until the end.
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::seconds"))]
    pub elapsed: Duration,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct AttemptRecord {
    /// Its number; 1 is the first one.
    pub number: u32,
    /// When it started, counted from the start of the first one.
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::seconds"))]
    pub started: Duration,
    /// How long it took until the response's head, or the error.
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::seconds"))]
    pub took: Duration,
    /// Where it went without userinfo and query, if not to the request's own URL: a hook or a layer
    /// below can send it elsewhere.
    #[cfg_attr(
        feature = "serde",
        serde(
            default,
            skip_serializing_if = "Option::is_none",
            deserialize_with = "crate::text::read::option"
        )
    )]
    pub url: Option<String>,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// The wait that followed, if another attempt was to be made.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub wait: Option<WaitRecord>,
    /// What each gate said of a retry.
    #[cfg_attr(feature = "serde", serde(default))]
    pub gates: Gates,
    /// Something that the policy says the caller should know.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub note: Option<Box<Note>>,
    /// What the layer itself has to add.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Vec::is_empty")
    )]
    pub layer_notes: Vec<Note>,
    /// What a failed response said about when to come back.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub hint: Option<Box<HintRecord>>,
    /// What failed in a response whose status does not say so: a gRPC call, for instance, or what
    /// a layer below found in the body.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub failed_within: Option<Cause>,
    /// What it rests on whether the request may have been applied, where that is not plain from
    /// the cause.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub evidence: Option<Box<Evidence>>,
    /// What was read of a failed response after its head, where that took time or was cut short.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub drained: Option<Box<DrainRecord>>,
    /// How often layers further in sent this attempt, if that is not once: a hedge is sent besides,
    /// and a second retry layer multiplies, three times three attempts are nine.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub inner_attempts: Option<u32>,
}

impl AttemptRecord {
    /// An attempt that ended with `outcome`, at once.
    pub(crate) fn new(number: u32, outcome: AttemptOutcome) -> Self {
        Self {
            number,
            started: Duration::ZERO,
            took: Duration::ZERO,
            url: None,
            outcome,
            wait: None,
            gates: Gates::default(),
            note: None,
            layer_notes: Vec::new(),
            hint: None,
            failed_within: None,
            evidence: None,
            drained: None,
            inner_attempts: None,
        }
    }

    /// Whether it ended with an error that proves that it was not applied.
    fn is_proved_unapplied(&self) -> bool {
        match &self.outcome {
            AttemptOutcome::Failed { sent, .. } => sent.is_safe_to_repeat(),
            AttemptOutcome::Response(_) => false,
        }
    }

    /// Whether it was answered with success, as far as the head says.
    fn is_success(&self) -> bool {
        match self.outcome {
            AttemptOutcome::Response(status) => status.is_success() && self.failed_within.is_none(),
            AttemptOutcome::Failed { .. } => false,
        }
    }

    /// Notes what the layers below say of it. The hint is there already.
    pub(crate) fn note_layer(&mut self, below: Option<&LayerOutcome>) {
        let Some(below) = below else {
            return;
        };
        self.layer_notes.extend(below.notes.iter().cloned());
        self.url = below.url.as_ref().map(sanitized_uri);
        if below.has_left() {
            self.layer_notes.push(Note::ConnectionLeft);
        }
        if below.elsewhere && self.hint.is_some() && !self.is_success() {
            self.layer_notes.push(Note::HintElsewhere);
        }
    }

    /// Redacts what others wrote.
    pub(crate) fn clean(&mut self) {
        if let Some(wait) = &mut self.wait {
            wait.why.clean();
        }
        for note in self
            .note
            .as_deref_mut()
            .into_iter()
            .chain(&mut self.layer_notes)
        {
            note.clean();
        }
    }

    /// Everything that the caller should know: the policy's [`note`](Self::note), then the
    /// [layer's](Self::layer_notes).
    pub fn notes(&self) -> impl Iterator<Item = &Note> {
        self.note.as_deref().into_iter().chain(&self.layer_notes)
    }
}

/// What a failed response said about when to come back, kept so that
/// [`RetryReport::replay`] can judge it anew.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct HintRecord {
    /// The wall clock when the response's head arrived.
    pub at: SystemTime,
    /// Its headers about retries and rate limits, with `Date` and `Age`: as they came, but cut
    /// where they are very long, and where there are very many only those that matter most.
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::text::read::pairs")
    )]
    pub headers: Vec<(String, String)>,
}

impl HintRecord {
    const CLOCKS: [&str; 2] = ["date", "age"];
    /// Headers come from the network, and reports are kept.
    pub(crate) const MOST: usize = 16;
    const LONGEST: usize = 256;
    const LONGEST_NAME: usize = 64;

    /// What these headers say, read when the wall clock stands at `at()`; `None` if it is nothing.
    pub(crate) fn of(headers: &HeaderMap, at: impl FnOnce() -> SystemTime) -> Option<Box<Self>> {
        if !any_is_hint(headers) {
            return None;
        }
        Some(Self::found(headers, at()))
    }

    /// The same of headers of which [`any_is_hint`].
    pub(crate) fn found(headers: &HeaderMap, at: SystemTime) -> Box<Self> {
        // What says when to come back first: of rate limits some servers have dozens of headers.
        let rank = |name: &str| match name {
            name if name.contains("retry") || Self::CLOCKS.contains(&name) => Some(0),
            "ratelimit" | "ratelimit-policy" => Some(0),
            name if !is_hint(name) => None,
            name if name.ends_with("reset") || name.ends_with("remaining") => Some(1),
            _ => Some(2),
        };
        let kept = (0..3).flat_map(|at| {
            let all = headers.iter();
            all.filter(move |(name, _)| rank(name.as_str()) == Some(at))
        });
        let short = kept.filter(|(name, _)| name.as_str().len() <= Self::LONGEST_NAME);
        let headers = short.take(Self::MOST).map(|(name, value)| {
            let value = value.as_bytes();
            // Each byte that is no text takes three.
            let value = String::from_utf8_lossy(&value[..value.len().min(Self::LONGEST)]);
            let value = redact(&value[..floor(&value, Self::LONGEST)], false);
            (name.as_str().to_owned(), value)
        });
        Box::new(Self {
            at,
            headers: headers.collect(),
        })
    }
}

/// What was read of a failed response, so that its connection could be used again, while the next
/// attempt was waited for; see [`drain`](crate::RetryLayer::drain).
///
/// The wait goes on meanwhile: one that is shorter than this ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct DrainRecord {
    /// The bytes of content that were read.
    pub bytes: u64,
    /// How long it took, from the decision to send the request again.
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::seconds"))]
    pub took: Duration,
    /// Whether the response came to its end; otherwise it was dropped at one of the limits.
    pub complete: bool,
}

impl fmt::Display for DrainRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, took) = (self.bytes, Human(self.took));
        write!(f, "read {bytes} bytes of it in {took}")?;
        if !self.complete {
            f.write_str(", then dropped it")?;
        }
        Ok(())
    }
}

/// The version of a report's serialized form. What is only added makes no new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Version;

#[cfg(feature = "serde")]
impl Version {
    const CURRENT: u32 = 1;
}

#[cfg(feature = "serde")]
impl serde::Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u32(Self::CURRENT)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match u32::deserialize(from)? {
            0..=Self::CURRENT => Ok(Self),
            newer => Err(serde::de::Error::custom(format_args!(
                "`version` is {newer}, this version of tower-http-retry reads up to {}",
                Self::CURRENT
            ))),
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// With the head of a response.
    Response(#[cfg_attr(feature = "serde", serde(with = "crate::serde_http::status"))] StatusCode),
    /// Without a response.
    Failed {
        /// The limit it is charged to.
        kind: FailureKind,
        /// Why.
        cause: Cause,
        /// What certainly happened to the request. Of a report without it, which an older version
        /// wrote, it is [`Sent::Unknown`].
        #[cfg_attr(feature = "serde", serde(default))]
        sent: Sent,
        /// The error and its sources, as text; URLs in it are cut like
        /// [`RetryReport::url`].
        #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::text::read::text"))]
        error: String,
    },
}

/// A wait between two attempts.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct WaitRecord {
    /// How long the policy wanted to wait.
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::seconds"))]
    pub planned: Duration,
    /// Where the wait comes from.
    pub why: WaitReason,
    /// The limit that the retry was charged to; `None` for a request that was never processed.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub charged: Option<LimitKind>,
}

impl RetryReport {
    /// The report of a request that was not sent yet. `url` is [`sanitized`].
    #[cfg_attr(not(feature = "dry-run"), allow(dead_code))]
    pub(crate) fn new(method: Method, url: String) -> Self {
        Self {
            version: Version,
            method,
            url,
            // Many requests may wait at once.
            attempts: Vec::with_capacity(1),
            omitted: 0,
            stop: StopReason::Succeeded,
            outer_attempt: None,
            held: Duration::ZERO,
            elapsed: Duration::ZERO,
        }
    }

    /// The report of a service that was not ready for a first request.
    pub(crate) fn without_request() -> Self {
        Self {
            version: Version,
            method: Method::default(),
            url: String::new(),
            attempts: Vec::new(),
            omitted: 0,
            stop: StopReason::NotReady,
            outer_attempt: None,
            held: Duration::ZERO,
            elapsed: Duration::ZERO,
        }
    }

    /// Whether it is that of a service that failed to become ready before there was a request.
    pub(crate) fn is_without_request(&self) -> bool {
        self.url.is_empty() && self.attempts.is_empty()
    }

    /// Adds an attempt to the others, within the bounds of [`attempts`](Self::attempts).
    #[cfg(any(feature = "redirect", feature = "resume"))]
    pub(crate) fn push(&mut self, record: AttemptRecord) {
        const FIRST: usize = 64;
        const MOST: usize = 128;
        if self.attempts.len() >= MOST {
            self.attempts.remove(FIRST);
            self.omitted = self.omitted.saturating_add(1);
        }
        self.attempts.push(record);
    }

    /// Adds the attempts of another report, of a request that was sent `offset` after this one
    /// started and belongs to it.
    #[cfg(any(feature = "redirect", feature = "resume"))]
    pub(crate) fn append(&mut self, other: Self, offset: Duration) {
        let before = u32::try_from(self.attempt_count()).unwrap_or(u32::MAX);
        for mut attempt in other.attempts {
            attempt.number = attempt.number.saturating_add(before);
            attempt.started = attempt.started.saturating_add(offset);
            if attempt.url.is_none() && other.url != self.url {
                attempt.url = Some(other.url.clone());
            }
            self.push(attempt);
        }
        self.omitted = self.omitted.saturating_add(other.omitted);
    }

    /// The number of attempts made.
    pub fn attempt_count(&self) -> usize {
        self.attempts.len().saturating_add(self.omitted as usize)
    }

    /// The number of retries made.
    pub fn retry_count(&self) -> usize {
        self.attempt_count().saturating_sub(1)
    }

    /// The planned waits together, without those of [`omitted`](Self::omitted) attempts.
    pub fn waited(&self) -> Duration {
        self.attempts
            .iter()
            .filter_map(|attempt| attempt.wait.as_ref())
            .fold(Duration::ZERO, |sum, wait| sum.saturating_add(wait.planned))
    }

    /// Notes it where the answer is what a request meets that an earlier attempt of it has done:
    /// the condition of a write no longer holds, what is to be deleted is not there (RFC 9110,
    /// sections 13.2.2 and 9.3.5).
    pub(crate) fn note_what_was_done_before(&mut self) {
        // The last answer counts one itself, and is all that there is in most reports.
        let only = matches!(
            self.attempts.as_slice(),
            [AttemptRecord {
                inner_attempts: None,
                ..
            }]
        );
        if only || *self.effects().end() < 2 {
            return;
        }
        let delete = self.method == Method::DELETE;
        let writes = !self.method.is_safe();
        let Some(last) = self.attempts.last_mut() else {
            return;
        };
        let AttemptOutcome::Response(status) = last.outcome else {
            return;
        };
        match status.as_u16() {
            404 | 410 if delete => last.layer_notes.push(Note::MayBeDone),
            412 if writes => last.layer_notes.push(Note::MayBeDone),
            _ => {}
        }
    }

    /// Goes on with the report of a request that followed this one `offset` after its start.
    #[cfg(feature = "redirect")]
    pub(crate) fn go_on(&mut self, next: Self, offset: Duration) {
        self.stop = next.stop.clone();
        self.elapsed = next.elapsed.saturating_add(offset);
        self.append(next, offset);
    }

    /// How often the server can have applied the request.
    ///
    /// An attempt that was certainly never sent, or refused unprocessed (a 421 or 425, too), counts
    /// 0; one whose end is unknown, or whose answer was a failure or judged to be one, at most 1;
    /// one that was answered with success exactly 1. Where layers further in sent an attempt more
    /// than once, as hedges do, each further time counts at most 1.
    pub fn effects(&self) -> RangeInclusive<u32> {
        let mut min = 0u32;
        let mut max = 0u32;
        for attempt in &self.attempts {
            let applied = match &attempt.outcome {
                // A classifier, or a layer below, vouches for it.
                _ if matches!(attempt.note.as_deref(), Some(Note::Unprocessed { .. })) => 0..=0,
                // A server that says so in the answer may have applied the request all the same.
                AttemptOutcome::Response(_) if attempt.failed_within.is_some() => 0..=1,
                AttemptOutcome::Response(status) => match status.as_u16() {
                    // The server says that it did not process the request (RFC 9110, section
                    // 15.5.20; RFC 8470, section 5.2).
                    421 | 425 => 0..=0,
                    // One that was repeated, or that ended a request that failed, was judged a
                    // failure.
                    200..300 if attempt.wait.is_none() && self.stop.is_success() => 1..=1,
                    _ => 0..=1,
                },
                AttemptOutcome::Failed { sent, .. } => match sent {
                    Sent::Never | Sent::Unprocessed => 0..=0,
                    Sent::Unknown | Sent::Answered => 0..=1,
                },
            };
            min = min.saturating_add(*applied.start());
            max = max.saturating_add(*applied.end());
            // The outcome is that of one of them. What an error proves, it proves of all.
            if !attempt.is_proved_unapplied() {
                let others = attempt.inner_attempts.unwrap_or(1).saturating_sub(1);
                max = max.saturating_add(others);
            }
        }
        // Whatever they were: a retry followed.
        min..=max.saturating_add(self.omitted)
    }
}

#[cfg(feature = "serde")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The last boundary between characters at or before `index`.
fn floor(text: &str, index: usize) -> usize {
    let ends = (0..=index.min(text.len())).rev();
    let mut ends = ends.filter(|end| text.is_char_boundary(*end));
    ends.next().unwrap_or(0)
}

/// A URI as [`sanitized`] shows it.
pub(crate) fn sanitized_uri(uri: &http::Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    sanitized(uri.scheme_str(), authority, path)
}

/// A URL that is safe to log: without userinfo, query and fragment.
pub(crate) fn sanitized(scheme: Option<&str>, authority: &str, path_and_query: &str) -> String {
    // For so few bytes faster than a search that is made for many.
    let query = path_and_query.bytes().position(|byte| byte == b'?');
    let path = query.map_or(path_and_query, |at| &path_and_query[..at]);
    let (scheme, separator) = scheme.map_or(("", ""), |scheme| (scheme, "://"));
    let joined = |host: &str| {
        let size = scheme.len() + separator.len() + host.len() + path.len();
        let mut url = String::with_capacity(size);
        for part in [scheme, separator, host, path] {
            url.push_str(part);
        }
        url
    };
    let url = joined(authority);
    if !text::may_need_redaction(&url) {
        return url;
    }
    let url = match authority.rsplit_once('@') {
        Some((_, host)) => joined(host),
        None => url,
    };
    // A path may have another URL in it.
    if text::may_need_redaction(&url) {
        return redact(&url, false);
    }
    url
}

impl AttemptOutcome {
    /// Without a response.
    pub(crate) fn failed(failure: Failure, error: String) -> Self {
        let Failure { kind, cause, sent } = failure;
        Self::Failed {
            kind,
            cause,
            sent,
            error,
        }
    }

    /// Without the error's text, which is in the error's chain already.
    pub(crate) fn short(&self) -> impl fmt::Display + '_ {
        struct Short<'a>(&'a AttemptOutcome);
        impl fmt::Display for Short<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    AttemptOutcome::Response(status) => write!(f, "{status}"),
                    AttemptOutcome::Failed { cause, .. } => write!(f, "{cause}"),
                }
            }
        }
        Short(self)
    }
}

impl fmt::Display for AttemptOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Response(status) => write!(f, "{status}"),
            Self::Failed {
                kind, cause, error, ..
            } => {
                write!(f, "{kind}: {cause}")?;
                if !error.is_empty() {
                    write!(f, " ({})", one_line(error))?;
                }
                Ok(())
            }
        }
    }
}

impl RetryReport {
    /// The first line of the timeline.
    fn timeline_head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_without_request() {
            return write!(f, "no request was made: {}", self.stop);
        }
        let ended = if self.stop.is_success() {
            "succeeded"
        } else {
            "failed"
        };
        let count = self.attempt_count();
        let plural = if count == 1 { "attempt" } else { "attempts" };
        let (method, url, elapsed) = (&self.method, one_line(&self.url), Human(self.elapsed));
        write!(
            f,
            "{method} {url}: {ended} after {count} {plural} in {elapsed}"
        )?;
        Ok(())
    }

    /// All of it in one line: the first one of the timeline, and why it ended.
    pub(crate) fn headline(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.timeline_head(f)?;
        if self.stop.is_success() || self.is_without_request() {
            return Ok(());
        }
        write!(f, ": {}", self.stop)?;
        match self.attempts.last() {
            Some(last) => write!(f, "; last attempt: {}", last.outcome),
            None => Ok(()),
        }
    }
}

impl fmt::Display for RetryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.timeline_head(f)?;
        if self.is_without_request() {
            return Ok(());
        }
        if !self.held.is_zero() {
            let held = Human(self.held);
            let first = self.attempts.first();
            let spread = first.is_some_and(|first| first.layer_notes.contains(&Note::Spread));
            // The attempt's note says why.
            let why = if spread {
                ""
            } else {
                ", as the server asked before"
            };
            write!(f, "\n  held back for {held}{why}")?;
        }
        if let Some(outer) = self.outer_attempt {
            write!(
                f,
                "\n  note: this was attempt {outer} of a retry layer further out"
            )?;
        }
        let offset = |attempt: &AttemptRecord| format!("+{}", Human(attempt.started));
        let width = self
            .attempts
            .iter()
            .map(|attempt| offset(attempt).len())
            .max();
        let width = width.unwrap_or(0);
        let mut last_error = "";
        let mut expected = 1;
        for attempt in &self.attempts {
            if self.omitted > 0 && attempt.number > expected {
                write!(f, "\n  ({} attempts are left out)", self.omitted)?;
            }
            expected = attempt.number.saturating_add(1);
            let (number, offset) = (attempt.number, offset(attempt));
            write!(f, "\n  #{number:<2} {offset:>width$}  ")?;
            let error = match &attempt.outcome {
                AttemptOutcome::Response(status) => {
                    write!(f, "{status}")?;
                    if let Some(cause) = attempt.failed_within {
                        write!(f, ", {cause}")?;
                    }
                    ""
                }
                AttemptOutcome::Failed {
                    kind, cause, error, ..
                } => {
                    write!(f, "{kind}: {cause}")?;
                    error
                }
            };
            write!(f, ", took {}", Human(attempt.took))?;
            if let Some(url) = &attempt.url {
                write!(f, "\n      sent to {}", one_line(url))?;
            }
            // The same chain again would say nothing and hide the rest.
            if !error.is_empty() && error != last_error {
                write!(f, "\n      {}", one_line(error))?;
            }
            last_error = error;
            let hedged = |note: &Note| matches!(note, Note::Hedged { .. });
            if let Some(inner) = attempt
                .inner_attempts
                .filter(|_| !attempt.notes().any(hedged))
            {
                let plural = if inner == 1 { "attempt" } else { "attempts" };
                write!(
                    f,
                    "\n      note: a retry layer further in made {inner} {plural} of it"
                )?;
            }
            if let Some(evidence) = &attempt.evidence {
                write!(f, "\n      note: {evidence}")?;
            }
            for note in attempt.notes() {
                write!(f, "\n      note: {note}")?;
            }
            if let Some(drained) = &attempt.drained {
                write!(f, "\n      note: {drained}")?;
            }
            match &attempt.wait {
                Some(wait) if wait.planned.is_zero() => write!(f, "\n      no wait: {}", wait.why)?,
                Some(wait) => write!(f, "\n      wait {}: {}", Human(wait.planned), wait.why)?,
                None => {}
            }
        }
        match self.attempt_count() {
            _ if self.stop.is_success() => Ok(()),
            0 => write!(f, "\n  not sent: {}", self.stop),
            1 => write!(f, "\n  not retried: {}", self.stop),
            _ => write!(f, "\n  gave up: {}", self.stop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::HintHeader;

    fn attempt(number: u32, started_ms: u64, outcome: AttemptOutcome) -> AttemptRecord {
        AttemptRecord {
            started: Duration::from_millis(started_ms),
            took: Duration::from_micros(1_200),
            ..AttemptRecord::new(number, outcome)
        }
    }

    fn refused() -> AttemptOutcome {
        AttemptOutcome::Failed {
            kind: FailureKind::Connect,
            cause: Cause::ConnectionRefused,
            sent: Sent::Never,
            error: "client error: refused".into(),
        }
    }

    fn wait(ms: u64, why: WaitReason) -> Option<WaitRecord> {
        Some(WaitRecord {
            planned: Duration::from_millis(ms),
            why,
            charged: None,
        })
    }

    #[test]
    fn the_timeline_tells_attempts_waits_and_the_end() {
        let mut report = RetryReport::new(Method::GET, "http://a.test/x".to_owned());
        report.attempts = vec![
            AttemptRecord {
                wait: wait(0, WaitReason::Immediate),
                ..attempt(1, 0, refused())
            },
            AttemptRecord {
                wait: wait(86, WaitReason::Backoff),
                ..attempt(2, 2, refused())
            },
            AttemptRecord {
                note: Some(Box::new(Note::HintIgnored(HintHeader::RetryAfterMs))),
                wait: wait(1_000, WaitReason::ServerHint(HintHeader::RetryAfter)),
                ..attempt(
                    3,
                    89,
                    AttemptOutcome::Response(StatusCode::TOO_MANY_REQUESTS),
                )
            },
            attempt(4, 1_091, refused()),
        ];
        report.elapsed = Duration::from_millis(1_092);
        report.stop = StopReason::CountExhausted {
            kind: LimitKind::Total,
            limit: 3,
        };
        let expected = "\
GET http://a.test/x: failed after 4 attempts in 1.09 s
  #1    +0 ms  connect: connection refused, took 1.2 ms
      client error: refused
      no wait: immediate
  #2  +2.0 ms  connect: connection refused, took 1.2 ms
      wait 86 ms: backoff
  #3   +89 ms  429 Too Many Requests, took 1.2 ms
      note: unreadable retry-after-ms ignored
      wait 1 s: retry-after
  #4  +1.09 s  connect: connection refused, took 1.2 ms
      client error: refused
  gave up: `total` is used up (3 retries)";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn the_timeline_tells_a_single_attempt_from_giving_up() {
        let mut report = RetryReport::new(Method::GET, "http://a.test/x".to_owned());
        let not_found = StatusCode::NOT_FOUND;
        report.attempts = vec![attempt(1, 0, AttemptOutcome::Response(not_found))];
        report.stop = StopReason::StatusNotListed { status: not_found };
        let expected = "\
GET http://a.test/x: failed after 1 attempt in 0 ms
  #1  +0 ms  404 Not Found, took 1.2 ms
  not retried: 404 is not in `status_forcelist`";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn a_hint_keeps_what_is_about_retries_and_no_more() {
        let now = SystemTime::UNIX_EPOCH;
        let mut headers = HeaderMap::new();
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        for (name, value) in [
            ("date", date),
            ("set-cookie", "session=secret"),
            ("content-type", "text/plain"),
        ] {
            headers.append(name, value.parse().expect("a header value"));
        }
        assert_eq!(HintRecord::of(&headers, || now), None);

        headers.append("retry-after", "7".parse().expect("a header value"));
        headers.append(
            "x-ratelimit-reset",
            "9".repeat(999).parse().expect("a header value"),
        );
        let mut kept = HintRecord::of(&headers, || now).expect("a hint").headers;
        kept.sort();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            kept,
            [
                pair("date", date),
                pair("retry-after", "7"),
                pair("x-ratelimit-reset", &"9".repeat(256)),
            ]
        );
    }

    #[test]
    fn logged_urls_hold_no_secrets() {
        for (url, safe) in [
            ("http://user:pass@a.test:81/p?token=1", "http://a.test:81/p"),
            ("https://a.test", "https://a.test/"),
            ("/only/path?q=1", "/only/path"),
            ("a.test:443", "a.test:443"),
        ] {
            assert_eq!(sanitized_uri(&url.parse().expect("a URI")), safe);
        }
    }
}
