//! Copies read back from the log, with their messages.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use redb::{ReadOnlyTable, ReadTransaction};

use crate::turn::{Copy, Stored};

use super::collect::bytes_at;
use super::encoding::{Broken, Reader};
use super::fault::Fault;
use super::index::{Index, Place};
use super::log::{self, LOG, LogError};
use super::record::{LogRecord, read_body};

/// Segments that are kept while one load is answered.
const KEPT_SEGMENTS: usize = 64;

/// Each copy and its body.
pub(super) fn read_copies(
    read: &ReadTransaction,
    index: &Index,
    places: &[(Place, Place)],
) -> Result<Vec<Stored>, Fault> {
    let mut log = LogReader::new(read, index)?;
    let stored = places.iter().map(|(copy, body)| {
        let copy = log.copy(*copy)?;
        let message = match log.record(*body)? {
            LogRecord::Message { body: bytes, .. } => read_body(bytes),
            _ => Err(Broken),
        };
        let message = message.map_err(|Broken| LogError::Broken(body.segment))?;
        Ok(Stored { copy, message: Arc::new(message) })
    });
    stored.collect()
}

/// Reads records of the log by their places, each segment once.
pub(super) struct LogReader<'a> {
    table: ReadOnlyTable<u64, &'static [u8]>,
    index: &'a Index,
    segments: BTreeMap<u64, Vec<u8>>,
}

impl<'a> LogReader<'a> {
    pub(super) fn new(read: &ReadTransaction, index: &'a Index) -> Result<Self, Fault> {
        Ok(Self { table: read.open_table(LOG)?, index, segments: BTreeMap::new() })
    }

    /// A copy with all that happened to it.
    pub(super) fn copy(&mut self, place: Place) -> Result<Copy, Fault> {
        let index = self.index;
        let copy = match self.record(place)? {
            LogRecord::Queued(copy) => index.complete(copy, place),
            _ => None,
        };
        Ok(copy.ok_or(LogError::Broken(place.segment))?)
    }

    fn record(&mut self, place: Place) -> Result<LogRecord<'_>, Fault> {
        if self.segments.len() >= KEPT_SEGMENTS && !self.segments.contains_key(&place.segment) {
            self.segments.clear();
        }
        let segment = match self.segments.entry(place.segment) {
            Entry::Occupied(slot) => slot.into_mut(),
            Entry::Vacant(slot) => {
                let rows = self.index.rows(place.segment).expect("a place is in a segment");
                let mut records = Vec::new();
                log::read_segment(&self.table, place.segment, rows, &mut records)?;
                slot.insert(records)
            }
        };
        let record = LogRecord::read(&mut Reader::new(bytes_at(segment, place)));
        Ok(record.map_err(|Broken| LogError::Broken(place.segment))?)
    }
}
