//! The rows of the tables beside the log: their keys, their bytes, their checksum.
//!
//! Invariant: the first four bytes of a row are the checksum of its table, key and the rest, so a
//! row that was torn, altered or put in another's place is found out.

use std::sync::Arc;

use crate::mqtt::packet::{RetainHandling, SubscriptionOptions};
use crate::mqtt::{Message, PacketId, ReasonCode, Version};
use crate::time::Timestamp;
use crate::turn::{
    DeadId, DeadIndex, DeadLetter, DeadReason, EndCause, MessageId, OwnerId, Record, SessionId,
    SessionRecord, WillRecord,
};

use super::encoding::{
    Broken, Reader, put_bytes, put_message, put_number, put_optional, put_optional_text, put_qos,
};
use super::task;

/// Part of a key of `sessions` and `groups`: the thing itself.
pub(super) const WHOLE: u8 = 0;
/// Part of a key of `sessions` and `groups`: that it ended.
pub(super) const ENDED: u8 = 1;

/// The name of a row, over all tables.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RowKey {
    /// A session, or its end.
    Session(u64, u8),
    /// A subscription: session and filter.
    Subscription(u64, Arc<str>),
    /// A share group, or its end.
    Group(u64, u8),
    /// A retained message, by topic.
    Retained(Arc<str>),
    /// A dead letter. A row each: letters go in any order, by age, quota or hand, and are few
    /// beside messages, so a chunk of them would be collected more often than it is read.
    Dead(u64),
    /// A task over dead letters.
    Task(u64),
}

impl RowKey {
    /// The checksum that stands in front of `rest`.
    pub(super) fn checksum(&self, rest: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        let (tag, number, detail): (u8, u64, &[u8]) = match self {
            Self::Session(id, part) => (1, *id, &[*part]),
            Self::Subscription(id, filter) => (2, *id, filter.as_bytes()),
            Self::Group(id, part) => (3, *id, &[*part]),
            Self::Retained(topic) => (4, 0, topic.as_bytes()),
            Self::Dead(id) => (5, *id, &[]),
            Self::Task(id) => (6, *id, &[]),
        };
        hasher.update(&[tag]);
        hasher.update(&number.to_le_bytes());
        hasher.update(detail);
        hasher.update(rest);
        hasher.finalize()
    }

    /// A row with its checksum; `fill` adds the rest.
    pub(super) fn value(&self, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut value = vec![0; 4];
        fill(&mut value);
        let checksum = self.checksum(&value[4..]);
        value[..4].copy_from_slice(&checksum.to_le_bytes());
        value
    }

    /// What follows a right checksum.
    pub(super) fn open<'a>(&self, value: &'a [u8]) -> Result<Reader<'a>, Broken> {
        let (checksum, rest) = value.split_first_chunk().ok_or(Broken)?;
        if u32::from_le_bytes(*checksum) != self.checksum(rest) {
            return Err(Broken);
        }
        Ok(Reader::new(rest))
    }

    /// Reads a row back as the record that made it, a dead letter as its index.
    pub(super) fn record(&self, value: &[u8]) -> Result<Record, Broken> {
        let mut reader = self.open(value)?;
        let reader = &mut reader;
        Ok(match self {
            Self::Session(id, WHOLE) => Record::Session(Box::new(read_session(*id, reader)?)),
            Self::Session(id, _) => {
                let session = OwnerId(*id);
                let (cause, at) = (read_cause(reader)?, reader.timestamp()?);
                Record::SessionEnded { session, cause, at }
            }
            Self::Subscription(id, filter) => read_subscription(*id, filter, reader)?,
            Self::Group(id, WHOLE) => {
                Record::Group { owner: OwnerId(*id), filter: reader.text()?.into() }
            }
            Self::Group(id, _) => {
                let owner = OwnerId(*id);
                let (cause, at) = (read_cause(reader)?, reader.timestamp()?);
                Record::GroupEnded { owner, cause, at }
            }
            Self::Retained(topic) => Record::Retained {
                topic: topic.clone(),
                message: Some(Arc::new(reader.message()?)),
                lazy: false,
            },
            Self::Dead(id) => Record::DeadIndex(read_dead_index(DeadId(*id), reader)?),
            Self::Task(id) => Record::Task(Box::new(task::read(*id, reader)?)),
        })
    }
}

