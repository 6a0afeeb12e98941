//! A PUBLISH from a client: may it, is it new, who gets it, and what the client is told.
//!
//! Invariant: a refusal is decided before anything is queued or sent; what is acknowledged waits
//! for every record that its own packet made.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::Broker;
use super::sessions::USED;
use super::spare::copy_into;
use crate::auth::{Access, Who};
use crate::config::Limits;
use crate::mqtt::packet::{PacketId, Payload, Publish};
use crate::mqtt::reply::{Ack, Reply};
use crate::mqtt::{Message, QoS, ReasonCode, Version};
use crate::session::Session;
use crate::session::violation::Violation;
use crate::time::Timestamp;
use crate::turn::{ConnectionId, Event, Record, RecordNumber, SessionId, StoreState, Turn};

/// Why a PUBLISH is not taken, though it is well-formed.
struct Refusal {
    reason: ReasonCode,
    why: Cow<'static, str>,
}

impl Refusal {
    fn new(reason: ReasonCode, why: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, why: why.into() }
    }
}

impl Broker {
    pub(super) fn publish(
        &mut self,
        connection: ConnectionId,
        publish: &Publish<'_>,
        now: Timestamp,
        turn: &mut Turn,
    ) -> Result<(), Violation> {
        let limits = &self.settings.limits;
        let session = self.sessions.of_connection(connection).expect(USED);
        let id = session.id;
        let topic = session.inbound.resolve_topic(publish.topic, publish.topic_alias, limits)?;
        if let Some(packet_id) = publish.packet_id {
            if is_duplicate(session, publish, packet_id, turn) {
                return Ok(());
            }
            check_quota(session, limits.receive_maximum, self.committed)?;
        }
        check_publish_available(limits, publish)?;
        if let Some(refusal) = self.refuse_publish(id, publish, &topic) {
            self.refuse(id, publish, &topic, &refusal, now, turn);
            return Ok(());
        }
        let before = turn.last_record();
        if publish.qos == QoS::ExactlyOnce {
            let packet_id = publish.packet_id.expect("QoS 2 has a Packet Identifier");
            let session = self.session(id);
            session.inbound.receive(packet_id);
            session.record(turn, || Record::Received { session: id, packet_id });
        }
        // What a QoS 2 publisher may send again must not reach anybody twice, at QoS 0 either.
        let until = if publish.qos == QoS::ExactlyOnce { turn.last_record() } else { before };
        let until = if until > before { until } else { RecordNumber::default() };
        let message = self.copy_message(publish, topic, now);
        let count = self.accept(&message, Some(id), until, now, turn);
        if count == 0 {
            self.note_no_subscribers(&message, now, turn);
        }
        self.spare.keep(message);
        self.settle(now, turn); // The acknowledgement waits for what died of it, too.
        self.acknowledge(connection, publish, count, before, turn);
        Ok(())
    }

    /// Retains and routes a message that may be published.
    pub(super) fn accept(
        &mut self,
        message: &Arc<Message>,
        publisher: Option<SessionId>,
        until: RecordNumber,
        now: Timestamp,
        turn: &mut Turn,
    ) -> usize {
        if message.retain {
            self.retain(message, turn);
        }
        self.route(message, publisher, until, now, turn)
    }

    fn refuse_publish(
        &mut self,
        id: SessionId,
        publish: &Publish<'_>,
        topic: &Arc<str>,
    ) -> Option<Refusal> {
        if !self.may_publish(id, topic) {
            let why = "no right to publish to this topic";
            return Some(Refusal::new(ReasonCode::NOT_AUTHORIZED, why));
        }
        let is_durable = publish.qos != QoS::AtMostOnce || publish.retain;
        let why = match self.store {
            StoreState::Ready => None,
            StoreState::Full => Some("the store is full"),
            StoreState::Failing => Some("the store fails"),
        };
        if let Some(why) = why.filter(|_| is_durable) {
            return Some(Refusal::new(ReasonCode::QUOTA_EXCEEDED, why));
        }
        let is_new_retained = publish.retain
            && !publish.payload.as_slice().is_empty()
            && self.retained.len() >= self.settings.limits.retained_messages
            && self.retained.get(topic).is_none();
        if is_new_retained {
            let why = "too many retained messages";
            return Some(Refusal::new(ReasonCode::QUOTA_EXCEEDED, why));
        }
        let size = topic.len() + publish.properties.len() + publish.payload.as_slice().len();
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let why = self.refuses(id, topic, publish.qos, size)?;
        Some(Refusal::new(ReasonCode::QUOTA_EXCEEDED, why))
    }

    /// Nobody publishes to `$dead/…` and `$SYS/…`; else the ACL decides.
    pub(super) fn may_publish(&self, id: SessionId, topic: &str) -> bool {
        if self.acl.is_none() {
            return !self.is_ours(topic);
        }
        let session = &self.sessions[&id];
        let who = Who { user: session.user.as_deref(), client_id: &session.client_id };
        self.allows_publish(who, topic)
    }

    pub(super) fn allows_publish(&self, who: Who<'_>, topic: &str) -> bool {
        let acl = self.acl.as_ref();
        !self.is_ours(topic) && acl.is_none_or(|acl| acl.allows(who, Access::Publish, topic))
    }

    fn is_ours(&self, topic: &str) -> bool {
        topic.starts_with("$SYS/") || self.settings.dead_letters.topic.is_letter(topic)
    }

