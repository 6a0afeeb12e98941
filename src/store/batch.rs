//! What one transaction will write: the records of whole turns, encoded as they come.
//!
//! Invariant: applying a batch to the store gives what applying its records one by one gives.
//! Rows are coalesced by key; the log keeps the order.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::turn::{DeadLetter, Marks, OwnerId, Record, RecordNumber};

use super::row::{self, ENDED, RowKey, WHOLE};
use super::{Checkpoint, record, task};

/// A buffer that grew past this is not kept for the next batch.
const KEPT_BUFFER: usize = 1024 * 1024;
/// What redb writes for a row besides the row: where the rows of a batch lie far apart in their
/// table, each has a leaf page of its own written anew, and its share of the branches.
const PAGES_OF_ROW: usize = 8 * 1024;

/// How much a batch is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// Bytes of memory, roughly.
    pub(super) memory: usize,
    /// Bytes of the pages that its commit writes anew, at most, roughly.
    pub(super) pages: usize,
}

impl Size {
    /// Both together.
    pub(super) fn plus(self, other: Self) -> Self {
        Self { memory: self.memory + other.memory, pages: self.pages + other.pages }
    }

    /// Whether it is more than `limit` in one way or the other.
    pub(super) fn exceeds(self, limit: Self) -> bool {
        self.memory > limit.memory || self.pages > limit.pages
    }

    /// Half of both.
    pub(super) fn half(self) -> Self {
        Self { memory: self.memory / 2, pages: self.pages / 2 }
    }
}

/// Records on their way to the disk.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Records of the log, one after the other.
    pub(super) log: Vec<u8>,
    /// Rows to write, or to remove.
    pub(super) rows: BTreeMap<RowKey, Option<Vec<u8>>>,
    /// Owners whose stored subscriptions go, before `rows` are written.
    pub(super) unsubscribed: Vec<OwnerId>,
    /// The largest ids in it.
    pub(super) marks: Marks,
    /// The time of the newest turn.
    pub(super) checkpoint: Checkpoint,
    /// The number of its last record.
    pub(super) last: RecordNumber,
    row_bytes: usize,
}

