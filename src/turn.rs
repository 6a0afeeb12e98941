//! What the core and the world say to each other. One step of the core fills a [`Turn`]; the
//! world sends, stores and loads what stands in it. [`Record`] is the one vocabulary of durable
//! change: the store writes it and gives it back at start.
//!
//! Invariant: what must be durable before it is told stands in `held`, never in `send`.

use std::sync::Arc;

pub use crate::dead_reason::DeadReason;
use crate::mqtt::packet::{PacketId, SubscriptionOptions};
use crate::mqtt::reply::{Delivery, SubscriptionIds};
use crate::mqtt::{Message, QoS, ReasonCode, Reply, Version};
use crate::time::Timestamp;

/// A network connection: `slot` is used again, `generation` says by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// Index among the open connections.
    pub slot: u32,
    /// Counts the users of the slot.
    pub generation: u32,
}

/// Who has a queue: a session, a share group, or a bridge. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId(pub u64);

/// The session among the owners.
pub type SessionId = OwnerId;

/// A message as the broker counts them: each gets a larger one, so the order of the ids is the
/// order of every queue, and (owner, message) names a copy. Never used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u64);

/// A dead letter. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeadId(pub u64);

/// Counts the records of this run of the broker, from 1; 0 is before all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordNumber(pub u64);

/// What one step of the core asks of the world.
#[derive(Debug, Default)]
pub struct Turn {
    /// May leave at once.
    pub send: Vec<Outgoing>,
    /// To be made durable, in this order, in one transaction.
    pub records: Vec<Record>,
    /// Leaves when the record that it waits for, and all before it, are on disk.
    pub held: Vec<Held>,
    /// Stored messages that the core wants in memory.
    pub loads: Vec<Load>,
    /// What an operator may want to read.
    pub events: Vec<Event>,
    last: RecordNumber,
}

impl Turn {
    /// Adds a record to be made durable.
    pub fn record(&mut self, record: Record) -> RecordNumber {
        self.records.push(record);
        self.last.0 += 1;
        self.last
    }

    /// The newest record so far, of this turn or an earlier one.
    pub fn last_record(&self) -> RecordNumber {
        self.last
    }

    /// Lets `output` leave at once.
    pub fn send(&mut self, connection: ConnectionId, output: Output) {
        self.send.push(Outgoing { connection, output });
    }

    /// Lets `output` leave when `until` is on disk.
    pub fn hold(&mut self, until: RecordNumber, connection: ConnectionId, output: Output) {
        let outgoing = Outgoing { connection, output };
        self.held.push(Held { until, outgoing });
    }
}

/// Output for one connection. For a connection that is closed it is dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// Whose.
    pub connection: ConnectionId,
    /// What.
    pub output: Output,
}

/// What a connection is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// A control packet.
    Packet(Reply),
    /// The end: what stands before it in `send` is written out, what is held is dropped, then the
    /// network connection is closed.
    Close,
}

/// Output that waits for the disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// The record that must be durable first.
    pub until: RecordNumber,
    /// What leaves then.
    pub outgoing: Outgoing,
}

impl From<Delivery> for Output {
    fn from(delivery: Delivery) -> Self {
        Self::Packet(Reply::Publish(delivery))
    }
}

/// Asks for the stored copies of `owner` from `first` to `last`, both included. The answer is
/// what of them is still there, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Whose copies.
    pub owner: OwnerId,
    /// The first wanted.
    pub first: MessageId,
    /// The last wanted.
    pub last: MessageId,
}

/// A stored message, back in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its id.
    pub id: MessageId,
    /// The whole message.
    pub message: Arc<Message>,
}

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
    },
    /// A copy died: it leaves its queue, if it was stored there, and is kept as a dead letter.
    Dead(Box<DeadLetter>),
    /// A dead letter is kept, given back at start in place of the whole of it.
    DeadIndex(DeadIndex),
    /// A dead letter is not kept any longer.
    DeadForgotten {
        /// Which.
        id: DeadId,
    },
}

impl Record {
    /// Whether it starts no commit by itself, but waits for one, for a bounded time.
    pub fn is_lazy(&self) -> bool {
        match self {
            Self::Removed { lazy, .. } => *lazy,
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
}

/// Whether the store can take records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreState {
    /// It takes them.
    Ready,
    /// It fails; it tries again by itself.
    Failing,
}

/// What an operator may want to read: the world writes it into its log.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// CONNECT was accepted.
    Connected {
        /// Whose.
        connection: ConnectionId,
        /// Client Identifier.
        client_id: Arc<str>,
        /// User Name.
        user: Option<Arc<str>>,
        /// Protocol.
        version: Version,
        /// Clean Start.
        clean_start: bool,
        /// Session Present.
        session_present: bool,
        /// Keep Alive in seconds, as it applies.
        keep_alive: u16,
    },
    /// CONNECT was refused, or a packet before it was wrong.
    Refused {
        /// Whose.
        connection: ConnectionId,
        /// Client Identifier, as far as known.
        client_id: Arc<str>,
        /// The code.
        reason: ReasonCode,
        /// In words.
        why: Box<str>,
    },
    /// A connection ended.
    Disconnected {
        /// Whose.
        connection: ConnectionId,
        /// Client Identifier.
        client_id: Arc<str>,
        /// Who ended it.
        by: DisconnectedBy,
        /// The code.
        reason: ReasonCode,
        /// In words.
        why: Box<str>,
        /// How long it was connected.
        connected_ms: u64,
        /// PUBLISH packets from the client.
        messages_in: u64,
        /// PUBLISH packets to the client.
        messages_out: u64,
    },
    /// A client connected with the id of one that was connected.
    TakenOver {
        /// Client Identifier.
        client_id: Arc<str>,
        /// The connection that lost it.
        from: ConnectionId,
        /// The connection that got it.
        to: ConnectionId,
    },
    /// Copies were dropped or became dead letters: the first of a client and reason, then one
    /// summary a minute.
    Undelivered {
        /// Client Identifier, or the share group.
        owner: Arc<str>,
        /// The reason's word.
        reason: &'static str,
        /// How many since the last such event.
        count: u64,
        /// Whether they are kept as dead letters.
        kept: bool,
    },
    /// A publish without the right, or another refusal that leaves the connection open.
    PublishRefused {
        /// Client Identifier.
        client_id: Arc<str>,
        /// Where to.
        topic: Arc<str>,
        /// The code.
        reason: ReasonCode,
    },
    /// A copy that the core needed is not in the store any more.
    Lost {
        /// Whose.
        owner: Arc<str>,
        /// How many.
        count: u64,
    },
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectedBy {
    /// The client, by DISCONNECT.
    Client,
    /// The client or the network, without.
    Network,
    /// We did.
    Server,
}

/// Why the world closes a connection: told to the core, which decides what follows.
#[derive(Clone, Debug, PartialEq)]
pub enum CloseCause {
    /// The peer closed it (FIN or RST).
    Peer {
        /// Whether all output had been handed to the operating system.
        flushed: bool,
    },
    /// The network failed, or a write took too long.
    Network(Box<str>),
    /// Bytes that are no packet, or a packet that breaks a rule that its bytes alone show.
    Malformed {
        /// The code for a DISCONNECT or CONNACK.
        reason: ReasonCode,
        /// In words.
        why: Box<str>,
    },
    /// An operator or a limit ends it.
    Server {
        /// The code for a DISCONNECT.
        reason: ReasonCode,
        /// In words.
        why: Box<str>,
    },
}
