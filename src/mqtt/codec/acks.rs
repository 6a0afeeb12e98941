//! Plain acknowledgements that a client sent one after the other: four bytes each, the same in all
//! protocols.
//!
//! Invariant: the bytes are whole packets of one kind, each with Reason Code 0 and no properties.

use super::frame::Kind;
use crate::mqtt::packet::Ack;
use crate::mqtt::{Packet, PacketId, ReasonCode};

/// Bytes of one.
const SIZE: usize = 4;

/// PUBACK, PUBREC, PUBREL or PUBCOMP packets, one or more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Acks<'a> {
    /// The packets.
    pub bytes: &'a [u8],
    kind: Kind,
}

impl<'a> Acks<'a> {
    /// What `bytes` begin with; `None` when that is something else. `limit` is our Maximum Packet
    /// Size.
    pub(super) fn at_front(bytes: &'a [u8], limit: usize) -> Option<Self> {
        let first = *bytes.first()?;
        let kinds = [Kind::PubAck, Kind::PubRec, Kind::PubRel, Kind::PubComp];
        let kind = kinds.into_iter().find(|kind| kind.first_byte() == first)?;
        let is_like = |ack: &&[u8; SIZE]| ack[..2] == [first, 2] && ack[2..] != [0, 0];
        let count = bytes.as_chunks().0.iter().take_while(is_like).count();
        (count > 0 && limit >= SIZE).then(|| Self { bytes: &bytes[..SIZE * count], kind })
    }

    /// The packets, one by one.
    pub fn packets(&self) -> impl Iterator<Item = Packet<'static>> + use<'_> {
        self.bytes.as_chunks().0.iter().filter_map(|&[_, _, high, low]| {
            let packet_id = PacketId::new(u16::from_be_bytes([high, low]))?;
            let ack = Ack { packet_id, reason: ReasonCode::SUCCESS, reason_string: None };
            Some(match self.kind {
                Kind::PubAck => Packet::PubAck(ack),
                Kind::PubRec => Packet::PubRec(ack),
                Kind::PubRel => Packet::PubRel(ack),
                _ => Packet::PubComp(ack),
            })
        })
    }
}
