//! How a connection ends, by whoever, and how a session does.
//!
//! Invariant: a connection that the core let go of is in no table of it, so that nothing that
//! comes for it later has an effect.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::Broker;
use super::connect::empty_connack;
use super::dead_letter::Death;
use super::doomed::Legacy;
use super::leaving;
use super::timer::Timer;
use super::will::Testator;
use crate::mqtt::packet::Disconnect;
use crate::mqtt::reply::{self, ConnAck, Reply};
use crate::mqtt::{QoS, ReasonCode, Version};
use crate::session::Session;
use crate::session::outbound::{InFlight, Outbound};
use crate::session::queue::Entry;
use crate::session::violation::Violation;
use crate::time::Timestamp;
use crate::turn::{
    CloseCause, ConnectionId, DisconnectedBy, EndCause, Event, Output, Record, SessionId, Turn,
};

/// How a connection ended, for the log, and whether its will stands.
struct Departure {
    by: DisconnectedBy,
    reason: ReasonCode,
    why: Box<str>,
    keeps_will: bool,
}

impl Broker {
    pub(super) fn ping(&mut self, id: SessionId, turn: &mut Turn) -> Result<(), Violation> {
        let committed = self.committed;
        let session = self.session(id);
        session.rest(committed); // It has been silent for a while.
        let link = session.link.as_mut().expect("a packet comes by a link");
        link.say(turn, crate::turn::RecordNumber::default(), Reply::PingResp);
        Ok(())
    }

    /// DISCONNECT from a client: its will is void, unless it says otherwise `[MQTT-3.14.4-3]`.
    pub(super) fn disconnect(
        &mut self,
        id: SessionId,
        packet: &Disconnect<'_>,
        now: Timestamp,
        turn: &mut Turn,
    ) -> Result<(), Violation> {
        let cap = self.settings.limits.session_expiry;
        let session = self.session(id);
        if let Some(expiry) = packet.session_expiry {
            if session.expiry == 0 && expiry > 0 {
                return Err(Violation::SessionExpiryFromZero);
            }
            session.expiry = expiry.min(cap);
        }
        let connection = session.link.as_ref().expect("a packet comes by a link").id;
        let departure = Departure {
            by: DisconnectedBy::Client,
            reason: packet.reason,
            why: packet.reason_string.unwrap_or_default().into(),
            keeps_will: packet.reason != ReasonCode::SUCCESS,
        };
        turn.send(connection, Output::Close);
        self.detach(id, departure, now, turn);
        Ok(())
    }

    /// We end a connection: an MQTT 5 client is told why.
    pub(super) fn dismiss(
        &mut self,
        id: SessionId,
        reason: ReasonCode,
        why: Box<str>,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let Some(link) = &self.session(id).link else {
            return;
        };
        let connection = link.id;
        if link.version == Version::V5 {
            let reason_string = link.wants_reasons.then(|| why.clone());
            let goodbye = Reply::Disconnect(reply::Disconnect { reason, reason_string });
            turn.send(connection, Output::Packet(goodbye));
        }
        turn.send(connection, Output::Close);
        let departure = Departure { by: DisconnectedBy::Server, reason, why, keeps_will: true };
        self.detach(id, departure, now, turn);
    }

    /// The world ends a connection.
    pub(super) fn close(
        &mut self,
        id: ConnectionId,
        cause: CloseCause,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let session = self.sessions.of_connection(id).map(|session| session.id);
        let Some(session) = session else {
            return self.close_unknown(id, cause, turn);
        };
        let (reason, why) = match cause {
            CloseCause::Malformed { reason, why }
            | CloseCause::BadConnect { reason, why, .. }
            | CloseCause::Server { reason, why } => {
                // DISCONNECT has no code for a second CONNECT's version `[MQTT-3.14.2-1]`.
                let reason = match reason {
                    ReasonCode::UNSUPPORTED_PROTOCOL_VERSION => ReasonCode::PROTOCOL_ERROR,
                    reason => reason,
                };
                return self.dismiss(session, reason, why, now, turn);
            }
            CloseCause::Peer { flushed } => {
                self.charge_delivery(session, flushed, now, turn);
                (ReasonCode::UNSPECIFIED_ERROR, "closed without DISCONNECT".into())
            }
            CloseCause::Network(why) => (ReasonCode::UNSPECIFIED_ERROR, why),
        };
        let departure = Departure { by: DisconnectedBy::Network, reason, why, keeps_will: true };
        self.detach(session, departure, now, turn);
    }

    /// It had not connected, or is gone already: only a CONNECT is answered. In 3.1.1 only for its
    /// version: else there is to be no CONNACK (`[MQTT-3.1.4-1]` of 3.1.1).
    fn close_unknown(&self, id: ConnectionId, cause: CloseCause, turn: &mut Turn) {
        let (version, reason, why) = match cause {
            CloseCause::BadConnect { version, reason, why } => (version, reason, why),
            CloseCause::Malformed { .. } | CloseCause::Server { .. } => {
                return turn.send(id, Output::Close);
            }
            CloseCause::Peer { .. } | CloseCause::Network(_) => return,
        };
        if version == Version::V5 || reason == ReasonCode::UNSUPPORTED_PROTOCOL_VERSION {
            let reason_string = (version == Version::V5).then(|| why.clone());
            let connack = ConnAck { reason_string, ..empty_connack(reason) };
            turn.send(id, Output::Packet(Reply::ConnAck(Box::new(connack))));
        }
        let client_id = "".into();
        turn.events.push(Event::Refused { connection: id, client_id, reason, why });
        turn.send(id, Output::Close);
    }

