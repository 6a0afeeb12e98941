//! Properties of MQTT 5: which packet may carry which, each at most once, each in its range.

use std::borrow::Cow;
use std::num::NonZeroU16;
use std::ops::Range;

use super::error::DecodeError;
use super::reader::{Reader, has_wildcard};

/// Property identifiers, section 2.2.2.2.
pub(super) mod id {
    pub(in super::super) const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
    pub(in super::super) const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
    pub(in super::super) const CONTENT_TYPE: u8 = 0x03;
    pub(in super::super) const RESPONSE_TOPIC: u8 = 0x08;
    pub(in super::super) const CORRELATION_DATA: u8 = 0x09;
    pub(in super::super) const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
    pub(in super::super) const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
    pub(in super::super) const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
    pub(in super::super) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(in super::super) const AUTHENTICATION_METHOD: u8 = 0x15;
    pub(in super::super) const AUTHENTICATION_DATA: u8 = 0x16;
    pub(in super::super) const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub(in super::super) const WILL_DELAY_INTERVAL: u8 = 0x18;
    pub(in super::super) const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub(in super::super) const RESPONSE_INFORMATION: u8 = 0x1A;
    pub(in super::super) const SERVER_REFERENCE: u8 = 0x1C;
    pub(in super::super) const REASON_STRING: u8 = 0x1F;
    pub(in super::super) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(in super::super) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(in super::super) const TOPIC_ALIAS: u8 = 0x23;
    pub(in super::super) const MAXIMUM_QOS: u8 = 0x24;
    pub(in super::super) const RETAIN_AVAILABLE: u8 = 0x25;
    pub(in super::super) const USER_PROPERTY: u8 = 0x26;
    pub(in super::super) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub(in super::super) const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
    pub(in super::super) const SUBSCRIPTION_IDENTIFIER_AVAILABLE: u8 = 0x29;
    pub(in super::super) const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2A;
}

/// A set of property identifiers: all are below 64.
#[derive(Clone, Copy)]
pub(super) struct Set(u64);

impl Set {
    pub(super) const fn of(identifiers: &[u8]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < identifiers.len() {
            bits |= 1 << identifiers[at];
            at += 1;
        }
        Self(bits)
    }

    fn contains(self, identifier: u8) -> bool {
        identifier < 64 && self.0 & (1 << identifier) != 0
    }
}

/// A property whose value the broker may want to know; it is in its range.
pub(super) enum Property<'a> {
    MessageExpiry(u32),
    SubscriptionId(u32),
    SessionExpiry(u32),
    AssignedClientId(&'a str),
    ServerKeepAlive(u16),
    AuthenticationMethod(&'a str),
    AuthenticationData,
    RequestProblemInformation(bool),
    WillDelay(u32),
    RequestResponseInformation(bool),
    ReasonString(&'a str),
    ReceiveMaximum(NonZeroU16),
    TopicAliasMaximum(u16),
    TopicAlias(NonZeroU16),
    MaximumPacketSize(u32),
    /// Whether it is 1.
    MaximumQos(bool),
    RetainAvailable(bool),
    WildcardSubscriptionAvailable(bool),
    SubscriptionIdentifierAvailable(bool),
    SharedSubscriptionAvailable(bool),
    /// Checked, and of no interest by itself.
    Other,
}

/// The properties of one packet, one after the other.
pub(super) struct Properties<'a> {
    region: &'a [u8],
    reader: Reader<'a>,
    allowed: Set,
    repeatable: Set,
    seen: Set,
}

impl<'a> Properties<'a> {
    /// Takes Property Length and the region from `reader`.
    pub(super) fn read(reader: &mut Reader<'a>, allowed: Set) -> Result<Self, DecodeError> {
        let length = reader.variable()?;
        let region = reader.take(length as usize)?;
        Ok(Self {
            region,
            reader: Reader::new(region),
            allowed,
            repeatable: Set::of(&[id::USER_PROPERTY]),
            seen: Set(0),
        })
    }

    /// Whether there is none, or none is left.
    pub(super) fn is_empty(&self) -> bool {
        self.reader.is_empty()
    }

    /// A server may send several Subscription Identifiers.
    pub(super) fn repeating(mut self, repeatable: Set) -> Self {
        self.repeatable.0 |= repeatable.0;
        self
    }

    /// The next property and where in the region it stands.
    pub(super) fn next(&mut self) -> Result<Option<(Property<'a>, Range<usize>)>, DecodeError> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let start = self.region.len() - self.reader.len();
        let identifier = u8::try_from(self.reader.variable()?).unwrap_or(u8::MAX);
        if !self.allowed.contains(identifier) {
            return Err(DecodeError::PropertyNotAllowed);
        }
        if self.seen.contains(identifier) && !self.repeatable.contains(identifier) {
            return Err(DecodeError::DuplicateProperty);
        }
        self.seen.0 |= 1 << identifier;
        let property = value(identifier, &mut self.reader)?;
        Ok(Some((property, start..self.region.len() - self.reader.len())))
    }
}

fn value<'a>(identifier: u8, reader: &mut Reader<'a>) -> Result<Property<'a>, DecodeError> {
    use DecodeError::PropertyValue;
    Ok(match identifier {
        id::MESSAGE_EXPIRY_INTERVAL => Property::MessageExpiry(reader.u32()?),
        id::SUBSCRIPTION_IDENTIFIER => Property::SubscriptionId(nonzero(reader.variable()?)?),
        id::SESSION_EXPIRY_INTERVAL => Property::SessionExpiry(reader.u32()?),
        id::ASSIGNED_CLIENT_IDENTIFIER => Property::AssignedClientId(reader.string()?),
        id::SERVER_KEEP_ALIVE => Property::ServerKeepAlive(reader.u16()?),
        id::AUTHENTICATION_METHOD => Property::AuthenticationMethod(reader.string()?),
        id::AUTHENTICATION_DATA => {
            reader.binary()?;
            Property::AuthenticationData
        }
        id::REQUEST_PROBLEM_INFORMATION => Property::RequestProblemInformation(flag(reader)?),
        id::WILL_DELAY_INTERVAL => Property::WillDelay(reader.u32()?),
        id::REQUEST_RESPONSE_INFORMATION => Property::RequestResponseInformation(flag(reader)?),
        id::REASON_STRING => Property::ReasonString(reader.string()?),
        id::RECEIVE_MAXIMUM => {
            Property::ReceiveMaximum(NonZeroU16::new(reader.u16()?).ok_or(PropertyValue)?)
        }
        id::TOPIC_ALIAS_MAXIMUM => Property::TopicAliasMaximum(reader.u16()?),
        id::TOPIC_ALIAS => {
            let alias = NonZeroU16::new(reader.u16()?);
            Property::TopicAlias(alias.ok_or(DecodeError::TopicAliasZero)?)
        }
        id::MAXIMUM_PACKET_SIZE => Property::MaximumPacketSize(nonzero(reader.u32()?)?),
        id::MAXIMUM_QOS => Property::MaximumQos(flag(reader)?),
        id::RETAIN_AVAILABLE => Property::RetainAvailable(flag(reader)?),
        id::WILDCARD_SUBSCRIPTION_AVAILABLE => {
            Property::WildcardSubscriptionAvailable(flag(reader)?)
        }
        id::SUBSCRIPTION_IDENTIFIER_AVAILABLE => {
            Property::SubscriptionIdentifierAvailable(flag(reader)?)
        }
        id::SHARED_SUBSCRIPTION_AVAILABLE => Property::SharedSubscriptionAvailable(flag(reader)?),
        _ => {
            check_other(identifier, reader)?;
            Property::Other
        }
    })
}

