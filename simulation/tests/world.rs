//! What the hosts of a run share.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

use crate::{log::Log, sabotage::Sabotage, scenario::Scenario};

/// The time at which every simulation starts: 14 November 2023, 22:13:20 GMT.
pub(crate) const EPOCH: Duration = Duration::from_secs(1_700_000_000);

pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) log: Log,
    pub(crate) server_clock: WallClock,
    pub(crate) client_clocks: Vec<WallClock>,
    /// Tells the server's connections to end; the number of times.
    pub(crate) drain: watch::Sender<u32>,
    disk: Mutex<Disk>,
    /// Where the last attempt of each request went.
    places: Mutex<HashMap<u32, String>>,
}

/// What the server keeps over a crash.
#[derive(Default)]
pub(crate) struct Disk {
    /// How many attempts of each request have arrived.
    pub(crate) arrivals: HashMap<u32, usize>,
    /// The idempotency keys of what was applied.
    pub(crate) keys: HashSet<Vec<u8>>,
}

impl World {
    pub(crate) fn new(scenario: Scenario, sabotage: Option<Sabotage>) -> Arc<Self> {
        Arc::new(Self {
            sabotage,
            log: Log::default(),
            server_clock: WallClock::off_by(scenario.server.clock),
            client_clocks: scenario
                .clients
                .iter()
                .map(|client| WallClock::off_by(client.clock))
                .collect(),
            drain: watch::Sender::new(0),
            disk: Mutex::default(),
            places: Mutex::default(),
            scenario,
        })
    }

    pub(crate) fn places(&self) -> MutexGuard<'_, HashMap<u32, String>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A host's wall clock, which can be wrong and jump.
#[derive(Clone, Debug)]
pub(crate) struct WallClock(Arc<AtomicI64>);

impl WallClock {
    fn off_by(seconds: i64) -> Self {
        Self(Arc::new(AtomicI64::new(seconds)))
    }

    pub(crate) fn jump(&self, seconds: i64) {
        self.0.fetch_add(seconds, Relaxed);
    }

    pub(crate) fn now(&self) -> SystemTime {
        let right = SystemTime::UNIX_EPOCH
            + turmoil::since_epoch().expect("only the hosts of a simulation read clocks");
        let off = self.0.load(Relaxed);
        let by = Duration::from_secs(off.unsigned_abs());
        if off < 0 { right - by } else { right + by }
    }
}
