//! The client's side of a persistent session, as the specification has it: what was not
//! acknowledged is sent again after a reconnect, in its order, with DUP and under its Packet
//! Identifier; a QoS 2 message that comes again is taken once. rumqttc does none of the three.
//!
//! [`Session`] does no IO, so it can be driven by a socket, a benchmark or a simulation;
//! [`wire`] is the socket.

pub(crate) mod wire;

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};

use kedgemq::mqtt::codec::client::encode;
use kedgemq::mqtt::packet::{
    Ack, Connect, Payload, Publish, RetainHandling, Subscribe, SubscriptionOptions,
};
use kedgemq::mqtt::{Delivery, Packet, PacketId, QoS, ReasonCode, Reply, Version};

/// A session that outlives its connections.
pub(crate) struct Session {
    version: Version,
    id: String,
    last_packet_id: u16,
    /// What we publish, in its order, until it is acknowledged.
    sent: VecDeque<Sent>,
    /// Packet Identifiers of QoS 2 messages that were taken and are not released.
    taken: BTreeSet<PacketId>,
    /// Whether the broker must know the session at the next connect.
    established: bool,
}

struct Sent {
    packet_id: PacketId,
    qos: QoS,
    topic: String,
    payload: Vec<u8>,
    /// PUBREC has come, so that only PUBREL may be sent.
    released: bool,
    /// PUBREL was sent again, and the broker may have forgotten the identifier meanwhile.
    again: bool,
}

/// What a packet from the broker means to the user of a session.
#[derive(Debug)]
pub(crate) enum Event {
    /// CONNACK; what has to be sent again is in the output.
    Connected,
    /// SUBACK.
    Subscribed,
    /// PUBACK or PUBCOMP: the broker has taken over.
    Acknowledged,
    /// A message; at QoS 2 the only time.
    Message(Delivery),
    /// Nothing that matters.
    Nothing,
}

impl Session {
    pub(crate) fn new(version: Version, id: &str) -> Self {
        Self {
            version,
            id: id.to_owned(),
            last_packet_id: 0,
            sent: VecDeque::new(),
            taken: BTreeSet::new(),
            established: false,
        }
    }

    /// Messages that are not acknowledged.
    pub(crate) fn in_flight(&self) -> usize {
        self.sent.len()
    }

    /// The payload of what is in flight under this Packet Identifier.
    pub(crate) fn payload(&self, packet_id: PacketId) -> Option<&[u8]> {
        let sent = self.sent.iter().find(|sent| sent.packet_id == packet_id)?;
        Some(&sent.payload)
    }

    /// The broker refused what has this Packet Identifier: it is not sent again. Its payload.
    pub(crate) fn refused(&mut self, packet_id: PacketId) -> Option<Vec<u8>> {
        let place = self.sent.iter().position(|sent| sent.packet_id == packet_id)?;
        self.sent.remove(place).map(|sent| sent.payload)
    }

    /// The first packet of a connection.
    pub(crate) fn connect(&self, out: &mut Vec<u8>) {
        let connect = Connect {
            version: self.version,
            clean_start: false,
            keep_alive: 60,
            client_id: &self.id,
            user_name: None,
            password: None,
            will: None,
            session_expiry: (self.version == Version::V5).then_some(3600),
            receive_maximum: None,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
        };
        encode(&Packet::Connect(Box::new(connect)), self.version, out);
    }

    pub(crate) fn subscribe(&mut self, filter: &str, qos: QoS, out: &mut Vec<u8>) {
        let options = SubscriptionOptions {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        };
        let packet_id = self.new_packet_id();
        let filters = vec![(filter, options)];
        let subscribe = Subscribe { packet_id, subscription_id: None, filters };
        encode(&Packet::Subscribe(subscribe), self.version, out);
    }

    /// Publishes at QoS 1 or 2.
    pub(crate) fn publish(&mut self, topic: &str, qos: QoS, payload: Vec<u8>, out: &mut Vec<u8>) {
        let packet_id = self.new_packet_id();
        let sent = Sent {
            packet_id,
            qos,
            topic: topic.to_owned(),
            payload,
            released: false,
            again: false,
        };
        put_publish(&sent, false, self.version, out);
        self.sent.push_back(sent);
    }

