//! What can be wrong with the bytes of a packet, and the Reason Code that says so.

use std::fmt;

use crate::mqtt::ReasonCode;

macro_rules! decode_errors {
    ($($(#[$doc:meta])* $name:ident: $reason:ident, $text:literal;)*) => {
        /// Why bytes are not a packet that a client may send.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum DecodeError {
            $($(#[$doc])* $name,)*
            /// Not 3.1, 3.1.1 or 5.0: the Protocol Version asked for `[MQTT-3.1.2-2]`.
            UnsupportedVersion(u8),
            /// Larger than our Maximum Packet Size: the size of the whole packet in bytes.
            PacketTooLarge(usize),
        }

        impl DecodeError {
            /// For the CONNACK or DISCONNECT that tells the client.
            pub fn reason(&self) -> ReasonCode {
                match self {
                    $(Self::$name => ReasonCode::$reason,)*
                    Self::UnsupportedVersion(_) => ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
                    Self::PacketTooLarge(_) => ReasonCode::PACKET_TOO_LARGE,
                }
            }
        }

        impl fmt::Display for DecodeError {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name => f.write_str($text),)*
                    Self::UnsupportedVersion(level) => {
                        write!(f, "protocol version {level} is not supported")
                    }
                    Self::PacketTooLarge(size) => {
                        write!(f, "a packet of {size} bytes is larger than the maximum packet size")
                    }
                }
            }
        }
    };
}

impl std::error::Error for DecodeError {}

decode_errors! {
    /// Packet type 0, or 15 in 3.1.1.
    ReservedPacketType: MALFORMED_PACKET, "reserved packet type";
    /// A packet that only the other side may send.
    WrongDirection: PROTOCOL_ERROR, "a packet that only the other side may send";
    /// `[MQTT-2.1.3-1]`
    FixedHeaderFlags: MALFORMED_PACKET, "wrong flags in the fixed header";
    /// More than four bytes.
    VariableByteIntegerTooLong: MALFORMED_PACKET, "a variable byte integer of over four bytes";
    /// `[MQTT-1.5.5-1]`
    VariableByteIntegerNotMinimal: MALFORMED_PACKET,
        "a variable byte integer uses more bytes than it needs";
    /// A field runs over the end of the packet, or of the properties.
    Truncated: MALFORMED_PACKET, "a field is longer than the packet";
    /// Something follows the last field.
    TrailingBytes: MALFORMED_PACKET, "bytes follow the last field of the packet";
    /// `[MQTT-1.5.4-1]`
    InvalidUtf8: MALFORMED_PACKET, "a string is not well-formed utf-8";
    /// `[MQTT-1.5.4-2]`
    NullCharacter: MALFORMED_PACKET, "a string contains the null character";
    /// See [`crate::mqtt::PacketId`].
    PacketIdZero: PROTOCOL_ERROR, "the packet identifier is 0";
    /// A Reason Code that this packet does not have, or not from this side.
    ReasonCodeNotAllowed: PROTOCOL_ERROR, "a reason code that this packet must not carry";

    /// `[MQTT-3.1.2-1]`
    ProtocolName: UNSUPPORTED_PROTOCOL_VERSION, "the protocol name is not MQTT";
    /// `[MQTT-3.1.2-3]`
    ConnectReservedFlag: MALFORMED_PACKET, "the reserved connect flag is set";
    /// `[MQTT-3.1.2-11]`, `[MQTT-3.1.2-13]`
    WillFlagsWithoutWill: MALFORMED_PACKET, "will qos or will retain without a will";
    /// `[MQTT-3.1.2-12]`
    WillQos: MALFORMED_PACKET, "the will qos is 3";
    /// `[MQTT-3.1.2-22]` of 3.1.1; version 5 allows it.
    PasswordWithoutUserName: MALFORMED_PACKET, "a password without a user name";

    /// `[MQTT-3.3.1-4]`
    PublishQos: MALFORMED_PACKET, "the qos is 3";
    /// `[MQTT-3.3.1-2]`
    DupWithQos0: MALFORMED_PACKET, "dup is set at qos 0";
    /// `[MQTT-3.3.2-2]`
    WildcardInTopicName: MALFORMED_PACKET, "a topic name contains a wildcard";
    /// `[MQTT-4.7.3-1]`
    EmptyTopicName: MALFORMED_PACKET, "a topic name is empty";
    /// Neither Topic Name nor Topic Alias.
    NoTopic: PROTOCOL_ERROR, "a publish with neither topic name nor topic alias";
    /// `[MQTT-3.3.4-6]`
    SubscriptionIdInPublish: PROTOCOL_ERROR,
        "a publish from a client carries a subscription identifier";

    /// `[MQTT-4.7.1-1]`, `[MQTT-4.7.1-2]`, `[MQTT-4.7.3-1]`, `[MQTT-4.8.2-1]`, `[MQTT-4.8.2-2]`
    InvalidTopicFilter: MALFORMED_PACKET, "a topic filter is not well-formed";
    /// A SUBSCRIBE or UNSUBSCRIBE asks for nothing.
    NoFilters: PROTOCOL_ERROR, "no topic filter";
    /// `[MQTT-3.8.3-5]`
    SubscriptionOptionsReserved: MALFORMED_PACKET, "reserved bits of subscription options are set";
    /// Maximum QoS 3.
    SubscriptionQos: PROTOCOL_ERROR, "the maximum qos of a subscription is 3";
    /// Retain Handling 3.
    RetainHandlingValue: PROTOCOL_ERROR, "the retain handling of a subscription is 3";
    /// `[MQTT-3.8.3-4]`
    NoLocalOnShared: PROTOCOL_ERROR, "no local on a shared subscription";

    /// An identifier that does not exist, or not in this packet.
    PropertyNotAllowed: MALFORMED_PACKET, "a property that this packet must not carry";
    /// All but User Property stand at most once.
    DuplicateProperty: PROTOCOL_ERROR, "a property stands twice";
    /// A value out of its range.
    PropertyValue: PROTOCOL_ERROR, "a property has a value that it must not have";
    /// `[MQTT-3.3.2-8]`
    TopicAliasZero: TOPIC_ALIAS_INVALID, "the topic alias is 0";
    /// `[MQTT-3.3.2-14]`
    WildcardInResponseTopic: PROTOCOL_ERROR, "the response topic contains a wildcard";
    /// Authentication Data without, or AUTH without.
    NoAuthenticationMethod: PROTOCOL_ERROR, "the authentication method is missing";
}
