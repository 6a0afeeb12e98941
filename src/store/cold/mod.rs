//! Copies that wait for long, out of the log: whose chunks there are, and what is left of them.
//! Memory holds a few numbers a chunk; its copies only while somebody takes some of them.
//!
//! **The log is the journal.** What happens to a cold copy is a record of the log like any other;
//! a row of `cold_index` is written anew only when the segment goes that holds the oldest record
//! not in it (the chunk is *dirty* since that segment). Reading the log again applies its records
//! again; that changes nothing, as the last one says the same. Those from before the move are void
//! from the record on that says so: the copy had no past then.
//!
//! **Invariants.** A copy is in the log or in one chunk. The chunks of an owner do not overlap and
//! come in the order of the messages. A chunk goes in the transaction in which its last copy
//! does, a row of `bodies` in that in which the last copy does that needs it: nothing needs to be
//! counted on disk, as the rows of `cold_index` say how many are left. A chunk that is not dirty
//! is as its rows say.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use foldhash::fast::RandomState;
use redb::{ReadableTable, Table};

use crate::turn::{Backlog, MessageId, OwnerId};

use super::encoding::Broken;
use super::entry::{Change, sooner};
use super::fault::Fault;
use super::whole::for_each_row;

mod chunk;
mod counts;
mod mover;
#[cfg(test)]
mod tests;

pub(super) use chunk::{BODIES, COLD, COLD_INDEX, ChunkKey, ColdCopy, FORGOTTEN, RowKey, row_key};
use chunk::{ColdState, IndexRow, references};
pub(super) use chunk::{Summary, copy_at, open_bodies, open_chunk};
pub use counts::ColdCounts;
pub(super) use mover::{Limits, Mover};

type Map<K, V> = HashMap<K, V, RandomState>;
type Rows<'txn> = Table<'txn, RowKey, &'static [u8]>;
type Bodies<'txn> = Table<'txn, u64, &'static [u8]>;

/// Chunks whose copies are in memory before some are closed.
const OPEN_CHUNKS: usize = 512;
/// Rows of forgotten owners that go in one commit.
const FORGOTTEN_ROWS: usize = 64;

/// The tables, open for writing.
pub(super) struct ColdTables<'txn> {
    pub(super) chunks: Rows<'txn>,
    pub(super) index: Rows<'txn>,
    pub(super) bodies: Bodies<'txn>,
}

/// A chunk.
#[derive(Debug)]
pub(super) struct Chunk {
    /// As its row says.
    summary: Summary,
    left: u32,
    open: Option<Vec<ColdCopy>>,
    /// The oldest segment of the log with a record that its row does not know.
    dirty: Option<u64>,
}

impl Chunk {
    /// As it is now.
    pub(super) fn summary(&self) -> Summary {
        match (&self.open, self.dirty) {
            (Some(copies), Some(_)) => Summary::of(copies),
            _ => self.summary,
        }
    }

    /// Its copies, if they are in memory.
    pub(super) fn copies(&self) -> Option<&[ColdCopy]> {
        self.open.as_deref()
    }
}

/// What a record of the log says of a cold copy.
#[derive(Debug)]
enum Mark {
    Gone(MessageId),
    Changed(MessageId, Change),
    /// It moved now: what an older record said of it was told to its place in the log too.
    Moved(MessageId),
    Forgotten,
}

/// All chunks.
#[derive(Debug, Default)]
pub(super) struct Cold {
    owners: Map<OwnerId, BTreeMap<MessageId, Chunk>>,
    /// Rows of `bodies`, and how many copies are left that need each.
    bodies: Map<u64, u32>,
    /// The largest number of a row of `bodies`.
    last_body: u64,
    /// What the log said, not applied yet: with its segment.
    marks: Vec<(OwnerId, u64, Mark)>,
    dirty: BTreeSet<(u64, ChunkKey)>,
    /// Those whose copies are in memory, and some that were.
    opened: Vec<ChunkKey>,
    /// Owners whose chunks are to go.
    forgotten: BTreeSet<OwnerId>,
    /// To be removed in the next transaction.
    emptied: Vec<ChunkKey>,
    freed: Vec<u64>,
    counts: ColdCounts,
}

