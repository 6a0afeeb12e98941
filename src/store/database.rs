//! The data file, and the one transaction that a commit is.
//!
//! Invariant: the index in memory is that of the last commit. When a commit fails, its fate is
//! unknown and the index is ahead of it: then [`Database::reopen`] reads both anew from the disk,
//! and until that was done nothing is written or read.

use redb::{
    Durability, ReadTransaction, ReadableDatabase, Table, TableDefinition, WriteTransaction,
};

use crate::turn::{DeadId, DeadLetter, Load, Loaded, Record};

use super::batch::{Batch, larger};
use super::collect::collect;
use super::encoding::Broken;
use super::fault::Fault;
use super::index::{Found, Index};
use super::load::read_copies;
use super::log::{self, Appender, LOG};
use super::meta::{self, META, State};
use super::restore::restore;
use super::row::{self, RowKey};
use super::source::{Source, Time};
use super::{Checkpoint, Options, StoreError};

#[cfg(test)]
mod tests;

pub(super) const SESSIONS: TableDefinition<'_, (u64, u8), &[u8]> = TableDefinition::new("sessions");
pub(super) const SUBSCRIPTIONS: TableDefinition<'_, (u64, &str), &[u8]> =
    TableDefinition::new("subscriptions");
pub(super) const GROUPS: TableDefinition<'_, (u64, u8), &[u8]> = TableDefinition::new("groups");
pub(super) const RETAINED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("retained");
pub(super) const DEAD: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("dead");
/// The log is not collected for its size below this.
const LOG_BYTES: u64 = 32 * 1024 * 1024;

/// The data file, open.
#[derive(Debug)]
pub struct Database {
    pub(super) source: Source,
    pub(super) options: Options,
    log_bytes: u64,
    /// `None` after an error, until it is opened again.
    redb: Option<redb::Database>,
    state: State,
    index: Index,
    /// The key of the next row of the log.
    next_row: u64,
    one: Batch,
}

impl Database {
    pub(super) fn open(
        source: Source,
        options: Options,
    ) -> Result<(Self, Vec<Record>), StoreError> {
        let mut database = Self {
            source,
            options,
            log_bytes: LOG_BYTES,
            redb: None,
            state: State::default(),
            index: Index::default(),
            next_row: 0,
            one: Batch::default(),
        };
        database.load_file(Time::First)?;
        let read = database.begin_read()?;
        let records = restore(&read, &database.index, database.state.marks);
        let records = records.map_err(|error| database.fault(error))?;
        Ok((database, records))
    }

    /// Sets from which size on the log is collected while it is mostly dead, in bytes.
    pub fn limit_log(&mut self, bytes: u64) {
        self.log_bytes = bytes;
    }

