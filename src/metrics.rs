//! Counters and gauges as plain data.

use crate::dead_reason::DeadReason;

/// What the broker counted since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets from clients, of all kinds.
    pub packets_received: u64,
    /// Packets to clients, of all kinds.
    pub packets_sent: u64,
    /// PUBLISH packets from clients.
    pub messages_received: u64,
    /// PUBLISH packets to clients.
    pub messages_sent: u64,
    /// Clients connected now.
    pub clients_connected: u64,
    /// Deaths by reason, kept as letters or not, in the order of [`DeadReason::ALL`]:
    /// `dead_letters_total{reason}`.
    pub dead: [u64; DeadReason::ALL.len()],
    /// Dead letters that had to go before their time, as there were too many.
    pub dead_dropped: u64,
    /// Dead letters that were kept for as long as they are to be.
    pub dead_aged_out: u64,
    /// QoS 0 messages that a full outbox dropped.
    pub qos0_dropped: u64,
    /// Copies that went with a transient session.
    pub session_ended: u64,
    /// Publishes without the right.
    pub unauthorized_publishes: u64,
    /// Publishes refused because the store failed or something was full.
    pub refused_publishes: u64,
    /// CONNECT packets.
    pub connects: u64,
    /// Bytes of the payloads of PUBLISH packets from clients.
    pub payload_received: u64,
    /// The same to clients.
    pub payload_sent: u64,
    /// Messages in flight to the clients that are connected now.
    pub in_flight: u64,
    /// The most clients that were connected at once.
    pub clients_maximum: u64,
    /// Sessions that their Session Expiry Interval ended.
    pub sessions_expired: u64,
    /// What the world told the core of last.
    pub traffic: Traffic,
}

/// What the core doesn't see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes from clients, without TLS.
    pub bytes_received: u64,
    /// Bytes to clients, without TLS.
    pub bytes_sent: u64,
    /// Network connections that were accepted.
    pub sockets: u64,
}

/// What there is now, after a restart too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Sessions, connected or not.
    pub sessions: u64,
    /// Kept dead letters.
    pub dead_letters: u64,
    /// Their messages' sizes together: `dead_letter_bytes`.
    pub dead_letter_bytes: u64,
    /// Since the oldest of them died; 0 without one: `dead_letter_oldest_seconds`.
    pub dead_letter_oldest_seconds: u64,
}
