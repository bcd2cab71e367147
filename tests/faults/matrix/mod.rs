//! What becomes of every kind of request under every kind of fault, on real sockets.
//!
//! Faults × methods × bodies × versions of HTTP × presets: each cell is a request through the
//! layer and a real client to a server that fails as it is told. What must come of it is derived
//! from the rules by [`rules`], a second opinion, and compared with what the caller got, what the
//! report says and what the server saw.
//!
//! The other layers of the family are in some of the stacks: each alone, and all together. What
//! they change is among the rules; where they have nothing to do, they must not be noticed.
//!
//! Nothing depends on speed: each cell has a runtime of its own whose clock moves only where
//! something waits for it.
#![cfg(all(
    feature = "hyper",
    feature = "h2",
    feature = "connection",
    feature = "endpoints",
    feature = "hedge",
    feature = "peek",
    feature = "redirect"
))]
#![allow(
    unreachable_pub,
    reason = "written as the modules of a crate of its own"
)]

pub(crate) mod cell;
mod checks;
pub(crate) mod faults;
pub(crate) mod layers;
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
use faults::{Arrives::Whole, Fault, Identities};
use layers::{Hedges, Layers};
use rules::Class;
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
    layers: &'static [Layers],
}

impl Axes {
    const ALL: Self = Self {
        then: &[Then::Well, Then::Again],
        verbs: &Verb::ALL,
        uploads: &Upload::ALL,
        presets: &[Preset::Default, Preset::Urllib3],
        layers: &[Layers::NONE],
    };

    fn cells(&self, faults: Vec<Fault>) -> Vec<Cell> {
        let mut cells = Vec::new();
        for fault in faults.into_iter().map(Arc::new) {
            for &protocol in fault.protocols {
                for &then in self.then {
                    for &verb in self.verbs {
                        for &upload in self.uploads {
                            for &preset in self.presets {
                                cells.extend(self.layers.iter().map(|&layers| Cell {
                                    faults: vec![Arc::clone(&fault)],
                                    then,
                                    verb,
                                    upload,
                                    protocol,
                                    preset,
                                    keeps: true,
                                    layers,
                                }));
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
        layers: &[Layers::NONE],
    };
    let mut cells = Axes::ALL.cells(faults::faults(identities));
    cells.extend(at_every_byte.cells(faults::resets_at_every_byte()));
    cells.extend(at_every_byte.cells(faults::answers_cut_at_every_byte()));
    cells.extend(medleys(identities, 1000, Layers::NONE));
    cells
}

/// The other layers in the stack.
fn with_layers(identities: &Identities) -> Vec<Cell> {
    let in_each_stack = Axes {
        verbs: &[Verb::Put, Verb::Post],
        uploads: &[Upload::Streamed],
        layers: &Layers::EACH,
        ..Axes::ALL
    };
    let followed = Axes {
        uploads: &[
            Upload::None,
            Upload::Full,
            Upload::Streamed,
            Upload::Trailers,
        ],
        layers: &[Layers::EACH[0], Layers::ALL],
        ..Axes::ALL
    };
    let hedged = Axes {
        layers: &[Layers {
            hedges: Hedges::Due,
            ..Layers::NONE
        }],
        ..Axes::ALL
    };
    let mut faults = faults::faults(identities);
    let stalls = |fault: &Fault| fault.name.starts_with("stalled") && fault.arrives == Whole;
    let stalled = faults.iter().filter(|fault| stalls(fault));
    let mut cells = hedged.cells(stalled.cloned().collect());
    // The last attempt that a limit allows is not recorded, and so has no hedge; the tests of hedges
    // have that.
    cells.retain(|cell| {
        let recorded = matches!(cell.upload, Upload::Streamed | Upload::Trailers);
        let to_the_last = cell.then == Then::Again && cell.preset == Preset::Urllib3;
        !(recorded && to_the_last)
    });
    // The certificates name one of the server's two names.
    let certified = faults.iter().filter(|fault| fault.is_tls);
    let mut certified = in_each_stack.cells(certified.cloned().collect());
    faults.retain(|fault| !fault.is_tls);
    certified.retain(|cell| !cell.layers.endpoints);
    cells.extend(certified);
    cells.extend(in_each_stack.cells(faults));
    cells.extend(followed.cells(faults::redirects()));
    cells.extend(medleys(identities, 250, Layers::ALL));
    cells
}

/// One fault after another, chosen at random and always the same.
///
/// Each on a connection of its own: which one a kept connection meets would be left to chance.
fn medleys(identities: &Identities, count: usize, layers: Layers) -> Vec<Cell> {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut faults = faults::faults(identities);
    // Below a handshake, the others are not what they are.
    faults.retain(|fault| !fault.is_tls);
    let mut faults: Vec<_> = faults.into_iter().map(Arc::new).collect();
    faults.extend(faults::redirects().into_iter().map(Arc::new));
    let mut medley = |protocol| {
        let possible = faults.iter().filter(|fault| {
            let redirects = matches!(fault.class, Class::Redirect { .. });
            fault.protocols.contains(&protocol) && (layers.redirects || !redirects)
        });
        Cell {
            faults: rng.choose_multiple(possible.cloned(), 12),
            then: Then::Well,
            verb: rng.choice(Verb::ALL).expect("one"),
            upload: rng
                .choice(Upload::ALL)
                .filter(|upload| {
                    // With a body that is opened anew, no redirect is followed here.
                    *upload != Upload::File || !layers.redirects
                })
                .unwrap_or(Upload::Full),
            protocol,
            preset: rng.choice([Preset::Default, Preset::Urllib3]).expect("one"),
            keeps: false,
            layers,
        }
    };
    (0..count)
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
    assert_all_end_as_the_rules_say(cells);
}

#[test]
fn every_request_ends_as_the_rules_say_with_the_other_layers() {
    assert_all_end_as_the_rules_say(with_layers);
}

fn assert_all_end_as_the_rules_say(cells: fn(&Identities) -> Vec<Cell>) {
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
