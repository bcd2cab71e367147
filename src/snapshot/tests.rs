use std::thread;

use http::uri::PathAndQuery;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::string::string_regex;

use super::*;

/// All standard names of `http` 1.5.
const STANDARD: &str = "accept accept-charset accept-encoding accept-language accept-ranges \
    access-control-allow-credentials access-control-allow-headers access-control-allow-methods \
    access-control-allow-origin access-control-expose-headers access-control-max-age \
    access-control-request-headers access-control-request-method age allow alt-svc authorization \
    cache-control cache-status cdn-cache-control connection content-disposition content-encoding \
    content-language content-length content-location content-range content-security-policy \
    content-security-policy-report-only content-type cookie dnt date etag expect expires \
    forwarded from host if-match if-modified-since if-none-match if-range if-unmodified-since \
    last-modified link location max-forwards origin pragma proxy-authenticate \
    proxy-authorization public-key-pins public-key-pins-report-only range referer \
    referrer-policy refresh retry-after sec-websocket-accept sec-websocket-extensions \
    sec-websocket-key sec-websocket-protocol sec-websocket-version server set-cookie \
    strict-transport-security te trailer transfer-encoding user-agent upgrade \
    upgrade-insecure-requests vary via warning www-authenticate x-content-type-options \
    x-dns-prefetch-control x-frame-options x-xss-protection";

#[derive(Clone, Debug, PartialEq)]
struct Tag(String);

/// One step of building a map; removals leave an order that no sequence of additions has.
#[derive(Clone, Debug)]
enum Step {
    Append(HeaderName, HeaderValue),
    Insert(HeaderName, HeaderValue),
    Remove(HeaderName),
}

/// A regular expression that is read once, unlike a string that serves as a strategy.
fn matching(pattern: &str) -> impl Strategy<Value = String> {
    string_regex(pattern).expect("a regular expression")
}

fn names() -> impl Strategy<Value = HeaderName> {
    let standard: Vec<&str> = STANDARD.split_whitespace().collect();
    prop_oneof![
        6 => select(standard).prop_map(|name| name.parse().expect("a standard name")),
        // Few enough to be repeated often.
        3 => select(vec!["x-request-id", "idempotency-key", "x"]).prop_map(HeaderName::from_static),
        3 => matching("[!#$%&'*+.^_`|~0-9A-Za-z-]{1,80}")
            .prop_map(|name| name.parse().expect("a token")),
    ]
}

fn values() -> impl Strategy<Value = HeaderValue> {
    let byte = prop_oneof![Just(b'\t'), 0x20..=0x7e_u8, 0x80..=0xff_u8];
    let text = prop_oneof![
        8 => vec(byte.clone(), 0..40),
        1 => vec(byte, 0..500),
    ];
    let value = prop_oneof![
        4 => text.prop_map(|text| HeaderValue::from_bytes(&text).expect("legal bytes")),
        1 => Just(HeaderValue::from_static("static")),
    ];
    (value, any::<bool>()).prop_map(|(mut value, sensitive)| {
        value.set_sensitive(sensitive);
        value
    })
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (names(), values()).prop_map(|(name, value)| Step::Append(name, value)),
        2 => (names(), values()).prop_map(|(name, value)| Step::Insert(name, value)),
        1 => names().prop_map(Step::Remove),
    ]
}

