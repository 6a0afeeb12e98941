//! What of the log is still needed, and where it lies. Kept in memory, made anew from the log at
//! every open; it holds no message.
//!
//! Invariant: `live` of a segment is the sum of the bytes of the bodies, copies and received
//! Packet Identifiers whose newest place is in it. What happened to a copy later than its place
//! is not counted: segments go from the front only, and whoever takes away the place writes all
//! of the copy anew, so records about it never outlive their need unseen.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::RangeInclusive;

use foldhash::fast::RandomState;

use crate::mqtt::PacketId;
use crate::time::Timestamp;
use crate::turn::{Backlog, Copy, MessageId, OwnerId, SessionId};

use super::bodies::{Bodies, Found};
use super::cold::{ChunkKey, Cold};
use super::entry::{Change, Entry, NEVER, Since, sooner};
use super::record::LogRecord;
use super::rows::Rows;
use super::segments::Segments;

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

impl Place {
    /// Whether `next` begins where this ends.
    pub(super) fn is_right_before(self, next: Self) -> bool {
        self.segment == next.segment && self.offset + self.len == next.offset
    }
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
    /// When it was written, or when the file was opened.
    pub(super) at: Timestamp,
}

/// A copy that a load may ask for.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) id: MessageId,
    /// [`NEVER`] where it does not.
    pub(super) expires: Timestamp,
    pub(super) size: u32,
    pub(super) is_waiting: bool,
    pub(super) source: Source,
}

/// Where a copy is read from.
#[derive(Debug)]
pub(super) enum Source {
    /// The copy and its body; what happened to it since it was written.
    Log(Place, Place, Option<Box<Since>>),
    /// A chunk, and the position in it.
    Cold(ChunkKey, usize),
}

/// What is live where.
#[derive(Debug, Default)]
pub(super) struct Index {
    bodies: Bodies,
    queues: Map<OwnerId, Rows<Entry>>,
    /// Owners whose last copy in the log went since the last [`settle`](Self::settle). At a high
    /// rate more come before.
    emptied: Vec<OwnerId>,
    received: Map<SessionId, BTreeMap<PacketId, u64>>,
    segments: VecDeque<Segment>,
    bytes: u64,
    live: u64,
    copies: usize,
    /// Bytes of segments that loads read in vain since the last move; see
    /// [`load`](super::load::load).
    pub(super) scattered: u64,
    /// Some of those.
    pub(super) lately: Segments,
    /// The time of segments that are added.
    pub(super) now: Timestamp,
    /// What is not in the log.
    pub(super) cold: Cold,
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

    /// The newest segment.
    pub(super) fn back(&self) -> Option<&Segment> {
        self.segments.back()
    }

    /// The first segment at `key` or behind it.
    pub(super) fn segment_from(&self, key: u64) -> Option<Segment> {
        let at = self.segments.partition_point(|segment| segment.key < key);
        self.segments.get(at).copied()
    }

    /// Copies in the log.
    pub(super) fn copies(&self) -> usize {
        self.copies
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

    /// Adds a segment at the end, for the records that are noted from now on.
    pub(super) fn begin_segment(&mut self, key: u64) {
        self.segments.push_back(Segment { key, rows: 0, bytes: 0, live: 0, at: self.now });
    }

    /// Ends it: all of its records were noted.
    pub(super) fn end_segment(&mut self, rows: u64, bytes: u32) {
        let segment = self.segments.back_mut().expect("it was begun");
        (segment.rows, segment.bytes) = (rows, bytes);
        self.bytes += u64::from(bytes);
    }

    /// Takes note of a record of the log.
    pub(super) fn apply(&mut self, record: LogRecord<'_>, place: Place) {
        match record {
            LogRecord::Message { id, .. } => self.add_body(id, place),
            LogRecord::Queued(copy) => self.add_copy(&copy, place),
            LogRecord::Sent { owner, message, sent } => {
                self.change(owner, message, place, Change::Sent(sent));
            }
            LogRecord::PubRecArrived { owner, message } => {
                self.change(owner, message, place, Change::PubRecArrived);
            }
            LogRecord::DeliveryFailed { owner, message, deliveries } => {
                self.change(owner, message, place, Change::Failed(deliveries));
            }
            LogRecord::Returned { owner, message } => {
                self.change(owner, message, place, Change::Returned);
            }
            LogRecord::Removed { owner, message } => {
                if !self.remove_copy(owner, message) {
                    self.cold.note_gone(owner, message, place.segment);
                }
            }
            LogRecord::Moved { owner, messages } => {
                for message in messages {
                    self.remove_copy(owner, message);
                    self.cold.note_moved(owner, message, place.segment);
                }
            }
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
                for (message, entry) in self.queues.remove(&owner).unwrap_or_default().iter() {
                    self.forget_copy(message, entry);
                }
                self.cold.note_forgotten(owner, place.segment);
            }
        }
    }

