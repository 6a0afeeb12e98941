//! The queue of an owner: copies that were not sent yet, in the order of their messages. Of a
//! stored queue memory has only what is about to be sent, whole; behind it is the `Tail`, which
//! only the store knows copy by copy.
//!
//! Invariants: `ready` is in ascending [`MessageId`] order and has its bodies; every copy of the
//! tail is newer than every copy that was ever in `ready`, but for those that came back.

use std::collections::VecDeque;
use std::sync::Arc;

use super::rare::Blank;
use super::tail::Tail;
use crate::mqtt::reply::SubscriptionIds;
use crate::mqtt::{Message, QoS};
use crate::time::Timestamp;
use crate::turn::{Backlog, Copy, Load, Loaded, MessageId, OwnerId, Sent, Stored};

/// Bodies that a stored queue has in memory at most, in bytes; one is always allowed.
const READY_BYTES: u32 = 1024 * 1024;
/// Bytes that are loaded so that the oldest copies can be dropped: they may stay for long.
const OLDEST_BYTES: u32 = 64 * 1024;
/// Copies that are loaded at a time, at least.
const LOAD_COUNT: usize = 64;

/// One copy of a message.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Of which message.
    pub message: MessageId,
    /// The message, where it is in memory.
    pub body: Option<Arc<Message>>,
    /// Effective QoS, above 0.
    pub qos: QoS,
    /// RETAIN as it is sent.
    pub retain: bool,
    /// Whether it may have been sent by an earlier run of the broker.
    pub in_doubt: bool,
    /// As they are sent.
    pub subscription_ids: SubscriptionIds,
    /// [`Message::size`].
    pub size: u32,
    /// When it expires, if it was not sent.
    pub expires: Option<Timestamp>,
    /// Charged deliveries.
    pub deliveries: u32,
}

impl Entry {
    /// A new copy of `message`.
    pub fn new(id: MessageId, message: Arc<Message>, qos: QoS, retain: bool) -> Self {
        Self {
            message: id,
            qos,
            retain,
            in_doubt: false,
            subscription_ids: None,
            size: u32::try_from(message.size()).unwrap_or(u32::MAX),
            expires: message.expires(),
            deliveries: 0,
            body: Some(message),
        }
    }

    /// A copy that the store remembers, without its body.
    pub fn restored(copy: Copy) -> Self {
        Self {
            message: copy.message,
            body: None,
            qos: copy.qos,
            retain: copy.retain,
            in_doubt: false,
            subscription_ids: copy.subscription_ids,
            size: copy.size,
            expires: copy.expires,
            deliveries: copy.deliveries,
        }
    }

    /// A copy that came from the store.
    pub fn loaded(stored: Stored) -> Self {
        Self { body: Some(stored.message), ..Self::restored(stored.copy) }
    }

    /// The copy as it is stored.
    pub fn as_copy(&self, owner: OwnerId, sent: Option<Sent>) -> Copy {
        Copy {
            owner,
            message: self.message,
            qos: self.qos,
            retain: self.retain,
            subscription_ids: self.subscription_ids.clone(),
            size: self.size,
            expires: self.expires,
            deliveries: self.deliveries,
            sent,
        }
    }

    /// The copy with its message, where that is in memory.
    pub fn as_stored(&self, owner: OwnerId, sent: Option<Sent>) -> Option<Stored> {
        let message = self.body.clone()?;
        Some(Stored { copy: self.as_copy(owner, sent), message })
    }

    /// Whether its Message Expiry Interval passed.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }
}

/// Copies and bytes of all queues together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Copies.
    pub count: u64,
    /// Of transient queues: in memory.
    pub memory: u64,
    /// Of stored queues: on disk.
    pub disk: u64,
}

/// A load that a queue waits for.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    load: Load,
    /// Whether what comes does not fit any more.
    is_void: bool,
}

