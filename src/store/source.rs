//! Where the data file comes from: opened at start, and again after an error, since redb takes
//! nothing more from a file that once failed.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend, StorageError};

use super::StoreError;
use super::measured::Measured;
use super::proof::Proof;

/// In the name of a file that was set aside, before the date.
const ASIDE: &str = ".broken-";

/// The last argument: a file above it is not checked.
type Open = Box<dyn Fn(redb::Builder, Time, u64) -> Result<redb::Database, DatabaseError> + Send>;

/// Nor after a crash above this. That has a price: a small commit takes many times as long, as it
/// writes redb's map of free pages and syncs twice. Below, a start after a crash reads all of the
/// file: of 1.6 GB with 0.8 GB in use it took 2.5 s, from memory and on a busy machine, where one
/// after a stop took 0.6 s. A million small messages are a third of that at most.
const REPAIRED: u64 = 2 * 1024 * 1024 * 1024;

/// Why it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    /// At start: every page is checked, as the file may have been altered while it was closed; a
    /// new one is made when it is not there. Of a large file only what is read is checked, each
    /// row by its own checksum.
    First,
    /// After an error. It must be there: a new one, where the disk was unmounted, has nothing of
    /// what was acknowledged.
    Again,
}

/// Opens the data file as often as it is needed.
pub(super) struct Source {
    path: PathBuf,
    cache_bytes: usize,
    open: Open,
    /// A file above this is not read whole at start, but after a crash.
    checked_bytes: u64,
    len: Arc<AtomicU64>,
    proof: Proof,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("path", &self.path).finish()
    }
}

impl Source {
    /// A file. It and its directory are made when they are not there.
    pub(super) fn file(path: &Path, cache_bytes: usize) -> Self {
        let name = path.to_path_buf();
        let proof = Proof::default();
        let of_file = proof.clone();
        let mut source = Self::new(path, cache_bytes, move |time| {
            let file = open_file(&name, time)?;
            of_file.set_file(&file)?;
            FileBackend::new(file).map_err(as_io)
        });
        source.proof = proof;
        source
    }

    /// Whatever `factory` gives; `path` is its name in errors.
    pub(super) fn backend<B, F>(path: &Path, cache_bytes: usize, factory: F) -> Self
    where
        B: StorageBackend,
        F: Fn() -> io::Result<B> + Send + 'static,
    {
        Self::new(path, cache_bytes, move |_| factory())
    }

    fn new<B, F>(path: &Path, cache_bytes: usize, factory: F) -> Self
    where
        B: StorageBackend,
        F: Fn(Time) -> io::Result<B> + Send + 'static,
    {
        let len = Arc::new(AtomicU64::new(0));
        let known = len.clone();
        let open = move |mut builder: redb::Builder, time: Time, checked_bytes: u64| {
            let backend = factory(time).map_err(StorageError::Io)?;
            clear_unfinished(&backend)?;
            let backend = Measured::new(backend, known.clone()).map_err(StorageError::Io)?;
            let is_checked = known.load(Ordering::Relaxed) <= checked_bytes;
            builder.set_check_integrity_on_open(time == Time::First && is_checked);
            builder.create_with_backend(backend)
        };
        let open = Box::new(open);
        let (path, proof) = (path.to_path_buf(), Proof::default());
        Self { path, cache_bytes, open, checked_bytes: u64::MAX, len, proof }
    }

    /// Of a file above so many bytes a start checks only what it reads.
    pub(super) fn check_up_to(mut self, bytes: u64) -> Self {
        self.checked_bytes = bytes;
        self
    }

    /// Whether the file is so large that a repair by reading all of it would take seconds.
    pub(super) fn is_large(&self) -> bool {
        self.len.load(Ordering::Relaxed) > REPAIRED
    }

    /// Its name in errors.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The proof of its newest commit, where it is a file.
    pub(super) fn proof(&self) -> &Proof {
        &self.proof
    }

    /// Opens it.
    pub(super) fn open(&self, time: Time) -> Result<redb::Database, StoreError> {
        let mut builder = redb::Builder::new();
        builder.set_cache_size(self.cache_bytes);
        let opened = (self.open)(builder, time, self.checked_bytes);
        opened.map_err(|error| StoreError::from_redb(&self.path, error))
    }

