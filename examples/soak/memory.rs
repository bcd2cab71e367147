//! How much memory the process has.

use std::fs;

/// The resident memory in bytes; `None` where the system does not say it.
pub(crate) fn resident() -> Option<u64> {
    status("VmRSS:")
}

/// The most that was ever resident.
pub(crate) fn peak() -> Option<u64> {
    status("VmHWM:")
}

/// A line of Linux's account of this process.
fn status(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
