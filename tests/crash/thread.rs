//! The storage thread on a disk that crashes and fails: groups of turns, retries, loads.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use kedgemq::store::{Options, Store, StoreError, Witness, open_backend};
use kedgemq::turn::{Letters, Loaded, OwnerId, Record, RecordNumber, StoreState};

use crate::backend::{Disk, Failure, Fate};
use crate::model::Model;
use crate::store::{HOT_BYTES, LOG_BYTES, all, check, checkpoint, open};
use crate::workload::Workload;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// Remembers what the store said.
#[derive(Default)]
pub(crate) struct Log {
    seen: Mutex<Seen>,
    changed: Condvar,
    acknowledged: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Seen {
    committed: Vec<RecordNumber>,
    loaded: Vec<Loaded>,
    letters: Vec<Letters>,
    states: Vec<(StoreState, String)>,
    rooms: usize,
    broken: Vec<StoreError>,
}

impl Log {
    fn add(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap());
        self.changed.notify_all();
    }

    /// Waits until the store said enough.
    fn wait(&self, enough: impl Fn(&Seen) -> bool) -> MutexGuard<'_, Seen> {
        let seen = self.seen.lock().unwrap();
        let limit = Duration::from_secs(60);
        let waited = self.changed.wait_timeout_while(seen, limit, |it| !enough(it));
        let (seen, timeout) = waited.unwrap();
        assert!(!timeout.timed_out(), "the store never said it: {seen:?}");
        seen
    }

    /// Waits until a full queue had room again.
    pub(crate) fn wait_for_room(&self) {
        drop(self.wait(|seen| seen.rooms > 0));
    }

    pub(crate) fn wait_for(&self, turn: usize) {
        drop(self.wait(|seen| seen.committed.last() >= Some(&number(turn))));
    }

    /// Waits for the end of the store, and gives its reason.
    pub(crate) fn broken(&self) -> StoreError {
        self.wait(|seen| !seen.broken.is_empty()).broken[0].clone()
    }

    pub(crate) fn states(&self) -> Vec<StoreState> {
        let seen = self.seen.lock().unwrap();
        seen.states.iter().map(|(state, _)| *state).collect()
    }
}

impl Witness for Log {
    fn committed(&self, up_to: RecordNumber) {
        let turn = usize::try_from(up_to.0).unwrap();
        self.acknowledged.store(turn, Ordering::SeqCst);
        self.add(|seen| seen.committed.push(up_to));
    }

    fn loaded(&self, loaded: Loaded) {
        self.add(|seen| seen.loaded.push(loaded));
    }

    fn letters(&self, letters: Letters) {
        self.add(|seen| seen.letters.push(letters));
    }

    fn state(&self, state: StoreState, why: &str) {
        self.add(|seen| seen.states.push((state, why.to_owned())));
    }

    fn room(&self) {
        self.add(|seen| seen.rooms += 1);
    }

    fn broken(&self, error: &StoreError) {
        self.add(|seen| seen.broken.push(error.clone()));
    }
}

/// The tests count turns in place of records: the store only compares.
pub(crate) fn number(turn: usize) -> RecordNumber {
    RecordNumber(turn as u64)
}

/// A store, what it said, and what was submitted to it.
struct Rig {
    disk: Disk,
    store: Store,
    log: Arc<Log>,
    workload: Workload,
    models: Arc<Mutex<Vec<Model>>>,
    turn: usize,
}

impl Rig {
    fn new(seed: u64) -> Self {
        Self::with(seed, |_| {})
    }

    fn with(seed: u64, change: impl FnOnce(&mut Options)) -> Self {
        let disk = Disk::default();
        disk.set_seed(seed);
        let mut options = Options::new(PathBuf::from("the test disk"));
        change(&mut options);
        let factory = disk.clone();
        let (mut database, _) = open_backend(move || Ok(factory.clone()), options).unwrap();
        database.limit_log(LOG_BYTES);
        database.limit_hot(HOT_BYTES);
        let log = Arc::new(Log::default());
        Self {
            store: database.start(log.clone()),
            disk,
            log,
            workload: Workload::new(seed),
            models: Arc::new(Mutex::new(vec![Model::default()])),
            turn: 0,
        }
    }

    /// Submits the workload's next turn.
    fn submit(&mut self) {
        let records = self.workload.turn();
        self.submit_records(records, true);
    }

