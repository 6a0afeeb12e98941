//! What the store kept becomes state again. Applying the records that are on disk gives the
//! durable part of memory at the last commit: nothing else is derived from anything else.

use std::time::Duration;

use super::doomed::Legacy;
use super::leaving::Filters;
use super::timer::Timer;
use super::{Broker, Death};
use crate::mqtt::QoS;
use crate::router;
use crate::session::outbound::{InFlight, Outbound};
use crate::session::queue::Entry;
use crate::session::rare::Rare;
use crate::session::{NEVER, Session, Subscription};
use crate::time::Timestamp;
use crate::turn::{
    Backlog, Copy, DeadReason, EndCause, MessageId, OwnerId, Record, Sent, SessionId,
    SessionRecord, Turn,
};

impl Broker {
    /// Applies what the store kept, once, before anything else.
    pub fn restore(&mut self, records: impl Iterator<Item = Record>, now: Timestamp) {
        let mut restoring = Restoring::default();
        for record in records {
            self.restore_one(record, &mut restoring, now);
        }
        for (owner, cause) in std::mem::take(&mut restoring.ended) {
            self.restore_ended(owner, cause, &mut restoring, now);
        }
        for (owner, entry, is_delivered) in std::mem::take(&mut restoring.orphans) {
            let death = Death::new(owner, true, entry, DeadReason::SessionExpired);
            self.deaths.push_back(if is_delivered { death.of_delivered() } else { death });
            self.timers.set_single(now, Timer::Burial);
        }
        for id in restoring.sessions.clone() {
            self.restore_timers(id, now);
        }
        for id in std::mem::take(&mut restoring.groups) {
            if self.groups.get(&id).is_some_and(|group| group.members.is_empty()) {
                // Its last stored member went, and the transient ones with the earlier run.
                self.restore_ended(id, EndCause::Expired, &mut restoring, now);
            }
            self.watch_expiry(id);
        }
    }

