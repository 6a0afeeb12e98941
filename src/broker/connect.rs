//! CONNECT: whether the client may, which session it gets, and what becomes of an older
//! connection with its Client Identifier.

use std::sync::Arc;

use super::Broker;
use crate::auth::{Admission, Identity, Who};
use crate::mqtt::packet::Connect;
use crate::mqtt::reply::{ConnAck, Reply};
use crate::mqtt::{QoS, ReasonCode, Version, codec, topic};
use crate::session::link::Link;
use crate::session::{NEVER, Session};
use crate::time::Timestamp;
use crate::turn::{ConnectionId, EndCause, Event, Output, SessionId, StoreState, Turn};

/// Why a client may not connect.
struct Refusal {
    reason: ReasonCode,
    why: String,
}

impl Refusal {
    fn new(reason: ReasonCode, why: impl Into<String>) -> Self {
        Self { reason, why: why.into() }
    }
}

impl Broker {
    pub(super) fn connect(
        &mut self,
        id: ConnectionId,
        who: Identity,
        connect: &Connect<'_>,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        self.counters.packets_received += 1;
        self.counters.connects += 1;
        if let Err(refusal) = self.check_connect(&who, connect) {
            return self.refuse_connect(id, connect, &refusal, turn);
        }
        let assigned = connect.client_id.is_empty().then(|| self.assign_client_id());
        let client_id = assigned.clone().unwrap_or_else(|| connect.client_id.into());
        let connack = self.connack(connect, assigned);
        if !takes(connect, &connack) {
            let why = "CONNACK is larger than its Maximum Packet Size";
            let refusal = Refusal::new(ReasonCode::PACKET_TOO_LARGE, why);
            return self.refuse_connect(id, connect, &refusal, turn);
        }
        self.take_over(id, &client_id, connect.clean_start, now, turn);
        let (session_id, session_present) = self.attach(&client_id, connect);
        let mut link = self.new_link(id, connect, now);
        let keep_alive = link.keep_alive;
        self.timers.watch_silence(&mut link);
        let will = connect.will.as_ref().map(|will| Box::new(self.to_will(will, now)));
        let session = self.session(session_id);
        session.user.clone_from(&who.user);
        session.disconnected = None;
        session.will_is_not_due();
        session.will = will;
        session.link = Some(link);
        if session.stored {
            session.outbound.reserve_at_connect();
            session.record_self(turn);
        }
        self.enlist(id, session_id);

        let connack = Reply::ConnAck(Box::new(ConnAck { session_present, ..connack }));
        let until = self.last_ended;
        self.session(session_id).reply_after(turn, until, connack);
        turn.events.push(Event::Connected {
            connection: id,
            client_id,
            user: who.user,
            version: connect.version,
            clean_start: connect.clean_start,
            session_present,
            keep_alive,
        });
        self.tell_groups(session_id);
        self.gather_all(session_id, now, turn);
        self.pump(session_id, now, turn);
    }

    fn check_connect(&self, who: &Identity, connect: &Connect<'_>) -> Result<(), Refusal> {
        match who.admission {
            Admission::Granted => {}
            Admission::BadUserNameOrPassword => {
                let reason = ReasonCode::BAD_USER_NAME_OR_PASSWORD;
                return Err(Refusal::new(reason, "unknown user or wrong password"));
            }
            Admission::NotAuthorized => {
                return Err(Refusal::new(ReasonCode::NOT_AUTHORIZED, "no credentials"));
            }
        }
        if connect.authentication_method.is_some() {
            let reason = ReasonCode::BAD_AUTHENTICATION_METHOD;
            return Err(Refusal::new(reason, "no Authentication Method is supported"));
        }
        let why = match connect.version {
            Version::V31 => Some("empty Client Identifier"),
            Version::V311 if !connect.clean_start => {
                Some("empty Client Identifier without Clean Session") // [MQTT-3.1.3-8] of 3.1.1
            }
            Version::V311 | Version::V5 => None,
        };
        if let Some(why) = why.filter(|_| connect.client_id.is_empty()) {
            return Err(Refusal::new(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID, why));
        }
        self.check_will(who, connect)?;
        let known = self.clients.get(connect.client_id).map(|id| &self.sessions[id]);
        let needs_store =
            self.session_expiry(connect) > 0 || known.is_some_and(|session| session.stored);
        if needs_store && self.store == StoreState::Failing {
            return Err(Refusal::new(ReasonCode::SERVER_UNAVAILABLE, "the store fails"));
        }
        Ok(())
    }

