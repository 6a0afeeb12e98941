//! Messages that come and go in one batch, so that nothing of them has to be written. At a high
//! rate most do: a subscriber acknowledges while the commit before is still under way.
//!
//! Invariant: a message that passes is in the batch with its body, its only copy right behind it,
//! and the removal of that. No other record of the batch names it, and no earlier batch did.

use std::ops::Range;

use crate::turn::{MessageId, OwnerId};

/// Room for so many is kept for the next batch.
const KEPT: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Fleeting {
    /// Messages up to this one may be known from earlier batches.
    after: MessageId,
    /// Those that may pass, and some that cannot any more; ascending.
    messages: Vec<Candidate>,
}

#[derive(Debug)]
struct Candidate {
    id: MessageId,
    owner: OwnerId,
    /// Where in the batch its body starts, and how long that is, with the copy when it came.
    came: usize,
    came_len: u32,
    /// The same of the removal.
    went: usize,
    went_len: u8,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Body,
    Copy,
    Removed,
    /// Another record names it: it does not pass.
    Named,
}

impl Fleeting {
    /// What one takes.
    pub(super) const BYTES: usize = size_of::<Candidate>();

    /// Says up to where messages may be known from earlier batches.
    pub(super) fn begin_after(&mut self, newest: MessageId) {
        self.after = newest;
    }

    /// The newest message that is known, of those that were said.
    pub(super) fn after(&self) -> MessageId {
        self.after
    }

    /// How many messages are looked at.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// The body of a message is here.
    pub(super) fn body(&mut self, id: MessageId, at: Range<usize>) {
        let newest = self.messages.last().map_or(self.after, |last| last.id);
        let Ok(came_len) = u32::try_from(at.len()) else {
            return;
        };
        if id <= newest {
            return self.name(id);
        }
        self.messages.push(Candidate {
            id,
            owner: OwnerId(0),
            came: at.start,
            came_len,
            went: 0,
            went_len: 0,
            stage: Stage::Body,
        });
    }

    /// A copy is here.
    pub(super) fn copy(&mut self, owner: OwnerId, id: MessageId, at: Range<usize>) {
        let Some(found) = self.find(id) else {
            return;
        };
        let is_behind = found.came + found.came_len as usize == at.start;
        match u32::try_from(at.end - found.came) {
            Ok(len) if is_behind && found.stage == Stage::Body => {
                (found.owner, found.came_len) = (owner, len);
                found.stage = Stage::Copy;
            }
            _ => found.stage = Stage::Named,
        }
    }

    /// The removal of a copy is here.
    pub(super) fn removed(&mut self, owner: OwnerId, id: MessageId, at: Range<usize>) {
        let Some(found) = self.find(id) else {
            return;
        };
        match u8::try_from(at.len()) {
            Ok(len) if found.stage == Stage::Copy && found.owner == owner => {
                (found.went, found.went_len) = (at.start, len);
                found.stage = Stage::Removed;
            }
            _ => found.stage = Stage::Named,
        }
    }

    /// Another record names a message.
    pub(super) fn name(&mut self, id: MessageId) {
        if let Some(found) = self.find(id) {
            found.stage = Stage::Named;
        }
    }

    /// Begins anew, after nothing.
    pub(super) fn clear(&mut self) {
        self.messages.clear();
        self.messages.shrink_to(KEPT);
        self.after = MessageId::default();
    }

    /// Takes out of a batch what passes; it is complete.
    pub(super) fn cut(&mut self, log: &mut Vec<u8>) {
        let mut holes = Vec::with_capacity(2 * self.messages.len());
        for passed in self.messages.drain(..).filter(|one| one.stage == Stage::Removed) {
            holes.push(passed.came..passed.came + passed.came_len as usize);
            holes.push(passed.went..passed.went + usize::from(passed.went_len));
        }
        holes.sort_unstable_by_key(|hole| hole.start);
        let (mut kept, mut from) = (0, 0);
        for hole in holes {
            log.copy_within(from..hole.start, kept);
            kept += hole.start - from;
            from = hole.end;
        }
        let rest = log.len() - from;
        log.copy_within(from.., kept);
        log.truncate(kept + rest);
    }

    fn find(&mut self, id: MessageId) -> Option<&mut Candidate> {
        // Most are of earlier batches.
        if id <= self.after {
            return None;
        }
        // Ids are mostly without gaps, and the newest is asked for most often.
        let behind = self.messages.last()?.id.0.checked_sub(id.0)?;
        let guess = (self.messages.len() - 1).checked_sub(usize::try_from(behind).ok()?);
        let at = match guess.filter(|at| self.messages[*at].id == id) {
            Some(at) => at,
            None => self.messages.binary_search_by_key(&id, |one| one.id).ok()?,
        };
        Some(&mut self.messages[at])
    }
}

#[cfg(test)]
mod tests;