fn maps(size: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = HeaderMap> {
    vec(steps(), size).prop_map(|steps| {
        let mut map = HeaderMap::new();
        for step in steps {
            match step {
                Step::Append(name, value) => drop(map.append(name, value)),
                Step::Insert(name, value) => drop(map.insert(name, value)),
                Step::Remove(name) => drop(map.remove(name)),
            }
        }
        map
    })
}

fn methods() -> impl Strategy<Value = Method> {
    prop_oneof![
        select(vec![Method::GET, Method::POST, Method::CONNECT]),
        matching("[A-Z]{1,30}").prop_map(|name| name.parse().expect("a token")),
    ]
}

fn uris() -> impl Strategy<Value = Uri> {
    prop_oneof![
        Just(Uri::from_static("*")),
        Just(Uri::from_static("example.com:443")),
        Just(Uri::from_static("http://example.com?only=query")),
        Just(Uri::from_static("/caf\u{e9}")),
        matching("/[a-z0-9/%?=&.]{0,40}").prop_map(|path| path.parse().expect("a path")),
        matching("(http|HTTPS|ftp)://([a-z]{1,9}:pw@)?[A-Za-z]{1,9}(:8080)?(/[a-z?=]{0,9})?")
            .prop_map(|uri| uri.parse().expect("a URI")),
    ]
}

fn requests(headers: impl Strategy<Value = HeaderMap>) -> impl Strategy<Value = Request<()>> {
    let versions = select(vec![
        Version::HTTP_09,
        Version::HTTP_10,
        Version::HTTP_11,
        Version::HTTP_2,
        Version::HTTP_3,
    ]);
    let extensions = any::<(Option<u32>, Option<u8>)>();
    (methods(), uris(), versions, headers, extensions).prop_map(
        |(method, uri, version, headers, (number, tag))| {
            let mut request = Request::new(());
            *request.method_mut() = method;
            *request.uri_mut() = uri;
            *request.version_mut() = version;
            *request.headers_mut() = headers;
            number.map(|number| request.extensions_mut().insert(number));
            tag.map(|tag| request.extensions_mut().insert(Tag(tag.to_string())));
            request
        },
    )
}

/// Everything that can be observed of a map, in its order.
fn listed(map: &HeaderMap) -> Vec<(&str, &[u8], bool)> {
    map.iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes(), value.is_sensitive()))
        .collect()
}

#[track_caller]
fn assert_same(restored: &Parts, expected: &Parts) {
    assert_eq!(restored.method, expected.method);
    assert_eq!(restored.uri, expected.uri);
    assert_eq!(restored.uri.to_string(), expected.uri.to_string());
    assert_eq!(
        restored.uri.path_and_query().map(PathAndQuery::as_str),
        expected.uri.path_and_query().map(PathAndQuery::as_str)
    );
    assert_eq!(restored.version, expected.version);
    assert_eq!(listed(&restored.headers), listed(&expected.headers));
    // Lookups find what the list shows.
    assert_eq!(restored.headers, expected.headers);
    for name in expected.headers.keys() {
        assert!(
            restored
                .headers
                .get_all(name)
                .iter()
                .eq(expected.headers.get_all(name))
        );
    }
    assert_eq!(restored.extensions.len(), expected.extensions.len());
    assert_eq!(
        restored.extensions.get::<u32>(),
        expected.extensions.get::<u32>()
    );
    assert_eq!(
        restored.extensions.get::<Tag>(),
        expected.extensions.get::<Tag>()
    );
}

#[track_caller]
fn restored(snapshot: &mut Snapshot, next: Next) -> Parts {
    snapshot.restore(next).expect("can be restored")
}

#[track_caller]
fn assert_restores(request: Request<()>) {
    let (expected, ()) = request.clone().into_parts();
    let mut snapshot = Snapshot::take(&request);
    let mut only_once = Snapshot::take(&request);
    // The request is sent, and its memory is gone, before anything is restored.
    drop(request);
    assert_eq!(snapshot.method(), &expected.method);
    assert_target(&snapshot, &expected.uri);
    // A spare is made, taken, made again and given up; then there are only the packed bytes.
    for (next, settles) in [
        (Next::Later, true),
        (Next::Soon, false),
        (Next::Soon, false),
        (Next::Soon, true),
        (Next::Later, false),
        (Next::Never, false),
    ] {
        assert_same(&restored(&mut snapshot, next), &expected);
        if settles {
            snapshot.settle();
        }
        assert_target(&snapshot, &expected.uri);
    }

    only_once.settle();
    assert_same(&restored(&mut only_once, Next::Never), &expected);
}

