//! Which mounts come near to a URL that has none, without looking at all of them: whoever can
//! choose URLs could otherwise make each failure as expensive as there are mounts.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    ops::Bound,
    sync::{Arc, Mutex},
};

use http::Uri;

use super::{
    normal::{Host, HostRef, default_port},
    prefix::Prefix,
    table::seek_place,
};

/// So many of the nearest mounts are named.
const NAMED: usize = 3;

/// So many mounts of one host are candidates, at most [`NAMED`] of them with the same scheme and
/// port: what differs only in its path is equally near.
const PER_HOST: usize = 12;

/// So many hosts on each side are looked at in the order of their domains.
const NEIGHBOURS: usize = 8;

/// So often a host is looked for that another one begins with.
const LOOKS: usize = 4 * NEIGHBOURS;

/// So many mounts for all hosts of a scheme are candidates.
const ANYWHERE: usize = 8;

/// No name of the DNS is longer (RFC 1035, section 2.3.4).
const LONGEST_NAME: usize = 255;

/// The candidates, by what they have in common with a URL.
#[derive(Clone, Debug, Default)]
pub(super) struct Near {
    /// The first few mounts of each host, by its name or address.
    hosts: BTreeMap<Arc<str>, Vec<usize>>,
    /// The names among the hosts, by their labels from the last to the first: those of one domain
    /// stand together, and the more labels two names share, the nearer they stand.
    domains: BTreeMap<Box<str>, Arc<str>>,
    /// The first few mounts for all hosts.
    anywhere: Vec<usize>,
    recent: Recent,
}

/// So many answers are remembered.
const REMEMBERED: usize = 8;

/// No authority is remembered that is longer.
const LONGEST_PLACE: usize = LONGEST_NAME + ":65535".len();

/// What was found for the schemes and authorities that were asked for last: all that is asked of a
/// URL, and one client has few of them.
#[derive(Default)]
struct Recent(Mutex<VecDeque<Answer>>);

struct Answer {
    scheme: Box<str>,
    place: Box<str>,
    nearest: Arc<[String]>,
}

impl Recent {
    /// Neither waits for another request: looking again is not much dearer.
    fn get(&self, (scheme, place): (&str, &str)) -> Option<Arc<[String]>> {
        let known = self.0.try_lock().ok()?;
        let is = |answer: &&Answer| *answer.scheme == *scheme && *answer.place == *place;
        let answer = known.iter().find(is)?;
        Some(Arc::clone(&answer.nearest))
    }

    fn keep(&self, (scheme, place): (&str, &str), nearest: &[String]) {
        if scheme.len() + place.len() > LONGEST_PLACE {
            return;
        }
        let answer = Answer {
            scheme: scheme.into(),
            place: place.into(),
            nearest: nearest.into(),
        };
        if let Ok(mut known) = self.0.try_lock() {
            known.truncate(REMEMBERED - 1);
            known.push_front(answer);
        }
    }
}

/// A copy has its own.
impl Clone for Recent {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl fmt::Debug for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recent").finish_non_exhaustive()
    }
}

/// The scheme and authority of a URL, without userinfo.
fn place(uri: &Uri) -> Option<(&str, &str)> {
    let authority = uri.authority()?.as_str();
    let place = authority.rsplit_once('@');
    Some((
        uri.scheme_str()?,
        place.map_or(authority, |(_, place)| place),
    ))
}

impl Near {
    /// Takes in the mount `number`, whose prefix is not among the `others` yet.
    pub(super) fn insert(&mut self, others: &[Prefix], number: usize, prefix: &Prefix) {
        self.recent = Recent::default();
        let Some(place) = &prefix.authority else {
            if self.anywhere.len() < ANYWHERE {
                self.anywhere.push(number);
            }
            return;
        };
        let host: Arc<str> = place.host.to_string().into();
        if is_name(&host) {
            let domain = reversed(&host).into();
            self.domains.entry(domain).or_insert_with(|| host.clone());
        }
        let known = self.hosts.entry(host).or_default();
        let same = |other: &&usize| {
            let other = others.get(**other);
            other.is_some_and(|other| {
                other.scheme == prefix.scheme && other.authority == prefix.authority
            })
        };
        if known.len() < PER_HOST && known.iter().filter(same).count() < NAMED {
            known.push(number);
        }
    }

