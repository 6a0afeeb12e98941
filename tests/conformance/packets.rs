//! The packets that the tests send.

use std::borrow::Cow;
use std::num::NonZeroU16;

use kedgemq::auth::{Admission, Identity};
use kedgemq::mqtt::packet::{
    Ack, Auth, Connect, Disconnect, Payload, Publish, RetainHandling, Subscribe,
    SubscriptionOptions, Unsubscribe, Will,
};
use kedgemq::mqtt::{Packet, PacketId, QoS, ReasonCode, Version};

/// A CONNECT, and what was known of who sent it.
#[derive(Clone)]
pub(crate) struct ConnectOptions {
    pub(crate) version: Version,
    pub(crate) client_id: String,
    pub(crate) clean_start: bool,
    pub(crate) keep_alive: u16,
    pub(crate) session_expiry: Option<u32>,
    pub(crate) receive_maximum: Option<u16>,
    pub(crate) maximum_packet_size: Option<u32>,
    pub(crate) topic_alias_maximum: u16,
    pub(crate) problem_information: bool,
    pub(crate) authentication_method: Option<&'static str>,
    pub(crate) user: Option<String>,
    pub(crate) admission: Admission,
    pub(crate) will: Option<Will<'static>>,
}

/// MQTT 5.0, Clean Start, a transient session.
pub(crate) fn v5(client_id: &str) -> ConnectOptions {
    ConnectOptions {
        version: Version::V5,
        client_id: client_id.to_owned(),
        clean_start: true,
        keep_alive: 0,
        session_expiry: None,
        receive_maximum: None,
        maximum_packet_size: None,
        topic_alias_maximum: 0,
        problem_information: true,
        authentication_method: None,
        user: None,
        admission: Admission::Granted,
        will: None,
    }
}

/// MQTT 3.1.1, Clean Session 1.
pub(crate) fn v4(client_id: &str) -> ConnectOptions {
    ConnectOptions { version: Version::V311, ..v5(client_id) }
}

/// MQTT 3.1, Clean Session 1.
pub(crate) fn v3(client_id: &str) -> ConnectOptions {
    ConnectOptions { version: Version::V31, ..v5(client_id) }
}

impl ConnectOptions {
    /// A session that outlives its connection, by an hour in 5.0; resumed where there is one.
    pub(crate) fn stored(self) -> Self {
        let session_expiry = (self.version == Version::V5).then_some(3600);
        Self { clean_start: false, session_expiry, ..self }
    }

    /// The same, thrown away and made anew.
    pub(crate) fn clean(self) -> Self {
        Self { clean_start: true, ..self }
    }

    /// With a Will.
    pub(crate) fn will(self, will: Will<'static>) -> Self {
        Self { will: Some(will), ..self }
    }

    /// With a Receive Maximum.
    pub(crate) fn window(self, receive_maximum: u16) -> Self {
        Self { receive_maximum: Some(receive_maximum), ..self }
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity { user: None, admission: self.admission }
    }

    pub(crate) fn packet(&self) -> Connect<'_> {
        Connect {
            version: self.version,
            clean_start: self.clean_start,
            keep_alive: self.keep_alive,
            client_id: &self.client_id,
            user_name: self.user.as_deref(),
            password: None,
            will: self.will.clone(),
            session_expiry: self.session_expiry,
            receive_maximum: self.receive_maximum.and_then(NonZeroU16::new),
            maximum_packet_size: self.maximum_packet_size,
            topic_alias_maximum: self.topic_alias_maximum,
            request_response_information: false,
            request_problem_information: self.problem_information,
            authentication_method: self.authentication_method,
        }
    }
}

/// A Will without delay, QoS 1, not retained.
pub(crate) fn will(topic: &'static str, payload: &'static str) -> Will<'static> {
    Will {
        topic,
        payload: payload.as_bytes(),
        qos: QoS::AtLeastOnce,
        retain: false,
        delay: 0,
        message_expiry: None,
        properties: Cow::Borrowed(&[]),
    }
}

/// QoS from its number.
pub(crate) fn qos(level: u8) -> QoS {
    [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(level)]
}

/// Packet Identifier from its number.
pub(crate) fn id(value: u16) -> PacketId {
    PacketId::new(value).expect("not 0")
}

/// PUBLISH with QoS 0.
pub(crate) fn q0<'a>(topic: &'a str, payload: &'a str) -> Publish<'a> {
    Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic,
        packet_id: None,
        topic_alias: None,
        message_expiry: None,
        properties: Cow::Borrowed(&[]),
        payload: Payload::Borrowed(payload.as_bytes()),
    }
}

/// PUBLISH with QoS 1.
pub(crate) fn q1<'a>(packet_id: u16, topic: &'a str, payload: &'a str) -> Publish<'a> {
    Publish { qos: QoS::AtLeastOnce, packet_id: Some(id(packet_id)), ..q0(topic, payload) }
}

