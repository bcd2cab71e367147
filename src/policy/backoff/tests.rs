use proptest::prelude::*;

use super::*;
// proptest's prelude has an `Rng`, too.
use crate::policy::Rng;

const ZERO: Duration = Duration::ZERO;
const NONE_BEFORE: (Duration, Duration) = (ZERO, ZERO);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The waits before the first retries, in milliseconds.
fn waits<const N: usize>(backoff: &Backoff) -> [u128; N] {
    std::array::from_fn(|index| {
        let n = u32::try_from(index).unwrap() + 1;
        let wait = backoff.wait(n, ZERO, &mut Rng::with_seed(1));
        assert_eq!(wait.subsec_nanos() % 1_000_000, 0, "whole milliseconds");
        wait.as_millis()
    })
}

fn refusal(backoff: &Backoff) -> String {
    backoff.validate().unwrap_err().to_string()
}

#[test]
fn each_kind_grows_as_documented() {
    let base = ms(100);
    assert_eq!(
        waits(&Backoff::urllib3(0.1)),
        [0, 200, 400, 800, 1600, 3200]
    );
    assert_eq!(
        waits(&Backoff::exponential(base)),
        [100, 200, 400, 800, 1600]
    );
    let tripled = Backoff::exponential(base).multiplier(3.0);
    assert_eq!(waits(&tripled), [100, 300, 900, 2700]);
    assert_eq!(waits(&Backoff::linear(base)), [100, 200, 300, 400]);
    assert_eq!(waits(&Backoff::constant(base)), [100, 100, 100]);
    assert_eq!(
        waits(&Backoff::fibonacci(base)),
        [100, 100, 200, 300, 500, 800, 1300]
    );
    let list = Backoff::list([ms(5), ms(3), ms(9)]);
    assert_eq!(waits(&list), [5, 3, 9, 9, 9]);
    assert_eq!(waits(&Backoff::none()), [0, 0, 0]);
}

#[test]
fn nothing_failed_means_no_wait() {
    for backoff in samples(ms(100)) {
        assert_eq!(backoff.bounds(0, NONE_BEFORE), NONE_BEFORE, "{backoff:?}");
    }
}

#[test]
fn growing_kinds_are_capped_at_two_minutes() {
    let base = Duration::from_secs(1);
    for backoff in [
        Backoff::urllib3(1.0),
        Backoff::exponential(base),
        Backoff::linear(base),
        Backoff::fibonacci(base),
    ] {
        assert_eq!(backoff.get_max(), Backoff::DEFAULT_MAX);
        assert_eq!(
            backoff.bounds(1000, NONE_BEFORE),
            (Backoff::DEFAULT_MAX, Backoff::DEFAULT_MAX)
        );
    }
    let hour = Duration::from_secs(3600);
    assert_eq!(
        Backoff::constant(hour).bounds(1, NONE_BEFORE),
        (hour, hour),
        "a wait that was written out is kept"
    );
}

#[test]
fn the_cap_comes_after_additive_jitter() {
    let backoff = Backoff::urllib3(1.0)
        .max(Duration::from_secs(3))
        .jitter(Jitter::Additive(Duration::from_secs(5)));
    let (two, three) = (Duration::from_secs(2), Duration::from_secs(3));
    assert_eq!(backoff.bounds(1, NONE_BEFORE), NONE_BEFORE, "first retry");
    assert_eq!(backoff.bounds(2, NONE_BEFORE), (two, three));
    assert_eq!(backoff.bounds(3, NONE_BEFORE), (three, three));
    // Four fifths of the draws are above the cap and become the cap.
    let mut rng = Rng::with_seed(1);
    let capped = (0..1000)
        .filter(|_| backoff.wait(2, ZERO, &mut rng) == three)
        .count();
    assert!((700..900).contains(&capped), "{capped}");
}

