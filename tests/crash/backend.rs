//! A disk in memory that can crash at every sync, and fail at every operation. It can have room
//! for some pages only, as a file with holes has on a full disk.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

use crate::platter::Platter;

const PAGE: usize = 4096;
const ENOSPC: i32 = 28;

/// A disk. Clones are the same disk.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    state: Arc<Mutex<State>>,
}

type Hook = Arc<Mutex<dyn FnMut(Disk) + Send>>;
type Room = Arc<dyn Fn() -> usize + Send + Sync>;

#[derive(Default)]
struct State {
    platter: Platter,
    /// Writes, changes of length and syncs so far.
    operations: u64,
    syncs: u64,
    failure: Option<Failure>,
    failed: u64,
    seed: u64,
    hook: Option<Hook>,
    /// Pages that were written: holes take no room.
    pages: BTreeSet<usize>,
    room: Option<Room>,
    /// Writes that found no room.
    refused: u64,
}

/// Operations that fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    /// The first, counted over writes, changes of length and syncs, from 1.
    pub(crate) at: u64,
    /// How many, one after the other.
    pub(crate) count: u64,
    /// What the operating system says.
    pub(crate) error: i32,
    /// What becomes of the writes before a sync that fails.
    pub(crate) fate: Fate,
}

/// What a sync that failed did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// All was written.
    Written,
    /// Nothing was written, and the operating system forgot it.
    Lost,
}

impl Disk {
    /// A disk with this content, all of it durable.
    pub(crate) fn with_content(content: Vec<u8>) -> Self {
        let disk = Self::default();
        disk.lock().platter = Platter::with_content(content);
        disk
    }

    /// Decides which unsynced writes survive crashes.
    pub(crate) fn set_seed(&self, seed: u64) {
        self.lock().seed = seed;
    }

    /// Calls `hook` at every sync, before it, with the disk as a crash would leave it.
    pub(crate) fn at_each_sync(&self, hook: impl FnMut(Self) + Send + 'static) {
        self.lock().hook = Some(Arc::new(Mutex::new(hook)));
    }

    /// Lets nothing happen at syncs any more.
    pub(crate) fn forget_hook(&self) {
        self.lock().hook = None;
    }

    /// Lets operations fail.
    pub(crate) fn fail(&self, failure: Failure) {
        self.lock().failure = Some(failure);
    }

    /// Lets the file have so many bytes of the disk, whatever its length.
    pub(crate) fn limit(&self, room: impl Fn() -> usize + Send + Sync + 'static) {
        self.lock().room = Some(Arc::new(room));
    }

    /// Bytes of the disk that the file has.
    pub(crate) fn allocated(&self) -> usize {
        self.lock().pages.len() * PAGE
    }

    /// How many writes found no room.
    pub(crate) fn refused(&self) -> u64 {
        self.lock().refused
    }

    /// How many operations failed.
    pub(crate) fn failed(&self) -> u64 {
        self.lock().failed
    }

    /// How many operations there were.
    pub(crate) fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// How many syncs there were.
    pub(crate) fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Bytes of the file.
    pub(crate) fn size(&self) -> usize {
        self.lock().platter.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    /// Counts an operation, and lets it fail if it is to.
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        match self.failure {
            Some(failure)
                if (failure.at..failure.at + failure.count).contains(&self.operations) =>
            {
                self.failed += 1;
                Err(io::Error::from_raw_os_error(failure.error))
            }
            _ => Ok(()),
        }
    }

    /// Takes the pages that a write needs, if there are so many.
    fn allocate(&mut self, start: usize, len: usize) -> io::Result<()> {
        let pages = start / PAGE..(start + len).div_ceil(PAGE);
        let new = pages.clone().filter(|page| !self.pages.contains(page)).count();
        let room = self.room.as_ref().map_or(usize::MAX, |room| room());
        if new > 0 && (self.pages.len() + new) * PAGE > room {
            self.refused += 1;
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        self.pages.extend(pages);
        Ok(())
    }

    fn crash_image(&self) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(self.seed ^ self.syncs.rotate_left(32));
        let (content, _) = self.platter.survivors(&mut random);
        content
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().platter.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.lock().platter.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.lock();
        state.operate()?;
        let len = usize::try_from(len).unwrap();
        state.pages.split_off(&len.div_ceil(PAGE));
        state.platter.set_len(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let crash = {
            let mut state = self.lock();
            state.syncs += 1;
            let hook = state.hook.clone();
            hook.map(|hook| (hook, state.crash_image()))
        };
        if let Some((hook, image)) = crash {
            (hook.lock().unwrap())(Self::with_content(image));
        }
        let mut state = self.lock();
        let result = state.operate();
        match (&result, state.failure) {
            (Err(_), Some(failure)) if failure.fate == Fate::Lost => state.platter.forget(),
            _ => state.platter.sync(),
        }
        result
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        state.operate()?;
        state.allocate(usize::try_from(offset).unwrap(), data.len())?;
        state.platter.write(offset, data);
        Ok(())
    }
}
