//! Packets to a client.

use super::frame::Kind;
use super::properties::id;
use super::writer::{packet_len, put_string, put_u16, put_u32, put_variable, variable_len};
use crate::mqtt::packet::Publish;
use crate::mqtt::reply::{Ack, AckList, ConnAck, Disconnect, EncodeContext, TopicAlias};
use crate::mqtt::{Delivery, PacketId, QoS, ReasonCode, Reply, Version};
use crate::time::Timestamp;

/// Of a PUBLISH, without what its message and its Subscription Identifiers take: fixed header,
/// length of the topic, Packet Identifier, Property Length, Message Expiry Interval, Topic Alias.
const HEAD_AT_MOST: usize = 5 + 2 + 2 + 4 + 5 + 3;
const SUBSCRIPTION_ID_AT_MOST: usize = 1 + 4;

/// Appends `reply`.
///
/// `limit` is the client's Maximum Packet Size: a Reason String that would exceed it is left out
/// `[MQTT-3.2.2-19]`, `[MQTT-3.4.2-2]`, `[MQTT-3.5.2-2]`, `[MQTT-3.6.2-2]`, `[MQTT-3.7.2-2]`,
/// `[MQTT-3.9.2-1]`, `[MQTT-3.11.2-1]`, `[MQTT-3.14.2-3]`. Whether a PUBLISH exceeds it, and
/// whether the client wants Reason Strings at all, is known before.
pub fn encode(reply: &Reply, context: EncodeContext, limit: usize, out: &mut Vec<u8>) {
    let version = context.version;
    match reply {
        Reply::Publish(delivery) => encode_publish(delivery, context, out),
        Reply::PubAck(ack) => put_ack(Kind::PubAck, ack, version, limit, out),
        Reply::PubRec(ack) => put_ack(Kind::PubRec, ack, version, limit, out),
        Reply::PubRel(ack) => put_ack(Kind::PubRel, ack, version, limit, out),
        Reply::PubComp(ack) => put_ack(Kind::PubComp, ack, version, limit, out),
        Reply::PingResp => out.extend_from_slice(&[Kind::PingResp.first_byte(), 0]),
        Reply::ConnAck(connack) => match version {
            Version::V5 => put_connack_v5(connack, limit, out),
            Version::V311 | Version::V31 => put_connack_v311(connack, version, out),
        },
        Reply::SubAck(list) => match version {
            Version::V5 => put_list(Kind::SubAck, list, limit, out),
            Version::V311 | Version::V31 => put_suback_v311(list, out),
        },
        Reply::UnsubAck(list) => match version {
            Version::V5 => put_list(Kind::UnsubAck, list, limit, out),
            Version::V311 | Version::V31 => put_short_ack(Kind::UnsubAck, list.packet_id, out),
        },
        Reply::Disconnect(disconnect) => {
            if version == Version::V5 {
                put_disconnect(disconnect, limit, out);
            }
        }
    }
}

/// An acknowledgement that says no more than that it is one: the same in all protocols. `None` for
/// every other packet.
pub fn plain_ack(reply: &Reply) -> Option<[u8; 4]> {
    let (kind, ack) = match reply {
        Reply::PubAck(ack) => (Kind::PubAck, ack),
        Reply::PubRec(ack) => (Kind::PubRec, ack),
        Reply::PubRel(ack) => (Kind::PubRel, ack),
        Reply::PubComp(ack) => (Kind::PubComp, ack),
        _ => return None,
    };
    let is_plain = ack.reason == ReasonCode::SUCCESS && ack.reason_string.is_none();
    is_plain.then(|| short_ack(kind, ack.packet_id))
}

/// Bytes of `reply` on the wire without its Reason String, which may be left out.
pub fn smallest_size(reply: &Reply, version: Version) -> usize {
    let mut out = Vec::new();
    encode(reply, EncodeContext { version, now: Timestamp(0) }, 0, &mut out);
    out.len()
}

