//! Every limit and switch of the core, as plain data. Reaching a limit has a named outcome.

use std::time::Duration;

pub use wildmatch::WildMatch;

use crate::dead_reason::DeadReason;
use crate::mqtt::{QoS, topic};

/// What the core is made with.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Limits.
    pub limits: Limits,
    /// What happens to a message for a queue that is full.
    pub overflow: OverflowPolicies,
    /// Which member of a share group gets a message.
    pub sharing: Sharing,
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
    /// Our Receive Maximum. None by default, as libraries that are much used do not look at it
    /// (MQTT.js 5), and ending their connection makes them send all of it again.
    pub receive_maximum: u16,
    /// Our cap on the client's Receive Maximum: messages of QoS 1 and 2 in flight to it.
    pub in_flight: u16,
    /// Copies in one owner's queue: above, the oldest that was never sent dies (`queue_full`).
    pub queue_messages: usize,
    /// The same in bytes.
    pub queue_bytes: usize,
    /// Bytes of messages that wait in memory for a client, of all queues: above, `queue_full`.
    pub memory_bytes: usize,
    /// Bytes of messages in all queues: above, `queue_full`.
    pub disk_bytes: u64,
    /// Maximum QoS of what clients publish, and the highest that a subscription is granted: a
    /// PUBLISH above it ends its connection with 0x9B.
    pub maximum_qos: QoS,
    /// Whether clients may set RETAIN: else 0x9A.
    pub retain_available: bool,
    /// Whether they may subscribe with wildcards: else 0xA2.
    pub wildcard_subscriptions: bool,
    /// Whether they may name Subscription Identifiers: else 0xA1.
    pub subscription_identifiers: bool,
    /// Whether they may share subscriptions: else 0x9E.
    pub shared_subscriptions: bool,
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
    /// The same for 3.1.1 and 3.1.
    pub max_deliveries_v311: u32,
    /// How long a client may sit on its oldest message of QoS 1 or 2 before it is disconnected:
    /// the one way to have it sent again.
    pub ack_timeout: Option<Duration>,
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
            receive_maximum: u16::MAX,
            in_flight: 100,
            queue_messages: 100_000,
            queue_bytes: 64 * 1024 * 1024,
            memory_bytes: 64 * 1024 * 1024,
            disk_bytes: 1024 * 1024 * 1024,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            wildcard_subscriptions: true,
            subscription_identifiers: true,
            shared_subscriptions: true,
            topic_alias_maximum: 32,
            session_expiry: u32::MAX,
            topic_levels: 128,
            keep_alive: 0,
            retained_messages: 1_000_000,
            subscriptions: 100_000,
            max_deliveries: 20,
            max_deliveries_v311: 0,
            ack_timeout: None,
            message_expiry: None,
            restart_grace: Duration::from_secs(10),
            sys_interval: Duration::from_secs(10),
        }
    }
}

/// What happens to a message for a queue that is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest that was never sent dies.
    #[default]
    DropOldest,
    /// The new one dies.
    DropNewest,
    /// Its publisher is refused: nobody gets it. What has no publisher to refuse dies.
    Refuse,
}

/// [`Overflow`] by owner and topic.
#[derive(Clone, Debug, Default)]
pub struct OverflowPolicies {
    /// The first that fits counts.
    pub rules: Vec<OverflowRule>,
    /// Where none fits.
    pub otherwise: Overflow,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct OverflowRule {
    /// Client Identifier, or `$share~group~filter`; `*` stands for anything.
    pub owner: WildMatch,
    /// Topic Filter of the message.
    pub topic: String,
    /// What happens.
    pub policy: Overflow,
}

impl OverflowPolicies {
    /// What happens to a message to `topic` for the queue of `owner`.
    pub fn of(&self, owner: &str, topic: &str) -> Overflow {
        let fits =
            |rule: &&OverflowRule| rule.owner.matches(owner) && topic::matches(topic, &rule.topic);
        self.rules.iter().find(fits).map_or(self.otherwise, |rule| rule.policy)
    }

