//! Every dead letter reached who watches for them, from the subscription on.

use std::collections::BTreeSet;

use super::reading::clients;
use super::{Broken, UNLIMITED};
use crate::history::{Fact, History};

pub(super) fn check(history: &History) -> Result<(), Broken> {
    let (names, _) = clients(history);
    let mut since = None;
    let mut read = BTreeSet::new();
    for (_, at, fact) in history.facts() {
        match fact {
            // About letters that a full queue dropped there are no letters.
            Fact::QueueLimit { messages } if *messages < UNLIMITED => return Ok(()),
            Fact::Subscribed { client, reason, .. } if names[client] == "watch" => {
                since = since.or((!reason.is_error()).then_some(at));
            }
            Fact::Arrived(arrival) if names[&arrival.client] == "watch" => {
                let mut levels = arrival.topic.split('/').skip(1);
                let reason = levels.next().unwrap_or_default();
                read.insert((reason, &arrival.tag));
            }
            Fact::Letter(letter) => {
                let watched = since.is_some_and(|since| since < letter.died);
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
