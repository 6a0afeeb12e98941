//! The data file: a redb file used as a log that commits in groups. redb is used only here.
//!
//! **The way of a record.** `Store::submit` encodes the records of a turn into the pending
//! `batch`: records of messages and copies (`record`) for the log, all else as rows
//! (`row`). A message that comes and goes before the batch is written leaves nothing in it
//! (`fleeting`). The storage thread (`writer`) takes the batch, and `Database` writes it in one
//! transaction with one fsync: chunks of records at the end of the `log`, rows into their
//! tables, the batch number into `meta`. `index` notes what lies where, with `bodies`; `collect`
//! moves what is still needed off the front of the log. What waits for long moves on to the tables
//! of `cold`, sorted by owner, so that the log, the memory and the start stay small however long
//! the queues. `load` reads copies back from both. At start the log is read once and `restore`
//! gives the core what is there.
//!
//! **Beside it.** `backup` copies the store from a read transaction, `overlay` looks at a stopped
//! broker's file without changing it, `fresh` makes a file from elsewhere, `compact` shrinks one.
//! `proof` notes which commit is on disk, so that one that is damaged later is not taken for one
//! that was never finished. `suspicion` notes that one which is in use turned out to be corrupt,
//! so that the next start reads all of it.
//!
//! **Invariants.** A turn's records are never split over two transactions. What is told as
//! committed is on disk. A commit that fails is repeated, after the file was opened again and its
//! batch number read, so its records are neither lost nor doubled. Bodies lie on disk only.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::time::Timestamp;
use crate::turn::{Letters, Loaded, Record, RecordNumber, StoreState};

mod backup;
mod batch;
mod blank;
mod bodies;
mod browse;
mod cold;
mod collect;
mod compact;
mod database;
mod encoding;
mod entry;
mod error;
mod fault;
mod fleeting;
mod fresh;
mod index;
mod load;
mod log;
mod log_writer;
mod measured;
mod meta;
mod overlay;
mod proof;
mod record;
mod restore;
mod row;
mod rows;
mod segments;
mod shelf;
mod source;
mod space;
mod suspicion;
mod task;
mod whole;
mod writer;

pub use error::StoreError;

#[doc(hidden)]
pub use {
    backup::{BackupError, Copied, Snapshot},
    blank::is_blank,
    cold::ColdCounts,
    compact::{Compacted, compact},
    database::Database,
    fresh::Fresh,
    overlay::inspect,
    proof::proven_batch,
    source::set_aside_files,
    suspicion::suspicion,
    writer::Store,
};

use source::Source;

/// Where and how the store works.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data file; made when it is not there, with its directory.
    pub path: PathBuf,
    /// What happens when the file is proven to be corrupt.
    pub on_broken: OnBroken,
    /// At least this long between the starts of two commits; an idle store commits at once.
    pub commit_interval: Duration,
    /// How long lazy records may wait for a commit that something else starts.
    pub lazy_interval: Duration,
    /// Pending bytes above which new packets have to wait. With a reserve, what may be pending is
    /// also bounded by what that gives back.
    pub queue_bytes: usize,
    /// redb's cache, in bytes.
    pub cache_bytes: usize,
    /// redb's commit in two phases, with two fsyncs: for messages that are written to attack the
    /// checksum of an interrupted commit.
    pub two_phase_commit: bool,
    /// Bytes in use above which no new message is taken; `None` is what the disk has.
    pub max_bytes: Option<u64>,
    /// Bytes of a file beside the data file that make way when the disk is full; 0 is none.
    pub reserve_bytes: u64,
    /// A file above this is not read whole at start, only what a start needs of it.
    #[doc(hidden)] // For tests, which have no large files.
    pub checked_bytes: u64,
}

/// A start reads so much in about a second.
const CHECKED: u64 = 512 * 1024 * 1024;

impl Options {
    /// The defaults, for the data file of the directory `data`.
    pub fn in_directory(data: &Path) -> Self {
        Self::new(data.join("kedgemq.redb"))
    }

    /// The defaults, for the file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            on_broken: OnBroken::SetAside,
            commit_interval: Duration::from_millis(1),
            lazy_interval: Duration::from_secs(2),
            queue_bytes: 16 * 1024 * 1024,
            cache_bytes: 16 * 1024 * 1024,
            two_phase_commit: false,
            max_bytes: None,
            reserve_bytes: 0,
            checked_bytes: CHECKED,
        }
    }
}

/// What happens when the data file is proven to be corrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBroken {
    /// It is renamed to `….broken-<date and time, UTC>`, and a new one is started.
    SetAside,
    /// The start fails, and the file is left as it is.
    Stop,
}

