//! What becomes of copies that cannot be delivered: each dies for one reason, and is kept as a
//! dead letter, or counted where that is switched off. A stored record first, a publication
//! second.
//!
//! A copy whose body is on disk only is `doomed` first: it stays in the store's queue until its
//! body came, then one record moves it. So each copy is in exactly one place after every commit.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::timer::{AGE_INTERVAL, SUMMARY_INTERVAL, Timer};
use super::{Broker, letter};
use crate::mqtt::{ReasonCode, topic};
use crate::session::outbound::{InFlight, Offer};
use crate::session::queue::Entry;
use crate::time::Timestamp;
use crate::turn::{
    DeadId, DeadIndex, DeadLetter, DeadReason, EndCause, Event, Load, OwnerId, Record, SessionId,
    Stored, Turn,
};

/// Letters that are written in one go.
const SLICE: usize = 64;
/// Bytes that are loaded in one go.
const SLICE_BYTES: usize = 1024 * 1024;
/// Owners and reasons that are told apart in the log.
const UNDELIVERED_MAX: usize = 10_000;

/// One copy's end.
#[derive(Debug)]
pub(super) struct Death {
    owner: OwnerId,
    stored: bool,
    was_sent: bool,
    /// It reached its client, which then went: nobody misses it.
    is_delivered: bool,
    entry: Entry,
    reason: DeadReason,
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

/// Copies of one owner that die for one reason, on their way from the queue to the dead.
#[derive(Debug)]
struct Doomed {
    owner: OwnerId,
    name: Arc<str>,
    /// The Topic Filters that it had, if it ended.
    filters: Vec<Arc<str>>,
    stored: bool,
    reason: DeadReason,
    /// Whether the owner ended, so that nothing must be left of it.
    is_ended: bool,
    /// In the order of their messages, as loads are.
    copies: VecDeque<Death>,
}

/// A share group that ended while copies of it were in flight: it is not forgotten before they
/// are acknowledged or dead.
#[derive(Debug)]
struct Lingering {
    owner: OwnerId,
    name: Arc<str>,
    sessions: BTreeSet<SessionId>,
    /// Whether nothing else of it is left.
    is_buried: bool,
}

/// The kept letters, without their bodies, and those on their way.
#[derive(Debug, Default)]
pub(super) struct Cemetery {
    pub(super) last_id: u64,
    kept: VecDeque<DeadIndex>,
    kept_bytes: u64,
    doomed: VecDeque<Doomed>,
    load: Option<Load>,
    lingering: Vec<Lingering>,
    undelivered: BTreeMap<(Arc<str>, &'static str), (u64, bool)>,
    watches_age: bool,
}

impl Broker {
    /// What this step killed gets its place.
    pub(super) fn settle(&mut self, now: Timestamp, turn: &mut Turn) {
        while let Some(death) = self.deaths.pop_front() {
            if death.is_delivered {
                remove(&death, turn);
                continue;
            }
            let name = self.owner_name(death.owner);
            let is_wanted = self.settings.dead_letters.reasons.contains(&death.reason);
            if death.entry.body.is_none() && is_wanted {
                self.doom(death, name, now);
            } else {
                let filter = self.matching_filter(&death);
                self.die(death, &name, filter, now, turn);
            }
        }
        if !self.cemetery.lingering.is_empty() {
            self.forget_lingering(turn);
        }
    }

    /// A share group ended, and copies of it may be in flight to `sessions`.
    pub(super) fn linger(&mut self, owner: OwnerId, name: Arc<str>, sessions: BTreeSet<SessionId>) {
        let is_buried = false;
        self.cemetery.lingering.push(Lingering { owner, name, sessions, is_buried });
    }

    /// The sessions that copies of an ended share group are in flight to.
    pub(super) fn lingering_sessions(&self, owner: OwnerId) -> Vec<SessionId> {
        let mut lingering = self.cemetery.lingering.iter();
        let group = lingering.find(|group| group.owner == owner);
        group.map_or_else(Vec::new, |group| group.sessions.iter().copied().collect())
    }

