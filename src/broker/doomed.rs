//! Copies on their way from a queue to the dead, whose messages are on disk only: the backlog of
//! an owner that ended, and single copies without a body.
//!
//! Invariant: a doomed copy stays in the store's queue until its message came; then one record
//! moves it. So each copy is in exactly one place after every commit, and after a restart the rest
//! goes on. An ended owner is forgotten when nothing of it is left.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::Broker;
use super::dead_letter::{Death, Undelivered};
use super::leaving::Filters;
use super::timer::Timer;
use crate::router::first_match;
use crate::session::queue::Entry;
use crate::time::Timestamp;
use crate::turn::{
    DeadReason, EndCause, Event, Load, Loaded, MessageId, OwnerId, Record, SessionId, Stored, Turn,
};

/// Letters that are written in one go.
const SLICE: usize = 64;
/// Copies that are loaded in one go.
const LOADED: usize = 256;
/// Bytes that are loaded in one go.
const LOADED_BYTES: u32 = 1024 * 1024;

/// All of them, oldest first, and one load for the first.
#[derive(Debug, Default)]
pub(super) struct Doomed {
    batches: VecDeque<Batch>,
    /// How many batches are gone: the number of the first.
    gone: u64,
    /// The number of each owner's newest batch.
    newest: BTreeMap<OwnerId, u64>,
    load: Option<Load>,
    lingering: BTreeMap<OwnerId, Lingering>,
    /// Those of `lingering` of which nothing else is left.
    buried: BTreeSet<OwnerId>,
}

/// Copies of one owner that die for one reason.
#[derive(Debug)]
struct Batch {
    owner: OwnerId,
    name: Arc<str>,
    reason: DeadReason,
    /// In the order of their messages, as loads are.
    copies: VecDeque<Death>,
    /// Of an owner that ended, or whose queue is emptied.
    rest: Option<Rest>,
}

/// What else there is of an owner that ended, or in a queue that is emptied.
#[derive(Debug)]
struct Rest {
    /// The Topic Filters that it had.
    filters: Filters,
    stored: bool,
    /// Where the next load begins; `None`: there is no more.
    next: Option<MessageId>,
    /// The last that is doomed.
    last: MessageId,
    /// Whether the owner ended, so that nothing must be left of it; else only what was never sent
    /// is doomed.
    is_ended: bool,
}

impl Rest {
    fn matching_filter(&self, death: &Death) -> Option<Arc<str>> {
        let topic = &death.entry.body.as_ref()?.topic;
        let from = |text: &str| {
            let from = (Bound::Included(text), Bound::Unbounded);
            self.filters.range::<str, _>(from).next().map(|(filter, _)| filter)
        };
        first_match(topic, from).cloned()
    }
}

/// What an owner that ended leaves.
#[derive(Debug)]
pub(super) struct Legacy {
    pub(super) owner: OwnerId,
    pub(super) name: Arc<str>,
    /// The Topic Filters that it had.
    pub(super) filters: Filters,
    pub(super) cause: EndCause,
    /// Whether the store has its copies, so that none are needed here.
    pub(super) stored: bool,
    pub(super) copies: Vec<Entry>,
    /// How many copies it had.
    pub(super) count: u64,
}

/// A share group that ended while copies of it were in flight: it is not forgotten before they
/// are acknowledged or dead.
#[derive(Debug)]
struct Lingering {
    name: Arc<str>,
    /// Whom copies may be in flight to.
    sessions: BTreeSet<SessionId>,
}

impl Doomed {
    fn push(&mut self, batch: Batch) {
        self.newest.insert(batch.owner, self.gone + self.batches.len() as u64);
        self.batches.push_back(batch);
    }

    fn pop(&mut self) -> Option<Batch> {
        let batch = self.batches.pop_front()?;
        if self.newest.get(&batch.owner) == Some(&self.gone) {
            self.newest.remove(&batch.owner);
        }
        self.gone += 1;
        Some(batch)
    }

    /// The newest batch of an owner.
    fn newest_of(&mut self, owner: OwnerId) -> Option<&mut Batch> {
        let at = self.newest.get(&owner)? - self.gone;
        self.batches.get_mut(usize::try_from(at).ok()?)
    }

    /// Whether share groups of which at most copies in flight are left are to be forgotten.
    pub(super) fn has_buried(&self) -> bool {
        !self.buried.is_empty()
    }

    /// The name of a share group that ended, while copies of it are in flight.
    pub(super) fn lingering_name(&self, owner: OwnerId) -> Option<Arc<str>> {
        self.lingering.get(&owner).map(|group| group.name.clone())
    }

    /// The sessions that copies of such a group are in flight to.
    pub(super) fn lingering_sessions(&self, owner: OwnerId) -> Vec<SessionId> {
        let group = self.lingering.get(&owner);
        group.map_or_else(Vec::new, |group| group.sessions.iter().copied().collect())
    }
}