    fn submit_records(&mut self, records: Vec<Record>, wanted: bool) {
        self.turn += 1;
        let model = self.workload.model.clone();
        self.models.lock().unwrap().push(model);
        let last = number(self.turn);
        let time = checkpoint(self.turn);
        let loads = &mut Vec::new();
        self.store.submit(&records, loads, last, wanted, time);
    }

    fn load(&self, owner: OwnerId) {
        let (last, time) = (number(self.turn), checkpoint(self.turn));
        let loads = &mut vec![all(owner)];
        self.store.submit(&[], loads, last, false, time);
        assert!(loads.is_empty());
    }

    /// An owner that has copies now.
    fn owner_with_copies(&self) -> OwnerId {
        let copies = &self.workload.model.copies;
        let (owner, _) = copies.keys().next().expect("the workload queues");
        *owner
    }

    /// Lets operations fail from now on.
    fn fail(&self, after: u64, count: u64, error: i32, fate: Fate) {
        self.disk.fail(Failure { at: self.disk.operations() + after, count, error, fate });
    }

    /// Stops the store and holds when the disk has all that was submitted, and each transaction
    /// once.
    fn stop_and_check(self) {
        self.store.stop().unwrap();
        let models = self.models.lock().unwrap();
        assert_eq!(check(&self.disk, &models, self.turn), self.turn);
        let committed = self.log.seen.lock().unwrap().committed.len() as u64;
        let (database, _) = open(&self.disk).unwrap();
        assert_eq!(database.batch(), committed);
    }
}

#[test]
fn a_crash_at_any_sync_keeps_whole_turns_of_a_group() {
    let mut rig = Rig::new(11);
    let groups = Arc::new(AtomicUsize::new(0));
    {
        let (models, acknowledged) = (rig.models.clone(), rig.log.acknowledged.clone());
        let groups = groups.clone();
        rig.disk.at_each_sync(move |crashed| {
            let least = acknowledged.load(Ordering::SeqCst);
            let models = models.lock().unwrap().clone();
            check(&crashed, &models, least);
            groups.fetch_add(1, Ordering::SeqCst);
        });
    }
    for round in 0..60 {
        if round % 20 == 10 {
            // And it crashes while it recovers from an error.
            rig.fail(1 + round % 4, 1, EIO, Fate::Lost);
        }
        // Some turns while the thread commits, so that they go together.
        for _ in 0..5 {
            rig.submit();
        }
        rig.log.wait_for(rig.turn);
    }
    rig.disk.forget_hook();
    assert!(groups.load(Ordering::SeqCst) >= 60);
    assert_eq!(rig.disk.failed(), 3);
    let commits = rig.log.seen.lock().unwrap().committed.len();
    assert!(commits < rig.turn, "{commits} commits for {} turns", rig.turn);
    rig.stop_and_check();
}

/// One operation fails, at any point of some commits: the commit is repeated.
fn fail_anywhere(error: i32, fate: Fate) {
    let cases: Vec<u64> = (1..=40).collect();
    thread::scope(|scope| {
        for part in cases.chunks(5) {
            scope.spawn(move || {
                for after in part {
                    let mut rig = Rig::new(20 + after);
                    if after.is_multiple_of(2) {
                        // So that it fails in the middle of moves too.
                        rig.workload = Workload::slow(20 + after);
                    }
                    rig.submit();
                    rig.log.wait_for(1);
                    rig.fail(*after, 1, error, fate);
                    for _ in 0..10 {
                        rig.submit();
                        rig.log.wait_for(rig.turn);
                    }
                    assert_eq!(rig.disk.failed(), 1);
                    let states = rig.log.states();
                    assert_eq!(states, [StoreState::Failing, StoreState::Ready]);
                    rig.stop_and_check();
                }
            });
        }
    });
}

#[test]
fn a_commit_that_fails_is_repeated() {
    fail_anywhere(ENOSPC, Fate::Lost);
}

#[test]
fn a_commit_whose_fate_is_unknown_is_neither_lost_nor_doubled() {
    fail_anywhere(EIO, Fate::Written);
}

