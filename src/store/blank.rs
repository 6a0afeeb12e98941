//! Data files that hold nothing, and do not say why.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// redb writes these bytes last when it makes a file, so they say that it was made.
const MAGIC: usize = 9;

/// Whether there is a data file that was never finished, or that was truncated or zeroed since:
/// nothing in it tells which. [`super::open`] takes it for a new one.
pub fn is_blank(path: &Path) -> bool {
    let starts_with_zeros = || {
        let mut start = Vec::new();
        File::open(path)?.take(MAGIC as u64).read_to_end(&mut start)?;
        Ok::<_, std::io::Error>(start.iter().all(|byte| *byte == 0))
    };
    fs::metadata(path).is_ok_and(|found| found.is_file()) && starts_with_zeros().unwrap_or(false)
}