/// The row of a session.
pub(super) fn session(session: &SessionRecord) -> (RowKey, Vec<u8>) {
    let key = RowKey::Session(session.id.0, WHOLE);
    let value = key.value(|out| {
        put_bytes(out, session.client_id.as_bytes());
        put_optional_text(out, session.user.as_deref());
        put_version(out, session.version);
        put_number(out, u64::from(session.expiry));
        put_optional(out, session.disconnected.map(|at| at.0));
        put_number(out, session.ordinal_bound);
        out.push(u8::from(session.will.is_some()));
        if let Some(will) = &session.will {
            put_number(out, u64::from(will.delay));
            put_message(out, &will.message);
        }
        // To the end, so that a session without any looks as it always did.
        for id in &session.taken {
            put_number(out, u64::from(id.get()));
        }
    });
    (key, value)
}

fn read_session(id: u64, reader: &mut Reader<'_>) -> Result<SessionRecord, Broken> {
    let mut session = SessionRecord {
        id: OwnerId(id),
        client_id: reader.text()?.into(),
        user: reader.optional_text()?.map(Arc::from),
        version: read_version(reader)?,
        expiry: reader.small()?,
        disconnected: reader.optional()?.map(crate::time::Timestamp),
        ordinal_bound: reader.number()?,
        taken: Vec::new(),
        will: if reader.flag()? {
            let delay = reader.small()?;
            let message = reader.message()?;
            Some(Box::new(WillRecord { message, delay }))
        } else {
            None
        },
    };
    while !reader.is_empty() {
        session.taken.push(PacketId::new(reader.small()?).ok_or(Broken)?);
    }
    Ok(session)
}

fn put_version(out: &mut Vec<u8>, version: Version) {
    out.push(match version {
        Version::V311 => 0,
        Version::V5 => 1,
        Version::V31 => 2,
    });
}

fn read_version(reader: &mut Reader<'_>) -> Result<Version, Broken> {
    match reader.byte()? {
        0 => Ok(Version::V311),
        1 => Ok(Version::V5),
        2 => Ok(Version::V31),
        _ => Err(Broken),
    }
}

/// The row that says how and when something ended.
pub(super) fn ended(key: RowKey, cause: EndCause, at: Timestamp) -> (RowKey, Vec<u8>) {
    let value = key.value(|out| {
        out.push(match cause {
            EndCause::Expired => 0,
            EndCause::Cleared => 1,
            EndCause::Purged => 2,
        });
        put_number(out, at.0);
    });
    (key, value)
}

fn read_cause(reader: &mut Reader<'_>) -> Result<EndCause, Broken> {
    match reader.byte()? {
        0 => Ok(EndCause::Expired),
        1 => Ok(EndCause::Cleared),
        2 => Ok(EndCause::Purged),
        _ => Err(Broken),
    }
}

/// The row of a subscription.
pub(super) fn subscription(
    session: SessionId,
    filter: &Arc<str>,
    options: SubscriptionOptions,
    subscription_id: Option<u32>,
) -> (RowKey, Vec<u8>) {
    let key = RowKey::Subscription(session.0, filter.clone());
    let value = key.value(|out| {
        put_qos(out, options.qos);
        out.push(u8::from(options.no_local));
        out.push(u8::from(options.retain_as_published));
        out.push(options.retain_handling as u8);
        put_optional(out, subscription_id.map(u64::from));
    });
    (key, value)
}

fn read_subscription(
    id: u64,
    filter: &Arc<str>,
    reader: &mut Reader<'_>,
) -> Result<Record, Broken> {
    Ok(Record::Subscribed {
        session: OwnerId(id),
        filter: filter.clone(),
        options: SubscriptionOptions {
            qos: reader.qos()?,
            no_local: reader.flag()?,
            retain_as_published: reader.flag()?,
            retain_handling: match reader.byte()? {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DoNotSend,
                _ => return Err(Broken),
            },
        },
        subscription_id: reader.optional_small()?,
    })
}

