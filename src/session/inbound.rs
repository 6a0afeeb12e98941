//! What a client publishes to us: its Topic Aliases, its QoS 2 Packet Identifiers, its quota.
//!
//! Invariant: a QoS 2 Packet Identifier is in `received` from its first PUBLISH to its PUBREL;
//! in between, the same PUBLISH is a duplicate.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;

use super::packet_ids::PacketIds;
use super::rare::Blank;
use super::violation::Violation;
use crate::config::Limits;
use crate::mqtt::packet::PacketId;
use crate::mqtt::topic;
use crate::turn::RecordNumber;

/// The inbound half of a session.
#[derive(Debug)]
pub struct Inbound {
    /// QoS 2 Packet Identifiers between PUBLISH and PUBREL.
    pub received: PacketIds,
    /// Those of them that came on this connection: only they count against our Receive Maximum,
    /// which belongs to the connection.
    counted: PacketIds,
    /// What the acknowledgements of QoS 1 wait for, oldest first: they count against our Receive
    /// Maximum until they leave. Of this connection only.
    unacknowledged: VecDeque<RecordNumber>,
    aliases: Vec<Option<Arc<str>>>,
    last_topic: Option<Arc<str>>,
}

impl Inbound {
    /// A connection ends: what belongs to it alone is forgotten.
    pub fn disconnect(&mut self) {
        self.received.shrink();
        self.counted = PacketIds::default();
        self.unacknowledged = VecDeque::new();
        self.aliases = Vec::new();
        self.last_topic = None;
    }

    /// The Topic Name of a PUBLISH, by its alias where it has one. It is a Topic Name, of no more
    /// levels than we take.
    pub fn resolve_topic(
        &mut self,
        topic: &str,
        alias: Option<NonZeroU16>,
        limits: &Limits,
    ) -> Result<Arc<str>, Violation> {
        let Some(alias) = alias else {
            return self.shared_topic(topic, limits);
        };
        if alias.get() > limits.topic_alias_maximum {
            return Err(Violation::TopicAliasTooLarge);
        }
        let index = usize::from(alias.get()) - 1;
        if topic.is_empty() {
            let known = self.aliases.get(index).cloned().flatten();
            return known.ok_or(Violation::TopicAliasUnknown);
        }
        if self.aliases.len() <= index {
            self.aliases.resize(index + 1, None);
        }
        let topic = self.shared_topic(topic, limits)?;
        self.aliases[index] = Some(topic.clone());
        Ok(topic)
    }

    /// Many clients publish to one topic only: its name is checked and made once.
    fn shared_topic(&mut self, topic: &str, limits: &Limits) -> Result<Arc<str>, Violation> {
        if let Some(last) = self.last_topic.as_ref().filter(|last| ***last == *topic) {
            return Ok(last.clone());
        }
        topic::check_name(topic, limits.topic_levels).map_err(|_| Violation::TopicTooDeep)?;
        let topic: Arc<str> = topic.into();
        self.last_topic = Some(topic.clone());
        Ok(topic)
    }

    /// Whether one more PUBLISH of QoS > 0 keeps to our Receive Maximum, when all up to
    /// `committed` is durable, so that its acknowledgements left.
    pub fn has_quota(&mut self, maximum: u16, committed: RecordNumber) -> bool {
        self.forget_acknowledged(committed);
        self.counted.len() + self.unacknowledged.len() < usize::from(maximum)
    }

    /// The acknowledgements that waited for what is durable by now left.
    pub fn forget_acknowledged(&mut self, committed: RecordNumber) {
        while self.unacknowledged.front().is_some_and(|&until| until <= committed) {
            self.unacknowledged.pop_front();
        }
    }

    /// A QoS 2 PUBLISH came: says whether its Packet Identifier is known already.
    pub fn is_duplicate(&mut self, packet_id: PacketId) -> bool {
        let is_duplicate = self.received.contains(packet_id);
        if is_duplicate {
            self.counted.insert(packet_id);
        }
        is_duplicate
    }

    /// A QoS 2 PUBLISH was taken under `packet_id`.
    pub fn receive(&mut self, packet_id: PacketId) {
        self.received.insert(packet_id);
        self.counted.insert(packet_id);
    }

    /// PUBREL came: says whether `packet_id` was there to be released.
    pub fn release(&mut self, packet_id: PacketId) -> bool {
        self.counted.remove(packet_id);
        self.received.remove(packet_id)
    }

    /// A QoS 1 acknowledgement waits for `until`; one that waits for no record leaves at once.
    pub fn acknowledges_after(&mut self, until: RecordNumber) {
        if until > RecordNumber::default() {
            self.unacknowledged.push_back(until);
        }
    }

    const fn new() -> Self {
        Self {
            received: PacketIds::new(),
            counted: PacketIds::new(),
            unacknowledged: VecDeque::new(),
            aliases: Vec::new(),
            last_topic: None,
        }
    }
}

impl Blank for Inbound {
    type Kind = ();

    fn shared((): ()) -> &'static Self {
        static BLANK: Inbound = Inbound::new();
        &BLANK
    }

    fn blank((): ()) -> Self {
        Self::new()
    }

    /// The last topic is known for speed alone.
    fn tidy(&mut self) -> bool {
        self.received.is_empty()
            && self.counted.is_empty()
            && self.unacknowledged.is_empty()
            && self.aliases.is_empty()
    }
}
