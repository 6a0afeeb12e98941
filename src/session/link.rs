//! The connection that a session has now: what is forgotten when it ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;

use crate::mqtt::codec;
use crate::mqtt::packet::Version;
use crate::mqtt::reply::{Delivery, EncodeContext, Reply, TopicAlias};
use crate::time::Timestamp;
use crate::turn::{ConnectionId, Output, PAYLOAD_MAX, RecordNumber, Turn, Written};

/// One network connection of a session.
#[derive(Debug)]
pub struct Link {
    /// Which.
    pub id: ConnectionId,
    /// Protocol.
    pub version: Version,
    /// PUBLISH packets of QoS > 0 that may be unacknowledged: the client's Receive Maximum under
    /// our cap.
    pub window: usize,
    /// The client's Maximum Packet Size in bytes.
    pub packet_size_max: usize,
    /// Keep Alive in seconds; 0 is off.
    pub keep_alive: u16,
    /// Whether Reason Strings are wanted `[MQTT-3.1.2-29]`.
    pub wants_reasons: bool,
    /// When it connected.
    pub since: Timestamp,
    /// When the last packet came.
    pub last_heard: Timestamp,
    /// Whether the world stopped reading from it, so that its silence is not the client's.
    pub paused: bool,
    /// Packets that came.
    pub heard: u64,
    /// Packets that went.
    pub said: u64,
    /// PUBLISH packets from the client.
    pub messages_in: u64,
    /// PUBLISH packets to the client.
    pub messages_out: u64,
    /// Bytes of the payloads of those from the client.
    pub payload_in: u64,
    /// Bytes of the payloads of those to the client.
    pub payload_out: u64,
    /// When the timer wakes that looks after its Keep Alive, where that is on.
    pub silence_due: Timestamp,
    /// Whether a timer looks after its oldest unacknowledged message.
    pub ack_watched: bool,
    /// When that one wakes.
    pub ack_due: Timestamp,
    /// Whether its outbox is over its limit.
    pub outbox_full: bool,
    /// Where the client takes Topic Aliases.
    aliases: Option<Box<Aliases>>,
}

impl Link {
    /// A connection as its CONNECT describes it.
    pub fn new(id: ConnectionId, version: Version, now: Timestamp) -> Self {
        Self {
            id,
            version,
            window: usize::from(u16::MAX),
            packet_size_max: usize::MAX,
            keep_alive: 0,
            wants_reasons: true,
            since: now,
            last_heard: now,
            paused: false,
            heard: 0,
            said: 0,
            messages_in: 0,
            messages_out: 0,
            payload_in: 0,
            payload_out: 0,
            silence_due: now,
            ack_watched: false,
            ack_due: now,
            outbox_full: false,
            aliases: None,
        }
    }

    /// Counts `count` packets that came.
    pub fn hear(&mut self, count: usize, now: Timestamp) {
        self.heard += count as u64;
        self.last_heard = now;
        self.paused = false;
    }

    /// Counts those of them that are PUBLISHes, with `payload` bytes of Application Messages.
    pub fn hear_publishes(&mut self, count: usize, payload: usize) {
        self.messages_in += count as u64;
        self.payload_in += payload as u64;
    }

    /// How many Topic Aliases the client takes.
    pub fn set_alias_maximum(&mut self, maximum: u16) {
        let aliases = Aliases { maximum, by_topic: HashMap::default() };
        self.aliases = (maximum > 0).then(|| Box::new(aliases));
    }

    /// Sends `reply` when `until` is durable; Reason Strings only where wanted. What the client
    /// does not take counts as sent `[MQTT-3.1.2-25]`.
    pub fn say(&mut self, turn: &mut Turn, until: RecordNumber, mut reply: Reply) {
        if !self.takes(&reply) {
            return;
        }
        if !self.wants_reasons {
            strip_reason_string(&mut reply);
        }
        self.said += 1;
        if let Some(ack) = codec::plain_ack(&reply) {
            let written = turn.written.ack(ack);
            return match until == RecordNumber::default() {
                true => turn.send_written(self.id, written),
                false => turn.hold_written(until, self.id, written),
            };
        }
        if let Reply::Publish(delivery) = &reply {
            self.messages_out += 1;
            self.payload_out += delivery.message.payload.len() as u64;
        }
        if until == RecordNumber::default() {
            turn.send(self.id, Output::Packet(reply));
        } else {
            turn.hold(until, self.id, Output::Packet(reply));
        }
    }

