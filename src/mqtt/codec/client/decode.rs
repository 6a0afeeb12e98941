//! Packets from a server.

use std::sync::Arc;

use bytes::Bytes;

use crate::mqtt::codec::decode::{
    ALLOWED_IN_PUBLISH, check_topic_given, is_puback_reason, is_pubrel_reason, publish_qos,
    reason_and_string, reason_string,
};
use crate::mqtt::codec::error::DecodeError;
use crate::mqtt::codec::frame::{Frame, Kind, LARGEST_PACKET};
use crate::mqtt::codec::properties::{MessageProperties, Properties, Property, Set, id};
use crate::mqtt::codec::reader::Reader;
use crate::mqtt::reply::{Ack, AckList, ConnAck, Disconnect, TopicAlias};
use crate::mqtt::{Delivery, Message, QoS, ReasonCode, Reply, Version};
use crate::time::Timestamp;

const ALLOWED_IN_CONNACK: Set = Set::of(&[
    id::SESSION_EXPIRY_INTERVAL,
    id::ASSIGNED_CLIENT_IDENTIFIER,
    id::SERVER_KEEP_ALIVE,
    id::AUTHENTICATION_METHOD,
    id::AUTHENTICATION_DATA,
    id::RESPONSE_INFORMATION,
    id::SERVER_REFERENCE,
    id::REASON_STRING,
    id::RECEIVE_MAXIMUM,
    id::TOPIC_ALIAS_MAXIMUM,
    id::MAXIMUM_QOS,
    id::RETAIN_AVAILABLE,
    id::USER_PROPERTY,
    id::MAXIMUM_PACKET_SIZE,
    id::WILDCARD_SUBSCRIPTION_AVAILABLE,
    id::SUBSCRIPTION_IDENTIFIER_AVAILABLE,
    id::SHARED_SUBSCRIPTION_AVAILABLE,
]);
const ALLOWED_IN_DISCONNECT: Set =
    Set::of(&[id::REASON_STRING, id::USER_PROPERTY, id::SERVER_REFERENCE]);
const REPEATABLE_IN_PUBLISH: Set = Set::of(&[id::SUBSCRIPTION_IDENTIFIER]);

/// The packet at the front of `buffer` and the bytes that it took; `None` while it is not whole.
///
/// The message of a PUBLISH counts as received at time 0, so its Message Expiry Interval is the
/// one on the wire. AUTH is [`DecodeError::WrongDirection`]: KedgeMQ never sends it.
pub fn decode(buffer: &[u8], version: Version) -> Result<Option<(Reply, usize)>, DecodeError> {
    let Some(frame) = Frame::split(buffer, version, LARGEST_PACKET)? else {
        return Ok(None);
    };
    let body = frame.body;
    let reply = match frame.kind {
        Kind::ConnAck => Reply::ConnAck(Box::new(connack(body, version)?)),
        Kind::Publish => Reply::Publish(publish(frame.flags, body, version)?),
        Kind::PubAck => Reply::PubAck(ack(body, version, is_server_puback_reason)?),
        Kind::PubRec => Reply::PubRec(ack(body, version, is_server_puback_reason)?),
        Kind::PubRel => Reply::PubRel(ack(body, version, is_pubrel_reason)?),
        Kind::PubComp => Reply::PubComp(ack(body, version, is_pubrel_reason)?),
        Kind::SubAck => Reply::SubAck(suback(body, version)?),
        Kind::UnsubAck => Reply::UnsubAck(unsuback(body, version)?),
        Kind::PingResp => {
            Reader::new(body).finish()?;
            Reply::PingResp
        }
        Kind::Disconnect if version == Version::V5 => Reply::Disconnect(disconnect(body)?),
        _ => return Err(DecodeError::WrongDirection),
    };
    Ok(Some((reply, frame.size)))
}

fn connack(body: &[u8], version: Version) -> Result<ConnAck, DecodeError> {
    let mut reader = Reader::new(body);
    let flags = reader.u8()?;
    if flags > 1 {
        return Err(DecodeError::ConnectReservedFlag);
    }
    let code = reader.u8()?;
    let mut connack = ConnAck {
        session_present: flags == 1,
        reason: ReasonCode(code),
        session_expiry: None,
        receive_maximum: None,
        maximum_packet_size: None,
        assigned_client_id: None,
        maximum_qos: None,
        retain_available: true,
        wildcard_subscriptions: true,
        subscription_identifiers: true,
        shared_subscriptions: true,
        topic_alias_maximum: 0,
        server_keep_alive: None,
        reason_string: None,
    };
    match version {
        Version::V311 | Version::V31 => connack.reason = return_code(code)?,
        Version::V5 if code != 0 && code < 0x80 => return Err(DecodeError::ReasonCodeNotAllowed),
        Version::V5 => connack_properties(&mut reader, &mut connack)?,
    }
    reader.finish()?;
    if connack.session_present && connack.reason.is_error() {
        return Err(DecodeError::ReasonCodeNotAllowed);
    }
    Ok(connack)
}

