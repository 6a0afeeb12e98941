//! The part of a stored queue that only the store knows copy by copy: how many, how large, where
//! a load goes on, when the first of them expires.
//!
//! Invariant: `count` and `bytes` are of the copies from `next` on that were never sent.

use super::queue::earlier;
use crate::time::Timestamp;
use crate::turn::{Backlog, Load, Loaded, MessageId, OwnerId};

const LAST: MessageId = MessageId(u64::MAX);

/// Copies on disk.
#[derive(Debug)]
pub(super) struct Tail {
    count: u64,
    bytes: u64,
    next: MessageId,
    soonest_expiry: Option<Timestamp>,
    /// What came since the last load was asked for: its answer does not know it.
    new_count: u64,
    new_bytes: u64,
}

impl Tail {
    pub(super) const fn new() -> Self {
        Self {
            count: 0,
            bytes: 0,
            next: MessageId(0),
            soonest_expiry: None,
            new_count: 0,
            new_bytes: 0,
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn soonest_expiry(&self) -> Option<Timestamp> {
        self.soonest_expiry
    }

    /// The newest copy of all.
    pub(super) fn push(&mut self, id: MessageId, size: u32, expires: Option<Timestamp>) {
        if self.count == 0 {
            self.next = id;
        }
        self.new_count += 1;
        self.new_bytes += u64::from(size);
        self.add(size, expires);
    }

    /// A copy that was not in the tail any more, or never.
    pub(super) fn put_back(&mut self, id: MessageId, size: u32, expires: Option<Timestamp>) {
        self.next = if self.count == 0 { id } else { self.next.min(id) };
        self.add(size, expires);
    }

    fn add(&mut self, size: u32, expires: Option<Timestamp>) {
        self.count += 1;
        self.bytes += u64::from(size);
        self.soonest_expiry = earlier(self.soonest_expiry, expires);
    }

    pub(super) fn restore(&mut self, backlog: &Backlog) {
        self.next = if self.count == 0 { backlog.first } else { self.next.min(backlog.first) };
        self.count += backlog.count;
        self.bytes += backlog.bytes;
        self.soonest_expiry = earlier(self.soonest_expiry, backlog.soonest_expiry);
    }

    /// Asks for the oldest copies.
    pub(super) fn next_load(&self, owner: OwnerId, count: usize, bytes: u32) -> Option<Load> {
        if self.count == 0 {
            return None;
        }
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let first = self.next;
        let (last, expired_by, after_lazy) = (LAST, None, true);
        Some(Load { owner, first, last, count, bytes, expired_by, after_lazy })
    }

    /// Asks for those that expired by `now`.
    pub(super) fn expired_load(
        &mut self,
        owner: OwnerId,
        count: usize,
        bytes: u32,
        now: Timestamp,
    ) -> Option<Load> {
        if self.soonest_expiry.is_none_or(|at| at > now) {
            return None;
        }
        self.soonest_expiry = None; // The answer says what is next.
        let load = self.next_load(owner, count, bytes)?;
        Some(Load { expired_by: Some(now), ..load })
    }

    /// A load is on its way.
    pub(super) fn asked(&mut self) {
        self.new_count = 0;
        self.new_bytes = 0;
    }

    /// A copy came.
    pub(super) fn take(&mut self, size: u32) {
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(u64::from(size));
    }

    /// An answer that does not count any more: what it would have said of expiry is open.
    pub(super) fn expiry_unknown(&mut self, asked: Option<Timestamp>) {
        self.soonest_expiry = earlier(self.soonest_expiry, asked);
    }

    /// After all copies of an answer were taken, up to `last`: goes on behind them. Returns count
    /// and bytes of copies that should have been there and were not.
    pub(super) fn answered(&mut self, loaded: &Loaded, last: Option<MessageId>) -> (u64, u64) {
        if let Some(by) = loaded.load.expired_by {
            let more = if loaded.has_more { Some(by) } else { loaded.soonest_expiry };
            self.soonest_expiry = earlier(self.soonest_expiry, more);
            return (0, 0);
        }
        if let Some(last) = last {
            self.next = MessageId(last.0 + 1);
        }
        if loaded.has_more {
            return (0, 0);
        }
        let lost = self.count.saturating_sub(self.new_count);
        let lost_bytes = self.bytes.saturating_sub(self.new_bytes);
        self.count -= lost;
        self.bytes -= lost_bytes;
        (lost, lost_bytes)
    }
}
