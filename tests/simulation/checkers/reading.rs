//! What more than one checker reads out of the log: the fate of each message at its publisher.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::history::{Fact, History, Kind, Publication, Tag};

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
}

impl Story {
    /// Whether the broker said no, and never had it from another sending.
    pub(super) fn was_refused(&self) -> bool {
        self.refused && self.sends == 1
    }
}

/// All messages, by their tags; retained messages that clear have their tags too.
pub(super) fn stories(history: &History) -> BTreeMap<Tag, Story> {
    let mut stories: BTreeMap<Tag, Story> = BTreeMap::new();
    for (index, at, fact) in history.facts() {
        match fact {
            Fact::Published { publication, .. } => sent(&mut stories, publication, index),
            Fact::Connect { will: Some(will), .. } => sent(&mut stories, will, index),
            Fact::Told { kind, reason, tag: Some(tag), .. } if *kind != Kind::PubComp => {
                let story = stories.get_mut(tag).expect("what is acknowledged was sent");
                if reason.is_error() {
                    story.refused = true;
                } else if story.accepted.is_none() {
                    story.accepted = Some((index, at));
                }
            }
            _ => {}
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
