//! Packets that the core encodes itself, for the world to copy.
//!
//! Invariant: their bytes are the same whenever they leave.

use std::ops::Range;

use super::Output;
use crate::mqtt::{QoS, Version, codec};

/// A larger payload is shared by those that it goes to, and not encoded here.
pub const PAYLOAD_MAX: usize = 4 * 1024;

/// Bytes after which packets are not encoded here any more, in a turn with many.
const ROOM: usize = 64 * 1024;

/// Encoded packets, one after the other, so that those of one connection are mostly one piece.
#[derive(Debug, Default)]
pub struct Encoded {
    v311: Vec<u8>,
    v5: Vec<u8>,
    acks: Vec<u8>,
}

/// Where in [`Encoded`] some packets stand, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    range: Range<usize>,
    kind: Kind,
}

/// What the packets of a piece are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PUBLISH without Topic Alias and Message Expiry Interval; the highest QoS of them.
    Publish(Version, QoS),
    /// [Plain acknowledgements](codec::plain_ack).
    Ack,
}

impl Encoded {
    /// Appends the PUBLISH of `qos` that `encode` appends to bytes of this protocol; 3.1 is as
    /// 3.1.1.
    pub fn publish(
        &mut self,
        version: Version,
        qos: QoS,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Written {
        let bytes = match version {
            Version::V5 => &mut self.v5,
            Version::V311 | Version::V31 => &mut self.v311,
        };
        let start = bytes.len();
        encode(bytes);
        Written { range: start..bytes.len(), kind: Kind::Publish(version, qos) }
    }

    /// Appends an acknowledgement.
    pub fn ack(&mut self, ack: [u8; 4]) -> Written {
        let start = self.acks.len();
        self.acks.extend_from_slice(&ack);
        Written { range: start..self.acks.len(), kind: Kind::Ack }
    }

    /// How many bytes.
    pub fn size(&self) -> usize {
        self.v311.len() + self.v5.len() + self.acks.len()
    }

    /// Whether more packets of one receiver each may be encoded here.
    pub fn has_room(&self) -> bool {
        self.size() < ROOM
    }

    /// The bytes of a piece.
    pub fn bytes(&self, written: &Written) -> &[u8] {
        let bytes = match written.kind {
            Kind::Publish(Version::V5, _) => &self.v5,
            Kind::Publish(Version::V311 | Version::V31, _) => &self.v311,
            Kind::Ack => &self.acks,
        };
        &bytes[written.range.clone()]
    }

    /// What of a piece can stay when its turn is over: packets again.
    pub fn packets(&self, written: &Written) -> impl Iterator<Item = Output> {
        let version = match written.kind {
            Kind::Publish(version, _) => version,
            Kind::Ack => Version::V311,
        };
        let mut rest = self.bytes(written);
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let decoded = codec::client::decode(rest, version).ok().flatten();
            let (packet, size) = decoded.expect("what we write can be read");
            rest = &rest[size..];
            Some(Output::Packet(packet))
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.size() == 0
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.v311.clear();
        self.v5.clear();
        self.acks.clear();
    }
}

impl Written {
    /// How many bytes.
    pub fn size(&self) -> usize {
        self.range.len()
    }

    /// What its packets are.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Takes `next` in, if it follows in the same bytes.
    pub(super) fn extend(&mut self, next: &Self) -> bool {
        let kind = match (self.kind, next.kind) {
            (Kind::Publish(version, qos), Kind::Publish(other, next)) if version == other => {
                Kind::Publish(version, if next as u8 > qos as u8 { next } else { qos })
            }
            (Kind::Ack, Kind::Ack) => Kind::Ack,
            _ => return false,
        };
        let follows = self.range.end == next.range.start;
        if follows {
            (self.range.end, self.kind) = (next.range.end, kind);
        }
        follows
    }
}
