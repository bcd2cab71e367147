//! [`RetryDepth`]: whether somebody further out sends the same request again.

use http::{HeaderMap, HeaderName, HeaderValue};

/// How many retry layers further out, in other processes, are at a retry of theirs.
///
/// Retries multiply: where each of three services tries four times, the last one gets 64 requests.
/// A service that is asked for a retry already does better to let its own caller decide. For that
/// it says on the requests that it makes itself what it was told of the one that it answers:
///
/// ```
/// use http::{HeaderMap, HeaderValue, Request};
/// use tower_http_retry::{RetryDepth, RetryLayer, policy::RetryPolicy};
///
/// // Requests that are part of somebody's retry are not retried here.
/// let layer = RetryLayer::new(RetryPolicy::default()).max_retry_depth(0);
/// # let _ = layer;
///
/// let mut incoming = HeaderMap::new();
/// incoming.insert("x-envoy-attempt-count", HeaderValue::from_static("2"));
/// let depth = RetryDepth::of(&incoming);
/// assert_eq!(depth.get(), 1);
///
/// let mut outgoing = Request::get("http://orders.internal/").body(())?;
/// outgoing.extensions_mut().insert(depth);
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RetryDepth(u32);

const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
/// The entry of the baggage.
const ENTRY: &str = "retry.depth";
/// The longest baggage that a receiver has to pass on (W3C Baggage, section 3.3.2).
const LONGEST: usize = 8192;

impl RetryDepth {
    /// So many retry layers are at a retry.
    pub const fn new(depth: u32) -> Self {
        Self(depth)
    }

    /// What a request with these headers says: the entry `retry.depth` of its [W3C
    /// baggage](https://www.w3.org/TR/baggage/), and whether Envoy (`x-envoy-attempt-count`) or a gRPC
    /// client (`grpc-previous-rpc-attempts`) made it a second time.
    ///
    /// A client can write there what it likes: it can have its requests retried less, or as often as
    /// without. A depth that cannot be read, or is too large for its type, is the largest one.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut depth = 0;
        for line in headers.get_all(BAGGAGE) {
            // Whatever else stands in the line.
            let line = String::from_utf8_lossy(line.as_bytes());
            depth = line.split(',').filter_map(entry).fold(depth, u32::max);
        }
        let number = |name: &str| -> Option<u32> {
            let value = headers.get(name)?.to_str().ok()?;
            value.trim().parse().ok()
        };
        let envoy = number("x-envoy-attempt-count").is_some_and(|count| count > 1);
        let grpc = number("grpc-previous-rpc-attempts").is_some_and(|count| count > 0);
        Self(depth.max(u32::from(envoy || grpc)))
    }

    /// How many they are.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// That of a retry of a request with this depth.
    pub(super) const fn deeper(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Says so in the baggage, where the other entries stay. A baggage that is too long for one more
    /// stays as it is.
    pub(super) fn write(self, headers: &mut HeaderMap) {
        let mut entries = Vec::new();
        for line in headers.get_all(BAGGAGE) {
            let Ok(line) = line.to_str() else {
                return;
            };
            let others = line.split(',').map(str::trim);
            entries.extend(others.filter(|text| !text.is_empty() && entry(text).is_none()));
        }
        let own = format!("{ENTRY}={}", self.0);
        entries.push(&own);
        let all = entries.join(",");
        if all.len() > LONGEST {
            return;
        }
        if let Ok(value) = HeaderValue::try_from(all) {
            headers.insert(BAGGAGE, value);
        }
    }
}

/// The depth that an entry of a baggage says, if it is the one that does.
fn entry(text: &str) -> Option<u32> {
    // What stands behind a semicolon are properties.
    let member = text.split(';').next()?;
    let (name, value) = member.split_once('=')?;
    // Somebody is at a retry who counts otherwise: this must not allow more of them.
    (name.trim() == ENTRY).then(|| value.trim().parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let one = |(name, value): &(&'static str, &str)| {
            let value = HeaderValue::try_from(*value).expect("a value");
            (HeaderName::from_static(name), value)
        };
        all.iter().map(one).collect()
    }

    #[test]
    fn a_retry_further_out_is_known_by_what_its_maker_writes() {
        for (all, depth) in [
            (&[][..], 0),
            (&[("x-envoy-attempt-count", "1")], 0),
            (&[("x-envoy-attempt-count", "3")], 1),
            (&[("x-envoy-attempt-count", "-3")], 0),
            (&[("grpc-previous-rpc-attempts", "1")], 1),
            (&[("grpc-previous-rpc-attempts", "many")], 0),
            (&[("baggage", "user=7, retry.depth = 2 ;a=b")], 2),
            (&[("baggage", "retry.depth=0")], 0),
            (&[("baggage", "retry.depth=99999999999")], u32::MAX),
            (&[("baggage", "retry.depth=-1")], u32::MAX),
            (&[("baggage", "retry.depth=many")], u32::MAX),
            (&[("baggage", "retry.depth=")], u32::MAX),
            (&[("baggage", "user=ä,retry.depth=2")], 2),
            (&[("baggage", "xretry.depth=2")], 0),
            (&[("baggage", "retry.depth")], 0),
            (&[("baggage", "a=b"), ("x-envoy-attempt-count", "2")], 1),
        ] {
            assert_eq!(RetryDepth::of(&headers(all)).get(), depth, "{all:?}");
        }
        let mut twice = headers(&[("baggage", "retry.depth=1")]);
        twice.append("baggage", HeaderValue::from_static("retry.depth=3"));
        assert_eq!(RetryDepth::of(&twice).get(), 3);
    }

    #[test]
    fn the_depth_takes_its_own_place_in_the_baggage_and_no_other() {
        for (before, after) in [
            ("", "retry.depth=1"),
            ("user=7;a=b , k=v", "user=7;a=b,k=v,retry.depth=1"),
            ("k=v,retry.depth=0;x", "k=v,retry.depth=1"),
        ] {
            let mut headers = headers(&[("baggage", before)]);
            RetryDepth::default().deeper().write(&mut headers);
            assert_eq!(headers["baggage"], after);
            assert_eq!(headers.len(), 1);
            assert_eq!(RetryDepth::of(&headers).get(), 1);
        }
        let long = "k=".to_owned() + &"v".repeat(LONGEST);
        let mut full = headers(&[("baggage", &long)]);
        RetryDepth::new(1).write(&mut full);
        assert_eq!(full["baggage"], long);
    }
}
