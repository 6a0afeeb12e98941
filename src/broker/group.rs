//! Share groups as owners: one queue, of which each copy goes to one member.
//!
//! A message costs about the same whether ten members take turns or thousands: only those that may
//! be able to take it are looked at. (Each time all are where none may read it, and by topic.)
//!
//! Invariants: a group is stored from the first stored member on, until it ends; when a message
//! comes to a group, every member that can take it is marked there as able to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::acknowledge::watch_acks;
use super::by_topic::ByTopic;
use super::deliver::may_receive;
use super::doomed::Legacy;
use super::leaving::Filters;
use super::sessions::Sessions;
use super::{Broker, Death};
use crate::config::Strategy;
use crate::mqtt::QoS;
use crate::mqtt::packet::{RetainHandling, SubscriptionOptions};
use crate::router::{Ability, Look, Member, ShareGroup};
use crate::session::outbound::{InFlight, Offer, after_queue};
use crate::session::queue::Queue;
use crate::session::{Session, Subscription};
use crate::time::Timestamp;
use crate::turn::{DeadReason, EndCause, OwnerId, Record, SessionId, Turn};

/// Copies of a group that are loaded for its members at a time, at least.
const WINDOW: usize = 100;
/// How a group subscribes: what its members said counts when a copy is sent to one.
const OPTIONS: SubscriptionOptions = SubscriptionOptions {
    qos: QoS::ExactlyOnce,
    no_local: false,
    retain_as_published: true,
    retain_handling: RetainHandling::DoNotSend,
};

/// A share group: share name and filter together.
#[derive(Debug)]
pub(super) struct Group {
    /// `$share/name/filter`.
    pub(super) filter: Arc<str>,
    pub(super) stored: bool,
    pub(super) queue: Queue,
    pub(super) members: ShareGroup,
    pub(super) strategy: Strategy,
    pub(super) by_topic: ByTopic,
    /// Sessions that copies were sent to, and may be in flight to.
    pub(super) sent_to: BTreeSet<SessionId>,
}

impl Group {
    /// Whether a member is connected, beside `but`.
    fn has_present(
        &mut self,
        id: OwnerId,
        sessions: &mut Sessions,
        but: Option<SessionId>,
    ) -> bool {
        self.assert_known(Ability::Present, sessions);
        self.members.any(Ability::Present, |member| {
            look(id, sessions, member, Ability::Present, |member| Some(member.id) != but)
        })
    }

    /// Every member that is able must be marked.
    pub(super) fn assert_known(&self, ability: Ability, sessions: &Sessions) {
        let is_able = |member| is_able(&sessions[&member], ability);
        debug_assert!(self.members.knows(ability, is_able), "one was made able unsaid");
    }
}

/// A group looks at a member. One that is not able knows then that the group waits for it.
pub(super) fn look(
    group: OwnerId,
    sessions: &mut Sessions,
    member: SessionId,
    ability: Ability,
    is_meant: impl FnOnce(&Session) -> bool,
) -> Look {
    let member = sessions.get_mut(&member).expect("a member is a session");
    if !is_able(member, ability) {
        member.more.groups.wait(group);
        Look::Unable
    } else if is_meant(member) {
        Look::Takes
    } else {
        Look::PassedOver
    }
}

/// Whether a session is able to do this now.
pub(super) fn is_able(session: &Session, ability: Ability) -> bool {
    match ability {
        Ability::Present => session.link.is_some(),
        Ability::Open => session.link.as_ref().is_some_and(|link| !link.outbox_full),
        Ability::Free => session.can_take(),
    }
}

impl Broker {
    /// Makes a session a member; true if it was none.
    pub(super) fn join_group(
        &mut self,
        filter: &Arc<str>,
        session: SessionId,
        options: SubscriptionOptions,
        subscription_id: Option<u32>,
        turn: &mut Turn,
    ) -> bool {
        let stored = self.session(session).stored;
        let id = self.group_ids.get(filter).copied().unwrap_or_else(|| self.new_group(filter));
        let group = self.groups.get_mut(&id).expect("a group id has a group");
        if stored && !group.stored {
            store_group(id, group, &mut self.totals, turn);
        }
        let is_new = !group.members.join(Member { session, options, subscription_id });
        self.memberships += usize::from(is_new);
        self.session(session).more.groups.join(id);
        is_new
    }

