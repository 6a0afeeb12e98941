//! Copies read back with their messages, from the log and from chunks, in the order of a queue.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::sync::Arc;

use redb::{ReadOnlyTable, ReadTransaction};

use crate::mqtt::Message;
use crate::time::Timestamp;
use crate::turn::{Copy, Load, Loaded, MessageId, Stored};

use super::cold::{
    self, BODIES, COLD, COLD_INDEX, ChunkKey, Cold, ColdCopy, RowKey, copy_at, row_key,
};
use super::collect::bytes_at;
use super::encoding::{Broken, Reader};
use super::entry::{NEVER, sooner};
use super::fault::Fault;
use super::index::{Candidate, Index, Place, Source};
use super::log::{self, LOG, LogError, for_each_record};
use super::record::{LogRecord, read_body};
use super::segments::Segments;
use super::shelf::Shelf;

/// Rows of `bodies` that are kept while one load is answered.
const KEPT_ROWS: usize = 64;

/// As often a segment may be read before that costs more than to move what waits in it: what
/// moves is written, and read once more.
const READ_OFTEN: u64 = 3;

/// Answers a load. What it reads of the log is counted against what that brings: when many queues
/// wait in each segment, all of the log is read for each of them, so that it is better sorted by
/// owner. Queues that are read side by side share what is read, and it is better left.
/// Memory for messages is taken from `spare` first.
pub(super) fn load(
    read: &ReadTransaction,
    index: &mut Index,
    spare: &mut Vec<Arc<Message>>,
    load: Load,
) -> Result<Loaded, Fault> {
    let found = find(read, index, load)?;
    let lately = std::mem::take(&mut index.lately);
    let mut reader = CopyReader::new(read, index, lately)?;
    let mut shelf = Shelf::new(usize::try_from(found.bytes).unwrap_or(usize::MAX), spare);
    let mut copies = Vec::with_capacity(found.sources.len());
    for source in found.sources {
        copies.push(reader.stored(source, &mut shelf)?);
    }
    let CopyReader { lately, read, used, .. } = reader;
    index.lately = lately;
    index.scattered = (index.scattered + read).saturating_sub(READ_OFTEN * used);
    index.cold.trim();
    let (has_more, soonest_expiry) = (found.has_more, found.soonest_expiry);
    Ok(Loaded { load, copies, has_more, soonest_expiry })
}

/// What a load gets, and what it does not.
struct Found {
    load: Load,
    sources: Vec<Source>,
    bytes: u64,
    has_more: bool,
    soonest_expiry: Option<Timestamp>,
}

impl Found {
    /// Decides on the next copy; says whether more may come.
    fn offer(&mut self, copy: Candidate) -> bool {
        if let Some(time) = self.load.expired_by {
            if !copy.is_waiting {
                return true;
            }
            if copy.expires > time {
                self.see_expiry(copy.expires);
                return true;
            }
        }
        let bytes = self.bytes + u64::from(copy.size);
        let fits = !self.is_full() && bytes <= self.load.bytes.into();
        if !self.has_more && (fits || self.sources.is_empty()) {
            self.sources.push(copy.source);
            self.bytes = bytes;
            return true;
        }
        self.has_more = true;
        self.see_expiry(copy.expires);
        self.load.expired_by.is_some()
    }

    fn is_full(&self) -> bool {
        self.sources.len() >= self.load.count as usize
    }

    fn see_expiry(&mut self, expires: Timestamp) {
        if self.load.expired_by.is_some() && expires != NEVER {
            self.soonest_expiry = sooner(self.soonest_expiry, Some(expires));
        }
    }

    /// Whether a chunk needs no look at its copies; if so, notes what that means.
    fn passes(&mut self, cold: &Cold, key: ChunkKey) -> bool {
        let Some(time) = self.load.expired_by else {
            return false;
        };
        let summary = cold.chunk(key).expect("a key of a chunk").summary();
        if self.load.first > key.1 || self.load.last < summary.last {
            return false;
        }
        let expires = summary.soonest.unwrap_or(NEVER);
        let has_expired = expires <= time;
        if has_expired && !self.has_more {
            return false;
        }
        self.see_expiry(expires);
        true
    }
}

