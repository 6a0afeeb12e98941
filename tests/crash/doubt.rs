//! A file so large that a start does not read all of it, with something wrong in what it did not
//! read: the store ends when it finds that, and the next start sets the file aside.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kedgemq::store::{OnBroken, Options, StoreError, open, suspicion};
use kedgemq::turn::{Marks, OwnerId, Record, StoreState};

use crate::model::Model;
use crate::store::{HOT_BYTES, LOG_BYTES, all, checkpoint};
use crate::thread::{Log, number};
use crate::workload::Workload;

/// Every file is large.
fn options(path: &Path) -> Options {
    Options { checked_bytes: 0, ..Options::new(path) }
}

/// A file most of whose copies are in the cold tables.
fn filled(path: &Path) -> Model {
    let (mut database, _) = open(Options::new(path)).unwrap();
    database.limit_log(LOG_BYTES);
    database.limit_hot(HOT_BYTES);
    let mut workload = Workload::slow(7);
    for turn in 1..=300 {
        let records = workload.turn();
        database.commit(&records, checkpoint(turn)).unwrap();
    }
    assert!(database.cold_counts().chunks > 10);
    database.close().unwrap();
    workload.model
}

/// Alters a message where only a load sees it; gives its owner.
fn alter_a_cold_message(path: &Path, model: &Model) -> OwnerId {
    let good = fs::read(path).unwrap();
    let start = |id| model.bodies[id].payload.first_chunk::<16>().copied();
    let mut places: HashMap<[u8; 16], Vec<usize>> =
        model.copies.keys().filter_map(|(_, id)| Some((start(id)?, Vec::new()))).collect();
    for (at, found) in good.windows(16).enumerate() {
        if let Some(places) = places.get_mut(found) {
            places.push(at);
        }
    }
    let mut oldest_first: Vec<_> = model.copies.keys().collect();
    oldest_first.sort_unstable_by_key(|(_, id)| *id);
    for (owner, id) in oldest_first {
        let Some(places) = start(id).map(|start| &places[&start]) else { continue };
        let mut bytes = good.clone();
        places.iter().for_each(|at| bytes[*at] ^= 4);
        fs::write(path, &bytes).unwrap();
        let probe = Options { on_broken: OnBroken::Stop, ..options(path) };
        if bytes != good && open(probe).is_ok() {
            fs::write(path, &bytes).unwrap();
            return *owner;
        }
    }
    panic!("a start reads every message");
}

/// Lets the store find it; gives a copy of what it leaves, as its own file stays open.
fn found(path: &Path, owner: OwnerId, directory: &Path) -> PathBuf {
    let (database, restored) = open(options(path)).unwrap();
    assert_eq!(restored.broken, None, "a start does not see it");
    let log = Arc::new(Log::default());
    let store = database.start(log.clone());
    let load = all(owner);
    store.submit(&[], &mut vec![load], number(0), false, checkpoint(1));
    let error = log.broken();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert_eq!(log.states(), [StoreState::Failing]);
    assert_eq!(store.stop().unwrap_err(), error);
    assert_eq!(suspicion(path), Some(error.to_string()));
    let copy = directory.join("copy.redb");
    fs::copy(path, &copy).unwrap();
    fs::copy(path.with_extension("suspect"), copy.with_extension("suspect")).unwrap();
    copy
}

#[test]
fn what_is_found_corrupt_in_use_is_set_aside_by_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data.redb");
    let model = filled(&path);
    let owner = alter_a_cold_message(&path, &model);
    let path = found(&path, owner, directory.path());
    let (database, restored) = open(options(&path)).unwrap();
    assert!(matches!(restored.broken, Some(StoreError::Corrupt { .. })), "{:?}", restored.broken);
    assert!(restored.set_aside.is_some() && restored.suspicion.is_some());
    assert_eq!(restored.records, [Record::Marks(Marks::default())]);
    assert_eq!(suspicion(&path), None);
    database.close().unwrap();
}

#[test]
fn it_can_stop_each_start_until_somebody_puts_another_file_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data.redb");
    let model = filled(&path);
    let good = fs::read(&path).unwrap();
    let owner = alter_a_cold_message(&path, &model);
    let path = found(&path, owner, directory.path());
    let stop = Options { on_broken: OnBroken::Stop, ..options(&path) };
    for _ in 0..2 {
        let error = open(stop.clone()).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
        assert!(suspicion(&path).is_some());
    }
    fs::write(&path, good).unwrap();
    let (_, restored) = open(stop).unwrap();
    assert_eq!(restored.records, model.restored());
}

#[test]
fn a_file_that_is_doubted_in_vain_is_restored() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data.redb");
    let model = filled(&path);
    fs::write(path.with_extension("suspect"), "a panic\n").unwrap();
    let (_, restored) = open(options(&path)).unwrap();
    assert_eq!(restored.records, model.restored());
    assert_eq!(restored.suspicion.as_deref(), Some("a panic"));
    assert_eq!(restored.set_aside, None);
    assert_eq!(suspicion(&path), None);
}
