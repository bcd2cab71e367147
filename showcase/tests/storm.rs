//! The figures of the `storm` example, from smaller runs: one process in fifty, in front of a
//! fiftieth of the service.

use std::{collections::HashSet, time::Duration};

use tower_http_retry::config::RetryConfig;

use showcase::storm::{
    plot,
    simulation::{Contender, Measured, OwnPolicy, Scenario, run},
    table::Table,
    tail::{self, Hedger, Weather},
};

const LOAD: f64 = 0.8;
const SEED: u64 = 1;

/// As in the example: 100 processes, each with 100 requests a second.
fn outage() -> Scenario {
    Scenario::outage(Duration::from_secs(30), LOAD, SEED).with(100_000, 100, 50)
}

fn dip() -> Scenario {
    Scenario::dip(LOAD, SEED).with(100_000, 100, 50)
}

fn measure(scenario: &Scenario, contender: Contender) -> Measured {
    run(scenario, contender).unwrap()
}

/// Policies that only count the retries of one request.
const UNLIMITED: [Contender; 5] = [
    Contender::Fixed,
    Contender::Exponential,
    Contender::FullJitter,
    Contender::Urllib3 { tenths: 1 },
    Contender::Urllib3 { tenths: 10 },
];

#[test]
fn the_default_policy_adds_at_most_a_fifth_and_lets_the_service_recover() {
    let run = measure(&outage(), Contender::Budget);
    let amplification = run.amplification();
    // 20 saved up and a tenth of 100 a second for 30 seconds.
    assert!((1.08..=1.12).contains(&amplification), "{amplification}");
    assert!(amplification <= 1.2);
    // The first second of the outage has what was saved up.
    assert!(run.peak_load() < 1.15, "{}", run.peak_load());
    assert!(run.recovery().unwrap() <= Duration::from_secs(2));
    assert!(run.served_after() > 0.999, "{}", run.served_after());
    assert!(run.wasted() < 0.01, "{}", run.wasted());
}

#[test]
fn the_outage_can_be_survived_without_retries() {
    let run = measure(&outage(), Contender::None);
    assert_eq!(run.amplification(), 1.0);
    assert_eq!(run.recovery(), Some(Duration::ZERO));
    assert!(run.served_during() < 0.01, "{}", run.served_during());
}

#[test]
fn retries_without_a_budget_keep_the_service_down() {
    for contender in UNLIMITED {
        let run = measure(&outage(), contender);
        let name = contender.name();
        assert!(run.amplification() > 3.5, "{name}: {}", run.amplification());
        assert_eq!(run.recovery(), None, "{name}");
        // It works all the time, and for nobody.
        assert!(run.wasted() > 0.9, "{name}: {}", run.wasted());
        assert!(run.served_after() < 0.1, "{name}: {}", run.served_after());
        let room = run.scenario().capacity * run.scenario().queue.as_secs_f64();
        assert!(run.peak_queue() > 0.99 * room, "{name}");
        assert!(run.peak_queue() <= room, "{name}");
    }
}

#[test]
fn a_short_dip_is_enough_to_bring_the_service_down_for_good() {
    for contender in UNLIMITED {
        let run = measure(&dip(), contender);
        assert_eq!(run.recovery(), None, "{}", contender.name());
    }
    let none = measure(&dip(), Contender::None).recovery().unwrap();
    let default = measure(&dip(), Contender::Budget).recovery().unwrap();
    let seconds = Duration::from_secs;
    assert!(none <= seconds(2), "{none:?}");
    assert!(default <= none + seconds(5), "{default:?}");
    // What can be saved up is what a fault begins with.
    let less = measure(&dip(), Contender::MinPerSecond).recovery().unwrap();
    assert!(less <= default, "{less:?}");
    let more = measure(&dip(), Contender::Budget100).recovery().unwrap();
    assert!(more >= default + seconds(2), "{more:?}");
    let tower = measure(&dip(), Contender::Tower).recovery().unwrap();
    assert!(tower >= default + seconds(2), "{tower:?}");
}

#[test]
fn the_example_knows_how_towers_budget_does() {
    let run = measure(&outage(), Contender::Tower);
    // 100 retries in any 10 seconds, and a fifth of the successes before the outage.
    assert!((1.17..1.23).contains(&run.amplification()));
    assert!(run.peak_load() > 2.0, "{}", run.peak_load());
    assert!(run.recovery().is_some());
}

