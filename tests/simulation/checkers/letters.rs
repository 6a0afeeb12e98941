//! Every dead letter reached who watches for them, from the subscription on.

use std::collections::{BTreeMap, BTreeSet};

use super::reading::{clients, ledger};
use super::{Broken, UNLIMITED};
use crate::history::{Entered, Fact, History};

/// More than the watcher's connections break on one letter.
const PATIENT: u32 = 20;

pub(super) fn check(history: &History) -> Result<(), Broken> {
    let (names, _) = clients(history);
    let died: BTreeMap<u64, u64> = ledger(history)
        .into_iter()
        .filter_map(|(_, at, entered, _)| match entered {
            Entered::Died { id, .. } => Some((*id, at)),
            _ => None,
        })
        .collect();
    let mut since = None;
    let mut read = BTreeSet::new();
    for (_, at, fact) in history.facts() {
        match fact {
            // A letter that a full queue dropped, or that was sent too often, stays in the store.
            Fact::Limits { messages, deliveries, .. }
                if *messages < UNLIMITED || *deliveries < PATIENT =>
            {
                return Ok(());
            }
            Fact::Subscribed { client, reason, .. } if names[client] == "watch" => {
                since = since.or_else(|| (!reason.is_error()).then_some(at));
            }
            Fact::Arrived(arrival) if names[&arrival.client] == "watch" => {
                let mut levels = arrival.topic.split('/').skip(1);
                let reason = levels.next().unwrap_or_default();
                read.insert((reason, &arrival.tag));
            }
            Fact::Letter(letter) => {
                let watched = since.is_some_and(|since| since < died[&letter.id]);
                let (id, reason, tag) = (letter.id, letter.reason.as_str(), &letter.tag);
                if watched && !read.contains(&(reason, tag)) {
                    let what = format!("nobody heard of letter {id} ({reason}) about «{tag}»");
                    return Err(Broken::of(tag, what));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
