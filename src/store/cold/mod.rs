//! Copies that wait for long, out of the log: whose chunks there are, and what is left of them.
//! Memory holds a few numbers a chunk; its copies only while somebody takes some of them.
//!
//! `marks` applies what the log says of cold copies, `mover` brings new ones, `tables` writes.
//!
//! **Invariants.** A copy is in the log or in one chunk. The chunks of an owner do not overlap and
//! come in the order of the messages. A chunk goes in the transaction in which its last copy
//! does, a row of `bodies` in that in which the last copy does that needs it: nothing needs to be
//! counted on disk, as the rows of `cold_index` say how many are left. A chunk that is not dirty
//! is as its rows say.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use foldhash::fast::RandomState;
use redb::ReadableTable;

use crate::turn::{Backlog, MessageId, OwnerId};

use super::encoding::Broken;
use super::entry::sooner;
use super::fault::Fault;
use super::whole::for_each_row;

mod chunk;
mod counts;
mod marks;
mod mover;
mod tables;
#[cfg(test)]
mod tests;

use chunk::IndexRow;
pub(super) use chunk::{BODIES, COLD, COLD_INDEX, ChunkKey, ColdCopy, FORGOTTEN, RowKey, row_key};
pub(super) use chunk::{Summary, copy_at, open_bodies, open_chunk};
pub use counts::ColdCounts;
use marks::Mark;
pub(super) use mover::{Limits, Mover};
pub(super) use tables::ColdTables;

type Map<K, V> = HashMap<K, V, RandomState>;

/// Chunks whose copies are in memory before some are closed.
const OPEN_CHUNKS: usize = 512;

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
}

fn broken_chunk(Broken: Broken) -> Fault {
    Fault::Row("cold")
}

fn broken_index(Broken: Broken) -> Fault {
    Fault::Row("cold_index")
}
