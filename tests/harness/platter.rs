//! What a disk knows of a file: what a sync made durable, and what was written since. A power cut
//! keeps all that is durable, and of the rest a random subset, torn at 512 bytes.

use std::io;

use fastrand::Rng;

const SECTOR: usize = 512;

/// One file.
#[derive(Default)]
pub(crate) struct Platter {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Platter {
    /// A file with this content, all of it durable.
    pub(crate) fn with_content(content: Vec<u8>) -> Self {
        Self { live: content.clone(), durable: content, unsynced: Vec::new() }
    }

    /// Bytes of the file, as whoever writes it sees it.
    pub(crate) fn len(&self) -> usize {
        self.live.len()
    }

    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).expect("it is small");
        let bytes = self.live.get(start..start + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        let start = usize::try_from(offset).expect("it is small");
        self.live[start..start + data.len()].copy_from_slice(data);
        self.unsynced.push(Change::Write(start, data.to_vec()));
    }

    pub(crate) fn set_len(&mut self, len: usize) {
        self.live.resize(len, 0);
        self.unsynced.push(Change::Length(len));
    }

    /// A sync that does what it says.
    pub(crate) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            match change {
                Change::Length(len) => self.durable.resize(len, 0),
                Change::Write(offset, data) => {
                    self.durable[offset..offset + data.len()].copy_from_slice(&data);
                }
            }
        }
    }

    /// What a failed sync may leave: the pages are dropped, as if they had never been written; the
    /// length stays.
    pub(crate) fn forget(&mut self) {
        let len = self.live.len();
        self.unsynced.clear();
        self.durable.resize(len, 0);
        self.live.clone_from(&self.durable);
    }

    /// The file after a power cut now, and whether it is torn: some of what was written since the
    /// last sync survived, and some did not.
    pub(crate) fn survivors(&self, random: &mut Rng) -> (Vec<u8>, bool) {
        let mut content = self.durable.clone();
        // All, nothing, and all between.
        let survive = f64::from(random.u32(0..=4)) / 4.0;
        let (mut kept, mut lost) = (0, 0);
        for change in &self.unsynced {
            match change {
                Change::Length(len) if random.f64() < survive => content.resize(*len, 0),
                Change::Length(_) => {}
                Change::Write(offset, data) => {
                    for (at, sector) in sectors(*offset, data) {
                        if random.f64() < survive && at + sector.len() <= content.len() {
                            content[at..at + sector.len()].copy_from_slice(sector);
                            kept += 1;
                        } else {
                            lost += 1;
                        }
                    }
                }
            }
        }
        (content, kept > 0 && lost > 0)
    }
}

/// Cuts a write where a torn one ends.
fn sectors(offset: usize, data: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let first = (SECTOR - offset % SECTOR).min(data.len());
    let (head, rest) = data.split_at(first);
    let parts = rest.chunks(SECTOR).enumerate();
    let rest = parts.map(move |(index, part)| (offset + first + index * SECTOR, part));
    std::iter::once((offset, head)).chain(rest)
}
