#[cfg(not(retry_loom))]
mod unit {
    use proptest::prelude::*;

    use super::super::*;

    const SECOND: Tick = Tick(Tick::PER_SECOND);

    fn limits(capacity: u32, rate: u32) -> Limits {
        Limits { capacity, rate }
    }

    fn grants(bucket: &Bucket, limits: Limits, cost: u32, now: Tick) -> usize {
        std::iter::repeat_with(|| bucket.withdraw(limits, cost, now))
            .take_while(Result::is_ok)
            .count()
    }

    #[test]
    fn starts_full_and_can_be_emptied() {
        let bucket = Bucket::default();
        let limits = limits(5000, 0);
        assert_eq!(grants(&bucket, limits, 1000, Tick(0)), 5);
        assert_eq!(bucket.withdraw(limits, 1000, SECOND), Err(0));
    }

    #[test]
    fn a_refusal_tells_the_balance_and_takes_nothing() {
        let bucket = Bucket::default();
        let limits = limits(1500, 0);
        assert_eq!(bucket.withdraw(limits, 1000, Tick(0)), Ok(()));
        assert_eq!(bucket.withdraw(limits, 1000, Tick(0)), Err(500));
        assert_eq!(bucket.balance(limits, Tick(0)), 500);
    }

    #[test]
    fn a_full_bucket_is_not_written_to() {
        let bucket = Bucket::default();
        let limits = limits(1000, 1000);
        bucket.withdraw(limits, 0, Tick(7)).unwrap();
        let word = bucket.0.load(Relaxed);
        bucket.deposit(u32::MAX);
        assert_eq!(bucket.0.load(Relaxed), word);
    }

    #[test]
    fn a_slow_rate_loses_nothing_to_rounding() {
        // A third of a unit in each tick: asked at each tick, or once.
        let limits = limits(MAX_UNITS, 33);
        let often = Bucket::default();
        let once = Bucket::default();
        for bucket in [&often, &once] {
            bucket.withdraw(limits, MAX_UNITS, Tick(1)).unwrap();
        }
        for tick in 1..=100_000 {
            let _ = often.withdraw(limits, MAX_UNITS, Tick(tick));
        }
        let _ = once.withdraw(limits, MAX_UNITS, Tick(100_000));
        assert_eq!(often.balance(limits, Tick(100_000)), 33_000);
        assert_eq!(once.balance(limits, Tick(100_000)), 33_000);
    }

    #[test]
    fn time_that_goes_back_is_harmless() {
        let bucket = Bucket::default();
        let limits = limits(2000, 1000);
        assert_eq!(grants(&bucket, limits, 1000, Tick(500)), 2);
        for tick in [499, 0, 500] {
            assert_eq!(bucket.withdraw(limits, 1000, Tick(tick)), Err(0));
        }
        // Nothing is credited twice either.
        assert_eq!(grants(&bucket, limits, 1000, Tick(600)), 1);
    }

    #[test]
    fn a_charge_stops_at_zero() {
        let bucket = Bucket::default();
        let limits = limits(2500, 0);
        assert_eq!(bucket.charge(limits, 1000, 1250, Tick(0)), Ok(()));
        assert_eq!(bucket.charge(limits, 1000, 1250, Tick(0)), Err(500));
        assert_eq!(bucket.charge(limits, 1000, 1250, Tick(0)), Err(0));
        bucket.deposit(1250);
        assert_eq!(bucket.charge(limits, 0, 1250, Tick(0)), Err(1250));
        bucket.deposit(1);
        assert_eq!(bucket.charge(limits, 0, 1250, Tick(0)), Ok(()));
    }

    #[test]
    fn ticks_end_at_the_words_width() {
        assert_eq!(Tick::after(Duration::from_millis(9)), Tick(0));
        assert_eq!(Tick::after(Duration::from_millis(10)), Tick(1));
        assert_eq!(Tick::after(Duration::MAX), Tick(Tick::MAX));
        let years = Tick::MAX / Tick::PER_SECOND / 60 / 60 / 24 / 365;
        assert_eq!(years, 21);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let bucket = Bucket::default();
        let limits = limits(MAX_UNITS, MAX_UNITS);
        bucket.withdraw(limits, MAX_UNITS, Tick(0)).unwrap();
        assert_eq!(bucket.balance(limits, Tick(Tick::MAX)), MAX_UNITS);
        bucket.withdraw(limits, MAX_UNITS, Tick(Tick::MAX)).unwrap();
        assert_eq!(bucket.withdraw(limits, u32::MAX, Tick(Tick::MAX)), Err(0));
        bucket.deposit(u32::MAX);
        assert_eq!(bucket.balance(limits, Tick(0)), MAX_UNITS);
    }

