//! Marks on places in a row.
//!
//! Promise: the next place with a mark is found in steps that are logarithmic in the number of
//! places. Invariant: a node of the tree has the marks that one below it has, and no others.

/// A kind of mark: one bit.
pub(super) type Mark = u8;

/// Which places have which marks; a place that was never marked has none.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// A binary tree: the children of `n` are `2n` and `2n + 1`, the root is 1, and the second half
    /// are the leaves, one for each place.
    tree: Vec<Mark>,
}

impl Marks {
    /// Puts marks on a place.
    pub(super) fn set(&mut self, place: usize, marks: Mark) {
        self.make_room(place);
        let mut at = self.room() + place;
        while at > 0 && self.tree[at] & marks != marks {
            self.tree[at] |= marks;
            at /= 2;
        }
    }

    /// Takes marks off a place.
    pub(super) fn clear(&mut self, place: usize, marks: Mark) {
        if place >= self.room() {
            return;
        }
        let mut at = self.room() + place;
        self.tree[at] &= !marks;
        while at > 1 {
            at /= 2;
            let below = self.tree[2 * at] | self.tree[2 * at + 1];
            if self.tree[at] == below {
                break;
            }
            self.tree[at] = below;
        }
    }

    /// The marks of a place.
    pub(super) fn of(&self, place: usize) -> Mark {
        if place < self.room() { self.tree[self.room() + place] } else { 0 }
    }

    /// The first place from `from` on with a mark.
    pub(super) fn next(&self, from: usize, mark: Mark) -> Option<usize> {
        let room = self.room();
        if from >= room {
            return None;
        }
        let mut at = room + from;
        while self.tree[at] & mark == 0 {
            // Nothing below: on to what is to the right of it, which after a right child is to the
            // right of its parent.
            while at % 2 == 1 {
                at /= 2;
            }
            if at == 0 {
                return None;
            }
            at += 1;
        }
        while at < room {
            at *= 2;
            at += usize::from(self.tree[at] & mark == 0);
        }
        Some(at - room)
    }

    /// Places that have a leaf: a power of two.
    fn room(&self) -> usize {
        self.tree.len() / 2
    }

    fn make_room(&mut self, place: usize) {
        let before = self.room();
        if place < before {
            return;
        }
        let room = (place + 1).next_power_of_two();
        let leaves = self.tree.split_off(before);
        self.tree = vec![0; room];
        self.tree.extend(leaves);
        self.tree.resize(2 * room, 0);
        for at in (1..room).rev() {
            self.tree[at] = self.tree[2 * at] | self.tree[2 * at + 1];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_place_is_that_of_a_search() {
        let mut random = fastrand::Rng::with_seed(1);
        for round in 0..100 {
            let most = random.usize(1..70);
            let (mut marks, mut plain) = (Marks::default(), vec![0; most]);
            for _ in 0..200 {
                let (place, bits) = (random.usize(0..most), random.u8(0..8));
                if random.bool() {
                    marks.set(place, bits);
                    plain[place] |= bits;
                } else {
                    marks.clear(place, bits);
                    plain[place] &= !bits;
                }
                assert_eq!(marks.of(place), plain[place], "{round}");
                let from = random.usize(0..80);
                for mark in [1, 2, 4] {
                    let expected = (from..most).find(|place| plain[*place] & mark != 0);
                    assert_eq!(marks.next(from, mark), expected, "{round}");
                }
            }
        }
    }

    #[test]
    fn a_few_places_take_a_few_bytes() {
        let mut marks = Marks::default();
        assert_eq!(marks.tree.capacity(), 0);
        marks.set(0, 1);
        assert!(marks.tree.capacity() <= 8);
        marks.set(4, 1);
        assert_eq!(marks.tree.len(), 16);
    }
}
