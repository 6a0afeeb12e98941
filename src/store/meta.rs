//! The table `meta`: the format of the file, and how far its story went.

use redb::{ReadableTable, Table, TableDefinition};

use crate::time::Timestamp;
use crate::turn::Marks;

use super::Checkpoint;
use super::fault::Fault;

/// The table: rows by name, each with a checksum of name and rest in front.
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// The format that this version writes; it reads those before. A change of what any row means
/// raises it.
///
/// 1: the log and the rows. 2: the cold tables, and the record of the log that copies moved.
const FORMAT: u32 = 2;
const FIRST_FORMAT: u32 = 1;
const FORMAT_KEY: &str = "format";
const STATE_KEY: &str = "state";

/// What `meta` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Counts the transactions of records.
    pub(super) batch: u64,
    /// The largest ids ever stored.
    pub(super) marks: Marks,
    /// The time of the newest.
    pub(super) checkpoint: Checkpoint,
}

/// Reads the state, if the format is known; and whether the format is an older one.
pub(super) fn read(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<(State, bool), Fault> {
    let broken = || Fault::Row("meta");
    let format = table.get(FORMAT_KEY)?.ok_or_else(broken)?;
    let format = unseal(FORMAT_KEY, format.value()).ok_or_else(broken)?;
    let format = format.try_into().map_err(|_| broken())?;
    let format = u32::from_le_bytes(format);
    if !(FIRST_FORMAT..=FORMAT).contains(&format) {
        return Err(Fault::NewerFormat(format));
    }
    let state = table.get(STATE_KEY)?.ok_or_else(broken)?;
    let state = State::decode(state.value()).ok_or_else(broken)?;
    Ok((state, format < FORMAT))
}

/// Writes the state.
pub(super) fn write(
    table: &mut Table<'_, &'static str, &'static [u8]>,
    state: &State,
) -> Result<(), Fault> {
    table.insert(STATE_KEY, state.encode().as_slice())?;
    Ok(())
}

/// Writes the format: into a new file, or one of an older format that has all tables now.
pub(super) fn write_format(
    table: &mut Table<'_, &'static str, &'static [u8]>,
) -> Result<(), Fault> {
    let row = seal(FORMAT_KEY, &FORMAT.to_le_bytes());
    table.insert(FORMAT_KEY, row.as_slice())?;
    Ok(())
}

impl State {
    fn encode(&self) -> Vec<u8> {
        let fields = [
            self.batch,
            self.marks.owner,
            self.marks.message,
            self.marks.dead,
            self.checkpoint.at.0,
            self.checkpoint.unix_ms,
        ];
        let bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
        seal(STATE_KEY, &bytes)
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let bytes = unseal(STATE_KEY, value)?;
        let (fields, []) = bytes.as_chunks() else {
            return None;
        };
        let &[batch, owner, message, dead, at, unix_ms] = fields else {
            return None;
        };
        let number = u64::from_le_bytes;
        Some(Self {
            batch: number(batch),
            marks: Marks { owner: number(owner), message: number(message), dead: number(dead) },
            checkpoint: Checkpoint { at: Timestamp(number(at)), unix_ms: number(unix_ms) },
        })
    }
}

fn seal(key: &str, bytes: &[u8]) -> Vec<u8> {
    let mut value = checksum(key, bytes).to_le_bytes().to_vec();
    value.extend_from_slice(bytes);
    value
}

fn unseal<'a>(key: &str, value: &'a [u8]) -> Option<&'a [u8]> {
    let (stored, bytes) = value.split_first_chunk()?;
    (u32::from_le_bytes(*stored) == checksum(key, bytes)).then_some(bytes)
}

fn checksum(key: &str, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key.as_bytes());
    hasher.update(bytes);
    hasher.finalize()
}
