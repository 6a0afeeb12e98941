//! From a message to its owners' copies: sent at once where that may be, else queued.

use std::sync::Arc;

use super::Broker;
use super::acknowledge::watch_acks;
use super::dead_letter::{Death, Undelivered};
use super::group::{Lower, group_name, is_able, look};
use crate::auth::{Access, Acl, Who};
use crate::config::{LetterTopic, Limits, Overflow, Strategy};
use crate::mqtt::{Message, QoS};
use crate::router::{Ability, Target};
use crate::session::Session;
use crate::session::outbound::Offer;
use crate::session::queue::{Entry, Queue, Totals};
use crate::time::Timestamp;
use crate::turn::{DeadReason, MessageId, OwnerId, Record, RecordNumber, SessionId, Turn};

/// A message on its way to all its owners.
#[derive(Debug)]
pub(super) struct Publication<'a> {
    pub(super) message: &'a Arc<Message>,
    /// Nothing of it leaves before this record is durable.
    pub(super) until: RecordNumber,
    id: Option<MessageId>,
    is_recorded: bool,
}

impl<'a> Publication<'a> {
    pub(super) fn new(message: &'a Arc<Message>, until: RecordNumber) -> Self {
        Self { message, until, id: None, is_recorded: false }
    }

    /// Writes the body, once, before the first copy that is stored.
    fn record(&mut self, turn: &mut Turn) {
        if !self.is_recorded {
            self.is_recorded = true;
            let id = self.id.expect("a copy has an id");
            turn.record(Record::Message { id, message: self.message.clone() });
        }
    }
}

impl Broker {
    /// Gives every owner with a matching subscription its copy. Returns how many there are.
    pub(super) fn route(
        &mut self,
        message: &Arc<Message>,
        publisher: Option<SessionId>,
        until: RecordNumber,
        now: Timestamp,
        turn: &mut Turn,
    ) -> usize {
        self.find_route(&message.topic, publisher);
        let route = std::mem::take(&mut self.route);
        let mut publication = Publication::new(message, until);
        for target in route.targets() {
            self.deliver(&mut publication, target, now, turn);
        }
        let count = route.targets().len();
        self.route = route;
        count
    }

    pub(super) fn deliver(
        &mut self,
        publication: &mut Publication<'_>,
        target: &Target,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let qos = publication.message.qos.min_with(target.qos);
        let retain = publication.message.retain && target.retain_as_published;
        if self.groups.contains_key(&target.owner) {
            return self.deliver_to_group(publication, target.owner, qos, now, turn);
        }
        if self.acl.is_some() && !self.may_session_receive(target.owner, publication.message) {
            return; // Filtered, as mosquitto does: its filter is wider than its rights.
        }
        if qos == QoS::AtMostOnce {
            self.deliver_qos0(publication, target, retain, now, turn);
        } else {
            self.deliver_queued(publication, target, qos, retain, now, turn);
        }
    }

    pub(super) fn deliver_qos0(
        &mut self,
        publication: &Publication<'_>,
        target: &Target,
        retain: bool,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let Some(session) = self.sessions.get_mut(&target.owner) else {
            return;
        };
        let Some(link) = &session.link else {
            return;
        };
        let message = publication.message;
        let undelivered = if link.outbox_full {
            self.counters.qos0_dropped += 1;
            Some((DeadReason::QueueFull, "outbox_full"))
        } else {
            let (ids, until) = (target.subscription_ids.clone(), publication.until);
            let sent = session.send_qos0(message, retain, ids, until, turn);
            sent.err().map(|reason| (reason, reason.as_str()))
        };
        let Some((reason, word)) = undelivered else {
            return;
        };
        if self.settings.dead_letters.include_qos0
            && !self.settings.dead_letters.topic.is_letter(&message.topic)
        {
            let id = self.new_message();
            let entry = Entry::new(id, message.clone(), QoS::AtMostOnce, retain);
            self.deaths.push_back(Death::new(target.owner, false, entry, reason));
        } else {
            let name = self.owner_name(target.owner);
            let what = Undelivered { reason: word, kept: false, count: 1 };
            self.note_undelivered(&name, what, now, turn);
        }
    }

    pub(super) fn deliver_queued(
        &mut self,
        publication: &mut Publication<'_>,
        target: &Target,
        qos: QoS,
        retain: bool,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let owner = target.owner;
        let mut entry = self.new_entry(publication, qos, retain);
        entry.subscription_ids = target.subscription_ids.clone();
        let Some(session) = self.sessions.get_mut(&owner) else {
            return;
        };
        let stored = session.stored;
        if stored {
            publication.record(turn);
        }
        if session.can_take() && session.queue.is_empty() {
            let offer =
                Offer { until: publication.until, ..Offer::new(owner, stored, false, entry) };
            if let Err((offer, reason)) = session.send_copy(offer, now, turn) {
                self.deaths.push_back(Death::unsent(offer, reason));
            }
            return watch_acks(session, &self.settings.limits, &mut self.timers);
        }
        let keep_body = session.link.is_some();
        let policy = self.settings.overflow.of(&session.client_id, &publication.message.topic);
        let limits = &self.settings.limits;
        let letter_topic = &self.settings.dead_letters.topic;
        let queueing = Queueing { owner, stored, keep_body, policy, limits, letter_topic };
        let room = queueing.push(
            &mut session.queue,
            entry,
            &mut self.totals,
            |death| self.deaths.push_back(death),
            turn,
        );
        if stored && room {
            session.newest = turn.last_record();
        }
        self.watch_expiry(owner);
    }

