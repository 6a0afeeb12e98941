//! The data file, and the one transaction that a commit is.
//!
//! Invariant: the index in memory is that of the last commit. When a commit fails, its fate is
//! unknown and the index is ahead of it: then [`Database::reopen`] reads both anew from the disk,
//! and until that was done nothing is written or read.

use std::sync::Arc;

use redb::{
    Durability, ReadTransaction, ReadableDatabase, Table, TableDefinition, WriteTransaction,
};

use crate::mqtt::Message;
use crate::turn::{DeadId, DeadLetter, LetterLoad, Letters, Load, Loaded, MessageId, Record};

use super::batch::{Batch, larger};
use super::browse;
use super::cold::{BODIES, COLD, COLD_INDEX, Cold, Limits, Mover};
use super::collect::is_loose;
use super::encoding::Broken;
use super::fault::Fault;
use super::index::Index;
use super::load;
use super::log::{self, LOG};
use super::log_writer::LogWriter;
use super::meta::{self, META, State};
use super::restore::restore;
use super::row::{self, RowKey};
use super::source::{Source, Time};
use super::{Checkpoint, ColdCounts, Options, StoreError};

#[cfg(test)]
mod tests;

pub(super) const SESSIONS: TableDefinition<'_, (u64, u8), &[u8]> = TableDefinition::new("sessions");
pub(super) const SUBSCRIPTIONS: TableDefinition<'_, (u64, &str), &[u8]> =
    TableDefinition::new("subscriptions");
pub(super) const GROUPS: TableDefinition<'_, (u64, u8), &[u8]> = TableDefinition::new("groups");
pub(super) const RETAINED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("retained");
pub(super) const TASKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("tasks");
pub(super) const DEAD: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("dead");
/// The log is not collected for its size below this.
const LOG_BYTES: u64 = 32 * 1024 * 1024;

