//! Packets that the core encodes itself, out of the read buffer, for the world to copy.

use std::ops::Range;

use super::Output;
use crate::mqtt::{Version, codec};

/// Encoded packets, one after the other, so that those of one connection are mostly one piece.
#[derive(Debug, Default)]
pub struct Encoded {
    v311: Vec<u8>,
    v5: Vec<u8>,
}

/// Where in [`Encoded`] some packets stand, one after the other: PUBLISH of QoS 0, without Topic
/// Alias and Message Expiry Interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    range: Range<usize>,
    version: Version,
}

impl Encoded {
    /// Appends the packet that `encode` appends to bytes of this protocol; 3.1 is as 3.1.1.
    pub fn append(&mut self, version: Version, encode: impl FnOnce(&mut Vec<u8>)) -> Written {
        let bytes = match version {
            Version::V5 => &mut self.v5,
            Version::V311 | Version::V31 => &mut self.v311,
        };
        let start = bytes.len();
        encode(bytes);
        Written { range: start..bytes.len(), version }
    }

    /// The bytes of a piece.
    pub fn bytes(&self, written: &Written) -> &[u8] {
        let bytes = match written.version {
            Version::V5 => &self.v5,
            Version::V311 | Version::V31 => &self.v311,
        };
        &bytes[written.range.clone()]
    }

    /// What of a piece can stay when its turn is over: packets again.
    pub fn packets(&self, written: &Written) -> impl Iterator<Item = Output> {
        let version = written.version;
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
        self.v311.is_empty() && self.v5.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.v311.clear();
        self.v5.clear();
    }
}

impl Written {
    /// How many bytes.
    pub fn size(&self) -> usize {
        self.range.len()
    }

    /// The protocol that it is of.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Takes `next` in, if it follows in the same bytes.
    pub(super) fn extend(&mut self, next: &Self) -> bool {
        let follows = self.version == next.version && self.range.end == next.range.start;
        if follows {
            self.range.end = next.range.end;
        }
        follows
    }
}
