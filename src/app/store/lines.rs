//! The export: one JSON object a line, of which the only key says what it is.
//!
//! The first line is `header`, with the version of this format; the last is `end`, with the number
//! of lines before it, so that a part of an export is not taken for a whole one. Between them, in
//! this order: `marks`, `session` and `session_ended`, `group` and `group_ended`, `subscription`,
//! `message` (with all copies of it, in the order of the ids), `received`, `retained`, `dead`.
//! Bytes are base64; a payload that is text stands beside it as `text`, for people: it is not read
//! back. Times (`at`, `received`, `disconnected`, `died`) are milliseconds of the broker's running
//! time; `header.checkpoint` says which moment of the calendar one of them was.
//!
//! Invariant: a line read back is the record that it was made of.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::mqtt::packet::{RetainHandling, SubscriptionOptions};
use crate::mqtt::{PacketId, ReasonCode, Version};
use crate::store::Checkpoint;
use crate::time::Timestamp;
use crate::turn::{
    DeadId, DeadLetter, DeadReason, EndCause, Marks, MessageId, OwnerId, Record, SessionRecord,
    WillRecord,
};

mod message;

pub(super) use message::{Copy, Stored};
use message::{Message, qos};

/// The version of the format that is written and read.
pub(super) const FORMAT: u32 = 1;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    Header(Header),
    Marks(MarksLine),
    Session(Box<Session>),
    SessionEnded(Ended),
    Group(Group),
    GroupEnded(Ended),
    Subscription(Subscription),
    Message(Stored),
    Received(Received),
    Retained(Retained),
    Dead(Box<Dead>),
    End(End),
}