/// Copies that wait for one owner.
#[derive(Debug)]
pub struct Queue {
    stored: bool,
    ready: VecDeque<Entry>,
    ready_bytes: u64,
    tail: Tail,
    waiting: Option<Waiting>,
    /// How many of the first in `ready` [`find`](Self::find) found unfit.
    passed: usize,
    /// The newest copy that ever left.
    last_taken: MessageId,
    /// Of `ready`.
    soonest_expiry: Option<Timestamp>,
    /// How many copies up to `in_doubt_until` an earlier run may have sent.
    in_doubt: usize,
    in_doubt_until: MessageId,
}

impl Queue {
    /// An empty queue.
    pub const fn new(stored: bool) -> Self {
        Self {
            stored,
            ready: VecDeque::new(),
            ready_bytes: 0,
            tail: Tail::new(),
            waiting: None,
            passed: 0,
            last_taken: MessageId(0),
            soonest_expiry: None,
            in_doubt: 0,
            in_doubt_until: MessageId(0),
        }
    }

    /// Copies in it.
    pub fn len(&self) -> usize {
        let tail = usize::try_from(self.tail.count()).unwrap_or(usize::MAX);
        self.ready.len().saturating_add(tail)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.tail.is_empty()
    }

    /// Their [`Message::size`] together.
    pub fn bytes(&self) -> u64 {
        self.ready_bytes + self.tail.bytes()
    }

    /// The oldest copy, where it is in memory.
    pub fn front(&self) -> Option<&Entry> {
        self.ready.front()
    }

    /// The copies in memory behind `after`, the oldest first.
    pub fn in_memory(&self, after: MessageId) -> impl Iterator<Item = &Entry> {
        let from = self.ready.partition_point(|entry| entry.message <= after);
        self.ready.range(from..)
    }

    /// Whether its copies are stored.
    pub fn is_stored(&self) -> bool {
        self.stored
    }

    /// Whether a load is on its way.
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Whether it asked for this load.
    pub fn is_waiting_for(&self, load: &Load) -> bool {
        self.waiting.is_some_and(|waiting| waiting.load == *load)
    }

    /// When the next copy may expire.
    pub fn soonest_expiry(&self) -> Option<Timestamp> {
        earlier(self.soonest_expiry, self.tail.soonest_expiry())
    }

    /// Appends the newest copy. `keep`: it may be sent soon.
    pub fn push(&mut self, entry: Entry, keep: bool, totals: &mut Totals) {
        self.gain(totals, 1, u64::from(entry.size));
        let fits = self.ready_bytes + u64::from(entry.size) <= u64::from(READY_BYTES);
        if self.stored && !(keep && fits && self.tail.is_empty()) {
            self.tail.push(entry.message, entry.size, entry.expires);
        } else {
            debug_assert!(self.ready.back().is_none_or(|last| last.message < entry.message));
            self.note(&entry);
            self.ready.push_back(entry);
        }
    }

    /// Puts a copy back where it belongs.
    pub fn put_back(&mut self, entry: Entry, totals: &mut Totals) {
        self.gain(totals, 1, u64::from(entry.size));
        if entry.body.is_none() {
            self.fold();
            self.tail.put_back(entry.message, entry.size, entry.expires);
            return;
        }
        self.passed = 0;
        self.note(&entry);
        let at = self.ready.partition_point(|other| other.message < entry.message);
        self.ready.insert(at, entry);
    }

    /// Takes the oldest copy, where it is in memory.
    pub fn pop(&mut self, totals: &mut Totals) -> Option<Entry> {
        self.take_at(0, totals)
    }

    /// The first copy in memory that fits, of the first `most`, and where it is. Those in front of
    /// it are not asked again before [`look_again`](Self::look_again), unless the queue changed
    /// otherwise than at its end.
    pub fn find<T>(
        &mut self,
        most: usize,
        mut fits: impl FnMut(&Entry) -> Option<T>,
    ) -> Option<(usize, T)> {
        while self.passed < self.ready.len().min(most) {
            if let Some(found) = fits(&self.ready[self.passed]) {
                return Some((self.passed, found));
            }
            self.passed += 1;
        }
        None
    }

