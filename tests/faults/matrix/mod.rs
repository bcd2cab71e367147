//! What becomes of every kind of request under every kind of fault, on real sockets.
//!
//! Faults × methods × bodies × versions of HTTP × presets: each cell is a request through the
//! layer and a real client to a server that fails as it is told. What must come of it is derived
//! from the rules by [`rules`], a second opinion, and compared with what the caller got, what the
//! report says and what the server saw.
//!
//! Nothing depends on speed: each cell has a runtime of its own whose clock moves only where
//! something waits for it.
#![cfg(all(feature = "hyper", feature = "h2"))]
#![allow(
    unreachable_pub,
    reason = "written as the modules of a crate of its own"
)]

pub(crate) mod cell;
mod checks;
pub(crate) mod faults;
mod rules;
mod server;
pub(crate) mod uploads;

use std::{
    io::{Write as _, stdout},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

use tower_http_retry::policy::Preset;

use cell::{Cell, Setting, Then, Verb};
use faults::{Fault, Identities};
use test_support::net::{clock, fault::Protocol};
use uploads::{TemporaryFile, Upload};

/// How many cells run at once: most of their time they wait for the system.
const THREADS: usize = 4;

/// How long no cell may end before the run is given up as stuck.
const STUCK: Duration = Duration::from_secs(60);

/// Every combination of these with a fault.
struct Axes {
    then: &'static [Then],
    verbs: &'static [Verb],
    uploads: &'static [Upload],
    presets: &'static [Preset],
}

impl Axes {
    const ALL: Self = Self {
        then: &[Then::Well, Then::Again],
        verbs: &Verb::ALL,
        uploads: &Upload::ALL,
        presets: &[Preset::Default, Preset::Urllib3],
    };

    fn cells(&self, faults: Vec<Fault>) -> Vec<Cell> {
        let mut cells = Vec::new();
        for fault in faults.into_iter().map(Arc::new) {
            for &protocol in fault.protocols {
                for &then in self.then {
                    for &verb in self.verbs {
                        for &upload in self.uploads {
                            for &preset in self.presets {
                                cells.push(Cell {
                                    faults: vec![Arc::clone(&fault)],
                                    then,
                                    verb,
                                    upload,
                                    protocol,
                                    preset,
                                    keeps: true,
                                });
                            }
                        }
                    }
                }
            }
        }
        cells
    }
}

fn cells(identities: &Identities) -> Vec<Cell> {
    // Where a request is cut makes no difference to the rules, so not all of them are asked.
    let at_every_byte = Axes {
        then: &[Then::Well],
        verbs: &[Verb::Put, Verb::Post],
        uploads: &[Upload::Full, Upload::Streamed],
        presets: &[Preset::Default],
    };
    let mut cells = Axes::ALL.cells(faults::faults(identities));
    cells.extend(at_every_byte.cells(faults::resets_at_every_byte()));
    cells.extend(at_every_byte.cells(faults::answers_cut_at_every_byte()));
    cells.extend(medleys(identities));
    cells
}

/// One fault after another, chosen at random and always the same.
///
/// Each on a connection of its own: which one a kept connection meets would be left to chance.
fn medleys(identities: &Identities) -> Vec<Cell> {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut faults = faults::faults(identities);
    // Below a handshake, the others are not what they are.
    faults.retain(|fault| !fault.is_tls);
    let faults: Vec<_> = faults.into_iter().map(Arc::new).collect();
    let mut medley = |protocol| {
        let possible = faults.iter().filter(|f| f.protocols.contains(&protocol));
        Cell {
            faults: rng.choose_multiple(possible.cloned(), 12),
            then: Then::Well,
            verb: rng.choice(Verb::ALL).expect("one"),
            upload: rng.choice(Upload::ALL).expect("one"),
            protocol,
            preset: rng.choice([Preset::Default, Preset::Urllib3]).expect("one"),
            keeps: false,
        }
    };
    (0..1000)
        .flat_map(|_| [Protocol::Http1, Protocol::Http2])
        .map(&mut medley)
        .collect()
}

/// Says something that is heard also when the test passes.
fn say(line: &str) {
    let line = format!("fault matrix: {line}\n");
    stdout()
        .write_all(line.as_bytes())
        .expect("somebody listens");
}

/// Runs a cell; what is wrong with it.
fn run(cell: &Cell, setting: &Setting) -> Vec<String> {
    let run = || clock::paused().block_on(cell.run(setting));
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| vec!["it panicked".to_owned()])
}

#[test]
fn every_request_ends_as_the_rules_say() {
    let file = TemporaryFile::new().expect("a file");
    let setting = Setting {
        identities: Identities::new(),
        file: file.path().to_owned(),
    };
    let cells = cells(&setting.identities);
    let matrix = Arc::new((cells, setting, AtomicUsize::new(0)));
    let (ended, ends) = mpsc::channel();
    for _ in 0..THREADS {
        let (matrix, ended) = (Arc::clone(&matrix), ended.clone());
        thread::spawn(move || {
            let (cells, setting, next) = &*matrix;
            while let Some((index, cell)) = cells.iter().enumerate().nth(next.fetch_add(1, Relaxed))
            {
                let findings = run(cell, setting);
                ended.send((index, findings)).expect("somebody counts");
            }
        });
    }
    drop(ended);

    let (cells, _, next) = &*matrix;
    let mut running: Vec<_> = cells.iter().map(Some).collect();
    let mut failed = 0;
    loop {
        match ends.recv_timeout(STUCK) {
            Ok((index, findings)) => {
                running[index] = None;
                if !findings.is_empty() {
                    failed += 1;
                    say(&format!("FAILED {}: {}", cells[index], findings.join("; ")));
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                running.truncate(next.load(Relaxed));
                let stuck: Vec<_> = running.iter().flatten().map(ToString::to_string).collect();
                panic!("stuck: {}", stuck.join("; "));
            }
        }
    }
    say(&format!("{} passed, {failed} failed", cells.len() - failed));
    assert!(cells.len() >= 600, "only {} cells", cells.len());
    assert_eq!(failed, 0, "cells failed");
}
