//! What the store must hold after some records: maps, and no thought of a disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kedgemq::mqtt::{Message, PacketId};
use kedgemq::turn::{
    Backlog, Copy, DeadId, DeadIndex, DeadLetter, Load, Loaded, Marks, MessageId, OwnerId, Record,
    SessionId, Stored,
};

/// All that is stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) marks: Marks,
    pub(crate) sessions: BTreeMap<SessionId, (Record, Option<Record>)>,
    pub(crate) groups: BTreeMap<OwnerId, (Record, Option<Record>)>,
    pub(crate) subscriptions: BTreeMap<(SessionId, Arc<str>), Record>,
    pub(crate) copies: BTreeMap<(OwnerId, MessageId), Copy>,
    pub(crate) bodies: BTreeMap<MessageId, Arc<Message>>,
    pub(crate) received: BTreeSet<(SessionId, PacketId)>,
    pub(crate) retained: BTreeMap<Arc<str>, Record>,
    pub(crate) dead: BTreeMap<DeadId, DeadLetter>,
}

impl Model {
    /// After one more record.
    pub(crate) fn apply(&mut self, record: &Record) {
        match record {
            Record::Session(session) => {
                self.mark_owner(session.id);
                let slot = self.sessions.entry(session.id);
                slot.or_insert_with(|| (record.clone(), None)).0 = record.clone();
            }
            Record::SessionEnded { session, .. } => {
                self.sessions.get_mut(session).unwrap().1 = Some(record.clone());
                self.subscriptions.retain(|(owner, _), _| owner != session);
                self.received.retain(|(owner, _)| owner != session);
            }
            Record::Subscribed { session, filter, .. } => {
                let key = (*session, filter.clone());
                self.subscriptions.insert(key, record.clone());
            }
            Record::Unsubscribed { session, filter } => {
                self.subscriptions.remove(&(*session, filter.clone()));
            }
            Record::Group { owner, .. } => {
                self.mark_owner(*owner);
                self.groups.insert(*owner, (record.clone(), None));
            }
            Record::GroupEnded { owner, .. } => {
                self.groups.get_mut(owner).unwrap().1 = Some(record.clone());
            }
            Record::OwnerForgotten { owner } => {
                self.sessions.remove(owner);
                self.groups.remove(owner);
                self.copies.retain(|(whose, _), _| whose != owner);
            }
            Record::Retained { topic, message, .. } => {
                self.retained.remove(topic);
                if message.is_some() {
                    self.retained.insert(topic.clone(), record.clone());
                }
            }
            Record::Received { session, packet_id } => {
                self.received.insert((*session, *packet_id));
            }
            Record::Released { session, packet_id } => {
                self.received.remove(&(*session, *packet_id));
            }
            Record::Dead(letter) => {
                self.copies.remove(&(letter.owner, letter.message_id));
                self.marks.message = self.marks.message.max(letter.message_id.0);
                self.marks.dead = self.marks.dead.max(letter.id.0);
                self.dead.insert(letter.id, DeadLetter::clone(letter));
            }
            Record::DeadForgotten { id } => {
                self.dead.remove(id);
            }
            Record::Marks(_) | Record::DeadIndex(_) | Record::Backlog(_) => {
                unreachable!("the core writes none")
            }
            _ => self.apply_message(record),
        }
    }

    fn apply_message(&mut self, record: &Record) {
        match record {
            Record::Message { id, message } => {
                self.marks.message = self.marks.message.max(id.0);
                self.bodies.insert(*id, message.clone());
            }
            Record::Queued(copy) => {
                self.mark_owner(copy.owner);
                self.marks.message = self.marks.message.max(copy.message.0);
                self.copies.insert((copy.owner, copy.message), copy.clone());
            }
            Record::Sent { owner, message, sent } => {
                self.copy(*owner, *message).sent = Some(sent.clone())
            }
            Record::PubRecArrived { owner, message } => {
                let sent = &mut self.copy(*owner, *message).sent;
                sent.as_mut().unwrap().pubrec_arrived = true;
            }
            Record::DeliveryFailed { owner, message, deliveries } => {
                self.copy(*owner, *message).deliveries = *deliveries
            }
            Record::Returned { owner, message } => self.copy(*owner, *message).sent = None,
            Record::Removed { owner, message, .. } => {
                self.copies.remove(&(*owner, *message));
            }
            _ => unreachable!("handled by `apply`"),
        }
    }