    /// The mounts that come nearest to `uri`, each with what is different.
    pub(super) fn nearest(&self, mounts: &[Prefix], uri: &Uri) -> Vec<String> {
        let place = place(uri);
        if let Some(known) = place.and_then(|place| self.recent.get(place)) {
            return known.to_vec();
        }
        let found = self.look_for(mounts, uri);
        if let Some(place) = place {
            self.recent.keep(place, &found);
        }
        found
    }

    fn look_for(&self, mounts: &[Prefix], uri: &Uri) -> Vec<String> {
        let mut found: Vec<_> = self
            .candidates(uri)
            .into_iter()
            .filter_map(|number| {
                let prefix = mounts.get(number)?;
                Some((Distance::between(prefix, uri)?, number, prefix))
            })
            .collect();
        // What is equally near stays in the order in which it was mounted.
        found.sort_by_key(|(distance, number, _)| (distance.rank(), *number));
        found
            .into_iter()
            .take(NAMED)
            .map(|(distance, _, prefix)| format!("{} ({})", prefix.text, distance.differs()))
            .collect()
    }

    /// The mounts that could be named, each once.
    fn candidates(&self, uri: &Uri) -> Vec<usize> {
        let mut candidates = self.anywhere.clone();
        let Some((host, _)) = seek_place(uri) else {
            return candidates;
        };
        let Some(host) = host.to_text().filter(|host| host.len() <= LONGEST_NAME) else {
            return candidates;
        };
        let mut hosts = vec![&*host];
        if is_name(&host) {
            hosts.extend(parents(&host).take(NEIGHBOURS));
            hosts.extend(self.in_the_same_domain(&host));
            hosts.extend(self.beginnings_of(&host));
        }
        hosts.sort_unstable();
        hosts.dedup();
        let known = hosts.iter().filter_map(|host| self.hosts.get(*host));
        candidates.extend(known.flatten());
        candidates
    }

    /// The neighbours of a name in the order of the domains.
    fn in_the_same_domain(&self, host: &str) -> Vec<&str> {
        let domain = reversed(host);
        let up_to = (Bound::Unbounded, Bound::Excluded(&*domain));
        let from = (Bound::Included(&*domain), Bound::Unbounded);
        let before = self.domains.range::<str, _>(up_to).rev();
        let after = self.domains.range::<str, _>(from);
        let neighbours = before.take(NEIGHBOURS).chain(after.take(NEIGHBOURS));
        neighbours.map(|(_, host)| &**host).collect()
    }

    /// The hosts that the text of `host` begins with, the longest first: what a prefix of a string
    /// would match, `api.test` for `api.test.evil`.
    fn beginnings_of(&self, host: &str) -> Vec<&str> {
        let mut found = Vec::new();
        let mut upwards = Bound::Included(host);
        for _ in 0..LOOKS {
            let mut below = self.hosts.range::<str, _>((Bound::Unbounded, upwards));
            let Some((last, _)) = below.next_back() else {
                break;
            };
            if host.starts_with(&**last) {
                found.push(&**last);
                if found.len() == NEIGHBOURS {
                    break;
                }
                upwards = Bound::Excluded(&**last);
                continue;
            }
            // Whatever else `host` begins with has no more than that in common with it.
            let common = host.bytes().zip(last.bytes()).take_while(|(a, b)| a == b);
            let Some(text) = host.get(..common.count()) else {
                break;
            };
            upwards = Bound::Included(text);
        }
        found
    }
}

fn is_name(host: &str) -> bool {
    !host.starts_with('[') && !is_address(host)
}

fn is_address(name: &str) -> bool {
    name.parse::<std::net::Ipv4Addr>().is_ok()
}

/// The domains that a name is in, the nearest first.
fn parents(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('.').map(|(at, _)| &name[at + 1..])
}

