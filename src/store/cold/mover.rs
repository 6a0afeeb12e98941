//! The move of copies that wait out of the log: when it has become large, or old, or when many
//! queues are read from it, it is read in slices, what waits is sorted by owner, and written as
//! chunks in slices again, each in the transaction of some batch.
//!
//! Invariant: a copy is taken out of the log, by a record that names it, in the transaction that
//! writes its chunk; whatever happened to it since it was read is looked up then. What stands in
//! memory here is a copy of the log, and is dropped when a commit fails.

use std::collections::HashMap;
use std::ops::Range;

use foldhash::fast::RandomState;
use redb::Table;

use crate::time::Timestamp;
use crate::turn::{Copy, MessageId, OwnerId};

use super::super::collect::bytes_at;
use super::super::encoding::{Broken, Reader};
use super::super::fault::Fault;
use super::super::index::Index;
use super::super::log::{self, LogError, for_each_record};
use super::super::record::{self, LogRecord};
use super::chunk::{self, ChunkBuilder};
use super::{ChunkKey, ColdTables};

/// The largest row of `cold` and `bodies`, but for one that holds a single longer message.
const ROW: usize = 65_400;
/// Copies in one chunk: many when their bodies are elsewhere.
const CHUNK_COPIES: usize = 1024;
/// How long a log that is not small keeps copies that wait, in milliseconds.
const AGE: u64 = 10 * 60 * 1000;

/// When the log is moved from, and how much at a time.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Limits {
    /// Needed bytes of the log.
    hot: u64,
}

impl Limits {
    /// Moves from a log with more needed bytes than this.
    pub(in super::super) fn new(hot: u64) -> Self {
        Self { hot }
    }

    /// Copies in the log: each takes memory, also where many share a body.
    fn copies(self) -> usize {
        usize::try_from(self.hot / 160).unwrap_or(usize::MAX)
    }

    /// Needed bytes of a log that is moved from for its age.
    fn old(self) -> u64 {
        self.hot / 8
    }

    /// Bytes that one commit writes; it reads four times as many.
    fn slice(self) -> usize {
        usize::try_from(self.hot / 32).map_or(1 << 20, |slice| slice.clamp(1 << 10, 1 << 20))
    }

    fn row(self) -> usize {
        ROW.min(4 * self.slice())
    }

    /// Bytes that are in memory during a move.
    fn buffer(self) -> usize {
        usize::try_from(self.hot).unwrap_or(usize::MAX)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new(32 * 1024 * 1024)
    }
}

#[derive(Debug, Default)]
enum Step {
    #[default]
    Idle,
    /// The next segment to read, and the last.
    Reading(u64, u64),
    /// The next planned copy.
    Writing(usize),
}

/// A copy that is to move: its record in the buffer.
#[derive(Debug)]
struct Planned {
    owner: OwnerId,
    message: MessageId,
    record: Range<u32>,
    /// The record of its body, where that is right before it in the log, as nearly always. Else it
    /// is looked up.
    body: Option<Range<u32>>,
}

/// A body that was not found with its copy: several may have it.
#[derive(Debug)]
struct PlannedBody {
    record: Range<u32>,
    copies: u32,
    /// Index in `groups`, for one with several copies.
    group: u32,
}

/// Shared bodies that go into one row.
#[derive(Debug, Default)]
struct Group {
    records: Vec<Range<u32>>,
    bytes: usize,
    /// The row, once it was written; it may be gone again.
    row: u64,
}

/// A move.
#[derive(Debug, Default)]
pub(in super::super) struct Mover {
    pub(in super::super) limits: Limits,
    step: Step,
    buffer: Vec<u8>,
    copies: Vec<Planned>,
    bodies: HashMap<MessageId, PlannedBody, RandomState>,
    groups: Vec<Group>,
    /// Bytes that were written.
    written: usize,
    /// What must be passed before the next move, after one that found little to move.
    next_bytes: u64,
    next_copies: usize,
    next_time: Timestamp,
}

impl Mover {
    /// Drops what was read: for a commit that failed.
    pub(in super::super) fn reset(&mut self) {
        *self = Self { limits: self.limits, ..Self::default() };
    }

    /// Whether it is in the middle of a move.
    pub(in super::super) fn is_moving(&self) -> bool {
        !matches!(self.step, Step::Idle)
    }

    /// Starts a move when the log is large or old enough, or read in vain for the most part.
    pub(in super::super) fn look(&mut self, index: &mut Index, now: Timestamp) {
        if self.is_moving() {
            return;
        }
        let Limits { hot } = self.limits;
        let is_large = index.live() > hot.max(self.next_bytes)
            || index.copies() > self.limits.copies().max(self.next_copies);
        let is_old = || {
            let age = index.front().map_or(0, |front| now.0.saturating_sub(front.at.0));
            index.live() > self.limits.old() && age > AGE && now >= self.next_time
        };
        let is_scattered = index.scattered > 2 * index.bytes()
            && index.live() > self.limits.old().max(self.next_bytes);
        if (is_large || is_scattered || is_old())
            && let (Some(front), Some(back)) = (index.front(), index.back())
        {
            self.step = Step::Reading(front.key, back.key);
            self.next_time = Timestamp(now.0 + AGE);
            index.scattered = 0;
        }
    }