    fn deliver_to_group(
        &mut self,
        publication: &mut Publication<'_>,
        owner: OwnerId,
        qos: QoS,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        if qos == QoS::AtMostOnce {
            return self.deliver_qos0_to_group(publication, owner, turn);
        }
        if !self.may_any_receive(owner, &publication.message.topic) {
            return; // Filtered, as for a session.
        }
        let entry = self.new_entry(publication, qos, publication.message.retain);
        let group = self.groups.get_mut(&owner).expect("the caller looked it up");
        let stored = group.stored;
        if stored {
            publication.record(turn);
        }
        let overflow = &self.settings.overflow;
        let policy = match overflow.rules.is_empty() {
            true => overflow.otherwise,
            false => overflow.of(&group_name(&group.filter), &publication.message.topic),
        };
        let limits = &self.settings.limits;
        let letter_topic = &self.settings.dead_letters.topic;
        let queueing = Queueing { owner, stored, keep_body: true, policy, limits, letter_topic };
        queueing.push(
            &mut group.queue,
            entry,
            &mut self.totals,
            |death| self.deaths.push_back(death),
            turn,
        );
        self.dispatch(owner, now, turn);
        self.watch_expiry(owner);
    }

    fn deliver_qos0_to_group(
        &mut self,
        publication: &Publication<'_>,
        owner: OwnerId,
        turn: &mut Turn,
    ) {
        let message = publication.message;
        let group = self.groups.get_mut(&owner).expect("the caller looked it up");
        let (sessions, acl) = (&mut self.sessions, self.acl.as_ref());
        group.assert_known(Ability::Open, sessions);
        let may_get = |member: &Session| may_receive(acl, member, &message.topic);
        let picked = match group.strategy {
            Strategy::RoundRobin => group.members.pick(Ability::Open, |member| {
                look(owner, sessions, member, Ability::Open, may_get)
            }),
            Strategy::HashTopic { .. } => {
                let fits = |member: &Session| is_able(member, Ability::Present) && may_get(member);
                let of_topic = group.member_of(&message.topic, |member| fits(&sessions[&member]));
                of_topic.filter(|member| is_able(&sessions[&member.session], Ability::Open))
            }
        };
        let Some(member) = picked else {
            self.counters.qos0_dropped += 1;
            return;
        };
        let session = sessions.get_mut(&member.session).expect("a member is a session");
        let retain = message.retain && member.options.retain_as_published;
        let ids = member.subscription_id.map(|id| [id].into());
        if session.send_qos0(message, retain, ids, publication.until, turn).is_err() {
            self.counters.qos0_dropped += 1;
        }
    }

    /// Gives one owner a copy again.
    pub(super) fn deliver_again(
        &mut self,
        publication: &mut Publication<'_>,
        owner: OwnerId,
        qos: QoS,
        retain: bool,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        if self.groups.contains_key(&owner) {
            return self.deliver_to_group(publication, owner, qos, now, turn);
        }
        let target = Target { owner, qos, retain_as_published: retain, subscription_ids: None };
        if qos == QoS::AtMostOnce {
            self.deliver_qos0(publication, &target, retain, now, turn);
        } else {
            self.deliver_queued(publication, &target, qos, retain, now, turn);
        }
    }

    /// Whether an owner would get a copy, now or later: it has the right and the room, and at QoS 0
    /// it is there.
    pub(super) fn would_get(&self, owner: OwnerId, qos: QoS, message: &Message) -> bool {
        let acl = self.acl.as_ref();
        let may_get = |session: &Session| {
            let is_there = session.link.as_ref().is_some_and(|link| !link.outbox_full);
            (qos != QoS::AtMostOnce || is_there) && may_receive(acl, session, &message.topic)
        };
        let has_taker = match (self.sessions.get(&owner), self.groups.get(&owner)) {
            (Some(session), _) => may_get(session),
            (None, Some(group)) => {
                group.members.members().any(|member| may_get(&self.sessions[&member.session]))
            }
            (None, None) => false,
        };
        let size = u32::try_from(message.size()).unwrap_or(u32::MAX);
        has_taker && self.full_queue(owner, size).is_none()
    }

    /// Whether anybody has a subscription for a topic.
    pub(super) fn has_subscribers(&mut self, topic: &Arc<str>) -> bool {
        self.find_route(topic, None);
        !self.route.targets().is_empty()
    }

