//! What a store must keep, as simply as it can be said: maps, and one `match`. It is the second
//! opinion on [`Record`]: what refers to nothing is a failure of the core.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kedgemq::mqtt::{Message, PacketId};
use kedgemq::time::Timestamp;
use kedgemq::turn::{
    Copy, DeadId, DeadIndex, DeadLetter, EndCause, LetterLoad, Letters, Load, Loaded, Marks,
    MessageId, OwnerId, Record, SessionRecord, Stored, Task,
};

type Subscribed = (kedgemq::mqtt::packet::SubscriptionOptions, Option<u32>);

/// The durable part of the broker, as committed records made it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    /// Whether copies may go with their owner, as no letter is made of them.
    pub(crate) keeps_no_letters: bool,
    pub(crate) marks: Marks,
    pub(crate) sessions: BTreeMap<OwnerId, SessionRecord>,
    pub(crate) groups: BTreeMap<OwnerId, Arc<str>>,
    ended: BTreeMap<OwnerId, (EndCause, Timestamp)>,
    pub(crate) subscriptions: BTreeMap<(OwnerId, Arc<str>), Subscribed>,
    bodies: BTreeMap<MessageId, Arc<Message>>,
    pub(crate) copies: BTreeMap<(OwnerId, MessageId), Copy>,
    pub(crate) received: BTreeSet<(OwnerId, PacketId)>,
    pub(crate) retained: BTreeMap<Arc<str>, Arc<Message>>,
    pub(crate) dead: BTreeMap<DeadId, DeadLetter>,
    pub(crate) tasks: BTreeMap<u64, Task>,
    /// All copies that ever were: owner, payload.
    pub(crate) history: Vec<(String, String)>,
}

impl Store {
    /// Applies one record.
    pub(crate) fn apply(&mut self, record: Record) {
        match record {
            Record::Marks(_) | Record::DeadIndex(_) => panic!("the core never writes {record:?}"),
            Record::Session(session) => {
                self.marks.owner = self.marks.owner.max(session.id.0);
                assert!(!self.ended.contains_key(&session.id), "changed after its end");
                self.sessions.insert(session.id, *session);
            }
            Record::SessionEnded { session, cause, at } => {
                assert!(self.sessions.contains_key(&session), "end of an unknown session");
                self.subscriptions.retain(|(owner, _), _| *owner != session);
                self.received.retain(|(owner, _)| *owner != session);
                self.ended.insert(session, (cause, at));
            }
            Record::Subscribed { session, filter, options, subscription_id } => {
                self.assert_session(session);
                self.subscriptions.insert((session, filter), (options, subscription_id));
            }
            Record::Unsubscribed { session, filter } => {
                let gone = self.subscriptions.remove(&(session, filter));
                assert!(gone.is_some(), "unsubscribed from what is not subscribed");
            }
            Record::Group { owner, filter } => {
                self.marks.owner = self.marks.owner.max(owner.0);
                self.groups.insert(owner, filter);
            }
            Record::GroupEnded { owner, cause, at } => {
                assert!(self.groups.contains_key(&owner), "end of an unknown group");
                self.ended.insert(owner, (cause, at));
            }
            Record::OwnerForgotten { owner } => self.forget(owner),
            Record::Received { session, packet_id } => {
                self.assert_session(session);
                self.received.insert((session, packet_id));
            }
            Record::Released { session, packet_id } => {
                self.received.remove(&(session, packet_id));
            }
            Record::Retained { topic, message: Some(message), .. } => {
                self.retained.insert(topic, message);
            }
            Record::Retained { topic, message: None, .. } => {
                self.retained.remove(&topic);
            }
            Record::Dead(letter) => {
                self.marks.dead = self.marks.dead.max(letter.id.0);
                self.copies.remove(&(letter.owner, letter.message_id));
                let is_over = letter.retry.is_none();
                let known = self.dead.insert(letter.id, *letter);
                let is_fit = known.is_none_or(|known| is_over && known.retry.is_some());
                assert!(is_fit, "the id of a dead letter was used again");
            }
            Record::DeadForgotten { id } => {
                assert!(self.dead.remove(&id).is_some(), "forgot an unknown dead letter");
            }
            Record::Task(task) => drop(self.tasks.insert(task.id, *task)),
            Record::TaskForgotten { id } => {
                assert!(self.tasks.remove(&id).is_some(), "ended an unknown task");
            }
            record => self.apply_to_copy(record),
        }
    }