    /// The publisher keeps its message: it is told so, or, in 3.1.1, where it can't be, the
    /// connection ends. Only the missing right is acknowledged there, unless configured
    /// otherwise: closing would give a storm of reconnects, and `[MQTT-3.3.5-2]` of 3.1.1 allows
    /// it.
    fn refuse(
        &mut self,
        id: SessionId,
        publish: &Publish<'_>,
        topic: &Arc<str>,
        refusal: &Refusal,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let is_unauthorized = refusal.reason == ReasonCode::NOT_AUTHORIZED;
        if is_unauthorized {
            self.counters.unauthorized_publishes += 1;
        } else {
            self.counters.refused_publishes += 1;
        }
        let session = self.session(id);
        let (client_id, version) = (session.client_id.clone(), session.version);
        let (topic, reason) = (topic.clone(), refusal.reason);
        turn.events.push(Event::PublishRefused { client_id, topic, reason });
        let Some(packet_id) = publish.packet_id else {
            return;
        };
        let tolerate = is_unauthorized && !self.settings.rights.close_unauthorized_publish;
        if version != Version::V5 && !tolerate {
            return self.dismiss(id, reason, refusal.why.as_ref().into(), now, turn);
        }
        let text = (version == Version::V5).then(|| refusal.why.as_ref().into());
        let ack = ack(packet_id, reason, text);
        let reply = match publish.qos {
            QoS::ExactlyOnce => Reply::PubRec(ack),
            _ => Reply::PubAck(ack),
        };
        self.session(id).reply(turn, reply);
    }

    fn acknowledge(
        &mut self,
        connection: ConnectionId,
        publish: &Publish<'_>,
        count: usize,
        before: RecordNumber,
        turn: &mut Turn,
    ) {
        let Some(packet_id) = publish.packet_id else {
            return;
        };
        let last = turn.last_record();
        let until = if last > before { last } else { RecordNumber::default() };
        let reason = match count {
            0 => ReasonCode::NO_MATCHING_SUBSCRIBERS,
            _ => ReasonCode::SUCCESS,
        };
        let ack = ack(packet_id, reason, None);
        let Some(session) = self.sessions.of_connection(connection) else {
            return; // Nobody is there to be told.
        };
        if publish.qos == QoS::ExactlyOnce {
            return session.reply_after(turn, until, Reply::PubRec(ack));
        }
        session.inbound.acknowledges_after(until.max(session.newest));
        session.reply_after(turn, until, Reply::PubAck(ack));
    }

    /// Copies a PUBLISH out of its read buffer: a message that stays must not pin one.
    pub(super) fn copy_message(
        &mut self,
        publish: &Publish<'_>,
        topic: Arc<str>,
        now: Timestamp,
    ) -> Arc<Message> {
        let expiry = publish.message_expiry.or(self.settings.limits.message_expiry);
        self.spare.message(|spare| {
            let (properties, payload) = copy_out(publish, spare);
            Message {
                topic,
                properties: properties.into(),
                payload,
                qos: publish.qos,
                retain: publish.retain,
                received: now,
                expiry,
                past: None,
            }
        })
    }
}

/// Properties and payload of a PUBLISH, in memory of their own. `spare` may be written over.
fn copy_out(publish: &Publish<'_>, spare: Bytes) -> (Bytes, Bytes) {
    match &publish.payload {
        Payload::Shared(payload) => (Bytes::copy_from_slice(&publish.properties), payload.clone()),
        Payload::Borrowed(payload) if publish.properties.is_empty() => {
            (Bytes::new(), copy_into(spare, payload))
        }
        Payload::Borrowed(payload) => {
            let mut both = BytesMut::with_capacity(publish.properties.len() + payload.len());
            both.extend_from_slice(&publish.properties);
            both.extend_from_slice(payload);
            let mut properties = both.freeze();
            let payload = properties.split_off(publish.properties.len());
            (properties, payload)
        }
    }
}

/// A QoS 2 PUBLISH that we have already is acknowledged again, and that is all
/// `[MQTT-4.3.3-10]`.
fn is_duplicate(
    session: &mut Session,
    publish: &Publish<'_>,
    packet_id: PacketId,
    turn: &mut Turn,
) -> bool {
    let is_duplicate = publish.qos == QoS::ExactlyOnce && session.inbound.is_duplicate(packet_id);
    if is_duplicate {
        session.reply(turn, Reply::PubRec(ack(packet_id, ReasonCode::SUCCESS, None)));
    }
    is_duplicate
}

fn check_quota(
    session: &mut Session,
    maximum: u16,
    committed: RecordNumber,
) -> Result<(), Violation> {
    let has_quota = session.inbound.has_quota(maximum, committed);
    if session.version == Version::V5 && !has_quota {
        return Err(Violation::ReceiveMaximumExceeded);
    }
    Ok(())
}

/// Not for what was taken before the limit was set, and is sent again.
fn check_publish_available(limits: &Limits, publish: &Publish<'_>) -> Result<(), Violation> {
    if publish.qos as u8 > limits.maximum_qos as u8 {
        return Err(Violation::QosNotSupported);
    }
    if publish.retain && !limits.retain_available {
        return Err(Violation::RetainNotSupported);
    }
    Ok(())
}

/// An acknowledgement.
pub(super) fn ack(packet_id: PacketId, reason: ReasonCode, text: Option<Box<str>>) -> Ack {
    Ack { packet_id, reason, reason_string: text }
}
