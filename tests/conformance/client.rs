//! A client that keeps the protocol, of either version, and remembers what it published and got.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fastrand::Rng;
use kedgemq::mqtt::packet::Publish;
use kedgemq::mqtt::{Delivery, Packet, QoS, ReasonCode, Reply, Version};
use kedgemq::turn::ConnectionId;

use crate::packets::*;
use crate::rig::Rig;

/// What a publisher has not seen the end of.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    packet_id: u16,
    qos: u8,
    topic: &'static str,
    payload: String,
    pubrec_arrived: bool,
}

/// A client with a stored session.
pub(crate) struct Client {
    pub(crate) is_rough: bool,
    pub(crate) connect: ConnectOptions,
    filter: Option<(&'static str, u8)>,
    pub(crate) connection: Option<ConnectionId>,
    /// It threw its own state away, and begins anew until a CONNACK says that the server did.
    pub(crate) begins_anew: bool,
    /// Its session ends with its connection.
    is_transient: bool,
    /// CONNACK came on this connection.
    pub(crate) is_accepted: bool,
    was_connected: bool,
    pub(crate) outgoing: VecDeque<Outgoing>,
    next_packet_id: u16,
    pub(crate) published: u32,
    /// QoS 2 identifiers between PUBLISH and PUBREL.
    received: BTreeSet<u16>,
    /// Answers that it has not sent yet.
    pub(crate) answers: VecDeque<Packet<'static>>,
    /// Identifiers that count against its Receive Maximum.
    open: BTreeSet<u16>,
    pub(crate) got: Vec<(String, String, QoS)>,
    by_packet_id: BTreeMap<u16, String>,
    /// It threw them away, so it does not know them when they come again.
    pub(crate) refused: BTreeSet<String>,
}

impl Client {
    pub(crate) fn new(connect: ConnectOptions, filter: Option<(&'static str, u8)>) -> Self {
        Self {
            is_rough: false,
            connect: connect.stored(),
            filter,
            connection: None,
            begins_anew: false,
            is_transient: false,
            is_accepted: false,
            was_connected: false,
            outgoing: VecDeque::new(),
            next_packet_id: 0,
            published: 0,
            received: BTreeSet::new(),
            answers: VecDeque::new(),
            open: BTreeSet::new(),
            got: Vec::new(),
            by_packet_id: BTreeMap::new(),
            refused: BTreeSet::new(),
        }
    }

    fn window(&self) -> usize {
        usize::from(self.connect.receive_maximum.unwrap_or(100))
    }

    pub(crate) fn lose_connection(&mut self) {
        if self.is_transient {
            self.forget();
        }
        self.connection = None;
        self.is_accepted = false;
        self.answers.clear();
        self.open.clear();
    }

    fn forget(&mut self) {
        self.was_connected = false;
        self.outgoing.clear();
        self.received.clear();
    }

    /// Connects; an open connection of the same client is taken over.
    pub(crate) fn connect(&mut self, rig: &mut Rig) {
        self.lose_connection();
        let connect = self.connect.clone();
        let connect = if self.begins_anew { connect.clean() } else { connect };
        self.is_transient = self.begins_anew && connect.version != Version::V5;
        self.connection = Some(rig.open(connect));
    }

    fn after_connack(&mut self, rig: &mut Rig, present: bool) {
        let connection = self.connection.expect("CONNACK came on it");
        if !present {
            assert!(self.is_rough || !self.was_connected, "the session is gone");
            self.begins_anew = false;
            self.forget();
        }
        if let Some((filter, qos)) = self.filter.filter(|_| !self.was_connected) {
            rig.send(connection, subscribe(60_000, &[(filter, options(qos))]));
        }
        self.was_connected = true;
        self.is_accepted = true;
        for out in self.outgoing.clone() {
            match out.pubrec_arrived {
                true => rig.send(connection, pubrel(out.packet_id)),
                false => rig.publish(connection, dup(out.packet())),
            }
        }
    }

    pub(crate) fn publish(&mut self, rig: &mut Rig, rng: &mut Rng) {
        let Some(connection) = self.connection.filter(|_| self.is_accepted) else {
            return;
        };
        if self.outgoing.len() >= 20 {
            return;
        }
        self.published += 1;
        self.next_packet_id = self.next_packet_id % 200 + 1;
        let taken = |id: u16| self.outgoing.iter().any(|out| out.packet_id == id);
        while taken(self.next_packet_id) {
            self.next_packet_id = self.next_packet_id % 200 + 1;
        }
        let out = Outgoing {
            packet_id: self.next_packet_id,
            qos: rng.u8(1..=2),
            topic: rng.choice(["t/a", "t/b"]).expect("two"),
            payload: format!("{}-{}", self.connect.client_id, self.published),
            pubrec_arrived: false,
        };
        if self.is_rough && rng.u8(..4) == 0 {
            rig.publish(connection, expiring(rng.u32(1..20), out.packet()));
        } else {
            rig.publish(connection, out.packet());
        }
        self.outgoing.push_back(out);
    }

    /// Refuses the oldest PUBLISH that it has not answered.
    pub(crate) fn refuse(&mut self, rig: &mut Rig) {
        match self.answers.front_mut() {
            Some(Packet::PubAck(ack) | Packet::PubRec(ack)) if ack.reason.0 == 0 => {
                ack.reason = ReasonCode(0x80);
                self.received.remove(&ack.packet_id.get());
                self.refused.insert(self.by_packet_id[&ack.packet_id.get()].clone());
                self.answer(rig);
            }
            _ => {}
        }
    }

    pub(crate) fn answer(&mut self, rig: &mut Rig) {
        if let (Some(connection), Some(packet)) = (self.connection, self.answers.pop_front()) {
            match &packet {
                Packet::PubAck(ack) | Packet::PubComp(ack) => {
                    self.open.remove(&ack.packet_id.get());
                }
                Packet::PubRec(ack) if ack.reason.is_error() => {
                    self.open.remove(&ack.packet_id.get());
                }
                _ => {}
            }
            rig.send(connection, packet);
        }
    }

    /// Reads what came. True if something did.
    pub(crate) fn read(&mut self, rig: &mut Rig) -> bool {
        let Some(connection) = self.connection else {
            return false;
        };
        let replies = rig.received(connection);
        assert!(!rig.is_closed(connection), "{}: {replies:?}", self.connect.client_id);
        let came = !replies.is_empty();
        for reply in replies {
            match reply {
                Reply::ConnAck(ack) => self.after_connack(rig, ack.session_present),
                Reply::Publish(delivery) => self.take(&delivery),
                Reply::PubAck(ack) => self.finished(ack.packet_id.get(), 1),
                Reply::PubComp(ack) => self.finished(ack.packet_id.get(), 2),
                Reply::PubRec(ack) => {
                    let id = ack.packet_id.get();
                    let mine = self.outgoing.iter_mut().find(|out| out.packet_id == id);
                    mine.expect("PUBREC of what was published").pubrec_arrived = true;
                    rig.send(connection, pubrel(id));
                }
                Reply::PubRel(ack) => {
                    let id = ack.packet_id.get();
                    self.received.remove(&id);
                    self.open.insert(id);
                    self.answers.push_back(pubcomp(id));
                }
                Reply::SubAck(_) | Reply::UnsubAck(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(self.open.len() <= self.window(), "[MQTT-3.3.4-9]");
        came
    }

    fn take(&mut self, delivery: &Delivery) {
        let id = delivery.packet_id.expect("QoS > 0").get();
        let is_new = delivery.qos == QoS::AtLeastOnce || self.received.insert(id);
        self.open.insert(id);
        self.answers.push_back(match delivery.qos {
            QoS::ExactlyOnce => pubrec(id),
            _ => puback(id),
        });
        let message = &delivery.message;
        let payload = String::from_utf8_lossy(&message.payload).into_owned();
        self.by_packet_id.insert(id, payload.clone());
        if is_new {
            self.got.push((message.topic.to_string(), payload, delivery.qos));
        }
    }

    fn finished(&mut self, packet_id: u16, qos: u8) {
        let mine = |out: &Outgoing| out.packet_id == packet_id && out.qos == qos;
        self.outgoing.retain(|out| !mine(out));
    }
}

impl Outgoing {
    fn packet(&self) -> Publish<'_> {
        match self.qos {
            1 => q1(self.packet_id, self.topic, &self.payload),
            _ => q2(self.packet_id, self.topic, &self.payload),
        }
    }
}