    /// Reads a slice of the log. `batch` is the size of what this commit writes anyway: the move
    /// must be faster.
    pub(in super::super) fn read(
        &mut self,
        index: &Index,
        table: &Table<'_, u64, &'static [u8]>,
        batch: usize,
    ) -> Result<(), Fault> {
        let Step::Reading(mut next, last) = self.step else {
            return Ok(());
        };
        let budget = 4 * self.limits.slice().max(batch);
        let mut read = 0;
        let mut records = Vec::new();
        while read < budget {
            let segment = index.segment_from(next).filter(|segment| segment.key <= last);
            let Some(segment) = segment.filter(|_| self.buffer.len() < self.limits.buffer()) else {
                self.plan();
                return Ok(());
            };
            if segment.live > 0 {
                log::read_segment(table, segment.key, segment.rows, &mut records)?;
                self.take(index, segment.key, &records)?;
                read += records.len();
            }
            next = segment.key + segment.rows;
        }
        self.step = Step::Reading(next, last);
        Ok(())
    }

    /// Keeps what waits of a segment.
    fn take(&mut self, index: &Index, segment: u64, records: &[u8]) -> Result<(), LogError> {
        for_each_record(segment, records, |record, place| match record {
            LogRecord::Message { id, .. } if index.needs_body(id, place) => {
                let record = keep(&mut self.buffer, bytes_at(records, place));
                self.bodies.insert(id, PlannedBody { record, copies: 0, group: 0 });
            }
            LogRecord::Queued(copy) => {
                let entry = index.entry_at(&copy, place);
                if let Some(entry) = entry.filter(|entry| entry.is_waiting()) {
                    let mut keep = |place| keep(&mut self.buffer, bytes_at(records, place));
                    let (owner, message) = (copy.owner, copy.message);
                    let body = entry.own_body().map(&mut keep);
                    self.copies.push(Planned { owner, message, record: keep(place), body });
                }
            }
            _ => {}
        })
    }

    /// Sorts what was read, and puts shared bodies together.
    fn plan(&mut self) {
        self.copies.sort_unstable_by_key(|copy| (copy.owner, copy.message));
        for copy in self.copies.iter().filter(|copy| copy.body.is_none()) {
            if let Some(body) = self.bodies.get_mut(&copy.message) {
                body.copies += 1;
            }
        }
        let shared = self.bodies.iter_mut().filter(|(_, body)| body.copies > 1);
        let mut shared: Vec<_> = shared.collect();
        shared.sort_unstable_by_key(|(id, _)| **id);
        let row = self.limits.row();
        for (_, body) in shared {
            let len = body.record.len();
            let is_full = |group: &Group| group.bytes + len > row;
            if self.groups.last().is_none_or(is_full) {
                self.groups.push(Group::default());
            }
            let group = self.groups.last_mut().expect("it was made");
            group.records.push(body.record.clone());
            group.bytes += len;
            body.group = u32::try_from(self.groups.len() - 1).expect("the buffer is small");
        }
        self.step = Step::Writing(0);
    }

    /// Writes a slice of the plan; gives the records of the log that take the copies out of it.
    pub(in super::super) fn write(
        &mut self,
        index: &mut Index,
        tables: &mut ColdTables<'_>,
        batch: usize,
    ) -> Result<Vec<u8>, Fault> {
        let mut moved = Vec::new();
        let Step::Writing(mut at) = self.step else {
            return Ok(moved);
        };
        let budget = self.limits.slice().max(2 * batch);
        let mut written = 0;
        while written < budget && at < self.copies.len() {
            let chunk = self.next_chunk(index, &mut at);
            if !chunk.is_empty() {
                written += self.write_chunk(&chunk, index, tables, &mut moved)?;
            }
        }
        self.step = Step::Writing(at);
        self.written += written;
        if at == self.copies.len() {
            self.finish(index);
        }
        Ok(moved)
    }

    /// Ends a move. When most of what was read stays, for it is in flight, it is not read again
    /// before there is much more.
    fn finish(&mut self, index: &Index) {
        let is_worth = self.written >= self.buffer.len() / 4;
        let (limits, next_time) = (self.limits, self.next_time);
        *self = Self { limits, next_time, ..Self::default() };
        if !is_worth {
            self.next_bytes = index.live() + limits.hot / 2;
            self.next_copies = index.copies() + limits.copies() / 2;
        }
    }