impl Broker {
    /// A copy without its body: it waits for it, with others of its owner, as one message that
    /// many queues have may die in each of them, and each batch is a load of its own.
    pub(super) fn doom(&mut self, death: Death, name: Arc<str>, now: Timestamp) {
        let (owner, reason) = (death.owner, death.reason);
        let fits = |batch: &&mut Batch| {
            let newest = batch.copies.back().map(|copy| copy.entry.message);
            batch.reason == reason
                && batch.rest.is_none()
                && newest.is_none_or(|newest| newest < death.entry.message)
        };
        match self.doomed.newest_of(owner).filter(fits) {
            Some(batch) => batch.copies.push_back(death),
            None => {
                let copies = VecDeque::from([death]);
                self.doomed.push(Batch { owner, name, reason, copies, rest: None });
            }
        }
        self.timers.set_single(now, Timer::Burial);
    }

    /// An owner ended: what waited for it dies, in slices, until nothing of it is left.
    pub(super) fn doom_owner(&mut self, legacy: Legacy, now: Timestamp, turn: &mut Turn) {
        if !legacy.stored && !self.settings.dead_letters.include_transient {
            self.counters.session_ended += legacy.count;
            return;
        }
        self.doom_all(legacy, true, now, turn);
    }

    /// The queue of an owner that lives is emptied: what was never sent dies, in slices.
    pub(super) fn doom_queue(&mut self, legacy: Legacy, now: Timestamp, turn: &mut Turn) {
        self.doom_all(legacy, false, now, turn);
    }

    fn doom_all(&mut self, legacy: Legacy, is_ended: bool, now: Timestamp, turn: &mut Turn) {
        let Legacy { owner, name, filters, cause, stored, mut copies, count } = legacy;
        let reason: DeadReason = cause.into();
        let is_wanted = self.is_wanted(reason);
        if is_ended && !is_wanted && count > 0 {
            self.counters.dead[reason as usize] += count;
            let what = Undelivered { reason: reason.as_str(), kept: false, count };
            self.note_undelivered(&name, what, now, turn);
        }
        if stored || (is_ended && !is_wanted) {
            copies.clear();
        }
        copies.sort_unstable_by_key(|entry| entry.message);
        let die = |entry| Death::new(owner, stored, entry, reason);
        let copies = copies.into_iter().map(die).collect();
        let next = (stored && (is_wanted || !is_ended)).then_some(MessageId(0));
        let last = if is_ended { MessageId(u64::MAX) } else { MessageId(self.last_message) };
        let rest = Some(Rest { filters, stored, next, last, is_ended });
        self.doomed.push(Batch { owner, name, reason, copies, rest });
        self.timers.set_single(now, Timer::Burial);
    }

    /// The next slice of the doomed.
    pub(super) fn bury_doomed(&mut self, now: Timestamp, turn: &mut Turn) {
        if self.doomed.load.is_some() {
            return;
        }
        for _ in 0..SLICE {
            let Some(batch) = self.doomed.batches.front() else {
                return;
            };
            let load = match batch.copies.front() {
                Some(death) if self.needs_body(death) => Some(body_load(batch)),
                Some(_) => None,
                None => rest_load(batch),
            };
            if let Some(load) = load {
                self.doomed.load = Some(load);
                turn.loads.push(load);
                return;
            }
            self.bury_first(now, turn);
        }
        self.timers.set_single(now, Timer::Burial);
    }

    /// The first copy of the first batch dies, or the batch is done.
    fn bury_first(&mut self, now: Timestamp, turn: &mut Turn) {
        let batch = self.doomed.batches.front_mut().expect("the caller saw it");
        let Some(death) = batch.copies.pop_front() else {
            return self.forget_owner(now, turn);
        };
        let name = batch.name.clone();
        let filter = match &batch.rest {
            Some(rest) => rest.matching_filter(&death),
            None => self.matching_filter(&death),
        };
        self.die(death, &name, filter, now, turn);
    }

    fn forget_owner(&mut self, now: Timestamp, turn: &mut Turn) {
        let batch = self.doomed.pop().expect("the caller saw it");
        let Some(rest) = batch.rest else {
            return;
        };
        self.discard_filters(rest.filters, now);
        if !rest.is_ended {
            return;
        }
        if self.doomed.lingering.contains_key(&batch.owner) {
            self.doomed.buried.insert(batch.owner);
        } else if rest.stored {
            turn.record(Record::OwnerForgotten { owner: batch.owner });
        }
    }

    /// Takes a load that the doomed waited for; false if they did not.
    pub(super) fn loaded_doomed(
        &mut self,
        loaded: &Loaded,
        now: Timestamp,
        turn: &mut Turn,
    ) -> bool {
        if self.doomed.load != Some(loaded.load) {
            return false;
        }
        self.doomed.load = None;
        let batch = self.doomed.batches.front().expect("it waited for the load");
        if batch.copies.is_empty() {
            self.take_rest(loaded);
        } else {
            self.take_bodies(loaded, turn);
        }
        self.bury_doomed(now, turn);
        true
    }

