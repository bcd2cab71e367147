//! The table of all cells, and the limits.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf};

use crate::measure::{Instructions, Measures};

pub(crate) struct Row {
    pub(crate) cell: String,
    pub(crate) instructions: Option<Instructions>,
    pub(crate) allocations: Measures,
    pub(crate) time: Option<Measures>,
}

/// What the layers add to the service alone: the peer's, ours.
fn added([bare, peer, ours]: Measures) -> (f64, f64) {
    (peer - bare, ours - bare)
}

fn ratio(measures: Measures) -> f64 {
    let (peer, ours) = added(measures);
    ours / peer
}

impl Row {
    /// What rows are sorted by.
    pub(crate) fn badness(&self) -> f64 {
        let instructions = self.instructions.as_ref().map(|counted| counted.all);
        instructions.or(self.time).map_or(0.0, ratio)
    }
}

pub(crate) fn text(rows: &[Row]) -> String {
    let mut text = String::from(
        "| cell | added instructions: peer | ours | ratio | allocations: peer | ours | time: ratio |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for row in rows {
        let (peer_allocations, allocations) = added(row.allocations);
        let instructions = row.instructions.as_ref().map_or_else(
            || "| | |".to_owned(),
            |counted| {
                let (peer, ours) = added(counted.all);
                format!("{peer:.0} | {ours:.0} | {:.2} |", ours / peer)
            },
        );
        let time = row
            .time
            .map_or_else(String::new, |time| format!("{:.2}", ratio(time)));
        let _ = writeln!(
            text,
            "| {} | {instructions} {peer_allocations} | {allocations} | {time} |",
            row.cell
        );
    }
    text
}

/// In which functions the instructions of a request are, those of the service included.
pub(crate) fn profile(cell: &str, counted: &Instructions) -> String {
    let [bare, peer, ours] = counted.all;
    let [bare_heap, peer_heap, ours_heap] =
        [0, 1, 2].map(|at| counted.all[at] - counted.without_heap[at]);
    let mut text = format!(
        "{cell}: the service {bare:.0}, the peer {peer:.0}, ours {ours:.0}; of these in the \
         allocator {bare_heap:.0}, {peer_heap:.0}, {ours_heap:.0}\n"
    );
    for (function, cost) in &counted.ours {
        // What is below is of no interest, and long.
        if *cost >= 15.0 {
            let _ = writeln!(text, "{cost:8.0} {function}");
        }
    }
    text
}

// ===== limits =====

const LIMITS: &str = include_str!("limits.txt");

/// So much more than was reached is let through, as a part of it. What is counted is the same from
/// one folder to another, and with any environment; another compiler counts a little differently.
const ROOM: f64 = 0.10;

struct Limit {
    ratio: f64,
    allocations: f64,
}

/// A line is a ratio of added instructions outside of the allocator, a number of added allocations,
/// and the cell's name.
fn limits() -> BTreeMap<&'static str, Limit> {
    LIMITS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let mut parts = line.splitn(3, ' ');
            let mut next = || parts.next().unwrap_or_else(|| panic!("limits.txt: {line}"));
            let number = |text: &str| {
                text.parse()
                    .unwrap_or_else(|_| panic!("limits.txt: {line}"))
            };
            let limit = Limit {
                ratio: number(next()),
                allocations: number(next()),
            };
            (next(), limit)
        })
        .collect()
}

/// What is above its limit, or has none.
pub(crate) fn over_the_limits(rows: &[Row]) -> Vec<String> {
    let mut limits = limits();
    let mut over = Vec::new();
    for row in rows {
        let Some(limit) = limits.remove(&*row.cell) else {
            over.push(format!("`{}` has no limit: run with --save", row.cell));
            continue;
        };
        let (_, allocations) = added(row.allocations);
        if allocations > limit.allocations {
            let limit = limit.allocations;
            over.push(format!(
                "`{}`: {allocations} allocations, limit {limit}",
                row.cell
            ));
        }
        let instructions = row.instructions.as_ref();
        let ratio = instructions.map_or(0.0, |counted| ratio(counted.without_heap));
        if ratio > limit.ratio * (1.0 + ROOM) {
            let limit = limit.ratio;
            over.push(format!(
                "`{}`: {ratio:.3} of the peer's added instructions outside of the allocator, limit {limit}",
                row.cell
            ));
        }
    }
    over.extend(
        limits
            .keys()
            .map(|cell| format!("`{cell}` has a limit and is gone")),
    );
    over
}

// ===== saving =====

const BEGIN: &str = "<!-- begin: cells -->\n";
const END: &str = "<!-- end: cells -->";

/// Writes the table into RESULTS.md, if it is whole, and the limits into `limits.txt`.
pub(crate) fn save(rows: &[Row]) {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    if rows.iter().all(|row| row.time.is_some()) {
        let results = here.join("RESULTS.md");
        let old = fs::read_to_string(&results).expect("RESULTS.md");
        let (before, rest) = old.split_once(BEGIN).expect("where the table begins");
        let (_, after) = rest.split_once(END).expect("where the table ends");
        let new = format!("{before}{BEGIN}\n{}\n{END}{after}", text(rows));
        fs::write(&results, new).expect("RESULTS.md");
    }

    let mut limits: Vec<String> = rows
        .iter()
        .map(|row| {
            let instructions = row.instructions.as_ref();
            let ratio = instructions.map_or(f64::NAN, |counted| ratio(counted.without_heap));
            let (_, allocations) = added(row.allocations);
            format!("{ratio:.3} {allocations} {}\n", row.cell)
        })
        .collect();
    limits.sort_by(|a, b| a.splitn(3, ' ').nth(2).cmp(&b.splitn(3, ' ').nth(2)));
    let head = "# Added instructions outside of the allocator as a part of the peer's, added \
                allocations, the cell. Written by --save.\n";
    fs::write(
        here.join("cells/limits.txt"),
        head.to_owned() + &limits.concat(),
    )
    .expect("limits.txt");
}
