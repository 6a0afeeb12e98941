//! Segments of the log that were read lately: queues wait side by side in them, so each is read
//! from the file and checked once for all loads that come soon after one another.
//!
//! Invariant: a segment is never written again under its key, but after an error: then all that
//! is here is dropped.

use super::log::LogError;

/// Segments that are kept at most, and their bytes; one always is.
const KEPT: usize = 64;
const KEPT_BYTES: usize = 2 * 1024 * 1024;
/// After so many transactions without a load nothing is kept.
const REST: u32 = 64;

/// Segments, in no order.
#[derive(Debug, Default)]
pub(super) struct Segments {
    kept: Vec<Segment>,
    bytes: usize,
    /// Which was asked for last: a copy and its body lie side by side, and copies in a row.
    last: usize,
    /// Counts what was asked for.
    clock: u64,
    /// Transactions since then.
    resting: u32,
}

#[derive(Debug)]
struct Segment {
    key: u64,
    records: Vec<u8>,
    used: u64,
}

impl Segments {
    /// The records of a segment; `read` reads them where they are not here.
    pub(super) fn get(
        &mut self,
        key: u64,
        read: impl FnOnce(&mut Vec<u8>) -> Result<(), LogError>,
    ) -> Result<&[u8], LogError> {
        self.resting = 0;
        if self.kept.get(self.last).is_none_or(|segment| segment.key != key) {
            self.last = self.find(key, read)?;
        }
        Ok(&self.kept[self.last].records)
    }

    fn find(
        &mut self,
        key: u64,
        read: impl FnOnce(&mut Vec<u8>) -> Result<(), LogError>,
    ) -> Result<usize, LogError> {
        self.clock += 1;
        let at = match self.kept.iter().position(|segment| segment.key == key) {
            Some(at) => at,
            None => {
                let mut records = Vec::new();
                read(&mut records)?;
                self.make_room(records.len());
                self.bytes += records.len();
                self.kept.push(Segment { key, records, used: 0 });
                self.kept.len() - 1
            }
        };
        self.kept[at].used = self.clock;
        Ok(at)
    }

    /// A transaction passed.
    pub(super) fn rest(&mut self) {
        self.resting += 1;
        if self.resting > REST {
            *self = Self::default();
        }
    }

    /// Drops what was not asked for the longest.
    fn make_room(&mut self, bytes: usize) {
        while (self.kept.len() >= KEPT || self.bytes + bytes > KEPT_BYTES)
            && let Some(oldest) = (0..self.kept.len()).min_by_key(|at| self.kept[*at].used)
        {
            let dropped = self.kept.swap_remove(oldest);
            self.bytes -= dropped.records.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of these segments are read from the file, of so many bytes each.
    fn reads(segments: &mut Segments, keys: impl IntoIterator<Item = u64>, len: usize) -> Vec<u64> {
        let mut reads = Vec::new();
        for key in keys {
            let read = |records: &mut Vec<u8>| {
                reads.push(key);
                records.resize(len, u8::try_from(key).unwrap());
                Ok(())
            };
            let records = segments.get(key, read).unwrap();
            assert_eq!((records[0], records.len()), (u8::try_from(key).unwrap(), len));
        }
        reads
    }

    #[test]
    fn each_is_read_once_for_loads_that_come_soon_after_one_another() {
        let mut segments = Segments::default();
        assert_eq!(reads(&mut segments, [1, 2, 1, 2, 3, 1], 65_000), [1, 2, 3]);
        (0..REST).for_each(|_| segments.rest());
        assert!(reads(&mut segments, [1, 2], 65_000).is_empty());
        (0..=REST).for_each(|_| segments.rest());
        assert_eq!(segments.bytes, 0);
        assert_eq!(reads(&mut segments, [1], 65_000), [1]);
    }

    #[test]
    fn what_was_used_last_is_kept_up_to_a_bound() {
        let mut segments = Segments::default();
        reads(&mut segments, 1..=200, 10);
        assert_eq!((segments.kept.len(), segments.bytes), (KEPT, 10 * KEPT));
        let mut segments = Segments::default();
        for key in 2..=200 {
            reads(&mut segments, [1, key], 65_000);
        }
        assert!(segments.bytes <= KEPT_BYTES, "{}", segments.bytes);
        assert_eq!(reads(&mut segments, [1, 200, 2], 65_000), [2]);
        // A longer one has no room but is there all the same.
        assert_eq!(reads(&mut segments, [3], KEPT_BYTES + 1), [3]);
        assert_eq!(segments.kept.len(), 1);
    }
}
