//! A report with colours, where the output is a terminal that wants them.

use std::{env, io::IsTerminal};

use tower_http_retry::RetryReport;

/// Colours text, or leaves it alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint(bool);

impl Paint {
    /// Colours only what goes to a terminal, and only if `NO_COLOR` is not set
    /// (<https://no-color.org>).
    pub(crate) fn for_output(output: &impl IsTerminal) -> Self {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(output.is_terminal() && !refused)
    }

    /// Whether it colours anything.
    pub(crate) fn is_on(self) -> bool {
        self.0
    }

    fn sgr(self, code: u8, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.sgr(1, text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.sgr(2, text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.sgr(31, text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.sgr(32, text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.sgr(33, text)
    }

    /// The report's timeline, each line indented. The words are the library's.
    pub(crate) fn timeline(self, report: &RetryReport, indent: &str) -> String {
        let text = report.to_string();
        let last = report.attempts.last().map(|last| last.number);
        let lines = text.lines().enumerate().map(|(at, line)| {
            let words = line.trim_start();
            let painted = if at == 0 {
                self.bold(line)
            } else if words.starts_with("not retried") || words.starts_with("gave up") {
                self.red(line)
            } else if let Some(number) = words.strip_prefix('#') {
                let number = number.split(' ').next().and_then(|n| n.parse().ok());
                if report.stop.is_success() && number == last {
                    self.green(line)
                } else {
                    self.yellow(line)
                }
            } else {
                self.dim(line)
            };
            format!("{indent}{painted}\n")
        });
        lines.collect()
    }
}