    pub(super) fn new_group(&mut self, filter: &Arc<str>) -> OwnerId {
        let id = self.new_owner();
        self.insert_group(id, filter, false);
        id
    }

    pub(super) fn insert_group(&mut self, id: OwnerId, filter: &Arc<str>, stored: bool) {
        let group = Group {
            filter: filter.clone(),
            stored,
            queue: Queue::new(stored),
            members: ShareGroup::default(),
            strategy: self.settings.sharing.of(filter),
            by_topic: ByTopic::default(),
            sent_to: BTreeSet::new(),
        };
        self.groups.insert(id, group);
        self.group_ids.insert(filter.clone(), id);
        self.subscriptions.insert(inner_filter(filter), group_entry(id));
    }

    /// Ends a membership; the last one ends the group.
    pub(super) fn leave_group(
        &mut self,
        filter: &Arc<str>,
        session: SessionId,
        cause: EndCause,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let Some(&id) = self.group_ids.get(filter) else {
            return;
        };
        if let Some(member) = self.sessions.get_mut(&session) {
            member.more.groups.leave(id);
        }
        let group = self.groups.get_mut(&id).expect("a group id has a group");
        let has_left = group.members.leave(session);
        let is_empty = group.members.is_empty();
        self.memberships -= usize::from(has_left);
        if is_empty {
            self.end_group(id, cause, now, turn);
        }
    }

    fn end_group(&mut self, id: OwnerId, cause: EndCause, now: Timestamp, turn: &mut Turn) {
        let name = self.owner_name(id);
        let mut group = self.groups.remove(&id).expect("the caller looked it up");
        self.group_ids.remove(&group.filter);
        self.timers.forget_queue(id);
        self.subscriptions.remove(inner_filter(&group.filter), id);
        if group.stored {
            turn.record(Record::GroupEnded { owner: id, cause, at: now });
        }
        let count = group.queue.len() as u64;
        let copies = group.queue.take_all(&mut self.totals).into();
        let filters = filters_of(&group.filter);
        if group.stored {
            self.linger(id, name.clone(), group.sent_to);
        }
        let stored = group.stored;
        let legacy = Legacy { owner: id, name, filters, cause, stored, copies, count };
        self.doom_owner(legacy, now, turn);
    }

    /// A member went: what waits in groups of which no member is connected leaves memory.
    pub(super) fn fold_groups(&mut self, id: SessionId) {
        for id in self.groups_of(id) {
            let group = self.groups.get_mut(&id).expect("it has a member");
            if !group.has_present(id, &mut self.sessions, None) {
                group.queue.fold();
            }
        }
    }

    /// A copy that its member did not acknowledge waits for another one. The caller dispatches when
    /// all did, so that they stay in their order.
    pub(super) fn return_to_group(&mut self, mut sent: InFlight, turn: &mut Turn) {
        let group = self.groups.get_mut(&sent.owner).expect("the caller looked it up");
        let (owner, message) = (sent.owner, sent.entry.message);
        (sent.entry.qos, sent.entry.retain) = sent.own;
        sent.entry.subscription_ids = None;
        if sent.stored {
            turn.record(Record::Returned { owner, message });
            sent.entry.body = None;
        } else if group.stored {
            // It became stored while the copy was in flight to a transient member.
            let body = sent.entry.body.clone().expect("a transient copy has its body");
            turn.record(Record::Message { id: message, message: body });
            turn.record(Record::Queued(sent.entry.as_copy(owner, None)));
        }
        group.queue.put_back(sent.entry, &mut self.totals);
        self.watch_expiry(owner);
    }

    /// A session connected, its outbox drained, or it lost what was in flight: it may be able to
    /// take what its groups have, or will have.
    pub(super) fn tell_groups(&mut self, id: SessionId) {
        for group in self.sessions[&id].more.groups.waiting() {
            self.groups.get_mut(&group).expect("it has a member").members.may_do(id);
        }
    }

    /// Sends to a member that can take more what waits in its groups: they take turns.
    pub(super) fn pump_groups(&mut self, id: SessionId, now: Timestamp, turn: &mut Turn) {
        while let Some(session) = self.sessions.get_mut(&id)
            && session.can_take()
            && let Some(more) = session.more.present()
            && let Some(group) = more.groups.next_turn()
        {
            self.groups.get_mut(&group).expect("it has a member").members.may_do(id);
            self.dispatch(group, now, turn);
        }
    }

