//! Counts what became of cases.

use std::{
    collections::BTreeMap,
    fmt::Display,
    io::{Write as _, stdout},
};

use crate::harness::Verdict;

/// What became of the cases so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: usize,
    out_of_scope: usize,
    /// By the reason.
    excused: BTreeMap<String, usize>,
    failed: Vec<String>,
}

impl Tally {
    /// Counts a case.
    pub(crate) fn count(&mut self, id: impl Display, verdict: Verdict) {
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Excused(rule) => self.excuse(rule.to_string()),
            Verdict::OutOfScope => self.out_of_scope += 1,
            Verdict::Failed(why) => self.failed.push(format!("{id}: {why}")),
        }
    }

    /// Counts a case that is excused for a reason of its own.
    pub(crate) fn excuse(&mut self, reason: String) {
        *self.excused.entry(reason).or_default() += 1;
    }

    /// Prints the counts.
    ///
    /// # Panics
    ///
    /// If a case failed, or none was in scope.
    pub(crate) fn finish(self, name: &str) {
        let Self {
            passed,
            out_of_scope,
            excused,
            failed,
        } = self;
        let all_excused = excused.values().sum::<usize>();
        let mut report = format!(
            "{name}: {passed} passed, {all_excused} excused, {} failed ({out_of_scope} out of scope)\n",
            failed.len(),
        );
        for (reason, count) in &excused {
            report += &format!("{name}:   {count} excused by {reason}\n");
        }
        for failure in &failed {
            report += &format!("{name}:   FAILED {failure}\n");
        }
        print(&report);
        assert!(failed.is_empty(), "{name}: {} failed", failed.len());
        assert!(
            out_of_scope == 0 || passed + all_excused > 0,
            "{name}: no case is in scope"
        );
    }
}

/// Not through `println!`: the counts are to be seen without `--nocapture`, too.
pub(crate) fn print(text: &str) {
    stdout().write_all(text.as_bytes()).unwrap();
}
