//! From a queue to the wire: what may be sent now is sent, what is needed for that is loaded, what
//! expired or is too much dies.

use std::sync::Arc;

use super::Broker;
use super::acknowledge::watch_acks;
use super::dead_letter::Death;
use super::deliver::{may_receive, surplus};
use super::timer::Timer;
use crate::mqtt::packet::PacketId;
use crate::mqtt::{Message, QoS};
use crate::session::Session;
use crate::session::outbound::Offer;
use crate::session::queue::{Queue, Totals};
use crate::time::Timestamp;
use crate::turn::{DeadReason, Load, Loaded, OwnerId, Record, SessionId, Turn, packet_id};

/// Copies of a queue for which what expired waits a millisecond longer; nobody is sent it
/// meanwhile.
const COPIES_A_MS: u64 = 1000;

impl Broker {
    /// Sends to a client what may be sent now: what must be sent again, then what waits.
    pub(super) fn pump(&mut self, id: SessionId, now: Timestamp, turn: &mut Turn) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if !session.outbound.all_told() {
            for sent in session.resend(now, turn) {
                if sent.entry.qos == QoS::ExactlyOnce {
                    session.outbound.keep_taken(packet_id(sent.ordinal));
                    session.record_self(turn);
                }
                self.deaths.push_back(Death::of_sent(sent, DeadReason::TooLarge));
            }
        }
        while session.can_take() && session.queue.front().is_some_and(|front| front.body.is_some())
        {
            let entry = session.queue.pop(&mut self.totals).expect("seen above");
            let body = entry.body.as_ref().expect("seen above");
            if !may_receive(self.acl.as_ref(), session, &body.topic) {
                let death = Death::new(id, session.stored, entry, DeadReason::Unauthorized);
                self.deaths.push_back(death);
                continue;
            }
            let offer = Offer::queued(id, session.stored, entry, turn);
            if let Err((offer, reason)) = session.send_copy(offer, now, turn) {
                self.deaths.push_back(Death::unsent(offer, reason));
            }
        }
        if session.link.as_ref().is_some_and(|link| !link.outbox_full)
            && let Some(load) = session.next_load()
        {
            turn.loads.push(load);
        }
        let has_retained = !session.more.retained_pending.is_empty();
        let has_groups = session.more.groups.any_waits();
        watch_acks(session, &self.settings.limits, &mut self.timers);
        if has_groups {
            self.pump_groups(id, now, turn);
        }
        if has_retained {
            self.send_retained(id, now, turn);
        }
    }

    /// Copies came from the store.
    pub(super) fn loaded(&mut self, loaded: Loaded, now: Timestamp, turn: &mut Turn) {
        if self.loaded_doomed(&loaded, now, turn) {
            return;
        }
        let owner = loaded.load.owner;
        let mut lost = 0;
        let mut waiting = Vec::new();
        for id in self.holders(&loaded.load) {
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            // Most members of a group were sent again what they had.
            if id == owner || !session.outbound.all_told() {
                waiting.push(id);
            }
            let Some(outbound) = session.outbound.present() else {
                continue;
            };
            if !outbound.all_told() {
                for stored in &loaded.copies {
                    outbound.fill(owner, stored.copy.message, &stored.message);
                }
            }
            let gone = outbound.loaded(loaded.load).len() as u64;
            if gone > 0 {
                lost += gone;
                self.tell_groups(id);
            }
        }
        if let Some((queue, totals)) = self.queue(owner) {
            let (expired, missing) = queue.take_loaded(loaded, totals);
            lost += missing;
            for entry in expired {
                self.deaths.push_back(Death::new(owner, true, entry, DeadReason::Expired));
            }
        }
        self.report_lost(owner, lost, turn);
        self.trim(owner);
        for id in waiting {
            self.pump(id, now, turn);
        }
        self.dispatch(owner, now, turn);
        self.watch_expiry(owner);
    }

    /// The sessions that may have asked for a load: what the queue of a group asked for is for no
    /// member yet.
    fn holders(&self, load: &Load) -> Vec<SessionId> {
        let owner = load.owner;
        if let Some(group) = self.groups.get(&owner) {
            let members = (!group.queue.is_waiting_for(load)).then_some(&group.sent_to);
            return members.into_iter().flatten().copied().collect();
        }
        if self.sessions.contains_key(&owner) {
            return vec![owner];
        }
        self.doomed.lingering_sessions(owner)
    }

    /// The queue of a session or a share group, where something may be in it, and what all queues
    /// hold together.
    fn queue(&mut self, owner: OwnerId) -> Option<(&mut Queue, &mut Totals)> {
        let queue = match self.sessions.get_mut(&owner) {
            Some(session) => session.queue.present()?,
            None => &mut self.groups.get_mut(&owner)?.queue,
        };
        Some((queue, &mut self.totals))
    }

    /// The oldest copies of a queue came that is over a limit: they die.
    fn trim(&mut self, owner: OwnerId) {
        let limits = self.settings.limits.clone();
        loop {
            let Some((queue, totals)) = self.queue(owner) else {
                return;
            };
            let Some(reason) = surplus(&limits, queue, totals) else {
                return;
            };
            let Some(oldest) = queue.pop(totals) else {
                return;
            };
            let stored = queue.is_stored();
            self.deaths.push_back(Death::new(owner, stored, oldest, reason));
        }
    }

    /// Wakes when the next copy of a queue may expire.
    pub(super) fn watch_expiry(&mut self, owner: OwnerId) {
        let Some((queue, _)) = self.queue(owner) else {
            return;
        };
        // Looking at all copies of a long queue for each that expires would be all that is done.
        let pause = (queue.len() as u64 / COPIES_A_MS).max(1);
        if let Some(at) = queue.soonest_expiry().filter(|_| !queue.is_waiting()) {
            let at = Timestamp(at.0.checked_next_multiple_of(pause).unwrap_or(u64::MAX));
            self.timers.set_single(at, Timer::QueueExpiry(owner));
        }
    }

    pub(super) fn expire_queue(&mut self, owner: OwnerId, now: Timestamp, turn: &mut Turn) {
        let Some((queue, totals)) = self.queue(owner) else {
            return;
        };
        let expired = queue.take_expired(now, totals);
        turn.loads.extend(queue.expired_load(owner, now));
        let stored = queue.is_stored();
        for entry in expired {
            self.deaths.push_back(Death::new(owner, stored, entry, DeadReason::Expired));
        }
        self.watch_expiry(owner);
    }
}

/// What was sent under `packet_id` is acknowledged: it leaves, lazily. Its message comes back.
pub(super) fn remove_sent(
    session: &mut Session,
    packet_id: PacketId,
    turn: &mut Turn,
) -> Option<Arc<Message>> {
    let sent = session.outbound.remove(packet_id)?;
    if sent.stored {
        let (owner, message) = (sent.owner, sent.entry.message);
        let number = turn.record(Record::Removed { owner, message, lazy: true });
        if session.stored {
            session.newest = number;
        }
    }
    sent.entry.body
}
