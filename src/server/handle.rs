//! What tools may ask of a running server.

use std::fmt;
use std::sync::Arc;

use super::engine::Engine;
use crate::store::{Snapshot, StoreError};

/// A running server, for those who look at it. It does not keep the server running: when that
/// has stopped, every answer is an error.
#[derive(Clone)]
pub struct Handle(pub(super) Arc<Engine>);

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}

impl Handle {
    /// See [`crate::store::Store::snapshot`]; blocks as that does.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.0.snapshot()
    }
}
