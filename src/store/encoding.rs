//! Bytes of the store: numbers of variable length, byte strings with their length in front, and
//! the reader that trusts none of them.
//!
//! Invariant: what [`Reader`] gives lies inside the bytes that it was made of.

use std::str;
use std::sync::Arc;

use bytes::Bytes;

use crate::dead_reason::DeadReason;
use crate::mqtt::message::{Past, RawProperties};
use crate::mqtt::reply::SubscriptionIds;
use crate::mqtt::{Message, QoS};
use crate::time::Timestamp;
use crate::turn::Sent;
use crate::turn::{MessageId, OwnerId};

use super::shelf::Shelf;

/// Bytes that are not what this version writes, although their checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// Reads what the `put_` functions wrote.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// From the start of `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Broken> {
        let rest = self.bytes.get(self.at..).ok_or(Broken)?;
        let taken = rest.get(..len).ok_or(Broken)?;
        self.at += len;
        Ok(taken)
    }

    /// One byte.
    pub(super) fn byte(&mut self) -> Result<u8, Broken> {
        let byte = *self.bytes.get(self.at).ok_or(Broken)?;
        self.at += 1;
        Ok(byte)
    }

    /// See [`put_number`].
    pub(super) fn number(&mut self) -> Result<u64, Broken> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Broken)
    }

    /// A number that must fit.
    pub(super) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Broken> {
        T::try_from(self.number()?).map_err(|_| Broken)
    }

    /// See [`put_optional`].
    pub(super) fn optional(&mut self) -> Result<Option<u64>, Broken> {
        Ok(match self.byte()? {
            0 => None,
            1 => Some(self.number()?),
            _ => return Err(Broken),
        })
    }

    /// An optional number that must fit.
    pub(super) fn optional_small<T: TryFrom<u64>>(&mut self) -> Result<Option<T>, Broken> {
        let value = self.optional()?;
        value.map(T::try_from).transpose().map_err(|_| Broken)
    }

    /// See [`put_bytes`].
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Broken> {
        let len = self.small()?;
        self.take(len)
    }

    /// See [`put_bytes`].
    pub(super) fn text(&mut self) -> Result<&'a str, Broken> {
        str::from_utf8(self.bytes()?).map_err(|_| Broken)
    }

    /// See [`put_optional_text`].
    pub(super) fn optional_text(&mut self) -> Result<Option<&'a str>, Broken> {
        Ok(if self.flag()? { Some(self.text()?) } else { None })
    }

    /// A byte that is 0 or 1.
    pub(super) fn flag(&mut self) -> Result<bool, Broken> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Broken),
        }
    }

    /// A QoS as it is on the wire.
    pub(super) fn qos(&mut self) -> Result<QoS, Broken> {
        match self.byte()? {
            0 => Ok(QoS::AtMostOnce),
            1 => Ok(QoS::AtLeastOnce),
            2 => Ok(QoS::ExactlyOnce),
            _ => Err(Broken),
        }
    }

    /// A point of the time line.
    pub(super) fn timestamp(&mut self) -> Result<Timestamp, Broken> {
        self.number().map(Timestamp)
    }

    /// Who has a queue.
    pub(super) fn owner(&mut self) -> Result<OwnerId, Broken> {
        self.number().map(OwnerId)
    }

    /// Which message.
    pub(super) fn message_id(&mut self) -> Result<MessageId, Broken> {
        self.number().map(MessageId)
    }

    /// See [`put_subscription_ids`].
    pub(super) fn subscription_ids(&mut self) -> Result<SubscriptionIds, Broken> {
        let count: usize = self.small()?;
        if count == 0 {
            return Ok(None);
        }
        let ids: Arc<[u32]> = (0..count).map(|_| self.small()).collect::<Result<_, _>>()?;
        Ok(Some(ids))
    }

    /// See [`put_sent`].
    pub(super) fn sent(&mut self) -> Result<Sent, Broken> {
        Ok(Sent {
            session: self.owner()?,
            ordinal: self.number()?,
            qos: self.qos()?,
            subscription_ids: self.subscription_ids()?,
            pubrec_arrived: self.flag()?,
        })
    }

    /// See [`put_message`].
    pub(super) fn message(&mut self) -> Result<Message, Broken> {
        let (topic, properties, payload) = (self.text()?, self.bytes()?, self.bytes()?);
        let properties = Bytes::copy_from_slice(properties).into();
        self.rest_of_message(topic.into(), properties, Bytes::copy_from_slice(payload))
    }

    /// The same, one of many that come together.
    pub(super) fn message_on(&mut self, shelf: &mut Shelf<'_>) -> Result<Message, Broken> {
        let topic = shelf.topic(self.bytes()?)?;
        let properties = shelf.bytes(self.bytes()?).into();
        let payload = shelf.bytes(self.bytes()?);
        self.rest_of_message(topic, properties, payload)
    }

    fn rest_of_message(
        &mut self,
        topic: Arc<str>,
        properties: RawProperties,
        payload: Bytes,
    ) -> Result<Message, Broken> {
        let qos = self.qos()?;
        let flags = self.byte()?;
        if flags & !(RETAIN | PAST) != 0 {
            return Err(Broken);
        }
        let (received, expiry) = (self.timestamp()?, self.optional_small()?);
        let past = if flags & PAST == 0 { None } else { Some(Arc::new(self.past()?)) };
        let retain = flags & RETAIN != 0;
        Ok(Message { topic, properties, payload, qos, retain, received, expiry, past })
    }

    fn past(&mut self) -> Result<Past, Broken> {
        Ok(Past {
            letter: self.number()?,
            first_reason: self.reason()?,
            deaths: self.small()?,
            redrives: self.small()?,
        })
    }

    /// Why something died.
    pub(super) fn reason(&mut self) -> Result<DeadReason, Broken> {
        let index = usize::from(self.byte()?);
        DeadReason::ALL.get(index).copied().ok_or(Broken)
    }
}

