//! Bodies of the log that the entry of a copy does not say itself. Nearly all have one copy, right
//! behind them: then the [entry](super::entry::Entry) of that copy owns the body, and nothing is
//! looked up here. What is here are bodies with several copies, those that lie elsewhere, and
//! until the end of a batch those that came in it, as more copies may follow.
//!
//! Invariant: a body that is needed is owned by an entry, or it is here, and then `copies` counts
//! the entries that do not own theirs.

use std::collections::hash_map::{self, HashMap};

use foldhash::fast::RandomState;

use crate::turn::{MessageId, OwnerId};

use super::index::Place;

/// Room for so many bodies of a batch is kept for the next one.
const KEPT: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    known: HashMap<MessageId, Body, RandomState>,
    /// Those of this batch, ascending.
    fresh: Vec<(MessageId, Fresh)>,
    newest: MessageId,
    /// Known ones that had no copy at some time since the last [`settle`](Self::settle).
    unsettled: Vec<MessageId>,
    /// Those whose owners went since then.
    loose: Vec<(MessageId, Place)>,
}

#[derive(Debug)]
struct Body {
    place: Place,
    copies: u32,
}

/// A body of this batch.
#[derive(Debug)]
struct Fresh {
    place: Place,
    /// An owner counts here, too.
    copies: u32,
    /// Whose entry owns it.
    owner: Option<OwnerId>,
}

/// What an entry has to know of its body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is its owner; the body has this length.
    Own(u32),
    /// It is here. This one's entry does not own it any more.
    Shared(Option<OwnerId>),
    /// It may be owned by the entry of another copy.
    Unknown,
}

impl Bodies {
    /// Where a body lies that is here.
    pub(super) fn place(&self, id: MessageId) -> Option<Place> {
        let fresh = self.position(id).map(|at| self.fresh[at].1.place);
        fresh.or_else(|| Some(self.known.get(&id)?.place))
    }

    /// Adds one, or says where it lies now. Gives where it lay.
    pub(super) fn add(&mut self, id: MessageId, place: Place) -> Option<Place> {
        if id > self.newest {
            self.newest = id;
            self.fresh.push((id, Fresh { place, copies: 0, owner: None }));
            return None;
        }
        self.note(id, place)
    }

    /// The same while the whole log is read.
    pub(super) fn note(&mut self, id: MessageId, place: Place) -> Option<Place> {
        self.newest = self.newest.max(id);
        match self.known.entry(id) {
            hash_map::Entry::Occupied(mut body) => {
                Some(std::mem::replace(&mut body.get_mut().place, place))
            }
            hash_map::Entry::Vacant(slot) => {
                slot.insert(Body { place, copies: 0 });
                self.unsettled.push(id);
                None
            }
        }
    }

    /// A copy came; its record is at `place`.
    pub(super) fn refer(&mut self, id: MessageId, owner: OwnerId, place: Place) -> Found {
        if let Some(at) = self.position(id) {
            let fresh = &mut self.fresh[at].1;
            fresh.copies += 1;
            if fresh.copies == 1 && fresh.place.is_right_before(place) {
                fresh.owner = Some(owner);
                return Found::Own(fresh.place.len);
            }
            return Found::Shared(fresh.owner.take());
        }
        if let Some(body) = self.known.get_mut(&id) {
            body.copies += 1;
            return Found::Shared(None);
        }
        let loose = self.loose.iter().position(|(other, _)| *other == id);
        let Some((_, place)) = loose.map(|at| self.loose.swap_remove(at)) else {
            return Found::Unknown;
        };
        self.share(id, place, 1);
        Found::Shared(None)
    }

    /// A body without an owner.
    pub(super) fn share(&mut self, id: MessageId, place: Place, copies: u32) {
        self.known.insert(id, Body { place, copies });
    }

    /// A copy went that owned its body.
    pub(super) fn release_own(&mut self, id: MessageId, place: Place) {
        match self.position(id).map(|at| &mut self.fresh[at].1) {
            Some(fresh) if fresh.place == place => {
                fresh.copies -= 1;
                fresh.owner = None;
            }
            _ => self.loose.push((id, place)),
        }
    }

    /// A copy went that did not.
    pub(super) fn release(&mut self, id: MessageId) {
        if let Some(at) = self.position(id) {
            self.fresh[at].1.copies -= 1;
        } else if let Some(body) = self.known.get_mut(&id) {
            body.copies -= 1;
            if body.copies == 0 {
                // A later record of the turn may give it to another owner.
                self.unsettled.push(id);
            }
        }
    }

    /// Ends a batch: `gone` is called with bodies that no copy refers to; they are not kept.
    pub(super) fn settle(&mut self, mut gone: impl FnMut(Place)) {
        for (id, body) in self.fresh.drain(..) {
            match (body.copies, body.owner) {
                (0, _) => gone(body.place),
                (_, Some(_)) => {}
                (copies, None) => {
                    self.known.insert(id, Body { place: body.place, copies });
                }
            }
        }
        self.fresh.shrink_to(KEPT);
        self.loose.drain(..).for_each(|(_, place)| gone(place));
        self.loose.shrink_to(KEPT);
        for id in std::mem::take(&mut self.unsettled) {
            if let hash_map::Entry::Occupied(body) = self.known.entry(id)
                && body.get().copies == 0
            {
                gone(body.remove().place);
            }
        }
    }

    /// Counts a copy that was read with the whole log.
    pub(super) fn count(&mut self, id: MessageId) {
        if let Some(body) = self.known.get_mut(&id) {
            body.copies += 1;
        }
    }

    /// After all were counted: gives a body to the entry of its only copy, at `place`, if it lies
    /// right behind it. The length of the body, or 0.
    pub(super) fn hand_over(&mut self, id: MessageId, place: Place) -> u32 {
        let hash_map::Entry::Occupied(body) = self.known.entry(id) else {
            return 0;
        };
        match body.get().copies == 1 && body.get().place.is_right_before(place) {
            true => body.remove().place.len,
            false => 0,
        }
    }

    /// After that.
    pub(super) fn shrink(&mut self) {
        self.known.shrink_to_fit();
    }

    fn position(&self, id: MessageId) -> Option<usize> {
        match self.fresh.last() {
            Some((last, _)) if *last == id => Some(self.fresh.len() - 1),
            Some((last, _)) if *last > id => {
                self.fresh.binary_search_by_key(&id, |(other, _)| *other).ok()
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
