//! What more than one checker reads out of the log: the fate of each message at its publisher,
//! rights, deaths, and what a crash may have undone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kedgemq::auth::Access;
use kedgemq::mqtt::properties::PassedOn;
use kedgemq::turn::DeadReason;

use crate::history::{Arrival, Denial, Departure, Entered, Fact, History, Kind, Publication, Tag};

/// What is known of a message.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) publication: Arc<Publication>,
    /// Where in the log it was sent first.
    pub(super) first: usize,
    /// How often it was sent.
    pub(super) sends: u32,
    /// Where in the log the broker took it over, and when.
    pub(super) accepted: Option<(usize, u64)>,
    pub(super) refused: bool,
    /// It came to the broker, and its publisher never had the right then.
    pub(super) forbidden: bool,
}

impl Story {
    /// Whether the broker said no, and never had it from another sending.
    pub(super) fn was_refused(&self) -> bool {
        self.forbidden || (self.refused && self.sends == 1)
    }
}

/// All messages, by their tags; retained messages that clear have their tags too.
pub(super) fn stories(history: &History) -> BTreeMap<Tag, Story> {
    let rights = Rights::new(history);
    let mut stories: BTreeMap<Tag, Story> = BTreeMap::new();
    // Messages that came without the right when they came last; and once with it.
    let (mut forbidden, mut allowed) = (BTreeSet::new(), BTreeSet::new());
    for (index, at, fact) in history.facts() {
        match fact {
            Fact::Published { publication, .. } => sent(&mut stories, publication, index),
            Fact::Connect { will: Some(will), .. } => sent(&mut stories, will, index),
            Fact::Heard { client, tag, topic } => {
                if rights.may(index, client, topic, Access::Publish) {
                    allowed.insert(tag);
                    forbidden.remove(tag);
                } else {
                    forbidden.insert(tag);
                }
            }
            Fact::Told { kind, reason, tag: Some(tag), .. } if *kind != Kind::PubComp => {
                let story = stories.get_mut(tag).expect("what is acknowledged was sent");
                if reason.is_error() {
                    story.refused = true;
                } else if forbidden.contains(tag) {
                    // In 3.1.1 it is acknowledged.
                } else if story.accepted.is_none() {
                    story.accepted = Some((index, at));
                }
            }
            _ => {}
        }
    }
    for tag in forbidden.difference(&allowed) {
        if let Some(story) = stories.get_mut(*tag) {
            story.forbidden = true;
        }
    }
    stories
}

fn sent(stories: &mut BTreeMap<Tag, Story>, publication: &Arc<Publication>, first: usize) {
    let story = stories.entry(publication.tag.clone()).or_insert_with(|| Story {
        publication: publication.clone(),
        first,
        sends: 0,
        accepted: None,
        refused: false,
        forbidden: false,
    });
    story.sends += 1;
}

/// Names of clients; those who keep the protocol.
pub(super) fn clients(history: &History) -> (BTreeMap<usize, &str>, BTreeSet<usize>) {
    let mut names = BTreeMap::new();
    let mut decent = BTreeSet::new();
    for (_, _, fact) in history.facts() {
        if let Fact::Client { client, name, keeps_protocol } = fact {
            names.insert(*client, name.as_str());
            if *keeps_protocol {
                decent.insert(*client);
            }
        }
    }
    (names, decent)
}

/// Clients that are members of a share group.
pub(super) fn members(history: &History) -> BTreeSet<usize> {
    let member = |(_, _, fact)| match fact {
        &Fact::Subscribe { client, ref filter, .. } if filter.starts_with("$share/") => {
            Some(client)
        }
        _ => None,
    };
    history.facts().filter_map(member).collect()
}

/// Connections on which the client broke a rule.
pub(super) fn misbehaved(history: &History) -> BTreeSet<usize> {
    let how = |(_, _, fact): (usize, u64, &Fact)| match fact {
        Fact::Misbehaved { connection, .. } => Some(*connection),
        _ => None,
    };
    history.facts().filter_map(how).collect()
}

/// Who had which rights when.
pub(super) struct Rights<'a> {
    /// Where they changed, and what was denied from there on.
    changes: Vec<(usize, &'a [Denial])>,
}

impl<'a> Rights<'a> {
    pub(super) fn new(history: &'a History) -> Self {
        let change = |(index, _, fact): (usize, u64, &'a Fact)| match fact {
            Fact::Rights { denied } => Some((index, &denied[..])),
            _ => None,
        };
        Self { changes: history.facts().filter_map(change).collect() }
    }

    /// At one point of the log.
    pub(super) fn may(&self, at: usize, client: &str, topic: &str, access: Access) -> bool {
        let last = self.changes.partition_point(|(index, _)| *index <= at);
        let denied = last.checked_sub(1).map_or(&[][..], |last| self.changes[last].1);
        let is_it = |d: &Denial| &*d.client == client && d.topic == topic && d.access == access;
        !denied.iter().any(is_it)
    }

