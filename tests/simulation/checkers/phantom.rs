//! Nothing arrives, and nothing is dead, that nobody published; and what arrives is what was
//! published, byte for byte. What was refused is nowhere.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Broken;
use super::reading::{Story, redriven, stories};
use crate::history::{Arrival, Fact, History, Tag};

pub(super) fn check(history: &History) -> Result<(), Broken> {
    let stories = stories(history);
    let redriven = redriven(history);
    for (index, _, fact) in history.facts() {
        match fact {
            Fact::Arrived(arrival) => {
                let broken = |what: &str| {
                    let Arrival { client, topic, tag, .. } = &**arrival;
                    Broken::of(tag, format!("c{client} got «{tag}» on {topic}, {what}"))
                };
                let found = candidates(&stories, &arrival.tag, &arrival.payload);
                let result = found
                    .filter(|story| fits(story, &arrival.topic, &arrival.payload))
                    .map(|story| {
                        let is_back = redriven.contains_key(&arrival.tag);
                        check_arrival(arrival, story, index, is_back)
                    })
                    .reduce(|one, other| one.or(other))
                    .unwrap_or(Err("which nobody published there"));
                result.map_err(broken)?;
            }
            Fact::Letter(letter) => {
                let mut found = candidates(&stories, &letter.tag, &letter.payload);
                if !found.any(|story| fits(story, &letter.topic, &letter.payload)) {
                    let (id, tag) = (letter.id, &letter.tag);
                    return Err(Broken::of(
                        tag,
                        format!("letter {id} «{tag}»: nobody published it"),
                    ));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// `is_back`: it may have been dead, which adds properties behind the publisher's.
fn check_arrival(
    arrival: &Arrival,
    story: &Story,
    index: usize,
    is_back: bool,
) -> Result<(), &'static str> {
    let publication = &story.publication;
    if story.first > index {
        return Err("before it was published");
    }
    if story.was_refused() {
        return Err("which was refused");
    }
    if arrival.topic.starts_with("$dead/") {
        return Ok(()); // Letters add properties, and have a QoS of their own.
    }
    if arrival.qos > publication.qos {
        return Err("at a higher QoS than it was published with");
    }
    match &arrival.properties {
        Some(properties) if is_back && properties.starts_with(&publication.properties) => Ok(()),
        Some(properties) if *properties != publication.properties => Err("with other properties"),
        _ => Ok(()),
    }
}

/// The message of this tag; what clears a retained message has none, so it may be any of those.
fn candidates<'a>(
    stories: &'a BTreeMap<Tag, Story>,
    tag: &Tag,
    payload: &Bytes,
) -> impl Iterator<Item = &'a Story> {
    let named = stories.get(tag).into_iter();
    let is_nameless = payload.is_empty();
    let nameless =
        stories.values().filter(move |story| is_nameless && story.publication.payload.is_empty());
    named.chain(nameless)
}

/// Whether it was published on this topic, or on the topic that a letter names, like this.
fn fits(story: &Story, topic: &str, payload: &Bytes) -> bool {
    let publication = &story.publication;
    let dead = topic.strip_prefix("$dead/").and_then(|rest| rest.splitn(3, '/').nth(2));
    publication.payload == payload && publication.topic == dead.unwrap_or(topic)
}