/// The labels of a name from the last to the first. What is between them comes before every
/// character that a name can have, so that a domain stands before what is in it.
fn reversed(name: &str) -> String {
    let labels: Vec<&str> = name.trim_end_matches('.').rsplit('.').collect();
    labels.join("\0")
}

/// What is different between a mount and a URL that it does not match.
struct Distance {
    scheme: bool,
    port: bool,
    path: bool,
    /// `Some` if the hosts differ: the labels that they have in common at their ends.
    host: Option<usize>,
}

impl Distance {
    /// `None` if they have nothing to do with each other.
    fn between(prefix: &Prefix, uri: &Uri) -> Option<Self> {
        let uri_scheme = uri.scheme_str()?;
        let scheme = !prefix.scheme.eq_ignore_ascii_case(uri_scheme);
        let Some(place) = &prefix.authority else {
            return Some(Self {
                scheme,
                port: false,
                path: false,
                host: None,
            });
        };
        let (host, port) = seek_place(uri)?;
        // Two schemes with their own ports each differ in the scheme alone.
        let both_default = place.port == default_port(&prefix.scheme)
            && port == default_port(&uri_scheme.to_ascii_lowercase());
        let host = match host.is(&place.host) {
            true => None,
            false => Some(kinship(&place.host, host)?),
        };
        let port = place.port != port && !both_default;
        Some(Self {
            scheme,
            port,
            path: host.is_none() && !scheme && !port,
            host,
        })
    }

    /// Smaller is nearer.
    fn rank(&self) -> (bool, usize, u8) {
        let labels = self.host.map_or(0, |labels| usize::MAX - labels);
        (
            self.host.is_some(),
            labels,
            u8::from(self.scheme) + u8::from(self.port),
        )
    }

    fn differs(&self) -> String {
        let parts = [
            (self.scheme, "scheme"),
            (self.host.is_some(), "host"),
            (self.port, "port"),
            (self.path, "path"),
        ];
        let mut text = "other ".to_owned();
        for (at, (_, part)) in parts.iter().filter(|(differs, _)| *differs).enumerate() {
            if at > 0 {
                text.push_str(", other ");
            }
            text.push_str(part);
        }
        text
    }
}