/// Appends a PUBLISH.
pub fn encode_publish(delivery: &Delivery, context: EncodeContext, out: &mut Vec<u8>) {
    encode_publish_head(delivery, context, out);
    out.extend_from_slice(&delivery.message.payload);
}

/// Appends what a PUBLISH of QoS 0 is to a subscriber: the same, without Message Expiry Interval
/// and Topic Alias.
pub fn pass_on(publish: &Publish<'_>, version: Version, out: &mut Vec<u8>) {
    let Publish { topic, properties, payload, .. } = publish;
    let mut remaining = 2 + topic.len() + payload.as_slice().len();
    if version == Version::V5 {
        remaining += properties_len(properties.len());
    }
    out.reserve(packet_len(remaining));
    out.push(Kind::Publish.first_byte());
    put_variable(out, remaining);
    put_string(out, topic);
    if version == Version::V5 {
        put_variable(out, properties.len());
        out.extend_from_slice(properties);
    }
    out.extend_from_slice(payload.as_slice());
}

/// Gives an encoded PUBLISH that has a Packet Identifier another one.
pub fn set_packet_id(publish: &mut [u8], packet_id: PacketId) {
    let last_of_length = publish[1..].iter().position(|&byte| byte & 0x80 == 0);
    let (_, rest) = publish.split_at_mut(2 + last_of_length.expect("it was encoded"));
    let topic = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
    rest[2 + topic..][..2].copy_from_slice(&packet_id.get().to_be_bytes());
}

/// Appends a PUBLISH without its payload, so that a big one can be written from where it is.
pub fn encode_publish_head(delivery: &Delivery, context: EncodeContext, out: &mut Vec<u8>) {
    let layout = PublishLayout::of(delivery, context.version);
    let message = &delivery.message;
    let flags = u8::from(delivery.dup) << 3 | (delivery.qos as u8) << 1 | u8::from(delivery.retain);
    out.reserve(packet_len(layout.remaining) - message.payload.len());
    out.push(Kind::Publish.first_byte() | flags);
    put_variable(out, layout.remaining);
    put_string(out, layout.topic);
    if let Some(packet_id) = delivery.packet_id {
        put_u16(out, packet_id.get());
    }
    if context.version != Version::V5 {
        return;
    }
    put_variable(out, layout.properties);
    if let Some(seconds) = message.remaining_expiry(context.now) {
        out.push(id::MESSAGE_EXPIRY_INTERVAL);
        put_u32(out, seconds);
    }
    if let Some(TopicAlias::Define(alias) | TopicAlias::Use(alias)) = delivery.topic_alias {
        out.push(id::TOPIC_ALIAS);
        put_u16(out, alias);
    }
    for &subscription_id in delivery.subscription_ids.as_deref().unwrap_or(&[]) {
        out.push(id::SUBSCRIPTION_IDENTIFIER);
        put_variable(out, subscription_id as usize);
    }
    out.extend_from_slice(&message.properties);
}

/// Whether the whole PUBLISH is at most `limit` bytes on the wire. It is counted exactly near the
/// limit only.
pub fn publish_fits(delivery: &Delivery, version: Version, limit: usize) -> bool {
    let ids = delivery.subscription_ids.as_deref().map_or(0, <[u32]>::len);
    let at_most = delivery.message.size() + HEAD_AT_MOST + ids * SUBSCRIPTION_ID_AT_MOST;
    at_most <= limit || publish_size(delivery, version) <= limit
}

/// Bytes of the whole PUBLISH on the wire. Above [`super::LARGEST_PACKET`] it cannot be encoded.
pub fn publish_size(delivery: &Delivery, version: Version) -> usize {
    packet_len(PublishLayout::of(delivery, version).remaining)
}

/// The lengths inside of a PUBLISH.
struct PublishLayout<'a> {
    topic: &'a str,
    properties: usize,
    remaining: usize,
}

