//! `mounts.json`: which mount a URL has.
//!
//! requests compares strings. What differs here is taken away from its rule one step at a time;
//! each step has a name, and behind the last one both must agree.

use std::net::Ipv6Addr;

use http::Uri;
use serde_json::Value;
use tower_http_retry::mounts::Mounts;

use crate::harness::{Rule, Verdict, list, text};

/// What requests raises for a URL without a mount.
const NO_MOUNT: &str = "InvalidSchema";

pub(crate) fn case(case: &Value) -> Verdict {
    // As requests sends it: normalized.
    let Some(url) = case["prepared_url"].as_str() else {
        return Verdict::OutOfScope;
    };
    // `file:///etc/hosts`, for instance, has no authority.
    let Ok(uri) = url.parse::<Uri>() else {
        return Verdict::OutOfScope;
    };

    let pairs = |value| {
        list(value)
            .iter()
            .map(|pair| (text(&pair[0]), text(&pair[1])))
    };
    let mut mounts = Mounts::new();
    let mut rejected = Vec::new();
    let defaults = [("https://", "default-https"), ("http://", "default-http")];
    let with_defaults = case["defaults_mounted"] == true;
    let all = defaults
        .into_iter()
        .filter(|_| with_defaults)
        .chain(pairs(&case["mounts"]));
    for (prefix, id) in all.clone() {
        match mounts.clone().mount(prefix, id) {
            Ok(mounted) => mounts = mounted,
            Err(_) => rejected.push(prefix),
        }
    }
    let find = |uri: &Uri| mounts.get(uri).map_or(NO_MOUNT, |mount| mount.policy());
    let ours = find(&uri);
    // Normalizing a URL first makes no difference here.
    match text(&case["url"]).parse::<Uri>() {
        Ok(raw) if find(&raw) != ours => {
            return Verdict::Failed(format!("{raw}: {}, {uri}: {ours}", find(&raw)));
        }
        _ => {}
    }

    let mut mounted = Mounted {
        in_order: all.collect(),
        searched: pairs(&case["search_order"]).collect(),
        url,
    };
    let expected = text(&case["expect_prepared"]);
    let mut answer = mounted.search(starts_with);
    if answer != expected {
        return Verdict::Failed(format!("requests finds {expected}, not {answer}"));
    }
    let mut rule = None;
    let mut step = |next: String, by: Rule| {
        if next != answer {
            rule = Some(by);
            answer = next;
        }
    };
    mounted
        .searched
        .retain(|(prefix, _)| !rejected.contains(prefix));
    step(mounted.search(starts_with), Rule::NoUrlPrefix);
    step(mounted.search(in_case), Rule::PathCase);
    step(mounted.search(whole_authority), Rule::WholeAuthority);
    step(mounted.search(whole_segments), Rule::WholeSegments);
    step(mounted.search_normal(false), Rule::NormalForm);
    step(mounted.search_normal(true), Rule::OneMountPerUrl);
    if answer != ours {
        Verdict::Failed(format!(
            "{expected} there, {ours} here, {answer} by the rules"
        ))
    } else if let Some(rule) = rule.filter(|_| ours != expected) {
        Verdict::Excused(rule)
    } else {
        Verdict::Passed
    }
}

struct Mounted<'a> {
    in_order: Vec<(&'a str, &'a str)>,
    /// As requests searches them.
    searched: Vec<(&'a str, &'a str)>,
    url: &'a str,
}

impl Mounted<'_> {
    fn search(&self, matches: fn(&str, &str) -> bool) -> String {
        let found = self
            .searched
            .iter()
            .find(|(prefix, _)| matches(prefix, self.url));
        found.map_or(NO_MOUNT, |(_, id)| id).to_owned()
    }

    /// Among the normal forms, the longest first. Of equal ones the one that requests finds
    /// first, or the one that was mounted last.
    fn search_normal(&self, last: bool) -> String {
        let url = normal(self.url);
        let mut found: Vec<_> = self
            .searched
            .iter()
            .map(|(prefix, id)| (normal(prefix), *prefix, *id))
            .filter(|(prefix, ..)| whole_segments(prefix, &url))
            .collect();
        found.sort_by_key(|(prefix, ..)| usize::MAX - prefix.len());
        let Some((longest, _, first)) = found.first() else {
            return NO_MOUNT.to_owned();
        };
        let same = |prefix: &str| found.iter().any(|(a, b, _)| a == longest && *b == prefix);
        let id = match last {
            false => first,
            true => {
                let mounted = self.in_order.iter().rfind(|(prefix, _)| same(prefix));
                &mounted.expect("it was mounted").1
            }
        };
        (*id).to_owned()
    }
}

/// requests' rule.
fn starts_with(prefix: &str, url: &str) -> bool {
    url.to_lowercase().starts_with(&prefix.to_lowercase())
}

