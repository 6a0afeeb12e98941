//! What one transaction does to the log and to the cold tables beside it.
//!
//! Invariant: the order is that of the records. First the batch, with what it says of cold
//! copies; then a slice of the move; then the collection of the log's front, and the rows of
//! chunks that knew something only from there.

use redb::{Table, WriteTransaction};

use super::cold::{BODIES, COLD, COLD_INDEX, ColdTables, Mover};
use super::collect::collect;
use super::fault::Fault;
use super::index::Index;
use super::log::{self, Appender, LOG};

/// Writes to the log.
pub(super) struct LogWriter<'a> {
    pub(super) transaction: &'a WriteTransaction,
    pub(super) index: &'a mut Index,
    pub(super) mover: &'a mut Mover,
    /// The key of the next row.
    pub(super) next_row: &'a mut u64,
    /// Memory that is used again: taken anew for each commit, a row costs its page faults.
    pub(super) row: &'a mut Vec<u8>,
    /// The size of the log that is not worth collecting.
    pub(super) log_bytes: u64,
    /// Whether space is wanted more than few writes.
    pub(super) is_full: bool,
}

type Log<'txn> = Table<'txn, u64, &'static [u8]>;

impl<'a> LogWriter<'a> {
    /// Writes the records of a batch, and does the rest of the work.
    pub(super) fn write(mut self, stream: &[u8]) -> Result<(), Fault> {
        let mut log = self.transaction.open_table(LOG)?;
        let before = *self.next_row;
        self.append(&mut log, stream)?;
        let now = self.index.now;
        // A move needs space before it gives any back.
        if !self.is_full {
            self.mover.look(self.index, now);
            self.mover.read(self.index, &log, stream.len())?;
        }
        if self.index.cold.has_work() || self.mover.is_moving() {
            let mut tables = self.cold_tables()?;
            self.index.cold.apply(&tables.chunks, &tables.index)?;
            self.index.cold.write(&mut tables)?;
            let moved = self.mover.write(self.index, &mut tables, stream.len())?;
            drop(tables);
            self.append(&mut log, &moved)?;
        }
        self.collect(&mut log, before)?;
        let front = self.index.front().map_or(u64::MAX, |front| front.key);
        if self.index.cold.is_dirty(front) {
            let mut tables = self.cold_tables()?;
            self.index.cold.flush(front, &mut tables)?;
        }
        Ok(())
    }

    fn append(&mut self, log: &mut Log<'_>, stream: &[u8]) -> Result<(), Fault> {
        Appender::new(log, self.index, self.next_row, self.row).append(stream)?;
        self.index.settle();
        Ok(())
    }

    fn collect(&mut self, log: &mut Log<'_>, before: u64) -> Result<(), Fault> {
        let collection =
            collect(self.index, before, self.log_bytes, self.is_full, |segment, records| {
                log::read_segment(log, segment.key, segment.rows, records)
            })?;
        if collection.rows.is_empty() {
            return Ok(());
        }
        log.retain_in(collection.rows.clone(), |_, _| false)?;
        self.append(log, &collection.survivors)
    }

    fn cold_tables(&self) -> Result<ColdTables<'a>, Fault> {
        Ok(ColdTables {
            chunks: self.transaction.open_table(COLD)?,
            index: self.transaction.open_table(COLD_INDEX)?,
            bodies: self.transaction.open_table(BODIES)?,
        })
    }
}
