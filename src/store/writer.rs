//! The storage thread: takes what turns submit, commits it in groups, answers loads.
//!
//! Invariants: batches are committed in the order of their submission, one at a time; a batch is
//! let go only when it is known to be on disk; a load is answered after all that was submitted
//! before it and is not lazy.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::mqtt::Message;
use crate::turn::{LetterLoad, Load, Record, RecordNumber, StoreState};

use super::backup::{self, Ask, Snapshot};
use super::batch::{Batch, Size};
use super::space::{self, Space};
use super::suspicion::{self, caught};
use super::{Checkpoint, Database, StoreError, Witness};

/// The first pause after an error; each next is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause after an error.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The broker's handle of the storage thread. Whoever drops it without [`stop`](Self::stop)
/// leaves the thread running.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<Result<(), StoreError>>>>,
}

#[derive(Debug)]
struct Shared {
    pending: Mutex<Pending>,
    wake: Condvar,
    committed: AtomicU64,
    full: AtomicBool,
    /// What may be pending.
    limit: Size,
    path: PathBuf,
}

/// Messages whose memory is kept for loads: as many as those of some queues bring.
const SPARE: usize = 1024;

/// Bytes of lazy records that wait for nobody.
const LARGE: usize = 1024 * 1024;

/// Between commits that only go on with work of the store's own.
const WORK_PAUSE: Duration = Duration::from_millis(2);

/// What waits for the storage thread.
#[derive(Debug, Default)]
struct Pending {
    batch: Batch,
    loads: Vec<Wanted>,
    /// Memory for messages that are loaded.
    spare: Vec<Arc<Message>>,
    asks: Vec<Ask>,
    /// The batch that is being committed.
    in_flight: Size,
    /// Whether somebody waits for it.
    urgent: bool,
    /// Since when records wait.
    since: Option<Instant>,
    stopping: bool,
    /// Whether the thread must be woken to notice a change.
    asleep: bool,
}

impl Store {
    pub(super) fn start(database: Database, witness: Arc<dyn Witness>) -> Self {
        let options = &database.options;
        let pages = space::pending(options.reserve_bytes);
        let mut pending = Pending::default();
        pending.batch.begin_after(database.newest_message());
        let shared = Arc::new(Shared {
            pending: Mutex::new(pending),
            wake: Condvar::new(),
            committed: AtomicU64::new(0),
            full: AtomicBool::new(false),
            limit: Size { memory: options.queue_bytes, pages: pages.unwrap_or(usize::MAX) },
            path: options.path.clone(),
        });
        let writer = Writer {
            space: Space::new(&options.path, options.reserve_bytes, options.max_bytes),
            next_commit: Instant::now(),
            failing: false,
            shared: shared.clone(),
            witness,
            database,
        };
        let thread = thread::Builder::new().name("store".to_owned());
        let thread = thread.spawn(move || writer.run());
        let thread = thread.expect("the operating system gives the store its thread");
        Self { shared, thread: Mutex::new(Some(thread)) }
    }

    /// Takes the records of one turn, of which the last has number `last`, and its loads, which
    /// are left empty. `wanted` says that something is held until `last` or an earlier record, so
    /// that lazy ones may not wait either; it may be said later, with no records.
    pub fn submit(
        &self,
        records: &[Record],
        loads: &mut Vec<Load>,
        last: RecordNumber,
        wanted: bool,
        checkpoint: Checkpoint,
    ) {
        let mut guard = self.shared.lock();
        let pending = &mut *guard;
        let was_urgent = pending.urgent;
        for record in records {
            pending.urgent |= !record.is_lazy();
            pending.batch.add(record);
        }
        pending.batch.last = last;
        pending.batch.checkpoint = checkpoint;
        let is_waiting = !pending.batch.is_empty();
        pending.urgent |= wanted && is_waiting;
        // All at once, later, would keep who waits then for long.
        pending.urgent |= pending.batch.size().memory >= LARGE;
        if pending.in_flight.plus(pending.batch.size()).exceeds(self.shared.limit) {
            self.shared.full.store(true, Ordering::Relaxed);
            // Connections wait for room, and lazy records alone would start no commit.
            pending.urgent |= is_waiting;
        }
        let is_first = is_waiting && pending.since.is_none();
        if is_first {
            pending.since = Some(Instant::now());
        }
        let is_news = is_first || pending.urgent != was_urgent || !loads.is_empty();
        pending.loads.extend(loads.drain(..).map(Wanted::Copies));
        if pending.asleep && is_news {
            pending.asleep = false;
            drop(guard);
            self.shared.wake.notify_one();
        }
    }