    /// The time of the last commit; `None` before the first.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        (self.state.batch > 0).then_some(self.state.checkpoint)
    }

    /// Writes records in one transaction. After an error use [`reopen`](Self::reopen): they may
    /// be stored or not.
    pub fn commit(&mut self, records: &[Record], checkpoint: Checkpoint) -> Result<(), StoreError> {
        let mut batch = std::mem::take(&mut self.one);
        for record in records {
            batch.add(record);
        }
        batch.checkpoint = checkpoint;
        let result = self.write(&batch);
        batch.clear();
        self.one = batch;
        result
    }

    /// The stored copies of a range, in order, whole, up to the limits.
    pub fn load(&mut self, load: Load) -> Result<Loaded, StoreError> {
        let found = self.index.find(load);
        let copies = if found.places.is_empty() && self.redb.is_some() {
            Vec::new()
        } else {
            let read = self.begin_read()?;
            let copies = read_copies(&read, &self.index, &found.places);
            copies.map_err(|error| self.fault(error))?
        };
        let Found { has_more, soonest_expiry, .. } = found;
        Ok(Loaded { load, copies, has_more, soonest_expiry })
    }

    /// A kept dead letter, whole.
    pub fn dead_letter(&self, id: DeadId) -> Result<Option<DeadLetter>, StoreError> {
        let read = self.begin_read()?;
        let table = read.open_table(DEAD).map_err(|error| self.fault(error))?;
        let row = table.get(id.0).map_err(|error| self.fault(error))?;
        row.map(|row| row::read_dead(id, row.value()))
            .transpose()
            .map_err(|Broken| self.fault(Fault::Row("dead")))
    }

    /// Closes the file, if it is open, and opens it again: after an error.
    pub fn reopen(&mut self) -> Result<(), StoreError> {
        self.redb = None;
        self.load_file(Time::Again)
    }

    /// Closes the file. Dropping it does the same, without a word about errors.
    pub fn close(mut self) -> Result<(), StoreError> {
        let Some(redb) = self.redb.take() else {
            return Ok(());
        };
        redb.close().map_err(|error| self.fault(error))
    }

    /// How many transactions of records were committed in the life of the file.
    pub fn batch(&self) -> u64 {
        self.state.batch
    }

    /// Writes a batch in one transaction.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let state = State {
            batch: self.state.batch + 1,
            marks: larger(self.state.marks, batch.marks),
            checkpoint: batch.checkpoint,
        };
        self.transaction(Some(batch), &state)
    }

    /// Writes no records: when it succeeds, all before it is on disk.
    pub(super) fn confirm(&mut self, checkpoint: Checkpoint) -> Result<(), StoreError> {
        let state = State { checkpoint, ..self.state };
        self.transaction(None, &state)
    }

    fn transaction(&mut self, batch: Option<&Batch>, state: &State) -> Result<(), StoreError> {
        let result = self.try_transaction(batch, state);
        match result {
            Ok(()) => {
                self.state = *state;
                Ok(())
            }
            Err(error) => {
                // The index may be ahead, and redb takes nothing more.
                self.redb = None;
                Err(self.fault(error))
            }
        }
    }

    fn try_transaction(&mut self, batch: Option<&Batch>, state: &State) -> Result<(), Fault> {
        let redb = self.redb.as_ref().ok_or(Fault::Closed)?;
        let mut transaction = redb.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_two_phase_commit(self.options.two_phase_commit);
        if let Some(batch) = batch {
            let mut log = transaction.open_table(LOG)?;
            append(&mut log, &mut self.index, &mut self.next_row, &batch.log, self.log_bytes)?;
            drop(log);
            write_rows(&transaction, batch)?;
        }
        meta::write(&mut transaction.open_table(META)?, state)?;
        transaction.commit()?;
        Ok(())
    }

    fn load_file(&mut self, time: Time) -> Result<(), StoreError> {
        let redb = self.source.open(time)?;
        let read = read_file(&redb).map_err(|error| self.fault(error))?;
        if read.0.batch < self.state.batch {
            return Err(self.fault(Fault::Exchanged));
        }
        (self.state, self.index, self.next_row) = read;
        self.redb = Some(redb);
        Ok(())
    }

    fn begin_read(&self) -> Result<ReadTransaction, StoreError> {
        let redb = self.redb.as_ref().ok_or_else(|| self.fault(Fault::Closed))?;
        redb.begin_read().map_err(|error| self.fault(error))
    }

    fn fault(&self, fault: impl Into<Fault>) -> StoreError {
        fault.into().explain(self.source.path())
    }
}

/// Writes a batch to the log, and collects.
fn append(
    table: &mut Table<'_, u64, &'static [u8]>,
    index: &mut Index,
    next: &mut u64,
    stream: &[u8],
    limit: u64,
) -> Result<(), Fault> {
    let before = *next;
    Appender { table, index, next }.append(stream)?;
    index.settle();
    let collection = collect(index, before, limit, |segment, records| {
        log::read_segment(table, segment.key, segment.rows, records)
    })?;
    if collection.rows.is_empty() {
        return Ok(());
    }
    table.retain_in(collection.rows.clone(), |_, _| false)?;
    Appender { table, index, next }.append(&collection.survivors)?;
    index.settle();
    Ok(())
}