impl<'a> PublishLayout<'a> {
    fn of(delivery: &'a Delivery, version: Version) -> Self {
        assert_eq!(
            delivery.packet_id.is_some(),
            delivery.qos != QoS::AtMostOnce,
            "a packet identifier is there exactly when QoS is above 0"
        );
        let message = &delivery.message;
        let mut layout = Self { topic: &message.topic, properties: 0, remaining: 0 };
        if version == Version::V5 {
            if matches!(delivery.topic_alias, Some(TopicAlias::Use(_))) {
                layout.topic = "";
            }
            layout.properties = publish_properties_len(delivery);
            layout.remaining = variable_len(layout.properties) + layout.properties;
        }
        layout.remaining += 2 + layout.topic.len() + message.payload.len();
        layout.remaining += if delivery.packet_id.is_some() { 2 } else { 0 };
        layout
    }
}

fn publish_properties_len(delivery: &Delivery) -> usize {
    let expiry = if delivery.message.expiry.is_some() { 5 } else { 0 };
    let alias = if delivery.topic_alias.is_some() { 3 } else { 0 };
    let ids = delivery.subscription_ids.as_deref().unwrap_or(&[]);
    let ids: usize = ids.iter().map(|&id| 1 + variable_len(id as usize)).sum();
    expiry + alias + ids + delivery.message.properties.len()
}

fn put_ack(kind: Kind, ack: &Ack, version: Version, limit: usize, out: &mut Vec<u8>) {
    if version != Version::V5 {
        return put_short_ack(kind, ack.packet_id, out);
    }
    let text = fitting(ack.reason_string.as_deref(), 3, 0, limit);
    if text.is_none() && ack.reason == ReasonCode::SUCCESS {
        return put_short_ack(kind, ack.packet_id, out);
    }
    out.push(kind.first_byte());
    put_variable(out, 3 + text.map_or(0, |text| properties_len(reason_string_len(text))));
    put_u16(out, ack.packet_id.get());
    out.push(ack.reason.0);
    if text.is_some() {
        put_reason_string(text, out);
    }
}

fn put_short_ack(kind: Kind, packet_id: PacketId, out: &mut Vec<u8>) {
    out.extend_from_slice(&short_ack(kind, packet_id));
}

fn short_ack(kind: Kind, packet_id: PacketId) -> [u8; 4] {
    let [high, low] = packet_id.get().to_be_bytes();
    [kind.first_byte(), 2, high, low]
}

fn put_list(kind: Kind, list: &AckList, limit: usize, out: &mut Vec<u8>) {
    let rest = 2 + list.reasons.len();
    let text = fitting(list.reason_string.as_deref(), rest, 0, limit);
    out.push(kind.first_byte());
    put_variable(out, rest + properties_len(text.map_or(0, reason_string_len)));
    put_u16(out, list.packet_id.get());
    put_reason_string(text, out);
    out.extend(list.reasons.iter().map(|reason| reason.0));
}

/// Every refusal is the one Failure code of 3.1.1.
fn put_suback_v311(list: &AckList, out: &mut Vec<u8>) {
    out.push(Kind::SubAck.first_byte());
    put_variable(out, 2 + list.reasons.len());
    put_u16(out, list.packet_id.get());
    out.extend(list.reasons.iter().map(|reason| reason.0.min(0x80)));
}

/// Always with a Property Length: some client libraries cannot read the form without.
fn put_disconnect(disconnect: &Disconnect, limit: usize, out: &mut Vec<u8>) {
    let text = fitting(disconnect.reason_string.as_deref(), 1, 0, limit);
    out.push(Kind::Disconnect.first_byte());
    put_variable(out, 1 + properties_len(text.map_or(0, reason_string_len)));
    out.push(disconnect.reason.0);
    put_reason_string(text, out);
}

fn put_connack_v5(connack: &ConnAck, limit: usize, out: &mut Vec<u8>) {
    let mut properties = connack_properties(connack);
    let text = fitting(connack.reason_string.as_deref(), 2, properties.len(), limit);
    if let Some(text) = text {
        properties.push(id::REASON_STRING);
        put_string(&mut properties, text);
    }
    out.push(Kind::ConnAck.first_byte());
    put_variable(out, 2 + properties_len(properties.len()));
    out.push(session_present(connack));
    out.push(connack.reason.0);
    put_variable(out, properties.len());
    out.extend_from_slice(&properties);
}

