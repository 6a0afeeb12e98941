//! All queues of a store in the order of their messages, each message once with all its copies.
//! Takes memory for the number of queues, not for what is in them.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;

use crate::mqtt::Message;
use crate::store::{Database, StoreError};
use crate::turn::{Copy, Load, MessageId, OwnerId, Record, Stored};

/// Copies of one queue that are loaded at once.
const PAGE: u32 = 256;
/// Bytes that are loaded at once, of all queues together, roughly.
const BYTES: usize = 32 * 1024 * 1024;
const LEAST_BYTES: usize = 4 * 1024;
const MOST_BYTES: usize = 1024 * 1024;

/// Queues that are being read.
pub(super) struct Queues {
    queues: Vec<Queue>,
    /// The queues that are not at their end, by their next message.
    heads: BinaryHeap<Reverse<(MessageId, usize)>>,
    /// Queues to be loaded before the next message is known.
    empty: Vec<usize>,
    bytes: u32,
}

struct Queue {
    owner: OwnerId,
    loaded: VecDeque<Stored>,
    next: MessageId,
    has_more: bool,
}

/// A message and its copies, by owner.
pub(super) struct Queued {
    pub(super) id: MessageId,
    pub(super) message: Arc<Message>,
    pub(super) copies: Vec<Copy>,
}

/// A queue that cannot be read further.
pub(super) struct Unreadable {
    pub(super) owner: OwnerId,
    pub(super) error: StoreError,
}

impl Queues {
    /// The queues that these records, as [`crate::store::Restored`] has them, speak of.
    pub(super) fn of(records: &[Record]) -> Self {
        let owners: BTreeSet<OwnerId> = records
            .iter()
            .filter_map(|record| match record {
                Record::Queued(copy) => Some(copy.owner),
                Record::Backlog(backlog) => Some(backlog.owner),
                _ => None,
            })
            .collect();
        let bytes = (BYTES / owners.len().max(1)).clamp(LEAST_BYTES, MOST_BYTES);
        let new =
            |owner| Queue { owner, loaded: VecDeque::new(), next: MessageId(0), has_more: true };
        let queues: Vec<Queue> = owners.into_iter().map(new).collect();
        let empty = (0..queues.len()).collect();
        let bytes = u32::try_from(bytes).expect("at most MOST_BYTES");
        Self { queues, heads: BinaryHeap::new(), empty, bytes }
    }

    /// The next message. After an error the other queues can be read on.
    pub(super) fn next(&mut self, database: &mut Database) -> Result<Option<Queued>, Unreadable> {
        while let Some(at) = self.empty.pop() {
            let queue = &mut self.queues[at];
            queue.load(database, self.bytes)?;
            if let Some(stored) = queue.loaded.front() {
                self.heads.push(Reverse((stored.copy.message, at)));
            }
        }
        let Some(Reverse((id, _))) = self.heads.peek().copied() else {
            return Ok(None);
        };
        let mut found: Option<Queued> = None;
        while let Some(Reverse((_, at))) = self.heads.peek().filter(|head| head.0.0 == id) {
            let at = *at;
            self.heads.pop();
            let queue = &mut self.queues[at];
            let Stored { copy, message } = queue.loaded.pop_front().expect("it has a head");
            match queue.loaded.front() {
                Some(stored) => self.heads.push(Reverse((stored.copy.message, at))),
                None => self.empty.push(at),
            }
            let new = || Queued { id, message, copies: Vec::new() };
            found.get_or_insert_with(new).copies.push(copy);
        }
        Ok(found)
    }
}

impl Queue {
    fn load(&mut self, database: &mut Database, bytes: u32) -> Result<(), Unreadable> {
        if !self.has_more {
            return Ok(());
        }
        // Whatever happens, it is not tried again.
        self.has_more = false;
        let load = Load {
            owner: self.owner,
            first: self.next,
            last: MessageId(u64::MAX),
            count: PAGE,
            bytes,
            expired_by: None,
            after_lazy: true,
        };
        let loaded = database.load(load);
        let loaded = loaded.map_err(|error| Unreadable { owner: self.owner, error })?;
        if let Some(last) = loaded.copies.last() {
            self.next = MessageId(last.copy.message.0 + 1);
            self.has_more = loaded.has_more;
        }
        self.loaded.extend(loaded.copies);
        Ok(())
    }
}
