//! At the end the retained message of a topic is the last one that was acknowledged, or one that
//! may have come after it.

use std::collections::BTreeMap;

use super::Broken;
use super::reading::{Story, clients, stories};
use crate::history::{Fact, History};

pub(super) fn check(history: &History) -> Result<(), Broken> {
    let (names, _) = clients(history);
    let mut found = BTreeMap::new();
    let mut read = false;
    for (_, _, fact) in history.facts() {
        match fact {
            Fact::Arrived(arrival) if names[&arrival.client] == "reader" => {
                found.insert(arrival.topic.as_str(), &arrival.tag);
            }
            Fact::Subscribed { client, .. } if names[client] == "reader" => read = true,
            _ => {}
        }
    }
    if !read {
        return Err(Broken::new("nobody could read the retained messages"));
    }
    let stories = stories(history);
    for topic in ["r/x", "r/y"] {
        let here = |story: &&Story| {
            let publication = &story.publication;
            publication.retain && publication.topic == topic && !story.was_refused()
        };
        let candidates: Vec<&Story> = stories.values().filter(here).collect();
        match found.get(topic) {
            Some(tag) => {
                let may_be = candidates
                    .iter()
                    .any(|story| story.publication.tag == **tag && may_be_last(story, &candidates));
                if !may_be {
                    let what = format!("{topic} has «{tag}», which is not the last");
                    return Err(Broken::of(tag, what));
                }
            }
            None => check_nothing(topic, &candidates)?,
        }
    }
    Ok(())
}

/// Nothing is there: it was cleared, or nothing was ever promised.
fn check_nothing(topic: &str, candidates: &[&Story]) -> Result<(), Broken> {
    let cleared = candidates
        .iter()
        .any(|story| story.publication.payload.is_empty() && may_be_last(story, candidates));
    let last = candidates.iter().filter(|story| story.accepted.is_some());
    match last.max_by_key(|story| story.first) {
        Some(last) if !cleared => {
            let tag = &last.publication.tag;
            Err(Broken::of(tag, format!("{topic} has nothing, though «{tag}» was acknowledged")))
        }
        _ => Ok(()),
    }
}

/// Whether no acknowledged message began after this one had ended.
fn may_be_last(story: &Story, candidates: &[&Story]) -> bool {
    let end = story.accepted.map_or(usize::MAX, |(index, _)| index);
    candidates.iter().all(|other| other.accepted.is_none() || other.first <= end)
}
