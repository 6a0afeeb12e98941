//! Back from the dead: a letter's message is queued for its owner again, or published to its topic
//! again, by an operator's task or by itself.
//!
//! Invariant: the record that ends the letter and those of its new copies are of one turn, so
//! that a message is never in both places, nor in none.

use std::sync::Arc;
use std::time::Duration;

use super::Broker;
use super::deliver::Publication;
use super::letter;
use super::timer::Timer;
use crate::mqtt::Message;
use crate::mqtt::message::Past;
use crate::mqtt::properties::{PassedOn, append_user_property};
use crate::time::Timestamp;
use crate::turn::{DeadId, DeadLetter, DeadReason, LetterLoad, OwnerId, Turn};

/// The largest share of a back-off that chance takes away.
const JITTER: f64 = 0.2;

impl Broker {
    /// When a letter that dies now is redriven by itself, if it is.
    pub(super) fn retry_at(
        &mut self,
        reason: DeadReason,
        redrives: u32,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let retry = &self.settings.dead_letters.retry;
        if !retry.reasons.contains(&reason) || redrives >= retry.max {
            return None;
        }
        let doubled =
            retry.backoff_min.saturating_mul(1_u32.checked_shl(redrives).unwrap_or(u32::MAX));
        let pause = doubled.min(retry.backoff_max);
        let share = 1.0 - JITTER * self.random.f64();
        Some(now + Duration::from_secs_f64(pause.as_secs_f64() * share))
    }

    /// A letter's time came.
    pub(super) fn retry(&self, id: DeadId, turn: &mut Turn) {
        if self.cemetery.is_kept(id) {
            let (count, bytes) = (1, u32::MAX);
            turn.letters.push(LetterLoad { first: id, last: id, count, bytes, task: None });
        }
    }

    /// A letter whose time came is there. What a share group's member rejected goes back only as
    /// a new message to its topic `[MQTT-4.8.2-6]`.
    pub(super) fn retry_loaded(&mut self, letter: &DeadLetter, now: Timestamp, turn: &mut Turn) {
        let is_due = letter.retry.is_some_and(|at| at <= now);
        if !is_due || !self.cemetery.is_kept(letter.id) {
            return;
        }
        let is_group = letter.owner_name.starts_with("$share~");
        let is_back = if is_group && letter.reason == DeadReason::Rejected {
            self.redrive_to_topic(letter, now, turn)
        } else {
            self.redrive_to_owner(letter, now, turn)
        };
        if !is_back {
            // Its owner is gone or full: it stays dead, and whoever reads letters is told, once.
            let until = self.end_retry(letter, turn);
            let publication = Arc::new(self.letter_publication(letter));
            self.route(&publication, None, until, now, turn);
        }
    }

    /// Queues a letter's message for its owner again; false if that is gone, or has no room.
    pub(super) fn redrive_to_owner(
        &mut self,
        letter: &DeadLetter,
        now: Timestamp,
        turn: &mut Turn,
    ) -> bool {
        let Some(owner) = self.owner_named(&letter.owner_name) else {
            return false;
        };
        let message = Arc::new(revived(letter, &self.settings.node, now));
        if !self.would_get(owner, letter.qos, &message) {
            return false;
        }
        self.forget_letter(letter.id, turn);
        let until = turn.last_record();
        let mut publication = Publication::new(&message, until);
        self.deliver_again(&mut publication, owner, letter.qos, letter.retain, now, turn);
        true
    }

    /// Publishes a letter's message to its topic again; false if nobody has a subscription for it.
    pub(super) fn redrive_to_topic(
        &mut self,
        letter: &DeadLetter,
        now: Timestamp,
        turn: &mut Turn,
    ) -> bool {
        if !self.has_subscribers(&letter.message.topic) {
            return false;
        }
        let message = Arc::new(revived(letter, &self.settings.node, now));
        self.forget_letter(letter.id, turn);
        let until = turn.last_record();
        self.route(&message, None, until, now, turn);
        true
    }

    /// A session by its Client Identifier, or a share group by `$share~group~filter`.
    fn owner_named(&self, name: &str) -> Option<OwnerId> {
        let shared = || {
            let (group, filter) = name.strip_prefix("$share~")?.split_once('~')?;
            self.group_ids.get(&*format!("$share/{group}/{filter}")).copied()
        };
        self.clients.get(name).copied().or_else(shared)
    }

    pub(super) fn watch_retry(&mut self, id: DeadId, retry: Option<Timestamp>) {
        if let Some(at) = retry {
            self.timers.set(at, Timer::Retry(id));
        }
    }
}

/// The message of a letter, alive again: without the expiry that it had, with what befell it.
fn revived(letter: &DeadLetter, node: &str, now: Timestamp) -> Message {
    let past = Past {
        letter: letter.origin.0,
        first_reason: letter.first_reason,
        deaths: letter.deaths,
        redrives: letter.redrives + 1,
    };
    let mut properties = Vec::with_capacity(letter.message.properties.len() + 64);
    for property in PassedOn::new(&letter.message.properties) {
        if !property.user_name().is_some_and(|name| name.starts_with("dl-")) {
            properties.extend_from_slice(property.bytes);
        }
    }
    append_user_property(&mut properties, "dl-id", &letter::dl_id(letter, node));
    append_user_property(&mut properties, "dl-redrives", &past.redrives.to_string());
    Message {
        properties: properties.into(),
        received: now,
        expiry: None,
        past: Some(Arc::new(past)),
        ..Message::clone(&letter.message)
    }
}
