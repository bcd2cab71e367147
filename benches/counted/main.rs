//! What it costs a request that succeeds at once to be counted, or judged by a second policy that is
//! only asked, in instructions and allocations: against the layer without.
//!
//! ```text
//! cargo bench -p benches --features seen --bench counted
//! ```
//!
//! Each row has its limit, and the counts repeat exactly. Without valgrind there are no
//! instructions, and it says so.

#![allow(dead_code)]

mod cells;
#[path = "../cells/measure.rs"]
mod measure;
#[path = "../cells/work.rs"]
mod work;

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let cells = cells::all();
    if has(measure::UNDER_CALLGRIND) {
        measure::run_for_callgrind(&cells);
        return ExitCode::SUCCESS;
    }
    let instructions = measure::instructions(cells.len(), "");
    let mut within = true;
    println!("| a 200 at once | instructions | limit | allocations |");
    println!("| --- | ---: | ---: | ---: |");
    for (at, cell) in cells.iter().enumerate() {
        let [_, without, with] = measure::allocations(cell);
        let allocations = with - without;
        let counted = instructions.as_ref().map(|all| &all[at]);
        let added = counted.map(|counted| counted.without_heap[2] - counted.without_heap[1]);
        let shown = added.map_or("not counted".to_owned(), |added| format!("{added:.0}"));
        println!(
            "| {} | {shown} | {} | {allocations} |",
            cell.name, cell.limit
        );
        within &= allocations == 0.0 && added.is_none_or(|added| added <= cell.limit);
        if let (Some(counted), true) = (counted, has("--profile")) {
            for (function, cost) in counted.ours.iter().filter(|(_, cost)| *cost >= 3.0) {
                println!("{cost:8.0} {function}");
            }
        }
    }
    if within {
        ExitCode::SUCCESS
    } else {
        println!("over the limit");
        ExitCode::FAILURE
    }
}
