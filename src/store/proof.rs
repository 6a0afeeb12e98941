//! The number of the newest commit that is known to be on disk, noted in the data file itself.
//!
//! redb takes a newest commit that it cannot read for one that a power cut tore, and goes back to
//! the one before: without a word it would lose what was acknowledged. So when a commit is on
//! disk, its number is written behind redb's header, which leaves the rest of the first page
//! alone. The note is not synced, as the next commit writes that page anyway: it may be older
//! than the newest commit, but never claims too much.
//!
//! Invariant: a file whose content is older than its proof was damaged.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// In the last sector of the first page; redb's header ends at byte 320.
const PLACE: u64 = 4096 - 64;
const LEN: usize = 12;

/// The proof of an open file, or of none.
#[derive(Clone, Debug, Default)]
pub(super) struct Proof(Arc<Mutex<Option<File>>>);

impl Proof {
    /// From now on of this file.
    pub(super) fn set_file(&self, file: &File) -> io::Result<()> {
        *self.file() = Some(file.try_clone()?);
        Ok(())
    }

    /// Notes that this commit is on disk.
    pub(super) fn write(&self, batch: u64) {
        if let Some(file) = &*self.file() {
            // A disk that fails is noticed by the next commit.
            let _ = file.write_all_at(&encode(batch), PLACE);
        }
    }

    /// The newest commit that was on disk, if it was noted.
    pub(super) fn read(&self) -> Option<u64> {
        read(self.file().as_ref()?)
    }

    fn file(&self) -> MutexGuard<'_, Option<File>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of the newest commit that was on disk in the data file at `path`, if it was noted:
/// a [`Database::batch`](super::Database::batch) below it lacks what was acknowledged.
pub fn proven_batch(path: &Path) -> Option<u64> {
    read(&File::open(path).ok()?)
}

fn read(file: &File) -> Option<u64> {
    let mut bytes = [0; LEN];
    file.read_exact_at(&mut bytes, PLACE).ok()?;
    let (batch, checksum) = bytes.split_first_chunk()?;
    let batch = u64::from_le_bytes(*batch);
    (encode(batch)[8..] == *checksum).then_some(batch)
}

fn encode(batch: u64) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    bytes[..8].copy_from_slice(&batch.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..8]);
    bytes[8..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_read_and_nothing_else() {
        let file = tempfile::tempfile().unwrap();
        let proof = Proof::default();
        proof.write(1);
        assert_eq!(proof.read(), None, "no file");
        proof.set_file(&file).unwrap();
        assert_eq!(proof.read(), None, "an empty file");
        file.set_len(8192).unwrap();
        assert_eq!(proof.read(), None, "zeros");
        for batch in [0, 1, u64::MAX] {
            proof.write(batch);
            assert_eq!(proof.read(), Some(batch));
        }
        for bit in 0..LEN * 8 {
            let mut bytes = encode(7);
            bytes[bit / 8] ^= 1 << (bit % 8);
            file.write_all_at(&bytes, PLACE).unwrap();
            assert_eq!(proof.read(), None, "bit {bit}");
        }
    }
}