    /// Ends a batch: bodies that no copy refers to, and queues without copies, are not kept.
    pub(super) fn settle(&mut self) {
        for owner in self.emptied.drain(..) {
            if self.queues.get(&owner).is_some_and(Rows::is_empty) {
                self.queues.remove(&owner);
            }
        }
        let mut bodies = std::mem::take(&mut self.bodies);
        bodies.settle(|place| self.count(Some(place.segment), place.len, false));
        self.bodies = bodies;
    }

    /// Ends the reading of the whole log: counts the copies of each body.
    pub(super) fn finish(&mut self) {
        let queues = self.queues.values();
        queues.flat_map(Rows::iter).for_each(|(message, _)| self.bodies.count(message));
        for (message, entry) in self.queues.values_mut().flat_map(Rows::iter_mut) {
            entry.own_body = self.bodies.hand_over(message, entry.place);
        }
        self.counting = true;
        self.settle();
        self.bodies.shrink();
    }

    /// Whether the body at `place` is one that is needed and no entry owns.
    pub(super) fn needs_body(&self, id: MessageId, place: Place) -> bool {
        self.bodies.place(id) == Some(place)
    }

    /// The entry of a copy that was read at `place`, or `None` when that one is not needed.
    pub(super) fn entry_at(&self, copy: &Copy, place: Place) -> Option<&Entry> {
        let entry = self.entry(copy.owner, copy.message)?;
        (entry.place == place).then_some(entry)
    }

    /// Whether a copy is in the log, and neither in flight nor counted as failed.
    pub(super) fn is_waiting(&self, owner: OwnerId, message: MessageId) -> bool {
        self.entry(owner, message).is_some_and(Entry::is_waiting)
    }

    fn entry(&self, owner: OwnerId, message: MessageId) -> Option<&Entry> {
        self.queues.get(&owner)?.get(message)
    }