    /// The session has no connection any more: it waits, or ends.
    fn detach(&mut self, id: SessionId, departure: Departure, now: Timestamp, turn: &mut Turn) {
        let session = self.session(id);
        let link = session.link.take().expect("only a connected session is detached");
        session.disconnect();
        session.disconnected = Some(now);
        if !departure.keeps_will {
            session.will = None;
        }
        turn.events.push(Event::Disconnected {
            connection: link.id,
            client_id: session.client_id.clone(),
            by: departure.by,
            reason: departure.reason,
            why: departure.why,
            connected_ms: u64::try_from(now.since(link.since).as_millis()).unwrap_or(u64::MAX),
            messages_in: link.messages_in,
            messages_out: link.messages_out,
        });
        let expiry = session.expiry;
        let expires = session.expires();
        self.fold_groups(id);
        self.connected -= 1;
        self.timers.forget_link(&link);
        super::sys::count(&link, &mut self.counters);
        if expiry == 0 {
            return self.end_session(id, EndCause::Expired, now, turn);
        }
        self.move_on(id, now, turn);
        if let Some(at) = expires {
            self.timers.set(at, Timer::SessionExpiry(id));
        }
        self.schedule_will(id, now, turn);
    }

    /// The session is over: its subscriptions go, its will is published, its backlog dies.
    pub(super) fn end_session(
        &mut self,
        id: SessionId,
        cause: EndCause,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        self.settle(now, turn); // What died before still has its owner.
        let mut session = self.sessions.remove(&id).expect("only a session that is there ends");
        self.clients.remove(&session.client_id);
        self.timers.forget(&session);
        self.timers.forget_queue(id);
        if cause == EndCause::Expired && session.expiry > 0 {
            self.counters.sessions_expired += 1;
        }
        if session.stored {
            self.last_ended = turn.record(Record::SessionEnded { session: id, cause, at: now });
        }
        let filters = Arc::new(std::mem::take(&mut session.subscriptions));
        self.remove_subscriptions(id, &filters, now);
        for filter in leaving::shared(&filters) {
            self.leave_group(filter, id, cause, now, turn);
        }
        let in_flight = session.outbound.present().map(Outbound::take_all).unwrap_or_default();
        let mut copies = self.settle_in_flight(&session, in_flight, cause, now, turn);
        let count = (copies.len() + session.queue.len()) as u64;
        if let Some(queue) = session.queue.present() {
            copies.extend(queue.take_all(&mut self.totals));
        }
        let (name, stored) = (session.client_id.clone(), session.stored);
        let legacy = Legacy { owner: id, name, filters, cause, stored, copies, count };
        self.doom_owner(legacy, now, turn);
        if let Some(will) = session.will.take() {
            self.publish_will(&Testator::of(&session), *will, now, turn);
        }
    }

    /// What was in flight to a session that ends: its own copies, to die with it. A share group's
    /// go to another member, unless they may have reached this one at QoS 2 `[MQTT-4.8.2-5]`.
    fn settle_in_flight(
        &mut self,
        session: &Session,
        in_flight: VecDeque<InFlight>,
        cause: EndCause,
        now: Timestamp,
        turn: &mut Turn,
    ) -> Vec<Entry> {
        let mut copies = Vec::with_capacity(in_flight.len());
        let mut groups: BTreeSet<_> = session.more.groups.iter().collect();
        for sent in in_flight {
            if sent.owner == session.id {
                copies.extend((!sent.pubrec_arrived).then_some(sent.entry));
            } else if sent.pubrec_arrived {
                self.deaths.push_back(Death::of_sent(sent, cause.into()).of_delivered());
            } else if sent.entry.qos == QoS::AtLeastOnce && self.groups.contains_key(&sent.owner) {
                groups.insert(sent.owner);
                self.return_to_group(sent, turn);
            } else {
                self.deaths.push_back(Death::of_sent(sent, cause.into()));
            }
        }
        for id in groups {
            if let Some(group) = self.groups.get_mut(&id) {
                group.sent_to.remove(&session.id);
            }
            self.dispatch(id, now, turn);
        }
        copies
    }

    pub(super) fn shut_down(&mut self, now: Timestamp, turn: &mut Turn) {
        let connected: Vec<_> = self.sessions.connected().map(|session| session.id).collect();
        for id in connected {
            let why = "the broker stops".into();
            self.dismiss(id, ReasonCode::SERVER_SHUTTING_DOWN, why, now, turn);
        }
    }
}

#[cfg(test)]
mod tests;
