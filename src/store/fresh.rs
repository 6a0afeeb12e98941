//! A data file that is filled from elsewhere.
//!
//! Invariant: it has its name only when it is whole; until then, or for ever when that is never,
//! it is not there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::turn::Record;

use super::backup::{name_finally, part_name};
use super::{BackupError, Checkpoint, Database, OnBroken, Options, open};

/// A data file without its name.
#[derive(Debug)]
pub struct Fresh {
    database: Option<Database>,
    part: PathBuf,
    target: PathBuf,
}

impl Fresh {
    /// An empty one, to become `target`.
    pub fn create(target: &Path) -> Result<Self, BackupError> {
        if fs::symlink_metadata(target).is_ok() {
            return Err(BackupError::Exists { path: target.to_owned() });
        }
        let part = part_name(target);
        // Of a dead process with our number, if it is there.
        let _ = fs::remove_file(&part);
        let mut options = Options::new(&part);
        options.on_broken = OnBroken::Stop;
        let (database, _) = open(options).map_err(BackupError::Source)?;
        Ok(Self { database: Some(database), part, target: target.to_owned() })
    }

    /// See [`Database::commit`].
    pub fn commit(&mut self, records: &[Record], at: Checkpoint) -> Result<(), BackupError> {
        let database = self.database.as_mut().expect("it is closed at the end only");
        database.commit(records, at).map_err(BackupError::Source)
    }

    /// Closes it and gives it its name, if nothing has that meanwhile.
    pub fn finish(mut self) -> Result<(), BackupError> {
        let database = self.database.take().expect("it is closed here only");
        database.close().map_err(BackupError::Source)?;
        name_finally(&self.part, &self.target).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => BackupError::Exists { path: self.target.clone() },
            _ => BackupError::Target { path: self.target.clone(), why: error.to_string() },
        })
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        self.database = None;
        // It has its name by now, or is of no use.
        let _ = fs::remove_file(&self.part);
    }
}