    fn apply_to_copy(&mut self, record: Record) {
        match record {
            Record::Message { id, message } => {
                self.marks.message = self.marks.message.max(id.0);
                let known = self.bodies.insert(id, message);
                assert!(known.is_none(), "the id of a message was used again");
            }
            Record::Queued(copy) => {
                assert!(self.bodies.contains_key(&copy.message), "queued without a body");
                assert!(
                    self.sessions.contains_key(&copy.owner)
                        || self.groups.contains_key(&copy.owner),
                    "queued for an unknown owner"
                );
                self.remember(&copy);
                let known = self.copies.insert((copy.owner, copy.message), copy);
                assert!(known.is_none(), "queued twice");
            }
            Record::Sent { owner, message, sent } => {
                self.copy(owner, message).sent = Some(sent);
            }
            Record::PubRecArrived { owner, message } => {
                let sent = self.copy(owner, message).sent.as_mut();
                sent.expect("PUBREC for what was not sent").pubrec_arrived = true;
            }
            Record::DeliveryFailed { owner, message, deliveries } => {
                self.copy(owner, message).deliveries = deliveries;
            }
            Record::Returned { owner, message } => self.copy(owner, message).sent = None,
            Record::Removed { owner, message, .. } => {
                let gone = self.copies.remove(&(owner, message));
                assert!(gone.is_some(), "removed a copy that is not stored");
            }
            other => unreachable!("{other:?} is not about a copy"),
        }
    }

    /// Ends a commit: bodies that no copy refers to are not kept. Not before, since a later record
    /// of the same turn may give a body to another owner.
    pub(crate) fn settle(&mut self) {
        let needed: BTreeSet<MessageId> = self.copies.keys().map(|(_, id)| *id).collect();
        self.bodies.retain(|id, _| needed.contains(id));
    }

    /// What the store gives at start, in the order in which it promises it.
    pub(crate) fn restored(&self) -> Vec<Record> {
        let mut records = vec![Record::Marks(self.marks)];
        for (id, session) in &self.sessions {
            records.push(Record::Session(Box::new(session.clone())));
            if let Some(&(cause, at)) = self.ended.get(id) {
                records.push(Record::SessionEnded { session: *id, cause, at });
            }
        }
        for (owner, filter) in &self.groups {
            records.push(Record::Group { owner: *owner, filter: filter.clone() });
            if let Some(&(cause, at)) = self.ended.get(owner) {
                records.push(Record::GroupEnded { owner: *owner, cause, at });
            }
        }
        for ((session, filter), &(options, subscription_id)) in &self.subscriptions {
            let (session, filter) = (*session, filter.clone());
            records.push(Record::Subscribed { session, filter, options, subscription_id });
        }
        records.extend(self.copies.values().cloned().map(Record::Queued));
        for &(session, packet_id) in &self.received {
            records.push(Record::Received { session, packet_id });
        }
        for (topic, message) in &self.retained {
            let message = Some(message.clone());
            records.push(Record::Retained { topic: topic.clone(), message, lazy: false });
        }
        for (&id, letter) in &self.dead {
            let size = u32::try_from(letter.message.size()).expect("small in tests");
            let (died, retry) = (letter.died, letter.retry);
            records.push(Record::DeadIndex(DeadIndex { id, died, size, retry }));
        }
        records.extend(self.tasks.values().cloned().map(|task| Record::Task(Box::new(task))));
        records
    }

