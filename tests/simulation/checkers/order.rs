//! First deliveries of one publisher's messages on one topic at one QoS come in their order.
//! Not those of a share group, which has none, nor retained messages.

use std::collections::{BTreeMap, BTreeSet};

use super::Broken;
use super::reading::{members, stories};
use crate::history::{Fact, History, Use};

pub(super) fn check(history: &History) -> Result<(), Broken> {
    let stories = stories(history);
    let members = members(history);
    let mut session: BTreeMap<usize, u32> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut last = BTreeMap::new();
    for (_, _, fact) in history.facts() {
        if let Fact::Accepted { client, present: false, .. } = fact {
            *session.entry(*client).or_default() += 1;
        }
        let Fact::Arrived(arrival) = fact else {
            continue;
        };
        let client = arrival.client;
        let Some(story) = stories.get(&arrival.tag) else {
            continue;
        };
        let publication = &story.publication;
        let ordered = arrival.topic.starts_with("t/")
            && !publication.is_will
            && arrival.used != Use::Known
            && !members.contains(&client);
        let session = session.get(&client).copied().unwrap_or(0);
        if !ordered || !seen.insert((client, session, &arrival.tag)) {
            continue;
        }
        let (topic, levels) = (&arrival.topic, (publication.qos, arrival.qos));
        let key = (client, session, publication.publisher, topic, levels);
        if let Some((first, before)) = last.insert(key, (story.first, &arrival.tag))
            && first > story.first
        {
            let tag = &arrival.tag;
            return Err(Broken::of(tag, format!("c{client} got «{before}» before «{tag}»")));
        }
    }
    Ok(())
}
