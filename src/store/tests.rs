use super::encoding::Reader;
use super::record::LogRecord;
use super::*;
use crate::mqtt::packet::{RetainHandling, SubscriptionOptions};
use crate::mqtt::{Message, PacketId, QoS, ReasonCode, Version};
use crate::turn::{
    Copy, DeadId, DeadIndex, DeadLetter, DeadReason, EndCause, Marks, MessageId, OwnerId, Sent,
    SessionRecord, WillRecord,
};
use bytes::Bytes;

fn message(payload: &[u8]) -> Arc<Message> {
    Arc::new(Message {
        topic: "plant/a/temperature".into(),
        properties: Bytes::from_static(&[1, 1]),
        payload: Bytes::copy_from_slice(payload),
        qos: QoS::ExactlyOnce,
        retain: true,
        received: Timestamp(77),
        expiry: Some(60),
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
    Load { owner: OwnerId(owner), first: MessageId(0), last: MessageId(u64::MAX) }
}

fn reopened(path: &std::path::Path) -> (Database, Vec<Record>) {
    let (database, restored) = open(Options::new(path)).unwrap();
    (database, restored.records)
}

const NOW: Checkpoint = Checkpoint { at: Timestamp(1234), unix_ms: 99 };

#[test]
fn every_record_comes_back_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data/kedgemq.redb");
    let ended =
        Record::SessionEnded { session: OwnerId(2), cause: EndCause::Cleared, at: Timestamp(44) };
    let group = Record::Group { owner: OwnerId(3), filter: "$share/g/a/+".into() };
    let group_ended =
        Record::GroupEnded { owner: OwnerId(3), cause: EndCause::Expired, at: Timestamp(45) };
    let retained = Record::Retained { topic: "a/b".into(), message: Some(message(b"kept")) };
    {
        let (mut database, restored) = open(Options::new(&path)).unwrap();
        assert_eq!(restored.records, [Record::Marks(Marks::default())]);
        assert_eq!(restored.checkpoint, None);
        let records = [
            Record::Session(Box::new(session(1))),
            Record::Session(Box::new(session(2))),
            subscribed(1, "a/+"),
            subscribed(1, "b/#"),
            subscribed(2, "c"),
            group.clone(),
            body(10, b"ten"),
            Record::Queued(copy(1, 10)),
            Record::Queued(copy(2, 10)),
            received(1, 5),
            received(1, 65_535),
            received(2, 6),
            retained.clone(),
        ];
        database.commit(&records, NOW).unwrap();
        let records = [
            Record::Sent { owner: OwnerId(1), message: MessageId(10), sent: sent(1, 3) },
            Record::PubRecArrived { owner: OwnerId(1), message: MessageId(10) },
            Record::DeliveryFailed { owner: OwnerId(1), message: MessageId(10), deliveries: 4 },
            Record::Unsubscribed { session: OwnerId(1), filter: "b/#".into() },
            Record::Released { session: OwnerId(1), packet_id: PacketId::new(5).unwrap() },
            ended.clone(),
            group_ended.clone(),
            Record::Dead(Box::new(letter(1, 9, 11))),
        ];
        database.commit(&records, NOW).unwrap();
    }
    let (database, restored) = open(Options::new(&path)).unwrap();
    let mut merged = copy(1, 10);
    merged.deliveries = 4;
    merged.sent = Some(Sent { pubrec_arrived: true, ..sent(1, 3) });
    let expected = [
        Record::Marks(Marks { owner: 3, message: 11, dead: 1 }),
        Record::Session(Box::new(session(1))),
        Record::Session(Box::new(session(2))),
        ended,
        group,
        group_ended,
        subscribed(1, "a/+"),
        Record::Queued(merged),
        Record::Queued(copy(2, 10)),
        received(1, 65_535),
        retained,
        Record::DeadIndex(DeadIndex {
            id: DeadId(1),
            died: Timestamp(88),
            size: u32::try_from(message(b"dead").size()).unwrap(),
        }),
    ];
    assert_eq!(restored.records, expected);
    assert_eq!(restored.checkpoint, Some(NOW));
    let loaded = database.load(all(2)).unwrap();
    assert_eq!(loaded[0].message, message(b"ten"));
    assert_eq!(loaded[0].id, MessageId(10));
    let kept = database.dead_letter(DeadId(1)).unwrap();
    assert_eq!(kept, Some(letter(1, 9, 11)));
}
