//! Doubts about a data file that is in use: what is read of it is proven to be wrong, or redb
//! panics over it, as it may where pages were altered. The store cannot go on then, nor can what
//! is in memory go on without it. So the storage thread leaves a note beside the file and ends,
//! the broker stops, and the next start reads all of the file, however large, and sets it aside
//! or not.
//!
//! Invariant: nothing is set aside for a doubt, only for what is proven then; the note goes when
//! the file was found whole, or was set aside.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::turn::{Load, MessageId, OwnerId, Record};

use super::fault::Fault;
use super::source::sync_directory;
use super::{Database, StoreError};

/// Bytes of a queue that are read at once.
const PART: u32 = 1024 * 1024;

/// Does something with a data file. A panic is an error.
pub(super) fn caught<T>(
    path: &Path,
    act: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<String>().map(String::as_str);
        let why = why.or_else(|| panic.downcast_ref::<&str>().copied());
        let why = format!("a panic: {}", why.unwrap_or("without a word"));
        Err(StoreError::Suspect { path: path.to_path_buf(), why })
    })
}

/// Notes that the data file at `data` may be corrupt, and why. That there is a note is what counts.
pub(super) fn note(data: &Path, why: &StoreError) {
    let write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(note_path(data))?;
        sync_directory(data)?;
        writeln!(file, "{why}")?;
        file.sync_all()
    };
    // Whoever reads the log has the same words.
    let _ = write();
}

/// Why the data file at `data` is to be read whole at the next start, if so.
pub fn suspicion(data: &Path) -> Option<String> {
    let text = fs::read(note_path(data)).ok()?;
    Some(String::from_utf8_lossy(&text).trim().to_owned())
}

/// Removes the note.
pub(super) fn clear(data: &Path) {
    // One that stays costs a start more time, no more.
    let _ = fs::remove_file(note_path(data));
}

fn note_path(data: &Path) -> PathBuf {
    data.with_extension("suspect")
}

/// Reads all that a start does not: each copy with its message, each dead letter. `records` is
/// what there must be.
pub(super) fn read_all(database: &mut Database, records: &[Record]) -> Result<(), StoreError> {
    let mut copies = BTreeMap::<OwnerId, u64>::new();
    for record in records {
        match record {
            Record::Queued(copy) => *copies.entry(copy.owner).or_default() += 1,
            Record::Backlog(backlog) => *copies.entry(backlog.owner).or_default() += backlog.count,
            Record::DeadIndex(letter) if database.dead_letter(letter.id)?.is_none() => {
                return Err(database.broken_row("dead"));
            }
            _ => {}
        }
    }
    for (owner, count) in copies {
        if read_queue(database, owner)? != count {
            return Err(database.broken_row("cold"));
        }
    }
    Ok(())
}

/// How many copies of a queue can be read.
fn read_queue(database: &mut Database, owner: OwnerId) -> Result<u64, StoreError> {
    let (first, last) = (MessageId(0), MessageId(u64::MAX));
    let (expired_by, after_lazy) = (None, true);
    let mut load =
        Load { owner, first, last, count: u32::MAX, bytes: PART, expired_by, after_lazy };
    let mut count = 0;
    loop {
        let loaded = database.load(load)?;
        count += loaded.copies.len() as u64;
        match loaded.copies.last().filter(|_| loaded.has_more) {
            Some(newest) => load.first = MessageId(newest.copy.message.0 + 1),
            None => return Ok(count),
        }
    }
}

impl Database {
    /// Lets it act. After a panic it does nothing more, and its file is not even closed, as that
    /// would write.
    pub(super) fn guarded<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let path = self.source.path().to_path_buf();
        let done = caught(&path, || act(self));
        if matches!(done, Err(StoreError::Suspect { .. })) {
            self.abandon();
        }
        done
    }

    fn broken_row(&self, table: &'static str) -> StoreError {
        Fault::Row(table).explain(self.source.path())
    }
}
