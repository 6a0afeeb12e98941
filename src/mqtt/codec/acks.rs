//! Plain acknowledgements that a client sent one after the other: four bytes each, the same in all
//! protocols.
//!
//! Invariant: the bytes are whole packets of one kind, each with Reason Code 0 and no properties.

use super::frame::Kind;
use crate::mqtt::packet::Ack;
use crate::mqtt::{Packet, PacketId, ReasonCode};

/// Bytes of one.
const SIZE: usize = 4;
/// Packets that are taken together: what comes of them is in memory at a time.
const COUNT_MAX: usize = 64;

/// PUBACK, PUBREC, PUBREL or PUBCOMP packets, one or more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Acks<'a> {
    /// The packets.
    pub bytes: &'a [u8],
    /// What they all are.
    pub kind: AckKind,
}

/// What acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckKind {
    /// PUBACK.
    PubAck,
    /// PUBREC.
    PubRec,
    /// PUBREL.
    PubRel,
    /// PUBCOMP.
    PubComp,
}

impl AckKind {
    /// Of a packet with this first byte.
    fn of(first: u8) -> Option<Self> {
        let all = [
            (Kind::PubAck, Self::PubAck),
            (Kind::PubRec, Self::PubRec),
            (Kind::PubRel, Self::PubRel),
            (Kind::PubComp, Self::PubComp),
        ];
        let found = all.into_iter().find(|(kind, _)| kind.first_byte() == first);
        found.map(|(_, acknowledges)| acknowledges)
    }
}

impl<'a> Acks<'a> {
    /// What `bytes` begin with; `None` when that is something else. `limit` is our Maximum Packet
    /// Size.
    pub(super) fn at_front(bytes: &'a [u8], limit: usize) -> Option<Self> {
        let first = *bytes.first()?;
        let kind = AckKind::of(first)?;
        let is_like = |ack: &&[u8; SIZE]| ack[..2] == [first, 2] && ack[2..] != [0, 0];
        let all = bytes.as_chunks().0.iter().take(COUNT_MAX);
        let count = all.take_while(is_like).count();
        (count > 0 && limit >= SIZE).then(|| Self { bytes: &bytes[..SIZE * count], kind })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.bytes.len() / SIZE
    }

    /// What each says.
    pub fn each(&self) -> impl Iterator<Item = Ack<'static>> + use<'a> {
        self.bytes.as_chunks().0.iter().filter_map(|&[_, _, high, low]| {
            let packet_id = PacketId::new(u16::from_be_bytes([high, low]))?;
            Some(Ack { packet_id, reason: ReasonCode::SUCCESS, reason_string: None })
        })
    }

    /// The packets, one by one.
    pub fn packets(&self) -> impl Iterator<Item = Packet<'static>> + use<'a> {
        let kind = self.kind;
        self.each().map(move |ack| match kind {
            AckKind::PubAck => Packet::PubAck(ack),
            AckKind::PubRec => Packet::PubRec(ack),
            AckKind::PubRel => Packet::PubRel(ack),
            AckKind::PubComp => Packet::PubComp(ack),
        })
    }
}