#[test]
fn jitter_spreads_over_its_whole_range() {
    let base = ms(800);
    let cases = [
        (Jitter::Full, ZERO, ms(800)),
        (Jitter::Equal, ms(400), ms(800)),
        (Jitter::Additive(ms(200)), ms(800), ms(1000)),
        (Jitter::Decorrelated, ms(800), ms(2400)),
    ];
    for (jitter, low, high) in cases {
        let backoff = Backoff::constant(base).jitter(jitter);
        assert_eq!(backoff.bounds(1, NONE_BEFORE), (low, high), "{jitter:?}");
        let mut rng = Rng::with_seed(3);
        let tenth = (high - low) / 10;
        let mut seen = [0; 10];
        for _ in 0..1000 {
            let above = backoff.wait(1, ZERO, &mut rng) - low;
            seen[(above.as_nanos() / tenth.as_nanos()) as usize] += 1;
        }
        assert!(
            seen.iter().all(|count| (60..140).contains(count)),
            "{jitter:?}: {seen:?}"
        );
    }
}

#[test]
fn decorrelated_jitter_follows_the_previous_wait() {
    let backoff = Backoff::exponential(ms(100))
        .max(Duration::from_secs(1))
        .jitter(Jitter::Decorrelated);
    let after = |previous| backoff.bounds(7, (previous, previous));
    assert_eq!(after(ZERO), (ms(100), ms(300)));
    assert_eq!(after(ms(200)), (ms(100), ms(600)));
    assert_eq!(after(ms(900)), (ms(100), ms(1000)));
    assert_eq!(after(Duration::MAX), (ms(100), ms(1000)));
}

#[test]
fn the_same_seed_gives_the_same_waits() {
    let backoff = Backoff::exponential(ms(100)).jitter(Jitter::Full);
    let draw = |seed| {
        let mut rng = Rng::with_seed(seed);
        (1..20)
            .map(|n| backoff.wait(n, ZERO, &mut rng))
            .collect::<Vec<_>>()
    };
    assert_eq!(draw(5), draw(5));
    assert_ne!(draw(5), draw(6));
}

#[test]
fn unseeded_generators_differ() {
    let draw = |mut rng: Rng| (rng.unit(), rng.unit());
    assert_ne!(draw(Rng::new()), draw(Rng::default()));
}

#[test]
fn nothing_is_drawn_when_there_is_no_choice() {
    let mut rng = Rng::with_seed(9);
    Backoff::exponential(ms(100)).wait(3, ZERO, &mut rng);
    Backoff::urllib3(0.1)
        .jitter(Jitter::Additive(ms(5)))
        .wait(1, ZERO, &mut rng);
    assert_eq!(rng.unit(), Rng::with_seed(9).unit());
}

#[test]
fn the_factor_can_be_set_for_every_kind_that_has_one() {
    let mut backoff = Backoff::linear(ms(1))
        .max(ms(600))
        .jitter(Jitter::Additive(ms(50)));
    backoff.set_factor(0.25);
    assert_eq!(backoff.validate(), Ok(()));
    assert_eq!(backoff.get_base(), ms(250));
    assert_eq!(backoff.bounds(2, NONE_BEFORE), (ms(500), ms(550)));
    assert_eq!(backoff.bounds(3, NONE_BEFORE), (ms(600), ms(600)));

    let mut none = Backoff::none();
    none.set_factor(1.5);
    assert_eq!(waits(&none), [1500, 1500]);
    // Too much is as long as can be, finite or not.
    for factor in [f64::INFINITY, f64::MAX] {
        none.set_factor(factor);
        assert_eq!(none.validate(), Ok(()));
        assert_eq!(none.get_base(), Duration::MAX);
        assert_eq!(
            none.clone().max(ms(7)).wait(3, ZERO, &mut Rng::new()),
            ms(7)
        );
    }
}

#[test]
fn a_later_value_replaces_a_bad_one() {
    let mut backoff = Backoff::urllib3(f64::NAN);
    assert!(backoff.validate().is_err());
    backoff.set_factor(0.5);
    assert_eq!(backoff.validate(), Ok(()));
}