    fn check_will(&self, who: &Identity, connect: &Connect<'_>) -> Result<(), Refusal> {
        let Some(will) = &connect.will else {
            return Ok(());
        };
        if let Err(problem) = topic::check_name(will.topic, self.settings.limits.topic_levels) {
            let why = format!("Will Topic: {problem}");
            return Err(Refusal::new(ReasonCode::TOPIC_NAME_INVALID, why));
        }
        let limits = &self.settings.limits;
        if will.qos as u8 > limits.maximum_qos as u8 {
            let reason = ReasonCode::QOS_NOT_SUPPORTED; // [MQTT-3.2.2-12]
            return Err(Refusal::new(reason, "Will QoS above our Maximum QoS"));
        }
        if will.retain && !limits.retain_available {
            let reason = ReasonCode::RETAIN_NOT_SUPPORTED; // [MQTT-3.2.2-13]
            return Err(Refusal::new(reason, "Will Retain, which is not available"));
        }
        let who = Who { user: who.user.as_deref(), client_id: connect.client_id };
        if !self.allows_publish(who, will.topic) {
            let why = format!("no right to publish to its Will Topic {}", will.topic);
            return Err(Refusal::new(ReasonCode::NOT_AUTHORIZED, why));
        }
        Ok(())
    }

    fn refuse_connect(
        &self,
        id: ConnectionId,
        connect: &Connect<'_>,
        refusal: &Refusal,
        turn: &mut Turn,
    ) {
        let why: Box<str> = refusal.why.as_str().into();
        let reason_string = (connect.version == Version::V5).then(|| why.clone());
        let connack = ConnAck { reason_string, ..empty_connack(refusal.reason) };
        let is_told = match connect.version {
            Version::V5 => takes(connect, &connack),
            _ => is_sayable(refusal.reason),
        };
        if is_told {
            turn.send(id, Output::Packet(Reply::ConnAck(Box::new(connack))));
        }
        turn.send(id, Output::Close);
        let (client_id, reason) = (connect.client_id.into(), refusal.reason);
        turn.events.push(Event::Refused { connection: id, client_id, reason, why });
    }

    /// Random, so that it meets no session that an earlier run made.
    fn assign_client_id(&mut self) -> Arc<str> {
        loop {
            let id: Arc<str> = format!("auto-{:016x}", self.random.u64(..)).into();
            if !self.clients.contains_key(&id) {
                return id;
            }
        }
    }

    /// An older connection with this Client Identifier ends `[MQTT-3.1.4-3]`; with Clean Start its
    /// session does, too `[MQTT-3.1.2-4]`.
    fn take_over(
        &mut self,
        id: ConnectionId,
        client_id: &Arc<str>,
        clean_start: bool,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let Some(&session_id) = self.clients.get(client_id) else {
            return;
        };
        if let Some(link) = &self.session(session_id).link {
            let (client_id, from) = (client_id.clone(), link.id);
            turn.events.push(Event::TakenOver { client_id, from, to: id });
            let why = "another connection took its Client Identifier".into();
            self.dismiss(session_id, ReasonCode::SESSION_TAKEN_OVER, why, now, turn);
        }
        let Some(session) = self.sessions.get_mut(&session_id) else {
            return;
        };
        if clean_start {
            self.end_session(session_id, EndCause::Cleared, now, turn);
        } else if session.expires().is_some_and(|at| at <= now) {
            // It ended while nobody looked, or with its connection in an earlier run; its client
            // came back all the same before the will was due.
            session.will =
                session.will.take().filter(|_| session.more.will_due.is_none_or(|at| at <= now));
            self.end_session(session_id, EndCause::Expired, now, turn);
        }
    }

    /// The session that the client goes on with, or a new one.
    fn attach(&mut self, client_id: &Arc<str>, connect: &Connect<'_>) -> (SessionId, bool) {
        let expiry = self.session_expiry(connect);
        if let Some(&id) = self.clients.get(client_id) {
            self.timers.forget(&self.sessions[&id]);
            let session = self.session(id);
            session.version = connect.version;
            session.expiry = expiry;
            return (id, true);
        }
        let id = self.new_owner();
        let session = Session::new(id, client_id.clone(), connect.version, expiry);
        self.sessions.insert(Box::new(session));
        self.clients.insert(client_id.clone(), id);
        (id, false)
    }

