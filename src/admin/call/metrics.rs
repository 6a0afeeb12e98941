//! Counters and gauges, as they are told: each under its name, `…_total` where it counts since
//! the broker started.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// All of them. Keys of a map are labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metrics {
    /// Deaths by reason, kept as letters or not.
    pub dead_letters_total: BTreeMap<String, u64>,
    /// Dead letters that had to go before their time, as there were too many.
    pub dead_letters_dropped_total: u64,
    /// Dead letters that were kept for as long as they are to be.
    pub dead_letters_aged_out_total: u64,
    /// Kept dead letters now, those of earlier runs too.
    pub dead_letters: u64,
    /// Their topics, properties and payloads, in bytes.
    pub dead_letter_bytes: u64,
    /// Since the oldest of them died; 0 without one.
    pub dead_letter_oldest_seconds: u64,
    /// Clients connected now.
    pub clients_connected: u64,
    /// Sessions now, connected or not.
    pub sessions: u64,
    /// Packets from clients, of all kinds.
    pub packets_received_total: u64,
    /// Packets to clients, of all kinds.
    pub packets_sent_total: u64,
    /// PUBLISH packets from clients.
    pub messages_received_total: u64,
    /// PUBLISH packets to clients.
    pub messages_sent_total: u64,
    /// QoS 0 messages that a full outbox dropped.
    pub qos0_dropped_total: u64,
    /// Copies that went with a transient session.
    pub session_ended_total: u64,
    /// Publishes without the right.
    pub unauthorized_publishes_total: u64,
    /// Publishes refused because the store failed or something was full.
    pub refused_publishes_total: u64,
}
