use std::sync::Arc;

use bytes::Bytes;

use super::super::batch::Batch;
use super::super::encoding::Reader;
use super::super::record::LogRecord;
use super::*;
use crate::mqtt::{Message, QoS};
use crate::time::Timestamp;
use crate::turn::{Copy, Record, Sent};

const ONE: OwnerId = OwnerId(1);
const OTHER: OwnerId = OwnerId(2);

fn body(id: u64) -> Record {
    let message = Message {
        topic: "a".into(),
        properties: Default::default(),
        payload: Bytes::from(vec![7; 40]),
        qos: QoS::AtLeastOnce,
        retain: false,
        received: Timestamp(0),
        expiry: None,
        past: None,
    };
    Record::Message { id: MessageId(id), message: Arc::new(message) }
}

fn queued(owner: OwnerId, id: u64) -> Record {
    Record::Queued(Copy {
        owner,
        message: MessageId(id),
        qos: QoS::AtLeastOnce,
        retain: false,
        subscription_ids: None,
        size: 1,
        expires: None,
        deliveries: 0,
        sent: None,
    })
}

fn sent(id: u64, qos: QoS) -> Record {
    let (session, ordinal, subscription_ids, pubrec_arrived) = (ONE, id, None, false);
    let sent = Sent { session, ordinal, qos, subscription_ids, pubrec_arrived };
    Record::Sent { owner: ONE, message: MessageId(id), sent }
}

fn removed(owner: OwnerId, id: u64) -> Record {
    Record::Removed { owner, message: MessageId(id), lazy: true }
}

/// What is written of these records, when messages up to `after` came earlier.
fn written(after: u64, records: &[Record]) -> Vec<(&'static str, u64)> {
    let mut batch = Batch::default();
    batch.begin_after(MessageId(after));
    records.iter().for_each(|record| batch.add(record));
    batch.seal();
    let mut reader = Reader::new(&batch.log);
    let mut said = Vec::new();
    while !reader.is_empty() {
        said.push(match LogRecord::read(&mut reader).unwrap() {
            LogRecord::Message { id, .. } => ("body", id.0),
            LogRecord::Queued(copy) => ("copy", copy.message.0),
            LogRecord::Sent { message, .. } => ("sent", message.0),
            LogRecord::PubRecArrived { message, .. } => ("arrived", message.0),
            LogRecord::DeliveryFailed { message, .. } => ("failed", message.0),
            LogRecord::Removed { message, .. } => ("removed", message.0),
            other => panic!("{other:?}"),
        });
    }
    said
}

/// All of these records are written.
fn assert_stays(after: u64, records: &[Record]) {
    assert_eq!(written(after, records).len(), records.len(), "{records:?}");
}

#[test]
fn of_what_came_and_went_nothing_is_written() {
    assert!(written(0, &[body(1), queued(ONE, 1), removed(ONE, 1)]).is_empty());
    let sent = sent(1, QoS::AtLeastOnce);
    assert!(written(0, &[body(1), queued(ONE, 1), sent, removed(ONE, 1)]).is_empty());
    let records = [
        removed(ONE, 3),
        body(11),
        queued(ONE, 11),
        body(12),
        queued(OTHER, 12),
        removed(ONE, 11),
        body(14),
        queued(ONE, 14),
        removed(OTHER, 12),
        removed(ONE, 4),
    ];
    let left = [("removed", 3), ("body", 14), ("copy", 14), ("removed", 4)];
    assert_eq!(written(10, &records), left);
}

#[test]
fn what_another_record_names_stays() {
    let id = MessageId(5);
    let [body, queued, removed] = [body(5), queued(ONE, 5), removed(ONE, 5)];
    let failed = Record::DeliveryFailed { owner: ONE, message: id, deliveries: 1 };
    let arrived = Record::PubRecArrived { owner: ONE, message: id };
    for other in [self::queued(OTHER, 5), failed, arrived, sent(5, QoS::ExactlyOnce), body.clone()]
    {
        let before = [body.clone(), queued.clone(), other.clone(), removed.clone()];
        assert_stays(4, &before);
        assert_stays(4, &[body.clone(), queued.clone(), removed.clone(), other]);
    }
    assert_stays(4, &[body.clone(), queued.clone(), self::removed(OTHER, 5)]);
    assert_stays(4, &[body, queued, removed.clone(), removed]);
}

#[test]
fn what_an_earlier_batch_may_know_stays() {
    assert_stays(5, &[body(5), queued(ONE, 5), removed(ONE, 5)]);
    // A body that is written anew, behind a newer one.
    assert_stays(4, &[body(6), body(5), queued(ONE, 5), removed(ONE, 5)]);
}

#[test]
fn a_copy_elsewhere_than_behind_its_body_stays() {
    assert_stays(4, &[body(5), removed(OTHER, 3), queued(ONE, 5), removed(ONE, 5)]);
}

#[test]
fn the_next_batch_begins_behind_the_newest_message() {
    let mut batch = Batch::default();
    batch.begin_after(MessageId(4));
    assert_eq!(batch.newest(), MessageId(4));
    batch.add(&body(5));
    batch.add(&queued(ONE, 6));
    batch.seal();
    assert_eq!(batch.newest(), MessageId(6));
    batch.clear();
    assert_eq!(batch.newest(), MessageId(0));
}