/// The data file, open.
#[derive(Debug)]
pub struct Database {
    pub(super) source: Source,
    pub(super) options: Options,
    log_bytes: u64,
    /// Whether space is wanted more than few writes.
    is_full: bool,
    mover: Mover,
    /// `None` after an error, until it is opened again.
    redb: Option<redb::Database>,
    state: State,
    index: Index,
    /// The key of the next row of the log.
    next_row: u64,
    /// See [`LogWriter`].
    row: Vec<u8>,
    /// Memory for messages that are loaded.
    pub(super) spare: Vec<Arc<Message>>,
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
            is_full: false,
            mover: Mover::default(),
            redb: None,
            state: State::default(),
            index: Index::default(),
            next_row: 0,
            row: Vec::new(),
            spare: Vec::new(),
            one: Batch::default(),
        };
        database.load_file(Time::First)?;
        let read = database.begin_read()?;
        let records = restore(&read, &mut database.index, database.state.marks);
        let records = records.map_err(|error| database.fault(error))?;
        Ok((database, records))
    }

    /// Sets from which size on the log is collected while it is mostly dead, in bytes.
    pub fn limit_log(&mut self, bytes: u64) {
        self.log_bytes = bytes;
    }

    /// Sets from how many needed bytes of the log on copies that wait move to the cold tables.
    pub fn limit_hot(&mut self, bytes: u64) {
        self.mover.limits = Limits::new(bytes);
    }

    /// Collects the log for less than otherwise, and without being asked, while it is full; moves
    /// nothing meanwhile.
    pub(super) fn set_full(&mut self, is_full: bool) {
        self.is_full = is_full;
        if is_full {
            self.mover.reset();
        }
    }

    /// Bytes of the pages that are in use. Reads the branches of all tables.
    pub(super) fn used(&self) -> Result<u64, StoreError> {
        let count = || -> Result<u64, Fault> {
            let transaction = self.redb.as_ref().ok_or(Fault::Closed)?.begin_write()?;
            let stats = transaction.stats()?;
            transaction.abort()?;
            Ok(stats.allocated_pages() * stats.page_size() as u64)
        };
        count().map_err(|error| self.fault(error))
    }

    /// What happened in the cold tables since the file was opened or opened again.
    pub fn cold_counts(&self) -> ColdCounts {
        self.index.cold.counts()
    }

    #[cfg(test)]
    pub(super) fn open_chunks(&self) -> usize {
        self.index.cold.open_chunks()
    }

    #[cfg(test)]
    pub(super) fn forget_segments(&mut self) {
        self.index.lately = super::segments::Segments::default();
    }

    /// Whether [`work`](Self::work) has something to do.
    pub fn has_work(&self) -> bool {
        self.mover.is_moving()
            || self.index.cold.is_clearing()
            || self.is_full && is_loose(&self.index)
    }

    /// Goes on with what commits do beside: moves copies, removes what is left of owners.
    pub fn work(&mut self) -> Result<(), StoreError> {
        self.confirm(self.state.checkpoint)
    }

    /// The time of the last commit; `None` before the first.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        (self.state.batch > 0).then_some(self.state.checkpoint)
    }

    /// Writes records in one transaction. After an error use [`reopen`](Self::reopen): they may
    /// be stored or not.
    pub fn commit(&mut self, records: &[Record], checkpoint: Checkpoint) -> Result<(), StoreError> {
        let mut batch = std::mem::take(&mut self.one);
        batch.begin_after(self.newest_message());
        for record in records {
            batch.add(record);
        }
        batch.checkpoint = checkpoint;
        let result = self.write(&mut batch);
        batch.clear();
        self.one = batch;
        result
    }

    /// The stored copies of a range, in order, whole, up to the limits.
    pub fn load(&mut self, load: Load) -> Result<Loaded, StoreError> {
        let read = self.begin_read()?;
        load::load(&read, &mut self.index, &mut self.spare, load).map_err(|error| self.fault(error))
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

    /// The kept dead letters of a range, in order, whole, up to the limits.
    pub fn letters(&self, load: LetterLoad) -> Result<Letters, StoreError> {
        browse::letters(&self.begin_read()?, load).map_err(|error| self.fault(error))
    }

    /// Closes the file, if it is open, and opens it again: after an error.
    pub fn reopen(&mut self) -> Result<(), StoreError> {
        self.redb = None;
        self.load_file(Time::Again)
    }

    /// Leaves the file as it is, open for good.
    pub(super) fn abandon(&mut self) {
        std::mem::forget(self.redb.take());
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

    /// No message above this one was ever stored.
    pub(super) fn newest_message(&self) -> MessageId {
        MessageId(self.state.marks.message)
    }

    /// Writes a batch in one transaction.
    pub(super) fn write(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        batch.seal();
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
                self.source.proof().write(state.batch);
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
        transaction.set_quick_repair(self.source.is_large());
        let stream = batch.map_or(&[][..], |batch| &batch.log);
        self.index.now = state.checkpoint.at;
        self.index.lately.rest();
        LogWriter {
            transaction: &transaction,
            index: &mut self.index,
            mover: &mut self.mover,
            next_row: &mut self.next_row,
            row: &mut self.row,
            log_bytes: self.log_bytes,
            is_full: self.is_full,
        }
        .write(stream)?;
        if let Some(batch) = batch {
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
        if self.source.proof().read() > Some(read.0.batch) {
            return Err(self.fault(Fault::WentBack));
        }
        (self.state, self.index, self.next_row) = read;
        self.mover.reset();
        self.redb = Some(redb);
        Ok(())
    }

    pub(super) fn begin_read(&self) -> Result<ReadTransaction, StoreError> {
        let redb = self.redb.as_ref().ok_or_else(|| self.fault(Fault::Closed))?;
        redb.begin_read().map_err(|error| self.fault(error))
    }

    fn fault(&self, fault: impl Into<Fault>) -> StoreError {
        fault.into().explain(self.source.path())
    }
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
            RowKey::Task(_) => Self::Dead(transaction.open_table(TASKS)?),
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
            (Self::Dead(table), RowKey::Dead(id) | RowKey::Task(id)) => set(table, *id, value),
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

/// Reads what stands in memory while the file is open; fills a new file with empty tables, and
/// gives one of an older format those that it lacks.
fn read_file(redb: &redb::Database) -> Result<(State, Index, u64), Fault> {
    let is_new = redb.begin_read()?.list_tables()?.next().is_none();
    if is_new || meta::read(&redb.begin_read()?.open_table(META)?)?.1 {
        create_tables(redb, is_new)?;
    }
    read_index(&redb.begin_read()?)
}

/// Reads what stands in memory while a file is open.
pub(super) fn read_index(read: &ReadTransaction) -> Result<(State, Index, u64), Fault> {
    let (state, _) = meta::read(&read.open_table(META)?)?;
    let (chunks, rows) = (read.open_table(COLD)?, read.open_table(COLD_INDEX)?);
    let cold = Cold::read(&rows)?;
    let mut index = Index::default();
    index.now = state.checkpoint.at;
    index.cold = cold;
    let next_row = log::read_all(&read.open_table(LOG)?, &mut index, |index| {
        index.cold.apply(&chunks, &rows)
    })?;
    Ok((state, index, next_row))
}

fn create_tables(redb: &redb::Database, is_new: bool) -> Result<(), Fault> {
    let transaction = redb.begin_write()?;
    transaction.open_table(LOG)?;
    transaction.open_table(COLD)?;
    transaction.open_table(COLD_INDEX)?;
    transaction.open_table(BODIES)?;
    transaction.open_table(SESSIONS)?;
    transaction.open_table(SUBSCRIPTIONS)?;
    transaction.open_table(GROUPS)?;
    transaction.open_table(RETAINED)?;
    transaction.open_table(DEAD)?;
    transaction.open_table(TASKS)?;
    let mut table = transaction.open_table(META)?;
    meta::write_format(&mut table)?;
    if is_new {
        meta::write(&mut table, &State::default())?;
    }
    drop(table);
    transaction.commit()?;
    Ok(())
}