#[test]
fn a_long_outage_is_told_once_and_loses_nothing() {
    let mut rig = Rig::new(31);
    rig.submit();
    rig.log.wait_for(1);
    rig.fail(1, 4, ENOSPC, Fate::Lost);
    for _ in 0..50 {
        rig.submit();
    }
    rig.log.wait_for(rig.turn);
    let seen = rig.log.wait(|seen| seen.states.len() >= 2);
    let [(StoreState::Failing, why), (StoreState::Ready, _)] = &seen.states[..] else {
        panic!("{:?}", seen.states);
    };
    assert!(why.contains("the test disk"), "{why}");
    assert!(why.contains("No space left"), "{why}");
    drop(seen);
    rig.stop_and_check();
}

#[test]
fn stopping_while_the_disk_fails_says_so_and_keeps_what_was_acknowledged() {
    let mut rig = Rig::new(32);
    rig.submit();
    rig.log.wait_for(1);
    rig.fail(1, u64::from(u32::MAX), EIO, Fate::Lost);
    rig.submit();
    drop(rig.log.wait(|seen| !seen.states.is_empty()));
    let error = rig.store.stop().unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
    assert_eq!(rig.store.committed(), number(1));
    rig.fail(0, 0, EIO, Fate::Lost);
    assert_eq!(check(&rig.disk, &rig.models.lock().unwrap(), 1), 1);
}

/// A store with a reserve in `directory`, on a disk in memory.
fn with_reserve(seed: u64, directory: &tempfile::TempDir) -> Rig {
    let mut rig = Rig::with(seed, |options| {
        options.path = directory.path().join("kedgemq.redb");
        options.reserve_bytes = 256 * 1024;
    });
    rig.submit();
    rig.log.wait_for(1);
    rig
}

#[test]
fn a_full_disk_is_told_as_full_and_the_commit_is_repeated_where_the_reserve_was() {
    thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || (1 + part..=20).step_by(4).for_each(full_at));
        }
    });
}

/// No space for one operation of a commit.
fn full_at(after: u64) {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = with_reserve(40 + after, &directory);
    let reserve = directory.path().join("kedgemq.reserve");
    assert_eq!(std::fs::metadata(&reserve).unwrap().len(), 256 * 1024);
    rig.fail(after, 1, ENOSPC, Fate::Lost);
    for _ in 0..10 {
        rig.submit();
        rig.log.wait_for(rig.turn);
    }
    assert_eq!(rig.disk.failed(), 1);
    assert_eq!(rig.log.states()[0], StoreState::Full);
    // The directory has space, so the reserve can be made again.
    drop(rig.log.wait(|seen| seen.states.len() >= 2));
    assert_eq!(rig.log.states(), [StoreState::Full, StoreState::Ready]);
    assert_eq!(std::fs::metadata(&reserve).unwrap().len(), 256 * 1024);
    rig.stop_and_check();
}

#[test]
fn a_disk_that_stays_full_without_the_reserve_fails_until_there_is_space() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = with_reserve(70, &directory);
    rig.fail(1, 5, ENOSPC, Fate::Lost);
    for _ in 0..10 {
        rig.submit();
    }
    rig.log.wait_for(rig.turn);
    let seen = rig.log.wait(|seen| seen.states.last().is_some_and(|it| it.0 == StoreState::Ready));
    let states: Vec<_> = seen.states.iter().map(|(state, _)| *state).collect();
    assert_eq!(states[..2], [StoreState::Full, StoreState::Failing]);
    drop(seen);
    rig.stop_and_check();
}

#[test]
fn a_load_finds_what_was_submitted_just_before() {
    let mut rig = Rig::new(33);
    for _ in 0..20 {
        rig.submit();
    }
    let owner = rig.owner_with_copies();
    rig.load(owner);
    let mut seen = rig.log.wait(|seen| !seen.loaded.is_empty());
    let loaded = seen.loaded.remove(0);
    assert_eq!(loaded, rig.workload.model.loaded(all(owner)));
    drop(seen);
    // The same again, in the memory of what nobody has any more.
    rig.store.recycle(&mut loaded.copies.into_iter().map(|stored| stored.message));
    rig.load(owner);
    let seen = rig.log.wait(|seen| !seen.loaded.is_empty());
    assert_eq!(seen.loaded[0], rig.workload.model.loaded(all(owner)));
    drop(seen);
    rig.stop_and_check();
}

