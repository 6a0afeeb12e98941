//! Subscriptions, found by the levels of a Topic Name.
//!
//! Promise: [`Subscriptions::matches`] gives each owner once, in the order of the owners,
//! whatever the seed. Invariant: every node but the root holds an entry, or leads to one, so
//! memory follows what is subscribed now. Recursion is as deep as the limit of topic levels.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::FixedState;

use crate::mqtt::QoS;
use crate::mqtt::packet::SubscriptionOptions;
use crate::mqtt::reply::SubscriptionIds;
use crate::turn::OwnerId;

/// All subscriptions. Filters are valid and have no `$share/…` in front: a share group is an owner
/// like any other.
#[derive(Debug)]
pub struct Subscriptions {
    root: Node,
    hasher: FixedState,
    len: usize,
    changes: u64,
}

/// One owner's subscription to one filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose.
    pub owner: OwnerId,
    /// How.
    pub options: SubscriptionOptions,
    /// Subscription Identifier.
    pub subscription_id: Option<u32>,
}

/// An owner that gets a message, with what all of its matching subscriptions say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Who.
    pub owner: OwnerId,
    /// The highest Maximum QoS of them.
    pub qos: QoS,
    /// Whether any of them has Retain As Published.
    pub retain_as_published: bool,
    /// Of all of them that have one, ascending.
    pub subscription_ids: SubscriptionIds,
}

impl Subscriptions {
    /// None yet. The seed keeps clients from choosing topics that collide; it shows nowhere.
    pub fn new(seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        Self { root: Node::new(&hasher), hasher, len: 0, changes: 0 }
    }

    /// How many there are: one for each owner and filter.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How often they changed: as long as it stays the same, so do the matches of a topic.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Adds a subscription; true when it replaced one of the same owner and filter.
    pub fn insert(&mut self, filter: &str, entry: Entry) -> bool {
        let mut node = &mut self.root;
        for level in Levels::of(filter) {
            node = node.child_or_new(level, &self.hasher);
        }
        self.changes += 1;
        let replaced = node.entries.insert(entry);
        self.len += usize::from(!replaced);
        replaced
    }

    /// Removes a subscription; false when there was none.
    pub fn remove(&mut self, filter: &str, owner: OwnerId) -> bool {
        let removed = self.root.remove(&mut Levels::of(filter), owner);
        self.changes += u64::from(removed);
        self.len -= usize::from(removed);
        removed
    }

    /// Fills `out` with the owners whose filters match `topic`, each once, in their order. A
    /// subscription with No Local does not count for what its own owner, the `publisher`, sends
    /// `[MQTT-3.8.3-3]`. Wildcards at the start do not match a topic that starts with `$`
    /// `[MQTT-4.7.2-1]`.
    pub fn matches(&self, topic: &str, publisher: Option<OwnerId>, out: &mut Vec<Target>) {
        out.clear();
        let mut found = Found { publisher, out };
        let mut levels = Levels::of(topic);
        if topic.starts_with('$') {
            let name = levels.next().expect("there is at least one level");
            if let Some(child) = self.root.literals.get(name) {
                child.collect(levels, &mut found);
            }
        } else {
            self.root.collect(levels, &mut found);
        }
        merge(out);
    }
}

/// The levels that are left of a topic or filter. It looks at bytes: `str::split` takes four times
/// as long for levels as short as they are.
#[derive(Clone, Copy)]
struct Levels<'a>(Option<&'a str>);

impl<'a> Levels<'a> {
    fn of(topic: &'a str) -> Self {
        Self(Some(topic))
    }
}

impl<'a> Iterator for Levels<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.0?;
        let Some(end) = rest.bytes().position(|byte| byte == b'/') else {
            return self.0.take();
        };
        self.0 = Some(&rest[end + 1..]);
        Some(&rest[..end])
    }
}

/// A place in the tree of levels.
#[derive(Debug)]
struct Node {
    /// Of the filter that ends here.
    entries: Entries,
    /// Below, by the level's name.
    literals: HashMap<Box<str>, Self, FixedState>,
    /// Below, `+`.
    plus: Option<Box<Self>>,
    /// Below, `#`: only its entries are used.
    rest: Option<Box<Self>>,
}

impl Node {
    fn new(hasher: &FixedState) -> Self {
        Self {
            entries: Entries::None,
            literals: HashMap::with_hasher(hasher.clone()),
            plus: None,
            rest: None,
        }
    }

    fn child_or_new(&mut self, level: &str, hasher: &FixedState) -> &mut Self {
        match level {
            "+" => self.plus.get_or_insert_with(|| Box::new(Self::new(hasher))),
            "#" => self.rest.get_or_insert_with(|| Box::new(Self::new(hasher))),
            name if self.literals.contains_key(name) => {
                self.literals.get_mut(name).expect("it is there")
            }
            name => self.literals.entry(name.into()).or_insert_with(|| Self::new(hasher)),
        }
    }

