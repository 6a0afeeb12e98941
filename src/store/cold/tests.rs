use std::path::Path;
use std::sync::Arc;

use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata};

use super::{BODIES, COLD, COLD_INDEX};
use crate::mqtt::{Message, QoS};
use crate::store::{Checkpoint, Database, Options, StoreError, open};
use crate::time::Timestamp;
use crate::turn::{Copy, Load, MessageId, OwnerId, Record};

const NOW: Checkpoint = Checkpoint { at: Timestamp(1), unix_ms: 1 };

fn message(len: usize) -> Arc<Message> {
    Arc::new(Message {
        topic: "plant/a".into(),
        properties: Default::default(),
        payload: vec![7; len].into(),
        qos: QoS::AtLeastOnce,
        retain: false,
        received: Timestamp(1),
        expiry: None,
        past: None,
    })
}

fn queued(owner: u64, id: u64, len: usize) -> Record {
    Record::Queued(Copy {
        owner: OwnerId(owner),
        message: MessageId(id),
        qos: QoS::AtLeastOnce,
        retain: false,
        subscription_ids: None,
        size: u32::try_from(message(len).size()).unwrap(),
        expires: None,
        deliveries: 0,
        sent: None,
    })
}

fn turn(id: u64, owners: &[u64], len: usize) -> Vec<Record> {
    let body = Record::Message { id: MessageId(id), message: message(len) };
    let copies = owners.iter().map(|owner| queued(*owner, id, len));
    std::iter::once(body).chain(copies).collect()
}

fn all(owner: u64) -> Load {
    Load {
        owner: OwnerId(owner),
        first: MessageId(0),
        last: MessageId(u64::MAX),
        count: u32::MAX,
        bytes: u32::MAX,
        expired_by: None,
        after_lazy: true,
    }
}

fn open_small(path: &Path) -> Database {
    let (mut database, _) = open(Options::new(path)).unwrap();
    database.limit_hot(32_000);
    database
}

/// A store where nearly all waits in the cold tables.
fn filled(path: &Path, owners: &[u64], messages: u64, len: usize) -> Database {
    let mut database = open_small(path);
    for id in 1..=messages {
        database.commit(&turn(id, owners, len), NOW).unwrap();
    }
    while database.has_work() {
        database.work().unwrap();
    }
    database
}

/// Rows of `cold`, of `cold_index` and of `bodies`.
fn rows(path: &Path) -> [u64; 3] {
    let file = redb::Database::open(path).unwrap();
    let read = file.begin_read().unwrap();
    [
        read.open_table(COLD).unwrap().len().unwrap(),
        read.open_table(COLD_INDEX).unwrap().len().unwrap(),
        read.open_table(BODIES).unwrap().len().unwrap(),
    ]
}

fn path() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    (directory, path)
}

#[test]
fn a_long_queue_of_a_forgotten_owner_goes_in_slices_and_after_a_restart_too() {
    let (_directory, path) = path();
    let mut database = filled(&path, &[1], 1500, 300);
    for id in 1501..=1600 {
        database.commit(&turn(id, &[1, 2], 300), NOW).unwrap();
    }
    let forgotten = [Record::OwnerForgotten { owner: OwnerId(1) }];
    let before = database.load(all(2)).unwrap().copies.len();
    database.commit(&forgotten, NOW).unwrap();
    assert!(database.load(all(1)).unwrap().copies.is_empty());
    database.close().unwrap();
    let [_, some, _] = rows(&path);
    let (mut database, restored) = open(Options::new(&path)).unwrap();
    let backlogs = restored.records.iter().filter(|it| matches!(it, Record::Backlog(_)));
    assert_eq!(backlogs.count(), 1);
    assert!(database.has_work());
    while database.has_work() {
        database.work().unwrap();
    }
    assert_eq!(database.load(all(2)).unwrap().copies.len(), before);
    database.commit(&[Record::OwnerForgotten { owner: OwnerId(2) }], NOW).unwrap();
    while database.has_work() {
        database.work().unwrap();
    }
    database.close().unwrap();
    assert!(some > 64, "{some} rows were left after one commit");
    assert_eq!(rows(&path), [0, 0, 0]);
}

#[test]
fn a_body_that_many_wait_for_is_stored_once() {
    let (_directory, path) = path();
    let owners: Vec<u64> = (1..=50).collect();
    let mut database = filled(&path, &owners, 100, 1000);
    let moved = database.cold_counts().copies;
    assert!(moved > 3000, "{moved}");
    for owner in owners {
        let loaded = database.load(all(owner)).unwrap().copies;
        assert_eq!(loaded.len(), 100);
        assert!(loaded.iter().all(|it| it.message == message(1000)));
    }
    database.close().unwrap();
    let file = redb::Database::open(&path).unwrap();
    let read = file.begin_read().unwrap();
    let bodies = read.open_table(BODIES).unwrap();
    let rows = bodies.iter().unwrap().map(|row| row.unwrap().1.value().len() as u64);
    let stored: u64 = rows.sum();
    assert!(stored < 110 * 1000, "{stored}");
    let chunks = read.open_table(COLD).unwrap();
    let rows = chunks.iter().unwrap().map(|row| row.unwrap().1.value().len() as u64);
    let stored: u64 = rows.sum();
    assert!(stored < moved * 30, "{stored}");
}

