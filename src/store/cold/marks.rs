//! What the log says of cold copies. It is their journal: what happens to one is a record of the
//! log like any other, and a row of `cold_index` is written anew only when the segment goes that
//! holds the oldest record not in it (the chunk is *dirty* since that segment). Reading the log
//! again applies its records again; that changes nothing, as the last one says the same. Those
//! from before the move are void from the record on that says so: the copy had no past then.
//!
//! Invariant: records are applied in their order, before any row is written.

use redb::ReadableTable;

use crate::turn::{MessageId, OwnerId};

use super::super::entry::Change;
use super::super::fault::Fault;
use super::Cold;
use super::chunk::{ChunkKey, ColdCopy, ColdState, RowKey};

/// What a record of the log says of a cold copy.
#[derive(Debug)]
pub(super) enum Mark {
    Gone(MessageId),
    Changed(MessageId, Change),
    /// It moved now: what an older record said of it was told to its place in the log too.
    Moved(MessageId),
    Forgotten,
}

impl Cold {
    /// Takes note that a copy left its queue.
    pub(in super::super) fn note_gone(&mut self, owner: OwnerId, message: MessageId, segment: u64) {
        if self.find(owner, message).is_some() {
            self.marks.push((owner, segment, Mark::Gone(message)));
        }
    }

    /// Takes note of what happened to a copy.
    pub(in super::super) fn note_change(
        &mut self,
        owner: OwnerId,
        message: MessageId,
        segment: u64,
        change: Change,
    ) {
        if self.find(owner, message).is_some() {
            self.marks.push((owner, segment, Mark::Changed(message, change)));
        }
    }

    /// Takes note that a copy moved here. That is news only while the log is read again, for a
    /// chunk that older records of the log were applied to.
    pub(in super::super) fn note_moved(
        &mut self,
        owner: OwnerId,
        message: MessageId,
        segment: u64,
    ) {
        let is_open = |key| self.chunk(key).is_some_and(|chunk| chunk.open.is_some());
        if !self.marks.is_empty() || self.find(owner, message).is_some_and(is_open) {
            self.marks.push((owner, segment, Mark::Moved(message)));
        }
    }

    /// Takes note that all copies of an owner go.
    pub(in super::super) fn note_forgotten(&mut self, owner: OwnerId, segment: u64) {
        if self.owners.contains_key(&owner) {
            self.marks.push((owner, segment, Mark::Forgotten));
        }
    }

    /// Applies what was noted. While the log is read again, no owner with chunks is forgotten.
    pub(in super::super) fn apply(
        &mut self,
        chunks: &impl ReadableTable<RowKey, &'static [u8]>,
        index: &impl ReadableTable<RowKey, &'static [u8]>,
    ) -> Result<(), Fault> {
        for (owner, segment, mark) in std::mem::take(&mut self.marks) {
            let message = match &mark {
                Mark::Gone(message) | Mark::Changed(message, _) | Mark::Moved(message) => *message,
                Mark::Forgotten => {
                    self.forgotten.insert(owner);
                    continue;
                }
            };
            let Some(key) = self.find(owner, message) else {
                continue;
            };
            let is_open = self.chunk(key).is_some_and(|chunk| chunk.open.is_some());
            if matches!(mark, Mark::Moved(_)) && !is_open {
                continue;
            }
            self.open(key, chunks, index)?;
            self.apply_mark(key, message, segment, mark);
        }
        self.trim();
        Ok(())
    }

    fn apply_mark(&mut self, key: ChunkKey, message: MessageId, segment: u64, mark: Mark) {
        let Some(queue) = self.owners.get_mut(&key.0) else {
            return;
        };
        let chunk = queue.get_mut(&key.1).expect("it was found");
        let copies = chunk.open.as_mut().expect("it is open");
        let Ok(at) = copies.binary_search_by_key(&message, |copy| copy.id) else {
            return;
        };
        let copy = &mut copies[at];
        if copy.is_gone {
            return;
        }
        let body = copy.body;
        let is_gone = match mark {
            Mark::Changed(_, change) => {
                apply_change(copy, change);
                false
            }
            Mark::Moved(_) => {
                copy.state = None;
                false
            }
            Mark::Gone(_) | Mark::Forgotten => true,
        };
        copy.is_gone = is_gone;
        chunk.left -= u32::from(is_gone);
        if chunk.dirty.is_none() {
            chunk.dirty = Some(segment);
            self.dirty.insert((segment, key));
        }
        if chunk.left == 0 {
            let dirty = chunk.dirty.expect("it is dirty");
            self.dirty.remove(&(dirty, key));
            queue.remove(&key.1);
            if queue.is_empty() {
                self.owners.remove(&key.0);
            }
            self.counts.chunks_emptied += 1;
            self.emptied.push(key);
        }
        if is_gone && body > 0 {
            self.release_body(body, 1);
        }
    }
}

fn apply_change(copy: &mut ColdCopy, change: Change) {
    let state = copy.state.get_or_insert_default();
    match change {
        Change::Sent(sent) => state.sent = Some(sent),
        Change::PubRecArrived => {
            if let Some(sent) = &mut state.sent {
                sent.pubrec_arrived = true;
            }
        }
        Change::Failed(deliveries) => state.deliveries = deliveries,
        Change::Returned => state.sent = None,
    }
    if **state == ColdState::default() {
        copy.state = None;
    }
}