/// Finds the copies; puts into memory what it needs of chunks.
fn find(read: &ReadTransaction, index: &mut Index, load: Load) -> Result<Found, Fault> {
    let mut found =
        Found { load, sources: Vec::new(), bytes: 0, has_more: false, soonest_expiry: None };
    if load.first > load.last {
        return Ok(found);
    }
    let mut from = load.first;
    if index.cold.has(load.owner) {
        let chunks = read.open_table(COLD)?;
        let rows = read.open_table(COLD_INDEX)?;
        while let Some(key) = index.cold.chunk_from(load.owner, from)
            && key.1 <= load.last
        {
            let last = index.cold.chunk(key).expect("it was found").summary().last;
            let range = from..=load.last.min(last);
            from = MessageId(last.0 + 1);
            if found.passes(&index.cold, key) {
                if !index.range(load.owner, range).all(|copy| found.offer(copy)) {
                    return Ok(found);
                }
                continue;
            }
            index.cold.open(key, &chunks, &rows)?;
            let copies = index.cold.chunk(key).and_then(|chunk| chunk.copies());
            let cold = candidates(key, copies.expect("it was opened"));
            let cold = cold.filter(|copy| range.contains(&copy.id));
            if !merge(index.range(load.owner, range.clone()), cold).all(|it| found.offer(it)) {
                return Ok(found);
            }
        }
    }
    if from <= load.last {
        let _ = index.range(load.owner, from..=load.last).all(|copy| found.offer(copy));
    }
    Ok(found)
}

fn candidates(key: ChunkKey, copies: &[ColdCopy]) -> impl Iterator<Item = Candidate> {
    let copies = copies.iter().enumerate().filter(|(_, copy)| !copy.is_gone);
    copies.map(move |(position, copy)| Candidate {
        id: copy.id,
        expires: copy.expires,
        size: copy.size,
        is_waiting: copy.is_waiting(),
        source: Source::Cold(key, position),
    })
}

/// Two queues in the order of their messages.
fn merge(
    one: impl Iterator<Item = Candidate>,
    other: impl Iterator<Item = Candidate>,
) -> impl Iterator<Item = Candidate> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    std::iter::from_fn(move || match (one.peek(), other.peek()) {
        (Some(first), Some(second)) if first.id > second.id => other.next(),
        (Some(_), _) => one.next(),
        (None, _) => other.next(),
    })
}

/// Reads copies, each row once or few times.
pub(super) struct CopyReader<'a> {
    index: &'a Index,
    log: ReadOnlyTable<u64, &'static [u8]>,
    lately: Segments,
    /// Bytes of the log that were read from the file.
    read: u64,
    /// Bytes of the records that were wanted of it.
    used: u64,
    chunks: ReadOnlyTable<RowKey, &'static [u8]>,
    chunk: Option<(ChunkKey, Vec<u8>)>,
    bodies: ReadOnlyTable<u64, &'static [u8]>,
    shared: BTreeMap<u64, Bodies>,
}

/// A row of `bodies`.
struct Bodies {
    records: Vec<u8>,
    places: BTreeMap<MessageId, Range<usize>>,
}

impl<'a> CopyReader<'a> {
    pub(super) fn new(
        read: &ReadTransaction,
        index: &'a Index,
        lately: Segments,
    ) -> Result<Self, Fault> {
        Ok(Self {
            index,
            log: read.open_table(LOG)?,
            lately,
            read: 0,
            used: 0,
            chunks: read.open_table(COLD)?,
            chunk: None,
            bodies: read.open_table(BODIES)?,
            shared: BTreeMap::new(),
        })
    }

    /// A copy with its message.
    fn stored(&mut self, source: Source, shelf: &mut Shelf<'_>) -> Result<Stored, Fault> {
        match source {
            Source::Log(place, body, since) => {
                let LogRecord::Queued(mut copy) = self.log_record(place)? else {
                    return Err(LogError::Broken(place.segment).into());
                };
                if let Some(since) = since {
                    since.apply(&mut copy);
                }
                let message = match self.log_record(body)? {
                    LogRecord::Message { body: bytes, .. } => read_body(bytes, shelf),
                    _ => Err(Broken),
                };
                let message = message.map_err(|Broken| LogError::Broken(body.segment))?;
                Ok(Stored { copy, message: shelf.message(message) })
            }
            Source::Cold(key, position) => self.cold(key, position, shelf),
        }
    }

