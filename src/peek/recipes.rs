//! Judges for bodies that many servers send.

use std::{borrow::Cow, time::Duration};

use http::{
    StatusCode,
    header::{CONTENT_LENGTH, ETAG},
    response::Parts,
};
use serde_json::Value;

use super::{DEFAULT_LIMIT, PeekLayer, judge::is_of};
use crate::{
    reason::Cause,
    stack::{LayerOutcome, Opinion},
};

/// The predicate of a recipe.
pub type WhenFn = fn(&Parts) -> bool;
/// The judge of a recipe.
pub type JudgeFn = fn(&Parts, &[u8], bool) -> LayerOutcome;

impl PeekLayer<WhenFn, JudgeFn> {
    /// Finds the errors that S3 puts into the body of a 200.
    ///
    /// `CopyObject`, `UploadPartCopy` and `CompleteMultipartUpload` are answered with 200 before
    /// they are done, with spaces while they are worked at, and in the end with a result or with
    /// `<Error><Code>InternalError`. Read are XML bodies of a 200 that has no `ETag`: an object
    /// that is XML itself has one.
    ///
    /// Codes that the AWS clients take for transient or for throttling are retried, the latter as
    /// a 429; every other code is final, and named in the report.
    ///
    /// `CompleteMultipartUpload` is a POST. Whoever knows that it may be repeated, as the same
    /// upload can only be completed once, marks the request as
    /// [`Idempotent`](crate::policy::Idempotent). The attempt's timeout covers the work, too: some
    /// take minutes.
    pub fn s3_errors() -> Self {
        Self::new(DEFAULT_LIMIT, is_s3_result as WhenFn, s3 as JudgeFn).named("S3")
    }

    /// Finds the errors that GraphQL servers put into a 200.
    ///
    /// A response with `errors` and without `data` has failed. It is retried if a code
    /// (`extensions.code`, or `type`) is known to be transient (`INTERNAL_SERVER_ERROR`,
    /// `SERVICE_UNAVAILABLE`, `TIMEOUT` and their like) or to throttle (`THROTTLED`,
    /// `RATE_LIMITED`), the latter as a 429; with any other code it is final, and named in the
    /// report. A response that has some data is the caller's affair: what it did is done.
    ///
    /// What is longer than the limit is not judged. GraphQL requests are POSTs: a query may be
    /// repeated, and is marked as [`Idempotent`](crate::policy::Idempotent); a mutation is not.
    pub fn graphql_errors() -> Self {
        Self::new(DEFAULT_LIMIT, is_json_success as WhenFn, graphql as JudgeFn).named("GraphQL")
    }

    /// Reads when to come back from the bodies of failed responses.
    ///
    /// | in | says |
    /// | --- | --- |
    /// | Google's error model | `google.rpc.RetryInfo` with a `retryDelay`; `RESOURCE_EXHAUSTED` is a 429 |
    /// | problem details (RFC 9457) and other JSON | `retry_after`, `retryAfter` or `retry-after`, in seconds; `"retryable": false` |
    /// | problem details of draft-ietf-httpapi-ratelimit-headers | the types `quota-exceeded` and `temporary-reduced-capacity`, which are a 429 |
    ///
    /// The policy takes these like hints in headers ([`hints`](crate::policy::hints)): it bounds
    /// them by `retry_after_max`, adds jitter, or ignores them. A hint in a header goes first.
    pub fn hints() -> Self {
        Self::new(DEFAULT_LIMIT, is_json_failure as WhenFn, hints as JudgeFn).named("body")
    }

