//! What becomes of copies that cannot be delivered: each dies for one reason, and is kept as a
//! dead letter, or counted where that is switched off. A stored record first, a publication
//! second.
//!
//! A copy whose body is on disk only is [`super::doomed`] first.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::timer::{AGE_INTERVAL, SUMMARY_INTERVAL, Timer};
use super::{Broker, letter};
use crate::metrics::Gauges;
use crate::mqtt::{Message, QoS, ReasonCode, topic};
use crate::router::first_match;
use crate::session::outbound::{InFlight, Offer};
use crate::session::queue::Entry;
use crate::time::Timestamp;
use crate::turn::{
    DeadId, DeadIndex, DeadLetter, DeadReason, Event, OwnerId, Record, RecordNumber, Turn,
};

/// Whose copy a message is that nobody subscribed to.
const NOBODY: OwnerId = OwnerId(0);
/// Owners and reasons that are told apart in the log.
const UNDELIVERED_MAX: usize = 10_000;

/// One copy's end.
#[derive(Debug)]
pub(super) struct Death {
    pub(super) owner: OwnerId,
    stored: bool,
    pub(super) was_sent: bool,
    /// It reached its client, which then went: nobody misses it.
    is_delivered: bool,
    pub(super) entry: Entry,
    pub(super) reason: DeadReason,
    /// The subscriber's Reason Code.
    pub(super) code: Option<ReasonCode>,
    /// The subscriber's Reason String.
    pub(super) text: Option<Box<str>>,
}

impl Death {
    pub(super) fn new(owner: OwnerId, stored: bool, entry: Entry, reason: DeadReason) -> Self {
        let (was_sent, is_delivered) = (false, false);
        Self { owner, stored, was_sent, is_delivered, entry, reason, code: None, text: None }
    }

    /// Of a copy that could not be sent.
    pub(super) fn unsent(offer: Offer, reason: DeadReason) -> Self {
        Self::new(offer.owner, offer.stored && offer.recorded, offer.entry, reason)
    }

    /// Of a copy that was in flight.
    pub(super) fn of_sent(sent: InFlight, reason: DeadReason) -> Self {
        let death = Self::new(sent.owner, sent.stored, sent.entry, reason);
        Self { was_sent: true, ..death }
    }

    /// No death, but the end of a copy whose PUBREC arrived.
    pub(super) fn of_delivered(self) -> Self {
        Self { is_delivered: true, ..self }
    }
}

/// Copies that one owner did not get, for the log.
pub(super) struct Undelivered {
    /// The reason's word.
    pub(super) reason: &'static str,
    pub(super) kept: bool,
    pub(super) count: u64,
}

/// The kept letters, without their bodies.
#[derive(Debug, Default)]
pub(super) struct Cemetery {
    pub(super) last_id: u64,
    kept: BTreeMap<DeadId, DeadIndex>,
    kept_bytes: u64,
    undelivered: BTreeMap<(Arc<str>, &'static str), (u64, bool)>,
    /// Letters that the quota dropped since the last word about it, if there was one lately.
    dropped: Option<u64>,
    summarizes: bool,
    watches_age: bool,
}

impl Cemetery {
    /// Whether a letter is there.
    pub(super) fn is_kept(&self, id: DeadId) -> bool {
        self.kept.contains_key(&id)
    }
}

impl Broker {
    /// What this step killed gets its place.
    pub(super) fn settle(&mut self, now: Timestamp, turn: &mut Turn) {
        if self.deaths.is_empty() && !self.doomed.has_buried() {
            return; // As in nearly all steps.
        }
        while let Some(death) = self.deaths.pop_front() {
            let name = self.owner_name(death.owner);
            if self.needs_body(&death) {
                self.doom(death, name, now);
            } else {
                let filter = self.matching_filter(&death);
                self.die(death, &name, filter, now, turn);
            }
        }
        self.forget_lingering(turn);
    }

    /// Whether a death has to wait for its message to come from the store.
    pub(super) fn needs_body(&self, death: &Death) -> bool {
        death.entry.body.is_none() && !death.is_delivered && self.is_wanted(death.reason)
    }

    /// Whether deaths for `reason` become letters.
    pub(super) fn is_wanted(&self, reason: DeadReason) -> bool {
        let settings = &self.settings.dead_letters;
        settings.max_count > 0 && settings.reasons.contains(&reason)
    }

    /// Counts a death, and keeps the letter or lets it go.
    pub(super) fn die(
        &mut self,
        death: Death,
        name: &Arc<str>,
        filter: Option<Arc<str>>,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        if death.is_delivered {
            return remove(&death, turn);
        }
        let body = death.entry.body.as_ref();
        let is_letter =
            body.is_some_and(|body| self.settings.dead_letters.topic.is_letter(&body.topic));
        let is_kept = !is_letter && self.is_wanted(death.reason);
        if !is_letter {
            self.counters.dead[death.reason as usize] += 1;
            let what = Undelivered { reason: death.reason.as_str(), kept: is_kept, count: 1 };
            self.note_undelivered(name, what, now, turn);
        }
        if is_kept {
            self.bury(death, name, filter, now, turn);
        } else {
            remove(&death, turn);
        }
    }

