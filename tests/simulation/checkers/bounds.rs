//! Queues stay in their bounds.

use super::Broken;
use crate::history::{Fact, History};

/// What one step of the core may add beyond a limit: a whole window of messages, in bytes, and the
/// records of one slice of a task: 256 letters that go to all owners again,
/// and push another one out of each queue.
const BATCH_BYTES: usize = 256 * 1024;
const BATCH_RECORDS: usize = 256 * 30;

pub(super) fn check(history: &History) -> Result<(), Broken> {
    for (_, _, fact) in history.facts() {
        let inside = match fact {
            Fact::Sizes { outbox, outbox_limit, pending, pending_limit } => {
                *outbox <= 2 * outbox_limit + BATCH_BYTES
                    && *pending <= pending_limit + BATCH_RECORDS
            }
            Fact::Waiting { count, limit, .. } => count <= limit,
            _ => true,
        };
        if !inside {
            return Err(Broken::new(format!("{fact:?}")));
        }
    }
    Ok(())
}