/// What the file held.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Restored {
    /// Marks, sessions with their ends, groups with their ends, subscriptions, copies in flight or
    /// counted as failed (by owner and message), all other copies as one backlog an owner,
    /// received Packet Identifiers, retained messages, dead letters. No bodies.
    pub records: Vec<Record>,
    /// When the last commit was; `None` in a new file.
    pub checkpoint: Option<Checkpoint>,
    /// The new name of a corrupt file that was set aside.
    pub set_aside: Option<PathBuf>,
    /// Why it was.
    pub broken: Option<StoreError>,
    /// Why all of the file was read: a doubt while it was last in use.
    pub suspicion: Option<String>,
}

/// A point of the broker's time line, and what the clock on the wall showed.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// On the time line.
    pub at: Timestamp,
    /// Milliseconds since 1970, UTC.
    pub unix_ms: u64,
}

/// Who is told what the store did. Called on the storage thread, which holds no lock meanwhile.
#[doc(hidden)]
pub trait Witness: Send + Sync {
    /// All records up to this one are on disk.
    fn committed(&self, up_to: RecordNumber);
    /// The answer to a load: what is still there, in order.
    fn loaded(&self, loaded: Loaded);
    /// The answer to a load of dead letters.
    fn letters(&self, letters: Letters);
    /// It began to fail or is full, and why; or it takes everything again.
    fn state(&self, state: StoreState, why: &str);
    /// [`Store::is_full`] is over.
    fn room(&self);
    /// The data file is corrupt, or may be: the storage thread has ended, so nothing more is
    /// committed, and the next [`open`] reads all of the file.
    fn broken(&self, error: &StoreError);
}

/// Opens the data file, makes it when it is not there, and gives what it holds.
#[doc(hidden)]
pub fn open(options: Options) -> Result<(Database, Restored), StoreError> {
    let path = options.path.clone();
    let suspicion = suspicion(&path);
    let mut opened = open_file(&options, suspicion.is_some());
    if matches!(opened, Err(StoreError::Suspect { .. })) {
        // A plain open may panic over altered pages; one that checks every page says so.
        opened = open_file(&options, true);
    }
    let (database, mut restored) = match opened {
        Err(broken @ StoreError::Corrupt { .. }) if options.on_broken == OnBroken::SetAside => {
            let set_aside = Source::file(&path, options.cache_bytes).set_aside()?;
            let (database, mut restored) = restored(open_file(&options, false)?);
            restored.set_aside = Some(set_aside);
            restored.broken = Some(broken);
            (database, restored)
        }
        opened => restored(opened?),
    };
    suspicion::clear(&path);
    restored.suspicion = suspicion;
    Ok((database, restored))
}

/// Opens it as it is, after room was made if that is missing. Reads all of it if it is to be
/// `checked` whatever its size.
fn open_file(options: &Options, checked: bool) -> Result<(Database, Vec<Record>), StoreError> {
    let open = || {
        let mut source = Source::file(&options.path, options.cache_bytes);
        if !checked {
            source = source.check_up_to(options.checked_bytes);
        }
        let (mut database, records) = Database::open(source, options.clone())?;
        if checked {
            suspicion::read_all(&mut database, &records)?;
        }
        Ok((database, records))
    };
    match suspicion::caught(&options.path, open) {
        Err(StoreError::NoSpace { .. }) if space::remove_reserve(&options.path) => {
            suspicion::caught(&options.path, open)
        }
        opened => opened,
    }
}

/// Opens what `factory` gives, at start and after each error; it must be the same storage each
/// time. Nothing is set aside: `options.path` is but a name in errors. Nor is the newest commit
/// noted apart, as for a file: that is written past redb, through a second handle, and what a
/// factory gives has none.
#[doc(hidden)]
pub fn open_backend<B, F>(factory: F, options: Options) -> Result<(Database, Restored), StoreError>
where
    B: redb::StorageBackend,
    F: Fn() -> std::io::Result<B> + Send + 'static,
{
    let source = Source::backend(&options.path, options.cache_bytes, factory);
    let source = source.check_up_to(options.checked_bytes);
    Database::open(source, options).map(restored)
}

fn restored((database, records): (Database, Vec<Record>)) -> (Database, Restored) {
    let checkpoint = database.checkpoint();
    let (set_aside, broken, suspicion) = (None, None, None);
    (database, Restored { records, checkpoint, set_aside, broken, suspicion })
}

impl Database {
    /// Hands the file to a storage thread of its own.
    pub fn start(self, witness: Arc<dyn Witness>) -> Store {
        Store::start(self, witness)
    }
}
