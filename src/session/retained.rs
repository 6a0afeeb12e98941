//! Which subscriptions of a session still bring retained messages, and how far each has got.
//!
//! Promise: each has its turn, in the order in which the client asked, and finding one takes no
//! search. Invariant: there is one entry for a Topic Filter, however often the client subscribes
//! to it, so there are never more than it has subscriptions: who unsubscribes takes it along.

use std::collections::BTreeMap;
use std::sync::Arc;

/// All of one session.
#[derive(Debug, Default)]
pub struct RetainedPending {
    /// The last turn that was given.
    last: u64,
    turns: BTreeMap<u64, Progress>,
    /// The turn of each Topic Filter.
    of_filter: BTreeMap<Arc<str>, u64>,
}

/// How far a subscription has got.
#[derive(Debug)]
struct Progress {
    filter: Arc<str>,
    /// The topic after which to go on; `None` at the beginning.
    after: Option<Arc<str>>,
}

impl RetainedPending {
    /// None.
    pub const fn new() -> Self {
        Self { last: 0, turns: BTreeMap::new(), of_filter: BTreeMap::new() }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.turns.len()
    }

    /// A subscription brings all retained messages, behind those that wait.
    ///
    /// What is left of an earlier one to the same filter goes with it: what the new one brings
    /// comes after both SUBSCRIBEs, so that it is the answer to both `[MQTT-3.3.1-9]`. It starts
    /// from the beginning, as what the client got before may have come before the new SUBSCRIBE.
    /// And it gives up its turn, so that a client that asks again and again for much gets all the
    /// same what else it asked for.
    pub fn begin(&mut self, filter: Arc<str>) {
        self.forget(&filter);
        self.last += 1;
        self.of_filter.insert(filter.clone(), self.last);
        self.turns.insert(self.last, Progress { filter, after: None });
    }

    /// The filter whose turn it is, and the topic after which it goes on.
    pub fn first(&self) -> Option<(Arc<str>, Option<Arc<str>>)> {
        let (_, first) = self.turns.first_key_value()?;
        Some((first.filter.clone(), first.after.clone()))
    }

    /// The first has got as far as `after`; `None`: it is done.
    pub fn advance(&mut self, after: Option<Arc<str>>) {
        let Some(mut first) = self.turns.first_entry() else {
            return;
        };
        if after.is_some() {
            first.get_mut().after = after;
        } else {
            self.of_filter.remove(&first.remove().filter);
        }
    }

    /// A subscription is no more.
    pub fn forget(&mut self, filter: &str) {
        if let Some(turn) = self.of_filter.remove(filter) {
            self.turns.remove(&turn);
        }
    }
}

#[cfg(test)]
mod tests;
