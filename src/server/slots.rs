//! The open connections, found by [`ConnectionId`]. A slot is used again under another
//! generation, so output for a connection that is gone finds nobody.

use std::cell::Cell;
use std::sync::Arc;

use super::outbox::{Opened, Outbox};
use crate::time::Timestamp;
use crate::turn::{ConnectionId, RecordNumber};

/// Outboxes by connection.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    outbox: Option<Arc<Outbox>>,
    /// Its place among what [`Opening`] opened, from 1; 0 when it is closed.
    place: Cell<usize>,
}

impl Slots {
    /// Seats the connection that `make` makes an outbox for.
    pub(super) fn insert(&mut self, make: impl FnOnce(ConnectionId) -> Outbox) -> Arc<Outbox> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).expect("fewer connections than 2^32")
        });
        let seat = &mut self.slots[slot as usize];
        let generation = seat.generation;
        let outbox = Arc::new(make(ConnectionId { slot, generation }));
        seat.outbox = Some(Arc::clone(&outbox));
        outbox
    }

    /// The outbox of an open connection.
    pub(super) fn get(&self, id: ConnectionId) -> Option<&Arc<Outbox>> {
        let slot = self.slots.get(id.slot as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        slot.outbox.as_ref()
    }

    /// Opens outboxes, each when it is first told something. All up to `committed` is on disk.
    pub(super) fn opening(&self, committed: RecordNumber, now: Timestamp) -> Opening<'_> {
        Opening { slots: self, opened: Vec::new(), committed, now }
    }

    /// Frees the slot of a connection.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        if self.get(id).is_some() {
            let slot = &mut self.slots[id.slot as usize];
            slot.outbox = None;
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(id.slot);
        }
    }

    /// All open connections.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Outbox>> {
        self.slots.iter().filter_map(|slot| slot.outbox.as_ref())
    }
}

/// Outboxes that are told the output of several packets together: each is locked once.
pub(super) struct Opening<'a> {
    slots: &'a Slots,
    opened: Vec<Opened<'a>>,
    committed: RecordNumber,
    now: Timestamp,
}

impl<'a> Opening<'a> {
    /// The outbox of an open connection.
    pub(super) fn get(&mut self, id: ConnectionId) -> Option<&mut Opened<'a>> {
        let slot = self.slots.slots.get(id.slot as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        if slot.place.get() == 0 {
            self.opened.push(slot.outbox.as_ref()?.open(self.committed, self.now)?);
            slot.place.set(self.opened.len());
        }
        self.opened.get_mut(slot.place.get() - 1)
    }

    /// All that it opened, in that order, for the caller to close.
    pub(super) fn finish(self) -> impl Iterator<Item = Opened<'a>> {
        for opened in &self.opened {
            self.slots.slots[opened.outbox().id().slot as usize].place.set(0);
        }
        self.opened.into_iter()
    }
}
