use super::*;
use std::sync::Arc;

use crate::mqtt::packet::{RetainHandling, SubscriptionOptions};
use crate::mqtt::{Message, PacketId, QoS, ReasonCode, Version};
use crate::store::open;
use crate::time::Timestamp;
use crate::turn::{
    Backlog, Copy, DeadId, DeadIndex, DeadLetter, DeadReason, EndCause, Marks, MessageId, OwnerId,
    Sent, SessionRecord, WillRecord,
};
use bytes::Bytes;

fn message(payload: &[u8]) -> Arc<Message> {
    Arc::new(Message {
        topic: "plant/a/temperature".into(),
        properties: Bytes::from_static(&[1, 1]).into(),
        payload: Bytes::copy_from_slice(payload),
        qos: QoS::ExactlyOnce,
        retain: true,
        received: Timestamp(77),
        expiry: Some(60),
        past: None,
    })
}

fn session(id: u64) -> SessionRecord {
    SessionRecord {
        id: OwnerId(id),
        client_id: format!("client-{id}").into(),
        user: Some("anna".into()),
        version: Version::V5,
        expiry: u32::MAX,
        disconnected: Some(Timestamp(5)),
        ordinal_bound: 1000,
        taken: [7, 65_535].into_iter().filter_map(PacketId::new).collect(),
        will: Some(Box::new(WillRecord { message: Message::clone(&message(b"gone")), delay: 30 })),
    }
}

fn copy(owner: u64, id: u64) -> Copy {
    Copy {
        owner: OwnerId(owner),
        message: MessageId(id),
        qos: QoS::ExactlyOnce,
        retain: false,
        subscription_ids: Some([3, 268_435_455].into()),
        size: 100,
        expires: Some(Timestamp(9)),
        deliveries: 0,
        sent: None,
    }
}

fn sent(session: u64, ordinal: u64) -> Sent {
    Sent {
        session: OwnerId(session),
        ordinal,
        qos: QoS::ExactlyOnce,
        subscription_ids: Some([9].into()),
        pubrec_arrived: false,
    }
}

fn letter(id: u64, owner: u64, message_id: u64) -> DeadLetter {
    DeadLetter {
        id: DeadId(id),
        owner: OwnerId(owner),
        message_id: MessageId(message_id),
        reason: DeadReason::Rejected,
        first_reason: DeadReason::TooLarge,
        owner_name: "client-1".into(),
        filter: Some("plant/#".into()),
        qos: QoS::AtLeastOnce,
        retain: true,
        deliveries: 3,
        deaths: 2,
        redrives: 1,
        origin: DeadId(id),
        retry: None,
        reason_code: Some(ReasonCode::QUOTA_EXCEEDED),
        reason_string: Some("no".into()),
        died: Timestamp(88),
        died_unix_ms: 1_700_000_000_000,
        message: message(b"dead"),
    }
}

fn subscribed(id: u64, filter: &str) -> Record {
    Record::Subscribed {
        session: OwnerId(id),
        filter: filter.into(),
        options: SubscriptionOptions {
            qos: QoS::AtLeastOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::DoNotSend,
        },
        subscription_id: Some(7),
    }
}

fn body(id: u64, payload: &[u8]) -> Record {
    Record::Message { id: MessageId(id), message: message(payload) }
}

fn removed(owner: u64, id: u64) -> Record {
    Record::Removed { owner: OwnerId(owner), message: MessageId(id), lazy: false }
}