    /// Takes messages that nobody else has: those that are loaded next are put in their memory.
    pub fn recycle(&self, messages: &mut dyn Iterator<Item = Arc<Message>>) {
        let mut pending = self.shared.lock();
        let room = SPARE.saturating_sub(pending.spare.len());
        pending.spare.extend(messages.take(room));
    }

    /// Takes loads of dead letters. They are answered when all that was submitted before is on
    /// disk.
    pub fn ask(&self, letters: &mut Vec<LetterLoad>) {
        self.want(letters.drain(..).map(Wanted::Letters));
    }

    /// Writes the time, though nothing else happened.
    pub fn confirm(&self, checkpoint: Checkpoint) {
        self.want([Wanted::Time(checkpoint)]);
    }

    fn want(&self, wanted: impl IntoIterator<Item = Wanted>) {
        let mut pending = self.shared.lock();
        pending.urgent |= !pending.batch.is_empty();
        pending.loads.extend(wanted);
        if pending.asleep {
            pending.asleep = false;
            drop(pending);
            self.shared.wake.notify_one();
        }
    }

    /// All records up to this one are on disk.
    pub fn committed(&self) -> RecordNumber {
        RecordNumber(self.shared.committed.load(Ordering::Acquire))
    }

    /// Whether more is pending than should be; [`Witness::room`] says when that is over.
    pub fn is_full(&self) -> bool {
        self.shared.full.load(Ordering::Relaxed)
    }

    /// The content as it is committed now; later commits do not change it. Waits for the storage
    /// thread, but not for long: while the disk fails it is an error.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let (ask, answer) = backup::ask();
        let mut pending = self.shared.lock();
        if pending.stopping {
            return Err(backup::unanswered(&self.shared.path));
        }
        pending.asks.push(ask);
        drop(pending);
        self.shared.wake.notify_one();
        answer.wait(&self.shared.path)
    }

    /// Commits all that is pending and closes the file. While the disk fails it tries once more.
    /// Not to be called by a [`Witness`].
    pub fn stop(&self) -> Result<(), StoreError> {
        self.shared.lock().stopping = true;
        self.shared.wake.notify_one();
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        match thread.take() {
            Some(thread) => thread.join().expect("a panic aborts the process"),
            None => Ok(()),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to do. Fills the empty `batch` when it is time to commit, and `loads`.
    /// Says whether this is the end. It does not wait longer than until `work_at`.
    fn take(
        &self,
        batch: &mut Batch,
        loads: &mut Vec<Wanted>,
        next_commit: Instant,
        lazy_interval: Duration,
        work_at: Option<Instant>,
    ) -> bool {
        let mut pending = self.lock();
        loop {
            let now = Instant::now();
            let due = match pending.since {
                Some(_) if pending.urgent => Some(next_commit),
                Some(since) => Some(next_commit.max(since + lazy_interval)),
                None => None,
            };
            if pending.stopping || due.is_some_and(|due| due <= now) {
                std::mem::swap(&mut pending.batch, batch);
                pending.batch.begin_after(batch.newest());
                loads.append(&mut pending.loads);
                pending.in_flight = batch.size();
                pending.urgent = false;
                pending.since = None;
                return pending.stopping;
            }
            let is_asked = !pending.loads.is_empty() || !pending.asks.is_empty();
            if is_asked && !pending.urgent {
                loads.append(&mut pending.loads);
                return false;
            }
            if work_at.is_some_and(|at| at <= now) {
                return false;
            }
            let due = due.into_iter().chain(work_at).min();
            let pause = due.map(|due| due.saturating_duration_since(now));
            pending = self.sleep(pending, pause);
        }
    }

    fn sleep<'a>(
        &self,
        mut pending: MutexGuard<'a, Pending>,
        pause: Option<Duration>,
    ) -> MutexGuard<'a, Pending> {
        pending.asleep = true;
        let mut pending = match pause {
            Some(pause) => {
                let woken = self.wake.wait_timeout(pending, pause);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                let woken = self.wake.wait(pending);
                woken.unwrap_or_else(PoisonError::into_inner)
            }
        };
        pending.asleep = false;
        pending
    }

    fn take_asks(&self) -> Vec<Ask> {
        std::mem::take(&mut self.lock().asks)
    }

    /// Waits this long, or until it is to stop, which it says.
    fn pause(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut pending = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if pending.stopping || left.is_zero() {
                return pending.stopping;
            }
            let woken = self.wake.wait_timeout(pending, left);
            pending = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Lets go of committed bytes; says whether that ends being full.
    fn release(&self) -> bool {
        let mut pending = self.lock();
        pending.in_flight = Size::default();
        let is_room = !pending.batch.size().exceeds(self.limit.half());
        is_room && self.full.swap(false, Ordering::Relaxed)
    }
}