    /// Renames the file, so that a new one can be made. Gives its new name.
    pub(super) fn set_aside(&self) -> Result<PathBuf, StoreError> {
        let mut time = SystemTime::now();
        loop {
            let mut name = self.path.clone().into_os_string();
            name.push(format!("{ASIDE}{}", dated(time)));
            let name = PathBuf::from(name);
            if !name.exists() {
                fs::rename(&self.path, &name)
                    .and_then(|()| sync_directory(&self.path))
                    .map_err(|error| StoreError::from_io(&self.path, &error))?;
                return Ok(name);
            }
            time += Duration::from_secs(1);
        }
    }
}

/// The corrupt files that were set aside of the data file at `path`, the oldest first.
pub fn set_aside_files(path: &Path) -> Vec<PathBuf> {
    let mut start = path.file_name().unwrap_or_default().to_owned();
    start.push(ASIDE);
    let is_aside = |name: &Path| {
        let name = name.file_name().unwrap_or_default();
        name.as_encoded_bytes().starts_with(start.as_encoded_bytes())
    };
    // A directory that cannot be read has none that can be told of.
    let entries = fs::read_dir(directory_of(path)).into_iter().flatten();
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|name| is_aside(name)).collect();
    files.sort();
    files
}

/// Date and time, UTC, as a part of a name: `20261124T135501Z`.
fn dated(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string().replace(['-', ':'], "")
}

/// As a backend's factory says it.
pub(super) fn as_io(error: DatabaseError) -> io::Error {
    match error {
        DatabaseError::Storage(StorageError::Io(error)) => error,
        error => io::Error::other(error.to_string()),
    }
}

/// Something else under its name is as little a store as a file of other bytes.
pub(super) fn check_is_file(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.is_dir() {
        let why = "it is a directory, not a file";
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(())
}

/// Only its owner may read what people send each other.
fn open_file(path: &Path, time: Time) -> io::Result<File> {
    let is_first = time == Time::First;
    if let (true, Some(directory)) = (is_first, path.parent()) {
        let is_new = !directory.as_os_str().is_empty() && !directory.exists();
        fs::create_dir_all(directory)?;
        if is_new {
            sync_directory(directory)?;
        }
    }
    let is_new = !path.exists();
    if !is_new {
        check_is_file(path)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(is_first).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    if is_new {
        sync_directory(path)?;
    }
    Ok(file)
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

/// Makes the name of a file durable: an acknowledged message in a file without a name is lost.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(directory_of(path))?.sync_all()?;
    Ok(())
}

/// Empties a file whose making was cut short. redb writes its magic number last, when all before
/// it is on disk; without it and with nothing behind the first page, nothing was ever stored.
fn clear_unfinished(backend: &impl StorageBackend) -> Result<(), DatabaseError> {
    const PAGE: u64 = 4096;
    const MAGIC: usize = 9;
    let len = backend.len().map_err(StorageError::Io)?;
    let mut start = [0; MAGIC];
    if len == 0 || len > 64 * 1024 * 1024 {
        return Ok(());
    }
    let known = usize::try_from(len).map_or(MAGIC, |len| len.min(MAGIC));
    backend.read(0, &mut start[..known]).map_err(StorageError::Io)?;
    if start != [0; MAGIC] {
        return Ok(());
    }
    // Another process may be making it right now.
    match backend.try_lock_range(Bound::Unbounded, Bound::Unbounded) {
        Ok(true) | Err(BackendError::Unsupported) => {}
        Ok(false) => return Err(DatabaseError::DatabaseAlreadyOpen),
        Err(error) => return Err(StorageError::Io(error.into()).into()),
    }
    let mut page = vec![0; 4096];
    let mut at = PAGE;
    while at < len {
        let part = usize::try_from((len - at).min(PAGE)).expect("at most a page");
        let part = &mut page[..part];
        backend.read(at, part).map_err(StorageError::Io)?;
        if part.iter().any(|byte| *byte != 0) {
            return Ok(());
        }
        at += PAGE;
    }
    backend.set_len(0).map_err(StorageError::Io)?;
    Ok(())
}
