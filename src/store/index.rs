//! What of the log is still needed, and where it lies. Kept in memory, made anew from the log at
//! every open; it holds no message.
//!
//! Invariant: `live` of a segment is the sum of the bytes of the bodies, copies and received
//! Packet Identifiers whose newest place is in it. What happened to a copy later than its place
//! is not counted: segments go from the front only, and whoever takes away the place writes all
//! of the copy anew, so records about it never outlive their need unseen.

use std::collections::{BTreeMap, HashMap, VecDeque};

use foldhash::fast::RandomState;

use crate::mqtt::PacketId;
use crate::time::Timestamp;
use crate::turn::{Backlog, Copy, Load, MessageId, OwnerId, Sent, SessionId};

use super::record::LogRecord;

type Map<K, V> = HashMap<K, V, RandomState>;

/// What a received Packet Identifier counts for.
const RECEIVED_BYTES: u32 = 12;

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The key of its segment.
    pub(super) segment: u64,
    /// Its first byte there.
    pub(super) offset: u32,
    /// Its bytes.
    pub(super) len: u32,
}

/// Consecutive rows of the log: one chunk, or several that hold one long record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    /// The key of the first row.
    pub(super) key: u64,
    /// How many rows.
    pub(super) rows: u64,
    /// Bytes of records.
    pub(super) bytes: u32,
    /// Bytes of records that are needed.
    pub(super) live: u32,
}

#[derive(Debug)]
struct Body {
    place: Place,
    copies: u32,
}

#[derive(Debug)]
struct Entry {
    place: Place,
    /// [`Copy::expires`]; [`NEVER`] where it does not.
    expires: Timestamp,
    /// [`Copy::size`].
    size: u32,
    /// Whether it was in flight when it was written.
    was_sent: bool,
    /// Whether failed deliveries were counted when it was written.
    was_failed: bool,
    /// What happened since.
    since: Option<Box<Since>>,
}

/// Stands for no expiry.
const NEVER: Timestamp = Timestamp(u64::MAX);

impl Entry {
    fn new(copy: &Copy, place: Place) -> Self {
        Self {
            place,
            expires: copy.expires.unwrap_or(NEVER),
            size: copy.size,
            was_sent: copy.sent.is_some(),
            was_failed: copy.deliveries > 0,
            since: None,
        }
    }

    /// Whether it is neither in flight nor counted as failed: nobody but the store knows it.
    fn is_waiting(&self) -> bool {
        let Some(since) = &self.since else {
            return !self.was_sent && !self.was_failed;
        };
        let is_sent = since.sent.as_ref().map_or(self.was_sent, Option::is_some);
        let is_failed = since.deliveries.map_or(self.was_failed, |count| count > 0);
        !is_sent && !is_failed
    }
}

/// What happened to a copy after it was written whole.
#[derive(Clone, Debug, Default)]
struct Since {
    /// The newest `Sent`, or `Some(None)` when it was returned.
    sent: Option<Option<Sent>>,
    pubrec_arrived: bool,
    deliveries: Option<u32>,
}

impl Since {
    fn apply(&self, copy: &mut Copy) {
        if let Some(sent) = &self.sent {
            copy.sent.clone_from(sent);
        }
        if let (true, Some(sent)) = (self.pubrec_arrived, &mut copy.sent) {
            sent.pubrec_arrived = true;
        }
        if let Some(deliveries) = self.deliveries {
            copy.deliveries = deliveries;
        }
    }
}

/// The copies that a load asks for.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Each copy and its body.
    pub(super) places: Vec<(Place, Place)>,
    /// Whether there are more.
    pub(super) has_more: bool,
    /// The soonest expiry of those that did not come.
    pub(super) soonest_expiry: Option<Timestamp>,
}

impl Found {
    fn see_expiry(&mut self, expires: Timestamp) {
        let expires = (expires != NEVER).then_some(expires);
        self.soonest_expiry = sooner(self.soonest_expiry, expires);
    }
}

