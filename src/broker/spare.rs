//! The memory of messages that nobody needs any more, for those that come: at a high rate a message
//! is mostly acknowledged while the next ones arrive, or are loaded.
//!
//! Invariant: nobody else has a message that is kept here, and all of them together are small.

use std::sync::Arc;

use bytes::Bytes;

use crate::mqtt::Message;

/// Messages whose memory is kept: as many as a commit of small ones lets go at a time.
const ROOM: usize = 1024;
/// Bytes of a payload whose memory is kept.
const PAYLOAD: usize = 1024;
/// Bytes of the payloads of all of them; the memory of each may have room for more, up to
/// [`PAYLOAD`].
const PAYLOADS: usize = 128 * 1024;

/// Memory for messages.
#[derive(Debug, Default)]
pub(super) struct Spare {
    messages: Vec<Arc<Message>>,
    /// Bytes of their payloads.
    bytes: usize,
}

impl Spare {
    /// Keeps the memory of a message that its owner is done with, if it was the last one.
    pub(super) fn keep(&mut self, mut message: Arc<Message>) {
        // A payload with properties is a part of a larger piece of memory.
        let size = message.payload.len();
        let is_small = size <= PAYLOAD && message.properties.is_empty();
        let is_room = self.messages.len() < ROOM && self.bytes + size <= PAYLOADS;
        if is_small && is_room && Arc::get_mut(&mut message).is_some() {
            self.bytes += size;
            self.messages.push(message);
        }
    }

    /// Takes up to so many out.
    pub(super) fn take(&mut self, count: usize) -> impl Iterator<Item = Arc<Message>> {
        let taken = self.messages.len().saturating_sub(count)..;
        let bytes = self.messages[taken.clone()].iter().map(|message| message.payload.len());
        self.bytes -= bytes.sum::<usize>();
        self.messages.drain(taken)
    }

    /// What `make` makes, in spare memory where there is some. `make` gets a payload to be written
    /// over.
    pub(super) fn message(&mut self, make: impl FnOnce(Bytes) -> Message) -> Arc<Message> {
        let Some(mut spare) = self.messages.pop() else {
            return Arc::new(make(Bytes::new()));
        };
        let message = Arc::get_mut(&mut spare).expect("nobody else has it");
        let payload = std::mem::take(&mut message.payload);
        self.bytes -= payload.len();
        *message = make(payload);
        spare
    }
}

/// A copy of `payload`, in the memory of `spare` where it fits.
pub(super) fn copy_into(spare: Bytes, payload: &[u8]) -> Bytes {
    if spare.is_unique() {
        let mut bytes = Vec::from(spare);
        if bytes.capacity() >= payload.len() {
            bytes.clear();
            bytes.extend_from_slice(payload);
            return bytes.into();
        }
    }
    Bytes::copy_from_slice(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::QoS;
    use crate::time::Timestamp;

    fn message(payload: &[u8], spare: Bytes) -> Message {
        Message {
            topic: "a".into(),
            properties: Default::default(),
            payload: copy_into(spare, payload),
            qos: QoS::AtLeastOnce,
            retain: false,
            received: Timestamp(0),
            expiry: None,
            past: None,
        }
    }

    #[test]
    fn memory_is_used_again_when_nobody_has_the_message() {
        let mut spare = Spare::default();
        let first = spare.message(|bytes| message(b"first", bytes));
        let other = first.clone();
        let (place, payload) = (Arc::as_ptr(&first), first.payload.as_ptr());
        spare.keep(first);
        let second = spare.message(|bytes| message(b"second", bytes));
        assert_eq!((&other.payload[..], &second.payload[..]), (&b"first"[..], &b"second"[..]));
        spare.keep(other);
        let third = spare.message(|bytes| message(b"third", bytes));
        assert_eq!((Arc::as_ptr(&third), third.payload.as_ptr()), (place, payload));
        assert_eq!(*third, message(b"third", Bytes::new()));
        spare.keep(third);
        for payload in [&b"longer than those before"[..], b"", b"short", b"longest of all of them"]
        {
            let next = spare.message(|bytes| message(payload, bytes));
            assert_eq!(Arc::as_ptr(&next), place);
            assert_eq!(*next, message(payload, Bytes::new()));
            spare.keep(next);
        }
    }

    #[test]
    fn what_is_kept_is_little() {
        let mut spare = Spare::default();
        spare.keep(Arc::new(message(&[0; PAYLOAD + 1], Bytes::new())));
        assert!(spare.messages.is_empty());
        for (size, count) in [(PAYLOAD, PAYLOADS / PAYLOAD), (10, ROOM)] {
            for _ in 0..2 * ROOM {
                spare.keep(Arc::new(message(&vec![0; size], Bytes::new())));
            }
            assert_eq!(spare.messages.len(), count);
            assert_eq!(spare.take(10).count(), 10);
            for _ in 10..count {
                spare.message(|bytes| message(b"", bytes));
            }
            assert_eq!(spare.take(10).count(), 0);
            assert_eq!((spare.messages.len(), spare.bytes), (0, 0));
        }
    }
}
