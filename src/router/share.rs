//! The members of a share group, and whose turn it is.
//!
//! Promise: round robin over the members that can take a message, and one that can't keeps no turn;
//! or by topic, and then always the same one.
//!
//! Invariant: every member that is able to take a message is marked so. Whether one is able, only
//! its session knows: the mark goes when a look shows that it is not, and whoever makes it able
//! then says so ([`may_do`](ShareGroup::may_do)). So each look in vain was paid for by what set the
//! mark, and where nobody is able, nobody is looked at, however many there are.

mod marks;

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::{fast, quality};

use crate::mqtt::packet::SubscriptionOptions;
use crate::turn::SessionId;
use marks::{Mark, Marks};

/// Without a seed of its own: a topic has the same member after a restart.
const HASH: quality::FixedState = quality::FixedState::with_seed(0);
/// Up to so many places, neither is an index worth its memory, nor closing gaps its time.
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

/// What a member is able to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// It is connected.
    Present = 1,
    /// Its connection takes more, too: enough for a message at QoS 0.
    Open = 2,
    /// So does its window.
    Free = 4,
}

impl Ability {
    const ALL: Mark = Self::Present.mark() | Self::Open.mark() | Self::Free.mark();

    const fn mark(self) -> Mark {
        self as Mark
    }
}

/// What a look at a member shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It is not able. Who looks sees to it that this is said when it may have changed.
    Unable,
    /// It is, but not meant.
    PassedOver,
    /// It is the one.
    Takes,
}

/// The members of one share name and filter, in the order in which they joined.
#[derive(Debug, Default)]
pub struct ShareGroup {
    /// Each behind those that joined before. Who leaves leaves a gap; of many, half at most are.
    places: Vec<Option<Member>>,
    /// How many members there are.
    count: usize,
    /// Where a session's membership is; empty while there are few places. It is never iterated, and
    /// the broker chose its keys.
    place_of: HashMap<SessionId, usize, fast::FixedState>,
    /// The turn is of the first member from this place on, or else of the first of all.
    next: usize,
    /// Who may be able to do what: all that are, and others.
    marks: Marks,
}

impl ShareGroup {
    /// Adds a member at the end; one that is there keeps its place and gets the new options, and
    /// the answer is true.
    pub fn join(&mut self, member: Member) -> bool {
        if let Some(place) = self.place(member.session) {
            self.places[place] = Some(member);
            return true;
        }
        let place = self.places.len();
        self.places.push(Some(member));
        self.count += 1;
        self.marks.set(place, Ability::ALL);
        if self.place_of.is_empty() {
            self.index();
        } else {
            self.place_of.insert(member.session, place);
        }
        false
    }

    /// Takes a member out; false when it was none.
    pub fn leave(&mut self, session: SessionId) -> bool {
        let Some(place) = self.place(session) else {
            return false;
        };
        self.places[place] = None;
        self.count -= 1;
        self.marks.clear(place, Ability::ALL);
        self.place_of.remove(&session);
        if self.places.len() > FEW && self.count * 2 < self.places.len() {
            self.close_gaps();
        }
        true
    }

    /// Whether nobody is left.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All, in the order in which they joined.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.places.iter().flatten()
    }

    /// The membership of `session`.
    pub fn member(&self, session: SessionId) -> Option<Member> {
        self.places[self.place(session)?]
    }

    /// A member may have become able to do anything.
    pub fn may_do(&mut self, session: SessionId) {
        if let Some(place) = self.place(session) {
            self.marks.set(place, Ability::ALL);
        }
    }

    /// Whether a member takes it.
    pub fn any(&mut self, ability: Ability, look: impl FnMut(SessionId) -> Look) -> bool {
        self.find(ability, look).is_some()
    }

    /// The next member that takes it, and the turn goes on to the one behind it. `None`: there is
    /// none, and the turn stays. Who is able and passed over stays marked: where messages are for
    /// few of many, each looks at many.
    pub fn pick(
        &mut self,
        ability: Ability,
        look: impl FnMut(SessionId) -> Look,
    ) -> Option<Member> {
        let place = self.find(ability, look)?;
        self.next = place + 1;
        self.places[place]
    }

    /// Whether every member that is able is marked, by a look at all of them: it must be so.
    pub fn knows(&self, ability: Ability, is_able: impl Fn(SessionId) -> bool) -> bool {
        let is_known = |place: usize, member: &Member| {
            self.marks.of(place) & ability.mark() != 0 || !is_able(member.session)
        };
        let mut places = self.places.iter().enumerate();
        places.all(|(place, member)| member.as_ref().is_none_or(|member| is_known(place, member)))
    }

    /// The member that all messages of a topic go to, of those that fit: when one comes or goes,
    /// only topics that it gets, or had, move (rendezvous hashing). This is what a look at every
    /// member for each message buys.
    pub fn pick_by_topic(
        &self,
        topic: &str,
        mut fits: impl FnMut(SessionId) -> bool,
    ) -> Option<Member> {
        let fitting = self.members().filter(|member| fits(member.session));
        fitting.max_by_key(|member| HASH.hash_one((topic, member.session.0))).copied()
    }

    /// The first that takes it, from the one on whose turn it is.
    fn find(&mut self, ability: Ability, mut look: impl FnMut(SessionId) -> Look) -> Option<usize> {
        for (mut from, end) in [(self.next, self.places.len()), (0, self.next)] {
            while let Some(place) = self.marks.next(from, ability.mark())
                && place < end
            {
                from = place + 1;
                match look(self.places[place].expect("a gap has no mark").session) {
                    Look::Unable => self.marks.clear(place, ability.mark()),
                    Look::PassedOver => {}
                    Look::Takes => return Some(place),
                }
            }
        }
        None
    }

    /// Moves all together: as many have left since the last time as are moved.
    fn close_gaps(&mut self) {
        let mut marks = Marks::default();
        let used = self.places.iter().enumerate().filter(|(_, member)| member.is_some());
        for (after, (before, _)) in used.enumerate() {
            marks.set(after, self.marks.of(before));
        }
        self.marks = marks;
        let gaps_before = self.places[..self.next].iter().filter(|place| place.is_none()).count();
        self.next -= gaps_before;
        self.places.retain(Option::is_some);
        self.places.shrink_to_fit();
        self.index();
    }

    fn place(&self, session: SessionId) -> Option<usize> {
        if self.place_of.is_empty() {
            let is_it = |place: &Option<Member>| place.is_some_and(|m| m.session == session);
            return self.places.iter().position(is_it);
        }
        self.place_of.get(&session).copied()
    }

    /// Notes all places anew, where they are more than a few.
    fn index(&mut self) {
        self.place_of = HashMap::default();
        if self.places.len() > FEW {
            let used = self.places.iter().enumerate();
            let noted = used.filter_map(|(place, member)| Some((member.as_ref()?.session, place)));
            self.place_of.extend(noted);
        }
    }
}

#[cfg(test)]
mod tests;
