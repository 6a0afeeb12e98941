//! Sessions and the copies in their queues, as they are told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A session. Times are RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Client Identifier.
    pub client: String,
    /// Whether somebody is connected.
    pub connected: bool,
    /// From where.
    pub address: Option<String>,
    /// Whether over TLS.
    pub tls: Option<bool>,
    /// Protocol of the last connection: `5.0`, `3.1.1` or `3.1`.
    pub version: String,
    /// User Name of the last connection.
    pub user: Option<String>,
    /// Since when it is connected, or nobody is.
    pub since: String,
    /// Whether it is on disk, as it outlives its connection.
    pub stored: bool,
    /// Session Expiry Interval in seconds; none is never.
    pub expiry: Option<u32>,
    /// Copies that wait.
    pub queued: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// Copies that were sent and are not acknowledged.
    pub in_flight: u64,
    /// QoS 2 messages from the client that it did not release.
    pub received: u64,
    /// Since the broker took the oldest of its messages, in milliseconds.
    pub oldest_ms: Option<u64>,
    /// Copies that died or were dropped since the broker started, by reason.
    pub undelivered: BTreeMap<String, u64>,
    /// Its subscriptions.
    pub subscriptions: Vec<Subscription>,
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Topic Filter.
    pub filter: String,
    /// Maximum QoS.
    pub qos: u8,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Retain Handling.
    pub retain_handling: u8,
    /// Subscription Identifier.
    pub id: Option<u32>,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// By Client Identifier.
    pub sessions: Vec<Session>,
    /// What to ask after for the next page; none at the end.
    pub next: Option<String>,
}

/// What a purge does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// So many copies leave the queue.
    pub purged: u64,
    /// Whether they become dead letters: `purged` may be switched off.
    pub dead_letters: bool,
}

/// A copy in a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// The number of the message.
    pub id: u64,
    /// Since the broker took it, in milliseconds.
    pub age_ms: u64,
    /// Topic Name.
    pub topic: String,
    /// Effective QoS.
    pub qos: u8,
    /// Topic, properties and payload, in bytes.
    pub size: u64,
    /// What is left of the Message Expiry Interval, in seconds.
    pub expiry: Option<u32>,
    /// Whether it was sent and is not acknowledged.
    pub in_flight: bool,
    /// How often its delivery failed.
    pub failed: u32,
    /// The payload, if it is asked for and is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// The payload, if it is asked for and is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
}

/// A page of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// In their order.
    pub copies: Vec<Copy>,
    /// What to ask after for the next page; none at the end.
    pub next: Option<u64>,
}
