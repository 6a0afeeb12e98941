//! A record of the log and its bytes: what happens to messages and copies. Records end where
//! their bytes say so; a chunk is a row of them.
//!
//! A message's body has its length in front, so that it can be passed over and moved unread.

use crate::mqtt::{Message, PacketId};
use crate::turn::{Copy, MessageId, OwnerId, Sent, SessionId};

use super::encoding::{
    Broken, Reader, message_len, put_bytes, put_message, put_number, put_optional, put_qos,
    put_sent, put_subscription_ids,
};
use super::shelf::Shelf;

#[cfg(test)]
mod tests;

const MESSAGE: u8 = 1;
const QUEUED: u8 = 2;
const SENT: u8 = 3;
const PUBREC_ARRIVED: u8 = 4;
const DELIVERY_FAILED: u8 = 5;
const RETURNED: u8 = 6;
const REMOVED: u8 = 7;
const RECEIVED: u8 = 8;
const RELEASED: u8 = 9;
const SESSION_ENDED: u8 = 10;
const OWNER_FORGOTTEN: u8 = 11;
const MOVED: u8 = 12;

/// What stands in the log.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum LogRecord<'a> {
    /// A body; [`read_body`] reads it.
    Message {
        id: MessageId,
        body: &'a [u8],
    },
    /// A copy, with all that happened to it up to here.
    Queued(Copy),
    Sent {
        owner: OwnerId,
        message: MessageId,
        sent: Sent,
    },
    PubRecArrived {
        owner: OwnerId,
        message: MessageId,
    },
    DeliveryFailed {
        owner: OwnerId,
        message: MessageId,
        deliveries: u32,
    },
    Returned {
        owner: OwnerId,
        message: MessageId,
    },
    Removed {
        owner: OwnerId,
        message: MessageId,
    },
    Received {
        session: SessionId,
        packet_id: PacketId,
    },
    Released {
        session: SessionId,
        packet_id: PacketId,
    },
    /// Its received Packet Identifiers are void.
    SessionEnded {
        session: SessionId,
    },
    /// Its copies are gone.
    OwnerForgotten {
        owner: OwnerId,
    },
    /// These copies are cold now.
    Moved {
        owner: OwnerId,
        messages: Vec<MessageId>,
    },
}

impl<'a> LogRecord<'a> {
    /// The next record.
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Broken> {
        let kind = reader.byte()?;
        if kind == MESSAGE {
            let id = reader.message_id()?;
            let body = reader.bytes()?;
            return Ok(Self::Message { id, body });
        }
        let owner = reader.owner()?;
        match kind {
            QUEUED => return read_copy(reader, owner).map(Self::Queued),
            SESSION_ENDED => return Ok(Self::SessionEnded { session: owner }),
            OWNER_FORGOTTEN => return Ok(Self::OwnerForgotten { owner }),
            MOVED => return Ok(Self::Moved { owner, messages: read_moved(reader)? }),
            RECEIVED | RELEASED => {
                let session = owner;
                let packet_id = PacketId::new(reader.small()?).ok_or(Broken)?;
                return Ok(if kind == RECEIVED {
                    Self::Received { session, packet_id }
                } else {
                    Self::Released { session, packet_id }
                });
            }
            _ => {}
        }
        let message = reader.message_id()?;
        Ok(match kind {
            SENT => {
                let sent = reader.sent()?;
                Self::Sent { owner, message, sent }
            }
            PUBREC_ARRIVED => Self::PubRecArrived { owner, message },
            DELIVERY_FAILED => {
                let deliveries = reader.small()?;
                Self::DeliveryFailed { owner, message, deliveries }
            }
            RETURNED => Self::Returned { owner, message },
            REMOVED => Self::Removed { owner, message },
            _ => return Err(Broken),
        })
    }
}

/// The message in [`LogRecord::Message::body`].
pub(super) fn read_body(body: &[u8], shelf: &mut Shelf<'_>) -> Result<Message, Broken> {
    Reader::new(body).message_on(shelf)
}

fn read_copy(reader: &mut Reader<'_>, owner: OwnerId) -> Result<Copy, Broken> {
    Ok(Copy {
        owner,
        message: reader.message_id()?,
        qos: reader.qos()?,
        retain: reader.flag()?,
        subscription_ids: reader.subscription_ids()?,
        size: reader.small()?,
        expires: reader.optional()?.map(crate::time::Timestamp),
        deliveries: reader.small()?,
        sent: if reader.flag()? { Some(reader.sent()?) } else { None },
    })
}

