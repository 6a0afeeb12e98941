//! The one vocabulary of durable change.
//!
//! Invariant: applying the records that are on disk, in their order, gives the durable part of
//! the core's memory at the last commit.

use std::sync::Arc;

use super::{DeadId, MessageId, OwnerId, SessionId};
use crate::dead_reason::DeadReason;
use crate::mqtt::packet::{PacketId, SubscriptionOptions};
use crate::mqtt::reply::SubscriptionIds;
use crate::mqtt::{Message, QoS, ReasonCode, Version, topic};
use crate::time::Timestamp;

/// One durable change. The store keeps them in their order; those that say the same of the same
/// thing later replace the earlier.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// Ids up to these are used: given back at start, before all else; never written by the core.
    Marks(Marks),
    /// A session was made or changed: all of it.
    Session(Box<SessionRecord>),
    /// A session ended, and its subscriptions with it; its queue stays until `OwnerForgotten`.
    SessionEnded {
        /// Which.
        session: SessionId,
        /// How.
        cause: EndCause,
        /// When.
        at: Timestamp,
    },
    /// A subscription was made or replaced.
    Subscribed {
        /// Whose.
        session: SessionId,
        /// What, with `$share/…` in front where shared.
        filter: Arc<str>,
        /// How.
        options: SubscriptionOptions,
        /// Subscription Identifier.
        subscription_id: Option<u32>,
    },
    /// A subscription was removed.
    Unsubscribed {
        /// Whose.
        session: SessionId,
        /// What.
        filter: Arc<str>,
    },
    /// A share group was made.
    Group {
        /// Its queue.
        owner: OwnerId,
        /// `$share/name/filter`.
        filter: Arc<str>,
    },
    /// A share group ended: its last member is gone; its queue stays until `OwnerForgotten`.
    GroupEnded {
        /// Which.
        owner: OwnerId,
        /// How.
        cause: EndCause,
        /// When.
        at: Timestamp,
    },
    /// Nothing is left of an owner that ended.
    OwnerForgotten {
        /// Which.
        owner: OwnerId,
    },
    /// A message's body, once, before the copies that refer to it. The store keeps it while a
    /// copy does.
    Message {
        /// Its id.
        id: MessageId,
        /// The whole message.
        message: Arc<Message>,
    },
    /// A copy entered an owner's queue. At start also: a copy is there, with all that happened
    /// to it since.
    Queued(Copy),
    /// Copies of an owner that were never sent, in place of a `Queued` for each: given back at
    /// start only.
    Backlog(Backlog),
    /// A copy was sent, under a Packet Identifier of `session`.
    Sent {
        /// Whose copy.
        owner: OwnerId,
        /// Which.
        message: MessageId,
        /// To whom.
        sent: Sent,
    },
    /// PUBREC arrived for a copy: from now on only PUBREL is sent again.
    PubRecArrived {
        /// Whose copy.
        owner: OwnerId,
        /// Which.
        message: MessageId,
    },
    /// A copy's failed deliveries were counted.
    DeliveryFailed {
        /// Whose copy.
        owner: OwnerId,
        /// Which.
        message: MessageId,
        /// How often so far.
        deliveries: u32,
    },
    /// A sent copy of a share group went back into its queue: what `Sent` said is void.
    Returned {
        /// Whose copy.
        owner: OwnerId,
        /// Which.
        message: MessageId,
    },
    /// A copy left its queue.
    Removed {
        /// Whose copy.
        owner: OwnerId,
        /// Which.
        message: MessageId,
        /// Whether it may wait for the next commit that something else starts.
        lazy: bool,
    },
    /// A QoS 2 PUBLISH was taken under this Packet Identifier.
    Received {
        /// From whom.
        session: SessionId,
        /// Its Packet Identifier.
        packet_id: PacketId,
    },
    /// PUBREL arrived: the Packet Identifier is free.
    Released {
        /// From whom.
        session: SessionId,
        /// Its Packet Identifier.
        packet_id: PacketId,
    },
    /// The retained message of a topic was set, or cleared.
    Retained {
        /// Topic Name.
        topic: Arc<str>,
        /// `None` clears.
        message: Option<Arc<Message>>,
        /// Whether nobody is told that it is durable.
        lazy: bool,
    },
    /// A copy died: it leaves its queue, if it was stored there, and is kept as a dead letter. For
    /// a letter that is kept: this is what it is from now on.
    Dead(Box<DeadLetter>),
    /// A dead letter is kept, given back at start in place of the whole of it.
    DeadIndex(DeadIndex),
    /// A dead letter is not kept any longer.
    DeadForgotten {
        /// Which.
        id: DeadId,
    },
    /// An operator's task over dead letters was started, went on or ended: all of it. The last
    /// one stays, so that the next one's number follows.
    Task(Box<Task>),
    /// An ended task is not kept any longer: another one follows.
    TaskForgotten {
        /// Which.
        id: u64,
    },
}

