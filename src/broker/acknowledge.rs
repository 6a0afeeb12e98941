//! PUBACK, PUBREC, PUBREL and PUBCOMP from a client.

use std::time::Duration;

use super::Broker;
use super::dead_letter::Death;
use super::publish::ack;
use super::pump::remove_sent;
use super::sessions::USED;
use super::timer::{Timer, Timers};
use crate::config::Limits;
use crate::mqtt::packet::Ack;
use crate::mqtt::reply::Reply;
use crate::mqtt::{QoS, ReasonCode, Version};
use crate::session::Session;
use crate::session::outbound::Outbound;
use crate::session::violation::Violation;
use crate::time::Timestamp;
use crate::turn::{ConnectionId, DeadReason, Record, SessionId, Turn, packet_id};

/// A client that was silent this long after a PUBLISH, and then closed, had read it.
const READING_TIME: Duration = Duration::from_secs(5);

impl Broker {
    pub(super) fn pub_ack(
        &mut self,
        connection: ConnectionId,
        packet: &Ack<'_>,
        now: Timestamp,
        turn: &mut Turn,
    ) -> Result<(), Violation> {
        let session = self.sessions.of_connection(connection).expect(USED);
        let id = session.id;
        let Some(sent) = session.outbound.find(packet.packet_id) else {
            return Ok(()); // Of a message that went to another member, or died, meanwhile.
        };
        if sent.entry.qos != QoS::AtLeastOnce {
            return Err(Violation::WrongAcknowledgement);
        }
        if packet.reason.is_error() {
            self.reject(id, packet);
        } else {
            if let Some(message) = remove_sent(session, packet.packet_id, turn) {
                self.spare.keep(message);
            }
            if !session.has_more() {
                return Ok(());
            }
        }
        self.pump(id, now, turn);
        Ok(())
    }

    /// The client has the message: from now on only PUBREL is sent again, and not before that is
    /// durable, as the PUBLISH must never be `[MQTT-4.3.3-3]`.
    pub(super) fn pub_rec(
        &mut self,
        connection: ConnectionId,
        packet: &Ack<'_>,
        now: Timestamp,
        turn: &mut Turn,
    ) -> Result<(), Violation> {
        let session = self.sessions.of_connection(connection).expect(USED);
        let id = session.id;
        let is_stored = session.stored;
        let Some(sent) = session.outbound.find(packet.packet_id) else {
            if !packet.reason.is_error() {
                let reason = ReasonCode::PACKET_IDENTIFIER_NOT_FOUND;
                session.reply(turn, Reply::PubRel(ack(packet.packet_id, reason, None)));
            }
            return Ok(());
        };
        if sent.entry.qos != QoS::ExactlyOnce {
            return Err(Violation::WrongAcknowledgement);
        }
        if packet.reason.is_error() && !sent.pubrec_arrived {
            self.reject(id, packet);
            self.pump(id, now, turn);
            return Ok(());
        }
        if !sent.pubrec_arrived {
            sent.pubrec_arrived = true;
            if let Some(message) = sent.entry.body.take() {
                self.spare.keep(message);
            }
            if sent.stored {
                let (owner, message) = (sent.owner, sent.entry.message);
                let number = turn.record(Record::PubRecArrived { owner, message });
                if is_stored {
                    session.newest = number;
                }
            }
        }
        session.reply(turn, Reply::PubRel(ack(packet.packet_id, ReasonCode::SUCCESS, None)));
        Ok(())
    }

    /// Its Packet Identifier is free, and a new message under it is a new one; not before that is
    /// durable.
    pub(super) fn pub_rel(
        &mut self,
        connection: ConnectionId,
        packet: &Ack<'_>,
        turn: &mut Turn,
    ) -> Result<(), Violation> {
        let session = self.sessions.of_connection(connection).expect(USED);
        let id = session.id;
        let packet_id = packet.packet_id;
        let reason = if session.inbound.release(packet_id) {
            session.record(turn, || Record::Released { session: id, packet_id });
            ReasonCode::SUCCESS
        } else {
            ReasonCode::PACKET_IDENTIFIER_NOT_FOUND
        };
        session.reply(turn, Reply::PubComp(ack(packet_id, reason, None)));
        Ok(())
    }

