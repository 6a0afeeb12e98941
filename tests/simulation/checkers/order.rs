//! First deliveries of one publisher's messages on one topic at one QoS come in their order.
//! Not those of a share group, which has none, nor retained messages, nor messages of which a
//! copy died: the publisher may have sent another one, later. A copy that a full queue or its
//! size killed may be there again after a crash, as long as its death is not on disk. And what the
//! broker refused (its store failed, a queue was full, the right was not there), and was sent again
//! as the refusal got lost, comes late; so does what was redriven, and what was sent again while a
//! full queue, its expiry or its size had killed the first copy, which may be counted only.

use std::collections::{BTreeMap, BTreeSet};

use kedgemq::turn::DeadReason;

use super::reading::{clients, counted_only, ledger, members, redriven, stories};
use super::{Broken, UNLIMITED};
use crate::history::{Entered, Fact, History, Tag, Use};

/// What is known of a client's session.
#[derive(Default)]
struct Session<'a> {
    /// Counts the sessions of the client.
    number: u32,
    seen: BTreeSet<&'a Tag>,
    /// Where its subscriptions last changed: only what was published later is in order.
    changed: usize,
}

pub(super) fn check(history: &History) -> Result<(), Broken> {
    let stories = stories(history);
    let members = members(history);
    let (names, _) = clients(history);
    let mut dead = BTreeSet::new();
    for (_, _, entered, _) in ledger(history) {
        if let Entered::Died { owner, tag, .. } = entered {
            dead.insert((&**owner, tag));
        }
    }
    let redriven = redriven(history);
    let may_be_too_large = counted_only(history).contains(&DeadReason::TooLarge);
    let crashes = history.facts().filter(|(_, _, fact)| matches!(fact, Fact::Crashed { .. }));
    let last_crash = crashes.last().map_or(0, |(index, ..)| index);
    let mut sessions: BTreeMap<usize, Session> = BTreeMap::new();
    let mut last: BTreeMap<_, (usize, &Tag)> = BTreeMap::new();
    let (mut is_limited, mut may_refuse, mut refusals_changed) = (false, false, 0);
    for (index, _, fact) in history.facts() {
        let arrival = match fact {
            Fact::Limits { messages, refuses, .. } => {
                is_limited = *messages < UNLIMITED;
                may_refuse = *refuses;
                continue;
            }
            Fact::Accepted { client, present: false, .. } => {
                let number = sessions.get(client).map_or(1, |session| session.number + 1);
                sessions.insert(*client, Session { number, ..Session::default() });
                continue;
            }
            // In between nobody knows.
            Fact::Subscribe { client, .. } | Fact::Unsubscribe { client, .. } => {
                sessions.entry(*client).or_default().changed = usize::MAX;
                continue;
            }
            Fact::Subscribed { client, .. } | Fact::Unsubscribed { client, .. } => {
                sessions.entry(*client).or_default().changed = index;
                continue;
            }
            Fact::Store { .. } | Fact::Rights { .. } => {
                refusals_changed = index;
                continue;
            }
            Fact::Arrived(arrival) => arrival,
            _ => continue,
        };
        let client = arrival.client;
        let Some(story) = stories.get(&arrival.tag) else {
            continue;
        };
        let session = sessions.entry(client).or_default();
        let publication = &story.publication;
        let ordered = arrival.topic.starts_with("t/")
            && !publication.is_will
            && story.first > session.changed
            && arrival.used != Use::Known
            && !dead.contains(&(names[&client], &arrival.tag))
            && !redriven.contains_key(&arrival.tag)
            && !members.contains(&client);
        if !ordered || !session.seen.insert(&arrival.tag) {
            continue;
        }
        let may_die_unseen =
            may_refuse || is_limited || may_be_too_large || publication.expiry.is_some();
        let levels = (publication.qos, arrival.qos);
        let key = (client, session.number, publication.publisher, &arrival.topic, levels);
        let before = last.insert(key, (story.first, &arrival.tag));
        if let Some((first, before)) = before
            && first > story.first
            && !((is_limited || may_be_too_large) && last_crash > story.first)
            && !(story.sends > 1 && (may_die_unseen || refusals_changed > story.first))
        {
            let tag = &arrival.tag;
            return Err(Broken::of(tag, format!("c{client} got «{before}» before «{tag}»")));
        }
    }
    Ok(())
}
