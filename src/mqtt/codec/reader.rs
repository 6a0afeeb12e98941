//! Data types of section 1.5, read from the body of a packet. Nothing is copied.

use super::error::DecodeError;
use crate::mqtt::PacketId;

/// What is left of a packet's body, or of its properties.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    /// All that is left: the payload of a PUBLISH.
    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Nothing may be left.
    pub(super) fn finish(self) -> Result<(), DecodeError> {
        if self.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes) }
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Variable Byte Integer.
    pub(super) fn variable(&mut self) -> Result<u32, DecodeError> {
        let (value, length) = variable(self.rest)?.ok_or(DecodeError::Truncated)?;
        self.take(length)?;
        Ok(value)
    }

    /// Binary Data.
    pub(super) fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// UTF-8 Encoded String.
    pub(super) fn string(&mut self) -> Result<&'a str, DecodeError> {
        let bytes = self.binary()?;
        let text = str::from_utf8(bytes).map_err(|_| DecodeError::InvalidUtf8)?;
        if has_byte(bytes, |byte| byte == 0) {
            return Err(DecodeError::NullCharacter);
        }
        Ok(text)
    }

    /// A Topic Name, or nothing in its place. `known` is one that may be.
    pub(super) fn topic_name(&mut self, known: &'a str) -> Result<&'a str, DecodeError> {
        let bytes = self.binary()?;
        if bytes == known.as_bytes() {
            return Ok(known);
        }
        let topic = str::from_utf8(bytes).map_err(|_| DecodeError::InvalidUtf8)?;
        if !has_byte(bytes, |byte| matches!(byte, 0 | b'+' | b'#')) {
            return Ok(topic);
        }
        Err(if bytes.contains(&0) {
            DecodeError::NullCharacter
        } else {
            DecodeError::WildcardInTopicName
        })
    }

    pub(super) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        PacketId::new(self.u16()?).ok_or(DecodeError::PacketIdZero)
    }
}

pub(super) fn has_wildcard(topic: &str) -> bool {
    has_byte(topic.as_bytes(), |byte| byte == b'+' || byte == b'#')
}

/// Looks at all bytes, whatever it finds: strings are short and mostly right, and without an early
/// exit many bytes are compared at once.
fn has_byte(bytes: &[u8], wanted: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(false, |found, &byte| found | wanted(byte))
}

/// A Variable Byte Integer at the front and its length; `None` when its end has not come yet.
pub(super) fn variable(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            if byte == 0 && at > 0 {
                return Err(DecodeError::VariableByteIntegerNotMinimal);
            }
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(DecodeError::VariableByteIntegerTooLong) }
}
