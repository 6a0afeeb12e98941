//! Every reason to wake up, in one table. A timer that is not wanted any more may be there still:
//! whoever it wakes looks whether it is time.
//!
//! Invariant: whatever clients do, there are no more than a few for each connection, session, share
//! group and letter: what goes takes those with it that may be weeks away, and of what is set again
//! and again there is one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Broker;
use crate::mqtt::ReasonCode;
use crate::session::Session;
use crate::session::link::Link;
use crate::time::Timestamp;
use crate::turn::{ConnectionId, DeadId, DeadIndex, EndCause, OwnerId, SessionId, Turn};

/// Between two summaries of what could not be delivered.
pub(super) const SUMMARY_INTERVAL: Duration = Duration::from_secs(60);
/// Between two looks for dead letters that are kept too long.
pub(super) const AGE_INTERVAL: Duration = Duration::from_secs(60);

/// A reason to wake up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A client may have been silent for too long.
    KeepAlive(ConnectionId),
    /// A client may have sat on its oldest message for too long.
    AckTimeout(ConnectionId),
    /// A session may have expired.
    SessionExpiry(SessionId),
    /// A will may be due.
    Will(SessionId),
    /// Copies in a queue may have expired.
    QueueExpiry(OwnerId),
    /// A member of a share group may hold up the others.
    Stall(OwnerId),
    /// Retained messages go on to a new subscription.
    Retained(SessionId),
    /// Copies of the dead go on to their place.
    Burial,
    /// More of what sessions that ended left in the router goes.
    Leaving,
    /// Dead letters may be kept too long.
    LetterAge,
    /// A dead letter may be redriven.
    Retry(DeadId),
    /// A task over dead letters goes on.
    Task,
    /// A minute after the first undelivered message.
    Summary,
    /// `$SYS` is due.
    Sys,
}

/// Timers by their time.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeSet<(Timestamp, Timer)>,
    /// When those wake of which there is one.
    single: BTreeMap<Timer, Timestamp>,
}

impl Timers {
    /// Wakes at `at`, or at the next chance after. Who sets it knows whether it is there.
    pub(super) fn set(&mut self, at: Timestamp, timer: Timer) {
        self.due.insert((at, timer));
    }

    /// Wakes at `at`, or sooner: there is one such timer, however often it is set. Whoever it wakes
    /// too soon sets it again.
    pub(super) fn set_single(&mut self, at: Timestamp, timer: Timer) {
        let known = self.single.get(&timer).copied();
        if known.is_some_and(|known| known <= at) {
            return;
        }
        if let Some(later) = known {
            self.due.remove(&(later, timer));
        }
        self.single.insert(timer, at);
        self.due.insert((at, timer));
    }

    /// Removes what waits for the client of `session` to stay away: where it comes back once a
    /// second, that would add up until the first is due. (What a start delayed passes by itself.)
    pub(super) fn forget(&mut self, session: &Session) {
        if let Some(at) = session.expires() {
            self.due.remove(&(at, Timer::SessionExpiry(session.id)));
        }
        if let Some(at) = session.more.will_due {
            self.due.remove(&(at, Timer::Will(session.id)));
        }
    }

    /// Wakes when the client may have been silent for too long.
    pub(super) fn watch_silence(&mut self, link: &mut Link) {
        if let Some(at) = link.silent_until() {
            link.silence_due = at;
            self.set(at, Timer::KeepAlive(link.id));
        }
    }

    /// Removes what watches a client while it is connected: where it comes and goes all the time,
    /// that would add up as well.
    pub(super) fn forget_link(&mut self, link: &Link) {
        self.due.remove(&(link.silence_due, Timer::KeepAlive(link.id)));
        self.due.remove(&(link.ack_due, Timer::AckTimeout(link.id)));
    }

    /// Removes what looks after the queue of an owner that ends.
    pub(super) fn forget_queue(&mut self, owner: OwnerId) {
        for timer in [Timer::QueueExpiry(owner), Timer::Stall(owner), Timer::Retained(owner)] {
            if let Some(at) = self.single.remove(&timer) {
                self.due.remove(&(at, timer));
            }
        }
    }

    /// Removes what waits to redrive a letter that goes before: where letters come and go, those
    /// would be more than the letters that are kept.
    pub(super) fn forget_retry(&mut self, letter: &DeadIndex) {
        if let Some(at) = letter.retry {
            self.due.remove(&(at, Timer::Retry(letter.id)));
        }
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.due.len()
    }

    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<Timer> {
        let &(at, timer) = self.due.first()?;
        if at > now {
            return None;
        }
        self.due.pop_first();
        self.single.remove(&timer);
        Some(timer)
    }
}

impl Broker {
    pub(super) fn timer(&mut self, timer: Timer, now: Timestamp, turn: &mut Turn) {
        match timer {
            Timer::KeepAlive(id) => self.check_keep_alive(id, now, turn),
            Timer::AckTimeout(id) => self.check_ack_timeout(id, now, turn),
            Timer::SessionExpiry(id) => self.check_session_expiry(id, now, turn),
            Timer::Will(id) => self.check_will_due(id, now, turn),
            Timer::QueueExpiry(id) => self.expire_queue(id, now, turn),
            Timer::Stall(id) => self.check_stall(id, now, turn),
            Timer::Retained(id) => self.pump(id, now, turn),
            Timer::Burial => self.bury_doomed(now, turn),
            Timer::Leaving => self.leave(now),
            Timer::LetterAge => self.forget_old_letters(now, turn),
            Timer::Retry(id) => self.retry(id, turn),
            Timer::Task => self.go_on(turn),
            Timer::Summary => self.summarize_undelivered(now, turn),
            Timer::Sys => self.publish_sys(now, turn),
        }
    }

    fn check_keep_alive(&mut self, id: ConnectionId, now: Timestamp, turn: &mut Turn) {
        let Some(session) = self.sessions.of_connection(id) else {
            return;
        };
        let session_id = session.id;
        let Some(link) = &mut session.link else {
            return;
        };
        if link.paused {
            link.last_heard = now;
        }
        let Some(until) = link.silent_until() else {
            return;
        };
        if until > now {
            self.timers.watch_silence(link);
        } else {
            let why = "no packet for one and a half Keep Alives".into();
            self.dismiss(session_id, ReasonCode::KEEP_ALIVE_TIMEOUT, why, now, turn);
        }
    }

    fn check_session_expiry(&mut self, id: SessionId, now: Timestamp, turn: &mut Turn) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        match session.expires() {
            Some(at) if session.link.is_none() && at <= now => {
                self.end_session(id, EndCause::Expired, now, turn);
            }
            Some(at) if session.link.is_none() => self.timers.set(at, Timer::SessionExpiry(id)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
