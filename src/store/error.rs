//! What is wrong with the store, told apart by what to do about it.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// Why the store cannot go on. Its text is one line that names the file and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Somebody else has the file open, in this process or another.
    InUse {
        /// The data file.
        path: PathBuf,
    },
    /// The operating system forbids it.
    Permission {
        /// The data file.
        path: PathBuf,
        /// In its words.
        why: String,
    },
    /// Reading or writing failed; the file may be whole.
    Io {
        /// The data file.
        path: PathBuf,
        /// In the words of the operating system.
        why: String,
    },
    /// The disk, or a quota, is full.
    NoSpace {
        /// The data file.
        path: PathBuf,
        /// In the words of the operating system.
        why: String,
    },
    /// Written in a format that this version does not know.
    NewerFormat {
        /// The data file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// A panic while it was read or written: altered pages can do that, or a bug.
    Suspect {
        /// The data file.
        path: PathBuf,
        /// The words of the panic.
        why: String,
    },
    /// Proven: a checksum or the structure is wrong.
    Corrupt {
        /// The data file.
        path: PathBuf,
        /// What and where.
        why: String,
    },
}

impl StoreError {
    pub(super) fn from_redb(path: &Path, error: impl Into<redb::Error>) -> Self {
        let path = path.to_path_buf();
        match error.into() {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
                Self::InUse { path }
            }
            redb::Error::UpgradeRequired(found) => {
                Self::NewerFormat { path, found: u32::from(found) }
            }
            redb::Error::Corrupted(why) => match unknown_file_format(&why) {
                Some(found) => Self::NewerFormat { path, found },
                None => Self::Corrupt { path, why },
            },
            redb::Error::Io(error) if error.kind() == ErrorKind::InvalidData => {
                Self::Corrupt { path, why: error.to_string() }
            }
            redb::Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Self::Corrupt { path, why: "it is shorter than it says".to_owned() }
            }
            redb::Error::Io(error) => Self::from_io(&path, &error),
            error if is_structural(&error) => Self::Corrupt { path, why: error.to_string() },
            error => Self::Io { path, why: error.to_string() },
        }
    }

    pub(super) fn from_io(path: &Path, error: &std::io::Error) -> Self {
        let path = path.to_path_buf();
        let why = error.to_string();
        match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Self::Permission { path, why }
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::NoSpace { path, why },
            _ => Self::Io { path, why },
        }
    }
}

/// A newer redb's file is reported as a corrupt one, with this text.
fn unknown_file_format(why: &str) -> Option<u32> {
    let rest = why.strip_prefix("Expected file format version")?;
    rest.rsplit(' ').next()?.parse().ok()
}

fn is_structural(error: &redb::Error) -> bool {
    matches!(
        error,
        redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TableIsNotMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableDoesNotExist(_)
    )
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { path } => write!(
                f,
                "the data file {} is in use: stop the broker or tool that has it open, or name \
                 another data directory",
                path.display()
            ),
            Self::Permission { path, why } => write!(
                f,
                "the data file {} may not be used: {why}: make it and its directory writable for \
                 this user, or name another data directory",
                path.display()
            ),
            Self::Io { path, why } => write!(
                f,
                "the data file {} cannot be read or written: {why}: check the disk",
                path.display()
            ),
            Self::NoSpace { path, why } => write!(
                f,
                "the data file {} cannot be written: {why}: make room on its disk, or name \
                 another data directory",
                path.display()
            ),
            Self::NewerFormat { path, found } => write!(
                f,
                "the data file {} has format {found}, which this version does not read: use the \
                 version that wrote it, or name another data directory",
                path.display()
            ),
            Self::Suspect { path, why } => write!(
                f,
                "the data file {} may be corrupt: {why}: `kedgemq store check` reads all of it",
                path.display()
            ),
            Self::Corrupt { path, why } => write!(
                f,
                "the data file {} is corrupt: {why}: restore it from a backup, or move it away",
                path.display()
            ),
        }
    }
}

impl std::error::Error for StoreError {}