    /// Copies of an owner that ended: all but those that a living session has in flight.
    fn take_rest(&mut self, loaded: &Loaded) {
        let sessions = &self.sessions;
        let is_in_flight = |stored: &Stored| {
            let sent = stored.copy.sent.as_ref();
            let session = sent.and_then(|sent| sessions.get(&sent.session));
            session.is_some_and(|session| {
                let message = stored.copy.message;
                let mut in_flight = session.outbound.iter();
                in_flight.any(|s| s.owner == stored.copy.owner && s.entry.message == message)
            })
        };
        let batch = self.doomed.batches.front_mut().expect("the caller saw it");
        let is_ended = batch.rest.as_ref().is_some_and(|rest| rest.is_ended);
        let is_doomed = |stored: &&Stored| match is_ended {
            true => !is_in_flight(stored),
            false => stored.copy.sent.is_none(),
        };
        let dead = loaded.copies.iter().filter(is_doomed).cloned();
        let (owner, reason) = (batch.owner, batch.reason);
        batch.copies.extend(dead.map(|stored| {
            let sent = stored.copy.sent.clone();
            let mut death = Death::new(owner, true, Entry::loaded(stored), reason);
            death.was_sent = sent.is_some();
            match sent {
                Some(sent) if sent.pubrec_arrived => death.of_delivered(),
                _ => death,
            }
        }));
        let rest = batch.rest.as_mut().expect("only an ended owner has a rest");
        let last = loaded.copies.last().filter(|_| loaded.has_more);
        rest.next = last.map(|last| MessageId(last.copy.message.0 + 1));
    }

    /// Bodies of single copies.
    fn take_bodies(&mut self, loaded: &Loaded, turn: &mut Turn) {
        let batch = self.doomed.batches.front_mut().expect("the caller saw it");
        let last = loaded.load.last;
        for death in batch.copies.iter_mut().take_while(|death| death.entry.message <= last) {
            let id = death.entry.message;
            if let Ok(at) = loaded.copies.binary_search_by_key(&id, |stored| stored.copy.message) {
                death.entry.body = Some(loaded.copies[at].message.clone());
            }
        }
        let before = batch.copies.len();
        batch.copies.retain(|d| d.entry.message > last || d.entry.body.is_some());
        let lost = before - batch.copies.len();
        if lost > 0 {
            turn.events.push(Event::Lost { owner: batch.name.clone(), count: lost as u64 });
        }
    }

    /// A share group ended, and copies of it may be in flight to `sessions`.
    pub(super) fn linger(&mut self, owner: OwnerId, name: Arc<str>, sessions: BTreeSet<SessionId>) {
        self.doomed.lingering.insert(owner, Lingering { name, sessions });
    }

    /// Forgets the share groups of which nothing is left.
    pub(super) fn forget_lingering(&mut self, turn: &mut Turn) {
        let sessions = &self.sessions;
        let Doomed { newest, lingering, buried, .. } = &mut self.doomed;
        buried.retain(|&owner| {
            let group = lingering.get_mut(&owner).expect("who is buried lingers");
            group.sessions.retain(|id| {
                let session = sessions.get(id);
                session.is_some_and(|s| s.outbound.iter().any(|sent| sent.owner == owner))
            });
            let is_done = group.sessions.is_empty() && !newest.contains_key(&owner);
            if is_done {
                lingering.remove(&owner);
                turn.record(Record::OwnerForgotten { owner });
            }
            !is_done
        });
    }
}

/// The messages of the next single copies.
fn body_load(batch: &Batch) -> Load {
    let first = batch.copies.front().expect("the caller saw it").entry.message;
    let (mut last, mut count, mut bytes) = (first, 0, 0_u32);
    for death in batch.copies.iter().take(LOADED) {
        bytes = bytes.saturating_add(death.entry.size);
        if count > 0 && bytes > LOADED_BYTES {
            break;
        }
        count += 1;
        last = death.entry.message;
    }
    let (count, bytes) = (u32::MAX, u32::MAX); // All of the range: other copies may lie between.
    Load { owner: batch.owner, first, last, count, bytes, expired_by: None, after_lazy: true }
}

/// The next copies of an owner that ended.
fn rest_load(batch: &Batch) -> Option<Load> {
    let rest = batch.rest.as_ref()?;
    let (first, last) = (rest.next?, rest.last);
    let (count, bytes) = (LOADED as u32, LOADED_BYTES);
    Some(Load { owner: batch.owner, first, last, count, bytes, expired_by: None, after_lazy: true })
}

#[cfg(test)]
mod tests;
