//! The rows of the cold tables and their bytes.
//!
//! `cold` has chunks: copies of one owner, each followed by its body, or by the number of the
//! row of `bodies` that holds it because several owners wait for it. A chunk is never written
//! again. `cold_index` has, under the same key, what is left of it: numbers for the start, and
//! what happened to single copies. Every row begins with a checksum of its table, key and rest.

use redb::TableDefinition;

use crate::time::Timestamp;
use crate::turn::{Copy, MessageId, OwnerId, Sent};

use super::super::encoding::{Broken, Reader, put_number, put_optional, put_sent};
use super::super::entry::{NEVER, sooner};
use super::super::record::{self, LogRecord};

/// The key of a chunk: its owner and its first message.
pub(in super::super) type ChunkKey = (OwnerId, MessageId);
/// The same as redb knows it.
pub(in super::super) type RowKey = (u64, u64);

pub(in super::super) const COLD: TableDefinition<'_, RowKey, &[u8]> = TableDefinition::new("cold");
pub(in super::super) const COLD_INDEX: TableDefinition<'_, RowKey, &[u8]> =
    TableDefinition::new("cold_index");
pub(in super::super) const BODIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("bodies");

/// Stands in place of a message: all chunks of the owner are on their way out.
pub(in super::super) const FORGOTTEN: MessageId = MessageId(u64::MAX);

const CHECKSUM: usize = 4;

/// As redb knows it.
pub(in super::super) fn row_key(key: ChunkKey) -> RowKey {
    (key.0.0, key.1.0)
}

/// The table of a row, in its checksum.
#[derive(Clone, Copy, Debug)]
enum Table {
    Cold = 1,
    Index = 2,
    Bodies = 3,
}

fn checksum(table: Table, key: RowKey, rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[table as u8]);
    hasher.update(&key.0.to_le_bytes());
    hasher.update(&key.1.to_le_bytes());
    hasher.update(rest);
    hasher.finalize()
}

fn seal(table: Table, key: RowKey, row: &mut [u8]) {
    let checksum = checksum(table, key, &row[CHECKSUM..]);
    row[..CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
}

fn unseal(table: Table, key: RowKey, row: &[u8]) -> Result<&[u8], Broken> {
    let (stored, rest) = row.split_first_chunk().ok_or(Broken)?;
    if u32::from_le_bytes(*stored) == checksum(table, key, rest) { Ok(rest) } else { Err(Broken) }
}

/// One copy of a chunk.
#[derive(Debug)]
pub(in super::super) struct ColdCopy {
    pub(in super::super) id: MessageId,
    /// [`Copy::expires`]; `NEVER` where it does not.
    pub(in super::super) expires: Timestamp,
    /// [`Copy::size`].
    pub(in super::super) size: u32,
    /// Where it stands in its chunk.
    offset: u32,
    /// The row of its body; 0 when it stands in the chunk.
    pub(in super::super) body: u64,
    /// Whether it left its queue.
    pub(in super::super) is_gone: bool,
    /// What happened to it since it moved.
    pub(in super::super) state: Option<Box<ColdState>>,
}

/// What happened to a copy since it moved; it had no past then.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) struct ColdState {
    pub(in super::super) deliveries: u32,
    pub(in super::super) sent: Option<Sent>,
}

impl ColdCopy {
    /// Whether it is there, and neither in flight nor counted as failed.
    pub(in super::super) fn is_waiting(&self) -> bool {
        !self.is_gone && self.state.as_ref().is_none_or(|it| **it == ColdState::default())
    }
}

/// Collects copies for a chunk.
#[derive(Debug)]
pub(super) struct ChunkBuilder {
    row: Vec<u8>,
    copies: Vec<ColdCopy>,
}

impl ChunkBuilder {
    pub(super) fn new() -> Self {
        Self { row: vec![0; CHECKSUM], copies: Vec::new() }
    }

    /// Adds a copy without a past; its body as a record of the log, or the row where it is.
    pub(super) fn add(&mut self, copy: &Copy, body: Result<&[u8], u64>) {
        let offset = u32::try_from(self.row.len() - CHECKSUM).expect("a chunk is below 4 GiB");
        record::put_copy(&mut self.row, copy);
        put_number(&mut self.row, body.err().unwrap_or(0));
        self.row.extend_from_slice(body.unwrap_or_default());
        self.copies.push(ColdCopy {
            id: copy.message,
            expires: copy.expires.unwrap_or(NEVER),
            size: copy.size,
            offset,
            body: body.err().unwrap_or(0),
            is_gone: false,
            state: None,
        });
    }