    /// Reads bodies of at most `limit` bytes whole, so that one that breaks off is a read failure of
    /// the attempt, and asked for again.
    ///
    /// A body whose `Content-Length` is larger is handed on at once. One of unknown length is read
    /// until the limit, and handed on if there is more. So is one of more than 1024 frames.
    ///
    /// ```
    /// use tower_http_retry::peek::{DEFAULT_LIMIT, PeekLayer};
    ///
    /// let layer = PeekLayer::collect(DEFAULT_LIMIT);
    /// # let _ = layer;
    /// ```
    pub fn collect(limit: usize) -> PeekLayer<impl Fn(&Parts) -> bool + Clone, JudgeFn> {
        let is_small = move |head: &Parts| {
            let length = head.headers.get(CONTENT_LENGTH);
            let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
            length.is_none_or(|length| length <= limit as u64)
        };
        // Whether a body that has exactly so many bytes is whole is seen behind them.
        let most = if limit == 0 {
            0
        } else {
            limit.saturating_add(1)
        };
        PeekLayer::new(most, is_small, (|_, _, _| silence()) as JudgeFn)
    }
}

/// Nothing to say.
fn silence() -> LayerOutcome {
    Opinion::NoOpinion.into()
}

/// A failure that may pass, for a reason that the server calls `code`.
fn transient(code: Cow<'static, str>, throttles: bool) -> LayerOutcome {
    let status = if throttles {
        StatusCode::TOO_MANY_REQUESTS
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    let mut said = LayerOutcome::from(Opinion::Retry(code));
    said.failure = Some(Cause::Status(status).into());
    said
}

/// The most of a code that a report shows.
const LONGEST_CODE: usize = 64;

/// What comes from the network, as far as it is a code.
fn code(text: &str) -> Cow<'static, str> {
    let is_code = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let code: String = text
        .chars()
        .take_while(is_code)
        .take(LONGEST_CODE)
        .collect();
    if code.is_empty() {
        "an error without a code".into()
    } else {
        code.into()
    }
}

// --- S3 ---

fn is_s3_result(head: &Parts) -> bool {
    head.status == StatusCode::OK
        && !head.headers.contains_key(ETAG)
        && is_of(head, |kind| {
            ["application/xml", "text/xml"]
                .iter()
                .any(|xml| kind.eq_ignore_ascii_case(xml))
        })
}

/// Those that the AWS SDKs' standard retry mode takes for throttling.
const S3_THROTTLES: [&str; 9] = [
    "BandwidthLimitExceeded",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "RequestThrottled",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// Those that it takes for transient, and what S3 documents as such.
const S3_TRANSIENT: [&str; 5] = [
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
];

fn s3(_: &Parts, bytes: &[u8], _: bool) -> LayerOutcome {
    let Some(found) = s3_code(bytes) else {
        return silence();
    };
    let found = String::from_utf8_lossy(found);
    if S3_THROTTLES.contains(&&*found) {
        transient(code(&found), true)
    } else if S3_TRANSIENT.contains(&&*found) {
        transient(code(&found), false)
    } else {
        Opinion::Forbid(code(&found)).into()
    }
}

/// The text of `<Code>` in a document that is an `<Error>`; an empty one if it has none.
fn s3_code(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes.trim_ascii_start();
    if let Some(declared) = rest.strip_prefix(b"<?xml") {
        let end = find(declared, b"?>")?;
        rest = declared[end + 2..].trim_ascii_start();
    }
    let content = rest.strip_prefix(b"<Error")?;
    if !matches!(content.first(), Some(b'>' | b' ' | b'\r' | b'\n' | b'\t')) {
        return None;
    }
    let code = find(content, b"<Code>").map(|at| &content[at + b"<Code>".len()..]);
    let end = code.and_then(|code| find(code, b"</Code>"));
    Some(
        code.zip(end)
            .map_or(&b""[..], |(code, end)| &code[..end])
            .trim_ascii(),
    )
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|part| part == what)
}

// --- JSON ---

/// `application/json`, and everything that is JSON by its suffix.
fn is_json(head: &Parts) -> bool {
    is_of(head, |kind| {
        let kind = kind.to_ascii_lowercase();
        kind == "application/json" || kind.ends_with("+json")
    })
}

fn is_json_success(head: &Parts) -> bool {
    head.status == StatusCode::OK && is_json(head)
}

fn is_json_failure(head: &Parts) -> bool {
    (head.status.is_client_error() || head.status.is_server_error()) && is_json(head)
}

