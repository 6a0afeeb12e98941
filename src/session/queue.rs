//! The queue of an owner: copies that were not sent yet, in the order of their messages.
//!
//! Invariant: entries stand in ascending [`MessageId`] order, and of a stored queue only what is
//! about to be sent has its body in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::mqtt::reply::SubscriptionIds;
use crate::mqtt::{Message, QoS};
use crate::time::Timestamp;
use crate::turn::{Copy, Load, MessageId, OwnerId, Sent};

/// Bodies that a stored queue has in memory at most, in bytes; one is always allowed.
const READY_BYTES: usize = 1024 * 1024;

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

    /// A copy that the store remembers.
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

    /// Whether its Message Expiry Interval passed.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }
}

/// Bytes of all queues together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Of transient queues: in memory.
    pub memory: u64,
    /// Of stored queues: on disk.
    pub disk: u64,
}

/// Copies that wait for one owner.
#[derive(Debug)]
pub struct Queue {
    stored: bool,
    entries: VecDeque<Entry>,
    bytes: usize,
    ready_bytes: usize,
    loading: Option<Load>,
    soonest_expiry: Option<Timestamp>,
}

impl Queue {
    /// An empty queue.
    pub fn new(stored: bool) -> Self {
        Self {
            stored,
            entries: VecDeque::new(),
            bytes: 0,
            ready_bytes: 0,
            loading: None,
            soonest_expiry: None,
        }
    }

    /// Copies in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Their [`Message::size`] together.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The oldest copy.
    pub fn front(&self) -> Option<&Entry> {
        self.entries.front()
    }

    /// All copies, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// When the next copy may expire.
    pub fn soonest_expiry(&self) -> Option<Timestamp> {
        self.soonest_expiry
    }

    /// Appends the newest copy. `keep_body`: it may be sent soon.
    pub fn push(&mut self, mut entry: Entry, keep_body: bool, totals: &mut Totals) {
        if self.stored && !(keep_body && self.may_keep(&entry)) {
            entry.body = None;
        }
        self.count(&entry, totals);
        debug_assert!(self.entries.back().is_none_or(|last| last.message < entry.message));
        self.entries.push_back(entry);
    }

    /// Puts a copy back where it belongs.
    pub fn put_back(&mut self, entry: Entry, totals: &mut Totals) {
        self.count(&entry, totals);
        let at = self.entries.partition_point(|other| other.message < entry.message);
        self.entries.insert(at, entry);
    }

    /// Takes the oldest copy.
    pub fn pop(&mut self, totals: &mut Totals) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.discount(&entry, totals);
        Some(entry)
    }

    /// Takes all copies.
    pub fn take_all(&mut self, totals: &mut Totals) -> VecDeque<Entry> {
        *self.total(totals) -= self.bytes as u64;
        self.bytes = 0;
        self.ready_bytes = 0;
        self.soonest_expiry = None;
        std::mem::take(&mut self.entries)
    }

    /// Takes the copies that expired.
    pub fn take_expired(&mut self, now: Timestamp, totals: &mut Totals) -> Vec<Entry> {
        if self.soonest_expiry.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let (expired, kept) = std::mem::take(&mut self.entries)
            .into_iter()
            .partition::<VecDeque<_>, _>(|entry| entry.is_expired(now));
        self.entries = kept;
        self.soonest_expiry = self.entries.iter().filter_map(|entry| entry.expires).min();
        for entry in &expired {
            self.discount(entry, totals);
        }
        expired.into()
    }

    /// From now on its copies are stored: returns them, to be recorded.
    pub fn make_stored(&mut self, totals: &mut Totals) -> impl Iterator<Item = &Entry> {
        assert!(!self.stored, "a queue becomes stored once");
        totals.memory -= self.bytes as u64;
        totals.disk += self.bytes as u64;
        self.stored = true;
        self.entries.iter()
    }

    /// What to load so that the next copies can be sent: up to twice `window` of them, as soon as
    /// less than half of one is in memory; one load at a time.
    pub fn next_load(&mut self, owner: OwnerId, window: usize) -> Option<Load> {
        let ahead = self.entries.iter().take(2 * window.max(1)).enumerate();
        let mut absent = ahead.filter(|(_, entry)| entry.body.is_none());
        let (at, first) = absent.next()?;
        if self.loading.is_some() || at > window / 2 || !self.may_keep(first) {
            return None;
        }
        let mut bytes = first.size as usize;
        let mut last = first.message;
        for (_, entry) in absent {
            bytes += entry.size as usize;
            if bytes > READY_BYTES {
                break;
            }
            last = entry.message;
        }
        let first = first.message;
        self.loading = Some(Load { owner, first, last });
        self.loading
    }

    /// A loaded body came; false if no copy waits for it.
    pub fn fill(&mut self, id: MessageId, body: &Arc<Message>) -> bool {
        let Ok(at) = self.entries.binary_search_by_key(&id, |entry| entry.message) else {
            return false;
        };
        let entry = &mut self.entries[at];
        if entry.body.is_none() {
            self.ready_bytes += entry.size as usize;
            entry.body = Some(body.clone());
        }
        true
    }

    /// A load is over: takes the copies in its range whose bodies did not come.
    pub fn loaded(&mut self, load: Load, totals: &mut Totals) -> Vec<Entry> {
        if self.loading == Some(load) {
            self.loading = None;
        }
        let from = self.entries.partition_point(|entry| entry.message < load.first);
        let to = self.entries.partition_point(|entry| entry.message <= load.last);
        let mut lost = Vec::new();
        for at in (from..to).rev() {
            if self.entries[at].body.is_none() {
                lost.extend(self.entries.remove(at));
            }
        }
        for entry in &lost {
            self.discount(entry, totals);
        }
        lost
    }

    /// Nobody is connected: what is on disk leaves memory.
    pub fn drop_bodies(&mut self) {
        if self.stored && self.ready_bytes > 0 {
            for entry in &mut self.entries {
                entry.body = None;
            }
            self.ready_bytes = 0;
        }
    }

    fn may_keep(&self, entry: &Entry) -> bool {
        self.ready_bytes == 0 || self.ready_bytes + entry.size as usize <= READY_BYTES
    }

    fn count(&mut self, entry: &Entry, totals: &mut Totals) {
        let size = entry.size as usize;
        self.bytes += size;
        if entry.body.is_some() {
            self.ready_bytes += size;
        }
        *self.total(totals) += size as u64;
        if let Some(at) = entry.expires {
            self.soonest_expiry = Some(self.soonest_expiry.map_or(at, |soonest| soonest.min(at)));
        }
    }

    fn discount(&mut self, entry: &Entry, totals: &mut Totals) {
        let size = entry.size as usize;
        self.bytes -= size;
        if entry.body.is_some() {
            self.ready_bytes -= size;
        }
        *self.total(totals) -= size as u64;
        if self.entries.is_empty() {
            self.soonest_expiry = None;
        }
    }

    fn total<'a>(&self, totals: &'a mut Totals) -> &'a mut u64 {
        if self.stored { &mut totals.disk } else { &mut totals.memory }
    }
}
