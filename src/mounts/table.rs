//! Finds the mount of a URL: a tree whose nodes are found by hash.
//!
//! The first level is the scheme, the second host and port, each further one a path segment. All
//! nodes are in one hash table, keyed by their parent and what they stand for, so that a step
//! costs the same however many mounts there are. Nothing is allocated on the way.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use http::Uri;

use super::{
    near::Near,
    normal::{HostRef, Scratch, default_port},
    prefix::{Place, Prefix},
};
use crate::budget::{KeyHasher, host_and_port};

/// The prefixes of all mounts, without their policies.
#[derive(Clone, Debug)]
pub(super) struct Table {
    nodes: Vec<Node>,
    index: HashMap<u64, usize, BuildHasherDefault<Hashed>>,
    /// In the order in which they were mounted.
    mounts: Vec<Prefix>,
    /// Which of them to name where none matches.
    near: Near,
}

#[derive(Clone, Debug)]
struct Node {
    parent: usize,
    key: Key,
    /// Another node with the same hash.
    next: Option<usize>,
    is_leaf: bool,
    /// The mount that ends here.
    exact: Option<usize>,
    /// The mount that ends here with a slash.
    below: Option<usize>,
}

#[derive(Clone, Debug)]
enum Key {
    Scheme(Box<str>),
    Place(Place),
    Segment(Box<[u8]>),
}

/// A [`Key`] as a URL has it.
#[derive(Clone, Copy)]
enum Sought<'a> {
    Scheme(&'a str),
    Place(HostRef<'a>, Option<u16>),
    Segment(&'a [u8]),
}

const TOP: usize = 0;
const HTTP: usize = 1;
const HTTPS: usize = 2;

impl Key {
    fn as_sought(&self) -> Sought<'_> {
        match self {
            Self::Scheme(scheme) => Sought::Scheme(scheme),
            Self::Place(place) => Sought::Place(place.host.as_ref(), place.port),
            Self::Segment(segment) => Sought::Segment(segment),
        }
    }
}

impl Sought<'_> {
    fn is(self, key: &Key) -> bool {
        match (self, key) {
            (Self::Scheme(a), Key::Scheme(b)) => a.eq_ignore_ascii_case(b),
            (Self::Place(host, port), Key::Place(place)) => {
                port == place.port && host.is(&place.host)
            }
            (Self::Segment(a), Key::Segment(b)) => a == &**b,
            _ => false,
        }
    }

    fn hash_in(self, parent: usize) -> u64 {
        let mut hasher = KeyHasher::new();
        let parent = parent as u64;
        let port = match self {
            Self::Place(_, port) => port.map_or(u64::MAX, u64::from),
            _ => 0,
        };
        hasher.mix(parent << 32 ^ port);
        match self {
            Self::Scheme(scheme) => hasher.write_host(scheme.as_bytes()),
            Self::Place(HostRef::Name(name), _) => hasher.write_host(name),
            Self::Place(HostRef::V6(address), _) => hasher.write(&address.octets()),
            Self::Segment(segment) => hasher.write(segment),
        }
        hasher.finish()
    }
}

impl Default for Table {
    fn default() -> Self {
        let mut table = Self {
            nodes: vec![Node::new(TOP, Key::Scheme("".into()))],
            index: HashMap::default(),
            mounts: Vec::new(),
            near: Near::default(),
        };
        // These two are found without a hash.
        for scheme in ["http", "https"] {
            table.enter(TOP, Key::Scheme(scheme.into()));
        }
        table
    }
}

impl Node {
    fn new(parent: usize, key: Key) -> Self {
        Self {
            parent,
            key,
            next: None,
            is_leaf: true,
            exact: None,
            below: None,
        }
    }
}

impl Table {
    /// Adds a mount, unless there is one with the same prefix; returns its number.
    pub(super) fn insert(&mut self, prefix: Prefix) -> usize {
        let mut node = self.enter(TOP, Key::Scheme(prefix.scheme.clone()));
        if let Some(place) = &prefix.authority {
            node = self.enter(node, Key::Place(place.clone()));
        }
        for segment in &prefix.segments {
            node = self.enter(node, Key::Segment(segment.clone()));
        }
        let number = self.mounts.len();
        let node = &mut self.nodes[node];
        let slot = if prefix.slash {
            &mut node.below
        } else {
            &mut node.exact
        };
        if let Some(number) = *slot {
            return number;
        }
        *slot = Some(number);
        self.near.insert(&self.mounts, number, &prefix);
        self.mounts.push(prefix);
        number
    }

