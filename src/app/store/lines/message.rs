//! Application messages in an export, and the copies of them that wait in queues.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Wrong, reason};
use crate::mqtt::reply::SubscriptionIds;
use crate::mqtt::{self, QoS};
use crate::time::Timestamp;
use crate::turn::{self, MessageId, OwnerId, Record};

/// A message and who has a copy of it in a queue.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::app::store) struct Stored {
    pub(in crate::app::store) id: u64,
    pub(in crate::app::store) message: Message,
    pub(in crate::app::store) copies: Vec<Copy>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::app::store) struct Copy {
    owner: u64,
    qos: u8,
    retain: bool,
    subscription_ids: Vec<u32>,
    deliveries: u32,
    sent: Option<Sent>,
}

/// Where a copy in flight was sent to.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    session: u64,
    ordinal: u64,
    qos: u8,
    subscription_ids: Vec<u32>,
    pubrec_arrived: bool,
}

/// An application message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::app::store) struct Message {
    topic: String,
    qos: u8,
    retain: bool,
    received: u64,
    expiry: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    past: Option<Past>,
    properties: String,
    payload: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// The earlier deaths of a message that was redriven.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Past {
    letter: u64,
    first_reason: String,
    deaths: u32,
    redrives: u32,
}

impl Stored {
    /// A message; its copies are to be added.
    pub(in crate::app::store) fn of(id: MessageId, message: &mqtt::Message) -> Self {
        Self { id: id.0, message: Message::of(message), copies: Vec::new() }
    }

    pub(super) fn records(self, into: &mut Vec<Record>) -> Result<(), Wrong> {
        let message = Arc::new(self.message.message()?);
        let id = MessageId(self.id);
        let copies = self.copies.into_iter().map(|copy| copy.record(id, &message));
        let copies = copies.collect::<Result<Vec<_>, _>>()?;
        into.push(Record::Message { id, message });
        into.extend(copies);
        Ok(())
    }
}

impl Copy {
    pub(in crate::app::store) fn of(copy: &turn::Copy) -> Self {
        Self {
            owner: copy.owner.0,
            qos: copy.qos as u8,
            retain: copy.retain,
            subscription_ids: ids(&copy.subscription_ids),
            deliveries: copy.deliveries,
            sent: copy.sent.as_ref().map(|sent| Sent {
                session: sent.session.0,
                ordinal: sent.ordinal,
                qos: sent.qos as u8,
                subscription_ids: ids(&sent.subscription_ids),
                pubrec_arrived: sent.pubrec_arrived,
            }),
        }
    }

    fn record(self, id: MessageId, message: &mqtt::Message) -> Result<Record, Wrong> {
        let sent = |sent: Sent| {
            Ok::<_, Wrong>(turn::Sent {
                session: OwnerId(sent.session),
                ordinal: sent.ordinal,
                qos: qos(sent.qos)?,
                subscription_ids: from_ids(sent.subscription_ids),
                pubrec_arrived: sent.pubrec_arrived,
            })
        };
        Ok(Record::Queued(turn::Copy {
            owner: OwnerId(self.owner),
            message: id,
            qos: qos(self.qos)?,
            retain: self.retain,
            subscription_ids: from_ids(self.subscription_ids),
            size: u32::try_from(message.size()).map_err(|_| "the message is too large")?,
            expires: message.expires(),
            deliveries: self.deliveries,
            sent: self.sent.map(sent).transpose()?,
        }))
    }
}

impl Message {
    pub(super) fn of(message: &mqtt::Message) -> Self {
        let text = std::str::from_utf8(&message.payload).ok();
        Self {
            topic: message.topic.to_string(),
            qos: message.qos as u8,
            retain: message.retain,
            received: message.received.0,
            expiry: message.expiry,
            past: message.past.as_ref().map(|past| Past {
                letter: past.letter,
                first_reason: past.first_reason.as_str().to_owned(),
                deaths: past.deaths,
                redrives: past.redrives,
            }),
            properties: STANDARD.encode(&*message.properties),
            payload: STANDARD.encode(&message.payload),
            text: text.filter(|text| !text.is_empty()).map(str::to_owned),
        }
    }

    pub(super) fn message(self) -> Result<mqtt::Message, Wrong> {
        let past = |past: Past| {
            let Past { letter, first_reason, deaths, redrives } = past;
            let first_reason = reason(&first_reason)?;
            let past = mqtt::message::Past { letter, first_reason, deaths, redrives };
            Ok::<_, Wrong>(Arc::new(past))
        };
        Ok(mqtt::Message {
            topic: self.topic.into(),
            properties: base64("properties", &self.properties)?.into(),
            payload: base64("payload", &self.payload)?,
            qos: qos(self.qos)?,
            retain: self.retain,
            received: Timestamp(self.received),
            expiry: self.expiry,
            past: self.past.map(past).transpose()?,
        })
    }
}

fn base64(name: &str, text: &str) -> Result<Bytes, Wrong> {
    let bytes = STANDARD.decode(text).map_err(|error| format!("{name}: {error}"))?;
    Ok(bytes.into())
}

/// A QoS as it is on the wire.
pub(super) fn qos(number: u8) -> Result<QoS, Wrong> {
    match number {
        0 => Ok(QoS::AtMostOnce),
        1 => Ok(QoS::AtLeastOnce),
        2 => Ok(QoS::ExactlyOnce),
        other => Err(format!("qos is {other}")),
    }
}

fn ids(ids: &SubscriptionIds) -> Vec<u32> {
    ids.as_deref().unwrap_or_default().to_vec()
}

fn from_ids(ids: Vec<u32>) -> SubscriptionIds {
    (!ids.is_empty()).then(|| ids.into())
}