    fn restore_one(&mut self, record: Record, restoring: &mut Restoring, now: Timestamp) {
        match record {
            Record::Marks(marks) => {
                self.last_owner = marks.owner;
                self.last_message = marks.message;
                self.cemetery.last_id = marks.dead;
            }
            Record::Session(session) => {
                restoring.sessions.push(session.id);
                self.restore_session(*session);
            }
            Record::SessionEnded { session, cause, .. } => {
                restoring.ended.push((session, cause));
                restoring.sessions.retain(|id| *id != session);
            }
            Record::Group { owner, filter } => {
                restoring.groups.push(owner);
                self.insert_group(owner, &filter, true);
            }
            Record::GroupEnded { owner, cause, .. } => {
                restoring.ended.push((owner, cause));
                restoring.groups.retain(|id| *id != owner);
            }
            Record::Subscribed { session, filter, options, subscription_id } => {
                let subscription = Subscription { options, id: subscription_id };
                self.restore_subscription(session, filter, subscription);
            }
            Record::Queued(copy) => self.restore_copy(copy, restoring),
            Record::Backlog(backlog) => self.restore_backlog(&backlog),
            Record::Received { session, packet_id } => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.inbound.received.insert(packet_id);
                }
            }
            Record::Retained { topic, message, .. } => {
                self.retained.set(topic, message);
            }
            Record::DeadIndex(index) => self.keep(index, now),
            Record::Task(task) => self.restore_task(*task, now),
            other => unreachable!("the store gives back states, not {other:?}"),
        }
    }

    fn restore_session(&mut self, record: SessionRecord) {
        let mut session =
            Session::new(record.id, record.client_id.clone(), record.version, record.expiry);
        session.queue = Rare::new(true);
        session.stored = true;
        session.user = record.user;
        session.disconnected = record.disconnected;
        session.will = record.will;
        session.outbound.restore_bound(record.ordinal_bound);
        record.taken.into_iter().for_each(|id| session.outbound.keep_taken(id));
        if record.disconnected.is_none() {
            // What was sent early, without a record of it.
            let window = usize::from(self.settings.limits.in_flight);
            session.queue.set_in_doubt(window, MessageId(self.last_message));
        }
        self.clients.insert(record.client_id, record.id);
        self.sessions.insert(Box::new(session));
    }

    fn restore_subscription(
        &mut self,
        id: SessionId,
        filter: std::sync::Arc<str>,
        subscription: Subscription,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let options = subscription.options;
        let subscription_id = subscription.id;
        session.subscriptions.insert(filter.clone(), subscription);
        if !filter.starts_with("$share/") {
            let entry = router::Entry { owner: id, options, subscription_id };
            self.subscriptions.insert(&filter, entry);
        } else if let Some(&group) = self.group_ids.get(&filter) {
            session.more.groups.join(group);
            let members = &mut self.groups.get_mut(&group).expect("its id is known").members;
            let is_known = members.join(router::Member { session: id, options, subscription_id });
            self.memberships += usize::from(!is_known);
        }
    }

    /// A copy is in flight where its session is there, and else in its owner's queue.
    fn restore_copy(&mut self, mut copy: Copy, restoring: &mut Restoring) {
        let owner = copy.owner;
        let sent = copy.sent.take();
        let entry = Entry::restored(copy);
        match sent {
            Some(sent) if self.sessions.contains_key(&sent.session) => {
                self.restore_sent(owner, entry, sent);
            }
            // Its member's session is gone, and what may have reached it must reach no other.
            Some(sent) if sent.qos == QoS::ExactlyOnce && sent.session != owner => {
                restoring.orphans.push((owner, entry, sent.pubrec_arrived));
            }
            _ => self.restore_backlog(&Backlog {
                owner,
                first: entry.message,
                count: 1,
                bytes: u64::from(entry.size),
                soonest_expiry: entry.expires,
            }),
        }
    }

    fn restore_backlog(&mut self, backlog: &Backlog) {
        if let Some(session) = self.sessions.get_mut(&backlog.owner) {
            session.queue.restore(backlog, &mut self.totals);
        } else if let Some(group) = self.groups.get_mut(&backlog.owner) {
            group.queue.restore(backlog, &mut self.totals);
        }
    }

    fn restore_sent(&mut self, owner: OwnerId, mut entry: Entry, sent: Sent) {
        let own = (entry.qos, entry.retain);
        entry.qos = sent.qos;
        entry.subscription_ids = sent.subscription_ids;
        if let Some(group) = self.groups.get_mut(&owner) {
            group.sent_to.insert(sent.session);
        }
        let session = self.sessions.get_mut(&sent.session).expect("the caller looked it up");
        session.outbound.restore_in_flight(InFlight {
            ordinal: sent.ordinal,
            owner,
            stored: true,
            entry,
            own,
            pubrec_arrived: sent.pubrec_arrived,
            sent_at: Timestamp::default(),
            heard_before: 0,
        });
    }

    /// What an owner left that had ended goes on to the dead.
    fn restore_ended(
        &mut self,
        owner: OwnerId,
        cause: EndCause,
        restoring: &mut Restoring,
        now: Timestamp,
    ) {
        let name = self.owner_name(owner);
        let mut count = 0;
        let mut filters = Filters::default();
        if let Some(mut session) = self.sessions.remove(&owner) {
            if self.clients.get(&session.client_id) == Some(&owner) {
                self.clients.remove(&session.client_id);
            }
            let in_flight = session.outbound.present().map(Outbound::take_all).unwrap_or_default();
            count += session.queue.len() + in_flight.len();
            if let Some(queue) = session.queue.present() {
                queue.take_all(&mut self.totals);
            }
            let others = in_flight.into_iter().filter(|sent| sent.owner != owner);
            restoring
                .orphans
                .extend(others.map(|sent| (sent.owner, sent.entry, sent.pubrec_arrived)));
        } else if let Some(mut group) = self.groups.remove(&owner) {
            if self.group_ids.get(&group.filter) == Some(&owner) {
                self.group_ids.remove(&group.filter);
            }
            let inner = super::group::inner_filter(&group.filter);
            self.subscriptions.remove(inner, owner);
            filters = super::group::filters_of(&group.filter);
            self.linger(owner, name.clone(), std::mem::take(&mut group.sent_to));
            count += group.queue.len();
            group.queue.take_all(&mut self.totals);
        }
        let (count, copies) = (count as u64, Vec::new());
        let legacy = Legacy { owner, name, filters, cause, stored: true, copies, count };
        self.doom_owner(legacy, now, &mut Turn::default());
    }

    /// Nobody is connected after a start: sessions that were are on their own from now on, and
    /// their clients get `restart_grace` to come back before their wills are published.
    fn restore_timers(&mut self, id: SessionId, now: Timestamp) {
        let grace = now + self.settings.limits.restart_grace;
        let session = self.session(id);
        let since = *session.disconnected.get_or_insert(now);
        if let Some(will) = &session.will {
            let due = since + Duration::from_secs(u64::from(will.delay));
            session.more.will_due = Some(due.max(grace));
        }
        let (will_due, expiry) = (session.more.will_due, session.expiry);
        let expires = if expiry == 0 { Some(grace) } else { session.expires() };
        if let Some(at) = will_due {
            self.timers.set(at, Timer::Will(id));
        }
        if expiry != NEVER {
            let at = expires.expect("it expires at some time");
            self.timers.set(at.max(grace), Timer::SessionExpiry(id));
        }
        self.watch_expiry(id);
    }
}

/// What is put together while the records come.
#[derive(Debug, Default)]
struct Restoring {
    sessions: Vec<SessionId>,
    groups: Vec<OwnerId>,
    ended: Vec<(OwnerId, EndCause)>,
    orphans: Vec<(OwnerId, Entry, bool)>,
}