fn read_moved(reader: &mut Reader<'_>) -> Result<Vec<MessageId>, Broken> {
    let mut steps = Reader::new(reader.bytes()?);
    let mut messages = Vec::new();
    let mut last = 0u64;
    while !steps.is_empty() {
        last = last.checked_add(steps.number()?).ok_or(Broken)?;
        messages.push(MessageId(last));
    }
    Ok(messages)
}

/// Adds a message.
pub(super) fn put_body(out: &mut Vec<u8>, id: MessageId, message: &Message) {
    out.push(MESSAGE);
    put_number(out, id.0);
    put_number(out, message_len(message));
    put_message(out, message);
}

/// Adds a copy.
pub(super) fn put_copy(out: &mut Vec<u8>, copy: &Copy) {
    put_owner(out, QUEUED, copy.owner);
    put_number(out, copy.message.0);
    put_qos(out, copy.qos);
    out.push(u8::from(copy.retain));
    put_subscription_ids(out, &copy.subscription_ids);
    put_number(out, u64::from(copy.size));
    put_optional(out, copy.expires.map(|at| at.0));
    put_number(out, u64::from(copy.deliveries));
    out.push(u8::from(copy.sent.is_some()));
    if let Some(sent) = &copy.sent {
        put_sent(out, sent);
    }
}

/// Adds that a copy was sent.
pub(super) fn put_sent_copy(out: &mut Vec<u8>, owner: OwnerId, message: MessageId, sent: &Sent) {
    put_copy_name(out, SENT, owner, message);
    put_sent(out, sent);
}

/// Adds that PUBREC arrived.
pub(super) fn put_pubrec_arrived(out: &mut Vec<u8>, owner: OwnerId, message: MessageId) {
    put_copy_name(out, PUBREC_ARRIVED, owner, message);
}

/// Adds a count of failed deliveries.
pub(super) fn put_delivery_failed(
    out: &mut Vec<u8>,
    owner: OwnerId,
    message: MessageId,
    deliveries: u32,
) {
    put_copy_name(out, DELIVERY_FAILED, owner, message);
    put_number(out, u64::from(deliveries));
}

/// Adds that a copy is back in its queue.
pub(super) fn put_returned(out: &mut Vec<u8>, owner: OwnerId, message: MessageId) {
    put_copy_name(out, RETURNED, owner, message);
}

/// Adds that a copy left its queue.
pub(super) fn put_removed(out: &mut Vec<u8>, owner: OwnerId, message: MessageId) {
    put_copy_name(out, REMOVED, owner, message);
}

/// Adds that a QoS 2 PUBLISH was taken.
pub(super) fn put_received(out: &mut Vec<u8>, session: SessionId, packet_id: PacketId) {
    put_owner(out, RECEIVED, session);
    put_number(out, u64::from(packet_id.get()));
}

/// Adds that its Packet Identifier is free.
pub(super) fn put_released(out: &mut Vec<u8>, session: SessionId, packet_id: PacketId) {
    put_owner(out, RELEASED, session);
    put_number(out, u64::from(packet_id.get()));
}

/// Adds the end of a session.
pub(super) fn put_session_ended(out: &mut Vec<u8>, session: SessionId) {
    put_owner(out, SESSION_ENDED, session);
}

/// Adds that nothing is left of an owner.
pub(super) fn put_owner_forgotten(out: &mut Vec<u8>, owner: OwnerId) {
    put_owner(out, OWNER_FORGOTTEN, owner);
}

/// Adds that copies are cold now; in order.
pub(super) fn put_moved(out: &mut Vec<u8>, owner: OwnerId, messages: &[MessageId]) {
    let mut steps = Vec::new();
    let mut last = 0;
    for message in messages {
        put_number(&mut steps, message.0 - last);
        last = message.0;
    }
    put_owner(out, MOVED, owner);
    put_bytes(out, &steps);
}

fn put_owner(out: &mut Vec<u8>, kind: u8, owner: OwnerId) {
    out.push(kind);
    put_number(out, owner.0);
}

fn put_copy_name(out: &mut Vec<u8>, kind: u8, owner: OwnerId, message: MessageId) {
    put_owner(out, kind, owner);
    put_number(out, message.0);
}