/// What is to be read.
#[derive(Debug)]
enum Wanted {
    Copies(Load),
    Letters(LetterLoad),
    /// That this time is on disk.
    Time(Checkpoint),
}

/// What the storage thread owns.
struct Writer {
    database: Database,
    shared: Arc<Shared>,
    witness: Arc<dyn Witness>,
    next_commit: Instant,
    failing: bool,
    space: Space,
}

impl Writer {
    fn run(mut self) -> Result<(), StoreError> {
        let _guard = AbortOnPanic;
        let mut batch = Batch::default();
        let mut loads = Vec::new();
        let interval = self.database.options.lazy_interval;
        self.look()?;
        loop {
            let next_commit = self.next_commit;
            let has_work = self.database.has_work();
            let work_at = has_work.then_some(next_commit).into_iter();
            let work_at = work_at.chain(self.space.look_at()).min();
            let is_end = self.shared.take(&mut batch, &mut loads, next_commit, interval, work_at);
            if !batch.is_empty() {
                self.next_commit = Instant::now() + self.database.options.commit_interval;
                self.commit(&mut batch)?;
                self.space.grew(batch.size().memory);
                self.tell(&batch);
            } else if is_end && batch.checkpoint != Checkpoint::default() {
                // So that the time since the last commit counts as time that the broker ran.
                self.database.guarded(|database| database.confirm(batch.checkpoint))?;
            } else if has_work && !is_end && loads.is_empty() && next_commit <= Instant::now() {
                self.next_commit = Instant::now() + WORK_PAUSE;
                self.work()?;
            }
            batch.clear();
            if !loads.is_empty() {
                self.database.spare = std::mem::take(&mut self.shared.lock().spare);
            }
            for load in loads.drain(..) {
                self.answer(load)?;
            }
            self.database.spare.clear();
            for ask in self.shared.take_asks() {
                ask.answer(&self.database);
            }
            if is_end {
                return caught(&self.shared.path, || self.database.close());
            }
            if self.space.look_at().is_some_and(|at| at <= Instant::now()) {
                self.look()?;
            }
        }
    }

