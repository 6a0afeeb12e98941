//! What went wrong inside, before it is said in words with the name of the file.

use std::path::Path;

use super::StoreError;
use super::log::LogError;

/// An error without the name of the file.
#[derive(Debug)]
pub(super) enum Fault {
    /// redb says so.
    Redb(Box<redb::Error>),
    /// The log says so.
    Log(LogError),
    /// A row of this table is wrong or missing.
    Row(&'static str),
    /// The format of the file.
    NewerFormat(u32),
    /// An earlier error closed the file.
    Closed,
    /// The file that was opened again lacks what was committed.
    Exchanged,
    /// The newest commit was on disk and cannot be read any more.
    WentBack,
}

impl Fault {
    /// With the name of the file.
    pub(super) fn explain(self, path: &Path) -> StoreError {
        let corrupt = |why: String| StoreError::Corrupt { path: path.to_path_buf(), why };
        let io = |why: &str| StoreError::Io { path: path.to_path_buf(), why: why.to_owned() };
        match self {
            Self::Redb(error) => StoreError::from_redb(path, *error),
            Self::Log(LogError::Storage(error)) => StoreError::from_redb(path, error),
            Self::Log(LogError::Broken(row)) => corrupt(format!("row {row} of the log is wrong")),
            Self::Row(table) => corrupt(format!("a row of the table {table} is wrong")),
            Self::NewerFormat(found) => StoreError::NewerFormat { path: path.to_path_buf(), found },
            Self::Closed => io("closed after an earlier error"),
            Self::WentBack => corrupt("its newest commit cannot be read any more".to_owned()),
            Self::Exchanged => io("it lacks what was committed before, so it is another file"),
        }
    }
}

impl From<LogError> for Fault {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

macro_rules! from_redb {
    ($($error:ty),*) => {
        $(impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                Self::Redb(Box::new(error.into()))
            }
        })*
    };
}

from_redb!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::DatabaseError,
    redb::SetDurabilityError
);