    /// In seconds, under our cap. In 3.1.1 a session without Clean Session never expires by
    /// itself.
    fn session_expiry(&self, connect: &Connect<'_>) -> u32 {
        let asked = match connect.version {
            Version::V5 => connect.session_expiry.unwrap_or(0),
            Version::V311 | Version::V31 if connect.clean_start => 0,
            Version::V311 | Version::V31 => NEVER,
        };
        asked.min(self.settings.limits.session_expiry)
    }

    fn new_link(&self, id: ConnectionId, connect: &Connect<'_>, now: Timestamp) -> Box<Link> {
        let limits = &self.settings.limits;
        let mut link = Link::new(id, connect.version, now);
        let asked = connect.receive_maximum.map_or(u16::MAX, std::num::NonZeroU16::get);
        link.window = usize::from(asked.min(limits.in_flight));
        link.packet_size_max = connect.maximum_packet_size.map_or(usize::MAX, |max| max as usize);
        link.keep_alive = self.keep_alive(connect);
        link.wants_reasons = connect.request_problem_information;
        link.set_alias_maximum(connect.topic_alias_maximum.min(limits.topic_alias_maximum));
        Box::new(link)
    }

    /// Our cap can only be told in MQTT 5, so it holds only there.
    fn keep_alive(&self, connect: &Connect<'_>) -> u16 {
        let cap = self.settings.limits.keep_alive;
        match connect.keep_alive {
            asked if cap == 0 || connect.version != Version::V5 => asked,
            0 => cap,
            asked => asked.min(cap),
        }
    }

    fn enlist(&mut self, id: ConnectionId, session: SessionId) {
        self.sessions.link(id, session);
        self.connected += 1;
        self.counters.clients_maximum = self.counters.clients_maximum.max(self.connected);
    }

    fn connack(&self, connect: &Connect<'_>, assigned_client_id: Option<Arc<str>>) -> ConnAck {
        let limits = &self.settings.limits;
        let keep_alive = self.keep_alive(connect);
        let expiry = self.session_expiry(connect);
        ConnAck {
            session_expiry: (connect.session_expiry.unwrap_or(0) != expiry).then_some(expiry),
            receive_maximum: (limits.receive_maximum < u16::MAX).then_some(limits.receive_maximum),
            maximum_packet_size: u32::try_from(limits.packet_size).ok(),
            assigned_client_id,
            maximum_qos: Some(limits.maximum_qos).filter(|qos| *qos != QoS::ExactlyOnce),
            retain_available: limits.retain_available,
            wildcard_subscriptions: limits.wildcard_subscriptions,
            subscription_identifiers: limits.subscription_identifiers,
            shared_subscriptions: limits.shared_subscriptions,
            topic_alias_maximum: limits.topic_alias_maximum,
            server_keep_alive: (keep_alive != connect.keep_alive).then_some(keep_alive),
            ..empty_connack(ReasonCode::SUCCESS)
        }
    }
}

/// Whether the CONNACK is within the client's Maximum Packet Size `[MQTT-3.1.2-24]`.
fn takes(connect: &Connect<'_>, connack: &ConnAck) -> bool {
    connect.maximum_packet_size.is_none_or(|maximum| {
        let connack = Reply::ConnAck(Box::new(connack.clone()));
        codec::smallest_size(&connack, connect.version) <= maximum as usize
    })
}

/// Whether a return code says it: before MQTT 5 there is none for what a Will asks for, and then no
/// CONNACK ([MQTT-3.2.2-6] of 3.1.1).
fn is_sayable(reason: ReasonCode) -> bool {
    ![
        ReasonCode::TOPIC_NAME_INVALID,
        ReasonCode::QOS_NOT_SUPPORTED,
        ReasonCode::RETAIN_NOT_SUPPORTED,
    ]
    .contains(&reason)
}

pub(super) fn empty_connack(reason: ReasonCode) -> ConnAck {
    ConnAck {
        session_present: false,
        reason,
        session_expiry: None,
        receive_maximum: None,
        maximum_packet_size: None,
        assigned_client_id: None,
        maximum_qos: None,
        retain_available: true,
        wildcard_subscriptions: true,
        subscription_identifiers: true,
        shared_subscriptions: true,
        topic_alias_maximum: 0,
        server_keep_alive: None,
        reason_string: None,
    }
}
