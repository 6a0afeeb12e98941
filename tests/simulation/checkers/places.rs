//! A copy is in one place. What was taken is not also a letter: at QoS 2 never, but for a copy
//! that was sent and died unanswered (`delivery_limit`, or with its session); at QoS 1 only across
//! a crash, or when it was sent and not answered, or published twice. And a letter is kept, or is
//! gone for a reason that the log names: redriven, purged, or dropped by the quota or its age.

use std::collections::{BTreeMap, BTreeSet};

use super::Broken;
use super::reading::{clients, ledger, redriven, stories};
use crate::history::{Entered, Fact, History, Letter, Tag, Use};

pub(super) fn check(history: &History) -> Result<(), Broken> {
    check_letters(history)?;
    let stories = stories(history);
    let redriven = redriven(history);
    let (names, _) = clients(history);
    let crashes = history.facts().filter(|(_, _, fact)| matches!(fact, Fact::Crashed { .. }));
    let last_crash = crashes.last().map_or(0, |(index, ..)| index);
    let mut taken: BTreeSet<(&str, &Tag)> = BTreeSet::new();
    for (_, _, fact) in history.facts() {
        if let Fact::Arrived(arrival) = fact
            && arrival.used == Use::Taken
            && !arrival.topic.starts_with("$dead/")
            && !arrival.retain
        {
            taken.insert((names[&arrival.client], &arrival.tag));
        }
    }
    for letter in letters(history) {
        let (owner, tag) = (letter.owner.as_str(), &letter.tag);
        let Some(story) = stories.get(tag) else {
            continue;
        };
        let is_retained = story.publication.retain; // Each subscription brings it again.
        let was_twice = story.sends > 1 && story.publication.qos == 1;
        let has_excuse = letter.deliveries > 0
            || is_retained
            || redriven.contains_key(tag)
            || (letter.qos == 1 && (last_crash > story.first || was_twice));
        if !has_excuse && taken.contains(&(owner, tag)) {
            let what = format!("{owner} took «{tag}», and it is letter {}, never sent", letter.id);
            return Err(Broken::of(tag, what));
        }
    }
    Ok(())
}

fn letters(history: &History) -> impl Iterator<Item = &Letter> {
    history.facts().filter_map(|(_, _, fact)| match fact {
        Fact::Letter(letter) => Some(&**letter),
        _ => None,
    })
}

/// Every letter that surely was written is there at the end, or surely or perhaps gone.
fn check_letters(history: &History) -> Result<(), Broken> {
    if !history.facts().any(|(_, _, fact)| matches!(fact, Fact::Quiet)) {
        return Ok(());
    }
    let (mut written, mut gone) = (BTreeMap::new(), BTreeMap::new());
    for (_, _, entered, is_sure) in ledger(history) {
        match entered {
            Entered::Died { id, tag, .. } => {
                // What a crash undid leaves its number to another one.
                written.insert(*id, (tag, is_sure));
                gone.remove(id);
            }
            Entered::Forgotten { id, .. } => {
                let sure: &mut bool = gone.entry(*id).or_default();
                *sure |= is_sure;
            }
            _ => {}
        }
    }
    let kept: BTreeSet<u64> = letters(history).map(|letter| letter.id).collect();
    for (id, (tag, is_sure)) in written {
        let is_kept = kept.contains(&id);
        match gone.get(&id) {
            None if is_sure && !is_kept => {
                return Err(Broken::of(tag, format!("letter {id} «{tag}» is gone without a word")));
            }
            Some(true) if is_kept => {
                return Err(Broken::of(
                    tag,
                    format!("letter {id} «{tag}» went, and is still kept"),
                ));
            }
            _ => {}
        }
    }
    Ok(())
}
