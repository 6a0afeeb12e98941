//! A consistent copy of the store while the broker goes on: made from one read transaction, on
//! whatever thread asks for it.
//!
//! Invariant: under its final name a copy is whole and on disk, and it never takes the name of
//! something else.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use redb::backends::FileBackend;
use redb::{
    Key, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
    TableError, TableHandle, WriteTransaction,
};

use super::fault::Fault;
use super::meta::{self, META};
use super::proof::proven_batch;
use super::source::{Time, sync_directory};
use super::{Database, StoreError, overlay};

/// How long the storage thread may take to give a snapshot.
const PATIENCE: Duration = Duration::from_secs(10);
/// redb's cache for the copy, in bytes.
const CACHE: usize = 16 * 1024 * 1024;
/// Rows between two words about the progress.
const STEP: u64 = 256;

/// The content of the store at one commit. While it lives, the data file does not reuse the space
/// of what was stored then.
pub struct Snapshot {
    pub(super) read: ReadTransaction,
    pub(super) path: PathBuf,
    /// The read transaction of a file that was opened for this alone.
    _file: Option<redb::Database>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("path", &self.path).finish_non_exhaustive()
    }
}

/// How far a copy is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Rows that were copied.
    pub rows: u64,
    /// Rows that there are.
    pub of: u64,
    /// Bytes of the rows that were copied.
    pub bytes: u64,
}

/// Why there is no copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupError {
    /// There is something under that name.
    Exists {
        /// The name.
        path: PathBuf,
    },
    /// It cannot be written.
    Target {
        /// The name.
        path: PathBuf,
        /// In the words of the operating system.
        why: String,
    },
    /// The store cannot be read.
    Source(StoreError),
    /// Whoever wanted it does not want it any more.
    Cancelled,
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists { path } => {
                write!(f, "{} is there already: name a file that is not", path.display())
            }
            Self::Target { path, why } => write!(f, "{}: cannot be written: {why}", path.display()),
            Self::Source(error) => error.fmt(f),
            Self::Cancelled => f.write_str("the backup was given up"),
        }
    }
}

impl std::error::Error for BackupError {}

impl Snapshot {
    /// Of a file that no broker has open. The file stays as it is.
    pub fn of_file(path: &Path) -> Result<Self, StoreError> {
        let source = overlay::source(path);
        let file = source.open(Time::First)?;
        let begin = || {
            let read = file.begin_read()?;
            let state = meta::read(&read.open_table(META)?)?;
            if proven_batch(path) > Some(state.0.batch) {
                return Err(Fault::WentBack);
            }
            Ok(read)
        };
        let read = begin().map_err(|fault| fault.explain(path))?;
        Ok(Self { read, path: path.to_owned(), _file: Some(file) })
    }

    /// Copies everything into a new data file at `target`, with mode 0600; [`super::open`] opens
    /// it. `progress` is told now and then, and may give up.
    pub fn copy_to(
        &self,
        target: &Path,
        progress: &mut dyn FnMut(Copied) -> ControlFlow<()>,
    ) -> Result<Copied, BackupError> {
        let exists = || BackupError::Exists { path: target.to_owned() };
        if fs::symlink_metadata(target).is_ok() {
            return Err(exists());
        }
        let part = Part::create(target).map_err(|error| unwritable(target, error))?;
        let copied = self.fill(&part, target, progress)?;
        part.publish(target).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => exists(),
            _ => unwritable(target, error),
        })?;
        Ok(copied)
    }

    fn fill(
        &self,
        part: &Part,
        target: &Path,
        progress: &mut dyn FnMut(Copied) -> ControlFlow<()>,
    ) -> Result<Copied, BackupError> {
        let to_target = |fault: Fault| unwritable(target, fault.explain(target));
        let file = part.file.try_clone().map_err(|error| unwritable(target, error))?;
        let redb = (|| {
            let mut builder = redb::Builder::new();
            builder.set_cache_size(CACHE);
            Ok(builder.create_with_backend(FileBackend::new(file)?)?)
        })()
        .map_err(to_target)?;
        let write = redb.begin_write().map_err(|error| to_target(error.into()))?;
        let names = self.names()?;
        let mut copy = Copy { snapshot: self, write: &write, target, progress, done: names.1 };
        copy.tell()?;
        for name in &names.0 {
            copy.table(name)?;
        }
        let done = copy.done;
        let end = || {
            write.commit()?;
            redb.close()?;
            Ok(())
        };
        end().map_err(to_target)?;
        Ok(done)
    }

    /// The tables, and how many rows they have together.
    fn names(&self) -> Result<(Vec<String>, Copied), BackupError> {
        let list = || {
            let mut names = Vec::new();
            let mut of = 0;
            for table in self.read.list_tables()? {
                names.push(table.name().to_owned());
                of += self.read.open_untyped_table(table)?.len()?;
            }
            Ok((names, Copied { rows: 0, of, bytes: 0 }))
        };
        list().map_err(|fault| self.unreadable(fault))
    }

    fn unreadable(&self, fault: Fault) -> BackupError {
        BackupError::Source(fault.explain(&self.path))
    }
}