#[test]
fn a_load_waits_for_the_disk_to_come_back() {
    let mut rig = Rig::new(34);
    for _ in 0..20 {
        rig.submit();
    }
    rig.log.wait_for(rig.turn);
    rig.fail(1, 3, EIO, Fate::Lost);
    rig.submit();
    drop(rig.log.wait(|seen| !seen.states.is_empty()));
    let owner = rig.owner_with_copies();
    rig.load(owner);
    let seen = rig.log.wait(|seen| !seen.loaded.is_empty());
    assert_eq!(seen.loaded[0].copies.len(), rig.workload.model.queue(owner).len());
    assert_eq!(seen.states.len(), 2);
    drop(seen);
    rig.stop_and_check();
}

/// Ends one copy, lazily.
fn lazy_turn(rig: &mut Rig) -> Vec<Record> {
    let copies = &rig.workload.model.copies;
    let (owner, message) = *copies.keys().next().expect("the workload queues");
    let record = Record::Removed { owner, message, lazy: true };
    rig.workload.model.apply(&record);
    vec![record]
}

#[test]
fn lazy_records_wait_until_somebody_wants_them() {
    let mut rig = Rig::with(35, |options| {
        options.lazy_interval = Duration::from_secs(3600);
    });
    for _ in 0..20 {
        rig.submit();
    }
    rig.log.wait_for(rig.turn);
    let lazy = lazy_turn(&mut rig);
    rig.submit_records(lazy, false);
    // Asks for a load, so that the thread had its turn.
    rig.load(rig.owner_with_copies());
    drop(rig.log.wait(|seen| !seen.loaded.is_empty()));
    assert_eq!(rig.store.committed(), number(rig.turn - 1));
    let (last, time) = (number(rig.turn), checkpoint(rig.turn));
    rig.store.submit(&[], &mut Vec::new(), last, true, time);
    rig.log.wait_for(rig.turn);
    rig.stop_and_check();
}

#[test]
fn lazy_records_wait_for_a_bounded_time() {
    let mut rig = Rig::with(36, |options| {
        options.lazy_interval = Duration::from_millis(20);
    });
    for _ in 0..20 {
        rig.submit();
    }
    rig.log.wait_for(rig.turn);
    let lazy = lazy_turn(&mut rig);
    rig.submit_records(lazy, false);
    rig.log.wait_for(rig.turn);
    rig.stop_and_check();
}

#[test]
fn stopping_commits_lazy_records() {
    let mut rig = Rig::with(37, |options| {
        options.lazy_interval = Duration::from_secs(3600);
    });
    for _ in 0..20 {
        rig.submit();
    }
    rig.log.wait_for(rig.turn);
    let lazy = lazy_turn(&mut rig);
    rig.submit_records(lazy, false);
    rig.stop_and_check();
}

#[test]
fn a_full_queue_says_so_and_says_when_there_is_room() {
    let mut rig = Rig::with(38, |options| options.queue_bytes = 100_000);
    rig.submit();
    rig.log.wait_for(1);
    assert!(!rig.store.is_full());
    rig.fail(1, u64::from(u32::MAX), EIO, Fate::Lost);
    while !rig.store.is_full() {
        rig.submit();
    }
    rig.fail(0, 0, EIO, Fate::Lost);
    let seen = rig.log.wait(|seen| seen.rooms > 0);
    assert_eq!(seen.rooms, 1);
    drop(seen);
    assert!(!rig.store.is_full());
    rig.stop_and_check();
}

#[test]
fn stopping_remembers_the_time() {
    let mut rig = Rig::new(39);
    rig.submit();
    rig.log.wait_for(1);
    rig.store.submit(&[], &mut Vec::new(), number(1), false, checkpoint(7));
    rig.store.stop().unwrap();
    let (_, restored) = open(&rig.disk).unwrap();
    assert_eq!(restored.checkpoint, Some(checkpoint(7)));
}

#[test]
fn an_idle_store_can_be_told_to_write_the_time() {
    let mut rig = Rig::new(40);
    rig.submit();
    rig.log.wait_for(1);
    let before = rig.disk.syncs();
    rig.store.confirm(checkpoint(9));
    let load = all(OwnerId(1));
    rig.store.submit(&[], &mut vec![load], number(1), false, checkpoint(1));
    drop(rig.log.wait(|seen| !seen.loaded.is_empty()));
    assert!(rig.disk.syncs() > before, "it is on disk before what was asked later is answered");
    rig.store.stop().unwrap();
}