/// And so a start reads none of it.
#[test]
fn a_chunk_that_was_altered_is_found_out_when_it_is_read() {
    let (_directory, path) = path();
    filled(&path, &[1], 300, 500).close().unwrap();
    {
        let file = redb::Database::open(&path).unwrap();
        let write = file.begin_write().unwrap();
        {
            let mut table = write.open_table(COLD).unwrap();
            let (key, mut row) = {
                let (key, row) = table.first().unwrap().unwrap();
                (key.value(), row.value().to_vec())
            };
            row[100] ^= 1;
            table.insert(key, row.as_slice()).unwrap();
        }
        write.commit().unwrap();
    }
    let mut database = open_small(&path);
    let error = database.load(all(1)).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    // The rest is whole.
    let behind = Load { first: MessageId(100), ..all(1) };
    assert_eq!(database.load(behind).unwrap().copies.len(), 201);
}

#[test]
fn what_waits_for_long_moves_from_a_small_log_too() {
    let (_directory, path) = path();
    let mut database = open_small(&path);
    for id in 1..=10 {
        database.commit(&turn(id, &[1], 1000), NOW).unwrap();
    }
    assert!(!database.has_work());
    let later = Checkpoint { at: Timestamp(11 * 60 * 1000), unix_ms: 2 };
    database.commit(&turn(11, &[1], 1000), later).unwrap();
    while database.has_work() {
        database.work().unwrap();
    }
    assert!(database.cold_counts().copies >= 10);
    assert_eq!(database.load(all(1)).unwrap().copies.len(), 11);
}

#[test]
fn a_load_gets_no_more_than_it_asks_for() {
    let (_directory, path) = path();
    let mut database = filled(&path, &[1], 300, 500);
    let mut next = 1;
    while next <= 300 {
        let load = Load { first: MessageId(next), count: 7, ..all(1) };
        let loaded = database.load(load).unwrap();
        let ids: Vec<u64> = loaded.copies.iter().map(|it| it.copy.message.0).collect();
        let expected: Vec<u64> = (next..(next + 7).min(301)).collect();
        assert_eq!(ids, expected);
        assert_eq!(loaded.has_more, next + 7 <= 300);
        next += 7;
    }
    let load = Load { bytes: 1200, ..all(1) };
    assert_eq!(database.load(load).unwrap().copies.len(), 2);
    let load = Load { bytes: 1, ..all(1) };
    assert_eq!(database.load(load).unwrap().copies.len(), 1);
}

/// Many queues take some of their chunks at the same time: few stay in memory.
#[test]
fn chunks_that_many_take_from_do_not_stay_in_memory() {
    let (_directory, path) = path();
    let owners: Vec<u64> = (1..=700).collect();
    let mut database = open_small(&path);
    database.limit_hot(400_000);
    for id in 1..=40 {
        database.commit(&turn(id, &owners, 100), NOW).unwrap();
    }
    while database.has_work() {
        database.work().unwrap();
    }
    for owner in &owners {
        let first = Load { count: 1, ..all(*owner) };
        let taken = database.load(first).unwrap().copies[0].copy.message;
        let removed = Record::Removed { owner: OwnerId(*owner), message: taken, lazy: true };
        database.commit(&[removed], NOW).unwrap();
    }
    assert!(database.open_chunks() <= 513, "{}", database.open_chunks());
    drop(database);
    let mut database = open_small(&path);
    for owner in owners {
        assert_eq!(database.load(all(owner)).unwrap().copies.len(), 39);
    }
    assert!(database.open_chunks() <= 701);
}

/// Messages of 1,000 bytes for some owners in turn, in a log that is not large: what each waits
/// for lies between that of all others.
fn interleaved(path: &Path, owners: u64, messages: u64) -> Database {
    let mut database = open_small(path);
    database.limit_hot(1250 * messages);
    let ids: Vec<u64> = (1..=messages).collect();
    for ids in ids.chunks(100) {
        let turns = ids.iter().flat_map(|id| turn(*id, &[id % owners], 1000));
        database.commit(&turns.collect::<Vec<_>>(), NOW).unwrap();
    }
    assert!(!database.has_work());
    database
}

#[test]
fn queues_that_are_read_side_by_side_stay_in_the_log() {
    let (_directory, path) = path();
    let mut database = interleaved(&path, 10, 4000);
    for step in 0..8 {
        let mut removed = Vec::new();
        for owner in 0..10 {
            if owner % 5 == 0 {
                // Some come later than others, so that all is read twice.
                database.forget_segments();
            }
            let load = Load { first: MessageId(step * 500 + 1), count: 50, ..all(owner) };
            for copy in database.load(load).unwrap().copies {
                let (owner, message) = (copy.copy.owner, copy.copy.message);
                removed.push(Record::Removed { owner, message, lazy: true });
            }
        }
        assert_eq!(removed.len(), 500);
        database.commit(&removed, NOW).unwrap();
        assert!(!database.has_work(), "what is taken anyway is not moved");
    }
    assert_eq!(database.cold_counts().copies, 0);
}

#[test]
fn queues_that_are_read_one_after_the_other_leave_the_log() {
    let (_directory, path) = path();
    let mut database = interleaved(&path, 40, 4000);
    for owner in 0..20 {
        assert_eq!(database.load(all(owner)).unwrap().copies.len(), 100);
    }
    database.commit(&turn(4001, &[1], 1000), NOW).unwrap();
    while database.has_work() {
        database.work().unwrap();
    }
    assert!(database.cold_counts().copies >= 4000);
    assert_eq!(database.load(all(39)).unwrap().copies.len(), 100);
}
