//! The fixed header: which packet it is, and where it ends.

use super::error::DecodeError;
use super::reader::variable;
use crate::mqtt::{QoS, Version};

/// The largest Remaining Length.
pub(super) const LARGEST_REMAINING: usize = 268_435_455;

/// The largest packet that the fixed header can announce, in bytes: the limit of a client that
/// names none.
pub const LARGEST_PACKET: usize = LARGEST_REMAINING + 5;

/// MQTT Control Packet type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Connect = 1,
    ConnAck,
    Publish,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    SubAck,
    Unsubscribe,
    UnsubAck,
    PingReq,
    PingResp,
    Disconnect,
    Auth,
}

impl Kind {
    fn from_first_byte(byte: u8) -> Result<Self, DecodeError> {
        Ok(match byte >> 4 {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return Err(DecodeError::ReservedPacketType),
        })
    }

    /// The flags that the specification fixes; those of PUBLISH say something.
    fn fixed_flags(self) -> Option<u8> {
        match self {
            Self::Publish => None,
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => Some(2),
            _ => Some(0),
        }
    }

    /// First byte of a packet that is no PUBLISH.
    pub(super) fn first_byte(self) -> u8 {
        (self as u8) << 4 | self.fixed_flags().unwrap_or(0)
    }
}

/// A whole packet, its body not looked at yet.
pub(super) struct Frame<'a> {
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) body: &'a [u8],
    /// Bytes of the whole packet.
    pub(super) size: usize,
}

impl<'a> Frame<'a> {
    /// The packet at the front; `None` when it has not come whole. What is wrong with the fixed
    /// header is said as soon as it shows.
    pub(super) fn split(
        buffer: &'a [u8],
        version: Version,
        limit: usize,
    ) -> Result<Option<Self>, DecodeError> {
        let Some((&first, after)) = buffer.split_first() else {
            return Ok(None);
        };
        let kind = Kind::from_first_byte(first)?;
        let flags = first & 0x0F;
        // In 3.1 PUBREL, SUBSCRIBE and UNSUBSCRIBE have DUP, too, when they are sent again.
        let dup = if version == Version::V31 && kind.fixed_flags() == Some(2) { 8 } else { 0 };
        if kind.fixed_flags().is_some_and(|fixed| fixed != flags & !dup) {
            return Err(DecodeError::FixedHeaderFlags);
        }
        let Some((remaining, length)) = variable(after)? else {
            return Ok(None);
        };
        let size = 1 + length + remaining as usize;
        if size > limit {
            return Err(DecodeError::PacketTooLarge(size));
        }
        let body = buffer.get(1 + length..size);
        Ok(body.map(|body| Self { kind, flags, body, size }))
    }
}

/// Bytes of the packet at the front, as its fixed header announces them; `None` while that is not
/// whole, or wrong.
pub fn packet_size(buffer: &[u8]) -> Option<usize> {
    let (remaining, length) = variable(buffer.get(1..)?).ok()??;
    Some(1 + length + remaining as usize)
}

/// QoS from its two bits; 3 is none.
pub(super) fn qos(bits: u8) -> Option<QoS> {
    match bits {
        0 => Some(QoS::AtMostOnce),
        1 => Some(QoS::AtLeastOnce),
        2 => Some(QoS::ExactlyOnce),
        _ => None,
    }
}