impl Record {
    /// Whether it starts no commit by itself, but waits for one, for a bounded time.
    pub fn is_lazy(&self) -> bool {
        match self {
            Self::Removed { lazy, .. } | Self::Retained { lazy, .. } => *lazy,
            Self::Sent { sent, .. } => sent.qos == QoS::AtLeastOnce,
            _ => false,
        }
    }
}

/// The largest ids that were ever stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Of an owner.
    pub owner: u64,
    /// Of a message.
    pub message: u64,
    /// Of a dead letter.
    pub dead: u64,
}

/// A session as it is stored, without its subscriptions and messages.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// Client Identifier.
    pub client_id: Arc<str>,
    /// For the rights of its will and deliveries.
    pub user: Option<Arc<str>>,
    /// Protocol of its last connection.
    pub version: Version,
    /// Session Expiry Interval in seconds; `u32::MAX` never.
    pub expiry: u32,
    /// Since when nobody is connected; `None` while somebody is.
    pub disconnected: Option<Timestamp>,
    /// Packet Identifiers may have been used up to this [`Sent::ordinal`].
    pub ordinal_bound: u64,
    /// Packet Identifiers that are not used again, ascending: their QoS 2 messages died.
    pub taken: Vec<PacketId>,
    /// What is published when it is time.
    pub will: Option<Box<WillRecord>>,
}

/// A Will as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct WillRecord {
    /// What is published; `received` is when the CONNECT came.
    pub message: Message,
    /// Will Delay Interval in seconds.
    pub delay: u32,
}

/// How a session or a share group ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// Its Session Expiry Interval passed.
    Expired,
    /// A Clean Start, or its own UNSUBSCRIBE, threw it away.
    Cleared,
    /// An operator deleted it.
    Purged,
}

impl From<EndCause> for DeadReason {
    fn from(cause: EndCause) -> Self {
        match cause {
            EndCause::Expired => Self::SessionExpired,
            EndCause::Cleared => Self::SessionCleared,
            EndCause::Purged => Self::Purged,
        }
    }
}

/// One owner's copy of a message: all that is known without its body.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy {
    /// Whose.
    pub owner: OwnerId,
    /// Of which message.
    pub message: MessageId,
    /// The effective QoS, never 0.
    pub qos: QoS,
    /// RETAIN as it is sent.
    pub retain: bool,
    /// As they are sent.
    pub subscription_ids: SubscriptionIds,
    /// [`Message::size`].
    pub size: u32,
    /// [`Message::expires`].
    pub expires: Option<Timestamp>,
    /// Failed deliveries so far.
    pub deliveries: u32,
    /// Where it was sent to.
    pub sent: Option<Sent>,
}

/// What is known of copies that only the store knows one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Whose.
    pub owner: OwnerId,
    /// The oldest of them.
    pub first: MessageId,
    /// How many.
    pub count: u64,
    /// Their [`Message::size`] together.
    pub bytes: u64,
    /// When the first of them expires.
    pub soonest_expiry: Option<Timestamp>,
}

/// That a copy is in flight to a session, or its PUBREL is.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// To whom: the owner itself, or a member of the share group.
    pub session: SessionId,
    /// Counts the Packet Identifiers that the session used: order of sending, and by
    /// [`packet_id`](Self::packet_id) the identifier.
    pub ordinal: u64,
    /// As it was sent: for a member of a share group it may be lower than the copy's.
    pub qos: QoS,
    /// As they were sent.
    pub subscription_ids: SubscriptionIds,
    /// Whether PUBREC arrived.
    pub pubrec_arrived: bool,
}

impl Sent {
    /// The Packet Identifier of its ordinal: 1 to 65,535, round and round.
    pub fn packet_id(&self) -> PacketId {
        packet_id(self.ordinal)
    }
}

