//! The open connections, found by [`ConnectionId`]. A slot is used again under another
//! generation, so output for a connection that is gone finds nobody.

use std::sync::Arc;

use super::outbox::Outbox;
use crate::turn::ConnectionId;

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
