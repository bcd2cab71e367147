//! What the layer costs on work of every kind, beside `tower::retry`.
//!
//! ```text
//! cargo bench --bench cells              # measures and compares with the limits
//! cargo bench --bench cells -- --counts  # only what repeats exactly
//! cargo bench --bench cells -- --save    # writes RESULTS.md's table and `limits.txt` anew
//! cargo bench --bench cells -- --counts --save  # only `limits.txt`
//! cargo bench --bench cells -- --profile '404: bare'  # in which functions, of cells of that name
//! ```
//!
//! Each cell of [`cells`] is one kind of work for three candidates: the service alone, `tower::retry`
//! with `TpsBudget` and `ExponentialBackoff` around it, this crate's layer around it. What counts is
//! what a layer adds to the service alone; of requests and responses none is made while it is
//! measured.
//!
//! - Instructions: this program runs itself under `valgrind --tool=callgrind`, which counts only
//!   within [`measured`]. Without valgrind there are none, and it says so.
//! - Allocations: of a request once everything that is recycled is there.
//! - Time: medians of rounds in which the candidates of a cell take turns.
//!
//! `limits.txt` has what was reached. A cell above it fails; instructions have some percent of
//! room, since another compiler counts a little differently. Those of the C library's allocator are
//! in the table, but not in the limits: they depend on the shape of the heap, and so on the path of
//! the program and the size of the environment, by up to 8 %. `cargo test` counts the allocations.

mod cells;
mod measure;
mod peers;
mod table;
mod work;

use std::{env, process::ExitCode};

use table::Row;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let after = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        Some(arguments.get(at + 1).map_or("", String::as_str))
    };
    let mut cells = cells::all();
    if let Some(only) = after(measure::UNDER_CALLGRIND).or(after("--profile")) {
        cells.retain(|cell| cell.name.contains(only));
    }
    if has(measure::UNDER_CALLGRIND) {
        measure::run_for_callgrind(&cells);
        return ExitCode::SUCCESS;
    }
    if let Some(only) = after("--profile") {
        let instructions = measure::instructions(cells.len(), only);
        for (cell, instructions) in cells.iter().zip(instructions.iter().flatten()) {
            println!("{}", table::profile(&cell.name, instructions));
        }
        return ExitCode::SUCCESS;
    }
    let allocations: Vec<_> = cells.iter().map(measure::allocations).collect();
    // `cargo test` runs this, too; instructions and time mean nothing without optimizations.
    let bench = has("--bench");
    let mut instructions = if bench {
        measure::instructions(cells.len(), "").map(Vec::into_iter)
    } else {
        None
    };
    let mut rows: Vec<Row> = (0..cells.len())
        .map(|at| Row {
            cell: cells[at].name.clone(),
            instructions: instructions.as_mut().and_then(Iterator::next),
            allocations: allocations[at],
            time: (bench && !has("--counts")).then(|| measure::time(&cells[at])),
        })
        .collect();
    rows.sort_by(|a, b| b.badness().total_cmp(&a.badness()));
    if bench {
        println!("{}", table::text(&rows));
    }
    if has("--save") {
        table::save(&rows);
        return ExitCode::SUCCESS;
    }
    let over = table::over_the_limits(&rows);
    for line in &over {
        println!("{line}");
    }
    if over.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