    fn copy(&mut self, owner: OwnerId, message: MessageId) -> &mut Copy {
        self.copies.get_mut(&(owner, message)).unwrap()
    }

    fn mark_owner(&mut self, owner: OwnerId) {
        self.marks.owner = self.marks.owner.max(owner.0);
    }

    /// What the store must give back.
    pub(crate) fn restored(&self) -> Vec<Record> {
        let mut records = vec![Record::Marks(self.marks)];
        for (record, ended) in self.sessions.values().chain(self.groups.values()) {
            records.push(record.clone());
            records.extend(ended.clone());
        }
        records.extend(self.subscriptions.values().cloned());
        let known = self.copies.values().filter(|copy| !is_waiting(copy));
        records.extend(known.cloned().map(Record::Queued));
        records.extend(self.backlogs().into_iter().map(Record::Backlog));
        for (session, packet_id) in &self.received {
            records.push(Record::Received { session: *session, packet_id: *packet_id });
        }
        records.extend(self.retained.values().cloned());
        records.extend(self.dead.values().map(|letter| {
            Record::DeadIndex(DeadIndex {
                id: letter.id,
                died: letter.died,
                size: u32::try_from(letter.message.size()).unwrap(),
                retry: letter.retry,
            })
        }));
        records
    }

    fn backlogs(&self) -> Vec<Backlog> {
        let mut backlogs: Vec<Backlog> = Vec::new();
        for copy in self.copies.values().filter(|copy| is_waiting(copy)) {
            if backlogs.last().is_none_or(|backlog| backlog.owner != copy.owner) {
                let (owner, first) = (copy.owner, copy.message);
                backlogs.push(Backlog { owner, first, count: 0, bytes: 0, soonest_expiry: None });
            }
            let backlog = backlogs.last_mut().unwrap();
            backlog.count += 1;
            backlog.bytes += u64::from(copy.size);
            let expiries = backlog.soonest_expiry.into_iter().chain(copy.expires);
            backlog.soonest_expiry = expiries.min();
        }
        backlogs
    }

    /// The copies of an owner, with their messages.
    pub(crate) fn queue(&self, owner: OwnerId) -> Vec<Stored> {
        let copies = self.copies.range((owner, MessageId(0))..);
        let copies = copies.take_while(|((whose, _), _)| *whose == owner);
        let stored = copies
            .map(|((_, id), copy)| Stored { copy: copy.clone(), message: self.bodies[id].clone() });
        stored.collect()
    }

    /// What a load must give.
    pub(crate) fn loaded(&self, load: Load) -> Loaded {
        let (mut copies, mut has_more, mut soonest_expiry) = (Vec::new(), false, None);
        let mut bytes = 0;
        for stored in self.queue(load.owner) {
            let Stored { copy, .. } = &stored;
            if copy.message < load.first || copy.message > load.last {
                continue;
            }
            if load.expired_by.is_some() && !is_waiting(copy) {
                continue;
            }
            let is_asked =
                load.expired_by.is_none_or(|time| copy.expires.is_some_and(|at| at <= time));
            let fits = copies.is_empty()
                || (copies.len() < load.count as usize
                    && bytes + u64::from(copy.size) <= u64::from(load.bytes));
            if is_asked && fits && !has_more {
                bytes += u64::from(copy.size);
                copies.push(stored);
                continue;
            }
            has_more |= is_asked;
            if load.expired_by.is_some() {
                soonest_expiry = [soonest_expiry, copy.expires].into_iter().flatten().min();
            }
        }
        Loaded { load, copies, has_more, soonest_expiry }
    }
}

fn is_waiting(copy: &Copy) -> bool {
    copy.sent.is_none() && copy.deliveries == 0
}
