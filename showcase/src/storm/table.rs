//! The results as text.

use std::{fmt, time::Duration};

use crate::storm::simulation::{Contender, Measured};

/// Columns of text, the first one flush left and the others flush right.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A row for each run.
    pub fn of_policies(runs: &[(Contender, Measured)]) -> Self {
        let mut table = Self::with_head(&[
            "policy",
            "sent per request",
            "peak load",
            "peak queue",
            "recovered after",
            "served during",
            "served after",
            "work in vain",
        ]);
        for (contender, run) in runs {
            table.rows.push(vec![
                contender.name(),
                times(run.amplification()),
                percent(run.peak_load()),
                queue(run),
                recovery(run),
                percent(run.served_during()),
                percent(run.served_after()),
                percent(run.wasted()),
            ]);
        }
        table
    }

    /// A row for each number of clients, and three columns for each contender.
    pub fn of_clients(runs: &[Vec<(Contender, Measured)>]) -> Self {
        let mut head: Vec<String> = ["clients", "processes", "simulated", "each"]
            .map(String::from)
            .into();
        for (contender, _) in runs.first().into_iter().flatten() {
            head.push(contender.name());
            head.push("recovered after".into());
        }
        let rows = runs.iter().map(|runs| {
            let mut row = Vec::new();
            if let Some((_, run)) = runs.first() {
                let scenario = run.scenario();
                row.extend([
                    grouped(scenario.clients),
                    grouped(scenario.processes),
                    grouped(scenario.simulated()),
                    format!("{}/s", scenario.rate_per_process()),
                ]);
            }
            for (_, run) in runs {
                row.extend([times(run.amplification()), recovery(run)]);
            }
            row
        });
        Self {
            rows: std::iter::once(head).chain(rows).collect(),
        }
    }

    fn with_head(head: &[&str]) -> Self {
        Self {
            rows: vec![head.iter().copied().map(String::from).collect()],
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (i, row) in self.rows.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                match column {
                    0 => write!(f, "  {cell:width$}")?,
                    _ => write!(f, "  {cell:>width$}")?,
                }
            }
            writeln!(f)?;
            if i == 0 {
                let line = widths.iter().map(|width| width + 2).sum::<usize>() - 2;
                writeln!(f, "  {:-<line$}", "")?;
            }
        }
        Ok(())
    }
}

/// How long it took until the service was back, or that it was not.
pub fn recovery(run: &Measured) -> String {
    match run.recovery() {
        Some(Duration::ZERO) => "at once".into(),
        Some(time) => format!("{:.1} s", time.as_secs_f64()),
        None => "stays down".into(),
    }
}

fn times(factor: f64) -> String {
    format!("{factor:.2}")
}

fn percent(part: f64) -> String {
    format!("{:.0} %", 100.0 * part)
}

/// In requests, and in the time that they take the healthy service.
fn queue(run: &Measured) -> String {
    let queued = run.peak_queue();
    let seconds = queued / run.scenario().capacity;
    format!("{} = {seconds:.1} s", grouped(queued as u64))
}

/// With a space between each three digits.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.char_indices() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