    /// Sends a PUBLISH when `until` is durable. One that may leave at once is encoded right here,
    /// where that makes the same bytes at any time.
    pub fn publish(&mut self, turn: &mut Turn, until: RecordNumber, delivery: &Delivery) {
        let message = &delivery.message;
        let is_timeless = delivery.topic_alias.is_none() && message.expiry.is_none();
        let is_small = message.payload.len() <= PAYLOAD_MAX && turn.written.has_room();
        if until > RecordNumber::default() || !is_timeless || !is_small {
            return self.say(turn, until, Reply::Publish(delivery.clone()));
        }
        let context = EncodeContext { version: self.version, now: Timestamp::default() };
        let encode = |bytes: &mut Vec<u8>| codec::encode_publish(delivery, context, bytes);
        let written = turn.written.publish(self.version, delivery.qos, encode);
        self.say_written(turn, written, 1, message.payload.len());
    }

    /// Sends `count` PUBLISHes that are encoded already, with `payload` bytes of Application
    /// Messages.
    pub fn say_written(&mut self, turn: &mut Turn, written: Written, count: usize, payload: usize) {
        self.said += count as u64;
        self.messages_out += count as u64;
        self.payload_out += payload as u64;
        turn.send_written(self.id, written);
    }

    /// Whether an answer is within the client's Maximum Packet Size: of those to a client that
    /// has its CONNACK only a list of codes can be larger. PUBLISH is looked at before.
    fn takes(&self, reply: &Reply) -> bool {
        match reply {
            Reply::SubAck(list) | Reply::UnsubAck(list) => {
                list.reasons.len() < self.packet_size_max
                    && codec::smallest_size(reply, self.version) <= self.packet_size_max
            }
            _ => true,
        }
    }

    /// The Topic Alias for a QoS 0 PUBLISH of `topic` that is not held. Nothing else uses one:
    /// a PUBLISH that waits, or that others may overtake, must not define what they use.
    pub fn topic_alias(&mut self, topic: &Arc<str>) -> Option<TopicAlias> {
        self.aliases.as_mut()?.of(topic)
    }

    /// Whether a PUBLISH may be sent with a Topic Alias.
    pub fn uses_topic_aliases(&self) -> bool {
        self.version == Version::V5 && self.aliases.is_some()
    }

    /// When the client counts as gone: after one and a half Keep Alives without a packet
    /// `[MQTT-3.1.2-22]`.
    pub fn silent_until(&self) -> Option<Timestamp> {
        let allowed = Duration::from_millis(u64::from(self.keep_alive) * 1500);
        (self.keep_alive > 0).then(|| self.last_heard + allowed)
    }
}

/// A CONNACK or DISCONNECT may have one all the same `[MQTT-3.1.2-29]`.
fn strip_reason_string(reply: &mut Reply) {
    match reply {
        Reply::PubAck(ack) | Reply::PubRec(ack) | Reply::PubRel(ack) | Reply::PubComp(ack) => {
            ack.reason_string = None;
        }
        Reply::SubAck(list) | Reply::UnsubAck(list) => list.reason_string = None,
        Reply::ConnAck(_) | Reply::Publish(_) | Reply::PingResp | Reply::Disconnect(_) => {}
    }
}

/// Topic Aliases towards the client: the first topics get them, for as long as it is connected.
#[derive(Debug)]
struct Aliases {
    maximum: u16,
    by_topic: HashMap<Arc<str>, u16, FixedState>,
}

impl Aliases {
    fn of(&mut self, topic: &Arc<str>) -> Option<TopicAlias> {
        if let Some(&alias) = self.by_topic.get(topic) {
            return Some(TopicAlias::Use(alias));
        }
        let next = u16::try_from(self.by_topic.len() + 1).ok()?;
        (next <= self.maximum).then(|| {
            self.by_topic.insert(topic.clone(), next);
            TopicAlias::Define(next)
        })
    }
}

#[cfg(test)]
mod tests;
