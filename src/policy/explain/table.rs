//! Tables for a terminal.

use std::fmt;

/// Rows of cells; the columns are as wide as their widest cell.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    /// Which columns are aligned to the right.
    right: &'static [usize],
}

impl Table {
    pub(super) fn new<const N: usize>(head: [&str; N], right: &'static [usize]) -> Self {
        Self {
            rows: vec![head.map(str::to_owned).to_vec()],
            right,
        }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (at, row) in self.rows.iter().enumerate() {
            let mut line = String::from(" ");
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                line.push(' ');
                if self.right.contains(&column) {
                    line.push_str(&format!("{cell:>width$} "));
                } else {
                    line.push_str(&format!("{cell:<width$} "));
                }
            }
            write!(f, "{}{}", if at == 0 { "" } else { "\n" }, line.trim_end())?;
            if at == 0 {
                let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                write!(f, "\n  {}", rules.join("  "))?;
            }
        }
        Ok(())
    }
}