#[test]
fn a_throttle_spares_the_service_and_comes_back_later() {
    // It looks back 2 minutes, in which the requests before the outage count as well.
    let slow = measure(&outage(), Contender::Throttle);
    assert!((1.08..=1.12).contains(&slow.amplification()));
    let quick = measure(&outage(), Contender::QuickThrottle);
    assert!(quick.amplification() < 0.5, "{}", quick.amplification());
    let recovery = quick.recovery().unwrap();
    let seconds = Duration::from_secs;
    assert!(
        (seconds(5)..seconds(30)).contains(&recovery),
        "{recovery:?}"
    );
}

#[test]
fn a_rate_for_each_process_is_no_limit_for_slow_ones_and_a_part_of_their_own_is() {
    // For one request a second, ten retries a second are no limit.
    let slow = outage().with(10_000, 10_000, 10);
    assert_eq!(slow.rate_per_process(), 1.0);
    let per_second = measure(&slow, Contender::MinPerSecond);
    assert!(per_second.amplification() > 3.9);
    assert_eq!(per_second.recovery(), None);
    // A tenth of what they send is.
    let fitted = measure(&slow, Contender::Fitted);
    assert!(fitted.amplification() <= 1.2, "{}", fitted.amplification());
    assert_eq!(fitted.recovery(), Some(Duration::ZERO));
    let default = measure(&slow, Contender::Budget);
    assert!(
        default.amplification() <= 1.8,
        "{}",
        default.amplification()
    );
    assert!(default.recovery().is_some());
}

/// Whatever a process sends, an outage of ten minutes is never half as much again.
#[test]
fn ten_minutes_are_borne_by_fast_processes_and_by_slow_ones() {
    let long = Scenario::outage(Duration::from_secs(600), LOAD, SEED);
    for (processes, thin) in [
        (10, 10),
        (100, 100),
        (1_000, 100),
        (10_000, 100),
        (100_000, 1_000),
    ] {
        let scenario = long.clone().with(100_000, processes, thin);
        let rate = scenario.rate_per_process();
        let run = measure(&scenario, Contender::Budget);
        assert!(
            run.amplification() <= 1.5,
            "{rate}/s: {}",
            run.amplification()
        );
        assert!(run.recovery().is_some(), "{rate}/s");
    }
}

#[test]
fn few_clients_that_send_much_are_limited_as_well() {
    let few = outage().with(10, 10, 10);
    assert_eq!(few.simulated(), 1);
    let run = measure(&few, Contender::Budget);
    assert!(run.amplification() < 1.11, "{}", run.amplification());
    assert!(run.recovery().unwrap() <= Duration::from_secs(2));
}

#[test]
fn ten_million_clients_are_sampled() {
    let many = outage().with(10_000_000, 10_000_000, 1000);
    assert_eq!(many.simulated(), 10_000);
    assert_eq!(many.share(), 0.001);
    let run = measure(&many, Contender::Budget);
    // Each asks once in 1000 seconds: what it has saved up is more than it can use.
    assert!(run.amplification() > 3.5, "{}", run.amplification());
}

#[test]
fn a_policy_of_one_s_own_goes_through_a_fault_of_one_s_own() {
    let config: RetryConfig = toml::from_str(
        "total = 1\nbackoff = { kind = \"constant\", base = \"100ms\" }\nbudget = false",
    )
    .unwrap();
    let own: &'static OwnPolicy = Box::leak(Box::new(OwnPolicy {
        name: "own.toml".to_owned(),
        config,
    }));
    // 20 processes with 10 requests a second each; nothing for 20 seconds, twice.
    let curve = vec![
        (0.0, 0.0),
        (20.0, 0.0),
        (20.0, 1.0),
        (40.0, 1.0),
        (40.0, 0.0),
        (60.0, 0.0),
        (60.0, 1.0),
    ];
    let scenario = Scenario::outage(Duration::from_secs(30), LOAD, SEED)
        .with(1_000, 20, 1)
        .sized(250.0, 10.0)
        .along(curve);
    assert_eq!(scenario.rate_per_process(), 10.0);
    assert_eq!(scenario.fault, Duration::from_secs(60));
    let run = measure(&scenario, Contender::Own(own));
    // Two attempts while it is down, one while it is well.
    let amplification = run.amplification();
    assert!((1.6..1.75).contains(&amplification), "{amplification}");
    let served = run.served_during();
    assert!((0.3..0.4).contains(&served), "{served}");
    let default = measure(&scenario, Contender::Budget);
    assert!(default.amplification() < amplification);
    let table = Table::of_policies(&[(Contender::Own(own), run)]).to_string();
    assert!(table.contains("own.toml"), "{table}");
}

