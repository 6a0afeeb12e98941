//! What the store must hold after some records: maps, and no thought of a disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kedgemq::mqtt::{Message, PacketId};
use kedgemq::turn::{
    Copy, DeadId, DeadIndex, DeadLetter, Marks, MessageId, OwnerId, Record, SessionId,
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
            Record::Retained { topic, message } => {
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
            Record::Marks(_) | Record::DeadIndex(_) => unreachable!("the core writes none"),
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
        records.extend(self.copies.values().cloned().map(Record::Queued));
        for (session, packet_id) in &self.received {
            records.push(Record::Received { session: *session, packet_id: *packet_id });
        }
        records.extend(self.retained.values().cloned());
        records.extend(self.dead.values().map(|letter| {
            Record::DeadIndex(DeadIndex {
                id: letter.id,
                died: letter.died,
                size: u32::try_from(letter.message.size()).unwrap(),
            })
        }));
        records
    }

    /// The copies of an owner, with their messages.
    pub(crate) fn queue(&self, owner: OwnerId) -> Vec<(MessageId, Arc<Message>)> {
        let keys = self.copies.range((owner, MessageId(0))..);
        let keys = keys.take_while(|((whose, _), _)| *whose == owner);
        keys.map(|((_, id), _)| (*id, self.bodies[id].clone())).collect()
    }
}
