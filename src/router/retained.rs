//! Retained messages, by topic.
//!
//! Promise: [`Retained::matching`] goes over them in slices, so a `#` over very many holds the
//! core's lock for a bounded time; what is set or cleared between two slices is seen if its topic
//! is still ahead. Topics that a filter with a `+` cannot match are leapt over.

use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::ops::Bound;
use std::sync::Arc;

use crate::mqtt::{Message, topic};

/// Topics that are stepped over before a leap: it costs about as much as so many steps.
const STEPS: usize = 8;

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
        let (mut scanned, mut left) = (None, scan_max.max(1));
        // In front of the topics below `a/` stands `a` itself, which `a/#` matches, too.
        let parent = filter.strip_suffix("/#").filter(|_| after.is_none());
        if let Some((name, message)) = parent.and_then(|name| self.messages.get_key_value(name)) {
            (scanned, left) = (Some(name), left - 1);
            out.push(Arc::clone(message));
        }
        let mut topics = self.topics(match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        });
        // In front of `bound` nothing matches.
        let (mut bound, mut steps) = (String::new(), 0);
        while let Some((name, message)) = topics.next() {
            if !name.starts_with(prefix) {
                break;
            }
            if left == 0 {
                return scanned.cloned();
            }
            (scanned, left) = (Some(name), left - 1);
            if **name < *bound {
                steps += 1;
                if steps == STEPS {
                    topics = self.topics(Bound::Included(&bound));
                }
            } else if topic::matches(name, filter) {
                out.push(Arc::clone(message));
            } else {
                set_bound(&mut bound, name, filter);
                steps = 0;
            }
        }
        None
    }

    /// In their order.
    fn topics(&self, from: Bound<&str>) -> Range<'_, Arc<str>, Arc<Message>> {
        self.messages.range::<str, _>((from, Bound::Unbounded))
    }
}

/// Sets `bound` to the first text behind `topic`, which the filter does not match, that may be or
/// begin one that it does. The order is that of bytes, not of levels: `a!/b` stands in front of
/// `a/b`.
fn set_bound(bound: &mut String, topic: &str, filter: &str) {
    bound.clear();
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return bound.push('%'); // The character behind `$`.
    }
    let mut start = 0;
    for wanted in filter.split('/') {
        let Some(rest) = topic.get(start..) else {
            return; // It is too short, and the next may be longer.
        };
        let end = start + rest.find('/').unwrap_or(rest.len());
        if wanted != "+" && wanted != &topic[start..end] {
            bound.push_str(&topic[..start]);
            bound.push_str(wanted);
            if **bound < *topic {
                bound.push('/');
            }
            if **bound < *topic {
                set_behind(bound, &topic[..start]);
            }
            return;
        }
        start = end + 1;
    }
    set_behind(bound, &topic[..start]);
}

/// Sets `bound` behind all that begins with `levels` and the `/` at their end.
fn set_behind(bound: &mut String, levels: &str) {
    bound.clear();
    if let Some(levels) = levels.strip_suffix('/') {
        bound.push_str(levels);
        bound.push('0'); // The character behind `/`.
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