fn connack_properties(connack: &ConnAck) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(seconds) = connack.session_expiry {
        out.push(id::SESSION_EXPIRY_INTERVAL);
        put_u32(&mut out, seconds);
    }
    if let Some(maximum) = connack.receive_maximum {
        out.push(id::RECEIVE_MAXIMUM);
        put_u16(&mut out, maximum);
    }
    if let Some(bytes) = connack.maximum_packet_size {
        out.push(id::MAXIMUM_PACKET_SIZE);
        put_u32(&mut out, bytes);
    }
    if let Some(client_id) = &connack.assigned_client_id {
        out.push(id::ASSIGNED_CLIENT_IDENTIFIER);
        put_string(&mut out, client_id);
    }
    if let Some(maximum) = connack.maximum_qos {
        out.extend_from_slice(&[id::MAXIMUM_QOS, maximum as u8]);
    }
    for (identifier, is_available) in [
        (id::RETAIN_AVAILABLE, connack.retain_available),
        (id::WILDCARD_SUBSCRIPTION_AVAILABLE, connack.wildcard_subscriptions),
        (id::SUBSCRIPTION_IDENTIFIER_AVAILABLE, connack.subscription_identifiers),
        (id::SHARED_SUBSCRIPTION_AVAILABLE, connack.shared_subscriptions),
    ] {
        if !is_available {
            out.extend_from_slice(&[identifier, 0]);
        }
    }
    if connack.topic_alias_maximum > 0 {
        out.push(id::TOPIC_ALIAS_MAXIMUM);
        put_u16(&mut out, connack.topic_alias_maximum);
    }
    if let Some(seconds) = connack.server_keep_alive {
        out.push(id::SERVER_KEEP_ALIVE);
        put_u16(&mut out, seconds);
    }
    out
}

/// In 3.1 the first byte is reserved.
fn put_connack_v311(connack: &ConnAck, version: Version, out: &mut Vec<u8>) {
    let code = return_code(connack.reason);
    let present = if version == Version::V31 { 0 } else { session_present(connack) };
    out.extend_from_slice(&[Kind::ConnAck.first_byte(), 2, present, code]);
}

/// A refusal never says that there is a session `[MQTT-3.2.2-6]`.
fn session_present(connack: &ConnAck) -> u8 {
    u8::from(connack.session_present && !connack.reason.is_error())
}

/// Connect Return Code of 3.1.1.
fn return_code(reason: ReasonCode) -> u8 {
    match reason {
        ReasonCode::UNSUPPORTED_PROTOCOL_VERSION => 1,
        ReasonCode::CLIENT_IDENTIFIER_NOT_VALID => 2,
        ReasonCode::BAD_USER_NAME_OR_PASSWORD => 4,
        ReasonCode::NOT_AUTHORIZED | ReasonCode::BANNED | ReasonCode::BAD_AUTHENTICATION_METHOD => {
            5
        }
        reason if reason.is_error() => 3,
        _ => 0,
    }
}

/// The Reason String, when the packet stays within `limit` with it. `rest` are the bytes of the
/// body without properties, `properties` those of the other properties.
fn fitting(text: Option<&str>, rest: usize, properties: usize, limit: usize) -> Option<&str> {
    let text = text.filter(|text| text.len() <= usize::from(u16::MAX))?;
    let remaining = rest + properties_len(properties + reason_string_len(text));
    (packet_len(remaining) <= limit).then_some(text)
}

fn reason_string_len(text: &str) -> usize {
    3 + text.len()
}

/// Properties with their length in front.
fn properties_len(properties: usize) -> usize {
    variable_len(properties) + properties
}

/// Properties that are no more than a Reason String.
fn put_reason_string(text: Option<&str>, out: &mut Vec<u8>) {
    put_variable(out, text.map_or(0, reason_string_len));
    if let Some(text) = text {
        out.push(id::REASON_STRING);
        put_string(out, text);
    }
}