    /// Why a publish has to be refused for one of its owners, before any of them gets it.
    pub(super) fn refuses(
        &mut self,
        publisher: SessionId,
        topic: &Arc<str>,
        qos: QoS,
        size: u32,
    ) -> Option<String> {
        let letters_full = self.refuses_deaths();
        if qos == QoS::AtMostOnce || !(letters_full || self.settings.overflow.may_refuse()) {
            return None;
        }
        self.find_route(topic, Some(publisher));
        let targets = self.route.targets().iter();
        let mut owners = targets.filter(|target| target.qos != QoS::AtMostOnce);
        owners.find_map(|target| {
            let name = self.full_queue(target.owner, size)?;
            let full = format!("the queue of {name} is full");
            match self.settings.overflow.of(&name, topic) {
                Overflow::Refuse => Some(full),
                _ if letters_full => Some(format!("{full}, and so is the dead letter store")),
                _ => None,
            }
        })
    }

    fn may_session_receive(&self, id: SessionId, message: &Message) -> bool {
        let session = self.sessions.get(&id);
        session.is_some_and(|session| may_receive(self.acl.as_ref(), session, &message.topic))
    }

    /// The name of an owner whose queue has no room for a copy of `size` bytes.
    fn full_queue(&self, owner: OwnerId, size: u32) -> Option<Arc<str>> {
        let queue = match self.sessions.get(&owner) {
            Some(session) if session.can_take() && session.queue.is_empty() => return None,
            Some(session) => &*session.queue,
            None => &self.groups.get(&owner)?.queue,
        };
        excess(&self.settings.limits, queue, &self.totals, size)?;
        Some(self.owner_name(owner))
    }

    fn new_entry(&mut self, publication: &mut Publication<'_>, qos: QoS, retain: bool) -> Entry {
        let id = match publication.id {
            Some(id) => id,
            None => self.new_message(),
        };
        publication.id = Some(id);
        Entry::new(id, publication.message.clone(), qos, retain)
    }
}

/// Whether the client of `session` may read `topic`.
pub(super) fn may_receive(acl: Option<&Acl>, session: &Session, topic: &str) -> bool {
    acl.is_none_or(|acl| {
        let who = Who { user: session.user.as_deref(), client_id: &session.client_id };
        acl.allows(who, Access::Receive, topic)
    })
}

/// How a copy enters a queue.
struct Queueing<'a> {
    owner: OwnerId,
    stored: bool,
    keep_body: bool,
    policy: Overflow,
    limits: &'a Limits,
    letter_topic: &'a LetterTopic,
}

impl Queueing<'_> {
    /// Queues, in a full queue after the oldest copies died (`drop_oldest`). False if the copy
    /// itself found no room: it died, or, being about a dead letter, stays where it is kept.
    fn push(
        &self,
        queue: &mut Queue,
        entry: Entry,
        totals: &mut Totals,
        mut die: impl FnMut(Death),
        turn: &mut Turn,
    ) -> bool {
        let body = entry.body.as_ref().expect("a new copy has its body");
        let is_letter = self.letter_topic.is_letter(&body.topic);
        while let Some(reason) = excess(self.limits, queue, totals, entry.size) {
            if is_letter {
                return false;
            }
            if self.policy != Overflow::DropOldest || queue.is_empty() {
                die(Death::new(self.owner, false, entry, reason));
                return false;
            }
            let Some(oldest) = queue.pop(totals) else {
                turn.loads.extend(queue.oldest_load(self.owner)); // They die when they came.
                break;
            };
            die(Death::new(self.owner, self.stored, oldest, reason));
        }
        if self.stored {
            turn.record(Record::Queued(entry.as_copy(self.owner, None)));
        }
        queue.push(entry, self.keep_body, totals);
        true
    }
}

/// Why one more copy of `size` bytes would be too much for a queue, or for all together.
fn excess(limits: &Limits, queue: &Queue, totals: &Totals, size: u32) -> Option<DeadReason> {
    let size = u64::from(size);
    let is_full = queue.len() >= limits.queue_messages
        || (queue.bytes() + size > limits.queue_bytes as u64 && !queue.is_empty());
    let is_spent = all_passed(limits, queue.is_stored(), totals, size);
    let full = is_full.then_some(DeadReason::QueueFull);
    full.or_else(|| is_spent.then_some(DeadReason::StorageFull))
}

/// Why a queue, or all together, hold more than they may.
pub(super) fn surplus(limits: &Limits, queue: &Queue, totals: &Totals) -> Option<DeadReason> {
    let is_over = queue.len() > limits.queue_messages
        || (queue.bytes() > limits.queue_bytes as u64 && queue.len() > 1);
    let is_overspent = all_passed(limits, queue.is_stored(), totals, 0) && !queue.is_empty();
    let over = is_over.then_some(DeadReason::QueueFull);
    over.or_else(|| is_overspent.then_some(DeadReason::StorageFull))
}

/// Whether all queues together would hold more than they may.
fn all_passed(limits: &Limits, stored: bool, totals: &Totals, more: u64) -> bool {
    if stored {
        totals.disk + more > limits.disk_bytes
    } else {
        totals.memory + more > limits.memory_bytes as u64
    }
}
