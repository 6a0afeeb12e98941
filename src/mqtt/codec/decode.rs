//! Packets from a client.

use super::acks::Acks;
use super::connect::connect;
use super::error::DecodeError;
use super::frame::{Frame, Kind, qos};
use super::properties::{MessageProperties, Properties, Property, Set, id};
use super::reader::Reader;
use super::run::Run;
use crate::mqtt::packet::{
    Ack, Auth, Disconnect, Payload, Publish, RetainHandling, Subscribe, SubscriptionOptions,
    Unsubscribe,
};
use crate::mqtt::{Packet, QoS, ReasonCode, Version, topic};

pub(super) const ALLOWED_IN_PUBLISH: Set = Set::of(&[
    id::PAYLOAD_FORMAT_INDICATOR,
    id::MESSAGE_EXPIRY_INTERVAL,
    id::TOPIC_ALIAS,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::USER_PROPERTY,
    id::SUBSCRIPTION_IDENTIFIER,
    id::CONTENT_TYPE,
]);
pub(super) const ALLOWED_IN_ACK: Set = Set::of(&[id::REASON_STRING, id::USER_PROPERTY]);
const ALLOWED_IN_SUBSCRIBE: Set = Set::of(&[id::SUBSCRIPTION_IDENTIFIER, id::USER_PROPERTY]);
const ALLOWED_IN_UNSUBSCRIBE: Set = Set::of(&[id::USER_PROPERTY]);
const ALLOWED_IN_DISCONNECT: Set =
    Set::of(&[id::SESSION_EXPIRY_INTERVAL, id::REASON_STRING, id::USER_PROPERTY]);
const ALLOWED_IN_AUTH: Set = Set::of(&[
    id::AUTHENTICATION_METHOD,
    id::AUTHENTICATION_DATA,
    id::REASON_STRING,
    id::USER_PROPERTY,
]);

/// What a client sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Input<'a> {
    /// A control packet.
    Packet(Packet<'a>),
    /// Acknowledgements.
    Acks(Acks<'a>),
    /// PUBLISHes.
    Run(Run<'a>),
}

/// Takes packets from the front of some bytes, one after the other.
#[derive(Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
    version: Version,
    limit: usize,
    /// The Topic Name of the last PUBLISH: many come with the same, which is checked once.
    topic: &'a str,
}

impl<'a> Decoder<'a> {
    /// See [`decode`].
    pub fn new(bytes: &'a [u8], version: Version, limit: usize) -> Self {
        Self { rest: bytes, version, limit, topic: "" }
    }

    /// What is not decoded.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next packet, or those that come together; `None` while nothing is whole.
    pub fn next_input(&mut self) -> Result<Option<Input<'a>>, DecodeError> {
        let bytes = self.rest;
        if let Some(acks) = Acks::at_front(bytes, self.limit) {
            self.rest = &bytes[acks.bytes.len()..];
            return Ok(Some(Input::Acks(acks)));
        }
        let Some(frame) = Frame::split(bytes, self.version, self.limit)? else {
            return Ok(None);
        };
        if frame.kind != Kind::Publish {
            return Ok(self.next_packet()?.map(Input::Packet));
        }
        let publish = publish(frame.flags, frame.body, self.version, &mut self.topic)?;
        if let Some(run) = Run::of(&publish, bytes, self.version, self.limit) {
            self.rest = &bytes[run.bytes.len()..];
            return Ok(Some(Input::Run(run)));
        }
        self.rest = &bytes[frame.size..];
        Ok(Some(Input::Packet(Packet::Publish(publish))))
    }

    /// The next packet; `None` while it is not whole.
    pub fn next_packet(&mut self) -> Result<Option<Packet<'a>>, DecodeError> {
        let Some(frame) = Frame::split(self.rest, self.version, self.limit)? else {
            return Ok(None);
        };
        let packet = packet(&frame, self.version, &mut self.topic)?;
        self.rest = &self.rest[frame.size..];
        Ok(Some(packet))
    }
}

/// The packet at the front of `buffer` and the bytes that it took; `None` while it is not whole.
///
/// `limit` is our Maximum Packet Size, of the whole packet: a larger one is an error as soon as
/// its fixed header shows it. `version` is ignored for CONNECT, which names its own.
pub fn decode<'a>(
    buffer: &'a [u8],
    version: Version,
    limit: usize,
) -> Result<Option<(Packet<'a>, usize)>, DecodeError> {
    let mut decoder = Decoder::new(buffer, version, limit);
    let packet = decoder.next_packet()?;
    Ok(packet.map(|packet| (packet, buffer.len() - decoder.rest.len())))
}

