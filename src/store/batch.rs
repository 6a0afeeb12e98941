//! What one transaction will write: the records of whole turns, encoded as they come.
//!
//! Invariant: applying a batch to the store gives what applying its records one by one gives.
//! Rows are coalesced by key; the log keeps the order. Only that a copy was sent at QoS 1 comes
//! last: most are acknowledged in the same batch, and then it says nothing any more. Nor does a
//! message whose only copy came and went in it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::mqtt::QoS;
use crate::turn::{DeadLetter, Marks, MessageId, OwnerId, Record, RecordNumber, Sent};

use super::fleeting::Fleeting;
use super::row::{self, ENDED, RowKey, WHOLE};
use super::{Checkpoint, record, task};

/// A buffer that grew past this is not kept for the next batch.
const KEPT_BUFFER: usize = 1024 * 1024;
/// What redb writes for a row besides the row: where the rows of a batch lie far apart in their
/// table, each has a leaf page of its own written anew, and its share of the branches.
const PAGES_OF_ROW: usize = 8 * 1024;
/// What a copy that was sent takes in memory; in the log it is less.
const SENT_BYTES: usize = 64;

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
    /// Records of the log, one after the other; all of them after [`seal`](Self::seal).
    pub(super) log: Vec<u8>,
    /// Copies that were sent at QoS 1 and not acknowledged since. Nothing else in the batch is
    /// about any of them later, so their records may stand behind all others.
    sent: HashMap<(OwnerId, MessageId), Sent, RandomState>,
    /// Messages of the log that may be gone again.
    fleeting: Fleeting,
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
        self.log.is_empty()
            && self.sent.is_empty()
            && self.rows.is_empty()
            && self.unsubscribed.is_empty()
    }

    /// Says up to which message earlier batches may have records of it.
    pub(super) fn begin_after(&mut self, newest: MessageId) {
        self.fleeting.begin_after(newest);
    }

    /// The newest message of this batch and all before.
    pub(super) fn newest(&self) -> MessageId {
        self.fleeting.after().max(MessageId(self.marks.message))
    }

    /// Completes the log; nothing is added any more.
    pub(super) fn seal(&mut self) {
        self.fleeting.cut(&mut self.log);
        let mut sent: Vec<_> = self.sent.drain().collect();
        sent.sort_unstable_by_key(|(_, sent)| (sent.session, sent.ordinal));
        for ((owner, message), sent) in &sent {
            record::put_sent_copy(&mut self.log, *owner, *message, sent);
        }
    }

    /// How much it is. A value just over 4096·2^k fills half of its page, also in the log.
    pub(super) fn size(&self) -> Size {
        let written = self.log.len() + self.row_bytes + self.sent.len() * SENT_BYTES;
        let rows = self.rows.len() + self.unsubscribed.len();
        Size {
            memory: written + self.fleeting.len() * Fleeting::BYTES,
            pages: 2 * written + rows * PAGES_OF_ROW,
        }
    }

    /// Empties it; keeps the buffer, unless it is large.
    pub(super) fn clear(&mut self) {
        let (mut log, mut fleeting) =
            (std::mem::take(&mut self.log), std::mem::take(&mut self.fleeting));
        log.clear();
        fleeting.clear();
        *self = Self { fleeting, ..Self::default() };
        if log.capacity() <= KEPT_BUFFER {
            self.log = log;
        }
    }

    /// Adds one record.
    pub(super) fn add(&mut self, record: &Record) {
        self.forget_sent(record);
        let log = &mut self.log;
        let start = log.len();
        match record {
            Record::Message { id, message } => {
                self.marks.message = self.marks.message.max(id.0);
                record::put_body(log, *id, message);
                self.fleeting.body(*id, start..log.len());
            }
            Record::Queued(copy) => {
                self.marks.owner = self.marks.owner.max(copy.owner.0);
                self.marks.message = self.marks.message.max(copy.message.0);
                record::put_copy(log, copy);
                self.fleeting.copy(copy.owner, copy.message, start..log.len());
            }
            Record::Sent { owner, message, sent } if sent.qos == QoS::AtLeastOnce => {
                self.sent.insert((*owner, *message), sent.clone());
            }
            Record::Sent { owner, message, sent } => {
                record::put_sent_copy(log, *owner, *message, sent);
                self.fleeting.name(*message);
            }
            Record::PubRecArrived { owner, message } => {
                self.fleeting.name(*message);
                record::put_pubrec_arrived(log, *owner, *message);
            }
            Record::DeliveryFailed { owner, message, deliveries } => {
                record::put_delivery_failed(log, *owner, *message, *deliveries);
                self.fleeting.name(*message);
            }
            Record::Returned { owner, message } => {
                record::put_returned(log, *owner, *message);
                self.fleeting.name(*message);
            }
            Record::Removed { owner, message, .. } => {
                record::put_removed(log, *owner, *message);
                self.fleeting.removed(*owner, *message, start..log.len());
            }
            Record::Received { session, packet_id } => {
                record::put_received(log, *session, *packet_id);
            }
            Record::Released { session, packet_id } => {
                record::put_released(log, *session, *packet_id);
            }
            _ => self.add_row(record),
        }
    }

    /// What this record says of a copy makes void that it was sent, or replaces it. That failed
    /// deliveries were counted does neither.
    fn forget_sent(&mut self, record: &Record) {
        if self.sent.is_empty() {
            return;
        }
        let copy = match record {
            Record::Queued(copy) => (copy.owner, copy.message),
            Record::PubRecArrived { owner, message } => {
                // It adds to what was sent, which stands before it.
                if let Some(sent) = self.sent.remove(&(*owner, *message)) {
                    record::put_sent_copy(&mut self.log, *owner, *message, &sent);
                }
                return;
            }
            Record::Sent { owner, message, .. }
            | Record::Returned { owner, message }
            | Record::Removed { owner, message, .. } => (*owner, *message),
            Record::Dead(letter) => (letter.owner, letter.message_id),
            Record::OwnerForgotten { owner } => {
                return self.sent.retain(|(of, _), _| of != owner);
            }
            _ => return,
        };
        self.sent.remove(&copy);
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
        self.fleeting.name(letter.message_id);
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

#[cfg(test)]
mod tests {
    use super::super::encoding::Reader;
    use super::super::record::LogRecord;
    use super::*;
    use crate::turn::Copy;

    const OWNER: OwnerId = OwnerId(1);

    fn sent(message: u64, ordinal: u64, qos: QoS) -> Record {
        let session = OwnerId(2);
        let (subscription_ids, pubrec_arrived) = (None, false);
        let sent = Sent { session, ordinal, qos, subscription_ids, pubrec_arrived };
        Record::Sent { owner: OWNER, message: MessageId(message), sent }
    }

    fn removed(message: u64) -> Record {
        Record::Removed { owner: OWNER, message: MessageId(message), lazy: true }
    }

    /// What the log of a batch says: kind, message, ordinal.
    fn log(records: &[Record]) -> Vec<(&'static str, u64, u64)> {
        let mut batch = Batch::default();
        for record in records {
            batch.add(record);
            assert!(!batch.is_empty());
        }
        batch.seal();
        let mut reader = Reader::new(&batch.log);
        let mut said = Vec::new();
        while !reader.is_empty() {
            said.push(match LogRecord::read(&mut reader).unwrap() {
                LogRecord::Sent { message, sent, .. } => ("sent", message.0, sent.ordinal),
                LogRecord::Removed { message, .. } => ("removed", message.0, 0),
                LogRecord::PubRecArrived { message, .. } => ("arrived", message.0, 0),
                LogRecord::Returned { message, .. } => ("returned", message.0, 0),
                LogRecord::Queued(copy) => ("queued", copy.message.0, 0),
                LogRecord::DeliveryFailed { message, .. } => ("failed", message.0, 0),
                LogRecord::OwnerForgotten { .. } => ("forgotten", 0, 0),
                other => panic!("{other:?}"),
            });
        }
        said
    }

    #[test]
    fn what_was_sent_and_acknowledged_in_one_batch_was_only_removed() {
        let qos = QoS::AtLeastOnce;
        let records =
            [sent(5, 11, qos), sent(3, 10, qos), sent(4, 12, qos), removed(3), removed(9)];
        let said = [("removed", 3, 0), ("removed", 9, 0), ("sent", 5, 11), ("sent", 4, 12)];
        assert_eq!(log(&records), said);
    }

    #[test]
    fn what_was_sent_at_qos_2_keeps_its_place() {
        let records = [sent(3, 10, QoS::ExactlyOnce), removed(4), removed(3)];
        let said = [("sent", 3, 10), ("removed", 4, 0), ("removed", 3, 0)];
        assert_eq!(log(&records), said);
    }

    #[test]
    fn what_comes_later_about_a_copy_counts() {
        let (owner, message) = (OWNER, MessageId(3));
        let first = sent(3, 10, QoS::AtLeastOnce);
        let returned = Record::Returned { owner, message };
        assert_eq!(log(&[first.clone(), returned.clone()]), [("returned", 3, 0)]);
        let again = sent(3, 11, QoS::AtLeastOnce);
        let said = [("returned", 3, 0), ("sent", 3, 11)];
        assert_eq!(log(&[first.clone(), returned, again]), said);
        let other = sent(3, 12, QoS::ExactlyOnce);
        assert_eq!(log(&[first.clone(), other]), [("sent", 3, 12)]);
        let arrived = Record::PubRecArrived { owner, message };
        assert_eq!(log(&[first.clone(), arrived]), [("sent", 3, 10), ("arrived", 3, 0)]);
        let failed = Record::DeliveryFailed { owner, message, deliveries: 1 };
        assert_eq!(log(&[first.clone(), failed]), [("failed", 3, 0), ("sent", 3, 10)]);
        let (qos, retain, subscription_ids) = (QoS::AtLeastOnce, false, None);
        let (size, expires, deliveries, sent) = (1, None, 0, None);
        let queued = Record::Queued(Copy {
            owner,
            message,
            qos,
            retain,
            subscription_ids,
            size,
            expires,
            deliveries,
            sent,
        });
        assert_eq!(log(&[first.clone(), queued]), [("queued", 3, 0)]);
        let forgotten = Record::OwnerForgotten { owner };
        assert_eq!(log(&[first, forgotten]), [("forgotten", 0, 0)]);
    }
}
