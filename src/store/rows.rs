//! A queue as the index knows it: a row for each copy, in the order of the messages.
//!
//! Copies come at the end and go at the front, or near it, so rows stand side by side in blocks:
//! a queue in order costs a few steps a copy, however long it is, and one that is not costs no
//! more than a block.
//!
//! Invariant: no block is longer than [`BLOCK`], and none is empty but a single one, which keeps
//! its memory for the rows to come; ids ascend in each and from one to the next.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use crate::turn::MessageId;

/// Rows of a block at most.
const BLOCK: usize = 128;

type Block<T> = VecDeque<(MessageId, T)>;

/// See the module.
#[derive(Debug)]
pub(super) struct Rows<T> {
    blocks: VecDeque<Block<T>>,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self { blocks: VecDeque::new() }
    }
}

impl<T> Rows<T> {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.front().is_none_or(VecDeque::is_empty)
    }

    /// The row of a message.
    pub(super) fn get(&self, id: MessageId) -> Option<&T> {
        let block = self.blocks.get(self.block_of(id))?;
        Some(&block[position(block, id).ok()?].1)
    }

    /// The row of a message, to be changed.
    pub(super) fn get_mut(&mut self, id: MessageId) -> Option<&mut T> {
        let at = self.block_of(id);
        let block = self.blocks.get_mut(at)?;
        let at = position(block, id).ok()?;
        Some(&mut block[at].1)
    }

    /// Sets the row of a message; gives the one before.
    pub(super) fn insert(&mut self, id: MessageId, row: T) -> Option<T> {
        let at = self.block_of(id);
        let Some(block) = self.blocks.get_mut(at) else {
            self.push(id, row);
            return None;
        };
        match position(block, id) {
            Ok(at) => return Some(std::mem::replace(&mut block[at].1, row)),
            Err(at) => block.insert(at, (id, row)),
        }
        if block.len() > BLOCK {
            let rest = block.split_off(BLOCK / 2);
            self.blocks.insert(at + 1, rest);
        }
        None
    }

    /// Adds the newest row.
    fn push(&mut self, id: MessageId, row: T) {
        match self.blocks.back_mut().filter(|block| block.len() < BLOCK) {
            Some(block) => block.push_back((id, row)),
            None => self.blocks.push_back([(id, row)].into()),
        }
    }

    /// Takes the row of a message.
    pub(super) fn remove(&mut self, id: MessageId) -> Option<T> {
        let at = self.block_of(id);
        let block = self.blocks.get_mut(at)?;
        let (_, row) = block.remove(position(block, id).ok()?)?;
        if block.is_empty() && self.blocks.len() > 1 {
            self.blocks.remove(at);
        }
        Some(row)
    }

    /// All rows, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (MessageId, &T)> {
        self.blocks.iter().flatten().map(|(id, row)| (*id, row))
    }

    /// All rows, in order, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (MessageId, &mut T)> {
        self.blocks.iter_mut().flatten().map(|(id, row)| (*id, row))
    }

    /// The rows of a range, in order.
    pub(super) fn range(
        &self,
        range: RangeInclusive<MessageId>,
    ) -> impl Iterator<Item = (MessageId, &T)> {
        let (first, last) = range.into_inner();
        let blocks = self.blocks.range(self.block_of(first)..);
        let rows = blocks.flat_map(move |block| {
            let start = position(block, first).unwrap_or_else(|start| start);
            block.range(start..)
        });
        rows.map(|(id, row)| (*id, row)).take_while(move |(id, _)| *id <= last)
    }

    /// The first block that ends at `id` or behind it; the end where none does.
    fn block_of(&self, id: MessageId) -> usize {
        let ends_before = |block: &Block<T>| block.back().is_some_and(|(last, _)| *last < id);
        match (self.blocks.front(), self.blocks.back()) {
            (Some(front), _) if !ends_before(front) => 0,
            (_, Some(back)) if ends_before(back) => self.blocks.len(),
            _ => self.blocks.partition_point(ends_before),
        }
    }
}

/// Where the row of a message is in a block, or belongs. The first is looked at first.
fn position<T>(block: &Block<T>, id: MessageId) -> Result<usize, usize> {
    match block.front() {
        Some((first, _)) if *first >= id => {
            if *first == id {
                Ok(0)
            } else {
                Err(0)
            }
        }
        _ => block.binary_search_by_key(&id, |(other, _)| *other),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    impl<T> Rows<T> {
        fn check(&self) {
            let least = usize::from(self.blocks.len() > 1);
            assert!(self.blocks.iter().all(|block| (least..=BLOCK).contains(&block.len())));
            assert!(self.iter().map(|(id, _)| id).is_sorted_by(|one, other| one < other));
        }
    }

    /// Numbers without a visible order, always the same.
    fn numbers(below: u64) -> impl Iterator<Item = u64> {
        let mut state = 7_u64;
        std::iter::from_fn(move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            Some((state >> 33) % below)
        })
    }

    #[test]
    fn rows_in_any_order_are_those_of_a_map() {
        let (mut rows, mut map) = (Rows::default(), BTreeMap::new());
        let mut numbers = numbers(1000);
        for step in 0..20_000 {
            let id = MessageId(numbers.next().unwrap());
            // It grows first, then shrinks.
            if numbers.next().unwrap() < if step < 10_000 { 600 } else { 300 } {
                assert_eq!(rows.insert(id, step), map.insert(id, step));
            } else {
                assert_eq!(rows.remove(id), map.remove(&id));
            }
            let id = MessageId(numbers.next().unwrap());
            assert_eq!(rows.get(id), map.get(&id));
            assert_eq!(rows.get_mut(id), map.get_mut(&id));
            if step % 100 == 0 {
                rows.check();
                let range = id..=MessageId(id.0 + 200);
                let expected = map.range(range.clone()).map(|(id, row)| (*id, row));
                assert!(rows.range(range).eq(expected));
                assert!(rows.iter().eq(map.iter().map(|(id, row)| (*id, row))));
                assert_eq!(rows.is_empty(), map.is_empty());
            }
        }
    }

    #[test]
    fn a_queue_in_order_fills_its_blocks() {
        let mut rows = Rows::default();
        (0..1000).for_each(|id| assert_eq!(rows.insert(MessageId(id), id), None));
        assert_eq!(rows.blocks.len(), 1000_usize.div_ceil(BLOCK));
        (0..1000).for_each(|id| assert_eq!(rows.remove(MessageId(id)), Some(id)));
        assert!(rows.is_empty());
    }

    #[test]
    fn the_last_block_keeps_its_memory() {
        let mut rows = Rows::default();
        (0..300).for_each(|id| assert_eq!(rows.insert(MessageId(id), id), None));
        (0..300).for_each(|id| assert_eq!(rows.remove(MessageId(id)), Some(id)));
        assert!(rows.is_empty());
        let room = rows.blocks[0].capacity();
        (300..310).for_each(|id| assert_eq!(rows.insert(MessageId(id), id), None));
        assert_eq!((rows.blocks.len(), rows.blocks[0].capacity()), (1, room));
    }

    #[test]
    fn old_rows_come_back_in_front_of_many() {
        let mut rows = Rows::default();
        for id in (1000..2000).chain(0..1000) {
            rows.insert(MessageId(id), id);
        }
        rows.check();
        assert!(rows.iter().map(|(id, _)| id.0).eq(0..2000));
    }
}