fn packet<'a>(
    frame: &Frame<'a>,
    version: Version,
    topic: &mut &'a str,
) -> Result<Packet<'a>, DecodeError> {
    let body = frame.body;
    Ok(match frame.kind {
        Kind::Publish => Packet::Publish(publish(frame.flags, body, version, topic)?),
        Kind::PubAck => Packet::PubAck(ack(body, version, is_puback_reason)?),
        Kind::PubRec => Packet::PubRec(ack(body, version, is_puback_reason)?),
        Kind::PubRel => Packet::PubRel(ack(body, version, is_pubrel_reason)?),
        Kind::PubComp => Packet::PubComp(ack(body, version, is_pubrel_reason)?),
        Kind::PingReq => {
            Reader::new(body).finish()?;
            Packet::PingReq
        }
        Kind::Connect => Packet::Connect(Box::new(connect(body)?)),
        Kind::Subscribe => Packet::Subscribe(subscribe(body, version)?),
        Kind::Unsubscribe => Packet::Unsubscribe(unsubscribe(body, version)?),
        Kind::Disconnect => Packet::Disconnect(disconnect(body, version)?),
        Kind::Auth if version == Version::V5 => Packet::Auth(auth(body)?),
        Kind::Auth => return Err(DecodeError::ReservedPacketType),
        Kind::ConnAck | Kind::SubAck | Kind::UnsubAck | Kind::PingResp => {
            return Err(DecodeError::WrongDirection);
        }
    })
}

/// `last_topic` is one that was checked before.
#[inline(always)] // To copy what it makes right after that takes longer than to make it.
fn publish<'a>(
    flags: u8,
    body: &'a [u8],
    version: Version,
    last_topic: &mut &'a str,
) -> Result<Publish<'a>, DecodeError> {
    let (dup, retain) = (flags & 8 != 0, flags & 1 != 0);
    let qos = publish_qos(flags)?;
    let mut reader = Reader::new(body);
    let topic = reader.topic_name(last_topic)?;
    *last_topic = topic;
    let packet_id = match qos {
        QoS::AtMostOnce => None,
        QoS::AtLeastOnce | QoS::ExactlyOnce => Some(reader.packet_id()?),
    };
    let (mut topic_alias, mut message_expiry, mut passed_on) = (None, None, (&[]).into());
    if version == Version::V5 {
        let properties = Properties::read(&mut reader, ALLOWED_IN_PUBLISH)?;
        if !properties.is_empty() {
            let properties = MessageProperties::read(properties)?;
            if !properties.subscription_ids.is_empty() {
                return Err(DecodeError::SubscriptionIdInPublish);
            }
            (topic_alias, message_expiry) = (properties.topic_alias, properties.message_expiry);
            passed_on = properties.passed_on;
        }
    }
    check_topic_given(topic, version, topic_alias.is_some())?;
    Ok(Publish {
        dup,
        qos,
        retain,
        topic,
        packet_id,
        topic_alias,
        message_expiry,
        properties: passed_on,
        payload: Payload::Borrowed(reader.rest()),
    })
}

/// QoS from the flags of a PUBLISH.
pub(super) fn publish_qos(flags: u8) -> Result<QoS, DecodeError> {
    let qos = qos(flags >> 1 & 3).ok_or(DecodeError::PublishQos)?;
    if flags & 8 != 0 && qos == QoS::AtMostOnce {
        return Err(DecodeError::DupWithQos0);
    }
    Ok(qos)
}

pub(super) fn check_topic_given(
    topic: &str,
    version: Version,
    alias: bool,
) -> Result<(), DecodeError> {
    match version {
        Version::V311 | Version::V31 if topic.is_empty() => Err(DecodeError::EmptyTopicName),
        Version::V5 if topic.is_empty() && !alias => Err(DecodeError::NoTopic),
        _ => Ok(()),
    }
}

fn ack(
    body: &[u8],
    version: Version,
    allowed: fn(ReasonCode) -> bool,
) -> Result<Ack<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let (reason, reason_string) = reason_and_string(&mut reader, version)?;
    reader.finish()?;
    if !allowed(reason) {
        return Err(DecodeError::ReasonCodeNotAllowed);
    }
    Ok(Ack { packet_id, reason, reason_string })
}

/// The end of an acknowledgement: version 5 may leave out the properties, or both.
pub(super) fn reason_and_string<'a>(
    reader: &mut Reader<'a>,
    version: Version,
) -> Result<(ReasonCode, Option<&'a str>), DecodeError> {
    if version != Version::V5 || reader.is_empty() {
        return Ok((ReasonCode::SUCCESS, None));
    }
    let reason = ReasonCode(reader.u8()?);
    if reader.is_empty() {
        return Ok((reason, None));
    }
    Ok((reason, reason_string(reader)?))
}

/// Properties that are no more than a Reason String.
pub(super) fn reason_string<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a str>, DecodeError> {
    let mut properties = Properties::read(reader, ALLOWED_IN_ACK)?;
    let mut reason_string = None;
    while let Some((property, _)) = properties.next()? {
        if let Property::ReasonString(text) = property {
            reason_string = Some(text);
        }
    }
    Ok(reason_string)
}