#[test]
fn policies_are_told_apart_by_their_names() {
    let names: HashSet<_> = Contender::ALL.map(Contender::name).into();
    assert_eq!(names.len(), Contender::ALL.len());
}

#[test]
fn the_same_seed_gives_the_same_output() {
    let contenders = [
        Contender::FullJitter,
        Contender::QuickThrottle,
        Contender::Tower,
    ];
    let output = |seed| {
        let outage = Scenario { seed, ..outage() };
        let runs: Vec<_> = contenders
            .into_iter()
            .map(|contender| (contender, measure(&outage, contender)))
            .collect();
        let table = Table::of_policies(&runs).to_string();
        let loads = plot::loads(&runs, "outage").unwrap();
        let bars = plot::amplification(&runs, &runs).unwrap();
        let by_clients = [runs];
        let lines = plot::processes(&by_clients).unwrap();
        let by_clients = Table::of_clients(&by_clients).to_string();
        (table, by_clients, [loads, bars, lines])
    };
    let (table, by_clients, plots) = output(SEED);
    assert!((table.clone(), by_clients.clone(), plots.clone()) == output(SEED));
    assert!(plots[0] != output(SEED + 1).2[0]);
    for contender in contenders {
        let name = contender.name().replace('\'', "&apos;");
        assert!(table.contains(&contender.name()));
        assert!(by_clients.contains(&contender.name()));
        assert!(plots.iter().all(|svg| svg.contains(&name)), "{name}");
    }
}

// ----- hedges --------------------------------------------------------------------------------

/// As in the example, but shorter.
fn hedged(weather: Weather, hedger: Hedger) -> tail::Measured {
    tail::run(weather, hedger, 120, SEED).unwrap()
}

#[test]
fn hedges_cut_the_tail_to_a_tenth_at_an_extra_load_of_a_twentieth() {
    let none = hedged(Weather::Fair, Hedger::None);
    let layer = hedged(Weather::Fair, Hedger::Layer);
    assert_eq!(none.extra_load(), 0.0);
    let (before, after) = (none.percentile(0.999), layer.percentile(0.999));
    assert!(10 * after <= before, "{before:?} -> {after:?}");
    assert!(layer.extra_load() <= 0.05, "{}", layer.extra_load());
    // It is not for want of trying.
    assert!(layer.extra_load() > 0.02, "{}", layer.extra_load());
    assert!(layer.served_after() > 0.999);
    // The median pays nothing for it.
    assert!(layer.percentile(0.5) <= none.percentile(0.5));
}

#[test]
fn when_all_servers_are_slow_or_dead_hedges_stay_a_twentieth() {
    for weather in [Weather::Slow, Weather::Outage] {
        let layer = hedged(weather, Hedger::Layer);
        let during = layer.extra_load_during();
        assert!(during <= 0.05, "{weather:?}: {during}");
        assert!(layer.served_after() > 0.99, "{weather:?}");
        let none = hedged(weather, Hedger::None);
        assert!(none.served_after() > 0.99, "{weather:?}");
    }
}

/// scylladb#3156, "domino effect of doom": whatever is late is doubled, which makes all of it late.
#[test]
fn a_naive_hedger_keeps_the_service_down_for_good() {
    let naive = hedged(Weather::Slow, Hedger::Naive);
    assert!(
        naive.extra_load_during() > 0.9,
        "{}",
        naive.extra_load_during()
    );
    assert!(naive.served_after() < 0.1, "{}", naive.served_after());
    let last = naive.seconds.last().unwrap();
    assert!(last.sent as f64 > 1.8 * last.asked as f64);
}

#[test]
fn the_same_seed_gives_the_same_tail() {
    let output = |seed| {
        let runs = Hedger::ALL.map(|hedger| {
            let run = tail::run(Weather::Slow, hedger, 60, seed).unwrap();
            (hedger, run)
        });
        let picture = plot::tail(&runs, &runs).unwrap();
        let table = tail::Table(&[(Weather::Slow, runs.to_vec())]).to_string();
        (table, picture)
    };
    let (table, picture) = output(SEED);
    assert!((table.clone(), picture.clone()) == output(SEED));
    assert!(table != output(SEED + 1).0);
    for hedger in Hedger::ALL {
        assert!(table.contains(hedger.name()) && picture.contains(hedger.name()));
    }
}