impl Batch {
    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.log.is_empty() && self.rows.is_empty() && self.unsubscribed.is_empty()
    }

    /// How much it is. A value just over 4096·2^k fills half of its page, also in the log.
    pub(super) fn size(&self) -> Size {
        let memory = self.log.len() + self.row_bytes;
        let rows = self.rows.len() + self.unsubscribed.len();
        Size { memory, pages: 2 * memory + rows * PAGES_OF_ROW }
    }

    /// Empties it; keeps the buffer, unless it is large.
    pub(super) fn clear(&mut self) {
        let mut log = std::mem::take(&mut self.log);
        log.clear();
        *self = Self::default();
        if log.capacity() <= KEPT_BUFFER {
            self.log = log;
        }
    }

    /// Adds one record.
    pub(super) fn add(&mut self, record: &Record) {
        let log = &mut self.log;
        match record {
            Record::Message { id, message } => {
                self.marks.message = self.marks.message.max(id.0);
                record::put_body(log, *id, message);
            }
            Record::Queued(copy) => {
                self.marks.owner = self.marks.owner.max(copy.owner.0);
                self.marks.message = self.marks.message.max(copy.message.0);
                record::put_copy(log, copy);
            }
            Record::Sent { owner, message, sent } => {
                record::put_sent_copy(log, *owner, *message, sent)
            }
            Record::PubRecArrived { owner, message } => {
                record::put_pubrec_arrived(log, *owner, *message);
            }
            Record::DeliveryFailed { owner, message, deliveries } => {
                record::put_delivery_failed(log, *owner, *message, *deliveries)
            }
            Record::Returned { owner, message } => record::put_returned(log, *owner, *message),
            Record::Removed { owner, message, .. } => record::put_removed(log, *owner, *message),
            Record::Received { session, packet_id } => {
                record::put_received(log, *session, *packet_id);
            }
            Record::Released { session, packet_id } => {
                record::put_released(log, *session, *packet_id);
            }
            _ => self.add_row(record),
        }
    }

    fn add_row(&mut self, record: &Record) {
        match record {
            Record::Session(session) => {
                self.marks.owner = self.marks.owner.max(session.id.0);
                self.put(row::session(session));
            }
            Record::SessionEnded { session, cause, at } => {
                record::put_session_ended(&mut self.log, *session);
                self.unsubscribe(*session);
                self.put(row::ended(RowKey::Session(session.0, ENDED), *cause, *at));
            }
            Record::Subscribed { session, filter, options, subscription_id } => {
                self.put(row::subscription(*session, filter, *options, *subscription_id))
            }
            Record::Unsubscribed { session, filter } => {
                self.remove(RowKey::Subscription(session.0, filter.clone()));
            }
            Record::Group { owner, filter } => {
                self.marks.owner = self.marks.owner.max(owner.0);
                self.put(row::group(*owner, filter));
            }
            Record::GroupEnded { owner, cause, at } => {
                self.put(row::ended(RowKey::Group(owner.0, ENDED), *cause, *at));
            }
            Record::OwnerForgotten { owner } => self.forget(*owner),
            Record::Retained { topic, message, .. } => match message {
                Some(message) => self.put(row::retained(topic, message)),
                None => self.remove(RowKey::Retained(topic.clone())),
            },
            Record::Dead(letter) => self.add_dead(letter),
            Record::DeadForgotten { id } => self.remove(RowKey::Dead(id.0)),
            Record::Task(task) => self.put(task::row(task)),
            Record::TaskForgotten { id } => self.remove(RowKey::Task(*id)),
            // Given back at start only; the core writes neither.
            Record::Marks(marks) => self.raise_marks(*marks),
            Record::DeadIndex(_) | Record::Backlog(_) => {}
            // `add` takes the records of the log.
            _ => unreachable!("a record of the log"),
        }
    }

    fn add_dead(&mut self, letter: &DeadLetter) {
        self.marks.message = self.marks.message.max(letter.message_id.0);
        self.marks.dead = self.marks.dead.max(letter.id.0);
        record::put_removed(&mut self.log, letter.owner, letter.message_id);
        self.put(row::dead(letter));
    }

    fn forget(&mut self, owner: OwnerId) {
        record::put_owner_forgotten(&mut self.log, owner);
        self.unsubscribe(owner);
        for part in [WHOLE, ENDED] {
            self.remove(RowKey::Session(owner.0, part));
            self.remove(RowKey::Group(owner.0, part));
        }
    }

    fn unsubscribe(&mut self, owner: OwnerId) {
        let start = RowKey::Subscription(owner.0, Arc::from(""));
        let end = RowKey::Subscription(owner.0.saturating_add(1), Arc::from(""));
        let range = (Bound::Included(start), Bound::Excluded(end));
        let keys: Vec<RowKey> = self.rows.range(range).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.rows.remove(&key);
        }
        self.unsubscribed.push(owner);
    }

    fn put(&mut self, (key, value): (RowKey, Vec<u8>)) {
        self.row_bytes += value.len() + size_of::<RowKey>();
        if let Some(Some(old)) = self.rows.insert(key, Some(value)) {
            self.row_bytes = self.row_bytes.saturating_sub(old.len());
        }
    }

    fn remove(&mut self, key: RowKey) {
        self.row_bytes += size_of::<RowKey>();
        if let Some(Some(old)) = self.rows.insert(key, None) {
            self.row_bytes = self.row_bytes.saturating_sub(old.len());
        }
    }

    fn raise_marks(&mut self, marks: Marks) {
        self.marks = larger(self.marks, marks);
    }
}

/// The larger of each.
pub(super) fn larger(one: Marks, other: Marks) -> Marks {
    Marks {
        owner: one.owner.max(other.owner),
        message: one.message.max(other.message),
        dead: one.dead.max(other.dead),
    }
}
