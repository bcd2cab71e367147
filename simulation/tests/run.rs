//! Runs a scenario.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Once},
    time::{Duration, SystemTime},
};

use crate::{
    client,
    log::Event,
    sabotage::Sabotage,
    scenario::{Fault, Scenario},
    server,
    world::{EPOCH, World},
};

/// No scenario lasts so long, in simulated time.
const FOREVER: Duration = Duration::from_secs(600);

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) scenario: Scenario,
    pub(crate) trace: Vec<(Duration, Event)>,
    /// Why the run as a whole is a failure.
    pub(crate) failure: Option<String>,
}

/// Runs the scenario of a seed, with a defect if one is asked for.
pub(crate) fn run(seed: u64, sabotage: Option<Sabotage>) -> Run {
    let scenario = Scenario::of(seed);
    let world = World::new(scenario.clone(), sabotage);
    // The adaptive throttle draws from here.
    fastrand::seed(seed);
    count_panics();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| simulate(&world)));
    let panics = PANICS.take();
    let failure = match outcome {
        Ok(Err(error)) => Some(format!("it does not end well: {error}")),
        Ok(Ok(())) | Err(_) if panics > 0 => Some(format!("{panics} panics")),
        Ok(Ok(())) | Err(_) => None,
    };
    Run {
        trace: world.log.take(),
        scenario,
        failure,
    }
}

fn simulate(world: &Arc<World>) -> turmoil::Result {
    let scenario = &world.scenario;
    let mut sim = turmoil::Builder::new()
        .rng_seed(scenario.seed)
        .epoch(SystemTime::UNIX_EPOCH + EPOCH)
        .simulation_duration(FOREVER)
        .tick_duration(scenario.tick)
        .min_message_latency(*scenario.latency.start())
        .max_message_latency(*scenario.latency.end())
        .repair_rate(scenario.repair_rate)
        .build();
    let shared = Arc::clone(world);
    sim.host("server", move || server::run(Arc::clone(&shared)));
    for index in 0..scenario.clients.len() {
        sim.client(name(index), client::run(Arc::clone(world), index));
    }
    let mut faults = scenario.faults.iter().peekable();
    loop {
        while let Some((_, fault)) = faults.next_if(|(at, _)| *at <= sim.elapsed()) {
            world.log.note_at(sim.elapsed(), Event::Fault(*fault));
            apply(&mut sim, world, *fault);
        }
        if sim.step()? {
            return Ok(());
        }
    }
}

fn name(client: usize) -> String {
    format!("client-{client}")
}

fn apply(sim: &mut turmoil::Sim<'_>, world: &World, fault: Fault) {
    const SERVER: &str = "server";
    match fault {
        Fault::Hold(client) => sim.hold(name(client), SERVER),
        Fault::Release(client) => sim.release(name(client), SERVER),
        Fault::Partition(client) => sim.partition(name(client), SERVER),
        Fault::Repair(client) => sim.repair(name(client), SERVER),
        Fault::Mute(client) => sim.partition_oneway(name(client), SERVER),
        Fault::Unmute(client) => sim.repair_oneway(name(client), SERVER),
        Fault::Deafen(client) => sim.partition_oneway(SERVER, name(client)),
        Fault::Undeafen(client) => sim.repair_oneway(SERVER, name(client)),
        Fault::Lose(client, rate) => sim.set_link_fail_rate(name(client), SERVER, rate),
        Fault::LoseNothing(client) => {
            sim.set_link_fail_rate(name(client), SERVER, 0.0);
            sim.repair(name(client), SERVER);
        }
        Fault::Slow(client, latency) => {
            sim.set_link_max_message_latency(
                name(client),
                SERVER,
                latency.max(*world.scenario.latency.start()),
            );
        }
        Fault::Crash => sim.crash(SERVER),
        Fault::Restart => sim.bounce(SERVER),
        Fault::Drain => world.drain.send_modify(|times| *times += 1),
        Fault::ClientClock(client, by) => world.client_clocks[client].jump(by),
        Fault::ServerClock(by) => world.server_clock.jump(by),
    }
}

thread_local! {
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

/// Counts panics by thread: the runtime keeps those of tasks to itself.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            before(info);
        }));
    });
    PANICS.set(0);
}