const GRAPHQL_THROTTLES: [&str; 5] = [
    "RATE_LIMITED",
    "RATE_LIMIT_EXCEEDED",
    "THROTTLED",
    "TOO_MANY_REQUESTS",
    "RESOURCE_EXHAUSTED",
];

const GRAPHQL_TRANSIENT: [&str; 7] = [
    "DOWNSTREAM_SERVICE_ERROR",
    "GATEWAY_TIMEOUT",
    "INTERNAL_ERROR",
    "INTERNAL_SERVER_ERROR",
    "SERVICE_UNAVAILABLE",
    "TIMEOUT",
    "UNAVAILABLE",
];

fn graphql(_: &Parts, bytes: &[u8], complete: bool) -> LayerOutcome {
    let Some(Value::Object(answer)) = complete.then(|| parse(bytes)).flatten() else {
        return silence();
    };
    let errors = match answer.get("errors") {
        Some(Value::Array(errors)) if !errors.is_empty() => errors,
        _ => return silence(),
    };
    if answer.get("data").is_some_and(|data| !data.is_null()) {
        return silence();
    }
    let codes = || errors.iter().filter_map(graphql_code);
    let known = |list: &[&str]| codes().find(|code| list.contains(code));
    match (known(&GRAPHQL_THROTTLES), known(&GRAPHQL_TRANSIENT)) {
        (Some(throttles), _) => transient(code(throttles), true),
        (None, Some(passes)) => transient(code(passes), false),
        (None, None) => Opinion::Forbid(code(codes().next().unwrap_or(""))).into(),
    }
}

fn graphql_code(error: &Value) -> Option<&str> {
    let of_spec = error.get("extensions").and_then(|more| more.get("code"));
    of_spec.or_else(|| error.get("type"))?.as_str()
}

fn hints(head: &Parts, bytes: &[u8], complete: bool) -> LayerOutcome {
    let mut said = silence();
    let Some(mut body) = complete.then(|| parse(bytes)).flatten() else {
        return said;
    };
    // Google's streaming methods answer with a list.
    if let Some(first) = body.get_mut(0) {
        body = first.take();
    }
    let google = body.get("error").filter(|error| error.is_object());
    let delays = google.and_then(|error| error.get("details")?.as_array());
    let delay = delays
        .into_iter()
        .flatten()
        .filter(|detail| text(detail, "@type").ends_with("/google.rpc.RetryInfo"))
        .find_map(|info| seconds(text(info, "retryDelay").strip_suffix('s')?.parse().ok()?));
    let names = ["retry_after", "retryAfter", "retry-after"];
    let after = || {
        names
            .iter()
            .find_map(|name| seconds(body.get(name)?.as_f64()?))
    };
    said.asked = delay.or_else(after);
    let kind = text(&body, "type");
    let throttles = google.is_some_and(|error| text(error, "status") == "RESOURCE_EXHAUSTED")
        || ["#quota-exceeded", "#temporary-reduced-capacity"]
            .iter()
            .any(|problem| kind.strip_suffix(problem) == Some(PROBLEM_TYPES));
    if throttles && head.status != StatusCode::TOO_MANY_REQUESTS {
        said.failure = Some(Cause::Status(StatusCode::TOO_MANY_REQUESTS).into());
    }
    if body.get("retryable") == Some(&Value::Bool(false)) {
        said.opinion = Opinion::Forbid("\"retryable\": false".into());
    }
    said
}

/// Where the types of problems are registered that are not one server's own.
const PROBLEM_TYPES: &str = "https://iana.org/assignments/http-problem-types";

/// A value that is a text; an empty one if it is none.
fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    of.get(name).and_then(Value::as_str).unwrap_or("")
}

/// A time from the network; none if it is negative, endless or no number.
fn seconds(number: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(number).ok()
}

