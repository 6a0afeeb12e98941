//! Where the data file comes from: opened at start, and again after an error, since redb takes
//! nothing more from a file that once failed.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend, StorageError};

use super::StoreError;

type Open = Box<dyn Fn(&redb::Builder, Time) -> Result<redb::Database, DatabaseError> + Send>;

/// Why it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    /// At start: every page is checked, as the file may have been altered while it was closed; a
    /// new one is made when it is not there.
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
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("path", &self.path).finish()
    }
}

impl Source {
    /// A file. It and its directory are made when they are not there.
    pub(super) fn file(path: &Path, cache_bytes: usize) -> Self {
        let file = path.to_path_buf();
        Self::new(path, cache_bytes, move |time| {
            FileBackend::new(open_file(&file, time)?).map_err(as_io)
        })
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
        let open = move |builder: &redb::Builder, time: Time| {
            let backend = factory(time).map_err(StorageError::Io)?;
            clear_unfinished(&backend)?;
            builder.create_with_backend(backend)
        };
        Self { path: path.to_path_buf(), cache_bytes, open: Box::new(open) }
    }

    /// Its name in errors.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it.
    pub(super) fn open(&self, time: Time) -> Result<redb::Database, StoreError> {
        let mut builder = redb::Builder::new();
        builder.set_cache_size(self.cache_bytes);
        builder.set_check_integrity_on_open(time == Time::First);
        (self.open)(&builder, time).map_err(|error| StoreError::from_redb(&self.path, error))
    }

    /// Renames the file, so that a new one can be made. Gives its new name.
    pub(super) fn set_aside(&self) -> Result<PathBuf, StoreError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut seconds = since.map_or(0, |since| since.as_secs());
        loop {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".broken-{seconds}"));
            let name = PathBuf::from(name);
            if !name.exists() {
                fs::rename(&self.path, &name)
                    .and_then(|()| sync_directory(&self.path))
                    .map_err(|error| StoreError::from_io(&self.path, &error))?;
                return Ok(name);
            }
            seconds += 1;
        }
    }
}

fn as_io(error: DatabaseError) -> io::Error {
    match error {
        DatabaseError::Storage(StorageError::Io(error)) => error,
        error => io::Error::other(error.to_string()),
    }
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

/// Makes the name of a file durable: an acknowledged message in a file without a name is lost.
fn sync_directory(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(directory) = path.parent() {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        File::open(directory)?.sync_all()?;
    }
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
    if len >= MAGIC as u64 {
        backend.read(0, &mut start).map_err(StorageError::Io)?;
    }
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
