//! Reads a file of vectors and runs its cases; what a case may come to.

use std::{
    env, fmt, fs,
    io::ErrorKind,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::tally::{Tally, print};

/// A deliberate deviation from urllib3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(not(feature = "redirect"), expect(dead_code))]
pub(crate) enum Rule {
    UnreadableRetryAfter,
    LenientDate,
    TwoDigitYear,
    EmptyMethodSet,
    ConsumedBody,
    NoUrlPrefix,
    PathCase,
    WholeAuthority,
    WholeSegments,
    NormalForm,
    OneMountPerUrl,
    RememberedFailures,
    RetryAfterOfRedirects,
    UnreadableLocation,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnreadableRetryAfter => {
                "`unreadable Retry-After`: urllib3 fails the whole call, with InvalidHeader or, \
                 for numbers that Python does not take, ValueError or OverflowError; here the \
                 call goes on"
            }
            Self::LenientDate => {
                "`lenient date`: Python reads any mail-like date; here only the three forms of \
                 RFC 9110 count, and another one is reported instead of guessed"
            }
            Self::TwoDigitYear => {
                "`two-digit year`: 69 is 1969 to Python; by RFC 9110 it is 2069, which is not more \
                 than 50 years ahead"
            }
            Self::EmptyMethodSet => {
                "`empty method set`: urllib3 takes it for any method (and has deprecated that); \
                 here it means none"
            }
            Self::ConsumedBody => {
                "`consumed body`: urllib3 sends a generator's body a second time as an empty one \
                 and reports success; here it is sent whole, or not at all"
            }
            Self::NoUrlPrefix => {
                "`no URL prefix`: requests mounts any string; here one that is no URL prefix is an \
                 error when it is mounted"
            }
            Self::PathCase => {
                "`path case`: requests compares paths in lower case; here they are compared as \
                 they are (RFC 3986, section 6.2.2.1)"
            }
            Self::WholeAuthority => {
                "`whole authority`: to requests a host or port matches all that begin with it; \
                 here it matches itself"
            }
            Self::WholeSegments => {
                "`whole segments`: to requests `/v1` matches `/v10`; here it matches `/v1` and \
                 what is below"
            }
            Self::NormalForm => {
                "`normal form`: requests normalizes URLs, and not mounts; here both are \
                 normalized, default ports and user information too"
            }
            Self::RememberedFailures => {
                "`remembered failures`: a PoolManager forgets at a hop what failed before (given \
                 `retries` for one request at every hop, else at all but the first); here it \
                 counts, as in a pool"
            }
            Self::RetryAfterOfRedirects => {
                "`Retry-After of redirects`: a PoolManager does not read it, and a pool obeys it \
                 even with `respect_retry_after_header=False`; here that setting decides"
            }
            Self::UnreadableLocation => {
                "`unreadable Location`: urllib3 raises what its parser says; here the redirect is \
                 not followed, and the report says why"
            }
            Self::OneMountPerUrl => {
                "`one mount per URL`: of two spellings of one prefix requests finds the first; \
                 here the second one replaces it"
            }
        })
    }
}

/// What became of one case.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    Passed,
    Excused(Rule),
    OutOfScope,
    Failed(String),
}

impl Verdict {
    pub(crate) fn check(passed: bool, why: impl FnOnce() -> String) -> Self {
        if passed {
            Self::Passed
        } else {
            Self::Failed(why())
        }
    }

    /// Excused, if what was checked is so.
    pub(crate) fn excused_by(self, rule: Rule) -> Self {
        match self {
            Self::Passed => Self::Excused(rule),
            other => other,
        }
    }
}

impl From<Result<Option<Rule>, String>> for Verdict {
    fn from(result: Result<Option<Rule>, String>) -> Self {
        match result {
            Ok(None) => Self::Passed,
            Ok(Some(rule)) => Self::Excused(rule),
            Err(why) => Self::Failed(why),
        }
    }
}

/// Runs every case of a file, prints the counts and panics if one failed.
pub(crate) fn replay(name: &str, run: impl Fn(&Value) -> Verdict) {
    let folder = env::var_os("URLLIB3_VECTORS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/urllib3/vectors/data")),
        PathBuf::from,
    );
    let path = folder.join(name).with_extension("json");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            print(&format!("{name}: absent from {}\n", folder.display()));
            return;
        }
        Err(error) => panic!("{}: {error}", path.display()),
    };
    let file: Value = serde_json::from_str(&text).unwrap();
    let mut tally = Tally::default();
    for case in file["cases"].as_array().expect("a list of cases") {
        tally.count(&case["id"], judged(|| run(case)));
    }
    tally.finish(name);
}

/// The verdict on a case; one that cannot be read must not hide the others.
pub(crate) fn judged(run: impl FnOnce() -> Verdict) -> Verdict {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Verdict::Failed("panicked".to_owned()))
}

pub(crate) fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

pub(crate) fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("{value} is no list"))
}

/// Seconds as a duration.
pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// The wall clock at this time.
pub(crate) fn clock(seconds_since_epoch: f64) -> SystemTime {
    SystemTime::UNIX_EPOCH + seconds(seconds_since_epoch)
}

/// Where the wall clock stands in all files but `retry_after.json`: 2026-01-01T00:00:00Z.
pub(crate) fn new_year() -> SystemTime {
    clock(1_767_225_600.0)
}

/// A header value as Python's HTTP parser hands it out, one character for each byte; `None` if no
/// HTTP parser lets it through.
pub(crate) fn header_value(text: &str) -> Option<HeaderValue> {
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
    HeaderValue::from_bytes(&bytes?).ok()
}

/// Headers written as an object, or as a list of pairs.
pub(crate) fn headers(value: &Value) -> HeaderMap {
    let line = |name: &str, value: &Value| {
        let name: HeaderName = name.parse().unwrap();
        (name, header_value(text(value)).unwrap())
    };
    match value {
        Value::Null => HeaderMap::new(),
        Value::Object(map) => map.iter().map(|(name, value)| line(name, value)).collect(),
        pairs => list(pairs)
            .iter()
            .map(|pair| line(text(&pair[0]), &pair[1]))
            .collect(),
    }
}