/// What this file is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) kedgemq_export: u32,
    /// The version that wrote it, for people.
    pub(super) written_by: String,
    pub(super) checkpoint: Option<CheckpointLine>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckpointLine {
    at: u64,
    unix_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MarksLine {
    owner: u64,
    message: u64,
    dead: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Session {
    id: u64,
    client_id: String,
    user: Option<String>,
    version: ProtocolVersion,
    /// Session Expiry Interval in seconds; `null` never.
    expiry: Option<u32>,
    disconnected: Option<u64>,
    ordinal_bound: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    taken: Vec<u16>,
    will: Option<Will>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum ProtocolVersion {
    #[serde(rename = "3.1")]
    V31,
    #[serde(rename = "3.1.1")]
    V311,
    #[serde(rename = "5.0")]
    V5,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Will {
    delay: u32,
    message: Message,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ended {
    id: u64,
    cause: Cause,
    at: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Cause {
    Expired,
    Cleared,
    Purged,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    owner: u64,
    filter: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Subscription {
    session: u64,
    filter: String,
    qos: u8,
    no_local: bool,
    retain_as_published: bool,
    retain_handling: u8,
    subscription_id: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Received {
    session: u64,
    packet_id: u16,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Retained {
    topic: String,
    message: Message,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dead {
    id: u64,
    owner: u64,
    message_id: u64,
    reason: String,
    first_reason: String,
    owner_name: String,
    filter: Option<String>,
    qos: u8,
    retain: bool,
    deliveries: u32,
    deaths: u32,
    redrives: u32,
    /// Of its first letter.
    origin: u64,
    retry: Option<u64>,
    reason_code: Option<u8>,
    reason_string: Option<String>,
    died: u64,
    died_unix_ms: u64,
    message: Message,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    pub(super) lines: u64,
}

/// What is wrong with a line, in a few words.
pub(super) type Wrong = String;

impl CheckpointLine {
    pub(super) fn new(checkpoint: Checkpoint) -> Self {
        Self { at: checkpoint.at.0, unix_ms: checkpoint.unix_ms }
    }

    pub(super) fn checkpoint(self) -> Checkpoint {
        Checkpoint { at: Timestamp(self.at), unix_ms: self.unix_ms }
    }
}

impl Line {
    /// The line of a record that stands for itself; `None` for those that only point to
    /// something in the store.
    pub(super) fn of(record: &Record) -> Option<Self> {
        Some(match record {
            Record::Marks(Marks { owner, message, dead }) => {
                Self::Marks(MarksLine { owner: *owner, message: *message, dead: *dead })
            }
            Record::Session(session) => Self::Session(Box::new(Session::of(session))),
            Record::SessionEnded { session, cause, at } => {
                Self::SessionEnded(Ended::of(*session, *cause, *at))
            }
            Record::Group { owner, filter } => {
                Self::Group(Group { owner: owner.0, filter: filter.to_string() })
            }
            Record::GroupEnded { owner, cause, at } => {
                Self::GroupEnded(Ended::of(*owner, *cause, *at))
            }
            Record::Subscribed { session, filter, options, subscription_id } => {
                Self::Subscription(Subscription {
                    session: session.0,
                    filter: filter.to_string(),
                    qos: options.qos as u8,
                    no_local: options.no_local,
                    retain_as_published: options.retain_as_published,
                    retain_handling: options.retain_handling as u8,
                    subscription_id: *subscription_id,
                })
            }
            Record::Received { session, packet_id } => {
                Self::Received(Received { session: session.0, packet_id: packet_id.get() })
            }
            Record::Retained { topic, message: Some(message), .. } => {
                Self::Retained(Retained { topic: topic.to_string(), message: Message::of(message) })
            }
            Record::Dead(letter) => Self::Dead(Box::new(Dead::of(letter))),
            _ => return None,
        })
    }

    /// The records of a line between `header` and `end`.
    pub(super) fn records(self, into: &mut Vec<Record>) -> Result<(), Wrong> {
        let record = match self {
            Self::Header(_) | Self::End(_) => return Err("this line is in the wrong place".into()),
            Self::Marks(MarksLine { owner, message, dead }) => {
                Record::Marks(Marks { owner, message, dead })
            }
            Self::Session(session) => Record::Session(Box::new(session.record()?)),
            Self::SessionEnded(ended) => Record::SessionEnded {
                session: OwnerId(ended.id),
                cause: ended.cause.into(),
                at: Timestamp(ended.at),
            },
            Self::Group(Group { owner, filter }) => {
                Record::Group { owner: OwnerId(owner), filter: filter.into() }
            }
            Self::GroupEnded(ended) => Record::GroupEnded {
                owner: OwnerId(ended.id),
                cause: ended.cause.into(),
                at: Timestamp(ended.at),
            },
            Self::Subscription(subscription) => subscription.record()?,
            Self::Message(stored) => return stored.records(into),
            Self::Received(Received { session, packet_id }) => Record::Received {
                session: OwnerId(session),
                packet_id: PacketId::new(packet_id).ok_or(NO_PACKET_ID)?,
            },
            Self::Retained(Retained { topic, message }) => Record::Retained {
                topic: topic.into(),
                message: Some(Arc::new(message.message()?)),
                lazy: false,
            },
            Self::Dead(letter) => Record::Dead(Box::new(letter.letter()?)),
        };
        into.push(record);
        Ok(())
    }
}

const NO_PACKET_ID: &str = "packet_id is 0";

impl Session {
    fn of(session: &SessionRecord) -> Self {
        Self {
            id: session.id.0,
            client_id: session.client_id.to_string(),
            user: session.user.as_deref().map(str::to_owned),
            version: match session.version {
                Version::V31 => ProtocolVersion::V31,
                Version::V311 => ProtocolVersion::V311,
                Version::V5 => ProtocolVersion::V5,
            },
            expiry: (session.expiry != u32::MAX).then_some(session.expiry),
            disconnected: session.disconnected.map(|at| at.0),
            ordinal_bound: session.ordinal_bound,
            taken: session.taken.iter().map(|id| id.get()).collect(),
            will: session
                .will
                .as_ref()
                .map(|will| Will { delay: will.delay, message: Message::of(&will.message) }),
        }
    }

    fn record(self) -> Result<SessionRecord, Wrong> {
        let will = |will: Will| {
            let message = will.message.message()?;
            Ok::<_, Wrong>(Box::new(WillRecord { message, delay: will.delay }))
        };
        Ok(SessionRecord {
            id: OwnerId(self.id),
            client_id: self.client_id.into(),
            user: self.user.map(Arc::from),
            version: match self.version {
                ProtocolVersion::V31 => Version::V31,
                ProtocolVersion::V311 => Version::V311,
                ProtocolVersion::V5 => Version::V5,
            },
            expiry: self.expiry.unwrap_or(u32::MAX),
            disconnected: self.disconnected.map(Timestamp),
            ordinal_bound: self.ordinal_bound,
            taken: self
                .taken
                .into_iter()
                .map(|id| PacketId::new(id).ok_or(NO_PACKET_ID))
                .collect::<Result<_, _>>()?,
            will: self.will.map(will).transpose()?,
        })
    }
}

impl Ended {
    fn of(id: OwnerId, cause: EndCause, at: Timestamp) -> Self {
        let cause = match cause {
            EndCause::Expired => Cause::Expired,
            EndCause::Cleared => Cause::Cleared,
            EndCause::Purged => Cause::Purged,
        };
        Self { id: id.0, cause, at: at.0 }
    }
}

impl From<Cause> for EndCause {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Expired => Self::Expired,
            Cause::Cleared => Self::Cleared,
            Cause::Purged => Self::Purged,
        }
    }
}

impl Subscription {
    fn record(self) -> Result<Record, Wrong> {
        let options = SubscriptionOptions {
            qos: qos(self.qos)?,
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            retain_handling: match self.retain_handling {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DoNotSend,
                other => return Err(format!("retain_handling is {other}")),
            },
        };
        Ok(Record::Subscribed {
            session: OwnerId(self.session),
            filter: self.filter.into(),
            options,
            subscription_id: self.subscription_id,
        })
    }
}

impl Dead {
    fn of(letter: &DeadLetter) -> Self {
        Self {
            id: letter.id.0,
            owner: letter.owner.0,
            message_id: letter.message_id.0,
            reason: letter.reason.as_str().to_owned(),
            first_reason: letter.first_reason.as_str().to_owned(),
            owner_name: letter.owner_name.to_string(),
            filter: letter.filter.as_deref().map(str::to_owned),
            qos: letter.qos as u8,
            retain: letter.retain,
            deliveries: letter.deliveries,
            deaths: letter.deaths,
            redrives: letter.redrives,
            origin: letter.origin.0,
            retry: letter.retry.map(|at| at.0),
            reason_code: letter.reason_code.map(|code| code.0),
            reason_string: letter.reason_string.as_deref().map(str::to_owned),
            died: letter.died.0,
            died_unix_ms: letter.died_unix_ms,
            message: Message::of(&letter.message),
        }
    }

    fn letter(self) -> Result<DeadLetter, Wrong> {
        Ok(DeadLetter {
            id: DeadId(self.id),
            owner: OwnerId(self.owner),
            message_id: MessageId(self.message_id),
            reason: reason(&self.reason)?,
            first_reason: reason(&self.first_reason)?,
            owner_name: self.owner_name.into(),
            filter: self.filter.map(Arc::from),
            qos: qos(self.qos)?,
            retain: self.retain,
            deliveries: self.deliveries,
            deaths: self.deaths,
            redrives: self.redrives,
            origin: DeadId(self.origin),
            retry: self.retry.map(Timestamp),
            reason_code: self.reason_code.map(ReasonCode),
            reason_string: self.reason_string.map(Box::from),
            died: Timestamp(self.died),
            died_unix_ms: self.died_unix_ms,
            message: Arc::new(self.message.message()?),
        })
    }
}

fn reason(word: &str) -> Result<DeadReason, Wrong> {
    let known = DeadReason::ALL.into_iter().find(|reason| reason.as_str() == word);
    known.ok_or_else(|| format!("{word:?} is no reason that this version knows"))
}