    /// A copy of the log with all that happened to it.
    pub(super) fn log_copy(&mut self, place: Place) -> Result<Copy, Fault> {
        let index = self.index;
        let copy = match self.log_record(place)? {
            LogRecord::Queued(copy) => index.complete(copy, place),
            _ => None,
        };
        Ok(copy.ok_or(LogError::Broken(place.segment))?)
    }

    fn log_record(&mut self, place: Place) -> Result<LogRecord<'_>, Fault> {
        self.used += u64::from(place.len);
        let segment = self.lately.get(place.segment, |records| {
            let rows = self.index.rows(place.segment).expect("a place is in a segment");
            log::read_segment(&self.log, place.segment, rows, records)?;
            self.read += records.len() as u64;
            Ok(())
        })?;
        let record = LogRecord::read(&mut Reader::new(bytes_at(segment, place)));
        Ok(record.map_err(|Broken| LogError::Broken(place.segment))?)
    }

    fn cold(
        &mut self,
        key: ChunkKey,
        position: usize,
        shelf: &mut Shelf<'_>,
    ) -> Result<Stored, Fault> {
        let cold = self.cold_copy(key, position);
        let broken = |Broken: Broken| Fault::Row("cold");
        let (copy, body) = copy_at(self.chunk_records(key)?, cold).map_err(broken)?;
        if cold.body == 0 {
            let message = read_body(body, shelf).map_err(broken)?;
            return Ok(Stored { copy, message: shelf.message(message) });
        }
        let message = self.shared_body(cold.body, cold.id, shelf)?;
        Ok(Stored { copy, message: shelf.message(message) })
    }

    /// A copy of a chunk, whose copies are in memory, without its message.
    pub(super) fn copy_of_chunk(&mut self, key: ChunkKey, position: usize) -> Result<Copy, Fault> {
        let cold = self.cold_copy(key, position);
        let copy = copy_at(self.chunk_records(key)?, cold);
        Ok(copy.map_err(|Broken| Fault::Row("cold"))?.0)
    }

    fn cold_copy(&self, key: ChunkKey, position: usize) -> &'a ColdCopy {
        let index = self.index;
        let copies = index.cold.chunk(key).and_then(|chunk| chunk.copies());
        &copies.expect("the chunk is open")[position]
    }

    fn chunk_records(&mut self, key: ChunkKey) -> Result<&[u8], Fault> {
        if self.chunk.as_ref().is_none_or(|(kept, _)| *kept != key) {
            let row = self.chunks.get(row_key(key))?.ok_or(Fault::Row("cold"))?;
            let records = cold::open_chunk(key, row.value());
            let records = records.map_err(|Broken| Fault::Row("cold"))?.to_vec();
            self.chunk = Some((key, records));
        }
        Ok(self.chunk.as_ref().map_or(&[], |(_, records)| records))
    }

    fn shared_body(
        &mut self,
        row: u64,
        id: MessageId,
        shelf: &mut Shelf<'_>,
    ) -> Result<Message, Fault> {
        let broken = || Fault::Row("bodies");
        if self.shared.len() >= KEPT_ROWS && !self.shared.contains_key(&row) {
            self.shared.clear();
        }
        let bodies = match self.shared.entry(row) {
            Entry::Occupied(slot) => slot.into_mut(),
            Entry::Vacant(slot) => {
                let value = self.bodies.get(row)?.ok_or_else(broken)?;
                slot.insert(Bodies::read(row, value.value()).map_err(|Broken| broken())?)
            }
        };
        let place = bodies.places.get(&id).ok_or_else(broken)?;
        match LogRecord::read(&mut Reader::new(&bodies.records[place.clone()])) {
            Ok(LogRecord::Message { body, .. }) => {
                read_body(body, shelf).map_err(|Broken| broken())
            }
            _ => Err(broken()),
        }
    }
}

impl Bodies {
    fn read(row: u64, value: &[u8]) -> Result<Self, Broken> {
        let records = cold::open_bodies(row, value)?.to_vec();
        let mut places = BTreeMap::new();
        let read = for_each_record(0, &records, |record, place| {
            if let LogRecord::Message { id, .. } = record {
                let start = place.offset as usize;
                places.insert(id, start..start + place.len as usize);
            }
        });
        read.map_err(|_| Broken)?;
        Ok(Self { records, places })
    }
}