fn received(id: u64, packet_id: u16) -> Record {
    Record::Received { session: OwnerId(id), packet_id: PacketId::new(packet_id).unwrap() }
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

const NOW: Checkpoint = Checkpoint { at: Timestamp(1234), unix_ms: 99 };

fn ended() -> Record {
    Record::SessionEnded { session: OwnerId(2), cause: EndCause::Cleared, at: Timestamp(44) }
}

fn group() -> [Record; 2] {
    let owner = OwnerId(3);
    let group = Record::Group { owner, filter: "$share/g/a/+".into() };
    let ended = Record::GroupEnded { owner, cause: EndCause::Expired, at: Timestamp(45) };
    [group, ended]
}

fn retained(topic: &str, payload: Option<&[u8]>) -> Record {
    Record::Retained { topic: topic.into(), message: payload.map(message), lazy: false }
}

fn first_turn() -> Vec<Record> {
    vec![
        Record::Session(Box::new(session(1))),
        Record::Session(Box::new(session(2))),
        subscribed(1, "a/+"),
        subscribed(1, "b/#"),
        subscribed(2, "c"),
        group()[0].clone(),
        body(10, b"ten"),
        Record::Queued(copy(1, 10)),
        Record::Queued(copy(2, 10)),
        received(1, 5),
        received(1, 65_535),
        received(2, 6),
        retained("a/b", Some(b"kept")),
        retained("a/c", Some(b"cleared")),
    ]
}

fn second_turn() -> Vec<Record> {
    let (owner, message) = (OwnerId(1), MessageId(10));
    vec![
        Record::Sent { owner, message, sent: sent(1, 3) },
        Record::PubRecArrived { owner, message },
        Record::DeliveryFailed { owner, message, deliveries: 4 },
        Record::Unsubscribed { session: owner, filter: "b/#".into() },
        Record::Released { session: owner, packet_id: PacketId::new(5).unwrap() },
        ended(),
        group()[1].clone(),
        retained("a/c", None),
        Record::Dead(Box::new(letter(1, 9, 11))),
    ]
}

/// After both turns.
fn both_turns() -> Vec<Record> {
    let [group, group_ended] = group();
    let mut merged = copy(1, 10);
    merged.deliveries = 4;
    merged.sent = Some(Sent { pubrec_arrived: true, ..sent(1, 3) });
    vec![
        Record::Marks(Marks { owner: 3, message: 11, dead: 1 }),
        Record::Session(Box::new(session(1))),
        Record::Session(Box::new(session(2))),
        ended(),
        group,
        group_ended,
        subscribed(1, "a/+"),
        Record::Queued(merged),
        Record::Backlog(Backlog {
            owner: OwnerId(2),
            first: MessageId(10),
            count: 1,
            bytes: 100,
            soonest_expiry: Some(Timestamp(9)),
        }),
        received(1, 65_535),
        retained("a/b", Some(b"kept")),
        Record::DeadIndex(DeadIndex {
            id: DeadId(1),
            died: Timestamp(88),
            size: u32::try_from(message(b"dead").size()).unwrap(),
            retry: None,
        }),
    ]
}

#[test]
fn every_record_comes_back_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data/kedgemq.redb");
    let (mut database, restored) = open(Options::new(&path)).unwrap();
    assert_eq!(restored.records, [Record::Marks(Marks::default())]);
    assert_eq!(restored.checkpoint, None);
    database.commit(&first_turn(), NOW).unwrap();
    database.commit(&second_turn(), NOW).unwrap();
    drop(database);
    let (mut database, restored) = open(Options::new(&path)).unwrap();
    assert_eq!(restored.records, both_turns());
    assert_eq!(restored.checkpoint, Some(NOW));
    let loaded = database.load(all(2)).unwrap().copies;
    assert_eq!(loaded[0].message, message(b"ten"));
    assert_eq!(loaded[0].copy, copy(2, 10));
    let kept = database.dead_letter(DeadId(1)).unwrap();
    assert_eq!(kept, Some(letter(1, 9, 11)));
}

/// A group commit writes several turns as one.
#[test]
fn one_transaction_gives_what_two_give() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let (mut database, _) = open(Options::new(&path)).unwrap();
    let records = [first_turn(), second_turn()].concat();
    database.commit(&records, NOW).unwrap();
    drop(database);
    let (_, restored) = open(Options::new(&path)).unwrap();
    assert_eq!(restored.records, both_turns());
}

fn temporary() -> (tempfile::TempDir, Database) {
    let directory = tempfile::tempdir().unwrap();
    let (database, _) = open(Options::new(directory.path().join("store"))).unwrap();
    (directory, database)
}