    fn groups_of(&self, id: SessionId) -> Vec<OwnerId> {
        self.sessions[&id].more.groups.iter().collect()
    }

    /// Sends what waits in a group to the members that can take it.
    pub(super) fn dispatch(&mut self, id: OwnerId, now: Timestamp, turn: &mut Turn) {
        match self.groups.get(&id).map(|group| group.strategy) {
            None => {}
            Some(Strategy::RoundRobin) => self.dispatch_in_turn(id, now, turn),
            Some(Strategy::HashTopic { patience }) => {
                self.dispatch_by_topic(id, patience, now, turn);
            }
        }
    }

    fn dispatch_in_turn(&mut self, id: OwnerId, now: Timestamp, turn: &mut Turn) {
        loop {
            let Some(group) = self.groups.get_mut(&id) else {
                return;
            };
            let (sessions, acl) = (&mut self.sessions, self.acl.as_ref());
            group.assert_known(Ability::Free, sessions);
            if group.queue.is_empty() {
                return;
            }
            if group
                .members
                .any(Ability::Free, |member| look(id, sessions, member, Ability::Free, |_| true))
            {
                turn.loads.extend(group.queue.next_load(id, WINDOW));
            }
            let Some(body) = group.queue.front().and_then(|front| front.body.clone()) else {
                return;
            };
            let picked = group.members.pick(Ability::Free, |member| {
                let may = |member: &Session| may_receive(acl, member, &body.topic);
                look(id, sessions, member, Ability::Free, may)
            });
            let Some(member) = picked else {
                if self.may_any_receive(id, &body.topic) {
                    return; // It waits for that member.
                }
                self.withhold_from_group(id, 0);
                continue;
            };
            self.send_from_group(id, 0, member, now, turn);
        }
    }

    /// Whether any member may read the topic, there or away.
    pub(super) fn may_any_receive(&self, id: OwnerId, topic: &str) -> bool {
        let mut members = self.groups[&id].members.members();
        members.any(|member| may_receive(self.acl.as_ref(), &self.sessions[&member.session], topic))
    }

    /// The copy at a place of the queue dies: nobody may read it any more.
    pub(super) fn withhold_from_group(&mut self, id: OwnerId, at: usize) {
        let group = self.groups.get_mut(&id).expect("the caller looked it up");
        let entry = group.queue.take_at(at, &mut self.totals).expect("the caller saw it");
        self.deaths.push_back(Death::new(id, group.stored, entry, DeadReason::Unauthorized));
    }

    /// Sends the copy at a place of the queue.
    pub(super) fn send_from_group(
        &mut self,
        id: OwnerId,
        at: usize,
        member: Member,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let group = self.groups.get_mut(&id).expect("the caller looked it up");
        let mut entry = group.queue.take_at(at, &mut self.totals).expect("the caller saw it");
        let own = (entry.qos, entry.retain);
        let until = after_queue(entry.qos, turn);
        let session = self.sessions.get_mut(&member.session).expect("a member is a session");
        entry.retain &= member.options.retain_as_published;
        entry.subscription_ids = member.subscription_id.map(|id| [id].into());
        let stored = group.stored;
        if entry.qos.min_with(member.options.qos) == QoS::AtMostOnce && !entry.is_expired(now) {
            let body = entry.body.take().expect("the caller saw its body");
            if stored {
                turn.record(Record::Removed { owner: id, message: entry.message, lazy: true });
            }
            let _ = session.send_qos0(&body, entry.retain, entry.subscription_ids, until, turn);
            return;
        }
        entry.qos = entry.qos.min_with(member.options.qos);
        group.sent_to.insert(member.session);
        let offer = Offer { own, until, ..Offer::new(id, stored, true, entry) };
        if let Err((offer, reason)) = session.send_copy(offer, now, turn) {
            self.deaths.push_back(Death::unsent(offer, reason));
        }
        watch_acks(session, &self.settings.limits, &mut self.timers);
    }

