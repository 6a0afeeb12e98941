//! Crashes under a seeded workload of records, one commit a turn.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kedgemq::store::{
    Checkpoint, ColdCounts, Database, Options, Restored, StoreError, open_backend,
};
use kedgemq::time::Timestamp;
use kedgemq::turn::{Load, MessageId, OwnerId, Record};

use crate::backend::Disk;
use crate::model::Model;
use crate::workload::Workload;

/// So small that the log of these tests is collected all the time.
pub(crate) const LOG_BYTES: u64 = 300_000;

/// So small that what waits in these tests moves to the cold tables all the time.
pub(crate) const HOT_BYTES: u64 = 10_000;

pub(crate) fn open(disk: &Disk) -> Result<(Database, Restored), StoreError> {
    open_with(disk, false)
}

fn open_with(disk: &Disk, two_phase_commit: bool) -> Result<(Database, Restored), StoreError> {
    let disk = disk.clone();
    let options = Options { two_phase_commit, ..Options::new(PathBuf::from("the test disk")) };
    let (mut database, restored) = open_backend(move || Ok(disk.clone()), options)?;
    database.limit_log(LOG_BYTES);
    database.limit_hot(HOT_BYTES);
    Ok((database, restored))
}

/// The checkpoint says after which turn it is.
pub(crate) fn checkpoint(turn: usize) -> Checkpoint {
    Checkpoint { at: Timestamp(turn as u64), unix_ms: 1_000_000 + turn as u64 }
}

pub(crate) fn all(owner: OwnerId) -> Load {
    Load {
        owner,
        first: MessageId(0),
        last: MessageId(u64::MAX),
        count: u32::MAX,
        bytes: u32::MAX,
        expired_by: None,
        after_lazy: true,
    }
}

/// Holds when the disk has what the model of some turn from `least` on says; gives the turn.
pub(crate) fn check(disk: &Disk, models: &[Model], least: usize) -> usize {
    let (mut database, restored) = open(disk).expect("what a crash leaves can be opened");
    let turn = restored.checkpoint.map_or(0, |checkpoint| checkpoint.at.0);
    let turn = usize::try_from(turn).unwrap();
    assert!(turn >= least, "turn {least} was acknowledged, found {turn}");
    let model = models.get(turn).expect("no turn that was not submitted");
    assert_eq!(restored.records, model.restored(), "after turn {turn}");
    for owner in model.sessions.keys().chain(model.groups.keys()) {
        for load in loads(model, *owner) {
            assert_eq!(database.load(load).unwrap(), model.loaded(load), "after turn {turn}");
        }
    }
    for (id, letter) in &model.dead {
        assert_eq!(database.dead_letter(*id).unwrap().as_ref(), Some(letter));
    }
    turn
}

/// Loads of a queue: all of it, some of its middle, what fits, what expired.
fn loads(model: &Model, owner: OwnerId) -> [Load; 5] {
    let queue = model.queue(owner);
    let middle = queue.get(queue.len() / 2).map_or(MessageId(0), |it| it.copy.message);
    let all = all(owner);
    let expired_by = queue.iter().rev().find_map(|it| it.copy.expires);
    [
        all,
        Load { first: middle, count: 3, ..all },
        Load { last: middle, bytes: 5000, ..all },
        Load { expired_by: expired_by.or(Some(Timestamp(0))), ..all },
        Load { expired_by: Some(Timestamp(60_010)), count: 2, ..all },
    ]
}

/// Crashes at every sync of `turns` commits, one turn each, and between some of them, where the
/// store goes on by itself. Gives what happened in the cold tables.
fn crash_everywhere(
    seed: u64,
    mut workload: Workload,
    turns: usize,
    two_phase_commit: bool,
) -> ColdCounts {
    let disk = Disk::default();
    disk.set_seed(seed);
    let (mut database, _) = open_with(&disk, two_phase_commit).unwrap();
    database.limit_log(0);
    let models = Arc::new(Mutex::new(vec![Model::default()]));
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let crashes = Arc::new(AtomicUsize::new(0));
    {
        let (models, acknowledged) = (models.clone(), acknowledged.clone());
        let crashes = crashes.clone();
        disk.at_each_sync(move |crashed| {
            crashes.fetch_add(1, Ordering::Relaxed);
            let least = acknowledged.load(Ordering::Relaxed);
            check(&crashed, &models.lock().unwrap(), least);
        });
    }
    for turn in 1..=turns {
        let records = workload.turn();
        models.lock().unwrap().push(workload.model.clone());
        database.commit(&records, checkpoint(turn)).unwrap();
        acknowledged.store(turn, Ordering::Relaxed);
        if database.has_work() && turn.is_multiple_of(3) {
            database.work().unwrap();
        }
    }
    disk.forget_hook();
    let counts = database.cold_counts();
    drop(database);
    assert!(crashes.load(Ordering::Relaxed) >= turns);
    assert_eq!(check(&disk, &models.lock().unwrap(), turns), turns);
    counts
}

#[test]
fn a_crash_at_any_sync_loses_nothing_acknowledged() {
    crash_everywhere(1, Workload::new(1), 250, false);
}

#[test]
fn a_crash_at_any_sync_loses_nothing_acknowledged_with_another_seed() {
    crash_everywhere(2, Workload::new(2), 250, false);
}

#[test]
fn a_crash_at_any_sync_of_two_phases_loses_nothing_acknowledged() {
    crash_everywhere(3, Workload::new(3), 60, true);
}

#[test]
fn a_crash_at_any_sync_of_a_move_to_the_cold_tables_loses_nothing() {
    let mut total = ColdCounts::default();
    for seed in 4..8 {
        let counts = crash_everywhere(seed, Workload::slow(seed), 300, false);
        total.copies += counts.copies;
        total.chunks += counts.chunks;
        total.bodies += counts.bodies;
        total.bodies_freed += counts.bodies_freed;
        total.chunks_emptied += counts.chunks_emptied;
        total.rows_updated += counts.rows_updated;
        total.chunks_forgotten += counts.chunks_forgotten;
    }
    assert!(total.copies > 4000 && total.chunks > 400, "{total:?}");
    assert!(total.bodies > 100 && total.bodies_freed > 50, "{total:?}");
    assert!(total.chunks_emptied > 200 && total.rows_updated > 50, "{total:?}");
    assert!(total.chunks_forgotten > 10, "{total:?}");
}

#[test]
fn a_crash_while_the_file_is_made_leaves_an_empty_store() {
    for seed in 0..20 {
        let disk = Disk::default();
        disk.set_seed(seed);
        disk.at_each_sync(|crashed| {
            check(&crashed, &[Model::default()], 0);
        });
        drop(open(&disk).unwrap());
        assert!(disk.syncs() > 1);
    }
}

#[test]
fn the_file_stays_small_while_messages_come_and_go() {
    let disk = Disk::default();
    let (mut database, _) = open(&disk).unwrap();
    let mut workload = Workload::new(3);
    let mut written = 0;
    for turn in 1..=1500 {
        // Some stay for long, as `a_copy` leaves the newest alone and chooses at random.
        let records = workload.turn_of_messages(20);
        written += records.iter().map(bytes).sum::<usize>();
        database.commit(&records, checkpoint(turn)).unwrap();
    }
    assert!(written > 20_000_000, "{written}");
    assert!(disk.size() < 8_000_000, "{}", disk.size());
    drop(database);
    let (_, restored) = open(&disk).unwrap();
    assert_eq!(restored.records, workload.model.restored());
}

fn bytes(record: &Record) -> usize {
    match record {
        Record::Message { message, .. } => message.size(),
        _ => 0,
    }
}
