//! The endpoints of one service: which is next.

use std::{cmp::Reverse, fmt, time::Duration};

use http::Uri;
use tokio::time::Instant;

use super::{
    base::Base,
    memory::{Memory, Regard},
};
use crate::dice::Dice;

pub(super) struct Pool {
    pub(super) service: Base,
    pub(super) endpoints: Box<[Endpoint]>,
    /// `None` where they are tried in their order.
    pub(super) dice: Option<Dice>,
}

pub(super) struct Endpoint {
    pub(super) base: Base,
    /// Nothing where they are tried in their order.
    pub(super) weight: u32,
    pub(super) memory: Memory,
}

/// The endpoint of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) index: usize,
    /// Whether it is sent to look whether the endpoint works again.
    pub(super) looks: bool,
}

impl Pool {
    /// Chooses for a request that was sent to the URIs in `tried` before.
    pub(super) fn choose(&self, tried: &[Uri], now: Instant) -> Choice {
        let mut times = vec![0u32; self.endpoints.len()];
        let mut last = None;
        for uri in tried {
            last = self.endpoint_of(uri);
            if let Some(index) = last {
                times[index] += 1;
            }
        }
        let rank = |index: usize| {
            let Regard { held, fails } = self.endpoints[index].memory.regard(now);
            (held, times[index], last == Some(index), fails)
        };
        let ranks: Vec<_> = (0..self.endpoints.len()).map(rank).collect();
        // There is at least one.
        let best = ranks.iter().min();
        let best = (0..ranks.len()).filter(|index| Some(&ranks[*index]) == best);
        let index = self.draw(best);
        Choice {
            index,
            looks: self.endpoints[index].memory.look(now),
        }
    }

    /// One of several that are equally good.
    fn draw(&self, mut best: impl Iterator<Item = usize> + Clone) -> usize {
        let Some(dice) = &self.dice else {
            return best.next().unwrap_or(0);
        };
        let weight = |index: usize| u64::from(self.endpoints[index].weight);
        let sum: u64 = best.clone().map(weight).sum();
        // 64 weights of 32 bits each are exact.
        let mut left = (dice.draw() * sum as f64) as u64;
        let mut last = 0;
        for index in best {
            last = index;
            match left.checked_sub(weight(index)) {
                Some(rest) => left = rest,
                None => break,
            }
        }
        last
    }

    /// The endpoint with this URI: the one with the longest path, if there are several.
    fn endpoint_of(&self, uri: &Uri) -> Option<usize> {
        let all = self.endpoints.iter().enumerate();
        let covers = all.filter_map(|(index, it)| Some((it.base.covers(uri)?, Reverse(index))));
        covers.max().map(|(_, Reverse(index))| index)
    }

    /// When another one than `index` can be asked: the shortest of the times for which they asked to
    /// be left alone. `None` if there is no other.
    pub(super) fn others_free_in(&self, index: usize, now: Instant) -> Option<Duration> {
        let all = self.endpoints.iter().enumerate();
        let others = all.filter(|(other, _)| *other != index);
        others.map(|(_, it)| it.memory.regard(now).held).min()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bases = self.endpoints.iter().map(|it| it.base.text());
        f.debug_struct("Pool")
            .field("service", &self.service.text())
            .field("endpoints", &bases.collect::<Vec<_>>())
            .field("weighted", &self.dice.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn pool(weights: &[u32], dice: Option<Dice>) -> Pool {
        let parse = |text: String| Base::parse("endpoints", &text).expect("a base URI");
        let all = weights.iter().enumerate();
        let endpoints = all.map(|(index, weight)| Endpoint {
            base: parse(format!("http://{index}.test/")),
            weight: *weight,
            memory: Memory::default(),
        });
        Pool {
            service: parse("http://all.test".to_owned()),
            endpoints: endpoints.collect(),
            dice,
        }
    }

    fn uris(indices: &[usize]) -> Vec<Uri> {
        let uri = |index: &usize| format!("http://{index}.test/x").parse().expect("a URI");
        indices.iter().map(uri).collect()
    }

    #[test]
    fn each_is_tried_once_before_any_is_tried_twice() {
        let pool = pool(&[0, 0, 0], None);
        let now = Instant::now();
        for (tried, next) in [
            (&[][..], 0),
            (&[0], 1),
            (&[1], 0),
            (&[0, 1], 2),
            (&[0, 1, 2], 0),
            (&[2, 1, 0], 1),
            (&[0, 1, 2, 0], 1),
            (&[2, 2, 2], 0),
        ] {
            assert_eq!(pool.choose(&uris(tried), now).index, next, "{tried:?}");
        }
    }

    #[test]
    fn what_fails_is_avoided_and_what_asked_for_it_left_alone() {
        let pool = pool(&[0, 0, 0], None);
        let now = Instant::now();
        pool.endpoints[0].memory.failed(now, now);
        assert_eq!(pool.choose(&[], now).index, 1);
        // One that fails comes before one that this request was sent to.
        assert_eq!(pool.choose(&uris(&[1, 2]), now).index, 0);
        pool.endpoints[0].memory.hold(30 * S, now);
        assert_eq!(pool.choose(&uris(&[1, 2]), now).index, 1);
        pool.endpoints[1].memory.hold(10 * S, now);
        pool.endpoints[2].memory.hold(20 * S, now);
        assert_eq!(pool.choose(&[], now).index, 1);
        assert_eq!(pool.others_free_in(1, now), Some(20 * S));
        // It looks whether it works again.
        let later = now + 40 * S;
        let look = Choice {
            index: 0,
            looks: true,
        };
        assert_eq!(pool.choose(&[], later), look);
        assert_eq!(pool.choose(&[], later).index, 1);
    }

    #[test]
    fn weights_are_chances() {
        let pool = pool(&[3, 1, 0xffff], Some(Dice::new(Some(7))));
        let now = Instant::now();
        let tried = uris(&[2]);
        let mut times = [0; 3];
        for _ in 0..4000 {
            times[pool.choose(&tried, now).index] += 1;
        }
        assert!((2850..3150).contains(&times[0]), "{times:?}");
        assert_eq!(times[2], 0);
    }

    #[test]
    fn an_endpoint_is_known_by_the_longest_path() {
        let parse = |text: &str| Base::parse("endpoints", text).expect("a base URI");
        let mut pool = pool(&[0, 0], None);
        pool.endpoints[0].base = parse("http://a.test/");
        pool.endpoints[1].base = parse("http://a.test/v2");
        for (uri, index) in [
            ("http://a.test/v2/x", Some(1)),
            ("http://a.test/v1/x", Some(0)),
            ("http://b.test/v2/x", None),
            ("/v2", None),
        ] {
            let uri: Uri = uri.parse().expect("a URI");
            assert_eq!(pool.endpoint_of(&uri), index, "{uri}");
        }
    }
}
