//! How much memory the process has.

use std::{fmt, fs};

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// What the process has at one moment, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// What is allocated and not freed: exact.
    pub(crate) allocated: u64,
    /// The most that was allocated since [`begin`].
    pub(crate) peak: u64,
    /// What is resident, where the system says it. The allocator keeps what it once needed, so
    /// that this depends on the worst moment so far.
    pub(crate) resident: Option<u64>,
}

impl Memory {
    pub(crate) fn now() -> Self {
        Self {
            allocated: ALLOCATOR.current_usage() as u64,
            peak: ALLOCATOR.peak_usage() as u64,
            resident: resident(),
        }
    }
}

/// Begins to look for the most that is allocated.
pub(crate) fn begin() {
    ALLOCATOR.reset_peak_usage();
}

/// Linux's account of this process.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// A number of bytes, for people.
pub(crate) struct Bytes(pub(crate) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = self.0 as f64 / 1024.0 / 1024.0;
        f.pad(&format!("{mebibytes:.2} MiB"))
    }
}