    /// From one point of the log to another.
    pub(super) fn may_all_along(
        &self,
        (from, until): (usize, usize),
        client: &str,
        topic: &str,
        access: Access,
    ) -> bool {
        let changes = self.changes.iter().map(|(index, _)| *index);
        let between = changes.filter(|index| (from..=until).contains(index));
        [from].into_iter().chain(between).all(|at| self.may(at, client, topic, access))
    }
}

/// What the ledger says, where, when, and whether it is sure: what the broker had not on disk
/// when it died may be undone.
pub(super) fn ledger(history: &History) -> Vec<(usize, u64, &Entered, bool)> {
    let mut committed = u64::MAX;
    let mut entries = Vec::new();
    for (index, entry) in history.entries.iter().enumerate().rev() {
        match &entry.fact {
            Fact::Crashed { committed: last, .. } => committed = *last,
            Fact::Ledger { record, entered } => {
                entries.push((index, entry.at, entered, *record <= committed));
            }
            _ => {}
        }
    }
    entries.reverse();
    for at in proven(history, &entries) {
        entries[at].3 = true;
    }
    // Records come to the disk in their order: what stands before one that did is there, too.
    let starts: BTreeSet<usize> = history
        .facts()
        .filter_map(|(index, _, fact)| matches!(fact, Fact::Started).then_some(index))
        .collect();
    let (mut life, mut is_there) = (usize::MAX, false);
    for (index, _, _, is_sure) in entries.iter_mut().rev() {
        let start = starts.range(..*index).next_back().copied().unwrap_or(0);
        is_there = *is_sure || (is_there && life == start);
        (life, *is_sure) = (start, is_there);
    }
    entries
}

/// Deaths of which a later life of the broker knows, so that they were on disk: it forgets the
/// letter, sends it, or has it at the end.
fn proven(history: &History, entries: &[(usize, u64, &Entered, bool)]) -> Vec<usize> {
    let (mut life, mut proven) = (0, Vec::new());
    let mut last: BTreeMap<u64, (usize, u32)> = BTreeMap::new();
    // What is sent does not say which death it tells of, where a copy died twice of the same.
    let mut only: BTreeMap<Death<'_>, Option<(usize, u32)>> = BTreeMap::new();
    let mut gone = BTreeSet::new();
    let mut entries = entries.iter().enumerate();
    for (_, _, fact) in history.facts() {
        match fact {
            Fact::Started => life += 1,
            Fact::Ledger { .. } => match entries.next().expect("one for each") {
                (at, (_, _, Entered::Died { id, owner, tag, reason }, _)) => {
                    last.insert(*id, (at, life));
                    only.entry((reason.as_str(), owner, tag))
                        .and_modify(|only| *only = None)
                        .or_insert(Some((at, life)));
                }
                (_, (_, _, Entered::Forgotten { id, .. }, _)) => {
                    let died = last.get(id).filter(|(_, then)| *then < life);
                    proven.extend(died.map(|(at, _)| *at));
                }
                _ => {}
            },
            Fact::Gone { connection, .. } => drop(gone.insert(*connection)),
            // On a connection that is gone, it may have left in the life of the death.
            Fact::Arrived(arrival) if !gone.contains(&arrival.connection) => {
                let died = told_death(arrival).and_then(|death| *only.get(&death)?);
                proven.extend(died.filter(|(_, then)| *then < life).map(|(at, _)| at));
            }
            Fact::Letter(letter) => proven.extend(last.get(&letter.id).map(|(at, _)| *at)),
            _ => {}
        }
    }
    proven
}

/// The reason, the owner and the message.
type Death<'a> = (&'a str, &'a str, &'a str);

/// The death that a letter tells of.
fn told_death(arrival: &Arrival) -> Option<Death<'_>> {
    let properties = arrival.properties.as_ref().filter(|_| arrival.topic.starts_with("$dead/"))?;
    let says = |name| {
        let mut all = PassedOn::new(properties);
        all.find(|property| property.user_name() == Some(name))?.user_value()
    };
    Some((says("dl-reason")?, says("dl-owner")?, &arrival.tag))
}

/// Reasons of which no letters are kept.
pub(super) fn counted_only(history: &History) -> &[DeadReason] {
    let limits = history.facts().find_map(|(_, _, fact)| match fact {
        Fact::Limits { counted_only, .. } => Some(&counted_only[..]),
        _ => None,
    });
    limits.unwrap_or_default()
}

/// A letter that went back to the living.
pub(super) struct Redriven<'a> {
    pub(super) owner: &'a Tag,
    pub(super) to_topic: bool,
}

/// All of them, by the message.
pub(super) fn redriven(history: &History) -> BTreeMap<&Tag, Vec<Redriven<'_>>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (_, _, entered, _) in ledger(history) {
        if let Entered::Forgotten { owner, tag, how, .. } = entered
            && let Departure::ToOwner | Departure::ToTopic = how
        {
            let to_topic = *how == Departure::ToTopic;
            all.entry(tag).or_default().push(Redriven { owner, to_topic });
        }
    }
    all
}

#[cfg(test)]
mod tests;
