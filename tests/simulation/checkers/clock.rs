//! Nothing ends before its time, whatever the clock on the wall shows: messages, the sessions
//! whose backlog dies, wills, and letters that are kept for a while. (Sessions themselves:
//! [`super::presence`].) The time is the world's own, which never jumps.

use std::collections::BTreeMap;

use kedgemq::turn::DeadReason;

use super::Broken;
use super::reading::{Story, clients, ledger, stories};
use crate::history::{Departure, Entered, Fact, History, Tag};

pub(super) fn check(history: &History) -> Result<(), Broken> {
    let stories = stories(history);
    let (names, _) = clients(history);
    let ends = ends(history);
    let letter_age = history.facts().find_map(|(_, _, fact)| match fact {
        Fact::Limits { letter_age, .. } => Some(*letter_age),
        _ => None,
    });
    let letter_age = letter_age.expect("the limits come first");
    let drops_by_quota = letter_age > YOUNG;
    let mut died = BTreeMap::new();
    for (index, at, entered, _) in ledger(history) {
        match entered {
            Entered::Died { id, owner, tag, reason } => {
                died.insert(*id, at);
                let first = stories.get(tag).map_or(0, |story| history.entries[story.first].at);
                if *reason == DeadReason::Expired && at < first + expiry(&stories, tag) {
                    return Err(Broken::of(tag, format!("at {index}: «{tag}» expired too early")));
                }
                let mut all = names.iter();
                let client = all.find(|(_, name)| ***name == **owner).map(|(client, _)| *client);
                let earliest =
                    client.and_then(|client| ends.sessions.get(&client)?.earliest(index));
                if *reason == DeadReason::SessionExpired && earliest.is_some_and(|end| at < end) {
                    let what = format!("at {index}: «{tag}» died with the session of {owner}");
                    return Err(Broken::of(tag, format!("{what}, before {earliest:?}")));
                }
            }
            Entered::Forgotten { id, how: Departure::Dropped, .. } if !drops_by_quota => {
                let since = died.get(id).copied().unwrap_or(0);
                if at < since + letter_age {
                    return Err(Broken::new(format!("at {index}: letter {id} aged too early")));
                }
            }
            Entered::Counted { aged_out, .. } if *aged_out > 0 => {
                let is_old = |since: &&u64| at >= **since + letter_age;
                let old = died.values().filter(is_old).count() as u64;
                if *aged_out > old {
                    let what = format!("at {index}: {aged_out} letters aged, and {old} are old");
                    return Err(Broken::new(what));
                }
            }
            Entered::Took { tag, after: Some(_), .. } => {
                if let Some(due) = ends.wills.get(tag)
                    && at < *due
                {
                    let what = format!("at {index}: the will «{tag}» was not due before {due}");
                    return Err(Broken::of(tag, what));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Letters that are kept longer go by the quota alone.
const YOUNG: u64 = 3_600_000;

/// Message Expiry Interval, in milliseconds.
fn expiry(stories: &BTreeMap<Tag, Story>, tag: &Tag) -> u64 {
    let publication = stories.get(tag).map(|story| &story.publication);
    publication.and_then(|message| message.expiry).map_or(0, |seconds| u64::from(seconds) * 1000)
}

/// When what may have ended, at the earliest.
struct Ends<'a> {
    sessions: BTreeMap<usize, Session>,
    wills: BTreeMap<&'a Tag, u64>,
}

/// A client's connections that ended: where in the log, and when its session ended then.
#[derive(Default)]
struct Session {
    ends: Vec<(usize, u64)>,
}

impl Session {
    /// Of all connections before `index`.
    fn earliest(&self, index: usize) -> Option<u64> {
        let before = self.ends.iter().filter(|(at, _)| *at < index);
        before.map(|(_, end)| *end).min()
    }
}

fn ends(history: &History) -> Ends<'_> {
    let mut ends = Ends { sessions: BTreeMap::new(), wills: BTreeMap::new() };
    let mut open = BTreeMap::new();
    for (index, at, fact) in history.facts() {
        match fact {
            Fact::Connect { client, connection, clean, expiry, will, will_delay, .. } => {
                let expiry = u64::from(*expiry) * 1000;
                open.insert(*connection, (expiry, will.as_ref(), u64::from(*will_delay) * 1000));
                if *clean {
                    // It ends the session, and with it what the earlier connections left.
                    for (_, will, delay) in open.values_mut() {
                        let is_of =
                            will.is_some_and(|will| will.publisher == *client && *delay > 0);
                        *delay = if is_of { 0 } else { *delay };
                    }
                    let of = |will: &&Tag| will.starts_with(&format!("w{client}-"));
                    for tag in ends.wills.keys().copied().filter(of).collect::<Vec<_>>() {
                        ends.wills.insert(tag, at.min(ends.wills[tag]));
                    }
                }
            }
            Fact::Left { connection, expiry: Some(expiry), .. } => {
                if let Some((known, ..)) = open.get_mut(connection) {
                    *known = u64::from(*expiry) * 1000;
                }
            }
            Fact::Gone { client, connection } => {
                let Some((expiry, will, delay)) = open.remove(connection) else {
                    continue;
                };
                let end = at.saturating_add(expiry);
                ends.sessions.entry(*client).or_default().ends.push((index, end));
                if let Some(will) = will {
                    ends.wills.insert(&will.tag, at + delay.min(expiry));
                }
            }
            _ => {}
        }
    }
    ends
}