    fn forget_lingering(&mut self, turn: &mut Turn) {
        let (sessions, doomed) = (&self.sessions, &self.cemetery.doomed);
        self.cemetery.lingering.retain_mut(|group| {
            group.sessions.retain(|id| {
                let session = sessions.get(id);
                session.is_some_and(|s| s.outbound.iter().any(|sent| sent.owner == group.owner))
            });
            let is_done = group.is_buried
                && group.sessions.is_empty()
                && !doomed.iter().any(|doomed| doomed.owner == group.owner);
            if is_done {
                turn.record(Record::OwnerForgotten { owner: group.owner });
            }
            !is_done
        });
    }

    /// A copy without its body: it waits for it.
    fn doom(&mut self, death: Death, name: Arc<str>, now: Timestamp) {
        let (owner, reason) = (death.owner, death.reason);
        let newest = self.cemetery.doomed.back_mut();
        let fits = |doomed: &&mut Doomed| {
            let newest = doomed.copies.back().map(|copy| copy.entry.message);
            doomed.owner == owner
                && doomed.reason == reason
                && !doomed.is_ended
                && newest.is_none_or(|newest| newest < death.entry.message)
        };
        match newest.filter(fits) {
            Some(doomed) => doomed.copies.push_back(death),
            None => self.cemetery.doomed.push_back(Doomed {
                owner,
                name,
                filters: Vec::new(),
                stored: true,
                reason,
                is_ended: false,
                copies: VecDeque::from([death]),
            }),
        }
        self.timers.set(now, Timer::Burial);
    }

    /// An owner ended: what waited for it dies, in slices, until nothing of it is left.
    #[expect(clippy::too_many_arguments, reason = "it is all that is left of the owner")]
    pub(super) fn doom_owner(
        &mut self,
        owner: OwnerId,
        name: Arc<str>,
        filters: Vec<Arc<str>>,
        stored: bool,
        cause: EndCause,
        copies: impl IntoIterator<Item = Entry>,
        now: Timestamp,
    ) {
        let reason = cause.into();
        let die = |entry| Death::new(owner, stored, entry, reason);
        let mut copies: Vec<_> = copies.into_iter().map(die).collect();
        copies.sort_unstable_by_key(|death| death.entry.message);
        let copies = VecDeque::from(copies);
        if !stored && !self.settings.dead_letters.include_transient {
            self.counters.session_ended += copies.len() as u64;
            return;
        }
        let is_ended = true;
        let doomed = Doomed { owner, name, filters, stored, reason, is_ended, copies };
        self.cemetery.doomed.push_back(doomed);
        self.timers.set(now, Timer::Burial);
    }

    /// The next slice of the doomed.
    pub(super) fn bury_doomed(&mut self, now: Timestamp, turn: &mut Turn) {
        if self.cemetery.load.is_some() {
            return;
        }
        for _ in 0..SLICE {
            let Some(doomed) = self.cemetery.doomed.front_mut() else {
                return;
            };
            let Some(death) = doomed.copies.pop_front() else {
                self.forget_owner(turn);
                continue;
            };
            let is_wanted = self.settings.dead_letters.reasons.contains(&death.reason);
            if death.entry.body.is_none() && is_wanted {
                doomed.copies.push_front(death);
                let load = next_load(doomed);
                self.cemetery.load = Some(load);
                turn.loads.push(load);
                return;
            }
            let name = doomed.name.clone();
            let filter = match doomed.is_ended {
                true => first_match(doomed.filters.iter(), &death),
                false => self.matching_filter(&death),
            };
            self.die(death, &name, filter, now, turn);
        }
        self.timers.set(now, Timer::Burial);
    }

    /// The first of the doomed has no copies left.
    fn forget_owner(&mut self, turn: &mut Turn) {
        let doomed = self.cemetery.doomed.pop_front().expect("the caller saw it");
        let mut lingering = self.cemetery.lingering.iter_mut();
        if let Some(group) = lingering.find(|group| group.owner == doomed.owner) {
            group.is_buried = true;
        } else if doomed.is_ended && doomed.stored {
            turn.record(Record::OwnerForgotten { owner: doomed.owner });
        }
    }

