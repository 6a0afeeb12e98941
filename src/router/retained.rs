//! Retained messages, by topic.
//!
//! Promise: [`Retained::matching`] goes over them in slices, so a `#` over very many holds the
//! core's lock for a bounded time; what is set or cleared between two slices is seen if its topic
//! is still ahead.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::mqtt::{Message, topic};

/// The retained message of each topic that has one.
#[derive(Debug, Default)]
pub struct Retained {
    messages: BTreeMap<Arc<str>, Arc<Message>>,
    bytes: u64,
}

impl Retained {
    /// Sets a topic's message, or clears it; gives back the one before.
    pub fn set(&mut self, topic: Arc<str>, message: Option<Arc<Message>>) -> Option<Arc<Message>> {
        let size = |message: &Option<Arc<Message>>| message.as_ref().map_or(0, |m| m.size() as u64);
        self.bytes += size(&message);
        let before = match message {
            Some(message) => self.messages.insert(topic, message),
            None => self.messages.remove(&topic),
        };
        self.bytes -= size(&before);
        before
    }

    /// A topic's message.
    pub fn get(&self, topic: &str) -> Option<&Arc<Message>> {
        self.messages.get(topic)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Their [`Message::size`] together.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Adds the messages whose topics match `filter` to `out`, in the order of the topics, looking
    /// at `scan_max` topics at most, but always at one. The answer is the topic to go on `after`;
    /// `None` when all are seen.
    pub fn matching(
        &self,
        filter: &str,
        after: Option<&str>,
        scan_max: usize,
        out: &mut Vec<Arc<Message>>,
    ) -> Option<Arc<str>> {
        let Some(prefix) = wildcard_prefix(filter) else {
            out.extend(self.get(filter).filter(|_| after.is_none()).cloned());
            return None;
        };
        let mut scanned: Option<&Arc<str>> = None;
        let mut left = scan_max.max(1);
        for (name, message) in self.candidates(filter, prefix, after) {
            if left == 0 {
                return scanned.cloned();
            }
            left -= 1;
            scanned = Some(name);
            if topic::matches(name, filter) {
                out.push(Arc::clone(message));
            }
        }
        None
    }

    /// The topics that start like the filter, behind `after`. In front of those of `a/#` stands
    /// `a` itself.
    fn candidates<'a>(
        &'a self,
        filter: &str,
        prefix: &'a str,
        after: Option<&str>,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<Message>)> {
        let parent = match (after, filter.strip_suffix("/#")) {
            (None, Some(parent)) => self.messages.get_key_value(parent),
            _ => None,
        };
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let below = self
            .messages
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(move |(name, _)| name.starts_with(prefix));
        parent.into_iter().chain(below)
    }
}

/// The literal levels in front of a filter's first wildcard, with the `/` behind them; `None`
/// without wildcards.
fn wildcard_prefix(filter: &str) -> Option<&str> {
    let wildcard = filter.find(['+', '#'])?;
    Some(&filter[..wildcard])
}

#[cfg(test)]
mod tests;