    /// Whether any publisher may be refused.
    pub fn may_refuse(&self) -> bool {
        let mut all = self.rules.iter().map(|rule| rule.policy).chain([self.otherwise]);
        all.any(|policy| policy == Overflow::Refuse)
    }
}

/// Which member of a share group gets a message, by group.
#[derive(Clone, Debug, Default)]
pub struct Sharing {
    /// The first that fits counts; where none does, it is [`Strategy::RoundRobin`].
    pub rules: Vec<ShareRule>,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct ShareRule {
    /// `$share/name/filter` as its members subscribe; `*` stands for anything.
    pub filter: wildmatch::WildMatch,
    /// Who gets a message.
    pub strategy: Strategy,
}

/// Which member of a share group gets a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Each in its turn, of those that can take one.
    #[default]
    RoundRobin,
    /// The same for all messages of a topic, so that they stay in their order.
    HashTopic {
        /// How long a member that takes nothing may hold up the others.
        patience: Duration,
    },
}

impl Sharing {
    /// What counts for the group of `$share/name/filter`.
    pub fn of(&self, shared: &str) -> Strategy {
        let rule = self.rules.iter().find(|rule| rule.filter.matches(shared));
        rule.map_or_else(Strategy::default, |rule| rule.strategy)
    }
}

/// Dead letters: which, and how long they are kept.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    /// The reasons that are switched on; others are counted only.
    pub reasons: Vec<DeadReason>,
    /// Where letters are published.
    pub topic: LetterTopic,
    /// How a letter's payload looks.
    pub envelope: Envelope,
    /// Topic Filters of messages of QoS 1 and 2 that become letters when nobody has a
    /// subscription for them.
    pub no_subscribers: Vec<String>,
    /// Whether QoS 0 messages become letters, too.
    pub include_qos0: bool,
    /// Whether the backlog of a transient session does at its end.
    pub include_transient: bool,
    /// What a publish meets that would make one letter too many: the oldest letter goes, or the
    /// publish is refused. A death without a publish takes the oldest one's place.
    pub refuse_when_full: bool,
    /// Kept letters: above, the oldest goes.
    pub max_count: usize,
    /// The same in bytes.
    pub max_bytes: u64,
    /// How long a letter is kept, from its death.
    pub max_age: Duration,
    /// What is redriven by itself.
    pub retry: Retry,
}

/// How a letter's payload looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// As the publisher sent it; what is to be said of the death is in the topic and, for MQTT 5,
    /// in User Properties.
    None,
    /// One JSON object with everything.
    Json,
}

/// The topic of a letter: text with `{reason}` and `{owner}` in it, and `{topic}` at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterTopic {
    template: String,
    prefix: String,
}

impl Default for LetterTopic {
    fn default() -> Self {
        Self::new("$dead/{reason}/{owner}/{topic}").expect("it is one")
    }
}

impl LetterTopic {
    /// Reads a template; the error says what is wrong with it.
    pub fn new(template: &str) -> Result<Self, &'static str> {
        let fixed = template.find('{').ok_or("has no {topic} at its end")?;
        let prefix = &template[..fixed];
        let rest = template.replace("{reason}", "").replace("{owner}", "");
        if !template.ends_with("/{topic}") || rest.matches('{').count() > 1 {
            return Err("may have {reason} and {owner}, and has to end in /{topic}");
        }
        if !prefix.ends_with('/') || prefix.starts_with('/') || prefix.contains(['+', '#']) {
            return Err("has to begin with a fixed level, as $dead/ is");
        }
        Ok(Self { template: template.into(), prefix: prefix.into() })
    }

    /// What every letter's topic begins with: a level or more, and a slash.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The topic of a letter.
    pub fn of(&self, reason: &str, owner: &str, topic: &str) -> String {
        let front = self.template.strip_suffix("{topic}").expect("it was checked");
        front.replace("{reason}", reason).replace("{owner}", owner) + topic
    }

    /// Whether a topic is a letter's: about letters there are no letters.
    pub fn is_letter(&self, topic: &str) -> bool {
        if topic.as_bytes().first() != self.prefix.as_bytes().first() {
            return false; // As nearly all topics.
        }
        let whole = self.prefix.strip_suffix('/').expect("it was checked");
        topic.starts_with(&self.prefix) || topic == whole
    }
}

/// Letters that are redriven by themselves.
#[derive(Clone, Debug)]
pub struct Retry {
    /// Of these reasons.
    pub reasons: Vec<DeadReason>,
    /// So often; then a letter stays dead.
    pub max: u32,
    /// After this time, the first time; doubled each time.
    pub backoff_min: Duration,
    /// Not after a longer time.
    pub backoff_max: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            reasons: Vec::new(),
            max: 3,
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
        }
    }
}

impl Default for DeadLetters {
    fn default() -> Self {
        Self {
            reasons: DeadReason::ALL.to_vec(),
            topic: LetterTopic::default(),
            envelope: Envelope::None,
            no_subscribers: Vec::new(),
            refuse_when_full: false,
            include_qos0: false,
            include_transient: false,
            max_count: 100_000,
            max_bytes: 256 * 1024 * 1024,
            max_age: Duration::from_secs(7 * 24 * 3600),
            retry: Retry::default(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_fixed_prefix_makes_a_letter() {
        let topic = LetterTopic::default();
        assert!(topic.is_letter("$dead/expired/a/b") && topic.is_letter("$dead"));
        assert!(!topic.is_letter("$deadly/a") && !topic.is_letter("a/$dead"));
        assert_eq!(topic.of("expired", "c", "a/b"), "$dead/expired/c/a/b");
    }

    #[test]
    fn a_template_ends_in_the_topic_and_begins_with_what_is_fixed() {
        let topic = LetterTopic::new("site-7/dead/{owner}/{topic}").expect("it is one");
        assert_eq!(topic.of("expired", "c", "a"), "site-7/dead/c/a");
        assert!(topic.is_letter("site-7/dead/c/a") && !topic.is_letter("site-7/deadline"));
        let wrong = ["", "dead", "{topic}", "dead/{topic}/x", "dead/{x}/{topic}", "#/{topic}"];
        for template in wrong {
            assert!(LetterTopic::new(template).is_err(), "{template}");
        }
    }
}
