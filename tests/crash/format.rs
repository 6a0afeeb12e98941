//! A file of an older format opens with all that is in it, and goes on as one of this format.
//!
//! `fixtures/format-1.blocks` was written by the store of format 1 from [`turns`]: the 64-byte
//! blocks of its file that are not zero, each after its number (4 bytes, little endian); the
//! number of blocks of the file stands in front.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use kedgemq::mqtt::packet::{RetainHandling, SubscriptionOptions};
use kedgemq::mqtt::{Message, PacketId, QoS, ReasonCode, Version};
use kedgemq::store::{Options, open};
use kedgemq::time::Timestamp;
use kedgemq::turn::{
    Copy, DeadId, DeadLetter, DeadReason, EndCause, MessageId, OwnerId, Record, Sent, SessionRecord,
};

use crate::model::Model;
use crate::store::{all, checkpoint};

const BLOCK: usize = 64;
const FORMAT_1: &[u8] = include_bytes!("fixtures/format-1.blocks");

fn message(id: u64) -> Arc<Message> {
    Arc::new(Message {
        topic: format!("plant/{}/a", id % 5).into(),
        properties: Bytes::from_static(&[1, 1]).into(),
        payload: format!("payload {id}").into_bytes().into(),
        qos: QoS::ExactlyOnce,
        retain: false,
        received: Timestamp(id),
        expiry: id.is_multiple_of(2).then_some(60),
        past: None,
    })
}

fn sent(session: u64, ordinal: u64) -> Sent {
    Sent {
        session: OwnerId(session),
        ordinal,
        qos: QoS::ExactlyOnce,
        subscription_ids: Some([3].into()),
        pubrec_arrived: false,
    }
}

fn queued(owner: u64, id: u64, sent: Option<Sent>) -> Record {
    let message = message(id);
    Record::Queued(Copy {
        owner: OwnerId(owner),
        message: MessageId(id),
        qos: QoS::ExactlyOnce,
        retain: false,
        subscription_ids: Some([3].into()),
        size: u32::try_from(message.size()).unwrap(),
        expires: message.expires(),
        deliveries: 0,
        sent,
    })
}

fn session(id: u64) -> Record {
    Record::Session(Box::new(SessionRecord {
        id: OwnerId(id),
        client_id: format!("client-{id}").into(),
        user: Some("anna".into()),
        version: Version::V5,
        expiry: 3600,
        disconnected: None,
        ordinal_bound: 1000,
        taken: Vec::new(),
        will: None,
    }))
}

fn first_turn() -> Vec<Record> {
    let options = SubscriptionOptions {
        qos: QoS::ExactlyOnce,
        no_local: false,
        retain_as_published: true,
        retain_handling: RetainHandling::Send,
    };
    let (subscription_id, filter) = (Some(3), Arc::from("plant/#"));
    vec![
        session(1),
        session(2),
        Record::Subscribed { session: OwnerId(1), filter, options, subscription_id },
        Record::Group { owner: OwnerId(3), filter: "$share/g/plant/#".into() },
        Record::Retained { topic: "plant/1/a".into(), message: Some(message(1)), lazy: false },
        Record::Received { session: OwnerId(2), packet_id: PacketId::new(9).unwrap() },
    ]
}

fn last_turn() -> Vec<Record> {
    let (owner, message) = (OwnerId(1), MessageId(3));
    let letter = DeadLetter {
        id: DeadId(1),
        owner,
        message_id: MessageId(5),
        reason: DeadReason::Rejected,
        first_reason: DeadReason::Rejected,
        owner_name: "client-1".into(),
        filter: None,
        qos: QoS::ExactlyOnce,
        retain: false,
        deliveries: 1,
        deaths: 1,
        redrives: 0,
        origin: DeadId(1),
        retry: None,
        reason_code: Some(ReasonCode::NOT_AUTHORIZED),
        reason_string: None,
        died: Timestamp(40),
        died_unix_ms: 7,
        message: self::message(5),
    };
    vec![
        Record::Sent { owner, message, sent: sent(1, 40) },
        Record::PubRecArrived { owner, message },
        Record::Dead(Box::new(letter)),
        Record::DeliveryFailed { owner: OwnerId(3), message: MessageId(4), deliveries: 2 },
        Record::SessionEnded { session: OwnerId(2), cause: EndCause::Expired, at: Timestamp(41) },
    ]
}

/// What was stored, a commit each.
fn turns() -> Vec<Vec<Record>> {
    let mut turns = vec![first_turn()];
    for id in 1..=20 {
        let mut turn = vec![Record::Message { id: MessageId(id), message: message(id) }];
        for owner in 1..=3 {
            let is_sent = id.is_multiple_of(4 + owner);
            turn.push(queued(owner, id, is_sent.then(|| sent(owner, id))));
        }
        if let Some(old) = id.checked_sub(10).filter(|old| *old > 0) {
            let (owner, message) = (OwnerId(2), MessageId(old));
            turn.push(Record::Removed { owner, message, lazy: false });
        }
        turns.push(turn);
    }
    turns.push(last_turn());
    turns
}

fn unpack(fixture: &[u8], path: &Path) {
    let (count, blocks) = fixture.split_first_chunk().unwrap();
    let mut content = vec![0; u32::from_le_bytes(*count) as usize * BLOCK];
    for block in blocks.chunks(4 + BLOCK) {
        let (number, bytes) = block.split_first_chunk().unwrap();
        let start = u32::from_le_bytes(*number) as usize * BLOCK;
        content[start..start + BLOCK].copy_from_slice(bytes);
    }
    fs::write(path, content).unwrap();
}

#[test]
fn a_file_of_format_1_opens_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kedgemq.redb");
    unpack(FORMAT_1, &path);
    let mut model = Model::default();
    turns().iter().flatten().for_each(|record| model.apply(record));
    let at = checkpoint(turns().len());
    for round in 0..2 {
        let (mut database, restored) = open(Options::new(&path)).unwrap();
        assert_eq!(restored.set_aside, None);
        assert_eq!(restored.records, model.restored());
        assert_eq!(restored.checkpoint, Some(at));
        for owner in [1, 2, 3].map(OwnerId) {
            assert_eq!(database.load(all(owner)).unwrap(), model.loaded(all(owner)));
        }
        assert_eq!(database.dead_letter(DeadId(1)).unwrap().as_ref(), model.dead.get(&DeadId(1)));
        // Then all that waits moves to tables that format 1 did not have.
        database.limit_hot(2500);
        let id = 100 + round;
        let turn =
            [Record::Message { id: MessageId(id), message: message(id) }, queued(1, id, None)];
        turn.iter().for_each(|record| model.apply(record));
        database.commit(&turn, at).unwrap();
        while database.has_work() {
            database.work().unwrap();
        }
        assert!(round > 0 || database.cold_counts().copies > 10);
        database.close().unwrap();
    }
}