    /// Takes a load that the doomed waited for; false if they did not.
    pub(super) fn loaded_doomed(
        &mut self,
        load: Load,
        messages: &[Stored],
        now: Timestamp,
        turn: &mut Turn,
    ) -> bool {
        if self.cemetery.load != Some(load) {
            return false;
        }
        self.cemetery.load = None;
        let doomed = self.cemetery.doomed.front_mut().expect("it waited for the load");
        let mut lost = 0;
        for death in doomed.copies.iter_mut().take_while(|d| d.entry.message <= load.last) {
            let found = messages.binary_search_by_key(&death.entry.message, |stored| stored.id);
            match found {
                Ok(at) => death.entry.body = Some(messages[at].message.clone()),
                Err(_) => lost += 1,
            }
        }
        if lost > 0 {
            doomed.copies.retain(|d| d.entry.message > load.last || d.entry.body.is_some());
            let (owner, count) = (doomed.name.clone(), lost);
            turn.events.push(Event::Lost { owner, count });
        }
        self.bury_doomed(now, turn);
        true
    }

    /// Counts a death, and keeps the letter or lets it go.
    fn die(
        &mut self,
        death: Death,
        name: &Arc<str>,
        filter: Option<Arc<str>>,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let body = death.entry.body.as_ref();
        let is_letter = body.is_some_and(|body| letter::is_dead_topic(&body.topic));
        let is_wanted = self.settings.dead_letters.reasons.contains(&death.reason);
        let is_kept = is_wanted && !is_letter && self.settings.dead_letters.max_count > 0;
        if !is_letter {
            self.counters.dead[death.reason as usize] += 1;
            self.note_undelivered(name, death.reason.as_str(), is_kept, now, turn);
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
        let letter = DeadLetter {
            id: DeadId(self.cemetery.last_id),
            owner: death.owner,
            message_id: death.entry.message,
            reason: death.reason,
            first_reason: death.reason,
            owner_name: name.clone(),
            filter,
            qos: death.entry.qos,
            retain: death.entry.retain,
            deliveries: death.entry.deliveries.max(u32::from(death.was_sent)),
            deaths: 1,
            redrives: 0,
            reason_code: death.code,
            reason_string: death.text,
            died: now,
            died_unix_ms: self.wall.unix_ms(now),
            message,
        };
        let publication = Arc::new(letter::publication(&letter, &self.settings.node));
        let size = u32::try_from(letter.message.size()).unwrap_or(u32::MAX);
        let index = DeadIndex { id: letter.id, died: now, size };
        let until = turn.record(Record::Dead(Box::new(letter)));
        self.keep(index, now);
        self.enforce_quota(turn);
        self.route(&publication, None, until, now, turn);
    }

    /// Counts a kept letter, a new one or one that the store remembers.
    pub(super) fn keep(&mut self, index: DeadIndex, now: Timestamp) {
        self.cemetery.last_id = self.cemetery.last_id.max(index.id.0);
        self.cemetery.kept_bytes += u64::from(index.size);
        self.cemetery.kept.push_back(index);
        if !self.cemetery.watches_age {
            self.cemetery.watches_age = true;
            self.timers.set(now + AGE_INTERVAL, Timer::LetterAge);
        }
    }

    /// Kept letters, now.
    pub fn dead_letters(&self) -> usize {
        self.cemetery.kept.len()
    }

    pub(super) fn enforce_quota(&mut self, turn: &mut Turn) {
        let limits = &self.settings.dead_letters;
        let (max_count, max_bytes) = (limits.max_count, limits.max_bytes);
        while self.cemetery.kept.len() > max_count || self.cemetery.kept_bytes > max_bytes {
            self.forget_oldest_letter(turn);
        }
    }

    pub(super) fn forget_old_letters(&mut self, now: Timestamp, turn: &mut Turn) {
        let max_age = self.settings.dead_letters.max_age;
        while self.cemetery.kept.front().is_some_and(|oldest| now.since(oldest.died) >= max_age) {
            self.forget_oldest_letter(turn);
        }
        self.cemetery.watches_age = !self.cemetery.kept.is_empty();
        if self.cemetery.watches_age {
            self.timers.set(now + AGE_INTERVAL, Timer::LetterAge);
        }
    }

    fn forget_oldest_letter(&mut self, turn: &mut Turn) {
        if let Some(oldest) = self.cemetery.kept.pop_front() {
            self.cemetery.kept_bytes -= u64::from(oldest.size);
            self.counters.dead_dropped += 1;
            turn.record(Record::DeadForgotten { id: oldest.id });
        }
    }

    /// For the log: the first of an owner and reason at once, then one summary a minute.
    pub(super) fn note_undelivered(
        &mut self,
        owner: &Arc<str>,
        reason: &'static str,
        kept: bool,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let undelivered = &mut self.cemetery.undelivered;
        if let Some((count, _)) = undelivered.get_mut(&(owner.clone(), reason)) {
            *count += 1;
            return;
        }
        if undelivered.is_empty() {
            self.timers.set(now + SUMMARY_INTERVAL, Timer::Summary);
        }
        if undelivered.len() < UNDELIVERED_MAX {
            undelivered.insert((owner.clone(), reason), (0, kept));
            turn.events.push(Event::Undelivered { owner: owner.clone(), reason, count: 1, kept });
        }
    }

    pub(super) fn summarize_undelivered(&mut self, now: Timestamp, turn: &mut Turn) {
        let undelivered = &mut self.cemetery.undelivered;
        undelivered.retain(|_, (count, _)| *count > 0);
        for ((owner, reason), (count, kept)) in undelivered.iter_mut() {
            let (owner, count, kept) = (owner.clone(), std::mem::take(count), *kept);
            turn.events.push(Event::Undelivered { owner, reason, count, kept });
        }
        if !undelivered.is_empty() {
            self.timers.set(now + SUMMARY_INTERVAL, Timer::Summary);
        }
    }

    /// Client id, or `$share~group~filter`.
    pub(super) fn owner_name(&self, owner: OwnerId) -> Arc<str> {
        if let Some(session) = self.sessions.get(&owner) {
            return session.client_id.clone();
        }
        if let Some(group) = self.groups.get(&owner) {
            return group.filter.replacen('/', "~", 2).into();
        }
        let mut lingering = self.cemetery.lingering.iter();
        let group = lingering.find(|group| group.owner == owner);
        group.map_or_else(|| "".into(), |group| group.name.clone())
    }

    /// By which of its subscriptions an owner that is there got the copy.
    fn matching_filter(&self, death: &Death) -> Option<Arc<str>> {
        if let Some(session) = self.sessions.get(&death.owner) {
            return first_match(session.filters(), death);
        }
        let group = self.groups.get(&death.owner)?;
        Some(super::group::inner_filter(&group.filter).into())
    }
}

fn first_match<'a>(
    mut filters: impl Iterator<Item = &'a Arc<str>>,
    death: &Death,
) -> Option<Arc<str>> {
    let topic = &death.entry.body.as_ref()?.topic;
    filters.find(|filter| topic::matches(topic, filter)).cloned()
}

/// A copy leaves the store, and nothing is kept of it.
fn remove(death: &Death, turn: &mut Turn) {
    if death.stored {
        let (owner, message) = (death.owner, death.entry.message);
        turn.record(Record::Removed { owner, message, lazy: true });
    }
}

/// The next copies to load, as many as one slice takes.
fn next_load(doomed: &Doomed) -> Load {
    let first = &doomed.copies.front().expect("the caller saw it").entry;
    let (first, mut last, mut bytes) = (first.message, first.message, 0);
    for death in doomed.copies.iter().take(SLICE) {
        bytes += death.entry.size as usize;
        if death.entry.message > first && (bytes > SLICE_BYTES || death.entry.message < last) {
            break;
        }
        last = death.entry.message;
    }
    Load { owner: doomed.owner, first, last }
}
