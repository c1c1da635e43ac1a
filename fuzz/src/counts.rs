//! How often each host function answered OK, for whoever started the run.

use std::ffi::OsString;
use std::fmt::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use chassis_abi::TABLE;

/// Where the counts go: a file with a line for each host function.
const VARIABLE: &str = "CHASSIS_FUZZ_COUNTS";
/// After how many inputs they go there.
const INPUTS: u64 = 1 << 10;

static COUNTS: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];
static RUNS: AtomicU64 = AtomicU64::new(0);

/// A function answered OK, or returned where it answers nothing.
pub(crate) fn count(row: usize) {
    COUNTS[row].fetch_add(1, Ordering::Relaxed);
}

/// An input has ended.
pub(crate) fn end() {
    static FILE: OnceLock<Option<OsString>> = OnceLock::new();
    let Some(file) = FILE.get_or_init(|| std::env::var_os(VARIABLE)) else { return };
    if RUNS.fetch_add(1, Ordering::Relaxed) % INPUTS == INPUTS - 1 {
        let mut text = String::new();
        for (row, count) in TABLE.iter().zip(&COUNTS) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{} {} {}", row.modules[0], row.name, count.load(Ordering::Relaxed));
        }
        // The next one is tried again.
        let _ = std::fs::write(file, text);
    }
}
