//! Counters of the cold tables, for tests and benchmarks.

/// What happened in the cold tables since the file was opened or opened again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ColdCounts {
    /// Copies that moved there.
    pub copies: u64,
    /// Chunks written.
    pub chunks: u64,
    /// Rows of shared bodies written.
    pub bodies: u64,
    /// Rows of shared bodies that nobody needed any more.
    pub bodies_freed: u64,
    /// Chunks whose last copy left.
    pub chunks_emptied: u64,
    /// Rows of chunks written anew for what was taken from them.
    pub rows_updated: u64,
    /// Chunks of forgotten owners removed.
    pub chunks_forgotten: u64,
}
