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
    /// Above our Maximum QoS `[MQTT-3.2.2-11]`.
    QosNotSupported,
    /// RETAIN, where it is not available `[MQTT-3.2.2-14]`.
    RetainNotSupported,
    /// A wildcard in a Topic Filter, where they are not available (section 3.2.2.3.11).
    WildcardsNotSupported,
    /// A Subscription Identifier, where they are not available (section 3.2.2.3.12).
    SubscriptionIdsNotSupported,
    /// A shared subscription, where they are not available (section 3.2.2.3.13).
    SharesNotSupported,
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
            Self::QosNotSupported => ReasonCode::QOS_NOT_SUPPORTED,
            Self::RetainNotSupported => ReasonCode::RETAIN_NOT_SUPPORTED,
            Self::WildcardsNotSupported => ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
            Self::SubscriptionIdsNotSupported => ReasonCode::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
            Self::SharesNotSupported => ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
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
            Self::QosNotSupported => "PUBLISH above our Maximum QoS",
            Self::RetainNotSupported => "RETAIN, which is not available",
            Self::WildcardsNotSupported => "wildcard in a Topic Filter, which is not available",
            Self::SubscriptionIdsNotSupported => "Subscription Identifier, which is not available",
            Self::SharesNotSupported => "shared subscription, which is not available",
            Self::SessionExpiryFromZero => "Session Expiry Interval raised from 0 by DISCONNECT",
            Self::UnexpectedAuth => "AUTH without an Authentication Method",
            Self::WrongAcknowledgement => "acknowledgement of the wrong kind for its PUBLISH",
            Self::EarlyPubComp => "PUBCOMP before PUBREC",
        })
    }
}