    fn bury(
        &mut self,
        death: Death,
        name: &Arc<str>,
        filter: Option<Arc<str>>,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let message = death.entry.body.expect("only a copy with its body is buried");
        self.cemetery.last_id += 1;
        let id = DeadId(self.cemetery.last_id);
        let past = message.past.as_deref().copied();
        let redrives = past.map_or(0, |past| past.redrives);
        let retry = self.retry_at(death.reason, redrives, now);
        let letter = DeadLetter {
            id,
            owner: death.owner,
            message_id: death.entry.message,
            reason: death.reason,
            first_reason: past.map_or(death.reason, |past| past.first_reason),
            owner_name: name.clone(),
            filter,
            qos: death.entry.qos,
            retain: death.entry.retain,
            deliveries: death.entry.deliveries.max(u32::from(death.was_sent)),
            deaths: past.map_or(0, |past| past.deaths) + 1,
            redrives,
            origin: past.map_or(id, |past| DeadId(past.letter)),
            retry,
            reason_code: death.code,
            reason_string: death.text,
            died: now,
            died_unix_ms: self.wall.unix_ms(now),
            message,
        };
        let publication = Arc::new(self.letter_publication(&letter));
        let size = u32::try_from(letter.message.size()).unwrap_or(u32::MAX);
        let index = DeadIndex { id, died: now, size, retry };
        let until = turn.record(Record::Dead(Box::new(letter)));
        self.keep(index, now);
        self.enforce_quota(now, turn);
        if retry.is_none() {
            self.route(&publication, None, until, now, turn);
        }
    }

    /// A letter as its subscribers get it.
    pub(super) fn letter_publication(&self, letter: &DeadLetter) -> Message {
        letter::publication(letter, &self.settings.node, &self.settings.dead_letters)
    }

    /// Counts a kept letter, a new one or one that the store remembers.
    pub(super) fn keep(&mut self, index: DeadIndex, now: Timestamp) {
        self.cemetery.last_id = self.cemetery.last_id.max(index.id.0);
        self.cemetery.kept_bytes += u64::from(index.size);
        self.cemetery.kept.insert(index.id, index);
        self.watch_retry(index.id, index.retry);
        if !self.cemetery.watches_age {
            self.cemetery.watches_age = true;
            self.timers.set(now + AGE_INTERVAL, Timer::LetterAge);
        }
    }

    /// A letter stays dead, after a restart too: it is written again, without its retry.
    pub(super) fn end_retry(&mut self, letter: &DeadLetter, turn: &mut Turn) -> RecordNumber {
        if let Some(index) = self.cemetery.kept.get_mut(&letter.id) {
            index.retry = None;
        }
        turn.record(Record::Dead(Box::new(DeadLetter { retry: None, ..letter.clone() })))
    }

    /// Whether a publish that would make a letter is refused, as there are enough.
    pub(super) fn refuses_deaths(&self) -> bool {
        let settings = &self.settings.dead_letters;
        settings.refuse_when_full
            && (self.cemetery.kept.len() >= settings.max_count
                || self.cemetery.kept_bytes >= settings.max_bytes)
    }

    /// A message of QoS 1 or 2 that nobody had a subscription for, where that is to be a letter.
    pub(super) fn note_no_subscribers(
        &mut self,
        message: &Arc<Message>,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let filters = &self.settings.dead_letters.no_subscribers;
        let is_wanted = message.qos != QoS::AtMostOnce
            && filters.iter().any(|filter| topic::matches(&message.topic, filter));
        if is_wanted {
            let entry =
                Entry::new(self.new_message(), message.clone(), message.qos, message.retain);
            let death = Death::new(NOBODY, false, entry, DeadReason::NoSubscribers);
            self.die(death, &"-".into(), None, now, turn);
        }
    }

    /// What there is now.
    pub fn gauges(&self, now: Timestamp) -> Gauges {
        let oldest = self.cemetery.kept.values().next();
        Gauges {
            sessions: self.sessions.len() as u64,
            dead_letters: self.cemetery.kept.len() as u64,
            dead_letter_bytes: self.cemetery.kept_bytes,
            dead_letter_oldest_seconds: oldest.map_or(0, |it| now.since(it.died).as_secs()),
        }
    }

    fn enforce_quota(&mut self, now: Timestamp, turn: &mut Turn) {
        let limits = &self.settings.dead_letters;
        let (max_count, max_bytes) = (limits.max_count, limits.max_bytes);
        while self.cemetery.kept.len() > max_count || self.cemetery.kept_bytes > max_bytes {
            self.forget_oldest_letter(turn);
            self.counters.dead_dropped += 1;
            self.note_dropped(now, turn);
        }
    }

