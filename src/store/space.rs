//! Room for the store: how much of the disk it may use, and a reserve for when the disk is full.
//!
//! **The reserve** is a file beside the data file, really written. When a commit finds no space,
//! most of it goes, so that what is pending, and what makes the store smaller, can be committed;
//! the rest is kept for the next start, which may need a page to repair the data file.
//! Until it is whole again, the free pages inside of the data file stand for it.
//!
//! **What may be pending** is bounded by the reserve: when the disk turns out to be full, all of
//! it must still be committed before any acknowledgement of a delivery can be, as records are in
//! order. So publishers wait for the disk when it is [`pending`], half of what makes way; the
//! other half is for the turn that went over that, and for what each commit writes besides.
//!
//! Invariants: while the store says that it is not full, a reserve is there: as a file, or as free
//! pages of the data file; or the disk has no room for one because it was never asked to. What is
//! pending fits into what the reserve gives back, but for a turn that alone is more than that.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Of the reserve, what only a start may use.
const FOR_START: u64 = 4;
/// The first pause before the reserve is tried again; each next is twice as long.
const FIRST_TRY: Duration = Duration::from_millis(500);
/// The longest.
const LAST_TRY: Duration = Duration::from_secs(8);
/// Counting pages reads all branches of the file: it may take so much of the time.
const SHARE: u32 = 20;
/// The shortest time between two counts.
const COUNT_PAUSE: Duration = Duration::from_millis(200);

/// The room of one store.
#[derive(Debug)]
pub(super) struct Space {
    data: PathBuf,
    reserve: u64,
    max: Option<u64>,
    is_whole: bool,
    is_full: bool,
    /// What was counted, and what was written since.
    used: u64,
    next_count: Instant,
    next_try: Instant,
    pause: Duration,
}

impl Space {
    /// For the data file at `data`: a reserve of so many bytes, and no more used than `max`.
    pub(super) fn new(data: &Path, reserve: u64, max: Option<u64>) -> Self {
        let now = Instant::now();
        Self {
            data: data.to_path_buf(),
            reserve,
            max,
            is_whole: reserve == 0,
            is_full: false,
            used: 0,
            next_count: now,
            next_try: now,
            pause: FIRST_TRY,
        }
    }

    /// Whether new messages must be refused.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// When to look again; `None` when nothing is to be watched.
    pub(super) fn look_at(&self) -> Option<Instant> {
        let count = self.limit_is_near().then_some(self.next_count);
        let attempt = (!self.is_whole).then_some(self.next_try);
        count.into_iter().chain(attempt).min()
    }

    /// So many bytes were committed; what they freed is known at the next count.
    pub(super) fn grew(&mut self, bytes: usize) {
        self.used += bytes as u64;
    }

    /// The disk is full: gives most of the reserve back, if it is there.
    pub(super) fn give_way(&mut self) {
        self.is_full = true;
        if self.reserve == 0 {
            return;
        }
        self.is_whole = false;
        self.next_try = Instant::now() + self.pause;
        self.shorten();
    }

    /// Looks what there is now: `count` gives the bytes of the data file that are in use. Says
    /// whether [`is_full`](Self::is_full) changed.
    pub(super) fn look<E>(&mut self, count: impl FnOnce() -> Result<u64, E>) -> Result<bool, E> {
        let now = Instant::now();
        if !self.is_whole && self.next_try <= now {
            self.try_whole(now);
        }
        if self.limit_is_near() && self.next_count <= now {
            self.used = count()?;
            let taken = now.elapsed();
            self.next_count = now + COUNT_PAUSE.max(taken * SHARE);
        }
        let was_full = self.is_full;
        self.is_full = match self.limit() {
            None => false,
            // Below by a part, so that it does not change with every message.
            Some(limit) if was_full => self.used > limit - limit / 20,
            Some(limit) => self.used > limit,
        };
        Ok(self.is_full != was_full)
    }

    /// Why it is full, for people.
    pub(super) fn why(&self) -> String {
        let used = self.used;
        match self.max {
            Some(max) if self.is_whole => {
                format!("it uses {used} bytes, and max_store_size is {max}")
            }
            _ => format!("the disk of {} has no space left", self.data.display()),
        }
    }

    /// What may be used. Without the whole reserve, the data file must have free pages for it.
    fn limit(&self) -> Option<u64> {
        if self.is_whole {
            return self.max;
        }
        let held = allocated(&self.data);
        let held = held.saturating_sub(self.reserve);
        Some(self.max.map_or(held, |max| max.min(held)))
    }

    fn limit_is_near(&self) -> bool {
        self.is_full
            || !self.is_whole
            || self.max.is_some_and(|max| self.used > max || allocated(&self.data) > max)
    }

    fn try_whole(&mut self, now: Instant) {
        if fill(&reserve_path(&self.data), self.reserve).is_ok() {
            self.is_whole = true;
            self.pause = FIRST_TRY;
            return;
        }
        self.shorten();
        self.next_try = now + self.pause;
        self.pause = LAST_TRY.min(self.pause * 2);
    }

    /// Leaves what the next start may need. If that fails there was nothing.
    fn shorten(&self) {
        let path = reserve_path(&self.data);
        let kept = self.reserve / FOR_START;
        let file = OpenOptions::new().write(true).open(path);
        let cut = |file: File| match file.metadata()?.len() > kept {
            true => file.set_len(kept),
            false => Ok(()),
        };
        let _ = file.and_then(cut);
    }
}

/// Bytes of pages that what is pending may take with a reserve of so many bytes; `None` without.
pub(super) fn pending(reserve: u64) -> Option<usize> {
    let gives = reserve - reserve / FOR_START;
    (reserve > 0).then(|| usize::try_from(gives / 2).unwrap_or(usize::MAX))
}

/// Removes the reserve: the data file cannot be opened for want of space. Whether it was there.
pub(super) fn remove_reserve(data: &Path) -> bool {
    fs::remove_file(reserve_path(data)).is_ok()
}

fn reserve_path(data: &Path) -> PathBuf {
    data.with_extension("reserve")
}

/// Bytes of the disk that a file takes; holes take none.
fn allocated(path: &Path) -> u64 {
    let Ok(metadata) = fs::metadata(path) else {
        return 0;
    };
    #[cfg(unix)]
    let blocks = std::os::unix::fs::MetadataExt::blocks(&metadata) * 512;
    #[cfg(not(unix))]
    let blocks = metadata.len();
    blocks.min(metadata.len())
}

/// Makes a file of so many bytes that the disk really has.
fn fill(path: &Path, bytes: u64) -> io::Result<()> {
    const PART: usize = 64 * 1024;
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let mut len = file.metadata()?.len();
    if len > bytes {
        file.set_len(bytes)?;
        len = bytes;
    }
    // Not zeros: a file system that compresses would keep nothing of them.
    let mut part = vec![0; PART];
    fastrand::Rng::with_seed(bytes).fill(&mut part);
    while len < bytes {
        let count = usize::try_from(bytes - len).map_or(PART, |left| left.min(PART));
        file.write_all(&part[..count])?;
        len += count as u64;
    }
    file.sync_all()
}