/// The Packet Identifier of an ordinal: 1 to 65,535, round and round.
pub fn packet_id(ordinal: u64) -> PacketId {
    let value = u16::try_from(ordinal % 65_535).expect("less than 65,535") + 1;
    PacketId::new(value).expect("at least 1")
}

/// A copy that could not be delivered, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// Its id.
    pub id: DeadId,
    /// The copy that it was; [`Record::Dead`] removes it, where it was stored.
    pub owner: OwnerId,
    /// Of which message.
    pub message_id: MessageId,
    /// Why now.
    pub reason: DeadReason,
    /// Why at its first death.
    pub first_reason: DeadReason,
    /// Client id, `$share~group~filter` or `$bridge~name`, whole and raw.
    pub owner_name: Arc<str>,
    /// The topic filter that matched it, where known.
    pub filter: Option<Arc<str>>,
    /// Its effective QoS.
    pub qos: QoS,
    /// RETAIN as it would have been sent.
    pub retain: bool,
    /// How often it was sent.
    pub deliveries: u32,
    /// How often it died, this one included.
    pub deaths: u32,
    /// How often it was redriven.
    pub redrives: u32,
    /// The number in `dl-id`: of its first letter.
    pub origin: DeadId,
    /// When it is redriven by itself.
    pub retry: Option<Timestamp>,
    /// The subscriber's Reason Code.
    pub reason_code: Option<ReasonCode>,
    /// The subscriber's Reason String.
    pub reason_string: Option<Box<str>>,
    /// When it died.
    pub died: Timestamp,
    /// The same, in milliseconds since 1970, UTC.
    pub died_unix_ms: u64,
    /// The message, as the publisher sent it.
    pub message: Arc<Message>,
}

/// What is known of a kept dead letter without its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadIndex {
    /// Its id.
    pub id: DeadId,
    /// When it died.
    pub died: Timestamp,
    /// [`Message::size`].
    pub size: u32,
    /// When it is redriven by itself.
    pub retry: Option<Timestamp>,
}

/// Something that is done with many dead letters, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Counts the tasks.
    pub id: u64,
    /// What is done.
    pub action: Action,
    /// With which letters.
    pub filter: LetterFilter,
    /// Letters a second; 0 is as fast as it goes.
    pub rate: u32,
    /// When it was started.
    pub started: Timestamp,
    /// Letters up to this one were looked at. Of a task that ended it is `last`, or behind that
    /// where it was cancelled.
    pub cursor: DeadId,
    /// The last letter that was there at the start.
    pub last: DeadId,
    /// How many letters it was done with.
    pub done: u64,
    /// How many stay dead, as their owner is gone or its queue is full.
    pub left: u64,
}

impl Task {
    /// Ends it, for its record.
    pub fn end(&mut self, is_cancelled: bool) {
        self.cursor = DeadId(self.last.0 + u64::from(is_cancelled));
    }

    /// Whether it ended.
    pub fn is_ended(&self) -> bool {
        self.cursor >= self.last
    }

    /// Whether it ended, and was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cursor > self.last
    }
}

/// What is done with dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Published under `$dead/…` again, for those who came later.
    Republish,
    /// Queued again for the owner that it was for.
    RedriveToOwner,
    /// Published to its topic again.
    RedriveToTopic,
    /// Forgotten.
    Purge,
}

/// Which dead letters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LetterFilter {
    /// Of this reason.
    pub reason: Option<DeadReason>,
    /// Of this owner.
    pub owner: Option<Arc<str>>,
    /// Whose topic this Topic Filter matches.
    pub topic: Option<Arc<str>>,
    /// That died at this time or later, in milliseconds since 1970, UTC.
    pub since_unix_ms: Option<u64>,
    /// That died before this time.
    pub until_unix_ms: Option<u64>,
    /// This one alone.
    pub id: Option<DeadId>,
    /// At most so many.
    pub limit: Option<u64>,
}

impl LetterFilter {
    /// Whether a letter is meant, the limit aside.
    pub fn matches(&self, letter: &DeadLetter) -> bool {
        self.id.is_none_or(|id| letter.id == id)
            && self.reason.is_none_or(|reason| letter.reason == reason)
            && self.owner.as_ref().is_none_or(|owner| letter.owner_name == *owner)
            && self.topic.as_ref().is_none_or(|f| topic::matches(&letter.message.topic, f))
            && self.since_unix_ms.is_none_or(|since| letter.died_unix_ms >= since)
            && self.until_unix_ms.is_none_or(|until| letter.died_unix_ms < until)
    }
}
