//! Every limit and switch of the core, as plain data. Reaching a limit has a named outcome.

use std::time::Duration;

use crate::dead_reason::DeadReason;

/// What the core is made with.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Limits.
    pub limits: Limits,
    /// Dead letters.
    pub dead_letters: DeadLetters,
    /// Rights.
    pub rights: Rights,
    /// The node's name, as `dl-broker` gives it.
    pub node: String,
}

/// The limits of the core.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Maximum Packet Size that we accept, in bytes: a larger one ends the connection with 0x95.
    pub packet_size: usize,
    /// Receive Maximum: ours, and our cap on the client's.
    pub receive_maximum: u16,
    /// Copies in one owner's queue: above, the oldest that was never sent dies (`queue_full`).
    pub queue_messages: usize,
    /// The same in bytes.
    pub queue_bytes: usize,
    /// Bytes of messages that wait in memory for a client, of all queues: above, `queue_full`.
    pub memory_bytes: usize,
    /// Bytes of messages in all queues: above, `queue_full`.
    pub disk_bytes: u64,
    /// Topic Alias Maximum, both ways.
    pub topic_alias_maximum: u16,
    /// Cap on the Session Expiry Interval, in seconds; `u32::MAX` is none.
    pub session_expiry: u32,
    /// Levels of a topic: more are 0x90 or 0x8F.
    pub topic_levels: usize,
    /// Cap on the Keep Alive, in seconds, told as Server Keep Alive; 0 is none.
    pub keep_alive: u16,
    /// Retained messages: more are refused with 0x97.
    pub retained_messages: usize,
    /// Subscriptions of one session: more are 0x97.
    pub subscriptions: usize,
    /// Charged deliveries to an MQTT 5 client, then `delivery_limit`; 0 is none.
    pub max_deliveries: u32,
    /// The same for 3.1.1.
    pub max_deliveries_v311: u32,
    /// Message Expiry Interval for publishers that set none, in seconds.
    pub message_expiry: Option<u32>,
    /// How long after a start a stored will waits at least for its client.
    pub restart_grace: Duration,
    /// Between two publications of `$SYS`; zero turns it off.
    pub sys_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet_size: 2 * 1024 * 1024,
            receive_maximum: 100,
            queue_messages: 100_000,
            queue_bytes: 64 * 1024 * 1024,
            memory_bytes: 64 * 1024 * 1024,
            disk_bytes: 1024 * 1024 * 1024,
            topic_alias_maximum: 32,
            session_expiry: u32::MAX,
            topic_levels: 128,
            keep_alive: 0,
            retained_messages: 1_000_000,
            subscriptions: 100_000,
            max_deliveries: 20,
            max_deliveries_v311: 0,
            message_expiry: None,
            restart_grace: Duration::from_secs(10),
            sys_interval: Duration::from_secs(10),
        }
    }
}

/// Dead letters: which, and how long they are kept.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    /// The reasons that are switched on; others are counted only.
    pub reasons: Vec<DeadReason>,
    /// Whether QoS 0 messages become letters, too.
    pub include_qos0: bool,
    /// Whether the backlog of a transient session does at its end.
    pub include_transient: bool,
    /// Kept letters: above, the oldest goes.
    pub max_count: usize,
    /// The same in bytes.
    pub max_bytes: u64,
    /// How long a letter is kept, from its death.
    pub max_age: Duration,
}

impl Default for DeadLetters {
    fn default() -> Self {
        Self {
            reasons: DeadReason::ALL.to_vec(),
            include_qos0: false,
            include_transient: false,
            max_count: 100_000,
            max_bytes: 256 * 1024 * 1024,
            max_age: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// How rights are applied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rights {
    /// Whether a filter wider than the grants is refused, in place of filtered at delivery.
    pub strict_subscribe: bool,
    /// Whether a 3.1.1 publish without the right closes the connection, in place of being
    /// acknowledged and dropped.
    pub close_unauthorized_publish: bool,
}