    /// Removes the entry that is `levels` further down, and the nodes that lead nowhere then.
    fn remove(&mut self, levels: &mut Levels<'_>, owner: OwnerId) -> bool {
        let Some(level) = levels.next() else {
            return self.entries.remove(owner);
        };
        match level {
            "+" => Self::remove_in(&mut self.plus, levels, owner),
            "#" => Self::remove_in(&mut self.rest, levels, owner),
            name => {
                let Some(child) = self.literals.get_mut(name) else {
                    return false;
                };
                let removed = child.remove(levels, owner);
                if child.is_unused() {
                    self.literals.remove(name);
                    self.give_back();
                }
                removed
            }
        }
    }

    fn remove_in(slot: &mut Option<Box<Self>>, levels: &mut Levels<'_>, owner: OwnerId) -> bool {
        let Some(child) = slot else {
            return false;
        };
        let removed = child.remove(levels, owner);
        if child.is_unused() {
            *slot = None;
        }
        removed
    }

    fn is_unused(&self) -> bool {
        self.entries.is_empty()
            && self.literals.is_empty()
            && self.plus.is_none()
            && self.rest.is_none()
    }

    /// A level that once had many names keeps no room for them: halving it at a quarter costs
    /// O(1) a removal in the long run.
    fn give_back(&mut self) {
        if self.literals.len() < self.literals.capacity() / 4 {
            self.literals.shrink_to(self.literals.len() * 2);
        }
    }

    /// Collects the entries of all filters that match what is left of a topic.
    fn collect(&self, mut levels: Levels<'_>, found: &mut Found<'_>) {
        if let Some(rest) = &self.rest {
            found.add(&rest.entries);
        }
        let Some(name) = levels.next() else {
            found.add(&self.entries);
            return;
        };
        if let Some(plus) = &self.plus {
            plus.collect(levels, found);
        }
        if let Some(child) = self.literals.get(name) {
            child.collect(levels, found);
        }
    }
}

/// The subscriptions to one filter, by owner: mostly one, which takes no room of its own.
#[derive(Debug)]
enum Entries {
    None,
    One(OwnerId, Subscription),
    Many(BTreeMap<OwnerId, Subscription>),
}

/// What of an entry a match needs.
#[derive(Clone, Debug)]
struct Subscription {
    qos: QoS,
    no_local: bool,
    retain_as_published: bool,
    /// Made once, so that a match shares it.
    ids: SubscriptionIds,
}

impl Entries {
    fn insert(&mut self, entry: Entry) -> bool {
        let owner = entry.owner;
        let new = Subscription {
            qos: entry.options.qos,
            no_local: entry.options.no_local,
            retain_as_published: entry.options.retain_as_published,
            ids: entry.subscription_id.map(|id| [id].into()),
        };
        match self {
            Self::None => *self = Self::One(owner, new),
            Self::One(there, old) if *there == owner => {
                *old = new;
                return true;
            }
            Self::One(there, old) => {
                *self = Self::Many(BTreeMap::from([(*there, old.clone()), (owner, new)]));
            }
            Self::Many(all) => return all.insert(owner, new).is_some(),
        }
        false
    }

    fn remove(&mut self, owner: OwnerId) -> bool {
        match self {
            Self::One(there, _) if *there == owner => {
                *self = Self::None;
                true
            }
            Self::None | Self::One(..) => false,
            Self::Many(all) => {
                let removed = all.remove(&owner).is_some();
                if all.len() == 1 {
                    let (owner, last) = all.pop_first().expect("one is left");
                    *self = Self::One(owner, last);
                }
                removed
            }
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }
}

/// Where matching entries go.
struct Found<'a> {
    publisher: Option<OwnerId>,
    out: &'a mut Vec<Target>,
}

impl Found<'_> {
    fn add(&mut self, entries: &Entries) {
        match entries {
            Entries::None => {}
            Entries::One(owner, subscription) => self.add_one(*owner, subscription),
            Entries::Many(all) => {
                self.out.reserve(all.len());
                for (owner, subscription) in all {
                    self.add_one(*owner, subscription);
                }
            }
        }
    }

    fn add_one(&mut self, owner: OwnerId, subscription: &Subscription) {
        if subscription.no_local && self.publisher == Some(owner) {
            return;
        }
        self.out.push(Target {
            owner,
            qos: subscription.qos,
            retain_as_published: subscription.retain_as_published,
            subscription_ids: subscription.ids.clone(),
        });
    }
}

/// Sorts by owner and makes one target of those of one owner.
fn merge(targets: &mut Vec<Target>) {
    if targets.is_sorted_by(|a, b| a.owner < b.owner) {
        return;
    }
    targets.sort_unstable_by_key(|target| target.owner);
    targets.dedup_by(|next, kept| {
        let same = next.owner == kept.owner;
        if same {
            absorb(kept, next);
        }
        same
    });
}

fn absorb(kept: &mut Target, other: &mut Target) {
    if (other.qos as u8) > (kept.qos as u8) {
        kept.qos = other.qos;
    }
    kept.retain_as_published |= other.retain_as_published;
    kept.subscription_ids = match (kept.subscription_ids.take(), other.subscription_ids.take()) {
        (Some(mine), Some(theirs)) => {
            let mut ids = [&mine[..], &theirs[..]].concat();
            ids.sort_unstable();
            Some(ids.into())
        }
        (mine, theirs) => mine.or(theirs),
    };
}

#[cfg(test)]
mod tests;
