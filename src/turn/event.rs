//! What the core tells the operator, and why the world closes a connection.

use std::sync::Arc;

use super::ConnectionId;
use crate::mqtt::{ReasonCode, Version};

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
    /// Dead letters had to go before their time, as there were too many: the first, then one
    /// summary a minute.
    LettersDropped {
        /// How many since the last such event.
        count: u64,
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
    /// A task over dead letters is done, or cancelled.
    TaskEnded {
        /// Which.
        id: u64,
        /// Letters that it was done with.
        done: u64,
        /// Letters that stay dead.
        left: u64,
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
        /// The code for a DISCONNECT.
        reason: ReasonCode,
        /// In words.
        why: Box<str>,
    },
    /// The first packet is a CONNECT, but not one that can be read.
    BadConnect {
        /// What it wants to speak.
        version: Version,
        /// The code for a CONNACK.
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
