//! What can happen to the bytes of a file.

use std::path::{Path, PathBuf};

use fastrand::Rng;

const PAGE: usize = 4096;
/// redb's header: where it says which commit is the newest.
const HEADER: usize = 320;

/// One damage.
#[derive(Clone, Debug)]
pub(crate) enum Damage {
    /// A bit flips.
    Bit(usize),
    /// A page, or what there is of it, becomes zeros.
    ZeroPage(usize),
    /// A page becomes a copy of another one.
    CopyPage { from: usize, to: usize },
    /// A page becomes what it was never meant to be.
    Garbage { page: usize, seed: u64 },
    /// The end is missing.
    Truncate(usize),
    /// There is something behind the end.
    Extend(usize),
    /// All becomes zeros.
    Zero,
}

impl Damage {
    /// Any, of a file of this length.
    pub(crate) fn random(random: &mut Rng, len: usize) -> Self {
        let pages = len / PAGE;
        match random.u8(0..20) {
            0..5 => Self::Bit(random.usize(0..HEADER * 8)),
            5..12 => Self::Bit(random.usize(0..len * 8)),
            12..14 => Self::ZeroPage(random.usize(0..pages)),
            14..16 => Self::CopyPage { from: random.usize(0..pages), to: random.usize(0..pages) },
            16..18 => Self::Garbage { page: random.usize(0..pages), seed: random.u64(..) },
            18 => Self::Truncate(random.usize(1..len)),
            _ => Self::Extend(random.usize(1..100_000)),
        }
    }

    /// The bytes after it.
    pub(crate) fn of(&self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        match *self {
            Self::Bit(bit) => bytes[bit / 8] ^= 1 << (bit % 8),
            Self::ZeroPage(page) => bytes[page * PAGE..(page + 1) * PAGE].fill(0),
            Self::CopyPage { from, to } => {
                bytes.copy_within(from * PAGE..(from + 1) * PAGE, to * PAGE);
            }
            Self::Garbage { page, seed } => {
                let mut random = Rng::with_seed(seed);
                random.fill(&mut bytes[page * PAGE..(page + 1) * PAGE]);
            }
            Self::Truncate(len) => bytes.truncate(len),
            Self::Extend(more) => bytes.resize(bytes.len() + more, 0xA5),
            Self::Zero => bytes.fill(0),
        }
        bytes
    }
}

/// The files that were set aside in a data directory.
pub(crate) fn set_aside(data: &Path) -> Vec<PathBuf> {
    kedgemq::store::set_aside_files(&data.join("kedgemq.redb"))
}
