//! Control packets that a client sends, borrowed from the bytes they were read from.

use std::borrow::Cow;
use std::num::NonZeroU16;

use bytes::Bytes;

use super::QoS;
use super::reason::ReasonCode;

/// Which of the protocols a connection speaks: the CONNECT packet's Protocol Version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// MQTT 3.1, Protocol Version 3: the words of 3.1.1 under the name MQIsdp, but for what its
    /// `connect` and `decode` say.
    V31,
    /// MQTT 3.1.1, Protocol Level 4.
    V311,
    /// MQTT 5.0.
    V5,
}

impl Version {
    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        }
    }
}

/// Packet Identifier: never zero `[MQTT-2.2.1-3]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(pub NonZeroU16);

impl PacketId {
    /// `None` for zero.
    pub fn new(value: u16) -> Option<Self> {
        NonZeroU16::new(value).map(Self)
    }

    /// As on the wire.
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

/// A control packet from a client, well-formed as far as its bytes alone tell.
#[derive(Clone, Debug, PartialEq)]
pub enum Packet<'a> {
    /// CONNECT.
    Connect(Box<Connect<'a>>),
    /// PUBLISH.
    Publish(Publish<'a>),
    /// PUBACK.
    PubAck(Ack<'a>),
    /// PUBREC.
    PubRec(Ack<'a>),
    /// PUBREL.
    PubRel(Ack<'a>),
    /// PUBCOMP.
    PubComp(Ack<'a>),
    /// SUBSCRIBE.
    Subscribe(Subscribe<'a>),
    /// UNSUBSCRIBE.
    Unsubscribe(Unsubscribe<'a>),
    /// PINGREQ.
    PingReq,
    /// DISCONNECT.
    Disconnect(Disconnect<'a>),
    /// AUTH.
    Auth(Auth<'a>),
}

/// CONNECT.
#[derive(Clone, Debug, PartialEq)]
pub struct Connect<'a> {
    /// Protocol Version.
    pub version: Version,
    /// Clean Start; Clean Session in 3.1.1.
    pub clean_start: bool,
    /// Keep Alive in seconds; 0 turns it off.
    pub keep_alive: u16,
    /// Client Identifier; empty asks for an assigned one.
    pub client_id: &'a str,
    /// User Name.
    pub user_name: Option<&'a str>,
    /// Password.
    pub password: Option<&'a [u8]>,
    /// The Will Message and its properties.
    pub will: Option<Will<'a>>,
    /// Session Expiry Interval in seconds; absent in 3.1.1.
    pub session_expiry: Option<u32>,
    /// Receive Maximum, never 0.
    pub receive_maximum: Option<NonZeroU16>,
    /// Maximum Packet Size in bytes, never 0.
    pub maximum_packet_size: Option<u32>,
    /// Topic Alias Maximum; 0 when absent.
    pub topic_alias_maximum: u16,
    /// Request Response Information.
    pub request_response_information: bool,
    /// Request Problem Information: whether Reason Strings are wanted. True when absent.
    pub request_problem_information: bool,
    /// Authentication Method.
    pub authentication_method: Option<&'a str>,
}

/// The Will of a CONNECT.
#[derive(Clone, Debug, PartialEq)]
pub struct Will<'a> {
    /// Will Topic.
    pub topic: &'a str,
    /// Will Payload.
    pub payload: &'a [u8],
    /// Will QoS.
    pub qos: QoS,
    /// Will Retain.
    pub retain: bool,
    /// Will Delay Interval in seconds; 0 when absent.
    pub delay: u32,
    /// Message Expiry Interval in seconds.
    pub message_expiry: Option<u32>,
    /// The other properties, as on the wire: see [`Publish::properties`].
    pub properties: Cow<'a, [u8]>,
}

/// PUBLISH from a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish<'a> {
    /// DUP.
    pub dup: bool,
    /// QoS of the publisher.
    pub qos: QoS,
    /// RETAIN.
    pub retain: bool,
    /// Topic Name; empty only with a Topic Alias.
    pub topic: &'a str,
    /// Present exactly when QoS > 0.
    pub packet_id: Option<PacketId>,
    /// Topic Alias, never 0.
    pub topic_alias: Option<NonZeroU16>,
    /// Message Expiry Interval in seconds.
    pub message_expiry: Option<u32>,
    /// What is passed on untouched and in its order, as on the wire and without a length in front:
    /// Payload Format Indicator, Content Type, Response Topic, Correlation Data, User Properties.
    pub properties: Cow<'a, [u8]>,
    /// Application Message.
    pub payload: Payload<'a>,
}

/// The payload of a PUBLISH: borrowed, or copied out of the read buffer before the core is locked.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload<'a> {
    /// Stays in the read buffer.
    Borrowed(&'a [u8]),
    /// Owned, and shared by all who receive it.
    Shared(Bytes),
}

impl Payload<'_> {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP from a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Ack<'a> {
    /// Of the PUBLISH that it belongs to.
    pub packet_id: PacketId,
    /// [`ReasonCode::SUCCESS`] in 3.1.1.
    pub reason: ReasonCode,
    /// Reason String.
    pub reason_string: Option<&'a str>,
}

/// SUBSCRIBE.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe<'a> {
    /// Repeated in the SUBACK.
    pub packet_id: PacketId,
    /// Subscription Identifier, 1 to 268,435,455.
    pub subscription_id: Option<u32>,
    /// At least one `[MQTT-3.8.3-2]`; the filters are not validated yet.
    pub filters: Vec<(&'a str, SubscriptionOptions)>,
}

/// Subscription Options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// Maximum QoS.
    pub qos: QoS,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published. In 3.1.1: false.
    pub retain_as_published: bool,
    /// Retain Handling. In 3.1.1: [`RetainHandling::Send`].
    pub retain_handling: RetainHandling,
}

/// Retain Handling: whether a SUBSCRIBE brings the retained messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetainHandling {
    /// 0: at every SUBSCRIBE.
    Send = 0,
    /// 1: only if the subscription is new.
    SendIfNew = 1,
    /// 2: never.
    DoNotSend = 2,
}

/// UNSUBSCRIBE.
#[derive(Clone, Debug, PartialEq)]
pub struct Unsubscribe<'a> {
    /// Repeated in the UNSUBACK.
    pub packet_id: PacketId,
    /// At least one `[MQTT-3.10.3-2]`; not validated yet.
    pub filters: Vec<&'a str>,
}

/// DISCONNECT from a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Disconnect<'a> {
    /// [`ReasonCode::SUCCESS`] in 3.1.1.
    pub reason: ReasonCode,
    /// A new Session Expiry Interval in seconds.
    pub session_expiry: Option<u32>,
    /// Reason String.
    pub reason_string: Option<&'a str>,
}

/// AUTH from a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Auth<'a> {
    /// Continue or re-authenticate.
    pub reason: ReasonCode,
    /// Authentication Method.
    pub authentication_method: Option<&'a str>,
}