    proptest! {
        /// Whatever the word holds, it can be read and worked with.
        #[test]
        fn any_word_is_harmless(
            word: u64,
            capacity in 0..=MAX_UNITS,
            rate in 0..=MAX_UNITS,
            cost: u32,
            tick in 0..=Tick::MAX,
        ) {
            let bucket = Bucket(AtomicU64::new(word));
            let limits = limits(capacity, rate);
            let _ = bucket.withdraw(limits, cost, Tick(tick));
            let _ = bucket.charge(limits, cost, capacity / 2, Tick(tick));
            bucket.deposit(cost);
            prop_assert!(bucket.balance(limits, Tick(tick)) <= capacity);
        }

        /// Against a model that credits at each step, in fractions that never round.
        #[test]
        fn follows_the_exact_model(
            capacity in 1..100_000u32,
            rate in 0..10_000u32,
            steps in proptest::collection::vec((0..4u8, 0..2000u32, 0..300u64), 1..200),
        ) {
            const PARTS: i128 = Tick::PER_SECOND as i128;
            let bucket = Bucket::default();
            let limits = limits(capacity, rate);
            let mut exact = i128::from(capacity) * PARTS;
            let mut now = 0;
            let mut last = 0;
            for (what, amount, wait) in steps {
                now += wait;
                // A deposit reads no clock; the model credits at once and must agree all the same.
                let full = i128::from(capacity) * PARTS;
                exact = full.min(exact + i128::from(now - last) * i128::from(rate));
                last = now;
                match what {
                    0 | 1 => {
                        let granted = bucket.withdraw(limits, amount, Tick(now)).is_ok();
                        if granted {
                            exact -= i128::from(amount) * PARTS;
                            prop_assert!(exact > -PARTS, "more than there was");
                        }
                    }
                    2 => {
                        bucket.deposit(amount);
                        exact = full.min(exact + i128::from(amount) * PARTS);
                    }
                    _ => {}
                }
                let balance = i128::from(bucket.balance(limits, Tick(now))) * PARTS;
                // Less than one unit apart, however many steps have been made.
                prop_assert!((exact - balance).abs() < PARTS, "{exact} {balance}");
            }
        }
    }
}

#[cfg(retry_loom)]
mod interleavings {
    use loom::{sync::Arc, thread};

    use super::super::*;

    const LIMITS: Limits = Limits {
        capacity: 2000,
        rate: 0,
    };
    const FILLED_IN_A_SECOND: Limits = Limits {
        capacity: 1000,
        rate: 1000,
    };

    fn run<const N: usize>(bucket: &Arc<Bucket>, threads: [fn(&Bucket) -> u32; N]) -> u32 {
        threads
            .map(|work| {
                let bucket = Arc::clone(bucket);
                thread::spawn(move || work(&bucket))
            })
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    }

    fn take(bucket: &Bucket) -> u32 {
        u32::from(bucket.withdraw(LIMITS, 1000, Tick(0)).is_ok())
    }

    #[test]
    fn two_threads_cannot_take_the_last_token_twice() {
        loom::model(|| {
            let bucket = Arc::new(Bucket::default());
            assert_eq!(take(&bucket), 1);
            assert_eq!(run(&bucket, [take, take]), 1);
            assert_eq!(bucket.balance(LIMITS, Tick(0)), 0);
        });
    }

    #[test]
    fn three_threads_cannot_take_two_tokens_thrice() {
        loom::model(|| {
            let bucket = Arc::new(Bucket::default());
            assert_eq!(run(&bucket, [take, take, take]), 2);
            assert_eq!(bucket.balance(LIMITS, Tick(0)), 0);
        });
    }

    #[test]
    fn no_deposit_and_no_refund_is_lost() {
        loom::model(|| {
            let bucket = Arc::new(Bucket::default());
            assert_eq!(take(&bucket) + take(&bucket), 2);
            let granted = run(
                &bucket,
                [
                    |bucket| {
                        bucket.deposit(600);
                        0
                    },
                    |bucket| {
                        bucket.deposit(600);
                        0
                    },
                    take,
                ],
            );
            assert!(granted <= 1);
            assert_eq!(bucket.balance(LIMITS, Tick(0)), 1200 - 1000 * granted);
        });
    }

    #[test]
    fn the_same_second_is_not_credited_twice() {
        loom::model(|| {
            let bucket = Arc::new(Bucket::default());
            let limits = FILLED_IN_A_SECOND;
            bucket.withdraw(limits, 1000, Tick(0)).unwrap();
            let take = |bucket: &Bucket| {
                u32::from(
                    bucket
                        .withdraw(FILLED_IN_A_SECOND, 600, Tick(Tick::PER_SECOND))
                        .is_ok(),
                )
            };
            assert_eq!(run(&bucket, [take, take]), 1);
            assert_eq!(bucket.balance(limits, Tick(Tick::PER_SECOND)), 400);
        });
    }

    #[test]
    fn a_deposit_during_a_credit_is_kept() {
        loom::model(|| {
            let bucket = Arc::new(Bucket::default());
            let limits = FILLED_IN_A_SECOND;
            bucket.withdraw(limits, 1000, Tick(0)).unwrap();
            let half = Tick(Tick::PER_SECOND / 2);
            let granted = run(
                &bucket,
                [
                    |bucket| {
                        bucket.deposit(300);
                        0
                    },
                    |bucket| {
                        let half = Tick(Tick::PER_SECOND / 2);
                        u32::from(bucket.withdraw(FILLED_IN_A_SECOND, 800, half).is_ok())
                    },
                ],
            );
            assert_eq!(bucket.balance(limits, half), 800 - 800 * granted);
        });
    }

    #[test]
    fn every_failure_is_charged() {
        loom::model(|| {
            let bucket = Arc::new(Bucket::default());
            let fail =
                |bucket: &Bucket| u32::from(bucket.charge(LIMITS, 400, 1000, Tick(0)).is_ok());
            // 1600, 1200, 800: two above the half.
            assert_eq!(run(&bucket, [fail, fail, fail]), 2);
            assert_eq!(bucket.balance(LIMITS, Tick(0)), 800);
        });
    }
}
