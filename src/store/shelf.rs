//! Where the messages that a load brings stay: in the memory of others that were let go, their
//! bytes side by side where they are small, so that each costs no allocation of its own, and a
//! topic once for the messages in a row that have it.
//!
//! Invariant: a message that stays keeps no more than [`BOARD`] bytes of others.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::mqtt::Message;

use super::encoding::Broken;

/// Bytes that lie side by side; they go when all of them are let go.
const BOARD: usize = 8 * 1024;
/// From here on they lie alone.
const LARGE: usize = 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Shelf<'a> {
    spare: &'a mut Vec<Arc<Message>>,
    board: BytesMut,
    topic: Option<Arc<str>>,
    /// What is still to come, roughly: no board is larger.
    expected: usize,
}

impl<'a> Shelf<'a> {
    /// For messages of so many bytes together; nobody else has those in `spare`.
    pub(super) fn new(expected: usize, spare: &'a mut Vec<Arc<Message>>) -> Self {
        Self { spare, board: BytesMut::new(), topic: None, expected }
    }

    /// Keeps a message.
    pub(super) fn message(&mut self, message: Message) -> Arc<Message> {
        // Memory that one thread takes and another gives back makes both wait for the allocator.
        if let Some(mut spare) = self.spare.pop()
            && let Some(place) = Arc::get_mut(&mut spare)
        {
            *place = message;
            return spare;
        }
        Arc::new(message)
    }

    /// Keeps bytes.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.is_empty() {
            return Bytes::new();
        }
        let rest = self.expected;
        self.expected = rest.saturating_sub(bytes.len());
        if bytes.len() >= LARGE {
            return Bytes::copy_from_slice(bytes);
        }
        if self.board.capacity() < bytes.len() {
            // A new one, as `reserve` would take back the old one's place with a copy.
            self.board = BytesMut::with_capacity(rest.clamp(bytes.len(), BOARD));
        }
        self.board.extend_from_slice(bytes);
        self.board.split().freeze()
    }

    /// Keeps a Topic Name, if it is text. The last one was.
    pub(super) fn topic(&mut self, topic: &[u8]) -> Result<Arc<str>, Broken> {
        if let Some(last) = self.topic.as_ref().filter(|last| last.as_bytes() == topic) {
            return Ok(Arc::clone(last));
        }
        let topic = str::from_utf8(topic).map_err(|_| Broken)?;
        Ok(Arc::clone(self.topic.insert(topic.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::QoS;
    use crate::time::Timestamp;

    #[test]
    fn small_ones_lie_side_by_side_and_large_ones_alone() {
        let mut spare = Vec::new();
        let mut shelf = Shelf::new(3 * BOARD, &mut spare);
        let small: Vec<Bytes> = (0..100).map(|number| shelf.bytes(&[number; 200])).collect();
        for (number, bytes) in (0..).zip(&small) {
            assert_eq!(**bytes, [number; 200]);
        }
        let boards = small.windows(2).filter(|two| two[0].as_ptr_range().end != two[1].as_ptr());
        assert_eq!(boards.count(), 100 / (BOARD / 200));
        let large = shelf.bytes(&[7; LARGE]);
        assert_eq!(large.len(), LARGE);
        assert!(large.is_unique(), "nothing else is kept by it");
    }

    #[test]
    fn a_board_is_no_larger_than_what_is_to_come() {
        let mut spare = Vec::new();
        let mut shelf = Shelf::new(10, &mut spare);
        assert!(!shelf.bytes(b"abc").is_unique());
        assert!(shelf.board.capacity() < 100, "{}", shelf.board.capacity());
        assert_eq!(*shelf.bytes(&[1; 200]), [1; 200], "it was more than expected");
    }

    #[test]
    fn a_message_is_put_in_the_memory_of_another() {
        let message = |retain| Message {
            topic: "a".into(),
            properties: Default::default(),
            payload: Bytes::new(),
            qos: QoS::AtLeastOnce,
            retain,
            received: Timestamp(0),
            expiry: None,
            past: None,
        };
        let mut spare = vec![Arc::new(message(false))];
        let place = Arc::as_ptr(&spare[0]);
        let mut shelf = Shelf::new(0, &mut spare);
        let kept = shelf.message(message(true));
        assert_eq!((Arc::as_ptr(&kept), &*kept), (place, &message(true)));
        assert_eq!(*shelf.message(message(true)), *kept, "there is no more");
    }

    #[test]
    fn a_topic_is_kept_once_in_a_row() {
        let mut spare = Vec::new();
        let mut shelf = Shelf::new(0, &mut spare);
        let topics = ["a/b", "a/b", "c", "a/b"];
        let topics = topics.map(|topic| shelf.topic(topic.as_bytes()).unwrap());
        assert!(Arc::ptr_eq(&topics[0], &topics[1]));
        assert_eq!((&*topics[2], &*topics[3]), ("c", "a/b"));
        assert_eq!(shelf.topic(&[0xFF]), Err(Broken));
    }
}
