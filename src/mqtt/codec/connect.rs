//! CONNECT.

use super::error::DecodeError;
use super::frame::{Kind, qos};
use super::properties::{MessageProperties, Properties, Property, Set, id};
use super::reader::{Reader, variable};
use crate::mqtt::packet::{Connect, Will};
use crate::mqtt::{QoS, Version};

const ALLOWED: Set = Set::of(&[
    id::SESSION_EXPIRY_INTERVAL,
    id::RECEIVE_MAXIMUM,
    id::MAXIMUM_PACKET_SIZE,
    id::TOPIC_ALIAS_MAXIMUM,
    id::REQUEST_RESPONSE_INFORMATION,
    id::REQUEST_PROBLEM_INFORMATION,
    id::USER_PROPERTY,
    id::AUTHENTICATION_METHOD,
    id::AUTHENTICATION_DATA,
]);

const ALLOWED_IN_WILL: Set = Set::of(&[
    id::WILL_DELAY_INTERVAL,
    id::PAYLOAD_FORMAT_INDICATOR,
    id::MESSAGE_EXPIRY_INTERVAL,
    id::CONTENT_TYPE,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::USER_PROPERTY,
]);

/// The version that a CONNECT at the front of `buffer` asks for, also when the rest of it is wrong,
/// too large or not there yet: it says how a refusal has to look. `None` for all else, also for a
/// version that we do not speak: such a client understands the CONNACK of 3.1.1 at best.
pub fn connect_version(buffer: &[u8]) -> Option<Version> {
    let (&first, after) = buffer.split_first()?;
    if first >> 4 != Kind::Connect as u8 {
        return None;
    }
    let (_, length) = variable(after).ok()??;
    read_version(&mut Reader::new(&after[length..])).ok()
}

pub(super) fn connect(body: &[u8]) -> Result<Connect<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let version = read_version(&mut reader)?;
    let flags = Flags::read(&mut reader, version)?;
    let mut connect = Connect {
        version,
        clean_start: flags.clean_start,
        keep_alive: reader.u16()?,
        client_id: "",
        user_name: None,
        password: None,
        will: None,
        session_expiry: None,
        receive_maximum: None,
        maximum_packet_size: None,
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        authentication_method: None,
    };
    if version == Version::V5 {
        read_properties(&mut reader, &mut connect)?;
    }
    connect.client_id = reader.string()?;
    if let Some((qos, retain)) = flags.will {
        connect.will = Some(read_will(&mut reader, version, qos, retain)?);
    }
    // In 3.1 the Remaining Length counts more than the flags: both may be left out.
    let is_given = |reader: &Reader<'_>| version != Version::V31 || !reader.is_empty();
    if flags.user_name && is_given(&reader) {
        connect.user_name = Some(reader.string()?);
    }
    if flags.password && is_given(&reader) {
        connect.password = Some(reader.binary()?);
    }
    reader.finish()?;
    Ok(connect)
}

fn read_version(reader: &mut Reader<'_>) -> Result<Version, DecodeError> {
    let name = reader.binary()?;
    let level = reader.u8()?;
    match (name, level) {
        (b"MQIsdp", 3) => Ok(Version::V31),
        (b"MQTT", 4) => Ok(Version::V311),
        (b"MQTT", 5) => Ok(Version::V5),
        (b"MQTT" | b"MQIsdp", _) => Err(DecodeError::UnsupportedVersion(level)),
        _ => Err(DecodeError::ProtocolName),
    }
}

/// Connect Flags.
struct Flags {
    clean_start: bool,
    will: Option<(QoS, bool)>,
    user_name: bool,
    password: bool,
}

impl Flags {
    fn read(reader: &mut Reader<'_>, version: Version) -> Result<Self, DecodeError> {
        let flags = reader.u8()?;
        let set = |bit: u8| flags & (1 << bit) != 0;
        if set(0) && version != Version::V31 {
            return Err(DecodeError::ConnectReservedFlag);
        }
        let will_qos = qos(flags >> 3 & 3).ok_or(DecodeError::WillQos)?;
        let will_retain = set(5);
        if !set(2) && (will_qos != QoS::AtMostOnce || will_retain) {
            return Err(DecodeError::WillFlagsWithoutWill);
        }
        let (password, user_name) = (set(6), set(7));
        if version != Version::V5 && password && !user_name {
            return Err(DecodeError::PasswordWithoutUserName);
        }
        Ok(Self {
            clean_start: set(1),
            will: set(2).then_some((will_qos, will_retain)),
            user_name,
            password,
        })
    }
}

fn read_properties<'a>(
    reader: &mut Reader<'a>,
    connect: &mut Connect<'a>,
) -> Result<(), DecodeError> {
    let mut properties = Properties::read(reader, ALLOWED)?;
    let mut authentication_data = false;
    while let Some((property, _)) = properties.next()? {
        match property {
            Property::SessionExpiry(seconds) => connect.session_expiry = Some(seconds),
            Property::ReceiveMaximum(maximum) => connect.receive_maximum = Some(maximum),
            Property::MaximumPacketSize(bytes) => connect.maximum_packet_size = Some(bytes),
            Property::TopicAliasMaximum(maximum) => connect.topic_alias_maximum = maximum,
            Property::RequestResponseInformation(wanted) => {
                connect.request_response_information = wanted;
            }
            Property::RequestProblemInformation(wanted) => {
                connect.request_problem_information = wanted;
            }
            Property::AuthenticationMethod(method) => connect.authentication_method = Some(method),
            Property::AuthenticationData => authentication_data = true,
            _ => {}
        }
    }
    if authentication_data && connect.authentication_method.is_none() {
        return Err(DecodeError::NoAuthenticationMethod);
    }
    Ok(())
}

fn read_will<'a>(
    reader: &mut Reader<'a>,
    version: Version,
    qos: QoS,
    retain: bool,
) -> Result<Will<'a>, DecodeError> {
    let properties = match version {
        Version::V5 => MessageProperties::read(Properties::read(reader, ALLOWED_IN_WILL)?)?,
        Version::V311 | Version::V31 => MessageProperties::default(),
    };
    let topic = reader.topic_name("")?;
    if topic.is_empty() {
        return Err(DecodeError::EmptyTopicName);
    }
    Ok(Will {
        topic,
        payload: reader.binary()?,
        qos,
        retain,
        delay: properties.will_delay.unwrap_or(0),
        message_expiry: properties.message_expiry,
        properties: properties.passed_on,
    })
}
