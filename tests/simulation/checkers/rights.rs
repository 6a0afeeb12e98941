//! Nobody is sent what it may not read when it is sent, and what was published only without the
//! right reaches nobody, alive or dead.
//!
//! What was sent once is completed, also when the right is withdrawn meanwhile: so only a first
//! sending is looked at.

use kedgemq::auth::Access;

use super::Broken;
use super::reading::{Rights, stories};
use crate::history::{Fact, History};

pub(super) fn check(history: &History) -> Result<(), Broken> {
    let rights = Rights::new(history);
    let stories = stories(history);
    for (index, _, fact) in history.facts() {
        match fact {
            Fact::Sent { client, tag, topic } => {
                if !rights.may(index, client, topic, Access::Receive) {
                    let what = format!("at {index}: {client} is sent «{tag}» without the right");
                    return Err(Broken::of(tag, what));
                }
                check_published(&stories, tag)?;
            }
            Fact::Letter(letter) => check_published(&stories, &letter.tag)?,
            _ => {}
        }
    }
    Ok(())
}

fn check_published(
    stories: &std::collections::BTreeMap<crate::history::Tag, super::reading::Story>,
    tag: &crate::history::Tag,
) -> Result<(), Broken> {
    match stories.get(tag) {
        Some(story) if story.forbidden => {
            Err(Broken::of(tag, format!("«{tag}» was published without the right, and is there")))
        }
        _ => Ok(()),
    }
}
