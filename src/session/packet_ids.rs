//! A set of Packet Identifiers that a client uses in turn: it comes at the end and goes at the
//! front, mostly.
//!
//! Invariant: they are ascending.

use std::collections::VecDeque;

use crate::mqtt::packet::PacketId;

/// Packet Identifiers, each once.
#[derive(Debug, Default)]
pub struct PacketIds(VecDeque<PacketId>);

impl PacketIds {
    /// None.
    pub const fn new() -> Self {
        Self(VecDeque::new())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `id` is one of them.
    pub fn contains(&self, id: PacketId) -> bool {
        self.find(id).is_ok()
    }

    /// Adds `id`.
    pub fn insert(&mut self, id: PacketId) {
        match self.find(id) {
            Ok(_) => {}
            Err(at) if at == self.0.len() => self.0.push_back(id),
            Err(at) => self.0.insert(at, id),
        }
    }

    /// Removes `id`; says whether it was there.
    pub fn remove(&mut self, id: PacketId) -> bool {
        match self.find(id) {
            Ok(0) => self.0.pop_front().is_some(),
            Ok(at) => self.0.remove(at).is_some(),
            Err(_) => false,
        }
    }

    /// Gives back the memory that it does not use.
    pub fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }

    /// Where `id` is, or belongs. The ends are looked at first.
    fn find(&self, id: PacketId) -> Result<usize, usize> {
        if self.0.back().is_none_or(|last| *last < id) {
            return Err(self.0.len());
        }
        if self.0.front() == Some(&id) {
            return Ok(0);
        }
        self.0.binary_search(&id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn it_is_a_set() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut ids, mut model) = (PacketIds::default(), BTreeSet::new());
        for _ in 0..10_000 {
            let id = PacketId::new(random.u16(1..40)).expect("above 0");
            if random.bool() {
                ids.insert(id);
                model.insert(id);
            } else {
                assert_eq!(ids.remove(id), model.remove(&id));
            }
            assert_eq!((ids.len(), ids.is_empty()), (model.len(), model.is_empty()));
            assert!(
                (1..40).filter_map(PacketId::new).all(|id| ids.contains(id) == model.contains(&id))
            );
        }
    }
}