#[test]
fn around_is_that_part_below_and_above_what_the_cap_left() {
    let backoff = Backoff::exponential(ms(1000))
        .max(ms(3000))
        .jitter(Jitter::Around(0.2));
    assert_eq!(backoff.bounds(1, NONE_BEFORE), (ms(800), ms(1200)));
    assert_eq!(backoff.bounds(2, NONE_BEFORE), (ms(1600), ms(2400)));
    // gRFC A6: `random(0.8, 1.2) * min(initial * multiplier^(n-1), max)`.
    assert_eq!(backoff.bounds(9, NONE_BEFORE), (ms(2400), ms(3600)));
    for part in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert_eq!(
            refusal(&Backoff::none().jitter(Jitter::Around(part))),
            format!("`backoff_jitter` is {part}: must be a part of the wait in 0..=1")
        );
    }
}

#[test]
fn throttling_has_a_base_of_its_own() {
    let throttled = |backoff: &Backoff, n| {
        let under = Circumstances {
            throttled: true,
            ..Circumstances::default()
        };
        backoff.draw(n, under, &mut Rng::with_seed(1))
    };
    let second = ms(1000);
    for (backoff, plain, slower) in [
        (Backoff::exponential(ms(50)), ms(200), second * 4),
        (Backoff::linear(ms(50)), ms(150), second * 3),
        (Backoff::fibonacci(ms(50)), ms(100), second * 2),
        (Backoff::constant(ms(50)), ms(50), second),
        (Backoff::urllib3(0.05), ms(200), second * 4),
    ] {
        assert_eq!(throttled(&backoff, 3), plain);
        let backoff = backoff.throttle_base(second);
        assert_eq!(backoff.validate(), Ok(()));
        assert_eq!(throttled(&backoff, 3), slower);
        assert_eq!(backoff.wait(3, ZERO, &mut Rng::new()), plain);
    }
    for backoff in [
        Backoff::none(),
        Backoff::list([ms(1)]),
        Backoff::from_fn(|_| ZERO),
    ] {
        assert_eq!(
            refusal(&backoff.throttle_base(second)),
            "`throttle_base` is 1 s: must be unset: this backoff has no base"
        );
    }
}

#[test]
fn what_is_drawn_stays_within_the_room_where_some_of_it_fits() {
    let decorrelated = Backoff::exponential(ms(100)).jitter(Jitter::Decorrelated);
    for (backoff, low) in [
        (Backoff::exponential(ms(1000)).jitter(Jitter::Full), 0),
        (Backoff::exponential(ms(1000)).jitter(Jitter::Equal), 500),
        (
            Backoff::exponential(ms(1000)).jitter(Jitter::Around(0.5)),
            500,
        ),
        (
            Backoff::constant(ms(400)).jitter(Jitter::Additive(ms(900))),
            400,
        ),
        (decorrelated, 100),
    ] {
        let mut rng = Rng::with_seed(7);
        for _ in 0..500 {
            let mut draw = |room: u64| {
                let under = Circumstances {
                    previous: ms(900),
                    room: Some(ms(room)),
                    ..Circumstances::default()
                };
                backoff.draw(1, under, &mut rng)
            };
            let wait = draw(600);
            assert!((ms(low)..=ms(600)).contains(&wait), "{backoff:?} {wait:?}");
            // Without room the wait is what it would have been, for the report to say.
            if low > 0 {
                assert!(draw(low - 1) >= ms(low));
            }
        }
    }
}