impl Cold {
    /// Reads the table `cold_index`.
    pub(super) fn read(index: &impl ReadableTable<RowKey, &'static [u8]>) -> Result<Self, Fault> {
        let mut cold = Self::default();
        for_each_row(index, "cold_index", |(owner, first), row| {
            let (owner, first) = (OwnerId(owner), MessageId(first));
            if first == FORGOTTEN {
                chunk::check_forgotten(owner, row).map_err(broken_index)?;
                // It is behind all others of the owner.
                cold.owners.remove(&owner);
                cold.forgotten.insert(owner);
                return Ok(());
            }
            let row = IndexRow::read((owner, first), row).map_err(broken_index)?;
            for (body, count) in row.references {
                *cold.bodies.entry(body).or_default() += count;
                cold.last_body = cold.last_body.max(body);
            }
            let summary = row.summary;
            let chunk = Chunk { summary, left: summary.left, open: None, dirty: None };
            cold.owners.entry(owner).or_default().insert(first, chunk);
            Ok(())
        })?;
        Ok(cold)
    }

    /// What happened.
    pub(super) fn counts(&self) -> ColdCounts {
        self.counts
    }

    /// How many chunks have their copies in memory.
    #[cfg(test)]
    pub(super) fn open_chunks(&self) -> usize {
        let chunks = self.owners.values().flat_map(BTreeMap::values);
        chunks.filter(|chunk| chunk.open.is_some()).count()
    }

    /// Whether a transaction has something to do here.
    pub(super) fn has_work(&self) -> bool {
        !(self.marks.is_empty()
            && self.forgotten.is_empty()
            && self.emptied.is_empty()
            && self.freed.is_empty())
    }

    /// Whether rows wait to be removed: something to do when there is nothing else.
    pub(super) fn is_clearing(&self) -> bool {
        !self.forgotten.is_empty()
    }

    /// The newest message of an owner that is here.
    fn last(&self, owner: OwnerId) -> Option<MessageId> {
        let (_, chunk) = self.owners.get(&owner)?.last_key_value()?;
        Some(chunk.summary.last)
    }

    /// The chunk where a copy is, if it is here.
    fn find(&self, owner: OwnerId, message: MessageId) -> Option<ChunkKey> {
        let (first, chunk) = self.owners.get(&owner)?.range(..=message).next_back()?;
        (chunk.summary.last >= message).then_some((owner, *first))
    }

    /// Takes note that a copy left its queue.
    pub(super) fn note_gone(&mut self, owner: OwnerId, message: MessageId, segment: u64) {
        if self.find(owner, message).is_some() {
            self.marks.push((owner, segment, Mark::Gone(message)));
        }
    }