/// The labels that two different names have in common at their ends; `None` if the names are
/// not akin: neither is below the other, and no more than a top-level domain is the same.
fn kinship(mounted: &Host, asked: HostRef<'_>) -> Option<usize> {
    let (Host::Name(mounted), HostRef::Name(asked)) = (mounted, asked) else {
        return None;
    };
    let asked = std::str::from_utf8(asked).ok()?;
    let labels = |name: &str| name.trim_end_matches('.').split('.').count();
    let common = mounted
        .trim_end_matches('.')
        .rsplit('.')
        .zip(asked.trim_end_matches('.').rsplit('.'))
        .take_while(|(a, b)| a.eq_ignore_ascii_case(b))
        .count();
    let begins = |a: &str, b: &str| a.get(..b.len()).is_some_and(|a| a.eq_ignore_ascii_case(b));
    if is_address(mounted) || is_address(asked) {
        None
    } else if common >= 2 || common > 0 && common == labels(mounted).min(labels(asked)) {
        Some(common)
    } else {
        // What a prefix of a string would match: `https://api.test` and `https://api.test.evil`.
        begins(asked, mounted).then_some(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::mounts::table::Table;

    /// No URL makes it look at more.
    const MOST: usize = ANYWHERE + (4 * NEIGHBOURS + 1) * PER_HOST;

    fn table(prefixes: impl Iterator<Item = String>) -> Table {
        let mut table = Table::default();
        for prefix in prefixes {
            table.insert(Prefix::parse(&prefix).expect("a prefix"));
        }
        table
    }

    #[test]
    fn the_number_of_candidates_does_not_grow_with_the_mounts() {
        let shape = |make: fn(u32) -> String| (0..20_000).map(make);
        for prefixes in [
            shape(|n| format!("https://a.b.test/v{n}")),
            shape(|n| format!("https://a{n}.b.test/")),
            shape(|n| format!("https://{n}.a.b.test/")),
            shape(|n| format!("https://a.b.test:{n}")),
            shape(|n| format!("s{n}://a.b.test")),
            shape(|n| format!("s{n}://")),
            shape(|n| format!("https://a.b.test{n}")),
            shape(|n| format!("https://10.0.{}.{}", n / 250, n % 250)),
        ] {
            let table = table(prefixes);
            for url in [
                "http://a.b.test/x",
                "http://b.test/x",
                "https://1.2.a.b.test/",
                "https://a.b.test77.evil/",
                "https://10.0.0.255/",
                "https://elsewhere/",
            ] {
                let uri = Uri::from_static(url);
                let count = table.near().candidates(&uri).len();
                assert!(count <= MOST, "{url}: {count}");
                assert!(table.nearest(&uri).len() <= NAMED);
            }
            let long = format!("https://{}b.test/", "a.".repeat(20_000));
            let uri: Uri = long.parse().expect("a URL");
            assert!(table.near().candidates(&uri).len() <= ANYWHERE);
        }
    }

    #[test]
    fn what_was_found_before_is_found_again() {
        let count = |table: &Table| table.near().recent.0.lock().expect("no panic").len();
        let mut table = table(["https://a.b.test/v1".to_owned()].into_iter());
        let urls = [
            "http://a.b.test/",
            "https://a.b.test/x",
            "https://u:p@c.b.test/",
        ];
        let urls = urls.map(Uri::from_static);
        let first = urls.each_ref().map(|uri| table.nearest(uri));
        assert_eq!(count(&table), 3);
        for _ in 0..2 {
            assert_eq!(urls.each_ref().map(|uri| table.nearest(uri)), first);
        }
        assert_eq!(count(&table), 3);
        assert_eq!(first[0], ["https://a.b.test/v1 (other scheme)"]);
        assert_eq!(first[1], ["https://a.b.test/v1 (other path)"]);
        assert_eq!(first[2], ["https://a.b.test/v1 (other host)"]);

        // Whoever chooses URLs can make it forget, and no more.
        for number in 0..1000 {
            let url = format!("https://{number}.b.test/");
            table.nearest(&url.parse().expect("a URL"));
        }
        let long = format!("https://{}b.test/", "a.".repeat(200));
        table.nearest(&long.parse().expect("a URL"));
        assert_eq!(count(&table), REMEMBERED);

        // Another mount may be nearer.
        table.insert(Prefix::parse("http://a.b.test/v1").expect("a prefix"));
        assert_eq!(
            table.nearest(&urls[0])[0],
            "http://a.b.test/v1 (other path)"
        );
    }

    /// What a walk over all mounts finds.
    fn slow(mounts: &[Prefix], uri: &Uri) -> Vec<(bool, usize, u8)> {
        let distances = mounts.iter().filter_map(|p| Distance::between(p, uri));
        let mut ranks: Vec<_> = distances.map(|distance| distance.rank()).collect();
        ranks.sort_unstable();
        ranks.truncate(NAMED);
        ranks
    }

    proptest! {
        #[test]
        fn few_candidates_are_enough_for_the_nearest(
            prefixes in vec(("(http|https|x)", "[ab]{1,2}(\\.[abc]){0,3}", select(&["", ":81", ":82"][..]), "(/[ab])?"), 0..10),
            scheme in "(http|https|x)",
            host in "[ab]{1,2}(\\.[abc]){0,4}",
        ) {
            let table = table(prefixes.iter().map(|(a, b, c, d)| format!("{a}://{b}{c}{d}")));
            let uri: Uri = format!("{scheme}://{host}/c").parse().expect("a URL");
            prop_assume!(table.find(&uri).is_none());
            let ranks: Vec<_> = {
                let near = table.near().candidates(&uri);
                let mut ranks: Vec<_> = near
                    .iter()
                    .filter_map(|n| Some(Distance::between(&table.prefixes()[*n], &uri)?.rank()))
                    .collect();
                ranks.sort_unstable();
                ranks.truncate(NAMED);
                ranks
            };
            prop_assert_eq!(ranks, slow(table.prefixes(), &uri));
        }
    }
}