fn parse(json: &[u8]) -> Option<Value> {
    serde_json::from_slice(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, kind: &str) -> Parts {
        let response = http::Response::builder()
            .status(status)
            .header("content-type", kind)
            .body(());
        response.expect("a response").into_parts().0
    }

    #[test]
    fn only_a_document_that_is_an_error_is_one_of_s3() {
        for (body, found) in [
            (&b"<Error><Code>SlowDown</Code></Error>"[..], Some("SlowDown")),
            (
                b"   \n  <?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>\n<Code> InternalError </Code>",
                Some("InternalError"),
            ),
            (b"<Error xmlns=\"x\"><Message>m</Message></Error>", Some("")),
            (b"<Error><Code>cut off", Some("")),
            (b"<ErrorList><Code>SlowDown</Code></ErrorList>", None),
            (b"<CopyObjectResult><Error><Code>SlowDown</Code></Error>", None),
            (b"<?xml version=\"1.0\"", None),
            (b"<Error", None),
            (b"   ", None),
            (b"", None),
        ] {
            let code = s3_code(body).map(|code| String::from_utf8_lossy(code).into_owned());
            assert_eq!(code.as_deref(), found, "{}", body.escape_ascii());
        }
    }

    #[test]
    fn a_code_from_the_network_is_short_and_plain() {
        assert_eq!(code("SlowDown"), "SlowDown");
        assert_eq!(code("A b\u{1b}[31m"), "A");
        assert_eq!(code("\n"), "an error without a code");
        assert_eq!(code(&"x".repeat(1000)).len(), LONGEST_CODE);
    }

    #[test]
    fn hints_are_read_from_each_form_of_body() {
        let retry_info = r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[
            {"@type":"type.googleapis.com/google.rpc.ErrorInfo"},
            {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.5s"}]}}"#;
        let list = format!("[{retry_info}]");
        let ms = |ms| Some(Duration::from_millis(ms));
        for (body, asked) in [
            (retry_info, ms(34_500)),
            (&list, ms(34_500)),
            (r#"{"type":"about:blank","retry_after":64.57}"#, ms(64_570)),
            (r#"{"retryAfter":2}"#, ms(2_000)),
            (r#"{"retry-after":2}"#, ms(2_000)),
            (r#"{"retry_after":-2}"#, None),
            (r#"{"retry_after":1e300}"#, None),
            (r#"{"retry_after":"soon"}"#, None),
            (r#"{"error":"retryDelay"}"#, None),
            (
                r#"{"error":{"details":[{"@type":"x/google.rpc.RetryInfo","retryDelay":"-1s"}]}}"#,
                None,
            ),
            ("[]", None),
            ("7", None),
            ("", None),
            (&"[".repeat(100_000), None),
        ] {
            let said = hints(&head(503, "application/json"), body.as_bytes(), true);
            assert_eq!(said.asked, asked, "{body:.200}");
            assert_eq!(hints(&head(503, ""), body.as_bytes(), false).asked, None);
        }
    }

    #[test]
    fn what_says_quota_is_a_429_and_what_says_no_is_final() {
        let too_many = Some(Cause::Status(StatusCode::TOO_MANY_REQUESTS).into());
        let problem = |name| format!(r#"{{"type":"{PROBLEM_TYPES}#{name}"}}"#);
        for (status, body, failure) in [
            (403, problem("quota-exceeded"), too_many),
            (503, problem("temporary-reduced-capacity"), too_many),
            (503, problem("abnormal-usage-detected"), None),
            (429, problem("quota-exceeded"), None),
            (
                403,
                r#"{"error":{"status":"RESOURCE_EXHAUSTED"}}"#.into(),
                too_many,
            ),
            (
                403,
                r##"{"type":"https://evil.test/#quota-exceeded"}"##.into(),
                None,
            ),
        ] {
            let said = hints(
                &head(status, "application/problem+json"),
                body.as_bytes(),
                true,
            );
            assert_eq!(said.failure, failure, "{status} {body}");
        }
        let said = hints(
            &head(503, "application/json"),
            br#"{"retryable":false}"#,
            true,
        );
        assert!(matches!(said.opinion, Opinion::Forbid(_)));
        let said = hints(
            &head(503, "application/json"),
            br#"{"retryable":true}"#,
            true,
        );
        assert_eq!(said.opinion, Opinion::NoOpinion);
    }
}
