//! Where the bytes of messages that a load brings stay: small ones side by side, so that each
//! costs no allocation of its own, and a topic once for the messages in a row that have it.
//!
//! Invariant: a message that stays keeps no more than [`BOARD`] bytes of others.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::encoding::Broken;

/// Bytes that lie side by side; they go when all of them are let go.
const BOARD: usize = 8 * 1024;
/// From here on they lie alone.
const LARGE: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    board: BytesMut,
    topic: Option<Arc<str>>,
    /// What is still to come, roughly: no board is larger.
    expected: usize,
}

impl Shelf {
    /// For messages of so many bytes together.
    pub(super) fn new(expected: usize) -> Self {
        Self { expected, ..Self::default() }
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

    #[test]
    fn small_ones_lie_side_by_side_and_large_ones_alone() {
        let mut shelf = Shelf::new(3 * BOARD);
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
        let mut shelf = Shelf::new(10);
        assert!(!shelf.bytes(b"abc").is_unique());
        assert!(shelf.board.capacity() < 100, "{}", shelf.board.capacity());
        assert_eq!(*shelf.bytes(&[1; 200]), [1; 200], "it was more than expected");
    }

    #[test]
    fn a_topic_is_kept_once_in_a_row() {
        let mut shelf = Shelf::new(0);
        let topics = ["a/b", "a/b", "c", "a/b"];
        let topics = topics.map(|topic| shelf.topic(topic.as_bytes()).unwrap());
        assert!(Arc::ptr_eq(&topics[0], &topics[1]));
        assert_eq!((&*topics[2], &*topics[3]), ("c", "a/b"));
        assert_eq!(shelf.topic(&[0xFF]), Err(Broken));
    }
}