    /// Takes note of what happened to a copy.
    pub(super) fn note_change(
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
    pub(super) fn note_moved(&mut self, owner: OwnerId, message: MessageId, segment: u64) {
        let is_open = |key| self.chunk(key).is_some_and(|chunk| chunk.open.is_some());
        if !self.marks.is_empty() || self.find(owner, message).is_some_and(is_open) {
            self.marks.push((owner, segment, Mark::Moved(message)));
        }
    }

    /// Takes note that all copies of an owner go.
    pub(super) fn note_forgotten(&mut self, owner: OwnerId, segment: u64) {
        if self.owners.contains_key(&owner) {
            self.marks.push((owner, segment, Mark::Forgotten));
        }
    }

    /// Applies what was noted. While the log is read again, no owner with chunks is forgotten.
    pub(super) fn apply(
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

    fn release_body(&mut self, body: u64, count: u32) {
        if let Some(left) = self.bodies.get_mut(&body) {
            *left = left.saturating_sub(count);
            if *left == 0 {
                self.bodies.remove(&body);
                self.freed.push(body);
                self.counts.bodies_freed += 1;
            }
        }
    }

    /// Puts the copies of a chunk into memory.
    pub(super) fn open(
        &mut self,
        key: ChunkKey,
        chunks: &impl ReadableTable<RowKey, &'static [u8]>,
        index: &impl ReadableTable<RowKey, &'static [u8]>,
    ) -> Result<(), Fault> {
        let chunk = self.owners.get_mut(&key.0).and_then(|queue| queue.get_mut(&key.1));
        let chunk = chunk.expect("a key of a chunk");
        if chunk.open.is_some() {
            return Ok(());
        }
        let row = chunks.get(row_key(key))?.ok_or(Fault::Row("cold"))?;
        let mut copies = chunk::read_copies(key, row.value()).map_err(broken_chunk)?;
        let row = index.get(row_key(key))?.ok_or(Fault::Row("cold_index"))?;
        let row = IndexRow::read(key, row.value()).map_err(broken_index)?;
        row.apply(&mut copies).map_err(broken_index)?;
        chunk.open = Some(copies);
        self.opened.push(key);
        Ok(())
    }

    /// Closes chunks that are as their rows say, when many are open.
    pub(super) fn trim(&mut self) {
        if self.opened.len() <= OPEN_CHUNKS {
            return;
        }
        let owners = &mut self.owners;
        self.opened.retain(|key| {
            let chunk = owners.get_mut(&key.0).and_then(|queue| queue.get_mut(&key.1));
            let Some(chunk) = chunk else { return false };
            if chunk.dirty.is_none() {
                chunk.open = None;
            }
            chunk.open.is_some()
        });
    }

    /// A chunk.
    pub(super) fn chunk(&self, key: ChunkKey) -> Option<&Chunk> {
        self.owners.get(&key.0)?.get(&key.1)
    }

    /// The first chunk of an owner that ends at `from` or behind it.
    pub(super) fn chunk_from(&self, owner: OwnerId, from: MessageId) -> Option<ChunkKey> {
        self.find(owner, from).or_else(|| {
            let queue = self.owners.get(&owner)?;
            let (first, _) = queue.range((Bound::Excluded(from), Bound::Unbounded)).next()?;
            Some((owner, *first))
        })
    }

    /// Whether an owner has copies here.
    pub(super) fn has(&self, owner: OwnerId) -> bool {
        self.owners.contains_key(&owner)
    }

    /// Adds what waits here to the backlogs; gives the chunks that have other copies too.
    pub(super) fn add_backlogs(&self, backlogs: &mut BTreeMap<OwnerId, Backlog>) -> Vec<ChunkKey> {
        let mut others = Vec::new();
        for (owner, queue) in &self.owners {
            for (first, chunk) in queue {
                let summary = chunk.summary();
                if summary.waiting < summary.left {
                    others.push((*owner, *first));
                }
                if summary.waiting == 0 {
                    continue;
                }
                let first = summary.first;
                let empty =
                    Backlog { owner: *owner, first, count: 0, bytes: 0, soonest_expiry: None };
                let backlog = backlogs.entry(*owner).or_insert(empty);
                backlog.first = backlog.first.min(first);
                backlog.count += u64::from(summary.waiting);
                backlog.bytes += summary.bytes;
                backlog.soonest_expiry = sooner(backlog.soonest_expiry, summary.soonest);
            }
        }
        others.sort_unstable();
        others
    }

    /// Writes what changed in this transaction: removes what is empty, goes on with the chunks
    /// of forgotten owners.
    pub(super) fn write(&mut self, tables: &mut ColdTables<'_>) -> Result<(), Fault> {
        // Before any row is read: those of empty chunks do not count any more.
        self.remove_emptied(tables)?;
        let forgotten: Vec<OwnerId> = self.forgotten.iter().copied().collect();
        let mut rows = FORGOTTEN_ROWS;
        for owner in forgotten {
            self.forget(owner, tables)?;
            if rows > 0 && self.clear(owner, tables, &mut rows)? {
                self.forgotten.remove(&owner);
            }
        }
        if self.opened.len() > OPEN_CHUNKS {
            self.flush(u64::MAX, tables)?;
            self.trim();
        }
        self.remove_emptied(tables)
    }

    fn remove_emptied(&mut self, tables: &mut ColdTables<'_>) -> Result<(), Fault> {
        for key in self.emptied.drain(..) {
            tables.chunks.remove(row_key(key))?;
            tables.index.remove(row_key(key))?;
        }
        for body in self.freed.drain(..) {
            tables.bodies.remove(body)?;
        }
        Ok(())
    }

    /// From now on the chunks of an owner are on disk only, and on their way out.
    fn forget(&mut self, owner: OwnerId, tables: &mut ColdTables<'_>) -> Result<(), Fault> {
        let Some(queue) = self.owners.remove(&owner) else {
            return Ok(());
        };
        for (first, chunk) in queue {
            let key = (owner, first);
            if let (Some(copies), Some(dirty)) = (&chunk.open, chunk.dirty) {
                // Its row must say which bodies it lets go.
                let row = chunk::put_index(key, copies);
                tables.index.insert(row_key(key), row.as_slice())?;
                self.dirty.remove(&(dirty, key));
            }
        }
        let row = chunk::put_forgotten(owner);
        tables.index.insert(row_key((owner, FORGOTTEN)), row.as_slice())?;
        Ok(())
    }

    /// Removes chunks of a forgotten owner; says whether none is left.
    fn clear(
        &mut self,
        owner: OwnerId,
        tables: &ColdTables<'_>,
        rows: &mut usize,
    ) -> Result<bool, Fault> {
        let mut keys = Vec::new();
        let range = row_key((owner, MessageId(0)))..row_key((owner, FORGOTTEN));
        for row in tables.index.range(range)?.take(*rows) {
            let (key, row) = row?;
            let key = (owner, MessageId(key.value().1));
            let row = IndexRow::read(key, row.value()).map_err(broken_index)?;
            for (body, count) in row.references {
                self.release_body(body, count);
            }
            keys.push(key);
        }
        let is_end = keys.len() < *rows;
        *rows -= keys.len();
        self.counts.chunks_forgotten += keys.len() as u64;
        self.emptied.append(&mut keys);
        if is_end {
            self.emptied.push((owner, FORGOTTEN));
        }
        Ok(is_end)
    }

    /// Whether segments of the log before `front` have records that no row knows.
    pub(super) fn is_dirty(&self, front: u64) -> bool {
        self.dirty.first().is_some_and(|(segment, _)| *segment < front)
    }

    /// Writes the rows of chunks that are dirty since a segment before `front`.
    pub(super) fn flush(&mut self, front: u64, tables: &mut ColdTables<'_>) -> Result<(), Fault> {
        while let Some((segment, key)) = self.dirty.first().copied()
            && segment < front
        {
            self.dirty.pop_first();
            let chunk = self.owners.get_mut(&key.0).and_then(|queue| queue.get_mut(&key.1));
            let chunk = chunk.expect("a dirty chunk is there");
            let copies = chunk.open.as_ref().expect("a dirty chunk is open");
            let row = chunk::put_index(key, copies);
            chunk.summary = Summary::of(copies);
            chunk.dirty = None;
            self.counts.rows_updated += 1;
            tables.index.insert(row_key(key), row.as_slice())?;
        }
        Ok(())
    }

    /// Writes a new chunk.
    fn add(
        &mut self,
        key: ChunkKey,
        (row, copies): (Vec<u8>, Vec<ColdCopy>),
        tables: &mut ColdTables<'_>,
    ) -> Result<(), Fault> {
        tables.chunks.insert(row_key(key), row.as_slice())?;
        let row = chunk::put_index(key, &copies);
        tables.index.insert(row_key(key), row.as_slice())?;
        for (body, count) in references(&copies) {
            *self.bodies.entry(body).or_default() += count;
        }
        self.counts.copies += copies.len() as u64;
        self.counts.chunks += 1;
        let summary = Summary::of(&copies);
        let chunk = Chunk { summary, left: summary.left, open: None, dirty: None };
        self.owners.entry(key.0).or_default().insert(key.1, chunk);
        Ok(())
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

fn broken_chunk(Broken: Broken) -> Fault {
    Fault::Row("cold")
}

fn broken_index(Broken: Broken) -> Fault {
    Fault::Row("cold_index")
}