/// The sooner of two, where there are two.
fn sooner(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// What is live where.
#[derive(Debug, Default)]
pub(super) struct Index {
    bodies: Map<MessageId, Body>,
    queues: Map<OwnerId, BTreeMap<MessageId, Entry>>,
    received: Map<SessionId, BTreeMap<PacketId, u64>>,
    segments: VecDeque<Segment>,
    bytes: u64,
    live: u64,
    /// Bodies that had no copy at some time since the last [`settle`](Self::settle).
    unsettled: Vec<MessageId>,
    /// Whether copies are counted as they come. At open they are counted at the end: a body that
    /// was moved stands behind copies that refer to it.
    counting: bool,
}

impl Index {
    /// Bytes of records in the log.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of records in the log that are needed.
    pub(super) fn live(&self) -> u64 {
        self.live
    }

    /// The oldest segment.
    pub(super) fn front(&self) -> Option<&Segment> {
        self.segments.front()
    }

    /// How many rows the segment at `key` has.
    pub(super) fn rows(&self, key: u64) -> Option<u64> {
        let at = self.position(key)?;
        Some(self.segments[at].rows)
    }

    /// Forgets the oldest segment; what is live in it must get a new place before anyone asks.
    pub(super) fn drop_front(&mut self) {
        if let Some(segment) = self.segments.pop_front() {
            self.bytes -= u64::from(segment.bytes);
            self.live -= u64::from(segment.live);
        }
    }

    /// Adds a segment at the end.
    pub(super) fn add_segment(&mut self, key: u64, rows: u64, bytes: u32) {
        self.bytes += u64::from(bytes);
        self.segments.push_back(Segment { key, rows, bytes, live: 0 });
    }

    /// Takes note of a record of the log.
    pub(super) fn apply(&mut self, record: LogRecord<'_>, place: Place) {
        match record {
            LogRecord::Message { id, .. } => self.add_body(id, place),
            LogRecord::Queued(copy) => self.add_copy(&copy, place),
            LogRecord::Sent { owner, message, sent } => self.change(owner, message, |since| {
                since.sent = Some(Some(sent));
                since.pubrec_arrived = false;
            }),
            LogRecord::PubRecArrived { owner, message } => {
                self.change(owner, message, |since| since.pubrec_arrived = true);
            }
            LogRecord::DeliveryFailed { owner, message, deliveries } => {
                self.change(owner, message, |since| since.deliveries = Some(deliveries))
            }
            LogRecord::Returned { owner, message } => self.change(owner, message, |since| {
                since.sent = Some(None);
                since.pubrec_arrived = false;
            }),
            LogRecord::Removed { owner, message } => self.remove_copy(owner, message),
            LogRecord::Received { session, packet_id } => {
                let ids = self.received.entry(session).or_default();
                let old = ids.insert(packet_id, place.segment);
                self.count(old, RECEIVED_BYTES, false);
                self.count(Some(place.segment), RECEIVED_BYTES, true);
            }
            LogRecord::Released { session, packet_id } => self.release(session, packet_id),
            LogRecord::SessionEnded { session } => self.release_all(session),
            LogRecord::OwnerForgotten { owner } => {
                self.release_all(owner);
                for (message, entry) in self.queues.remove(&owner).unwrap_or_default() {
                    self.forget_copy(message, &entry);
                }
            }
        }
    }

    /// Ends a batch: bodies that no copy refers to are not kept.
    pub(super) fn settle(&mut self) {
        for id in std::mem::take(&mut self.unsettled) {
            if self.bodies.get(&id).is_some_and(|body| body.copies == 0) {
                self.remove_body(id);
            }
        }
    }

    /// Ends the reading of the whole log: counts the copies of each body.
    pub(super) fn finish(&mut self) {
        for queue in self.queues.values() {
            for message in queue.keys() {
                if let Some(body) = self.bodies.get_mut(message) {
                    body.copies += 1;
                }
            }
        }
        self.counting = true;
        self.unsettled = self.bodies.keys().copied().collect();
        self.settle();
    }

    /// Whether the body at `place` is the one that is needed.
    pub(super) fn needs_body(&self, id: MessageId, place: Place) -> bool {
        self.bodies.get(&id).is_some_and(|body| body.place == place)
    }

    /// Completes a copy that was read at `place`, or `None` when it is not needed.
    pub(super) fn complete(&self, mut copy: Copy, place: Place) -> Option<Copy> {
        let entry = self.queues.get(&copy.owner)?.get(&copy.message)?;
        if entry.place != place {
            return None;
        }
        if let Some(since) = &entry.since {
            since.apply(&mut copy);
        }
        Some(copy)
    }

    /// Whether a received Packet Identifier is held by the record in `segment`.
    pub(super) fn needs_received(&self, session: SessionId, id: PacketId, segment: u64) -> bool {
        let ids = self.received.get(&session);
        ids.and_then(|ids| ids.get(&id)) == Some(&segment)
    }

    /// The received Packet Identifiers, in order.
    pub(super) fn received(&self) -> Vec<(SessionId, PacketId)> {
        let ids = self.received.iter();
        let pairs = ids.flat_map(|(session, ids)| ids.keys().map(|id| (*session, *id)));
        let mut all: Vec<_> = pairs.collect();
        all.sort_unstable();
        all
    }

    /// The copies that are asked for, in order.
    pub(super) fn find(&self, load: Load) -> Found {
        let mut found = Found::default();
        let queue = self.queues.get(&load.owner);
        let Some(queue) = queue.filter(|_| load.first <= load.last) else {
            return found;
        };
        let mut bytes = 0;
        for (id, entry) in queue.range(load.first..=load.last) {
            if let Some(time) = load.expired_by {
                if !entry.is_waiting() {
                    continue;
                }
                if entry.expires > time {
                    found.see_expiry(entry.expires);
                    continue;
                }
            }
            let Some(body) = self.bodies.get(id) else {
                continue;
            };
            bytes += u64::from(entry.size);
            let is_first = found.places.is_empty();
            let fits = found.places.len() < load.count as usize && bytes <= load.bytes.into();
            if !fits && !is_first {
                found.has_more = true;
                if load.expired_by.is_none() {
                    break;
                }
                found.see_expiry(entry.expires);
                continue;
            }
            found.places.push((entry.place, body.place));
        }
        found
    }

    /// What waits, by owner, and where the copies lie that do not: they are in flight, or failed.
    pub(super) fn backlogs(&self) -> (Vec<Backlog>, Vec<Place>) {
        let mut backlogs = Vec::new();
        let mut others = Vec::new();
        for (owner, queue) in &self.queues {
            let mut backlog = None;
            for (id, entry) in queue {
                if !entry.is_waiting() {
                    others.push(entry.place);
                    continue;
                }
                let backlog = backlog.get_or_insert(Backlog {
                    owner: *owner,
                    first: *id,
                    count: 0,
                    bytes: 0,
                    soonest_expiry: None,
                });
                backlog.count += 1;
                backlog.bytes += u64::from(entry.size);
                let expires = (entry.expires != NEVER).then_some(entry.expires);
                backlog.soonest_expiry = sooner(backlog.soonest_expiry, expires);
            }
            backlogs.extend(backlog);
        }
        backlogs.sort_unstable_by_key(|backlog| backlog.owner);
        others.sort_unstable_by_key(|place| (place.segment, place.offset));
        (backlogs, others)
    }

    fn add_body(&mut self, id: MessageId, place: Place) {
        let copies = match self.bodies.get(&id) {
            Some(old) => {
                let (old, copies) = (old.place, old.copies);
                self.count(Some(old.segment), old.len, false);
                copies
            }
            None => {
                self.unsettled.push(id);
                0
            }
        };
        self.bodies.insert(id, Body { place, copies });
        self.count(Some(place.segment), place.len, true);
    }

    fn remove_body(&mut self, id: MessageId) {
        if let Some(body) = self.bodies.remove(&id) {
            self.count(Some(body.place.segment), body.place.len, false);
        }
    }

    fn add_copy(&mut self, copy: &Copy, place: Place) {
        let queue = self.queues.entry(copy.owner).or_default();
        match queue.insert(copy.message, Entry::new(copy, place)) {
            Some(old) => self.count(Some(old.place.segment), old.place.len, false),
            None if self.counting => {
                if let Some(body) = self.bodies.get_mut(&copy.message) {
                    body.copies += 1;
                }
            }
            None => {}
        }
        self.count(Some(place.segment), place.len, true);
    }

    fn change(&mut self, owner: OwnerId, message: MessageId, change: impl FnOnce(&mut Since)) {
        let queue = self.queues.get_mut(&owner);
        // It may not be stored: a copy of the memory alone, or one whose place moved behind this.
        if let Some(entry) = queue.and_then(|queue| queue.get_mut(&message)) {
            change(entry.since.get_or_insert_default());
        }
    }

    fn remove_copy(&mut self, owner: OwnerId, message: MessageId) {
        let Some(queue) = self.queues.get_mut(&owner) else {
            return;
        };
        let removed = queue.remove(&message);
        if queue.is_empty() {
            self.queues.remove(&owner);
        }
        if let Some(entry) = removed {
            self.forget_copy(message, &entry);
        }
    }

    fn forget_copy(&mut self, message: MessageId, entry: &Entry) {
        self.count(Some(entry.place.segment), entry.place.len, false);
        if !self.counting {
            return;
        }
        if let Some(body) = self.bodies.get_mut(&message) {
            body.copies -= 1;
            if body.copies == 0 {
                // A later record of the turn may give it to another owner.
                self.unsettled.push(message);
            }
        }
    }

    fn release(&mut self, session: SessionId, packet_id: PacketId) {
        let Some(ids) = self.received.get_mut(&session) else {
            return;
        };
        let old = ids.remove(&packet_id);
        if ids.is_empty() {
            self.received.remove(&session);
        }
        self.count(old, RECEIVED_BYTES, false);
    }

    fn release_all(&mut self, session: SessionId) {
        for segment in self.received.remove(&session).unwrap_or_default().values() {
            self.count(Some(*segment), RECEIVED_BYTES, false);
        }
    }

    /// Corrects the live bytes of a segment. One that was dropped is not there any more.
    fn count(&mut self, segment: Option<u64>, len: u32, live: bool) {
        let Some(at) = segment.and_then(|key| self.position(key)) else {
            return;
        };
        let segment = &mut self.segments[at];
        if live {
            segment.live += len;
            self.live += u64::from(len);
        } else {
            segment.live -= len;
            self.live -= u64::from(len);
        }
    }

    fn position(&self, key: u64) -> Option<usize> {
        // The newest are asked for most.
        if let Some(last) = self.segments.back()
            && last.key == key
        {
            return Some(self.segments.len() - 1);
        }
        self.segments.binary_search_by_key(&key, |segment| segment.key).ok()
    }
}
