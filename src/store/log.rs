//! The log: rows of at most [`ROW`] bytes under growing keys. A row, or several when one record
//! is too long for it, is a *segment*; a segment holds whole records.
//!
//! A row is: checksum over key and rest (4 bytes), how many rows of its segment follow (4 bytes),
//! records. Small rows would cost redb many times the bytes; a value just over 4096·2^k doubles
//! on disk, hence the odd size.

use redb::{ReadableTable, StorageError, Table, TableDefinition};

use super::encoding::{Broken, Reader};
use super::fault::Fault;
use super::index::{Index, Place};
use super::record::LogRecord;
use super::whole::for_each_row;

/// The table.
pub(super) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");

/// The largest row.
const ROW: usize = 65_472;
const HEADER: usize = 8;
const PAYLOAD: usize = ROW - HEADER;

/// What can go wrong while the log is read.
#[derive(Debug)]
pub(super) enum LogError {
    /// redb says so.
    Storage(StorageError),
    /// A checksum, a missing row, or bytes that are no record, at this row.
    Broken(u64),
}

impl From<StorageError> for LogError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// Writes at the end of the log.
pub(super) struct Appender<'a, 'txn> {
    table: &'a mut Table<'txn, u64, &'static [u8]>,
    index: &'a mut Index,
    /// The key of the next row.
    next: &'a mut u64,
    /// Where rows are put together.
    row: &'a mut Vec<u8>,
}

impl<'a, 'txn> Appender<'a, 'txn> {
    /// `next` is the key of the next row. The memory of `row` is used.
    pub(super) fn new(
        table: &'a mut Table<'txn, u64, &'static [u8]>,
        index: &'a mut Index,
        next: &'a mut u64,
        row: &'a mut Vec<u8>,
    ) -> Self {
        Self { table, index, next, row }
    }

    /// Writes records, as many to a row as fit. Each is indexed as it is read, which is before its
    /// segment is written: this is the way of each message, so it is gone once.
    pub(super) fn append(&mut self, stream: &[u8]) -> Result<(), LogError> {
        let mut reader = Reader::new(stream);
        // Where the segment starts that is being filled.
        let mut start = 0;
        while !reader.is_empty() {
            let at = reader.position();
            let record = LogRecord::read(&mut reader);
            let record = record.map_err(|Broken| LogError::Broken(*self.next))?;
            let end = reader.position();
            if at > start && end - start > PAYLOAD {
                self.write(&stream[start..at])?;
                start = at;
            }
            if at == start {
                self.index.begin_segment(*self.next);
            }
            self.index.apply(record, place(*self.next, at - start, end - start));
        }
        if start < stream.len() {
            self.write(&stream[start..])?;
        }
        Ok(())
    }

    /// Ends a segment: writes its rows.
    fn write(&mut self, records: &[u8]) -> Result<(), LogError> {
        let first = *self.next;
        let mut follow = records.len().div_ceil(PAYLOAD);
        let rows = follow as u64;
        for part in records.chunks(PAYLOAD) {
            follow -= 1;
            fill(self.row, *self.next, follow, part);
            // Not `insert_reserve`: that makes a value of zeros and copies it first.
            self.table.insert(*self.next, self.row.as_slice())?;
            *self.next += 1;
        }
        let bytes = u32::try_from(records.len()).map_err(|_| LogError::Broken(first))?;
        self.index.end_segment(rows, bytes);
        Ok(())
    }
}

fn fill(row: &mut Vec<u8>, key: u64, follow: usize, part: &[u8]) {
    let follow = u32::try_from(follow).expect("a record is shorter than 4 GiB");
    row.clear();
    row.extend_from_slice(&[0; 4]);
    row.extend_from_slice(&follow.to_le_bytes());
    row.extend_from_slice(part);
    let checksum = checksum(key, &row[4..]);
    row[..4].copy_from_slice(&checksum.to_le_bytes());
}

fn checksum(key: u64, rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&key.to_le_bytes());
    hasher.update(rest);
    hasher.finalize()
}

/// Checks a row: how many rows follow, and its records or a part of one.
fn open_row(key: u64, row: &[u8]) -> Result<(u64, &[u8]), LogError> {
    let (stored, rest) = row.split_first_chunk().ok_or(LogError::Broken(key))?;
    if u32::from_le_bytes(*stored) != checksum(key, rest) {
        return Err(LogError::Broken(key));
    }
    let (follow, part) = rest.split_first_chunk().ok_or(LogError::Broken(key))?;
    Ok((u64::from(u32::from_le_bytes(*follow)), part))
}

/// Calls `each` with every record of a segment and its place.
pub(super) fn for_each_record<'a>(
    segment: u64,
    records: &'a [u8],
    mut each: impl FnMut(LogRecord<'a>, Place),
) -> Result<(), LogError> {
    let mut reader = Reader::new(records);
    while !reader.is_empty() {
        let start = reader.position();
        let record = LogRecord::read(&mut reader).map_err(|Broken| LogError::Broken(segment))?;
        each(record, place(segment, start, reader.position()));
    }
    Ok(())
}

fn place(segment: u64, start: usize, end: usize) -> Place {
    let offset = u32::try_from(start).expect("a segment is shorter than 4 GiB");
    let len = u32::try_from(end - start).expect("a segment is shorter than 4 GiB");
    Place { segment, offset, len }
}

fn index_segment(index: &mut Index, key: u64, rows: u64, records: &[u8]) -> Result<(), LogError> {
    let bytes = u32::try_from(records.len()).map_err(|_| LogError::Broken(key))?;
    index.begin_segment(key);
    for_each_record(key, records, |record, place| index.apply(record, place))?;
    index.end_segment(rows, bytes);
    Ok(())
}

/// Reads the whole log into the empty `index`; gives the key of its next row. `settle` is called
/// after each segment.
pub(super) fn read_all(
    table: &impl ReadableTable<u64, &'static [u8]>,
    index: &mut Index,
    mut settle: impl FnMut(&mut Index) -> Result<(), Fault>,
) -> Result<u64, Fault> {
    let mut next = 0;
    // The rows of a long record so far, and how many must follow.
    let mut long: Vec<u8> = Vec::new();
    let mut first = None;
    let mut left = 0;
    for_each_row(table, "log", |key, row| {
        let (follow, part) = open_row(key, row)?;
        match first {
            None if follow == 0 => index_segment(index, key, 1, part)?,
            None => {
                first = Some(key);
                long.extend_from_slice(part);
            }
            Some(start) => {
                if key != next || follow + 1 != left {
                    return Err(LogError::Broken(key).into());
                }
                long.extend_from_slice(part);
                if follow == 0 {
                    index_segment(index, start, key - start + 1, &long)?;
                    long.clear();
                    first = None;
                }
            }
        }
        settle(index)?;
        left = follow;
        next = key + 1;
        Ok(())
    })?;
    if let Some(start) = first {
        return Err(LogError::Broken(start).into());
    }
    index.finish();
    Ok(next)
}

/// Reads the records of one segment into `into`.
pub(super) fn read_segment(
    table: &impl ReadableTable<u64, &'static [u8]>,
    key: u64,
    rows: u64,
    into: &mut Vec<u8>,
) -> Result<(), LogError> {
    into.clear();
    for row_key in key..key + rows {
        let row = table.get(row_key)?.ok_or(LogError::Broken(row_key))?;
        let (follow, part) = open_row(row_key, row.value())?;
        if follow != key + rows - 1 - row_key {
            return Err(LogError::Broken(row_key));
        }
        into.extend_from_slice(part);
    }
    Ok(())
}
