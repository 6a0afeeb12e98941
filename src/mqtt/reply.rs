//! Control packets that the server sends: owned, so that they can wait for the disk.

use std::sync::Arc;

use super::message::Message;
use super::packet::PacketId;
use super::reason::ReasonCode;
use super::{QoS, Version};
use crate::time::Timestamp;

/// A control packet to a client.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// CONNACK.
    ConnAck(Box<ConnAck>),
    /// PUBLISH.
    Publish(Delivery),
    /// PUBACK.
    PubAck(Ack),
    /// PUBREC.
    PubRec(Ack),
    /// PUBREL.
    PubRel(Ack),
    /// PUBCOMP.
    PubComp(Ack),
    /// SUBACK: a code per filter, in their order.
    SubAck(AckList),
    /// UNSUBACK: a code per filter, in their order; 3.1.1 writes none.
    UnsubAck(AckList),
    /// PINGRESP.
    PingResp,
    /// DISCONNECT; nothing on the wire in 3.1.1.
    Disconnect(Disconnect),
}

/// CONNACK. The options are the limits that differ from what the specification takes for granted.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnAck {
    /// Session Present.
    pub session_present: bool,
    /// In words of MQTT 5; the codec translates for 3.1.1.
    pub reason: ReasonCode,
    /// Session Expiry Interval in seconds, when another than the client's applies.
    pub session_expiry: Option<u32>,
    /// Receive Maximum, when under 65,535.
    pub receive_maximum: Option<u16>,
    /// Maximum Packet Size in bytes.
    pub maximum_packet_size: Option<u32>,
    /// Assigned Client Identifier.
    pub assigned_client_id: Option<Arc<str>>,
    /// Maximum QoS, when under 2.
    pub maximum_qos: Option<QoS>,
    /// Retain Available; written when it is not.
    pub retain_available: bool,
    /// Wildcard Subscription Available; written when it is not.
    pub wildcard_subscriptions: bool,
    /// Subscription Identifiers Available; written when they are not.
    pub subscription_identifiers: bool,
    /// Shared Subscription Available; written when it is not.
    pub shared_subscriptions: bool,
    /// Topic Alias Maximum; 0 is not written.
    pub topic_alias_maximum: u16,
    /// Server Keep Alive in seconds.
    pub server_keep_alive: Option<u16>,
    /// Reason String.
    pub reason_string: Option<Box<str>>,
}

/// A PUBLISH to one subscriber.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// What is published.
    pub message: Arc<Message>,
    /// The QoS of this delivery; above 0 exactly when there is a Packet Identifier.
    pub qos: QoS,
    /// Packet Identifier.
    pub packet_id: Option<PacketId>,
    /// DUP.
    pub dup: bool,
    /// RETAIN.
    pub retain: bool,
    /// Of every matching subscription that has one.
    pub subscription_ids: SubscriptionIds,
    /// Topic Alias.
    pub topic_alias: Option<TopicAlias>,
}

/// Subscription Identifiers: mostly none, seldom several.
pub type SubscriptionIds = Option<Arc<[u32]>>;

/// How a PUBLISH to a client uses a Topic Alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicAlias {
    /// Topic Name and alias: the alias stands for it from now on.
    Define(u16),
    /// The alias alone.
    Use(u16),
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP to a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Ack {
    /// Of the PUBLISH that it belongs to.
    pub packet_id: PacketId,
    /// Not written in 3.1.1.
    pub reason: ReasonCode,
    /// Reason String.
    pub reason_string: Option<Box<str>>,
}

/// SUBACK or UNSUBACK.
#[derive(Clone, Debug, PartialEq)]
pub struct AckList {
    /// Of the packet that it answers.
    pub packet_id: PacketId,
    /// In words of MQTT 5.
    pub reasons: Vec<ReasonCode>,
    /// Reason String.
    pub reason_string: Option<Box<str>>,
}

/// DISCONNECT to a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Disconnect {
    /// Why.
    pub reason: ReasonCode,
    /// Reason String.
    pub reason_string: Option<Box<str>>,
}

/// What encoding needs to know beside the packet itself.
#[derive(Clone, Copy, Debug)]
pub struct EncodeContext {
    /// Protocol of the connection.
    pub version: Version,
    /// For the remaining Message Expiry Interval.
    pub now: Timestamp,
}