/// Flags of a message: RETAIN, and that it has a past.
const RETAIN: u8 = 1;
const PAST: u8 = 2;

/// Seven bits a byte, the lowest first.
pub(super) fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// 0, or 1 and the number.
pub(super) fn put_optional(out: &mut Vec<u8>, value: Option<u64>) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put_number(out, value);
    }
}

/// The length, then the bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, len(bytes));
    out.extend_from_slice(bytes);
}

/// 0, or 1 and the text.
pub(super) fn put_optional_text(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(u8::from(text.is_some()));
    if let Some(text) = text {
        put_bytes(out, text.as_bytes());
    }
}

/// As on the wire.
pub(super) fn put_qos(out: &mut Vec<u8>, qos: QoS) {
    out.push(qos as u8);
}

/// How many, then each.
pub(super) fn put_subscription_ids(out: &mut Vec<u8>, ids: &SubscriptionIds) {
    let ids = ids.as_deref().unwrap_or_default();
    put_number(out, ids.len() as u64);
    for id in ids {
        put_number(out, u64::from(*id));
    }
}

/// Where a copy was sent to.
pub(super) fn put_sent(out: &mut Vec<u8>, sent: &Sent) {
    put_number(out, sent.session.0);
    put_number(out, sent.ordinal);
    put_qos(out, sent.qos);
    put_subscription_ids(out, &sent.subscription_ids);
    out.push(u8::from(sent.pubrec_arrived));
}

/// A whole message.
pub(super) fn put_message(out: &mut Vec<u8>, message: &Message) {
    put_bytes(out, message.topic.as_bytes());
    put_bytes(out, &message.properties);
    put_bytes(out, &message.payload);
    put_qos(out, message.qos);
    out.push(u8::from(message.retain) * RETAIN + u8::from(message.past.is_some()) * PAST);
    put_number(out, message.received.0);
    put_optional(out, message.expiry.map(u64::from));
    if let Some(past) = &message.past {
        put_number(out, past.letter);
        out.push(past.first_reason as u8);
        put_number(out, u64::from(past.deaths));
        put_number(out, u64::from(past.redrives));
    }
}

/// How many bytes [`put_message`] adds.
pub(super) fn message_len(message: &Message) -> u64 {
    let optional = |value: Option<u64>| 1 + value.map_or(0, number_len);
    bytes_len(message.topic.as_bytes())
        + bytes_len(&message.properties)
        + bytes_len(&message.payload)
        + 2
        + number_len(message.received.0)
        + optional(message.expiry.map(u64::from))
        + message.past.as_ref().map_or(0, |past| {
            1 + number_len(past.letter)
                + number_len(u64::from(past.deaths))
                + number_len(u64::from(past.redrives))
        })
}

fn bytes_len(bytes: &[u8]) -> u64 {
    number_len(len(bytes)) + len(bytes)
}

fn number_len(value: u64) -> u64 {
    u64::from(64 - (value | 1).leading_zeros()).div_ceil(7)
}

fn len(bytes: &[u8]) -> u64 {
    bytes.len() as u64
}
