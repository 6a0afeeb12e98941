//! The members of a share group, and whose turn it is.
//!
//! Promise: round robin over the members that can take a message, and one that can't keeps no turn;
//! or by topic, and then always the same one.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::{fast, quality};

use crate::mqtt::packet::SubscriptionOptions;
use crate::turn::SessionId;

/// Without a seed of its own: a topic has the same member after a restart.
const HASH: quality::FixedState = quality::FixedState::with_seed(0);
/// Up to so many places, gaps are not worth closing.
const FEW: usize = 8;

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
    /// Each behind those that joined before. Who leaves leaves a gap: more than half are none.
    places: Vec<Option<Member>>,
    /// Where a session's membership is. It is never iterated, and the broker chose its keys.
    place_of: HashMap<SessionId, usize, fast::FixedState>,
    /// The turn is of the first member from this place on, or else of the first of all.
    next: usize,
}

impl ShareGroup {
    /// Adds a member at the end; one that is there keeps its place and gets the new options, and
    /// the answer is true.
    pub fn join(&mut self, member: Member) -> bool {
        if let Some(&place) = self.place_of.get(&member.session) {
            self.places[place] = Some(member);
            return true;
        }
        self.place_of.insert(member.session, self.places.len());
        self.places.push(Some(member));
        false
    }

    /// Takes a member out; false when it was none.
    pub fn leave(&mut self, session: SessionId) -> bool {
        let Some(place) = self.place_of.remove(&session) else {
            return false;
        };
        self.places[place] = None;
        if self.places.len() > FEW && self.place_of.len() * 2 < self.places.len() {
            self.close_gaps();
        }
        true
    }

    /// Whether nobody is left.
    pub fn is_empty(&self) -> bool {
        self.place_of.is_empty()
    }

    /// All, in the order in which they joined.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.places.iter().flatten()
    }

    /// The membership of `session`.
    pub fn member(&self, session: SessionId) -> Option<Member> {
        self.places[*self.place_of.get(&session)?]
    }

    /// The next member that can take a message, and the turn goes on to the one behind it. `None`:
    /// nobody can, and the turn stays.
    pub fn pick(&mut self, mut can_take: impl FnMut(SessionId) -> bool) -> Option<Member> {
        let mut places = (self.next..self.places.len()).chain(0..self.next);
        let is_picked =
            |&place: &usize| self.places[place].is_some_and(|member| can_take(member.session));
        let place = places.find(is_picked)?;
        self.next = place + 1;
        self.places[place]
    }

    /// The member that all messages of a topic go to, of those that fit: when one comes or goes,
    /// only topics that it gets, or had, move (rendezvous hashing).
    pub fn pick_by_topic(
        &self,
        topic: &str,
        mut fits: impl FnMut(SessionId) -> bool,
    ) -> Option<Member> {
        let fitting = self.members().filter(|member| fits(member.session));
        fitting.max_by_key(|member| HASH.hash_one((topic, member.session.0))).copied()
    }

    /// Moves all together: as many have left since the last time as are moved.
    fn close_gaps(&mut self) {
        let gaps_before = self.places[..self.next].iter().filter(|place| place.is_none()).count();
        self.next -= gaps_before;
        self.places.retain(Option::is_some);
        self.places.shrink_to_fit();
        self.place_of.shrink_to_fit();
        for (place, member) in self.places.iter().flatten().enumerate() {
            self.place_of.insert(member.session, place);
        }
    }
}

#[cfg(test)]
mod tests;