/// The properties whose value is only checked.
fn check_other(identifier: u8, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    match identifier {
        id::PAYLOAD_FORMAT_INDICATOR => {
            flag(reader)?;
        }
        id::CONTENT_TYPE | id::RESPONSE_INFORMATION | id::SERVER_REFERENCE => {
            reader.string()?;
        }
        id::RESPONSE_TOPIC => {
            let topic = reader.string()?;
            if topic.is_empty() {
                return Err(DecodeError::EmptyTopicName);
            }
            if has_wildcard(topic) {
                return Err(DecodeError::WildcardInResponseTopic);
            }
        }
        id::CORRELATION_DATA => {
            reader.binary()?;
        }
        id::USER_PROPERTY => {
            reader.string()?;
            reader.string()?;
        }
        _ => return Err(DecodeError::PropertyNotAllowed),
    }
    Ok(())
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::PropertyValue),
    }
}

fn nonzero(value: u32) -> Result<u32, DecodeError> {
    if value == 0 {
        return Err(DecodeError::PropertyValue);
    }
    Ok(value)
}

/// Properties of a message, split in what the broker acts on and what it passes on.
#[derive(Default)]
pub(super) struct MessageProperties<'a> {
    pub(super) message_expiry: Option<u32>,
    pub(super) topic_alias: Option<NonZeroU16>,
    pub(super) will_delay: Option<u32>,
    /// From a server only.
    pub(super) subscription_ids: Vec<u32>,
    pub(super) passed_on: Cow<'a, [u8]>,
}

impl<'a> MessageProperties<'a> {
    /// What is passed on stays one borrowed slice unless something in its middle was taken out.
    pub(super) fn read(mut properties: Properties<'a>) -> Result<Self, DecodeError> {
        let mut this = Self::default();
        let mut run = 0..0;
        let mut before = Vec::new();
        let region = properties.region;
        while let Some((property, at)) = properties.next()? {
            match property {
                Property::MessageExpiry(seconds) => this.message_expiry = Some(seconds),
                Property::TopicAlias(alias) => this.topic_alias = Some(alias),
                Property::WillDelay(seconds) => this.will_delay = Some(seconds),
                Property::SubscriptionId(id) => this.subscription_ids.push(id),
                _ if run.is_empty() => run = at,
                _ if run.end == at.start => run.end = at.end,
                _ => {
                    before.extend_from_slice(&region[run]);
                    run = at;
                }
            }
        }
        let last = &region[run];
        this.passed_on = if before.is_empty() {
            Cow::Borrowed(last)
        } else {
            before.extend_from_slice(last);
            Cow::Owned(before)
        };
        Ok(this)
    }
}
