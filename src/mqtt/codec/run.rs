//! QoS 0 PUBLISHes that a client sent one after the other and that differ in their payloads alone:
//! they are checked once, and can be passed on as they came.
//!
//! Invariant: the bytes are whole packets, each the one that is sent to a client of the same
//! protocol at QoS 0. So a PUBLISH with RETAIN, a Topic Alias or a Message Expiry Interval is in no
//! run, as these are not passed on untouched.

use super::decode::Decoder;
use super::frame::Kind;
use super::reader::variable;
use crate::mqtt::packet::Publish;
use crate::mqtt::{Packet, QoS, Version};

/// PUBLISHes of a run: who is sent all of it may be sent more than it has room for.
pub(super) const COUNT_MAX: usize = 64;

/// Bytes of one of its packets. A larger payload is shared by those that it goes to.
const SIZE_MAX: usize = 4 * 1024;

/// PUBLISHes of QoS 0, one or more, in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run<'a> {
    /// Of the client.
    pub version: Version,
    /// Topic Name of all of them.
    pub topic: &'a str,
    /// The packets.
    pub bytes: &'a [u8],
    /// How many they are.
    pub count: usize,
    /// Bytes of their payloads.
    pub payload: usize,
    /// Bytes of the largest packet.
    pub largest: usize,
}

impl<'a> Run<'a> {
    /// The run that begins with `first`, which stands at the front of `bytes`; `None` when it is in
    /// no run. `limit` is our Maximum Packet Size.
    pub(super) fn of(
        first: &Publish<'a>,
        bytes: &'a [u8],
        version: Version,
        limit: usize,
    ) -> Option<Self> {
        if !leaves_as_it_came(first) {
            return None;
        }
        let limit = limit.min(SIZE_MAX);
        let (_, body) = split(bytes, limit)?;
        let head = &body[..body.len() - first.payload.as_slice().len()];
        let (topic, none) = (first.topic, &bytes[..0]);
        let mut run = Self { version, topic, bytes: none, count: 0, payload: 0, largest: 0 };
        while run.count < COUNT_MAX
            && let Some((size, body)) = split(&bytes[run.bytes.len()..], limit)
            && body.starts_with(head)
        {
            run.bytes = &bytes[..run.bytes.len() + size];
            run.count += 1;
            run.payload += body.len() - head.len();
            run.largest = run.largest.max(size);
        }
        Some(run)
    }

    /// The packets, one by one.
    pub fn publishes(&self) -> impl Iterator<Item = Publish<'a>> + use<'a> {
        let mut decoder = Decoder::new(self.bytes, self.version, usize::MAX);
        std::iter::from_fn(move || match decoder.next_packet() {
            Ok(Some(Packet::Publish(publish))) => Some(publish),
            _ => None,
        })
    }
}

fn leaves_as_it_came(publish: &Publish<'_>) -> bool {
    publish.qos == QoS::AtMostOnce
        && !publish.retain
        && publish.topic_alias.is_none()
        && publish.message_expiry.is_none()
}

/// Size and body of the packet at the front, if it came whole and is a PUBLISH without flags.
fn split(bytes: &[u8], limit: usize) -> Option<(usize, &[u8])> {
    let (&first, after) = bytes.split_first()?;
    if first != Kind::Publish.first_byte() {
        return None;
    }
    let (remaining, length) = variable(after).ok()??;
    let size = 1 + length + remaining as usize;
    let body = bytes.get(1 + length..size)?;
    (size <= limit).then_some((size, body))
}
