//! What the engine asks of the store; tests give it another one.

use std::sync::Arc;

use crate::mqtt::Message;
use crate::store::{self, Checkpoint, StoreError};
use crate::turn::{LetterLoad, Load, Record, RecordNumber};

/// What the engine asks of the store.
pub(super) trait Disk: Send + Sync {
    /// See [`store::Store::submit`].
    fn submit(
        &self,
        records: &[Record],
        loads: &mut Vec<Load>,
        last: RecordNumber,
        wanted: bool,
        checkpoint: Checkpoint,
    );
    /// See [`store::Store::recycle`].
    fn recycle(&self, messages: &mut dyn Iterator<Item = Arc<Message>>);
    /// See [`store::Store::ask`].
    fn ask(&self, letters: &mut Vec<LetterLoad>);
    /// See [`store::Store::confirm`].
    fn confirm(&self, checkpoint: Checkpoint);
    /// See [`store::Store::is_full`].
    fn is_full(&self) -> bool;
    /// See [`store::Store::snapshot`].
    fn snapshot(&self) -> Result<store::Snapshot, StoreError>;
    /// See [`store::Store::stop`].
    fn stop(&self) -> Result<(), StoreError>;
}

impl Disk for store::Store {
    fn submit(
        &self,
        records: &[Record],
        loads: &mut Vec<Load>,
        last: RecordNumber,
        wanted: bool,
        checkpoint: Checkpoint,
    ) {
        Self::submit(self, records, loads, last, wanted, checkpoint);
    }

    fn recycle(&self, messages: &mut dyn Iterator<Item = Arc<Message>>) {
        Self::recycle(self, messages);
    }

    fn ask(&self, letters: &mut Vec<LetterLoad>) {
        Self::ask(self, letters);
    }

    fn confirm(&self, checkpoint: Checkpoint) {
        Self::confirm(self, checkpoint);
    }

    fn is_full(&self) -> bool {
        Self::is_full(self)
    }

    fn snapshot(&self) -> Result<store::Snapshot, StoreError> {
        Self::snapshot(self)
    }

    fn stop(&self) -> Result<(), StoreError> {
        Self::stop(self)
    }
}