#[test]
fn bad_settings_are_named() {
    for value in [f64::NAN, f64::NEG_INFINITY, -0.1] {
        let seconds = format!("{value}: must be a number of seconds that is not negative");
        assert_eq!(
            refusal(&Backoff::urllib3(value)),
            format!("`backoff_factor` is {seconds}")
        );

        let backoff = Backoff::exponential(ms(1)).multiplier(value);
        let error = backoff.validate().unwrap_err();
        assert_eq!(error.field(), "multiplier");
        assert_eq!(error.value(), value.to_string());
        assert_eq!(error.allowed(), "a finite number >= 1");
    }
    assert_eq!(
        refusal(&Backoff::exponential(ms(1)).multiplier(0.5)),
        "`multiplier` is 0.5: must be a finite number >= 1"
    );
    assert_eq!(
        refusal(&Backoff::linear(ms(1)).multiplier(2.0)),
        "`multiplier` is 2: must be unset: only an exponential backoff has a multiplier"
    );
    assert_eq!(
        refusal(&Backoff::list([])),
        "`backoff` is an empty list: must be a list of at least one wait"
    );
    let mut list = Backoff::list([ms(1)]);
    list.set_factor(0.5);
    assert_eq!(
        refusal(&list),
        "`backoff_factor` is 0.5: must be unset: a list of waits and a function have no factor"
    );
}

#[test]
fn unchecked_bad_settings_do_not_panic() {
    let mut rng = Rng::with_seed(1);
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0] {
        let mut all_bad = Backoff::exponential(ms(1)).multiplier(value);
        all_bad.set_factor(value);
        for n in [0, 1, 2, 3, 64, u32::MAX] {
            all_bad.wait(n, Duration::MAX, &mut rng);
            Backoff::exponential(ms(1))
                .multiplier(value)
                .wait(n, ZERO, &mut rng);
            Backoff::urllib3(value).wait(n, ZERO, &mut rng);
        }
    }
    assert_eq!(Backoff::list([]).wait(3, ZERO, &mut rng), ZERO);
}

#[test]
fn the_largest_values_saturate() {
    let mut rng = Rng::with_seed(1);
    let huge = Backoff::urllib3(1e308).max(Duration::MAX);
    assert_eq!(huge.validate(), Ok(()));
    assert_eq!(huge.wait(2, ZERO, &mut rng), Duration::MAX);
    for backoff in samples(Duration::MAX) {
        let backoff = backoff.max(Duration::MAX);
        for n in [2, 3, 187, 188, 1025, u32::MAX] {
            assert_eq!(
                backoff.wait(n, ZERO, &mut rng),
                Duration::MAX,
                "{backoff:?}, n = {n}"
            );
        }
    }
    let smallest = Backoff::exponential(Duration::from_nanos(1)).max(Duration::MAX);
    assert_eq!(smallest.wait(u32::MAX, ZERO, &mut rng), Duration::MAX);
    let nothing = Backoff::exponential(ZERO).max(Duration::MAX);
    assert_eq!(nothing.wait(u32::MAX, ZERO, &mut rng), ZERO);
}

#[test]
fn waits_that_were_written_out_are_exact() {
    let odd = Duration::new(u64::MAX / 3, 123_456_789);
    for backoff in [
        Backoff::constant(odd),
        Backoff::list([odd]),
        Backoff::linear(odd).max(Duration::MAX),
        Backoff::exponential(odd).max(Duration::MAX),
        Backoff::fibonacci(odd).max(Duration::MAX),
    ] {
        assert_eq!(backoff.bounds(1, NONE_BEFORE), (odd, odd), "{backoff:?}");
    }
}

#[test]
fn is_cheap_to_share() {
    fn shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    let backoff = Backoff::list([ms(1), ms(2)]);
    shared(&backoff);
    let (BackoffKind::List(a), BackoffKind::List(b)) = (backoff.kind(), backoff.clone().kind)
    else {
        unreachable!("a list stays a list");
    };
    assert!(Arc::ptr_eq(a, &b));
}

/// One backoff of each kind.
fn samples(base: Duration) -> Vec<Backoff> {
    let urllib3 = Backoff::new(BackoffKind::Urllib3, base, Backoff::DEFAULT_MAX);
    vec![
        urllib3,
        Backoff::exponential(base),
        Backoff::linear(base),
        Backoff::fibonacci(base),
        Backoff::constant(base),
        Backoff::list([base, base.saturating_mul(2)]),
    ]
}

