//! The cold tables, as a transaction writes them.
//!
//! Invariant: a row that a dirty chunk has on disk is written anew before the log forgets what it
//! lacks.

use redb::{ReadableTable, Table};

use crate::turn::{MessageId, OwnerId};

use super::super::fault::Fault;
use super::chunk::{
    self, ChunkKey, ColdCopy, FORGOTTEN, IndexRow, RowKey, Summary, references, row_key,
};
use super::{Chunk, Cold, OPEN_CHUNKS, broken_index};

type Rows<'txn> = Table<'txn, RowKey, &'static [u8]>;
type Bodies<'txn> = Table<'txn, u64, &'static [u8]>;

/// Rows of forgotten owners that go in one commit.
const FORGOTTEN_ROWS: usize = 64;

/// The tables, open for writing.
pub(in super::super) struct ColdTables<'txn> {
    pub(in super::super) chunks: Rows<'txn>,
    pub(in super::super) index: Rows<'txn>,
    pub(in super::super) bodies: Bodies<'txn>,
}

impl Cold {
    /// Writes what changed in this transaction: removes what is empty, goes on with the chunks
    /// of forgotten owners.
    pub(in super::super) fn write(&mut self, tables: &mut ColdTables<'_>) -> Result<(), Fault> {
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
    pub(in super::super) fn is_dirty(&self, front: u64) -> bool {
        self.dirty.first().is_some_and(|(segment, _)| *segment < front)
    }

    /// Writes the rows of chunks that are dirty since a segment before `front`.
    pub(in super::super) fn flush(
        &mut self,
        front: u64,
        tables: &mut ColdTables<'_>,
    ) -> Result<(), Fault> {
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
    pub(super) fn add(
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