    /// Completes a copy that was read at `place`, or `None` when it is not needed.
    pub(super) fn complete(&self, mut copy: Copy, place: Place) -> Option<Copy> {
        self.entry_at(&copy, place)?.complete(&mut copy);
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

    /// The copies of a range of a queue, in order.
    pub(super) fn range(
        &self,
        owner: OwnerId,
        range: RangeInclusive<MessageId>,
    ) -> impl Iterator<Item = Candidate> {
        let queue = self.queues.get(&owner).filter(|_| !range.is_empty());
        let entries = queue.into_iter().flat_map(move |queue| queue.range(range.clone()));
        entries.filter_map(|(id, entry)| {
            let body = entry.own_body().or_else(|| self.bodies.place(id))?;
            Some(Candidate {
                id,
                expires: entry.expires,
                size: entry.size,
                is_waiting: entry.is_waiting(),
                source: Source::Log(entry.place, body, entry.since.clone()),
            })
        })
    }

    /// What waits in the log, and where the copies lie that do not: they are in flight, or failed.
    pub(super) fn backlogs(&self) -> (BTreeMap<OwnerId, Backlog>, Vec<Place>) {
        let mut backlogs = BTreeMap::new();
        let mut others = Vec::new();
        for (owner, queue) in &self.queues {
            for (id, entry) in queue.iter() {
                if !entry.is_waiting() {
                    others.push(entry.place);
                    continue;
                }
                let empty =
                    Backlog { owner: *owner, first: id, count: 0, bytes: 0, soonest_expiry: None };
                let backlog = backlogs.entry(*owner).or_insert(empty);
                backlog.count += 1;
                backlog.bytes += u64::from(entry.size);
                let expires = (entry.expires != NEVER).then_some(entry.expires);
                backlog.soonest_expiry = sooner(backlog.soonest_expiry, expires);
            }
        }
        others.sort_unstable_by_key(|place| (place.segment, place.offset));
        (backlogs, others)
    }

    fn add_body(&mut self, id: MessageId, place: Place) {
        let old = match self.counting {
            true => self.bodies.add(id, place),
            false => self.bodies.note(id, place),
        };
        if let Some(old) = old {
            self.count(Some(old.segment), old.len, false);
        }
        self.count(Some(place.segment), place.len, true);
    }

    fn add_copy(&mut self, copy: &Copy, place: Place) {
        let own_body = if self.counting { self.refer(copy, place) } else { 0 };
        let queue = self.queues.entry(copy.owner).or_default();
        let old = queue.insert(copy.message, Entry::new(copy, place, own_body));
        self.count(Some(place.segment), place.len, true);
        let Some(old) = old else {
            self.copies += 1;
            return;
        };
        self.count(Some(old.place.segment), old.place.len, false);
        match old.own_body() {
            Some(body) => self.bodies.release_own(copy.message, body),
            None if self.counting && own_body == 0 => self.bodies.release(copy.message),
            None => {}
        }
    }

    /// Finds the body of a new copy; gives its length, if the entry of that copy owns it.
    fn refer(&mut self, copy: &Copy, place: Place) -> u32 {
        match self.bodies.refer(copy.message, copy.owner, place) {
            Found::Own(len) => return len,
            Found::Shared(Some(other)) => self.disown_body(other, copy.message),
            Found::Shared(None) => {}
            Found::Unknown => self.share_body(copy.message),
        }
        0
    }

    fn disown_body(&mut self, owner: OwnerId, message: MessageId) {
        let queue = self.queues.get_mut(&owner);
        if let Some(entry) = queue.and_then(|queue| queue.get_mut(message)) {
            entry.own_body = 0;
        }
    }

    /// A second copy came long after the one that owns their body.
    fn share_body(&mut self, message: MessageId) {
        for queue in self.queues.values_mut() {
            if let Some(entry) = queue.get_mut(message)
                && let Some(body) = entry.own_body()
            {
                entry.own_body = 0;
                return self.bodies.share(message, body, 2);
            }
        }
    }

    fn change(&mut self, owner: OwnerId, message: MessageId, place: Place, change: Change) {
        let queue = self.queues.get_mut(&owner);
        match queue.and_then(|queue| queue.get_mut(message)) {
            Some(entry) => entry.since.get_or_insert_default().add(change),
            // It may not be stored: a copy of the memory alone, or one whose place moved behind
            // this.
            None => self.cold.note_change(owner, message, place.segment, change),
        }
    }

    fn remove_copy(&mut self, owner: OwnerId, message: MessageId) -> bool {
        let Some(queue) = self.queues.get_mut(&owner) else {
            return false;
        };
        let removed = queue.remove(message);
        if queue.is_empty() {
            self.emptied.push(owner);
        }
        let is_there = removed.is_some();
        if let Some(entry) = removed {
            self.forget_copy(message, &entry);
        }
        is_there
    }

    fn forget_copy(&mut self, message: MessageId, entry: &Entry) {
        self.copies -= 1;
        self.count(Some(entry.place.segment), entry.place.len, false);
        if !self.counting {
            return;
        }
        match entry.own_body() {
            Some(body) => self.bodies.release_own(message, body),
            None => self.bodies.release(message),
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
        // Most have one row, and then their keys are without gaps.
        let behind = key.checked_sub(self.segments.front()?.key)?;
        let guess = usize::try_from(behind).ok()?;
        if self.segments.get(guess).is_some_and(|segment| segment.key == key) {
            return Some(guess);
        }
        self.segments.binary_search_by_key(&key, |segment| segment.key).ok()
    }
}
