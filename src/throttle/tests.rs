#[cfg(not(retry_loom))]
mod unit {
    use proptest::prelude::*;

    use super::super::*;

    #[test]
    fn a_part_survives_packing() {
        let part = Part {
            number: MAX_NUMBER,
            counts: Counts {
                requests: MAX_COUNT,
                accepts: 1,
            },
        };
        assert_eq!(Part::unpack(part.pack()), part);
        assert_eq!(Part::unpack(0).counts, Counts::default());
    }

    #[test]
    fn full_counts_are_halved_together() {
        let ring = Ring::default();
        for _ in 0..MAX_COUNT {
            ring.count(5, 1, 0);
        }
        for _ in 0..MAX_COUNT / 4 {
            ring.count(5, 0, 1);
        }
        ring.count(5, 1, 0);
        let Counts { requests, accepts } = ring.sum(5);
        assert_eq!(requests, MAX_COUNT.div_ceil(2));
        assert_eq!(accepts, MAX_COUNT / 4 / 2);
    }

    #[test]
    fn numbers_wrap_without_a_gap() {
        let ring = Ring::default();
        let last = MAX_NUMBER;
        for number in last - 20..last + 20 {
            ring.count(number, 1, 0);
            let seen = (number - (last - 20) + 1).min(PARTS as u64);
            assert_eq!(ring.sum(number).requests, seen, "{number}");
        }
    }

    #[test]
    fn a_late_count_goes_where_it_belongs() {
        let ring = Ring::default();
        ring.count(100, 1, 1);
        ring.count(99, 1, 1);
        assert_eq!(ring.sum(100).requests, 2);
        assert_eq!(ring.sum(99).requests, 1);
        // Too late to count at all: it costs one part of twelve.
        ring.count(100 - PARTS as u64, 1, 1);
        assert_eq!(ring.sum(100).requests, 1);
    }

    proptest! {
        #[test]
        fn a_ring_sums_what_lies_in_the_window(
            events in proptest::collection::vec((0..3u64, any::<bool>()), 0..300),
        ) {
            let ring = Ring::default();
            let mut log = Vec::new();
            let mut number = 0;
            for (step, accepted) in events {
                number += step;
                ring.count(number, 1, accepted.into());
                log.push((number, accepted));
                let within = log.iter().filter(|(n, _)| number - n < PARTS as u64);
                let sum = ring.sum(number);
                prop_assert_eq!(sum.requests, within.clone().count() as u64);
                prop_assert_eq!(sum.accepts, within.filter(|(_, a)| *a).count() as u64);
            }
        }
    }
}

#[cfg(retry_loom)]
mod interleavings {
    use loom::{sync::Arc, thread};

    use super::super::*;

    #[test]
    fn no_count_is_lost() {
        loom::model(|| {
            let ring = Arc::new(Ring::default());
            ring.count(1, 1, 0);
            // The same word, in a part that all three are the first to reach.
            let number = 1 + PARTS as u64;
            let threads = [(1, 0), (0, 1), (1, 1)].map(|(requests, accepts)| {
                let ring = Arc::clone(&ring);
                thread::spawn(move || ring.count(number, requests, accepts))
            });
            for thread in threads {
                thread.join().unwrap();
            }
            let counts = ring.sum(number);
            assert_eq!((counts.requests, counts.accepts), (2, 2));
        });
    }
}