    pub(super) fn pub_comp(
        &mut self,
        connection: ConnectionId,
        packet: &Ack<'_>,
        now: Timestamp,
        turn: &mut Turn,
    ) -> Result<(), Violation> {
        let session = self.sessions.of_connection(connection).expect(USED);
        let id = session.id;
        let Some(sent) = session.outbound.find(packet.packet_id) else {
            return Ok(());
        };
        if sent.entry.qos != QoS::ExactlyOnce {
            return Err(Violation::WrongAcknowledgement);
        }
        if !sent.pubrec_arrived {
            return Err(Violation::EarlyPubComp);
        }
        remove_sent(session, packet.packet_id, turn);
        if session.has_more() {
            self.pump(id, now, turn);
        }
        Ok(())
    }

    /// The subscriber refuses the message: it is not sent again by itself `[MQTT-4.4.0-2]`.
    fn reject(&mut self, id: SessionId, packet: &Ack<'_>) {
        let sent = self.session(id).outbound.remove(packet.packet_id);
        let mut death = Death::of_sent(sent.expect("the caller found it"), DeadReason::Rejected);
        death.code = Some(packet.reason);
        death.text = packet.reason_string.map(Into::into);
        self.deaths.push_back(death);
    }

    pub(super) fn check_ack_timeout(&mut self, id: ConnectionId, now: Timestamp, turn: &mut Turn) {
        let timeout = self.settings.limits.ack_timeout;
        let Some((session, timeout)) = self.sessions.of_connection(id).zip(timeout) else {
            return;
        };
        let session_id = session.id;
        session.link.as_mut().expect("a connection has its link").ack_watched = false;
        let outbound = session.outbound.present();
        let oldest = outbound.and_then(Outbound::oldest_unacknowledged);
        if oldest.is_some_and(|sent| sent.sent_at + timeout <= now) {
            let why = "it did not acknowledge its oldest message in time".into();
            self.dismiss(session_id, ReasonCode::ADMINISTRATIVE_ACTION, why, now, turn);
        } else {
            let session = self.sessions.get_mut(&session_id).expect("found above");
            watch_acks(session, &self.settings.limits, &mut self.timers);
        }
    }

    /// A delivery failed by the client's doing: charged to the oldest alone, as a whole window
    /// lost at once must not count against every message in it. What the network may have done
    /// charges nothing: the client has answered since, or had time to read.
    pub(super) fn charge_delivery(
        &mut self,
        id: SessionId,
        flushed: bool,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let limits = &self.settings.limits;
        let (limit_v5, limit_v311) = (limits.max_deliveries, limits.max_deliveries_v311);
        let session = self.session(id);
        let limit = match session.version {
            Version::V5 => limit_v5,
            Version::V311 | Version::V31 => limit_v311,
        };
        let is_stored = session.stored;
        let heard = session.link.as_ref().map_or(0, |link| link.heard);
        let outbound = session.outbound.present();
        let Some(sent) = outbound.and_then(Outbound::oldest_unacknowledged) else {
            return;
        };
        let had_time = flushed && now.since(sent.sent_at) >= READING_TIME;
        if heard <= sent.heard_before && !had_time {
            return;
        }
        sent.entry.deliveries += 1;
        let (owner, message, deliveries) = (sent.owner, sent.entry.message, sent.entry.deliveries);
        let packet_id = packet_id(sent.ordinal);
        if sent.stored {
            let number = turn.record(Record::DeliveryFailed { owner, message, deliveries });
            if is_stored {
                session.newest = number;
            }
        }
        if limit == 0 || deliveries < limit {
            return;
        }
        let sent = session.outbound.remove(packet_id).expect("found above");
        if sent.entry.qos == QoS::ExactlyOnce {
            session.outbound.keep_taken(packet_id);
            session.record_self(turn);
        }
        self.deaths.push_back(Death::of_sent(sent, DeadReason::DeliveryLimit));
    }
}

/// Looks, when the time comes, whether the client acknowledged.
pub(super) fn watch_acks(session: &mut Session, limits: &Limits, timers: &mut Timers) {
    let (Some(timeout), Some(link)) = (limits.ack_timeout, &mut session.link) else {
        return;
    };
    if link.ack_watched {
        return;
    }
    let outbound = session.outbound.present();
    if let Some(oldest) = outbound.and_then(Outbound::oldest_unacknowledged) {
        link.ack_watched = true;
        link.ack_due = oldest.sent_at + timeout;
        timers.set(link.ack_due, Timer::AckTimeout(link.id));
    }
}
