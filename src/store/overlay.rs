//! A data file that is only looked at: what redb writes while it opens and repairs stays in
//! memory.
//!
//! Invariant: the file's bytes do not change, and no other process has it open meanwhile.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use super::source::{Source, as_io, check_is_file};
use super::{Database, Options, Restored, StoreError, open_backend};

const PAGE: u64 = 4096;
const CACHE: usize = 16 * 1024 * 1024;

/// Opens the data file of a stopped broker to read it; the file stays as it is, whatever is done
/// to the [`Database`]. It is never set aside and never made.
pub fn inspect(path: &Path) -> Result<(Database, Restored), StoreError> {
    let file = path.to_owned();
    // All of it, however large.
    let options = Options { checked_bytes: u64::MAX, ..Options::new(path) };
    open_backend(move || Overlay::open(&file), options)
}

/// The same as a source.
pub(super) fn source(path: &Path) -> Source {
    let file = path.to_owned();
    Source::backend(path, CACHE, move || Overlay::open(&file))
}

/// A file and what was written over it.
#[derive(Debug)]
struct Overlay {
    file: FileBackend,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    pages: BTreeMap<u64, Box<[u8]>>,
    len: u64,
    /// What of the file is below; behind it are zeros.
    file_len: u64,
}

impl Overlay {
    fn open(path: &Path) -> io::Result<Self> {
        check_is_file(path)?;
        // An exclusive lock needs a file that is open for writing.
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let file = FileBackend::new(file).map_err(as_io)?;
        let len = file.len()?;
        let written = Written { pages: BTreeMap::new(), len, file_len: len };
        Ok(Self { file, written: Mutex::new(written) })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A part of one page.
    fn read_part(&self, written: &Written, at: u64, out: &mut [u8]) -> io::Result<()> {
        let (page, offset) = (at / PAGE, offset(at));
        if let Some(page) = written.pages.get(&page) {
            out.copy_from_slice(&page[offset..offset + out.len()]);
            return Ok(());
        }
        let below = written.file_len.saturating_sub(at).min(out.len() as u64);
        let (from_file, zeros) = out.split_at_mut(usize::try_from(below).expect("within a page"));
        zeros.fill(0);
        if from_file.is_empty() { Ok(()) } else { self.file.read(at, from_file) }
    }
}

/// Where in its page a byte lies.
fn offset(at: u64) -> usize {
    usize::try_from(at % PAGE).expect("within a page")
}

/// Cuts `len` bytes from `at` on at the borders of pages: start and length of each.
fn parts(at: u64, len: usize) -> impl Iterator<Item = (u64, usize)> {
    let mut left = len;
    let mut at = at;
    std::iter::from_fn(move || {
        let here = (PAGE as usize - offset(at)).min(left);
        let part = (at, here);
        at += here as u64;
        left -= here;
        (here > 0).then_some(part)
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        let end = offset.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > written.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if written.pages.is_empty() && end.is_some_and(|end| end <= written.file_len) {
            return self.file.read(offset, out);
        }
        let mut rest = out;
        for (at, len) in parts(offset, rest.len()) {
            let (part, behind) = rest.split_at_mut(len);
            self.read_part(&written, at, part)?;
            rest = behind;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = self.written();
        written.file_len = written.file_len.min(len);
        written.len = len;
        let mut cut = written.pages.split_off(&(len / PAGE));
        if let Some(mut page) = cut.remove(&(len / PAGE)) {
            page[offset(len)..].fill(0);
            written.pages.insert(len / PAGE, page);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, start: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        let mut rest = data;
        for (at, len) in parts(start, data.len()) {
            let (part, behind) = rest.split_at(len);
            if !written.pages.contains_key(&(at / PAGE)) {
                let mut page = vec![0; PAGE as usize].into_boxed_slice();
                self.read_part(&written, at / PAGE * PAGE, &mut page)?;
                written.pages.insert(at / PAGE, page);
            }
            let page = written.pages.get_mut(&(at / PAGE)).expect("it was put there");
            page[offset(at)..offset(at) + len].copy_from_slice(part);
            rest = behind;
        }
        written.len = written.len.max(start + data.len() as u64);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests;
