//! QoS 2 is exactly once: an owner takes no message twice that was published at QoS 2 and
//! arrives at QoS 2. And what was published at QoS 0, or is a will, was sent once. A letter that is
//! redriven is one time more for its owner, or for all where it goes to its topic.

use std::collections::BTreeMap;

use super::Broken;
use super::reading::{clients, members, redriven, stories};
use crate::history::{Fact, History, Use};

pub(super) fn check(history: &History) -> Result<(), Broken> {
    let stories = stories(history);
    let members = members(history);
    let (names, _) = clients(history);
    let redriven = redriven(history);
    let mut taken: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (index, _, fact) in history.facts() {
        let Fact::Arrived(arrival) = fact else {
            continue;
        };
        let Some(story) = stories.get(&arrival.tag) else {
            continue;
        };
        // Each new subscription brings a retained message again, and each may die.
        if arrival.retain || story.publication.retain {
            continue;
        }
        if arrival.used != Use::Taken || arrival.qos == 1 || story.publication.qos == 1 {
            continue;
        }
        // A share group is one owner.
        let owner = if members.contains(&arrival.client) { usize::MAX } else { arrival.client };
        let key = (owner, &arrival.tag, &arrival.topic);
        let times = taken.entry(key).or_default();
        times.push(index);
        let name = if owner == usize::MAX { "$share~g~t/#" } else { names[&arrival.client] };
        let again = redriven.get(&arrival.tag).into_iter().flatten();
        let is_letter = arrival.topic.starts_with("$dead/");
        let again = again.filter(|letter| is_letter || letter.to_topic || **letter.owner == *name);
        if times.len() > 1 + again.count() {
            let (client, tag) = (arrival.client, &arrival.tag);
            let what = format!("c{client} took «{tag}» too often, at {times:?}");
            return Err(Broken::of(tag, what));
        }
    }
    Ok(())
}
