//! What a client may not do at this moment, though the bytes are well-formed. Each ends the
//! connection with its Reason Code.

use std::fmt;

use crate::mqtt::ReasonCode;

/// A rule that a client broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// `[MQTT-3.1.0-2]`
    SecondConnect,
    /// `[MQTT-3.3.2-9]`
    TopicAliasTooLarge,
    /// A Topic Alias that no PUBLISH of this connection defined (section 3.3.4).
    TopicAliasUnknown,
    /// `[MQTT-3.3.4-7]`
    ReceiveMaximumExceeded,
    /// A Topic Name with more levels than we take.
    TopicTooDeep,
    /// DISCONNECT may not give a session that ends with its connection another end (section
    /// 3.14.2.2.2).
    SessionExpiryFromZero,
    /// AUTH without an Authentication Method in CONNECT `[MQTT-4.12.0-6]`.
    UnexpectedAuth,
    /// PUBACK for a QoS 2 PUBLISH, or PUBREC or PUBCOMP for a QoS 1 one.
    WrongAcknowledgement,
    /// PUBCOMP before PUBREC.
    EarlyPubComp,
}

impl Violation {
    /// For the DISCONNECT.
    pub fn reason(self) -> ReasonCode {
        match self {
            Self::TopicAliasTooLarge => ReasonCode::TOPIC_ALIAS_INVALID,
            Self::ReceiveMaximumExceeded => ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
            Self::TopicTooDeep => ReasonCode::TOPIC_NAME_INVALID,
            Self::SecondConnect
            | Self::TopicAliasUnknown
            | Self::SessionExpiryFromZero
            | Self::UnexpectedAuth
            | Self::WrongAcknowledgement
            | Self::EarlyPubComp => ReasonCode::PROTOCOL_ERROR,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SecondConnect => "second CONNECT on one connection",
            Self::TopicAliasTooLarge => "Topic Alias above our Topic Alias Maximum",
            Self::TopicAliasUnknown => "Topic Alias that was not defined",
            Self::ReceiveMaximumExceeded => "more unacknowledged PUBLISH than our Receive Maximum",
            Self::TopicTooDeep => "Topic Name with too many levels",
            Self::SessionExpiryFromZero => "Session Expiry Interval raised from 0 by DISCONNECT",
            Self::UnexpectedAuth => "AUTH without an Authentication Method",
            Self::WrongAcknowledgement => "acknowledgement of the wrong kind for its PUBLISH",
            Self::EarlyPubComp => "PUBCOMP before PUBREC",
        })
    }
}