/// PUBLISH with QoS 2.
pub(crate) fn q2<'a>(packet_id: u16, topic: &'a str, payload: &'a str) -> Publish<'a> {
    Publish { qos: QoS::ExactlyOnce, packet_id: Some(id(packet_id)), ..q0(topic, payload) }
}

/// The same PUBLISH with RETAIN.
pub(crate) fn retained(publish: Publish<'_>) -> Publish<'_> {
    Publish { retain: true, ..publish }
}

/// The same PUBLISH with DUP.
pub(crate) fn dup(publish: Publish<'_>) -> Publish<'_> {
    Publish { dup: true, ..publish }
}

/// The same PUBLISH with a Message Expiry Interval.
pub(crate) fn expiring(seconds: u32, publish: Publish<'_>) -> Publish<'_> {
    Publish { message_expiry: Some(seconds), ..publish }
}

/// The same PUBLISH with a Topic Alias.
pub(crate) fn aliased(alias: u16, publish: Publish<'_>) -> Publish<'_> {
    Publish { topic_alias: NonZeroU16::new(alias), ..publish }
}

/// PUBLISH of the retained message `payload`, QoS 1.
pub(crate) fn keep<'a>(packet_id: u16, topic: &'a str, payload: &'a str) -> Publish<'a> {
    retained(q1(packet_id, topic, payload))
}

/// An acknowledgement with success.
pub(crate) fn ack<'a>(packet_id: u16) -> Ack<'a> {
    refusal(packet_id, ReasonCode::SUCCESS)
}

/// An acknowledgement with any code.
pub(crate) fn refusal<'a>(packet_id: u16, reason: ReasonCode) -> Ack<'a> {
    Ack { packet_id: id(packet_id), reason, reason_string: None }
}

/// PUBACK.
pub(crate) fn puback<'a>(packet_id: u16) -> Packet<'a> {
    Packet::PubAck(ack(packet_id))
}

/// PUBREC.
pub(crate) fn pubrec<'a>(packet_id: u16) -> Packet<'a> {
    Packet::PubRec(ack(packet_id))
}

/// PUBREL.
pub(crate) fn pubrel<'a>(packet_id: u16) -> Packet<'a> {
    Packet::PubRel(ack(packet_id))
}

/// PUBCOMP.
pub(crate) fn pubcomp<'a>(packet_id: u16) -> Packet<'a> {
    Packet::PubComp(ack(packet_id))
}

/// Subscription Options: Maximum QoS, all else 0.
pub(crate) fn options(level: u8) -> SubscriptionOptions {
    SubscriptionOptions {
        qos: qos(level),
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    }
}

/// SUBSCRIBE.
pub(crate) fn subscribe<'a>(
    packet_id: u16,
    filters: &[(&'a str, SubscriptionOptions)],
) -> Packet<'a> {
    let filters = filters.to_vec();
    Packet::Subscribe(Subscribe { packet_id: id(packet_id), subscription_id: None, filters })
}

/// SUBSCRIBE with a Subscription Identifier.
pub(crate) fn subscribe_with_id<'a>(
    packet_id: u16,
    subscription_id: u32,
    filters: &[(&'a str, SubscriptionOptions)],
) -> Packet<'a> {
    let (packet_id, subscription_id) = (id(packet_id), Some(subscription_id));
    Packet::Subscribe(Subscribe { packet_id, subscription_id, filters: filters.to_vec() })
}

/// UNSUBSCRIBE.
pub(crate) fn unsubscribe<'a>(packet_id: u16, filters: &[&'a str]) -> Packet<'a> {
    Packet::Unsubscribe(Unsubscribe { packet_id: id(packet_id), filters: filters.to_vec() })
}

/// DISCONNECT.
pub(crate) fn disconnect<'a>(reason: u8, session_expiry: Option<u32>) -> Packet<'a> {
    let reason = ReasonCode(reason);
    Packet::Disconnect(Disconnect { reason, session_expiry, reason_string: None })
}

/// AUTH.
pub(crate) fn auth<'a>(reason: u8) -> Packet<'a> {
    Packet::Auth(Auth { reason: ReasonCode(reason), authentication_method: Some("M") })
}

/// A User Property as on the wire.
pub(crate) fn user_property(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0x26];
    for text in [name, value] {
        bytes.extend(u16::try_from(text.len()).expect("short").to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// The User Properties in properties as on the wire.
pub(crate) fn user_properties(mut bytes: &[u8]) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    while let Some((&kind, rest)) = bytes.split_first() {
        bytes = rest;
        match kind {
            0x01 => bytes = &bytes[1..],
            0x03 | 0x08 | 0x09 => drop(text(&mut bytes)),
            0x26 => pairs.push((text(&mut bytes), text(&mut bytes))),
            other => panic!("property {other:#04x} is not passed on"),
        }
    }
    pairs
}

fn text(bytes: &mut &[u8]) -> String {
    let (length, rest) = bytes.split_at(2);
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    let (content, rest) = rest.split_at(length);
    *bytes = rest;
    String::from_utf8_lossy(content).into_owned()
}