    /// For the log: the first at once, then one summary a minute.
    fn note_dropped(&mut self, now: Timestamp, turn: &mut Turn) {
        if let Some(count) = &mut self.cemetery.dropped {
            *count += 1;
            return;
        }
        self.cemetery.dropped = Some(0);
        turn.events.push(Event::LettersDropped { count: 1 });
        self.expect_summary(now);
    }

    pub(super) fn forget_old_letters(&mut self, now: Timestamp, turn: &mut Turn) {
        let max_age = self.settings.dead_letters.max_age;
        let is_old = |oldest: &DeadIndex| now.since(oldest.died) >= max_age;
        while self.cemetery.kept.values().next().is_some_and(is_old) {
            self.forget_oldest_letter(turn);
            self.counters.dead_aged_out += 1;
        }
        self.cemetery.watches_age = !self.cemetery.kept.is_empty();
        if self.cemetery.watches_age {
            self.timers.set(now + AGE_INTERVAL, Timer::LetterAge);
        }
    }

    /// A letter is not kept any longer.
    pub(super) fn forget_letter(&mut self, id: DeadId, turn: &mut Turn) {
        if let Some(index) = self.cemetery.kept.remove(&id) {
            self.cemetery.kept_bytes -= u64::from(index.size);
            self.timers.forget_retry(&index);
            turn.record(Record::DeadForgotten { id });
        }
    }

    fn forget_oldest_letter(&mut self, turn: &mut Turn) {
        if let Some(id) = self.cemetery.kept.keys().next().copied() {
            self.forget_letter(id, turn);
        }
    }

    /// For the log: the first of an owner and reason at once, then one summary a minute.
    pub(super) fn note_undelivered(
        &mut self,
        owner: &Arc<str>,
        Undelivered { reason, kept, count }: Undelivered,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        if let Some(id) = self.clients.get(owner) {
            let session = self.sessions.get_mut(id).expect("a client has a session");
            *session.more.undelivered.entry(reason).or_default() += count;
        }
        let undelivered = &mut self.cemetery.undelivered;
        if let Some((more, _)) = undelivered.get_mut(&(owner.clone(), reason)) {
            *more += count;
            return;
        }
        if undelivered.len() < UNDELIVERED_MAX {
            undelivered.insert((owner.clone(), reason), (0, kept));
            turn.events.push(Event::Undelivered { owner: owner.clone(), reason, count, kept });
            self.expect_summary(now);
        }
    }

    fn expect_summary(&mut self, now: Timestamp) {
        if !self.cemetery.summarizes {
            self.cemetery.summarizes = true;
            self.timers.set(now + SUMMARY_INTERVAL, Timer::Summary);
        }
    }

    pub(super) fn summarize_undelivered(&mut self, now: Timestamp, turn: &mut Turn) {
        let undelivered = &mut self.cemetery.undelivered;
        undelivered.retain(|_, (count, _)| *count > 0);
        for ((owner, reason), (count, kept)) in undelivered.iter_mut() {
            let (owner, count, kept) = (owner.clone(), std::mem::take(count), *kept);
            turn.events.push(Event::Undelivered { owner, reason, count, kept });
        }
        self.cemetery.dropped = self.cemetery.dropped.filter(|count| *count > 0);
        if let Some(count) = &mut self.cemetery.dropped {
            turn.events.push(Event::LettersDropped { count: std::mem::take(count) });
        }
        self.cemetery.summarizes = false;
        if !self.cemetery.undelivered.is_empty() || self.cemetery.dropped.is_some() {
            self.expect_summary(now);
        }
    }

    /// Client id, or `$share~group~filter`.
    pub(super) fn owner_name(&self, owner: OwnerId) -> Arc<str> {
        if let Some(session) = self.sessions.get(&owner) {
            return session.client_id.clone();
        }
        if let Some(group) = self.groups.get(&owner) {
            return super::group::group_name(&group.filter);
        }
        self.doomed.lingering_name(owner).unwrap_or_else(|| "".into())
    }

    /// By which of its subscriptions an owner that is there got the copy.
    pub(super) fn matching_filter(&self, death: &Death) -> Option<Arc<str>> {
        if let Some(session) = self.sessions.get(&death.owner) {
            let topic = &death.entry.body.as_ref()?.topic;
            return first_match(topic, |text| session.filter_from(text)).cloned();
        }
        let group = self.groups.get(&death.owner)?;
        Some(super::group::inner_filter(&group.filter).into())
    }
}

/// A copy leaves the store, and nothing is kept of it.
fn remove(death: &Death, turn: &mut Turn) {
    if death.stored {
        let (owner, message) = (death.owner, death.entry.message);
        turn.record(Record::Removed { owner, message, lazy: true });
    }
}