/// Letters of the path are not the same in any case.
fn in_case(prefix: &str, url: &str) -> bool {
    starts_with(prefix, url) && split(url).2.starts_with(split(prefix).2)
}

/// A host is not the beginning of another one, and no port the beginning of another one.
fn whole_authority(prefix: &str, url: &str) -> bool {
    let ((_, mounted, _), (_, asked, _)) = (split(prefix), split(url));
    in_case(prefix, url) && (mounted.is_empty() || mounted.to_lowercase() == asked.to_lowercase())
}

/// And neither are segments.
fn whole_segments(prefix: &str, url: &str) -> bool {
    let (mounted, asked) = (split(prefix).2, split(url).2);
    let rest = || asked.strip_prefix(mounted).expect("it begins with that");
    whole_authority(prefix, url)
        && (mounted.is_empty()
            || mounted.ends_with('/')
            || rest().is_empty()
            || rest().starts_with(['/', '?', '#']))
}

/// The parts of a URL: scheme, authority, and what follows.
fn split(url: &str) -> (&str, &str, &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    (scheme, &rest[..end], &rest[end..])
}

/// The normal form of a URL, or of a prefix, without user information and query.
fn normal(url: &str) -> String {
    let (scheme, authority, rest) = split(url);
    let scheme = scheme.to_ascii_lowercase();
    let authority = authority.rsplit('@').next().expect("one part");
    let (host, port) = host_and_port(authority);
    let host = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(literal) => match literal.parse::<Ipv6Addr>() {
            Ok(address) => format!("[{address}]"),
            Err(_) => host.to_ascii_lowercase(),
        },
        None => idna::domain_to_ascii(host).expect("a name"),
    };
    let default = if scheme == "http" { "80" } else { "443" };
    let port = match port.trim_start_matches('0') {
        // No digits at all mean the default, as no port does.
        "" if port.is_empty() => String::new(),
        "" => ":0".to_owned(),
        digits if digits == default => String::new(),
        digits => format!(":{digits}"),
    };
    let path = rest.split(['?', '#']).next().expect("one part");
    format!("{scheme}://{host}{port}{}", normal_path(path))
}

/// The two parts of an authority; the colons of a literal in brackets belong to the host.
fn host_and_port(authority: &str) -> (&str, &str) {
    let end = authority.find(']').map_or(0, |bracket| bracket + 1);
    match authority[end..].rfind(':') {
        Some(colon) => (&authority[..end + colon], &authority[end + colon + 1..]),
        None => (authority, ""),
    }
}

fn normal_path(path: &str) -> String {
    let mut decoded = String::new();
    let mut parts = path.split('%');
    decoded.push_str(parts.next().expect("one part"));
    for part in parts {
        let digits = part.get(..2).unwrap_or_default();
        match u8::from_str_radix(digits, 16).map(char::from) {
            Ok(c) if c.is_ascii_alphanumeric() || "-._~".contains(c) => {
                decoded.push(c);
                decoded.push_str(&part[2..]);
            }
            Ok(c) => decoded += &format!("%{:02X}{}", u32::from(c), &part[2..]),
            Err(_) => decoded += &format!("%{part}"),
        }
    }
    let mut kept = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "." => {}
            // What stands before the first slash stays.
            ".." => kept.truncate(1.max(kept.len() - 1)),
            segment => kept.push(segment),
        }
    }
    kept.join("/")
}

#[test]
fn the_model_has_one_form_for_all_that_is_written_of_an_authority() {
    for (written, expected) in [
        ("http://[2001:db8:0::1]/", "http://[2001:db8::1]/"),
        ("http://[2001:db8:0::1]:080/", "http://[2001:db8::1]/"),
        (
            "https://[2001:DB8:0:0:0:0:0:1]:80/",
            "https://[2001:db8::1]:80/",
        ),
        ("http://[::0]:0/", "http://[::]:0/"),
        ("http://[0::0]:00443/", "http://[::]:443/"),
        ("https://[0::0]:00443/", "https://[::]/"),
        (
            "http://[::ffff:127.0.0.1]:8080/",
            "http://[::ffff:127.0.0.1]:8080/",
        ),
        ("http://[V1.A:0]:81/", "http://[v1.a:0]:81/"),
        ("http://user:0@[::1]:09/", "http://[::1]:9/"),
        ("http://A.test:080/", "http://a.test/"),
        ("http://a.test:/", "http://a.test/"),
        ("http://0.0.0.0:00/", "http://0.0.0.0:0/"),
        ("HTTP://a.test:443/", "http://a.test:443/"),
        ("https://a.test:0443/", "https://a.test/"),
    ] {
        assert_eq!(normal(written), expected, "{written}");
    }
}
