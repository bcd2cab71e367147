//! Tables for a terminal.

use std::fmt;

/// Rows of cells. A column is as wide as its widest cell, or as wide as it may be; what does not
/// fit goes on in the next line.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    columns: Vec<Column>,
}

/// How a column looks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column {
    /// To the left, at most so wide.
    Text(usize),
    /// To the right.
    Number,
}

impl Table {
    pub(super) fn new<const N: usize>(head: [(&str, Column); N]) -> Self {
        Self {
            rows: vec![head.iter().map(|(name, _)| (*name).to_owned()).collect()],
            columns: head.iter().map(|(_, column)| *column).collect(),
        }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<Vec<Vec<&str>>> = self.rows.iter().map(|row| self.wrapped(row)).collect();
        let mut widths = vec![0; self.columns.len()];
        for row in &rows {
            for (width, lines) in widths.iter_mut().zip(row) {
                let widest = lines.iter().map(|line| line.chars().count()).max();
                *width = (*width).max(widest.unwrap_or(0));
            }
        }
        for (at, row) in rows.iter().enumerate() {
            let height = row.iter().map(Vec::len).max().unwrap_or(0);
            for line in 0..height {
                let cells = row
                    .iter()
                    .map(|lines| lines.get(line).copied().unwrap_or(""));
                if at > 0 || line > 0 {
                    f.write_str("\n")?;
                }
                f.write_str(&self.line(cells, &widths))?;
            }
            if at == 0 {
                let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                write!(f, "\n  {}", rules.join("  "))?;
            }
        }
        Ok(())
    }
}

impl Table {
    /// The cells of a row, each in lines that fit.
    fn wrapped<'a>(&self, row: &'a [String]) -> Vec<Vec<&'a str>> {
        let cells = row.iter().zip(&self.columns);
        cells
            .map(|(cell, column)| match column {
                Column::Text(width) => wrap(cell, *width),
                Column::Number => vec![cell.as_str()],
            })
            .collect()
    }

    fn line<'a>(&self, cells: impl Iterator<Item = &'a str>, widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, width), column) in cells.zip(widths).zip(&self.columns) {
            line.push_str("  ");
            line.push_str(&match column {
                Column::Text(_) => format!("{cell:<width$}"),
                Column::Number => format!("{cell:>width$}"),
            });
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// Breaks `text` at spaces into lines of at most `width` characters. A longer word stays whole.
fn wrap(text: &str, width: usize) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while rest.chars().count() > width {
        // The end of the last word that fits, or else of the first one.
        let mut cut = None;
        for (count, (at, letter)) in rest.char_indices().enumerate() {
            if letter == ' ' {
                if count > width && cut.is_some() {
                    break;
                }
                cut = Some(at);
                if count > width {
                    break;
                }
            }
        }
        let Some(cut) = cut else { break };
        let (line, tail) = rest.split_at(cut);
        lines.push(line);
        rest = tail.trim_start();
    }
    lines.push(rest);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_cells_go_on_in_the_next_line() {
        let mut table = Table::new([("name", Column::Text(9)), ("n", Column::Number)]);
        table.row(["one two three".into(), "10".into()]);
        table.row(["incomprehensibilities no".into(), "2".into()]);
        let expected = [
            "  name                    n",
            "  ---------------------  --",
            "  one two                10",
            "  three",
            "  incomprehensibilities   2",
            "  no",
        ];
        assert_eq!(table.to_string(), expected.join("\n"));
    }

    #[test]
    fn a_line_is_as_long_as_it_may_be() {
        assert_eq!(wrap("aa bb cc", 8), ["aa bb cc"]);
        assert_eq!(wrap("aa bb cc", 7), ["aa bb", "cc"]);
        assert_eq!(wrap("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(wrap("aa bb cc", 4), ["aa", "bb", "cc"]);
        assert_eq!(wrap("–– ––", 2), ["––", "––"]);
        assert_eq!(wrap("", 2), [""]);
    }
}