#[test]
fn long_records_and_many_records_fill_rows_of_bounded_size() {
    let (directory, mut database) = temporary();
    let long = vec![7; 300_000];
    let mut records = Vec::new();
    for id in 1..=200 {
        let payload = if id == 100 { &long[..] } else { &long[..1000] };
        records.extend([body(id, payload), Record::Queued(copy(1, id))]);
    }
    database.commit(&records, NOW).unwrap();
    let loaded = database.load(all(1)).unwrap().copies;
    assert_eq!(loaded.len(), 200);
    assert_eq!(loaded[99].message, message(&long));
    assert_eq!(loaded[100].message, message(&long[..1000]));
    database.close().unwrap();
    let file = redb::Database::open(directory.path().join("store")).unwrap();
    let read = redb::ReadableDatabase::begin_read(&file).unwrap();
    let table = read.open_table(LOG).unwrap();
    let rows = redb::ReadableTable::iter(&table).unwrap();
    let lens: Vec<usize> = rows.map(|row| row.unwrap().1.value().len()).collect();
    assert!(lens.iter().all(|len| *len <= 65_472), "{lens:?}");
    assert!(lens.len() < 12, "{lens:?}");
}

#[test]
fn a_load_answers_with_what_is_still_there() {
    let (_directory, mut database) = temporary();
    let records: Vec<Record> =
        (1..=5).flat_map(|id| [body(id, &[1]), Record::Queued(copy(1, id))]).collect();
    database.commit(&records, NOW).unwrap();
    database.commit(&[removed(1, 3)], NOW).unwrap();
    let load = Load { first: MessageId(2), last: MessageId(4), ..all(1) };
    let loaded = database.load(load).unwrap();
    let ids: Vec<u64> = loaded.copies.iter().map(|it| it.copy.message.0).collect();
    assert_eq!(ids, [2, 4]);
    assert_eq!(database.load(all(2)).unwrap().copies, []);
}

#[test]
fn a_body_that_nobody_takes_is_not_kept() {
    let (_directory, mut database) = temporary();
    let records = [body(1, &[1]), body(2, &[2]), Record::Queued(copy(1, 2)), removed(1, 2)];
    database.commit(&records, NOW).unwrap();
    assert_eq!(database.index.live(), 0);
    database.reopen().unwrap();
    assert_eq!(database.index.live(), 0);
}

#[test]
fn the_index_is_the_same_after_a_restart() {
    let (_directory, mut database) = temporary();
    for id in 1..=300 {
        let mut records = vec![
            body(id, &[1; 500]),
            Record::Queued(copy(1, id)),
            Record::Queued(copy(2, id)),
            received(1, u16::try_from(id % 50 + 1).unwrap()),
        ];
        if id % 10 != 0 {
            records.extend([removed(1, id), removed(2, id)]);
        }
        if id > 40 && id % 20 == 0 {
            records.push(removed(2, id - 40));
        }
        database.commit(&records, NOW).unwrap();
    }
    let before = (database.index.bytes(), database.index.live());
    let received = database.index.received();
    let loaded = database.load(all(1)).unwrap();
    assert!(database.index.front().unwrap().key > 0, "it was collected");
    database.reopen().unwrap();
    assert_eq!((database.index.bytes(), database.index.live()), before);
    assert_eq!(database.index.received(), received);
    assert_eq!(database.load(all(1)).unwrap(), loaded);
}

#[test]
fn a_received_packet_identifier_holds_nothing_up() {
    let (_directory, mut database) = temporary();
    database.commit(&[received(1, 9), body(1, &[0; 1000])], NOW).unwrap();
    for id in 2..300 {
        let records = [body(id, &[0; 1000]), Record::Queued(copy(1, id)), removed(1, id)];
        database.commit(&records, NOW).unwrap();
        assert!(database.index.bytes() < 70_000);
    }
    database.reopen().unwrap();
    let packet_id = PacketId::new(9).unwrap();
    assert_eq!(database.index.received(), [(OwnerId(1), packet_id)]);
}

#[test]
fn a_queue_that_is_needed_is_not_written_again_and_again() {
    let (_directory, mut database) = temporary();
    let mut rows = 0;
    for id in 1..=500 {
        let records = [body(id, &[0; 50]), Record::Queued(copy(1, id))];
        let before = database.next_row;
        database.commit(&records, NOW).unwrap();
        rows += database.next_row - before;
        if id > 100 {
            database.commit(&[removed(1, id - 100)], NOW).unwrap();
        }
    }
    assert_eq!(rows, 500);
}

