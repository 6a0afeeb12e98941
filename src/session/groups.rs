//! The share groups that a session is a member of, and those of them that wait for it.
//!
//! Promise: when it can take something again, only groups that looked at it in vain are asked, and
//! these in turn: however many it is a member of, an acknowledgement costs the same.
//!
//! Invariant: a group in which the session is not marked as able to take a message stands among the
//! waiting ones (`router/share` has the marks); who waits is a group of `all`.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::turn::OwnerId;

/// All of one session.
#[derive(Debug)]
pub struct Groups {
    all: BTreeSet<OwnerId>,
    waiting: BTreeSet<OwnerId>,
    /// The last that had its turn.
    last: OwnerId,
}

impl Groups {
    /// None.
    pub const fn new() -> Self {
        Self { all: BTreeSet::new(), waiting: BTreeSet::new(), last: OwnerId(0) }
    }

    /// It is a member of this one.
    pub fn join(&mut self, group: OwnerId) {
        self.all.insert(group);
    }

    /// It is no member of this one any more.
    pub fn leave(&mut self, group: OwnerId) {
        self.all.remove(&group);
        self.waiting.remove(&group);
    }

    /// Whether it is a member of this one.
    pub fn contains(&self, group: OwnerId) -> bool {
        self.all.contains(&group)
    }

    /// Whether it is a member of none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All, ascending.
    pub fn iter(&self) -> impl Iterator<Item = OwnerId> {
        self.all.iter().copied()
    }

    /// A group that it is a member of looked at it in vain.
    pub fn wait(&mut self, group: OwnerId) {
        self.waiting.insert(group);
    }

    /// Those that wait, ascending.
    pub fn waiting(&self) -> impl Iterator<Item = OwnerId> {
        self.waiting.iter().copied()
    }

    /// Whether any waits.
    pub fn any_waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes the one whose turn it is of those that wait.
    pub fn next_turn(&mut self) -> Option<OwnerId> {
        let behind = (Bound::Excluded(self.last), Bound::Unbounded);
        let next = self.waiting.range(behind).next().or_else(|| self.waiting.first());
        self.last = *next?;
        self.waiting.take(&self.last)
    }
}

impl Default for Groups {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_wait_take_turns() {
        let mut groups = Groups::new();
        (1..=4).for_each(|group| groups.join(OwnerId(group)));
        assert_eq!(groups.next_turn(), None);
        (1..=3).rev().for_each(|group| groups.wait(OwnerId(group)));
        for expected in [1, 2, 3, 1, 2] {
            assert_eq!(groups.next_turn(), Some(OwnerId(expected)));
            groups.wait(OwnerId(expected));
        }
        groups.leave(OwnerId(3));
        let rest = [groups.next_turn(), groups.next_turn(), groups.next_turn()];
        assert_eq!(rest, [Some(OwnerId(1)), Some(OwnerId(2)), None]);
        assert!(!groups.any_waits() && groups.iter().eq([1, 2, 4].map(OwnerId)));
    }
}
