//! Gives the space in the data file that nothing uses back to the file system.

use std::fs;
use std::path::Path;

use redb::ReadableDatabase;

use super::fault::Fault;
use super::meta::{self, META};
use super::source::{Source, Time, check_is_file};
use super::{Options, StoreError};

/// The size of a data file before and after, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Before.
    pub before: u64,
    /// After.
    pub after: u64,
}

/// Compacts the data file of a stopped broker. A crash meanwhile loses nothing.
pub fn compact(path: &Path) -> Result<Compacted, StoreError> {
    let size = || {
        let of = check_is_file(path).and_then(|()| fs::metadata(path));
        of.map(|of| of.len()).map_err(|error| StoreError::from_io(path, &error))
    };
    let before = size()?;
    let mut redb = Source::file(path, Options::new(path).cache_bytes).open(Time::First)?;
    let work = || {
        meta::read(&redb.begin_read()?.open_table(META)?)?;
        while redb.compact().map_err(|error| Fault::Redb(Box::new(error.into())))? {}
        redb.close()?;
        Ok(())
    };
    work().map_err(|fault: Fault| fault.explain(path))?;
    Ok(Compacted { before, after: size()? })
}