#[track_caller]
fn assert_target(snapshot: &Snapshot, uri: &Uri) {
    let target = snapshot.target();
    assert_eq!(target.scheme, uri.scheme_str());
    assert_eq!(
        target.authority,
        uri.authority().map_or("", Authority::as_str)
    );
    let path = uri.path_and_query().map_or("", PathAndQuery::as_str);
    assert_eq!(target.path_and_query, path);
}

/// Bytes of the URI of [`with_headers`].
const URI: usize = "example.com/".len();

fn with_headers(headers: impl IntoIterator<Item = (&'static str, String)>) -> Request<()> {
    let mut request = Request::builder().uri("http://example.com/");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(()).expect("a request")
}

fn snapshot(request: Request<()>) -> Snapshot {
    Snapshot::take(&request)
}

fn buffer(snapshot: &Snapshot) -> &Buffer {
    match &snapshot.rest {
        Rest::Own(Own::Packed(buffer)) => buffer,
        Rest::Shared(_) | Rest::Own(Own::Cloned(_)) => panic!("not in memory of its own"),
    }
}

fn packed(snapshot: &Snapshot) -> &[u8] {
    buffer(snapshot).as_ref()
}

/// Runs `test` with an empty pool.
fn on_new_thread(test: impl FnOnce() + Send + 'static) {
    thread::spawn(test).join().expect("the test passes");
}

proptest! {
    #[test]
    fn restores_what_a_clone_holds(request in requests(maps(0..20))) {
        assert_restores(request);
    }

    #[test]
    fn a_recycled_buffer_holds_nothing_of_the_request_before(
        before in requests(maps(0..20)),
        request in requests(maps(0..20)),
    ) {
        drop(snapshot(before));
        assert_restores(request);
    }

    #[test]
    fn a_name_never_stands_for_another(one in names(), other in names()) {
        if let Some(number) = names::number(&one) {
            assert_eq!(names::name(number), Some(&one));
            assert_eq!(names::number(&other) == Some(number), one == other);
        }
    }
}

#[test]
fn restores_many_headers() {
    for count in [MAX_HEADERS, MAX_HEADERS + 1, 5000] {
        let mut request = Request::new(());
        let headers = request.headers_mut();
        for value in 0..count {
            // Some names are repeated far apart.
            let name = format!("x-{}", value * value % 4999);
            headers.append(
                HeaderName::try_from(name).expect("a token"),
                HeaderValue::from(value),
            );
        }
        let cloned = matches!(snapshot(request.clone()).rest, Rest::Own(Own::Cloned(_)));
        assert_eq!(cloned, count > MAX_HEADERS);
        assert_restores(request);
    }
}

#[test]
fn restores_the_largest_map_there_is() {
    let mut request = Request::new(());
    let headers = request.headers_mut();
    for value in 0_u16.. {
        let name = HeaderName::try_from(format!("x-{value}")).expect("a token");
        if headers.try_append(name, HeaderValue::from(value)).is_err() {
            break;
        }
    }
    assert!(headers.len() > 20_000);
    assert_restores(request);
}

#[test]
fn knows_every_standard_name_and_no_other() {
    let mut numbers: Vec<u8> = STANDARD
        .split_whitespace()
        .map(|name| names::number(&name.parse().expect("a name")))
        .map(|number| number.expect("a standard name"))
        .collect();
    let count = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), count);
    assert_eq!(
        names::number(&HeaderName::from_static("idempotency-key")),
        None
    );
    assert_eq!(names::name(CUSTOM), None);
}