    /// A member went, and may come back: what it had at QoS 1 goes to another one that is there. At
    /// QoS 2 it waits for the one it was sent to `[MQTT-4.8.2-4]`.
    pub(super) fn move_on(&mut self, id: SessionId, now: Timestamp, turn: &mut Turn) {
        let mut groups = self.groups_of(id);
        groups.retain(|id| {
            let group = self.groups.get_mut(id).expect("it has a member");
            group.has_present(*id, &mut self.sessions, None)
        });
        if groups.is_empty() {
            return;
        }
        let outbound = self.session(id).outbound.present();
        let is_one = |owner| groups.binary_search(&owner).is_ok(); // They ascend.
        for sent in outbound.map(|outbound| outbound.take_of(is_one)).unwrap_or_default() {
            self.return_to_group(sent, turn);
        }
        for group in groups {
            self.dispatch(group, now, turn);
        }
    }
}

impl Broker {
    /// A member connected.
    pub(super) fn gather_all(&mut self, id: SessionId, now: Timestamp, turn: &mut Turn) {
        for group in self.groups_of(id) {
            self.gather(id, group, now, turn);
        }
    }

    /// A member came to a group. Where nobody else is there, what those that are away have at QoS 1
    /// goes to it; else they have nothing at QoS 1, as it moved on when they went.
    pub(super) fn gather(
        &mut self,
        id: SessionId,
        owner: OwnerId,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let group = self.groups.get_mut(&owner).expect("it has a member");
        if group.has_present(owner, &mut self.sessions, Some(id)) {
            debug_assert!(self.away(owner).all(|member| has_none_of(member, owner)));
        } else {
            for member in self.away(owner).map(|member| member.id).collect::<Vec<_>>() {
                let outbound = self.session(member).outbound.present();
                let sent = outbound.map(|outbound| outbound.take_of(|one| one == owner));
                for sent in sent.unwrap_or_default() {
                    self.return_to_group(sent, turn);
                }
            }
        }
        self.dispatch(owner, now, turn);
    }

    /// The members that are not connected, of those that copies were sent to.
    fn away(&self, id: OwnerId) -> impl Iterator<Item = &Session> {
        let sent_to = self.groups[&id].sent_to.iter().filter_map(|id| self.sessions.get(id));
        sent_to.filter(move |s| s.link.is_none() && s.more.groups.contains(id))
    }
}

/// Whether a session has nothing of a group in flight at QoS 1.
fn has_none_of(session: &Session, group: OwnerId) -> bool {
    let mut in_flight = session.outbound.iter();
    !in_flight.any(|sent| sent.owner == group && sent.entry.qos == QoS::AtLeastOnce)
}

/// From now on the group and what waits in it are stored.
fn store_group(
    id: OwnerId,
    group: &mut Group,
    totals: &mut crate::session::queue::Totals,
    turn: &mut Turn,
) {
    group.stored = true;
    turn.record(Record::Group { owner: id, filter: group.filter.clone() });
    for entry in group.queue.make_stored(totals) {
        let message = entry.body.clone().expect("a transient queue has its bodies in memory");
        turn.record(Record::Message { id: entry.message, message });
        turn.record(Record::Queued(entry.as_copy(id, None)));
    }
}

/// The lower QoS: [`QoS`] has no order of its own.
pub(super) trait Lower {
    fn min_with(self, other: Self) -> Self;
}

impl Lower for QoS {
    fn min_with(self, other: Self) -> Self {
        if (self as u8) < (other as u8) { self } else { other }
    }
}

fn group_entry(owner: OwnerId) -> crate::router::Entry {
    crate::router::Entry { owner, options: OPTIONS, subscription_id: None }
}

/// The one that a group's copies come by.
pub(super) fn filters_of(shared: &str) -> Filters {
    let subscription = Subscription { options: OPTIONS, id: None };
    Arc::new(BTreeMap::from([(inner_filter(shared).into(), subscription)]))
}

/// `$share~name~filter` of `$share/name/filter`.
pub(super) fn group_name(shared: &str) -> Arc<str> {
    shared.replacen('/', "~", 2).into()
}

/// `filter` of `$share/name/filter`.
pub(super) fn inner_filter(shared: &str) -> &str {
    shared.splitn(3, '/').nth(2).expect("a share group's filter was parsed")
}

#[cfg(test)]
mod tests;