/// The row of a share group.
pub(super) fn group(owner: OwnerId, filter: &str) -> (RowKey, Vec<u8>) {
    let key = RowKey::Group(owner.0, WHOLE);
    let value = key.value(|out| put_bytes(out, filter.as_bytes()));
    (key, value)
}

/// The row of a retained message.
pub(super) fn retained(topic: &Arc<str>, message: &Message) -> (RowKey, Vec<u8>) {
    let key = RowKey::Retained(topic.clone());
    let value = key.value(|out| put_message(out, message));
    (key, value)
}

/// The row of a dead letter: when it died and its size stand in front, for the index.
pub(super) fn dead(letter: &DeadLetter) -> (RowKey, Vec<u8>) {
    let key = RowKey::Dead(letter.id.0);
    let value = key.value(|out| {
        put_number(out, letter.died.0);
        put_number(out, letter.message.size() as u64);
        put_number(out, letter.owner.0);
        put_number(out, letter.message_id.0);
        // A letter of a format before had no more than its reason here.
        out.push(letter.reason as u8 | FATE);
        put_number(out, letter.origin.0);
        put_optional(out, letter.retry.map(|at| at.0));
        out.push(letter.first_reason as u8);
        put_bytes(out, letter.owner_name.as_bytes());
        put_optional_text(out, letter.filter.as_deref());
        put_qos(out, letter.qos);
        out.push(u8::from(letter.retain));
        put_number(out, u64::from(letter.deliveries));
        put_number(out, u64::from(letter.deaths));
        put_number(out, u64::from(letter.redrives));
        put_optional(out, letter.reason_code.map(|code| u64::from(code.0)));
        put_optional_text(out, letter.reason_string.as_deref());
        put_number(out, letter.died_unix_ms);
        put_message(out, &letter.message);
    });
    (key, value)
}

/// Beside the reason of a letter: that its origin and its retry follow.
const FATE: u8 = 0x80;

/// The front of a dead letter.
struct Front {
    index: DeadIndex,
    owner: OwnerId,
    message_id: MessageId,
    reason: DeadReason,
    origin: DeadId,
}

fn read_front(id: DeadId, reader: &mut Reader<'_>) -> Result<Front, Broken> {
    let (died, size) = (reader.timestamp()?, reader.small()?);
    let (owner, message_id) = (reader.owner()?, reader.message_id()?);
    let byte = reader.byte()?;
    let reason = DeadReason::ALL.get(usize::from(byte & !FATE)).copied().ok_or(Broken)?;
    let (origin, retry) = match byte & FATE {
        0 => (id, None),
        _ => (DeadId(reader.number()?), reader.optional()?.map(Timestamp)),
    };
    let index = DeadIndex { id, died, size, retry };
    Ok(Front { index, owner, message_id, reason, origin })
}

fn read_dead_index(id: DeadId, reader: &mut Reader<'_>) -> Result<DeadIndex, Broken> {
    read_front(id, reader).map(|front| front.index)
}

/// Reads a dead letter back, whole.
pub(super) fn read_dead(id: DeadId, value: &[u8]) -> Result<DeadLetter, Broken> {
    let mut reader = RowKey::Dead(id.0).open(value)?;
    let front = read_front(id, &mut reader)?;
    Ok(DeadLetter {
        id,
        owner: front.owner,
        message_id: front.message_id,
        reason: front.reason,
        origin: front.origin,
        retry: front.index.retry,
        first_reason: reader.reason()?,
        owner_name: reader.text()?.into(),
        filter: reader.optional_text()?.map(Arc::from),
        qos: reader.qos()?,
        retain: reader.flag()?,
        deliveries: reader.small()?,
        deaths: reader.small()?,
        redrives: reader.small()?,
        reason_code: reader.optional_small()?.map(ReasonCode),
        reason_string: reader.optional_text()?.map(Box::from),
        died: front.index.died,
        died_unix_ms: reader.number()?,
        message: Arc::new(reader.message()?),
    })
}