#[test]
fn a_value_too_long_to_copy_is_shared() {
    let long = Bytes::from(vec![b'v'; pool::MAX_BYTES]);
    let mut request = with_headers([("x-before", "1".into())]);
    let value = HeaderValue::from_maybe_shared(long.clone()).expect("legal bytes");
    request.headers_mut().insert("x-long", value);
    request
        .headers_mut()
        .insert("x-after", HeaderValue::from_static("2"));
    assert_restores(request.clone());
    let restored = restored(&mut snapshot(request), Next::Later);
    assert_eq!(
        restored.headers["x-long"].as_bytes().as_ptr(),
        long.as_ptr()
    );
}

#[test]
fn only_what_is_too_long_is_not_copied() {
    let long = |count: usize| "v".repeat(count);
    for (values, shared) in [
        (vec![long(4095)], true),
        // Fits into a buffer that is kept.
        (vec![long(2048), long(1024)], false),
        (vec![long(2048), long(2047), long(2048)], true),
        (vec![long(2047), long(2047), long(2047)], false),
        (vec![long(70_000), long(3)], true),
    ] {
        let long = values
            .iter()
            .filter(|value| value.len() >= LONG_VALUE)
            .count();
        let request = with_headers(values.into_iter().map(|value| ("x-v", value)));
        let apart = match snapshot(request.clone()).rest {
            Rest::Own(Own::Cloned(cloned)) => cloned.apart.len(),
            _ => 0,
        };
        assert_eq!(apart, if shared { long } else { 0 });
        assert_restores(request);
    }
}

#[test]
fn restores_into_memory_that_is_there() {
    let request = with_headers([("accept", "*/*".into()), ("x-id", "1".into())]);
    let (expected, ()) = request.clone().into_parts();
    for room in [0, 1, 2, 30] {
        let mut snapshot = snapshot(request.clone());
        for next in [Next::Soon, Next::Later, Next::Never] {
            let mut empty = HeaderMap::with_capacity(room);
            empty.insert("x-left", HeaderValue::from_static("over"));
            empty.clear();
            let restored = snapshot.restore_into(next, empty).expect("can be restored");
            assert_same(&restored, &expected);
        }
    }
}

#[test]
fn a_custom_name_is_shared_by_those_who_get_the_same() {
    on_new_thread(|| {
        for number in 0..10_000 {
            let text = format!("x-{}", number % 1000);
            let name = names::custom(text.as_bytes()).expect("a name");
            assert_eq!(name.as_str(), text);
        }
        let long = "x".repeat(1000);
        let name = names::custom(long.as_bytes()).expect("a name");
        assert_eq!(name.as_str(), long);
        assert_eq!(names::custom(b"no name"), None);
        let [one, other] = [0, 1].map(|_| names::custom(b"x-own").expect("a name"));
        assert_eq!(one.as_str().as_ptr(), other.as_str().as_ptr());
    });
}

#[test]
fn what_http_refuses_is_not_sent_again_otherwise() {
    let mut snapshot = snapshot(with_headers([("accept", "*/*".into())]));
    // As an unchecked constructor lets it in.
    if let Rest::Own(Own::Packed(buffer)) = &mut snapshot.rest {
        buffer.bytes[buffer.used - 1] = b'\n';
    }
    assert!(snapshot.restore(Next::Later).is_none());
}

#[test]
fn the_next_request_uses_the_same_memory() {
    on_new_thread(|| {
        let first = snapshot(with_headers([("authorization", "secret".into())]));
        let memory = packed(&first).as_ptr();
        drop(first);
        let second = snapshot(with_headers([("accept", "*/*".into())]));
        assert_eq!(packed(&second).as_ptr(), memory);
        assert_eq!(packed(&second).len(), URI + Head::BYTES + 3);
        assert_eq!(packed(&second)[URI + Head::BYTES..], *b"*/*");
    });
}

