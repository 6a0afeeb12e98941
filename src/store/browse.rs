//! What is stored, looked at off a snapshot while the broker goes on: dead letters, and copies in
//! queues. Nothing is consumed, and neither the core nor the storage thread waits.

use redb::ReadTransaction;

use crate::time::Timestamp;
use crate::turn::{DeadId, LetterLoad, Letters, Load, Loaded, MessageId, OwnerId};

use super::database::{DEAD, read_index};
use super::encoding::Broken;
use super::fault::Fault;
use super::load;
use super::row;
use super::{Snapshot, StoreError};

impl Snapshot {
    /// The kept dead letters of a range, in order, whole, up to the limits.
    pub fn letters(&self, load: LetterLoad) -> Result<Letters, StoreError> {
        letters(&self.read, load).map_err(|fault| fault.explain(&self.path))
    }

    /// The stored copies of a range, in order, whole, up to the limits. The whole log is read for
    /// it, as at a start of the broker: so ask for many at once.
    pub fn copies(&self, load: Load) -> Result<Loaded, StoreError> {
        let read = || {
            let (_, mut index, _) = read_index(&self.read)?;
            load::load(&self.read, &mut index, &mut Vec::new(), load)
        };
        read().map_err(|fault: Fault| fault.explain(&self.path))
    }

    /// When the broker took the oldest stored message of each of these owners. The whole log is
    /// read for it, once for all of them.
    pub fn oldest(&self, owners: &[OwnerId]) -> Result<Vec<Option<Timestamp>>, StoreError> {
        let read = || -> Result<Vec<_>, Fault> {
            let (_, mut index, _) = read_index(&self.read)?;
            let mut oldest = |owner: &OwnerId| {
                let (first, last) = (MessageId(0), MessageId(u64::MAX));
                let (owner, count, bytes) = (*owner, 1, 0);
                let (expired_by, after_lazy) = (None, true);
                let load = Load { owner, first, last, count, bytes, expired_by, after_lazy };
                let loaded = load::load(&self.read, &mut index, &mut Vec::new(), load)?;
                Ok(loaded.copies.first().map(|stored| stored.message.received))
            };
            owners.iter().map(&mut oldest).collect()
        };
        read().map_err(|fault| fault.explain(&self.path))
    }
}

/// The kept dead letters of a range, up to the limits, but at least one.
pub(super) fn letters(read: &ReadTransaction, load: LetterLoad) -> Result<Letters, Fault> {
    let table = read.open_table(DEAD)?;
    let mut letters = Letters { load, letters: Vec::new(), has_more: false };
    let mut bytes = 0;
    for row in table.range(load.first.0..=load.last.0)? {
        let (id, value) = row?;
        let letter = row::read_dead(DeadId(id.value()), value.value());
        let letter = letter.map_err(|Broken| Fault::Row("dead"))?;
        bytes += letter.message.size() as u64;
        let count = letters.letters.len() as u64;
        let is_over = count >= u64::from(load.count) || bytes > u64::from(load.bytes);
        if count > 0 && is_over {
            letters.has_more = true;
            break;
        }
        letters.letters.push(letter);
    }
    Ok(letters)
}