/// Of a client's PUBACK and PUBREC `[MQTT-3.4.2-1]`, `[MQTT-3.5.2-1]`.
pub(super) fn is_puback_reason(reason: ReasonCode) -> bool {
    matches!(reason.0, 0x00 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
}

/// Of PUBREL and PUBCOMP `[MQTT-3.6.2-1]`, `[MQTT-3.7.2-1]`.
pub(super) fn is_pubrel_reason(reason: ReasonCode) -> bool {
    matches!(reason.0, 0x00 | 0x92)
}

fn subscribe(body: &[u8], version: Version) -> Result<Subscribe<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let mut subscription_id = None;
    if version == Version::V5 {
        let mut properties = Properties::read(&mut reader, ALLOWED_IN_SUBSCRIBE)?;
        while let Some((property, _)) = properties.next()? {
            if let Property::SubscriptionId(id) = property {
                subscription_id = Some(id);
            }
        }
    }
    let mut filters = Vec::new();
    while !reader.is_empty() {
        let filter = topic_filter(&mut reader, version)?;
        let options = subscription_options(reader.u8()?, version)?;
        if options.no_local && filter.starts_with("$share/") {
            return Err(DecodeError::NoLocalOnShared);
        }
        filters.push((filter, options));
    }
    if filters.is_empty() {
        return Err(DecodeError::NoFilters);
    }
    Ok(Subscribe { packet_id, subscription_id, filters })
}

fn subscription_options(byte: u8, version: Version) -> Result<SubscriptionOptions, DecodeError> {
    let reserved = match version {
        Version::V311 | Version::V31 => 0xFC,
        Version::V5 => 0xC0,
    };
    if byte & reserved != 0 {
        return Err(DecodeError::SubscriptionOptionsReserved);
    }
    Ok(SubscriptionOptions {
        qos: qos(byte & 3).ok_or(DecodeError::SubscriptionQos)?,
        no_local: byte & 4 != 0,
        retain_as_published: byte & 8 != 0,
        retain_handling: match byte >> 4 & 3 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(DecodeError::RetainHandlingValue),
        },
    })
}

fn unsubscribe(body: &[u8], version: Version) -> Result<Unsubscribe<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    if version == Version::V5 {
        let mut properties = Properties::read(&mut reader, ALLOWED_IN_UNSUBSCRIBE)?;
        while properties.next()?.is_some() {}
    }
    let mut filters = Vec::new();
    while !reader.is_empty() {
        filters.push(topic_filter(&mut reader, version)?);
    }
    if filters.is_empty() {
        return Err(DecodeError::NoFilters);
    }
    Ok(Unsubscribe { packet_id, filters })
}

/// Of a SUBSCRIBE or UNSUBSCRIBE. How many levels are taken is not a matter of its form, and in
/// 3.1.1, which knows no shares, what follows `$share/` is not either.
fn topic_filter<'a>(reader: &mut Reader<'a>, version: Version) -> Result<&'a str, DecodeError> {
    let filter = reader.string()?;
    let checked = if version == Version::V5 {
        topic::parse_filter(filter, usize::MAX).map(drop)
    } else {
        topic::check_filter(filter, usize::MAX)
    };
    checked.map_err(|_| DecodeError::InvalidTopicFilter)?;
    Ok(filter)
}

fn disconnect(body: &[u8], version: Version) -> Result<Disconnect<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let mut disconnect =
        Disconnect { reason: ReasonCode::SUCCESS, session_expiry: None, reason_string: None };
    if version == Version::V5 && !reader.is_empty() {
        disconnect.reason = ReasonCode(reader.u8()?);
        if !reader.is_empty() {
            let mut properties = Properties::read(&mut reader, ALLOWED_IN_DISCONNECT)?;
            while let Some((property, _)) = properties.next()? {
                match property {
                    Property::SessionExpiry(seconds) => disconnect.session_expiry = Some(seconds),
                    Property::ReasonString(text) => disconnect.reason_string = Some(text),
                    _ => {}
                }
            }
        }
    }
    reader.finish()?;
    if !is_disconnect_reason(disconnect.reason) {
        return Err(DecodeError::ReasonCodeNotAllowed);
    }
    Ok(disconnect)
}

/// Of a client's DISCONNECT `[MQTT-3.14.2-1]`.
fn is_disconnect_reason(reason: ReasonCode) -> bool {
    matches!(reason.0, 0x00 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99)
}

fn auth(body: &[u8]) -> Result<Auth<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    if reader.is_empty() {
        return Ok(Auth { reason: ReasonCode::SUCCESS, authentication_method: None });
    }
    let reason = ReasonCode(reader.u8()?);
    let mut properties = Properties::read(&mut reader, ALLOWED_IN_AUTH)?;
    let mut authentication_method = None;
    while let Some((property, _)) = properties.next()? {
        if let Property::AuthenticationMethod(method) = property {
            authentication_method = Some(method);
        }
    }
    reader.finish()?;
    if !is_auth_reason(reason) {
        return Err(DecodeError::ReasonCodeNotAllowed);
    }
    if authentication_method.is_none() {
        return Err(DecodeError::NoAuthenticationMethod);
    }
    Ok(Auth { reason, authentication_method })
}

/// Of an AUTH `[MQTT-3.15.2-1]`.
fn is_auth_reason(reason: ReasonCode) -> bool {
    matches!(reason.0, 0x00 | 0x18 | 0x19)
}
