#[cfg(not(retry_loom))]
mod unit {
    use std::num::NonZeroU64;

    use super::super::*;

    fn key(n: u64) -> NonZeroU64 {
        NonZeroU64::new(n).unwrap()
    }

    #[test]
    fn a_handle_is_small() {
        assert_eq!(size_of::<Slot>(), 8);
        assert_eq!(size_of::<Option<Slot>>(), 8);
        assert_eq!(size_of::<Withdrawal>(), 8);
        assert_eq!(size_of::<RetryBudget>(), size_of::<usize>());
    }

    #[test]
    fn a_table_has_whole_sets() {
        for (asked, len) in [(1, 8), (8, 8), (9, 16), (100, 128), (1024, 1024)] {
            assert_eq!(Table::<Bucket>::new(asked).len(), len);
        }
    }

    #[test]
    fn a_key_keeps_its_entry() {
        let table = Table::<Bucket>::new(64);
        let first: Vec<u32> = (1..=64)
            .filter_map(|n| Some(table.claim(key(n), |_| None)?.index))
            .collect();
        let again: Vec<u32> = (1..=64)
            .filter_map(|n| Some(table.claim(key(n), |_| None)?.index))
            .collect();
        assert_eq!(first, again);
        assert_eq!(first.len(), 64);
    }

    #[test]
    fn a_full_set_passes_on_what_loses_least() {
        let table = Table::<Bucket>::new(8);
        for n in 1..=8 {
            table.claim(key(n), |_| None).unwrap();
        }
        assert!(table.claim(key(9), |_| None).is_none());
        let third = table.find(key(3)).unwrap();
        let place = table
            .claim(key(9), |bucket| {
                Some(if std::ptr::eq(bucket, third) { 1 } else { 2 })
            })
            .unwrap();
        assert!(std::ptr::eq(place.value, third));
        assert!(table.find(key(3)).is_none());
        assert!(table.find(key(9)).is_some());
    }

    #[test]
    fn an_index_out_of_range_has_no_bucket() {
        let table = Table::<Bucket>::new(8);
        assert!(table.get(7).is_some());
        assert!(table.get(8).is_none());
        assert!(table.get(u32::MAX).is_none());
    }
}

#[cfg(retry_loom)]
mod interleavings {
    use std::num::NonZeroU64;

    use loom::{sync::Arc, thread};

    use super::super::*;

    const LIMITS: Limits = Limits {
        capacity: 1000,
        rate: 0,
    };

    fn key(n: u64) -> NonZeroU64 {
        NonZeroU64::new(n).unwrap()
    }

    /// Claims as `RetryBudget` does and takes the one token that a bucket holds.
    fn take(table: &Table<Bucket>, n: u64) -> (u32, bool) {
        let release = |bucket: &Bucket| {
            let missing = LIMITS.capacity - bucket.balance(LIMITS, Tick::default());
            (missing == 0).then_some(missing)
        };
        let place = table
            .claim(key(n), release)
            .unwrap_or_else(|| table.borrow(key(n)));
        let granted = place.value.withdraw(LIMITS, 1000, Tick::default()).is_ok();
        (place.index, granted)
    }

    fn run<const N: usize>(table: &Arc<Table<Bucket>>, keys: [u64; N]) -> [(u32, bool); N] {
        keys.map(|n| {
            let table = Arc::clone(table);
            thread::spawn(move || take(&table, n))
        })
        .map(|thread| thread.join().unwrap())
    }

    #[test]
    fn two_threads_claim_one_entry_for_one_key() {
        loom::model(|| {
            let table = Arc::new(Table::new(8));
            let [a, b] = run(&table, [1, 1]);
            assert_eq!(a.0, b.0);
            assert!(a.1 != b.1, "one token was granted {a:?} {b:?}");
        });
    }

    #[test]
    fn two_keys_claim_two_entries() {
        loom::model(|| {
            let table = Arc::new(Table::new(8));
            let [a, b] = run(&table, [1, 2]);
            assert_ne!(a.0, b.0);
            assert!(a.1 && b.1);
        });
    }

    #[test]
    fn three_threads_agree_on_who_owns_what() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let table = Arc::new(Table::new(8));
            let [a, b, c] = run(&table, [1, 2, 1]);
            assert_eq!(a.0, c.0);
            assert_ne!(a.0, b.0);
            assert!(b.1);
            assert!(a.1 != c.1);
        });
    }

    /// A full set in which one bucket is full: its owner and a new key want it. Whoever wins,
    /// its one token is spent once.
    #[test]
    fn a_takeover_makes_no_tokens() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let table = Arc::new(Table::new(8));
            for n in 1..=8 {
                let place = table.claim(key(n), |_: &Bucket| None).unwrap();
                if n < 8 {
                    place.value.withdraw(LIMITS, 1000, Tick::default()).unwrap();
                }
            }
            let answers = run(&table, [8, 9]);
            let granted = answers.iter().filter(|(_, granted)| *granted).count();
            assert_eq!(granted, 1, "{answers:?}");
        });
    }
}
