//! Records as the core makes them.

use std::path::Path;
use std::sync::Arc;

use kedgemq::mqtt::{Message, QoS, Version};
use kedgemq::store::{Checkpoint, Database, Options, Restored, open};
use kedgemq::time::Timestamp;
use kedgemq::turn::{Copy, MessageId, OwnerId, Record, Sent, SessionRecord};

/// Bytes of a payload.
pub(crate) const PAYLOAD: usize = 256;
/// Records of so many messages go in one commit.
pub(crate) const BATCH: u64 = 2000;

pub(crate) const NOW: Checkpoint = Checkpoint { at: Timestamp(1), unix_ms: 1 };

pub(crate) fn open_at(path: &Path) -> (Database, Restored) {
    open(Options::new(path)).expect("the store opens")
}

/// The payload tells which message it is.
pub(crate) fn message(id: u64) -> Arc<Message> {
    let mut payload = vec![0; PAYLOAD];
    payload[..8].copy_from_slice(&id.to_le_bytes());
    // Something that no disk can shrink.
    let mut random = fastrand::Rng::with_seed(id);
    random.fill(&mut payload[8..]);
    Arc::new(Message {
        topic: "plant/a/temperature".into(),
        properties: Default::default(),
        payload: payload.into(),
        qos: QoS::AtLeastOnce,
        retain: false,
        received: Timestamp(1),
        expiry: None,
        past: None,
    })
}

pub(crate) fn body(id: u64) -> (Record, u32) {
    let message = message(id);
    let size = u32::try_from(message.size()).expect("it is small");
    (Record::Message { id: MessageId(id), message }, size)
}

pub(crate) fn queued(owner: u64, id: u64, size: u32, sent: Option<Sent>) -> Record {
    Record::Queued(Copy {
        owner: OwnerId(owner),
        message: MessageId(id),
        qos: QoS::AtLeastOnce,
        retain: false,
        subscription_ids: None,
        size,
        expires: None,
        deliveries: 0,
        sent,
    })
}

pub(crate) fn sent(session: u64, ordinal: u64) -> Sent {
    Sent {
        session: OwnerId(session),
        ordinal,
        qos: QoS::AtLeastOnce,
        subscription_ids: None,
        pubrec_arrived: false,
    }
}

pub(crate) fn removed(owner: u64, id: u64) -> Record {
    Record::Removed { owner: OwnerId(owner), message: MessageId(id), lazy: true }
}

pub(crate) fn session(id: u64) -> Record {
    Record::Session(Box::new(SessionRecord {
        id: OwnerId(id),
        client_id: format!("client-{id}").into(),
        user: None,
        version: Version::V5,
        expiry: u32::MAX,
        disconnected: Some(Timestamp(1)),
        ordinal_bound: 0,
        taken: Vec::new(),
        will: None,
    }))
}

/// Commits `messages`, each to the owners that `owners` gives.
pub(crate) fn fill(database: &mut Database, messages: u64, owners: impl Fn(u64) -> Vec<u64>) {
    let mut records = Vec::new();
    let mut copies = 0;
    for id in 1..=messages {
        let (body, size) = body(id);
        records.push(body);
        for owner in owners(id) {
            records.push(queued(owner, id, size, None));
            copies += 1;
        }
        if copies >= BATCH || id == messages {
            database.commit(&records, NOW).expect("it commits");
            records.clear();
            copies = 0;
        }
    }
}