fn write_rows(transaction: &WriteTransaction, batch: &Batch) -> Result<(), Fault> {
    if !batch.unsubscribed.is_empty() {
        let mut table = transaction.open_table(SUBSCRIPTIONS)?;
        for owner in &batch.unsubscribed {
            let range = (owner.0, "")..(owner.0.saturating_add(1), "");
            table.retain_in(range, |_, _| false)?;
        }
    }
    // Rows of a table stand together, so each is opened once.
    let mut rows = batch.rows.iter().peekable();
    while let Some((first, _)) = rows.peek() {
        let kind = std::mem::discriminant(*first);
        let mut table = OpenTable::new(transaction, first)?;
        while let Some((key, value)) = rows.next_if(|(key, _)| std::mem::discriminant(*key) == kind)
        {
            table.set(key, value.as_deref())?;
        }
    }
    Ok(())
}

/// The table of some row, for writing.
enum OpenTable<'t> {
    Parts(Table<'t, (u64, u8), &'static [u8]>),
    Subscriptions(Table<'t, (u64, &'static str), &'static [u8]>),
    Retained(Table<'t, &'static str, &'static [u8]>),
    Dead(Table<'t, u64, &'static [u8]>),
}

impl<'t> OpenTable<'t> {
    fn new(transaction: &'t WriteTransaction, key: &RowKey) -> Result<Self, Fault> {
        Ok(match key {
            RowKey::Session(..) => Self::Parts(transaction.open_table(SESSIONS)?),
            RowKey::Subscription(..) => Self::Subscriptions(transaction.open_table(SUBSCRIPTIONS)?),
            RowKey::Group(..) => Self::Parts(transaction.open_table(GROUPS)?),
            RowKey::Retained(_) => Self::Retained(transaction.open_table(RETAINED)?),
            RowKey::Dead(_) => Self::Dead(transaction.open_table(DEAD)?),
        })
    }

    fn set(&mut self, key: &RowKey, value: Option<&[u8]>) -> Result<(), Fault> {
        match (self, key) {
            (Self::Parts(table), RowKey::Session(id, part) | RowKey::Group(id, part)) => {
                set(table, (*id, *part), value)
            }
            (Self::Subscriptions(table), RowKey::Subscription(id, filter)) => {
                set(table, (*id, &**filter), value)
            }
            (Self::Retained(table), RowKey::Retained(topic)) => set(table, &**topic, value),
            (Self::Dead(table), RowKey::Dead(id)) => set(table, *id, value),
            _ => unreachable!("the table of another row"),
        }
    }
}

fn set<'k, K: redb::Key>(
    table: &mut Table<'_, K, &'static [u8]>,
    key: K::SelfType<'k>,
    value: Option<&[u8]>,
) -> Result<(), Fault> {
    match value {
        Some(value) => drop(table.insert(key, value)?),
        None => drop(table.remove(key)?),
    }
    Ok(())
}

/// Reads what stands in memory while the file is open; fills a new file with empty tables.
fn read_file(redb: &redb::Database) -> Result<(State, Index, u64), Fault> {
    if redb.begin_read()?.list_tables()?.next().is_none() {
        create_tables(redb)?;
    }
    let read = redb.begin_read()?;
    let state = meta::read(&read.open_table(META)?)?;
    let (index, next_row) = log::read_all(&read.open_table(LOG)?)?;
    Ok((state, index, next_row))
}

fn create_tables(redb: &redb::Database) -> Result<(), Fault> {
    let transaction = redb.begin_write()?;
    transaction.open_table(LOG)?;
    transaction.open_table(SESSIONS)?;
    transaction.open_table(SUBSCRIPTIONS)?;
    transaction.open_table(GROUPS)?;
    transaction.open_table(RETAINED)?;
    transaction.open_table(DEAD)?;
    let mut table = transaction.open_table(META)?;
    meta::write_format(&mut table)?;
    meta::write(&mut table, &State::default())?;
    drop(table);
    transaction.commit()?;
    Ok(())
}