#[test]
fn restored_values_share_memory_that_is_recycled_with_the_last_of_them() {
    on_new_thread(|| {
        let mut snapshot = snapshot(with_headers([("a", "1".into()), ("b", "2".into())]));
        let memory = packed(&snapshot).as_ptr_range();
        let first = restored(&mut snapshot, Next::Later);
        let last = restored(&mut snapshot, Next::Never);
        for parts in [&first, &last] {
            let values = parts.headers.values();
            assert!(
                values
                    .map(|value| value.as_bytes().as_ptr())
                    .all(|value| memory.contains(&value))
            );
        }
        drop((snapshot, first));
        assert_eq!(pool::kept(), 0);
        drop(last);
        assert_eq!(pool::kept(), 1);
    });
}

#[test]
fn a_thread_keeps_a_bounded_number_of_buffers() {
    on_new_thread(|| {
        let request = || with_headers([("accept", "*/*".into())]);
        let in_flight: Vec<_> = (0..pool::MAX_BUFFERS + 10)
            .map(|_| snapshot(request()))
            .collect();
        drop(in_flight);
        assert_eq!(pool::kept(), pool::MAX_BUFFERS);
    });
}

#[test]
fn a_giant_head_does_not_stay_in_memory() {
    on_new_thread(|| {
        let giant = "g".repeat(pool::MAX_BYTES);
        drop(snapshot(with_headers([("cookie", giant)])));
        let next = snapshot(with_headers([("accept", "*/*".into())]));
        // Kept until the end, so that its buffer is none of those that came back.
        assert!(buffer(&next).bytes.len() < 100);

        let many = (0..MAX_HEADERS).map(|_| ("accept", "text/html".into()));
        drop(snapshot(with_headers(many)));
        assert_eq!(pool::kept(), 0);
        drop(next);
    });
}

#[test]
fn a_waiting_request_holds_no_more_than_it_needs() {
    on_new_thread(|| {
        drop(snapshot(with_headers([("cookie", "c".repeat(4000))])));
        let mut waiting = snapshot(with_headers([("accept", "*/*".into())]));
        assert!(buffer(&waiting).bytes.len() >= 4000);
        waiting.settle();
        assert_eq!(buffer(&waiting).bytes.len(), URI + Head::BYTES + 3);
        assert_eq!(pool::kept(), 1);
        assert_eq!(restored(&mut waiting, Next::Later).headers["accept"], "*/*");
    });
}

#[test]
fn a_spare_is_made_where_time_matters_and_given_up_where_memory_does() {
    let mut snapshot = snapshot(with_headers([("accept", "*/*".into())]));
    let has_spare = |snapshot: &Snapshot| match &snapshot.rest {
        Rest::Shared(_) => false,
        Rest::Own(Own::Cloned(cloned)) => cloned.packed.is_some(),
        Rest::Own(Own::Packed(_)) => panic!("nothing was restored"),
    };
    for (next, has) in [
        (Next::Later, false),
        (Next::Soon, true),
        // Takes it.
        (Next::Soon, false),
        (Next::Soon, true),
    ] {
        restored(&mut snapshot, next);
        assert_eq!(has_spare(&snapshot), has);
    }
    snapshot.settle();
    assert!(!has_spare(&snapshot));
}

#[test]
fn a_new_buffer_is_as_large_as_the_request_needs() {
    on_new_thread(|| {
        let request = with_headers([("accept", "*/*".into()), ("x-id", "12345".into())]);
        let snapshot = snapshot(request);
        let packed = packed(&snapshot);
        let heads = 2 * Head::BYTES + NAME_LENGTH;
        assert_eq!(packed.len(), URI + heads + "*/*x-id12345".len());
        assert_eq!(buffer(&snapshot).bytes.len(), packed.len());
    });
}

#[test]
fn debug_shows_no_secret() {
    let mut request = with_headers([("authorization", "secret".into())]);
    *request.uri_mut() = Uri::from_static("http://user:hidden@example.com/");
    let shown = format!("{:?}", snapshot(request));
    assert_eq!(
        shown,
        "Snapshot { method: GET, version: HTTP/1.1, headers: 1, .. }"
    );
}