    /// Answers a [`Load`].
    pub(crate) fn load(&self, load: Load) -> Loaded {
        let range = (load.owner, load.first)..=(load.owner, load.last);
        let mut loaded = Loaded { load, copies: Vec::new(), has_more: false, soonest_expiry: None };
        let mut bytes = 0;
        for copy in self.copies.range(range).map(|(_, copy)| copy) {
            let is_due = |by| copy.sent.is_none() && copy.expires.is_some_and(|at| at <= by);
            if load.expired_by.is_some_and(|by| !is_due(by)) {
                let expires = copy.expires.filter(|_| copy.sent.is_none());
                loaded.soonest_expiry = loaded.soonest_expiry.into_iter().chain(expires).min();
                continue;
            }
            bytes += u64::from(copy.size);
            let count = u32::try_from(loaded.copies.len()).expect("few");
            if count > 0 && (count >= load.count || bytes > u64::from(load.bytes)) {
                loaded.has_more = true;
                break;
            }
            let message = self.bodies[&copy.message].clone();
            loaded.copies.push(Stored { copy: copy.clone(), message });
        }
        loaded
    }

    /// Answers a [`LetterLoad`].
    pub(crate) fn letters(&self, load: LetterLoad) -> Letters {
        let mut found = self.dead.range(load.first..=load.last).map(|(_, letter)| letter.clone());
        let count = usize::try_from(load.count).expect("few");
        let letters: Vec<_> = found.by_ref().take(count).collect();
        Letters { load, letters, has_more: found.next().is_some() }
    }

    /// The stored copies of the session of `client`, in order.
    pub(crate) fn copies_of(&self, client: &str) -> Vec<&Copy> {
        let live = |session: &&SessionRecord| !self.ended.contains_key(&session.id);
        let mut sessions = self.sessions.values().filter(live);
        let Some(session) = sessions.find(|session| &*session.client_id == client) else {
            return Vec::new();
        };
        self.copies.values().filter(|copy| copy.owner == session.id).collect()
    }

    /// The live session of `client`.
    pub(crate) fn session_of(&self, client: &str) -> Option<&SessionRecord> {
        let mut live = self.sessions.values().filter(|s| !self.ended.contains_key(&s.id));
        live.find(|session| &*session.client_id == client)
    }

    fn copy(&mut self, owner: OwnerId, message: MessageId) -> &mut Copy {
        self.copies.get_mut(&(owner, message)).expect("a record about a copy that is not stored")
    }

    fn assert_session(&self, session: OwnerId) {
        let known = self.sessions.contains_key(&session) && !self.ended.contains_key(&session);
        assert!(known, "a record about a session that is not stored");
    }

    fn remember(&mut self, copy: &Copy) {
        let session = self.sessions.get(&copy.owner).map(|session| session.client_id.to_string());
        let owner =
            session.unwrap_or_else(|| self.groups[&copy.owner].replace("share/g/", "share~g~"));
        let payload = String::from_utf8_lossy(&self.bodies[&copy.message].payload).into_owned();
        self.history.push((owner, payload));
    }

    fn forget(&mut self, owner: OwnerId) {
        // A group whose transient members a crash took ended without a record.
        let is_empty = |filter| !self.subscriptions.keys().any(|(_, other)| other == filter);
        let is_over =
            self.ended.contains_key(&owner) || self.groups.get(&owner).is_some_and(is_empty);
        assert!(is_over, "forgot an owner that lives");
        self.ended.remove(&owner);
        // What its client has, nobody misses.
        let has_it = |copy: &Copy| copy.sent.as_ref().is_some_and(|sent| sent.pubrec_arrived);
        let mine = self.copies.values().filter(|copy| copy.owner == owner);
        let lost: Vec<&Copy> = mine.filter(|copy| !has_it(copy)).collect();
        let is_right = lost.is_empty() || self.keeps_no_letters;
        assert!(is_right, "{lost:?} vanish with {owner:?} {:?}", self.groups.get(&owner));
        self.copies.retain(|(of, _), _| *of != owner);
        self.sessions.remove(&owner);
        self.groups.remove(&owner);
    }
}