    /// Looks how much room there is, and says so when it became too little or enough.
    fn look(&mut self) -> Result<(), StoreError> {
        let (space, database) = (&mut self.space, &mut self.database);
        match space.look(|| database.guarded(|database| database.used())) {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.tell_room();
                Ok(())
            }
            Err(error) => self.recover(error, |_| Ok(())),
        }
    }

    fn tell_room(&mut self) {
        let is_full = self.space.is_full();
        self.database.set_full(is_full);
        match is_full {
            true => self.witness.state(StoreState::Full, &self.space.why()),
            false => self.witness.state(StoreState::Ready, ""),
        }
    }

    fn tell(&self, batch: &Batch) {
        self.shared.committed.store(batch.last.0, Ordering::Release);
        self.witness.committed(batch.last);
        if self.shared.release() {
            self.witness.room();
        }
    }

    /// Commits a batch, however long that takes; fails only when told to stop meanwhile.
    fn commit(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        let number = self.database.batch() + 1;
        match self.database.guarded(|database| database.write(batch)) {
            Ok(()) => Ok(()),
            Err(error) => self.recover(error, |database| {
                if database.batch() < number {
                    database.write(batch)
                } else {
                    database.confirm(batch.checkpoint)
                }
            }),
        }
    }

    /// Goes on with work that no batch waits for.
    fn work(&mut self) -> Result<(), StoreError> {
        match self.database.guarded(Database::work) {
            Ok(()) => Ok(()),
            // What was begun is looked for anew.
            Err(error) => self.recover(error, |database| database.work()),
        }
    }

    fn answer(&mut self, wanted: Wanted) -> Result<(), StoreError> {
        match wanted {
            Wanted::Copies(load) => {
                let loaded = self.read(|database| database.load(load))?;
                self.witness.loaded(loaded);
            }
            Wanted::Letters(load) => {
                let letters = self.read(|database| database.letters(load))?;
                self.witness.letters(letters);
            }
            Wanted::Time(checkpoint) => self.read(|database| database.confirm(checkpoint))?,
        }
        Ok(())
    }

    fn read<T>(
        &mut self,
        read: impl Fn(&mut Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self.database.guarded(&read) {
            Ok(answer) => Ok(answer),
            Err(error) => self.recover(error, read),
        }
    }

    /// Opens the file again and tries again until it works. On a full disk the reserve makes way
    /// first. It ends when what is read is wrong twice in a row, or after a panic.
    fn recover<T>(
        &mut self,
        mut error: StoreError,
        mut attempt: impl FnMut(&mut Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut again = |database: &mut Database| {
            database.guarded(|database| {
                database.reopen()?;
                attempt(database)
            })
        };
        let mut pause = FIRST_PAUSE;
        let mut is_doubtful = false;
        if matches!(error, StoreError::NoSpace { .. }) && self.database.options.reserve_bytes > 0 {
            self.make_room();
            match again(&mut self.database) {
                Ok(done) => return Ok(done),
                Err(next) => error = next,
            }
        }
        loop {
            let mut is_last = false;
            match &error {
                StoreError::Suspect { .. } => return Err(self.give_up(error)),
                StoreError::Corrupt { .. } if is_doubtful => return Err(self.give_up(error)),
                // It may be redb's memory that is wrong.
                StoreError::Corrupt { .. } => is_doubtful = true,
                _ => {
                    is_doubtful = false;
                    self.tell_failing(&error);
                    is_last = self.shared.pause(pause);
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
            }
            match again(&mut self.database) {
                Ok(done) => {
                    if std::mem::take(&mut self.failing) {
                        self.tell_room();
                    }
                    return Ok(done);
                }
                Err(next) if is_last => return Err(next),
                Err(next) => error = next,
            }
        }
    }

    /// The disk is full: most of the reserve goes.
    fn make_room(&mut self) {
        let was_full = self.space.is_full();
        self.space.give_way();
        if !was_full {
            self.tell_room();
        }
    }

    fn tell_failing(&mut self, error: &StoreError) {
        if !self.failing {
            self.failing = true;
            self.witness.state(StoreState::Failing, &error.to_string());
        }
    }

    /// The file is corrupt, or may be: the next start finds out.
    fn give_up(&mut self, error: StoreError) -> StoreError {
        self.database.abandon();
        suspicion::note(&self.shared.path, &error);
        self.tell_failing(&error);
        self.witness.broken(&error);
        error
    }
}

/// Without its storage thread the broker would hold back acknowledgements for ever: the disk is
/// the recovery.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}