    /// The row and what is in it.
    pub(super) fn finish(mut self, key: ChunkKey) -> (Vec<u8>, Vec<ColdCopy>) {
        seal(Table::Cold, row_key(key), &mut self.row);
        (self.row, self.copies)
    }
}

/// Checks a chunk and gives its records.
pub(in super::super) fn open_chunk(key: ChunkKey, row: &[u8]) -> Result<&[u8], Broken> {
    unseal(Table::Cold, row_key(key), row)
}

/// The copies of a chunk, as they were when it was written.
pub(super) fn read_copies(key: ChunkKey, row: &[u8]) -> Result<Vec<ColdCopy>, Broken> {
    let mut reader = Reader::new(open_chunk(key, row)?);
    let mut copies = Vec::new();
    while !reader.is_empty() {
        let offset = u32::try_from(reader.position()).map_err(|_| Broken)?;
        let (copy, body, _) = read_copy(&mut reader)?;
        if copy.owner != key.0 {
            return Err(Broken);
        }
        copies.push(ColdCopy {
            id: copy.message,
            expires: copy.expires.unwrap_or(NEVER),
            size: copy.size,
            offset,
            body,
            is_gone: false,
            state: None,
        });
    }
    Ok(copies)
}

fn read_copy<'a>(reader: &mut Reader<'a>) -> Result<(Copy, u64, &'a [u8]), Broken> {
    let LogRecord::Queued(copy) = LogRecord::read(reader)? else {
        return Err(Broken);
    };
    let row = reader.number()?;
    let body = match row {
        0 => match LogRecord::read(reader)? {
            LogRecord::Message { body, .. } => body,
            _ => return Err(Broken),
        },
        _ => &[],
    };
    Ok((copy, row, body))
}

/// A copy with all that happened to it, and its body where it stands in the chunk.
pub(in super::super) fn copy_at<'a>(
    records: &'a [u8],
    cold: &ColdCopy,
) -> Result<(Copy, &'a [u8]), Broken> {
    let records = records.get(cold.offset as usize..).ok_or(Broken)?;
    let (mut copy, _, body) = read_copy(&mut Reader::new(records))?;
    if copy.message != cold.id {
        return Err(Broken);
    }
    if let Some(state) = &cold.state {
        copy.deliveries = state.deliveries;
        copy.sent.clone_from(&state.sent);
    }
    Ok((copy, body))
}

/// A row of shared bodies from their records.
pub(super) fn put_bodies(number: u64, records: &[u8]) -> Vec<u8> {
    let mut row = vec![0; CHECKSUM];
    row.extend_from_slice(records);
    seal(Table::Bodies, (number, 0), &mut row);
    row
}

/// Checks a row of shared bodies and gives its records.
pub(in super::super) fn open_bodies(number: u64, row: &[u8]) -> Result<&[u8], Broken> {
    unseal(Table::Bodies, (number, 0), row)
}

/// What is known of a chunk without its copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Summary {
    /// The last message it had.
    pub(in super::super) last: MessageId,
    /// Copies that are there.
    pub(in super::super) left: u32,
    /// Those that wait.
    pub(in super::super) waiting: u32,
    /// Of those that wait, the first.
    pub(in super::super) first: MessageId,
    /// Of those that wait, the sizes together.
    pub(in super::super) bytes: u64,
    /// Of those that wait, the soonest expiry.
    pub(in super::super) soonest: Option<Timestamp>,
}

impl Summary {
    pub(super) fn of(copies: &[ColdCopy]) -> Self {
        let last = copies.last().map_or(MessageId(0), |copy| copy.id);
        let mut summary = Self { last, left: 0, waiting: 0, first: last, bytes: 0, soonest: None };
        for copy in copies.iter().filter(|copy| !copy.is_gone) {
            summary.left += 1;
            if copy.is_waiting() {
                summary.waiting += 1;
                summary.first = summary.first.min(copy.id);
                summary.bytes += u64::from(copy.size);
                let expires = (copy.expires != NEVER).then_some(copy.expires);
                summary.soonest = sooner(summary.soonest, expires);
            }
        }
        summary
    }
}

/// How many copies that are there have their body in which row of `bodies`.
pub(super) fn references(copies: &[ColdCopy]) -> Vec<(u64, u32)> {
    let mut references: Vec<(u64, u32)> = Vec::new();
    for copy in copies.iter().filter(|copy| copy.body > 0 && !copy.is_gone) {
        // They come in order nearly always.
        match references.iter_mut().rev().find(|(row, _)| *row == copy.body) {
            Some((_, count)) => *count += 1,
            None => references.push((copy.body, 1)),
        }
    }
    references
}