    /// The positions of the copies of the next chunk, of one owner; `at` is then behind them.
    fn next_chunk(&self, index: &Index, at: &mut usize) -> Vec<usize> {
        let owner = self.copies[*at].owner;
        let last = index.cold.last(owner);
        let mut ends = Vec::new();
        let mut taken = Vec::new();
        let (mut bytes, mut shared) = (0, 0);
        let mut end = *at;
        while let Some(copy) = self.copies.get(end).filter(|copy| copy.owner == owner) {
            let moves = Some(copy.message) > last && index.is_waiting(owner, copy.message);
            if let Some((body, group)) = self.body(copy).filter(|_| moves) {
                match group {
                    Some(_) => shared += body.len(),
                    None => bytes += body.len(),
                }
                bytes += copy.record.len() + 10;
                let is_full = bytes > self.limits.row()
                    || shared > 16 * self.limits.slice()
                    || taken.len() >= CHUNK_COPIES;
                if is_full && !taken.is_empty() {
                    break;
                }
                taken.push(end);
                ends.push(bytes);
            }
            end += 1;
        }
        let count = fill_page(&ends);
        if count < taken.len() {
            end = taken[count];
            taken.truncate(count);
        }
        *at = end;
        taken
    }

    fn write_chunk(
        &mut self,
        chunk: &[usize],
        index: &mut Index,
        tables: &mut ColdTables<'_>,
        moved: &mut Vec<u8>,
    ) -> Result<usize, Fault> {
        let mut builder = ChunkBuilder::new();
        let mut written = 0;
        let mut ids = Vec::with_capacity(chunk.len());
        for at in chunk {
            let planned = &self.copies[*at];
            let copy = self.copy(planned)?;
            let (body, group) = self.body(planned).expect("it was found before");
            if let Some(group) = group {
                let group = &mut self.groups[group as usize];
                if !index.cold.bodies.contains_key(&group.row) {
                    let row = index.cold.last_body + 1;
                    written += write_group(group, row, &self.buffer, tables)?;
                    index.cold.last_body = row;
                    index.cold.counts.bodies += 1;
                    // Counted when the chunk is added.
                    index.cold.bodies.insert(row, 0);
                }
                builder.add(&copy, Err(group.row));
            } else {
                builder.add(&copy, Ok(slice(&self.buffer, &body)));
            }
            ids.push(planned.message);
        }
        let first = &self.copies[chunk[0]];
        let key: ChunkKey = (first.owner, first.message);
        let built = builder.finish(key);
        written += built.0.len();
        index.cold.add(key, built, tables)?;
        record::put_moved(moved, key.0, &ids);
        Ok(written)
    }

    /// The record of its body, and the group of that where several copies have it.
    fn body(&self, copy: &Planned) -> Option<(Range<u32>, Option<u32>)> {
        if let Some(body) = &copy.body {
            return Some((body.clone(), None));
        }
        let body = self.bodies.get(&copy.message)?;
        Some((body.record.clone(), (body.copies > 1).then_some(body.group)))
    }

    /// A copy that waits has no past, even if its record has.
    fn copy(&self, planned: &Planned) -> Result<Copy, Fault> {
        let mut reader = Reader::new(slice(&self.buffer, &planned.record));
        match LogRecord::read(&mut reader) {
            Ok(LogRecord::Queued(copy)) => Ok(Copy { deliveries: 0, sent: None, ..copy }),
            Ok(_) | Err(Broken) => Err(LogError::Broken(0).into()),
        }
    }
}

fn keep(buffer: &mut Vec<u8>, bytes: &[u8]) -> Range<u32> {
    let start = u32::try_from(buffer.len()).expect("the buffer is below 4 GiB");
    buffer.extend_from_slice(bytes);
    start..start + u32::try_from(bytes.len()).expect("a record is below 4 GiB")
}

fn slice<'a>(buffer: &'a [u8], range: &Range<u32>) -> &'a [u8] {
    &buffer[range.start as usize..range.end as usize]
}

fn write_group(
    group: &mut Group,
    row: u64,
    buffer: &[u8],
    tables: &mut ColdTables<'_>,
) -> Result<usize, Fault> {
    let records: Vec<&[u8]> = group.records.iter().map(|range| slice(buffer, range)).collect();
    let value = chunk::put_bodies(row, &records.concat());
    tables.bodies.insert(row, value.as_slice())?;
    group.row = row;
    Ok(value.len())
}

/// How many copies fill a page well: redb's are 4096·2^k bytes. `ends` are the bytes up to each.
fn fill_page(ends: &[usize]) -> usize {
    const OVERHEAD: usize = 64;
    let Some(all) = ends.last() else {
        return 0;
    };
    let mut page = 65_536;
    while page > 4096 && page / 2 >= all + OVERHEAD {
        page /= 2;
    }
    // A page that is nearly full; a small rest shares one with others.
    if *all + OVERHEAD > page / 4 * 3 || page == 4096 {
        return ends.len();
    }
    ends.partition_point(|end| end + OVERHEAD <= page / 2).max(1)
}