    /// Takes a packet from the broker and answers it. `Err` says which rule the broker broke.
    pub(crate) fn handle(&mut self, reply: Reply, out: &mut Vec<u8>) -> Result<Event, String> {
        match reply {
            Reply::ConnAck(ack) => {
                accept("CONNACK", ack.reason)?;
                self.resume(ack.session_present, out)
            }
            Reply::SubAck(ack) => match ack.reasons[..] {
                [reason] => accept("SUBACK", reason).map(|()| Event::Subscribed),
                _ => Err(format!("one filter, but {ack:?}")),
            },
            Reply::PubAck(ack) => {
                accept("PUBACK", ack.reason)?;
                self.acknowledged(ack.packet_id, QoS::AtLeastOnce)
            }
            Reply::PubRec(ack) => {
                accept("PUBREC", ack.reason)?;
                self.received(ack.packet_id, out)
            }
            Reply::PubComp(ack) => {
                let again = |sent: &Sent| sent.packet_id == ack.packet_id && sent.again;
                let unknown = ack.reason == ReasonCode::PACKET_IDENTIFIER_NOT_FOUND;
                if !(unknown && self.sent.iter().any(again)) {
                    accept("PUBCOMP", ack.reason)?;
                }
                self.acknowledged(ack.packet_id, QoS::ExactlyOnce)
            }
            Reply::Publish(delivery) => Ok(self.deliver(delivery, out)),
            Reply::PubRel(ack) => {
                self.taken.remove(&ack.packet_id);
                put_ack(Packet::PubComp, ack.packet_id, self.version, out);
                Ok(Event::Nothing)
            }
            // The connection ends, the session does not.
            Reply::Disconnect(disconnect)
                if disconnect.reason == ReasonCode::SERVER_SHUTTING_DOWN =>
            {
                Ok(Event::Nothing)
            }
            Reply::Disconnect(disconnect) => Err(format!("DISCONNECT: {}", disconnect.reason)),
            Reply::UnsubAck(_) | Reply::PingResp => Ok(Event::Nothing),
        }
    }

    fn resume(&mut self, session_present: bool, out: &mut Vec<u8>) -> Result<Event, String> {
        if self.established && !session_present {
            return Err("the broker has lost the session".into());
        }
        self.established = true;
        for sent in &mut self.sent {
            if sent.released {
                sent.again = true;
                put_ack(Packet::PubRel, sent.packet_id, self.version, out);
            } else {
                put_publish(sent, true, self.version, out);
            }
        }
        Ok(Event::Connected)
    }

    fn acknowledged(&mut self, packet_id: PacketId, qos: QoS) -> Result<Event, String> {
        let ends = |sent: &Sent| sent.packet_id == packet_id && sent.qos == qos;
        let Some(place) = self.sent.iter().position(ends) else {
            return Err(format!("an acknowledgement of {packet_id:?}, which is not in flight"));
        };
        let sent = self.sent.remove(place).expect("it was found there");
        if qos == QoS::ExactlyOnce && !sent.released {
            return Err(format!("PUBCOMP before PUBREC of {packet_id:?}"));
        }
        Ok(Event::Acknowledged)
    }

    fn received(&mut self, packet_id: PacketId, out: &mut Vec<u8>) -> Result<Event, String> {
        let found = self.sent.iter_mut().find(|sent| sent.packet_id == packet_id);
        let Some(sent) = found.filter(|sent| sent.qos == QoS::ExactlyOnce) else {
            return Err(format!("PUBREC of {packet_id:?}, which is not in flight at QoS 2"));
        };
        sent.released = true;
        put_ack(Packet::PubRel, packet_id, self.version, out);
        Ok(Event::Nothing)
    }

    fn deliver(&mut self, delivery: Delivery, out: &mut Vec<u8>) -> Event {
        match (delivery.qos, delivery.packet_id) {
            (QoS::AtLeastOnce, Some(packet_id)) => {
                put_ack(Packet::PubAck, packet_id, self.version, out);
            }
            (QoS::ExactlyOnce, Some(packet_id)) => {
                put_ack(Packet::PubRec, packet_id, self.version, out);
                if !self.taken.insert(packet_id) {
                    return Event::Nothing;
                }
            }
            _ => {}
        }
        Event::Message(delivery)
    }

    /// The next one after the last that is not in use.
    fn new_packet_id(&mut self) -> PacketId {
        loop {
            self.last_packet_id = self.last_packet_id.wrapping_add(1);
            let in_use = |id| self.sent.iter().any(|sent| sent.packet_id == id);
            if let Some(id) = PacketId::new(self.last_packet_id).filter(|id| !in_use(*id)) {
                return id;
            }
        }
    }
}

fn accept(packet: &str, reason: ReasonCode) -> Result<(), String> {
    if reason.is_error() { Err(format!("{packet}: {reason}")) } else { Ok(()) }
}

fn put_publish(sent: &Sent, dup: bool, version: Version, out: &mut Vec<u8>) {
    let publish = Publish {
        dup,
        qos: sent.qos,
        retain: false,
        topic: &sent.topic,
        packet_id: Some(sent.packet_id),
        topic_alias: None,
        message_expiry: None,
        properties: Cow::Borrowed(&[]),
        payload: Payload::Borrowed(&sent.payload),
    };
    encode(&Packet::Publish(publish), version, out);
}

fn put_ack<'a>(
    kind: impl FnOnce(Ack<'a>) -> Packet<'a>,
    packet_id: PacketId,
    version: Version,
    out: &mut Vec<u8>,
) {
    let ack = Ack { packet_id, reason: ReasonCode::SUCCESS, reason_string: None };
    encode(&kind(ack), version, out);
}
