//! What a session with many subscriptions leaves in the router when it ends: that goes in slices,
//! as removing all in one turn would keep everybody else waiting for as long.
//!
//! Invariant: a subscription in the router whose owner is no session, nor a share group, belongs to
//! a session that ended and stands here; nobody is found by it, and it is counted nowhere. An owner
//! never comes back: a client that does has a new session, which has none of these.

use std::collections::btree_map::IntoIter;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::Broker;
use super::timer::Timer;
use crate::router::Subscriptions;
use crate::session::Subscription;
use crate::time::Timestamp;
use crate::turn::{OwnerId, SessionId};

/// Subscriptions that are removed in one go: a session with no more of them leaves nothing here.
const SLICE: usize = 256;
/// Between two slices, so that others have their turn: timers that are due run together.
const PAUSE: Duration = Duration::from_millis(1);

/// The subscriptions that an owner had, by Topic Filter: whoever needs them shares them.
pub(super) type Filters = Arc<BTreeMap<Arc<str>, Subscription>>;

/// All that is leaving.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// Oldest first.
    sessions: VecDeque<Leaver>,
    /// The same, to be looked up.
    owners: BTreeSet<OwnerId>,
    /// How many of their subscriptions the router still has.
    len: usize,
    /// What was removed, and nobody needs: giving back its memory takes time as well.
    spent: VecDeque<IntoIter<Arc<str>, Subscription>>,
}

/// A session that ended.
#[derive(Debug)]
struct Leaver {
    owner: OwnerId,
    filters: Filters,
    /// The last filter that was seen to.
    after: Option<Arc<str>>,
}

impl Leaving {
    /// How many subscriptions in the router count no more.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn is_done(&self) -> bool {
        self.sessions.is_empty() && self.spent.is_empty()
    }

    fn add(&mut self, owner: OwnerId, filters: &Filters) {
        let plain = filters.len() - shared(filters).count();
        self.len += plain;
        self.owners.insert(owner);
        self.sessions.push_back(Leaver { owner, filters: filters.clone(), after: None });
    }

    /// Removes `count` subscriptions, and gives back the memory of as many that were.
    fn go_on(&mut self, count: usize, subscriptions: &mut Subscriptions) {
        let spent = self.spent.front_mut();
        if spent.is_some_and(|spent| spent.take(count).count() < count) {
            self.spent.pop_front();
        }
        let mut left = count;
        while left > 0
            && let Some(first) = self.sessions.front_mut()
        {
            let (seen, removed) = first.go_on(left, subscriptions);
            self.len -= removed;
            if seen < left {
                let first = self.sessions.pop_front().expect("seen above");
                self.owners.remove(&first.owner);
                self.discard(first.filters);
            }
            left -= seen;
        }
    }

    /// Nobody here needs them any more; who else shares them does this, too.
    fn discard(&mut self, filters: Filters) {
        if filters.len() > SLICE {
            self.spent.extend(Arc::into_inner(filters).map(BTreeMap::into_iter));
        }
    }
}

impl Leaver {
    /// Sees to the next `count` filters; says how many there were, and how many were removed.
    fn go_on(&mut self, count: usize, subscriptions: &mut Subscriptions) -> (usize, usize) {
        let (mut seen, mut removed, mut last) = (0, 0, None);
        let after = self.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        for (filter, _) in self.filters.range::<str, _>((after, Bound::Unbounded)).take(count) {
            if !is_shared(filter) {
                removed += usize::from(subscriptions.remove(filter, self.owner));
            }
            (seen, last) = (seen + 1, Some(filter));
        }
        if let Some(last) = last {
            self.after = Some(last.clone());
        }
        (seen, removed)
    }
}

impl Broker {
    /// Finds who gets what `publisher` sends to `topic`: the targets of the broker's route. There
    /// is no other way to them.
    pub(super) fn find_route(&mut self, topic: &str, publisher: Option<SessionId>) {
        self.route.find(&self.subscriptions, topic, publisher);
        if !self.leaving.owners.is_empty() {
            self.route.retain(|owner| !self.leaving.owners.contains(&owner));
        }
    }

    /// A session ended: nobody is found by these any more.
    pub(super) fn remove_subscriptions(
        &mut self,
        id: SessionId,
        filters: &Filters,
        now: Timestamp,
    ) {
        if filters.len() > SLICE {
            self.leaving.add(id, filters);
            return self.timers.set_single(now + PAUSE, Timer::Leaving);
        }
        for filter in filters.keys().filter(|filter| !is_shared(filter)) {
            self.subscriptions.remove(filter, id);
        }
    }

    /// The next slice of what is leaving.
    pub(super) fn leave(&mut self, now: Timestamp) {
        self.leaving.go_on(SLICE, &mut self.subscriptions);
        if !self.leaving.is_done() {
            self.timers.set_single(now + PAUSE, Timer::Leaving);
        }
    }

    /// A subscription came: one that is leaving makes room for it. So clients that fill sessions
    /// and end them, faster than the slices follow, do not fill the memory.
    pub(super) fn make_room(&mut self) {
        self.leaving.go_on(1, &mut self.subscriptions);
    }

    /// What is buried had these.
    pub(super) fn discard_filters(&mut self, filters: Filters, now: Timestamp) {
        self.leaving.discard(filters);
        if !self.leaving.spent.is_empty() {
            self.timers.set_single(now + PAUSE, Timer::Leaving);
        }
    }
}

/// The filters of share groups.
pub(super) fn shared(
    filters: &BTreeMap<Arc<str>, Subscription>,
) -> impl Iterator<Item = &Arc<str>> {
    let from = (Bound::Included("$share/"), Bound::Unbounded);
    filters.range::<str, _>(from).map(|(filter, _)| filter).take_while(|filter| is_shared(filter))
}

fn is_shared(filter: &str) -> bool {
    filter.starts_with("$share/")
}

#[cfg(test)]
mod tests;