    /// The node below `parent`, made if it is not there.
    fn enter(&mut self, parent: usize, key: Key) -> usize {
        if let Some(node) = self.child(parent, key.as_sought()) {
            return node;
        }
        let hash = key.as_sought().hash_in(parent);
        let number = self.nodes.len();
        let mut node = Node::new(parent, key);
        node.next = self.index.insert(hash, number);
        self.nodes.push(node);
        self.nodes[parent].is_leaf = false;
        number
    }

    fn child(&self, parent: usize, sought: Sought<'_>) -> Option<usize> {
        if self.nodes[parent].is_leaf {
            return None;
        }
        let mut next = self.index.get(&sought.hash_in(parent)).copied();
        while let Some(number) = next {
            let node = &self.nodes[number];
            if node.parent == parent && sought.is(&node.key) {
                return Some(number);
            }
            next = node.next;
        }
        None
    }

    /// The number of the mount with the longest prefix of `uri`.
    pub(super) fn find(&self, uri: &Uri) -> Option<usize> {
        let scheme = match uri.scheme_str()? {
            "http" => HTTP,
            "https" => HTTPS,
            other => self.child(TOP, Sought::Scheme(other))?,
        };
        let place = seek_place(uri).and_then(|(host, port)| {
            let sought = Sought::Place(host, port);
            self.child(scheme, sought)
        });
        match place {
            None => self.nodes[scheme].exact,
            Some(place) if self.nodes[place].is_leaf => self.at_or_above(place, true),
            Some(place) => self.find_in(place, uri.path()),
        }
    }

    /// Follows a path, whose dot segments are resolved on the way (RFC 3986, section 5.2.4).
    fn find_in(&self, top: usize, path: &str) -> Option<usize> {
        let Some((b'/', mut rest)) = path.as_bytes().split_first() else {
            return self.at_or_above(top, true);
        };
        // Most paths have neither encoded octets nor dot segments.
        let is_plain = !rest.iter().any(|byte| matches!(byte, b'%' | b'.'));
        let mut scratch = Scratch::new();
        let mut node = top;
        // Segments behind `node` that no mount has.
        let mut beyond = 0_usize;
        loop {
            let end = rest.iter().position(|byte| *byte == b'/');
            let mut segment = &rest[..end.unwrap_or(rest.len())];
            if !is_plain {
                segment = scratch.normalize(segment);
            }
            let is_slash = match segment {
                b"" if end.is_none() => true,
                b"." => true,
                b".." => {
                    if beyond > 0 {
                        beyond -= 1;
                    } else if node != top {
                        node = self.nodes[node].parent;
                    }
                    true
                }
                segment => {
                    let child = match beyond {
                        0 => self.child(node, Sought::Segment(segment)),
                        _ => None,
                    };
                    match child {
                        Some(child) => node = child,
                        // Nothing leads back.
                        None if is_plain => return self.at_or_above(node, true),
                        None => beyond += 1,
                    }
                    false
                }
            };
            match end {
                Some(_) if is_plain && self.nodes[node].is_leaf => {
                    return self.at_or_above(node, true);
                }
                Some(end) => rest = &rest[end + 1..],
                None => return self.at_or_above(node, is_slash || beyond > 0),
            }
        }
    }

    /// The mount at `node`, or that of the next node above that has one. `below` says whether
    /// the URL goes on behind the node.
    fn at_or_above(&self, node: usize, mut below: bool) -> Option<usize> {
        let mut number = node;
        while number != TOP {
            let node = &self.nodes[number];
            if let Some(found) = node.below.filter(|_| below).or(node.exact) {
                return Some(found);
            }
            below = true;
            number = node.parent;
        }
        None
    }

    #[cfg(test)]
    pub(super) fn near(&self) -> &Near {
        &self.near
    }

    pub(super) fn prefixes(&self) -> &[Prefix] {
        &self.mounts
    }

    /// The prefixes that come nearest to a URL that has no mount, the nearest first, each with
    /// what is different.
    pub(super) fn nearest(&self, uri: &Uri) -> Vec<String> {
        self.near.nearest(&self.mounts, uri)
    }
}

/// The host and the port of a URL.
pub(super) fn seek_place(uri: &Uri) -> Option<(HostRef<'_>, Option<u16>)> {
    let (host, port) = host_and_port(uri.authority()?.as_str().as_bytes());
    let port = port.or_else(|| default_port(uri.scheme_str()?));
    Some((HostRef::new(host), port))
}

/// Passes on a hash that is one already.
#[derive(Clone, Copy, Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        // Never called: the keys are numbers.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