/// Durations of every magnitude.
fn durations() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(ZERO),
        Just(Duration::MAX),
        (0..10_000_u64).prop_map(Duration::from_millis),
        (0..u32::MAX).prop_map(|nanos| Duration::from_nanos(nanos.into())),
        (any::<u64>(), 0..1_000_000_000_u32, 0..64_u32)
            .prop_map(|(secs, nanos, shift)| Duration::new(secs >> shift, nanos)),
    ]
}

fn counts() -> impl Strategy<Value = u32> {
    prop_oneof![0..12_u32, any::<u32>(), Just(u32::MAX)]
}

fn jitters() -> impl Strategy<Value = Jitter> {
    prop_oneof![
        Just(Jitter::None),
        Just(Jitter::Full),
        Just(Jitter::Equal),
        Just(Jitter::Decorrelated),
        durations().prop_map(Jitter::Additive),
    ]
}

fn backoffs() -> impl Strategy<Value = Backoff> {
    let kinds = prop_oneof![
        any::<f64>().prop_map(Backoff::urllib3),
        durations().prop_map(Backoff::exponential),
        (durations(), any::<f64>())
            .prop_map(|(base, by)| Backoff::exponential(base).multiplier(by)),
        (durations(), 1.0..100.0).prop_map(|(base, by)| Backoff::exponential(base).multiplier(by)),
        durations().prop_map(Backoff::linear),
        durations().prop_map(Backoff::constant),
        durations().prop_map(Backoff::fibonacci),
        prop::collection::vec(durations(), 0..5).prop_map(Backoff::list),
    ];
    let max = prop_oneof![Just(None), durations().prop_map(Some)];
    (kinds, jitters(), max).prop_map(|(backoff, jitter, max)| {
        let backoff = backoff.jitter(jitter);
        match max {
            Some(max) => backoff.max(max),
            None => backoff,
        }
    })
}

proptest! {
    #[test]
    fn bounds_contain_every_wait(
        backoff in backoffs(),
        n in counts(),
        (one, other) in (durations(), durations()),
        part in 0.0..=1.0,
        seed in any::<u64>(),
    ) {
        let range = (one.min(other), one.max(other));
        let previous = (range.0 + saturating((range.1 - range.0).as_secs_f64() * part))
            .min(range.1);
        let (low, high) = backoff.bounds(n, range);
        prop_assert!(low <= high);
        let wait = backoff.wait(n, previous, &mut Rng::with_seed(seed));
        prop_assert!(low <= wait && wait <= high, "{low:?} <= {wait:?} <= {high:?}");
    }

    #[test]
    fn no_wait_is_above_the_cap(
        backoff in backoffs(),
        max in durations(),
        n in counts(),
        previous in durations(),
        seed in any::<u64>(),
    ) {
        let backoff = backoff.max(max);
        prop_assert_eq!(backoff.get_max(), max);
        prop_assert!(backoff.wait(n, previous, &mut Rng::with_seed(seed)) <= max);
        prop_assert!(backoff.bounds(n, (ZERO, previous)).1 <= max);
    }

    #[test]
    fn waits_without_jitter_never_shrink(
        base in durations(),
        multiplier in 1.0..10.0,
        max in durations(),
        n in counts(),
        more in counts(),
    ) {
        let tuned = Backoff::exponential(base).multiplier(multiplier);
        for backoff in samples(base).into_iter().chain([tuned]) {
            let backoff = backoff.max(max);
            let now = backoff.bounds(n, NONE_BEFORE);
            let later = backoff.bounds(n.saturating_add(more), NONE_BEFORE);
            prop_assert_eq!(now.0, now.1);
            prop_assert!(now.0 <= later.0, "{:?}: {:?} then {:?}", backoff, now, later);
        }
    }
}
