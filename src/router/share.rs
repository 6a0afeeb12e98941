//! The members of a share group, and whose turn it is.
//!
//! Promise: round robin over the members that can take a message, and one that can't keeps no turn;
//! or by topic, and then always the same one.

use std::hash::BuildHasher;

use foldhash::quality::FixedState;

use crate::mqtt::packet::SubscriptionOptions;
use crate::turn::SessionId;

/// Without a seed of its own: a topic has the same member after a restart.
const HASH: FixedState = FixedState::with_seed(0);

/// A session's membership in a share group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub session: SessionId,
    /// How it subscribed.
    pub options: SubscriptionOptions,
    /// Subscription Identifier.
    pub subscription_id: Option<u32>,
}

/// The members of one share name and filter, in the order in which they joined.
#[derive(Debug, Default)]
pub struct ShareGroup {
    members: Vec<Member>,
    /// Index of the member whose turn it is; at most the number of members.
    next: usize,
}

impl ShareGroup {
    /// Adds a member at the end; one that is there keeps its place and gets the new options, and
    /// the answer is true.
    pub fn join(&mut self, member: Member) -> bool {
        match self.place_of(member.session) {
            Some(place) => {
                self.members[place] = member;
                true
            }
            None => {
                self.members.push(member);
                false
            }
        }
    }

    /// Takes a member out; false when it was none.
    pub fn leave(&mut self, session: SessionId) -> bool {
        let Some(place) = self.place_of(session) else {
            return false;
        };
        self.members.remove(place);
        if place < self.next {
            self.next -= 1;
        }
        true
    }

    /// Whether nobody is left.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// All, in the order in which they joined.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The membership of `session`.
    pub fn member(&self, session: SessionId) -> Option<Member> {
        Some(self.members[self.place_of(session)?])
    }

    /// The next member that can take a message, and the turn goes on to the one behind it. `None`:
    /// nobody can, and the turn stays.
    pub fn pick(&mut self, mut can_take: impl FnMut(SessionId) -> bool) -> Option<Member> {
        let (before, from) = self.members.split_at(self.next);
        let mut places = (self.next..).take(from.len()).chain(0..before.len());
        let place = places.find(|&place| can_take(self.members[place].session))?;
        self.next = place + 1;
        Some(self.members[place])
    }

    /// The member that all messages of a topic go to, of those that fit: when one comes or goes,
    /// only topics that it gets, or had, move (rendezvous hashing).
    pub fn pick_by_topic(
        &self,
        topic: &str,
        mut fits: impl FnMut(SessionId) -> bool,
    ) -> Option<Member> {
        let fitting = self.members.iter().filter(|member| fits(member.session));
        fitting.max_by_key(|member| HASH.hash_one((topic, member.session.0))).copied()
    }

    fn place_of(&self, session: SessionId) -> Option<usize> {
        self.members.iter().position(|m| m.session == session)
    }
}

#[cfg(test)]
mod tests;
