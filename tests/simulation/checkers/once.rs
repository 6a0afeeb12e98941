//! QoS 2 is exactly once: an owner takes no message twice that was published at QoS 2 and
//! arrives at QoS 2. And what was published at QoS 0, or is a will, was sent once.

use std::collections::BTreeMap;

use super::Broken;
use super::reading::{members, stories};
use crate::history::{Fact, History, Use};

pub(super) fn check(history: &History) -> Result<(), Broken> {
    let stories = stories(history);
    let members = members(history);
    let mut taken = BTreeMap::new();
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
        if let Some(before) = taken.insert(key, index) {
            let (client, tag) = (arrival.client, &arrival.tag);
            let what = format!("c{client} took «{tag}» twice, at {before} and at {index}");
            return Err(Broken::of(tag, what));
        }
    }
    Ok(())
}