/// A copy that is being made.
struct Copy<'a> {
    snapshot: &'a Snapshot,
    write: &'a WriteTransaction,
    target: &'a Path,
    progress: &'a mut dyn FnMut(Copied) -> ControlFlow<()>,
    done: Copied,
}

impl Copy<'_> {
    /// Copies a table whatever its rows mean: a key is of one of these kinds, a value is bytes.
    fn table(&mut self, name: &str) -> Result<(), BackupError> {
        let is_copied = self.rows::<u64>(name)?
            || self.rows::<&str>(name)?
            || self.rows::<&[u8]>(name)?
            || self.rows::<(u64, u8)>(name)?
            || self.rows::<(u64, u64)>(name)?
            || self.rows::<(u64, &str)>(name)?
            || self.rows::<(u64, &[u8])>(name)?
            || self.rows::<(u8, u64)>(name)?
            || self.rows::<(u64, u64, u64)>(name)?;
        if is_copied {
            return Ok(());
        }
        let why = format!("the table {name} is of an unknown kind");
        let path = self.snapshot.path.clone();
        Err(BackupError::Source(StoreError::Corrupt { path, why }))
    }

    /// Copies the rows of a table, if its keys are of this kind.
    fn rows<K: Key + 'static>(&mut self, name: &str) -> Result<bool, BackupError> {
        let definition = TableDefinition::<K, &[u8]>::new(name);
        let unreadable = |fault| self.snapshot.unreadable(fault);
        let target = self.target;
        let unwritable = |fault: Fault| unwritable(target, fault.explain(target));
        let table = match self.snapshot.read.open_table(definition) {
            Err(TableError::TableTypeMismatch { .. }) => return Ok(false),
            opened => opened.map_err(|error| unreadable(error.into()))?,
        };
        let into = self.write.open_table(definition);
        let mut into = into.map_err(|error| unwritable(error.into()))?;
        for row in table.iter().map_err(|error| unreadable(error.into()))? {
            let (key, value) = row.map_err(|error| unreadable(error.into()))?;
            let value = value.value();
            into.insert(key.value(), value).map_err(|error| unwritable(error.into()))?;
            self.done.rows += 1;
            self.done.bytes += value.len() as u64;
            if self.done.rows.is_multiple_of(STEP) {
                self.tell()?;
            }
        }
        Ok(true)
    }

    fn tell(&mut self) -> Result<(), BackupError> {
        match (self.progress)(self.done) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(BackupError::Cancelled),
        }
    }
}

fn unwritable(path: &Path, why: impl fmt::Display) -> BackupError {
    BackupError::Target { path: path.to_owned(), why: why.to_string() }
}

/// A file under a name of its own, removed unless it is published.
pub(super) struct Part {
    path: PathBuf,
    file: File,
}

impl Part {
    fn create(target: &Path) -> io::Result<Self> {
        let path = part_name(target);
        // Of a dead process with our number, if it is there.
        let _ = fs::remove_file(&path);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        Ok(Self { path, file })
    }

    fn publish(self, target: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        name_finally(&self.path, target)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It has another name by now, or is of no use.
        let _ = fs::remove_file(&self.path);
    }
}

/// A name beside `target` that nobody else uses, and that only a dead process can have left.
pub(super) fn part_name(target: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut name = target.as_os_str().to_owned();
    name.push(format!(".{}-{count}.part", std::process::id()));
    name.into()
}

/// Gives `part` the name `target`, durably, unless something has it.
pub(super) fn name_finally(part: &Path, target: &Path) -> io::Result<()> {
    match fs::hard_link(part, target) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            // A file system without links, as on most USB sticks.
            if fs::symlink_metadata(target).is_ok() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            fs::rename(part, target)?;
        }
        linked => {
            linked?;
            fs::remove_file(part)?;
        }
    }
    sync_directory(target)
}

/// Somebody who waits for a snapshot.
#[derive(Debug)]
pub(super) struct Ask(SyncSender<Result<Snapshot, StoreError>>);

/// Where the answer comes.
pub(super) struct Answer(Receiver<Result<Snapshot, StoreError>>);

/// A question to the storage thread.
pub(super) fn ask() -> (Ask, Answer) {
    let (ask, answer) = sync_channel(1);
    (Ask(ask), Answer(answer))
}

impl Ask {
    pub(super) fn answer(self, database: &Database) {
        let path = database.source.path().to_owned();
        let read = database.begin_read();
        // Who asked may have lost patience.
        let _ = self.0.send(read.map(|read| Snapshot { read, path, _file: None }));
    }
}

impl Answer {
    pub(super) fn wait(self, path: &Path) -> Result<Snapshot, StoreError> {
        self.0.recv_timeout(PATIENCE).unwrap_or_else(|_| Err(unanswered(path)))
    }
}

/// What is said when the storage thread says nothing.
pub(super) fn unanswered(path: &Path) -> StoreError {
    let why = "the broker is stopping, or its disk fails at the moment".to_owned();
    StoreError::Io { path: path.to_owned(), why }
}