fn connack_properties(reader: &mut Reader<'_>, connack: &mut ConnAck) -> Result<(), DecodeError> {
    let mut properties = Properties::read(reader, ALLOWED_IN_CONNACK)?;
    while let Some((property, _)) = properties.next()? {
        match property {
            Property::SessionExpiry(seconds) => connack.session_expiry = Some(seconds),
            Property::ReceiveMaximum(maximum) => connack.receive_maximum = Some(maximum.get()),
            Property::MaximumPacketSize(bytes) => connack.maximum_packet_size = Some(bytes),
            Property::AssignedClientId(id) => connack.assigned_client_id = Some(id.into()),
            Property::MaximumQos(is_one) => {
                let maximum = if is_one { QoS::AtLeastOnce } else { QoS::AtMostOnce };
                connack.maximum_qos = Some(maximum);
            }
            Property::RetainAvailable(is) => connack.retain_available = is,
            Property::WildcardSubscriptionAvailable(is) => connack.wildcard_subscriptions = is,
            Property::SubscriptionIdentifierAvailable(is) => connack.subscription_identifiers = is,
            Property::SharedSubscriptionAvailable(is) => connack.shared_subscriptions = is,
            Property::TopicAliasMaximum(maximum) => connack.topic_alias_maximum = maximum,
            Property::ServerKeepAlive(seconds) => connack.server_keep_alive = Some(seconds),
            Property::ReasonString(text) => connack.reason_string = Some(text.into()),
            _ => {}
        }
    }
    Ok(())
}

/// The Connect Return Code of 3.1.1 in words of MQTT 5.
fn return_code(code: u8) -> Result<ReasonCode, DecodeError> {
    Ok(match code {
        0 => ReasonCode::SUCCESS,
        1 => ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
        2 => ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
        3 => ReasonCode::SERVER_UNAVAILABLE,
        4 => ReasonCode::BAD_USER_NAME_OR_PASSWORD,
        5 => ReasonCode::NOT_AUTHORIZED,
        _ => return Err(DecodeError::ReasonCodeNotAllowed),
    })
}

fn publish(flags: u8, body: &[u8], version: Version) -> Result<Delivery, DecodeError> {
    let qos = publish_qos(flags)?;
    let retain = flags & 1 != 0;
    let mut reader = Reader::new(body);
    let topic = reader.topic_name("")?;
    let packet_id = match qos {
        QoS::AtMostOnce => None,
        QoS::AtLeastOnce | QoS::ExactlyOnce => Some(reader.packet_id()?),
    };
    let mut properties = MessageProperties::default();
    if version == Version::V5 {
        let all = Properties::read(&mut reader, ALLOWED_IN_PUBLISH)?;
        properties = MessageProperties::read(all.repeating(REPEATABLE_IN_PUBLISH))?;
    }
    check_topic_given(topic, version, properties.topic_alias.is_some())?;
    let ids = properties.subscription_ids;
    Ok(Delivery {
        message: Arc::new(Message {
            topic: topic.into(),
            properties: Bytes::copy_from_slice(&properties.passed_on).into(),
            payload: Bytes::copy_from_slice(reader.rest()),
            qos,
            retain,
            received: Timestamp(0),
            expiry: properties.message_expiry,
            past: None,
        }),
        qos,
        packet_id,
        dup: flags & 8 != 0,
        retain,
        subscription_ids: (!ids.is_empty()).then(|| ids.into()),
        topic_alias: properties.topic_alias.map(|alias| match topic {
            "" => TopicAlias::Use(alias.get()),
            _ => TopicAlias::Define(alias.get()),
        }),
    })
}

fn ack(body: &[u8], version: Version, allowed: fn(ReasonCode) -> bool) -> Result<Ack, DecodeError> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let (reason, reason_string) = reason_and_string(&mut reader, version)?;
    reader.finish()?;
    if !allowed(reason) {
        return Err(DecodeError::ReasonCodeNotAllowed);
    }
    Ok(Ack { packet_id, reason, reason_string: reason_string.map(Into::into) })
}

fn is_server_puback_reason(reason: ReasonCode) -> bool {
    reason == ReasonCode::NO_MATCHING_SUBSCRIBERS || is_puback_reason(reason)
}

fn suback(body: &[u8], version: Version) -> Result<AckList, DecodeError> {
    ack_list(body, version, |code| match version {
        Version::V311 | Version::V31 => matches!(code, 0..=2 | 0x80),
        Version::V5 => {
            matches!(code, 0..=2 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2)
        }
    })
}

fn unsuback(body: &[u8], version: Version) -> Result<AckList, DecodeError> {
    ack_list(body, version, |code| {
        version == Version::V5 && matches!(code, 0 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91)
    })
}

fn ack_list(
    body: &[u8],
    version: Version,
    allowed: impl Fn(u8) -> bool,
) -> Result<AckList, DecodeError> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let reason_string = match version {
        Version::V311 | Version::V31 => None,
        Version::V5 => reason_string(&mut reader)?,
    };
    let codes = reader.rest();
    if !codes.iter().all(|&code| allowed(code)) {
        return Err(DecodeError::ReasonCodeNotAllowed);
    }
    Ok(AckList {
        packet_id,
        reasons: codes.iter().map(|&code| ReasonCode(code)).collect(),
        reason_string: reason_string.map(Into::into),
    })
}

fn disconnect(body: &[u8]) -> Result<Disconnect, DecodeError> {
    let mut reader = Reader::new(body);
    let mut disconnect = Disconnect { reason: ReasonCode::SUCCESS, reason_string: None };
    if !reader.is_empty() {
        disconnect.reason = ReasonCode(reader.u8()?);
    }
    if !reader.is_empty() {
        let mut properties = Properties::read(&mut reader, ALLOWED_IN_DISCONNECT)?;
        while let Some((property, _)) = properties.next()? {
            if let Property::ReasonString(text) = property {
                disconnect.reason_string = Some(text.into());
            }
        }
    }
    reader.finish()?;
    if !is_server_disconnect_reason(disconnect.reason) {
        return Err(DecodeError::ReasonCodeNotAllowed);
    }
    Ok(disconnect)
}

fn is_server_disconnect_reason(reason: ReasonCode) -> bool {
    matches!(reason.0, 0x00 | 0x80..=0x83 | 0x87 | 0x89 | 0x8B..=0x90 | 0x93..=0xA2)
}