#[test]
fn after_an_error_nothing_works_until_it_is_opened_again() {
    let (_directory, mut database) = temporary();
    database.commit(&[body(1, &[1]), Record::Queued(copy(1, 1))], NOW).unwrap();
    database.redb = None;
    assert!(database.load(all(1)).is_err());
    assert!(database.commit(&[removed(1, 1)], NOW).is_err());
    database.reopen().unwrap();
    assert_eq!(database.load(all(1)).unwrap().copies.len(), 1);
}

#[test]
fn a_body_goes_on_to_another_owner_within_a_turn() {
    let (_directory, mut database) = temporary();
    database.commit(&[body(1, &[1]), Record::Queued(copy(1, 1))], NOW).unwrap();
    let records = [removed(1, 1), Record::Queued(copy(2, 1))];
    database.commit(&records, NOW).unwrap();
    assert_eq!(database.load(all(2)).unwrap().copies.len(), 1);
    database.reopen().unwrap();
    assert_eq!(database.load(all(2)).unwrap().copies.len(), 1);
}

#[test]
fn a_log_past_its_limit_shrinks_to_what_is_needed() {
    const LIMIT: u64 = 200_000;
    let (_directory, mut database) = temporary();
    database.limit_log(LIMIT);
    let mut rows = 0;
    for turn in 0..300 {
        let ids = turn * 10 + 1..turn * 10 + 11;
        let new = ids.clone().flat_map(|id| [body(id, &[0; 1000]), Record::Queued(copy(1, id))]);
        // Three of ten stay: too many to move a segment for its own sake.
        let gone = ids.filter(|id| id % 10 > 2).map(|id| removed(1, id));
        let records: Vec<Record> = new.chain(gone).collect();
        let before = database.next_row;
        database.commit(&records, NOW).unwrap();
        rows += database.next_row - before;
    }
    assert_eq!(database.load(all(1)).unwrap().copies.len(), 900);
    let (bytes, live) = (database.index.bytes(), database.index.live());
    assert!(bytes > LIMIT && bytes < 2 * live + 20_000, "{bytes} bytes, {live} live");
    assert!(rows < 700, "{rows} rows in 300 commits");
    database.reopen().unwrap();
    assert_eq!(database.load(all(1)).unwrap().copies.len(), 900);
}

#[test]
fn another_file_in_place_of_the_one_that_failed_is_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let (mut database, _) = open(Options::new(&path)).unwrap();
    database.commit(&[body(1, &[1]), Record::Queued(copy(1, 1))], NOW).unwrap();
    database.redb = None;
    let away = directory.path().join("away");
    std::fs::rename(&path, &away).unwrap();
    let error = database.reopen().unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
    assert!(!path.exists());
    drop(open(Options::new(&path)).unwrap());
    let error = database.reopen().unwrap_err();
    assert!(error.to_string().contains("another file"), "{error}");
    std::fs::rename(&away, &path).unwrap();
    database.reopen().unwrap();
    assert_eq!(database.load(all(1)).unwrap().copies.len(), 1);
}

#[test]
fn of_what_came_and_went_in_one_commit_nothing_is_written() {
    let (_directory, mut database) = temporary();
    let passing = [body(5, b"passes"), Record::Queued(copy(1, 5)), removed(1, 5)];
    database.commit(&passing, NOW).unwrap();
    assert_eq!((database.index.bytes(), database.index.live()), (0, 0));
    assert_eq!(database.newest_message(), MessageId(5), "its id is never used again");
}

#[test]
fn a_copy_of_an_earlier_commit_that_is_written_anew_and_removed_is_gone() {
    for is_opened_again in [false, true] {
        let (directory, mut database) = temporary();
        let stored = [body(5, b"stays"), Record::Queued(copy(1, 5))];
        database.commit(&stored, NOW).unwrap();
        if is_opened_again {
            database.close().unwrap();
            database = open(Options::new(directory.path().join("store"))).unwrap().0;
        }
        let anew = [body(5, b"stays"), Record::Queued(copy(1, 5)), removed(1, 5)];
        database.commit(&anew, NOW).unwrap();
        assert!(database.load(all(1)).unwrap().copies.is_empty());
        assert_eq!(database.index.live(), 0);
    }
}