/// The row of `cold_index`.
pub(super) fn put_index(key: ChunkKey, copies: &[ColdCopy]) -> Vec<u8> {
    let summary = Summary::of(copies);
    let mut row = vec![0; CHECKSUM];
    let out = &mut row;
    for number in [
        summary.last.0,
        u64::from(summary.left),
        u64::from(summary.waiting),
        summary.first.0,
        summary.bytes,
    ] {
        put_number(out, number);
    }
    put_optional(out, summary.soonest.map(|at| at.0));
    let references = references(copies);
    put_number(out, references.len() as u64);
    for (body, count) in references {
        put_number(out, body);
        put_number(out, u64::from(count));
    }
    put_changes(out, copies);
    seal(Table::Index, row_key(key), &mut row);
    row
}

/// What happened to single copies: a bit for each that is gone, states by position.
fn put_changes(out: &mut Vec<u8>, copies: &[ColdCopy]) {
    if copies.iter().any(|copy| copy.is_gone) {
        put_number(out, copies.len().div_ceil(8) as u64);
        for eight in copies.chunks(8) {
            let bits = eight.iter().enumerate();
            out.push(bits.fold(0, |byte, (bit, copy)| byte | u8::from(copy.is_gone) << bit));
        }
    } else {
        put_number(out, 0);
    }
    for (position, copy) in copies.iter().enumerate() {
        if let (false, Some(state)) = (copy.is_gone, &copy.state) {
            put_number(out, position as u64 + 1);
            put_number(out, u64::from(state.deliveries));
            out.push(u8::from(state.sent.is_some()));
            if let Some(sent) = &state.sent {
                put_sent(out, sent);
            }
        }
    }
    put_number(out, 0);
}

/// A row of `cold_index`, read.
#[derive(Debug)]
pub(in super::super) struct IndexRow {
    pub(in super::super) summary: Summary,
    /// Rows of `bodies`, and how many copies are left that need them.
    pub(in super::super) references: Vec<(u64, u32)>,
    gone: Vec<u8>,
    states: Vec<(usize, ColdState)>,
}

impl IndexRow {
    pub(super) fn read(key: ChunkKey, row: &[u8]) -> Result<Self, Broken> {
        let mut reader = Reader::new(unseal(Table::Index, row_key(key), row)?);
        let summary = Summary {
            last: reader.message_id()?,
            left: reader.small()?,
            waiting: reader.small()?,
            first: reader.message_id()?,
            bytes: reader.number()?,
            soonest: reader.optional()?.map(Timestamp),
        };
        let mut references = Vec::new();
        for _ in 0..reader.number()? {
            references.push((reader.number()?, reader.small()?));
        }
        let gone = reader.bytes()?.to_vec();
        let mut states = Vec::new();
        loop {
            let position: usize = reader.small()?;
            let Some(position) = position.checked_sub(1) else {
                break;
            };
            let deliveries = reader.small()?;
            let sent = if reader.flag()? { Some(reader.sent()?) } else { None };
            states.push((position, ColdState { deliveries, sent }));
        }
        Ok(Self { summary, references, gone, states })
    }

    /// Applies what happened to single copies.
    pub(super) fn apply(self, copies: &mut [ColdCopy]) -> Result<(), Broken> {
        for (position, copy) in copies.iter_mut().enumerate() {
            let byte = self.gone.get(position / 8).copied().unwrap_or(0);
            copy.is_gone = byte >> (position % 8) & 1 == 1;
        }
        for (position, state) in self.states {
            copies.get_mut(position).ok_or(Broken)?.state = Some(Box::new(state));
        }
        if Summary::of(copies) == self.summary { Ok(()) } else { Err(Broken) }
    }
}

/// The row that says that an owner is forgotten.
pub(super) fn put_forgotten(owner: OwnerId) -> Vec<u8> {
    let mut row = vec![0; CHECKSUM];
    seal(Table::Index, row_key((owner, FORGOTTEN)), &mut row);
    row
}

/// Checks that row.
pub(super) fn check_forgotten(owner: OwnerId, row: &[u8]) -> Result<(), Broken> {
    let rest = unseal(Table::Index, row_key((owner, FORGOTTEN)), row)?;
    if rest.is_empty() { Ok(()) } else { Err(Broken) }
}