    /// From now on all copies are asked again.
    pub fn look_again(&mut self) {
        self.passed = 0;
    }

    /// Whether there are copies that `find` does not come to, though no load is on its way.
    pub fn hides_more(&self, most: usize) -> bool {
        self.waiting.is_none() && (!self.tail.is_empty() || self.ready.len() > most)
    }

    /// Takes the copy at a place in memory.
    pub fn take_at(&mut self, at: usize, totals: &mut Totals) -> Option<Entry> {
        let entry = self.ready.remove(at)?;
        if at < self.passed {
            self.passed = 0;
        }
        self.last_taken = self.last_taken.max(entry.message);
        self.ready_bytes -= u64::from(entry.size);
        self.lose(totals, 1, u64::from(entry.size));
        if self.ready.is_empty() {
            self.soonest_expiry = None;
        }
        Some(entry)
    }

    /// Takes all copies that are in memory, and forgets the others: the owner ends.
    pub fn take_all(&mut self, totals: &mut Totals) -> VecDeque<Entry> {
        self.lose(totals, self.len() as u64, self.bytes());
        let ready = std::mem::take(&mut self.ready);
        *self = Self::new(self.stored);
        ready
    }

    /// Takes the copies in memory that expired.
    pub fn take_expired(&mut self, now: Timestamp, totals: &mut Totals) -> Vec<Entry> {
        if self.soonest_expiry.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let (expired, kept): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.ready).into_iter().partition(|entry| entry.is_expired(now));
        self.ready = kept;
        self.passed = 0;
        self.soonest_expiry = self.ready.iter().filter_map(|entry| entry.expires).min();
        let last = expired.iter().map(|entry| entry.message).max();
        self.last_taken = self.last_taken.max(last.unwrap_or_default());
        let bytes: u64 = expired.iter().map(|entry| u64::from(entry.size)).sum();
        self.ready_bytes -= bytes;
        self.lose(totals, expired.len() as u64, bytes);
        expired.into()
    }

    /// From now on its copies are stored: returns them, to be recorded.
    pub fn make_stored(&mut self, totals: &mut Totals) -> impl Iterator<Item = &Entry> {
        assert!(!self.stored, "a queue becomes stored once");
        totals.memory -= self.ready_bytes;
        totals.disk += self.ready_bytes;
        self.stored = true;
        self.ready.iter()
    }

    /// Copies that the store found at start. `in_doubt`: how many of the oldest an earlier run
    /// may have sent, of those up to `until`.
    pub fn restore(&mut self, backlog: &Backlog, totals: &mut Totals) {
        totals.count += backlog.count;
        totals.disk += backlog.bytes;
        self.tail.restore(backlog);
    }

    /// The first `count` copies up to `until` may have been sent by an earlier run.
    pub fn set_in_doubt(&mut self, count: usize, until: MessageId) {
        self.in_doubt = count;
        self.in_doubt_until = until;
    }

    /// What to load so that the next copies can be sent: up to twice `window` of them, as soon as
    /// less than half of one is in memory; one load at a time.
    pub fn next_load(&mut self, owner: OwnerId, window: usize) -> Option<Load> {
        if self.ready.len() > window / 2 || self.ready_bytes >= u64::from(READY_BYTES) {
            return None;
        }
        let count = (2 * window).max(LOAD_COUNT) - self.ready.len().min(window);
        self.wait(self.tail.next_load(owner, count, READY_BYTES))
    }

    /// What to load so that the oldest copy can be dropped.
    pub fn oldest_load(&mut self, owner: OwnerId) -> Option<Load> {
        self.wait(self.tail.next_load(owner, LOAD_COUNT, OLDEST_BYTES))
    }

    /// What to load because it expired.
    pub fn expired_load(&mut self, owner: OwnerId, now: Timestamp) -> Option<Load> {
        if self.waiting.is_some() {
            return None;
        }
        let load = self.tail.expired_load(owner, LOAD_COUNT, READY_BYTES, now);
        self.wait(load)
    }

    fn wait(&mut self, load: Option<Load>) -> Option<Load> {
        if self.waiting.is_some() {
            return None;
        }
        // What the store knows of copies that never left is never old.
        let load = load.map(|load| Load { after_lazy: load.first <= self.last_taken, ..load })?;
        self.waiting = Some(Waiting { load, is_void: false });
        self.tail.asked();
        Some(load)
    }

    /// Takes what came, if it is what the queue waits for. Expired copies are returned, to die;
    /// others are ready now. The number is of those that should have come and are lost.
    pub fn take_loaded(&mut self, mut loaded: Loaded, totals: &mut Totals) -> (Vec<Entry>, u64) {
        let Some(waiting) = self.waiting.filter(|waiting| waiting.load == loaded.load) else {
            return (Vec::new(), 0);
        };
        self.waiting = None;
        if waiting.is_void {
            self.tail.expiry_unknown(loaded.load.expired_by);
            return (Vec::new(), 0);
        }
        let copies = std::mem::take(&mut loaded.copies);
        let last = copies.last().map(|stored| stored.copy.message);
        let copies = copies.into_iter().filter(|stored| stored.copy.sent.is_none());
        let mut expired = Vec::new();
        for entry in copies.map(Entry::loaded) {
            self.tail.take(entry.size);
            if loaded.load.expired_by.is_some() {
                self.lose(totals, 1, u64::from(entry.size));
                self.last_taken = self.last_taken.max(entry.message);
                expired.push(entry);
            } else {
                let entry = self.judge(entry);
                self.note(&entry);
                self.ready.push_back(entry);
            }
        }
        let (lost, lost_bytes) = self.tail.answered(&loaded, last);
        self.lose(totals, lost, lost_bytes);
        (expired, lost)
    }

    /// Whether an earlier run may have sent it.
    fn judge(&mut self, mut entry: Entry) -> Entry {
        let is_old = self.in_doubt > 0 && entry.message <= self.in_doubt_until;
        entry.in_doubt = is_old && entry.qos == QoS::AtLeastOnce;
        self.in_doubt -= usize::from(is_old);
        entry
    }

    /// Nobody is connected: what is on disk leaves memory.
    pub fn fold(&mut self) {
        if !self.stored {
            return;
        }
        for entry in std::mem::take(&mut self.ready).into_iter().rev() {
            self.in_doubt += usize::from(entry.in_doubt);
            self.tail.put_back(entry.message, entry.size, entry.expires);
        }
        self.ready_bytes = 0;
        self.passed = 0;
        self.soonest_expiry = None;
        if let Some(waiting) = &mut self.waiting {
            waiting.is_void = true;
        }
    }

    fn note(&mut self, entry: &Entry) {
        self.ready_bytes += u64::from(entry.size);
        self.soonest_expiry = earlier(self.soonest_expiry, entry.expires);
    }

    fn gain(&self, totals: &mut Totals, count: u64, bytes: u64) {
        totals.count += count;
        *self.total(totals) += bytes;
    }

    fn lose(&self, totals: &mut Totals, count: u64, bytes: u64) {
        totals.count -= count;
        *self.total(totals) -= bytes;
    }

    fn total<'a>(&self, totals: &'a mut Totals) -> &'a mut u64 {
        if self.stored { &mut totals.disk } else { &mut totals.memory }
    }
}

/// Two kinds: whether its copies are stored.
impl Blank for Queue {
    type Kind = bool;

    fn shared(stored: bool) -> &'static Self {
        static STORED: Queue = Queue::new(true);
        static TRANSIENT: Queue = Queue::new(false);
        if stored { &STORED } else { &TRANSIENT }
    }

    fn blank(stored: bool) -> Self {
        Self::new(stored)
    }

    /// Of copies that left nothing has to be known: all that come are newer.
    fn tidy(&mut self) -> bool {
        if self.ready.is_empty() {
            self.ready = VecDeque::new();
        }
        self.is_empty() && self.waiting.is_none() && self.in_doubt == 0
    }
}

/// The earlier of two times, where there is one.
pub(super) fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests;
